//! The one writer: batches of requests become one transaction each, then views, then answers.
//!
//! A batch: admit foreign frames, decide commands, seal what they became into as few frames as possible, admit those, commit,
//! apply, publish, answer. A command about a run that the batch already touched waits for the next batch, so every decision
//! sees the views of everything before it.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, OnceLock, PoisonError};

use tokio::sync::oneshot;
use wfengine_core::admitted::Admitted;
use wfengine_core::command::{Command, Decision, Draft, Refusal, asks_differently, decide};
use wfengine_core::log::{Admission, Log, Need};
use wfengine_core::pending::Pending;
use wfengine_core::seal::{Author, seal_with_bodies};
use wfengine_core::time::WallMs;
use wfengine_storage_format::{ChainId, EventId, PeerId, RunId, VerifiedFrame};

use crate::checkpoint::Checkpoint;
use crate::checksum::sealed;
use crate::error::{AskError, StoreError};
use crate::index::{TAIL_ENTRIES_MAX, flush, place_key};
use crate::log_file::{FRAMES, META, Recalling, guarded, join_value};
use crate::open::Closing;
use crate::recorder::{Committed, FrameOutcome, Receipt, Request};
use crate::watcher::Shared;

/// Events that a transaction takes before it is committed.
const BATCH_EVENTS: usize = 256;
/// Frames that a transaction takes before it is committed.
const BATCH_FRAMES: usize = 64;
/// Events after which the views are checkpointed, at least.
const CHECKPOINT_EVENTS_MIN: u64 = 20_000;
/// Finished runs that stay in memory.
const FINISHED_IN_MEMORY: usize = 10_000;

type AskReply = oneshot::Sender<Result<Receipt, AskError>>;
type TakeReply = oneshot::Sender<Result<Vec<FrameOutcome>, StoreError>>;

struct Asked {
    command: Box<Command>,
    now: WallMs,
    reply: Option<AskReply>,
}

struct Taking {
    frames: VecDeque<VerifiedFrame>,
    from: PeerId,
    now: WallMs,
    outcomes: Vec<FrameOutcome>,
    reply: Option<TakeReply>,
}

enum Work {
    Ask(Asked),
    Take(Taking),
}

