//! What every verb prints with `--json`, against the schema that `wfengine schema` prints for it.
//!
//! The verbs come from the program: one that is not tried here fails the test.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]

mod documents;
#[path = "../house/mod.rs"]
mod house;

use std::collections::BTreeSet;

use documents::Schemas;
use house::{House, Live, text};
use serde_json::Value as Json;

/// Verbs that have to meet a repository, a GitHub or an engine before they print anything, or that take long, and where they are held
/// against their schemas.
const ELSEWHERE: [(&str, &str); 8] = [
    ("demo", "cli/tests/demo.rs"),
    ("discover list", "cli/tests/discovery"),
    ("discover dispatch", "cli/tests/discovery"),
    ("runner start", "cli/tests/runner_cluster"),
    ("runner provision", "cli/tests/runner_cluster"),
    ("runner list-workflows", "cli/tests/runner_cluster"),
    ("runner stop-container", "cli/tests/runner_cluster"),
    ("runner logs", "cli/tests/runner_cluster"),
];

/// A house whose commands' documents are held against their schemas.
struct Tried<'a> {
    house: &'a House,
    schemas: Schemas<'a>,
    seen: BTreeSet<String>,
}

impl Tried<'_> {
    /// What a verb prints, with an exit status; it prints something.
    #[track_caller]
    fn ends(&mut self, verb: &str, options: &[&str], code: i32) -> Vec<Json> {
        let words: Vec<&str> = verb.split(' ').chain(options.iter().copied()).collect();
        let documents = self.house.json_of(&words, code);
        assert!(!documents.is_empty(), "{words:?} prints nothing");
        self.held(verb, &documents);
        documents
    }

    #[track_caller]
    fn says(&mut self, verb: &str, options: &[&str]) -> Json {
        self.ends(verb, options, 0).remove(0)
    }

    /// What a verb that goes on has printed.
    #[track_caller]
    fn held(&mut self, verb: &str, documents: &[Json]) {
        self.schemas.hold(verb, documents);
        self.seen.insert(verb.to_owned());
    }
}

