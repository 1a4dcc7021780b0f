//! Runs: start, submit, watch, list, cancel, explain.

mod attempts;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use wfengine_api::answers::{OwnerView, Progress, RankView, RunView, Submitted, WhyView, in_file_order};
use wfengine_api::{Exit, Failure, Items, Wishes};
use wfengine_core::command::{Command, Refusal};
use wfengine_core::scheduler::order_of;
use wfengine_core::views::job::Status;
use wfengine_core::views::run::Run;
use wfengine_storage_format::{JobId, Placement, RunId, RunSpec, RunSubmitted, ownership_key};
use wfengine_store::AskError;

use super::logs::{Follower, refuse_endless};
use super::resolve;
use crate::home::random;
use crate::node::{Lent, Mode, Node};
use crate::submission::{prepare, read_workflow, refuse_unsupported};

/// Runs in memory and finished ones, as answers.
pub(super) fn view(node: &Node, run: &RunId) -> Result<RunView, Failure> {
    let known =
        node.watcher().run(run).ok_or_else(|| Failure::bad_input(format!("no run {run} is known here")))?;
    Ok(shown(node, &known))
}

/// A run as people see it, with what only this node can say of it: whom it waits for.
pub(super) fn shown(node: &Node, run: &Run) -> RunView {
    let mut shown = RunView::of(run, &node.watcher().views());
    // a short command hears of nobody
    if node.mode == Mode::Command {
        return shown;
    }
    let waits = node.look(|scheduler, views, now| scheduler.waits_for_absent(views, run, now.monotonic));
    if let Some(waits) = waits {
        let pending = Status::Pending.name();
        let jobs = shown.jobs.iter_mut().filter(|job| job.status == pending).map(|job| &mut job.reason);
        for reason in jobs.chain([&mut shown.reason]) {
            let before = if reason.is_empty() { String::new() } else { format!("{reason}; ") };
            *reason = before + &waits;
        }
    }
    shown
}

pub(super) async fn run(
    node: &Arc<Node>,
    path: String,
    source: String,
    wishes: Wishes,
    workspace: String,
    environment: BTreeMap<String, String>,
    items: Items,
) -> Result<RunView, Failure> {
    let workflow = read_workflow(source.as_bytes(), &path)?;
    refuse_unsupported(&workflow, &path)?;
    // it could be submitted, but nobody else may execute it
    if let Some(kind) = node.watcher().views().must_upgrade() {
        return Err(AskError::Refused(Refusal::MustUpgrade { kind }).into());
    }
    let blob = node.blobs.put(source.as_bytes())?;
    let number = run_number(node, &path);
    let prepared = prepare(&workflow, &path, blob, &wishes, Placement::Author, number, random()?)?;
    for text in prepared.notes {
        let _ = items.send(item(&Progress::Note { text })).await;
    }
    let run = prepared.submission.run();
    let lent = Lent { workspace: PathBuf::from(workspace), environment };
    node.lend(run, lent);
    let mut follower = Follower::new(node, run);
    let submit =
        Command::Submit { submission: Box::new(prepared.submission), plan: prepared.plan, blobs: vec![blob] };
    let submitted = node.ask(submit).await;
    let outcome = match submitted {
        Ok(_) => {
            let _ = items.send(item(&Progress::Submitted { run: run.to_string() })).await;
            follower.follow(node, &items, true).await
        }
        Err(error) => Err(error.into()),
    };
    node.end_lending(&run);
    if items.is_closed() {
        // whoever started it went away: it was to run for them
        let reason = "whoever started it went away".to_owned();
        let _ = node.ask(Command::Cancel { run, reason }).await;
    }
    outcome?;
    view(node, &run)
}

pub(super) fn item(progress: &Progress) -> serde_json::Value {
    serde_json::to_value(progress).unwrap_or_default()
}

/// Number of this run among those of its workflow that are in memory.
fn run_number(node: &Node, path: &str) -> u64 {
    let views = node.watcher().views();
    let same = |run: &&Run| {
        run.submitted.as_ref().is_some_and(|submitted| match &submitted.spec {
            RunSpec::Workflow(spec) => spec.path == path,
            RunSpec::Task { .. } => false,
        })
    };
    1 + views.runs().all_live().filter(same).count() as u64
}

pub(super) async fn submit(
    node: &Arc<Node>,
    path: String,
    source: String,
    wishes: Wishes,
    copies: u32,
) -> Result<Submitted, Failure> {
    let workflow = read_workflow(source.as_bytes(), &path)?;
    refuse_unsupported(&workflow, &path)?;
    let blob = node.blobs.put(source.as_bytes())?;
    let number = run_number(node, &path);
    let prepared = prepare(&workflow, &path, blob, &wishes, Placement::Rule, number, random()?)?;
    let run = prepared.submission.run();
    refuse_other_content(node, &prepared.submission, &wishes)?;
    let command =
        Command::Submit { submission: Box::new(prepared.submission), plan: prepared.plan, blobs: vec![blob] };
    let receipt = node.ask(command).await?;
    let copies = wait_for_copies(node, &run, vec![blob], copies).await?;
    Ok(Submitted { run: view(node, &run)?, already_so: receipt.already_so, notes: prepared.notes, copies })
}

