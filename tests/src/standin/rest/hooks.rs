//! Webhooks of a repository: list and create.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::standin::{
    answer::{Answer, Outcome},
    call::Call,
    clock::iso,
    state::State,
    webhooks::{Hook, payload},
};

/// `hook`; a secret is never shown.
pub(crate) fn shape(state: &State, base: &str, hook: &Hook) -> Value {
    let repository = state.repositories.get(&hook.repository);
    let full_name = repository.map_or_else(String::new, |repository| state.full_name(repository));
    let url = format!("{base}/repos/{full_name}/hooks/{}", hook.id);
    let secret = hook.secret.as_ref().map(|_| "********");
    let mut config = json!({ "url": hook.url, "content_type": "json", "insecure_ssl": "0" });
    if let Some(secret) = secret {
        config["secret"] = secret.into();
    }
    json!({
        "type": "Repository", "id": hook.id.0, "name": "web", "active": hook.is_active, "events": hook.events,
        "config": config, "created_at": iso(hook.created_at), "updated_at": iso(hook.created_at),
        "url": url, "test_url": format!("{url}/test"), "ping_url": format!("{url}/pings"),
        "deliveries_url": format!("{url}/deliveries"),
        "last_response": { "code": null, "status": "unused", "message": null },
    })
}

pub(super) fn list(state: &mut State, call: &Call<'_>) -> Outcome {
    let repository = call.repository(state)?.id;
    let hooks: Vec<&Hook> = state.webhooks.hooks_of(repository);
    call.list(&hooks, &call.path_by_id("/hooks"), |hook| shape(state, &call.base, hook))
}

/// A hook to be made.
#[derive(Deserialize)]
struct Given {
    config: Option<Config>,
    events: Option<Vec<String>>,
    active: Option<bool>,
}

#[derive(Deserialize)]
struct Config {
    url: Option<String>,
    secret: Option<String>,
}

pub(super) fn create(state: &mut State, call: &Call<'_>) -> Outcome {
    let given: Given = call.body()?;
    let config = given.config.unwrap_or(Config { url: None, secret: None });
    let url = config.url.ok_or_else(|| Answer::validation_failed("Hook", "url", "missing_field"))?;
    let repository = call.repository(state)?.id;
    if state.webhooks.hooks_of(repository).iter().any(|hook| hook.url == url) {
        return Err(Answer::validation_failed("Hook", "base", "custom"));
    }
    let hook = Hook {
        id: state.ids.hook(),
        repository,
        url,
        secret: config.secret,
        events: given.events.unwrap_or_else(|| vec!["push".to_owned()]),
        is_active: given.active.unwrap_or(true),
        created_at: state.now(),
    };
    let body = shape(state, &call.base, &hook);
    let ping = payload::ping(state, &hook);
    let id = state.webhooks.add(hook);
    state.emit_to(&[id], "ping", None, ping);
    let location = body["url"].as_str().unwrap_or_default().to_owned();
    Ok(Answer::json(201, body).with("location", location))
}
