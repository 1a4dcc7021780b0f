//! Rows about variables of the environment: each is set, and what comes of it looked at.

use serde_json::json;

use super::Shown::{Here, There};
use super::{Rows, started};
use crate::ask;
use crate::house::{House, Said, text};

pub const ROWS: Rows = &[
    ("`P2P_PEER_ID`", &[Here(the_name_where_none_was_set)]),
    ("`P2P_BOOTSTRAP_PEERS`", &[Here(addresses_where_none_are_given)]),
    ("`P2P_DATA_DIR`", &[Here(the_data_directory_where_none_is_named)]),
    (
        "`WORKFLOW_TAGS`, `P2P_TAGS`, `WORKFLOW_TAG`, `WORKFLOW_TYPE`",
        &[
            Here(tags_are_not_of_a_process),
            There(
                "cli/tests/old_names/migration/tags.rs",
                &["fn in_env("],
                &["\"WORKFLOW_TAGS\", \"P2P_TAGS\""],
            ),
        ],
    ),
    (
        "`GITHUB_TOKEN`, `GH_TOKEN`",
        &[
            Here(a_credential_stays_with_the_node),
            There(
                "cli/tests/runner_policy/secrets.rs",
                &["fn nothing_shows("],
                &["!environment.iter().any(|line| line.contains(&lab.token))"],
            ),
        ],
    ),
    (
        "`RUNNER_DOCKER_NETWORK_MODE`",
        &[
            Here(the_network_of_containers),
            There(
                "cli/tests/runner_policy/golden.rs",
                &["fn each_option_changes_what_it_names_and_nothing_else("],
                &["--network"],
            ),
        ],
    ),
    ("`CACHE_DOCKER_NETWORK_MODE`", &[Here(another_name_for_the_network_is_not_read)]),
    (
        "`RUNNER_NAME`, `REPO_URL`, `RUNNER_TOKEN`, `LABELS`, `RUNNER_WORKDIR`, `EPHEMERAL`",
        &[
            Here(|house| changes_nothing(house, &THEIRS)),
            There(
                "cli/tests/runner_policy/contracts.rs",
                &["fn the_image_of_the_third_party_registers_by_itself_and_its_registration_goes("],
                &THEIRS,
            ),
        ],
    ),
    ("`GITHUB_REPOSITORY`", &[Here(the_repository_is_an_option)]),
    (
        "`CACHE_ENABLE_P2P`, `CACHE_LISTEN_PORT`, `CACHE_BOOTSTRAP_PEERS`, `CACHE_P2P_SHARED_SECRET`",
        &[Here(|house| {
            let names =
                ["CACHE_ENABLE_P2P", "CACHE_LISTEN_PORT", "CACHE_BOOTSTRAP_PEERS", "CACHE_P2P_SHARED_SECRET"];
            changes_nothing(house, &names);
        })],
    ),
    (
        "`CACHE_MDNS_SERVICE`, `CACHE_MDNS_TYPE`, `CACHE_ADVERTISE_IP`, `CACHE_DHT_BOOTSTRAP_INTERVAL`, `CACHE_P2P_NAMESPACE`, `CACHE_P2P_RENDEZVOUS_PEER`, `…_NS`",
        &[
            Here(|house| {
                let names = [
                    "CACHE_MDNS_SERVICE",
                    "CACHE_MDNS_TYPE",
                    "CACHE_ADVERTISE_IP",
                    "CACHE_DHT_BOOTSTRAP_INTERVAL",
                    "CACHE_P2P_NAMESPACE",
                    "CACHE_P2P_RENDEZVOUS_PEER",
                    "CACHE_P2P_RENDEZVOUS_NS",
                ];
                changes_nothing(house, &names);
            }),
            There(
                "cli/tests/namespaces.rs",
                &["fn members_that_moved_find_each_other_on_the_local_network("],
                &["--listen"],
            ),
        ],
    ),
    (
        "`GITHUB_RUNNER_AUTOSCALER_TOKEN_FILE`, `…_STATE_DIR`, `GITHUB_AUTOSCALER_*`",
        &[Here(no_file_of_tokens_is_written)],
    ),
    (
        "`IPFS_ACCELERATE_PY_P2P_WORKFLOW_TASKQUEUE`",
        &[Here(|house| changes_nothing(house, &["IPFS_ACCELERATE_PY_P2P_WORKFLOW_TASKQUEUE"]))],
    ),
    (
        "`IPFS_ACCELERATE_PY_TASK_P2P_REMOTE_PEER_ID`, `…_REMOTE_MULTIADDR`, and their `IPFS_DATASETS_PY_` twins",
        &[
            Here(|house| {
                let names = [
                    "IPFS_ACCELERATE_PY_TASK_P2P_REMOTE_PEER_ID",
                    "IPFS_ACCELERATE_PY_TASK_P2P_REMOTE_MULTIADDR",
                    "IPFS_DATASETS_PY_TASK_P2P_REMOTE_PEER_ID",
                    "IPFS_DATASETS_PY_TASK_P2P_REMOTE_MULTIADDR",
                ];
                changes_nothing(house, &names);
            }),
            Here(another_hosts_node_is_named),
        ],
    ),
    (
        "the other `IPFS_ACCELERATE_PY_TASK_P2P_…`",
        &[Here(|house| {
            let names = ["IPFS_ACCELERATE_PY_TASK_P2P_LISTEN_PORT", "IPFS_ACCELERATE_PY_TASK_P2P_TOKEN"];
            changes_nothing(house, &names);
        })],
    ),
];

