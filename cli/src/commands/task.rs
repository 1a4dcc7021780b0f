//! `task`: tasks for programs that do their own work.

use wfengine_api::answers::{Progress, RunView, Submitted, TaskView};
use wfengine_api::{Exit, Failure, HeldBy, Request, Wishes};

use super::Globals;
use super::interrupt::Interrupts;
use super::run::actor;
use super::steer::said;
use crate::args::{HeldTaskArgs, TaskCompleteArgs, TaskNextArgs, TaskSubmitArgs, TaskVerb};
use crate::documents::{ExtendedDocument, NextDocument, ResultDocument};
use crate::submission::{duration_ms, priority_milli};
use crate::terminal;

const NO_TASKS: &str = "No tasks available";

pub(super) async fn task(globals: &Globals, verb: TaskVerb) -> Result<Exit, Failure> {
    match verb {
        TaskVerb::Submit(args) => submit(globals, args).await,
        TaskVerb::Next(args) => next(globals, args).await,
        TaskVerb::Complete(args) => {
            let result_json = result_text(&args)?;
            ended(globals, Request::TaskComplete { task: held_by(args.task), result_json }).await
        }
        TaskVerb::Fail(args) => {
            ended(
                globals,
                Request::TaskFail { task: held_by(args.task), error: args.error, retry: args.retry },
            )
            .await
        }
        TaskVerb::Release(args) => ended(globals, Request::TaskRelease { task: held_by(args) }).await,
        TaskVerb::Extend(args) => {
            let lease_ms = duration_ms("--lease", &args.lease)?;
            let id = args.task.id.clone();
            super::call::<()>(globals, Request::TaskExtend { task: held_by(args.task), lease_ms }).await?;
            if globals.json {
                terminal::json(&ExtendedDocument { task: id, lease_ms });
            } else {
                terminal::line(&format!(
                    "{id} is held for another {}",
                    crate::clock::show_duration(lease_ms)
                ));
            }
            Ok(Exit::Success)
        }
        TaskVerb::Result(args) => {
            let run: RunView = super::call(globals, Request::Show { id: args.id }).await?;
            let job = run.jobs.first();
            let result = job.map(|job| job.result.clone()).unwrap_or_default();
            if globals.json {
                let (task_id, status, reason) = (run.given_id, run.status, run.reason);
                terminal::json(&ResultDocument { task_id, status, reason, result });
            } else if run.status == "completed" {
                terminal::line(&result.to_string());
            } else {
                return Err(Failure::new(
                    Exit::Failure,
                    format!("the task is {}, it has no result", run.status),
                ));
            }
            Ok(Exit::Success)
        }
    }
}

async fn submit(globals: &Globals, args: TaskSubmitArgs) -> Result<Exit, Failure> {
    let wishes = Wishes {
        name: args.name,
        metadata: args.metadata,
        priority_milli: priority_milli(args.priority.priority.as_deref(), args.priority.urgency)?,
        retries: args.retries,
        backoff_ms: super::submit::backoff(&args.backoff.backoff)?,
        actor: actor(),
        ..Wishes::default()
    };
    let request = Request::TaskSubmit {
        task_id: args.task_id,
        workflow_id: args.workflow_id,
        tags: args.tags,
        wishes,
        copies: args.copies,
    };
    let submitted: Submitted = super::call(globals, request).await?;
    for note in &submitted.notes {
        terminal::note(note);
    }
    if globals.json {
        terminal::json(&submitted);
        return Ok(Exit::Success);
    }
    let run = &submitted.run;
    let task_hash = run.jobs.first().map(|job| job.id.as_str()).unwrap_or_default();
    terminal::line(&format!("Task ID: {}", run.given_id));
    terminal::line(&format!("Task Hash: {task_hash}"));
    terminal::line(&format!("Priority: {}", run.priority));
    if submitted.already_so {
        terminal::line(&format!("submitted before with the same content; it is {}", run.status));
    }
    Ok(Exit::Success)
}

async fn next(globals: &Globals, args: TaskNextArgs) -> Result<Exit, Failure> {
    let lease_ms = duration_ms("--lease", &args.lease)?;
    let request = Request::TaskNext { wait: args.wait, lease_ms, tags: args.tags };
    let mut interrupts = Interrupts::listen()?;
    let task: Option<TaskView> = super::serving(globals, async |door| {
        let asked = door.stream(request, |progress| {
            if let Progress::Note { text } = progress {
                terminal::note(&text);
            }
        });
        let answer = tokio::select! {
            task = asked => task,
            why = interrupts.next() => Err(Failure::new(Exit::Failure, why)),
        };
        (door, answer)
    })
    .await?;
    match (task, globals.json) {
        (Some(task), true) => terminal::json(&NextDocument { task: Some(task), message: None }),
        (None, true) => terminal::json(&NextDocument { task: None, message: Some(NO_TASKS) }),
        (Some(task), false) => {
            terminal::line(&format!("Task ID: {}", task.task_id));
            terminal::line(&format!("Workflow ID: {}", task.workflow_id));
            terminal::line(&format!("Name: {}", task.name));
            terminal::line(&format!("Tags: {}", task.tags.join(", ")));
            terminal::line(&format!("Priority: {}", task.priority));
            terminal::line(&format!("Fencing Token: {}", task.fencing_token));
            terminal::line(&format!("Idempotency Key: {}", task.idempotency_key));
        }
        (None, false) => terminal::line(NO_TASKS),
    }
    Ok(Exit::Success)
}

async fn ended(globals: &Globals, request: Request) -> Result<Exit, Failure> {
    let run: RunView = super::call(globals, request).await?;
    said(globals, &run);
    Ok(Exit::Success)
}

fn held_by(args: HeldTaskArgs) -> HeldBy {
    if let Some(token) = args.fencing_token.filter(|token| !token.is_empty()) {
        return HeldBy { id: args.id, token: Some(token), token_of: None };
    }
    let told = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let token = told("WFENGINE_FENCING_TOKEN");
    let token_of = token.as_ref().and_then(|_| told("WFENGINE_RUN_ID"));
    HeldBy { id: args.id, token, token_of }
}

fn result_text(args: &TaskCompleteArgs) -> Result<String, Failure> {
    match args.result.as_deref() {
        None => Ok(String::new()),
        Some(text) => match text.strip_prefix('@') {
            None => Ok(text.to_owned()),
            Some(file) => {
                let file = std::path::Path::new(file);
                std::fs::read_to_string(file).map_err(|error| Failure::io("read", file, &error))
            }
        },
    }
}
