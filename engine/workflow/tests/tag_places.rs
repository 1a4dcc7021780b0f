//! Every spelling of every tag in every place where tags are read, and what looks like a tag and is none.
//!
//! The spellings and places are those of the older systems, whose files have to go where they went.
#![expect(clippy::panic, reason = "a file that is not read stops the test with the reason")]

use wfengine_workflow::{
    Workflow,
    tags::{self, Routing, Tag, Tags},
};

/// Each tag with the spellings of all dialects; case and `-` or `_` are varied below.
const SPELLINGS: &[(Tag, &[&str])] = &[
    (Tag::P2pOnly, &["p2p-only", "p2p-workflow", "offline-workflow"]),
    (Tag::P2pEligible, &["p2p-eligible"]),
    (Tag::GithubApi, &["github-api"]),
    (Tag::UnitTest, &["unit-test"]),
    (Tag::CodeGeneration, &["code-generation", "code-gen"]),
    (Tag::WebScraping, &["web-scraping", "web-scrape"]),
    (Tag::DataProcessing, &["data-processing"]),
];

const JOB: &str = "on: push\njobs:\n  a:\n    runs-on: x\n";

/// Kind of place, line of the tag, and a file with `§` where the tag stands.
fn places() -> Vec<(&'static str, u32, String)> {
    let mut places = Vec::new();
    for name in ["WORKFLOW_TAGS", "P2P_TAGS", "WORKFLOW_TAG", "WORKFLOW_TYPE", "workflow_tags"] {
        places.push(("env", 2, format!("env:\n  {name}: §\n{JOB}")));
        places.push(("env", 6, format!("{JOB}    env:\n      {name}: \"§\"\n")));
    }
    for (value, line) in [
        ("'§'", 2),
        ("\"[§]\"", 2),
        ("\" § , \"", 2),
        ("\"'§'\"", 2),
        ("${{ '§' }}", 2),
        ("!!str §", 2),
        ("&t §", 2),
        ("|\n    §\n", 3),
        (">-\n    §\n", 3),
    ] {
        places.push(("env", line, format!("env:\n  WORKFLOW_TAGS: {value}\n{JOB}")));
    }
    places.push(("env", 1, format!("env: {{X: y, WORKFLOW_TAGS: §}}\n{JOB}")));
    places.push(("env", 2, format!("env:\r\n  P2P_TAGS: §\r\n{}", JOB.replace('\n', "\r\n"))));
    for comment in ["# P2P: §", "# Tags: §", "#p2p:§", "# TAGS : [\"§\"]", "# P2P: §,"] {
        places.push(("comment", 1, format!("{comment}\n{JOB}")));
        places.push(("comment", 1, format!("{comment}\r\n{}", JOB.replace('\n', "\r\n"))));
        places.push(("comment", 5, format!("{JOB}    {comment}\n    name: b\n")));
        places.push(("comment", 4, format!("{} {comment}\n", JOB.trim_end())));
    }
    places.push(("comment", 6, format!("{JOB}    steps:\n    - run: | # P2P: §\n        x\n")));
    places.push(("comment", 8, format!("{JOB}    steps:\n    - run: |\n        x\n      # P2P: §\n")));
    places.push(("comment", 6, format!("{JOB}...\n# P2P: §\n")));
    for labels in ["§", "[§]", "'§, '"] {
        places.push(("labels", 1, format!("labels: {labels}\n{JOB}")));
        places.push(("labels", 5, format!("{JOB}    labels: {labels}\n")));
    }
    places.push(("labels", 2, format!("labels:\n- §\n{JOB}")));
    places
}

fn read(text: &str) -> Tags {
    tags::of(
        &Workflow::read(text.as_bytes(), "f.yml").unwrap_or_else(|errors| panic!("{}\n{text}", errors[0])),
    )
}

fn variants(word: &str) -> [String; 5] {
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    let title: Vec<String> = word.split('-').map(capital).collect();
    let snake = word.replace('-', "_");
    [word.to_owned(), word.to_uppercase(), title.join("-"), snake.to_uppercase(), snake]
}