/// What images that register by themselves are told.
const THEIRS: [&str; 6] =
    ["RUNNER_NAME", "REPO_URL", "RUNNER_TOKEN", "LABELS", "RUNNER_WORKDIR", "EPHEMERAL"];

/// Whatever these are, what the programs say is the same.
fn changes_nothing(house: &House, names: &[&str]) {
    house.ask(&["init", "--name", "me"]).ends(0);
    let set: Vec<(&str, &str)> = names.iter().map(|name| (*name, "/octo/planted:1")).collect();
    for line in [
        "wfengine config show",
        "wfengine peer list",
        "wfengine status",
        "ipfs-datasets p2p status",
        "ipfs-accelerate runner status",
        "ipfs-accelerate runner start",
        "ipfs-accelerate runner provision",
        "ipfs-accelerate github p2p-discover once",
    ] {
        let said = |variables: &[(&str, &str)]| {
            let Said { out, err, status } = started(house, line, variables).end();
            assert!(!format!("{out}{err}").contains("planted"), "{names:?}, {line}: {out}{err}");
            (out, err, status.code())
        };
        assert_eq!(said(&set), said(&[]), "{names:?}, {line}");
    }
}

fn the_name_where_none_was_set(house: &House) {
    let name = |variables: &[(&str, &str)]| {
        let said = started(house, "wfengine --json status", variables).end().ends(0);
        (text(&said.json()[0], "peer").to_owned(), said.err)
    };
    let (named, note) = name(&[("P2P_PEER_ID", "my-unique-peer")]);
    assert_eq!(named, "my-unique-peer");
    assert!(note.contains("P2P_PEER_ID is read as this node's name"), "{note}");
    house.ask(&["init", "--name", "for-good"]).ends(0);
    assert_eq!(name(&[("P2P_PEER_ID", "my-unique-peer")]).0, "for-good");
}

fn addresses_where_none_are_given(house: &House) {
    let addresses = || house.one(&["peer", "list"])["addresses"].clone();
    // a node that was told none calls them, and keeps none of them
    let serve = "wfengine serve --listen 127.0.0.1:0 --no-lan --no-http";
    let mut node = started(house, serve, &[("P2P_BOOTSTRAP_PEERS", "127.0.0.1:9")]);
    node.wait_for("serves on UDP");
    node.stop().ends(0).complains(&["P2P_BOOTSTRAP_PEERS is read"]);
    assert_eq!(addresses(), json!([]));
    let set = [("P2P_BOOTSTRAP_PEERS", "host-1,host-2:9000")];
    started(house, "ipfs-datasets p2p init --peers host-3", &set).end().ends(0);
    assert_eq!(addresses(), json!(["host-3:4433"]));
    started(house, "ipfs-datasets p2p init", &set).end().ends(0).complains(&["P2P_BOOTSTRAP_PEERS is read"]);
    assert_eq!(addresses(), json!(["host-1:4433", "host-2:9000", "host-3:4433"]));
}

fn the_data_directory_where_none_is_named(house: &House) {
    let (theirs, own) = (house.path("theirs"), house.path("own"));
    let run = |line: &str, is_named: bool| {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = crate::command(house, words[0], &words[1..]);
        command.env_remove("WFENGINE_DATA_DIR").env("P2P_DATA_DIR", &theirs);
        if is_named {
            command.env("WFENGINE_DATA_DIR", &own);
        }
        crate::Live::start(command).end()
    };
    run("wfengine task submit --task-id a", true).ends(0);
    assert!(own.is_dir() && !theirs.exists());
    let listed = run(&format!("wfengine --data-dir {} --json list", own.display()), false).ends(0);
    assert_eq!(listed.json()[0]["given_id"], "a", "the option comes before it");
    assert!(!theirs.exists());
    let listed = run("ipfs-kit p2p workflow list", false).ends(0).complains(&["P2P_DATA_DIR is read"]);
    assert!(theirs.is_dir() && listed.out.contains("\"count\": 0"), "{listed:?}");
    // one in which the older program kept its state is nobody's to write in
    std::fs::remove_dir_all(&theirs).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(theirs.join("coordinator_state_peer-1.json"), "{}").unwrap();
    run("ipfs-kit p2p workflow list", false).ends(1).complains(&["holds other files", "--data-dir"]);
    assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 1);
}

