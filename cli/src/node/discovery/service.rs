//! The loop: a node that serves looks for workflows as its settings say, and `discover monitor` does so while it is asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use wfengine_core::command::Command;
use wfengine_core::time::Monotonic;
use wfengine_discovery::{Discovery, Outside, Report};
use wfengine_github::Secret;
use wfengine_github::listener::{BoundListener, listen};
use wfengine_github::webhook::Hint;
use wfengine_storage_format::{DiscoveryChanged, RunId};

use super::{Environment, Node, NodeHost, Wishes, discovery};
use crate::error::Failure;
use crate::node::held;

/// After a round that could not even begin.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Hints that come together are looked at together.
const HINTS_TOGETHER: Duration = Duration::from_millis(500);
/// Hints that wait to be looked at; of more it is enough that there are many.
const HINTS_WAITING_MAX: usize = 256;
/// How often what is under way at GitHub is looked at, at least.
const TEND_EVERY: Duration = Duration::from_secs(30);
/// Changes of runs are reported together.
const TEND_TOGETHER: Duration = Duration::from_secs(1);
/// A schedule is looked at again after this long, for clocks are set.
const SCHEDULE_LOOK_MAX: Duration = Duration::from_secs(60);

/// Looks as the settings say, until the node stops. Settings may change meanwhile.
pub(crate) fn begin(node: &Arc<Node>, variables: Environment) {
    let node = Arc::clone(node);
    tokio::spawn(async move {
        let Some(mut hand_overs) = held(&node.hand_overs.1).take() else { return };
        tokio::select! {
            () = node.stopped() => {}
            () = node.left() => {}
            () = look(&node, &variables, &mut hand_overs) => {}
        }
    });
}

async fn look(node: &Arc<Node>, variables: &Environment, hand_overs: &mut mpsc::UnboundedReceiver<RunId>) {
    let mut changes = node.settings_changes();
    loop {
        let wishes = node.settings().discovery;
        announce(node, &wishes).await;
        if !wishes.on {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                _ = hand_overs.recv() => {}
            }
            continue;
        }
        let mut said = String::new();
        tokio::select! {
            _ = changes.changed() => {}
            () = watching(node, &wishes, variables, hand_overs, &mut said) => {}
        }
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
    hand_overs: &mut mpsc::UnboundedReceiver<RunId>,
    said: &mut String,
) {
    let say = |line: String| tracing::info!("{line}");
    let begun = Rounds::begin(node, wishes, variables, false).await;
    match begun {
        Ok(mut rounds) => {
            node.note_discovery("");
            rounds.go_on(Some(hand_overs), say, said).await;
        }
        Err(failure) => {
            if node.note_discovery(&failure.message) {
                tracing::warn!("discovery cannot begin: {failure}");
            }
            tokio::time::sleep(TRY_AGAIN.min(Duration::from_secs(wishes.interval_s))).await;
        }
    }
}

/// Looks again and again for somebody who watches; ends when the watcher leaves.
pub(crate) async fn monitor(
    node: &Arc<Node>,
    wishes: &Wishes,
    variables: &Environment,
    dry_run: bool,
    say: impl FnMut(String),
    gone: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let mut rounds = Rounds::begin(node, wishes, variables, dry_run).await?;
    let mut said = String::new();
    tokio::select! {
        () = rounds.go_on(None, say, &mut said) => {}
        () = gone => {}
        () = node.stopped() => {}
        () = node.left() => {}
    }
    Ok(())
}

/// Rounds of discovery, what is done at GitHub in between, and what calls for a round before its time.
struct Rounds {
    node: Arc<Node>,
    interval: Duration,
    discovery: Discovery<NodeHost>,
    outside: Option<Outside<NodeHost>>,
    hints: mpsc::Receiver<Hint>,
    _listener: Option<BoundListener>,
    notes: Vec<String>,
}

/// What happens next.
enum Next {
    Round,
    Hinted(BTreeSet<String>),
    Scheduled(BTreeSet<String>),
    HandOver(RunId),
    Tend,
}

impl Node {
    /// Notes why discovery does not get on, or (empty) that it does. Whether that is news.
    fn note_discovery(&self, trouble: &str) -> bool {
        let mut noted = held(&self.discovery_trouble);
        let is_news = *noted != trouble;
        trouble.clone_into(&mut noted);
        is_news
    }

    /// Why discovery does not get on, if so.
    pub(crate) fn discovery_trouble(&self) -> Option<String> {
        Some(held(&self.discovery_trouble).clone()).filter(|trouble| !trouble.is_empty())
    }
}

