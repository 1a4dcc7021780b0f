//! What this host's discovery is to do: as a command says it, and as the settings keep it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wfengine_api::{Environment, Failure, GithubWishes};
use wfengine_discovery::{Doubles, OutsideOptions, Policies, Policy, Priorities, Reports, Scope};
use wfengine_workflow::tags::Tag;

use crate::args::{GithubArgs, LookArgs, WatchArgs};
use crate::submission::{duration_ms, priority_milli};

/// What to look at, and what to do with what is found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Wishes {
    /// Look at something at all.
    pub(crate) on: bool,
    pub(crate) owners: BTreeSet<String>,
    pub(crate) repositories: BTreeSet<String>,
    pub(crate) paths: BTreeSet<PathBuf>,
    pub(crate) interval_s: u64,
    pub(crate) since_days: Option<u32>,
    pub(crate) policies: Policies,
    pub(crate) priorities: Priorities,
    pub(crate) no_share: bool,
    pub(crate) github: GithubWishes,
    pub(crate) outside: OutsideWishes,
    pub(crate) webhook: Option<WebhookWishes>,
}

/// What may be done at GitHub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OutsideWishes {
    pub(crate) reports: Reports,
    pub(crate) doubles: Doubles,
    pub(crate) no_fallback: bool,
    pub(crate) fallback_after_ms: u64,
    pub(crate) arbiter_ref: bool,
    pub(crate) details_url: Option<String>,
}

impl Default for OutsideWishes {
    fn default() -> Self {
        Self {
            reports: Reports::Off,
            doubles: Doubles::Leave,
            no_fallback: false,
            fallback_after_ms: 600_000,
            arbiter_ref: false,
            details_url: None,
        }
    }
}

impl OutsideWishes {
    pub(crate) fn options(&self) -> OutsideOptions {
        OutsideOptions {
            falls_back: !self.no_fallback,
            asks_a_ref: self.arbiter_ref,
            reports: self.reports,
            doubles: self.doubles,
            details_url: self.details_url.clone(),
        }
    }
}

/// Where GitHub's webhooks arrive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct WebhookWishes {
    pub(crate) listen: String,
    pub(crate) secret_file: PathBuf,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            on: false,
            owners: BTreeSet::new(),
            repositories: BTreeSet::new(),
            paths: BTreeSet::new(),
            interval_s: 300,
            since_days: None,
            policies: Policies::default(),
            priorities: Priorities::default(),
            no_share: false,
            github: GithubWishes::default(),
            outside: OutsideWishes::default(),
            webhook: None,
        }
    }
}

/// Shortest and longest time between two looks, in seconds.
pub(crate) const INTERVAL_S: std::ops::RangeInclusive<u64> = 1..=86_400;

fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(&path).map_err(|error| Failure::io("find", &path, &error))
}

/// Which GitHub a command means.
pub(crate) fn github_wishes(args: GithubArgs) -> Result<GithubWishes, Failure> {
    let GithubArgs { token_file, api, ca_file, insecure } = args;
    let (token_file, ca_file) = (token_file.map(absolute).transpose()?, ca_file.map(absolute).transpose()?);
    Ok(GithubWishes { token_file, api, ca_file, insecure })
}

impl Wishes {
    /// What is left open is as the others say.
    pub(crate) fn or(self, others: Self) -> Self {
        let plain = Self::default();
        let (owners, repositories, paths) = if self.names_nothing() {
            (others.owners, others.repositories, others.paths)
        } else {
            (self.owners, self.repositories, self.paths)
        };
        Self {
            owners,
            repositories,
            paths,
            since_days: self.since_days.or(others.since_days),
            policies: if self.policies == plain.policies { others.policies } else { self.policies },
            priorities: if self.priorities == plain.priorities { others.priorities } else { self.priorities },
            no_share: self.no_share || others.no_share,
            github: self.github.or(others.github),
            ..self
        }
    }

    /// What a command says.
    pub(crate) fn of(look: LookArgs, interval_s: u64) -> Result<Self, Failure> {
        if !INTERVAL_S.contains(&interval_s) {
            return Err(Failure::bad_input(format!("--interval {interval_s}: expected 1 to 86400 seconds")));
        }
        let paths = look.scope.path.into_iter().map(absolute).collect::<Result<BTreeSet<_>, _>>()?;
        for path in &paths {
            if !path.is_dir() {
                return Err(Failure::bad_input(format!(
                    "--path {}: there is no such folder",
                    path.display()
                )));
            }
        }
        let wishes = Self {
            on: true,
            owners: look.scope.owner.into_iter().collect(),
            repositories: look.scope.repo.into_iter().collect(),
            paths,
            interval_s,
            since_days: look.since_days,
            policies: policies(&look.policy)?,
            no_share: look.no_share,
            github: github_wishes(look.github)?,
            ..Self::default()
        };
        wishes.scopes()?;
        Ok(wishes)
    }

