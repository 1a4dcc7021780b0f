//! Ways to register, and ways to Docker.

use wfengine_tests::runner_image::RunnerImage;
use wfengine_tests::standin::{RepositoryOptions, Role, RunnerChange, TokenKind};

use crate::engine_api::EngineApi;
use crate::house::House;
use crate::isolation::scanned;
use crate::lab::{LABELS, Lab};
use crate::{ended, inspected, runner_of, start_is_refused, start_without, through};

#[test]
fn the_image_of_the_third_party_registers_by_itself_and_its_registration_goes() {
    let Some(lab) = Lab::new(&["octo/one"], "the contract of the third party's image") else { return };
    let house = House::new();
    let url = lab.standin.runner_url();
    let node =
        lab.start(&house, &["--image-contract", "third-party", "--runner-url", &url, "--labels", "gpu"]);
    let job = lab.standin.queue_jobs("octo/one", "looks do-inspect", &["self-hosted", "gpu"], 1)[0];
    let job = ended(&lab, job);
    assert_eq!(job.conclusion.as_deref(), Some("success"), "{job:?}");
    assert_eq!((inspected(&job, "uid"), inspected(&job, "no_new_privs")), ("1001", "1"));
    let names: Vec<&str> = inspected(&job, "environment").split(',').collect();
    let told = [
        "DISABLE_AUTOMATIC_DEREGISTRATION",
        "DISABLE_AUTO_UPDATE",
        "EPHEMERAL",
        "GITHUB_HOST",
        "LABELS",
        "REPO_URL",
        "RUNNER_NAME",
        "RUNNER_TOKEN",
        "RUNNER_WORKDIR",
        "UNSET_CONFIG_VARS",
    ];
    assert!(told.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("JITCONFIG")), "{names:?}");
    lab.until_nothing_is_left();
    let changes: Vec<RunnerChange> = lab.standin.runner_events().iter().map(|event| event.change).collect();
    assert!(
        changes.contains(&RunnerChange::Registered) && changes.contains(&RunnerChange::Finished),
        "{changes:?}"
    );
    // the token is a weaker thing than a configuration, and that is said
    node.stop().ends(0).complains(&["weaker than a just-in-time configuration"]);
    lab.is_content();
}

