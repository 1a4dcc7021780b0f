//! What is valid and refused by name, because this version cannot run it.

use super::{Job, Step, StepAction, Workflow};
use crate::{diagnostic::Position, shell::Shell, template::Template};

/// A key that this version cannot run. A workflow with any is refused before anything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// The key, with the job or step it belongs to: `jobs.build.container`.
    pub key: String,
    /// Why, and what to do.
    pub why: String,
}

/// A program that a custom shell names or a checkout needs: the host must have it on its PATH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredProgram {
    /// Where it is asked for.
    pub at: Position,
    /// The program.
    pub program: String,
}

impl Workflow {
    /// Everything in the file that this version refuses to run, in the order of the file.
    pub fn unsupported(&self) -> Vec<Unsupported> {
        let mut found = Vec::new();
        shell("defaults.run.shell", self.defaults.shell.as_ref(), &mut found);
        for job in &self.jobs {
            of_job(job, &mut found);
        }
        found.sort_by_key(|found| (found.line, found.column));
        found
    }

    /// The programs that custom shells name, and git where a step checks out. Whether they are on the PATH is for the host
    /// to say.
    pub fn required_programs(&self) -> Vec<RequiredProgram> {
        let mut shells: Vec<&Template> = self.defaults.shell.iter().collect();
        for job in &self.jobs {
            shells.extend(&job.defaults.shell);
            for step in &job.steps {
                if let StepAction::Run { shell: Some(shell), .. } = &step.action {
                    shells.push(shell);
                }
            }
        }
        let mut programs: Vec<RequiredProgram> = Vec::new();
        let checkout = self.jobs.iter().flat_map(|job| &job.steps).find_map(Step::checkout);
        if let Some(checkout) = checkout {
            programs.push(RequiredProgram { at: checkout.action().at, program: "git".to_owned() });
        }
        for template in shells {
            let Some(text) = template.as_literal() else { continue };
            if let Ok(Shell::Custom(words)) = Shell::parse(&text.to_text())
                && let Some(program) = words.first()
                && !programs.iter().any(|known| known.program == *program)
            {
                programs.push(RequiredProgram { at: template.at(), program: program.clone() });
            }
        }
        programs
    }
}

fn add(found: &mut Vec<Unsupported>, at: Position, key: String, why: impl Into<String>) {
    found.push(Unsupported { line: at.line, column: at.column, key, why: why.into() });
}

fn of_job(job: &Job, found: &mut Vec<Unsupported>) {
    let key = |name: &str| format!("jobs.{}.{name}", job.id);
    if let Some(call) = &job.call {
        add(found, call.uses.at, key("uses"), "calling another workflow is not supported by this version");
    }
    for (name, tree) in [("container", &job.container), ("services", &job.services)] {
        if let Some(tree) = tree {
            add(
                found,
                tree.at(),
                key(name),
                "containers are not supported by this version; jobs run on the host",
            );
        }
    }
    if let Some(environment) = &job.environment {
        let why = "environments are not supported: their protection rules and secrets exist on GitHub only";
        add(found, environment.at(), key("environment"), why);
    }
    if let Some(snapshot) = &job.snapshot {
        add(found, snapshot.at(), key("snapshot"), "images of runners exist on GitHub only");
    }
    if let Some(group) = job.runs_on.as_ref().and_then(|runs_on| runs_on.entry("group")) {
        add(found, group.at(), key("runs-on.group"), "runner groups exist on GitHub only; name labels");
    }
    shell(&key("defaults.run.shell"), job.defaults.shell.as_ref(), found);
    of_steps(&job.steps, &key("steps"), found);
}

fn of_steps(steps: &[Step], key: &str, found: &mut Vec<Unsupported>) {
    for (at, step) in steps.iter().enumerate() {
        let key = format!("{key}[{at}]");
        if let Some(background) = step.background {
            add(
                found,
                background,
                format!("{key}.background"),
                "background steps are not supported by this version",
            );
        }
        match &step.action {
            StepAction::Run { shell: named, .. } => shell(&format!("{key}.shell"), named.as_ref(), found),
            StepAction::Uses { action, .. } => match step.checkout() {
                Some(checkout) => {
                    for refusal in checkout.refusals() {
                        add(found, refusal.at, format!("{key}.with.{}", refusal.input), refusal.why);
                    }
                }
                None => {
                    let why = format!(
                        "the action '{}' cannot run: actions other than actions/checkout are not supported by this version",
                        action.text
                    );
                    add(found, action.at, format!("{key}.uses"), why);
                }
            },
            StepAction::Control { key: control, .. } => {
                let why = "background steps are not supported by this version";
                add(found, control.at, format!("{key}.{}", control.text), why);
            }
            StepAction::Parallel { at, .. } => {
                add(
                    found,
                    *at,
                    format!("{key}.parallel"),
                    "parallel steps are not supported by this version",
                );
            }
        }
    }
}

/// A shell that is written out must be one we know; one from an expression is checked when it is resolved.
fn shell(key: &str, template: Option<&Template>, found: &mut Vec<Unsupported>) {
    let Some(template) = template else { return };
    let Some(text) = template.as_literal() else { return };
    if let Err(error) = Shell::parse(&text.to_text()) {
        add(found, template.at(), key.to_owned(), error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_its_key_and_place() {
        let text = "on: push\njobs:\n  a:\n    runs-on: {group: big}\n    container: alpine\n    environment: prod\n    steps:\n    - uses: a/b@v1\n    - run: x\n      shell: pwsh\n    - run: y\n      shell: perl {0}\n  b:\n    uses: ./x.yml\n";
        let workflow = Workflow::read(text.as_bytes(), "f.yml").unwrap();
        let found: Vec<(u32, String)> = workflow.unsupported().into_iter().map(|u| (u.line, u.key)).collect();
        let expected = [
            (4, "jobs.a.runs-on.group"),
            (5, "jobs.a.container"),
            (6, "jobs.a.environment"),
            (8, "jobs.a.steps[0].uses"),
            (10, "jobs.a.steps[1].shell"),
            (14, "jobs.b.uses"),
        ];
        assert_eq!(found, expected.map(|(line, key)| (line, key.to_owned())));
        assert_eq!(workflow.required_programs()[0].program, "perl");
    }
}