impl Rounds {
    async fn begin(
        node: &Arc<Node>,
        wishes: &Wishes,
        variables: &Environment,
        dry_run: bool,
    ) -> Result<Self, Failure> {
        let (discovery, connection, mut notes) = discovery(node, wishes, variables, true, dry_run).await?;
        let outside = match connection.filter(|_| !dry_run) {
            Some(connection) => {
                let host = Arc::new(NodeHost::new(node, variables)?);
                Some(Outside::new(host, connection, wishes.outside.options()))
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
        Ok(Self { node: Arc::clone(node), interval, discovery, outside, hints, _listener: listener, notes })
    }

    /// Never comes back.
    async fn go_on(
        &mut self,
        mut hand_overs: Option<&mut mpsc::UnboundedReceiver<RunId>>,
        mut say: impl FnMut(String),
        said: &mut String,
    ) {
        std::mem::take(&mut self.notes).into_iter().for_each(&mut say);
        let mut news = self.node.watcher().subscribe();
        let mut round_at = self.node.clock.monotonic();
        let mut tend_at = round_at + TEND_EVERY;
        let mut complained = String::new();
        loop {
            let next = self.next(round_at, &mut tend_at, &mut hand_overs, &mut news).await;
            let node = Arc::clone(&self.node);
            let _round = node.discovering.lock().await;
            let report = match next {
                Next::Round => {
                    round_at = self.node.clock.monotonic() + self.interval;
                    let report = self.discovery.round().await;
                    let trouble = report.problems.first().filter(|_| report.failed);
                    let trouble = trouble.map_or("", |problem| problem.what.as_str());
                    if self.node.note_discovery(trouble) && !trouble.is_empty() {
                        tracing::warn!("nothing can be looked at: {trouble}");
                    }
                    report
                }
                Next::Hinted(names) | Next::Scheduled(names) => {
                    let report = self.discovery.round_of(&names).await;
                    started(&report).into_iter().for_each(&mut say);
                    continue;
                }
                Next::HandOver(run) => {
                    let Some(outside) = &mut self.outside else { continue };
                    match outside.hand_over(run).await {
                        Ok(()) => say(format!("run {} was handed to GitHub: no peer took it", run.short())),
                        Err(why) => tracing::info!(%run, why, "not handed to GitHub"),
                    }
                    continue;
                }
                Next::Tend => {
                    tend_at = self.node.clock.monotonic() + TEND_EVERY;
                    let Some(outside) = &mut self.outside else { continue };
                    let complaints = outside.tend().await.join("; ");
                    if complaints != complained && !complaints.is_empty() {
                        say(complaints.clone());
                    }
                    complained = complaints;
                    continue;
                }
            };
            tend_at = tend_at.min(self.node.clock.monotonic() + TEND_TOGETHER);
            changed(&report, said).into_iter().for_each(&mut say);
        }
    }

    /// Waits for whatever comes first.
    async fn next(
        &mut self,
        round_at: Monotonic,
        tend_at: &mut Monotonic,
        hand_overs: &mut Option<&mut mpsc::UnboundedReceiver<RunId>>,
        news: &mut tokio::sync::broadcast::Receiver<Arc<wfengine_store::Committed>>,
    ) -> Next {
        let scheduled = self.discovery.next_schedule();
        loop {
            let now = self.node.clock.monotonic();
            let until = |at: Monotonic| if at > now { at - now } else { Duration::ZERO };
            let wall_s = self.node.clock.wall().0 / 1_000;
            let schedule = scheduled.as_ref().map(|(at, _)| Duration::from_secs(at.saturating_sub(wall_s)));
            let asked = async {
                match hand_overs {
                    Some(hand_overs) => hand_overs.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(run) = asked => return Next::HandOver(run),
                Some(hint) = self.hints.recv() => {
                    tokio::time::sleep(HINTS_TOGETHER).await;
                    let mut names = BTreeSet::from_iter(repository(hint));
                    while let Ok(hint) = self.hints.try_recv() {
                        names.extend(repository(hint));
                    }
                    if !names.is_empty() {
                        return Next::Hinted(names);
                    }
                }
                () = tokio::time::sleep(until(round_at)) => return Next::Round,
                () = tokio::time::sleep(schedule.unwrap_or(SCHEDULE_LOOK_MAX).min(SCHEDULE_LOOK_MAX)) => {
                    if let Some((at, names)) = &scheduled
                        && self.node.clock.wall().0 / 1_000 >= *at
                    {
                        return Next::Scheduled(names.clone());
                    }
                }
                () = tokio::time::sleep(until(*tend_at)) => return Next::Tend,
                commit = news.recv(), if self.outside.is_some() => {
                    // what lagged behind is looked at as well: everything is read from the views
                    let of_runs = commit.map_or(true, |commit| commit.events.iter().any(|event| event.run().is_some()));
                    if of_runs {
                        *tend_at = (*tend_at).min(self.node.clock.monotonic() + TEND_TOGETHER);
                    }
                }
            }
        }
    }
}

/// The repository that a hint is about.
fn repository(hint: Hint) -> Option<String> {
    match hint {
        Hint::Push { repository, .. } | Hint::WorkflowRun { repository, .. } => Some(repository),
        Hint::WorkflowJob { .. } | Hint::Ping => None,
        Hint::Other { repository, .. } => repository,
    }
}

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
