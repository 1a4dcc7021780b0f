//! `runner`: GitHub runners in containers on this host.
//!
//! `start` is in `start.rs`, for it may have to become the node first. What `status`, `list-workflows` and `list-containers` print is
//! JSON with and without `--json`: the older program's document shows it so, and programs read it.

mod start;

use serde::Serialize;
use wfengine_api::answers::runners::{
    ContainerStoppedView, ProvisionView, ProvisionedView, QueueView, RotatedView, RunnerContainerView,
    RunnerLogLine, RunnerStatusView, StoppedView,
};
use wfengine_api::{Exit, Failure, Request};
use wfengine_executor::log::{Colours, display};

use super::Globals;
use super::interrupt::Interrupts;
use super::watch::{Cause, watch};
use crate::args::{ProvisionArgs, RotateArgs, RunnerLogsArgs, RunnerStopArgs, RunnerVerb, StopContainerArgs};
use crate::documents::{ProvisionedAllDocument, ProvisionedDataDocument, ProvisionedOneDocument};
use crate::node::discovery::environment;
use crate::terminal::{self, Page};

pub(super) async fn runner(globals: &Globals, verb: RunnerVerb) -> Result<Exit, Failure> {
    match verb {
        RunnerVerb::Start(args) => start::start(globals, *args).await,
        RunnerVerb::Stop(args) => stop(globals, args).await,
        RunnerVerb::Status(choice) if choice.watch => {
            watch(globals, Cause::EventsAndTime, || Request::RunnerStatus, document_page::<RunnerStatusView>)
                .await
        }
        RunnerVerb::Status(_) => {
            let status: RunnerStatusView = super::call(globals, Request::RunnerStatus).await?;
            document(globals, &status)
        }
        RunnerVerb::ListWorkflows => {
            let request = Request::RunnerQueues { variables: environment() };
            let queues: Vec<QueueView> = super::call(globals, request).await?;
            document(globals, &queues)
        }
        RunnerVerb::ListContainers(choice) if choice.watch => {
            let page = document_page::<Vec<RunnerContainerView>>;
            watch(globals, Cause::EventsAndTime, || Request::RunnerContainers, page).await
        }
        RunnerVerb::ListContainers(_) => {
            let containers: Vec<RunnerContainerView> =
                super::call(globals, Request::RunnerContainers).await?;
            document(globals, &containers)
        }
        RunnerVerb::Provision(args) => provision(globals, args).await,
        RunnerVerb::StopContainer(args) => stop_container(globals, args).await,
        RunnerVerb::Logs(args) => logs(globals, args).await,
        RunnerVerb::Rotate(args) => rotate(globals, args).await,
    }
}

/// One JSON document: for people, or in one line with `--json`.
fn document(globals: &Globals, value: &impl Serialize) -> Result<Exit, Failure> {
    if globals.json {
        terminal::json(value);
        return Ok(Exit::Success);
    }
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Exit::Failure, format!("BUG: an answer is no JSON: {error}")))?;
    terminal::raw(&format!("{}\n", terminal::escaped(&text)));
    Ok(Exit::Success)
}

/// As [`document`] for people, as a page.
fn document_page<T: Serialize>(value: &T) -> Page {
    let mut page = Page::default();
    serde_json::to_string_pretty(value).unwrap_or_default().lines().for_each(|line| page.line(line));
    page
}

async fn stop(globals: &Globals, args: RunnerStopArgs) -> Result<Exit, Failure> {
    let stopped: StoppedView = super::call(globals, Request::RunnerStop { pool: args.pool }).await?;
    if globals.json {
        terminal::json(&stopped);
        return Ok(Exit::Success);
    }
    stopped.notes.iter().for_each(|note| terminal::note(note));
    terminal::line(&stopped.message);
    if !stopped.draining.is_empty() {
        terminal::line(&format!("these finish their job first: {}", stopped.draining.join(", ")));
    }
    Ok(Exit::Success)
}

async fn provision(globals: &Globals, args: ProvisionArgs) -> Result<Exit, Failure> {
    let one = if let [repository] = args.repo.as_slice() { Some(repository.clone()) } else { None };
    let request = Request::RunnerProvision { repositories: args.repo, variables: environment() };
    let view: ProvisionView = super::call(globals, request).await?;
    let ended =
        if view.results.values().all(ProvisionedView::is_success) { Exit::Success } else { Exit::Failure };
    if globals.json {
        match of_one(&view, one.as_deref()) {
            Some(one) => terminal::json(&one),
            None => terminal::json(&of_all(&view)),
        }
        return Ok(ended);
    }
    view.notes.iter().for_each(|note| terminal::note(note));
    if view.results.is_empty() {
        terminal::line("nothing is queued that a pool of this host serves: no runner was started");
    }
    for (repository, result) in &view.results {
        terminal::line(&format!("{repository}: {}", said(result)));
    }
    Ok(ended)
}

