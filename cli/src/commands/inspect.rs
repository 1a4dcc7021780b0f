//! `list` and `show`.

use serde::{Deserialize, Serialize};
use wfengine_api::answers::{JobView, RunView, RunsView};
use wfengine_api::{Exit, Failure, Listing, Request};

use super::Globals;
use super::watch::{Cause, watch};
use crate::args::{ListArgs, ShowArgs};
use crate::clock::{show_duration, show_wall};
use crate::door::Door;
use crate::submission::duration_ms;
use crate::terminal::{self, Column, Page};

pub(super) async fn list(globals: &Globals, args: ListArgs) -> Result<Exit, Failure> {
    let since_ms = args.since.as_deref().map(|since| duration_ms("--since", since)).transpose()?;
    let filtered = args.status.is_some() || args.peer.is_some() || args.tag.is_some() || since_ms.is_some();
    let wanted = Listing {
        status: args.status,
        peer: args.peer,
        tag: args.tag,
        since_ms,
        limit: args.limit,
        ..Listing::default()
    };
    if args.watch.watch {
        let page = |Watched(runs): &Watched| list_page(runs, filtered);
        return watch(globals, Cause::Events, || Request::List(wanted.clone()), page).await;
    }
    let runs = super::through(globals, async |door| {
        let runs = listed(&door, wanted).await;
        (door, runs)
    })
    .await?;
    if globals.json {
        runs.iter().for_each(terminal::json);
    } else {
        terminal::show(&list_page(&runs, filtered));
    }
    Ok(Exit::Success)
}

const RUNS: &[Column] = &[
    Column::whole("RUN"),
    Column::state("STATUS"),
    Column::whole("JOBS"),
    Column::whole("PRIORITY"),
    Column::yielding("SUBMITTED", 0, 2),
    Column::yielding("PEERS", 2, 1),
    Column::yielding("NAME", 1, 3),
];

fn list_page(runs: &[RunView], filtered: bool) -> Page {
    let mut page = Page::default();
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let done = run.jobs.iter().filter(|job| job.conclusion.is_some()).count();
            let all = run.jobs.len() + run.waiting_jobs.len();
            let mut peers: Vec<&str> = run.jobs.iter().filter_map(|job| job.peer.as_deref()).collect();
            peers.sort_unstable();
            peers.dedup();
            vec![
                run.id.get(..12).unwrap_or(&run.id).to_owned(),
                run.status.clone(),
                format!("{done}/{all}"),
                format!("{}", run.priority),
                show_wall(run.submitted_ms),
                peers.join(","),
                if run.given_id.is_empty() || run.given_id == run.name {
                    run.name.clone()
                } else {
                    format!("{} [{}]", run.name, run.given_id)
                },
            ]
        })
        .collect();
    if rows.is_empty() && filtered {
        page.line("no run fits");
    } else if rows.is_empty() {
        page.line("no runs: start one with `wfengine run FILE` or `wfengine submit FILE`");
    } else {
        page.table(RUNS, rows);
    }
    page
}

/// The runs of the first part, which is all of them as far as a screen is concerned.
#[derive(Serialize, Deserialize)]
#[serde(from = "RunsView")]
struct Watched(Vec<RunView>);

impl From<RunsView> for Watched {
    fn from(part: RunsView) -> Self {
        Self(part.runs)
    }
}

/// The runs that are wanted, part by part.
async fn listed(door: &Door, mut wanted: Listing) -> Result<Vec<RunView>, Failure> {
    let mut runs: Vec<RunView> = Vec::new();
    loop {
        let part: RunsView = door.call(Request::List(wanted.clone())).await?;
        wanted.limit = wanted.limit.saturating_sub(part.runs.len());
        runs.extend(part.runs);
        wanted.after = part.next.filter(|_| wanted.limit > 0);
        if wanted.after.is_none() {
            return Ok(runs);
        }
    }
}

