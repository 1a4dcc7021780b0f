//! The older programs' command lines: every one of their documents, through a link with the older name, and what they left behind.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]
#![allow(unreachable_pub, dead_code, reason = "modules of a test")]

#[path = "../discovery/checkout.rs"]
mod checkout;
mod documents;
#[path = "../house/mod.rs"]
mod house;
#[path = "../autoscaler/lab.rs"]
mod lab;
mod lines;
mod migration;
#[path = "../http/raw.rs"]
mod raw;
mod renaming;
#[path = "../../../tests/tests/requirements/mod.rs"]
mod requirements;
mod shapes;
mod taking_over;
mod with_both;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use checkout::{Github, PATH, workflow};
use house::{House, Live, Said, text};
use requirements::{Requirement, require};
use serde_json::Value as Json;

/// Variables that open a GitHub.
const CREDENTIALS: [&str; 8] = [
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "GITHUB_API_URL",
    "WFENGINE_GITHUB_TOKEN",
    "WFENGINE_GITHUB_APP_ID",
    "GH_HOST",
];

/// The program under an older name.
fn link(house: &House, name: &str) -> PathBuf {
    let folder = house.path("bin");
    let link = folder.join(name);
    if !link.exists() {
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_wfengine"), &link).unwrap();
    }
    link
}

/// A command line of an older program, where there is neither a GitHub nor an engine nor any other program.
fn command<S: AsRef<OsStr>>(house: &House, name: &str, words: &[S]) -> Command {
    let mut command = Command::new(link(house, name));
    surround(house, &mut command);
    command.args(words);
    command
}

/// Gives a command line its house, and takes away all that it could reach beyond.
fn surround(house: &House, command: &mut Command) {
    use std::os::unix::process::CommandExt;
    for (variable, value) in house.command::<&str>(&[]).get_envs() {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
    for variable in CREDENTIALS {
        command.env_remove(variable);
    }
    let nothing = house.path("nothing");
    std::fs::create_dir_all(&nothing).unwrap();
    command.env("PATH", &nothing).env("DOCKER_HOST", format!("unix://{}", house.path("no.sock").display()));
    command.current_dir(house.desk()).stdin(Stdio::null()).process_group(0);
}

/// Runs one to its end.
fn ask(house: &House, line: &str) -> Said {
    let mut words = line.split(' ');
    let name = words.next().unwrap();
    let words: Vec<&str> = words.collect();
    Live::start(command(house, name, &words)).end()
}

/// The one document that it prints.
#[track_caller]
fn document(house: &House, line: &str) -> Json {
    let said = ask(house, line).ends(0);
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[test]
fn as_and_a_link_say_the_same_and_go_through_the_node_that_serves() {
    let house = House::new();
    let node = house.serve_with(&["--no-lan", "--http", "127.0.0.1:0"]);
    let by_link = ask(&house, "ipfs-accelerate p2p-workflow clock").ends(0);
    let by_verb = house.ask(&["as", "ipfs-accelerate", "p2p-workflow", "clock"]).ends(0);
    assert_eq!(by_link.out, by_verb.out);
    // our own options come before the name, theirs after it
    let clock = house.one(&["clock"]);
    let said = house.ask(&["--json", "as", "ipfs-accelerate", "p2p-workflow", "clock"]).ends(0);
    let theirs: Json = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&theirs["vector"], &theirs["merkle_root"]), (&clock["vector"], &clock["merkle_root"]));
    assert!(theirs.get("tool").is_none(), "{theirs}");
    node.stop().ends(0);
    let said = house.ask(&["as", "ipfs-cluster"]).ends(2).complains(&["as ipfs-cluster", "as ipfs-kit"]);
    assert!(said.out.is_empty());
}

#[test]
fn a_copy_with_an_older_name_starts_a_node_of_its_own() {
    let house = House::new();
    let copy = house.path("ipfs-accelerate");
    let program = env!("CARGO_BIN_EXE_wfengine");
    std::fs::hard_link(program, &copy).or_else(|_| std::fs::copy(program, &copy).map(|_| ())).unwrap();
    let mut command = Command::new(copy);
    surround(&house, &mut command);
    command.args(["runner", "start", "--background"]);
    // the node was there to be asked, said why it cannot begin, and is gone again
    Live::start(command).end().ends(1).complains(&["Not authenticated with GitHub CLI"]);
    assert_eq!(house.one(&["status"])["serving"], false);
}

