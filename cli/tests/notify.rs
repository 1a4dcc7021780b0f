//! Notifications: what a command and a webhook get, what happens when they do not answer, and that of two members one tells.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod house;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use house::{House, PATIENCE, text, until};
use serde_json::Value as Json;
use wfengine_github::{Secret, webhook};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What was posted.
struct Posted {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Posted {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Fails the test unless the body was signed with the secret.
    #[track_caller]
    fn is_signed(&self) {
        let signature = self.headers.get("x-hub-signature-256").map(String::as_str);
        webhook::verify(&Secret::new(SECRET), &self.body, signature).unwrap();
        let mut other = self.body.clone();
        other.push(b' ');
        assert!(webhook::verify(&Secret::new(SECRET), &other, signature).is_err());
    }
}

/// A receiver that answers with these statuses, the last of them for ever.
struct Receiving {
    address: String,
    posted: Receiver<Posted>,
}

fn receive(stream: &mut TcpStream) -> Option<Posted> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut headers = BTreeMap::new();
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Posted { headers, body })
}

impl Receiving {
    fn new(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, posted) = channel();
        std::thread::spawn(move || {
            let mut statuses = statuses.iter().copied().cycle_last();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let Some(request) = receive(&mut stream) else { continue };
                let status = statuses.next().unwrap_or(204);
                let answer =
                    format!("HTTP/1.1 {status} so\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
                if sender.send(request).is_err() {
                    return;
                }
            }
        });
        Self { address, posted }
    }

    #[track_caller]
    fn next(&self) -> Posted {
        self.posted.recv_timeout(PATIENCE).unwrap()
    }
}

/// An iterator that goes on with its last item.
trait CycleLast: Iterator<Item = u16> + Sized {
    fn cycle_last(mut self) -> impl Iterator<Item = u16> {
        let mut last = 204;
        std::iter::from_fn(move || {
            last = self.next().unwrap_or(last);
            Some(last)
        })
    }
}

impl<I: Iterator<Item = u16>> CycleLast for I {}

/// Tells a house whom to notify.
fn tell(house: &House, notify: &str) {
    std::fs::create_dir_all(house.data()).unwrap();
    std::fs::write(house.path("secret"), format!("{SECRET}\n")).unwrap();
    let text = format!("http.enabled = false\nnetwork.lan = false\n[notify]\n{notify}\n");
    std::fs::write(house.data().join("config.toml"), text).unwrap();
}

fn by_webhook(house: &House, receiving: &Receiving, path: &str) -> String {
    format!(
        "webhook = \"http://{}/{path}\"\nsecret_file = \"{}\"",
        receiving.address,
        house.path("secret").display()
    )
}

#[test]
fn a_test_says_what_came_back_and_shows_no_secret() {
    let house = House::new();
    house.ask(&["notify", "test"]).ends(2).complains(&["notify.command", "notify.webhook"]);
    let receiving = Receiving::new(&[204, 500]);
    let command = "command = [\"/bin/sh\", \"-c\", \"cat; exit 0\", \"hunter2\"]\n";
    tell(&house, &format!("{command}{}", by_webhook(&house, &receiving, "opensesame")));
    let said = house.json_of(&["notify", "test"], 0).remove(0);
    let posted = receiving.next();
    posted.is_signed();
    let body = posted.json();
    assert_eq!((text(&body, "event"), text(&body, "id")), ("test", text(&said, "delivery")));
    assert_eq!(posted.headers["x-wfengine-delivery"], text(&body, "id"));
    assert_eq!(posted.headers["x-wfengine-event"], "test");
    assert_eq!(
        posted.headers["x-wfengine-timestamp"],
        (body["time_ms"].as_u64().unwrap() / 1_000).to_string()
    );
    let ways = said["ways"].as_array().unwrap();
    assert_eq!((&ways[0]["way"], &ways[0]["status"]), (&"command".into(), &0.into()));
    // the program read what the webhook got
    assert!(text(&ways[0], "says").contains(text(&body, "id")), "{said}");
    assert_eq!((&ways[1]["way"], &ways[1]["status"]), (&"webhook".into(), &204.into()));
    let failed = house.ask(&["notify", "test"]).ends(1);
    assert!(failed.out.contains("fail  webhook: HTTP status 500"), "{failed:?}");
    let shown = house.ask(&["config", "show"]).ends(0).out + &house.json(&["config", "show"])[0].to_string();
    for secret in ["opensesame", "hunter2", SECRET] {
        assert!(!shown.contains(secret) && !failed.out.contains(secret), "{secret}");
    }
    drop(receiving);
}

