//! A step with a script: its file, its environment, its process, and what it left in the files it was given.
//!
//! Says nothing about the job; [`Running::judge`] does when the process is over.

use std::{collections::BTreeMap, fs, io, path::Path};

use tokio::time::Instant;
use wfengine_workflow::Conclusion;

use super::{Running, StepRun};
use crate::{
    console::{StepVoice, VoiceSwitches},
    environment,
    environment_files::{self, EnvironmentFileError, EnvironmentFiles, read_bounded},
    host::{self, Deadlines, Ended},
    plan::{JobPlan, Script, StepEffects, StepPlan},
    process::Program,
    shell::Shell,
};

impl Running<'_> {
    pub(super) async fn run_script(
        &mut self,
        number: u32,
        step: &StepPlan,
        script: &Script,
        plan: &mut JobPlan<'_>,
        ends_at: &mut Instant,
        reserved: &BTreeMap<String, String>,
    ) -> StepRun {
        let prepared = match self.prepare(number, step, script, plan, reserved) {
            Ok(prepared) => prepared,
            Err(message) => {
                self.console.error(number, &message);
                return StepRun::failed();
            }
        };
        let (program, files) = prepared;
        let on = |name: &str, value: &str| program.environment.get(name).is_some_and(|text| text == value);
        let switches = VoiceSwitches {
            unsecure_commands: on("ACTIONS_ALLOW_UNSECURE_COMMANDS", "true"),
            debug: on("ACTIONS_STEP_DEBUG", "true") || on("RUNNER_DEBUG", "1"),
        };
        let mut voice = StepVoice::new(number, switches);
        let deadlines = Deadlines { step: step.timeout.map(|limit| Instant::now() + limit), job: *ends_at };
        let ended = host::run(&program, deadlines, &mut self.stops, &mut voice, &mut self.console).await;
        let Ended { process, exit, cause, left } = match ended {
            Ok(ended) => ended,
            Err(error) => {
                self.console.error(number, &start_failed(&program, &error));
                return StepRun::failed();
            }
        };
        self.survivors.steps.push(process);
        if let Some(reader) = left {
            self.console.note(
                number,
                "A process of this step goes on in the background; its output is shown no longer.",
            );
            self.survivors.readers.push(reader);
        }
        let mut outcome = self.judge(number, step, exit, cause, plan, ends_at);
        let mut effects = StepEffects {
            outputs: voice.results.outputs,
            environment: voice.results.environment,
            paths: voice.results.paths,
        };
        let mut summary = None;
        if let Err(error) = self.take_over(&files, &mut effects, &mut summary) {
            self.console.error(number, &error.to_string());
            voice.results.wrong = true;
        }
        if voice.results.wrong && outcome == Conclusion::Success {
            outcome = Conclusion::Failure;
        }
        StepRun { outcome, exit_code: Some(exit.code()), effects, summary }
    }

    /// Writes the script and says what is going to run.
    fn prepare(
        &mut self,
        number: u32,
        step: &StepPlan,
        script: &Script,
        plan: &JobPlan<'_>,
        reserved: &BTreeMap<String, String>,
    ) -> Result<(Program, EnvironmentFiles), String> {
        let [job, files] = plan.layers();
        let layers = [job, files, &step.environment];
        let mut environment =
            environment::compose(&self.input.host_environment, &layers, reserved, plan.paths());
        let folder = self.premises.workspace.join(script.working_directory.as_deref().unwrap_or("."));
        if !folder.is_dir() {
            return Err(format!("the working directory {} does not exist", folder.display()));
        }
        let search_path = environment.get("PATH").map_or("", String::as_str);
        let shell =
            Shell::find(script.shell.as_deref(), search_path, &folder).map_err(|error| error.to_string())?;
        self.introduce(number, &step.name, script, &shell, &layers);
        let path = self.premises.files.join(format!("step_{number}{}", shell.extension));
        fs::write(&path, shell.script(&script.text))
            .map_err(|error| format!("the script {} cannot be written: {error}", path.display()))?;
        let files = EnvironmentFiles::create(&self.premises.files, number)
            .map_err(|error| format!("the step's environment files cannot be made: {error}"))?;
        for (name, path) in files.variables() {
            environment.insert(name.to_owned(), environment::path_text(path));
        }
        let id = self.input.definition.steps().get(number as usize - 1).and_then(|step| step.id.as_ref());
        environment.insert(
            "GITHUB_ACTION".to_owned(),
            id.map_or_else(|| format!("__run_{number}"), |id| id.text.clone()),
        );
        let arguments = shell.arguments_for(&environment::path_text(&path));
        let arguments = arguments.into_iter().map(Into::into).collect();
        Ok((Program { path: shell.program, arguments, environment, folder }, files))
    }

    fn introduce(
        &mut self,
        number: u32,
        name: &str,
        script: &Script,
        shell: &Shell,
        layers: &[&BTreeMap<String, String>],
    ) {
        self.console.note(number, &format!("##[group]{}", self.shown_name(name)));
        self.console.note(number, script.text.trim_end());
        self.console.note(number, &format!("shell: {}", shell.shown()));
        self.show_variables(number, layers);
        self.console.note(number, "##[endgroup]");
        self.console.flush();
    }

    /// Reads the files the step was given.
    fn take_over(
        &mut self,
        files: &EnvironmentFiles,
        effects: &mut StepEffects,
        summary: &mut Option<String>,
    ) -> Result<(), EnvironmentFileError> {
        let limits = &self.input.limits;
        let read = |name, path: &Path| read_bounded(name, path, limits.environment_file_bytes_max);
        let outputs =
            environment_files::parse_assignments("GITHUB_OUTPUT", &read("GITHUB_OUTPUT", &files.output)?)?;
        effects.outputs.extend(outputs.into_iter().map(|output| (output.name, output.value)));
        let variables = environment_files::parse_environment(&read("GITHUB_ENV", &files.env)?)?;
        effects.environment.extend(variables.into_iter().map(|variable| (variable.name, variable.value)));
        effects.paths.extend(environment_files::parse_paths(&read("GITHUB_PATH", &files.path)?));
        environment_files::parse_assignments("GITHUB_STATE", &read("GITHUB_STATE", &files.state)?)?;
        let text = read_bounded("GITHUB_STEP_SUMMARY", &files.summary, limits.summary_bytes_max)?;
        *summary = (!text.is_empty()).then(|| self.console.masker.mask_text(&text));
        Ok(())
    }
}

fn start_failed(program: &Program, error: &io::Error) -> String {
    let path = program.path.display();
    match error.kind() {
        io::ErrorKind::ArgumentListTooLong => {
            let bytes: usize =
                program.environment.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
            format!(
                "{path} cannot be started: its environment of {bytes} bytes, or one variable of it, is larger than this system allows"
            )
        }
        _ => format!("{path} cannot be started: {error}"),
    }
}
