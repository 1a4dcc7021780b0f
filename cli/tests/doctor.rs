//! `doctor`: with and without a node, what is wrong is said with what helps, and nothing is touched.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod house;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

use house::{House, Live, Said, text};
use serde_json::Value as Json;
use wfengine_tests::standin::{Options, Standin, StandinClock, TokenKind};

/// Asks the doctor, with an engine and a GitHub that are not there.
fn doctor(house: &House, options: &[&str]) -> Command {
    let mut command = house.command(&[&["--json", "doctor"], options].concat());
    command.env("DOCKER_HOST", format!("unix://{}", house.path("none.sock").display()));
    for variable in ["GITHUB_TOKEN", "GH_TOKEN", "WFENGINE_GITHUB_TOKEN", "GITHUB_API_URL"] {
        command.env_remove(variable);
    }
    command.env("GITHUB_TOKEN", "ghp_nobodyMaySeeThis");
    command
}

fn ask(house: &House, options: &[&str]) -> Said {
    Live::start(doctor(house, options)).end()
}

/// What was found of one thing.
fn of<'a>(report: &'a Json, check: &str) -> Vec<&'a Json> {
    report["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check).collect()
}

fn states(report: &Json, check: &str) -> Vec<String> {
    of(report, check).iter().map(|finding| text(finding, "state").to_owned()).collect()
}

