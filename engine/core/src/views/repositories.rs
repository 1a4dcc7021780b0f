//! Repositories: what members saw of them, and who looks.
//!
//! One entity per repository, folded from the looks at it and the workflows found in it, in canonical order. Its events stay in
//! memory, since a changed cut can bring back what later ones replaced; so whoever looks writes only what is news, and of moved
//! branches alone no more than a few words a day.
//!
//! Invariants: nothing here decides who runs a job; wall times are shown, and give schedules their beginning, no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wfengine_storage_format::{
    BlobId, Body, DiscoveryChanged, EventId, PeerId, RepositoryRef, Role, ScanOutcome,
};

use crate::admitted::Admitted;
use crate::authority::Authority;
use crate::digest::DigestSum;

/// What names a repository for good: source and id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RepositoryKey {
    /// The host of a GitHub, or `path`.
    pub source: String,
    /// What names it there.
    pub id: String,
}

impl RepositoryKey {
    /// The key of a repository.
    pub fn of(repository: &RepositoryRef) -> Self {
        Self { source: repository.source.clone(), id: repository.id.clone() }
    }
}

/// One look.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Scan {
    /// The `RepositoryScanned`.
    pub id: EventId,
    /// By whom.
    pub author: PeerId,
    /// When, advisory, milliseconds since 1970.
    pub time_ms: u64,
    /// How far it got.
    pub outcome: ScanOutcome,
    /// The branch that schedules and dispatches run on; empty when unknown.
    pub default_branch: String,
    /// Its commit; empty when unknown.
    pub head: String,
    /// Branches and tags with their commits.
    pub refs: Option<BlobId>,
    /// Workflow files, tagged or not.
    pub files: u32,
    /// Files that cannot be read as workflows.
    pub problems: Vec<(String, String)>,
}

impl Scan {
    /// Whether the look saw the repository.
    pub fn saw(&self) -> bool {
        self.outcome == ScanOutcome::Scanned
    }
}

/// A tagged workflow of a repository.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The `WorkflowFound`.
    pub id: EventId,
    /// By whom.
    pub author: PeerId,
    /// When it had this content first, advisory, milliseconds since 1970. Schedules begin there.
    pub since_ms: u64,
    /// Its content.
    pub source: BlobId,
    /// What people call it.
    pub name: String,
    /// Routing tags and free labels.
    pub tags: Vec<String>,
    /// What people should know.
    pub remarks: Vec<String>,
}

/// A repository as the views show it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Repository {
    /// What names it for good.
    pub key: RepositoryKey,
    /// `owner/name`, as it was called last.
    pub name: String,
    /// The last look that saw it.
    pub seen: Option<Scan>,
    /// Each member's last look.
    pub looks: BTreeMap<PeerId, Scan>,
    /// Its tagged workflows by path.
    pub workflows: BTreeMap<String, Found>,
}

impl Repository {
    fn unknown(key: RepositoryKey) -> Self {
        Self { key, name: String::new(), seen: None, looks: BTreeMap::new(), workflows: BTreeMap::new() }
    }

    /// The repository as events name it.
    pub fn reference(&self) -> RepositoryRef {
        RepositoryRef { source: self.key.source.clone(), id: self.key.id.clone(), name: self.name.clone() }
    }
}

#[derive(Clone, Debug)]
struct Entity {
    /// In canonical order.
    events: Vec<Arc<Admitted>>,
    repository: Repository,
    digest: DigestSum,
}

fn counts(event: &Admitted, authority: &Authority) -> bool {
    authority.roster().counts(&event.chain, event.seq)
        && authority.roster().might(&event.author(), Role::Submitter)
}

impl Entity {
    /// Takes an event in; one that comes last, as nearly all do, costs nothing for those before it.
    fn insert(&mut self, event: &Arc<Admitted>, authority: &Authority) {
        let at = self.events.partition_point(|known| known.order() < event.order());
        if self.events.get(at).is_some_and(|known| known.id == event.id) {
            return;
        }
        let is_last = at == self.events.len();
        self.events.insert(at, Arc::clone(event));
        if !is_last {
            return self.fold(authority);
        }
        if counts(event, authority) {
            fold_event(&mut self.repository, event);
            self.sum();
        }
    }

    fn fold(&mut self, authority: &Authority) {
        self.repository = Repository::unknown(self.repository.key.clone());
        for event in self.events.iter().filter(|event| counts(event, authority)) {
            fold_event(&mut self.repository, event);
        }
        self.sum();
    }

    fn sum(&mut self) {
        self.digest = if self.repository.name.is_empty() {
            DigestSum::default()
        } else {
            DigestSum::of_entity("repository", &postcard::to_stdvec(&self.repository).unwrap_or_default())
        };
    }
}