#[test]
fn what_cannot_work_is_a_mistake_before_a_node_begins() {
    let house = House::new();
    for (notify, parts) in [
        ("webhook = \"https://hooks.example/opensesame\"", ["notify.webhook", "notify.secret_file"]),
        ("webhook = \"http://hooks.example/opensesame\"\nsecret_file = \"/x\"", ["notify.webhook", "https"]),
        ("events = [\"run.failed\", \"run.lost\"]", ["run.lost", "run.completed"]),
        ("secret = \"opensesame\"", ["notify.secret", "notify.secret_file"]),
        ("command = \"opensesame\"", ["notify.command", "list"]),
    ] {
        tell(&house, notify);
        let said = house.ask(&["config", "check"]).ends(2).complains(&parts);
        assert!(!said.err.contains("opensesame"), "{said:?}");
        house.ask(&["serve"]).ends(2);
    }
    tell(&house, "webhook = \"https://hooks.example/x\"\nsecret_file = \"/nowhere/secret\"");
    house.ask(&["serve", "--listen", "127.0.0.1:0"]).ends(2).complains(&["/nowhere/secret"]);
}

#[test]
fn the_end_of_a_run_is_told_once_and_tried_again_until_it_is_taken() {
    let house = House::new();
    let receiving = Receiving::new(&[503, 204]);
    tell(&house, &by_webhook(&house, &receiving, "hook"));
    house.put_script("bad.yml", "exit 1");
    house.put_script("good.yml", "true");
    let live = house.serve();
    let failed = house.ask(&["--json", "submit", "bad.yml", "--wait"]).ends(1).json();
    let run = failed.iter().find_map(|line| line["id"].as_str().or(line["run"].as_str())).unwrap().to_owned();
    let (first, again) = (receiving.next(), receiving.next());
    assert_eq!(first.body, again.body);
    first.is_signed();
    let body = again.json();
    assert_eq!((text(&body, "event"), text(&body["run"], "id")), ("run.failed", run.as_str()));
    assert_eq!(text(&body["run"], "status"), "failed");
    // what follows is the next run's end, and nothing of the one before
    house.ask(&["submit", "good.yml", "--wait"]).ends(0);
    assert_eq!(text(&receiving.next().json(), "event"), "run.completed");
    live.stop().ends(0);
    // a node that begins again does not tell of what had ended
    let live = house.serve();
    house.ask(&["submit", "bad.yml", "--wait"]).ends(1);
    let body = receiving.next().json();
    assert_eq!(text(&body, "event"), "run.failed");
    assert_ne!(text(&body["run"], "id"), run);
    live.stop().ends(0);
    assert!(receiving.posted.try_recv().is_err());
}

