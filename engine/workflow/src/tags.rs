//! Tags: the words by which a workflow says where it wants to run, and what it is about.
//!
//! They are read from the parsed file, never from text inside scripts or strings: from `env` of workflow and jobs, from
//! comments `# P2P: …` and `# Tags: …`, from names, and from `labels:`. Each remembers where it was found.
//! Routing is per workflow, from the union of all its tags.
//!
//! Tags are read before anything is evaluated: a word with `${{ }}` in it is never one.

use std::{collections::BTreeSet, fmt};

use crate::{
    diagnostic::{Diagnostic, Position},
    expression::Value,
    limits,
    model::{Word, Workflow},
    template::{Part, Template, Tree},
};

/// A canonical tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag {
    /// Runs on peers and never reaches GitHub.
    P2pOnly,
    /// Runs on peers, may fall back to GitHub.
    P2pEligible,
    /// Needs GitHub's interface: never claimed by peers.
    GithubApi,
    /// Belongs to GitHub's checks: never claimed by peers.
    UnitTest,
    /// What the work is about.
    CodeGeneration,
    /// What the work is about.
    WebScraping,
    /// What the work is about.
    DataProcessing,
}

impl Tag {
    /// All of them, in the order they are listed to people.
    pub const ALL: [Tag; 7] = [
        Tag::P2pOnly,
        Tag::P2pEligible,
        Tag::GithubApi,
        Tag::UnitTest,
        Tag::CodeGeneration,
        Tag::WebScraping,
        Tag::DataProcessing,
    ];

    /// The canonical spelling.
    pub fn name(self) -> &'static str {
        match self {
            Tag::P2pOnly => "p2p-only",
            Tag::P2pEligible => "p2p-eligible",
            Tag::GithubApi => "github-api",
            Tag::UnitTest => "unit-test",
            Tag::CodeGeneration => "code-generation",
            Tag::WebScraping => "web-scraping",
            Tag::DataProcessing => "data-processing",
        }
    }

    /// What it means, in one sentence.
    pub fn description(self) -> &'static str {
        match self {
            Tag::P2pOnly => "runs on peers and never on GitHub",
            Tag::P2pEligible => "runs on peers, and on GitHub when no peer takes it",
            Tag::GithubApi => "needs GitHub: peers never claim it",
            Tag::UnitTest => "belongs to GitHub's checks: peers never claim it",
            Tag::CodeGeneration => "generates code",
            Tag::WebScraping => "scrapes web pages",
            Tag::DataProcessing => "processes data",
        }
    }

    /// Reads a word in any of the accepted spellings: kebab or snake, any case, with the aliases of the older systems.
    pub fn parse(word: &str) -> Option<Tag> {
        match word.trim().to_lowercase().replace('_', "-").as_str() {
            "p2p-only" | "p2p-workflow" | "offline-workflow" => Some(Tag::P2pOnly),
            "p2p-eligible" => Some(Tag::P2pEligible),
            "github-api" => Some(Tag::GithubApi),
            "unit-test" => Some(Tag::UnitTest),
            "code-generation" | "code-gen" => Some(Tag::CodeGeneration),
            "web-scraping" | "web-scrape" => Some(Tag::WebScraping),
            "data-processing" => Some(Tag::DataProcessing),
            _ => None,
        }
    }

    /// Whether it asks for peers.
    pub fn is_p2p(self) -> bool {
        matches!(self, Tag::P2pOnly | Tag::P2pEligible)
    }

    /// Whether it forbids peers.
    pub fn is_github(self) -> bool {
        matches!(self, Tag::GithubApi | Tag::UnitTest)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether tasks with these tags go to peers: a p2p tag and nothing that forbids it.
pub fn should_bypass_github<'w>(words: impl IntoIterator<Item = &'w str>) -> bool {
    matches!(route(words.into_iter().filter_map(Tag::parse)), Routing::P2pOnly | Routing::P2pEligible)
}

/// Whether tasks with these tags must never reach GitHub.
pub fn is_p2p_only<'w>(words: impl IntoIterator<Item = &'w str>) -> bool {
    route(words.into_iter().filter_map(Tag::parse)) == Routing::P2pOnly
}

