//! The five conditions of the older program's document, each provoked, each read with its remedy.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use rustix::thread::CapabilitySet;
use wfengine_tests::standin::{ErrorCase, Fault, FaultRule};

use crate::begin::{
    queue, registered, start, start_command, trouble_in, until_done, until_looks, until_no_trouble,
    until_service, until_trouble,
};
use crate::house::{House, Live, text};
use crate::lab::{LABELS, Lab};

const JIT: &str = "/repos/octo/one/actions/runners/generate-jitconfig";

#[test]
fn not_authenticated_with_github_cli() {
    let Some(lab) = Lab::new(&["octo/one"], "no token, and a wrong one") else { return };
    let house = House::new();
    let mut command = start_command(&lab, &house, &[]);
    for variable in ["GITHUB_TOKEN", "GH_TOKEN", "GH_ENTERPRISE_TOKEN", "WFENGINE_GITHUB_TOKEN"] {
        command.env_remove(variable);
    }
    // no gh program either
    let path = house.path("nothing");
    std::fs::create_dir(&path).unwrap();
    command.env("PATH", &path);
    let said = Live::start(command).end().ends(3);
    let said = said.complains(&["Not authenticated with GitHub CLI", "gh auth login", "GITHUB_TOKEN"]);
    assert!(!said.out.contains("is on"), "{said:?}");
    for verb in [["runner", "start"], ["runner", "list-workflows"]] {
        let mut command = match verb[1] {
            "start" => start_command(&lab, &house, &[]),
            _ => lab.command(&house, &verb),
        };
        command.env("GITHUB_TOKEN", "ghp_0123456789abcdefghijABCDEFGHIJ012345");
        let said = Live::start(command).end().ends(3);
        let said =
            said.complains(&["Not authenticated with GitHub CLI", "401", "gh auth login", "GITHUB_TOKEN"]);
        assert!(!said.err.contains("ghp_0123"), "{said:?}");
    }
    // nothing was turned on
    assert_eq!(lab.status(&house)["running"], false);
    assert!(lab.status(&house)["pools"].as_array().unwrap().is_empty());
}

/// Starts a command that may open only what a file's mode lets it open, also if these tests are root's.
fn without_the_rights_of_root(command: Command) -> Live {
    // capabilities are of a thread, and what it starts has no more of them
    let start = || {
        for capability in [CapabilitySet::DAC_OVERRIDE, CapabilitySet::DAC_READ_SEARCH] {
            if rustix::process::geteuid().is_root() {
                rustix::thread::remove_capability_from_bounding_set(capability).unwrap();
            }
        }
        Live::start(command)
    };
    thread::scope(|scope| scope.spawn(start).join().unwrap())
}

