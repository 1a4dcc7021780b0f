//! What is told, and by whom: runs that ended, results that contradict each other, members that left, a disk that fills.
//!
//! Who tells is decided by what every node knows, without asking anybody. A run's end and its conflicts are told by the node of its
//! canonical submission. Of a member that left, the member tells that comes first by the hamming rule among those that live; the two
//! sides of a partition may each tell. Each node tells of its own disk.
//!
//! Invariants: a run that had ended when this process began is not told again; what is remembered is bounded; nothing here writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;
use wfengine_api::Failure;
use wfengine_core::admitted::Admitted;
use wfengine_core::time::Monotonic;
use wfengine_core::views::job::Status;
use wfengine_core::views::run::Run;
use wfengine_storage_format::{Body, PeerId, RunId};
use wfengine_store::disk::{DiskLevel, free_bytes, level};

use super::{Named, Notification, RunTold, Wanted, Ways};
use crate::handlers::is_disagreed_on;
use crate::node::Node;

/// How often members and the disk are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Runs whose conflict is remembered as told.
const TOLD_MAX: usize = 4_096;
/// How long what is queued may take when the node ends.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// Characters of a reason that are sent.
const REASON_CHARS_MAX: usize = 500;

/// Watches until it is told to stop; nothing is done if nobody wants to hear of anything.
#[derive(Debug)]
pub(crate) struct Watching {
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Watching {
    /// Ends it, once what is queued was tried.
    pub(crate) async fn end(mut self) {
        drop(self.stop.take());
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

/// Begins to watch.
pub(crate) fn begin(node: &Arc<Node>, wanted: &Wanted) -> Result<Watching, Failure> {
    let ways = Ways::open(wanted)?;
    if ways.is_empty() {
        return Ok(Watching { stop: None, task: None });
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let news = node.watcher().subscribe();
    let watch = Watch::new(Arc::clone(node), wanted.clone(), ways);
    let task = tokio::spawn(watch.go(news, stopped));
    Ok(Watching { stop: Some(stop), task: Some(task) })
}

/// Which event a run's end is.
fn event_of(status: Status) -> &'static str {
    match status {
        Status::Completed | Status::Skipped => "run.completed",
        Status::Cancelled => "run.cancelled",
        Status::Failed | Status::Expired | Status::Pending | Status::Assigned | Status::InProgress => {
            "run.failed"
        }
    }
}

/// Ids that were told, the oldest forgotten first.
#[derive(Debug, Default)]
struct Told {
    known: BTreeSet<RunId>,
    order: VecDeque<RunId>,
}

impl Told {
    /// Whether it is new.
    fn add(&mut self, id: RunId) -> bool {
        let is_new = self.known.insert(id);
        if is_new {
            self.order.push_back(id);
            if self.order.len() > TOLD_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        is_new
    }
}

/// Members that were there, and since when they are not.
#[derive(Debug, Default)]
struct Absences {
    /// Those that were seen alive, and when they were missed first.
    known: BTreeMap<PeerId, Option<Monotonic>>,
}

impl Absences {
    /// Who has been away for long enough now and was not said to be before.
    fn look(
        &mut self,
        alive: &[PeerId],
        is_member: impl Fn(&PeerId) -> bool,
        after: Duration,
        now: Monotonic,
    ) -> Vec<PeerId> {
        for peer in alive {
            self.known.insert(*peer, None);
        }
        // whoever was taken out of the cluster did not leave it unnoticed
        self.known.retain(|peer, _| is_member(peer));
        let mut left = Vec::new();
        for (peer, missed) in &mut self.known {
            if alive.contains(peer) {
                continue;
            }
            let since = *missed.get_or_insert(now);
            if now - since >= after {
                left.push(*peer);
            }
        }
        for peer in &left {
            self.known.remove(peer);
        }
        left
    }
}

struct Watch {
    node: Arc<Node>,
    wanted: Wanted,
    ways: Ways,
    /// Open runs that were submitted here.
    open: BTreeSet<RunId>,
    contradicted: Told,
    absences: Absences,
    disk: DiskLevel,
}

impl Watch {
    fn new(node: Arc<Node>, wanted: Wanted, ways: Ways) -> Self {
        let me = node.peer_id();
        let mut contradicted = Told::default();
        let open = {
            let views = node.watcher().views();
            let own = |run: &&Run| run.submission().is_some_and(|submission| submission.author == me);
            for run in views.runs().all_live().filter(own) {
                if is_disagreed_on(run) {
                    contradicted.add(run.id);
                }
            }
            let open = views.runs().all_live().filter(own).filter(|run| !run.status.is_terminal());
            open.map(|run| run.id).collect()
        };
        // what is low already is told once
        Self { node, wanted, ways, open, contradicted, absences: Absences::default(), disk: DiskLevel::Ample }
    }

    async fn go(
        mut self,
        mut news: broadcast::Receiver<Arc<wfengine_store::Committed>>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                commit = news.recv() => match commit {
                    Ok(commit) => commit.events.iter().for_each(|event| self.event(event)),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.all_open(),
                    Err(broadcast::error::RecvError::Closed) => break,
                },
                _ = &mut stopped => break,
                _ = looks.tick() => self.look(),
            }
        }
        // what came while it was told to stop
        while let Ok(commit) = news.try_recv() {
            commit.events.iter().for_each(|event| self.event(event));
        }
        self.ways.close(LAST_WAIT).await;
    }

    /// Looks at every open run: some news was missed.
    fn all_open(&mut self) {
        let me = self.node.peer_id();
        {
            let views = self.node.watcher().views();
            let own = |run: &&Run| run.submission().is_some_and(|submission| submission.author == me);
            let missed = views.runs().all_live().filter(own).filter(|run| !run.status.is_terminal());
            self.open.extend(missed.map(|run| run.id));
        }
        for id in self.open.clone() {
            if self.is_wanted("conflict") {
                self.contradicted(&id);
            }
            self.ended(&id);
        }
    }

    fn event(&mut self, event: &Admitted) {
        let Some(id) = event.run() else { return };
        if matches!(event.body, Body::RunSubmitted(_)) && event.author() == self.node.peer_id() {
            self.open.insert(id);
        }
        self.ended(&id);
        let may_contradict = matches!(
            event.body,
            Body::RunSubmitted(_) | Body::JobCompleted(_) | Body::JobFailed(_) | Body::JobsPlanned(_)
        );
        if may_contradict && self.is_wanted("conflict") {
            self.contradicted(&id);
        }
    }

    /// Tells of a run's end, if it was open.
    fn ended(&mut self, id: &RunId) {
        if !self.open.contains(id) {
            return;
        }
        // a look at each event, and a copy only of what is told: a run may have thousands of jobs
        let is_open = {
            let views = self.node.watcher().views();
            views.runs().live(id).is_some_and(|run| !run.status.is_terminal())
        };
        if is_open {
            return;
        }
        let Some(run) = self.node.watcher().run(id).filter(|run| run.status.is_terminal()) else { return };
        self.open.remove(id);
        // another member's submission may have turned out to be the one that counts: then it tells
        if !self.is_own(&run) {
            return;
        }
        let event = event_of(run.status);
        let reason = if run.reason.is_empty() { String::new() } else { format!(": {}", run.reason) };
        let told = run_told(&run);
        let text = format!("run {} ({}) has ended: {}{reason}", told.name, run.id.short(), told.status);
        self.tell(event, text, |notification| notification.run = Some(told));
    }

    fn contradicted(&mut self, id: &RunId) {
        let told = {
            let views = self.node.watcher().views();
            let run = views.runs().live(id).filter(|run| self.is_own(run) && is_disagreed_on(run));
            run.map(|run| (run_told(run), run.id))
        };
        let Some((told, run)) = told.filter(|(_, id)| self.contradicted.add(*id)) else { return };
        let text = format!(
            "members disagree about run {} ({}): `wfengine show {}` says in what, and which result counts",
            told.name,
            run.short(),
            run.short()
        );
        self.tell("conflict", text, |notification| notification.run = Some(told));
    }

    fn is_own(&self, run: &Run) -> bool {
        run.submission().is_some_and(|submission| submission.author == self.node.peer_id())
    }

    fn look(&mut self) {
        let alive = self.node.look(|scheduler, _, _| scheduler.peers_alive());
        let now = self.node.clock.monotonic();
        let left = {
            let views = self.node.watcher().views();
            let is_member = |peer: &PeerId| views.authority().roster().member(peer).is_some();
            self.absences.look(&alive, is_member, self.wanted.left_after, now)
        };
        for peer in left {
            let place = self.node.look(|scheduler, _, _| {
                scheduler.place_for_duty("notify", &peer.to_string(), alive.iter().copied())
            });
            if place > 0 {
                continue;
            }
            let member = Named { name: self.node.watcher().views().peer_name(&peer), id: peer.to_string() };
            let text = format!("{} has left: nobody hears it", member.name);
            self.tell("node.left", text, |notification| notification.member = Some(member));
        }
        let free = free_bytes(self.node.home.data.path());
        let mut level = level(free);
        let is_worse = level > self.disk;
        // what comes and goes around a watermark is told once
        if level < self.disk {
            level = self.disk.min(wfengine_store::disk::level(free.map(|free| free / 10 * 9)));
        }
        self.disk = level;
        if is_worse {
            let mib = free.unwrap_or(0) / (1024 * 1024);
            let text = format!("{mib} MiB are left at {}", self.node.home.data.path().display());
            self.tell("disk.low", text, |notification| notification.free_bytes = free);
        }
    }

    fn is_wanted(&self, event: &str) -> bool {
        self.wanted.events.iter().any(|wanted| wanted == event)
    }

    fn tell(&self, event: &str, text: String, fill: impl FnOnce(&mut Notification)) {
        if !self.is_wanted(event) {
            return;
        }
        let me = self.node.peer_id();
        let named = Named { name: self.node.watcher().views().peer_name(&me), id: me.to_string() };
        let now_ms = self.node.clock.wall().0;
        match Notification::new(event, named, self.node.cluster.to_string(), text, now_ms) {
            Ok(mut notification) => {
                fill(&mut notification);
                self.ways.send(notification);
            }
            Err(failure) => tracing::warn!(%failure, event, "a notification was not made"),
        }
    }
}

fn run_told(run: &Run) -> RunTold {
    let submitted = run.submitted.as_ref();
    RunTold {
        id: run.id.to_string(),
        name: submitted.map(|submitted| submitted.name.clone()).unwrap_or_default(),
        status: run.status.name().to_owned(),
        reason: run.reason.chars().take(REASON_CHARS_MAX).collect(),
        attempt: submitted.map_or(1, |submitted| submitted.attempt),
        repository: submitted.map(|submitted| submitted.frozen.repository.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(seed: u8) -> PeerId {
        wfengine_storage_format::Signer::from_seed(&[seed; 32]).peer_id()
    }

    #[test]
    fn a_member_that_was_there_and_stays_away_has_left_once() {
        let mut absences = Absences::default();
        let after = Duration::from_secs(30);
        let mut look = |alive: &[PeerId], seconds: u64| {
            absences.look(alive, |peer| *peer != self::peer(9), after, Monotonic(seconds * 1_000))
        };
        let (a, b, revoked) = (peer(1), peer(2), peer(9));
        assert!(look(&[a, b, revoked], 0).is_empty());
        assert!(look(&[b], 10).is_empty());
        // back in time
        assert!(look(&[a, b], 20).is_empty());
        assert!(look(&[b], 30).is_empty());
        assert!(look(&[b], 59).is_empty());
        assert_eq!(look(&[b], 60), [a]);
        assert!(look(&[b], 600).is_empty());
        // seen again, and gone again
        assert!(look(&[a, b], 700).is_empty());
        assert!(look(&[b], 701).is_empty());
        assert_eq!(look(&[b], 731), [a]);
    }

    #[test]
    fn what_was_told_is_remembered_within_a_bound() {
        let mut told = Told::default();
        let id = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            RunId::from_bytes(bytes)
        };
        assert!(told.add(id(0)));
        assert!(!told.add(id(0)));
        assert!((1..=TOLD_MAX).all(|n| told.add(id(n))));
        assert_eq!(told.known.len(), TOLD_MAX);
        assert!(!told.known.contains(&id(0)));
    }
}
