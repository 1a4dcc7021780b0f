//! `submit`: let the ownership rule decide which host runs a workflow file.

use super::Globals;
use super::interrupt::Interrupts;
use super::logs::Printer;
use super::run::{actor, inputs, read_source};
use crate::args::SubmitArgs;
use crate::error::{Exit, Failure};
use crate::handlers::answers::{RunView, Submitted};
use crate::handlers::{self, Request};
use crate::submission::{Wishes, duration_ms, git_facts, priority_milli};
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
        backoff_ms: backoff(args.backoff.as_deref())?,
        id: args.id,
        repository: git_facts(&folder),
        actor: actor(),
    };
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
            let mut printer = Printer::new(json);
            let ended = door.stream(Request::Wait { id: id.clone(), logs: follow }, |progress| printer.print(&progress));
            let run: RunView = tokio::select! {
                run = ended => run?,
                why = interrupts.next() => {
                    let short = id.get(..12).unwrap_or(&id);
                    let text = format!("{why}; the run goes on: `wfengine show {short}`, or `wfengine cancel {short}`");
                    return Err(Failure::new(Exit::Failure, text));
                }
            };
            if json {
                terminal::json(&run);
            } else {
                terminal::line(&format!("run {}: {}", run.id.get(..12).unwrap_or(&run.id), run.status));
            }
            Ok(handlers::exit_of(&run))
        }
        .await;
        (door, answer)
    })
    .await
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
    let short = run.id.get(..12).unwrap_or(&run.id);
    let again = if submitted.already_so { " (submitted before with the same content)" } else { "" };
    terminal::line(&format!("run {short} {}: {}{again}", run.name, run.status));
    if !submitted.copies.is_empty() {
        terminal::line(&format!("held by {}", submitted.copies.join(", ")));
    }
    terminal::line(&format!("next: wfengine why {short}   or: wfengine logs -f {short}"));
}

/// `A..B`, or one duration for both ends.
pub(super) fn backoff(text: Option<&str>) -> Result<(u64, u64), Failure> {
    let Some(text) = text else { return Ok((10_000, 300_000)) };
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (low, high) = (duration_ms("--backoff", low)?, duration_ms("--backoff", high)?);
    if low > high {
        return Err(Failure::bad_input(format!("--backoff {text}: the shorter wait comes first")));
    }
    Ok((low, high))
}
