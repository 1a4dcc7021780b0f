//! What a job sees of its confinement, and whom it reaches.

use std::net::{Ipv4Addr, TcpListener};

use wfengine_tests::standin::JobInfo;

use crate::engine_api::EngineApi;
use crate::house::House;
use crate::lab::{LABELS, Lab};
use crate::{inspected, port, runner_of, through};

/// The usual bridge of an engine, and its address of this host.
const DOCKER0: &str = "172.17.0.1";

/// The address of a runner on its network.
pub(crate) fn address_of(lab: &Lab, name: &str) -> String {
    let inspect = EngineApi::of(lab).json(&format!("/containers/{name}/json"));
    let networks = inspect["NetworkSettings"]["Networks"].as_object().unwrap();
    let address = networks.values().find_map(|network| network["IPAddress"].as_str());
    address.filter(|address| !address.is_empty()).unwrap().to_owned()
}

/// What a job found with `do-scan`: role, address and port, and what came back.
pub(crate) fn scanned(job: &JobInfo) -> Vec<(String, String, String)> {
    let line = |line: &String| {
        let mut words = line.strip_prefix("scan: ")?.split(' ').map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?)).filter(|(role, ..)| role != "own")
    };
    job.log.iter().filter_map(line).collect()
}

/// What came back from everybody in a role on a port; somebody was in it.
fn found<'a>(seen: &'a [(String, String, String)], role: &str, port: &str) -> Vec<&'a str> {
    let of = seen.iter().filter(|(its, address, _)| its == role && address.ends_with(&format!(":{port}")));
    let found: Vec<&str> = of.map(|(.., result)| result.as_str()).collect();
    assert!(!found.is_empty(), "nobody is {role}:{port} in {seen:?}");
    found
}

/// A service of this host that listens on every address.
fn service() -> (TcpListener, String) {
    let service = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = service.local_addr().unwrap().port().to_string();
    (service, port)
}

#[test]
fn a_job_is_nobody_and_reaches_nobody_but_what_was_opened() {
    let Some(lab) = Lab::new(&["octo/one"], "what a job sees of its confinement") else { return };
    let house = House::new();
    let (_service, closed) = service();
    let open = port(&lab);
    let node = lab.start(&house, &[]);
    let stays = lab.standin.queue_jobs("octo/one", "stays do-slow-600", &LABELS, 1)[0];
    let other = address_of(&lab, &runner_of(&lab, stays));
    let job = through(&lab, "octo/one", &format!("looks do-inspect do-scan-{open}-{closed}-{other}"));
    assert_eq!(job.conclusion.as_deref(), Some("success"));
    for (name, value) in [
        ("uid", "1001"),
        ("cap_prm", "0000000000000000"),
        ("cap_eff", "0000000000000000"),
        ("cap_bnd", "0000000000000000"),
        ("no_new_privs", "1"),
        ("seccomp", "2"),
        ("docker_socket", "none"),
        ("docker_host", "none"),
        ("docker_answers", "no"),
        ("becomes_root", "no"),
        ("gives_to_root", "no"),
        ("changes_root", "no"),
        ("writes_kernel", "no"),
        ("memory_max", "67108864"),
        ("pids_max", "512"),
        ("nofile", "16384"),
        ("interfaces", "eth0,lo"),
        ("work_writable", "yes"),
        ("work_entries", "0"),
    ] {
        let seen = inspected(&job, name);
        let mut seen: Vec<&str> = seen.split(',').collect();
        seen.sort_unstable();
        assert_eq!(seen.join(","), value, "{name} in {:#?}", job.log);
    }
    // the configuration is in the environment of the first process alone, and good for nothing any more
    let names: Vec<&str> = inspected(&job, "environment").split(',').collect();
    let usual = [
        "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE",
        "HOME",
        "HOSTNAME",
        "PATH",
        "RUNNER_MANUALLY_TRAP_SIG",
    ];
    assert!(names.iter().all(|name| usual.contains(name)), "{names:?}");

    let seen = scanned(&job);
    for role in ["gateway", "bridge"] {
        assert!(found(&seen, role, &open).iter().all(|result| *result == "reached"), "{role}: {seen:?}");
        assert!(found(&seen, role, &closed).iter().all(|result| *result != "reached"), "{role}: {seen:?}");
    }
    assert!(
        seen.iter().any(|(role, address, _)| role == "bridge" && address.starts_with(DOCKER0)),
        "{seen:?}"
    );
    // not even that there is somebody is told
    for port in [&open, &closed] {
        let results = found(&seen, "named", port);
        assert!(results.iter().all(|result| ["silent", "unreachable"].contains(result)), "{seen:?}");
    }
    // sent back by a rule, not lost on the way
    assert_eq!(found(&seen, "metadata", "80"), ["refused"]);
    assert!(found(&seen, "loopback", &open).iter().all(|result| *result == "refused"), "{seen:?}");
    lab.standin.cancel_job(stays);
    lab.until_nothing_is_left();
    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn where_the_host_is_allowed_its_services_are_reached() {
    let Some(lab) = Lab::new(&["octo/one"], "that a job reaches the host where that is allowed") else {
        return;
    };
    let house = House::new();
    let (_service, port) = service();
    let node = lab.start(&house, &["--allow-host-access"]);
    let job = through(&lab, "octo/one", &format!("looks do-scan-{port}"));
    let seen = scanned(&job);
    for role in ["gateway", "bridge"] {
        assert!(found(&seen, role, &port).iter().all(|result| *result == "reached"), "{role}: {seen:?}");
    }
    lab.until_nothing_is_left();
    node.stop().ends(0).complains(&["--allow-host-access: jobs reach every service of this host"]);
    lab.is_content();
}
