//! The crate at an engine: what is asked for is what the engine then has, and everything that goes wrong has its type.

#![expect(clippy::unwrap_used, reason = "functions of tests fail by panicking")]

mod bench;
mod registry;
mod restart;

#[path = "../../../../tests/tests/requirements/mod.rs"]
mod requirements;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bench::{Bench, LABEL, engine, until};
use requirements::{Requirement, require};
use serde_json::json;
use wfengine_docker::{
    ContainerSpec, EngineError, EnvValue, LogLimit, Mount, MountSource, Network, NetworkSpec, Status,
};

fn socket() -> Option<PathBuf> {
    require(Requirement::Docker, "wfengine-docker: containers, networks and volumes at an engine")
}

#[tokio::test]
async fn the_engine_says_what_it_is_and_which_limits_hold() {
    let Some(socket) = socket() else { return };
    let info = engine(&socket).info().await.unwrap();
    assert!(!info.server_version.is_empty() && !info.is_too_old(), "{info:?}");
    assert!(["x64", "arm64", "arm"].contains(&info.architecture.as_str()), "{info:?}");
    assert_eq!(info.os, "linux");
    assert!(info.cpus > 0 && info.memory_bytes > 1 << 20 && info.root_dir.starts_with('/'), "{info:?}");
    assert!(info.enforces.memory || !info.unenforced().is_empty());
}

#[tokio::test]
async fn a_hardened_container_is_at_the_engine_as_it_was_asked_for() {
    let Some(socket) = socket() else { return };
    let bench = Bench::at(&socket).await;
    bench.engine.create_volume(&bench.name, &bench.labels()).await.unwrap();
    let mut spec = bench.spec(&["see"]);
    spec.user = Some("1001:1001".to_owned());
    spec.hostname = Some("runner".to_owned());
    spec.env =
        vec![("VALUE".to_owned(), EnvValue::secret("s3cret")), ("OPEN".to_owned(), EnvValue::plain("x"))];
    spec.memory_bytes = Some(64 << 20);
    spec.nano_cpus = Some(500_000_000);
    spec.pids_max = Some(32);
    spec.nofile = Some(256);
    spec.log = Some(LogLimit { file_bytes_max: 65_536, files: 2 });
    spec.mounts = vec![Mount {
        source: MountSource::Volume(bench.name.clone()),
        target: "/volume".to_owned(),
        read_only: true,
    }];
    spec.tmpfs = vec![("/tmp".to_owned(), "rw,exec,nosuid,nodev,size=1m,mode=1777".to_owned())];
    let state = bench.finish("hard", &spec).await;
    assert_eq!((&state.status, state.exit_code, state.oom_killed), (&Status::Exited, Some(0), false));
    assert_eq!(state.name, format!("{}-hard", bench.name));
    assert_eq!(state.labels.get(LABEL), Some(&bench.name));
    assert_eq!(state.networks, ["none"]);
    assert!(state.created.unix_s > 1_700_000_000 && state.started.is_some() && state.finished.is_some());

    let log = String::from_utf8(bench.engine.logs_tail(&state.id, 4096).await.unwrap()).unwrap();
    let seen: Vec<&str> = log.lines().map(str::trim).collect();
    assert_eq!(
        seen,
        [
            "Uid:\t1001\t1001\t1001\t1001",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "root false",
            "tmp true",
            "volume false",
            "value s3cret",
        ]
    );

    let document = bench.engine.inspect_json(&state.id).await.unwrap();
    let expected = [
        ("/HostConfig/CapDrop", json!(["ALL"])),
        ("/HostConfig/CapAdd", json!(null)),
        ("/HostConfig/SecurityOpt", json!(["no-new-privileges"])),
        ("/HostConfig/Privileged", json!(false)),
        ("/HostConfig/ReadonlyRootfs", json!(true)),
        ("/HostConfig/Memory", json!(64 << 20)),
        ("/HostConfig/NanoCpus", json!(500_000_000)),
        ("/HostConfig/PidsLimit", json!(32)),
        ("/HostConfig/Ulimits", json!([{ "Name": "nofile", "Soft": 256, "Hard": 256 }])),
        ("/HostConfig/Init", json!(true)),
        ("/HostConfig/NetworkMode", json!("none")),
        ("/HostConfig/AutoRemove", json!(false)),
        ("/HostConfig/RestartPolicy/Name", json!("no")),
        ("/HostConfig/IpcMode", json!("private")),
        (
            "/HostConfig/LogConfig",
            json!({ "Type": "json-file", "Config": { "max-file": "2", "max-size": "65536" } }),
        ),
        ("/HostConfig/Tmpfs", json!({ "/tmp": "rw,exec,nosuid,nodev,size=1m,mode=1777" })),
        ("/Config/User", json!("1001:1001")),
        ("/Config/Hostname", json!("runner")),
        ("/Config/StopTimeout", json!(1)),
    ];
    for (pointer, value) in expected {
        assert_eq!(document.pointer(pointer).unwrap_or(&json!(null)), &value, "{pointer}");
    }
    assert!(!document.to_string().contains("s3cret"));
    let env = document.pointer("/Config/Env").and_then(|env| env.as_array()).unwrap();
    assert!(env.contains(&json!("VALUE=***")), "{env:?}");
}

