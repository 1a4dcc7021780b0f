//! What documents expect to be there: somebody's checkouts, programs and older state, and a GitHub where their repositories are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::json;
use tokio::runtime::Runtime;
use wfengine_tests::standin::{Options, RepositoryOptions, Standin, StandinClock, TokenKind};

use crate::checkout;
use crate::netns::Host;

/// A workflow that is tagged for peers, and takes an input.
const WORKFLOW: &str = "name: CI\n# P2P: p2p-eligible\non:\n  push:\n  workflow_dispatch:\n    inputs:\n      level:\n        default: info\njobs:\n  ci:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: cat data.txt\n";
const PATH: &str = ".github/workflows/ci.yml";
/// A program that does tasks.
const MAKE_REPORT: &str = "#!/bin/sh\ncat >/dev/null\necho '{\"pages\": 3}'\n";

/// A GitHub on a host.
struct Github {
    standin: Standin,
    _runtime: Runtime,
}

pub(crate) struct Surroundings {
    github: Option<Github>,
    /// What the shells of the document have in their environment.
    pub(crate) variables: Vec<(String, String)>,
}

fn put(file: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn copied(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(done.success(), "{} is not copied", from.display());
}

fn git(folder: &Path, words: &[&str]) {
    let done = Command::new("git")
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org"])
        .args(words)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(done.status.success(), "git {words:?}: {done:?}");
}

/// A GitHub that listens on the host's loopback: where a socket was made counts, not who waits at it.
fn github(host: &Host) -> Github {
    let runtime = Runtime::new().unwrap();
    let standin = thread::scope(|scope| {
        let started = scope.spawn(|| {
            host.enter();
            let options = Options { clock: StandinClock::real(), ..Options::default() };
            runtime.block_on(Standin::start(options)).unwrap()
        });
        started.join().unwrap()
    });
    Github { standin, _runtime: runtime }
}

impl Surroundings {
    /// What a document expects.
    pub(crate) fn prepare(document: &str, host: &Host, docker: Option<&Path>) -> Self {
        let desk = host.home().join("desk");
        let mut surroundings = Self { github: None, variables: Vec::new() };
        match document {
            "README.md" => surroundings.of_readme(host, &desk, docker),
            "cli/guide/migration.md" => put(
                &host.home().join(".ipfs_kit/p2p_workflows/coordinator_state_peer-1.json"),
                json!({ "peer_id": "peer-1", "peer_list": ["peer-1"], "workflows": {}, "saved_at": 1.0,
                    "merkle_clock": { "peer_id": "peer-1", "head_hash": null, "logical_clock": 0, "nodes": [] } })
                .to_string(),
            ),
            client if client.starts_with("engine/") => {
                // its reader stands in its folder
                copied(checkout().join(client).parent().unwrap(), &desk);
            }
            // its reader stands in a clone
            _ => {
                fs::create_dir_all(desk.join("engine/api")).unwrap();
                copied(&checkout().join("engine/api/clients"), &desk.join("engine/api/clients"));
            }
        }
        surroundings
    }

    fn of_readme(&mut self, host: &Host, desk: &Path, docker: Option<&Path>) {
        put(&desk.join("make-report"), MAKE_REPORT);
        fs::set_permissions(desk.join("make-report"), fs::Permissions::from_mode(0o755)).unwrap();
        let app = host.home().join("src/app");
        put(&app.join(PATH), WORKFLOW);
        put(&app.join("data.txt"), "data\n");
        git(&app, &["init", "--quiet", "-b", "main"]);
        git(&app, &["add", "--all"]);
        git(&app, &["commit", "--quiet", "-m", "first"]);
        let github = github(host);
        github.standin.add_user("YOU");
        let options = RepositoryOptions { is_private: true, ..RepositoryOptions::default() };
        github.standin.add_repository("YOU/REPO", &options);
        let files = [(PATH, Some(WORKFLOW.as_bytes())), ("data.txt", Some(b"data\n".as_slice()))];
        github.standin.push("YOU/REPO", "main", &files, "first");
        let mut set = |name: &str, value: String| self.variables.push((name.to_owned(), value));
        set("GITHUB_TOKEN", github.standin.token(&TokenKind::classic("YOU")));
        set("GITHUB_API_URL", github.standin.base_url());
        if let Some(socket) = docker {
            set("DOCKER_HOST", format!("unix://{}", socket.display()));
        }
        self.github = Some(github);
    }

    /// What holds after every document.
    pub(crate) fn is_content(&self) {
        if let Some(github) = &self.github {
            assert_eq!(github.standin.requests_during_limits().len(), 0);
            assert_eq!(github.standin.contract_problems(), [""; 0]);
        }
    }
}