fn fold_event(repository: &mut Repository, event: &Admitted) {
    if let Some(named) = event.body.repository() {
        repository.name.clone_from(&named.name);
    }
    match &event.body {
        Body::RepositoryScanned(body) => {
            let scan = Scan {
                id: event.id,
                author: event.author(),
                time_ms: event.time.0,
                outcome: body.outcome.clone(),
                default_branch: body.default_branch.clone(),
                head: body.head.clone(),
                refs: body.refs,
                files: body.files,
                problems: body.problems.clone(),
            };
            if scan.saw() {
                repository.seen = Some(scan.clone());
            }
            repository.looks.insert(event.author(), scan);
        }
        Body::WorkflowFound(body) => {
            let before = repository.workflows.get(&body.path).filter(|before| before.source == body.source);
            let since_ms = before.map_or(event.time.0, |before| before.since_ms);
            let found = Found {
                id: event.id,
                author: event.author(),
                since_ms,
                source: body.source,
                name: body.name.clone(),
                tags: body.tags.clone(),
                remarks: body.remarks.clone(),
            };
            repository.workflows.insert(body.path.clone(), found);
        }
        Body::WorkflowVanished(body) => {
            repository.workflows.remove(&body.path);
        }
        _ => {}
    }
}

/// All repositories of a cluster, and who looks at what.
#[derive(Clone, Debug, Default)]
pub struct Repositories {
    entities: BTreeMap<RepositoryKey, Entity>,
    scopes: BTreeMap<PeerId, (Vec<Arc<Admitted>>, Option<DiscoveryChanged>)>,
}

impl Repositories {
    pub(crate) fn apply(&mut self, event: &Arc<Admitted>, authority: &Authority) {
        if matches!(event.body, Body::DiscoveryChanged(_)) {
            return self.apply_scopes(event, authority);
        }
        let Some(repository) = event.body.repository() else { return };
        let key = RepositoryKey::of(repository);
        let entity = self.entities.entry(key.clone()).or_insert_with(|| Entity {
            events: Vec::new(),
            repository: Repository::unknown(key),
            digest: DigestSum::default(),
        });
        entity.insert(event, authority);
    }

    fn apply_scopes(&mut self, event: &Arc<Admitted>, authority: &Authority) {
        let (events, _) = self.scopes.entry(event.author()).or_default();
        let at = events.partition_point(|known| known.order() < event.order());
        if events.get(at).is_some_and(|known| known.id == event.id) {
            return;
        }
        events.insert(at, Arc::clone(event));
        self.refold_scopes(&event.author(), authority);
    }

    fn refold_scopes(&mut self, author: &PeerId, authority: &Authority) {
        let Some((events, said)) = self.scopes.get_mut(author) else { return };
        let counting = |event: &&Arc<Admitted>| authority.roster().counts(&event.chain, event.seq);
        *said = events.iter().rev().find(counting).and_then(|event| match &event.body {
            Body::DiscoveryChanged(body) => Some(body.clone()),
            _ => None,
        });
    }

    /// Folds anew what events of these authors are part of, after their cuts or rights changed.
    pub(crate) fn refold_authors(&mut self, changed: &BTreeSet<PeerId>, authority: &Authority) {
        if changed.is_empty() {
            return;
        }
        for entity in self.entities.values_mut() {
            if entity.events.iter().any(|event| changed.contains(&event.author())) {
                entity.fold(authority);
            }
        }
        for author in changed {
            self.refold_scopes(author, authority);
        }
    }

    /// One repository.
    pub fn get(&self, key: &RepositoryKey) -> Option<&Repository> {
        self.entities.get(key).map(|entity| &entity.repository).filter(|known| !known.name.is_empty())
    }
    /// All of them, by source and id.
    pub fn all(&self) -> impl Iterator<Item = &Repository> {
        self.entities.values().map(|entity| &entity.repository).filter(|known| !known.name.is_empty())
    }
    /// What a member said it looks at; `None` if it never said so.
    pub fn watching(&self, peer: &PeerId) -> Option<&DiscoveryChanged> {
        self.scopes.get(peer).and_then(|(_, said)| said.as_ref())
    }
    /// Members that look at anything, with what they said.
    pub fn watchers(&self) -> impl Iterator<Item = (&PeerId, &DiscoveryChanged)> {
        let said = self.scopes.iter().filter_map(|(peer, (_, said))| Some((peer, said.as_ref()?)));
        said.filter(|(_, said)| !said.scopes.is_empty())
    }
    /// The events behind it, for a checkpoint.
    pub fn events(&self) -> impl Iterator<Item = &Arc<Admitted>> {
        let of_entities = self.entities.values().flat_map(|entity| &entity.events);
        of_entities.chain(self.scopes.values().flat_map(|(events, _)| events))
    }

    pub(crate) fn digest_sum(&self) -> DigestSum {
        let mut sum = DigestSum::default();
        for entity in self.entities.values() {
            sum.add(&entity.digest);
        }
        for (peer, (_, said)) in &self.scopes {
            if let Some(said) = said {
                sum.add_entity("watching", &postcard::to_stdvec(&(peer, said)).unwrap_or_default());
            }
        }
        sum
    }
}
