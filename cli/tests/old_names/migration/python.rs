//! Rows about calls of the older Python modules: the client's own tests show what is there, Python itself what is not.

use std::path::PathBuf;
use std::process::Command;

use super::Rows;
use super::Shown::{Here, There};
use crate::house::text;
use crate::requirements::{Requirement, require};
use crate::{ask, document};

const TESTS: &str = "engine/api/clients/python/test_wfengine.py";
const URGENT: &str = "def test_the_most_urgent_task_comes_first_and_is_recorded(";
const DATASETS: &str = "def test_the_scheduler_of_the_datasets(";
const TAGS: &str = "def test_tags(";
const ONCE: &str = "def test_what_cannot_be_is_said_once(";
const AWAITED: &str = "def test_the_async_functions_answer_refusals(";
const FILES: &str = "def test_files_are_read_submitted_and_listed(";
const RUNS_OF_FILES: &str = "def test_runs_of_files_are_the_nodes(";
const TOOLS: &str = "def test_the_tools_answer_refusals(";
const LOOP: &str = "def test_the_loop_goes_on_and_ends(";
const ONE_WORKFLOW: &str = "def test_one_workflow_is_found_and_submitted(";
const SETTINGS: &str = "def test_settings_that_a_node_has_otherwise_are_named(";
const ONE_STEP: &str = "def test_runners_are_started_in_one_step(";
const GET_ON: &str = "def test_the_node_says_how_its_runners_get_on(";