/// What became of one, in words.
fn said(result: &ProvisionedView) -> String {
    match (&result.container_id, result.is_success()) {
        (Some(container), true) => format!("runner {} in container {container}", result.name),
        _ if result.message.is_empty() => result.status.clone(),
        _ => format!("{}: {}", result.status, result.message),
    }
}

/// The older program's shape for a repository that was named.
fn of_one<'a>(view: &'a ProvisionView, one: Option<&str>) -> Option<ProvisionedOneDocument<'a>> {
    let one = one?;
    // GitHub's names differ in case only in how they are shown
    let (repo, result) = view.results.iter().find(|(name, _)| name.eq_ignore_ascii_case(one))?;
    Some(ProvisionedOneDocument {
        success: result.is_success(),
        data: ProvisionedDataDocument {
            repo,
            container_id: result.container_id.as_deref(),
            token_generated: result.token_generated,
            status: &result.status,
            name: &result.name,
        },
        message: &result.message,
        notes: &view.notes,
    })
}

/// Its shape for all.
fn of_all(view: &ProvisionView) -> ProvisionedAllDocument<'_> {
    ProvisionedAllDocument {
        success: view.results.values().all(ProvisionedView::is_success),
        results: &view.results,
        notes: &view.notes,
    }
}

async fn stop_container(globals: &Globals, args: StopContainerArgs) -> Result<Exit, Failure> {
    let StopContainerArgs { container, force } = args;
    let stopped: ContainerStoppedView =
        super::call(globals, Request::RunnerStopContainer { container, force }).await?;
    if globals.json {
        terminal::json(&stopped);
    } else {
        terminal::line(&stopped.message);
    }
    Ok(Exit::Success)
}

async fn logs(globals: &Globals, args: RunnerLogsArgs) -> Result<Exit, Failure> {
    let request = Request::RunnerLogs { name: args.name, follow: args.follow };
    let colours = if terminal::colours::on_stdout() { Colours::Keep } else { Colours::Strip };
    let print = |line: RunnerLogLine| {
        if globals.json {
            terminal::json(&line);
        } else if line.stream == "note" {
            terminal::note(&line.text);
        } else {
            terminal::log_line(&display(line.text.as_bytes(), colours));
        }
    };
    let mut interrupts = Interrupts::listen()?;
    super::serving(globals, async |door| {
        let answer = tokio::select! {
            answer = door.stream::<RunnerLogLine, ()>(request, print) => answer,
            // whoever follows a log ends it so
            _ = interrupts.next() => Ok(()),
        };
        (door, answer)
    })
    .await?;
    Ok(Exit::Success)
}

async fn rotate(globals: &Globals, args: RotateArgs) -> Result<Exit, Failure> {
    let rotated: RotatedView =
        super::call(globals, Request::RunnerRotate { outdated: args.outdated }).await?;
    if globals.json {
        terminal::json(&rotated);
        return Ok(Exit::Success);
    }
    rotated.notes.iter().for_each(|note| terminal::note(note));
    terminal::line(&rotated.message);
    for runner in &rotated.runners {
        let why = if runner.why.is_empty() { String::new() } else { format!(": {}", runner.why) };
        terminal::line(&format!("  {} ({}) {}{why}", runner.name, runner.pool, runner.what));
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provisioning_answers_in_the_shapes_of_the_document() {
        let done = ProvisionedView {
            status: "provisioned".to_owned(),
            container_id: Some("abc123def456".to_owned()),
            token_generated: true,
            name: "wfengine-default-0badcafe".to_owned(),
            ..ProvisionedView::default()
        };
        let failed = ProvisionedView {
            status: "token_failed".to_owned(),
            message: "Failed to generate runner token".to_owned(),
            ..ProvisionedView::default()
        };
        let mut view = ProvisionView::default();
        view.results.insert("octo/CI".to_owned(), done.clone());
        let one = serde_json::to_value(of_one(&view, Some("octo/ci")).unwrap()).unwrap();
        assert_eq!(one.pointer("/data/container_id").unwrap(), "abc123def456");
        assert_eq!(
            (one.pointer("/success").unwrap(), one.pointer("/data/token_generated").unwrap()),
            (&true.into(), &true.into())
        );
        view.results.insert("octo/web".to_owned(), failed.clone());
        assert!(of_one(&view, None).is_none());
        let all = serde_json::to_value(of_all(&view)).unwrap();
        assert_eq!(all.pointer("/results/octo~1web/status").unwrap(), "token_failed");
        assert_eq!(all.pointer("/success").unwrap(), &serde_json::json!(false));
        assert_eq!(said(&done), "runner wfengine-default-0badcafe in container abc123def456");
        assert_eq!(said(&failed), "token_failed: Failed to generate runner token");
    }
}
