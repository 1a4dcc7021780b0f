//! `/_runner/...`: what a runner's process says to the service. Nothing of GitHub's own protocol is here: it is private, and its
//! stand-in is as private.
//!
//! Bodies and answers are JSON. Requests here are neither limited nor held against the contract, and are logged apart.
//!
//! ```text
//! POST hello      {"name"}                      -> {"do": [orders of a test]}
//! POST register   {"token", "url", "name", "labels": […], "ephemeral", "replace", "no_default_labels"}
//!                                               -> {"agent", "secret", "name"} · 404 bad token · 409 name taken
//! POST session    {"agent", "secret"}           -> {"session", "labels"} · 401 · 409 in use · 410 removed
//! GET  job?session=                             -> {"job", "name", …} · 204 none in a while · 401 · 410
//! GET  presence?session=                        -> waits: {"cancelled": job} · 410 removed
//! POST log        {"session", "lines": […]}     POST completed  {"session", "job", "conclusion"}
//! POST bye        {"session"}
//! ```
//!
//! Invariants: a waiting request counts as a sign of life until its connection ends; a job is in one answer.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Shared,
    actions::Progress,
    answer::Answer,
    ids::{JobId, RunnerId},
    log::RunnerRequest,
    request::Request,
    runners::{Purpose, Runner, RunnerChange, TurnedAway},
    state::State,
};

/// Before all paths of this face.
pub(crate) const PREFIX: &str = "/_runner/";
/// A request for a job is answered after so long, with nothing.
const POLL: Duration = Duration::from_secs(25);
const LABELS: [&str; 3] = ["self-hosted", "Linux", "X64"];

#[derive(Deserialize)]
struct Registration {
    token: String,
    url: String,
    name: String,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    ephemeral: bool,
    #[serde(default)]
    replace: bool,
    #[serde(default)]
    no_default_labels: bool,
}

#[derive(Deserialize)]
struct Proof {
    agent: u64,
    secret: String,
}

#[derive(Deserialize)]
struct Lines {
    session: String,
    #[serde(default)]
    lines: Vec<String>,
}

#[derive(Deserialize)]
struct Ended {
    session: String,
    job: u64,
    conclusion: String,
}

#[derive(Deserialize)]
struct OfSession {
    session: String,
}

type Reply = Result<Answer, Answer>;

/// Answers one request, which may take a while.
pub(crate) async fn answer(shared: &Arc<Shared>, request: &Request) -> Answer {
    let what = request.path.trim_start_matches(PREFIX).to_owned();
    // logged as it comes: what waits without end would never be seen otherwise
    let entry = { shared.state().note_runner_request(&what, request) };
    let replied = match (request.method.as_str(), what.as_str()) {
        ("GET", "job") => wait(shared, request, Waiting::ForJob).await,
        ("GET", "presence") => wait(shared, request, Waiting::ForNews).await,
        ("POST", what) => perform(&mut shared.state(), what, request),
        _ => Err(nothing_here()),
    };
    let answer = replied.unwrap_or_else(|refused| refused);
    shared.webhooks_waiting.notify_one();
    if let Some(logged) = shared.state().runner_log.get_mut(entry) {
        logged.status = answer.status;
    }
    answer
}

impl State {
    fn note_runner_request(&mut self, what: &str, request: &Request) -> usize {
        let by_session = |session: &str| self.runners.in_session(session).map(|runner| runner.name.clone());
        let body: Option<Value> = serde_json::from_slice(&request.body).ok();
        let text = |field: &str| body.as_ref().and_then(|body| body[field].as_str());
        let session = request.query("session").or_else(|| text("session"));
        let named = session.and_then(|session| by_session(session).ok());
        let of_agent = || {
            let agent = body.as_ref().and_then(|body| body["agent"].as_u64())?;
            self.runners.all.get(&RunnerId(agent)).map(|runner| runner.name.clone())
        };
        let runner = named.or_else(|| text("name").map(str::to_owned)).or_else(of_agent).unwrap_or_default();
        let entry = RunnerRequest { at: self.now(), what: what.to_owned(), runner, status: 0 };
        self.runner_log.push(entry);
        self.runners.changed.notify_waiters();
        self.runner_log.len() - 1
    }
}

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, json!({ "message": message }))
}

fn nothing_here() -> Answer {
    error(404, "runners say nothing of this kind")
}

fn turned_away(why: TurnedAway) -> Answer {
    match why {
        TurnedAway::Unknown => error(401, "The credentials of this runner are not known."),
        TurnedAway::Gone => error(410, "The runner registration has been deleted from the server."),
        TurnedAway::InUse => error(409, "A session for this runner already exists."),
    }
}

fn body<T: DeserializeOwned>(request: &Request) -> Result<T, Answer> {
    serde_json::from_slice(&request.body).map_err(|wrong| error(400, &wrong.to_string()))
}

