//! The automerge documents of the chains that were written last, kept behind the commit.
//!
//! A thread of its own hears of every commit and lets automerge see each frame: the document of a chain's last segment grows with
//! the log, and its head is compared with the hash that this node computed without automerge. Nothing waits for it. When commits
//! come faster than automerge takes them, changes are skipped, and once the chain is quiet its document is made from the stored frames
//! in one go. A chain that was written before this process started gets its document when it is written again.
//!
//! Documents decide nothing: whatever happens here, the log and the exchange are as they would be without it.
//!
//! Invariants: at most [`DOCUMENTS_MAX`] documents · at most [`WAITING_FRAMES_MAX`] frames and [`WAITING_BYTES_MAX`] bytes wait
//! (and the commit that passes them) · commits are taken off the news between any two changes, so this thread keeps none of them
//! in memory · making documents again takes at most a fifth of a core.

mod kept;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use wfengine_protocol::output::StoredFrame;
use wfengine_storage_format::ChainId;
use wfengine_storage_format::limits::SEGMENT_BYTES_MAX;
use wfengine_store::{Committed, StoreError, Watcher};

use super::serving::SegmentStarts;
use kept::{DOCUMENTS_MAX, KeptDocuments, Taken};

pub use kept::{Documents, OpenDocument};

/// Frames that wait for automerge, as many as a segment holds: above that reading the segment back is the quicker way.
const WAITING_FRAMES_MAX: usize = 256;
/// Bytes of such frames.
const WAITING_BYTES_MAX: usize = 2 << 20;
/// A document is made from the log once its chain was not written for so long,
const QUIET: Duration = Duration::from_millis(100);
/// and after this time at the latest.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long nothing is made after something was, as a multiple of the time it took.
const REST: u32 = 4;
/// Frames of the log in which the chains written last are looked for after a lag.
const LOOK_BACK_FRAMES: u64 = 256;
/// How many of them are read at once; 4 MiB in the worst case.
const LOOK_BACK_AT_ONCE: usize = 16;

