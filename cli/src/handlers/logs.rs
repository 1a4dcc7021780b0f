//! Logs: of jobs that run here, of jobs that ran somewhere, of jobs that run elsewhere right now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use wfengine_api::answers::{Progress, in_file_order};
use wfengine_api::{Exit, Failure, Items};
use wfengine_core::views::job::{Job, Status};
use wfengine_core::views::run::Run;
use wfengine_executor::log::{LogLine, LogReader, Stream};
use wfengine_storage_format::{JobId, RunId};
use wfengine_store::Committed;

use super::resolve;
use super::runs::item;
use crate::node::{Happening, Mode, Node, What, blob};

/// How often a log that is being written elsewhere is asked for again.
const REMOTE_LOOK: Duration = Duration::from_millis(500);

/// Follows a run from the moment it is made until the run has ended.
pub(super) struct Follower {
    run: RunId,
    news: broadcast::Receiver<Arc<Happening>>,
    commits: broadcast::Receiver<Arc<Committed>>,
    changes: watch::Receiver<()>,
    told: BTreeSet<JobId>,
    /// Lines of jobs that had begun before anybody listened: those still on their way that were read from the log already.
    read_already: BTreeMap<JobId, usize>,
}

impl Follower {
    pub(super) fn new(node: &Node, run: RunId) -> Self {
        Self {
            run,
            news: node.listen(),
            commits: node.watcher().subscribe(),
            changes: node.changes(),
            told: BTreeSet::new(),
            read_already: BTreeMap::new(),
        }
    }

    /// Tells what happens until the run has ended or nobody listens any more.
    pub(super) async fn follow(
        &mut self,
        node: &Arc<Node>,
        items: &Items,
        logs: bool,
    ) -> Result<(), Failure> {
        let mut may_have_ended = true;
        loop {
            if may_have_ended && has_ended(node, &self.run) {
                while let Ok(happening) = self.news.try_recv() {
                    self.tell(node, items, &happening, logs).await;
                }
                if logs {
                    self.tell_rest(node, items).await?;
                }
                return Ok(());
            }
            may_have_ended = true;
            tokio::select! {
                biased;
                happening = self.news.recv() => match happening {
                    Ok(happening) => {
                        // a line ends nothing; looking at the run for each would make long logs slow
                        may_have_ended = false;
                        self.tell(node, items, &happening, logs).await;
                    }
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        // which ones is not known: rather a line twice than none
                        self.read_already.clear();
                        let text = format!("{missed} lines were left out here; `wfengine logs` shows them all");
                        let _ = items.send(item(&Progress::Note { text })).await;
                    }
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                _ = self.commits.recv() => {}
                _ = self.changes.changed() => {}
                () = items.closed() => return Ok(()),
                () = node.stopped() => {
                    return Err(node.stopped_with("the node stops; ask again once it is back"));
                }
            }
        }
    }

    async fn tell(&mut self, node: &Node, items: &Items, happening: &Happening, logs: bool) {
        if happening.run != self.run || !logs {
            return;
        }
        if self.told.contains(&happening.job) || matches!(happening.what, What::Started { .. }) {
            if let What::Line(_) = &happening.what
                && let Some(lines) = self.read_already.get_mut(&happening.job).filter(|lines| **lines > 0)
            {
                *lines -= 1;
                return;
            }
        } else {
            // it had begun before anybody listened: what it printed until here is in its log
            let What::Line(line) = &happening.what else { return };
            self.catch_up(node, items, happening.job, line).await;
            return;
        }
        let (job, name) = (happening.job.to_string(), job_name(node, &self.run, &happening.job));
        let progress = match &happening.what {
            What::Started { name } => {
                self.told.insert(happening.job);
                let peer = node.watcher().views().peer_name(&node.peer_id());
                Progress::JobStarted { job, name: name.clone(), peer }
            }
            What::Step { number, name } => Progress::Step { job, number: *number, name: name.clone() },
            What::Line(line) => line_of(job, name, line),
            What::StepEnded(step) => Progress::StepEnded {
                job,
                number: step.number,
                name: step.name.clone(),
                conclusion: step.conclusion.name().to_owned(),
                duration_ms: step.duration_ms,
            },
            What::Ended { conclusion } => Progress::JobEnded { job, name, conclusion: conclusion.clone() },
        };
        let _ = items.send(item(&progress)).await;
    }

    /// Tells what a job that runs has printed until and with this line, and remembers how many of the next ones that was.
    async fn catch_up(&mut self, node: &Node, items: &Items, job: JobId, line: &LogLine) {
        let path = node.running_log(&job);
        let read = tokio::task::spawn_blocking(move || lines_of(&std::fs::read(path?).ok()?).ok());
        let read = read.await.ok().flatten().unwrap_or_default();
        let Some(place) = read.iter().rposition(|known| known == line) else { return };
        self.told.insert(job);
        self.read_already.insert(job, read.len() - 1 - place);
        let (id, name) = (job.to_string(), job_name(node, &self.run, &job));
        let peer = node.watcher().views().peer_name(&node.peer_id());
        let started = Progress::JobStarted { job: id.clone(), name: name.clone(), peer };
        let _ = items.send(item(&started)).await;
        for line in &read {
            let _ = items.send(item(&line_of(id.clone(), name.clone(), line))).await;
        }
    }

