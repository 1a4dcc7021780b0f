//! Self-hosted runners of repositories and organisations: list, look, delete, labels, tokens, just-in-time configurations.

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{For, Level, Route, administer, shapes::web};
use crate::standin::{
    answer::{Answer, Outcome},
    call::Call,
    clock::iso,
    ids::RunnerId,
    limits::Bucket,
    runners::{Purpose, Runner, RunnerChange, RunnerToken, Scope},
    state::State,
};

const LABELS_MAX: usize = 100;
const LABEL_LEN_MAX: usize = 256;
const TOKEN_SECONDS: u64 = 3_600;
/// The group `Default`, the only one of a repository.
pub(super) const DEFAULT_GROUP: u64 = 1;

type Handler = fn(&mut State, &Call<'_>) -> Outcome;

/// Below a repository and below an organisation.
const fn pair(
    method: &'static str,
    patterns: [&'static str; 2],
    operations: [&'static str; 2],
    level: Level,
    handler: Handler,
) -> [Route; 2] {
    let [in_repository, in_organization] = patterns;
    let [of_repository, of_organization] = operations;
    let bucket = Bucket::Core;
    [
        Route {
            method,
            pattern: in_repository,
            operation: of_repository,
            access: administer("administration", level),
            bucket,
            handler,
        },
        Route {
            method,
            pattern: in_organization,
            operation: of_organization,
            access: For::Organization(level),
            bucket,
            handler,
        },
    ]
}

/// The same, counted apart.
const fn counted_apart(pair: [Route; 2]) -> [Route; 2] {
    let [in_repository, in_organization] = pair;
    let bucket = Bucket::RunnerRegistration;
    [Route { bucket, ..in_repository }, Route { bucket, ..in_organization }]
}

/// In pairs; the first route that fits decides.
pub(super) const ROUTES: [[Route; 2]; 11] = [
    pair(
        "GET",
        ["{R}/actions/runners", "/orgs/{org}/actions/runners"],
        ["actions/list-self-hosted-runners-for-repo", "actions/list-self-hosted-runners-for-org"],
        Level::Read,
        list,
    ),
    pair(
        "GET",
        ["{R}/actions/runners/downloads", "/orgs/{org}/actions/runners/downloads"],
        ["actions/list-runner-applications-for-repo", "actions/list-runner-applications-for-org"],
        Level::Read,
        downloads,
    ),
    counted_apart(pair(
        "POST",
        ["{R}/actions/runners/registration-token", "/orgs/{org}/actions/runners/registration-token"],
        ["actions/create-registration-token-for-repo", "actions/create-registration-token-for-org"],
        Level::Write,
        registration_token,
    )),
    counted_apart(pair(
        "POST",
        ["{R}/actions/runners/remove-token", "/orgs/{org}/actions/runners/remove-token"],
        ["actions/create-remove-token-for-repo", "actions/create-remove-token-for-org"],
        Level::Write,
        remove_token,
    )),
    pair(
        "POST",
        ["{R}/actions/runners/generate-jitconfig", "/orgs/{org}/actions/runners/generate-jitconfig"],
        ["actions/generate-runner-jitconfig-for-repo", "actions/generate-runner-jitconfig-for-org"],
        Level::Write,
        generate_configuration,
    ),
    pair(
        "GET",
        ["{R}/actions/runners/{runner_id}", "/orgs/{org}/actions/runners/{runner_id}"],
        ["actions/get-self-hosted-runner-for-repo", "actions/get-self-hosted-runner-for-org"],
        Level::Read,
        one,
    ),
    pair(
        "DELETE",
        ["{R}/actions/runners/{runner_id}", "/orgs/{org}/actions/runners/{runner_id}"],
        ["actions/delete-self-hosted-runner-from-repo", "actions/delete-self-hosted-runner-from-org"],
        Level::Write,
        delete,
    ),
    pair(
        "GET",
        ["{R}/actions/runners/{runner_id}/labels", "/orgs/{org}/actions/runners/{runner_id}/labels"],
        [
            "actions/list-labels-for-self-hosted-runner-for-repo",
            "actions/list-labels-for-self-hosted-runner-for-org",
        ],
        Level::Read,
        labels,
    ),
    pair(
        "POST",
        ["{R}/actions/runners/{runner_id}/labels", "/orgs/{org}/actions/runners/{runner_id}/labels"],
        [
            "actions/add-custom-labels-to-self-hosted-runner-for-repo",
            "actions/add-custom-labels-to-self-hosted-runner-for-org",
        ],
        Level::Write,
        add_labels,
    ),
    pair(
        "PUT",
        ["{R}/actions/runners/{runner_id}/labels", "/orgs/{org}/actions/runners/{runner_id}/labels"],
        [
            "actions/set-custom-labels-for-self-hosted-runner-for-repo",
            "actions/set-custom-labels-for-self-hosted-runner-for-org",
        ],
        Level::Write,
        set_labels,
    ),
    pair(
        "DELETE",
        ["{R}/actions/runners/{runner_id}/labels", "/orgs/{org}/actions/runners/{runner_id}/labels"],
        [
            "actions/remove-all-custom-labels-from-self-hosted-runner-for-repo",
            "actions/remove-all-custom-labels-from-self-hosted-runner-for-org",
        ],
        Level::Write,
        remove_all_labels,
    ),
];

/// The last pair has a shape of its own: the label is part of the path.
pub(super) const ONE_LABEL: [Route; 2] = pair(
    "DELETE",
    [
        "{R}/actions/runners/{runner_id}/labels/{name}",
        "/orgs/{org}/actions/runners/{runner_id}/labels/{name}",
    ],
    [
        "actions/remove-custom-label-from-self-hosted-runner-for-repo",
        "actions/remove-custom-label-from-self-hosted-runner-for-org",
    ],
    Level::Write,
    remove_label,
);

fn scope(state: &State, call: &Call<'_>) -> Result<Scope, Answer> {
    match call.repository {
        Some(id) => Ok(Scope::Repository(id)),
        None => {
            let organization = state.account(call.parameter("org")).ok_or_else(Answer::not_found)?;
            Ok(Scope::Organization(organization.id))
        }
    }
}

fn label_shapes(runner: &Runner) -> Vec<Value> {
    let shape = |(at, name, kind): (usize, &String, &str)| json!({ "id": runner.id.0 * 1_000 + at as u64, "name": name, "type": kind });
    let fixed = runner.fixed_labels.iter().map(|name| (name, "read-only"));
    let all = fixed.chain(runner.labels.iter().map(|name| (name, "custom")));
    all.enumerate().map(|(at, (name, kind))| shape((at, name, kind))).collect()
}

/// `runner`.
fn shape(runner: &Runner) -> Value {
    json!({
        "id": runner.id.0, "runner_group_id": DEFAULT_GROUP, "name": runner.name, "os": "Linux",
        "status": if runner.is_online { "online" } else { "offline" }, "busy": runner.is_busy(),
        "ephemeral": runner.is_ephemeral, "labels": label_shapes(runner),
    })
}

fn list(state: &mut State, call: &Call<'_>) -> Outcome {
    let scope = scope(state, call)?;
    let mut runners = state.runners.of(scope);
    if let Some(name) = call.request.query("name") {
        runners.retain(|runner| runner.name == name);
    }
    let path = match scope {
        Scope::Repository(_) => call.path_by_id("/actions/runners"),
        Scope::Organization(id) => format!("/organizations/{id}/actions/runners"),
    };
    call.wrapped_list("runners", &runners, &path, |runner| shape(runner))
}

fn downloads(_: &mut State, call: &Call<'_>) -> Outcome {
    let file = "actions-runner-linux-x64-2.330.0.tar.gz";
    let url = format!("{}/actions/runner/releases/download/v2.330.0/{file}", web(&call.base));
    let shown = json!([{ "os": "linux", "architecture": "x64", "download_url": url, "filename": file }]);
    Ok(Answer::json(200, shown))
}

fn registration_token(state: &mut State, call: &Call<'_>) -> Outcome {
    new_token(state, call, Purpose::Register)
}

fn remove_token(state: &mut State, call: &Call<'_>) -> Outcome {
    new_token(state, call, Purpose::Remove)
}

fn new_token(state: &mut State, call: &Call<'_>, purpose: Purpose) -> Outcome {
    let scope = scope(state, call)?;
    let (token, expires_at) = state.runner_token(scope, purpose);
    Ok(Answer::json(201, json!({ "token": token, "expires_at": iso(expires_at) })))
}

impl State {
    /// Makes a token for runners, and says until when it holds.
    pub(crate) fn runner_token(&mut self, scope: Scope, purpose: Purpose) -> (String, u64) {
        let expires_at = self.now() + TOKEN_SECONDS;
        let token = format!("STANDIN{:022}", self.ids.serial());
        self.runners.tokens.insert(token.clone(), RunnerToken { scope, purpose, expires_at });
        (token, expires_at)
    }
}

/// A configuration to be made.
#[derive(Deserialize)]
struct Wanted {
    name: Option<String>,
    runner_group_id: Option<u64>,
    labels: Option<Vec<String>>,
    work_folder: Option<String>,
}

fn checked_labels(labels: Option<Vec<String>>, at_least: usize) -> Result<Vec<String>, Answer> {
    let labels = labels.unwrap_or_default();
    let is_good = |label: &String| !label.trim().is_empty() && label.len() <= LABEL_LEN_MAX;
    if labels.len() < at_least || labels.len() > LABELS_MAX || !labels.iter().all(is_good) {
        return Err(Answer::unprocessable("Invalid request.\n\nInvalid labels."));
    }
    Ok(labels)
}

fn generate_configuration(state: &mut State, call: &Call<'_>) -> Outcome {
    let scope = scope(state, call)?;
    let wanted: Wanted = call.body()?;
    let missing =
        |field: &str| Answer::unprocessable(&format!("Invalid request.\n\n\"{field}\" wasn't supplied."));
    let name = wanted.name.filter(|name| !name.is_empty()).ok_or_else(|| missing("name"))?;
    let group = wanted.runner_group_id.ok_or_else(|| missing("runner_group_id"))?;
    if group != DEFAULT_GROUP {
        return Err(Answer::not_found());
    }
    let labels = checked_labels(wanted.labels, 1)?;
    if state.runners.named(scope, &name).is_some() {
        let message = format!("Already exists - A runner with the name {name} already exists.");
        return Err(Answer::error(409, &message, "/actions/self-hosted-runners"));
    }
    let (id, serial) = (state.ids.runner(), state.ids.serial());
    let secret = format!("jit-{serial:020}");
    let runner = Runner {
        is_ephemeral: true,
        is_just_in_time: true,
        secret: Some(secret.clone()),
        ..Runner::new(id, scope, &name, labels, state.now())
    };
    let owner = match scope {
        Scope::Repository(id) => state.repositories.get(&id).map(|of| state.full_name(of)),
        Scope::Organization(id) => Some(state.login(id).to_owned()),
    };
    let service = state.runner_url.as_deref().unwrap_or_else(|| web(&call.base));
    let files = [
        (
            ".runner",
            json!({
                "AgentId": id.0, "AgentName": name, "PoolId": 1, "PoolName": "Default", "Ephemeral": "true",
                "ServerUrl": service, "GitHubUrl": format!("{service}/{}", owner.unwrap_or_default()),
                "WorkFolder": wanted.work_folder.unwrap_or_else(|| "_work".to_owned()),
            }),
        ),
        (".credentials", json!({ "Scheme": "OAuth", "Data": { "ClientId": secret } })),
        (".credentials_rsaparams", json!({})),
    ];
    let files: serde_json::Map<String, Value> = files
        .into_iter()
        .map(|(file, content)| (file.to_owned(), BASE64.encode(content.to_string().as_bytes()).into()))
        .collect();
    let encoded = BASE64.encode(Value::Object(files).to_string().as_bytes());
    let body = json!({ "runner": shape(&runner), "encoded_jit_config": encoded });
    state.add_runner(runner);
    Ok(Answer::json(201, body))
}

fn named<'s>(state: &'s mut State, call: &Call<'_>) -> Result<&'s mut Runner, Answer> {
    let scope = scope(state, call)?;
    let id: RunnerId = call.number("runner_id")?;
    let runner = state.runners.all.get_mut(&id).filter(|runner| runner.scope == scope);
    runner.ok_or_else(Answer::not_found)
}

fn one(state: &mut State, call: &Call<'_>) -> Outcome {
    Ok(Answer::json(200, shape(named(state, call)?)))
}

fn delete(state: &mut State, call: &Call<'_>) -> Outcome {
    let runner = named(state, call)?;
    if runner.is_busy() {
        let message = format!("Runner \"{}\" is still running a job", runner.name);
        return Err(Answer::error(422, &message, "/actions/self-hosted-runners"));
    }
    let id = runner.id;
    state.remove_runner(id, RunnerChange::Deleted);
    Ok(Answer::empty(204))
}

fn shown_labels(runner: &Runner) -> Outcome {
    let labels = label_shapes(runner);
    Ok(Answer::json(200, json!({ "total_count": labels.len(), "labels": labels })))
}

fn labels(state: &mut State, call: &Call<'_>) -> Outcome {
    shown_labels(named(state, call)?)
}

/// Labels to be added or set.
#[derive(Deserialize)]
struct NewLabels {
    labels: Option<Vec<String>>,
}

fn add_labels(state: &mut State, call: &Call<'_>) -> Outcome {
    let new = checked_labels(call.body::<NewLabels>()?.labels, 1)?;
    let runner = named(state, call)?;
    for label in new {
        if !runner.labels.iter().any(|known| known.eq_ignore_ascii_case(&label)) {
            runner.labels.push(label);
        }
    }
    shown_labels(runner)
}

fn set_labels(state: &mut State, call: &Call<'_>) -> Outcome {
    let new = checked_labels(call.body::<NewLabels>()?.labels, 0)?;
    let runner = named(state, call)?;
    runner.labels = new;
    shown_labels(runner)
}

fn remove_all_labels(state: &mut State, call: &Call<'_>) -> Outcome {
    let runner = named(state, call)?;
    runner.labels.clear();
    shown_labels(runner)
}

fn remove_label(state: &mut State, call: &Call<'_>) -> Outcome {
    let name = call.parameter("name");
    let runner = named(state, call)?;
    if runner.fixed_labels.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Err(Answer::unprocessable("Invalid request.\n\nRead-only labels cannot be removed."));
    }
    let at = runner.labels.iter().position(|known| known.eq_ignore_ascii_case(name));
    runner.labels.remove(at.ok_or_else(Answer::not_found)?);
    shown_labels(runner)
}
