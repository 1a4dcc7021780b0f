//! A repository on this host, made with git, and sources that bring its commits. Decides nothing; used by the tests of
//! checkouts.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use tempfile::TempDir;
use wfengine_executor::{Fetched, Fetching, Repository, Sources, SourcesError, Wanted};
use wfengine_workflow::{Revision, Value};

use crate::harness::{Bench, steps};

/// A repository with two commits on `main`, the second tagged `v1`, and one on `other`.
pub(crate) struct Origin {
    folder: TempDir,
    pub(crate) first: String,
    pub(crate) second: String,
    pub(crate) other: String,
}

/// Whether git is here; says that `test` did not run where it is not.
pub(crate) fn has_git(test: &str) -> bool {
    let there = Command::new("git").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        println!("{test} did not run: install git to enable it");
    }
    there
}

/// Runs git without anybody's configuration.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "a")))
        .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "a@example.org")))
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Origin {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        git(at, &["init", "--quiet", "--template="]);
        git(at, &["checkout", "--quiet", "-b", "main"]);
        git(at, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        let commit = |name: &str, text: &str, subject: &str| {
            std::fs::write(at.join(name), text).unwrap();
            git(at, &["add", "--all"]);
            git(at, &["commit", "--quiet", "-m", subject]);
            git(at, &["rev-parse", "HEAD"])
        };
        let first = commit("file.txt", "one\n", "the first");
        std::fs::create_dir(at.join("sub")).unwrap();
        std::os::unix::fs::symlink("../file.txt", at.join("sub/link")).unwrap();
        std::fs::write(at.join("run.sh"), "#!/bin/sh\necho it runs\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(at.join("run.sh"), mode).unwrap();
        std::fs::write(at.join(".gitattributes"), "*.txt text=auto filter=evil\n").unwrap();
        let second = commit("file.txt", "two\n", "the second");
        git(at, &["tag", "v1"]);
        git(at, &["checkout", "--quiet", "-b", "other", &first]);
        let other = commit("file.txt", "other\n", "another");
        git(at, &["checkout", "--quiet", "main"]);
        Origin { folder, first, second, other }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// A job whose run is about the second commit, with sources that fetch from here.
    pub(crate) fn job(&self, steps_text: &str) -> Bench {
        let mut job = self.job_without_sources(steps_text);
        job.sources = Some(Arc::new(Local { path: self.path(), asked: Mutex::default() }));
        job
    }

    pub(crate) fn job_without_sources(&self, steps_text: &str) -> Bench {
        let mut job = steps(steps_text);
        let github = format!(
            r#"{{"repository":"o/r","sha":"{}","ref":"refs/heads/main","ref_name":"main","server_url":"https://git.example.org"}}"#,
            self.second
        );
        job.contexts.set("github", Value::from_json(&github).unwrap());
        job.host.insert("HOME".to_owned(), job.folder.path().display().to_string());
        job
    }
}

/// Fetches from a repository on this host, as git does over a network.
#[derive(Debug)]
pub(crate) struct Local {
    path: PathBuf,
    pub(crate) asked: Mutex<Vec<Wanted>>,
}

impl Sources for Local {
    fn fetch<'a>(&'a self, wanted: &'a Wanted, into: &'a Repository) -> Fetching<'a> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(wanted.clone());
            let url = format!("file://{}", self.path.display());
            let (commit, git_ref) = match &wanted.revision {
                Revision::Commit { id, .. } => (id.clone(), String::new()),
                Revision::Ref(name) => self.resolved(name, wanted)?,
                Revision::DefaultBranch => self.resolved("main", wanted)?,
            };
            let depth = wanted.depth.map(|depth| format!("--depth={depth}"));
            let git = into.git().with_variable("GIT_ALLOW_PROTOCOL", "file");
            let near = Repository::checkout(&git, into.folder());
            let mut command = vec!["fetch", "--quiet", "--no-tags"];
            command.extend(depth.as_deref());
            near.run(&[&command[..], &[&url, &commit]].concat()).await?;
            Ok(Fetched { commit, git_ref, ..Fetched::default() })
        })
    }
}

impl Local {
    fn resolved(&self, name: &str, wanted: &Wanted) -> Result<(String, String), SourcesError> {
        let found = [name.to_owned(), format!("refs/heads/{name}"), format!("refs/tags/{name}")]
            .into_iter()
            .filter(|full| full.starts_with("refs/"))
            .find_map(|full| {
                let output = Command::new("git")
                    .args(["rev-parse", "--verify", "--quiet", &full])
                    .current_dir(&self.path)
                    .output()
                    .unwrap();
                output
                    .status
                    .success()
                    .then(|| (String::from_utf8_lossy(&output.stdout).trim().to_owned(), full))
            });
        found.ok_or_else(|| SourcesError::Absent {
            repository: wanted.repository.clone(),
            reference: name.to_owned(),
        })
    }
}

/// Brings one commit without its history, as a pack.
#[derive(Debug)]
pub(crate) struct OneCommit {
    pub(crate) path: PathBuf,
    /// What it says it has brought, if not what was asked for.
    pub(crate) instead: Option<String>,
}

impl Sources for OneCommit {
    fn fetch<'a>(&'a self, wanted: &'a Wanted, into: &'a Repository) -> Fetching<'a> {
        Box::pin(async move {
            let Revision::Commit { id, .. } = &wanted.revision else {
                return Err(SourcesError::Unknown {
                    repository: wanted.repository.clone(),
                    why: "only the commit of the run came with it".to_owned(),
                });
            };
            let commit = self.instead.as_ref().unwrap_or(id).clone();
            let script = format!(
                "git rev-list --objects --no-walk --no-object-names {commit} | git pack-objects --quiet --stdout > \"$1\""
            );
            let pack = into.folder().join("brought.pack");
            let made = Command::new("sh")
                .args(["-c", &script, "sh"])
                .arg(&pack)
                .current_dir(&self.path)
                .status()
                .unwrap();
            assert!(made.success());
            into.unpack(&pack, &commit).await?;
            std::fs::remove_file(&pack).unwrap();
            Ok(Fetched { commit, note: Some("It came with the run.".to_owned()), ..Fetched::default() })
        })
    }
}
