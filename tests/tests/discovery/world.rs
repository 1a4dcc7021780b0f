//! A stand-in with its time, and what must hold at the end of every test.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use wfengine_tests::standin::{Logged, Options, RepositoryOptions, Standin, TokenKind};
use wfengine_tests::virtual_time::Time;
use wfengine_workflow::Workflow;
use wfengine_workflow::tags::{self, Routing};

use crate::asking::Client as Asking;
use crate::node::Node;
use crate::{Requirement, require};

/// Everything outside of the nodes.
pub(crate) struct World {
    pub(crate) github: Standin,
    pub(crate) time: Arc<Time>,
    /// Repository and file name of every workflow that is for peers alone.
    peers_only: Mutex<BTreeSet<(String, String)>>,
    folder: TempDir,
}

/// A file of a push; without content it goes.
pub(crate) type File<'a> = (&'a str, Option<&'a [u8]>);

impl World {
    /// A world, or `None` on a host without git; that is named at the end of the tests.
    pub(crate) async fn new() -> Option<Self> {
        Self::with(Options::default()).await
    }

    /// The same with a stand-in of one's own.
    pub(crate) async fn with(options: Options) -> Option<Self> {
        require(Requirement::Git, "discovery against the stand-in")?;
        let github = Standin::start(options).await.expect("a stand-in");
        Some(Self {
            time: Arc::new(Time::of(github.clock())),
            github,
            peers_only: Mutex::default(),
            folder: tempfile::tempdir().expect("a scratch folder"),
        })
    }

    /// A folder for something.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A repository with these files.
    #[track_caller]
    pub(crate) fn repository(&self, name: &str, files: &[(&str, &str)]) {
        self.github.add_repository(name, &RepositoryOptions::default());
        self.push(name, files);
    }

    /// Puts files on the default branch. The commit.
    #[track_caller]
    pub(crate) fn push(&self, name: &str, files: &[(&str, &str)]) -> String {
        let files: Vec<File<'_>> = files.iter().map(|(path, text)| (*path, Some(text.as_bytes()))).collect();
        self.push_bytes(name, &files)
    }

    /// The same with any bytes, or without.
    #[track_caller]
    pub(crate) fn push_bytes(&self, name: &str, files: &[File<'_>]) -> String {
        let mut peers_only = self.peers_only.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, bytes) in files {
            let read = bytes.and_then(|bytes| Workflow::read(bytes, path).ok());
            if read.is_some_and(|workflow| tags::of(&workflow).routing == Routing::P2pOnly) {
                let file = path.rsplit('/').next().unwrap_or_default();
                peers_only.insert((name.to_owned(), file.to_owned()));
            }
        }
        self.github.push(name, "main", files, "a change")
    }

    /// A token that sees everything of its user.
    pub(crate) fn token(&self) -> String {
        self.github.token(&TokenKind::classic("octo"))
    }

    /// A node of its own, with such a token.
    pub(crate) fn node(&self, name: &str) -> Node {
        Node::found(self, name, self.token())
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: u64) {
        self.time.pass(Duration::from_secs(seconds));
    }

    /// Requests to the interface since some moment, git's left out.
    pub(crate) fn asked_since(&self, first: usize) -> Vec<Logged> {
        self.github.requests_since(first).into_iter().filter(|logged| !logged.is_git).collect()
    }

    /// All of them whose path, without the query, ends so.
    pub(crate) fn asked_for(&self, end: &str) -> Vec<Logged> {
        self.asked_since(0).into_iter().filter(|logged| logged.bare_path().ends_with(end)).collect()
    }

    /// Comes back when no more than so many ordered faults are left.
    pub(crate) async fn until_faults_left(&self, left: u64) {
        let wait = async {
            while self.github.faults_left() > left {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the fault happens");
    }

    /// Where [`Self::asked_since`] begins.
    pub(crate) fn moment(&self) -> usize {
        self.github.requests().len()
    }

    /// A check run as GitHub shows it, at a path that somebody asked for.
    pub(crate) async fn check_run(&self, path: &str, token: &str) -> serde_json::Value {
        let reply = Asking::new(&self.github).with_token(token).read(path).await;
        assert_eq!(reply.status, 200, "{path}");
        reply.json()
    }

    /// Dispatches that were asked for, whatever the answer.
    pub(crate) fn dispatches_asked(&self) -> Vec<Logged> {
        self.asked_for("/dispatches")
    }

    fn dispatched_for_peers_only(&self) -> Vec<String> {
        let peers_only = self.peers_only.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = self.dispatches_asked().into_iter().map(|logged| logged.bare_path().to_owned());
        let forbidden = |path: &String| {
            let parts: Vec<&str> = path.split('/').collect();
            // "", repos, owner, name, actions, workflows, file, dispatches
            let named = parts.get(2..4).map(|name| name.join("/")).zip(parts.get(6));
            named.is_none_or(|(name, file)| peers_only.contains(&(name, (*file).to_owned())))
        };
        let taken = self.github.dispatches().into_iter().filter(|taken| taken.is_for_peers_only);
        asked.filter(forbidden).chain(taken.map(|taken| taken.workflow)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // one failure at a time
        if std::thread::panicking() {
            return;
        }
        assert_eq!(self.github.requests_during_limits(), [], "requests during a limit");
        assert_eq!(self.github.contract_problems(), Vec::<String>::new(), "against GitHub's description");
        assert_eq!(
            self.dispatched_for_peers_only(),
            Vec::<String>::new(),
            "dispatched though for peers alone"
        );
    }
}
