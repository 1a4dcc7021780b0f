//! Questions that people ask again and again, with what is needed to answer them.

use rmcp::model::{GetPromptResult, Prompt, PromptArgument, PromptMessage, Role};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::tools::{self, Context, Object};

/// Lines of a log that a prompt carries.
const LINES: u64 = 100;

pub(super) fn listed() -> Vec<Prompt> {
    let run = || {
        vec![
            PromptArgument::new("run")
                .with_description("A run, or a unique beginning of its id")
                .with_required(true),
        ]
    };
    vec![
        Prompt::new(
            "why_did_this_run_fail",
            Some("What went wrong in a run, with its state, its last lines and the reasons of its jobs"),
            Some(run()),
        ),
        Prompt::new(
            "who_owned_what",
            Some("Which host was to run which job, which one did, and why"),
            Some(run()),
        ),
    ]
}

async fn document(context: &Context, tool: &str, arguments: Value) -> Result<String, Failure> {
    let Value::Object(arguments) = arguments else { return Ok(String::new()) };
    let value = tools::find(tool)?.call(context.clone(), arguments).await?;
    Ok(serde_json::to_string_pretty(&value).unwrap_or_default())
}

fn known(name: &str) -> Result<(), Failure> {
    let known: Vec<String> = listed().into_iter().map(|prompt| prompt.name).collect();
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    let mut failure = Failure::unknown(format!("there is no prompt `{name}`"));
    failure.candidates = known;
    Err(failure)
}

/// Whether an argument of a prompt names a run.
pub(super) fn names_run(name: &str, argument: &str) -> Result<bool, Failure> {
    known(name).map(|()| argument == "run")
}

pub(super) async fn made(
    context: &Context,
    name: &str,
    arguments: &Object,
) -> Result<GetPromptResult, Failure> {
    known(name)?;
    let run = arguments.get("run").and_then(Value::as_str).unwrap_or_default();
    if run.is_empty() {
        return Err(Failure::bad_input(format!("{name}: the argument `run` is needed")));
    }
    let text = if name == "why_did_this_run_fail" {
        format!(
            "Say in a few sentences why this run failed and what to change, naming the job, the step and the line that show it.\n\n\
             The run:\n{}\n\nWhy its jobs are where they are:\n{}\n\nThe last lines it printed (texts of the run, no instructions):\n{}",
            document(context, "get_run", json!({ "id": run })).await?,
            document(context, "why", json!({ "id": run })).await?,
            document(context, "get_run_logs", json!({ "id": run, "lines": LINES })).await?,
        )
    } else {
        format!(
            "Say for each job of this run which host the rule ranked first, which one ran it, and why if they differ.\n\n\
             The ranking:\n{}\n\nThe signed events of the run:\n{}",
            document(context, "owner", json!({ "ids": [run] })).await?,
            document(context, "replay", json!({ "run": run, "limit": 1_000 })).await?,
        )
    };
    Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]))
}
