//! Rows about the verbs of `ipfs-accelerate`.

use std::net::TcpListener;

use serde_json::{Value as Json, json};

use super::Shown::{Here, There};
use super::{Rows, started};
use crate::checkout::Github;
use crate::documents::answer_of_the_door;
use crate::house::{House, text};
use crate::lab::LABELS;
use crate::{ask, document};

const HERE: &str = "cli/tests/old_names/main.rs";
const GITHUB_IS_THERE: &[&str] = &["fn with_a_github_discovery_prints_the_block_and_who_is_known("];
const WITH_BOTH: &str = "cli/tests/old_names/with_both.rs";
const WITH_AN_ENGINE: &str = "cli/tests/old_names/migration/with_an_engine.rs";
const VERBS: &str = "cli/tests/runner_cluster/verbs.rs";

pub const P2P_WORKFLOW: Rows = &[
    ("`status [--json]`", &[Here(status)]),
    ("`submit --task-id --workflow-id --name [--tags a b] [--priority 5]`", &[Here(submit)]),
    ("`next [--json]`", &[Here(next)]),
    ("`complete --task-id`", &[Here(complete)]),
    ("`check-tags --tags a b [--json]`", &[Here(check_tags)]),
    ("`clock [--json]`", &[Here(clock)]),
];

pub const GITHUB: Rows = &[
    (
        "`p2p-discover monitor [--owner] [--interval 300]`",
        &[
            There(HERE, GITHUB_IS_THERE, &["github p2p-discover monitor --owner octo --interval 180"]),
            There(
                "cli/tests/discovery/main.rs",
                &["fn monitor_says_what_changed_and_nothing_twice("],
                &[".matches(\"Discovery: 0 workflows\").count(), 1"],
            ),
        ],
    ),
    (
        "`p2p-discover once [--owner] [--output-json]`",
        &[There(
            HERE,
            GITHUB_IS_THERE,
            &["p2p-discover once --owner octo --output-json", "once.out.starts_with(block)"],
        )],
    ),
    (
        "`autoscaler [--owner] [--interval 60] [--since-days 1] [--max-runners] [--no-p2p]`",
        &[
            There(WITH_BOTH, &["const DISCOVERY"], &["ipfs-accelerate github autoscaler --no-p2p"]),
            There(
                WITH_AN_ENGINE,
                &["fn the_autoscaler_runs_what_it_finds_and_goes_on_looking("],
                &["github autoscaler --owner myorg --interval 60 --since-days 1 --max-runners 2"],
            ),
        ],
    ),
    (
        "`runners list [--repo]`",
        &[There(
            WITH_AN_ENGINE,
            &["fn the_verbs_about_runners_do_what_the_guide_says("],
            &["github runners list --repo"],
        )],
    ),
    (
        "`runners provision [--repo]`",
        &[There(
            WITH_AN_ENGINE,
            &["fn the_verbs_about_runners_do_what_the_guide_says("],
            &["github runners provision --repo", "no token is handed out"],
        )],
    ),
    ("`queues [--owner]`", &[Here(queues)]),
    (
        "`workflows [OWNER/NAME]`",
        &[Here(queues), There(HERE, GITHUB_IS_THERE, &["github workflows octo/two"])],
    ),
    ("`repos [--owner]`", &[There(HERE, GITHUB_IS_THERE, &["github repos --owner octo"])]),
    ("`auth`", &[There(HERE, GITHUB_IS_THERE, &["github auth --json", "[\"github\", \"auth\"]"])]),
];

pub const MCP_AND_RUNNER: Rows = &[
    ("`mcp start [--port 9000] [--host]`", &[Here(the_door_is_this_hosts)]),
    (
        "`mcp start --autoscaler-owner/-interval/-since-days/-max-runners`, `--no-p2p`",
        &[Here(each_of_four_options_asks_for_runners)],
    ),
    ("`mcp start --disable-autoscaler`", &[Here(without_runners_nothing_is_started)]),
    (
        "`runner start [--owner] [--interval 120] [--max-runners 10] [--image] [--background]`",
        &[
            Here(the_image_is_githubs_own),
            There(
                WITH_BOTH,
                &["const RUNNERS", "fn the_lines_of_the_runners_do_what_they_say("],
                &["--background"],
            ),
            There(
                "cli/src/old_names/accelerate.rs",
                &["fn runners_are_started_by_our_own_command_line("],
                &["runner start --anew --interval=120 --max-runners=10"],
            ),
            There(
                "cli/tests/runner_policy/golden.rs",
                &["fn a_container_of_a_runner_is_made_as_the_golden_file_says("],
                &["golden()"],
            ),
        ],
    ),
    (
        "`runner stop`",
        &[
            There(WITH_BOTH, &["const RUNNERS"], &["ipfs-accelerate runner stop"]),
            There(VERBS, &["fn stop_lets_jobs_finish_and_leaves_no_rule_of_the_firewall("], &["draining"]),
        ],
    ),
    (
        "`runner status`, `list-workflows`, `list-containers`",
        &[There(
            WITH_BOTH,
            &["const RUNNERS"],
            &[
                "ipfs-accelerate runner status",
                "ipfs-accelerate runner list-workflows",
                "ipfs-accelerate runner list-containers",
            ],
        )],
    ),
    (
        "`runner provision [--repo]`",
        &[
            Here(runners_are_asked_of_the_node),
            There(WITH_BOTH, &["const RUNNERS"], &["ipfs-accelerate runner provision --repo owner/repo"]),
        ],
    ),
    (
        "`runner stop-container --container`",
        &[
            There(WITH_BOTH, &["const RUNNERS"], &["ipfs-accelerate runner stop-container --container"]),
            There(
                WITH_AN_ENGINE,
                &["fn the_verbs_about_runners_do_what_the_guide_says("],
                &["has a job", "--force"],
            ),
        ],
    ),
    ("`--format json|text`, `--verbose`", &[Here(options_before_and_after_the_verb)]),
];

