//! What is under way at GitHub, beside the loop that looks: runs are handed over, followed and reported.
//!
//! One thing at a time, in an order of its own. A hand-over that was begun runs to its end whatever the settings become meanwhile: an
//! intent without an outcome would make a later process guess. Following and reporting are left where they are, for they can be done
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use wfengine_core::time::Monotonic;
use wfengine_core::views::run::Run;
use wfengine_discovery::Outside;
use wfengine_storage_format::RunId;
use wfengine_store::Committed;

use super::Troubles;
use crate::node::Node;
use crate::node::discovery::NodeHost;

/// How often what was handed over is looked at, at most; more often where somebody looks at repositories more often.
const FOLLOW_EVERY_MAX: Duration = Duration::from_secs(15);
/// How often reports are looked at where nothing is heard: what failed before, and what arrived without an event.
const SHOW_EVERY: Duration = Duration::from_secs(10);
/// Changes of runs are reported together.
const SHOW_TOGETHER: Duration = Duration::from_secs(1);
/// Hints that come together are followed together.
const HINTS_TOGETHER: Duration = Duration::from_millis(500);

/// What the looking loop tells.
pub(super) enum Order {
    /// From now on this is the way to GitHub, and repositories are looked at this often.
    Begin(Box<Outside<NodeHost>>, Duration),
    /// Nothing more is done there.
    End,
    /// GitHub says that something happened to a run there.
    Heard {
        /// `owner/name`.
        repository: String,
        /// GitHub's number of the run, if it says.
        run: Option<u64>,
    },
}

/// Which of the two passes over everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Pass {
    Follow,
    Show,
}

enum Next {
    Order(Order),
    HandOver(RunId),
    Pass(Pass),
}

/// Looks after what is under way, until nobody gives orders any more.
pub(super) async fn tend(
    node: Arc<Node>,
    troubles: Arc<Troubles>,
    mut hand_overs: mpsc::UnboundedReceiver<RunId>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mut say: impl FnMut(String),
) {
    let mut news = node.watcher().subscribe();
    let mut tending = Tending::new(&node, troubles);
    loop {
        let Some(next) = tending.next(&mut hand_overs, &mut orders, &mut news).await else { return };
        match next {
            Next::Order(order) => tending.obey(order),
            Next::HandOver(run) => {
                // the scheduler asks again and again while something takes its time
                let mut runs = BTreeSet::from([run]);
                while let Ok(run) = hand_overs.try_recv() {
                    runs.insert(run);
                }
                for run in runs {
                    tending.hand_over(run, &mut say).await;
                    if orders.is_closed() {
                        return;
                    }
                }
            }
            Next::Pass(pass) => tending.pass(pass, &mut orders, &mut say).await,
        }
        tending.tell();
    }
}

struct Tending {
    node: Arc<Node>,
    troubles: Arc<Troubles>,
    outside: Option<Box<Outside<NodeHost>>>,
    follow_every: Duration,
    follow_at: Monotonic,
    show_at: Monotonic,
    /// Repositories of whose runs there is news, and when to look.
    heard: BTreeSet<String>,
    heard_at: Option<Monotonic>,
    /// Why runs are not handed over.
    waits: BTreeMap<RunId, String>,
    /// What the last pass of each kind complained of.
    complaints: BTreeMap<Pass, BTreeSet<String>>,
}

impl Tending {
    fn new(node: &Arc<Node>, troubles: Arc<Troubles>) -> Self {
        let now = node.clock.monotonic();
        Self {
            node: Arc::clone(node),
            troubles,
            outside: None,
            follow_every: FOLLOW_EVERY_MAX,
            follow_at: now,
            show_at: now,
            heard: BTreeSet::new(),
            heard_at: None,
            waits: BTreeMap::new(),
            complaints: BTreeMap::new(),
        }
    }

    fn now(&self) -> Monotonic {
        self.node.clock.monotonic()
    }

