//! Rows about the verbs of `ipfs-kit`.

use serde_json::json;

use super::Rows;
use super::Shown::Here;
use crate::house::{House, text};
use crate::{ask, document};

pub const ROWS: Rows = &[
    ("`workflow submit FILE [--name] [--inputs JSON] [--priority 5.0]`", &[Here(submit)]),
    ("`workflow assign`", &[Here(assign)]),
    ("`workflow status ID`", &[Here(status)]),
    ("`workflow list [--status] [--peer-id]`", &[Here(list)]),
    ("`workflow update ID STATUS [--result JSON] [--error]`", &[Here(update)]),
    ("`peer add`, `peer remove`", &[Here(peers)]),
    ("`peer list`", &[Here(peer_list)]),
    ("`stats`", &[Here(stats)]),
    ("`--json`", &[Here(json_anywhere)]),
];

const WORKFLOW: &str = "on:\n  workflow_dispatch:\n    inputs:\n      page:\n        default: one\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo page ${{ inputs.page }}\n";

/// Submits the file; its id.
fn submitted(house: &House) -> String {
    house.put("w.yml", WORKFLOW);
    let said = document(house, "ipfs-kit p2p workflow submit w.yml --json");
    text(&said, "workflow_id").to_owned()
}

fn submit(house: &House) {
    let first = submitted(house);
    assert_eq!(house.show(&first)["priority"], 5.0);
    let ours = house.one(&["submit", "w.yml"]);
    assert_eq!(ours["run"]["priority"], 3.0);
    let line = "ipfs-kit p2p workflow submit w.yml --name second --inputs {\"page\":\"two\"} --priority 2.5";
    let said = ask(house, line).ends(0);
    assert!(said.out.starts_with("Workflow submitted: "), "{said:?}");
    let second: serde_json::Value = serde_json::from_str(said.out.split_once('\n').unwrap().1).unwrap();
    let shown = house.show(text(&second, "workflow_id"));
    assert_eq!((&shown["name"], &shown["priority"]), (&"second".into(), &2.5.into()), "{shown}");
    let node = house.serve_with(&["--no-lan", "--no-http"]);
    let id = text(&second, "workflow_id");
    house.until_status(id, "completed");
    assert!(house.ask(&["logs", id]).ends(0).out.contains("page two"));
    node.stop().ends(0);
}

fn assign(house: &House) {
    house.ask(&["task", "submit", "--task-id", "a"]).ends(0);
    let before = house.one(&["clock"]);
    let said = document(house, "ipfs-kit p2p workflow assign --json");
    assert_eq!((&said["assigned_count"], &said["workflow_ids"]), (&1.into(), &json!(["a"])), "{said}");
    assert_eq!(house.one(&["clock"]), before, "it moves nothing");
    assert_eq!(house.show("a")["status"], "pending");
    // as the rule has it
    let owner = house.ask(&["owner", "a"]).ends(0).out;
    assert!(owner.contains(text(&said["assignments"][0], "assigned_peer")), "{owner}");
}

fn status(house: &House) {
    let id = submitted(house);
    for beginning in [id.as_str(), &id[..8]] {
        let said = document(house, &format!("ipfs-kit p2p workflow status {beginning}"));
        assert_eq!((&said["status"], &said["workflow_file"]), (&"pending".into(), &"w.yml".into()), "{said}");
    }
}

fn list(house: &House) {
    house.ask(&["init", "--name", "me"]).ends(0);
    house.ask(&["task", "submit", "--task-id", "a"]).ends(0);
    house.ask(&["task", "submit", "--task-id", "b"]).ends(0);
    house.ask(&["task", "next"]).ends(0);
    let ids = |options: &str| -> Vec<String> {
        let said = document(house, &format!("ipfs-kit p2p workflow list{options}"));
        let listed = said["workflows"].as_array().unwrap().iter();
        listed.map(|task| text(task, "workflow_id").to_owned()).collect()
    };
    assert_eq!(ids(""), ["b", "a"]);
    assert_eq!(ids(" --status pending"), ["b"]);
    assert_eq!(ids(" --status in_progress"), ["a"]);
    assert_eq!(ids(" --peer-id me --status in_progress"), ["a"]);
}

fn update(house: &House) {
    for id in ["a", "b", "c"] {
        house.ask(&["task", "submit", "--task-id", id]).ends(0);
    }
    for (words, then) in [
        ("a in_progress", "in_progress"),
        ("a pending", "pending"),
        ("a completed --result {\"rows\":10}", "completed"),
        ("b failed --error no-such-page", "failed"),
        ("c cancelled", "cancelled"),
    ] {
        ask(house, &format!("ipfs-kit p2p workflow update {words}")).ends(0);
        assert_eq!(house.show(&words[..1])["status"], then, "{words}");
    }
    assert_eq!(house.one(&["task", "result", "a"])["result"], json!({ "rows": 10 }));
    assert!(text(&house.show("b"), "reason").contains("no-such-page"));
    let run = submitted(house);
    let completed = ask(house, &format!("ipfs-kit p2p workflow update {run} completed")).ends(1);
    completed.complains(&["end by themselves", "can be cancelled"]);
    ask(house, &format!("ipfs-kit p2p workflow update {run} cancelled")).ends(0);
    assert_eq!(house.show(&run)["status"], "cancelled");
}

fn peers(house: &House) {
    ask(house, "ipfs-kit p2p peer add host-1").ends(0);
    ask(house, "ipfs-kit p2p peer add host-2:9000").ends(0);
    assert_eq!(house.one(&["peer", "list"])["addresses"], json!(["host-1:4433", "host-2:9000"]));
    let said = ask(house, "ipfs-kit p2p peer remove host-1").ends(0);
    assert!(said.out.contains("no member was revoked"), "{said:?}");
    assert_eq!(house.one(&["peer", "list"])["addresses"], json!(["host-2:9000"]));
    ask(house, "ipfs-kit p2p peer remove host-1").ends(1).complains(&["neither a member nor an address"]);
}

fn peer_list(house: &House) {
    house.ask(&["init", "--name", "me", "--peers", "host-1:4433"]).ends(0);
    let said = document(house, "ipfs-kit p2p peer list");
    assert_eq!((&said["count"], &said["peers"]), (&2.into(), &json!(["me", "host-1:4433"])), "{said}");
}

fn stats(house: &House) {
    house.ask(&["task", "submit", "--task-id", "a"]).ends(0);
    let said = document(house, "ipfs-kit p2p stats");
    let ours = house.one(&["status"]);
    assert_eq!((&said["peer_id"], &said["queue_size"]), (&ours["peer"], &ours["queue_size"]), "{said}");
    assert_eq!(
        (&said["total_workflows"], &said["status_counts"]["pending"]),
        (&1.into(), &1.into()),
        "{said}"
    );
}

fn json_anywhere(house: &House) {
    house.ask(&["task", "submit", "--task-id", "a"]).ends(0);
    for line in [
        "ipfs-kit --json p2p workflow assign",
        "ipfs-kit p2p --json workflow assign",
        "ipfs-kit p2p workflow --json assign",
        "ipfs-kit p2p workflow assign --json",
    ] {
        assert_eq!(document(house, line)["success"], true, "{line}");
    }
}
