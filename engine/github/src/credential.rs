//! Whose name requests carry, and where that was found.
//!
//! [`find`] looks in a fixed order and takes the first it finds: a file named by hand, the environment, an app's key, the `gh`
//! program. It makes no request: whether a token is any good is for GitHub to say.
//!
//! Invariants: a token meant for github.com is not offered to another host; no error and no warning holds a token; what keys
//! the cache ([`Credential::identity`]) is a hash.

mod gh_program;

use std::{
    ffi::OsString,
    fmt,
    io::Read,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// A token or key longer than this is none.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Reads a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// How requests are authenticated.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A token: personal, of an installation, of a workflow run.
    Token(Secret, TokenOrigin),
    /// The key of a GitHub App, which gets itself tokens.
    App(AppKey),
    /// None: 60 requests an hour, public repositories only.
    Anonymous,
}

/// What is needed to act as a GitHub App.
#[derive(Clone, Debug)]
pub struct AppKey {
    /// The app's id.
    pub app_id: u64,
    /// Its private key, PEM.
    pub key: Secret,
    /// The installation to act for. Without it the app must have exactly one.
    pub installation: Option<u64>,
    /// The file that the key was read from.
    pub file: Option<FileSeen>,
}

/// Where a token was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenOrigin {
    /// A file named by hand.
    File(FileSeen),
    /// A variable of the environment.
    Environment(&'static str),
    /// The `gh` program.
    GhProgram,
    /// Brought by the caller.
    Given,
}

/// A file that held a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSeen {
    /// Where it is.
    pub path: PathBuf,
    /// Others on this host may read it.
    pub is_open_to_others: bool,
}

impl fmt::Display for TokenOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::GhProgram => f.write_str("the gh program"),
            Self::Given => f.write_str("the caller"),
        }
    }
}

/// Why there is no credential, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Nothing was found anywhere.
    #[error(
        "no GitHub token for {host}: set {variable}, or run `gh auth login --hostname {host}`, or give --token-file FILE"
    )]
    None {
        /// The host asked for.
        host: String,
        /// The variable to set.
        variable: &'static str,
    },
    /// A file could not be read.
    #[error("{}: {problem}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// What was found is no token.
    #[error(
        "{origin} holds no token but something with spaces, line breaks or other characters that no token has"
    )]
    NoToken {
        /// Where it was found.
        origin: String,
    },
    /// The variables of an app are not complete or not well formed.
    #[error("{name}: {problem}")]
    App {
        /// Which variable.
        name: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The `gh` program is there and did not answer.
    #[error("`gh auth token` did not end within 5 s; set {variable} instead")]
    GhProgram {
        /// The variable to set.
        variable: &'static str,
    },
}

impl Credential {
    /// A token that the caller brings.
    pub fn token(text: impl Into<std::sync::Arc<str>>) -> Self {
        Self::Token(Secret::new(text), TokenOrigin::Given)
    }

    /// What tells this credential from others without giving it away: a hash of the token, or of the app and its installation.
    pub fn identity(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        match self {
            Self::Token(token, _) => {
                hash.update(b"wfengine/github-token/v1");
                hash.update(token.expose().as_bytes());
            }
            Self::App(app) => {
                hash.update(b"wfengine/github-app/v1");
                hash.update(app.app_id.to_le_bytes());
                hash.update(app.installation.unwrap_or(0).to_le_bytes());
            }
            Self::Anonymous => hash.update(b"wfengine/github-anonymous/v1"),
        }
        hash.finalize().into()
    }

    /// What the user should be told about how the secret is kept.
    pub fn warning(&self) -> Option<String> {
        let file = match self {
            Self::Token(_, TokenOrigin::File(file)) => Some(file),
            Self::App(app) => app.file.as_ref(),
            Self::Token(..) | Self::Anonymous => None,
        };
        file.filter(|file| file.is_open_to_others).map(|file| {
            let path = file.path.display();
            format!("{path} can be read by others on this host; run `chmod 600 {path}`")
        })
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_, origin) => write!(f, "a token from {origin}"),
            Self::App(app) => write!(f, "app {}", app.app_id),
            Self::Anonymous => f.write_str("no token"),
        }
    }
}

