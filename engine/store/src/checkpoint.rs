//! The checkpoint: what the views were made of at some frame, so that opening does not fold the world again.
//!
//! Only a shortcut. It is read by the very version that wrote it: one of another layout or of other views is left out, and every
//! frame is folded again.
//!
//! ```text
//! CHECKPOINT_VERSION │ VIEWS_VERSION │ frames │ chains │ heads │ events │ events of what is open │ finished runs │ leftovers │ runners
//! ```

use std::sync::Arc;

use serde::Deserialize;
use wfengine_core::admitted::Admitted;
use wfengine_core::log::{Chain, Log, LogParts};
use wfengine_core::time::WallMs;
use wfengine_core::views::runners::RunnerParts;
use wfengine_core::views::runs::FinishedRuns;
use wfengine_core::views::{Leftovers, VIEWS_VERSION, Views};
use wfengine_storage_format::{ChainId, ClusterId, Event, Tip, to_canonical};

use crate::log_file::LogFile;

/// Version of the layout: raised with every change of what [`StoredCheckpoint`] is written as, types of the core that it holds
/// included. Whether the views mean the same is [`VIEWS_VERSION`]'s to say.
///
/// 1 had no version of its own in front and no authors of finished runs, 2 no runners.
const CHECKPOINT_VERSION: u32 = 3;

/// The views as a checkpoint keeps them: events of what is still open, digests of what is finished.
#[derive(Deserialize)]
pub(crate) struct StoredCheckpoint {
    views_version: u32,
    /// Frames that it covers.
    pub(crate) frames_len: u64,
    chains: Vec<(ChainId, Chain)>,
    heads: Vec<Tip>,
    events_len: u64,
    events: Vec<(u64, Event)>,
    finished: FinishedRuns,
    leftovers: Leftovers,
    runners: RunnerParts,
}

/// What a [`StoredCheckpoint`] is made of. Taken from the views in a moment; written down without them.
pub(crate) struct Checkpoint {
    frames_len: u64,
    log: LogParts,
    events: Vec<Arc<Admitted>>,
    finished: FinishedRuns,
    leftovers: Leftovers,
    runners: RunnerParts,
}

impl Checkpoint {
    pub(crate) fn of(views: &Views, log: &Log, frames_len: u64) -> Self {
        Self {
            frames_len,
            log: log.to_parts(),
            events: views.events().cloned().collect(),
            finished: views.runs().finished().clone(),
            leftovers: views.leftovers(),
            runners: views.runners().parts(),
        }
    }

    /// The bytes of the [`StoredCheckpoint`].
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (chains, heads, events_len) = &self.log;
        let events: Vec<(u64, Event)> =
            self.events.iter().filter_map(|event| Some((event.first_seen.0, event.to_event()?))).collect();
        to_canonical(&(
            CHECKPOINT_VERSION,
            VIEWS_VERSION,
            self.frames_len,
            chains,
            heads,
            events_len,
            events,
            &self.finished,
            &self.leftovers,
            &self.runners,
        ))
    }
}

impl StoredCheckpoint {
    /// Reads a checkpoint of this layout, of these views, and nothing else.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = postcard::take_from_bytes::<u32>(bytes).ok()?;
        if version != CHECKPOINT_VERSION {
            return None;
        }
        let (kept, rest) = postcard::take_from_bytes::<Self>(rest).ok()?;
        (kept.views_version == VIEWS_VERSION && rest.is_empty()).then_some(kept)
    }

    pub(crate) fn restore(self, cluster: ClusterId, file: &LogFile) -> (Log, Views) {
        let log = Log::from_parts(cluster, (self.chains, self.heads, self.events_len));
        let mut views = Views::new(cluster);
        let mut events: Vec<Arc<Admitted>> = self
            .events
            .into_iter()
            .map(|(first_seen, event)| Arc::new(Admitted::new(event.id(), event, WallMs(first_seen))))
            .collect();
        events.sort_by_key(|event| (!event.kind.is_authority(), event.order()));
        views.apply_all(&events, file);
        views.runs_mut().restore_finished(self.finished);
        views.restore_leftovers(self.leftovers);
        views.restore_runners(self.runners);
        (log, views)
    }
}

#[cfg(test)]
mod tests {
    use wfengine_core::command::Command;
    use wfengine_core::log::Admission;
    use wfengine_core::views::job::Status;
    use wfengine_storage_format::{
        FrameBuilder, Kind, PoolChanged, RunId, RunnerCause, RunnerEnd, RunnerExited, RunnerIntended,
        RunnerRemoved, sha256,
    };

    use super::*;
    use crate::checksum::sealed;
    use crate::home::{Home, NOW, end, folded_anew, frames, signer, submit};
    use crate::log_file::META;
    use crate::open::Store;