    /// The logs of jobs that were executed elsewhere.
    async fn tell_rest(&self, node: &Arc<Node>, items: &Items) -> Result<(), Failure> {
        let Some(run) = node.watcher().run(&self.run) else { return Ok(()) };
        for job in run.jobs.values().filter(|job| !self.told.contains(&job.id)) {
            let Some(result) = &job.result else { continue };
            let (id, name) = (job.id.to_string(), job.leg.name.clone());
            let peer = node.watcher().views().peer_name(&result.peer);
            let started = Progress::JobStarted { job: id.clone(), name: name.clone(), peer };
            let _ = items.send(item(&started)).await;
            if let Some((log, _)) = result.log {
                match blob(node, log).await {
                    Ok(bytes) => {
                        for line in lines_of(&bytes)? {
                            let _ = items.send(item(&line_of(id.clone(), name.clone(), &line))).await;
                        }
                    }
                    Err(failure) => {
                        let text = format!("the log of {name} is not here yet: {failure}");
                        let _ = items.send(item(&Progress::Note { text })).await;
                    }
                }
            }
            let ended = Progress::JobEnded { job: id, name, conclusion: result.conclusion.to_string() };
            let _ = items.send(item(&ended)).await;
        }
        Ok(())
    }
}

/// Whether a run has ended and this node does not work on it any more: a leg that is being stopped may yet have a result.
fn has_ended(node: &Node, run: &RunId) -> bool {
    node.watcher().run(run).is_none_or(|run| run.status.is_terminal() && !is_busy_with(node, &run))
}

fn is_busy_with(node: &Node, run: &Run) -> bool {
    let held = node.look(|scheduler, _, _| scheduler.held_claims());
    run.jobs.values().flat_map(|job| &job.claims).any(|claim| held.contains(&claim.id))
}

fn job_name(node: &Node, run: &RunId, job: &JobId) -> String {
    let views = node.watcher().views();
    views.runs().live_job(run, job).map(|(_, job)| job.leg.name.clone()).unwrap_or_default()
}

fn line_of(job: String, name: String, line: &LogLine) -> Progress {
    let stream = match line.stream {
        Stream::Out => "out",
        Stream::Err => "err",
        Stream::Note => "note",
    };
    Progress::Line {
        job,
        name,
        step: line.step,
        stream: stream.to_owned(),
        offset_ms: line.offset_ms,
        text: String::from_utf8_lossy(&line.text).into_owned(),
    }
}

fn lines_of(bytes: &[u8]) -> Result<Vec<LogLine>, Failure> {
    let mut reader = LogReader::new(bytes);
    let mut lines = Vec::new();
    loop {
        let more = reader.read_available().map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
        if more.is_empty() {
            return Ok(lines);
        }
        lines.extend(more);
    }
}

pub(super) async fn logs(node: &Arc<Node>, id: &str, follow: bool, items: Items) -> Result<(), Failure> {
    let target = resolve::target(node, id)?;
    if let Some(job) = target.job {
        refuse_endless(node, &target.run, follow)?;
        return job_log(Arc::clone(node), target.run, job, follow, items).await;
    }
    if follow {
        return follow_run(node, target.run, &items).await;
    }
    let Some(run) = node.watcher().run(&target.run) else { return Ok(()) };
    for job in in_file_order(&run) {
        job_log(Arc::clone(node), target.run, job.id, false, items.clone()).await?;
    }
    Ok(())
}

/// Follows every job of a run, also those that are planned later, until the run has ended.
async fn follow_run(node: &Arc<Node>, id: RunId, items: &Items) -> Result<(), Failure> {
    refuse_endless(node, &id, true)?;
    let mut commits = node.watcher().subscribe();
    let mut told = BTreeSet::new();
    let mut followed = tokio::task::JoinSet::new();
    loop {
        let Some(run) = node.watcher().run(&id) else { return Ok(()) };
        for job in in_file_order(&run) {
            if told.insert(job.id) {
                followed.spawn(job_log(Arc::clone(node), id, job.id, true, items.clone()));
            }
        }
        if followed.is_empty() && run.status.is_terminal() {
            return Ok(());
        }
        tokio::select! {
            _ = commits.recv() => {}
            Some(ended) = followed.join_next() => {
                ended.map_err(|error| Failure::new(Exit::Failure, format!("BUG: following a log broke off: {error}")))??;
            }
            () = items.closed() => return Ok(()),
            () = node.stopped() => return Ok(()),
        }
    }
}

