//! Runners' processes against the stand-in: the program itself, on this machine, without containers.

mod deeds;
mod images;
mod jobs;
mod lives;

use std::{process::Stdio, sync::OnceLock, time::Duration};

use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use wfengine_tests::{
    runner_image::runner_program,
    standin::{Progress, RepositoryOptions, Standin, TokenKind},
};

use crate::client::Client;

/// Nothing here takes so long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A runner's process, with a folder of its own and no environment but what is given.
pub(crate) struct Process {
    child: Child,
    folder: TempDir,
}

/// A process that is through.
pub(crate) struct Ended {
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed, in both ways.
    pub(crate) text: String,
}

impl Process {
    #[track_caller]
    pub(crate) fn start(variables: &[(&str, &str)]) -> Self {
        static PROGRAM: OnceLock<std::path::PathBuf> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| runner_program().expect("the program"));
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program);
        command.env_clear().env("TMPDIR", folder.path()).envs(variables.iter().copied());
        command.current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.kill_on_drop(true).spawn().expect("a process");
        Self { child, folder }
    }

    /// With a just-in-time configuration.
    #[track_caller]
    pub(crate) fn configured(configuration: &str) -> Self {
        Self::start(&[("ACTIONS_RUNNER_INPUT_JITCONFIG", configuration)])
    }

    /// With a registration token of a repository, for one job.
    #[track_caller]
    pub(crate) fn registering(standin: &Standin, repository: &str, name: &str, labels: &str) -> Self {
        let (url, token) =
            (format!("{}/{repository}", standin.base_url()), standin.registration_token(repository));
        Self::start(&[
            ("REPO_URL", &url),
            ("RUNNER_TOKEN", &token),
            ("RUNNER_NAME", name),
            ("LABELS", labels),
            ("EPHEMERAL", "true"),
        ])
    }

    pub(crate) async fn ended(self) -> Ended {
        let waited = tokio::time::timeout(PATIENCE, self.child.wait_with_output()).await;
        let output = waited.expect("an end in time").expect("an end");
        let text = [output.stdout, output.stderr].concat();
        drop(self.folder);
        Ended { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// As the engine kills.
    pub(crate) async fn killed(mut self) {
        self.child.kill().await.expect("a process that lives");
    }

    fn id(&self) -> u32 {
        self.child.id().expect("a process that lives")
    }
}

/// A stand-in with a repository without workflows, and its owner.
async fn one_repository() -> (Standin, Client) {
    let standin = crate::standin().await;
    standin.add_repository("octo/one", &RepositoryOptions::private());
    let client = Client::new(&standin).with_token(&standin.token(&TokenKind::classic("octo")));
    (standin, client)
}

/// A just-in-time configuration from the API.
async fn configuration(client: &Client, of: &str, name: &str, labels: &[&str]) -> String {
    let path = format!("/{of}/actions/runners/generate-jitconfig");
    let wanted = json!({ "name": name, "runner_group_id": 1, "labels": labels });
    let made = client.change("POST", &path, &wanted).await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["encoded_jit_config"].as_str().expect("text").to_owned()
}

/// Waits until a runner of this name is connected.
async fn online(standin: &Standin, name: &str) {
    let is_online =
        |standin: &Standin| standin.runners().iter().any(|runner| runner.name == name && runner.is_online);
    assert!(standin.wait_until(PATIENCE, is_online).await, "{name}: {:?}", standin.runner_events());
}

/// Waits until all jobs have ended.
async fn all_done(standin: &Standin) {
    let is_done = |standin: &Standin| standin.jobs().iter().all(|job| job.progress == Progress::Completed);
    assert!(standin.wait_until(PATIENCE, is_done).await, "{:?}", standin.jobs());
}