#[tokio::test]
async fn a_container_ends_with_its_code_or_is_stopped_or_killed() {
    let Some(socket) = socket() else { return };
    let bench = Bench::at(&socket).await;
    for code in [0, 1, 42] {
        let state = bench.finish(&format!("exit{code}"), &bench.spec(&["exit", &code.to_string()])).await;
        assert_eq!((state.status.is_over(), state.exit_code), (true, Some(code)));
        // there is nothing to stop or kill, and that is no error
        assert!(bench.engine.stop_container(&state.id, Duration::ZERO).await.unwrap());
        assert!(!bench.engine.kill_container(&state.id).await.unwrap());
    }
    let waiting = bench.spec(&["wait"]);
    let stopped = bench.run("stopped", &waiting).await;
    bench.engine.start_container(&stopped).await.unwrap();
    let running = bench.engine.container(&stopped).await.unwrap();
    assert_eq!((&running.status, running.exit_code, &running.finished), (&Status::Running, None, &None));
    assert!(bench.engine.stop_container(&stopped, Duration::from_secs(30)).await.unwrap());
    assert_eq!(bench.engine.container(&stopped).await.unwrap().exit_code, Some(128 + 15));

    let killed = bench.run("killed", &waiting).await;
    let mut events = bench.engine.events(&bench.mine()).await.unwrap();
    assert!(bench.engine.kill_container(&killed).await.unwrap());
    until(&mut events, "die", &killed).await;
    assert_eq!(bench.engine.container(&killed).await.unwrap().exit_code, Some(128 + 9));
}

#[tokio::test]
async fn want_of_memory_is_flagged() {
    let Some(socket) = socket() else { return };
    let bench = Bench::at(&socket).await;
    let info = bench.engine.info().await.unwrap();
    let spec = ContainerSpec { memory_bytes: Some(32 << 20), ..bench.spec(&["eat"]) };
    if !info.enforces.memory {
        assert!(info.unenforced().contains(&wfengine_docker::Limit::Memory));
        return;
    }
    let state = bench.finish("eat", &spec).await;
    assert!(state.oom_killed, "{state:?}");
    assert_eq!(state.exit_code, Some(128 + 9));
}

