//! `replay`: print or prove the history, of this host's log or of an exported file.
//!
//! A file is read without opening any data directory. Exit status 1 when anything does not hold.

pub(in crate::commands) mod frames;
mod planner;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wfengine_api::{Exit, Failure};
use wfengine_core::admitted::Admitted;
use wfengine_core::replay::{Checking, Expected, Moment, Place, Selection, check_frame, diff};
use wfengine_core::time::WallMs;
use wfengine_core::views::Views;
use wfengine_storage_format::{ClusterId, EventId, ExportScope, IdPrefix, Kind, PeerId, RunId, run_id};
use wfengine_store::Blobs;

use super::Globals;
use crate::args::ReplayArgs;
use crate::audit::{
    Proof, ReportView, Source, Spool, change_line, change_text, event_line, event_text, parse_time,
    prove_run, prove_whole, replay_whole, rfc3339, run_lines, story,
};
use crate::clock::Clock;
use crate::documents::{JobThenDocument, MemberThenDocument, RunThenDocument, StateDocument};
use crate::door::Door;
use crate::submission::duration_ms;
use crate::terminal;
use planner::FromBlobs;

/// How often a followed node is asked for more.
const FOLLOW_LOOK: Duration = Duration::from_millis(250);

/// What was asked for, as far as it can be understood without the log.
struct Asked {
    json: bool,
    verify: bool,
    at: Option<String>,
    diff: Option<(String, String)>,
    run: Option<String>,
    filter: Filter,
    expected: Expected,
    bar: bool,
}

/// Which events are printed.
#[derive(Clone)]
struct Filter {
    since: Option<WallMs>,
    kinds: Vec<Kind>,
    author: Option<String>,
}

pub(super) async fn replay(globals: &Globals, args: ReplayArgs) -> Result<Exit, Failure> {
    let asked = Asked::of(globals, &args)?;
    if let Some(path) = &args.from {
        if args.follow {
            return Err(Failure::bad_input(
                "--follow: a file does not grow; leave out --from to follow this host's node",
            ));
        }
        let source = Source::of_file(path)?;
        let planner = FromBlobs::new(None);
        return in_background(move || Ok(tell(source, &asked, &planner)?.0)).await;
    }
    let (follow, data_dir) = (args.follow, globals.data_dir.clone());
    let is_elsewhere = globals.node.is_some();
    super::serving(globals, async move |door| {
        let outcome = of_door(&door, asked, follow, data_dir, is_elsewhere).await;
        (door, outcome)
    })
    .await
}

async fn of_door(
    door: &Door,
    mut asked: Asked,
    follow: bool,
    data_dir: Option<PathBuf>,
    is_elsewhere: bool,
) -> Result<Exit, Failure> {
    let here = frames::of_door(door).await?;
    if asked.verify {
        asked.expected.views = here.views;
        if here.views.is_none() {
            terminal::note("the node wrote events all the time, so its own view digest was not compared");
        }
    }
    let blobs = match door.node() {
        Some(node) => Some(node.blobs.clone()),
        None if is_elsewhere => None,
        None => blobs_beside(data_dir, here.source.cluster()),
    };
    let (source, spool) = (here.source, here.spool);
    let json = asked.json;
    let (exit, proof, filter) = in_background(move || {
        let (exit, proof) = tell(source, &asked, &FromBlobs::new(blobs))?;
        Ok((exit, proof, asked.filter))
    })
    .await?;
    match (follow, spool, proof) {
        (false, ..) | (_, _, None) => Ok(exit),
        (true, None, _) => {
            terminal::note("no node is running on this data directory, so nothing will follow");
            Ok(exit)
        }
        (true, Some(spool), Some(proof)) => follow_on(door, &spool, proof, &filter, json).await,
    }
}

/// The blobs of a node that runs in another process: files by their hashes, whoever reads them.
fn blobs_beside(data_dir: Option<PathBuf>, cluster: ClusterId) -> Option<Blobs> {
    let home = crate::home::Home::open(data_dir).ok()?;
    Blobs::open(home.data.blobs_dir(&cluster)).ok()
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(Exit::Failure, format!("BUG: the audit broke off: {error}")))?
}

