//! Rows about the verbs of `ipfs-datasets`.

use serde_json::json;

use super::Rows;
use super::Shown::Here;
use crate::house::{House, text};
use crate::{ask, document};

pub const ROWS: Rows = &[
    ("`p2p init [--peer-id|-i] [--peers|-p a,b]`", &[Here(init)]),
    ("`p2p schedule --id --name [--tags a,b] [--priority 1.0]`", &[Here(schedule)]),
    ("`p2p next`", &[Here(next)]),
    ("`p2p status`, `p2p` alone", &[Here(status)]),
    ("`p2p add-peer ID`", &[Here(add_peer)]),
    ("`p2p remove-peer ID`", &[Here(remove_peer)]),
    ("`p2p tags`", &[Here(tags)]),
    ("`p2p assigned`", &[Here(assigned)]),
    ("`--json`", &[Here(json_anywhere)]),
    (
        "`p2p-networking status`, `scheduler status/get-next`, `scheduler init` without options",
        &[Here(the_later_verbs)],
    ),
    (
        "`p2p-networking scheduler submit-task/mark-complete`, `task submit/get/delete`",
        &[Here(verbs_that_have_another_name)],
    ),
    ("`p2p-networking cache get/has/set/delete`", &[Here(no_cache)]),
    ("`p2p-networking remote status/call-tool/cache-*/submit-task`", &[Here(no_remote)]),
];

const SCHEDULE: &str = "ipfs-datasets p2p schedule --name n --tags p2p_eligible,code_gen";

fn addresses(house: &House) -> Vec<String> {
    let listed = house.one(&["peer", "list"])["addresses"].clone();
    serde_json::from_value(listed).unwrap()
}

fn init(house: &House) {
    ask(house, "ipfs-datasets p2p init --peer-id one --peers host-1,host-2:9000").ends(0);
    assert_eq!(house.one(&["status"])["peer"], "one");
    assert_eq!(addresses(house), ["host-1:4433", "host-2:9000"]);
    ask(house, "ipfs-datasets p2p init -i two -p host-3").ends(0);
    assert_eq!(house.one(&["status"])["peer"], "two");
    assert_eq!(addresses(house), ["host-1:4433", "host-2:9000", "host-3:4433"]);
    // as our own verb has it
    house.ask(&["init", "--name", "three", "--peers", "host-4:4433"]).ends(0);
    assert_eq!(document(house, "ipfs-datasets p2p status --json")["status"]["peer_id"], "three");
    assert_eq!(addresses(house).len(), 4);
}

fn schedule(house: &House) {
    let said = ask(house, &format!("{SCHEDULE} --id a")).ends(0);
    assert!(
        said.out.starts_with("Workflow ID: a\nAssigned Peer: ") && said.out.contains("\nLocal: Yes\n"),
        "{said:?}"
    );
    let shown = house.show("a");
    assert_eq!((&shown["priority"], &shown["status"]), (&1.0.into(), &"pending".into()), "{shown}");
    assert_eq!(shown["tags"], json!(["p2p-eligible", "code-generation"]));
    ask(house, "ipfs-datasets p2p schedule --id b --name n --tags code_gen")
        .ends(1)
        .complains(&["requires GitHub API", "p2p_eligible or p2p_only"]);
    house.ask(&["show", "b"]).ends(2);
}

fn next(house: &House) {
    ask(house, &format!("{SCHEDULE} --id a")).ends(0);
    let said = ask(house, "ipfs-datasets p2p next").ends(0);
    assert!(said.out.starts_with("Workflow ID: a\n"), "{said:?}");
    said.complains(&["held for ten minutes", "wfengine task complete ID"]);
    house.ask(&["task", "complete", "a"]).ends(0);
    assert_eq!(house.show("a")["status"], "completed");
}

fn status(house: &House) {
    ask(house, &format!("{SCHEDULE} --id a")).ends(0);
    let said = ask(house, "ipfs-datasets p2p status").ends(0).out;
    assert!(said.contains("\nQueue Size: 1\n") && said.contains("\nTotal Workflows: 1\n"), "{said}");
    assert_eq!(ask(house, "ipfs-datasets p2p").ends(0).out, said);
    let ours = house.one(&["status"]);
    assert_eq!(
        document(house, "ipfs-datasets p2p status --json")["status"]["queue_size"],
        ours["queue_size"]
    );
}

fn add_peer(house: &House) {
    ask(house, "ipfs-datasets p2p init --peer-id me").ends(0);
    for (line, added) in [("host-1", "host-1:4433"), ("host-2:9000", "host-2:9000")] {
        let said = ask(house, &format!("ipfs-datasets p2p add-peer {line}")).ends(0);
        assert!(said.out.contains(&format!("connects to {added}")), "{said:?}");
        assert!(addresses(house).contains(&added.to_owned()));
    }
    // whoever is a member is no address
    let said = ask(house, "ipfs-datasets p2p add-peer me").ends(0);
    assert!(said.out.contains("me is this node itself"), "{said:?}");
    assert_eq!(addresses(house).len(), 2);
}