#[test]
fn a_host_without_a_node_is_looked_at_and_left_as_it_is() {
    let house = House::new();
    std::fs::create_dir(house.data()).unwrap();
    std::fs::write(
        house.data().join("config.toml"),
        "[http]\nport = 0\n[network]\nlisten = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let report = ask(&house, &["--offline"]).ends(0).json().remove(0);
    for check in ["data", "log", "config", "clock", "ports", "peers", "engine", "github", "disk", "node"] {
        let found = of(&report, check);
        assert!(!found.is_empty(), "{check}: {report}");
        for finding in found {
            assert_eq!(finding["remedy"].is_null(), finding["state"] == "ok", "{finding}");
        }
    }
    assert_eq!(report["ok"], true);
    assert_eq!(states(&report, "node"), ["warn"]);
    // nobody needs an engine here
    assert_eq!(states(&report, "engine"), ["warn"]);
    let github = of(&report, "github").remove(0);
    assert!(text(github, "says").contains("GITHUB_TOKEN"), "{github}");
    assert!(!report.to_string().contains("nobodyMaySeeThis"), "{report}");
    let left: Vec<_> =
        std::fs::read_dir(house.data()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["config.toml"]);
}

#[test]
fn what_is_wrong_fails_with_what_helps() {
    let house = House::new();
    house.ask(&["status"]).ends(0);
    std::fs::set_permissions(house.data().join("identity"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(house.data().join("config.toml"), "http.prot = 1\n").unwrap();
    let report = ask(&house, &["--offline"]).ends(1).json().remove(0);
    assert_eq!(report["ok"], false);
    assert_eq!(states(&report, "data"), ["fail"]);
    assert!(text(of(&report, "data")[0], "remedy").contains("chmod 600"));
    assert!(text(of(&report, "config")[0], "says").contains("http.prot"));
    assert_eq!(states(&report, "log"), ["ok"]);
    let told =
        "notify.webhook = \"https://hooks.example/opensesame\"\nnotify.secret_file = \"/nowhere/secret\"\n";
    std::fs::write(house.data().join("config.toml"), told).unwrap();
    let report = ask(&house, &["--offline"]).ends(1).json().remove(0);
    assert!(
        of(&report, "config").iter().any(|found| text(found, "says").contains("/nowhere/secret")),
        "{report}"
    );
    assert!(!report.to_string().contains("opensesame"), "{report}");
    // the log itself
    let cluster = std::fs::read_to_string(house.data().join("cluster")).unwrap();
    let log = house.data().join("clusters").join(cluster.trim()).join("log.redb");
    std::fs::write(&log, "no log").unwrap();
    let report = ask(&house, &["--offline"]).ends(1).json().remove(0);
    assert_eq!(states(&report, "log"), ["fail"], "{report}");
    assert_eq!(std::fs::read(&log).unwrap(), b"no log");
}

#[test]
fn a_node_that_serves_is_asked() {
    let house = House::new();
    let live = house.serve_with(&["--no-lan", "--http", "127.0.0.1:0"]);
    house::until("it answers", || house.one(&["status"])["serving"].as_bool().filter(|serving| *serving));
    let report = ask(&house, &["--offline"]).ends(0).json().remove(0);
    assert_eq!(states(&report, "node"), ["ok"], "{report}");
    assert_eq!(states(&report, "ports"), ["ok", "ok"], "{report}");
    assert_eq!(states(&report, "log"), ["ok"], "{report}");
    assert!(text(of(&report, "clock")[0], "says").contains("from the future"), "{report}");
    assert!(text(of(&report, "peers")[0], "says").contains("only member"), "{report}");
    live.stop().ends(0);
}

#[test]
fn what_does_not_answer_is_waited_for_only_so_long() {
    let house = House::new();
    // an engine and a GitHub that take connections and say nothing
    let engine = house.path("silent.sock");
    let _engine = UnixListener::bind(&engine).unwrap();
    let github = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = doctor(&house, &[]);
    command.env("DOCKER_HOST", format!("unix://{}", engine.display()));
    command.env("GITHUB_API_URL", format!("http://{}", github.local_addr().unwrap()));
    let report = Live::start(command).end().ends(0).json().remove(0);
    assert_eq!(states(&report, "engine"), ["warn"], "{report}");
    assert_eq!(states(&report, "github"), ["warn"], "{report}");
}

#[test]
fn a_port_that_is_taken_is_a_warning() {
    let house = House::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = doctor(&house, &["--offline"]);
    command.env("WFENGINE_HTTP_PORT", taken.local_addr().unwrap().port().to_string());
    command.env("WFENGINE_NETWORK_LISTEN", "127.0.0.1:0");
    let report = Live::start(command).end().ends(0).json().remove(0);
    assert_eq!(states(&report, "ports"), ["ok", "warn"], "{report}");
    let plain = house.ask(&["doctor", "--offline"]).out;
    assert!(plain.lines().any(|line| line.starts_with("warn  node ")), "{plain}");
    assert!(plain.contains("what helps: "), "{plain}");
}

#[test]
fn a_token_is_tried_and_what_is_left_of_its_budget_is_said() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options { clock: StandinClock::real(), ..Options::default() };
    let standin = runtime.block_on(Standin::start(options)).unwrap();
    standin.add_user("octo");
    let token = standin.token(&TokenKind::classic("octo"));
    let house = House::new();
    let asked = |token: &str, code: i32| {
        let mut command = doctor(&house, &[]);
        command.env("GITHUB_TOKEN", token).env("GITHUB_API_URL", standin.base_url());
        let said = Live::start(command).end().ends(code);
        assert!(!said.out.contains(token), "{said:?}");
        said.json().remove(0)
    };
    let report = asked(&token, 0);
    assert_eq!(states(&report, "github"), ["ok"], "{report}");
    assert!(text(of(&report, "github")[0], "says").contains("of 5000 requests are left"), "{report}");
    let report = asked("ghp_thisOneIsNotKnownToAnybody000000000000", 1);
    assert_eq!(states(&report, "github"), ["fail"], "{report}");
    assert!(text(of(&report, "github")[0], "remedy").contains("gh auth login"));
}

#[test]
fn a_member_that_is_away_is_named() {
    let (ash, birch) = (House::new(), House::new());
    let first = ash.serve_with(&["--no-lan", "--no-http"]);
    let invite = ash.one(&["peer", "invite"]);
    let words: Vec<String> =
        text(&invite, "join_line").split_whitespace().skip(1).map(str::to_owned).collect();
    let more = ["--name", "birch", "--listen", "127.0.0.1:0", "--no-lan", "--no-http"].map(str::to_owned);
    let mut second = birch.begin(&[words, more.to_vec()].concat());
    second.wait_for("serves on UDP");
    let of_birch = || {
        let report = ask(&ash, &["--offline"]).ends(0).json().remove(0);
        let found =
            of(&report, "peers").into_iter().find(|found| text(found, "says").starts_with("birch ")).cloned();
        found.unwrap_or_else(|| panic!("{report}"))
    };
    house::until("birch is connected", || Some(of_birch()).filter(|found| text(found, "state") == "ok"));
    assert!(text(&of_birch(), "says").contains("is connected at 127.0.0.1:"));
    second.kill();
    let away =
        house::until("birch is missed", || Some(of_birch()).filter(|found| text(found, "state") == "warn"));
    assert!(text(&away, "says").contains("not connected"), "{away}");
    assert!(text(&away, "remedy").contains("wfengine peer remove birch"), "{away}");
    first.stop().ends(0);
}

#[test]
fn a_node_that_speaks_tls_is_well() {
    let house = House::new();
    let file = |name: &str| format!("{}/tests/http/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let serve = ["serve", "--listen", "127.0.0.1:0", "--no-lan", "--http", "127.0.0.1:0"];
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let mut live = house.begin(&[&serve[..], &["--http-cert", &cert, "--http-key", &key]].concat());
    live.wait_for("programs ask at");
    let report = ask(&house, &["--offline"]).ends(0).json().remove(0);
    let ports: Vec<&str> = of(&report, "ports").iter().map(|finding| text(finding, "says")).collect();
    assert!(ports.iter().any(|says| says.contains("https://127.0.0.1:")), "{report}");
    live.stop().ends(0);
}