const SUBMIT: &str = "ipfs-accelerate p2p-workflow submit --task-id a --workflow-id w --name";

fn status(house: &House) {
    ask(house, &format!("{SUBMIT} n")).ends(0);
    let said = ask(house, "ipfs-accelerate p2p-workflow status").ends(0);
    assert!(said.out.contains("\nPending Tasks: 1\n"), "{said:?}");
    let theirs = document(house, "ipfs-accelerate p2p-workflow status --json");
    let ours = house.one(&["status"]);
    assert_eq!((&theirs["peer_id"], &theirs["pending_tasks"]), (&ours["peer"], &ours["pending"]));
}

fn submit(house: &House) {
    let said = ask(house, &format!("{SUBMIT} n --tags p2p-only code-generation --priority 8")).ends(0);
    assert!(
        said.out.starts_with("Task ID: a\nTask Hash: ") && said.out.ends_with("\nPriority: 8\n"),
        "{said:?}"
    );
    let shown = house.show("a");
    assert_eq!((&shown["workflow_id"], &shown["priority"]), (&"w".into(), &1.5.into()), "{shown}");
    ask(house, &format!("{SUBMIT} n --tags p2p-only code-generation --priority 8"))
        .ends(0)
        .complains(&["it is the same task"]);
    assert_eq!(house.json(&["list"]).len(), 1);
    ask(house, &format!("{SUBMIT} other --tags p2p-only code-generation --priority 8"))
        .ends(1)
        .complains(&["was used before for other content"]);
    // as our own verb has it
    house.ask(&["task", "submit", "--task-id", "b", "--urgency", "8"]).ends(0);
    assert_eq!(house.show("b")["priority"], 1.5);
}

fn next(house: &House) {
    ask(house, &format!("{SUBMIT} n")).ends(0);
    let said = ask(house, "ipfs-accelerate p2p-workflow next").ends(0).complains(&["held for ten minutes"]);
    assert!(said.out.starts_with("Task ID: a\nWorkflow ID: w\nName: n\n"), "{said:?}");
    house.ask(&["task", "release", "a"]).ends(0);
    let task = document(house, "ipfs-accelerate p2p-workflow next --json")["task"].clone();
    assert_eq!((&task["task_id"], &task["lease_ms"]), (&"a".into(), &600_000.into()), "{task}");
    house.ask(&["task", "complete", "a", "--fencing-token", text(&task, "fencing_token")]).ends(0);
}

fn complete(house: &House) {
    ask(house, &format!("{SUBMIT} n")).ends(0);
    let complete = "ipfs-accelerate p2p-workflow complete --task-id a";
    ask(house, complete).ends(1).complains(&["held by nobody", "wfengine task next"]);
    ask(house, "ipfs-accelerate p2p-workflow next").ends(0);
    assert_eq!(ask(house, complete).ends(0).out, "Task ID: a\nStatus: completed\n");
    assert_eq!(house.show("a")["status"], "completed");
}

fn check_tags(house: &House) {
    let line = "ipfs-accelerate p2p-workflow check-tags --tags p2p-eligible gpu";
    let said = ask(house, line).ends(0).complains(&["no routing tags, kept as labels: gpu"]);
    assert_eq!(said.out, "Should Bypass GitHub: Yes\nP2P Only: No\n");
    let theirs = document(house, &format!("{line} --json"));
    let ours = house.one(&["check-tags", "--tags", "p2p-eligible", "gpu"]);
    for field in ["should_bypass_github", "is_p2p_only", "tags"] {
        assert_eq!(theirs[field], ours[field], "{field}");
    }
    assert_eq!(theirs["unknown_tags"], json!(["gpu"]));
}

