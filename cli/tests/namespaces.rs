//! Whole nodes on hosts of their own: they join, part, meet again, die, and let nobody in who was not asked.
//!
//! Each test has its own namespaces and data directories and starts the program as people do. Tests run one after another: their
//! bounds are the product's, and two clusters at once on two cores would measure each other. What is printed are the times that
//! the bounds are compared with. Needs namespaces; without them every test says that it did not run.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it measured, and its helpers fail loudly"
)]

#[path = "../../tests/tests/requirements/mod.rs"]
mod requirements;

mod netns;

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use netns::{Host, Network, Process, until};
use requirements::{Requirement, require};
use rustix::process::Signal;
use serde_json::{Value as Json, json};
use wfengine_protocol::JoinLine;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits for its turn; nothing if there are no namespaces here.
fn network(what: &str) -> Option<(MutexGuard<'static, ()>, Network)> {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let ip = require(Requirement::Namespaces, what)?;
    Some((turn, Network::new(ip)))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The printed line's words without the program's name.
fn join_words(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace().map(str::to_owned);
    assert_eq!(words.next().as_deref(), Some("wfengine"), "the printed line: {line}");
    words.collect()
}

/// Lets a host in by the line that another one prints, and waits until they see each other.
fn join(host: &Host, inviter: &Host) -> Process {
    let line = inviter.says(&["peer", "invite"]);
    let words = join_words(&line);
    let process = host.start(&words.iter().map(String::as_str).collect::<Vec<_>>());
    until("the joiner is connected", seconds(10), || host.connected().contains(&inviter.name).then_some(()));
    process
}

/// One job, one step.
fn workflow(script: &str) -> String {
    format!(
        "on: workflow_dispatch\njobs:\n  only:\n    runs-on: ubuntu-latest\n    steps:\n      - run: {}\n",
        json!(script)
    )
}

fn submit(host: &Host, file: &str) -> String {
    host.json(&["submit", file])["run"]["id"].as_str().unwrap().to_owned()
}

fn submit_task(host: &Host, id: &str) -> Result<Json, String> {
    let wishes = json!({
        "name": null, "inputs": {}, "metadata": null, "priority_milli": null, "retries": 0, "backoff_ms": [0, 0],
        "id": null, "repository": { "repository": "", "git_ref": "", "sha": "" }, "actor": "",
    });
    let task = json!({ "task_id": id, "workflow_id": "count", "tags": [], "wishes": wishes, "copies": 0 });
    host.try_ask(&json!({ "task_submit": task }))
}

/// The run's only job, once it is planned.
fn job(run: &Json) -> Option<&Json> {
    run["jobs"].as_array()?.first()
}

fn is_over(run: &Json) -> bool {
    !["pending", "assigned", "in_progress"].contains(&run["status"].as_str().unwrap())
}

#[test]
fn a_second_host_joins_with_one_line_and_runs_a_job() {
    let Some((_turn, mut network)) = network("a second host by three commands") else { return };
    let (a, b) = (network.host("a"), network.host("b"));
    network.connect(&[&a, &b]);
    let file = network.file("where.yml", &workflow("echo \"here is $(hostname)\""));

    let begun = Instant::now();
    let serving = a.spawn(&["serve"]);
    until("the first host serves", seconds(10), || serving.said().contains("serves on UDP").then_some(()));
    let line = a.says(&["peer", "invite"]);
    let words = join_words(&line);
    let mut joining = b.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let run = until("the second host ran a job", seconds(60), || {
        assert!(joining.ended().is_none(), "the second host: {}", joining.said());
        let id = submit(&a, &file);
        let run = until("the run ended", seconds(30), || Some(a.show(&id)).filter(is_over));
        (job(&run)?["peer"] == "b").then_some(id)
    });
    println!("second host: b ran a job {:.1} s after the first command", begun.elapsed().as_secs_f64());
    assert!(begun.elapsed() < seconds(60));

    let shown = a.json(&["show", &run]);
    let job = job(&shown).unwrap();
    assert_eq!(
        (&shown["status"], &job["peer"], &job["conclusion"]),
        (&json!("completed"), &json!("b"), &json!("success"))
    );
    assert_eq!(job["claims"].as_array().unwrap().len(), 1, "{job}");
    assert!(a.says(&["logs", &run]).contains("here is b"));
    // what was asked for and nothing else: the default port, the default folder
    assert!(serving.said().contains(":4433"), "{}", serving.said());
    assert!(joining.said().contains("runs jobs that any member submits"), "{}", joining.said());
}

#[test]
fn hosts_that_were_apart_agree_within_seconds() {
    const EACH: usize = 1_000;
    let Some((_turn, mut network)) = network("1,000 submissions on each side of a cut") else { return };
    let (a, b) = (network.host("a"), network.host("b"));
    let segment = network.connect(&[&a, &b]);
    let _serving = a.start(&["serve"]);
    let _joined = join(&b, &a);
    for host in [&a, &b] {
        host.says(&["pause"]);
    }
    until("equal before the cut", seconds(10), || (a.state() == b.state()).then_some(()));

    segment.cut(&b);
    let cut = Instant::now();
    thread::scope(|scope| {
        for host in [&a, &b] {
            scope.spawn(move || {
                for number in 0..EACH {
                    submit_task(host, &format!("{}-{number}", host.name)).unwrap();
                }
            });
        }
    });
    println!("apart: {EACH} submissions on each side in {:.1} s", cut.elapsed().as_secs_f64());
    until("both noticed", seconds(60), || (a.is_connected(&[]) && b.is_connected(&[])).then_some(()));
    println!("apart: noticed by both {:.1} s after the cut", cut.elapsed().as_secs_f64());
    assert_ne!(a.state(), b.state());

    segment.mend(&b);
    let mended = Instant::now();
    until("connected again", seconds(60), || (a.is_connected(&[&b]) && b.is_connected(&[&a])).then_some(()));
    let connected = Instant::now();
    until("equal again", seconds(30), || (a.state() == b.state()).then_some(()));
    println!(
        "apart: equal {:.2} s after the connection, {:.2} s after the cable was back (connected after {:.2} s)",
        connected.elapsed().as_secs_f64(),
        mended.elapsed().as_secs_f64(),
        (connected - mended).as_secs_f64()
    );
    assert!(connected.elapsed() < seconds(5), "equal only {:?} after the connection", connected.elapsed());
    assert_eq!(a.json(&["clock"])["merkle_root"], b.json(&["clock"])["merkle_root"]);
    for host in [&a, &b] {
        let part = host.ask(&json!({ "list": { "limit": 5000 } }));
        let runs = part["runs"].as_array().unwrap();
        let given: BTreeSet<&str> = runs.iter().map(|run| run["given_id"].as_str().unwrap()).collect();
        let ids: BTreeSet<&str> = runs.iter().map(|run| run["id"].as_str().unwrap()).collect();
        let submissions: BTreeSet<&str> =
            runs.iter().map(|run| run["submission"].as_str().unwrap()).collect();
        assert_eq!(
            (runs.len(), ids.len(), given.len(), submissions.len()),
            (2 * EACH, 2 * EACH, 2 * EACH, 2 * EACH)
        );
        for (side, number) in ["a", "b"].iter().flat_map(|side| (0..EACH).map(move |number| (side, number))) {
            assert!(
                given.contains(format!("{side}-{number}").as_str()),
                "{side}-{number} is lost on {}",
                host.name
            );
        }
        assert!(runs.iter().all(|run| run["conflict"] == false && run["status"] == "pending"));
    }
}

#[test]
fn members_that_moved_find_each_other_on_the_local_network() {
    let Some((_turn, mut network)) = network("members on one local network") else { return };
    let (a, b) = (network.host("a"), network.host("b"));
    network.connect(&[&a, &b]);
    let (mut first, mut second) = (a.start(&["serve"]), join(&b, &a));
    for process in [&mut first, &mut second] {
        process.signal(Signal::TERM);
        assert_eq!(process.end(seconds(20)).code(), Some(0));
    }
    // neither is where the other one knows it
    let begun = Instant::now();
    let _moved = (a.start(&["serve", "--listen", "[::]:5001"]), b.start(&["serve", "--listen", "[::]:5002"]));
    until("they are connected", seconds(30), || {
        (a.is_connected(&[&b]) && b.is_connected(&[&a])).then_some(())
    });
    println!("found after {:.1} s", begun.elapsed().as_secs_f64());
}

#[test]
fn two_hosts_that_only_meet_a_third_are_one_cluster() {
    // longer than a claim may go unnamed by beats (15 s)
    const LONG: u64 = 17;
    let Some((_turn, mut network)) = network("two hosts that only meet a third") else { return };
    let (a, b, c) = (network.host("a"), network.host("b"), network.host("c"));
    network.connect(&[&a, &b]);
    network.connect(&[&b, &c]);
    let script = format!("echo \"here is $(hostname)\"; [ \"$(hostname)\" != c ] || sleep {LONG}; echo done");
    let file = network.file("where.yml", &workflow(&script));
    let _serving = b.start(&["serve"]);
    b.says(&["allow", "--any"]);
    let _joined = (join(&a, &b), join(&c, &b));
    // a job may be claimed over the head of whoever is not known to be alive yet
    let alive = |host: &Host| {
        let peers = host.ask(&json!("peers"));
        peers["peers"].as_array().unwrap().iter().filter(|peer| peer["alive"] == true).count()
    };
    until("all know all", seconds(20), || [&a, &b, &c].iter().all(|host| alive(host) == 3).then_some(()));

    let (id, begun) = until("c begins a job of a's", seconds(60), || {
        let begun = Instant::now();
        let id = submit(&a, &file);
        let run = until("the run begins on c or ends", seconds(30), || {
            Some(a.show(&id)).filter(|run| {
                is_over(run)
                    || job(run).is_some_and(|job| job["peer"] == "c" && job["status"] == "in_progress")
            })
        });
        (job(&run)?["peer"] == "c").then_some((id, begun))
    });
    until("a reads through b what c's job prints while it runs", seconds(12), || {
        let read = a.run(&["logs", &id]);
        String::from_utf8(read.stdout).unwrap().contains("here is c").then_some(())
    });
    assert!(!is_over(&a.show(&id)));
    let run = until("the long job ends", seconds(60), || Some(a.show(&id)).filter(is_over));
    assert!(begun.elapsed() >= seconds(LONG));
    let only = job(&run).unwrap();
    let owner = a.ask(&json!({ "owner": { "ids": [&id] } }));
    assert_eq!(owner[0]["ranked"][0]["peer"], "c", "{owner}");
    assert_eq!((&run["status"], &only["peer"]), (&json!("completed"), &json!("c")));
    assert_eq!(only["claims"].as_array().unwrap().len(), 1, "somebody took it over: {only}");
    let log = until("a has the log", seconds(10), || {
        let read = a.run(&["logs", &id]);
        read.status.success().then(|| String::from_utf8(read.stdout).unwrap())
    });
    assert!(log.contains("here is c") && log.contains("done"), "{log}");

    for host in [&a, &b, &c] {
        host.says(&["pause"]);
        for number in 0..20 {
            submit_task(host, &format!("{}-{number}", host.name)).unwrap();
        }
    }
    let begun = Instant::now();
    until("all are equal", seconds(20), || (a.state() == b.state() && b.state() == c.state()).then_some(()));
    println!("three in a row: equal {:.2} s after the last submission", begun.elapsed().as_secs_f64());
    assert!(a.is_connected(&[&b]) && c.is_connected(&[&b]), "a: {:?}, c: {:?}", a.connected(), c.connected());
}

#[test]
fn a_job_of_a_killed_node_is_taken_over_once() {
    let Some((_turn, mut network)) = network("kill -9 of a node that executes a job") else { return };
    let (a, b, c) = (network.host("a"), network.host("b"), network.host("c"));
    network.connect(&[&a, &b, &c]);
    let file = network.file("slow.yml", &workflow("echo \"here is $(hostname)\"; sleep 4"));
    let serving = a.start(&["serve"]);
    let (b_joined, c_joined) = (join(&b, &a), join(&c, &a));
    until("all are connected", seconds(20), || {
        (a.is_connected(&[&b, &c]) && b.is_connected(&[&a, &c]) && c.is_connected(&[&a, &b])).then_some(())
    });
    let id = submit(&a, &file);
    let holder = until("it is executed", seconds(30), || {
        let run = a.show(&id);
        let job = job(&run)?;
        (job["status"] == "in_progress").then(|| job["peer"].as_str().unwrap().to_owned())
    });
    let mut nodes = [(&a, serving), (&b, b_joined), (&c, c_joined)];
    nodes.iter().find(|(host, _)| host.name == holder).unwrap().1.signal(Signal::KILL);
    let killed = Instant::now();
    let survivors: Vec<&Host> =
        nodes.iter().map(|(host, _)| *host).filter(|host| host.name != holder).collect();
    let run = until("another completes it", seconds(40), || Some(survivors[0].show(&id)).filter(is_over));
    println!(
        "kill -9 of {holder}: completed elsewhere {:.1} s later, of which the step took 4 s",
        killed.elapsed().as_secs_f64()
    );
    let other = job(&run).unwrap()["peer"].clone();
    assert_ne!(other, holder.as_str());
    for host in &survivors {
        until("the survivors agree", seconds(10), || is_over(&host.show(&id)).then_some(()));
        let run = host.show(&id);
        let claims = job(&run).unwrap()["claims"].as_array().unwrap();
        let epochs: BTreeSet<u64> = claims.iter().map(|claim| claim["epoch"].as_u64().unwrap()).collect();
        assert_eq!((claims.len(), epochs), (2, BTreeSet::from([1, 2])), "{run}");
    }
    // the killed one comes back and hears what happened
    let (host, process) = nodes.iter_mut().find(|(host, _)| host.name == holder).unwrap();
    *process = host.start(&["serve"]);
    until("all are equal", seconds(20), || (a.state() == b.state() && b.state() == c.state()).then_some(()));
    for host in [&a, &b, &c] {
        let run = host.show(&id);
        let job = job(&run).unwrap();
        assert_eq!(
            (&run["status"], &job["peer"], &job["duplicates"]),
            (&json!("completed"), &other, &json!([]))
        );
    }
}

/// Asserts that a host was refused with this exit status and text, and keeps nothing of the cluster.
fn assert_refused(host: &Host, line: &str, status: i32, text: &str) {
    let done = host.run(&["peer", "join", line, "--serve"]);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(errors.contains(text), "expected `{text}`: {errors}");
    assert_eq!((done.status.code(), host.clusters()), (Some(status), 0), "{errors}");
    assert!(!host.data().join("cluster").exists(), "{}: it says that it has a cluster", host.name);
}

#[test]
fn who_was_not_invited_stays_outside() {
    let what = "strangers and bad invites";
    let Some(ip) = require(Requirement::Namespaces, what) else { return };
    // takes no turn: it waits half a minute for nobody, and its nodes have nothing else to do
    let mut network = Network::new(ip);
    let (a, b, c, x) = (network.host("a"), network.host("b"), network.host("c"), network.host("x"));
    network.connect(&[&a, &b, &c, &x]);
    let serving = a.start(&["serve"]);
    let token = |line: &str| join_words(line)[2].clone();
    let real = token(&a.says(&["peer", "invite"]));
    let line: JoinLine = real.parse().unwrap();

    // nobody lives there; answered only when the time is over, so it waits while the rest goes on
    let nowhere = JoinLine::new(
        line.cluster,
        [1; 32],
        false,
        &["10.77.1.99:4433".to_owned(), "10.77.1.98:4999".to_owned()],
    );
    let mut lost = x.spawn(&["peer", "join", &nowhere.to_string(), "--serve"]);

    assert_refused(&c, "wf1abc", 2, "damaged or incomplete");
    assert_refused(&c, "hello", 2, "begins with `wf1`");
    let mut altered = real.clone();
    let last = altered.pop().unwrap();
    altered.push(if last == 'a' { 'b' } else { 'a' });
    assert_refused(&c, &altered, 2, "damaged or incomplete");
    let addresses: Vec<String> = line.addresses.iter().map(|address| address.to_string()).collect();
    let forged = JoinLine::new(line.cluster, [1; 32], false, &addresses);
    assert_refused(&c, &forged.to_string(), 3, "does not know this invite");
    let mut other = *line.cluster.as_bytes();
    other[0] ^= 1;
    let elsewhere = JoinLine::new(
        wfengine_storage_format::ClusterId::from_bytes(other),
        line.invite_seed,
        false,
        &addresses,
    );
    assert_refused(&c, &elsewhere.to_string(), 3, "another cluster");

    let short = a.json(&["peer", "invite", "--expires", "1s"]);
    let short_line = token(short["join_line"].as_str().unwrap());
    let expires = short["expires_ms"].as_u64().unwrap();
    until("the invite expires", seconds(5), || (wall_ms() > expires).then_some(()));
    assert_refused(&c, &short_line, 3, "has expired");

    let joined = b.start(&["peer", "join", &real, "--serve"]);
    assert_refused(&c, &real, 3, "was used already");

    // a node of a cluster of its own that was told the address
    let foreign = c.start(&["serve"]);
    let before = (a.ask(&json!("digest")), c.ask(&json!("digest")));
    c.says(&["peer", "add", &addresses[0]]);
    let told =
        |process: &Process| process.said().contains("this key is no member of the cluster").then_some(());
    until("both say why it stays outside", seconds(30), || told(&serving).and(told(&foreign)));
    assert!(c.is_connected(&[]) && a.is_connected(&[&b]));
    assert_eq!(before, (a.ask(&json!("digest")), c.ask(&json!("digest"))), "something of it was stored");

    let ended = lost.end(seconds(40));
    let said = lost.said();
    assert!(
        said.contains("10.77.1.99:4433") && said.contains("10.77.1.98:4999") && said.contains("UDP port"),
        "{said}"
    );
    assert_eq!((ended.code(), x.clusters()), (Some(4), 0), "{said}");
    for refusal in ["does not know this invite", "of another cluster", "has expired", "was used already"] {
        assert!(serving.said().contains(refusal), "not logged: {refusal}: {}", serving.said());
    }
    drop(joined);
}

fn wall_ms() -> u64 {
    use std::os::unix::fs::MetadataExt;
    // the file system's clock is the host's, and no test reads another
    let file = tempfile::NamedTempFile::new().unwrap();
    let made = file.as_file().metadata().unwrap();
    made.mtime() as u64 * 1000 + made.mtime_nsec() as u64 / 1_000_000
}

#[test]
fn a_stop_signal_drains_and_a_second_one_stops_at_once() {
    let Some((_turn, mut network)) = network("SIGTERM") else { return };
    let (a, b) = (network.host("a"), network.host("b"));
    network.connect(&[&a, &b]);
    let short = network.file("short.yml", &workflow("echo \"here is $(hostname)\"; sleep 3"));
    let long = network.file("long.yml", &workflow("[ \"$(hostname)\" != b ] || sleep 600"));
    let _serving = a.start(&["serve"]);
    let mut node = join(&b, &a);
    let on_b = |file: &str| {
        until("b executes one", seconds(60), || {
            let id = submit(&a, file);
            let run = until("it begins on b or elsewhere", seconds(30), || {
                let run = a.show(&id);
                let status = job(&run)?["status"].clone();
                (status != "pending" && status != "assigned").then_some(run)
            });
            (job(&run)?["peer"] == "b" && !is_over(&run)).then_some(id)
        })
    };

    // what runs may end; nothing new is begun
    let running = on_b(&short);
    node.signal(Signal::TERM);
    until("it drains", seconds(5), || {
        (b.try_ask(&json!("status")).ok()?["declines"].is_string()).then_some(())
    });
    let later: Vec<String> = (0..6).map(|_| submit(&a, &short)).collect();
    assert_eq!(node.end(seconds(20)).code(), Some(0), "{}", node.said());
    let over = |id: &str| until("the run ends", seconds(40), || Some(a.show(id)).filter(is_over));
    let run = over(&running);
    assert_eq!((&job(&run).unwrap()["peer"], &run["status"]), (&json!("b"), &json!("completed")), "{run}");
    for id in &later {
        let run = over(id);
        let claims = job(&run).unwrap()["claims"].as_array().unwrap().clone();
        assert!(claims.iter().all(|claim| claim["peer"] == "a"), "{claims:?}");
    }

    // what does not end in time is given back, and the other host goes on with it
    let mut node = b.start(&["serve", "--grace", "1s"]);
    until("connected", seconds(20), || b.is_connected(&[&a]).then_some(()));
    let running = on_b(&long);
    let begun = Instant::now();
    node.signal(Signal::TERM);
    assert_eq!(node.end(seconds(20)).code(), Some(0), "{}", node.said());
    println!("SIGTERM with --grace 1s: over after {:.1} s", begun.elapsed().as_secs_f64());
    let run = over(&running);
    let only = job(&run).unwrap();
    let states: Vec<&str> =
        only["claims"].as_array().unwrap().iter().map(|claim| claim["state"].as_str().unwrap()).collect();
    assert_eq!((&only["peer"], states.len()), (&json!("a"), 2), "{only}");
    assert!(
        states.iter().any(|state| state.starts_with("released") || state.starts_with("aborted")),
        "{states:?}"
    );
    assert_eq!(b.processes(), 0, "steps go on");

    let mut node = b.start(&["serve"]);
    until("connected", seconds(20), || b.is_connected(&[&a]).then_some(()));
    on_b(&long);
    node.signal(Signal::TERM);
    until("it drains", seconds(5), || {
        (b.try_ask(&json!("status")).ok()?["declines"].is_string()).then_some(())
    });
    let begun = Instant::now();
    node.signal(Signal::TERM);
    let ended = node.end(seconds(10));
    println!("a second SIGTERM: over after {:.1} s, {ended}", begun.elapsed().as_secs_f64());
    until("its steps end", seconds(5), || (b.processes() == 0).then_some(()));
}

#[test]
fn a_removed_peer_is_disconnected_and_counts_for_nothing() {
    let Some((_turn, mut network)) = network("a revoked peer") else { return };
    let (a, b, c) = (network.host("a"), network.host("b"), network.host("c"));
    let segment = network.connect(&[&a, &b, &c]);
    let _serving = a.start(&["serve"]);
    let (_b_joined, _c_joined) = (join(&b, &a), join(&c, &a));
    for host in [&a, &b, &c] {
        host.says(&["pause"]);
    }
    submit_task(&b, "before").unwrap();
    until("all know it", seconds(20), || {
        [&a, &b, &c]
            .iter()
            .all(|host| host.try_ask(&json!({ "show": { "id": "before" } })).is_ok())
            .then_some(())
    });
    until("all are connected", seconds(20), || b.is_connected(&[&a, &c]).then_some(()));

    // what it says while it does not know, and where nobody hears it
    segment.cut(&b);
    a.says(&["peer", "remove", "b"]);
    let after = submit_task(&b, "after").unwrap()["run"]["id"].as_str().unwrap().to_owned();
    segment.mend(&b);
    until("nobody is connected with it", seconds(20), || {
        (a.is_connected(&[&c]) && c.is_connected(&[&a]) && b.is_connected(&[])).then_some(())
    });
    // a file carries what the network does not
    let frames = b.ask(&json!({ "frames": { "from": 0, "len_max": 4096 } }));
    for host in [&a, &c] {
        host.ask(&json!({ "import": { "frames": frames } }));
        assert_eq!(host.show("before")["status"], "pending");
        // kept as what it is: a submission that says nothing
        let after = host.show(&after);
        assert_eq!((&after["reason"], &after["jobs"]), (&json!("its submission is void"), &json!([])));
        assert!(!host.ask(&json!("peers"))["peers"].to_string().contains("\"name\":\"b\""));
    }
    assert_eq!(a.state(), c.state());
}
