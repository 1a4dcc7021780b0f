//! Rows about the tools of the Model Context Protocol: what official clients show, and what is different, asked over HTTP.

use serde_json::{Value as Json, json};

use super::Rows;
use super::Shown::{Here, There};
use crate::house::{House, text};
use crate::raw::{Answer, Served};

const DIALECTS: &str = "cli/tests/mcp/dialects.rs";
const SCHEDULER: &[&str] = &["fn scheduler("];
const WORKFLOWS: &[&str] = &["fn workflows("];
const COORDINATOR: &[&str] = &["fn coordinator("];
const SURROUNDINGS: &str = "cli/tests/mcp/surroundings.rs";
const RUNNERS: &str = "cli/tests/mcp/runners.rs";
const WITH_AN_ENGINE: &[&str] = &["fn runners("];

pub const ROWS: Rows = &[
    ("`p2p_scheduler_status`", &[There(DIALECTS, SCHEDULER, &[])]),
    (
        "`p2p_submit_task`",
        &[
            There(DIALECTS, SCHEDULER, &["\"p2p_submit_task\"", "[\"unknown_tags\"]"]),
            There(
                SURROUNDINGS,
                &["fn a_wrong_call_is_told_what_is_wrong("],
                &["priority: expected at most 10"],
            ),
        ],
    ),
    ("`p2p_get_next_task`", &[There(DIALECTS, SCHEDULER, &["\"p2p_get_next_task\""]), Here(a_task_is_lent)]),
    (
        "`p2p_mark_task_complete`",
        &[There(
            DIALECTS,
            SCHEDULER,
            &[
                "\"p2p_mark_task_complete\", json!({ \"task_id\": \"high\", \"result\"",
                "\"fencing_token\": \"somebody else's\"",
            ],
        )],
    ),
    (
        "`p2p_check_workflow_tags`",
        &[There(DIALECTS, SCHEDULER, &["\"p2p_check_workflow_tags\""]), Here(unknown_tags_are_listed)],
    ),
    (
        "`p2p_update_peer_state`",
        &[There(DIALECTS, SCHEDULER, &["\"p2p_update_peer_state\"", "changes nothing"])],
    ),
    (
        "`p2p_get_merkle_clock`",
        &[There(DIALECTS, SCHEDULER, &["\"p2p_get_merkle_clock\"", "house.one(&[\"clock\"])"])],
    ),
    (
        "`initialize_p2p_scheduler`",
        &[There(DIALECTS, WORKFLOWS, &["\"initialize_p2p_scheduler\""]), Here(a_second_call_renames)],
    ),
    (
        "`schedule_p2p_workflow`",
        &[There(DIALECTS, WORKFLOWS, &["\"schedule_p2p_workflow\"", "assigned_peer", "house.show(\"wf1\")"])],
    ),
    (
        "`get_next_p2p_workflow`",
        &[There(DIALECTS, WORKFLOWS, &["\"get_next_p2p_workflow\""]), Here(a_workflow_is_lent)],
    ),
    (
        "`add_p2p_peer`, `remove_p2p_peer`",
        &[There(
            DIALECTS,
            WORKFLOWS,
            &[
                "\"add_p2p_peer\"",
                "\"remove_p2p_peer\"",
                "num_peers",
                "no member was revoked",
                "\"conflict\"",
            ],
        )],
    ),
    ("`get_p2p_scheduler_status`", &[There(DIALECTS, WORKFLOWS, &[])]),
    ("`calculate_peer_distance`", &[There(DIALECTS, WORKFLOWS, &[])]),
    ("`get_workflow_tags`", &[There(DIALECTS, WORKFLOWS, &[])]),
    (
        "`merge_merkle_clock`",
        &[There(DIALECTS, WORKFLOWS, &["\"merge_merkle_clock\""]), Here(merging_changes_nothing)],
    ),
    (
        "`get_assigned_workflows`",
        &[There(DIALECTS, WORKFLOWS, &["\"get_assigned_workflows\""]), Here(what_has_ended_is_not_assigned)],
    ),
    (
        "`submit_p2p_workflow`",
        &[There(
            DIALECTS,
            COORDINATOR,
            &["\"submit_p2p_workflow\"", "arguments[\"source\"]", "/etc/passwd", "is_local"],
        )],
    ),
    (
        "`assign_p2p_workflows`",
        &[There(DIALECTS, COORDINATOR, &["\"assign_p2p_workflows\""]), Here(assigning_moves_nothing)],
    ),
    (
        "`get_p2p_workflow_status`",
        &[There(DIALECTS, COORDINATOR, &["client.fails(\"get_p2p_workflow_status\"", "\"unknown\""])],
    ),
    ("`list_p2p_workflows`", &[There(DIALECTS, COORDINATOR, &[])]),
    (
        "`update_p2p_workflow_status`",
        &[
            There(DIALECTS, COORDINATOR, &["\"update_p2p_workflow_status\"", "update(\"c\", \"cancelled\""]),
            Here(a_run_of_a_file_can_be_cancelled),
        ],
    ),
    ("`get_p2p_stats`", &[There(DIALECTS, COORDINATOR, &[])]),
    (
        "`parse_workflow_tags`",
        &[There(DIALECTS, COORDINATOR, &["\"parse_workflow_tags\""]), Here(warnings_and_routing_are_told)],
    ),
    (
        "`get_my_p2p_workflows`",
        &[There(DIALECTS, COORDINATOR, &["\"get_my_p2p_workflows\"", "house.one(&[\"task\", \"next\"])"])],
    ),
    (
        "`runner_start_autoscaler`",
        &[
            There(RUNNERS, WITH_AN_ENGINE, &["\"runner_start_autoscaler\"", "as it was started last"]),
            There(
                "cli/tests/runner_cluster/verbs.rs",
                &["fn a_pool_survives_its_node_and_one_in_the_background_is_started_for_it("],
                &["--background"],
            ),
            Here(the_image_is_githubs_own),
        ],
    ),
    (
        "`runner_stop_autoscaler`",
        &[There(RUNNERS, WITH_AN_ENGINE, &["\"runner_stop_autoscaler\"", "stopped[\"draining\"]"])],
    ),
    (
        "`runner_get_status`",
        &[There(RUNNERS, WITH_AN_ENGINE, &["\"runner_get_status\"", "status[\"runners\"]"])],
    ),
    (
        "`runner_list_workflows`",
        &[
            There(RUNNERS, WITH_AN_ENGINE, &["\"runner_list_workflows\""]),
            There(
                "cli/tests/runner_github/documents.rs",
                &["fn list_workflows_prints_the_documents_array_with_and_without_a_node("],
                &["queued_jobs"],
            ),
        ],
    ),
    ("`runner_provision_for_workflow`", &[There(RUNNERS, WITH_AN_ENGINE, &[])]),
    (
        "`runner_list_containers`",
        &[There(RUNNERS, WITH_AN_ENGINE, &["\"runner_list_containers\"", "busy[\"name\"]"])],
    ),
    (
        "`runner_stop_container`",
        &[There(
            RUNNERS,
            WITH_AN_ENGINE,
            &["client.fails(\"runner_stop_container\"", "it has a job, and keeps it"],
        )],
    ),
];