    /// A log with something of all that a checkpoint keeps.
    fn written(home: &Home) -> Store {
        let (alice, _) = home.open(1).unwrap();
        let bob = home.with_bob(&alice);
        let ended = [submit(&alice, "ended"), submit(&alice, "ended too")];
        ended.into_iter().for_each(|run| end(&alice, run));
        submit(&alice, "open");
        let labels = vec!["linux".to_owned()];
        let pool = PoolChanged {
            pool: "default".into(),
            is_on: true,
            source: "github.com".into(),
            scopes: Vec::new(),
            labels: labels.clone(),
            runners_max: 2,
            cluster_max: 0,
            idle_min: 0,
            interval_ms: 1_000,
            policy_json: String::new(),
        };
        alice.recorder().ask_blocking(Command::ChangePool(pool), NOW).unwrap();
        for name in ["gone", "live"] {
            let intended = RunnerIntended {
                pool: "default".into(),
                name: name.into(),
                source: "github.com".into(),
                scope: "octo/a".into(),
                labels: labels.clone(),
                cause: RunnerCause::Idle,
            };
            let written = alice.recorder().ask_blocking(Command::IntendRunner(intended), NOW).unwrap();
            let intent = written.events[0];
            let end = RunnerEnd::Done { exit_code: 0 };
            let exited = RunnerExited { intent, end, log: None, ran: None };
            alice.recorder().ask_blocking(Command::ExitRunner(exited), NOW).unwrap();
            if name == "gone" {
                alice.recorder().ask_blocking(Command::RemoveRunner(RunnerRemoved { intent }), NOW).unwrap();
            }
        }
        for (kind, body) in [(Kind::from_number(0x7abc), vec![7]), (Kind::RUN_SUBMITTED, vec![0xff; 9])] {
            let of_alice = frames(&alice, 0);
            bob.recorder().take_blocking(of_alice, signer(1).peer_id(), NOW).unwrap();
            let (chain, parents) = (bob.chain(), bob.watcher().frontier().heads.clone());
            let own = bob.watcher().frontier().chains.get(&chain).cloned();
            let height = bob.watcher().frontier().height() + 1;
            let parents = parents.into_iter().filter(|tip| tip.chain != chain).collect();
            let (first_seq, prev) = own.map_or((0, None), |own| (own.length, Some(own.tip)));
            let mut builder = FrameBuilder::new(Some(home.cluster), chain, first_seq, prev, parents);
            builder.push(height, NOW.0, vec![], vec![], kind, body);
            let frame = vec![builder.sign(&signer(2)).unwrap()];
            for store in [&bob, &alice] {
                store.recorder().take_blocking(frame.clone(), signer(2).peer_id(), NOW).unwrap();
            }
        }
        alice
    }

    /// The checkpoint of a log whose finished runs left memory.
    fn checkpoint_of(store: &Store) -> Vec<u8> {
        let shared = &store.watcher().shared;
        let mut log = Log::new(shared.cluster);
        for stored in shared.file.frames(0, usize::MAX).unwrap() {
            assert_eq!(log.readmit(&stored.frame, &shared.file), Ok(Admission::Admitted));
        }
        let mut views = shared.views.write().unwrap();
        views.runs_mut().let_go(0);
        assert_eq!((views.runs().finished().len(), views.void_len(), views.unknown().len()), (2, 1, 1));
        Checkpoint::of(&views, &log, shared.file.frames_len().unwrap()).encode()
    }

    #[test]
    fn the_bytes_of_a_checkpoint_are_those_of_its_versions() {
        let home = Home::new();
        let bytes = checkpoint_of(&written(&home));
        let hash: String = sha256(&bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let found = (CHECKPOINT_VERSION, VIEWS_VERSION, hash.as_str());
        assert_eq!(
            found,
            (3, 4, "d249e229f3622316"),
            "older checkpoints must not be taken for these: raise CHECKPOINT_VERSION when they are laid out otherwise, \
             VIEWS_VERSION when the views mean something else, and pin what is found"
        );
    }

    #[test]
    fn a_checkpoint_that_is_not_of_this_version_is_left_out_and_every_frame_is_folded_again() {
        let home = Home::new();
        let store = written(&home);
        let kept = checkpoint_of(&store);
        let (digest, all) = (folded_anew(&store), store.watcher().frontier().frames_len);
        assert_eq!(store.watcher().view_digest(), digest);
        store.close().unwrap();
        drop(store);
        let open_with = |bytes: &[u8]| {
            let (store, _) = home.open(3).unwrap();
            let transaction = store.watcher().shared.file.database.begin_write().unwrap();
            transaction.open_table(META).unwrap().insert("checkpoint", sealed(bytes).as_slice()).unwrap();
            transaction.commit().unwrap();
            drop(store);
            let (store, opened) = home.open(4).unwrap();
            assert_eq!(store.watcher().view_digest(), digest);
            let stored = StoredCheckpoint::read(&kept).unwrap();
            assert_eq!(store.watcher().views().leftovers(), stored.leftovers);
            assert_eq!(store.watcher().views().runners().parts(), stored.runners);
            assert_eq!(stored.runners.len(), 2);
            opened.frames_replayed
        };
        assert_eq!(open_with(&kept), 0);
        let rest = &kept[1..];
        assert_eq!((kept[0], rest[0]), (3, 4), "the versions");
        let newer = [&[4], rest].concat();
        let of_other_views = [&[3, 5], &rest[1..]].concat();
        let with_more = [kept.as_slice(), &[0]].concat();
        let with_less = &kept[..kept.len() - 1];
        let unversioned = rest;
        for left_out in
            [&newer, &of_other_views, &with_more, with_less, unversioned, &[], &without_authors(&kept)]
        {
            assert_eq!(open_with(left_out), all, "{left_out:?}");
        }
    }

    /// As version 1 wrote it.
    fn without_authors(kept: &[u8]) -> Vec<u8> {
        let kept = StoredCheckpoint::read(kept).unwrap();
        let finished: Vec<(RunId, (Status, _, u64))> = kept
            .finished
            .iter()
            .map(|(run, finished)| (*run, (finished.status, finished.digest, finished.submitted_ms)))
            .collect();
        to_canonical(&(
            VIEWS_VERSION,
            kept.frames_len,
            kept.chains,
            kept.heads,
            kept.events_len,
            kept.events,
            finished,
            kept.leftovers,
        ))
    }
}