/// Where tags send a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// To peers and nowhere else.
    P2pOnly,
    /// To peers first.
    P2pEligible,
    /// Never to peers.
    GithubOnly,
    /// The tags do not say.
    None,
}

impl Routing {
    /// The word for listings.
    pub fn name(self) -> &'static str {
        match self {
            Routing::P2pOnly => "p2p-only",
            Routing::P2pEligible => "p2p-eligible",
            Routing::GithubOnly => "github-only",
            Routing::None => "none",
        }
    }
}

/// The routing of a set of tags: what forbids peers wins, then p2p-only.
pub fn route(tags: impl IntoIterator<Item = Tag>) -> Routing {
    let tags: BTreeSet<Tag> = tags.into_iter().collect();
    if tags.iter().any(|tag| tag.is_github()) {
        Routing::GithubOnly
    } else if tags.contains(&Tag::P2pOnly) {
        Routing::P2pOnly
    } else if tags.contains(&Tag::P2pEligible) {
        Routing::P2pEligible
    } else {
        Routing::None
    }
}

/// A tag and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTag {
    /// The tag.
    pub tag: Tag,
    /// The word as written.
    pub word: String,
    /// Where it stands.
    pub at: Position,
    /// The kind of place: `env`, `comment`, `name`, `labels`.
    pub place: &'static str,
}

/// All that tags say about a workflow.
#[derive(Debug, Clone)]
pub struct Tags {
    /// Known tags in the order of the file.
    pub found: Vec<FoundTag>,
    /// Words of `labels:` that are no tags: shown and filtered by, never a condition on peers.
    pub labels: Vec<Word>,
    /// Words elsewhere that are no tags.
    pub unknown: Vec<Word>,
    /// Where the workflow goes.
    pub routing: Routing,
    /// What people should be told.
    pub warnings: Vec<Diagnostic>,
}

impl Tags {
    /// The distinct tags in their listing order.
    pub fn tags(&self) -> BTreeSet<Tag> {
        self.found.iter().map(|found| found.tag).collect()
    }

    /// Distinct tags and free labels as words, for a listing or a filter.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.tags().into_iter().map(|tag| tag.name().to_owned()).collect();
        for label in &self.labels {
            if !words.contains(&label.text) {
                words.push(label.text.clone());
            }
        }
        words
    }
}

const ENV_NAMES: [&str; 4] = ["WORKFLOW_TAGS", "P2P_TAGS", "WORKFLOW_TAG", "WORKFLOW_TYPE"];

/// Reads the tags of a workflow.
pub fn of(workflow: &Workflow) -> Tags {
    let mut words: Vec<(Word, &'static str)> = Vec::new();
    for comment in &workflow.comments {
        let Some((name, rest)) = comment.text.split_once(':') else { continue };
        if matches!(name.trim().to_lowercase().as_str(), "p2p" | "tags") {
            words.extend(comment_words(rest, comment.at).into_iter().map(|word| (word, "comment")));
        }
    }
    let envs = std::iter::once(workflow.env.as_ref()).chain(workflow.jobs.iter().map(|job| job.env.as_ref()));
    for env in envs.flatten() {
        for (name, value) in env.entries() {
            let name = name.as_literal().map(Value::to_text).unwrap_or_default();
            if ENV_NAMES.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                words.extend(env_words(value).into_iter().map(|word| (word, "env")));
            }
        }
    }
    let names = workflow.name.clone().into_iter().chain(workflow.jobs.iter().filter_map(|job| {
        let name = job.name.as_ref()?;
        Some(Word { at: name.at(), text: outside_expressions(name) })
    }));
    for name in names {
        let lower = name.text.to_lowercase().replace('_', "-");
        for known in ["p2p-workflow", "offline-workflow"] {
            if lower.contains(known) {
                words.push((Word { at: name.at, text: known.to_owned() }, "name"));
            }
        }
    }
    for label in workflow.labels.iter().chain(workflow.jobs.iter().flat_map(|job| &job.labels)) {
        words.extend(split(&label.text, is_comma).map(|text| (Word { at: label.at, text }, "labels")));
    }
    words.sort_by_key(|(word, _)| word.at);
    sort_out(workflow, words)
}

