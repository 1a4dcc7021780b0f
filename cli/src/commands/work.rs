//! `work`: take tasks in a loop and run a command for each.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Globals;
use crate::args::WorkArgs;
use crate::door::Door;
use crate::error::{Exit, Failure};
use crate::handlers::Request;
use crate::handlers::answers::{RunView, TaskView};
use crate::submission::duration_ms;
use crate::terminal;

/// Bytes of a command's output that become a task's result.
const RESULT_BYTES_MAX: usize = 16 * 1024;

pub(super) async fn work(globals: &Globals, args: WorkArgs) -> Result<Exit, Failure> {
    let lease_ms = duration_ms("--lease", &args.lease)?;
    super::through(globals, async |door| {
        let answer = tasks(globals, &door, &args, lease_ms).await;
        (door, answer)
    })
    .await
}

async fn tasks(globals: &Globals, door: &Door, args: &WorkArgs, lease_ms: u64) -> Result<Exit, Failure> {
    let mut done = 0;
    while args.count.is_none_or(|count| done < count) {
        let request = Request::TaskNext { wait: !args.until_empty, lease_ms, tags: args.tags.clone() };
        let task: Option<TaskView> = tokio::select! {
            task = door.call(request) => task?,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Success),
        };
        let Some(task) = task else {
            if args.until_empty {
                return Ok(Exit::Success);
            }
            continue;
        };
        done += 1;
        one(globals, door, &args.command, &task).await?;
    }
    Ok(Exit::Success)
}

async fn one(globals: &Globals, door: &Door, command: &[String], task: &TaskView) -> Result<(), Failure> {
    let id = task.run.clone();
    let outcome = tokio::select! {
        outcome = execute(command, task) => outcome,
        () = keep(door, &id, task.lease_ms) => Err("the lease of the task was lost".to_owned()),
        _ = tokio::signal::ctrl_c() => {
            let _: RunView = door.call(Request::TaskRelease { id }).await?;
            return Err(Failure::new(Exit::Failure, "interrupted: the task was given back"));
        }
    };
    let request = match outcome {
        Ok(result_json) => Request::TaskComplete { id, result_json },
        Err(error) => Request::TaskFail { id, error, retry: true },
    };
    let run: RunView = door.call(request).await?;
    if globals.json {
        terminal::json(&run);
    } else {
        terminal::line(&format!("{}: {}", task.task_id, run.status));
    }
    Ok(())
}

/// Extends the lease for as long as the command runs; returns when that is no longer possible.
async fn keep(door: &Door, id: &str, lease_ms: u64) {
    if door.node().is_some() {
        // without a serving node there is nobody to take the task over
        std::future::pending::<()>().await;
    }
    loop {
        tokio::time::sleep(Duration::from_millis((lease_ms / 3).max(100))).await;
        if door.call::<()>(Request::TaskExtend { id: id.to_owned(), lease_ms }).await.is_err() {
            return;
        }
    }
}

/// Runs the command with the task on its standard input. Its standard output, if it is JSON, is the result.
async fn execute(command: &[String], task: &TaskView) -> Result<String, String> {
    let (program, arguments) = command.split_first().ok_or("no command was given")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("WFENGINE_TASK_ID", &task.task_id)
        .env("WFENGINE_RUN_ID", &task.run)
        .env("WFENGINE_FENCING_TOKEN", &task.fencing_token)
        .env("WFENGINE_IDEMPOTENCY_KEY", &task.idempotency_key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        let text = serde_json::to_vec(task).unwrap_or_default();
        // a command that does not read its task is free not to
        let _ = stdin.write_all(&text).await;
    }
    let output = child.wait_with_output().await.map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program} ended with {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.trim();
    if text.is_empty() {
        return Ok(String::new());
    }
    let kept: String = text.chars().take(RESULT_BYTES_MAX / 4).collect();
    Ok(match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if text.len() <= RESULT_BYTES_MAX => value.to_string(),
        _ => serde_json::Value::String(kept).to_string(),
    })
}