/// Refuses an id that names other content, also when that run ended long ago and is no longer in memory.
///
/// What whoever asks leaves open is as it was: they may come later and wait for what others submitted.
pub(super) fn refuse_other_content(
    node: &Node,
    submission: &RunSubmitted,
    wishes: &Wishes,
) -> Result<(), Failure> {
    let Some(given) = submission.trigger_key.strip_prefix(b"id:") else { return Ok(()) };
    let Some(before) = node.watcher().run(&submission.run()).and_then(|run| run.submitted) else {
        return Ok(());
    };
    let differs: Vec<&str> = [
        ("content", before.spec != submission.spec),
        ("inputs", before.frozen.inputs != submission.frozen.inputs),
        ("metadata", before.metadata_json != submission.metadata_json),
        ("name", wishes.name.is_some() && before.name != submission.name),
        ("tags", !submission.tags.is_empty() && before.tags != submission.tags),
        ("priority", wishes.priority_milli.is_some() && before.priority_milli != submission.priority_milli),
        ("retries", wishes.retries > 0 && before.retries != submission.retries),
    ]
    .into_iter()
    .filter_map(|(what, differs)| differs.then_some(what))
    .collect();
    if differs.is_empty() {
        return Ok(());
    }
    Err(Failure::conflict(format!(
        "the id `{}` was used before for other content (run {} `{}` differs in {}): choose another id",
        String::from_utf8_lossy(given),
        submission.run().short(),
        before.name,
        differs.join(", ")
    )))
}

/// Waits until other peers hold a submission and its sources; says their names.
pub(super) async fn wait_for_copies(
    node: &Node,
    run: &RunId,
    blobs: Vec<wfengine_storage_format::BlobId>,
    copies: u32,
) -> Result<Vec<String>, Failure> {
    if copies == 0 {
        return Ok(Vec::new());
    }
    let submission = node.watcher().run(run).and_then(|run| run.canonical);
    let short = run.short();
    let (Some(network), Some(submission)) = (node.network(), submission) else {
        return Err(Failure::unreachable(format!(
            "run {short} is submitted on this host, but no node is running here to hand out copies: start `wfengine serve`, then `wfengine sync --wait`"
        )));
    };
    let holders = network
        .wait_for_copies(submission, blobs, copies)
        .await
        .map_err(|error| Failure::unreachable(format!("run {short} is submitted on this host; {error}")))?;
    let views = node.watcher().views();
    Ok(holders.iter().map(|peer| views.peer_name(peer)).collect())
}

/// Waits until the run has ended, and so has every further attempt that its retries ask for; answers with the last one.
pub(super) async fn wait(node: &Arc<Node>, id: &str, logs: bool, items: Items) -> Result<RunView, Failure> {
    let mut run = resolve::target(node, id)?.run;
    let mut follower = Follower::new(node, run);
    loop {
        refuse_endless(node, &run, true)?;
        follower.follow(node, &items, logs).await?;
        match attempts::next_submitted(node, &run, &items).await? {
            Some((next, follower_of_next)) => (run, follower) = (next, follower_of_next),
            None => return view(node, &run),
        }
    }
}

pub(super) fn show(node: &Node, id: &str) -> Result<RunView, Failure> {
    let target = resolve::target(node, id)?;
    let mut run = view(node, &target.run)?;
    if let Some(job) = target.job {
        let job = job.to_string();
        run.jobs.retain(|known| known.id == job);
    }
    Ok(run)
}

pub(super) async fn cancel(node: &Arc<Node>, id: &str, reason: String) -> Result<RunView, Failure> {
    let target = resolve::target(node, id)?;
    node.ask(Command::Cancel { run: target.run, reason }).await?;
    view(node, &target.run)
}

pub(super) async fn rerun(node: &Arc<Node>, id: &str) -> Result<Submitted, Failure> {
    let target = resolve::target(node, id)?;
    let before = view(node, &target.run)?;
    let open = Status::ALL.iter().any(|status| status.name() == before.status && !status.is_terminal());
    if open {
        return Err(Failure::conflict(format!(
            "run {} is {}: cancel it first, or wait for its end",
            target.run.short(),
            before.status
        )));
    }
    let again = crate::node::rerun(node, target.run, before.attempt + 1).await?;
    Ok(Submitted { run: view(node, &again)?, already_so: false, notes: Vec::new(), copies: Vec::new() })
}

pub(super) async fn prioritise(node: &Arc<Node>, id: &str, priority_milli: u32) -> Result<RunView, Failure> {
    let target = resolve::target(node, id)?;
    node.ask(Command::Prioritise { run: target.run, priority_milli }).await?;
    view(node, &target.run)
}