pub(super) async fn show(globals: &Globals, args: ShowArgs) -> Result<Exit, Failure> {
    let request = || Request::Show { id: args.id.id.clone() };
    if args.watch.watch {
        return watch(globals, Cause::Events, request, run_page).await;
    }
    let run: RunView = super::call(globals, request()).await?;
    if globals.json {
        terminal::json(&run);
    } else {
        terminal::show(&run_page(&run));
    }
    Ok(Exit::Success)
}

const JOBS: &[Column] = &[
    Column::whole("JOB"),
    Column::state("STATUS"),
    Column::yielding("PEER", 2, 2),
    Column::yielding("CLAIMS", 0, 1),
    Column::whole("TOOK"),
    Column::yielding("NAME", 1, 3),
];

fn run_page(run: &RunView) -> Page {
    let mut page = Page::default();
    let reason = if run.reason.is_empty() { String::new() } else { format!(" ({})", run.reason) };
    page.line(format!("run       {}", run.id));
    if !run.given_id.is_empty() {
        page.line(format!("given id  {}", run.given_id));
    }
    page.line(format!("name      {}", run.name));
    page.stated("status    ", &run.status, &reason);
    page.line(format!("submitted {} by {}", show_wall(run.submitted_ms), run.submitted_by));
    page.line(format!("priority  {} (lower runs first), attempt {}", run.priority, run.attempt));
    if !run.path.is_empty() {
        page.line(format!("workflow  {}", run.path));
    }
    if !run.repository.is_empty() {
        let sha = run.sha.get(..12).unwrap_or(&run.sha);
        page.line(format!(
            "sources   {} at {sha} ({}), started by {}",
            run.repository, run.git_ref, run.trigger
        ));
    }
    if let Some(url) = &run.github {
        page.line(format!("github    {}", if url.is_empty() { "handed over" } else { url }));
    }
    if !run.tags.is_empty() {
        page.line(format!("tags      {}", run.tags.join(", ")));
    }
    for (flag, text) in [
        (run.conflict, "conflict: submissions under this id ask for different things"),
        (run.divergent_plan, "divergent: two plans of one job differ"),
        (run.stale_input, "stale-input: a job used a result that is no longer the canonical one"),
    ] {
        if flag {
            page.line(format!("! {text}"));
        }
    }
    let rows: Vec<Vec<String>> = run.jobs.iter().map(job_row).collect();
    if !rows.is_empty() {
        page.table(JOBS, rows);
    }
    for job in &run.jobs {
        add_details(&mut page, job);
    }
    if !run.waiting_jobs.is_empty() {
        page.line(format!("not planned yet: {}", run.waiting_jobs.join(", ")));
    }
    page
}

fn job_row(job: &JobView) -> Vec<String> {
    vec![
        job.id.get(..12).unwrap_or(&job.id).to_owned(),
        job.status.clone(),
        job.peer.clone().unwrap_or_else(|| "-".to_owned()),
        job.claims.len().to_string(),
        job.duration_ms.map_or_else(|| "-".to_owned(), show_duration),
        job.name.clone(),
    ]
}

fn add_details(page: &mut Page, job: &JobView) {
    if !job.reason.is_empty() {
        page.line(format!("  {}: {}", job.name, job.reason));
    }
    for (name, value) in &job.outputs {
        page.line(format!("  {}: output {name} = {value}", job.name));
    }
    if !job.result.is_null() {
        page.line(format!("  {}: result {}", job.name, job.result));
    }
    for note in &job.notes {
        page.line(format!("  {}: {note}", job.name));
    }
    if !job.duplicates.is_empty() {
        let differs = if job.divergent { "with another result" } else { "with the same result" };
        page.line(format!("  ! {}: also completed by {} {differs}", job.name, job.duplicates.join(", ")));
    }
    if job.result_superseded {
        page.line(format!("  ! {}: result-superseded: another result was canonical before", job.name));
    }
}