#[tokio::test]
async fn what_is_taken_or_missing_has_its_own_error() {
    let Some(socket) = socket() else { return };
    let bench = Bench::at(&socket).await;
    let (engine, name) = (&bench.engine, format!("{}-one", bench.name));
    let spec = bench.spec(&["exit", "0"]);
    engine.create_container(&name, &spec).await.unwrap();
    let taken = engine.create_container(&name, &spec).await.unwrap_err();
    assert_eq!(taken, EngineError::NameTaken { name: name.clone() });

    let missing = format!("{}:none", bench.name);
    let image_missing = EngineError::ImageMissing { image: missing.clone() };
    assert_eq!(engine.image(&missing).await.unwrap_err(), image_missing);
    let without_image = ContainerSpec { image: missing.clone(), ..spec.clone() };
    let error = engine.create_container(&format!("{name}-2"), &without_image).await.unwrap_err();
    assert_eq!(error, image_missing);
    assert!(error.remedy().contains(&format!("docker pull {missing}")));
    let pulled = engine.pull(&format!("localhost:1/{missing}"), None).await.unwrap_err();
    assert!(matches!(pulled, EngineError::PullFailed { .. }), "{pulled:?}");

    let absent = "wfengine-test-absent";
    let no_such = EngineError::NoSuch { what: format!("container {absent}") };
    assert_eq!(engine.container(absent).await.unwrap_err(), no_such);
    assert_eq!(engine.start_container(absent).await.unwrap_err(), no_such);
    assert_eq!(engine.logs_tail(absent, 10).await.unwrap_err(), no_such);
    assert_eq!(engine.follow_logs(absent).await.unwrap_err(), no_such);
    assert_eq!(engine.inspect_json(absent).await.unwrap_err(), no_such);
    assert!(!engine.stop_container(absent, Duration::ZERO).await.unwrap());
    assert!(!engine.kill_container(absent).await.unwrap());
    assert!(!engine.remove_container(absent).await.unwrap());
    assert!(!engine.remove_network(absent).await.unwrap());
    assert!(!engine.remove_volume(absent).await.unwrap());
    assert!(!engine.remove_image(absent).await.unwrap());

    let too_small = ContainerSpec { memory_bytes: Some(1), ..spec.clone() };
    let refused = engine.create_container(&format!("{name}-3"), &too_small).await.unwrap_err();
    assert!(matches!(refused, EngineError::BadRequest { .. }), "{refused:?}");
    // an image in use stays
    assert!(matches!(engine.remove_image(&bench.image).await, Err(EngineError::Conflict { .. })));
}

#[tokio::test]
async fn a_program_that_is_missing_fails_the_start_or_ends_the_init() {
    let Some(socket) = socket() else { return };
    let bench = Bench::at(&socket).await;
    let absent = Some(vec!["/absent".to_owned()]);
    let bare = ContainerSpec { entrypoint: absent.clone(), init: false, ..bench.spec(&[]) };
    let id = bench.engine.create_container(&format!("{}-bare", bench.name), &bare).await.unwrap();
    let start = bench.engine.start_container(&id).await.unwrap_err();
    assert!(matches!(start, EngineError::BadRequest { .. } | EngineError::Failed { .. }), "{start:?}");
    assert!(start.to_string().contains("/absent"), "{start}");
    let state = bench.engine.container(&id).await.unwrap();
    assert_eq!((&state.status, state.exit_code, state.error.is_some()), (&Status::Created, None, true));

    // the engine's init is started well, and tells by its own code
    let with_init = ContainerSpec { init: true, ..bare };
    let state = bench.finish("init", &with_init).await;
    assert_eq!((state.exit_code, state.error), (Some(127), None));
}

#[tokio::test]
async fn containers_are_found_by_label_whatever_they_are_doing() {
    let Some(socket) = socket() else { return };
    let bench = Bench::at(&socket).await;
    let mut made = bench.spec(&["wait"]);
    made.labels.insert("dev.wfengine.test.kind".to_owned(), "made".to_owned());
    bench.engine.create_container(&format!("{}-b", bench.name), &made).await.unwrap();
    bench.run("c", &bench.spec(&["wait"])).await;
    bench.finish("a", &bench.spec(&["exit", "3"])).await;
    let found = bench.engine.containers(&bench.mine()).await.unwrap();
    let shown: Vec<(String, Status, Option<i64>)> =
        found.into_iter().map(|one| (one.name.replace(&bench.name, ""), one.status, one.exit_code)).collect();
    let expected = [
        ("-a".to_owned(), Status::Exited, Some(3)),
        ("-b".to_owned(), Status::Created, None),
        ("-c".to_owned(), Status::Running, None),
    ];
    assert_eq!(shown, expected);
    for kind in ["", "made"] {
        let both = [(LABEL, bench.name.as_str()), ("dev.wfengine.test.kind", kind)];
        assert_eq!(bench.engine.containers(&both).await.unwrap().len(), 1, "{kind}");
    }
    let other = [(LABEL, bench.name.as_str()), ("dev.wfengine.test.kind", "other")];
    assert_eq!(bench.engine.containers(&other).await.unwrap(), []);
}