/// Refuses to wait for a run that nobody would execute, or tell of, as long as no node runs here.
pub(super) fn refuse_endless(node: &Node, id: &RunId, follow: bool) -> Result<(), Failure> {
    let open = node.watcher().run(id).is_some_and(|run| !run.status.is_terminal());
    if !(follow && open && node.mode == Mode::Command && !node.lends_to(id)) {
        return Ok(());
    }
    let short = id.short();
    Err(Failure::unreachable(format!(
        "run {short} is submitted, but no node runs on this host that could execute it or hear of it: start `wfengine serve`, then `wfengine logs -f {short}`"
    )))
}

/// Tells that a job's log begins, once.
async fn begin(node: &Node, job: &Job, begun: &mut bool, items: &Items) {
    if std::mem::replace(begun, true) {
        return;
    }
    let peer =
        job.result.as_ref().map(|result| result.peer).or_else(|| job.holder().map(|claim| claim.peer()));
    let peer = node.watcher().views().peer_name(&peer.unwrap_or_else(|| node.peer_id()));
    let started = Progress::JobStarted { job: job.id.to_string(), name: job.leg.name.clone(), peer };
    let _ = items.send(item(&started)).await;
}

/// A job as it is now. Those who follow the jobs of a wide run ask often: the run is not copied for each.
fn job_of(node: &Node, run: &RunId, id: &JobId) -> Option<Job> {
    let live = node.watcher().views().runs().live_job(run, id).map(|(_, job)| job.clone());
    live.or_else(|| node.watcher().run(run)?.jobs.get(id).cloned())
}

async fn job_log(node: Arc<Node>, run: RunId, id: JobId, follow: bool, items: Items) -> Result<(), Failure> {
    let mut commits = node.watcher().subscribe();
    let mut happenings = node.listen();
    let mut reader: Option<LogReader<std::fs::File>> = None;
    let (mut offset, mut remote): (u64, Vec<u8>) = (0, Vec::new());
    let mut begun = false;
    loop {
        let Some(job) = job_of(&node, &run, &id) else { return Ok(()) };
        let job = &job;
        let name = job.leg.name.clone();
        if let Some(path) = node.running_log(&id) {
            if reader.is_none() {
                reader = LogReader::open(&path).ok();
            }
            begin(&node, job, &mut begun, &items).await;
            tell_available(reader.as_mut(), &id, &name, &items).await?;
        } else if let (Some(result), None) = (&job.result, &reader) {
            if let Some((log, _)) = result.log {
                begin(&node, job, &mut begun, &items).await;
                let bytes = blob(&node, log).await?;
                let skip = lines_of(&remote).map(|lines| lines.len()).unwrap_or(0);
                for line in lines_of(&bytes)?.iter().skip(skip) {
                    let _ = items.send(item(&line_of(id.to_string(), name.clone(), line))).await;
                }
            }
        } else if let (Some(claim), Some(network)) =
            (job.holder().filter(|claim| claim.started), node.network())
        {
            let before = lines_of(&remote).map(|lines| lines.len()).unwrap_or(0);
            if let Ok(bytes) = network.follow_log(claim.peer(), id, offset).await {
                begin(&node, job, &mut begun, &items).await;
                offset += bytes.len() as u64;
                remote.extend(bytes);
                for line in lines_of(&remote).unwrap_or_default().iter().skip(before) {
                    let _ = items.send(item(&line_of(id.to_string(), name.clone(), line))).await;
                }
            }
        }
        if job.status.is_terminal() || !follow {
            tell_available(reader.as_mut(), &id, &name, &items).await?;
            if job.status == Status::Pending {
                let text = format!("{name} has not started: `wfengine why {}` says why", id.short());
                let _ = items.send(item(&Progress::Note { text })).await;
            } else if job.status.is_terminal() && begun {
                let conclusion = job
                    .conclusion()
                    .map_or_else(|| job.status.to_string(), |conclusion| conclusion.to_string());
                let _ = items.send(item(&Progress::JobEnded { job: id.to_string(), name, conclusion })).await;
            }
            return Ok(());
        }
        tokio::select! {
            _ = commits.recv() => {}
            _ = happenings.recv(), if reader.is_some() => {}
            () = items.closed() => return Ok(()),
            () = node.stopped() => return Ok(()),
            // what another node writes is asked for, nobody tells
            () = tokio::time::sleep(REMOTE_LOOK) => {}
        }
    }
}

async fn tell_available(
    reader: Option<&mut LogReader<std::fs::File>>,
    job: &JobId,
    name: &str,
    items: &Items,
) -> Result<(), Failure> {
    let Some(reader) = reader else { return Ok(()) };
    let lines = reader.read_available().map_err(|error| Failure::new(Exit::Failure, error.to_string()))?;
    for line in &lines {
        let _ = items.send(item(&line_of(job.to_string(), name.to_owned(), line))).await;
    }
    Ok(())
}
