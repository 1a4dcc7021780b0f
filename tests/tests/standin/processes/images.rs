//! The same program in a container, confined as runners are.

use std::{net::Ipv4Addr, time::Duration};

use wfengine_docker::{ContainerSpec, Endpoint, Engine, EnvValue, Network, NetworkSpec};
use wfengine_tests::{
    runner_image::{RunnerImage, SERVICE_HOST},
    standin::{Options, RepositoryOptions, Standin, TokenKind},
};

use super::{PATIENCE, all_done, configuration};
use crate::{Requirement, client::Client, require};

#[tokio::test]
async fn the_image_does_a_job_in_a_confined_container() {
    let Some(socket) = require(Requirement::Docker, "the stand-in runner's image in a confined container")
    else {
        return;
    };
    let engine = Engine::new(Endpoint::parse(socket.to_str().expect("a path")).expect("a socket"));
    let image = RunnerImage::build(&engine).await.expect("an image");
    assert_eq!(RunnerImage::build(&engine).await.expect("the same"), image, "made once");
    let options = Options {
        listens_everywhere: true,
        runner_host: Some(SERVICE_HOST.to_owned()),
        ..Options::default()
    };
    let standin = Standin::start(options).await.expect("a stand-in");
    standin.add_repository("octo/one", &RepositoryOptions::private());
    let client = Client::new(&standin).with_token(&standin.token(&TokenKind::classic("octo")));
    standin.queue_jobs("octo/one", "do-inspect", &["p2p"], 1);
    let name = format!("wfengine-standin-test-{}", std::process::id());
    let blob = configuration(&client, "repos/octo/one", &name, &["p2p"]).await;
    let interface = format!("wfe-{:08x}", std::process::id());
    let network = NetworkSpec {
        name: name.clone(),
        bridge_interface: Some(interface.clone()),
        ..NetworkSpec::default()
    };
    engine.create_network(&network).await.expect("a network");
    let spec = ContainerSpec {
        network: Network::Named(name.clone()),
        extra_hosts: vec![format!("{SERVICE_HOST}:{}", gateway(&interface))],
        env: vec![("ACTIONS_RUNNER_INPUT_JITCONFIG".to_owned(), EnvValue::secret(blob))],
        tmpfs: vec![("/tmp".to_owned(), "rw,exec,nosuid,nodev,size=16m,mode=1777".to_owned())],
        pids_max: Some(64),
        memory_bytes: Some(64 * 1024 * 1024),
        ..ContainerSpec::hardened(&image.reference)
    };
    let id = engine.create_container(&name, &spec).await.expect("a container");
    let started = engine.start_container(&id).await;
    let is_done =
        started.is_ok() && standin.wait_until(PATIENCE, |standin| standin.runners().is_empty()).await;
    let said = engine.logs_tail(&id, 16 * 1024).await.expect("its output");
    let said = String::from_utf8_lossy(&said).into_owned();
    engine.stop_container(&id, Duration::from_secs(5)).await.expect("stopped");
    engine.remove_container(&id).await.expect("removed");
    engine.remove_network(&name).await.expect("removed");
    started.expect("it starts");
    assert!(is_done, "{said}");
    all_done(&standin).await;
    let log = standin.jobs()[0].log.clone();
    for line in [
        "uid=1001",
        "cap_eff=0000000000000000",
        "cap_bnd=0000000000000000",
        "no_new_privs=1",
        "seccomp=2",
        "root_writable=no",
        "becomes_root=no",
        "gives_to_root=no",
        "docker_socket=none",
        "docker_answers=no",
        "tmp_runs_programs=yes",
        "pids_max=64",
        "memory_max=67108864",
    ] {
        assert!(log.contains(&format!("inspect: {line}")), "{line} is not in {log:#?}");
    }
    let names = log.iter().find_map(|line| line.strip_prefix("inspect: environment=")).expect("names");
    assert!(!names.contains("JITCONFIG"), "{names}");
}

/// The host's own address on a bridge, which an engine makes the first of the network: from the kernel's table of routes.
#[track_caller]
fn gateway(interface: &str) -> Ipv4Addr {
    let table = std::fs::read_to_string("/proc/net/route").expect("the kernel's word");
    let route = table.lines().find(|line| line.split_whitespace().next() == Some(interface));
    let network = route.and_then(|line| line.split_whitespace().nth(1)).expect("a route to the network");
    let number = u32::from_str_radix(network, 16).expect("a number").swap_bytes();
    Ipv4Addr::from(number + 1)
}