fn routing(tag: Tag, place: &str) -> Routing {
    match tag {
        Tag::P2pOnly => Routing::P2pOnly,
        // a file with labels cannot fall back to GitHub
        Tag::P2pEligible if place == "labels" => Routing::P2pOnly,
        Tag::P2pEligible => Routing::P2pEligible,
        Tag::GithubApi | Tag::UnitTest => Routing::GithubOnly,
        Tag::CodeGeneration | Tag::WebScraping | Tag::DataProcessing => Routing::None,
    }
}

#[test]
fn every_spelling_is_read_in_every_place() {
    let mut checked = 0;
    for (place, line, text) in places() {
        for (tag, words) in SPELLINGS {
            for word in words.iter().flat_map(|word| variants(word)) {
                let text = text.replace('§', &word);
                let read = read(&text);
                let found: Vec<(Tag, &str, u32, &str)> =
                    read.found.iter().map(|f| (f.tag, f.place, f.at.line, f.word.as_str())).collect();
                assert_eq!(found, [(*tag, place, line, word.as_str())], "{text}");
                assert_eq!(read.routing, routing(*tag, place), "{text}");
                assert!(read.unknown.is_empty() && read.labels.is_empty(), "{text}");
                checked += 1;
            }
        }
    }
    assert!(checked > 2_000, "{checked}");
}

#[test]
fn in_names_two_words_count_and_no_others() {
    for (name, found) in [
        ("My P2P-Workflow for data", true),
        ("nightly (offline_workflow)", true),
        ("OFFLINE-WORKFLOW", true),
        ("p2p-only", false),
        ("unit-test", false),
        ("p2p workflow", false),
        ("P2P: p2p-only", false),
    ] {
        let expected = if found { Routing::P2pOnly } else { Routing::None };
        let top = read(&format!("name: '{name}'\n{JOB}"));
        let job = read(&format!("{JOB}    name: '{name}'\n"));
        assert_eq!((top.routing, job.routing), (expected, expected), "{name}");
        for (read, line) in [(top, 1), (job, 5)] {
            let places: Vec<(&str, u32)> = read.found.iter().map(|f| (f.place, f.at.line)).collect();
            assert_eq!(places, if found { vec![("name", line)] } else { Vec::new() }, "{name}");
            assert!(read.unknown.is_empty(), "{name}");
        }
    }
    let both = read(&format!("{JOB}    name: p2p-workflow ${{{{ github.ref == 'unit-test' }}}}\n"));
    assert_eq!(both.routing, Routing::P2pOnly);
    for name in ["${{ vars.X == 'p2p-workflow' }}", "p2p-${{ github.actor }}workflow"] {
        assert!(read(&format!("{JOB}    name: {name}\n")).found.is_empty(), "{name}");
    }
}