impl Asked {
    fn of(globals: &Globals, args: &ReplayArgs) -> Result<Self, Failure> {
        let id = |option: &str, text: &Option<String>| -> Result<Option<EventId>, Failure> {
            let Some(text) = text else { return Ok(None) };
            text.parse().map(Some).map_err(|_| {
                Failure::bad_input(format!(
                    "{option} {text}: expected all 64 hexadecimal digits, a beginning pins nothing"
                ))
            })
        };
        let cluster = id("--expect-cluster", &args.expect_cluster)?;
        let head = id("--expect-head", &args.expect_head)?;
        let diff = match &args.diff {
            None => None,
            Some(text) => Some(
                text.split_once("..")
                    .filter(|(from, to)| !from.is_empty() && !to.is_empty())
                    .map(|(from, to)| (from.to_owned(), to.to_owned()))
                    .ok_or_else(|| {
                        Failure::bad_input(format!("--diff {text}: expected two events or times, as A..B"))
                    })?,
            ),
        };
        let since = match &args.since {
            None => None,
            Some(text) => Some(match parse_time(text) {
                Some(ms) => WallMs(ms),
                None => {
                    let ago = duration_ms("--since", text)?;
                    WallMs(Clock::start().wall().0.saturating_sub(ago))
                }
            }),
        };
        let kinds = args.kind.iter().map(|text| kind(text)).collect::<Result<_, _>>()?;
        Ok(Self {
            json: globals.json,
            verify: args.verify || cluster.is_some() || head.is_some(),
            at: args.at.clone(),
            diff,
            run: args.run.clone(),
            filter: Filter { since, kinds, author: args.author.clone() },
            expected: Expected {
                cluster: cluster.map(|id| ClusterId::from_bytes(*id.as_bytes())),
                head: head.map(|id| *id.as_bytes()),
                ..Expected::default()
            },
            bar: terminal::stdout_is_terminal() && !globals.json,
        })
    }
}

fn kind(text: &str) -> Result<Kind, Failure> {
    let named = Kind::ALL.iter().find(|kind| kind.name().is_some_and(|name| name.eq_ignore_ascii_case(text)));
    let number = || u16::from_str_radix(text.strip_prefix("0x")?, 16).ok().map(Kind::from_number);
    named.copied().or_else(number).ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.iter().filter_map(|kind| kind.name()).collect();
        Failure::bad_input(format!(
            "--kind {text}: no such kind. Kinds are {}, or a number such as 0x7abc",
            names.join(", ")
        ))
    })
}

/// Does what was asked with a source. The replayed log comes back for whoever wants to go on.
fn tell(mut source: Source, asked: &Asked, planner: &FromBlobs) -> Result<(Exit, Option<Proof>), Failure> {
    let bar = frames::bar(if asked.verify { "verifying" } else { "replaying" }, asked.bar);
    if let ExportScope::Run(run) = source.scope() {
        let outcome = tell_run_alone(&mut source, run, asked, &bar);
        bar.finish_and_clear();
        return Ok((outcome?, None));
    }
    let proof = if asked.verify {
        prove_whole(&mut source, asked.expected.clone(), Some(planner), &frames::advance(&bar))
    } else {
        replay_whole(&mut source, &frames::advance(&bar))
    };
    bar.finish_and_clear();
    let proof = proof?;
    let told_more = if let Some((from, to)) = &asked.diff {
        let (before, after) = (state(&proof, from)?, state(&proof, to)?);
        tell_changes(asked, &before.views, &after.views);
        true
    } else if let Some(at) = &asked.at {
        tell_state(asked, at, &state(&proof, at)?);
        true
    } else if let Some(text) = &asked.run {
        let run = find_run(&proof, text)?;
        let events = proof.replayer.events_of_run(&run);
        if let Some(run) = proof.replayer.run(&run) {
            tell_story(asked, &story(&run, &events, proof.replayer.views()));
        }
        true
    } else {
        false
    };
    if asked.verify {
        tell_report(asked, &ReportView::of_whole(&proof));
    } else if !told_more {
        tell_history(asked, &proof)?;
    }
    if !asked.verify {
        for finding in proof.report.findings.list() {
            terminal::error(&finding.to_string());
        }
        if proof.report.findings.more() > 0 {
            terminal::error(&format!("and {} more", proof.report.findings.more()));
        }
    }
    let exit = if proof.report.is_clean() { Exit::Success } else { Exit::Failure };
    Ok((exit, Some(proof)))
}

/// An export of one run says nothing of other runs and moments.
fn tell_run_alone(
    source: &mut Source,
    run: RunId,
    asked: &Asked,
    bar: &indicatif::ProgressBar,
) -> Result<Exit, Failure> {
    if asked.at.is_some() || asked.diff.is_some() {
        return Err(Failure::bad_input(format!(
            "the file holds run {run} alone: --at and --diff need a whole log"
        )));
    }
    let proof = prove_run(source, run, asked.expected.clone(), &frames::advance(bar))?;
    bar.finish_and_clear();
    if let Some(run) = &proof.run {
        tell_story(asked, &story(run, &proof.events_of_run, &proof.views));
    }
    // one run is small: it is proved whether asked for or not
    tell_report(asked, &ReportView::of_run(&proof));
    Ok(if proof.findings.is_empty() { Exit::Success } else { Exit::Failure })
}