#[test]
fn runners_of_an_organization_do_jobs_of_all_its_repositories() {
    let Some(mut lab) = Lab::new(&[], "runners that are registered with an organization") else { return };
    lab.standin.add_organization("acme");
    lab.standin.add_member("acme", "octo", Role::Admin);
    let repositories = ["acme/one", "acme/two"];
    for repository in repositories {
        lab.standin.add_repository(repository, &RepositoryOptions::private());
        lab.standin.push(repository, "main", &[("README", Some(b"text".as_slice()))], "first");
    }
    let scopes = ["repo", "workflow", "admin:org"].map(str::to_owned).to_vec();
    lab.token = lab.standin.token(&TokenKind::Classic { user: "octo".to_owned(), scopes });
    let house = House::new();
    let options = ["--owner=acme", "--register", "organization", "--max-runners", "2"];
    let node = start_without(&lab, &house, &["--owner"], &options);
    for repository in repositories {
        lab.standin.queue_jobs(repository, "build do-slow-1", &LABELS, 2);
    }
    let job = lab.standin.jobs()[0].id;
    let runner = runner_of(&lab, job);
    let inspect = EngineApi::of(&lab).json(&format!("/containers/{runner}/json"));
    assert_eq!(inspect["Config"]["Labels"]["dev.wfengine.scope"], "acme");
    lab.until_all_jobs_ended();
    lab.every_job_was_done_once();
    lab.until_nothing_is_left();
    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn an_engine_of_its_own_stands_beside_a_runner_and_goes_with_it() {
    let Some(lab) = Lab::new(&["octo/one"], "an engine of a runner's own") else { return };
    let sidecar = lab.runtime.block_on(RunnerImage::build_sidecar(&lab.engine)).unwrap();
    let house = House::new();
    let options = ["--docker", "rootless-sidecar", "--sidecar-image", &sidecar.reference];
    let node = lab.start(&house, &options);
    let stays = lab.standin.queue_jobs("octo/one", "stays do-slow-600", &LABELS, 1)[0];
    let runner = runner_of(&lab, stays);
    let beside = format!("{runner}-docker");
    let engine = EngineApi::of(&lab);
    let inspect = |name: &str| engine.json(&format!("/containers/{name}/json"));
    let (its, its_engine) = (inspect(&runner), inspect(&beside));
    assert_eq!(its["HostConfig"]["NetworkMode"], format!("container:{}", its_engine["Id"].as_str().unwrap()));
    assert_eq!(its_engine["HostConfig"]["NetworkMode"], runner.as_str());
    assert_eq!(its_engine["State"]["Running"], true);
    for container in [&its, &its_engine] {
        let host = &container["HostConfig"];
        assert_eq!((&host["Privileged"], &host["Memory"]), (&false.into(), &(64 << 20).into()), "{host}");
        assert!(host["CapAdd"].is_null() && host["Devices"].as_array().is_none_or(Vec::is_empty), "{host}");
        assert!(host["Binds"].as_array().is_none_or(Vec::is_empty), "nothing of the host: {host}");
        let mounts = host["Mounts"].as_array().unwrap();
        assert_eq!(mounts.len(), 1, "{host}");
        assert_eq!((&mounts[0]["Type"], &mounts[0]["Source"]), (&"volume".into(), &runner.as_str().into()));
        assert_eq!(container["Config"]["Labels"]["dev.wfengine.runner"], runner.as_str());
    }
    // the runner is confined as without it
    assert_eq!(its["HostConfig"]["CapDrop"], serde_json::json!(["ALL"]));
    assert_eq!(its["HostConfig"]["SecurityOpt"], serde_json::json!(["no-new-privileges"]));
    assert!(
        !its_engine["Config"]["Env"].to_string().contains("JITCONFIG"),
        "it has no part in the registration"
    );
    // another runner has another one, and does not reach this one
    let address = crate::isolation::address_of(&lab, &beside);
    let job = through(&lab, "octo/one", &format!("looks do-inspect do-scan-2375-{address}"));
    assert_eq!(inspected(&job, "docker_host"), "tcp://127.0.0.1:2375");
    assert_eq!(inspected(&job, "docker_answers"), "yes");
    assert_eq!((inspected(&job, "uid"), inspected(&job, "docker_socket")), ("1001", "none"));
    for (role, at, result) in scanned(&job) {
        assert_eq!(
            result == "reached",
            role == "loopback" && at == "127.0.0.1:2375",
            "{role} {at}: {result}"
        );
    }
    lab.standin.cancel_job(stays);
    lab.until_nothing_is_left();
    assert!(!engine.text("/containers/json?all=1").contains(&runner));
    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn the_hosts_engine_is_given_away_only_by_name_and_that_is_said() {
    let Some(lab) = Lab::new(&["octo/one"], "who gets the host's engine") else { return };
    let house = House::new();
    let waiting = lab.standin.queue_jobs("octo/one", "looks do-inspect", &LABELS, 1)[0];
    start_is_refused(&lab, &house, &["--docker", "socket"])
        .complains(&["--docker socket needs --insecure besides", "root on this host"]);
    assert_eq!(lab.standin.job(waiting).handed_out, 0);
    let node = lab.start(&house, &["--docker", "socket", "--insecure"]);
    let job = ended(&lab, waiting);
    assert_eq!(inspected(&job, "docker_socket"), "/var/run/docker.sock");
    // nobody as the job is, it may open it
    assert_eq!((inspected(&job, "uid"), inspected(&job, "docker_answers")), ("1001", "yes"));
    lab.until_nothing_is_left();
    node.stop()
        .ends(0)
        .complains(&["--docker socket: every job gets the engine's socket", "root on this host"]);
    lab.is_content();
}
