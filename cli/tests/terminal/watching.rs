//! `--watch`: in a pipe, at a terminal, and when the node goes away.

use rustix::process::Signal;

use crate::house::{House, text};
use crate::pty::AtTerminal;

const SUBMIT: [&str; 6] = ["task", "submit", "--task-id", "nightly", "--name", "the nightly build"];

#[test]
fn a_pipe_gets_the_whole_list_after_each_change_until_it_is_ended() {
    let house = House::new();
    let node = house.serve();
    let mut table = house.begin(&["list", "--watch"]);
    let mut json = house.begin(&["list", "--watch", "--json"]);
    table.wait_for("no runs");
    assert_eq!(json.wait_for("\n"), "[]\n");
    house.ask(&SUBMIT).ends(0);
    table.wait_for("the nightly build [nightly]");
    let document: Vec<serde_json::Value> = serde_json::from_str(&json.wait_for("nightly")).unwrap();
    assert_eq!(text(&document[0], "status"), "pending");
    house.ask(&["cancel", "nightly"]).ends(0);
    table.wait_for("cancelled");
    json.wait_for("\"cancelled\"");
    for live in [table, json] {
        live.signal(Signal::INT);
        let said = live.end().ends(0);
        assert!(said.err.is_empty() && !said.out.contains('\u{1b}'), "{said:?}");
        // nothing is said twice
        let separator = if said.out.starts_with('[') { "\n" } else { "\n\n" };
        let said: Vec<&str> = said.out.trim_end().split(separator).collect();
        assert!(said.windows(2).all(|pair| pair[0] != pair[1]), "{said:?}");
    }
    node.stop().ends(0);
}

#[test]
fn a_terminal_shows_it_in_place_and_is_as_before_when_it_ends() {
    let house = House::new();
    let node = house.serve();
    let mut command = house.command(&["list", "--watch"]);
    command.env("TERM", "xterm");
    let mut screen = AtTerminal::start(command, 100, 24);
    let first = screen.until("the screen is taken", |text| text.contains("Ctrl-C ends it"));
    assert!(first.starts_with("\u{1b}[?1049h\u{1b}[?25l"), "{first:?}");
    house.ask(&SUBMIT).ends(0);
    let drawn = screen.until("the run is drawn", |text| text.contains("Ctrl-C ends it"));
    assert!(drawn.starts_with("\u{1b}[H") && drawn.contains("the nightly build"), "{drawn:?}");
    screen.resize(50, 24);
    screen.until("it is cut for the smaller terminal", |text| text.contains("the nightl…"));
    screen.signal(Signal::INT);
    let (last, code) = screen.end();
    assert_eq!(code, 0, "{last:?}");
    let (_, after) = last.split_once("\u{1b}[?25h\u{1b}[?1049l").unwrap();
    assert!(after.contains("pending") && !after.contains("Ctrl-C"), "{after:?}");
    node.stop().ends(0);
}

#[test]
fn a_node_that_goes_away_is_waited_for_and_may_come_back() {
    let house = House::new();
    let mut watched = house.begin(&["list", "--watch"]);
    // nobody serves: what is there is shown, and nothing is kept from others
    watched.wait_for("note: no node answers");
    house.ask(&SUBMIT).ends(0);
    let mut node = house.serve();
    watched.wait_for("the nightly build");
    node.kill();
    watched.wait_for("note: no node answers");
    let node = house.serve();
    house.ask(&["cancel", "nightly"]).ends(0);
    watched.wait_for("cancelled");
    watched.signal(Signal::TERM);
    let said = watched.end().ends(0);
    assert!(said.out.starts_with("no runs"), "{said:?}");
    node.stop().ends(0);
}

#[test]
fn whatever_shows_a_state_can_be_watched_and_a_wrong_question_ends_it() {
    let house = House::new();
    let node = house.serve();
    house.ask(&SUBMIT).ends(0);
    let verbs: [(&[&str], &str); 7] = [
        (&["status"], "Pending Tasks: 1"),
        (&["show", "nightly"], "the nightly build"),
        (&["owner"], "held by nobody"),
        (&["peer", "list"], "this node"),
        (&["discover", "list"], "REPOSITORY"),
        (&["runner", "status"], "\"active_runners\""),
        (&["runner", "list-containers"], "[]"),
    ];
    for (verb, shown) in verbs {
        let mut live = house.begin(&[verb, &["--watch"]].concat());
        live.wait_for(shown);
        live.signal(Signal::INT);
        live.end().ends(0);
    }
    house.ask(&["show", "nowhere", "--watch"]).ends(2).complains(&["nowhere"]);
    house.ask(&["list", "--watch", "--status", "asleep"]).ends(2).complains(&["asleep"]);
    node.stop().ends(0);
}

#[test]
fn a_node_elsewhere_is_watched_through_its_door() {
    let (house, desk) = (House::new(), House::new());
    let node = house.serve_with(&["--no-lan", "--http", "127.0.0.1:0"]);
    let url = text(&house.one(&["status"]), "http").to_owned();
    let token = std::fs::read_to_string(house.data().join("http-token")).unwrap();
    let elsewhere = ["--node", &url, "--token", token.trim()];
    let mut watched = desk.begin(&[&["list", "--watch"], elsewhere.as_slice()].concat());
    watched.wait_for("no runs");
    house.ask(&SUBMIT).ends(0);
    watched.wait_for("the nightly build");
    node.stop().ends(0);
    watched.wait_for("note: no node answers");
    watched.signal(Signal::INT);
    watched.end().ends(0);
    // one that never answered is no reason to wait
    desk.ask(&[&["list", "--watch"], elsewhere.as_slice()].concat()).ends(4).complains(&["does not answer"]);
    assert!(!desk.data().exists());
}