/// What one transaction will hold.
#[derive(Default)]
struct Batch {
    frames: Vec<(WallMs, VerifiedFrame, Option<PeerId>)>,
    events: Vec<Arc<Admitted>>,
    runs: BTreeSet<RunId>,
    authority: bool,
    drafts: Vec<Draft>,
    asked: Vec<(AskReply, usize)>,
    answers: Vec<(AskReply, Result<Receipt, AskError>)>,
    takings: Vec<(TakeReply, Vec<FrameOutcome>)>,
    refused: Vec<(WallMs, VerifiedFrame)>,
    now: WallMs,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    author: Author,
    pending: Pending,
    work: VecDeque<Work>,
    frames_len: u64,
    events_since_checkpoint: u64,
    checkpoint_after: u64,
    /// The bytes of a checkpoint that another thread is writing down.
    encoding: Option<Receiver<Vec<u8>>>,
    closing: Closing,
    closing_written: bool,
    fatal: Arc<OnceLock<StoreError>>,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        log: Log,
        author: Author,
        frames_len: u64,
        closing: Closing,
        fatal: Arc<OnceLock<StoreError>>,
    ) -> Self {
        Self {
            shared,
            log,
            author,
            pending: Pending::default(),
            work: VecDeque::new(),
            frames_len,
            events_since_checkpoint: 0,
            checkpoint_after: CHECKPOINT_EVENTS_MIN,
            encoding: None,
            closing,
            closing_written: false,
            fatal,
        }
    }

    /// Serves requests until the store is closed or a commit fails.
    pub(crate) fn run(mut self, queue: &Receiver<Request>) {
        loop {
            let closing = match self.gather(queue) {
                Ok(closing) => closing,
                Err(RecvError) => return,
            };
            let mut outcome = self.one_batch();
            while outcome.is_ok() && closing.is_some() && !self.work.is_empty() {
                outcome = self.one_batch();
            }
            if let Err(error) = outcome {
                tracing::error!(%error, "the writer stops");
                if let Some(reply) = closing {
                    let _ = reply.send(Err(error));
                }
                return;
            }
            if let Some(reply) = closing {
                let _ = reply.send(self.finish());
                return;
            }
        }
    }

    /// Waits for one request if there is nothing to do, then takes what else is queued, up to a batch.
    fn gather(
        &mut self,
        queue: &Receiver<Request>,
    ) -> Result<Option<SyncSender<Result<(), StoreError>>>, RecvError> {
        let mut next = if self.work.is_empty() { Some(queue.recv()?) } else { queue.try_recv().ok() };
        while let Some(request) = next {
            match request {
                Request::Ask { command, now, reply } => {
                    self.work.push_back(Work::Ask(Asked { command, now, reply: Some(reply) }));
                }
                Request::Take { frames, from, now, reply } => {
                    let taking =
                        Taking { frames: frames.into(), from, now, outcomes: Vec::new(), reply: Some(reply) };
                    self.work.push_back(Work::Take(taking));
                }
                Request::ForgetPeer(peer) => self.pending.forget_peer(&peer),
                Request::Close(reply) => return Ok(Some(reply)),
            }
            next = if self.work.len() < BATCH_EVENTS { queue.try_recv().ok() } else { None };
        }
        Ok(None)
    }

    fn one_batch(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let mut later = VecDeque::new();
        while let Some(work) = self.work.pop_front() {
            let full =
                batch.events.len() + batch.drafts.len() >= BATCH_EVENTS || batch.frames.len() >= BATCH_FRAMES;
            if full {
                later.push_back(work);
                continue;
            }
            match work {
                Work::Take(taking) => later.extend(self.take(&mut batch, taking).map(Work::Take)),
                Work::Ask(asked) => later.extend(self.ask(&mut batch, asked).map(Work::Ask)),
            }
        }
        self.work = later;
        if let Err(error) = self.seal_drafts(&mut batch).and_then(|()| self.commit(&batch)) {
            // before the batch is dropped: whoever waits for an answer finds the reason
            self.fail(&error);
            return Err(error);
        }
        self.publish(batch)
    }

    /// Admits frames until the batch is full or membership changes. What is left waits for the next batch.
    fn take(&mut self, batch: &mut Batch, mut taking: Taking) -> Option<Taking> {
        batch.now = batch.now.max(taking.now);
        while let Some(frame) = taking.frames.pop_front() {
            let outcome = self.admit(batch, frame, taking.from, taking.now);
            taking.outcomes.push(outcome);
            if batch.frames.len() >= BATCH_FRAMES || batch.authority {
                break;
            }
        }
        if !taking.frames.is_empty() {
            return Some(taking);
        }
        if let Some(reply) = taking.reply {
            batch.takings.push((reply, taking.outcomes));
        }
        None
    }

    fn admit(&mut self, batch: &mut Batch, frame: VerifiedFrame, from: PeerId, now: WallMs) -> FrameOutcome {
        let roster = {
            let views = self.shared.views.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(views.authority().roster())
        };
        match self.log.admit(&frame, |peer| roster.was_ever_member(peer), &self.shared.file) {
            Err(rejected) => FrameOutcome::Rejected(rejected.to_string()),
            Ok(Admission::Duplicate) => FrameOutcome::Duplicate,
            Ok(Admission::Missing(needs)) => self.wait(frame, from, needs),
            Ok(Admission::Forked(proof)) => {
                tracing::warn!(chain = %proof.first.header.chain, "a fork was proved");
                // `decide` drops it when a proof in the log cuts the chain as low
                let command = Box::new(Command::ProveFork(*proof));
                self.work.push_back(Work::Ask(Asked { command, now, reply: None }));
                // frames that name an event of the refused branch can be placed from here on
                batch.refused.push((now, frame));
                FrameOutcome::Forked
            }
            Ok(Admission::Admitted) => {
                let events = Admitted::of_kept_frame(&frame, now);
                self.add(batch, frame, events, Some(from), now);
                FrameOutcome::Admitted
            }
        }
    }

    fn wait(&mut self, frame: VerifiedFrame, from: PeerId, needs: Vec<Need>) -> FrameOutcome {
        if self.pending.keep(frame, from, needs.clone()) {
            FrameOutcome::Waiting(needs)
        } else {
            FrameOutcome::NoRoom
        }
    }

    /// Puts an admitted frame into the batch and wakes what waited for it. Frames that change membership wake others only
    /// when the views know it.
    fn add(
        &mut self,
        batch: &mut Batch,
        frame: VerifiedFrame,
        events: Vec<Arc<Admitted>>,
        from: Option<PeerId>,
        now: WallMs,
    ) {
        let authority = frame.events().iter().any(|(_, event)| event.kind.is_authority());
        batch.authority |= authority;
        batch.now = batch.now.max(now);
        batch.runs.extend(events.iter().filter_map(|event| event.run()));
        batch.events.extend(events);
        if !authority {
            self.wake(&frame, now);
        }
        batch.frames.push((now, frame, from));
    }

    fn wake(&mut self, frame: &VerifiedFrame, now: WallMs) {
        for (woken, from) in self.pending.wake(frame) {
            let frames = VecDeque::from([woken]);
            self.work.push_front(Work::Take(Taking { frames, from, now, outcomes: Vec::new(), reply: None }));
        }
    }

    /// Decides a command, or hands it back when the batch already touched what it is about.
    fn ask(&mut self, batch: &mut Batch, mut asked: Asked) -> Option<Asked> {
        let touched = asked.command.run().is_some_and(|run| batch.runs.contains(&run));
        let about_authority = asked.command.is_about_authority();
        if touched || batch.authority || (about_authority && !batch.drafts.is_empty()) {
            return Some(asked);
        }
        let decision = self.decide(&asked.command);
        batch.now = batch.now.max(asked.now);
        match (decision, asked.reply.take()) {
            (Ok(Decision::Write(drafts)), reply) => {
                batch.runs.extend(asked.command.run());
                batch.authority |= about_authority;
                if let Some(reply) = reply {
                    batch.asked.push((reply, drafts.len()));
                } else {
                    let (reply, _) = oneshot::channel();
                    batch.asked.push((reply, drafts.len()));
                }
                batch.drafts.extend(drafts);
            }
            (Ok(Decision::AlreadySo), Some(reply)) => {
                batch.answers.push((reply, Ok(Receipt { events: Vec::new(), already_so: true })));
            }
            (Err(refusal), Some(reply)) => batch.answers.push((reply, Err(AskError::Refused(refusal)))),
            (Ok(Decision::AlreadySo) | Err(_), None) => {}
        }
        None
    }

    /// Decides a command in the light of the views, and of what left memory.
    fn decide(&self, command: &Command) -> Result<Decision, Refusal> {
        let views = self.shared.views.read().unwrap_or_else(PoisonError::into_inner);
        if let Command::Submit { submission, .. } | Command::Retry { submission, .. } = command
            && views.runs().finished().contains_key(&submission.run())
        {
            let before = views.runs().run(&submission.run(), views.authority(), &self.shared.file);
            let differs =
                before.and_then(|run| run.submitted).filter(|before| asks_differently(before, submission));
            if let Some(before) = differs {
                return Err(Refusal::Conflict { name: before.name.clone(), run: submission.run() });
            }
        }
        let decision = decide(&views, &self.author.chain, command)?;
        if let Decision::Write(drafts) = &decision {
            // an event that nobody knows can be awaited by others, but not named by this node
            let unknown = |id: &&EventId| self.log.locate(id, &self.shared.file).is_none();
            if let Some(id) = drafts.iter().flat_map(|draft| &draft.refs).find(unknown) {
                return Err(Refusal::Format(format!("it names event {id}, which is not in this log")));
            }
        }
        Ok(decision)
    }

    /// Seals the batch's own events after its foreign ones and admits them through the same door.
    fn seal_drafts(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        if batch.drafts.is_empty() {
            return Ok(());
        }
        let drafts = std::mem::take(&mut batch.drafts);
        let authority_chains: BTreeSet<ChainId> = {
            let views = self.shared.views.read().unwrap_or_else(PoisonError::into_inner);
            let heads = views.authority().heads();
            heads
                .iter()
                .filter_map(|id| views.authority().events().get(id))
                .map(|event| event.chain)
                .collect()
        };
        let path = self.shared.file.path.clone();
        let bug = |detail: String| StoreError::OutcomeUnknown {
            path: path.clone(),
            detail: format!("BUG: own events do not fit the own log: {detail}"),
        };
        let (log, file, author) = (&self.log, &self.shared.file, &self.author);
        let (frames, bodies) = seal_with_bodies(log, file, author, &authority_chains, drafts, batch.now)
            .map_err(|refusal| bug(refusal.to_string()))?;
        let mut bodies = bodies.into_iter();
        let mut ids: VecDeque<EventId> = VecDeque::new();
        for frame in frames {
            let admission = self.log.admit(&frame, |_| true, &self.shared.file);
            if admission != Ok(Admission::Admitted) {
                return Err(bug(format!("{admission:?}")));
            }
            ids.extend(frame.events().iter().map(|(id, _)| *id));
            let now = batch.now;
            let events = Admitted::of_own_frame(&frame, &mut bodies, now);
            self.add(batch, frame, events, None, now);
        }
        for (reply, len) in std::mem::take(&mut batch.asked) {
            let events: Vec<EventId> = ids.drain(..len.min(ids.len())).collect();
            batch.answers.push((reply, Ok(Receipt { events, already_so: false })));
        }
        Ok(())
    }

    /// One transaction with the batch's frames, and what is due of index and checkpoint.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.frames.is_empty() {
            return Ok(());
        }
        let path = self.shared.file.path.clone();
        let first = self.frames_len;
        self.index_batch(batch, first);
        let frames_len = first + batch.frames.len() as u64;
        let flush_due = {
            let index = self.shared.file.index.read().unwrap_or_else(PoisonError::into_inner);
            index.1.len() >= TAIL_ENTRIES_MAX
        };
        let closing = (!self.closing_written).then(|| postcard::to_stdvec(&self.closing).unwrap_or_default());
        let rotten = Cell::new(false);
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.shared.file.database.begin_write()?;
            transaction.set_quick_repair(true);
            {
                let mut table = transaction.open_table(FRAMES)?;
                for (number, (now, frame, _)) in (first..).zip(&batch.frames) {
                    table.insert(number, join_value(*now, frame).as_slice())?;
                }
            }
            if let Some(closing) = closing {
                transaction.open_table(META)?.insert("closing", sealed(&closing).as_slice())?;
            }
            if flush_due {
                let mut index = self.shared.file.index.write().unwrap_or_else(PoisonError::into_inner);
                let (state, tail) = &mut *index;
                let flushed = flush(&transaction, state, tail, frames_len);
                rotten.set(matches!(flushed, Err(redb::Error::Corrupted(_))));
                flushed?;
                let bytes = postcard::to_stdvec(state).unwrap_or_default();
                transaction.open_table(META)?.insert("index", sealed(&bytes).as_slice())?;
            }
            transaction.commit()?;
            Ok(())
        };
        let unknown = |detail: String| StoreError::OutcomeUnknown { path: path.clone(), detail };
        let committed = guarded(&path, "committing", || write().map_err(|error| unknown(error.to_string())));
        if rotten.get() {
            // nothing was written; the next start would end at the same place
            self.shared.file.distrust_index();
        }
        committed.map_err(|error| match error {
            StoreError::Corrupt { detail, .. } => unknown(detail),
            other => other,
        })?;
        if flush_due {
            self.shared.file.index.write().unwrap_or_else(PoisonError::into_inner).1.clear();
        }
        self.closing_written = true;
        self.frames_len = frames_len;
        self.events_since_checkpoint += batch.events.len() as u64;
        Ok(())
    }

    fn index_batch(&self, batch: &Batch, first: u64) {
        let mut index = self.shared.file.index.write().unwrap_or_else(PoisonError::into_inner);
        let mut events = batch.events.iter();
        for (number, (_, frame, _)) in (first..).zip(&batch.frames) {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let header = frame.header();
            index.1.insert(place_key(&header.chain, header.first_seq), number);
            for event in events.by_ref().take(frame.events().len()) {
                index.1.insert(*event.id.as_bytes(), number);
                for entity in event.entities() {
                    index.1.insert(entity, number);
                }
            }
        }
    }

    /// Folds what is durable, then tells everybody, then answers.
    fn publish(&mut self, batch: Batch) -> Result<(), StoreError> {
        if !batch.frames.is_empty() {
            // the batch is dropped after this: whoever waits for an answer finds the reason
            self.fold(&batch.events)?;
            {
                let mut frontier = self.shared.frontier.write().unwrap_or_else(PoisonError::into_inner);
                for (_, frame, _) in &batch.frames {
                    let chain = frame.header().chain;
                    let before = self.log.chain(&chain).and_then(|state| state.predecessor);
                    for touched in before.into_iter().chain([chain]) {
                        if let Some(state) = self.log.chain(&touched) {
                            frontier.chains.insert(touched, state.clone());
                        }
                    }
                }
                frontier.heads = self.log.heads().copied().collect();
                frontier.events_len = self.log.events_len();
                frontier.frames_len = self.frames_len;
            }
            let mut frames = Vec::with_capacity(batch.frames.len());
            let mut from = Vec::with_capacity(batch.frames.len());
            for (now, frame, origin) in batch.frames {
                if batch.authority && frame.events().iter().any(|(_, event)| event.kind.is_authority()) {
                    self.wake(&frame, now);
                }
                frames.push(frame);
                from.push(origin);
            }
            let committed = Committed {
                events: batch.events,
                frames,
                from,
                authority: batch.authority,
                frames_len: self.frames_len,
            };
            // nobody listening is no fault
            let _ = self.shared.news.send(Arc::new(committed));
        }
        for (now, frame) in batch.refused {
            self.wake(&frame, now);
        }
        for (reply, outcome) in batch.answers {
            let _ = reply.send(outcome);
        }
        for (reply, outcomes) in batch.takings {
            let _ = reply.send(Ok(outcomes));
        }
        if let Err(error) = self.checkpoint_if_due() {
            tracing::warn!(%error, "the views were not checkpointed; the next opening takes longer");
        }
        Ok(())
    }

    /// Folds events that are durable. When it fails, the reason is known before anybody sees the views.
    fn fold(&mut self, events: &[Arc<Admitted>]) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let path = shared.file.path.as_path();
        let folded = {
            let mut views = shared.views.write().unwrap_or_else(PoisonError::into_inner);
            let folded = guarded(path, "folding", || {
                let recalling = Recalling::of(&shared.file);
                views.apply_all(events, &recalling);
                recalling.outcome()
            });
            folded.map_err(|error| error.after_commit(path)).inspect_err(|error| self.fail(error))
        };
        folded.inspect_err(|_| shared.file.distrust_index())
    }

    /// Begins a checkpoint when enough happened, and stores one that is ready. Writing the bytes down takes as long as admitting
    /// a third of what they hold, so another thread does it meanwhile.
    fn checkpoint_if_due(&mut self) -> Result<(), StoreError> {
        match self.encoding.as_ref().map(Receiver::try_recv) {
            Some(Ok(bytes)) => {
                self.encoding = None;
                self.store_checkpoint(&bytes)
            }
            Some(Err(TryRecvError::Empty)) => Ok(()),
            None | Some(Err(TryRecvError::Disconnected)) => {
                self.encoding = None;
                if self.events_since_checkpoint >= self.checkpoint_after {
                    self.begin_checkpoint();
                }
                Ok(())
            }
        }
    }

    fn begin_checkpoint(&mut self) {
        let kept = self.take_checkpoint();
        self.events_since_checkpoint = 0;
        let (done, encoding) = sync_channel(1);
        let thread = std::thread::Builder::new().name("wfengine-checkpoint".to_owned());
        // the writer may have closed meanwhile
        let spawned = thread.spawn(move || drop(done.send(kept.encode())));
        match spawned {
            Ok(_) => self.encoding = Some(encoding),
            Err(error) => tracing::warn!(%error, "no thread for a checkpoint; the next opening takes longer"),
        }
    }

    fn take_checkpoint(&self) -> Checkpoint {
        let mut views = self.shared.views.write().unwrap_or_else(PoisonError::into_inner);
        views.runs_mut().let_go(FINISHED_IN_MEMORY);
        Checkpoint::of(&views, &self.log, self.frames_len)
    }

    fn store_checkpoint(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        // a checkpoint costs as much as what it holds: the more it holds, the rarer it is
        self.checkpoint_after = CHECKPOINT_EVENTS_MIN.max(bytes.len() as u64 / 128);
        self.write_meta("checkpoint", bytes)
    }

    /// Stores the views at once, so that opening does not replay the world.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.encoding = None;
        let bytes = self.take_checkpoint().encode();
        self.events_since_checkpoint = 0;
        self.store_checkpoint(&bytes)
    }

    fn write_meta(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.shared.file.path.clone();
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.shared.file.database.begin_write()?;
            transaction.set_quick_repair(true);
            transaction.open_table(META)?.insert(name, sealed(bytes).as_slice())?;
            transaction.commit()?;
            Ok(())
        };
        guarded(&path, "committing", || {
            write()
                .map_err(|error| StoreError::OutcomeUnknown { path: path.clone(), detail: error.to_string() })
        })
    }

    /// Marks the log as cleanly closed, with a checkpoint if many events came since the last.
    fn finish(&mut self) -> Result<(), StoreError> {
        if self.events_since_checkpoint > CHECKPOINT_EVENTS_MIN / 20 || self.encoding.is_some() {
            self.checkpoint()?;
        }
        if self.closing_written {
            self.closing.clean = true;
            let bytes = postcard::to_stdvec(&self.closing).unwrap_or_default();
            self.write_meta("closing", &bytes)?;
        }
        Ok(())
    }

    /// Leaves the reason where everybody who waits finds it: their answers are dropped with this writer.
    fn fail(&mut self, error: &StoreError) {
        self.fatal.get_or_init(|| error.clone());
        self.work.clear();
    }
}

#[cfg(test)]
mod tests;