#[test]
fn the_most_urgent_is_first_in_one_program_and_the_lowest_number_in_the_others() {
    let house = House::new();
    for (id, priority) in [("low", "2"), ("high", "9"), ("mid", "5")] {
        let line = "ipfs-accelerate p2p-workflow submit --workflow-id w --name n";
        ask(&house, &format!("{line} --task-id {id} --priority {priority}")).ends(0);
    }
    let next = || document(&house, "ipfs-accelerate p2p-workflow next --json")["task"].clone();
    assert_eq!([next(), next(), next()].map(|task| task["task_id"].clone()), ["high", "mid", "low"]);
    assert_eq!(
        document(&house, "ipfs-accelerate p2p-workflow next --json"),
        serde_json::json!({ "task": null, "message": "No tasks available" })
    );

    for (id, priority) in [("scrape", "3.0"), ("generate", "1.0"), ("process", "2.0")] {
        let line = "ipfs-datasets p2p schedule --name n --tags p2p_eligible";
        ask(&house, &format!("{line} --id {id} --priority {priority}")).ends(0);
    }
    let next = || document(&house, "ipfs-datasets --json p2p next")["workflow"].clone();
    assert_eq!(
        [next(), next(), next()].map(|work| work["workflow_id"].clone()),
        ["generate", "process", "scrape"]
    );
    assert_eq!(ask(&house, "ipfs-datasets p2p next").ends(0).out, "No workflows in queue\n");
}

#[test]
fn what_is_not_so_ends_with_one_and_words_without_sense_with_two() {
    let house = House::new();
    house.put("broken.yml", "jobs: [");
    for (line, complaints) in [
        ("ipfs-accelerate p2p-workflow complete --task-id none", vec!["`none` is not known here"]),
        (
            "ipfs-accelerate p2p-workflow submit --task-id t --workflow-id w --name n --priority 11",
            vec!["priority", "10"],
        ),
        (
            "ipfs-datasets p2p schedule --id a --name n --tags code_gen",
            vec!["requires GitHub API", "p2p_eligible"],
        ),
        ("ipfs-datasets p2p schedule --id a --name n", vec!["--tags", "p2p tags"]),
        ("ipfs-datasets p2p schedule --id a --name n --tags p2p_only --priority 0", vec!["priority", "0"]),
        (
            "ipfs-datasets p2p remove-peer nobody",
            vec!["neither a member nor an address", "the older program"],
        ),
        ("ipfs-datasets p2p-networking cache get x", vec!["p2p-networking cache get x"]),
        ("ipfs-kit p2p workflow status none", vec!["`none` is not known here"]),
        ("ipfs-kit p2p workflow update none done", vec!["status done", "in_progress", "cancelled"]),
        ("ipfs-kit p2p workflow update none failed", vec!["`none` is not known here"]),
        ("ipfs-kit p2p workflow list --status done", vec!["status done"]),
        ("ipfs-kit p2p workflow submit none.yml", vec!["none.yml"]),
        ("ipfs-kit p2p workflow submit broken.yml", vec!["broken.yml:2:", "not YAML"]),
        ("ipfs-kit p2p workflow submit broken.yml --inputs {", vec!["--inputs is not JSON"]),
        ("ipfs-kit p2p peer remove nobody", vec!["neither a member nor an address", "the older program"]),
    ] {
        let said = ask(&house, line).ends(1).complains(&complaints);
        assert!(said.out.is_empty(), "{line}: {said:?}");
    }
    for line in [
        "ipfs-accelerate",
        "ipfs-accelerate p2p-workflow submit",
        "ipfs-datasets p2p nothing",
        "ipfs-kit p2p workflow update x",
    ] {
        ask(&house, line).ends(2).complains(&["Usage: "]);
    }
    // refused work is JSON too where that was asked for
    let refused = ask(&house, "ipfs-datasets --json p2p schedule --id a --name n --tags unit_test").ends(1);
    let answer: Json = serde_json::from_str(&refused.out).unwrap();
    assert_eq!((&answer["success"], &answer["result"]["success"]), (&false.into(), &false.into()));
}