#[tokio::test]
async fn events_tell_everything_since_the_subscription() {
    let Some(socket) = socket() else { return };
    let bench = Bench::at(&socket).await;
    let mut events = bench.engine.events(&bench.mine()).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..3 {
        let id = bench.run(&number.to_string(), &bench.spec(&["exit", "5"])).await;
        ids.push(id);
    }
    let mut told = BTreeMap::<String, Vec<String>>::new();
    while told.values().filter(|actions| actions.contains(&"die".to_owned())).count() < 3 {
        let event =
            tokio::time::timeout(Duration::from_secs(60), events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.labels.get(LABEL), Some(&bench.name));
        assert!(event.name.starts_with(&bench.name) && event.unix_ns > 0);
        assert_eq!(event.exit_code, (event.action == "die").then_some(5));
        told.entry(event.container).or_default().push(event.action);
    }
    for id in ids {
        assert_eq!(told.remove(&id).unwrap(), ["create", "start", "die"]);
        assert!(bench.engine.remove_container(&id).await.unwrap());
        until(&mut events, "destroy", &id).await;
        assert!(!bench.engine.remove_container(&id).await.unwrap());
    }
    assert!(told.is_empty());
}

#[tokio::test]
async fn a_log_s_end_is_bounded_and_both_streams_keep_their_order() {
    let Some(socket) = socket() else { return };
    let bench = Bench::at(&socket).await;
    let state = bench.finish("print", &bench.spec(&["print", "2000"])).await;
    let whole: String = (0..2000).map(|line| format!("line {line}\n")).collect();
    let read = bench.engine.logs_tail(&state.id, 1 << 20).await.unwrap();
    // the two pipes are read by two readers, so neighbours may change places; nothing is lost and each stream is in order
    let lines: Vec<u32> =
        String::from_utf8(read).unwrap().lines().map(|line| line[5..].parse().unwrap()).collect();
    for odd in [0, 1] {
        let of_stream: Vec<u32> = lines.iter().copied().filter(|line| line % 2 == odd).collect();
        assert_eq!(of_stream, (0..2000).filter(|line| line % 2 == odd).collect::<Vec<_>>());
    }
    let tail = bench.engine.logs_tail(&state.id, 100).await.unwrap();
    assert_eq!(tail.len(), 100);
    assert_eq!(bench.engine.logs_tail(&state.id, 0).await.unwrap(), b"");

    let id = bench
        .engine
        .create_container(&format!("{}-follow", bench.name), &bench.spec(&["print", "2000"]))
        .await;
    let id = id.unwrap();
    bench.engine.start_container(&id).await.unwrap();
    let mut pieces = bench.engine.follow_logs(&id).await.unwrap();
    let mut followed = Vec::new();
    while let Some(piece) = tokio::time::timeout(Duration::from_secs(60), pieces.next()).await.unwrap() {
        followed.extend(piece.unwrap());
    }
    assert_eq!(followed.len(), whole.len());
}

#[tokio::test]
async fn networks_and_volumes_are_made_found_and_removed() {
    let Some(socket) = socket() else { return };
    let bench = Bench::at(&socket).await;
    let engine = &bench.engine;
    let bridge = format!("wfe-{:08x}", std::process::id());
    let spec = NetworkSpec {
        name: bench.name.clone(),
        labels: bench.labels(),
        bridge_interface: Some(bridge.clone()),
        is_internal: true,
        containers_may_talk: false,
    };
    let network = engine.create_network(&spec).await.unwrap();
    let taken = EngineError::NameTaken { name: bench.name.clone() };
    assert_eq!(engine.create_network(&spec).await.unwrap_err(), taken);
    let found = engine.networks(&bench.mine()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].id, &found[0].name, &found[0].labels), (&network, &bench.name, &bench.labels()));

    engine.create_volume(&bench.name, &bench.labels()).await.unwrap();
    engine.create_volume(&bench.name, &bench.labels()).await.unwrap();
    assert_eq!(engine.create_volume(&bench.name, &BTreeMap::new()).await.unwrap_err(), taken);
    let volumes = engine.volumes(&bench.mine()).await.unwrap();
    assert_eq!(volumes.iter().map(|volume| &volume.name).collect::<Vec<_>>(), [&bench.name]);

    let mut inside = bench.spec(&["wait"]);
    inside.network = Network::Named(bench.name.clone());
    inside.extra_hosts = vec!["github.test:host-gateway".to_owned()];
    inside.mounts = vec![Mount {
        source: MountSource::Volume(bench.name.clone()),
        target: "/volume".to_owned(),
        read_only: false,
    }];
    let id = bench.run("inside", &inside).await;
    assert_eq!(engine.container(&id).await.unwrap().networks, std::slice::from_ref(&bench.name));
    let beside = ContainerSpec { network: Network::ContainerOf(id.clone()), ..bench.spec(&["wait"]) };
    let beside = bench.run("beside", &beside).await;
    for in_use in [engine.remove_network(&network).await, engine.remove_volume(&bench.name).await] {
        assert!(matches!(in_use, Err(EngineError::Conflict { .. })), "{in_use:?}");
    }
    assert!(engine.remove_container(&beside).await.unwrap() && engine.remove_container(&id).await.unwrap());
    assert!(
        engine.remove_network(&network).await.unwrap() && engine.remove_volume(&bench.name).await.unwrap()
    );
    assert!(
        !engine.remove_network(&network).await.unwrap() && !engine.remove_volume(&bench.name).await.unwrap()
    );
    assert_eq!(engine.networks(&bench.mine()).await.unwrap(), []);
    assert_eq!(engine.volumes(&bench.mine()).await.unwrap(), []);

    let missing = ContainerSpec { network: Network::Named(bench.name.clone()), ..bench.spec(&["wait"]) };
    let started = match engine.create_container(&format!("{}-lost", bench.name), &missing).await {
        Ok(id) => engine.start_container(&id).await,
        Err(error) => Err(error),
    };
    assert_eq!(started, Err(EngineError::NoSuch { what: format!("network {}", bench.name) }));
}