/// The thread that keeps the documents.
#[derive(Debug)]
pub(super) struct DocumentKeeper {
    shown: Arc<Mutex<Documents>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DocumentKeeper {
    /// Starts to follow the log. Ends when it is told to stop or nobody is left who could tell.
    pub(super) fn start(watcher: Watcher, starts: SegmentStarts, stop: watch::Receiver<bool>) -> Self {
        let shown = Arc::<Mutex<Documents>>::default();
        let news = watcher.subscribe();
        let follower = Follower::new(watcher, starts, news, stop);
        let showing = Arc::clone(&shown);
        // its timers must not depend on a runtime that may end before it
        let started =
            tokio::runtime::Builder::new_current_thread().enable_time().build().and_then(|runtime| {
                let thread = std::thread::Builder::new().name("wfengine-documents".to_owned());
                thread.spawn(move || follower.run(&runtime, &showing))
            });
        if let Err(error) = &started {
            tracing::error!(%error, "no thread for the documents: this node keeps none");
        }
        Self { shown, thread: Mutex::new(started.ok()) }
    }

    /// The documents as they are.
    pub(super) fn shown(&self) -> Documents {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the thread has ended, which it must have been told to.
    pub(super) async fn ended(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        if !matches!(tokio::task::spawn_blocking(move || thread.join()).await, Ok(Ok(()))) {
            tracing::error!("BUG: the thread of the documents panicked; none were kept from then on");
        }
    }
}

/// Follows the log, a piece of work at a time.
#[derive(Debug)]
struct Follower {
    watcher: Watcher,
    starts: SegmentStarts,
    news: broadcast::Receiver<Arc<Committed>>,
    stop: watch::Receiver<bool>,
    /// The log will tell nothing more.
    log_ended: bool,
    kept: KeptDocuments,
    waiting: VecDeque<(ChainId, StoredFrame)>,
    waiting_bytes: usize,
    behind: Behind,
    rest_until: Instant,
}

impl Follower {
    fn new(
        watcher: Watcher,
        starts: SegmentStarts,
        news: broadcast::Receiver<Arc<Committed>>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            watcher,
            starts,
            news,
            stop,
            log_ended: false,
            kept: KeptDocuments::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            behind: Behind::default(),
            rest_until: Instant::now(),
        }
    }

    fn run(mut self, runtime: &Runtime, shown: &Mutex<Documents>) {
        while !self.is_over() {
            let worked = self.step(Instant::now());
            *shown.lock().unwrap_or_else(PoisonError::into_inner) = self.kept.shown();
            if !worked {
                runtime.block_on(self.wait());
            }
        }
    }

    fn is_over(&self) -> bool {
        self.log_ended || *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    /// Hears everything that came, then does one thing, short enough that stopping and hearing may wait for it. Whether there was one.
    fn step(&mut self, now: Instant) -> bool {
        loop {
            match self.news.try_recv() {
                Ok(commit) => self.hear(&commit, now),
                Err(broadcast::error::TryRecvError::Lagged(_)) => self.look_back(now),
                Err(broadcast::error::TryRecvError::Empty) => break,
                Err(broadcast::error::TryRecvError::Closed) => {
                    self.log_ended = true;
                    break;
                }
            }
        }
        self.take_one(now) || self.make_one(now)
    }

    /// Waits for news, or until a document is to be made.
    async fn wait(&mut self) {
        let due = self.behind.next_due().map(|due| due.max(self.rest_until));
        let pause = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let heard = tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => return,
            heard = self.news.recv() => heard,
            () = pause => return,
        };
        match heard {
            Ok(commit) => self.hear(&commit, Instant::now()),
            Err(broadcast::error::RecvError::Lagged(_)) => self.look_back(Instant::now()),
            Err(broadcast::error::RecvError::Closed) => self.log_ended = true,
        }
    }

    fn hear(&mut self, commit: &Committed, now: Instant) {
        for frame in &commit.frames {
            let header = frame.header();
            // what is going to be read from the log need not be kept
            if self.kept.is_given_up(&header.chain) || self.behind.written(&header.chain, now) {
                continue;
            }
            let (first_seq, end_seq) = (header.first_seq, header.end_seq());
            let bytes = Arc::clone(frame.bytes());
            self.waiting_bytes += bytes.len();
            self.waiting.push_back((header.chain, StoredFrame { first_seq, end_seq, bytes }));
        }
        if self.waiting.len() > WAITING_FRAMES_MAX || self.waiting_bytes > WAITING_BYTES_MAX {
            tracing::debug!(frames = self.waiting.len(), "documents fell behind the log");
            self.waiting_bytes = 0;
            for (chain, _) in std::mem::take(&mut self.waiting) {
                self.kept.close(&chain);
                self.behind.add(chain, now);
            }
        }
    }

    /// Lets automerge see the frame that waits longest.
    fn take_one(&mut self, now: Instant) -> bool {
        let Some((chain, frame)) = self.waiting.pop_front() else { return false };
        self.waiting_bytes -= frame.bytes.len();
        if self.kept.take(&chain, &frame) == Taken::Missing {
            self.behind.add(chain, now);
        }
        true
    }

    /// Makes the document of one chain that is behind, or comes nearer to it.
    fn make_one(&mut self, now: Instant) -> bool {
        let Some(chain) = self.behind.due(now).filter(|_| self.rest_until <= now) else { return false };
        let begun = Instant::now();
        match self.make(&chain) {
            Ok(true) => self.behind.remove(&chain),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, %chain, "frames for a document cannot be read; the chain has none until this node starts anew");
                self.kept.give_up(&chain);
                self.behind.remove(&chain);
            }
        }
        self.rest_until = now + begun.elapsed() * REST;
        true
    }

    /// Reads a part of the way to a chain's last segment, or the segment itself. Whether the chain is dealt with.
    fn make(&mut self, chain: &ChainId) -> Result<bool, StoreError> {
        let length = self.watcher.frontier().chains.get(chain).map_or(0, |state| state.length);
        let Some(last_seq) = length.checked_sub(1) else { return Ok(true) };
        if !self.starts.walk_part(&self.watcher, chain, last_seq)? {
            return Ok(false);
        }
        let read = self.starts.read(&self.watcher, chain, last_seq, true, SEGMENT_BYTES_MAX)?;
        Ok(self.kept.make(chain, &read))
    }

    /// Commits were missed: the log itself tells which chains were written.
    fn look_back(&mut self, now: Instant) {
        tracing::debug!("documents missed commits");
        self.news = self.news.resubscribe();
        self.waiting.clear();
        self.waiting_bytes = 0;
        let latest = self.latest_chains().unwrap_or_else(|error| {
            tracing::error!(%error, "the log cannot be read back for its documents");
            Vec::new()
        });
        let behind: Vec<ChainId> = {
            let frontier = self.watcher.frontier();
            let length = |chain| frontier.chains.get(chain).map_or(0, |state| state.length);
            let open = self.kept.shown().open;
            open.iter().filter(|open| length(&open.chain) != open.length).map(|open| open.chain).collect()
        };
        behind.iter().for_each(|chain| self.kept.close(chain));
        for chain in latest.into_iter().rev() {
            if !self.kept.is_open(&chain) && !self.kept.is_given_up(&chain) {
                self.behind.add(chain, now);
            }
        }
    }

    /// The chains that were written last, the latest first.
    fn latest_chains(&self) -> Result<Vec<ChainId>, StoreError> {
        let mut end = self.watcher.frontier().frames_len;
        let floor = end.saturating_sub(LOOK_BACK_FRAMES);
        let mut latest = Vec::new();
        while end > floor && latest.len() < DOCUMENTS_MAX {
            let from = end.saturating_sub(LOOK_BACK_AT_ONCE as u64).max(floor);
            let frames = self.watcher.frames(from, (end - from) as usize)?;
            for chain in frames.iter().rev().map(|stored| stored.frame.header().chain) {
                if latest.len() < DOCUMENTS_MAX && !latest.contains(&chain) {
                    latest.push(chain);
                }
            }
            end = from;
        }
        Ok(latest)
    }
}

