//! `work`: take tasks in a loop and run a command for each.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use wfengine_api::answers::{Progress, RunView, TaskView};
use wfengine_api::{Exit, Failure, HeldBy, Request};

use super::Globals;
use super::interrupt::Interrupts;
use crate::args::WorkArgs;
use crate::door::Door;
use crate::submission::duration_ms;
use crate::terminal;

/// Bytes of a command's output that become a task's result.
const RESULT_BYTES_MAX: usize = 16 * 1024;

pub(super) async fn work(globals: &Globals, args: WorkArgs) -> Result<Exit, Failure> {
    let lease_ms = duration_ms("--lease", &args.lease)?;
    let mut interrupts = Interrupts::listen()?;
    super::serving(globals, async |door| {
        let answer = tasks(globals, &door, &args, lease_ms, &mut interrupts).await;
        (door, answer)
    })
    .await
}

async fn tasks(
    globals: &Globals,
    door: &Door,
    args: &WorkArgs,
    lease_ms: u64,
    interrupts: &mut Interrupts,
) -> Result<Exit, Failure> {
    let mut done = 0;
    let mut said = None;
    while args.count.is_none_or(|count| done < count) {
        let request = Request::TaskNext { wait: !args.until_empty, lease_ms, tags: args.tags.clone() };
        let asked = door.stream(request, |progress| {
            // why there is nothing: said once
            if let Progress::Note { text } = progress
                && said.as_ref() != Some(&text)
            {
                terminal::note(&text);
                said = Some(text);
            }
        });
        let task: Option<TaskView> = tokio::select! {
            task = asked => task?,
            _ = interrupts.next() => return Ok(Exit::Success),
        };
        let Some(task) = task else {
            if args.until_empty {
                return Ok(Exit::Success);
            }
            continue;
        };
        done += 1;
        one(globals, door, &args.command, &task, interrupts).await?;
    }
    Ok(Exit::Success)
}

/// What came of a command.
enum Outcome {
    Ended(Ended),
    /// The node took the task back.
    Lost(Failure),
    Interrupted(&'static str),
}

async fn one(
    globals: &Globals,
    door: &Door,
    command: &[String],
    task: &TaskView,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let held = || HeldBy { id: task.run.clone(), token: Some(task.fencing_token.clone()), token_of: None };
    let outcome = tokio::select! {
        outcome = execute(command, task) => Outcome::Ended(outcome),
        failure = keep(door, held, task.lease_ms) => Outcome::Lost(failure),
        why = interrupts.next() => Outcome::Interrupted(why),
    };
    let request = match outcome {
        Outcome::Ended(Ended::Result(result_json)) => Request::TaskComplete { task: held(), result_json },
        Outcome::Ended(Ended::Failed(error)) => Request::TaskFail { task: held(), error, retry: true },
        Outcome::Ended(Ended::NotBegun(why)) => {
            // the next task would fare no better, so none is spent on it
            let _: RunView = door.call(Request::TaskRelease { task: held() }).await?;
            return Err(Failure::bad_input(format!("{why}: the task was given back")));
        }
        Outcome::Lost(failure) => {
            // somebody else may have it by now: that is no reason to stop working
            terminal::note(&format!(
                "{}: its command was stopped, the task is no longer held here: {failure}",
                task.task_id
            ));
            return Ok(());
        }
        Outcome::Interrupted(why) => {
            let _: RunView = door.call(Request::TaskRelease { task: held() }).await?;
            return Err(Failure::new(Exit::Failure, format!("{why}: the task was given back")));
        }
    };
    let run: RunView = match door.call(request).await {
        Ok(run) => run,
        // it was taken back just before the command ended, or the command reported by itself
        Err(failure) if failure.exit == Exit::Refused => {
            terminal::note(&format!("{}: what its command said was not taken: {failure}", task.task_id));
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    if globals.json {
        terminal::json(&run);
    } else {
        terminal::line(&format!("{}: {}", task.task_id, run.status));
    }
    Ok(())
}

/// Extends the lease for as long as the command runs; returns when the node says that it is over.
async fn keep(door: &Door, held: impl Fn() -> HeldBy, lease_ms: u64) -> Failure {
    loop {
        tokio::time::sleep(Duration::from_millis((lease_ms / 3).max(100))).await;
        match door.call::<()>(Request::TaskExtend { task: held(), lease_ms }).await {
            Ok(()) => {}
            Err(failure) if failure.exit == Exit::Refused => return failure,
            // the node may be starting anew: asked again, it says whether the task is still held
            Err(_) => {}
        }
    }
}

/// How a command ended.
enum Ended {
    /// Its result, as JSON.
    Result(String),
    /// Why it failed.
    Failed(String),
    /// Why it could not be started.
    NotBegun(String),
}

/// A command with whatever it starts: a process group of its own, so that a signal of the terminal reaches this process alone.
/// Killed when dropped.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // whoever is left of it; nobody is the usual case
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Runs the command with the task on its standard input. Its standard output, if it is JSON, is the result.
async fn execute(command: &[String], task: &TaskView) -> Ended {
    let Some((program, arguments)) = command.split_first() else {
        return Ended::NotBegun("no command was given".to_owned());
    };
    let spawned = Command::new(program)
        .args(arguments)
        .env("WFENGINE_TASK_ID", &task.task_id)
        .env("WFENGINE_RUN_ID", &task.run)
        .env("WFENGINE_FENCING_TOKEN", &task.fencing_token)
        .env("WFENGINE_IDEMPOTENCY_KEY", &task.idempotency_key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Ended::NotBegun(format!("{program} does not start: {error}")),
    };
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(id.and_then(rustix::process::Pid::from_raw));
    if let Some(mut stdin) = child.stdin.take() {
        let text = serde_json::to_vec(task).unwrap_or_default();
        // a command that does not read its task is free not to
        let _ = stdin.write_all(&text).await;
    }
    let output = match child.wait_with_output().await {
        Ok(output) => output,
        Err(error) => return Ended::Failed(format!("{program}: {error}")),
    };
    // what a command that ended leaves running is its own affair
    group.0 = None;
    if !output.status.success() {
        return Ended::Failed(format!("{program} ended with {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.trim();
    if text.is_empty() {
        return Ended::Result(String::new());
    }
    let kept: String = text.chars().take(RESULT_BYTES_MAX / 4).collect();
    Ended::Result(match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if text.len() <= RESULT_BYTES_MAX => value.to_string(),
        _ => serde_json::Value::String(kept).to_string(),
    })
}