fn asked(served: &Served, tool: &str, arguments: &Json) -> Answer {
    served.post(&format!("/api/v1/tools/{tool}"), arguments)
}

/// The answer to a call that succeeds.
#[track_caller]
fn call(served: &Served, tool: &str, arguments: &Json) -> Json {
    asked(served, tool, arguments).is(200).json()
}

fn task(served: &Served, id: &str) {
    served.house.ask(&["task", "submit", "--task-id", id]).ends(0);
}

fn a_task_is_lent(_: &House) {
    let served = Served::new();
    task(&served, "a");
    let taken = call(&served, "p2p_get_next_task", &json!({}));
    assert_eq!(taken["task"]["lease_ms"], 600_000, "{taken}");
    let stale = json!({ "task_id": "a", "fencing_token": "somebody else's" });
    asked(&served, "p2p_mark_task_complete", &stale).is(409);
    let own = json!({ "task_id": "a", "fencing_token": taken["task"]["fencing_token"] });
    call(&served, "p2p_mark_task_complete", &own);
}

fn unknown_tags_are_listed(_: &House) {
    let served = Served::new();
    let checked = call(&served, "p2p_check_workflow_tags", &json!({ "tags": ["p2p-only", "gpu"] }));
    assert_eq!(checked["unknown_tags"], json!(["gpu"]));
}

