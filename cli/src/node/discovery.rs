//! Discovery in this node: what it looks at, with which credential, and the loop that looks.
//!
//! The crate `wfengine-discovery` looks and plans; here are the node's log, clock and place for it, and the settings of this host. A
//! token is read when it is needed and kept by nobody but the client that uses it.

mod host;
mod service;
mod wishes;

use std::sync::Arc;

use wfengine_api::{Environment, Failure, GithubWishes};
pub(crate) use wfengine_discovery::Dispatch;
use wfengine_discovery::source::{Connection, FolderSource, GithubSource, Source};
use wfengine_discovery::{Discovery, Options, Report, Scope};
use wfengine_github::settings::Given;
use wfengine_github::{Bucket, Budget, Client, Settings, credential};
use wfengine_store::KeyedCache;

use super::{Node, held};
pub(crate) use host::NodeHost;
pub(crate) use service::{begin, monitor};
pub(crate) use wishes::{Wishes, environment, github_wishes};

/// Bytes of the cache on disk.
const CACHE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of the answers of GitHub on disk: a thousand repositories of some thousand files each.
const ANSWERS_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// A cache that is opened at first use.
pub(super) type KeptCache = std::sync::Mutex<Option<Arc<KeyedCache>>>;

/// Clients by where they go and who asks: all that speak to one GitHub under one credential share its limits.
pub(crate) type Clients = std::collections::BTreeMap<(String, [u8; 32]), Client>;

impl Node {
    /// What discovery remembers to save work, opened at first use.
    pub(crate) fn cache(&self) -> Result<Arc<KeyedCache>, Failure> {
        self.open_cache(&self.cache, "cache.redb", CACHE_BYTES_MAX)
    }

    /// Answers of GitHub. Whole trees are among them, so they have a bound of their own: they must not crowd out what is small.
    pub(crate) fn github_answers(&self) -> Result<Arc<KeyedCache>, Failure> {
        self.open_cache(&self.github_answers, "answers.redb", ANSWERS_BYTES_MAX)
    }

    /// What is left of the limits of every GitHub and credential that this node speaks with.
    pub(crate) fn github_budgets(&self) -> Vec<(Bucket, Budget)> {
        held(&self.clients).values().flat_map(Client::budgets).collect()
    }

    fn open_cache(&self, kept: &KeptCache, name: &str, bytes_max: u64) -> Result<Arc<KeyedCache>, Failure> {
        let mut kept = held(kept);
        if let Some(open) = &*kept {
            return Ok(Arc::clone(open));
        }
        let open = Arc::new(KeyedCache::open(&self.home.data.path().join(name), bytes_max)?);
        *kept = Some(Arc::clone(&open));
        Ok(open)
    }
}

/// The way to the GitHub that is wished.
pub(crate) async fn connect(
    node: &Arc<Node>,
    wishes: &Wishes,
    variables: &Environment,
    host: &NodeHost,
) -> Result<(Connection, Vec<String>), Failure> {
    let env = |name: &str| variables.get(name).map(std::ffi::OsString::from);
    let github = &wishes.github;
    let given =
        Given { api: github.api.as_deref(), ca_file: github.ca_file.as_deref(), insecure: github.insecure };
    let settings = Settings::find(&env, given).map_err(|error| Failure::bad_input(error.to_string()))?;
    // the gh program is a process that may take its time
    let (name, file, variables) = (settings.host().to_owned(), github.token_file.clone(), variables.clone());
    let found = tokio::task::spawn_blocking(move || {
        let env = |name: &str| variables.get(name).map(std::ffi::OsString::from);
        credential::find(&env, &name, file.as_deref())
    });
    let found =
        found.await.map_err(|error| Failure::bad_input(format!("BUG: looking for a token: {error}")))?;
    let credential = found.map_err(|error| Failure::refused(error.to_string()))?;
    let notes: Vec<String> = credential.warning().into_iter().collect();
    let key = (settings.api.to_string(), credential.identity());
    let connection = |client: Client| Connection {
        host: client.settings().host().to_owned(),
        client,
        git: host.git_program(),
        mirrors: node.home.data.path().join("mirrors"),
    };
    if let Some(client) = held(&node.clients).get(&key) {
        return Ok((connection(client.clone()), notes));
    }
    let seed = u64::from_le_bytes(crate::home::random()?);
    let cache = Arc::new(host::Answers(node.github_answers()?));
    let clock = Arc::new(wfengine_github::SystemClock);
    let client = Client::new(settings, &credential, clock, cache, seed);
    let client = client.map_err(|error| Failure::bad_input(error.to_string()))?;
    held(&node.clients).insert(key, client.clone());
    Ok((connection(client), notes))
}