#[tokio::test]
async fn an_image_made_here_says_whom_it_runs_as() {
    let Some(socket) = socket() else { return };
    let bench = Bench::at(&socket).await;
    let image = bench.engine.image(&bench.image).await.unwrap();
    assert!(image.id.starts_with("sha256:") && image.size_bytes > 1000, "{image:?}");
    assert_eq!(image.user.as_deref(), Some("1001:1001"));
    assert_eq!(image.entrypoint, ["/program"]);
    assert_eq!(image.tags, std::slice::from_ref(&bench.image));
    assert_eq!(bench.engine.image(&image.id).await.unwrap(), image);
    assert!(bench.engine.remove_image(&bench.image).await.unwrap());
    assert!(!bench.engine.remove_image(&bench.image).await.unwrap());
}

#[tokio::test]
async fn a_new_volume_is_opened_to_whoever_the_image_runs_as() {
    let Some(socket) = socket() else { return };
    let bench = Bench::at(&socket).await;
    let (engine, second) = (&bench.engine, format!("{}-2", bench.name));
    let with_volume = |volume: &str| ContainerSpec {
        mounts: vec![Mount {
            source: MountSource::Volume(volume.to_owned()),
            // no folder of the image lies there, so the volume is root's
            target: "/volume/inside".to_owned(),
            read_only: false,
        }],
        env: vec![("VALUE".to_owned(), EnvValue::secret("s3cret"))],
        ..bench.spec(&["try", "/volume/inside/x"])
    };
    for volume in [&bench.name, &second] {
        engine.create_volume(volume, &bench.labels()).await.unwrap();
    }
    assert_eq!(bench.finish("shut", &with_volume(&bench.name)).await.exit_code, Some(1));

    let id = engine.create_container(&format!("{}-open", bench.name), &with_volume(&second)).await.unwrap();
    engine.open_folder(&id, "/volume/inside").await.unwrap();
    let mut events = engine.events(&bench.mine()).await.unwrap();
    engine.start_container(&id).await.unwrap();
    until(&mut events, "die", &id).await;
    assert_eq!(engine.container(&id).await.unwrap().exit_code, Some(0));

    assert!(engine.environment(&id).await.unwrap().contains(&"VALUE=s3cret".to_owned()));
    assert!(engine.volume_folder(&second).await.unwrap().unwrap().is_absolute());
    let writable = ContainerSpec { read_only_root: false, ..bench.spec(&["try", "/tmp/x"]) };
    let wrote = bench.finish("layer", &writable).await;
    assert_eq!(wrote.exit_code, Some(0));
    assert!(engine.layer_bytes(&wrote.id).await.unwrap().unwrap() >= 100_000);
    let lost = engine.open_folder("wfengine-test-absent", "/x").await.unwrap_err();
    assert!(matches!(lost, EngineError::NoSuch { .. }), "{lost:?}");
}