fn a_second_call_renames(_: &House) {
    let served = Served::new();
    for name in ["one", "two"] {
        let begun = call(&served, "initialize_p2p_scheduler", &json!({ "peer_id": name }));
        assert_eq!(begun["status"]["peer_id"], name);
        assert_eq!(text(&served.house.one(&["status"]), "peer"), name);
    }
}

fn a_workflow_is_lent(_: &House) {
    let served = Served::new();
    task(&served, "a");
    let taken = call(&served, "get_next_p2p_workflow", &json!({}));
    assert!(call(&served, "get_next_p2p_workflow", &json!({}))["workflow"].is_null());
    let own = json!({ "task_id": "a", "fencing_token": taken["workflow"]["fencing_token"] });
    call(&served, "p2p_mark_task_complete", &own);
    assert_eq!(text(&served.house.show("a"), "status"), "completed");
}

fn merging_changes_nothing(_: &House) {
    let served = Served::new();
    let me = text(&served.house.one(&["status"]), "peer").to_owned();
    let merged = call(&served, "merge_merkle_clock", &json!({ "other_peer_id": me, "other_counter": 7 }));
    assert!(text(&merged, "message").contains("this call changes nothing"), "{merged}");
}

fn what_has_ended_is_not_assigned(_: &House) {
    let served = Served::new();
    task(&served, "a");
    call(&served, "get_next_p2p_workflow", &json!({}));
    assert_eq!(call(&served, "get_assigned_workflows", &json!({}))["count"], 1);
    call(&served, "p2p_mark_task_complete", &json!({ "task_id": "a" }));
    assert_eq!(call(&served, "get_assigned_workflows", &json!({}))["assigned_workflows"], json!([]));
}

fn assigning_moves_nothing(_: &House) {
    let served = Served::new();
    task(&served, "a");
    let assigned = call(&served, "assign_p2p_workflows", &json!({}));
    assert!(text(&assigned, "message").contains("nothing had to be moved"), "{assigned}");
    assert_eq!(text(&served.house.show("a"), "status"), "pending");
}

const WORKFLOW: &str = "on: workflow_dispatch\nlabels: [p2p-only, github-api]\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: sleep 60\n";

fn a_run_of_a_file_can_be_cancelled(_: &House) {
    let served = Served::new();
    let source = WORKFLOW.replace(", github-api", "");
    let file = json!({ "workflow_file": "w.yml", "source": source });
    let id = text(&call(&served, "submit_p2p_workflow", &file), "workflow_id").to_owned();
    let update = |status: &str| {
        asked(&served, "update_p2p_workflow_status", &json!({ "workflow_id": id, "status": status }))
    };
    let told = update("completed").is(409).problem();
    assert!(text(&told, "detail").contains("it can be cancelled"), "{told}");
    update("cancelled").is(200);
    served.house.until_status(&id, "cancelled");
}

fn warnings_and_routing_are_told(_: &House) {
    let served = Served::new();
    let parsed =
        call(&served, "parse_workflow_tags", &json!({ "workflow_file": "w.yml", "source": WORKFLOW }));
    assert_eq!((&parsed["is_p2p"], &parsed["routing"]), (&false.into(), &"github-only".into()), "{parsed}");
    assert!(parsed["warnings"][0].as_str().unwrap().contains("wins over 'p2p-only'"), "{parsed}");
}

fn the_image_is_githubs_own(house: &House) {
    // what is taken where none is named is said by the verb that asks the same
    let help = house.ask(&["runner", "start", "--help"]).ends(0).out;
    assert!(help.contains("ghcr.io/actions/actions-runner"), "{help}");
}
