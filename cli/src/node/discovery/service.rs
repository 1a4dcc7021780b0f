//! The loop: a node that serves looks for workflows as its settings say, and `discover monitor` does so while it is asked.
//!
//! What is under way at GitHub is looked after beside it ([`tending`]): a long round, or somebody's `discover once`, keeps nobody from
//! handing over.

mod tending;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wfengine_api::{Environment, Failure};
use wfengine_core::command::Command;
use wfengine_core::time::Monotonic;
use wfengine_discovery::{Discovery, Outside, Report};
use wfengine_github::Secret;
use wfengine_github::listener::{BoundListener, listen};
use wfengine_github::webhook::Hint;
use wfengine_storage_format::DiscoveryChanged;

use self::tending::{Order, tend};
use super::{Node, NodeHost, Wishes, discovery};
use crate::node::{autoscaler, held};

/// After a round that could not even begin.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Hints that come together are looked at together.
const HINTS_TOGETHER: Duration = Duration::from_millis(500);
/// Hints that wait to be looked at; of more it is enough that there are many.
const HINTS_WAITING_MAX: usize = 256;
/// A schedule is looked at again after this long, for clocks are set.
const SCHEDULE_LOOK_MAX: Duration = Duration::from_secs(60);
/// A hand-over that was begun when the node stops gets so long to end.
const HAND_OVER_ENDS: Duration = Duration::from_secs(10);
/// What keeps discovery from getting on is shown up to this many lines.
const TROUBLES_SHOWN_MAX: usize = 5;

type Orders = mpsc::UnboundedSender<Order>;

/// Looks as the settings say, until the node stops. Settings may change meanwhile. Done once a hand-over that was begun has ended too.
pub(crate) fn begin(node: &Arc<Node>, variables: Environment) -> JoinHandle<()> {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let Some(hand_overs) = held(&node.hand_overs.1).take() else { return };
        let troubles = Arc::new(Troubles::new(&node));
        let (orders, ordered) = mpsc::unbounded_channel();
        let say = |line: String| tracing::info!("{line}");
        let tending = tokio::spawn(tend(Arc::clone(&node), Arc::clone(&troubles), hand_overs, ordered, say));
        tokio::select! {
            () = node.stopped() => {}
            () = node.left() => {}
            () = look(&node, &variables, &orders, &troubles) => {}
        }
        drop(orders);
        if tokio::time::timeout(HAND_OVER_ENDS, tending).await.is_err() {
            tracing::warn!(
                "a run was being handed to GitHub when this node stopped: whether it was, the next start finds out"
            );
        }
    })
}