fn document(line: &str) -> Json {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// What a command that goes on prints in the line that holds a text.
fn line_of(live: &mut Live, part: &str) -> Json {
    document(&live.wait_for(part))
}

fn tasks(tried: &mut Tried<'_>) {
    let submit = ["--workflow-id", "reports", "--tags", "p2p-eligible,big", "--metadata", r#"{"a":1}"#];
    for id in ["one", "two", "three", "four"] {
        tried.says("task submit", &[&["--task-id", id], submit.as_slice()].concat());
    }
    let mut taken = || {
        let next = tried.says("task next", &[]);
        text(&next["task"], "task_id").to_owned()
    };
    let (one, two, three) = (taken(), taken(), taken());
    tried.says("task extend", &[&one]);
    tried.says("task complete", &[&one, "--result", r#"{"pages":3}"#]);
    tried.says("task result", &[&one]);
    tried.says("task fail", &[&two, "--error", "out of paper"]);
    tried.says("task release", &[&three]);
    tried.ends("why", &[&three], 0);
    tried.ends("owner", &[], 0);
    tried.says("priority", &[&three, "--urgency", "9"]);
    let none = tried.says("task next", &["--tags", "nobody-has-this"]);
    assert!(none["task"].is_null(), "{none}");
    tried.says("work", &["--count", "1", "--", "cat"]);
    tried.says("show", &[&one]);
    tried.says("task submit", &["--task-id", "five"]);
    tried.says("cancel", &["five"]);
    tried.says("rerun", &["five"]);
}

fn workflows(tried: &mut Tried<'_>) {
    tried.says("example", &[]);
    tried.says("example", &["hello"]);
    tried.ends("run", &["hello.yml"], 0);
    let submitted = tried.says("submit", &["hello.yml"]);
    let run = text(&submitted["run"], "id").to_owned();
    let followed = tried.ends("submit", &["hello.yml", "--follow", "--id", "again"], 0);
    assert!(followed.len() > 5, "{followed:?}");
    tried.says("submit", &["hello.yml", "--wait", "--id", "third"]);
    tried.house.put_script("bad.yml", "exit 3");
    tried.ends("submit", &["bad.yml", "--wait"], 1);
    tried.house.until_status(&run, "completed");
    tried.ends("logs", &[&run], 0);
    tried.says("show", &[&run]);
    let all = tried.ends("list", &[], 0);
    assert!(all.len() > 6, "{all:?}");
    // the history, in each of its shapes
    tried.ends("replay", &[], 0);
    tried.ends("replay", &["--run", &run], 0);
    let report = tried.says("replay", &["--verify"]);
    assert_eq!(report["clean"], true, "{report}");
    let events: Vec<Json> = tried.ends("replay", &["--kind", "RunSubmitted"], 0);
    let (first, last) = (text(&events[0], "id"), text(events.last().unwrap(), "id"));
    tried.says("replay", &["--at", last]);
    tried.ends("replay", &["--diff", &format!("{first}..{last}")], 0);
}

fn this_node(tried: &mut Tried<'_>) {
    tried.says("init", &["--name", "lab-1"]);
    for verb in ["status", "clock", "sync", "pause", "resume", "tags", "schema", "allow"] {
        tried.says(verb, &[]);
    }
    tried.says("allow", &["--any"]);
    tried.says("schema", &["peer", "list"]);
    tried.says("distance", &["one", "another"]);
    tried.says("check-tags", &["p2p-only", "mine"]);
    tried.says("config show", &[]);
    tried.says("config check", &[]);
    std::fs::write(tried.house.data().join("config.toml"), "[notify]\ncommand = [\"/bin/true\"]\n").unwrap();
    tried.says("notify test", &[]);
    tried.ends("doctor", &["--offline"], 0);
    tried.says("metrics alerts", &[]);
    tried.says("metrics scrape", &[]);
    tried.says("peer id", &[]);
    tried.says("peer list", &[]);
    tried.says("peer add", &["127.0.0.1:9"]);
    tried.says("peer remove", &["127.0.0.1:9"]);
    let path = |name: &str| tried.house.path(name).display().to_string();
    let (file, folder, lab) = (path("log.wfe"), path("segments"), path("lab"));
    tried.says("log export", &[&file]);
    tried.says("log export", &[&folder, "--automerge"]);
    tried.says("log import", &[&file]);
    tried.says("runner status", &[]);
    tried.says("runner stop", &[]);
    tried.says("runner rotate", &[]);
    tried.says("runner list-containers", &[]);
    std::fs::create_dir(&lab).unwrap();
    tried.says("discover once", &["--path", &lab, "--dry-run"]);
    tried.says("discover watch", &["--path", &lab]);
    let options = ["--json", "discover", "monitor", "--path", &lab, "--interval", "1"];
    let mut monitor = tried.house.begin(&options);
    let line = line_of(&mut monitor, "Discovery");
    tried.held("discover monitor", &[line]);
    monitor.stop().ends(0);
    let state = r#"{"peer_id":"a","peer_list":["a","b"],"merkle_clock":{"nodes":[]},"saved_at":1.5,"workflows":{
        "w":{"workflow_id":"w","name":"w","status":"pending","priority":1.0,"created_at":1.0,"tags":[],"inputs":{}}}}"#;
    tried.house.put("state.json", state);
    let said = tried.house.ask(&["--json", "import", "kit", "state.json"]);
    tried.held("import kit", &said.json());
}

#[test]
fn what_every_verb_prints_is_as_its_schema_says() {
    let house = House::new();
    let mut tried = Tried { house: &house, schemas: Schemas::new(&house), seen: BTreeSet::new() };
    let mut node =
        house.begin(&["--json", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--no-lan"]);
    let line = line_of(&mut node, "serving");
    tried.held("serve", &[line]);
    tasks(&mut tried);
    workflows(&mut tried);
    this_node(&mut tried);
    // another host joins
    let invite = tried.says("peer invite", &[]);
    let word = text(&invite, "join_line").split(' ').find(|word| word.len() > 40).unwrap().to_owned();
    let other = House::new();
    let joined = other.json(&["peer", "join", &word, "--listen", "127.0.0.1:0", "--no-lan"]);
    tried.held("peer join", &joined);
    // with --watch a list is one document
    for (verb, words) in [("list", ["list", "--watch"]), ("owner", ["owner", "--watch"])] {
        let mut live = house.begin(&[&["--json"], words.as_slice()].concat());
        let all = line_of(&mut live, "[");
        tried.schemas.hold(&format!("{verb} --watch"), &[all]);
        live.stop().ends(0);
    }
    node.stop().ends(0);

    let elsewhere: BTreeSet<String> = ELSEWHERE.iter().map(|(verb, _)| (*verb).to_owned()).collect();
    for verb in tried.schemas.verbs() {
        assert!(tried.seen.contains(&verb) || elsewhere.contains(&verb), "`{verb}` is not tried here");
    }
}

#[test]
fn a_schema_is_found_by_its_verb_and_other_words_are_refused() {
    let house = House::new();
    let list = house.ask(&["schema"]).ends(0).out;
    assert!(list.contains("peer list") && !list.contains("completions"), "{list}");
    let said = house.ask(&["schema", "list"]).ends(0).out;
    assert!(said.contains("Status word") && said.contains("\n  \"$schema\""), "{said}");
    house.ask(&["schema", "man"]).ends(2).complains(&["prints no JSON: it prints a page"]);
    house.ask(&["schema", "peer"]).ends(2).complains(&["there is no verb `peer`", "did you mean peer list?"]);
    assert!(!house.data().exists());
    // and it tells documents apart
    let mut schemas = Schemas::new(&house);
    let mut status = house.one(&["status"]);
    assert!(schemas.wrong("status", &status).is_empty());
    assert!(!schemas.wrong("clock", &status).is_empty());
    status["pending"] = "many".into();
    assert!(!schemas.wrong("status", &status).is_empty());
    status["pending"] = 1.into();
    status["fresh"] = true.into();
    assert!(!schemas.wrong("status", &status).is_empty());
}
