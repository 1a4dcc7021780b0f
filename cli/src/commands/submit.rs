//! `submit`: let the ownership rule decide which host runs a workflow file.

use std::cell::RefCell;

use wfengine_api::answers::{Progress, RunView, Submitted};
use wfengine_api::{Exit, Failure, Request, Wishes};

use super::Globals;
use super::interrupt::Interrupts;
use super::logs::Printer;
use super::run::{actor, inputs, read_source};
use crate::args::SubmitArgs;
use crate::handlers;
use crate::submission::{duration_ms, git_facts, priority_milli};
use crate::terminal;

pub(super) async fn submit(globals: &Globals, args: SubmitArgs) -> Result<Exit, Failure> {
    let path = args.file.display().to_string();
    let source = read_source(&args.file)?;
    let workflow = crate::submission::read_workflow(source.as_bytes(), &path)?;
    crate::submission::refuse_unsupported(&workflow, &path)?;
    let folder = std::env::current_dir().unwrap_or_default();
    let inputs = inputs(&args.inputs)?;
    crate::submission::check_inputs(&workflow, &inputs)?;
    let wishes = Wishes {
        name: args.name,
        inputs,
        metadata: args.metadata,
        priority_milli: priority_milli(args.priority.priority.as_deref(), args.priority.urgency)?,
        retries: args.retries,
        backoff_ms: backoff(&args.backoff.backoff)?,
        id: args.id,
        repository: git_facts(&folder),
        actor: actor(),
    };
    let retries = wishes.retries;
    let request = Request::Submit { path, source, wishes, copies: args.copies };
    let (json, wait, follow) = (globals.json, args.wait, args.follow);
    let mut interrupts = Interrupts::listen()?;
    super::through(globals, async |door| {
        let answer = async {
            let submitted: Submitted = door.call(request).await?;
            let id = submitted.run.id.clone();
            // with --json and --wait the run as it ended is the one document
            if !(json && (wait || follow)) {
                print(&submitted, json);
            }
            if !(wait || follow) {
                return Ok(Exit::Success);
            }
            // of several attempts the one that is waited for
            let current = RefCell::new(id.clone());
            let mut printer = Printer::new(json);
            let ended = door.stream(Request::Wait { id, logs: follow }, |progress| match progress {
                // standard output is for the run alone, unless its log was asked for
                Progress::Note { text } if !follow => terminal::note(&text),
                progress => {
                    if let Progress::Submitted { run } = &progress {
                        current.replace(run.clone());
                    }
                    if follow {
                        printer.print(&progress);
                    }
                }
            });
            let run: RunView = tokio::select! {
                run = ended => run?,
                why = interrupts.next() => return Err(left(why, &current.borrow(), retries)),
            };
            if json {
                terminal::json(&run);
            } else {
                let attempt =
                    if run.attempt > 1 { format!(" (attempt {})", run.attempt) } else { String::new() };
                terminal::stated(&format!("run {}: ", short(&run.id)), &run.status, &attempt);
            }
            Ok(handlers::exit_of(&run))
        }
        .await;
        (door, answer)
    })
    .await
}

/// What whoever stops waiting should know: the run goes on without them.
fn left(why: &str, run: &str, retries: u32) -> Failure {
    let short = short(run);
    let again = if retries > 0 { ", and is submitted again if it fails" } else { "" };
    Failure::new(
        Exit::Failure,
        format!("{why}; the run goes on{again}: `wfengine show {short}`, or `wfengine cancel {short}`"),
    )
}

fn short(run: &str) -> &str {
    run.get(..12).unwrap_or(run)
}

/// Says what became of a submission.
pub(super) fn print(submitted: &Submitted, json: bool) {
    for note in &submitted.notes {
        terminal::note(note);
    }
    if json {
        terminal::json(submitted);
        return;
    }
    let run = &submitted.run;
    let short = short(&run.id);
    let again = if submitted.already_so { " (submitted before with the same content)" } else { "" };
    terminal::stated(&format!("run {short} {}: ", run.name), &run.status, again);
    if !submitted.copies.is_empty() {
        terminal::line(&format!("held by {}", submitted.copies.join(", ")));
    }
    terminal::line(&format!("next: wfengine why {short}   or: wfengine logs -f {short}"));
}

/// `A..B`, or one duration for both ends.
pub(super) fn backoff(text: &str) -> Result<(u64, u64), Failure> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (low, high) = (duration_ms("--backoff", low)?, duration_ms("--backoff", high)?);
    if low > high {
        return Err(Failure::bad_input(format!("--backoff {text}: the shorter wait comes first")));
    }
    Ok((low, high))
}
