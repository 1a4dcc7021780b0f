//! What is different everywhere: a direct look at each.

use serde_json::json;

use super::Rows;
use super::Shown::{Here, There};
use crate::checkout::{Checkout, PATH, workflow};
use crate::house::{House, text};
use crate::requirements::{Requirement, require};
use crate::{ask, document};

const NAMESPACES: &str = "cli/tests/namespaces.rs";
const SCHEDULER: &str = "engine/core/tests/scheduler.rs";

pub const ROWS: Rows = &[
    (
        "State in memory, or in a file that the last writer wins",
        &[
            Here(what_was_acknowledged_outlives_the_node),
            There(
                NAMESPACES,
                &["fn hosts_that_were_apart_agree_within_seconds("],
                &["equal again", "is lost on"],
            ),
        ],
    ),
    ("An unknown id, peer or status was often answered with success", &[Here(what_is_unknown_is_an_error)]),
    ("Unknown tags were dropped, and with them the routing", &[Here(unknown_tags_are_labels)]),
    (
        "A task that another peer owned was dropped",
        &[There(
            SCHEDULER,
            &[
                "fn another_waits_a_turn_for_each_better_peer_and_then_settles(",
                "fn nobody_waits_for_the_dead_or_for_those_who_declined(",
            ],
            &["submit_ranked(0, 1, ", "cluster.down(1)"],
        )],
    ),
    (
        "A task that was taken was never offered again",
        &[
            Here(what_is_taken_is_held_and_offered_again),
            There(
                "cli/tests/tasks.rs",
                &["fn a_lease_that_ends_offers_the_task_to_another_and_the_first_finds_out("],
                &["300ms", "fencing_token", "extend"],
            ),
        ],
    ),
    ("`github-api` or `unit-test` beside a p2p tag went to peers", &[Here(github_wins)]),
    (
        "Three scales of priority",
        &[
            Here(priorities_have_two_directions),
            There(
                "cli/tests/old_names/main.rs",
                &["fn the_most_urgent_is_first_in_one_program_and_the_lowest_number_in_the_others("],
                &["ipfs-accelerate", "ipfs-datasets"],
            ),
        ],
    ),
    (
        "Whoever reached a peer could submit",
        &[
            Here(an_invite_says_whose_jobs_its_host_runs),
            There(
                NAMESPACES,
                &["fn who_was_not_invited_stays_outside("],
                &["this key is no member of the cluster"],
            ),
            There(
                SCHEDULER,
                &["fn others_jobs_need_the_operators_word_and_why_says_so("],
                &["wfengine allow --peer"],
            ),
        ],
    ),
];

/// Submits a task of the quick start.
fn submit(house: &House, id: &str, more: &str) {
    let line = format!("ipfs-accelerate p2p-workflow submit --task-id {id} --workflow-id w --name n{more}");
    ask(house, &line).ends(0);
}

fn what_was_acknowledged_outlives_the_node(house: &House) {
    let mut node = house.serve_with(&["--no-lan", "--no-http"]);
    submit(house, "kept", "");
    node.kill();
    assert_eq!(text(&house.show("kept"), "status"), "pending");
    let verified = house.ask(&["replay", "--verify"]).ends(0);
    assert!(verified.out.contains("every hash, link and signature holds"), "{verified:?}");
}

fn what_is_unknown_is_an_error(house: &House) {
    for (line, says) in [
        ("ipfs-accelerate p2p-workflow complete --task-id none", "`none` is not known here"),
        ("ipfs-datasets p2p remove-peer nobody", "neither a member nor an address"),
        ("ipfs-kit p2p peer remove nobody", "neither a member nor an address"),
        ("ipfs-kit p2p workflow status none", "`none` is not known here"),
        ("ipfs-kit p2p workflow update none failed", "`none` is not known here"),
        ("ipfs-kit p2p workflow list --status done", "in_progress"),
    ] {
        let said = ask(house, line).ends(1).complains(&[says]);
        assert!(said.out.is_empty(), "{line}: {said:?}");
    }
}