/// The jobs a text names: one job, or all of a run.
fn jobs_of(node: &Node, id: &str) -> Result<Vec<(RunId, JobId)>, Failure> {
    let target = resolve::target(node, id)?;
    if let Some(job) = target.job {
        return Ok(vec![(target.run, job)]);
    }
    let run = node.watcher().run(&target.run);
    Ok(run
        .map(|run| in_file_order(&run).iter().map(|job| (target.run, job.id)).collect())
        .unwrap_or_default())
}

fn is_placed_by_hand(run: &Run) -> bool {
    run.submitted.as_ref().is_some_and(|submitted| submitted.placement == Placement::Author)
}

pub(super) fn why(node: &Node, id: &str) -> Result<Vec<WhyView>, Failure> {
    let mut found = Vec::new();
    for (run, job) in jobs_of(node, id)? {
        let why = node.look(|scheduler, views, now| {
            let name = views.runs().live_job(&run, &job).map(|(_, job)| job.leg.name.clone());
            let here = views.runs().live(&run).is_some_and(is_placed_by_hand);
            scheduler.why(views, &run, &job, now).zip(name.zip(Some(here)))
        });
        let Some((why, (name, here))) = why else { continue };
        let order = why
            .order
            .iter()
            .map(|place| RankView {
                peer: place.name.clone(),
                peer_id: place.peer.to_string(),
                band: place.band,
                rank: place.rank,
                distance: place.distance,
                alive: Some(place.alive || place.peer == node.peer_id()),
                declined: place.declined.map(|reason| reason.text().to_owned()),
            })
            .collect();
        let mut text = why.text;
        if here {
            text.push_str(" It lies there because `wfengine run` executes where it is typed.");
        } else if why.status.is_terminal() && !why.order.is_empty() {
            let ranked: Vec<String> =
                why.order.iter().map(|place| format!("{} ({} bits)", place.name, place.distance)).collect();
            let _ = write!(text, " The rule ranked, nearest first: {}.", ranked.join(", "));
        }
        if node.mode == Mode::Command && !why.status.is_terminal() && !node.lends_to(&run) {
            text.push_str(" No node is running on this host, so nothing is claimed or heard of here: start `wfengine serve`.");
        }
        found.push(WhyView {
            run: run.to_string(),
            job: job.to_string(),
            name,
            status: why.status.name().to_owned(),
            text,
            order,
        });
    }
    if found.is_empty() {
        let run = show(node, id)?;
        let waiting = match run.waiting_jobs.as_slice() {
            [] => String::new(),
            jobs => {
                format!(" Jobs not planned yet: {}; they wait for the results they need.", jobs.join(", "))
            }
        };
        let reason = if run.reason.is_empty() { String::new() } else { format!(": {}", run.reason) };
        found.push(WhyView {
            run: run.id.clone(),
            job: String::new(),
            name: run.name.clone(),
            status: run.status.clone(),
            text: format!("The run is {}{reason}.{waiting}", run.status),
            order: Vec::new(),
        });
    }
    Ok(found)
}

pub(super) fn owner(node: &Node, ids: &[String]) -> Result<Vec<OwnerView>, Failure> {
    let mut wanted = Vec::new();
    for id in ids {
        wanted.extend(jobs_of(node, id)?);
    }
    if ids.is_empty() {
        let views = node.watcher().views();
        for run in views.runs().all_live().filter(|run| !run.status.is_terminal()) {
            let open = in_file_order(run).into_iter().filter(|job| !job.status.is_terminal());
            wanted.extend(open.map(|job| (run.id, job.id)));
        }
    }
    let mut found = Vec::new();
    for (run, id) in wanted.into_iter().take(10_000) {
        let Some(run) = node.watcher().run(&run) else { continue };
        let (Some(job), Some(submission)) = (run.jobs.get(&id), run.submission()) else { continue };
        let key = ownership_key(&submission.head, &job.id);
        let views = node.watcher().views();
        let ranked = order_of(&views, &run, job)
            .into_iter()
            .map(|place| RankView {
                peer: views.peer_name(&place.peer),
                peer_id: place.peer.to_string(),
                band: place.band,
                rank: place.rank,
                distance: place.distance,
                alive: None,
                declined: None,
            })
            .collect();
        let holder =
            job.result.as_ref().map(|result| result.peer).or_else(|| job.holder().map(|claim| claim.peer()));
        found.push(OwnerView {
            run: run.id.to_string(),
            job: job.id.to_string(),
            name: job.leg.name.clone(),
            status: job.status.name().to_owned(),
            key: wfengine_storage_format::BlobId::from_bytes(key).to_string(),
            ranked,
            holder: holder.map(|peer| views.peer_name(&peer)),
        });
    }
    Ok(found)
}

/// The exit status that a run's end means.
pub(crate) fn exit_of(run: &RunView) -> Exit {
    match run.status.as_str() {
        "completed" | "skipped" => Exit::Success,
        _ => Exit::Failure,
    }
}
