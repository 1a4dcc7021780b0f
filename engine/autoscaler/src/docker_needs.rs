//! Which jobs of a workflow need Docker: those with a container, with services, or with a step that is an image. Pure.
//!
//! What an action needs inside is not looked at: `uses: owner/name` may be made of an image, and only its own repository says so.

use wfengine_workflow::{Job, Step, StepAction, Workflow};

/// What of a job needs Docker, by the name under which GitHub shows the job; `None` if nothing does or the job is not found.
pub fn needs_docker(workflow: &Workflow, shown: &str) -> Option<String> {
    workflow.jobs.iter().find(|job| is_shown_as(job, shown)).and_then(of_job)
}

/// GitHub shows a job as its name, or its id, with its matrix values in brackets. A name made of expressions begins as its text does.
fn is_shown_as(job: &Job, shown: &str) -> bool {
    let name = job.name.as_ref().map_or_else(|| job.id.clone(), |name| name.source());
    let fixed = name.split("${{").next().unwrap_or_default();
    let rest = shown.strip_prefix(fixed);
    if fixed.len() < name.len() {
        rest.is_some()
    } else {
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
    }
}

fn of_job(job: &Job) -> Option<String> {
    if job.container.is_some() {
        return Some(format!("`container:` of job {}", job.id));
    }
    if job.services.is_some() {
        return Some(format!("`services:` of job {}", job.id));
    }
    let image = |step: &Step| match &step.action {
        StepAction::Uses { action, .. } => action
            .text
            .starts_with("docker://")
            .then(|| format!("the step `uses: {}` of job {}", action.text, job.id)),
        _ => None,
    };
    job.steps.iter().find_map(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_need_is_named_and_found_by_the_jobs_shown_name() {
        let text = "on: push\njobs:\n  a:\n    runs-on: self-hosted\n    container: alpine\n    steps: [{run: x}]\n  b:\n    name: With database\n    runs-on: self-hosted\n    services: {db: {image: postgres}}\n    steps: [{run: x}]\n  c:\n    name: Legs of ${{ matrix.os }}\n    runs-on: self-hosted\n    steps: [{uses: 'docker://alpine:3'}]\n  d:\n    runs-on: self-hosted\n    steps: [{run: x}]\n";
        let workflow = Workflow::read(text.as_bytes(), "f.yml").unwrap();
        let needs = |shown: &str| needs_docker(&workflow, shown);
        assert_eq!(needs("a").unwrap(), "`container:` of job a");
        assert_eq!(needs("a (1, 2)").unwrap(), "`container:` of job a");
        assert_eq!(needs("With database").unwrap(), "`services:` of job b");
        assert!(needs("Legs of linux").unwrap().contains("docker://alpine:3"));
        assert_eq!((needs("d"), needs("ab"), needs("unknown")), (None, None, None));
    }
}