fn tell_report(asked: &Asked, report: &ReportView) {
    if asked.json {
        terminal::json(report);
    } else {
        report.lines().iter().for_each(|line| terminal::line(line));
    }
}

fn tell_story(asked: &Asked, lines: &[crate::audit::StoryLine]) {
    for line in lines {
        if asked.json {
            terminal::json(line);
        } else {
            terminal::line(&line.text);
        }
    }
}

fn tell_history(asked: &Asked, proof: &Proof) -> Result<(), Failure> {
    let views = proof.replayer.views();
    let authors = authors(views, asked.filter.author.as_deref())?;
    for event in proof.replayer.history().filter(|event| asked.filter.lets(event, &authors)) {
        tell_event(asked.json, &event, views);
    }
    Ok(())
}

fn tell_event(json: bool, event: &Admitted, views: &Views) {
    if json {
        terminal::json(&event_line(event, views));
    } else {
        terminal::line(&event_text(event, views));
    }
}

impl Filter {
    fn lets(&self, event: &Admitted, authors: &[PeerId]) -> bool {
        self.since.is_none_or(|since| event.time >= since)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (authors.is_empty() || authors.contains(&event.author()))
    }
}

/// Peers by name, id or the beginning of an id; former members too. Empty means all.
fn authors(views: &Views, text: Option<&str>) -> Result<Vec<PeerId>, Failure> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let mut known: Vec<PeerId> = views.authority().events().values().map(|event| event.author()).collect();
    known.extend(views.authority().events().values().filter_map(|event| event.body.peer()));
    known.sort_unstable();
    known.dedup();
    let begins = |peer: &PeerId| text.len() >= 4 && peer.to_string().starts_with(&text.to_ascii_lowercase());
    let found: Vec<PeerId> =
        known.iter().copied().filter(|peer| views.peer_name(peer) == text || begins(peer)).collect();
    if found.is_empty() {
        let mut failure = Failure::bad_input(format!("--author {text}: names no member, past or present"));
        failure.candidates =
            known.iter().map(|peer| format!("{} ({})", views.peer_name(peer), peer.short())).collect();
        return Err(failure);
    }
    Ok(found)
}

fn state(proof: &Proof, text: &str) -> Result<wfengine_core::replay::State, Failure> {
    let moment = match parse_time(text) {
        Some(ms) => Moment::Time(WallMs(ms)),
        None => Moment::Event(find_event(proof, text)?),
    };
    let selection: Selection =
        proof.replayer.selection(&moment).map_err(|error| Failure::bad_input(error.to_string()))?;
    Ok(proof.replayer.state(&selection))
}

fn find_event(proof: &Proof, text: &str) -> Result<EventId, Failure> {
    let prefix = IdPrefix::hexadecimal(text).map_err(|_| {
        Failure::bad_input(format!(
            "`{text}` is neither an event id or its beginning nor a time such as 2026-11-21T10:00Z"
        ))
    })?;
    match proof.replayer.events_beginning(&prefix, 9).as_slice() {
        [] => Err(Failure::bad_input(format!("no event of this log begins with `{text}`"))),
        [one] => Ok(*one),
        several => {
            let mut failure =
                Failure::bad_input(format!("`{text}` is ambiguous: several events begin with it"));
            failure.candidates = several.iter().take(8).map(ToString::to_string).collect();
            Err(failure)
        }
    }
}

