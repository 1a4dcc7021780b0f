//! `discover`: tagged workflows in repositories.

use wfengine_api::answers::{DiscoveryView, FoundView, Progress, Submitted, WatchView};
use wfengine_api::{Exit, Failure, Request};
use wfengine_discovery::Report;

use super::Globals;
use super::interrupt::Interrupts;
use super::watch::Cause;
use crate::args::{DiscoverVerb, DispatchArgs, MonitorArgs, OnceArgs, WatchArgs, WatchChoice};
use crate::documents::LineDocument;
use crate::node::discovery::{Wishes, environment, github_wishes};
use crate::terminal::{self, Column, Page};

pub(super) async fn discover(globals: &Globals, verb: DiscoverVerb) -> Result<Exit, Failure> {
    match verb {
        DiscoverVerb::Once(args) => once(globals, args).await,
        DiscoverVerb::Monitor(args) => monitor(globals, args).await,
        DiscoverVerb::Watch(args) => watch(globals, args).await,
        DiscoverVerb::List(choice) => list(globals, choice).await,
        DiscoverVerb::Dispatch(args) => dispatch(globals, args).await,
    }
}

async fn once(globals: &Globals, args: OnceArgs) -> Result<Exit, Failure> {
    let wishes = Wishes::of(args.look, 300)?;
    let request = Request::Discover {
        wishes: serde_json::json!(wishes),
        variables: environment(),
        dry_run: args.dry_run,
    };
    let found: DiscoveryView<Report> = super::call(globals, request).await?;
    if globals.json || args.output_json {
        terminal::json(&found);
    } else {
        print(&found);
    }
    Ok(if found.report.failed { Exit::Failure } else { Exit::Success })
}

