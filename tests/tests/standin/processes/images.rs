//! The same program in a container, confined as runners are.

use std::{collections::BTreeMap, net::Ipv4Addr, path::Path, time::Duration};

use wfengine_docker::{
    ContainerSpec, ContainerState, Endpoint, Engine, EngineError, EnvValue, Mount, MountSource, Network,
    NetworkSpec,
};
use wfengine_tests::{
    runner_image::{RUNNER_HOME, RunnerImage, SERVICE_HOST, SIDECAR_SOCKET},
    standin::{JobInfo, Options, Progress, RepositoryOptions, Standin, TokenKind},
};

use super::{PATIENCE, configuration};
use crate::{Requirement, client::Client, require};

fn engine(socket: &Path) -> Engine {
    Engine::new(Endpoint::parse(socket.to_str().expect("a path")).expect("a socket"))
}

/// What one job left behind.
struct Left {
    state: ContainerState,
    /// What the container printed.
    said: String,
    job: JobInfo,
}

/// One job of this name in a container with a network of its own, 64 processes and 64 MiB; nothing of it stays at the engine.
async fn confined(engine: &Engine, image: &RunnerImage, label: &str, job: &str) -> Left {
    let options = Options {
        listens_everywhere: true,
        runner_host: Some(SERVICE_HOST.to_owned()),
        ..Options::default()
    };
    let standin = Standin::start(options).await.expect("a stand-in");
    standin.add_repository("octo/one", &RepositoryOptions::private());
    let client = Client::new(&standin).with_token(&standin.token(&TokenKind::classic("octo")));
    let jobs = standin.queue_jobs("octo/one", job, &["p2p"], 1);
    let name = format!("wfengine-standin-{label}-{}", std::process::id());
    let blob = configuration(&client, "repos/octo/one", &name, &["p2p"]).await;
    let interface = format!("wfe-{}{:07x}", &label[..1], std::process::id());
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
        // as the official image is started
        entrypoint: Some(vec![format!("{RUNNER_HOME}/run.sh")]),
        pids_max: Some(64),
        memory_bytes: Some(64 * 1024 * 1024),
        ..ContainerSpec::hardened(&image.reference)
    };
    let id = engine.create_container(&name, &spec).await.expect("a container");
    let started = engine.start_container(&id).await;
    // it ends by itself, and so does what it prints
    let printed = async {
        let mut printed = Vec::new();
        let mut log = engine.follow_logs(&id).await?;
        while let Some(piece) = log.next().await {
            printed.extend(piece?);
        }
        Ok::<_, EngineError>(printed)
    };
    let printed = tokio::time::timeout(PATIENCE, printed).await;
    engine.stop_container(&id, Duration::from_secs(5)).await.expect("stopped");
    let state = engine.container(&id).await;
    engine.remove_container(&id).await.expect("removed");
    engine.remove_network(&name).await.expect("removed");
    started.expect("it starts");
    let printed = printed.expect("an end in time").expect("its output");
    let said = String::from_utf8_lossy(&printed).into_owned();
    Left { state: state.expect("its state"), said, job: standin.job(jobs[0]) }
}

#[tokio::test]
async fn the_image_does_a_job_in_a_confined_container() {
    let Some(socket) = require(Requirement::Docker, "the stand-in runner's image in a confined container")
    else {
        return;
    };
    let engine = engine(&socket);
    let image = RunnerImage::build(&engine).await.expect("an image");
    assert_eq!(RunnerImage::build(&engine).await.expect("the same"), image, "made once");
    let Left { state, said, job } = confined(&engine, &image, "inspect", "do-inspect").await;
    assert_eq!((state.exit_code, job.conclusion.as_deref()), (Some(0), Some("success")), "{said}");
    let log = job.log;
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

#[tokio::test]
async fn greed_meets_the_limits_of_the_container() {
    let Some(socket) = require(Requirement::Docker, "the stand-in runner at the limits of its container")
    else {
        return;
    };
    let engine = engine(&socket);
    let image = RunnerImage::build(&engine).await.expect("an image");
    let left = confined(&engine, &image, "memory", "do-allocate").await;
    assert_eq!((left.state.exit_code, left.state.oom_killed), (Some(137), true), "{}", left.said);
    assert_eq!((left.job.progress, left.job.handed_out), (Progress::InProgress, 1));
    let left = confined(&engine, &image, "pids", "do-fork do-threads do-fill-2").await;
    assert_eq!(left.job.conclusion.as_deref(), Some("success"), "{}", left.said);
    for refused in ["fork: ", "threads: "] {
        let line = left.job.log.iter().find(|line| line.starts_with(refused));
        assert!(line.is_some_and(|line| line.contains(", then ")), "{:?}", left.job.log);
    }
}

#[tokio::test]
async fn a_sidecar_lends_its_socket_through_a_volume() {
    let Some(socket) = require(Requirement::Docker, "the sidecar's image and the volume of its socket")
    else {
        return;
    };
    let engine = engine(&socket);
    let sidecar = RunnerImage::build_sidecar(&engine).await.expect("an image");
    let runner = RunnerImage::build(&engine).await.expect("an image");
    assert_ne!(sidecar.reference, runner.reference);
    let name = format!("wfengine-sidecar-test-{}", std::process::id());
    engine.create_volume(&name, &BTreeMap::new()).await.expect("a volume");
    let folder = Path::new(SIDECAR_SOCKET).parent().and_then(Path::to_str).expect("a folder");
    let mount =
        Mount { source: MountSource::Volume(name.clone()), target: folder.to_owned(), read_only: false };
    let spec = ContainerSpec { mounts: vec![mount], ..ContainerSpec::hardened(&sidecar.reference) };
    let id = engine.create_container(&name, &spec).await.expect("a container");
    let started = engine.start_container(&id).await;
    let mut log = engine.follow_logs(&id).await.expect("its output");
    let mut said = Vec::new();
    while !said.ends_with(b"\n")
        && let Some(Ok(piece)) = log.next().await
    {
        said.extend(piece);
    }
    let state = engine.container(&id).await;
    engine.kill_container(&id).await.expect("killed");
    engine.remove_container(&id).await.expect("removed");
    engine.remove_volume(&name).await.expect("removed");
    started.expect("it starts");
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains(&format!("API listen on {SIDECAR_SOCKET}")), "{said}");
    assert!(state.is_ok_and(|state| !state.status.is_over()), "{said}");
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