/// Discovery as it is wished, and remarks for people.
pub(crate) async fn discovery(
    node: &Arc<Node>,
    wishes: &Wishes,
    variables: &Environment,
    by_turns: bool,
    dry_run: bool,
) -> Result<(Discovery<NodeHost>, Option<Connection>, Vec<String>), Failure> {
    let host = Arc::new(NodeHost::new(node, variables)?);
    let scopes = wishes.scopes()?;
    let (folders, remote): (Vec<Scope>, Vec<Scope>) =
        scopes.into_iter().partition(|scope| !scope.is_remote());
    let mut sources = Vec::new();
    for scope in folders {
        if let Scope::Path(path) = scope {
            sources.push(Source::Folder(FolderSource::new(path, host.git_program(), node.peer_id())));
        }
    }
    let (mut connection, mut notes) = (None, Vec::new());
    if !remote.is_empty() {
        let (found, said) = connect(node, wishes, variables, &host).await?;
        sources.push(Source::Github(Box::new(GithubSource::new(found.clone(), remote))));
        (connection, notes) = (Some(found), said);
    }
    let options = Options {
        since_days: wishes.since_days,
        dry_run,
        by_turns,
        policies: wishes.policies.clone(),
        priorities: wishes.priorities,
        shares_sources: !wishes.no_share,
        ..Options::default()
    };
    Ok((Discovery::new(host, sources, options), connection, notes))
}

/// One round.
pub(crate) async fn once(
    node: &Arc<Node>,
    wishes: &Wishes,
    variables: &Environment,
    dry_run: bool,
) -> Result<(Report, Vec<String>), Failure> {
    let (mut discovery, _, notes) = discovery(node, wishes, variables, false, dry_run).await?;
    let _round = node.discovering.lock().await;
    let mut report = discovery.round().await;
    report.scopes = wishes.scopes()?.iter().map(ToString::to_string).collect();
    Ok((report, notes))
}

/// Starts a workflow because somebody asks for it. Says its run, and remarks for people.
pub(crate) async fn dispatch(
    node: &Arc<Node>,
    wanted: Dispatch<'_>,
    github: GithubWishes,
    variables: &Environment,
) -> Result<(wfengine_storage_format::RunId, Vec<String>), Failure> {
    let watched = node.settings().discovery;
    let of_github = {
        let views = node.watcher().views();
        let same = |known: &&wfengine_core::views::repositories::Repository| {
            known.name.eq_ignore_ascii_case(wanted.repository) && known.key.source == "path"
        };
        views.repositories().all().find(same).is_none()
    };
    let github = if watched.on { github.or(watched.github.clone()) } else { github };
    let mut wishes = Wishes { github, no_share: watched.no_share, ..Wishes::default() };
    if of_github {
        wishes.repositories.insert(wanted.repository.to_owned());
    } else {
        wishes.paths = watched.paths;
        if wishes.paths.is_empty() {
            return Err(Failure::refused(format!(
                "{} is a checkout in a folder that this host does not watch: `wfengine discover watch --path DIR`",
                wanted.repository
            )));
        }
    }
    let (mut discovery, _, mut notes) = discovery(node, &wishes, variables, false, false).await?;
    let (run, report) =
        discovery.dispatch(wanted).await.map_err(|error| Failure::refused(error.to_string()))?;
    notes.extend(report.problems.iter().map(|problem| format!("{}: {}", problem.repository, problem.what)));
    Ok((run, notes))
}
