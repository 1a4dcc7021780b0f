//! `run`: execute a workflow file here and now.

mod source;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;

use wfengine_api::answers::{Progress, RunView};
use wfengine_api::{Exit, Failure, Request, Wishes};
use wfengine_executor::environment::visible_of_host;

use super::Globals;
use super::interrupt::Interrupts;
use super::logs::Printer;
use crate::args::{InputArgs, RunArgs};
use crate::door::Door;
use crate::handlers;
use crate::submission::git_facts;
use crate::terminal;
pub(crate) use source::read_source;

pub(super) async fn run(globals: &Globals, args: RunArgs) -> Result<Exit, Failure> {
    globals.only_here("run")?;
    let here = std::env::current_dir().map_err(|error| Failure::io("find", Path::new("."), &error))?;
    let (path, source) = match (&args.file, &args.example) {
        (Some(file), _) => (file.display().to_string(), read_source(file)?),
        (None, Some(name)) => super::example::bundled(name)?,
        (None, None) => return Err(Failure::bad_input("name a workflow file, or an example with --example")),
    };
    // a bad file is refused before anything is opened or written
    let workflow = crate::submission::read_workflow(source.as_bytes(), &path)?;
    crate::submission::refuse_unsupported(&workflow, &path)?;
    let inputs = inputs(&args.inputs)?;
    crate::submission::check_inputs(&workflow, &inputs)?;
    let wishes =
        Wishes { name: args.name, inputs, repository: git_facts(&here), actor: actor(), ..Wishes::default() };
    let request = Request::Run {
        path,
        source,
        wishes,
        workspace: here.display().to_string(),
        environment: visible_of_host(std::env::vars_os(), &[]),
    };
    let mut interrupts = Interrupts::listen()?;
    let run: RunView = super::serving(globals, async |door| {
        let mut printer = Printer::new(globals.json);
        let started = OnceCell::new();
        let answer = {
            let work = door.stream(request, |progress| {
                if let Progress::Submitted { run } = &progress {
                    let _ = started.set(run.clone());
                }
                printer.print(&progress);
            });
            tokio::pin!(work);
            let mut cancelled = false;
            loop {
                tokio::select! {
                    biased;
                    answer = &mut work => break answer,
                    why = interrupts.next() => match started.get().filter(|_| !cancelled) {
                        Some(run) => {
                            cancelled = true;
                            cancel(&door, run, why).await;
                        }
                        None => break Err(give_up(&door, why).await),
                    },
                }
            }
        };
        // said now: others may go through this process for longer
        if let Ok(run) = &answer {
            if globals.json { terminal::json(run) } else { conclude(run) }
        }
        (door, answer)
    })
    .await?;
    Ok(handlers::exit_of(&run))
}

/// Cancels the run; its steps are told to stop, and its end is waited for.
async fn cancel(door: &Door, run: &str, why: &str) {
    terminal::note(&format!("{why}: the run is cancelled; a second signal stops it at once"));
    let request = Request::Cancel {
        id: run.to_owned(),
        reason: format!("the `wfengine run` that executed it was {why}"),
    };
    if let Err(failure) = door.call::<RunView>(request).await {
        terminal::error(&failure.message);
    }
}

/// Kills what runs here.
async fn give_up(door: &Door, why: &str) -> Failure {
    if let Some(node) = door.node() {
        node.give_up().await;
    }
    Failure::new(Exit::Failure, format!("{why}: the run was given up"))
}

/// What people read at the end: how it went, who ran it, what to type next.
fn conclude(run: &RunView) {
    for job in &run.jobs {
        let reason = if job.reason.is_empty() { String::new() } else { format!(" ({})", job.reason) };
        let peer = job.peer.as_deref().map(|peer| format!(" on {peer}")).unwrap_or_default();
        let took =
            job.duration_ms.map(|ms| format!(" in {}", crate::clock::show_duration(ms))).unwrap_or_default();
        terminal::line(&format!("{}: {}{peer}{took}{reason}", job.name, job.status));
        for (name, value) in &job.outputs {
            terminal::line(&format!("  output {name} = {value}"));
        }
        for note in &job.notes {
            terminal::line(&format!("  {note}"));
        }
    }
    let reason = if run.reason.is_empty() { String::new() } else { format!(" ({})", run.reason) };
    let short = run.id.get(..12).unwrap_or(&run.id);
    terminal::stated(&format!("run {short} {}: ", run.name), &run.status, &reason);
    terminal::line(&format!("next: wfengine show {short}   or prove it: wfengine replay --verify"));
}

/// `--input name=value` and `--inputs '{…}'` together.
pub(super) fn inputs(args: &InputArgs) -> Result<BTreeMap<String, serde_json::Value>, Failure> {
    let mut inputs = BTreeMap::new();
    if let Some(text) = &args.inputs_json {
        match serde_json::from_str(text) {
            Ok(serde_json::Value::Object(object)) => inputs.extend(object),
            Ok(_) => {
                return Err(Failure::bad_input(
                    "--inputs: expected a JSON object, such as {\"name\":\"value\"}",
                ));
            }
            Err(error) => return Err(Failure::bad_input(format!("--inputs is not JSON: {error}"))),
        }
    }
    for pair in &args.inputs {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::bad_input(format!("--input {pair}: expected NAME=VALUE")))?;
        inputs.insert(name.to_owned(), serde_json::Value::String(value.to_owned()));
    }
    Ok(inputs)
}

/// Who types.
pub(crate) fn actor() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default()
}
