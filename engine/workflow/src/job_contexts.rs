//! Builds the contexts that do not depend on the host: from frozen facts, finished jobs and a matrix.
//!
//! The executor adds what only it knows: `runner`, `job`, and fields of `github` such as `workspace`.

use std::collections::BTreeMap;

use crate::{
    expression::{Contexts, Object, Value},
    frozen::{Frozen, NeedsResult},
    model::{Job, Workflow},
};

/// Contexts known when a run starts: `github`, `inputs`, `vars`.
pub fn of_run(workflow: &Workflow, frozen: &Frozen) -> Contexts {
    let mut contexts = Contexts::new();
    let inputs: Object =
        frozen.inputs.iter().map(|(name, value)| (name.clone(), Value::from(value))).collect();
    contexts.set("github", github(workflow, frozen, &inputs));
    contexts.set("inputs", inputs);
    let mut vars: Object = frozen.vars.iter().map(|(name, value)| (name.clone(), value.as_str())).collect();
    vars.insert("WFENGINE", "true");
    contexts.set("vars", vars);
    contexts
}

/// The server, unless the payload names another.
const GITHUB: &str = "https://github.com";

/// Contexts known when a job is planned: those of the run, as [`of_run`] makes them, and `needs`.
pub fn of_job(run: &Contexts, job: &Job, results: &BTreeMap<String, NeedsResult>) -> Contexts {
    let mut contexts = run.clone();
    let needs: Object = job
        .needs
        .iter()
        .filter_map(|need| Some((need.text.clone(), needs_entry(results.get(&need.text)?))))
        .collect();
    contexts.set("needs", needs);
    contexts
}

fn needs_entry(result: &NeedsResult) -> Value {
    let outputs: Object = result.outputs.iter().map(|(name, value)| (name.clone(), value.as_str())).collect();
    let mut entry = Object::new();
    entry.insert("result", result.conclusion.name());
    entry.insert("outputs", outputs);
    entry.into()
}

fn github(workflow: &Workflow, frozen: &Frozen, inputs: &Object) -> Object {
    let or =
        |text: &str, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text.to_owned() };
    let event_name = or(&frozen.event_name, "workflow_dispatch");
    let (ref_type, short) = match frozen.git_ref.strip_prefix("refs/tags/") {
        Some(tag) => ("tag", tag),
        None => ("branch", frozen.git_ref.strip_prefix("refs/heads/").unwrap_or(&frozen.git_ref)),
    };
    let owner = frozen.repository.split_once('/').map_or("", |(owner, _)| owner);
    let mut github = Object::new();
    github.insert("event", event(frozen, &event_name, inputs));
    github.insert("event_name", event_name);
    github.insert("actor", frozen.actor.as_str());
    github.insert("triggering_actor", or(&frozen.triggering_actor, &frozen.actor));
    github.insert("ref", frozen.git_ref.as_str());
    github.insert("ref_name", or(&frozen.ref_name, short));
    github.insert("ref_type", ref_type);
    github.insert("ref_protected", false);
    github.insert("head_ref", frozen.head_ref.as_str());
    github.insert("base_ref", frozen.base_ref.as_str());
    github.insert("sha", frozen.sha.as_str());
    github.insert("workflow", workflow.display_name());
    github.insert("workflow_ref", format!("{}/{}@{}", frozen.repository, workflow.file, frozen.git_ref));
    github.insert("workflow_sha", frozen.sha.as_str());
    github.insert("repository", frozen.repository.as_str());
    github.insert("repository_owner", owner);
    github.insert("repositoryUrl", format!("git://github.com/{}.git", frozen.repository));
    github.insert("run_id", frozen.run_id.as_str());
    github.insert("run_number", frozen.run_number.to_string());
    github.insert("run_attempt", frozen.run_attempt.max(1).to_string());
    let server = server(frozen);
    let (api, graphql) = match server.as_str() {
        GITHUB => ("https://api.github.com".to_owned(), "https://api.github.com/graphql".to_owned()),
        // as a GitHub Enterprise Server has them
        own => (format!("{own}/api/v3"), format!("{own}/api/graphql")),
    };
    github.insert("server_url", server);
    github.insert("api_url", api);
    github.insert("graphql_url", graphql);
    github.insert("token", "");
    github
}

/// Where the repository is, as the payload tells: `html_url` without the repository's name.
fn server(frozen: &Frozen) -> String {
    let field = |value: &serde_json::Value, name: &str| value.get(name).cloned().unwrap_or_default();
    let page = field(&field(&frozen.event, "repository"), "html_url");
    let page = page.as_str().and_then(|page| page.strip_suffix(&frozen.repository)?.strip_suffix('/'));
    let is_server = |page: &&str| {
        let host = page.strip_prefix("https://").or_else(|| page.strip_prefix("http://"));
        host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']))
    };
    page.filter(is_server).unwrap_or(GITHUB).to_owned()
}

/// The payload; a dispatch carries its inputs as texts, as GitHub sends them.
fn event(frozen: &Frozen, event_name: &str, inputs: &Object) -> Value {
    let mut event = match Value::from(&frozen.event) {
        Value::Object(event) => Object::clone(&event),
        _ => Object::new(),
    };
    if event_name == "workflow_dispatch" && event.value("inputs").is_none() && !inputs.is_empty() {
        let texts: Object = inputs.iter().map(|(name, value)| (name.to_owned(), value.to_text())).collect();
        event.insert("inputs", texts);
    }
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Expression;

    fn text(frozen: &Frozen, expression: &str) -> String {
        let workflow = Workflow::read(b"name: W\non: push\njobs: {a: {runs-on: x}}\n", "w.yml").unwrap();
        Expression::parse(expression).unwrap().evaluate(&of_run(&workflow, frozen)).unwrap().to_text()
    }

    #[test]
    fn a_payload_names_its_server() {
        let on = |page: &str| Frozen {
            repository: "o/r".into(),
            event: serde_json::json!({ "repository": { "html_url": page } }),
            ..Frozen::default()
        };
        let own = on("https://git.example.org/o/r");
        assert_eq!(text(&own, "github.server_url"), "https://git.example.org");
        assert_eq!(text(&own, "github.api_url"), "https://git.example.org/api/v3");
        for other in
            ["", "https://git.example.org/o/x", "https://evil@host/o/r", "ftp://host/o/r", "https:///o/r"]
        {
            assert_eq!(text(&on(other), "github.server_url"), GITHUB, "{other}");
        }
    }

    #[test]
    fn the_engine_is_recognised_whatever_vars_say() {
        let frozen = Frozen { vars: [("wfengine".to_owned(), "no".to_owned())].into(), ..Frozen::default() };
        assert_eq!(text(&frozen, "vars.WFENGINE == 'true'"), "true");
    }

    #[test]
    fn refs_are_taken_apart() {
        let frozen =
            Frozen { git_ref: "refs/tags/v1".to_owned(), repository: "o/r".to_owned(), ..Frozen::default() };
        let all = "format('{0} {1} {2} {3}', github.ref_name, github.ref_type, github.repository_owner, github.workflow)";
        assert_eq!(text(&frozen, all), "v1 tag o W");
    }

    #[test]
    fn a_dispatch_carries_its_inputs_as_texts_too() {
        let frozen = Frozen { inputs: [("dry".to_owned(), true.into())].into(), ..Frozen::default() };
        assert_eq!(
            text(&frozen, "format('{0} {1}', inputs.dry == true, github.event.inputs.dry == 'true')"),
            "true true"
        );
    }
}