#[test]
fn look_alikes_tag_nothing_and_are_not_reported() {
    let steps = |script: &str| format!("{JOB}    steps:\n{script}");
    for text in [
        // commented out
        format!("# WORKFLOW_TAGS: p2p-only\n{JOB}"),
        format!("#env:\n#  WORKFLOW_TAGS: p2p-only,code-generation\n{JOB}"),
        format!("# # P2P: p2p-only\n{JOB}"),
        format!("# labels: [p2p-only]\n{JOB}"),
        format!("# name: p2p-workflow\n{JOB}"),
        format!("env:\n  # P2P_TAGS: p2p-only\n  X: y\n{JOB}"),
        // scripts
        steps("    - run: |\n        # P2P: p2p-only\n        WORKFLOW_TAGS=p2p-only ./x\n"),
        steps("    - run: |\n        cat > x.yml <<'EOF'\n        # P2P: p2p-only\n        env:\n          WORKFLOW_TAGS: p2p-only\n        EOF\n"),
        steps("    - run: |+\n\n        # Tags: p2p-only\n\n        # P2P: p2p-only\n\n"),
        steps("    - run: >-\n        x\n        # P2P: p2p-only\n"),
        steps("    - run: |2\n          x\n        # P2P: p2p-only\n"),
        steps("    - run: \"x\n        # P2P: p2p-only\n        y\"\n"),
        steps("    - run: 'x # P2P: p2p-only'\n"),
        steps("    - run: echo 'env:' P2P_TAGS=p2p-only\n"),
        steps("    - run: |\r\n        # P2P: p2p-only\r\n        x\r\n").replace("x\n", "x\r\n"),
        steps("    - name: p2p-workflow\n      run: x\n      env: {WORKFLOW_TAGS: p2p-only}\n"),
        steps("    - uses: a/b@v1\n      with: {labels: p2p-only, WORKFLOW_TAGS: p2p-only}\n"),
        // texts
        format!("description: 'P2P: p2p-only'\nrun-name: p2p-workflow\n{JOB}"),
        format!("env: {{NOTE: 'P2P: p2p-only', X: '# P2P: p2p-only', TAGS: p2p-only, P2P: p2p-only}}\n{JOB}"),
        format!("env:\n  NOTE: |\n    P2P: p2p-only\n    WORKFLOW_TAGS: p2p-only\n    # P2P: p2p-only\n{JOB}"),
        format!("env:\n  NOTE: a#P2P:p2p-only\n{JOB}"),
        format!("{JOB}    outputs: {{WORKFLOW_TAGS: p2p-only}}\n"),
        format!("{JOB}    strategy: {{matrix: {{labels: [p2p-only], WORKFLOW_TAGS: [p2p-only]}}}}\n"),
        "on:\n  push: {tags: [p2p-only]}\n  pull_request: {types: labeled}\njobs: {p2p-workflow: {runs-on: p2p-only}}\n"
            .to_owned(),
        format!("# P2P\n# p2p-only\n# Tags\n{JOB}"),
        format!("# P2P:\n# Tags: ,, ''\nenv: {{WORKFLOW_TAGS: ' , ', P2P_TAGS: ''}}\n{JOB}"),
    ] {
        let read = read(&text);
        assert!(read.found.is_empty() && read.unknown.is_empty(), "{read:?}\n{text}");
        assert!(read.warnings.is_empty() && read.routing == Routing::None, "{text}");
    }
}

#[test]
fn words_are_separated_by_commas_or_spaces() {
    let words = |text: String| {
        let read = read(&text);
        let unknown = read.unknown.iter().map(|word| format!("?{}", word.text));
        read.found.iter().map(|found| found.word.clone()).chain(unknown).collect::<Vec<_>>().join(" ")
    };
    for value in [
        "'p2p-only,code-gen'",
        "p2p-only code-gen",
        "'p2p-only,, code-gen'",
        "|\n    p2p-only\n    code-gen\n",
    ] {
        assert_eq!(words(format!("env:\n  P2P_TAGS: {value}\n{JOB}")), "p2p-only code-gen", "{value}");
    }
    assert_eq!(words(format!("env: {{P2P_TAGS: p2p-only speedy}}\n{JOB}")), "p2p-only ?speedy");
    for comment in
        ["p2p-only, code-gen", "p2p-only code-gen", "[p2p-only, code-gen]", "'p2p-only', \"code-gen\""]
    {
        assert_eq!(words(format!("# P2P: {comment}\n{JOB}")), "p2p-only code-gen", "{comment}");
    }
    // a comment is also where people write sentences
    assert_eq!(words(format!("# P2P: no longer p2p-only\n{JOB}")), "?no longer p2p-only");
    assert_eq!(words(format!("# Tags: unit-test, see the guide\n{JOB}")), "unit-test ?see the guide");
}