/// Finds the credential for a web host (`github.com`, or that of an own server, with its port if it has one). It may wait up to
/// 5 seconds for the `gh` program, so it is called before the event loop runs or off it.
pub fn find(
    env: Environment<'_>,
    host: &str,
    token_file: Option<&Path>,
) -> Result<Credential, CredentialError> {
    if let Some(path) = token_file {
        let (text, file) = read(path)?;
        let token = token(&text, || path.display().to_string())?;
        return Ok(Credential::Token(token, TokenOrigin::File(file)));
    }
    for name in token_variables(env, host) {
        if let Some(text) = variable(env, name) {
            return Ok(Credential::Token(token(&text, || name.to_owned())?, TokenOrigin::Environment(name)));
        }
    }
    if let Some(app) = app(env)? {
        return Ok(Credential::App(app));
    }
    match gh_program::token(env, host) {
        gh_program::Outcome::Token(text) => {
            let token = token(&text, || "the gh program".to_owned())?;
            Ok(Credential::Token(token, TokenOrigin::GhProgram))
        }
        gh_program::Outcome::TooSlow => Err(CredentialError::GhProgram { variable: "WFENGINE_GITHUB_TOKEN" }),
        gh_program::Outcome::None => {
            let variable = if is_github(host) { "GITHUB_TOKEN" } else { "GH_ENTERPRISE_TOKEN" };
            Err(CredentialError::None { host: host.to_owned(), variable })
        }
    }
}

/// github.com and its tenants, for which `gh` and others use the same variables.
fn is_github(host: &str) -> bool {
    host == "github.com" || host.ends_with(".ghe.com")
}