/// A chain whose document has to be made from the log.
#[derive(Clone, Copy, Debug)]
struct Late {
    chain: ChainId,
    since: Instant,
    written: Instant,
}

impl Late {
    fn due(&self) -> Instant {
        (self.written + QUIET).min(self.since + QUIET_WAIT_MAX)
    }
}

/// Chains whose documents have to be made from the log, at most [`DOCUMENTS_MAX`], the one written least recently first.
#[derive(Debug, Default)]
struct Behind(VecDeque<Late>);

impl Behind {
    /// A chain has to be made, or is written on before it was.
    fn add(&mut self, chain: ChainId, now: Instant) {
        if self.written(&chain, now) {
            return;
        }
        if self.0.len() >= DOCUMENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Late { chain, since: now, written: now });
    }

    /// A chain was written. Whether it is one of these.
    fn written(&mut self, chain: &ChainId, now: Instant) -> bool {
        let at = self.0.iter().position(|late| late.chain == *chain);
        let Some(late) = at.and_then(|at| self.0.remove(at)) else { return false };
        self.0.push_back(Late { written: now, ..late });
        true
    }

    /// One that is to be made now, the latest written first.
    fn due(&self, now: Instant) -> Option<ChainId> {
        self.0.iter().rev().find(|late| late.due() <= now).map(|late| late.chain)
    }

    fn next_due(&self) -> Option<Instant> {
        self.0.iter().map(Late::due).min()
    }

    fn remove(&mut self, chain: &ChainId) {
        self.0.retain(|late| late.chain != *chain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wfengine_core::command::Command;
    use wfengine_core::seal::Author;
    use wfengine_core::time::WallMs;
    use wfengine_protocol::{Projection, SegmentNumber, segments_of};
    use wfengine_storage_format::{ClusterFounded, Incarnation, PeerDescribed, Signer};
    use wfengine_store::{DataDir, Purpose, Store};

    const NOW: WallMs = WallMs(1_700_000_000_000);

    struct Log {
        _dir: tempfile::TempDir,
        store: Store,
        chain: ChainId,
    }

    impl Log {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let data = DataDir::open(dir.path()).unwrap();
            let signer = Signer::from_seed(&[1; 32]);
            let chain =
                ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([0xf0; 16]) };
            let author = Author { signer: signer.clone(), chain };
            let body = ClusterFounded { name: "lab".into(), nonce: [1; 16], system: vec![] };
            let cluster = Store::found(&data, &author, body, NOW).unwrap();
            let fresh = Incarnation::from_bytes([0xf1; 16]);
            let at = data.cluster_dir(&cluster);
            let (store, _) = Store::open(&at, signer, Purpose::Serve, fresh, "").unwrap();
            let mut log = Self { _dir: dir, store, chain };
            log.write(0..1);
            let frontier = log.store.watcher().frontier().clone();
            log.chain = *frontier.chains.iter().max_by_key(|(_, state)| state.height).unwrap().0;
            log
        }

        /// Writes one frame for each number.
        fn write(&self, numbers: std::ops::Range<u64>) {
            for number in numbers {
                let name = format!("name {number}");
                let body = PeerDescribed { name, addresses: vec![], version: String::new() };
                self.store.recorder().ask_blocking(Command::Describe(body), NOW).unwrap();
            }
        }

        fn follower(&self, news: broadcast::Receiver<Arc<Committed>>) -> (Follower, watch::Sender<bool>) {
            let (stop, stopping) = watch::channel(false);
            let watcher = self.store.watcher().clone();
            (Follower::new(watcher, SegmentStarts::default(), news, stopping), stop)
        }

        /// The document that the stored frames of the chain give.
        fn document(&self) -> OpenDocument {
            let frames = self.store.watcher().chain_frames(&self.chain, 0, usize::MAX).unwrap();
            let segments = segments_of(frames.iter().map(|stored| stored.frame.bytes().len())).unwrap();
            let (number, last) = (segments.len() - 1, segments.last().unwrap().clone());
            let segment = SegmentNumber(number as u64);
            let bytes = frames[last].iter().map(|stored| stored.frame.bytes());
            let head = Projection::rebuild(&self.chain, segment, bytes).unwrap().head().unwrap();
            let length = frames.last().unwrap().frame.header().end_seq();
            OpenDocument { chain: self.chain, segment, head, length }
        }
    }

    /// Works until there is nothing to do at that moment.
    fn settle(follower: &mut Follower, now: Instant) {
        for _ in 0..2_000 {
            if !follower.step(now) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    #[test]
    fn a_chain_from_before_gets_its_document_when_it_is_written_again_and_quiet() {
        let log = Log::new();
        log.write(1..300);
        let (mut follower, _stop) = log.follower(log.store.watcher().subscribe());
        let now = Instant::now();
        settle(&mut follower, now);
        assert_eq!(follower.kept.shown(), Documents::default());
        log.write(300..302);
        settle(&mut follower, now);
        assert_eq!(follower.kept.shown().open, [], "it was written this moment");
        settle(&mut follower, now + QUIET);
        assert_eq!(follower.kept.shown().open, [log.document()]);
        log.write(302..600);
        settle(&mut follower, now + QUIET_WAIT_MAX);
        settle(&mut follower, now + QUIET_WAIT_MAX * 2);
        let shown = follower.kept.shown();
        assert_eq!(shown.open, [log.document()]);
        assert_eq!((shown.rebuilt, shown.disagreements), (2, 0), "the second time because too many waited");
        log.write(600..602);
        settle(&mut follower, now + QUIET_WAIT_MAX * 3);
        assert_eq!((follower.kept.shown().open, follower.kept.shown().changes), (vec![log.document()], 2));
    }

    #[test]
    fn a_chain_that_is_never_quiet_gets_its_document_after_a_second() {
        let log = Log::new();
        let (mut follower, _stop) = log.follower(log.store.watcher().subscribe());
        let begun = Instant::now();
        let mut number = 1;
        while follower.kept.shown().rebuilt == 0 {
            log.write(number..number + 1);
            let now = begun + QUIET / 2 * u32::try_from(number).unwrap();
            assert!(now <= begun + QUIET_WAIT_MAX + QUIET, "not within a second");
            settle(&mut follower, now);
            number += 1;
        }
        assert!(number > 10, "made at frame {number} while it was being written");
        assert_eq!(follower.kept.shown().open, [log.document()]);
    }

    #[test]
    fn commits_that_were_missed_are_found_in_the_log() {
        let log = Log::new();
        let mut told = log.store.watcher().subscribe();
        let (tell, news) = broadcast::channel(4);
        let (mut follower, _stop) = log.follower(news);
        log.write(1..20);
        while let Ok(commit) = told.try_recv() {
            tell.send(commit).unwrap();
        }
        let now = Instant::now();
        settle(&mut follower, now);
        assert_eq!(follower.kept.shown().open, []);
        settle(&mut follower, now + QUIET_WAIT_MAX);
        settle(&mut follower, now + QUIET_WAIT_MAX * 2);
        assert!(follower.kept.shown().open.contains(&log.document()));
        // it goes on with what it hears next, and nothing was applied twice
        log.write(20..22);
        while let Ok(commit) = told.try_recv() {
            tell.send(commit).unwrap();
        }
        settle(&mut follower, now + QUIET_WAIT_MAX * 3);
        let shown = follower.kept.shown();
        assert!(shown.open.contains(&log.document()));
        // both chains of the log: the one it was founded with, and this one
        assert_eq!((shown.changes, shown.rebuilt, shown.disagreements), (2, 2, 0));
    }

    #[test]
    fn a_damaged_chunk_costs_its_document_and_the_log_gives_it_back() {
        let log = Log::new();
        let (mut follower, _stop) = log.follower(log.store.watcher().subscribe());
        let now = Instant::now();
        log.write(1..2);
        settle(&mut follower, now);
        settle(&mut follower, now + QUIET);
        assert_eq!(follower.kept.shown().open, [log.document()]);
        follower.kept.damage(&log.chain);
        log.write(2..4);
        settle(&mut follower, now + QUIET_WAIT_MAX);
        assert_eq!((follower.kept.shown().open, follower.kept.shown().disagreements), (vec![], 1));
        settle(&mut follower, now + QUIET_WAIT_MAX * 2);
        log.write(4..5);
        settle(&mut follower, now + QUIET_WAIT_MAX * 2);
        let shown = follower.kept.shown();
        assert_eq!(shown.open, [log.document()]);
        assert_eq!((shown.changes, shown.rebuilt, shown.disagreements, shown.given_up), (1, 2, 1, 0));
    }

    #[test]
    fn what_waits_is_bounded_by_frames() {
        let log = Log::new();
        let (mut follower, _stop) = log.follower(log.store.watcher().subscribe());
        log.write(1..400);
        let now = Instant::now();
        assert!(!follower.step(now), "it only heard");
        assert_eq!((follower.waiting.len(), follower.waiting_bytes), (0, 0));
        assert_eq!(follower.behind.next_due(), Some(now + QUIET));
    }

    #[tokio::test]
    async fn the_thread_ends_when_it_is_told_and_when_nobody_could_tell_it() {
        let log = tokio::task::spawn_blocking(Log::new).await.unwrap();
        for tell in [true, false] {
            let (stop, stopping) = watch::channel(false);
            let keeper =
                DocumentKeeper::start(log.store.watcher().clone(), SegmentStarts::default(), stopping);
            if tell {
                stop.send_replace(true);
            } else {
                drop(stop);
            }
            tokio::time::timeout(Duration::from_secs(10), keeper.ended()).await.unwrap();
        }
    }
}