pub const ROWS: Rows = &[
    (
        "`P2PWorkflowScheduler(peer_id, bootstrap_peers)`, `(peer_id, peers)`",
        &[There(TESTS, &[DATASETS, ONCE], &["P2PWorkflowScheduler(bootstrap_peers=", "peers=[", "peer_id="])],
    ),
    (
        "`should_bypass_github`, `is_p2p_only`, `submit_task`, `get_next_task`, `mark_task_complete`, `get_status`",
        &[There(TESTS, &[TAGS, URGENT], &[])],
    ),
    (
        "`determine_task_owner`, `check_peer_failure`, `update_peer_state`",
        &[Here(|house| {
            not_there(&["determine_task_owner", "check_peer_failure", "update_peer_state"]);
            house.ask(&["task", "submit", "--task-id", "a"]).ends(0);
            let me = text(&house.one(&["status"]), "peer").to_owned();
            assert!(house.ask(&["owner", "a"]).ends(0).out.contains(&format!("{me} at distance ")));
            assert!(house.ask(&["why", "a"]).ends(0).out.contains(&me));
        })],
    ),
    (
        "`P2PTask`, `WorkflowTag`, `WorkflowDefinition`, `WorkflowStatus`",
        &[There(TESTS, &[URGENT, TAGS, DATASETS, FILES], &[])],
    ),
    ("`add_peer`, `remove_peer`", &[There(TESTS, &[DATASETS], &[])]),
    (
        "`schedule_workflow`, `get_next_workflow`, `get_assigned_workflows`",
        &[There(TESTS, &[DATASETS, URGENT], &[])],
    ),
    (
        "`get_queue_size`",
        &[
            Here(|_| not_there(&["get_queue_size"])),
            There("cli/tests/mcp/dialects.rs", &["fn workflows("], &["(\"queue_size\", \"integer\")"]),
        ],
    ),
    ("`merge_clock`", &[Here(|_| not_there(&["merge_clock"]))]),
    ("`get_scheduler(peer_id, peers)`", &[There(TESTS, &[ONCE], &[])]),
    (
        "`MerkleClock` with tick, update, merge, append, compare, verify_chain, to_dict, from_dict",
        &[
            Here(|house| {
                not_there(&["MerkleClock"]);
                house.ask(&["task", "submit", "--task-id", "a"]).ends(0);
                let proved = house.ask(&["replay", "--verify"]).ends(0);
                assert!(proved.out.contains("every hash, link and signature holds"), "{proved:?}");
            }),
            There(TESTS, &[FILES], &["coordinator.merkle_clock.logical_clock"]),
        ],
    ),
    (
        "`FibonacciHeap`, `WorkflowPriorityQueue`",
        &[Here(|house| {
            not_there(&["FibonacciHeap", "WorkflowPriorityQueue"]);
            for id in ["first", "second"] {
                house.ask(&["task", "submit", "--task-id", id]).ends(0);
            }
            house.ask(&["priority", "second", "1"]).ends(0);
            let next = document(house, "ipfs-accelerate p2p-workflow next --json");
            assert_eq!(next["task"]["task_id"], "second");
        })],
    ),
    (
        "`calculate_hamming_distance`, `hamming_distance`, `select_task_owner`, `create_task_hash`",
        &[
            Here(|house| {
                not_there(&[
                    "calculate_hamming_distance",
                    "hamming_distance",
                    "select_task_owner",
                    "create_task_hash",
                ]);
                let (one, other) = ("0".repeat(64), "f".repeat(64));
                assert_eq!(house.one(&["distance", &one, &other])["distance"], 256);
            }),
            There("cli/tests/mcp/dialects.rs", &["fn workflows("], &["calculate_peer_distance"]),
        ],
    ),
    (
        "`P2PWorkflowCoordinator(peer_id, data_dir, enable_auto_sync)`",
        &[There(TESTS, &[ONCE], &["P2PWorkflowCoordinator(peer_id=", "data_dir="])],
    ),
    (
        "`parse_workflow_file`, `is_p2p_workflow`, `submit_workflow`, `assign_workflows`, `get_my_workflows`, `update_workflow_status`, `get_workflow_status`, `list_workflows`, `get_stats`",
        &[There(TESTS, &[FILES, RUNS_OF_FILES], &[])],
    ),
    ("`P2PWorkflowTools`", &[There(TESTS, &[TOOLS], &[])]),
    (
        "`initialize_p2p_scheduler`, `schedule_p2p_workflow`, `get_next_p2p_workflow`, `get_p2p_scheduler_status` (awaited)",
        &[There(TESTS, &[AWAITED], &[])],
    ),
    (
        "`P2PWorkflowDiscoveryService(owner, poll_interval, scheduler)`",
        &[There(
            TESTS,
            &[LOOP, ONE_WORKFLOW],
            &[
                "P2PWorkflowDiscoveryService(\"octo\"",
                "service.start",
                "service.stop",
                "discover_workflows_in_repo",
                "submit_workflow_to_scheduler",
                "discover_workflows",
            ],
        )],
    ),
    (
        "`RunnerConfig`",
        &[There(TESTS, &[SETTINGS], &["RunnerConfig(owner=\"octo\"", "network_mode 'own' and not 'host'"])],
    ),
    (
        "`get_runner_kit`, `start_autoscaler`, `stop_autoscaler`, `get_status`, `get_workflow_queues`, `launch_runner_container`, `list_runner_containers`",
        &[There(TESTS, &[SETTINGS, ONE_STEP, GET_ON], &[])],
    ),
    ("`generate_runner_token`", &[There(TESTS, &[ONE_STEP], &[])]),
    ("`check_and_scale`", &[Here(|_| not_there(&["check_and_scale"]))]),
    ("`GitHubRunnerAutoscaler(…)`", &[There(TESTS, &[SETTINGS], &[])]),
    (
        "`scripts/utils/github_autoscaler.py`, `containerized_runner_launcher.py`",
        &[
            Here(|house| {
                for line in ["ipfs-accelerate github autoscaler", "ipfs-accelerate runner start"] {
                    ask(house, line).ends(1).complains(&["Not authenticated with GitHub CLI"]);
                }
            }),
            There(
                "cli/tests/old_names/with_both.rs",
                &["const DISCOVERY", "const RUNNERS"],
                &["ipfs-accelerate github autoscaler", "ipfs-accelerate runner start"],
            ),
        ],
    ),
];

/// Fails if the module, or a class of it that the older programs had as well, has one of these.
fn not_there(names: &[&str]) {
    const LOOK: &str = "import sys, wfengine as w\nplaces = [w, w.P2PWorkflowScheduler, w.P2PWorkflowCoordinator, w.RunnerKit, w.P2PWorkflowDiscoveryService]\nprint([n for n in sys.argv[1:] if any(hasattr(p, n) for p in places)])";
    let Some(python) = require(Requirement::Python, "what the Python client leaves out") else { return };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../engine/api/clients/python");
    let mut command = Command::new(python);
    command.args(["-c", LOOK]).args(names).arg("submit_task").current_dir(folder);
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    // what is there is found
    assert_eq!(String::from_utf8_lossy(&output.stdout), "['submit_task']\n", "{output:?}");
}