/// Which variables may hold a token for this host, the first to be taken first. `GITHUB_TOKEN` serves another host only where
/// the environment itself names that host beside it, as a workflow run on an own server does.
fn token_variables(env: Environment<'_>, host: &str) -> Vec<&'static str> {
    let mut names = vec!["WFENGINE_GITHUB_TOKEN"];
    let is_named = || {
        ["GITHUB_SERVER_URL", "GITHUB_API_URL"].iter().filter_map(|name| variable(env, name)).any(|url| {
            let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            rest.split('/').next().is_some_and(|named| named.eq_ignore_ascii_case(host))
        })
    };
    if is_github(host) || is_named() {
        names.extend(["GITHUB_TOKEN", "GH_TOKEN"]);
    }
    if !is_github(host) {
        names.extend(["GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN"]);
    }
    names
}

/// The value of a variable; empty is not set.
fn variable(env: Environment<'_>, name: &str) -> Option<String> {
    let value = env(name)?.into_string().unwrap_or_else(|value| value.to_string_lossy().into_owned());
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn token(text: &str, origin: impl FnOnce() -> String) -> Result<Secret, CredentialError> {
    let text = text.trim();
    let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(Secret::new(text)) } else { Err(CredentialError::NoToken { origin: origin() }) }
}

fn app(env: Environment<'_>) -> Result<Option<AppKey>, CredentialError> {
    const ID: &str = "WFENGINE_GITHUB_APP_ID";
    const KEY: &str = "WFENGINE_GITHUB_APP_KEY";
    const FILE: &str = "WFENGINE_GITHUB_APP_KEY_FILE";
    const INSTALLATION: &str = "WFENGINE_GITHUB_APP_INSTALLATION";
    let Some(id) = variable(env, ID) else { return Ok(None) };
    let number = |name, text: String| {
        text.parse::<u64>().map_err(|_| CredentialError::App { name, problem: "is no number" })
    };
    let app_id = number(ID, id)?;
    let installation = variable(env, INSTALLATION).map(|text| number(INSTALLATION, text)).transpose()?;
    let (key, file, name) = match (variable(env, KEY), env(FILE).filter(|path| !path.is_empty())) {
        // a PEM in one line, as it often stands in an environment
        (Some(key), _) => (key.replace("\\n", "\n"), None, KEY),
        (None, Some(path)) => {
            let (key, file) = read(Path::new(&path))?;
            (key, Some(file), FILE)
        }
        (None, None) => {
            let problem = "is set, but neither WFENGINE_GITHUB_APP_KEY nor WFENGINE_GITHUB_APP_KEY_FILE is";
            return Err(CredentialError::App { name: ID, problem });
        }
    };
    if !key.contains("PRIVATE KEY-----") {
        return Err(CredentialError::App { name, problem: "holds no private key in PEM form" });
    }
    Ok(Some(AppKey { app_id, key: Secret::new(key), installation, file }))
}

/// Reads a file of bounded length that holds a secret.
fn read(path: &Path) -> Result<(String, FileSeen), CredentialError> {
    let fail = |problem: String| CredentialError::File { path: path.to_owned(), problem };
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    let metadata = file.metadata().map_err(|error| fail(error.to_string()))?;
    if metadata.is_dir() {
        return Err(fail("is a folder".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| fail(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail("is larger than 64 KiB, which no token or key is".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| fail("is not text".to_owned()))?;
    Ok((text, FileSeen { path: path.to_owned(), is_open_to_others: is_open_to_others(&metadata) }))
}

#[cfg(unix)]
fn is_open_to_others(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.is_file() && metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PEM: &str = "-----BEGIN RSA PRIVATE KEY-----\\nAAAA\\n-----END RSA PRIVATE KEY-----";

    fn found(variables: &[(&str, &str)], host: &str) -> Result<Credential, CredentialError> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        find(&|name| variables.get(name).map(OsString::from), host, None)
    }

    fn origin(variables: &[(&str, &str)], host: &str) -> String {
        found(variables, host).map_or_else(|error| error.to_string(), |credential| credential.to_string())
    }

    #[test]
    fn the_more_particular_variable_wins() {
        let all = [("GH_TOKEN", "c"), ("GITHUB_TOKEN", "b"), ("WFENGINE_GITHUB_TOKEN", "a")];
        assert_eq!(origin(&all, "github.com"), "a token from WFENGINE_GITHUB_TOKEN");
        assert_eq!(origin(&all[..2], "github.com"), "a token from GITHUB_TOKEN");
        assert_eq!(origin(&all[..1], "acme.ghe.com"), "a token from GH_TOKEN");
        let app = [("WFENGINE_GITHUB_APP_ID", "7"), ("WFENGINE_GITHUB_APP_KEY", PEM), ("GITHUB_TOKEN", "")];
        assert_eq!(origin(&app, "github.com"), "app 7", "an empty variable is none");
    }

    #[test]
    fn a_token_for_github_is_not_offered_to_another_host() {
        let all = [("GITHUB_TOKEN", "b"), ("GH_ENTERPRISE_TOKEN", "e")];
        assert_eq!(origin(&all, "git.acme.test"), "a token from GH_ENTERPRISE_TOKEN");
        assert!(origin(&all[..1], "git.acme.test").contains("set GH_ENTERPRISE_TOKEN"));
        let named = [("GITHUB_TOKEN", "b"), ("GITHUB_API_URL", "https://git.acme.test/api/v3")];
        assert_eq!(origin(&named, "git.acme.test"), "a token from GITHUB_TOKEN");
        assert!(origin(&[("GH_ENTERPRISE_TOKEN", "e")], "github.com").contains("set GITHUB_TOKEN"));
    }

    #[test]
    fn without_anything_one_line_says_what_to_do() {
        let error = origin(&[], "github.com");
        assert!(error.contains("gh auth login") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn what_is_no_token_is_refused_without_showing_it() {
        for wrong in ["two words", "line\nbreak", "é"] {
            let error = origin(&[("GITHUB_TOKEN", wrong)], "github.com");
            assert!(error.starts_with("GITHUB_TOKEN holds no token") && !error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn an_app_needs_a_number_and_a_key() {
        assert!(origin(&[("WFENGINE_GITHUB_APP_ID", "x")], "github.com").contains("is no number"));
        assert!(origin(&[("WFENGINE_GITHUB_APP_ID", "1")], "github.com").contains("is set, but neither"));
        let no_pem = [("WFENGINE_GITHUB_APP_ID", "1"), ("WFENGINE_GITHUB_APP_KEY", "x")];
        assert!(origin(&no_pem, "github.com").contains("no private key"));
        let whole = [("WFENGINE_GITHUB_APP_ID", "1"), ("WFENGINE_GITHUB_APP_KEY", PEM)];
        let Ok(Credential::App(app)) = found(&whole, "github.com") else { panic!("no app") };
        assert!(app.key.expose().contains("\nAAAA\n") && !format!("{app:?}").contains("AAAA"));
    }

    #[test]
    fn a_file_is_read_within_bounds_and_its_mode_is_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "ghp_x\n").expect("a file");
        let none = |_: &str| None;
        let open = find(&none, "github.com", Some(&path)).expect("a token");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("a mode");
            let open = find(&none, "github.com", Some(&path)).expect("a token");
            assert!(open.warning().is_some_and(|warning| warning.contains("chmod 600")));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
            assert_eq!(find(&none, "github.com", Some(&path)).expect("a token").warning(), None);
        }
        assert!(!format!("{open:?}").contains("ghp_x"));
        std::fs::write(&path, "x".repeat((64 << 10) + 1)).expect("a file");
        let error = find(&none, "github.com", Some(&path)).expect_err("too large");
        assert!(error.to_string().contains("larger than 64 KiB"), "{error}");
        assert!(find(&none, "github.com", Some(folder.path())).is_err(), "a folder");
        assert!(find(&none, "github.com", Some(&folder.path().join("gone"))).is_err());
    }

    #[test]
    fn identities_differ_and_hold_no_token() {
        let identities = [Credential::token("a").identity(), Credential::token("b").identity()];
        assert_ne!(identities[0], identities[1]);
        assert_ne!(Credential::Anonymous.identity(), identities[0]);
        assert_eq!(Credential::token("a").identity(), identities[0]);
    }
}