fn perform(state: &mut State, what: &str, request: &Request) -> Reply {
    match what {
        "hello" => {
            let orders = &mut state.runners.orders;
            let next = if orders.is_empty() { Vec::new() } else { vec![orders.remove(0)] };
            Ok(Answer::json(200, json!({ "do": next })))
        }
        "register" => register(state, body(request)?),
        "session" => {
            let Proof { agent, secret } = body(request)?;
            let id = RunnerId(agent);
            let session = state.open_session(id, &secret).map_err(turned_away)?;
            let labels = state.runners.all.get(&id).map(Runner::all_labels).unwrap_or_default();
            Ok(Answer::json(200, json!({ "session": session, "labels": labels })))
        }
        "log" => {
            let Lines { session, lines } = body(request)?;
            let runner = state.runners.in_session(&session).map_err(turned_away)?;
            if let Some(job) = runner.job {
                state.add_to_log(job, lines);
            }
            Ok(Answer::json(200, json!({})))
        }
        "completed" => {
            let Ended { session, job, conclusion } = body(request)?;
            let runner = state.runners.in_session(&session).map_err(turned_away)?;
            let (id, job) = (runner.id, JobId(job));
            if runner.job != Some(job) {
                return Err(error(409, "this runner was not given this job, or was given up"));
            }
            state.end_job(job, &conclusion).map_err(|wrong| error(404, &wrong.to_string()))?;
            state.release_runner(id);
            Ok(Answer::json(200, json!({})))
        }
        "bye" => {
            let OfSession { session } = body(request)?;
            let id = state.runners.in_session(&session).map_err(turned_away)?.id;
            state.end_session(id);
            Ok(Answer::json(200, json!({})))
        }
        _ => Err(nothing_here()),
    }
}

fn register(state: &mut State, wanted: Registration) -> Reply {
    // as GitHub says it for a token that is wrong, over, or for somewhere else
    let not_found = || error(404, "Not Found");
    let of = wanted.url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map(|(_, path)| path);
    let of = of.map(|path| path.trim_matches('/')).filter(|path| !path.is_empty());
    let scope = of.and_then(|of| state.scope(of).ok()).ok_or_else(not_found)?;
    let now = state.now();
    if !state.runners.accepts(&wanted.token, scope, Purpose::Register, now) {
        return Err(not_found());
    }
    if wanted.name.trim().is_empty() {
        return Err(error(400, "a runner has a name"));
    }
    if let Some(taken) = state.runners.named(scope, &wanted.name) {
        if !wanted.replace || taken.is_busy() {
            let message = format!("A runner exists with the same name {}.", wanted.name);
            return Err(error(409, &message));
        }
        let id = taken.id;
        state.remove_runner(id, RunnerChange::Replaced);
    }
    let (id, serial) = (state.ids.runner(), state.ids.serial());
    let secret = format!("registered-{serial:020}");
    let fixed: &[&str] = if wanted.no_default_labels { &[] } else { &LABELS };
    let runner = Runner {
        fixed_labels: fixed.iter().map(|label| (*label).to_owned()).collect(),
        is_ephemeral: wanted.ephemeral,
        secret: Some(secret.clone()),
        ..Runner::new(id, scope, &wanted.name, wanted.labels, now)
    };
    state.add_runner(runner);
    Ok(Answer::json(200, json!({ "agent": id.0, "secret": secret, "name": wanted.name })))
}

/// A sign of life, for as long as it is kept.
struct Connection<'a> {
    shared: &'a Shared,
    session: &'a str,
}

impl<'a> Connection<'a> {
    fn new(shared: &'a Shared, session: &'a str) -> Self {
        shared.state().count_connection(session, true);
        Self { shared, session }
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.shared.state().count_connection(self.session, false);
    }
}

/// What a request waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    ForJob,
    ForNews,
}

/// Answers when there is something to say. A client that goes away ends this where it waits.
async fn wait(shared: &Arc<Shared>, request: &Request, waiting: Waiting) -> Reply {
    let session = request.query("session").unwrap_or_default();
    let changed = { Arc::clone(&shared.state().runners.changed) };
    let _connection = Connection::new(shared, session);
    let patience = tokio::time::sleep(POLL);
    tokio::pin!(patience);
    loop {
        let ring = changed.notified();
        tokio::pin!(ring);
        // from here on no change is missed
        ring.as_mut().enable();
        let seen = { look(&mut shared.state(), session, waiting) };
        if let Some(answer) = seen? {
            return Ok(answer);
        }
        shared.webhooks_waiting.notify_one();
        tokio::select! {
            () = ring => {}
            () = &mut patience, if waiting == Waiting::ForJob => return Ok(Answer::empty(204)),
        }
    }
}

fn look(state: &mut State, session: &str, waiting: Waiting) -> Result<Option<Answer>, Answer> {
    if waiting == Waiting::ForJob {
        let job = state.next_job(session).map_err(turned_away)?;
        return Ok(job.and_then(|job| assigned(state, job)));
    }
    let runner = state.runners.in_session(session).map_err(turned_away)?;
    let over = runner
        .job
        .filter(|job| state.actions.jobs.get(job).is_none_or(|job| job.progress == Progress::Completed));
    Ok(over.map(|job| Answer::json(200, json!({ "cancelled": job.0 }))))
}

fn assigned(state: &State, id: JobId) -> Option<Answer> {
    let job = state.actions.jobs.get(&id)?;
    let run = state.actions.runs.get(&job.run)?;
    let repository = state.repositories.get(&run.repository).map(|of| state.full_name(of));
    Some(Answer::json(
        200,
        json!({
            "job": id.0, "name": job.name, "labels": job.labels, "run": job.run.0, "repository": repository,
            "event": run.event, "sha": run.sha.to_string(),
        }),
    ))
}
