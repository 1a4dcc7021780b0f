//! The `wfengine` binary: parses the command line, wires a node together, and turns outcomes into text and exit statuses.

mod args;
mod audit;
mod clock;
mod commands;
mod completion;
mod control;
mod documents;
mod door;
mod handlers;
mod home;
mod http;
mod node;
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

/// Logs of the program itself go to stderr, warnings of its own crates included; `WFENGINE_LOG=debug` shows more.
fn init_logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WFENGINE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error,wfengine=warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal::colours::on_stderr())
        .with_writer(std::io::stderr)
        .try_init();
}