fn clock(house: &House) {
    ask(house, &format!("{SUBMIT} n")).ends(0);
    let theirs = document(house, "ipfs-accelerate p2p-workflow clock --json");
    let ours = house.one(&["clock"]);
    for field in ["node_id", "vector", "merkle_root"] {
        assert_eq!(theirs[field], ours[field], "{field}");
    }
    let said = ask(house, "ipfs-accelerate p2p-workflow clock").ends(0);
    assert!(said.out.contains(&format!("Merkle Root: {}\n", text(&ours, "merkle_root"))), "{said:?}");
}

fn queues(house: &House) {
    let github = Github::with_repository("octo/one", &[("data.txt", "x")]);
    github.standin.queue_jobs("octo/one", "build", &LABELS, 2);
    let url = github.standin.base_url();
    let variables = [("GITHUB_TOKEN", github.token.as_str()), ("GITHUB_API_URL", url.as_str())];
    let asked = |line: &str| started(house, line, &variables).end().ends(0).out;
    for line in ["ipfs-accelerate github queues --owner octo", "ipfs-accelerate github workflows octo/one"] {
        let rows: Json = serde_json::from_str(&asked(&format!("{line} --json"))).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
        assert_eq!((&rows[0]["repo"], &rows[0]["queued_jobs"]), (&"octo/one".into(), &2.into()), "{rows}");
    }
    for line in ["ipfs-accelerate github queues --owner acme", "ipfs-accelerate github workflows octo/two"] {
        assert_eq!(asked(line), "none\n", "{line}");
    }
}

/// Nodes of these tests are heard by nobody else.
fn alone(house: &House) {
    std::fs::create_dir_all(house.data()).unwrap();
    let settings = "[network]\nlisten = \"127.0.0.1:0\"\nlan = false\n";
    std::fs::write(house.data().join("config.toml"), settings).unwrap();
}

fn the_door_is_this_hosts(house: &House) {
    alone(house);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut live = started(house, &format!("ipfs-accelerate mcp start --port {port}"), &[]);
    let line = live.wait_for("programs ask at ");
    assert!(line.contains("http://127.0.0.1:") && line.contains("http-token"), "{line}");
    assert!(!line.contains(&format!(":{port} ")), "{line}");
    assert!(answer_of_the_door(&line).starts_with("HTTP/1.1 401 "), "{line}");
    live.stop().ends(0).complains(&["Model Context Protocol is at /mcp"]);
    let open = started(house, "ipfs-accelerate mcp start --port 0 --host 0.0.0.0", &[]).end();
    open.ends(1).complains(&["others on the network would read the token"]);
}

fn each_of_four_options_asks_for_runners(house: &House) {
    alone(house);
    for option in ["owner octo", "interval 60", "since-days 2", "max-runners 3", "max-runners 3 --no-p2p"] {
        let line = format!("ipfs-accelerate mcp start --port 0 --autoscaler-{option}");
        // they are begun, and there is no credential for them
        started(house, &line, &[]).end().ends(1).complains(&["Not authenticated with GitHub CLI"]);
    }
    let mut live = started(house, "ipfs-accelerate mcp start --port 0 --no-p2p", &[]);
    live.wait_for("programs ask at ");
    live.stop().ends(0).complains(&["no runners are started beside it"]);
}

fn without_runners_nothing_is_started(house: &House) {
    alone(house);
    let line = "ipfs-accelerate mcp start --port 0 --disable-autoscaler --autoscaler-owner octo";
    let mut live = started(house, line, &[]);
    live.wait_for("programs ask at ");
    assert_eq!(house.one(&["runner", "status"])["pools"], json!([]));
    live.stop().ends(0);
}

fn the_image_is_githubs_own(house: &House) {
    ask(house, "ipfs-accelerate runner start").ends(1).complains(&["GitHub's own image", "--image"]);
    let named = ask(house, "ipfs-accelerate runner start --image a/b:latest").ends(1);
    assert!(!named.err.contains("GitHub's own image"), "{named:?}");
}

fn runners_are_asked_of_the_node(house: &House) {
    for line in ["ipfs-accelerate runner provision --repo a/b", "ipfs-accelerate runner provision"] {
        ask(house, line).ends(1).complains(&["no node serves here"]);
    }
}

fn options_before_and_after_the_verb(house: &House) {
    let text = ask(house, "ipfs-accelerate runner status --format text").ends(0).out;
    assert!(text.starts_with("running: No\nstart_time: -\n"), "{text}");
    assert_eq!(ask(house, "ipfs-accelerate --format text runner status").ends(0).out, text);
    for line in [
        "ipfs-accelerate runner status --format json",
        "ipfs-accelerate --format json runner status",
        "ipfs-accelerate --verbose runner status",
        "ipfs-accelerate runner status --verbose",
    ] {
        assert_eq!(document(house, line)["running"], false, "{line}");
    }
}