#[test]
fn a_way_that_hangs_holds_up_neither_runs_nor_the_end_of_the_node() {
    let house = House::new();
    tell(&house, "command = [\"/bin/sleep\", \"600\"]\ntimeout = \"5m\"");
    house.put_script("good.yml", "true");
    let live = house.serve();
    for _ in 0..3 {
        house.ask(&["submit", "good.yml", "--wait"]).ends(0);
    }
    let begun = Instant::now();
    live.stop().ends(0);
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[test]
fn of_two_members_the_one_that_was_asked_tells_of_a_run_and_the_other_of_one_that_left() {
    let (ash, birch) = (House::new(), House::new());
    let (told_ash, told_birch) = (Receiving::new(&[204]), Receiving::new(&[204]));
    let events = "events = [\"run.completed\", \"node.left\"]\nleft_after = \"1s\"";
    tell(&ash, &format!("{}\n{events}", by_webhook(&ash, &told_ash, "ash")));
    tell(&birch, &format!("{}\n{events}", by_webhook(&birch, &told_birch, "birch")));
    let mut first = ash.serve();
    let invite = ash.one(&["peer", "invite"]);
    let words: Vec<String> =
        text(&invite, "join_line").split_whitespace().skip(1).map(str::to_owned).collect();
    let more = ["--name", "birch", "--listen", "127.0.0.1:0"].map(str::to_owned);
    let mut second = birch.begin(&[words, more.to_vec()].concat());
    second.wait_for("serves on UDP");
    until("they hear each other", || (ash.one(&["status"])["connected_peers"] == 1).then_some(()));
    birch.put_script("good.yml", "true");
    let run = birch.ask(&["--json", "submit", "good.yml", "--wait"]).ends(0).json();
    let id = run.iter().find_map(|line| line["id"].as_str().or(line["run"].as_str())).unwrap();
    let body = told_birch.next().json();
    assert_eq!((text(&body, "event"), text(&body["run"], "id")), ("run.completed", id));
    assert_eq!(text(&body["node"], "name"), "birch");
    // both know the end; a run of ash's comes next there, and nothing of birch's before it
    ash.put_script("good.yml", "true # ash");
    ash.ask(&["submit", "good.yml", "--wait"]).ends(0);
    let body = told_ash.next().json();
    assert_eq!(text(&body, "event"), "run.completed");
    assert_ne!(text(&body["run"], "id"), id);
    second.kill();
    let body = told_ash.next().json();
    assert_eq!((text(&body, "event"), text(&body["member"], "name")), ("node.left", "birch"));
    assert!(first.goes_on());
    first.stop().ends(0);
}

#[test]
fn members_that_disagree_about_an_id_tell_of_it_once() {
    let (ash, birch) = (House::new(), House::new());
    // one receiver for both: whatever a cluster tells twice comes here twice
    let receiving = Receiving::new(&[204]);
    let events = "events = [\"conflict\", \"run.failed\"]";
    for house in [&ash, &birch] {
        tell(house, &format!("{}\n{events}", by_webhook(house, &receiving, "all")));
    }
    let first = ash.serve();
    let invite = ash.one(&["peer", "invite"]);
    let words: Vec<String> =
        text(&invite, "join_line").split_whitespace().skip(1).map(str::to_owned).collect();
    let more = ["--name", "birch", "--listen", "127.0.0.1:0"].map(str::to_owned);
    let mut second = birch.begin(&[words, more.to_vec()].concat());
    second.wait_for("serves on UDP");
    second.stop().ends(0);
    // they do not hear each other and mean different things by one id
    for (house, script) in [(&ash, "true # ash"), (&birch, "true # birch")] {
        house.put_script("one.yml", script);
        house.ask(&["submit", "one.yml", "--id", "one"]).ends(0);
    }
    ash.until_status("one", "completed");
    let second = birch.serve();
    let body = receiving.next().json();
    assert_eq!(text(&body, "event"), "conflict");
    assert_eq!(text(&body["run"], "id"), text(&ash.show("one"), "id"));
    // a run of each ends after that: had the conflict been told again, that would have come before
    for house in [&ash, &birch] {
        house.put_script("bad.yml", "exit 1");
        house.ask(&["submit", "bad.yml", "--wait"]).ends(1);
        assert_eq!(text(&receiving.next().json(), "event"), "run.failed");
    }
    second.stop().ends(0);
    first.stop().ends(0);
    assert!(receiving.posted.try_recv().is_err());
}
