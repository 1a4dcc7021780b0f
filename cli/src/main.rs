//! The `wfengine` binary: parses the command line, wires a node together, and turns outcomes into text and exit statuses.

mod args;
mod audit;
mod clock;
mod commands;
mod completion;
mod config;
mod control;
mod documents;
mod door;
mod handlers;
mod home;
mod http;
mod node;
mod notify;
mod old_names;
mod remote;
mod schemas;
mod submission;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use wfengine_api::Exit;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Jobs run as the user that this process runs as. Without this any step could read the environment and the memory of the node, and the
/// token for GitHub in them, out of `/proc`.
fn keep_to_itself() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "steps of jobs can read this process");
    }
}

fn main() -> ExitCode {
    // a shell that asks at a TAB gets nothing but candidates
    if completion::answered() {
        return ExitCode::SUCCESS;
    }
    terminal::colours::When::early(std::env::args_os()).choose();
    // a link with the name of an older program asks for that program's words
    let cli = old_names::called_by(std::env::args_os()).unwrap_or_else(args::Cli::parse);
    init_logs();
    keep_to_itself();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::error(&format!("the event loop does not start: {error}"));
            return ExitCode::from(Exit::Failure.code());
        }
    };
    let outcome = runtime.block_on(commands::run(cli));
    // an execution that was told to stop is not waited for: it ends with the process, and needs the event loop until then
    std::mem::forget(runtime);
    match outcome {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            terminal::error(&failure.message);
            for candidate in &failure.candidates {
                terminal::hint(&format!("did you mean {candidate}?"));
            }
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Logs of the program itself go to stderr, warnings of its own crates included; `WFENGINE_LOG=debug` shows more, and
/// `WFENGINE_LOG_FORMAT=json` writes each as a JSON object in a line of its own. What is wrong there is said, and stops nothing.
fn init_logs() {
    let given = std::env::var("WFENGINE_LOG").ok().filter(|given| !given.is_empty());
    let filter = given.map(|given| {
        given.parse().map_err(|error| {
            terminal::note(&format!(
                "WFENGINE_LOG={given}: {error}; expected such as info or wfengine=debug"
            ));
        })
    });
    let filter = filter.and_then(Result::ok);
    let filter = filter.unwrap_or_else(|| tracing_subscriber::EnvFilter::new("error,wfengine=warn"));
    let ansi = terminal::colours::on_stderr();
    let format = std::env::var("WFENGINE_LOG_FORMAT").unwrap_or_default();
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr);
    if format == "json" {
        let _ = lines.json().flatten_event(true).try_init();
        return;
    }
    if !matches!(format.as_str(), "" | "text") {
        terminal::note(&format!("WFENGINE_LOG_FORMAT={format}: expected json or text"));
    }
    let _ = lines.try_init();
}