fn tags_are_not_of_a_process(house: &House) {
    let set = ["WORKFLOW_TAGS", "P2P_TAGS", "WORKFLOW_TAG", "WORKFLOW_TYPE"].map(|name| (name, "p2p-only"));
    house.put_script("w.yml", "true");
    let said = started(house, "wfengine --json submit w.yml", &set).end().ends(0);
    assert_eq!(said.json()[0]["run"]["tags"], json!([]), "{said:?}");
}

fn a_credential_stays_with_the_node(house: &House) {
    const SECRET: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    house.put_script("w.yml", "echo \"job has: $(env)\"; echo \"token: '$GITHUB_TOKEN$GH_TOKEN'\"");
    for name in ["GITHUB_TOKEN", "GH_TOKEN"] {
        // nobody listens there, so that it is known by the question alone that it was taken
        let url = ("GITHUB_API_URL", "http://127.0.0.1:9");
        let asked = started(house, "ipfs-accelerate github auth", &[(name, SECRET), url]).end().ends(1);
        assert!(!asked.err.contains("no GitHub token") && !asked.err.contains(SECRET), "{asked:?}");
        let mut command = house.command(&["run", "w.yml"]);
        command.env_remove("GITHUB_TOKEN").env_remove("GH_TOKEN").env(name, SECRET);
        let ran = crate::Live::start(command).end().ends(0);
        assert!(ran.out.contains("token: ''") && !ran.out.contains(SECRET), "{ran:?}");
    }
    ask(house, "ipfs-accelerate github auth").ends(1).complains(&["no GitHub token"]);
}

fn the_network_of_containers(house: &House) {
    let start = |network: &str, options: &str| {
        let line = format!("ipfs-accelerate runner start{options}");
        started(house, &line, &[("RUNNER_DOCKER_NETWORK_MODE", network)]).end().ends(1)
    };
    start("host", "").complains(&["read for compatibility as --network host", "needs --insecure"]);
    start("a b", "").complains(&["RUNNER_DOCKER_NETWORK_MODE a b: expected own, none, host"]);
    // one that is fine comes as far as the credential
    start("none", "").complains(&["--network none", "Not authenticated"]);
}

fn another_name_for_the_network_is_not_read(house: &House) {
    let set = [("CACHE_DOCKER_NETWORK_MODE", "a b")];
    let said = started(house, "ipfs-accelerate runner start", &set).end().ends(1);
    assert!(!said.err.contains("network") && said.err.contains("Not authenticated"), "{said:?}");
    changes_nothing(house, &["CACHE_DOCKER_NETWORK_MODE"]);
}

fn the_repository_is_an_option(house: &House) {
    changes_nothing(house, &["GITHUB_REPOSITORY"]);
    let help = ask(house, "ipfs-accelerate runner provision --help").ends(0).out;
    assert!(help.contains("--repo <REPO>"), "{help}");
}

fn no_file_of_tokens_is_written(house: &House) {
    let file = house.path("tokens.json").display().to_string();
    let folder = house.path("state").display().to_string();
    let set = [
        ("GITHUB_RUNNER_AUTOSCALER_TOKEN_FILE", file.as_str()),
        ("GITHUB_RUNNER_AUTOSCALER_STATE_DIR", folder.as_str()),
        ("GITHUB_AUTOSCALER_TOKEN_FILE", file.as_str()),
    ];
    started(house, "ipfs-accelerate runner start", &set).end().ends(1);
    started(house, "ipfs-accelerate runner status", &set).end().ends(0);
    assert!(!house.path("tokens.json").exists() && !house.path("state").exists());
    changes_nothing(house, &set.map(|(name, _)| name));
    let named = ask(house, "wfengine runner start --token-file /nowhere/token").ends(3);
    named.complains(&["/nowhere/token"]);
}

fn another_hosts_node_is_named(house: &House) {
    let set = [("WFENGINE_NODE", "http://127.0.0.1:9"), ("WFENGINE_TOKEN", "a-token-of-these-tests")];
    let said = started(house, "ipfs-kit p2p stats", &set).end().ends(1);
    said.complains(&["http://127.0.0.1:9"]);
}