/// The block of the document, then what it leaves out.
fn print(found: &DiscoveryView<Report>) {
    let report = &found.report;
    for note in &found.notes {
        terminal::note(note);
    }
    terminal::line("Discovery Results:");
    terminal::line(&format!("  Workflows discovered: {}", found.discovered));
    terminal::line(&format!("  Workflows submitted: {}", found.submitted));
    terminal::line("");
    terminal::line("Scheduler Status:");
    terminal::line(&format!("  Pending tasks: {}", found.scheduler.pending_tasks));
    terminal::line(&format!("  Assigned tasks: {}", found.scheduler.assigned_tasks));
    terminal::line(&format!("  Completed tasks: {}", found.scheduler.completed_tasks));
    terminal::line(&format!("  Known peers: {}", found.scheduler.known_peers));
    if !report.workflows.is_empty() {
        terminal::line("");
        terminal::line("Workflows:");
        for line in &report.workflows {
            let tags = line.tags.join(", ");
            terminal::line(&format!(
                "  {}/{}/{} ({tags}): {}",
                line.owner, line.repo, line.workflow_path, line.status
            ));
            for remark in &line.remarks {
                terminal::line(&format!("    {remark}"));
            }
        }
    }
    for (what, lines) in
        [("Gone:", &report.vanished), ("Left to GitHub, whose tags win:", &report.for_github)]
    {
        if !lines.is_empty() {
            terminal::line("");
            terminal::line(what);
            lines.iter().for_each(|line| terminal::line(&format!("  {line}")));
        }
    }
    terminal::line("");
    let repositories = report.repositories.len() as u64;
    terminal::line(&format!(
        "Looked at {} with {} ({}).",
        counted(repositories, "repository", "repositories"),
        counted(report.files, "workflow file", "workflow files"),
        report.scopes.join(", ")
    ));
    if report.workflows.is_empty() {
        let shown: Vec<&str> = report.repositories.iter().take(20).map(String::as_str).collect();
        let more = report.repositories.len().saturating_sub(shown.len());
        if !shown.is_empty() {
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            terminal::line(&format!("No workflow there is tagged for peers: {}{more}.", shown.join(", ")));
        }
        terminal::line(
            "A tag is `env: {WORKFLOW_TAGS: p2p-eligible}` or a comment `# P2P: p2p-eligible`; `wfengine tags` lists them.",
        );
    }
    for (why, names) in &report.skipped {
        terminal::line(&format!("Skipped {}: {why} ({})", names.len(), shortened(names)));
    }
    if report.requests.total > 0 {
        terminal::line(&format!(
            "Requests: {}, of which {} answered \"not modified\"; GraphQL points: {}.",
            report.requests.total, report.requests.not_modified, report.requests.graphql_points
        ));
    }
    for problem in &report.problems {
        let path = if problem.path.is_empty() { String::new() } else { format!("/{}", problem.path) };
        terminal::hint(&format!("{}{path}: {}", problem.repository, problem.what));
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn shortened(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

async fn monitor(globals: &Globals, args: MonitorArgs) -> Result<Exit, Failure> {
    let wishes = Wishes::of(args.look, args.interval)?;
    let mut interrupts = Interrupts::listen()?;
    super::serving(globals, async |door| {
        let request = Request::Monitor {
            wishes: serde_json::json!(wishes),
            variables: environment(),
            dry_run: args.dry_run,
        };
        let watched = door.stream(request, |progress| {
            if let Progress::Note { text } = progress {
                if globals.json {
                    terminal::json(&LineDocument { line: &text });
                } else {
                    terminal::line(&text);
                }
            }
        });
        let ended: Result<Exit, Failure> = tokio::select! {
            ended = watched => ended.map(|()| Exit::Success),
            _ = interrupts.next() => Ok(Exit::Success),
        };
        (door, ended)
    })
    .await
}

async fn watch(globals: &Globals, args: WatchArgs) -> Result<Exit, Failure> {
    let wishes = if args.stop { None } else { Some(serde_json::json!(Wishes::watching(args)?)) };
    let watching: WatchView = super::call(globals, Request::Watch { wishes }).await?;
    if globals.json {
        terminal::json(&watching);
    } else if watching.scopes.is_empty() {
        terminal::line("this host looks for no workflows");
    } else {
        let when = if watching.serving { "from now on" } else { "once `wfengine serve` runs" };
        terminal::line(&format!(
            "this host looks at {} every {} s, {when}",
            watching.scopes.join(", "),
            watching.interval_s
        ));
    }
    Ok(Exit::Success)
}

async fn list(globals: &Globals, choice: WatchChoice) -> Result<Exit, Failure> {
    if choice.watch {
        let page = |found: &Vec<FoundView>| found_page(found);
        return super::watch::watch(globals, Cause::Events, || Request::Discovered, page).await;
    }
    let found: Vec<FoundView> = super::call(globals, Request::Discovered).await?;
    if globals.json {
        found.iter().for_each(terminal::json);
        return Ok(Exit::Success);
    }
    if found.is_empty() {
        terminal::note("no tagged workflow was found yet: `wfengine discover once` looks");
    }
    terminal::show(&found_page(&found));
    Ok(Exit::Success)
}

const FOUND: &[Column] = &[
    Column::yielding("REPOSITORY", 3, 3),
    Column::yielding("WORKFLOW", 4, 4),
    Column::yielding("TAGS", 2, 2),
    Column::yielding("REMARKS", 1, 1),
];

fn found_page(found: &[FoundView]) -> Page {
    let row = |found: &FoundView| {
        vec![found.repository.clone(), found.path.clone(), found.tags.join(", "), found.remarks.join("; ")]
    };
    let mut page = Page::default();
    page.table(FOUND, found.iter().map(row).collect());
    page
}

async fn dispatch(globals: &Globals, args: DispatchArgs) -> Result<Exit, Failure> {
    let request = Request::Dispatch {
        repository: args.repository,
        workflow: args.workflow,
        git_ref: args.git_ref,
        inputs: super::run::inputs(&args.inputs)?,
        github: github_wishes(args.github)?,
        variables: environment(),
    };
    let submitted: Submitted = super::call(globals, request).await?;
    for note in &submitted.notes {
        terminal::note(note);
    }
    if globals.json {
        terminal::json(&submitted);
    } else {
        terminal::line(&format!(
            "run {} `{}` is {}",
            submitted.run.id, submitted.run.name, submitted.run.status
        ));
    }
    Ok(Exit::Success)
}
