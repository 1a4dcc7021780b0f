//! One round of discovery, and the machine that makes rounds: looks at repositories, writes what is new, and starts what is due.

mod dispatch;
mod start;
mod submit;
mod visit;

pub use dispatch::{Dispatch, DispatchError};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use wfengine_core::views::repositories::{Repository as KnownRepository, RepositoryKey};
use wfengine_storage_format::PeerId;

use crate::host::Host;
use crate::memory::Memory;
use crate::policy::{Policies, Priorities};
use crate::report::{Report, WorkflowLine};
use crate::scope::{Scope, covers};
use crate::source::{Listed, Source, Unlisted};

/// What is wished of a round.
#[derive(Clone, Debug)]
pub struct Options {
    /// Repositories without a push for so many days are not looked at again. The first look is at all of them.
    pub since_days: Option<u32>,
    /// Look and report, write nothing.
    pub dry_run: bool,
    /// Leave a repository to the member whose turn it is, if that member looks at it and lives.
    pub by_turns: bool,
    /// When found workflows are submitted.
    pub policies: Policies,
    /// How urgently.
    pub priorities: Priorities,
    /// Keep the files of a commit that is to run as a blob, so that members without access to the repository can run it.
    pub shares_sources: bool,
    /// Bytes of such a blob at most.
    pub sources_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            since_days: None,
            dry_run: false,
            by_turns: false,
            policies: Policies::default(),
            priorities: Priorities::default(),
            shares_sources: true,
            sources_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Looks for workflows on behalf of one node.
#[derive(Debug)]
pub struct Discovery<H> {
    host: Arc<H>,
    sources: Vec<Source>,
    options: Options,
    memory: Memory,
    /// Rounds that were made.
    rounds: usize,
    /// Looks at repositories, and listings of scopes, that failed one after the other.
    stumbles: BTreeMap<RepositoryKey, u32>,
    /// When the next schedule comes due, as of the last round.
    next_schedule: Option<(u64, BTreeSet<String>)>,
}

/// The wall clock before and after, for a report.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl<H: Host> Discovery<H> {
    /// Discovery over these sources.
    pub fn new(host: Arc<H>, sources: Vec<Source>, options: Options) -> Self {
        Self {
            host,
            sources,
            options,
            memory: Memory::default(),
            rounds: 0,
            stumbles: BTreeMap::new(),
            next_schedule: None,
        }
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// One round over everything.
    pub async fn round(&mut self) -> Report {
        self.round_over(|_| true).await
    }

    /// A round over some repositories, by name: something hints that they changed.
    pub async fn round_of(&mut self, names: &BTreeSet<String>) -> Report {
        let hinted =
            |listed: &Listed| names.iter().any(|name| name.eq_ignore_ascii_case(&listed.repository.name));
        self.round_over(hinted).await
    }

    /// When the next schedule comes due of the workflows that the last rounds saw, in seconds since 1970, and whose repositories'
    /// it is. Of an instant that is past, what comes after it.
    pub fn next_schedule(&mut self) -> Option<(u64, BTreeSet<String>)> {
        let now_s = self.host.wall_ms() / 1_000;
        if self.next_schedule.as_ref().is_some_and(|(due_s, _)| *due_s <= now_s) {
            self.next_schedule = self.find_next_schedule(now_s);
        }
        self.next_schedule.clone()
    }

    fn find_next_schedule(&mut self, now_s: u64) -> Option<(u64, BTreeSet<String>)> {
        let found: Vec<(String, String, wfengine_storage_format::BlobId)> = {
            let views = self.host.watcher().views();
            let scopes: Vec<String> =
                self.sources.iter().flat_map(Source::scopes).map(|scope| scope.to_string()).collect();
            let all = views.repositories().all();
            let own = all.filter(|known| scopes.iter().any(|scope| covers(scope, &known.reference())));
            own.flat_map(|known| {
                known.workflows.iter().map(|(path, found)| (known.name.clone(), path.clone(), found.source))
            })
            .collect()
        };
        let mut next: Option<(u64, BTreeSet<String>)> = None;
        for (name, path, blob) in found {
            if !self.options.policies.of(&name).runs_triggers() {
                continue;
            }
            let Some(tagged) = self.memory.tagged(self.host.blobs(), &blob, &path) else { continue };
            let Some(due_s) = crate::plan::next_schedule(&tagged.triggers, now_s) else { continue };
            match &mut next {
                Some((at, names)) if *at == due_s => {
                    names.insert(name);
                }
                Some((at, _)) if *at < due_s => {}
                _ => next = Some((due_s, BTreeSet::from([name]))),
            }
        }
        next
    }

    async fn round_over(&mut self, is_wanted: impl Fn(&Listed) -> bool) -> Report {
        let began = self.host.wall_ms();
        let mut report = Report { dry_run: self.options.dry_run, ..Report::default() };
        let mut sources = std::mem::take(&mut self.sources);
        let mut looked_at = BTreeSet::new();
        for source in &mut sources {
            let before = source.requests();
            let is_new = |listed: &Listed| {
                let known = self.known(&RepositoryKey::of(&listed.repository));
                known.is_none_or(|known| known.seen.is_none())
            };
            for listed in source.list(&mut report, is_new).await {
                // two scopes may name the same
                if is_wanted(&listed) && looked_at.insert(RepositoryKey::of(&listed.repository)) {
                    self.consider(source, &listed, &mut report).await;
                }
            }
            for Unlisted { scope, why, is_passing } in source.unlisted() {
                self.give_up_turns(&scope, &why, is_passing, &mut report).await;
            }
            let after = source.requests();
            report.requests.total += after.total - before.total;
            report.requests.not_modified += after.not_modified - before.not_modified;
            report.requests.graphql_points += after.graphql_points - before.graphql_points;
        }
        self.sources = sources;
        self.rounds = self.rounds.wrapping_add(1);
        self.next_schedule = self.find_next_schedule(self.host.wall_ms() / 1_000);
        self.host.cache().flush();
        report.took_ms = milliseconds(Duration::from_millis(self.host.wall_ms().saturating_sub(began)));
        report
    }

    /// What the views know of a repository.
    fn known(&self, key: &RepositoryKey) -> Option<KnownRepository> {
        self.host.watcher().views().repositories().get(key).cloned()
    }

    /// Looks at a repository, unless there is a reason not to.
    async fn consider(&mut self, source: &mut Source, listed: &Listed, report: &mut Report) {
        let key = RepositoryKey::of(&listed.repository);
        let known = self.known(&key);
        let name = &listed.repository.name;
        if let Some((why, is_mine)) = self.reason_to_leave(listed, known.as_ref()) {
            report.skip(name, &why);
            // what was found there before is still there
            for (path, found) in known.iter().flat_map(|known| &known.workflows) {
                let status = "known".to_owned();
                report.workflows.push(line(name, path, &found.name, &found.tags, &found.remarks, status));
            }
            if let Some(known) = known.filter(|_| is_mine) {
                self.tick(source, listed, &known, report).await;
            }
            return;
        }
        report.repositories.push(name.clone());
        self.visit(source, listed, known.as_ref(), report).await;
    }

    /// Why a repository is not looked at, if so, and whether its schedules are this node's all the same.
    fn reason_to_leave(&self, listed: &Listed, known: Option<&KnownRepository>) -> Option<(String, bool)> {
        if self.options.by_turns && self.host.place_for(&listed.duty(), &self.lookers(listed, known)) > 0 {
            return Some(("another member looks at it".to_owned(), false));
        }
        let seen = known.is_some_and(|known| known.seen.is_some());
        if let (Some(days), Some(pushed_s), true) = (self.options.since_days, listed.pushed_s, seen) {
            let now_s = self.host.wall_ms() / 1_000;
            let is_old = pushed_s.saturating_add(u64::from(days) * 86_400) < now_s;
            // what was pushed while nobody looked is looked at once, however long ago that was
            let key = RepositoryKey::of(&listed.repository);
            if is_old && self.memory.pushed_s(self.host.cache(), &key) == Some(pushed_s) {
                return Some((format!("no push for {days} days"), true));
            }
        }
        None
    }

    /// The members that look at this repository and saw it when they looked last.
    fn lookers(&self, listed: &Listed, known: Option<&KnownRepository>) -> Vec<PeerId> {
        let views = self.host.watcher().views();
        let saw =
            |peer: &PeerId| known.and_then(|known| known.looks.get(peer)).is_some_and(|look| look.saw());
        let watchers = views.repositories().watchers();
        let looks = watchers.filter(|(peer, said)| {
            saw(peer) && said.scopes.iter().any(|scope| covers(scope, &listed.repository))
        });
        looks.map(|(peer, _)| *peer).collect()
    }

    /// Whether other members are to look at a repository as well.
    fn is_for_others(&self, listed: &Listed) -> bool {
        let views = self.host.watcher().views();
        let mut others = views.repositories().watchers().filter(|(peer, _)| **peer != self.host.peer());
        others.any(|(_, said)| said.scopes.iter().any(|scope| covers(scope, &listed.repository)))
    }

    /// What this node cannot even list is not its to look at: whoever else watches it takes over.
    async fn give_up_turns(&mut self, scope: &Scope, why: &str, is_passing: bool, report: &mut Report) {
        let (own, text) = (self.host.peer(), scope.to_string());
        let held: Vec<KnownRepository> = {
            let views = self.host.watcher().views();
            let saw = |known: &&KnownRepository| known.looks.get(&own).is_some_and(|look| look.saw());
            let covered = |known: &&KnownRepository| covers(&text, &known.reference());
            views.repositories().all().filter(saw).filter(covered).cloned().collect()
        };
        for known in held {
            let listed =
                Listed { repository: known.reference(), default_branch: None, pushed_s: None, folder: None };
            if is_passing {
                self.stumble(&listed, Some(&known), report).await;
            } else if self.is_for_others(&listed) {
                self.write_failure(&listed, Some(&known), why, report).await;
            }
        }
    }
}

/// A tagged workflow as the report shows it.
pub(crate) fn line(
    repository: &str,
    path: &str,
    name: &str,
    tags: &[String],
    remarks: &[String],
    status: String,
) -> WorkflowLine {
    let (owner, repo) = repository.rsplit_once('/').unwrap_or(("", repository));
    WorkflowLine {
        owner: owner.to_owned(),
        repo: repo.to_owned(),
        workflow_id: path.to_owned(),
        workflow_name: name.to_owned(),
        workflow_path: path.to_owned(),
        tags: tags.to_vec(),
        runs: Vec::new(),
        status,
        remarks: remarks.to_vec(),
    }
}

/// Where refs stood, by full name.
pub(crate) type Stood = BTreeMap<String, String>;
