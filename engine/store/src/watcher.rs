//! The handle that reads: published views, the frontier, look-ups in the log, and news of what is committed.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::broadcast;
use wfengine_core::admitted::Admitted;
use wfengine_core::log::Chain;
use wfengine_core::views::Views;
use wfengine_core::views::run::Run;
use wfengine_storage_format::{
    ChainId, ClusterId, EventId, Hash32, IdPrefix, RunId, SignedHeader, Tip, clock_head,
};

use crate::error::StoreError;
use crate::log_file::{LogFile, StoredFrame};
use crate::recorder::Committed;

/// The heads the published views were folded up to, and every chain.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    /// Every chain with its length and tip.
    pub chains: BTreeMap<ChainId, Chain>,
    /// The events nobody names yet.
    pub heads: Vec<Tip>,
    /// Number of events.
    pub events_len: u64,
    /// Number of frames.
    pub frames_len: u64,
}

impl Frontier {
    /// The merkle clock's hash.
    pub fn clock_hash(&self) -> Hash32 {
        clock_head(self.heads.iter().map(|tip| tip.id))
    }
    /// The greatest height.
    pub fn height(&self) -> u64 {
        self.chains.values().map(|chain| chain.height).max().unwrap_or(0)
    }
    /// Number of events by author.
    pub fn vector(&self) -> BTreeMap<wfengine_storage_format::PeerId, u64> {
        let mut vector = BTreeMap::new();
        for (chain, state) in &self.chains {
            *vector.entry(chain.author).or_default() += state.length;
        }
        vector
    }
}

/// What an id or its beginning names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lookup {
    /// An event.
    Event(EventId),
    /// A run.
    Run(RunId),
    /// A job of a run.
    Job(RunId, wfengine_storage_format::JobId),
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cluster: ClusterId,
    pub(crate) file: LogFile,
    pub(crate) views: RwLock<Views>,
    pub(crate) frontier: RwLock<Frontier>,
    pub(crate) news: broadcast::Sender<Arc<Committed>>,
}

/// Reads the log and its views. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watcher {
    pub(crate) shared: Arc<Shared>,
}

/// Ids that a prefix may match before the rest is left out.
const CANDIDATES_MAX: usize = 64;

impl Watcher {
    /// Whose log this is.
    pub fn cluster(&self) -> ClusterId {
        self.shared.cluster
    }
    /// The published views. Held only briefly: the writer waits for its readers.
    pub fn views(&self) -> RwLockReadGuard<'_, Views> {
        self.shared.views.read().unwrap_or_else(PoisonError::into_inner)
    }
    /// The frontier of the published views.
    pub fn frontier(&self) -> RwLockReadGuard<'_, Frontier> {
        self.shared.frontier.read().unwrap_or_else(PoisonError::into_inner)
    }
    /// The digest of the published views.
    pub fn view_digest(&self) -> Hash32 {
        self.shared.views.write().unwrap_or_else(PoisonError::into_inner).digest()
    }
    /// News of every commit from here on. A subscriber that falls more than 4,096 commits behind is told so and reads the views.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.shared.news.subscribe()
    }

    /// A run, also one that left memory.
    pub fn run(&self, id: &RunId) -> Option<Run> {
        let views = self.views();
        views.runs().run(id, views.authority(), &self.shared.file)
    }

    /// One event.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn event(&self, id: &EventId) -> Result<Option<Arc<Admitted>>, StoreError> {
        self.shared.file.event(id)
    }

    /// Every event of a run, in canonical order.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn events_of_run(&self, id: &RunId) -> Result<Vec<Arc<Admitted>>, StoreError> {
        let mut events = self.shared.file.events_of(id.as_bytes())?;
        events.sort_by_key(|event| event.order());
        Ok(events)
    }

    /// Frames in the order of admission from a number on, at most `len_max`.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read or a frame is damaged.
    pub fn frames(&self, from: u64, len_max: usize) -> Result<Vec<StoredFrame>, StoreError> {
        self.shared.file.frames(from, len_max)
    }

    /// The bytes of frames in the order of admission, unchecked: for an audit that names what is damaged.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn raw_frames(&self, from: u64, len_max: usize) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        Ok(self
            .shared
            .file
            .raw_frames(from, len_max)?
            .into_iter()
            .map(|raw| (raw.number, raw.bytes))
            .collect())
    }

    /// The frames of a chain that hold places from `from_seq` on, in order, until `bytes_max` bytes are reached (one at least).
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn chain_frames(
        &self,
        chain: &ChainId,
        from_seq: u64,
        bytes_max: usize,
    ) -> Result<Vec<StoredFrame>, StoreError> {
        let length = self.frontier().chains.get(chain).map_or(0, |state| state.length);
        let (mut seq, mut bytes, mut frames) = (from_seq, 0, Vec::new());
        while seq < length && bytes < bytes_max {
            let Some(number) = self.shared.file.frame_number_at(chain, seq)? else { break };
            let stored = self.shared.file.frame(number)?;
            let header = stored.frame.header();
            if header.chain != *chain || !(header.first_seq..header.end_seq()).contains(&seq) {
                let place = format!("event {seq} of chain {chain}");
                return Err(self.shared.file.corrupt_at(place, "the index leads to another frame"));
            }
            bytes += stored.frame.bytes().len();
            seq = header.end_seq();
            frames.push(stored);
        }
        Ok(frames)
    }

    /// The signed header of the frame that holds a place of a chain.
    pub fn header_at(&self, chain: &ChainId, seq: u64) -> Option<SignedHeader> {
        use wfengine_core::log::KnownEvents;
        self.shared.file.header_at(chain, seq)
    }

    /// Everything that a prefix names: events, runs, jobs. At most 64.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn candidates(&self, prefix: &IdPrefix) -> Result<Vec<Lookup>, StoreError> {
        let (low, high) = prefix.range();
        let mut found = std::collections::BTreeSet::new();
        let mut keys = std::collections::BTreeSet::new();
        for (key, number) in self.shared.file.entries(&low, &high, 4 * CANDIDATES_MAX)? {
            if keys.len() >= CANDIDATES_MAX {
                break;
            }
            if !keys.insert(key) {
                continue;
            }
            let stored = self.shared.file.frame(u64::from(number))?;
            for event in Admitted::of_frame(stored.frame, stored.first_seen) {
                if event.id.as_bytes() == &key {
                    found.insert(Lookup::Event(event.id));
                }
                if let Some(run) = event.run().filter(|run| run.as_bytes() == &key) {
                    found.insert(Lookup::Run(run));
                }
                if let Some((run, job)) = event.body.job().filter(|(_, job)| job.as_bytes() == &key) {
                    found.insert(Lookup::Job(run, job));
                }
            }
        }
        // jobs that nobody touched yet are in the views alone
        for run in self.views().runs().all_live() {
            let jobs = run.jobs.keys().filter(|job| prefix.matches(job.as_bytes()));
            found.extend(jobs.map(|job| Lookup::Job(run.id, *job)).take(CANDIDATES_MAX));
        }
        Ok(found.into_iter().take(CANDIDATES_MAX).collect())
    }
}