    /// Waits for whatever comes first; `None` when nobody gives orders any more.
    async fn next(
        &mut self,
        hand_overs: &mut mpsc::UnboundedReceiver<RunId>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
        news: &mut broadcast::Receiver<Arc<Committed>>,
    ) -> Option<Next> {
        loop {
            let now = self.now();
            let until = |at: Monotonic| if at > now { at - now } else { Duration::ZERO };
            let follow_at = self.heard_at.map_or(self.follow_at, |heard| heard.min(self.follow_at));
            let goes = self.outside.is_some();
            tokio::select! {
                order = orders.recv() => return order.map(Next::Order),
                Some(run) = hand_overs.recv() => return Some(Next::HandOver(run)),
                () = tokio::time::sleep(until(follow_at)), if goes => return Some(Next::Pass(Pass::Follow)),
                () = tokio::time::sleep(until(self.show_at)), if goes => return Some(Next::Pass(Pass::Show)),
                commit = news.recv(), if goes => {
                    // what lagged behind is looked at as well: everything is read from the views
                    let of_runs = commit.map_or(true, |commit| commit.events.iter().any(|event| event.run().is_some()));
                    if of_runs {
                        self.show_at = self.show_at.min(now + SHOW_TOGETHER);
                    }
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Begin(outside, interval) => {
                let now = self.now();
                self.forget();
                self.follow_every = interval.min(FOLLOW_EVERY_MAX);
                (self.follow_at, self.show_at) = (now, now + SHOW_TOGETHER);
                self.outside = Some(outside);
            }
            Order::End => {
                self.forget();
                self.outside = None;
            }
            Order::Heard { repository, run } => {
                if self.outside.as_ref().is_some_and(|outside| outside.may_follow(&repository, run)) {
                    self.heard.insert(repository);
                    self.heard_at = self.heard_at.or(Some(self.now() + HINTS_TOGETHER));
                }
            }
        }
    }

    fn forget(&mut self) {
        self.heard.clear();
        self.heard_at = None;
        self.waits.clear();
        self.complaints.clear();
    }

    async fn hand_over(&mut self, run: RunId, say: &mut impl FnMut(String)) {
        // without a way to GitHub the scheduler asks again later
        let Some(outside) = &mut self.outside else { return };
        match outside.hand_over(run).await {
            Ok(()) => {
                self.waits.remove(&run);
                say(format!("run {} was handed to GitHub: no peer took it", run.short()));
            }
            Err(why) => {
                if self.waits.get(&run) != Some(&why) {
                    say(format!("run {} is not handed to GitHub: {why}", run.short()));
                }
                self.waits.insert(run, why);
            }
        }
    }

    /// One pass, unless other orders than hints come before its end.
    async fn pass(
        &mut self,
        pass: Pass,
        orders: &mut mpsc::UnboundedReceiver<Order>,
        say: &mut impl FnMut(String),
    ) {
        let Some(mut outside) = self.outside.take() else { return };
        let now = self.now();
        let only = match pass {
            Pass::Show => {
                self.show_at = now + SHOW_EVERY;
                None
            }
            Pass::Follow if now < self.follow_at => Some(std::mem::take(&mut self.heard)),
            Pass::Follow => {
                self.follow_at = now + self.follow_every;
                None
            }
        };
        if pass == Pass::Follow {
            self.heard_at = None;
            self.heard.clear();
        }
        let mut heard = Vec::new();
        let ended = {
            let going = async {
                match pass {
                    Pass::Follow => outside.follow(only.as_ref()).await,
                    Pass::Show => outside.show().await,
                }
            };
            let mut going = pin!(going);
            loop {
                tokio::select! {
                    said = &mut going => break Ok(said),
                    order = orders.recv() => match order {
                        Some(hint @ Order::Heard { .. }) => heard.push(hint),
                        other => break Err(other),
                    }
                }
            }
        };
        self.outside = Some(outside);
        heard.into_iter().for_each(|hint| self.obey(hint));
        match ended {
            // of some repositories only, the rest is as it was
            Ok(said) if only.is_some() => said.into_iter().for_each(say),
            Ok(said) => {
                let said = BTreeSet::from_iter(said);
                let before = self.complaints.insert(pass, said.clone()).unwrap_or_default();
                said.difference(&before).cloned().for_each(say);
            }
            Err(Some(order)) => self.obey(order),
            // the next question for orders says the same
            Err(None) => {}
        }
    }

    /// What keeps something from going on is shown where people ask for the node's status.
    fn tell(&mut self) {
        let views = self.node.watcher().views();
        // what a peer has meanwhile waits no more
        let waits = |run: &Run| {
            let is_begun = run.jobs.values().any(|job| job.holder().is_some() || job.result.is_some());
            !run.status.is_terminal() && !is_begun
        };
        self.waits.retain(|run, _| views.runs().live(run).is_some_and(waits));
        drop(views);
        let waits =
            self.waits.iter().map(|(run, why)| format!("run {} is not handed to GitHub: {why}", run.short()));
        let complaints = self.complaints.values().flatten().cloned();
        self.troubles.note_outside(waits.chain(complaints));
    }
}
