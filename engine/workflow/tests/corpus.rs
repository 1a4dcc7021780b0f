//! Every file of the shared corpus is read without a panic, and our verdict on GitHub's behalf agrees with GitHub's parser
//! except where a table below says otherwise and why.
//!
//! Needs the folder of the corpus in `WFENGINE_CORPUS`; without it the tests say that they did not run.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it covered, and stops at a broken corpus"
)]

#[path = "../../../tests/tests/requirements/folder.rs"]
mod folder;

use std::{collections::BTreeMap, path::Path};

use folder::folder;
use serde_json::Value as Json;
use wfengine_workflow::{Triggers, Verdict, tags, triggers};

/// Files on which we deliberately differ: file, whether we call it valid for GitHub, why.
const DIFFERENCES_CASES: &[(&str, bool, &str)] = &[
    (
        "ChristopherHX+runner.server__testworkflows__db-disposed-issue__.github__workflows__has-advanced-status-functions.yml",
        false,
        "success('a') with job names is not read by the expression parser; no file in use has it",
    ),
    (
        "rhysd+actionlint__testdata__ok__events_with_no_config.yaml",
        true,
        "GitHub's schema has a slip for repository_dispatch standing alone; the event is documented and accepted",
    ),
    (
        "zizmorcore+zizmor__crates__github-actions-models__tests__sample-workflows__parallel-steps-background.yml",
        true,
        "background steps are in GitHub's schema and were still switched off in the parser that was asked",
    ),
    (
        "zizmorcore+zizmor__crates__github-actions-models__tests__sample-workflows__parallel-steps-cancel.yml",
        true,
        "background steps are in GitHub's schema and were still switched off in the parser that was asked",
    ),
];

/// In real files there is no difference.
const DIFFERENCES_WORKFLOWS: &[(&str, bool, &str)] = &[];

fn expected(folder: &Path) -> BTreeMap<String, Json> {
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let entries: Vec<Json> = serde_json::from_str(&text).unwrap();
    entries.into_iter().map(|entry| (entry["file"].as_str().unwrap().to_owned(), entry)).collect()
}

fn agree(folder: &Path, differences: &[(&str, bool, &str)]) {
    let expected = expected(folder);
    let mut differing = BTreeMap::new();
    let mut problems = Vec::new();
    for (file, entry) in &expected {
        let source = std::fs::read(folder.join(file)).unwrap();
        let verdict = Verdict::of(&source, file);
        let valid = verdict.github.is_ok();
        if valid != entry["valid"].as_bool().unwrap() {
            let ours = verdict
                .github
                .err()
                .map(|errors| errors.iter().map(|e| format!("\n    {e}")).collect::<String>());
            differing.insert(
                file.as_str(),
                (valid, format!("{}\n  theirs: {}", ours.unwrap_or_default(), entry["errors"])),
            );
        }
        if let Ok(workflow) = verdict.wfengine {
            let _ = (tags::of(&workflow), workflow.unsupported());
            match Triggers::of(&workflow) {
                Ok(triggers) => check_triggers(file, &workflow, &triggers, &mut problems),
                Err(errors) => problems.push(format!("{file}: triggers refused: {errors:?}")),
            }
            if entry["valid"] == true {
                check_outline(file, entry, &workflow, &mut problems);
            }
        }
    }
    for (file, (valid, detail)) in &differing {
        if !differences.iter().any(|(known, verdict, _)| known == file && verdict == valid) {
            problems.push(format!("{file}: we say valid={valid}{detail}"));
        }
    }
    for (file, verdict, _) in differences {
        if differing.get(file).is_none_or(|(valid, _)| valid != verdict) {
            problems.push(format!("{file}: listed as a difference, but it is none"));
        }
    }
    println!("{}: {} of {} agree", folder.display(), expected.len() - differing.len(), expected.len());
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// Every event has its place, and every schedule comes.
fn check_triggers(
    file: &str,
    workflow: &wfengine_workflow::Workflow,
    triggers: &Triggers,
    problems: &mut Vec<String>,
) {
    let mut events: Vec<&str> = triggers.others.iter().map(|(event, _)| event.as_str()).collect();
    events.extend(triggers.push.as_ref().map(|_| "push"));
    events.extend(triggers.repository_dispatch.as_ref().map(|_| "repository_dispatch"));
    events.extend(triggers.dispatch.then_some("workflow_dispatch"));
    events.extend(triggers.call.then_some("workflow_call"));
    events.extend((!triggers.schedules.is_empty()).then_some("schedule"));
    let missed = workflow.triggers.iter().find(|trigger| !events.contains(&trigger.event.as_str()));
    if let Some(missed) = missed.filter(|trigger| trigger.event != "schedule" || trigger.filters.is_some()) {
        problems.push(format!("{file}: the event '{}' has no place", missed.event));
    }
    for schedule in &triggers.schedules {
        if schedule.next_due(1_700_000_000).is_none() {
            problems.push(format!("{file}: '{}' never comes", schedule.cron.text()));
        }
    }
    let _ = triggers::on_github(workflow, triggers);
}

/// Events, jobs, needs and numbers of steps are those GitHub's parser found.
fn check_outline(
    file: &str,
    entry: &Json,
    workflow: &wfengine_workflow::Workflow,
    problems: &mut Vec<String>,
) {
    let mut events: Vec<&str> = workflow.triggers.iter().map(|trigger| trigger.event.as_str()).collect();
    let mut theirs: Vec<&str> = entry["events"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
    events.sort_unstable();
    events.dedup();
    theirs.sort_unstable();
    if events != theirs {
        problems.push(format!("{file}: events {events:?}, expected {theirs:?}"));
    }
    let ours: Vec<Json> = workflow
        .jobs
        .iter()
        .map(|job| {
            let needs: Vec<&str> = job.needs.iter().map(|need| need.text.as_str()).collect();
            let kind = if job.call.is_some() { "reusableWorkflowJob" } else { "job" };
            serde_json::json!({"id": job.id, "type": kind, "needs": needs, "steps": job.steps.len()})
        })
        .collect();
    for (ours, theirs) in ours.iter().zip(entry["jobs"].as_array().unwrap()) {
        let same_steps =
            theirs.get("steps").is_none() || ours["steps"] == theirs["steps"] || ours["type"] != "job";
        if ours["id"] != theirs["id"] || ours["type"] != theirs["type"] || !same_steps {
            problems.push(format!("{file}: {ours} expected {theirs}"));
        }
    }
    if ours.len() != entry["jobs"].as_array().unwrap().len() {
        problems.push(format!("{file}: {} jobs", ours.len()));
    }
}

#[test]
fn real_workflows_are_judged_as_github_does() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    agree(&corpus.join("workflows"), DIFFERENCES_WORKFLOWS);
}

#[test]
fn constructed_cases_are_judged_as_github_does() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    agree(&corpus.join("workflow-cases"), DIFFERENCES_CASES);
}