fn unknown_tags_are_labels(house: &House) {
    let line = "ipfs-accelerate p2p-workflow submit --task-id a --workflow-id w --name n --tags p2p-only gpu";
    ask(house, line).ends(0).complains(&["kept as labels: gpu"]);
    assert_eq!(house.show("a")["tags"], json!(["p2p-only", "gpu"]));
    let checked = ask(house, "ipfs-accelerate p2p-workflow check-tags --tags p2p-only gpu").ends(0);
    assert_eq!(checked.out, "Should Bypass GitHub: Yes\nP2P Only: Yes\n");
    checked.complains(&["kept as labels: gpu"]);
    ask(house, "ipfs-datasets p2p schedule --id b --name n --tags p2p_eligible,gpu").ends(0);
    assert_eq!(house.show("b")["tags"], json!(["p2p-eligible", "gpu"]));
}

fn what_is_taken_is_held_and_offered_again(house: &House) {
    submit(house, "a", "");
    let next = || document(house, "ipfs-accelerate p2p-workflow next --json")["task"].clone();
    let first = next();
    assert_eq!(first["lease_ms"], 600_000);
    assert!(next().is_null());
    house.ask(&["task", "extend", "a"]).ends(0);
    house.ask(&["task", "release", "a"]).ends(0);
    let second = next();
    let complete =
        |task| house.ask(&["task", "complete", "a", "--fencing-token", text(task, "fencing_token")]);
    complete(&first).ends(3);
    complete(&second).ends(0);
}

fn github_wins(house: &House) {
    for tag in ["github-api", "unit-test"] {
        let line = format!("ipfs-accelerate p2p-workflow check-tags --tags p2p-only {tag}");
        assert_eq!(ask(house, &line).ends(0).out, "Should Bypass GitHub: No\nP2P Only: No\n");
        let line = "ipfs-accelerate p2p-workflow submit --task-id t --workflow-id w --name n --tags p2p-only";
        ask(house, &format!("{line} {tag}")).ends(1).complains(&["run on GitHub"]);
        house.put("both.yml", workflow(&format!("p2p-only, {tag}"), "workflow_dispatch"));
        ask(house, "ipfs-kit p2p workflow submit both.yml").ends(1).complains(&["run on GitHub only"]);
    }
    assert!(house.json(&["list"]).is_empty());
    if require(Requirement::Git, "what discovery leaves to GitHub").is_some() {
        Checkout::new(&house.path("lab/one")).commit(&[(PATH, &workflow("p2p-only, github-api", "push"))]);
        let lab = house.path("lab").display().to_string();
        let found = house.ask(&["discover", "once", "--path", &lab]).ends(0);
        assert!(found.out.contains("Left to GitHub, whose tags win:"), "{found:?}");
        assert!(house.json(&["list"]).is_empty());
    }
}

fn priorities_have_two_directions(house: &House) {
    for (urgency, priority) in [(10, 0.5), (9, 1.0), (5, 3.0), (1, 5.0)] {
        let id = format!("urgency-{urgency}");
        submit(house, &id, &format!(" --priority {urgency}"));
        assert_eq!(house.show(&id)["priority"], priority, "{urgency}");
    }
    ask(house, "ipfs-datasets p2p schedule --id lower --name n --tags p2p_only --priority 2.5").ends(0);
    assert_eq!(house.show("lower")["priority"], 2.5);
    house.put_script("w.yml", "true");
    let submitted = document(house, "ipfs-kit p2p workflow submit w.yml --priority 4.5 --json");
    assert_eq!(house.show(text(&submitted, "workflow_id"))["priority"], 4.5);
    let line = "ipfs-accelerate p2p-workflow submit --task-id t --workflow-id w --name n --priority 11";
    ask(house, line).ends(1).complains(&["priority: expected at most 10"]);
    let line = "ipfs-datasets p2p schedule --id t --name n --tags p2p_only --priority 0";
    ask(house, line).ends(1).complains(&["priority: expected at least"]);
}

fn an_invite_says_whose_jobs_its_host_runs(house: &House) {
    let node = house.serve_with(&["--no-lan", "--no-http"]);
    let invite = house.ask(&["peer", "invite"]).ends(0);
    assert!(invite.out.contains(" --allow-jobs"), "{invite:?}");
    assert!(
        format!("{}{}", invite.out, invite.err).contains("run jobs that other members submit"),
        "{invite:?}"
    );
    node.stop().ends(0);
}
