//! `cancel`, `rerun`, `priority`.

use wfengine_api::answers::{RunView, Submitted};
use wfengine_api::{Exit, Failure, Request};
use wfengine_core::views::job::Status;

use super::Globals;
use super::submit::print;
use crate::args::{CancelArgs, IdArgs, PriorityArgs};
use crate::submission::priority_milli;
use crate::terminal;

pub(super) async fn cancel(globals: &Globals, args: CancelArgs) -> Result<Exit, Failure> {
    let run: RunView = super::call(globals, Request::Cancel { id: args.id, reason: args.reason }).await?;
    said(globals, &run);
    if run.status == Status::Failed.name() && !globals.json {
        terminal::note("it had failed before; this host submits no further attempt of it");
    }
    Ok(Exit::Success)
}

pub(super) async fn rerun(globals: &Globals, args: IdArgs) -> Result<Exit, Failure> {
    let submitted: Submitted = super::call(globals, Request::Rerun { id: args.id }).await?;
    print(&submitted, globals.json);
    Ok(Exit::Success)
}

pub(super) async fn priority(globals: &Globals, args: PriorityArgs) -> Result<Exit, Failure> {
    let milli = priority_milli(args.priority.as_deref(), args.urgency)?;
    let priority_milli =
        milli.ok_or_else(|| Failure::bad_input("name a priority, or an urgency with --urgency"))?;
    let run: RunView = super::call(globals, Request::Prioritise { id: args.id, priority_milli }).await?;
    said(globals, &run);
    Ok(Exit::Success)
}

pub(super) fn said(globals: &Globals, run: &RunView) {
    if globals.json {
        terminal::json(run);
    } else {
        let reason = if run.reason.is_empty() { String::new() } else { format!(" ({})", run.reason) };
        let short = run.id.get(..12).unwrap_or(&run.id);
        let after = format!("{reason}, priority {}", run.priority);
        terminal::stated(&format!("run {short} {}: ", run.name), &run.status, &after);
    }
}
