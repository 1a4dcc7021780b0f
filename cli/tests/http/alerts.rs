//! The alert rules: a file that Prometheus can read, over figures that a node really tells.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_workflow::reader::{Node, read};

use crate::house::House;
use crate::metrics::told;
use crate::raw::Served;

/// What Prometheus has by itself.
const OF_PROMETHEUS: [&str; 1] = ["up"];
/// Words of its language that are no names of figures.
const WORDS: [&str; 7] = ["and", "or", "unless", "by", "ignoring", "on", "without"];
/// Functions and aggregations.
const FUNCTIONS: [&str; 6] = ["sum", "max", "increase", "rate", "histogram_quantile", "min_over_time"];
/// The rules, in their order.
const WATCHED: [&str; 12] = [
    "WfengineNodeDown",
    "WfengineQueueStuck",
    "WfenginePeerLags",
    "WfenginePeerOwes",
    "WfengineClaimsConflict",
    "WfengineCommitsSlow",
    "WfengineGithubBudgetLow",
    "WfengineDiskLow",
    "WfengineDiskCritical",
    "WfengineRunnersStartSlowly",
    "WfengineQueuedJobsWithoutRunner",
    "WfenginePaused",
];

fn printed() -> String {
    House::new().ask(&["metrics", "alerts"]).ends(0).out
}

fn rules(root: &Node) -> &[Node] {
    let groups = root.entry("groups").unwrap().items();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].entry("name").unwrap().text().unwrap(), "wfengine");
    groups[0].entry("rules").unwrap().items()
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Names of figures in an expression, and the labels that stand in braces or brackets beside them.
fn figures(expression: &str) -> BTreeSet<String> {
    let mut figures = BTreeSet::new();
    let mut rest = expression;
    let mut depth = 0_u32;
    let mut lists_labels = false;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let end = rest[1..].find('"').unwrap();
            rest = &rest[end + 2..];
        } else if first == '{' || first == '[' {
            let end = rest.find(if first == '{' { '}' } else { ']' }).unwrap();
            rest = &rest[end + 1..];
        } else if is_name(first) {
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let is_number = word.starts_with(|c: char| c.is_ascii_digit());
            let is_called = FUNCTIONS.contains(&word);
            if WORDS.contains(&word) {
                lists_labels = after.trim_start().starts_with('(');
            } else if !is_called && !is_number && !lists_labels {
                figures.insert(word.to_owned());
            }
            rest = after;
        } else {
            match first {
                '(' => depth += 1,
                ')' => {
                    depth = depth.checked_sub(1).unwrap_or_else(|| panic!("{expression}"));
                    lists_labels = false;
                }
                _ => {}
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    assert_eq!(depth, 0, "{expression}");
    figures
}

/// Every name under which a node's samples go, as its text says.
fn served(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines() {
        let Some(("TYPE", declared)) = line.strip_prefix("# ").and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let (name, kind) = declared.split_once(' ').unwrap();
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_count", "_sum"],
            _ => &[""],
        };
        names.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    names
}

#[test]
fn every_figure_of_the_rules_is_told_by_a_node() {
    let text = told(&Served::new());
    let served = served(&text);
    assert!(served.contains("wfengine_claims_total") && served.contains("iterations"), "{served:?}");
    let printed = printed();
    let document = read(printed.as_bytes(), "wfengine-alerts.yml").unwrap();
    let mut asked = BTreeSet::new();
    for rule in rules(&document.root) {
        let figures = figures(&rule.entry("expr").unwrap().text().unwrap());
        assert!(!figures.is_empty());
        asked.extend(figures);
    }
    let unknown: Vec<&String> = asked
        .iter()
        .filter(|name| !served.contains(*name) && !OF_PROMETHEUS.contains(&name.as_str()))
        .collect();
    assert!(unknown.is_empty(), "no node tells {unknown:?}");
    assert!(asked.len() > 10, "{asked:?}");
}

#[test]
fn the_rules_are_what_prometheus_reads() {
    let printed = printed();
    let document = read(printed.as_bytes(), "wfengine-alerts.yml").unwrap();
    let mut names = Vec::new();
    for rule in rules(&document.root) {
        let fields: BTreeMap<String, &Node> =
            rule.entries().iter().map(|(key, value)| (key.text().unwrap(), value)).collect();
        let name = fields["alert"].text().unwrap();
        for field in fields.keys() {
            assert!(
                ["alert", "expr", "for", "labels", "annotations"].contains(&field.as_str()),
                "{name}: {field}"
            );
        }
        if let Some(wait) = fields.get("for") {
            let wait = wait.text().unwrap();
            let number = wait.strip_suffix(['m', 'h']).unwrap_or_else(|| panic!("{name}: for {wait}"));
            assert!(number.parse::<u32>().is_ok_and(|number| number > 0), "{name}: for {wait}");
        }
        let severity = fields["labels"].entry("severity").unwrap().text().unwrap();
        assert!(["page", "ticket"].contains(&severity.as_str()), "{name}: {severity}");
        for field in ["summary", "description"] {
            let text = fields["annotations"].entry(field).unwrap().text().unwrap();
            assert!(text.len() > 10 && !text.contains('\n'), "{name}: {text}");
            assert_eq!(text.matches("{{").count(), text.matches("}}").count(), "{name}: {text}");
        }
        names.push(name);
    }
    assert_eq!(names, WATCHED);
}

#[test]
fn the_scrape_configuration_names_the_node_that_serves_and_its_token() {
    let served = Served::new();
    let printed = served.house.ask(&["metrics", "scrape"]).ends(0).out;
    let document = read(printed.as_bytes(), "wfengine-scrape.yml").unwrap();
    let configuration = &document.root.entry("scrape_configs").unwrap().items()[0];
    let file =
        configuration.entry("authorization").unwrap().entry("credentials_file").unwrap().text().unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), served.token);
    let target = &configuration.entry("static_configs").unwrap().items()[0];
    assert_eq!(target.entry("targets").unwrap().items()[0].text().unwrap(), served.address);
    // the rules ask for what has this name
    assert_eq!(configuration.entry("job_name").unwrap().text().unwrap(), "wfengine");
    House::new().ask(&["metrics", "scrape"]).ends(4).complains(&["wfengine serve"]);
    served
        .house
        .ask(&[
            "--node",
            &format!("http://{}", served.address),
            "--token",
            &served.token,
            "metrics",
            "scrape",
        ])
        .ends(2)
        .complains(&["metrics scrape"]);
}

/// What stands in backticks in the first cells of a table below a heading of the guide.
fn of_guide(heading: &str) -> BTreeSet<String> {
    let guide = include_str!("../../guide/metrics.md");
    let (_, below) = guide.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = below.split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
}

#[test]
fn the_guide_names_every_figure_and_every_rule() {
    let text = told(&Served::new());
    let declared = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let figures: BTreeSet<String> = declared
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    assert_eq!(of_guide("Figures"), figures);
    assert_eq!(of_guide("Alert rules"), WATCHED.map(str::to_owned).into());
}

#[test]
fn figures_are_found_in_expressions() {
    let found =
        figures("max by (job) (a_b) > 0 and rate(c_total{d=\"e f\"}[5m]) < ignoring(level) g{h=\"i\"}");
    assert_eq!(found, ["a_b", "c_total", "g"].map(str::to_owned).into());
}
