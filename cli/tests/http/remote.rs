//! Commands that ask a node on another host: `--node` and `--token`.

use std::process::Command;

use crate::house::{House, Live, Said, text};
use crate::raw::Served;

/// Runs a command on another host, so to speak: nothing of the node's own folders is known there.
fn elsewhere(served: &Served, house: &House, arguments: &[&str]) -> Command {
    let mut command = house.command(arguments);
    command.env("WFENGINE_NODE", format!("http://{}", served.address)).env("WFENGINE_TOKEN", &served.token);
    command
}

fn ask(served: &Served, house: &House, arguments: &[&str]) -> Said {
    Live::start(elsewhere(served, house, arguments)).end()
}

#[test]
fn what_is_asked_there_is_done_here() {
    let (served, house) = (Served::new(), House::new());
    house.put_script("ci.yml", "echo from afar; exit 3");
    let said = ask(&served, &house, &["--json", "submit", "ci.yml", "--follow"]).ends(1);
    assert!(said.out.contains("from afar"), "{said:?}");
    let run = served.house.one(&["list"]);
    assert_eq!(text(&run, "status"), "failed");
    let id = text(&run, "id").to_owned();
    let shown = ask(&served, &house, &["--json", "show", &id]).ends(0).json().remove(0);
    assert_eq!(shown, served.house.show(&id));
    assert!(ask(&served, &house, &["logs", &id]).ends(0).out.contains("from afar"));
    ask(&served, &house, &["task", "submit", "--task-id", "t"]).ends(0);
    ask(&served, &house, &["task", "next"]).ends(0);
    ask(&served, &house, &["task", "complete", "t", "--result", "7"]).ends(0);
    assert_eq!(served.house.one(&["task", "result", "t"])["result"], 7);
    // the same proof, made on another host
    let proof = ask(&served, &house, &["--json", "replay", "--verify"]).ends(0).json().remove(0);
    assert_eq!(proof["clean"], true, "{proof}");
    // nothing was founded where it was asked
    assert!(!house.data().join("cluster").exists());
}

#[test]
fn a_mistake_there_is_told_here_with_the_same_status() {
    let (served, house) = (Served::new(), House::new());
    let said = ask(&served, &house, &["show", "feedbeef"]).ends(2);
    assert_eq!(said.err, served.house.ask(&["show", "feedbeef"]).ends(2).err);
    let mut command = elsewhere(&served, &house, &["list"]);
    command.env("WFENGINE_TOKEN", "another");
    Live::start(command).end().ends(3).complains(&["the token is not this node's", &served.address]);
    let mut command = elsewhere(&served, &house, &["list"]);
    command.env_remove("WFENGINE_TOKEN");
    Live::start(command).end().ends(2).complains(&["WFENGINE_TOKEN"]);
    ask(&served, &house, &["serve"]).ends(2).complains(&["--node", "`serve`"]);
    ask(&served, &house, &["run", "ci.yml"]).ends(2).complains(&["--node", "`run`"]);
    let Served { live, address, token, .. } = served;
    live.stop().ends(0);
    let said = house.ask(&["--node", &format!("http://{address}"), "--token", &token, "list"]).ends(4);
    said.complains(&["does not answer", "wfengine serve"]);
}

#[test]
fn whoever_only_submits_may_do_so_with_the_submitting_token() {
    let (served, house) = (Served::new(), House::new());
    let mut command = elsewhere(&served, &house, &["task", "submit", "--task-id", "t"]);
    command.env("WFENGINE_TOKEN", &served.submit_token);
    Live::start(command).end().ends(0);
    assert_eq!(served.house.show("t")["status"], "pending");
    let mut command = elsewhere(&served, &house, &["cancel", "t"]);
    command.env("WFENGINE_TOKEN", &served.submit_token);
    Live::start(command).end().ends(3).complains(&["submits and does nothing else"]);
}

#[test]
fn with_a_certificate_the_way_is_secret() {
    let house = House::new();
    let file = |name: &str| format!("{}/tests/http/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let serve = ["serve", "--listen", "127.0.0.1:0", "--no-lan", "--http", "127.0.0.1:0"];
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let mut live = house.begin(&[&serve[..], &["--http-cert", &cert, "--http-key", &key]].concat());
    let line = live.wait_for("programs ask at");
    let url = line.split_whitespace().find(|word| word.starts_with("https://")).unwrap().to_owned();
    let token = std::fs::read_to_string(house.data().join("http-token")).unwrap();
    let other = House::new();
    let ask = |authority: Option<&str>| {
        let mut command = other.command(&["--json", "status"]);
        command.env("WFENGINE_NODE", &url).env("WFENGINE_TOKEN", &token);
        if let Some(authority) = authority {
            command.env("WFENGINE_CA_FILE", authority);
        }
        Live::start(command).end()
    };
    assert_eq!(ask(Some(&file("authority.pem"))).ends(0).json()[0]["http"], url.as_str());
    // who it is has to be known
    ask(None).ends(4).complains(&["does not answer"]);
    // what is not secret is not understood
    let plain = url.replace("https://", "http://");
    house.ask(&["--node", &plain, "--token", &token, "status"]).ends(4).complains(&["does not answer"]);
    live.stop().ends(0);
    // with it others may hear, and what is wrong with the files is said
    let mut outside =
        house.begin(&[&serve[..5], &["0.0.0.0:0", "--http-cert", &cert, "--http-key", &key]].concat());
    outside.wait_for("https://0.0.0.0:");
    outside.stop().ends(0);
    let swapped = [&serve[..], &["--http-cert", &key, "--http-key", &cert]].concat();
    house.ask(&swapped).ends(2).complains(&["http.cert", "key.pem"]);
    house.ask(&[&serve[..], &["--http-cert", &cert]].concat()).ends(2).complains(&["http.cert and http.key"]);
}

#[test]
fn a_history_is_followed_from_another_host() {
    let (served, house) = (Served::new(), House::new());
    let mut live = Live::start(elsewhere(&served, &house, &["replay", "--follow"]));
    live.wait_for("following the node");
    served.house.one(&["task", "submit", "--task-id", "later"]);
    live.wait_for("later");
    live.kill();
    served.get("/api/v1/status").is(200);
}
