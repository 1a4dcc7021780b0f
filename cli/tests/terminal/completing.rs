//! Completion: what a shell is told at a TAB.

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::house::{House, Live, Said, text};

/// What the program tells a shell about the last of these words.
fn told(house: &House, shell: &str, words: &[&str]) -> Said {
    let mut command = house.command(&[&["--", "wfengine"], words].concat());
    command.env("WFENGINE_COMPLETE", shell);
    command.env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_IFS", "\n");
    Live::start(command).end().ends(0)
}

fn candidates(house: &House, words: &[&str]) -> Vec<String> {
    let said = told(house, "bash", words);
    assert!(said.err.is_empty(), "{said:?}");
    said.out.lines().map(str::to_owned).collect()
}

/// A house whose node has a task with tags; its run's short id.
fn with_work() -> (House, Live, String) {
    let house = House::new();
    let node = house.serve();
    let submit = ["task", "submit", "--task-id", "nightly", "--tags", "p2p-eligible,gpu-large"];
    let submitted = house.one(&submit);
    let run = text(&submitted["run"], "id")[..12].to_owned();
    // nobody's shell is to understand what others call their work
    house.ask(&["task", "submit", "--task-id", "x$(touch pwned)"]).ends(0);
    (house, node, run)
}

#[test]
fn ids_tags_and_peers_come_from_the_node() {
    let (house, node, run) = with_work();
    for verb in ["show", "logs", "cancel", "why", "owner", "rerun", "priority"] {
        let all = candidates(&house, &[verb, ""]);
        assert!(all.contains(&"nightly".to_owned()) && all.contains(&run), "{verb}: {all:?}");
        assert!(!all.iter().any(|one| one.contains("pwned")), "{verb}: {all:?}");
    }
    assert_eq!(candidates(&house, &["show", "ni"]), ["nightly"]);
    assert_eq!(candidates(&house, &["show", &run[..6]]), [run.as_str()]);
    assert_eq!(candidates(&house, &["task", "complete", ""])[0], "nightly");
    assert!(!candidates(&house, &["task", "complete", ""]).contains(&run));
    assert!(candidates(&house, &["list", "--tag", ""]).contains(&"gpu-large".to_owned()));
    assert_eq!(candidates(&house, &["list", "--tag", "gpu"]), ["gpu-large"]);
    assert_eq!(candidates(&house, &["list", "--status", "comp"]), ["completed"]);
    let me = house.one(&["peer", "id"]);
    assert_eq!(candidates(&house, &["list", "--peer", ""]), [text(&me, "peer")]);
    // what the node does not know, the command line does
    assert!(candidates(&house, &["li"]).contains(&"list".to_owned()));
    // and other shells are told what each is
    assert!(told(&house, "zsh", &["show", "ni"]).out.contains("nightly:pending"));
    assert!(told(&house, "fish", &["show", "ni"]).out.contains("nightly\tpending"));
    node.stop().ends(0);
}

#[test]
fn bash_completes_with_the_script_that_the_program_prints() {
    let (house, node, run) = with_work();
    let script = r#"
        set -u
        source <("$PROGRAM" completions bash)
        tell() {
            COMP_WORDS=(wfengine "$@"); COMP_CWORD=$#; COMP_TYPE=9; COMP_LINE="wfengine $*"; COMP_POINT=${#COMP_LINE}
            COMPREPLY=()
            _clap_complete_wfengine wfengine "${@: -1}" wfengine
            printf '%s\n' "${COMPREPLY[@]-}"
        }
        complete -p wfengine >/dev/null || exit 9
        tell show ni
        tell show ""
        echo elsewhere
        tell --data-dir = /nowhere show ""
    "#;
    let mut command = Command::new("bash");
    command.args(["--noprofile", "--norc", "-c", script]);
    command.envs(house.command::<&str>(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PROGRAM", env!("CARGO_BIN_EXE_wfengine")).current_dir(house.desk());
    let said = Live::start(command).end().ends(0);
    let (here, elsewhere) = said.out.split_once("elsewhere\n").unwrap();
    assert!(here.starts_with("nightly\n") && here.contains(&run), "{said:?}");
    assert!(elsewhere.contains("--watch") && !elsewhere.contains("nightly"), "{said:?}");
    node.stop().ends(0);
}

#[test]
fn a_node_elsewhere_is_asked_too() {
    let (house, desk) = (House::new(), House::new());
    let node = house.serve_with(&["--no-lan", "--http", "127.0.0.1:0"]);
    house.ask(&["task", "submit", "--task-id", "nightly"]).ends(0);
    let url = text(&house.one(&["status"]), "http").to_owned();
    let token = std::fs::read_to_string(house.data().join("http-token")).unwrap();
    let words = ["--node", &url, "--token", token.trim(), "show", "ni"];
    assert_eq!(candidates(&desk, &words), ["nightly"]);
    assert!(!desk.data().exists());
    node.stop().ends(0);
}

#[test]
fn where_no_node_answers_nothing_is_made_said_or_waited_for() {
    let house = House::new();
    let only_options = |all: &[String]| all.iter().all(|one| one.starts_with("--"));
    assert!(only_options(&candidates(&house, &["show", ""])));
    assert!(!house.data().exists());
    assert!(candidates(&house, &["show", "--wat"]).contains(&"--watch".to_owned()));
    // one that takes connections and says nothing
    std::fs::create_dir(house.data()).unwrap();
    let _silent = UnixListener::bind(house.data().join("control.sock")).unwrap();
    let begun = Instant::now();
    assert!(only_options(&candidates(&house, &["show", ""])));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
