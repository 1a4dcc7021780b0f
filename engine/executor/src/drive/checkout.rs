//! A step that checks out a repository: as long as it may, and what it leaves to the steps after it.

use tokio::time::{Instant, sleep_until};
use wfengine_git::Git;
use wfengine_workflow::{CheckoutInputs, Conclusion};

use super::{Running, StepRun};
use crate::{
    checkout::{CheckedOut, CheckoutFailure, Ground, Tools, check_out},
    folders::Workspace,
    host::{Cause, Deadlines},
    plan::{JobPlan, StepEffects, StepPlan},
    process::Exit,
};

impl Running<'_> {
    pub(super) async fn check_out(
        &mut self,
        number: u32,
        step: &StepPlan,
        inputs: &CheckoutInputs,
        plan: &mut JobPlan<'_>,
        ends_at: &mut Instant,
    ) -> StepRun {
        self.introduce_checkout(number, step, inputs, plan);
        let deadlines = Deadlines { step: step.timeout.map(|limit| Instant::now() + limit), job: *ends_at };
        let (until, cause) = deadlines.next();
        let ended = {
            let tools = Tools {
                ground: Ground {
                    workspace: &self.premises.workspace,
                    is_lent: matches!(self.input.workspace, Workspace::Lent(_)),
                },
                git: self.git(),
                search_path: self.input.search_path(),
                sources: self.input.sources.as_deref(),
            };
            let console = &mut self.console;
            let mut say = |text: &str| {
                console.note(number, text);
                console.flush();
            };
            // whichever comes first: the other is dropped, and git with it
            tokio::select! {
                done = check_out(inputs, tools, &mut say) => Ok(done),
                stop = self.stops.next() => Err(Cause::Stopped(stop)),
                () = sleep_until(until) => Err(cause),
            }
        };
        match ended {
            Ok(done) => self.checked_out(number, done),
            Err(cause) => {
                let outcome = self.judge(number, step, Exit::Status(0), cause, plan, ends_at);
                StepRun { outcome, ..StepRun::failed() }
            }
        }
    }

    fn checked_out(&mut self, number: u32, done: Result<CheckedOut, CheckoutFailure>) -> StepRun {
        match done {
            Ok(CheckedOut { git_ref, commit }) => {
                let outputs = [("ref", git_ref), ("commit", commit)];
                let outputs = outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                let effects = StepEffects { outputs, ..StepEffects::default() };
                StepRun { outcome: Conclusion::Success, effects, ..StepRun::failed() }
            }
            Err(failure) => {
                self.console.error(number, &failure.to_string());
                StepRun::failed()
            }
        }
    }

    /// git with an empty home of this job, whose processes are known as the job's; `None` if it is not on this host. The time
    /// is kept by the step.
    fn git(&self) -> Option<Git> {
        let git = self.git.as_ref()?;
        let home = self.premises.files.join("git");
        // without it git finds no home, which is as good as an empty one
        let _ = std::fs::create_dir(&home);
        let git =
            git.with_variable("HOME", home).with_variable("RUNNER_TRACKING_ID", &self.survivors.tracking);
        Some(git.without_limit())
    }

    fn introduce_checkout(
        &mut self,
        number: u32,
        step: &StepPlan,
        inputs: &CheckoutInputs,
        plan: &JobPlan<'_>,
    ) {
        self.console.note(number, &format!("##[group]{}", self.shown_name(&step.name)));
        if !inputs.shown.is_empty() {
            self.console.note(number, "with:");
        }
        for (name, value) in &inputs.shown {
            self.show_value(number, name, value);
        }
        let [job, files] = plan.layers();
        self.show_variables(number, &[job, files, &step.environment]);
        self.console.note(number, "##[endgroup]");
        self.console.flush();
    }
}