#[test]
fn docker_is_not_accessible() {
    let Some(lab) = Lab::new(&["octo/one"], "an engine that is not there, or not for everybody") else {
        return;
    };
    let house = House::new();
    let missing = format!("unix://{}", house.path("no.sock").display());
    let mut command = start_command(&lab, &house, &[]);
    command.env("DOCKER_HOST", &missing);
    let said = Live::start(command).end().ends(4);
    said.complains(&["Docker is not accessible", "no.sock", "docker version", "usermod -aG docker"]);
    let mut command = lab.command(&house, &["runner", "list-containers"]);
    command.env("DOCKER_HOST", &missing);
    Live::start(command).end().ends(4).complains(&["Docker is not accessible", "docker version"]);

    let socket = house.path("closed.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).unwrap();
    let closed = format!("unix://{}", socket.display());
    let command = start_command(&lab, &house, &["--docker-host", &closed]);
    let said = without_the_rights_of_root(command).end().ends(4);
    said.complains(&["Docker is not accessible", "closed.sock", "permission", "usermod -aG docker"]);
}

#[test]
fn failed_to_generate_runner_token() {
    let Some(lab) = Lab::new(&["octo/one"], "registrations that are refused") else { return };
    let house = House::new();
    let node = start(&lab, &house, &[]);
    for (case, status) in [(ErrorCase::ResourceNotAccessible, "403"), (ErrorCase::NotFoundOrHidden, "404")] {
        lab.standin.fault(FaultRule::new(JIT, Fault::Error(case)).method("POST").times(1));
        let asked = || {
            Live::start(lab.command(&house, &["--json", "runner", "provision", "--repo", "octo/one"])).end()
        };
        let said = asked().ends(1);
        let document = said.json().remove(0);
        assert_eq!(
            (&document["success"], &document["data"]["status"], &document["data"]["token_generated"]),
            (&false.into(), &"token_failed".into(), &false.into()),
            "{document}"
        );
        let message = text(&document, "message");
        for part in ["Failed to generate runner token for octo/one", status, "gh auth status", "administer"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let trouble = trouble_in(&lab.status(&house), "Failed to generate runner token").unwrap();
        for part in ["gh auth status", "exists", "administration"] {
            assert!(text(&trouble, "remedy").contains(part), "{trouble}");
        }
        // it is granted, and asked for again
        let document = crate::house::until("it is tried again", || {
            let said = asked();
            (said.code() == 0).then(|| said.json().remove(0))
        });
        assert_eq!(document["data"]["status"], "provisioned", "{document}");
        let container = text(&document["data"], "container_id").to_owned();
        assert_eq!(container.len(), 12);
        crate::house::until("it is stopped", || {
            let command = lab.command(&house, &["runner", "stop-container", "--container", &container]);
            (Live::start(command).end().code() == 0).then_some(())
        });
        lab.until_nothing_is_left();
        until_no_trouble(&lab, &house);
    }
    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn container_failed_to_start() {
    let Some(lab) = Lab::new(&["octo/one"], "images that are not there or end at once") else { return };
    let house = House::new();
    let command = start_command(&lab, &house, &["--image", "wfengine-test/none:1"]);
    let said = Live::start(command).end().ends(1);
    said.complains(&["Container failed to start", "wfengine-test/none:1", "docker images", "docker pull"]);
    lab.standin.order_runners("crash-first", 2);
    let node = start(&lab, &house, &[]);
    let job = queue(&lab, "octo/one", "build");
    let trouble = until_trouble(&lab, &house, "Container failed to start");
    assert!(trouble["next_try"].is_string(), "{trouble}");
    // the remedy can be followed as it stands, though the container is gone
    let remedy = text(&trouble, "remedy").to_owned();
    let at = remedy.find("wfengine runner logs ").unwrap();
    let words: Vec<&str> = remedy[at..].split_whitespace().skip(1).take(3).collect();
    let logs = Live::start(lab.command(&house, &words)).end().ends(0);
    assert!(logs.out.contains("failed:") || logs.err.contains("failed:"), "{logs:?}");
    until_done(&lab, job);
    lab.until_nothing_is_left();
    until_no_trouble(&lab, &house);
    assert_eq!(registered(&lab).len(), 3, "two that crashed and the one that did it");
    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn at_capacity() {
    let Some(lab) = Lab::new(&["octo/one"], "more jobs than runners") else { return };
    let house = House::new();
    let node = start(&lab, &house, &["--max-runners", "1"]);
    let first = lab.standin.queue_jobs("octo/one", "build do-slow-4", &LABELS, 1)[0];
    until_service(&lab, "it has begun", |standin| standin.job(first).started_at.is_some());
    let waiting = lab.standin.queue_jobs("octo/one", "build", &LABELS, 2);
    let trouble = until_trouble(&lab, &house, "At capacity: 1/1 runners active");
    for part in ["--max-runners", "list-containers", "stop-container"] {
        assert!(text(&trouble, "remedy").contains(part), "{trouble}");
    }
    // whoever asks is told the same
    let asked =
        Live::start(lab.command(&house, &["runner", "provision", "--repo", "octo/one"])).end().ends(1);
    assert!(asked.out.contains("At capacity: 1/1 runners active"), "{asked:?}");
    until_looks(&lab, &house, 2);
    for job in waiting {
        until_done(&lab, job);
    }
    lab.until_nothing_is_left();
    until_no_trouble(&lab, &house);
    let said = node.stop().ends(0);
    let lines = said.out.matches("At capacity: 1/1 runners active").count();
    assert!((1..=2).contains(&lines), "once when it came to that, not at every look: {said:?}");
    lab.is_content();
}
