//! An engine that is stopped and started again: the same client goes on.
//!
//! It is one of the test's own, so that nobody else's containers end with it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use wfengine_docker::{Engine, Status};

use crate::{
    bench::{Bench, engine},
    requirements::{Requirement, require},
};

/// An engine takes a second or two until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stopped when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let mut command = Command::new("unshare");
        // in a network of its own: without a bridge of its own it would take the host's away
        command.args(["--net", "dockerd"]);
        command
            .args([
                "--bridge=none",
                "--iptables=false",
                "--data-root",
                &at("data"),
                "--exec-root",
                &at("exec"),
            ])
            .args(["--pidfile", &at("pid"), "--host", &format!("unix://{}", at("s"))])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap());
        Self(command.spawn().unwrap())
    }

    /// As the system stops it: containers are ended first.
    fn stop(&mut self) {
        let stopped = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(stopped.success() && self.0.wait().is_ok());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = Command::new("kill").arg(self.0.id().to_string()).status();
            let _ = self.0.wait();
        }
    }
}

async fn answers(engine: &Engine, folder: &Path) {
    let answering = async {
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        while let Err(error) = engine.info().await {
            assert!(error.is_passing(), "{error:?}");
            pause.tick().await;
        }
    };
    let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    assert!(tokio::time::timeout(PATIENCE, answering).await.is_ok(), "{}", log());
}

#[tokio::test]
async fn the_same_client_goes_on_after_the_engine_was_started_again() {
    let what = "wfengine-docker: an engine that is stopped and started again";
    let (Some(_), Some(_)) = (require(Requirement::Docker, what), require(Requirement::Namespaces, what))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path());
    let client = engine(&folder.path().join("s"));
    answers(&client, folder.path()).await;
    let bench = Bench::at(&folder.path().join("s")).await;
    let mut events = bench.engine.events(&bench.mine()).await.unwrap();
    let id = bench.run("lives", &bench.spec(&["wait"])).await;

    daemon.stop();
    let down = bench.engine.container(&id).await.unwrap_err();
    assert_eq!(down.kind(), "unreachable");
    let ended = async {
        loop {
            if let Err(error) = events.next().await.unwrap() {
                return error;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, ended).await.unwrap().kind(), "unreachable");
    assert!(events.next().await.is_none());

    let _again = Daemon::start(folder.path());
    answers(&bench.engine, folder.path()).await;
    let found = bench.engine.containers(&bench.mine()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].id, &found[0].status), (&id, &Status::Exited));
    let mut events = bench.engine.events(&bench.mine()).await.unwrap();
    bench.engine.start_container(&id).await.unwrap();
    crate::until(&mut events, "start", &id).await;
    // everything goes before the engine does
    drop(bench);
}
