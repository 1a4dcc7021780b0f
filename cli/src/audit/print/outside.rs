//! Words for events about the world outside: repositories, triggers, effects at GitHub.

use wfengine_storage_format::{Body, Effect, EffectOutcome, ScanOutcome, Trigger};

/// What such an event says; `run` names the run it is of. `None` for events that say nothing of the world outside.
pub(super) fn words(
    body: &Body,
    run: impl Fn() -> String,
    tell: &mut dyn FnMut(&'static str, &dyn ToString),
) -> Option<String> {
    if let Some(repository) = body.repository() {
        tell("repository", &repository.name);
        tell("source", &repository.source);
    }
    Some(match body {
        Body::RepositoryScanned(body) => {
            tell("head", &body.head);
            let name = &body.repository.name;
            match &body.outcome {
                ScanOutcome::Failed(why) => format!("could not look at {name}: {why}"),
                ScanOutcome::Scanned => {
                    let unread = match body.problems.len() {
                        0 => String::new(),
                        count => format!(", {count} of them unreadable"),
                    };
                    let at = if body.head.is_empty() {
                        String::new()
                    } else {
                        format!(" at {}", short(&body.head))
                    };
                    format!("looked at {name}{at}: workflow files {}{unread}", body.files)
                }
            }
        }
        Body::WorkflowFound(body) => {
            tell("path", &body.path);
            tell("workflow", &body.source);
            tell("tags", &body.tags.join(", "));
            format!("found {} in {} ({})", body.path, body.repository.name, body.tags.join(", "))
        }
        Body::WorkflowVanished(body) => {
            tell("path", &body.path);
            format!("found {} no more in {}", body.path, body.repository.name)
        }
        Body::TriggerFired(body) => {
            tell("repository", &body.repository.name);
            tell("path", &body.path);
            tell("ref", &body.git_ref);
            tell("sha", &body.sha);
            if let Some(sources) = &body.sources {
                tell("sources", sources);
            }
            let why = match &body.trigger {
                Trigger::Found => "its content was new".to_owned(),
                Trigger::Push { .. } => format!("a push to {}", body.git_ref),
                Trigger::Schedule { cron, timezone, due_s } => {
                    let due = super::super::time::rfc3339(due_s.saturating_mul(1000));
                    format!("its schedule '{cron}' ({timezone}) was due at {due}")
                }
                Trigger::Dispatch => "somebody asked for it".to_owned(),
            };
            format!("started {} of {} at {}: {why}", body.path, body.repository.name, short(&body.sha))
        }
        Body::DiscoveryChanged(body) if body.scopes.is_empty() => "looks for workflows no more".to_owned(),
        Body::DiscoveryChanged(body) => {
            tell("scopes", &body.scopes.join(", "));
            tell("interval_ms", &body.interval_ms);
            format!("looks for workflows in {} every {} s", body.scopes.join(", "), body.interval_ms / 1000)
        }
        Body::EffectIntended(body) => {
            tell("submission", &body.submission);
            match &body.effect {
                Effect::Dispatch { repository, path, git_ref } => {
                    tell("repository", &repository.name);
                    tell("path", path);
                    format!("hands {} to GitHub: {path} of {} on {git_ref}", run(), repository.name)
                }
                Effect::Check { job } => {
                    tell("job", job);
                    format!("shows job {} of {} beside its commit", job.short(), run())
                }
            }
        }
        Body::EffectDone(body) => {
            tell("intent", &body.intent);
            let outcome = match &body.outcome {
                EffectOutcome::Done { url, .. } if url.is_empty() => "done".to_owned(),
                EffectOutcome::Done { url, .. } => format!("done: {url}"),
                EffectOutcome::Refused(why) => format!("refused: {why}"),
                EffectOutcome::Unknown(why) => format!("nobody knows: {why}"),
            };
            format!("what was to happen at GitHub for {}: {outcome}", run())
        }
        Body::DispatchFollowed(body) => {
            tell("intent", &body.intent);
            tell("url", &body.url);
            match body.conclusion {
                Some(conclusion) => format!("saw {} end on GitHub: {conclusion}", run()),
                None => format!("saw {} run on GitHub", run()),
            }
        }
        _ => return None,
    })
}

/// A commit as people write it.
fn short(sha: &str) -> &str {
    sha.get(..12).unwrap_or(sha)
}