async fn look(node: &Arc<Node>, variables: &Environment, orders: &Orders, troubles: &Troubles) {
    let mut changes = node.settings_changes();
    loop {
        let wishes = node.settings().discovery;
        announce(node, &wishes).await;
        if !wishes.on {
            order(orders, Order::End);
            troubles.note_looking("");
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let mut said = String::new();
        let mut watching = std::pin::pin!(watching(node, &wishes, variables, orders, troubles, &mut said));
        loop {
            tokio::select! {
                changed = changes.changed() => {
                    // other settings of the host are none of discovery's business
                    if changed.is_err() || node.settings().discovery != wishes {
                        break;
                    }
                }
                () = &mut watching => break,
            }
        }
        order(orders, Order::End);
    }
}

/// Whoever takes orders goes only after those who give them.
fn order(orders: &Orders, order: Order) {
    if orders.send(order).is_err() {
        tracing::error!("BUG: nobody looks after what is under way at GitHub");
    }
}

/// Tells the members what this node looks at.
async fn announce(node: &Arc<Node>, wishes: &Wishes) {
    let scopes = if wishes.on { wishes.scopes().unwrap_or_default() } else { Vec::new() };
    let shown = |scope: &wfengine_discovery::Scope| scope.to_string().chars().take(200).collect();
    let body = DiscoveryChanged {
        interval_ms: if scopes.is_empty() { 0 } else { wishes.interval_s.saturating_mul(1_000) },
        scopes: scopes.iter().map(shown).take(64).collect(),
    };
    if let Err(error) = node.ask(Command::Watch(body)).await {
        tracing::warn!(%error, "members were not told what this node looks at");
    }
}

/// Looks again and again for the settings. Comes back only when it could not begin, and some time has passed.
async fn watching(
    node: &Arc<Node>,
    wishes: &Wishes,
    variables: &Environment,
    orders: &Orders,
    troubles: &Troubles,
    said: &mut String,
) {
    let say = |line: String| tracing::info!("{line}");
    match Rounds::begin(node, wishes, variables, false, orders.clone()).await {
        Ok((mut rounds, outside)) => {
            troubles.note_looking("");
            if let Some(outside) = outside {
                order(orders, Order::Begin(outside, rounds.interval));
            }
            rounds.go_on(say, said, Some(troubles)).await;
        }
        Err(failure) => {
            if troubles.note_looking(&failure.message) {
                tracing::warn!("discovery cannot begin: {failure}");
            }
            tokio::time::sleep(TRY_AGAIN.min(Duration::from_secs(wishes.interval_s))).await;
        }
    }
}

/// Looks again and again for somebody who watches; ends when the watcher leaves. Where nobody else does, what is under way at GitHub
/// is followed meanwhile.
pub(crate) async fn monitor(
    node: &Arc<Node>,
    wishes: &Wishes,
    variables: &Environment,
    dry_run: bool,
    say: impl FnMut(String),
    gone: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let (orders, ordered) = mpsc::unbounded_channel();
    let (mut rounds, outside) = Rounds::begin(node, wishes, variables, dry_run, orders.clone()).await?;
    // two that follow the same would take each other's hand-overs for those of an earlier process
    if let Some(outside) = outside.filter(|_| !node.settings().discovery.on) {
        order(&orders, Order::Begin(outside, rounds.interval));
    }
    // the scheduler's hand-overs are for those who serve
    let (_nobody, hand_overs) = mpsc::unbounded_channel();
    let follow = |line: String| tracing::info!("{line}");
    let mut said = String::new();
    tokio::select! {
        () = rounds.go_on(say, &mut said, None) => {}
        () = tend(Arc::clone(node), Arc::default(), hand_overs, ordered, follow) => {}
        () = gone => {}
        () = node.stopped() => {}
        () = node.left() => {}
    }
    Ok(())
}

/// Why discovery does not get on, for whoever asks for the node's status: what keeps it from looking, and what waits at GitHub.
#[derive(Default)]
struct Troubles {
    /// Where it is shown.
    node: Option<Arc<Node>>,
    looking: Mutex<String>,
    outside: Mutex<Vec<String>>,
}

impl Troubles {
    fn new(node: &Arc<Node>) -> Self {
        Self { node: Some(Arc::clone(node)), ..Self::default() }
    }

    /// Notes why nothing can be looked at, or (empty) that it can. Whether that is news.
    fn note_looking(&self, trouble: &str) -> bool {
        let is_news = {
            let mut noted = held(&self.looking);
            let is_news = *noted != trouble;
            trouble.clone_into(&mut noted);
            is_news
        };
        self.show();
        is_news
    }

    fn note_outside(&self, troubles: impl Iterator<Item = String>) {
        *held(&self.outside) = troubles.collect();
        self.show();
    }

    fn show(&self) {
        let Some(node) = &self.node else { return };
        let (looking, outside) = (held(&self.looking).clone(), held(&self.outside).clone());
        let mut lines: Vec<String> = Some(looking).into_iter().filter(|line| !line.is_empty()).collect();
        lines.extend(outside);
        let more = lines.len().saturating_sub(TROUBLES_SHOWN_MAX);
        lines.truncate(TROUBLES_SHOWN_MAX);
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        *held(&node.discovery_trouble) = lines.join("; ");
    }
}

/// Rounds of discovery, and what calls for a round before its time.
struct Rounds {
    node: Arc<Node>,
    interval: Duration,
    discovery: Discovery<NodeHost>,
    hints: mpsc::Receiver<Hint>,
    orders: Orders,
    _listener: Option<BoundListener>,
    notes: Vec<String>,
}

/// What happens next.
enum Next {
    Round,
    Hinted(BTreeSet<String>),
    Scheduled(BTreeSet<String>),
}

impl Node {
    /// Why discovery does not get on, if so.
    pub(crate) fn discovery_trouble(&self) -> Option<String> {
        Some(held(&self.discovery_trouble).clone()).filter(|trouble| !trouble.is_empty())
    }
}

impl Rounds {
    /// What looks, and what acts at GitHub, if anything may.
    async fn begin(
        node: &Arc<Node>,
        wishes: &Wishes,
        variables: &Environment,
        dry_run: bool,
        orders: Orders,
    ) -> Result<(Self, Option<Box<Outside<NodeHost>>>), Failure> {
        let (discovery, connection, mut notes) = discovery(node, wishes, variables, true, dry_run).await?;
        let outside = match connection.filter(|_| !dry_run) {
            Some(connection) => {
                let host = Arc::new(NodeHost::new(node, variables)?);
                Some(Box::new(Outside::new(host, connection, wishes.outside.options())))
            }
            None => None,
        };
        let (hinted, hints) = mpsc::channel(HINTS_WAITING_MAX);
        let listener = match &wishes.webhook {
            None => None,
            Some(webhook) => {
                let listener = hear(node, &webhook.listen, &webhook.secret_file, hinted).await?;
                notes.push(format!("webhooks are heard at {}/webhooks/github", listener.address()));
                Some(listener)
            }
        };
        let interval = Duration::from_secs(wishes.interval_s);
        let node = Arc::clone(node);
        Ok((Self { node, interval, discovery, hints, orders, _listener: listener, notes }, outside))
    }

    /// Never comes back.
    async fn go_on(&mut self, mut say: impl FnMut(String), said: &mut String, troubles: Option<&Troubles>) {
        std::mem::take(&mut self.notes).into_iter().for_each(&mut say);
        let mut round_at = self.node.clock.monotonic();
        loop {
            let next = self.next(round_at).await;
            let node = Arc::clone(&self.node);
            let _round = node.discovering.lock().await;
            match next {
                Next::Round => {
                    round_at = self.node.clock.monotonic() + self.interval;
                    let report = self.discovery.round().await;
                    let trouble = report.problems.first().filter(|_| report.failed);
                    let trouble = trouble.map_or("", |problem| problem.what.as_str());
                    if troubles.is_some_and(|troubles| troubles.note_looking(trouble)) && !trouble.is_empty()
                    {
                        tracing::warn!("nothing can be looked at: {trouble}");
                    }
                    changed(&report, said).into_iter().for_each(&mut say);
                }
                Next::Hinted(names) | Next::Scheduled(names) => {
                    let report = self.discovery.round_of(&names).await;
                    started(&report).into_iter().for_each(&mut say);
                }
            }
        }
    }

    /// Waits for whatever comes first.
    async fn next(&mut self, round_at: Monotonic) -> Next {
        let scheduled = self.discovery.next_schedule();
        loop {
            let now = self.node.clock.monotonic();
            let until = |at: Monotonic| if at > now { at - now } else { Duration::ZERO };
            let wall_s = self.node.clock.wall().0 / 1_000;
            let schedule = scheduled.as_ref().map(|(at, _)| Duration::from_secs(at.saturating_sub(wall_s)));
            tokio::select! {
                Some(hint) = self.hints.recv() => {
                    let Some(name) = self.heard(hint) else { continue };
                    tokio::time::sleep(HINTS_TOGETHER).await;
                    let mut names = BTreeSet::from([name]);
                    while let Ok(hint) = self.hints.try_recv() {
                        names.extend(self.heard(hint));
                    }
                    return Next::Hinted(names);
                }
                () = tokio::time::sleep(until(round_at)) => return Next::Round,
                () = tokio::time::sleep(schedule.unwrap_or(SCHEDULE_LOOK_MAX).min(SCHEDULE_LOOK_MAX)) => {
                    if let Some((at, names)) = &scheduled
                        && self.node.clock.wall().0 / 1_000 >= *at
                    {
                        return Next::Scheduled(names.clone());
                    }
                }
            }
        }
    }

    /// The repository that is to be looked at. What is about a run at GitHub hastens a look at that run alone.
    fn heard(&self, hint: Hint) -> Option<String> {
        let (repository, run) = match hint {
            Hint::Push { repository, .. } => return Some(repository),
            Hint::Ping => return None,
            // what our own reports and dispatches cause
            Hint::Other { event, .. } if OF_OURS.contains(&event.as_str()) => return None,
            Hint::Other { repository, .. } => return repository,
            Hint::WorkflowRun { repository, run, .. } => (repository, Some(run.id)),
            Hint::WorkflowJob { repository, job, .. } => {
                autoscaler::heard(&self.node, &repository);
                (repository, job.run_id)
            }
        };
        order(&self.orders, Order::Heard { repository, run });
        None
    }
}

/// Messages that GitHub sends about what members of the cluster do there.
const OF_OURS: [&str; 4] = ["check_run", "check_suite", "status", "workflow_dispatch"];

async fn hear(
    node: &Arc<Node>,
    address: &str,
    secret_file: &std::path::Path,
    hinted: mpsc::Sender<Hint>,
) -> Result<BoundListener, Failure> {
    let secret =
        std::fs::read_to_string(secret_file).map_err(|error| Failure::io("read", secret_file, &error))?;
    let address =
        address.parse().map_err(|_| Failure::bad_input(format!("--webhook {address}: no address")))?;
    let stopping = Arc::clone(node);
    let stop = async move { stopping.stopped().await };
    let listener = listen(address, Secret::new(secret.trim()), hinted, stop).await;
    listener.map_err(|error| Failure::refused(error.to_string()))
}

/// Lines for the runs of a round.
fn started(report: &Report) -> Vec<String> {
    let submitted = report.workflows.iter().filter(|line| !line.runs.is_empty());
    let mut lines: Vec<String> = submitted
        .map(|line| {
            format!(
                "submitted {}/{}/{} ({})",
                line.owner,
                line.repo,
                line.workflow_path,
                line.tags.join(", ")
            )
        })
        .collect();
    lines.extend(report.vanished.iter().map(|gone| format!("gone: {gone}")));
    lines
}

/// Lines for a round that differs from the one before; `said` is what the one before was.
fn changed(report: &Report, said: &mut String) -> Vec<String> {
    let mut lines = started(report);
    let fingerprint = report.fingerprint();
    if *said != fingerprint {
        lines.extend(report.problems.iter().map(|problem| {
            let path = if problem.path.is_empty() { String::new() } else { format!("/{}", problem.path) };
            format!("{}{path}: {}", problem.repository, problem.what)
        }));
        lines.push(format!(
            "Discovery: {} workflows in {} repositories, {} submitted",
            report.discovered(),
            report.repositories.len(),
            report.submitted
        ));
        *said = fingerprint;
    }
    lines
}
