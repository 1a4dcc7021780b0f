//! A git checkout on a host, and a GitHub on the loopback address.

use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::runtime::Runtime;
use wfengine_tests::standin::{Options, RepositoryOptions, Standin, StandinClock, TokenKind};

use crate::house::{House, Live, until};

/// A workflow that checks its repository out and shows a file of it.
pub fn workflow(tags: &str, on: &str) -> String {
    format!(
        "name: Show\n# P2P: {tags}\non: {on}\njobs:\n  show:\n    runs-on: ubuntu-latest\n    steps:\n    - uses: actions/checkout@v4\n    - run: cat data.txt && git rev-parse HEAD && echo '### shown' >> $GITHUB_STEP_SUMMARY\n"
    )
}

pub const PATH: &str = ".github/workflows/show.yml";

/// A checkout.
pub struct Checkout(pub PathBuf);

impl Checkout {
    pub fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let checkout = Self(folder.to_owned());
        checkout.git(&["init", "--quiet", "-b", "main"]);
        checkout
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org"])
            .args(arguments)
            .current_dir(&self.0)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let file = self.0.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", "change"]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// A GitHub with one user, `octo`, and her token.
pub struct Github {
    pub standin: Standin,
    pub token: String,
    _runtime: Runtime,
}

impl Github {
    pub fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let options = Options { clock: StandinClock::real(), ..Options::default() };
        let standin = runtime.block_on(Standin::start(options)).unwrap();
        standin.add_user("octo");
        let token = standin.token(&TokenKind::classic("octo"));
        Self { standin, token, _runtime: runtime }
    }

    pub fn with_repository(name: &str, files: &[(&str, &str)]) -> Self {
        let github = Self::new();
        github.standin.add_repository(name, &RepositoryOptions::default());
        github.push(name, files);
        github
    }

    pub fn push(&self, name: &str, files: &[(&str, &str)]) -> String {
        let files: Vec<(&str, Option<&[u8]>)> =
            files.iter().map(|(path, text)| (*path, Some(text.as_bytes()))).collect();
        self.standin.push(name, "main", &files, "change")
    }

    /// A command of a house that knows the way here.
    pub fn command(&self, house: &House, arguments: &[&str]) -> Command {
        let mut command = house.command(arguments);
        command.env("GITHUB_TOKEN", &self.token).env("GITHUB_API_URL", self.standin.base_url());
        command.env("WFENGINE_LOG", "info");
        command
    }

    pub fn serve(&self, house: &House) -> Live {
        let mut live = Live::start(self.command(house, &["serve", "--listen", "127.0.0.1:0", "--no-lan"]));
        live.wait_for("serves on UDP");
        live
    }

    /// Waits until something is so at GitHub.
    pub fn until<T>(&self, what: &str, look: impl Fn(&Standin) -> Option<T>) -> T {
        until(what, || look(&self.standin))
    }

    /// What must hold whatever happened.
    pub fn is_content(&self) {
        assert_eq!(self.standin.requests_during_limits().len(), 0);
        assert_eq!(self.standin.contract_problems(), [""; 0]);
        assert!(self.standin.dispatches().iter().all(|dispatched| !dispatched.is_for_peers_only));
    }
}