    /// What `watch` says besides.
    pub(crate) fn watching(args: WatchArgs) -> Result<Self, Failure> {
        let WatchArgs {
            look, interval, report, details_url, no_fallback, fallback_after, arbiter_ref, ..
        } = args;
        let mut wishes = Self::of(look, interval)?;
        wishes.outside = OutsideWishes {
            reports: word(
                "--report",
                &report,
                &[("off", Reports::Off), ("checks", Reports::Checks), ("statuses", Reports::Statuses)],
            )?,
            doubles: word(
                "--doubles",
                &args.doubles,
                &[("leave", Doubles::Leave), ("cancel", Doubles::Cancel), ("disable", Doubles::Disable)],
            )?,
            no_fallback,
            fallback_after_ms: duration_ms("--fallback-after", &fallback_after)?,
            arbiter_ref,
            details_url,
        };
        for text in &args.priority {
            let parts = text.split_once('=').and_then(|(tag, priority)| Some((Tag::parse(tag)?, priority)));
            let priority =
                |text: &str| priority_milli(Some(text), None).map(|milli| milli.unwrap_or_default());
            match parts {
                Some((Tag::P2pOnly, text)) => wishes.priorities.p2p_only = priority(text)?,
                Some((Tag::P2pEligible, text)) => wishes.priorities.p2p_eligible = priority(text)?,
                _ => {
                    return Err(Failure::bad_input(format!(
                        "--priority {text}: expected p2p-only=P or p2p-eligible=P"
                    )));
                }
            }
        }
        wishes.webhook = match (args.webhook, args.webhook_secret_file) {
            (Some(listen), Some(secret_file)) => {
                if listen.parse::<std::net::SocketAddr>().is_err() {
                    return Err(Failure::bad_input(format!(
                        "--webhook {listen}: expected an address and a port, such as 0.0.0.0:8477"
                    )));
                }
                Some(WebhookWishes { listen, secret_file: absolute(secret_file)? })
            }
            _ => None,
        };
        Ok(wishes)
    }

    /// Whether no scope is named.
    pub(crate) fn names_nothing(&self) -> bool {
        self.owners.is_empty() && self.repositories.is_empty() && self.paths.is_empty()
    }

    /// What to look at: what is named, else all that the credential sees.
    pub(crate) fn scopes(&self) -> Result<Vec<Scope>, Failure> {
        let wrong = |error: wfengine_discovery::scope::ScopeError| Failure::bad_input(error.to_string());
        let mut scopes: Vec<Scope> = self.paths.iter().cloned().map(Scope::Path).collect();
        for owner in &self.owners {
            scopes.push(Scope::owner(owner).map_err(wrong)?);
        }
        for repository in &self.repositories {
            scopes.push(Scope::repository(repository).map_err(wrong)?);
        }
        if scopes.is_empty() {
            scopes.push(Scope::All);
        }
        Ok(scopes)
    }
}

/// `POLICY` for all, or `NAME=POLICY` for an owner or a repository.
fn policies(texts: &[String]) -> Result<Policies, Failure> {
    let mut policies = Policies::default();
    for text in texts {
        let parse = |word: &str| -> Result<Policy, Failure> {
            word.parse().map_err(|error| Failure::bad_input(format!("--policy {text}: {error}")))
        };
        match text.split_once('=') {
            Some((name, word)) => {
                policies.by_name.insert(name.to_owned(), parse(word)?);
            }
            None => policies.default = parse(text)?,
        }
    }
    Ok(policies)
}

/// One of a few words.
fn word<T: Copy>(option: &str, text: &str, words: &[(&str, T)]) -> Result<T, Failure> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Failure::bad_input(format!("{option} {text}: expected {}", known.join(", ")))
    })
}

const VARIABLES: [&str; 25] = [
    "PATH",
    "HOME",
    "XDG_CONFIG_HOME",
    "GH_CONFIG_DIR",
    "WFENGINE_GITHUB_TOKEN",
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_ENTERPRISE_TOKEN",
    "WFENGINE_GITHUB_APP_ID",
    "WFENGINE_GITHUB_APP_KEY",
    "WFENGINE_GITHUB_APP_KEY_FILE",
    "WFENGINE_GITHUB_APP_INSTALLATION",
    "WFENGINE_CA_FILE",
    "GITHUB_API_URL",
    "GITHUB_SERVER_URL",
    "DOCKER_HOST",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "all_proxy",
];

/// These variables of this process.
pub(crate) fn environment() -> Environment {
    let read = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    VARIABLES.into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_for_all_or_for_a_name() {
        let texts = ["on-trigger", "octo=manual", "octo/ci=auto"].map(str::to_owned);
        let read = policies(&texts).unwrap();
        assert_eq!(
            (read.of("x/y"), read.of("octo/a"), read.of("octo/ci")),
            (Policy::OnTrigger, Policy::Manual, Policy::Auto)
        );
        assert!(policies(&["octo=never".to_owned()]).unwrap_err().message.contains("--policy octo=never"));
    }

    #[test]
    fn what_is_not_named_is_everything() {
        let mut wishes = Wishes::default();
        assert_eq!(wishes.scopes().unwrap(), [Scope::All]);
        wishes.repositories.insert("a/b".to_owned());
        assert_eq!(wishes.scopes().unwrap(), [Scope::Repository("a/b".to_owned())]);
        wishes.owners.insert("../x".to_owned());
        assert!(wishes.scopes().is_err());
    }
}