/// A run by the id it was given, or by the beginning of its own id, of one of its jobs' or of one of its events'.
fn find_run(proof: &Proof, text: &str) -> Result<RunId, Failure> {
    let runs = proof.replayer.views().runs();
    let given = (1..).map(|attempt| run_id(format!("id:{text}").as_bytes(), attempt));
    if let Some(latest) = given.take_while(|run| runs.contains(run)).last() {
        return Ok(latest);
    }
    let unknown = || {
        let mut failure = Failure::bad_input(format!("`{text}` names no run, job or event of this log"));
        let near = runs.all_live().filter(|run| run.name().contains(text)).take(8);
        failure.candidates = near.map(|run| format!("{} ({})", run.id.short(), run.name())).collect();
        failure
    };
    let prefix = IdPrefix::hexadecimal(text).map_err(|_| unknown())?;
    let (low, high) = prefix.range();
    let within = |bytes: &[u8; 32]| (low..=high).contains(bytes);
    let live = runs
        .all_live()
        .filter(|run| within(run.id.as_bytes()) || run.jobs.keys().any(|job| within(job.as_bytes())));
    let mut found: Vec<RunId> = live.map(|run| run.id).collect();
    found.extend(runs.finished().keys().filter(|run| within(run.as_bytes())));
    if found.is_empty() {
        let events = proof.replayer.events_beginning(&prefix, 9);
        let of = proof.replayer.history().filter(|event| {
            events.contains(&event.id) || event.body.job().is_some_and(|(_, job)| within(job.as_bytes()))
        });
        found.extend(of.filter_map(|event| event.run()));
    }
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [] => Err(unknown()),
        [one] => Ok(*one),
        several => {
            let mut failure =
                Failure::bad_input(format!("`{text}` is ambiguous: it may mean {} runs", several.len()));
            failure.candidates = several.iter().take(8).map(|run| format!("run {run}")).collect();
            Err(failure)
        }
    }
}

fn tell_state(asked: &Asked, at: &str, state: &wfengine_core::replay::State) {
    let views = &state.views;
    let members = views.authority().roster().members();
    if asked.json {
        terminal::json(&state_document(at, state));
        return;
    }
    terminal::line(&format!("At {at}: {} events, height {}", state.events, state.height));
    for (peer, member) in members {
        terminal::line(&format!(
            "member {} {}: {}",
            peer.short(),
            views.peer_name(peer),
            member.roles.names().join(", ")
        ));
    }
    for run in views.runs().all_live() {
        run_lines(run, views).iter().for_each(|line| terminal::line(line));
    }
}

fn state_document(at: &str, state: &wfengine_core::replay::State) -> StateDocument {
    let views = &state.views;
    let job = |job: &wfengine_core::views::job::Job| {
        let claim = job.effective_claim();
        JobThenDocument {
            id: job.id.to_string(),
            name: job.leg.name.clone(),
            status: job.status.name(),
            peer: claim.map(|claim| views.peer_name(&claim.peer())),
            epoch: claim.map(|claim| claim.epoch),
        }
    };
    let runs = views.runs().all_live().map(|run| RunThenDocument {
        id: run.id.to_string(),
        name: run.name().to_owned(),
        status: run.status.name(),
        reason: run.reason.clone(),
        jobs: run.jobs.values().map(job).collect(),
    });
    let members = views.authority().roster().members().iter();
    let members = members.map(|(peer, member)| MemberThenDocument {
        id: peer.to_string(),
        name: views.peer_name(peer),
        roles: member.roles.names().into_iter().collect(),
    });
    StateDocument {
        at: at.to_owned(),
        events: state.events,
        height: state.height,
        members: members.collect(),
        runs: runs.collect(),
    }
}

fn tell_changes(asked: &Asked, before: &Views, after: &Views) {
    let changes = diff(before, after);
    for change in &changes {
        if asked.json {
            terminal::json(&change_line(change));
        } else {
            terminal::line(&change_text(change));
        }
    }
    if changes.is_empty() && !asked.json {
        terminal::line("nothing changed");
    }
}

/// Prints events as the node admits them, until the process is stopped.
async fn follow_on(
    door: &Door,
    spool: &Arc<Spool>,
    proof: Proof,
    filter: &Filter,
    json: bool,
) -> Result<Exit, Failure> {
    let mut replayer = proof.replayer;
    let since = Clock::start().wall();
    terminal::note(&format!("following the node from {} on", rfc3339(since.0)));
    let mut tick = tokio::time::interval(FOLLOW_LOOK);
    loop {
        tick.tick().await;
        let first = frames::fetch(door, spool).await?;
        for number in first..spool.len() {
            let Some(bytes) = spool.frame(number) else { continue };
            let checked = check_frame(&bytes, Checking::Signatures);
            let events = checked.as_ref().map_or_else(|_| Vec::new(), |checked| checked.events().to_vec());
            let wrong = replayer.findings().len();
            replayer.take(Place { frame: number, offset: None }, checked);
            let findings = replayer.findings().list().iter();
            findings
                .skip(usize::try_from(wrong).unwrap_or(usize::MAX))
                .for_each(|found| terminal::error(&found.to_string()));
            replayer.settle();
            let views = replayer.views();
            let authors = authors(views, filter.author.as_deref()).unwrap_or_default();
            for event in events {
                if filter.lets(&event, &authors) {
                    tell_event(json, &event, views);
                }
            }
        }
    }
}
