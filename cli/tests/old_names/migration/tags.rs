//! Rows about where tags stand, and about the words for how far work is.

use serde_json::json;

use super::Rows;
use super::Shown::{Here, There};
use crate::house::{House, text};
use crate::{ask, document};

pub const TAGS: Rows = &[
    (
        "`env:` of workflow and job: `WORKFLOW_TAGS`, `P2P_TAGS`, `WORKFLOW_TAG`, `WORKFLOW_TYPE`",
        &[Here(in_env)],
    ),
    ("comments `# P2P: a, b` and `# Tags: a, b`", &[Here(in_comments)]),
    ("`name:` of workflow and job", &[Here(in_names)]),
    ("`labels:` at the top and of a job", &[Here(in_labels)]),
    ("inside a script, a string, or a line that is commented out", &[Here(nowhere_else)]),
];

const CONDITIONS: &str = "cli/tests/runner_github/conditions.rs";

pub const STATUSES: Rows = &[
    (
        "ipfs-kit",
        &[
            Here(skipped_is_completed),
            There(
                "cli/tests/mcp/dialects.rs",
                &["fn coordinator("],
                &["\"pending\"", "\"in_progress\"", "\"completed\"", "\"failed\"", "\"cancelled\""],
            ),
            There(
                "engine/api/src/tools/coordinator/tests.rs",
                &["fn two_words_of_ours_are_none_of_this_dialect("],
                &["\"skipped\"", "\"expired\""],
            ),
        ],
    ),
    ("ipfs-accelerate", &[Here(assigned_counts_what_is_in_progress)]),
    ("ipfs-datasets", &[Here(scheduled_is_pending)]),
    ("TaskQueue, MCP++", &[Here(words_of_the_queue)]),
    (
        "provisioning",
        &[
            There(
                CONDITIONS,
                &["fn failed_to_generate_runner_token("],
                &["\"token_failed\"", "\"provisioned\"", "[\"token_generated\"]"],
            ),
            There(
                "cli/tests/runner_cluster/verbs.rs",
                &["fn runners_are_provisioned_and_stopped_by_hand("],
                &["\"failed\"", "\"provisioned\""],
            ),
            There(
                "cli/tests/runner_github/limits.rs",
                &["fn a_spent_budget_and_a_told_wait_are_kept_and_the_job_is_done_after_them("],
                &["until_trouble(", "GitHub's limit is spent"],
            ),
        ],
    ),
];

/// A workflow with lines at its top and in its job.
fn workflow(top: &str, job: &str, script: &str) -> String {
    format!(
        "on: workflow_dispatch\n{top}\njobs:\n  a:\n    runs-on: ubuntu-latest\n{job}\n    steps:\n      - run: |\n          {script}\n"
    )
}

/// The tags that a file turns out to have.
#[track_caller]
fn tags_of(house: &House, file: &str) -> Vec<String> {
    house.put("w.yml", file);
    let said = document(house, "ipfs-kit p2p workflow submit w.yml --json");
    let shown = house.show(text(&said, "workflow_id"));
    serde_json::from_value(shown["tags"].clone()).unwrap()
}

fn in_env(house: &House) {
    for name in ["WORKFLOW_TAGS", "P2P_TAGS", "WORKFLOW_TAG", "WORKFLOW_TYPE"] {
        let top = workflow(&format!("env:\n  {name}: p2p-only"), "", "true");
        let job = workflow("", &format!("    env:\n      {name}: p2p-only"), "true");
        assert_eq!([tags_of(house, &top), tags_of(house, &job)], [["p2p-only"]; 2], "{name}");
    }
    assert!(tags_of(house, &workflow("env:\n  OTHER_TAGS: p2p-only", "", "true")).is_empty());
}

fn in_comments(house: &House) {
    for comment in ["# P2P: p2p-eligible, web-scraping", "# Tags: p2p-eligible, web-scraping"] {
        let tags = tags_of(house, &workflow(comment, "", "true"));
        assert_eq!(tags, ["p2p-eligible", "web-scraping"], "{comment}");
    }
    let quoted = workflow("name: \"text # P2P: p2p-eligible\"", "", "true");
    assert!(tags_of(house, &quoted).is_empty());
}

fn in_names(house: &House) {
    for name in ["P2P-Workflow Scrape", "offline-workflow"] {
        let top = workflow(&format!("name: {name}"), "", "true");
        let job = workflow("", &format!("    name: {name}"), "true");
        assert_eq!([tags_of(house, &top), tags_of(house, &job)], [["p2p-only"]; 2], "{name}");
    }
    assert!(tags_of(house, &workflow("name: web-scraping", "", "true")).is_empty());
}

fn in_labels(house: &House) {
    assert_eq!(tags_of(house, &workflow("labels: [p2p-eligible, gpu]", "", "true")), ["p2p-eligible", "gpu"]);
    assert_eq!(
        tags_of(house, &workflow("", "    labels: [p2p-eligible, gpu]", "true")),
        ["p2p-eligible", "gpu"]
    );
}

fn nowhere_else(house: &House) {
    for file in [
        workflow("", "", "echo WORKFLOW_TAGS=p2p-only P2P-Workflow # P2P: p2p-only"),
        workflow("env:\n  TEXT: \"# Tags: p2p-only\"", "", "true"),
        workflow("# env: {WORKFLOW_TAGS: p2p-only}\n# labels: [p2p-only]", "", "true"),
    ] {
        assert!(tags_of(house, &file).is_empty(), "{file}");
    }
}

fn skipped_is_completed(house: &House) {
    house.put("w.yml", workflow("", "    if: false", "true"));
    house.ask(&["run", "w.yml"]).ends(0);
    let run = house.json(&["list"]).remove(0);
    assert_eq!(run["status"], "skipped");
    let said = document(house, &format!("ipfs-kit p2p workflow status {}", text(&run, "id")));
    assert_eq!(said["status"], "completed");
    assert_eq!(document(house, "ipfs-kit p2p workflow list --status completed")["count"], 1);
}

fn assigned_counts_what_is_in_progress(house: &House) {
    for id in ["a", "b", "c"] {
        let line = "ipfs-accelerate p2p-workflow submit --workflow-id w --name n --task-id";
        ask(house, &format!("{line} {id}")).ends(0);
    }
    ask(house, "ipfs-accelerate p2p-workflow next").ends(0);
    ask(house, "ipfs-accelerate p2p-workflow complete --task-id a").ends(0);
    ask(house, "ipfs-accelerate p2p-workflow next").ends(0);
    assert_eq!(house.show("b")["status"], "in_progress");
    let said = document(house, "ipfs-accelerate p2p-workflow status --json");
    let counts = ["pending_tasks", "assigned_tasks", "completed_tasks"].map(|field| said[field].clone());
    assert_eq!(json!(counts), json!([1, 1, 1]), "{said}");
}

fn scheduled_is_pending(house: &House) {
    house.ask(&["init", "--name", "me"]).ends(0);
    let said = document(house, "ipfs-datasets p2p schedule --id a --name n --tags p2p_only --json");
    let result = &said["result"];
    assert_eq!((&result["assigned_peer"], &result["is_local"]), (&"me".into(), &true.into()), "{said}");
    assert_eq!(house.show("a")["status"], "pending");
}

fn words_of_the_queue(house: &House) {
    house.ask(&["task", "submit", "--task-id", "a"]).ends(0);
    assert_eq!(house.show("a")["status"], "pending");
    house.ask(&["task", "next"]).ends(0);
    assert_eq!(house.show("a")["status"], "in_progress");
    house.ask(&["show", "unknown"]).ends(2).complains(&["`unknown` is not known here"]);
}
