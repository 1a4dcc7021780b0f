//! Words for events about runners: pools, and the life of each runner from intent to removal.

use wfengine_storage_format::{Body, EventId, PoolChanged, RunnerCause, RunnerEnd};

/// What such an event says; `name` is what the runner of an intent is called. `None` for events that say nothing of runners.
pub(super) fn words(
    body: &Body,
    name: impl Fn(&EventId) -> String,
    tell: &mut dyn FnMut(&'static str, &dyn ToString),
) -> Option<String> {
    if let Some(intent) = body.runner_intent() {
        tell("intent", &intent);
    }
    Some(match body {
        Body::PoolChanged(body) => {
            tell("pool", &body.pool);
            tell("on", &body.is_on);
            pool_words(body, tell)
        }
        Body::RunnerIntended(body) => {
            tell("pool", &body.pool);
            tell("runner", &body.name);
            tell("source", &body.source);
            tell("scope", &body.scope);
            tell("labels", &body.labels.join(", "));
            let why = match &body.cause {
                RunnerCause::Job { repository, run, job } => {
                    tell("job", job);
                    tell("github_run", run);
                    let elsewhere = if *repository == body.scope { "" } else { repository };
                    let of = if elsewhere.is_empty() { String::new() } else { format!(" of {elsewhere}") };
                    format!("job {job}{of}")
                }
                RunnerCause::Idle => "to wait for work".to_owned(),
                RunnerCause::Asked => "somebody asked for it".to_owned(),
            };
            format!("runner {} intended for {} ({why})", body.name, body.scope)
        }
        Body::RunnerStarted(body) => {
            tell("container", &body.container);
            tell("image", &body.image);
            tell("runner", &body.runner);
            format!("runner {} started in container {}", name(&body.intent), short(&body.container))
        }
        Body::RunnerExited(body) => {
            if let Some(log) = &body.log {
                tell("log", log);
            }
            let ran = body.ran.as_ref().map(|ran| {
                tell("repository", &ran.repository);
                tell("github_run", &ran.run);
                tell("job", &ran.job);
                format!(" after job {} of {}", ran.job, ran.repository)
            });
            let ran = ran.unwrap_or_default();
            let name = name(&body.intent);
            match &body.end {
                RunnerEnd::Done { exit_code } => {
                    tell("exit_code", exit_code);
                    format!("runner {name} ended with code {exit_code}{ran}")
                }
                RunnerEnd::Failed { what } => format!("runner {name} failed{ran}: {what}"),
                RunnerEnd::NeverStarted { what } => format!("runner {name} never started: {what}"),
                RunnerEnd::Stopped { why } => format!("runner {name} was stopped{ran}: {why}"),
            }
        }
        Body::RunnerRemoved(body) => format!("runner {} is removed", name(&body.intent)),
        _ => return None,
    })
}

fn pool_words(body: &PoolChanged, tell: &mut dyn FnMut(&'static str, &dyn ToString)) -> String {
    if !body.is_on {
        return format!("turned pool {} off", body.pool);
    }
    let scopes = if body.scopes.is_empty() { "all it can see".to_owned() } else { body.scopes.join(", ") };
    tell("source", &body.source);
    tell("scopes", &scopes);
    tell("labels", &body.labels.join(", "));
    tell("runners_max", &body.runners_max);
    tell("cluster_max", &body.cluster_max);
    tell("idle_min", &body.idle_min);
    tell("interval_ms", &body.interval_ms);
    tell("policy", &body.policy_json);
    let idle = if body.idle_min == 0 { String::new() } else { format!(", {} of them idle", body.idle_min) };
    format!(
        "keeps pool {} for {scopes} on {}: at most {} runners{idle}, looked at every {} s",
        body.pool,
        body.source,
        body.runners_max,
        body.interval_ms / 1000
    )
}

/// An id of the engine's as people write it.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wfengine_storage_format::{RunnerExited, RunnerIntended, RunnerJob, RunnerRemoved, RunnerStarted};

    use super::*;

    fn said(body: impl Into<Body>) -> (String, BTreeMap<&'static str, String>) {
        let mut details = BTreeMap::new();
        let mut tell = |name, value: &dyn ToString| drop(details.insert(name, value.to_string()));
        let words = words(&body.into(), |_| "wfengine-default-1a2b3c4d".to_owned(), &mut tell).unwrap();
        (words, details)
    }

    #[test]
    fn a_runners_life_reads_as_a_story() {
        let intent = EventId::from_bytes([7; 32]);
        let cause = RunnerCause::Job { repository: "octo/a".into(), run: 9, job: 123 };
        let intended = RunnerIntended {
            pool: "default".into(),
            name: "wfengine-default-1a2b3c4d".into(),
            source: "github.com".into(),
            scope: "octo/a".into(),
            labels: vec!["linux".into()],
            cause,
        };
        let (words, details) = said(intended.clone());
        assert_eq!(words, "runner wfengine-default-1a2b3c4d intended for octo/a (job 123)");
        assert_eq!((details["pool"].as_str(), details["github_run"].as_str()), ("default", "9"));
        let (words, _) = said(RunnerIntended { scope: "octo".into(), ..intended });
        assert_eq!(words, "runner wfengine-default-1a2b3c4d intended for octo (job 123 of octo/a)");
        let started = RunnerStarted { intent, runner: 1, container: "0".repeat(64), image: String::new() };
        assert_eq!(said(started).0, "runner wfengine-default-1a2b3c4d started in container 000000000000");
        let ran = Some(RunnerJob { repository: "octo/a".into(), run: 9, job: 123 });
        let exited = RunnerExited { intent, end: RunnerEnd::Done { exit_code: 0 }, log: None, ran };
        let (words, details) = said(exited.clone());
        assert_eq!(words, "runner wfengine-default-1a2b3c4d ended with code 0 after job 123 of octo/a");
        assert_eq!(details["intent"], intent.to_string());
        let end = RunnerEnd::NeverStarted { what: "no space left".into() };
        let never = RunnerExited { end, ran: None, ..exited };
        assert_eq!(said(never).0, "runner wfengine-default-1a2b3c4d never started: no space left");
        assert_eq!(said(RunnerRemoved { intent }).0, "runner wfengine-default-1a2b3c4d is removed");
    }
}
