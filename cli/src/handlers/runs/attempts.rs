//! The attempts of a run: which one follows a failed one, and waiting for it.
//!
//! A further attempt is a submission of its own under the same trigger key. The scheduler writes it once the backoff is over, at the
//! submitter's node first; nothing is submitted here.

use std::sync::Arc;
use std::time::Duration;

use wfengine_api::answers::Progress;
use wfengine_api::{Failure, Items};
use wfengine_core::views::run::NextAttempt;
use wfengine_storage_format::RunId;

use super::item;
use crate::clock::show_duration;
use crate::handlers::logs::Follower;
use crate::node::{Mode, Node};

/// How long an attempt may be late after its backoff. A node tries five times, 30 s apart, and another member begins at most 60 s
/// after the submitter should have; when all of that came to nothing, nobody tries again.
const LATE_MAX: Duration = Duration::from_secs(300);
/// How often lines of other runs, which pile up meanwhile, are forgotten.
const FORGET_LINES: Duration = Duration::from_secs(1);

fn is_submitted(node: &Node, next: &NextAttempt) -> bool {
    node.watcher().run(&next.run).is_some_and(|run| run.submitted.is_some())
}

/// Waits until the attempt after a failed run is submitted, and says so; `None` if there is none to come. What happens to it is
/// told from its submission on.
pub(super) async fn next_submitted(
    node: &Arc<Node>,
    run: &RunId,
    items: &Items,
) -> Result<Option<(RunId, Follower)>, Failure> {
    let wanted = || node.watcher().run(run).and_then(|run| run.next_attempt());
    let Some(next) = wanted().filter(|_| !items.is_closed()) else { return Ok(None) };
    let (before, short) = (next.attempt - 1, run.short());
    let which = format!("attempt {} (of up to {})", next.attempt, next.attempts_max);
    let text = if is_submitted(node, &next) {
        format!("attempt {before} failed, going on with {which}")
    } else if node.mode == Mode::Command {
        return Err(Failure::unreachable(format!(
            "attempt {before} (run {short}) failed and {which} is to follow, but no node runs on this host that could submit it: start `wfengine serve`"
        )));
    } else {
        let backoff = show_duration(u64::try_from(next.backoff.as_millis()).unwrap_or(u64::MAX));
        format!("attempt {before} failed, waiting for {which}, which is submitted after {backoff}")
    };
    note(items, text).await;
    let late = tokio::time::sleep(next.backoff.saturating_add(LATE_MAX));
    tokio::pin!(late);
    let mut commits = node.watcher().subscribe();
    let mut earlier: Option<Follower> = None;
    loop {
        let follower = Follower::new(node, next.run);
        if is_submitted(node, &next) {
            let _ = items.send(item(&Progress::Submitted { run: next.run.to_string() })).await;
            // the one that listened before the submission was seen has missed nothing
            return Ok(Some((next.run, earlier.unwrap_or(follower))));
        }
        // a result from elsewhere may have made the failed attempt a success
        if wanted().is_none() {
            return Ok(None);
        }
        earlier = Some(follower);
        tokio::select! {
            _ = commits.recv() => {}
            () = tokio::time::sleep(FORGET_LINES) => {}
            () = items.closed() => return Ok(None),
            () = node.stopped() => {
                return Err(node.stopped_with(&format!("the node stops; it submits {which} once it is back")));
            }
            () = &mut late => {
                let text = format!("{which} was not submitted in time: `wfengine rerun {short}` submits it");
                note(items, text).await;
                return Ok(None);
            }
        }
    }
}

async fn note(items: &Items, text: String) {
    let _ = items.send(item(&Progress::Note { text })).await;
}

#[cfg(test)]
mod tests {
    use wfengine_core::command::Command;
    use wfengine_core::seal::Author;
    use wfengine_core::time::WallMs;
    use wfengine_core::views::job::Status;
    use wfengine_core::views::run::Run;
    use wfengine_storage_format::{
        ChainId, ClusterFounded, EventId, Incarnation, JobClaimed, JobFailed, RunSubmitted, Signer,
    };
    use wfengine_store::{DataDir, Purpose, Store};

    use super::*;
    use crate::submission::task;
    use wfengine_api::Wishes;

    struct Host {
        store: Store,
        _dir: tempfile::TempDir,
    }

    impl Host {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let data = DataDir::open(dir.path().join("data")).unwrap();
            let signer = Signer::from_seed(&[1; 32]);
            let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([1; 16]) };
            let author = Author { signer: signer.clone(), chain };
            let body = ClusterFounded { name: "home".into(), nonce: [0; 16], system: vec!["linux".into()] };
            let cluster = Store::found(&data, &author, body, WallMs(1)).unwrap();
            let fresh = Incarnation::from_bytes([2; 16]);
            let (store, _) =
                Store::open(&data.cluster_dir(&cluster), signer, Purpose::Serve, fresh, "boot").unwrap();
            Self { store, _dir: dir }
        }

        fn ask(&self, command: Command) -> EventId {
            self.store.recorder().ask_blocking(command, WallMs(2)).unwrap().events[0]
        }

        fn submit(&self, submission: RunSubmitted) -> (Run, EventId) {
            let run = submission.run();
            let id =
                self.ask(Command::Submit { submission: Box::new(submission), plan: vec![], blobs: vec![] });
            (self.store.watcher().run(&run).unwrap(), id)
        }

        /// Submits a run, and lets its job fail.
        fn failed(&self, submission: RunSubmitted, retry: bool) -> Run {
            let (open, submission) = self.submit(submission);
            let (run, job) = (open.id, *open.jobs.keys().next().unwrap());
            let claim = JobClaimed { run, job, submission, epoch: 1, supersedes: None };
            let claim = Some(self.ask(Command::Claim(claim)));
            let error = "no luck".to_owned();
            let infrastructure = false;
            self.ask(Command::Fail(JobFailed { run, job, claim, submission, error, infrastructure, retry }));
            self.store.watcher().run(&run).unwrap()
        }
    }

    fn submission(id: &str, attempt: u32) -> RunSubmitted {
        let wishes = Wishes { retries: 2, backoff_ms: (50, 150), ..Wishes::default() };
        RunSubmitted { attempt, ..task(id, "", &[], &wishes).unwrap().0 }
    }

    #[test]
    fn a_failed_attempt_is_followed_by_the_next_after_a_doubling_backoff_until_there_are_no_more() {
        let host = Host::new();
        let mut waits = Vec::new();
        for attempt in 1..=2 {
            let failed = host.failed(submission("one", attempt), true);
            let next = failed.next_attempt().unwrap();
            assert_eq!((next.attempt, next.attempts_max), (attempt + 1, 3));
            assert_eq!(next.run, submission("one", attempt + 1).run());
            waits.push(next.backoff);
        }
        assert_eq!(waits, [50, 100].map(Duration::from_millis));
        assert_eq!(host.failed(submission("one", 3), true).next_attempt(), None);
    }

    #[test]
    fn nothing_follows_an_attempt_that_is_open_or_cancelled_or_failed_for_good() {
        let host = Host::new();
        let (open, _) = host.submit(submission("open", 1));
        assert_eq!(open.next_attempt(), None);
        host.ask(Command::Cancel { run: open.id, reason: "not needed".to_owned() });
        assert_eq!(host.store.watcher().run(&open.id).unwrap().next_attempt(), None);
        let failed = host.failed(submission("hopeless", 1), false);
        assert_eq!(failed.status, Status::Failed);
        assert_eq!(failed.next_attempt(), None);
    }
}