fn remove_peer(house: &House) {
    ask(house, "ipfs-datasets p2p init --peer-id me --peers host-1").ends(0);
    let said = ask(house, "ipfs-datasets p2p remove-peer host-1").ends(0);
    assert!(said.out.contains("no member was revoked"), "{said:?}");
    assert!(addresses(house).is_empty());
    ask(house, "ipfs-datasets p2p remove-peer host-1")
        .ends(1)
        .complains(&["neither a member nor an address"]);
    ask(house, "ipfs-datasets p2p remove-peer me")
        .ends(1)
        .complains(&["me is a member", "only forgets addresses"]);
    assert_eq!(house.one(&["peer", "list"])["peers"][0]["name"], "me");
}

fn tags(house: &House) {
    let said = ask(house, "ipfs-datasets p2p tags").ends(0).out;
    let theirs: Vec<String> =
        said.lines().map(|line| line.split(':').next().unwrap().replace('_', "-")).collect();
    let listed = document(house, "ipfs-datasets p2p tags --json");
    let descriptions = listed["descriptions"].as_object().unwrap();
    let ours = house.ask(&["tags"]).ends(0).out;
    assert_eq!((theirs.len(), descriptions.len()), (7, 7), "{said}");
    for (name, means) in descriptions {
        assert!(
            said.contains(&format!("{name}: ")) && ours.contains(means.as_str().unwrap()),
            "{name}: {ours}"
        );
    }
}

fn assigned(house: &House) {
    for id in ["a", "b"] {
        ask(house, &format!("{SCHEDULE} --id {id}")).ends(0);
    }
    assert!(ask(house, "ipfs-datasets p2p assigned").ends(0).out.starts_with("Assigned Workflows: 0"));
    ask(house, "ipfs-datasets p2p next").ends(0);
    ask(house, "ipfs-datasets p2p next").ends(0);
    assert_eq!(document(house, "ipfs-datasets p2p assigned --json")["assigned_workflows"], json!(["b", "a"]));
    let ours = house.json(&["list", "--status", "in_progress"]);
    assert_eq!(ours.len(), 2, "{ours:?}");
    house.ask(&["task", "complete", "a"]).ends(0);
    assert_eq!(ask(house, "ipfs-datasets p2p assigned").ends(0).out, "Assigned Workflows: 1\n  b\n");
}

fn json_anywhere(house: &House) {
    for line in [
        "ipfs-datasets --json p2p assigned",
        "ipfs-datasets p2p --json assigned",
        "ipfs-datasets p2p assigned --json",
        "ipfs-datasets p2p-networking status --json",
    ] {
        assert_eq!(document(house, line)["success"], true, "{line}");
    }
}

fn the_later_verbs(house: &House) {
    ask(house, &format!("{SCHEDULE} --id a")).ends(0);
    let status = ask(house, "ipfs-datasets p2p status").ends(0).out;
    for words in ["status", "scheduler status"] {
        assert_eq!(ask(house, &format!("ipfs-datasets p2p-networking {words}")).ends(0).out, status);
    }
    let begun = ask(house, "ipfs-datasets p2p-networking scheduler init").ends(0);
    assert!(begun.out.contains("; 0 peers were named\n"), "{begun:?}");
    let taken = ask(house, "ipfs-datasets p2p-networking scheduler get-next").ends(0);
    assert!(taken.out.starts_with("Workflow ID: a\n"), "{taken:?}");
    assert_eq!(house.show("a")["status"], "in_progress");
}

#[track_caller]
fn leads_elsewhere(house: &House, words: &str, instead: &str) {
    let said = ask(house, &format!("ipfs-datasets p2p-networking {words}")).ends(1);
    assert!(said.out.is_empty() && said.err.contains(instead), "{words}: {said:?}");
}

fn verbs_that_have_another_name(house: &House) {
    for (words, instead) in [
        ("scheduler submit-task a", "`wfengine task submit --task-id ID`"),
        ("scheduler mark-complete a", "`wfengine task complete ID`"),
        ("task submit a", "`wfengine task submit --task-id ID`"),
        ("task get a", "`wfengine show ID`"),
        ("task delete a", "`wfengine cancel ID`; what is in the log stays"),
    ] {
        leads_elsewhere(house, words, instead);
    }
    // and those verbs are there
    house.ask(&["task", "submit", "--task-id", "a"]).ends(0);
    house.ask(&["task", "next"]).ends(0);
    house.ask(&["task", "complete", "a"]).ends(0);
    house.ask(&["task", "submit", "--task-id", "b"]).ends(0);
    house.ask(&["cancel", "b"]).ends(0);
    assert_eq!(text(&house.show("b"), "status"), "cancelled");
}

fn no_cache(house: &House) {
    for verb in ["get", "has", "set", "delete"] {
        leads_elsewhere(house, &format!("cache {verb} a"), "no cache is kept between peers");
    }
}

fn no_remote(house: &House) {
    for verb in ["status", "call-tool", "cache-get", "submit-task"] {
        leads_elsewhere(house, &format!("remote {verb} a"), "every node can be asked for all of it");
    }
    // our own way to another node wants its token
    let asked = ask(house, "wfengine --node http://127.0.0.1:9 list").ends(2);
    asked.complains(&["--node http://127.0.0.1:9", "token"]);
}
