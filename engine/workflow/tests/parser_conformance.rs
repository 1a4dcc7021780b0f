//! GitHub's own cases for the workflow parser: is a file refused, and if not, which jobs and scripts does it hold.
//!
//! A case is one file of several YAML documents: options, the workflow, called workflows, the answer as JSON. We do not call
//! other workflows, so a case whose answer depends on one is listed below with the other exceptions.
//! Needs the folder of the corpus in `WFENGINE_CORPUS`; without it the test says that it did not run.

#[path = "../../../tests/tests/requirements/folder.rs"]
mod folder;

use std::path::PathBuf;

use folder::folder;
use serde_json::Value as Json;
use wfengine_workflow::{StepAction, Verdict, Workflow};

/// Cases whose answer we do not give: file, why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("errors-max-depth.yml", "sets its own bound on depth"),
    ("errors-max-file-size.yml", "sets its own bound on size"),
    ("errors-max-job-limit-with-reusable-workflow.yml", "sets its own bound on jobs"),
    ("job-if.yml", "success('a') with job names is not read by the expression parser; no file in use has it"),
    ("errors-reusable-workflow-job-inputs-required.yml", "depends on the called workflow"),
    (
        "errors-reusable-workflow-job-nested-permissions-not-allowed-workflow-level-from-caller-job-level.yml",
        "depends on the called workflow",
    ),
    ("errors-reusable-workflow-job-secrets-undefined.yml", "depends on the called workflow"),
    ("errors-reusable-workflow-max-result-size.yml", "depends on the called workflow"),
    (
        "errors-reusable-workflow-permissions-not-allowed-job-level-from-caller-default.yml",
        "depends on the called workflow",
    ),
    (
        "errors-reusable-workflow-permissions-not-allowed-request-deployments-write.yml",
        "depends on the called workflow",
    ),
    (
        "errors-reusable-workflow-permissions-not-allowed-request-id-token-write.yml",
        "depends on the called workflow",
    ),
    (
        "errors-reusable-workflow-permissions-not-allowed-request-issues-write.yml",
        "depends on the called workflow",
    ),
    (
        "errors-reusable-workflow-permissions-not-allowed-request-packages-write.yml",
        "depends on the called workflow",
    ),
    (
        "errors-reusable-workflow-permissions-not-allowed-request-pages-write.yml",
        "depends on the called workflow",
    ),
    (
        "errors-reusable-workflow-permissions-not-allowed-request-pull-requests-write.yml",
        "depends on the called workflow",
    ),
    (
        "errors-reusable-workflow-permissions-not-allowed-request-statuses-write.yml",
        "depends on the called workflow",
    ),
    (
        "errors-reusable-workflow-permissions-not-allowed-request-write-all-allowed-none.yml",
        "depends on the called workflow",
    ),
    (
        "errors-reusable-workflow-permissions-not-allowed-workflow-level-from-caller-default.yml",
        "depends on the called workflow",
    ),
];

fn corpus() -> Option<PathBuf> {
    Some(folder("WFENGINE_CORPUS")?.join("conformance/workflow-parser"))
}

/// The workflow and the answer of a case.
fn parts(text: &str) -> Option<(String, Json)> {
    let documents: Vec<&str> = text.split("\n---\n").collect();
    let [_, workflow, .., answer] = documents.as_slice() else { return None };
    Some((format!("{workflow}\n"), serde_json::from_str(answer).ok()?))
}

fn check(source: &str, answer: &Json) -> Result<(), String> {
    let verdict = Verdict::of(source.as_bytes(), "case.yml");
    match (verdict.github, answer.get("errors")) {
        (Err(_), Some(_)) => Ok(()),
        (Ok(()), Some(errors)) => Err(format!("accepted, expected {errors}")),
        (Err(errors), None) => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        (Ok(()), None) => match verdict.wfengine {
            Ok(workflow) => same_jobs(&workflow, answer),
            Err(errors) => Err(format!("{errors:?}")),
        },
    }
}

/// A text of the answer, with or without its place.
fn literal(token: &Json) -> Option<String> {
    token.as_str().or_else(|| token["lit"].as_str()).map(str::to_owned)
}

fn same_jobs(workflow: &Workflow, answer: &Json) -> Result<(), String> {
    let Some(theirs) = answer["jobs"].as_array() else { return Ok(()) };
    let ids = |jobs: &[Json]| jobs.iter().filter_map(|job| literal(&job["id"])).collect::<Vec<_>>();
    let ours: Vec<String> = workflow.jobs.iter().map(|job| job.id.clone()).collect();
    if ours != ids(theirs) {
        return Err(format!("jobs {ours:?}, expected {:?}", ids(theirs)));
    }
    for (job, theirs) in workflow.jobs.iter().zip(theirs) {
        let needs: Vec<&str> = job.needs.iter().map(|need| need.text.as_str()).collect();
        let their_needs: Vec<String> = theirs["needs"]
            .as_array()
            .map(|needs| needs.iter().filter_map(literal).collect())
            .unwrap_or_default();
        if needs != their_needs {
            return Err(format!("{}: needs {needs:?}, expected {their_needs:?}", job.id));
        }
        let Some(their_steps) = theirs["steps"].as_array() else { continue };
        if their_steps.len() != job.steps.len() {
            return Err(format!("{}: {} steps, expected {}", job.id, job.steps.len(), their_steps.len()));
        }
        for (step, theirs) in job.steps.iter().zip(their_steps) {
            if let (StepAction::Run { script, .. }, Some(text)) = (&step.action, theirs["run"].as_str())
                && script.source() != text
            {
                return Err(format!("{}: script {:?}, expected {text:?}", job.id, script.source()));
            }
        }
    }
    Ok(())
}

#[test]
fn workflows_are_read_as_github_reads_them() {
    let Some(folder) = corpus() else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .collect();
    files.sort();
    let (mut passed, mut problems) = (0, Vec::new());
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        let result = match parts(&text) {
            Some((source, answer)) => check(&source, &answer),
            None => Err("not a case".to_owned()),
        };
        let excepted = EXCEPTIONS.iter().any(|(known, _)| *known == name);
        match result {
            Ok(()) if excepted => problems.push(format!("{name}: listed as an exception, but it passes")),
            Ok(()) => passed += 1,
            Err(_) if excepted => {}
            Err(ours) => problems.push(format!("{name}: {ours}")),
        }
    }
    println!("parser: {passed} of {} as GitHub", files.len());
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