fn sort_out(workflow: &Workflow, words: Vec<(Word, &'static str)>) -> Tags {
    let (mut found, mut labels, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (word, place) in words {
        match Tag::parse(&word.text) {
            Some(tag) => found.push(FoundTag { tag, word: word.text, at: word.at, place }),
            None if place == "labels" => labels.push(word),
            None => unknown.push(word),
        }
    }
    let mut routing = route(found.iter().map(|found| found.tag));
    let mut warnings = Vec::new();
    let p2p = found.iter().find(|found| found.tag.is_p2p());
    let github = found.iter().find(|found| found.tag.is_github());
    if let (Some(p2p), Some(github)) = (p2p, github) {
        let message = format!(
            "the tag '{}' wins over '{}' at {}: peers will not run this workflow",
            github.tag, p2p.tag, p2p.at
        );
        warnings.push(Diagnostic::new(&workflow.file, github.at, message, "one of the two"));
    }
    // what GitHub refuses cannot fall back to it
    if let (Routing::P2pEligible, Some(p2p), Some(note)) =
        (routing, p2p, workflow.not_valid_on_github().first())
    {
        routing = Routing::P2pOnly;
        let message = format!(
            "'{}' counts as 'p2p-only' here, because GitHub refuses the file: {}",
            p2p.tag, note.message
        );
        warnings.push(Diagnostic::new(&workflow.file, p2p.at, message, ""));
    }
    for word in unknown.iter().take(limits::DIAGNOSTICS_MAX) {
        let near = crate::diagnostic::near_matches(&word.text, Tag::ALL.map(Tag::name));
        let message = if word.text.contains("${{") {
            format!("'{}' has no value yet when tags are read, and does nothing", word.text)
        } else {
            format!("'{}' is no tag and does nothing", word.text)
        };
        warnings.push(Diagnostic::new(
            &workflow.file,
            word.at,
            message,
            crate::diagnostic::quoted_list(near),
        ));
    }
    Tags { found, labels, unknown, routing, warnings }
}

/// What stands between separators. Quotes and brackets around it are dropped.
fn split(text: &str, separates: fn(char) -> bool) -> impl Iterator<Item = String> {
    text.split(separates)
        .map(|word| word.trim().trim_matches(['"', '\'', '[', ']']).trim())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
}

fn is_comma(c: char) -> bool {
    c == ','
}

fn is_comma_or_space(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

/// Words of a comment, between commas. Where several stand between two commas they are tags only if all of them are: a comment
/// is also where people write sentences.
fn comment_words(text: &str, at: Position) -> Vec<Word> {
    let between_commas = split(text, is_comma).flat_map(|part| {
        let words: Vec<String> = split(&part, char::is_whitespace).collect();
        if words.iter().all(|word| Tag::parse(word).is_some()) { words } else { vec![part] }
    });
    between_commas.map(|text| Word { at, text }).collect()
}

/// Comma or space separated words of every text in an `env` value; an expression is part of the word it stands in.
fn env_words(value: &Tree) -> Vec<Word> {
    let mut words = Vec::new();
    for template in value.templates() {
        // an expression is put back after the split, for it has spaces of its own
        let mut expressions = Vec::new();
        let mut text = String::new();
        for part in template.parts() {
            match part {
                Part::Text(outside) => text.push_str(&outside.replace(MARK, " ")),
                Part::Expression(expression) => {
                    text.push(MARK);
                    expressions.push(format!("${{{{ {} }}}}", expression.source()));
                }
            }
        }
        let mut expressions = expressions.into_iter();
        for word in split(&text, is_comma_or_space) {
            let mut whole = String::new();
            for c in word.chars() {
                match c {
                    MARK => whole.push_str(&expressions.next().unwrap_or_default()),
                    _ => whole.push(c),
                }
            }
            words.push(Word { at: template.at(), text: whole });
        }
    }
    words
}

/// The text of a name without its expressions.
fn outside_expressions(name: &Template) -> String {
    let texts = name.parts().into_iter().map(|part| match part {
        Part::Text(text) => text,
        Part::Expression(_) => MARK.to_string(),
    });
    texts.collect()
}

/// Stands for an expression in a text that is split into words.
const MARK: char = '\u{fffc}';

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Tags {
        of(&Workflow::read(text.as_bytes(), "f.yml").unwrap())
    }

    const JOBS: &str = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - run: |\n        # P2P: p2p-only\n        echo WORKFLOW_TAGS=p2p-only\n";

    #[test]
    fn the_vectors_of_the_older_systems_hold() {
        assert!(should_bypass_github(["p2p-only", "code-generation"]));
        assert!(is_p2p_only(["p2p-only", "code-generation"]));
        assert!(!should_bypass_github(["unit-test", "github-api"]));
        assert!(!is_p2p_only(["unit-test", "github-api"]));
        assert!(should_bypass_github(["P2P_ELIGIBLE"]) && !is_p2p_only(["p2p-eligible"]));
        assert!(!should_bypass_github(["p2p-only", "unit-test"]));
        assert!(!should_bypass_github(["web_scrape"]));
    }

    #[test]
    fn every_spelling_of_the_alias_table_is_read() {
        for (word, tag) in [
            ("P2P-Only", Tag::P2pOnly),
            ("p2p_only", Tag::P2pOnly),
            ("p2p-workflow", Tag::P2pOnly),
            ("offline-workflow", Tag::P2pOnly),
            ("code_gen", Tag::CodeGeneration),
            ("code-generation", Tag::CodeGeneration),
            ("web-scrape", Tag::WebScraping),
            ("DATA_PROCESSING", Tag::DataProcessing),
            ("GITHUB_API", Tag::GithubApi),
        ] {
            assert_eq!(Tag::parse(word), Some(tag), "{word}");
        }
        assert_eq!(Tag::parse("p2p"), None);
    }

    #[test]
    fn scripts_strings_and_commented_out_lines_tag_nothing() {
        let text = format!(
            "# WORKFLOW_TAGS: p2p-only\nname: 'P2P: p2p-only'\nenv:\n  NOTE: 'Tags: p2p-only'\n{JOBS}"
        );
        let tags = tags(&text);
        assert!(tags.found.is_empty() && tags.routing == Routing::None, "{tags:?}");
    }

    #[test]
    fn tags_come_from_comments_env_names_and_labels_with_their_places() {
        let text = format!(
            "# P2P: p2p-eligible, data_processing\nname: My p2p-workflow\n{JOBS}    env:\n      WORKFLOW_TAGS: \"code-gen web-scraping\"\n"
        );
        let tags = tags(&text);
        let found: Vec<(Tag, &str, u32)> = tags.found.iter().map(|f| (f.tag, f.place, f.at.line)).collect();
        assert_eq!(
            found,
            [
                (Tag::P2pEligible, "comment", 1),
                (Tag::DataProcessing, "comment", 1),
                (Tag::P2pOnly, "name", 2),
                (Tag::CodeGeneration, "env", 12),
                (Tag::WebScraping, "env", 12),
            ]
        );
        assert_eq!(tags.routing, Routing::P2pOnly);
    }

    #[test]
    fn what_needs_github_wins_with_a_warning() {
        let tags = tags(&format!("# P2P: p2p-only\n# Tags: unit-test, speedy\n{JOBS}"));
        assert_eq!(tags.routing, Routing::GithubOnly);
        assert_eq!(tags.warnings.len(), 2);
        assert_eq!(tags.unknown[0].text, "speedy");
    }

    #[test]
    fn labels_make_eligible_only_and_keep_free_words() {
        let eligible = tags(&format!("labels: [p2p-eligible, high-memory]\n{JOBS}"));
        assert_eq!(eligible.routing, Routing::P2pOnly);
        assert_eq!(eligible.words(), ["p2p-eligible", "high-memory"]);
        let free = tags(&format!("labels: [high-memory]\n{JOBS}"));
        assert_eq!(free.routing, Routing::None);
    }
}
