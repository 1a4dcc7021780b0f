//! `config`, and that a node does what its file, its environment and its options say, in that order.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod house;

use std::net::TcpListener;
use std::path::PathBuf;

use house::{House, Live, text};
use serde_json::Value as Json;

/// Writes the file that a node of this house finds.
fn tell(house: &House, text: &str) -> PathBuf {
    std::fs::create_dir_all(house.data()).unwrap();
    let path = house.data().join("config.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// A key of `config show --json`.
fn key<'a>(shown: &'a Json, name: &str) -> &'a Json {
    shown["keys"].as_array().unwrap().iter().find(|key| key["key"] == name).unwrap()
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where a node says that programs ask it.
fn door(live: &mut Live) -> String {
    let line = live.wait_for("programs ask at");
    line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned()
}

#[test]
fn show_says_of_every_key_who_says_it_and_makes_nothing() {
    let house = House::new();
    let file = house.path("told.toml");
    std::fs::write(&file, "[http]\nport = 9000\n[jobs]\ngrace = \"2m\"\n").unwrap();
    let mut command = house.command(&["--json", "config", "show", "--slots", "3", "--config"]);
    command
        .arg(&file)
        .env("WFENGINE_JOBS_GRACE", "7s")
        .env("WFENGINE_HTTP_ALLOWED_ORIGINS", "https://a,https://b");
    let shown = Live::start(command).end().ends(0).json().remove(0);
    for (name, value, source) in [
        ("http.port", Json::from(9000), "file"),
        ("jobs.grace", "7s".into(), "environment"),
        ("http.allowed_origins", vec!["https://a", "https://b"].into(), "environment"),
        ("jobs.slots", 3.into(), "option"),
        ("http.host", "127.0.0.1".into(), "default"),
    ] {
        let key = key(&shown, name);
        assert_eq!((&key["value"], text(key, "source")), (&value, source), "{name}: {key}");
    }
    assert_eq!(key(&shown, "http.port")["line"], 2);
    assert_eq!(text(key(&shown, "http.port"), "unit"), "TCP port");
    assert!(!house.data().exists(), "nothing was asked to be made");
    let printed = house.ask(&["config", "show"]).ends(0).out;
    for part in
        ["KEY", "http.port", "8080", "0 to 65535", "default", "(not there)", "the number of processors"]
    {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}

#[test]
fn check_says_every_mistake_and_what_may_have_been_meant() {
    let house = House::new();
    assert!(house.ask(&["config", "check"]).ends(0).out.contains("not there"));
    let file = tell(&house, "[http]\nprot = 1\nport = 70000\n");
    let mut command = house.command(&["config", "check"]);
    command.env("WFENGINE_JOBS_SLOTS", "many");
    let said = Live::start(command).end().ends(2);
    let at = |line: usize| format!("{}:{line}: ", file.display());
    said.complains(&[
        &at(2),
        "http.prot",
        "did you mean http.port",
        &at(3),
        "found 70000",
        "0 to 65535",
        "WFENGINE_JOBS_SLOTS",
    ]);
    let checked = house.json_of(&["config", "check"], 2).remove(0);
    assert_eq!(checked["ok"], false);
    let mistakes = checked["mistakes"].as_array().unwrap();
    assert_eq!(mistakes.len(), 2, "{checked}");
    let unknown = mistakes.iter().find(|mistake| mistake["key"] == "http.prot").unwrap();
    assert_eq!((&unknown["line"], &unknown["did_you_mean"][0]), (&2.into(), &"http.port".into()));
    // a node does none of it by halves
    house.ask(&["serve", "--listen", "127.0.0.1:0"]).ends(2).complains(&["http.prot", "config check"]);
    house.ask(&["serve", "--background"]).ends(2).complains(&["http.prot"]);
    let none = house.path("none.toml");
    house.ask(&["config", "check", "--config", none.to_str().unwrap()]).ends(2).complains(&["no such file"]);
}

#[test]
fn a_node_does_what_its_file_says_and_an_option_comes_before_it() {
    let house = House::new();
    let (port, other) = (free_port(), free_port());
    let told = format!(
        "network.lan = false\n[http]\nport = {port}\nallowed_origins = [\"https://pages.example\"]\n[jobs]\ngrace = \"7s\"\nslots = 1\n"
    );
    tell(&house, &told);
    let mut live = house.begin(&["serve", "--listen", "127.0.0.1:0"]);
    let url = door(&mut live);
    assert_eq!(url, format!("http://127.0.0.1:{port}"));
    let asked = |origin: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(house::PATIENCE)).unwrap();
        let request = format!(
            "GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // the page may ask, and has no token; the other may not even that
    assert!(asked("https://pages.example").starts_with("HTTP/1.1 401"));
    let refused = asked("https://others.example");
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    assert!(refused.contains("http.allowed_origins") && refused.contains("--http-origin"), "{refused}");
    let said = live.stop().ends(0);
    assert!(said.err.contains("may go on for 7 s"), "{said:?}");
    let mut live =
        house.begin(&["serve", "--listen", "127.0.0.1:0", "--http", &format!("127.0.0.1:{other}")]);
    assert_eq!(door(&mut live), format!("http://127.0.0.1:{other}"));
    live.stop().ends(0);
    // what the file turns off stays off, in a node that is started in the background too
    tell(&house, "http.enabled = false\nnetwork.listen = \"127.0.0.1:0\"\nnetwork.lan = false\n");
    house.ask(&["serve", "--background"]).ends(0);
    let status = house.one(&["status"]);
    assert!(status["http"].is_null(), "{status}");
    assert!(text(&status, "listen").starts_with("127.0.0.1:"), "{status}");
    let pid =
        rustix::process::Pid::from_raw(i32::try_from(status["pid"].as_u64().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    house::until("the node has ended", || (!house::is_alive(pid.as_raw_nonzero().get())).then_some(()));
}
