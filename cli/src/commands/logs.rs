//! `logs`, and how a log looks at a terminal.

use std::collections::{BTreeMap, BTreeSet};

use wfengine_api::answers::Progress;
use wfengine_api::{Exit, Failure, Request};
use wfengine_executor::log::{Colours, display};

use super::Globals;
use super::interrupt::Interrupts;
use crate::args::LogsArgs;
use crate::terminal;

pub(super) async fn logs(globals: &Globals, args: LogsArgs) -> Result<Exit, Failure> {
    let request = Request::Logs { id: args.id, follow: args.follow };
    let mut interrupts = Interrupts::listen()?;
    super::serving(globals, async |door| {
        let mut printer = Printer::new(globals.json);
        let answer = tokio::select! {
            answer = door.stream::<Progress, ()>(request, |progress| printer.print(&progress)) => answer,
            // whoever follows a log ends it so
            _ = interrupts.next() => Ok(()),
        };
        (door, answer)
    })
    .await?;
    Ok(Exit::Success)
}

/// Prints the progress of runs: as people read it, or one JSON document per line.
pub(super) struct Printer {
    json: bool,
    colours: Colours,
    /// The jobs that print now. When there are several, a line says whose it is.
    active: BTreeMap<String, String>,
    /// Jobs inside the folded part of a step's log that repeats its script.
    folded: BTreeSet<String>,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        let colours = if terminal::colours::on_stdout() { Colours::Keep } else { Colours::Strip };
        Self { json, colours, active: BTreeMap::new(), folded: BTreeSet::new() }
    }

    pub(super) fn print(&mut self, progress: &Progress) {
        if self.json {
            terminal::json(progress);
            return;
        }
        match progress {
            Progress::Note { text } => terminal::note(text),
            Progress::Submitted { .. } => {}
            Progress::JobStarted { job, name, peer } => {
                self.active.insert(job.clone(), name.clone());
                terminal::line(&format!("── {name} on {peer}"));
            }
            Progress::Step { job, name, .. } => {
                self.line(job, &format!("▸ {}", display(name.as_bytes(), self.colours)))
            }
            Progress::Line { job, name, text, stream, .. } => {
                self.active.entry(job.clone()).or_insert_with(|| name.clone());
                if stream == "note" {
                    self.remark(job, text);
                } else {
                    self.line(job, &format!("  {}", display(text.as_bytes(), self.colours)));
                }
            }
            Progress::StepEnded { job, name, conclusion, .. } => {
                if conclusion != "success" && conclusion != "skipped" {
                    let name = display(name.as_bytes(), self.colours);
                    self.line(job, &format!("✗ {name}: {conclusion}"));
                }
            }
            Progress::JobEnded { job, name, conclusion } => {
                self.active.remove(job);
                self.folded.remove(job);
                terminal::line(&format!("── {name}: {conclusion}"));
            }
        }
    }

    /// What the engine itself says in a log. The repetition of a step's script is left out; `--json` has it.
    fn remark(&mut self, job: &str, text: &str) {
        if text.starts_with("##[group]") {
            self.folded.insert(job.to_owned());
        } else if text.starts_with("##[endgroup]") {
            self.folded.remove(job);
        } else if !self.folded.contains(job) && !text.starts_with("Job ") {
            self.line(job, &format!("  ! {}", display(text.as_bytes(), self.colours)));
        }
    }

    fn line(&self, job: &str, text: &str) {
        match self.active.get(job).filter(|_| self.active.len() > 1) {
            Some(name) => {
                terminal::log_line(&format!("{} │ {text}", display(name.as_bytes(), Colours::Strip)))
            }
            None => terminal::log_line(text),
        }
    }
}