#[test]
fn an_expression_is_unknown_and_leaves_its_neighbours_alone() {
    for (value, tag, unknown) in [
        ("${{ vars.X }}", None, "${{ vars.X }}"),
        ("${{ vars.X || 'a, b' }}", None, "${{ vars.X || 'a, b' }}"),
        ("p2p-only, ${{ vars.X }}", Some(Tag::P2pOnly), "${{ vars.X }}"),
        ("${{ vars.X }} unit-test", Some(Tag::UnitTest), "${{ vars.X }}"),
        ("p2p-${{ vars.X }}", None, "p2p-${{ vars.X }}"),
    ] {
        let read = read(&format!("env:\n  WORKFLOW_TAGS: \"{value}\"\n{JOB}"));
        assert_eq!(read.tags().into_iter().next(), tag, "{value}");
        let words: Vec<(&str, u32)> =
            read.unknown.iter().map(|word| (word.text.as_str(), word.at.line)).collect();
        assert_eq!(words, [(unknown, 2)], "{value}");
        let warning =
            format!("f.yml:2:18: '{unknown}' has no value yet when tags are read, and does nothing");
        assert_eq!(read.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [warning]);
    }
    let whole = format!("env: ${{{{ fromJSON('{{\"WORKFLOW_TAGS\":\"p2p-only\"}}') }}}}\n{JOB}");
    assert!(
        Workflow::read(whole.as_bytes(), "f.yml").is_ok_and(|workflow| tags::of(&workflow).found.is_empty())
    );
}

#[test]
fn anchors_and_aliases_are_read_where_they_are_used() {
    let text = format!(
        "env: &e\n  WORKFLOW_TAGS: &t p2p-only\n{JOB}    env: *e\n  b:\n    runs-on: x\n    env:\n      P2P_TAGS: *t\n      NOTE: *t\n"
    );
    let read = read(&text);
    assert_eq!(read.found.iter().map(|found| found.place).collect::<Vec<_>>(), ["env"; 3]);
    assert_eq!(read.routing, Routing::P2pOnly);
    let unused = format!("env:\n  NOTE: &t p2p-only\n{JOB}");
    assert!(self::read(&unused).found.is_empty());
}

/// GitHub takes no sequence there, and neither do we.
#[test]
fn a_sequence_in_env_is_refused_with_its_place() {
    let text = format!("env: {{WORKFLOW_TAGS: [p2p-only, unit-test]}}\n{JOB}");
    let errors = Workflow::read(text.as_bytes(), "f.yml").unwrap_err();
    assert_eq!(errors[0].to_string(), "f.yml:1:22: a sequence does not belong here (expected text)");
}

#[test]
fn tags_of_all_places_and_jobs_are_one_union() {
    let text = "labels: [high-memory]\n# Tags: data-processing\non: push\njobs:\n  a:\n    runs-on: x\n    name: offline-workflow a\n  b:\n    runs-on: x\n    env: {WORKFLOW_TYPE: code_generation}\n    labels: [p2p_eligible, high-memory, high-compute]\n";
    let all = read(text);
    assert_eq!(
        all.words(),
        ["p2p-only", "p2p-eligible", "code-generation", "data-processing", "high-memory", "high-compute"]
    );
    assert_eq!(all.routing, Routing::P2pOnly);
    let with_api = read(&text.replace("code_generation", "github_api"));
    assert_eq!(with_api.routing, Routing::GithubOnly);
    assert!(with_api.warnings[0].message.contains("'github-api' wins over 'p2p-only' at 7:"), "{with_api:?}");
}

#[test]
fn what_github_refuses_never_falls_back() {
    let eligible = "env: {WORKFLOW_TAGS: p2p-eligible}\n";
    assert_eq!(read(&format!("{eligible}{JOB}")).routing, Routing::P2pEligible);
    for (rest, why) in [
        ("on: push\njobs: {a: {steps: [{run: x}]}}\n", "the key 'runs-on' is missing"),
        ("jobs: {a: {runs-on: x}}\n", "the key 'on' is missing"),
        ("labels: []\non: push\njobs: {a: {runs-on: x}}\n", "the key 'labels' is not valid on GitHub"),
        ("labels: [big]\non: push\njobs: {a: {runs-on: x}}\n", "the key 'labels' is not valid on GitHub"),
    ] {
        let read = read(&format!("{eligible}{rest}"));
        assert_eq!(read.routing, Routing::P2pOnly, "{rest}");
        assert!(read.warnings[0].message.contains(why), "{:?}", read.warnings);
    }
    assert_eq!(read(&format!("labels: [big]\n{JOB}")).routing, Routing::None);
}
