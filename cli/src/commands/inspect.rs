//! `list` and `show`.

use wfengine_api::answers::{JobView, RunView, RunsView};
use wfengine_api::{Exit, Failure, Listing, Request};

use super::Globals;
use crate::args::{IdArgs, ListArgs};
use crate::clock::{show_duration, show_wall};
use crate::door::Door;
use crate::submission::duration_ms;
use crate::terminal;

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
    let runs = super::through(globals, async |door| {
        let runs = listed(&door, wanted).await;
        (door, runs)
    })
    .await?;
    if globals.json {
        runs.iter().for_each(terminal::json);
        return Ok(Exit::Success);
    }
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
        terminal::line("no run fits");
    } else if rows.is_empty() {
        terminal::line("no runs: start one with `wfengine run FILE` or `wfengine submit FILE`");
    } else {
        terminal::table(&["RUN", "STATUS", "JOBS", "PRIORITY", "SUBMITTED", "PEERS", "NAME"], &rows);
    }
    Ok(Exit::Success)
}

/// The runs that are wanted, part by part.
async fn listed(door: &Door, mut wanted: Listing) -> Result<Vec<RunView>, Failure> {
    let mut runs: Vec<RunView> = Vec::new();
    loop {
        let part: RunsView = door.call(Request::List(wanted.clone())).await?;
        wanted.limit -= part.runs.len();
        runs.extend(part.runs);
        wanted.after = part.next.filter(|_| wanted.limit > 0);
        if wanted.after.is_none() {
            return Ok(runs);
        }
    }
}

pub(super) async fn show(globals: &Globals, args: IdArgs) -> Result<Exit, Failure> {
    let run: RunView = super::call(globals, Request::Show { id: args.id }).await?;
    if globals.json {
        terminal::json(&run);
        return Ok(Exit::Success);
    }
    print_run(&run);
    Ok(Exit::Success)
}

pub(super) fn print_run(run: &RunView) {
    let reason = if run.reason.is_empty() { String::new() } else { format!(" ({})", run.reason) };
    terminal::line(&format!("run       {}", run.id));
    if !run.given_id.is_empty() {
        terminal::line(&format!("given id  {}", run.given_id));
    }
    terminal::line(&format!("name      {}", run.name));
    terminal::line(&format!("status    {}{reason}", run.status));
    terminal::line(&format!("submitted {} by {}", show_wall(run.submitted_ms), run.submitted_by));
    terminal::line(&format!("priority  {} (lower runs first), attempt {}", run.priority, run.attempt));
    if !run.path.is_empty() {
        terminal::line(&format!("workflow  {}", run.path));
    }
    if !run.repository.is_empty() {
        let sha = run.sha.get(..12).unwrap_or(&run.sha);
        terminal::line(&format!(
            "sources   {} at {sha} ({}), started by {}",
            run.repository, run.git_ref, run.trigger
        ));
    }
    if let Some(url) = &run.github {
        terminal::line(&format!("github    {}", if url.is_empty() { "handed over" } else { url }));
    }
    if !run.tags.is_empty() {
        terminal::line(&format!("tags      {}", run.tags.join(", ")));
    }
    for (flag, text) in [
        (run.conflict, "conflict: submissions under this id ask for different things"),
        (run.divergent_plan, "divergent: two plans of one job differ"),
        (run.stale_input, "stale-input: a job used a result that is no longer the canonical one"),
    ] {
        if flag {
            terminal::line(&format!("! {text}"));
        }
    }
    let rows: Vec<Vec<String>> = run.jobs.iter().map(job_row).collect();
    if !rows.is_empty() {
        terminal::table(&["JOB", "STATUS", "PEER", "CLAIMS", "TOOK", "NAME"], &rows);
    }
    for job in &run.jobs {
        print_details(job);
    }
    if !run.waiting_jobs.is_empty() {
        terminal::line(&format!("not planned yet: {}", run.waiting_jobs.join(", ")));
    }
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

fn print_details(job: &JobView) {
    if !job.reason.is_empty() {
        terminal::line(&format!("  {}: {}", job.name, job.reason));
    }
    for (name, value) in &job.outputs {
        terminal::line(&format!("  {}: output {name} = {value}", job.name));
    }
    if !job.result.is_null() {
        terminal::line(&format!("  {}: result {}", job.name, job.result));
    }
    for note in &job.notes {
        terminal::line(&format!("  {}: {note}", job.name));
    }
    if !job.duplicates.is_empty() {
        let differs = if job.divergent { "with another result" } else { "with the same result" };
        terminal::line(&format!(
            "  ! {}: also completed by {} {differs}",
            job.name,
            job.duplicates.join(", ")
        ));
    }
    if job.result_superseded {
        terminal::line(&format!("  ! {}: result-superseded: another result was canonical before", job.name));
    }
}