#[test]
fn the_variables_of_the_documents_are_read() {
    let house = House::new();
    let kept = house.path("kept");
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let mut command = command(&house, line.split(' ').next().unwrap(), &words);
        command
            .env_remove("WFENGINE_DATA_DIR")
            .env("P2P_DATA_DIR", &kept)
            .env("P2P_PEER_ID", "my-unique-peer");
        command.env("P2P_BOOTSTRAP_PEERS", "peer-2, peer-3:9000");
        Live::start(command).end().ends(0)
    };
    let said = run("ipfs-kit p2p stats").complains(&["P2P_DATA_DIR"]);
    let stats: Json = serde_json::from_str(&said.out).unwrap();
    assert_eq!(text(&stats, "peer_id"), "my-unique-peer");
    assert!(kept.is_dir());
    run("ipfs-datasets p2p init").complains(&["P2P_BOOTSTRAP_PEERS"]);
    let listed: Json = serde_json::from_str(&run("ipfs-kit p2p peer list").out).unwrap();
    assert_eq!(listed["peers"], serde_json::json!(["my-unique-peer", "peer-2:4433", "peer-3:9000"]));
}

#[test]
fn with_a_github_discovery_prints_the_block_and_who_is_known() {
    if require(Requirement::Git, "discovery under an older name").is_none() {
        return;
    }
    let github =
        Github::with_repository("octo/one", &[(PATH, &workflow("p2p-eligible", "push")), ("data.txt", "x")]);
    let house = House::new();
    let with = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = command(&house, "ipfs-accelerate", &words);
        command.env("GITHUB_TOKEN", &github.token).env("GITHUB_API_URL", github.standin.base_url());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        Live::start(command)
    };
    let auth: Json = serde_json::from_str(&with("github auth --json").end().ends(0).out).unwrap();
    assert_eq!((&auth["authenticated"], &auth["user"]), (&true.into(), &"octo".into()), "{auth}");
    assert!(text(&auth, "credential").contains("GITHUB_TOKEN") && !auth.to_string().contains(&github.token));
    let repos = with("github repos --owner octo").end().ends(0);
    assert_eq!(repos.out, "octo/one\n");
    let once = with("github p2p-discover once --owner octo").end().ends(0);
    let block = "Discovery Results:\n  Workflows discovered: 1\n  Workflows submitted: 1\n\nScheduler Status:\n  Pending tasks: 1\n";
    assert!(once.out.starts_with(block), "{once:?}");
    let found: Json =
        serde_json::from_str(&with("github p2p-discover once --owner octo --output-json").end().ends(0).out)
            .unwrap();
    assert_eq!((&found["discovered"], &found["submitted"]), (&1.into(), &0.into()), "{found}");
    let queues: Json = serde_json::from_str(&with("runner list-workflows").end().ends(0).out).unwrap();
    let row = queues[0].as_object().unwrap();
    assert_eq!(row["repo"], "octo/one");
    for field in ["total_workflows", "running", "failed", "pending"] {
        assert!(row[field].is_u64(), "{queues}");
    }
    let none = with("github workflows octo/two").end().ends(0);
    assert_eq!(none.out, "none\n");
    let mut monitor = with("github p2p-discover monitor --owner octo --interval 180");
    monitor.wait_for("Discovery: 1 workflows in 1 repositories");
    monitor.stop().ends(0);
    // a token that GitHub does not take
    let mut command = command(&house, "ipfs-accelerate", &["github", "auth"]);
    command
        .env("GITHUB_TOKEN", "ghp_0123456789abcdefghijABCDEFGHIJ012345")
        .env("GITHUB_API_URL", github.standin.base_url());
    let said =
        Live::start(command).end().ends(1).complains(&["Not authenticated with GitHub CLI", "gh auth login"]);
    assert!(!said.err.contains("ghp_0123"), "{said:?}");
}
