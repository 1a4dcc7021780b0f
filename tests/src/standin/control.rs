//! `/_standin/...`: what tests do with methods, for other processes and for curl. Nothing of GitHub is here.
//!
//! Bodies and answers are JSON. Requests here are neither logged nor limited; what is wrong with one is said with 400.
//!
//! ```text
//! GET  state · requests · runs · dispatches · statuses · jobs · runners · runner-events
//! POST repository   {"name": "octo-org/one", "private": false}
//! POST push         {"repository": …, "branch": "main", "files": {"path": "text" or null}, "message": …, "force": false}
//! POST rename       {"from": …, "to": …}          POST delete      {"repository": …}
//! POST token        {"user": …, "scopes": […]}    POST revoke      {"token": …}
//! POST start-run    {"run": 1}                    POST finish-run  {"run": 1, "conclusion": "success"}
//! POST advance      {"seconds": 60}               POST webhooks    {"do": "hold" | "release" | "release-reversed" | "lose"}
//! POST exhaust      {"bucket": "core", "identity": "user:octo" or a token}
//! POST secondary-limit {"seconds": 60, "retry_after": true}
//! POST fault        {"path": "/repos/*", "method": "GET", "times": 1, "after": 0, "error": "unicorn"}
//!                   or, in place of the error, "status" and "body", "slow_ms", "lost_answer", "cut_after"
//! POST clear-faults {}
//! POST queue        {"repository": …, "jobs": [{"name": …, "labels": […]}], "event": …, "head_repository": …}
//! POST cancel-job   {"job": 1}
//! POST registration-token {"of": "octo-org/one" or "octo-org"}
//! POST order-runners {"do": "crash-first", "count": 1}
//! ```

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Bucket, ErrorCase, Fault, FaultRule, JobId, Progress, RepositoryOptions, RunId, Shared, StandinError,
    TokenKind, WantedJob, WantedRun,
    answer::Answer,
    git::Entry,
    request::Request,
    runners::{Purpose, Runners},
    state::State,
};

#[derive(Deserialize)]
struct NewRepository {
    name: String,
    #[serde(default)]
    private: bool,
}

#[derive(Deserialize)]
struct Push {
    repository: String,
    #[serde(default = "main_branch")]
    branch: String,
    files: BTreeMap<String, Option<String>>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    force: bool,
}

fn main_branch() -> String {
    "main".to_owned()
}

#[derive(Deserialize)]
struct Rename {
    from: String,
    to: String,
}

#[derive(Deserialize)]
struct Named {
    repository: String,
}

#[derive(Deserialize)]
struct NewToken {
    user: String,
    scopes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct OldToken {
    token: String,
}

#[derive(Deserialize)]
struct OfRun {
    run: u64,
    conclusion: Option<String>,
}

#[derive(Deserialize)]
struct Seconds {
    seconds: u64,
    #[serde(default)]
    retry_after: bool,
}

#[derive(Deserialize)]
struct Exhaust {
    bucket: String,
    identity: String,
}

#[derive(Deserialize)]
struct Deliveries {
    r#do: String,
}

#[derive(Deserialize)]
struct QueuedJob {
    name: String,
    labels: Vec<String>,
}

#[derive(Deserialize)]
struct Queue {
    repository: String,
    jobs: Vec<QueuedJob>,
    event: Option<String>,
    head_repository: Option<String>,
}

#[derive(Deserialize)]
struct OfJob {
    job: u64,
}

#[derive(Deserialize)]
struct Of {
    of: String,
}

#[derive(Deserialize)]
struct Orders {
    r#do: String,
    #[serde(default = "once")]
    count: u64,
}

#[derive(Deserialize)]
struct NewFault {
    path: String,
    method: Option<String>,
    #[serde(default = "once")]
    times: u64,
    #[serde(default)]
    after: u64,
    error: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    body: Value,
    slow_ms: Option<u64>,
    cut_after: Option<usize>,
    #[serde(default)]
    lost_answer: bool,
}

fn once() -> u64 {
    1
}

/// Answers one request.
pub(crate) fn answer(shared: &Shared, request: &Request) -> Answer {
    let done = { perform(&mut shared.state(), request) };
    shared.webhooks_waiting.notify_one();
    match done {
        Ok(shown) => Answer::json(200, shown),
        Err(reason) => Answer::json(400, json!({ "message": reason })),
    }
}

fn body<T: DeserializeOwned>(request: &Request) -> Result<T, String> {
    let text: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

fn reason(error: StandinError) -> String {
    error.to_string()
}

fn perform(state: &mut State, request: &Request) -> Result<Value, String> {
    let what = request.path.trim_start_matches("/_standin").trim_matches('/');
    if request.method == "GET" {
        return shown(state, what).ok_or_else(|| format!("nothing is shown under {what:?}"));
    }
    let now = state.now();
    match what {
        "repository" => {
            let wanted: NewRepository = body(request)?;
            let options = RepositoryOptions { is_private: wanted.private, ..RepositoryOptions::default() };
            let id = state.add_repository(&wanted.name, &options).map_err(reason)?;
            return Ok(json!({ "id": id.0 }));
        }
        "push" => {
            let wanted: Push = body(request)?;
            let entry = |text: &Option<String>| match text {
                Some(text) => Entry::File(text.clone().into_bytes()),
                None => Entry::Removed,
            };
            let files: Vec<(&str, Entry)> =
                wanted.files.iter().map(|(path, text)| (path.as_str(), entry(text))).collect();
            let pushed =
                state.push(&wanted.repository, &wanted.branch, &files, &wanted.message, wanted.force);
            return Ok(json!({ "sha": pushed.map_err(reason)? }));
        }
        "token" => {
            let wanted: NewToken = body(request)?;
            let kind = match wanted.scopes {
                Some(scopes) => TokenKind::Classic { user: wanted.user, scopes },
                None => TokenKind::classic(&wanted.user),
            };
            return Ok(json!({ "token": state.add_token(&kind, None).map_err(reason)? }));
        }
        "rename" => {
            let wanted: Rename = body(request)?;
            state.rename(&wanted.from, &wanted.to).map_err(reason)?;
        }
        "delete" => state.delete(&body::<Named>(request)?.repository).map_err(reason)?,
        "revoke" => {
            let token = body::<OldToken>(request)?.token;
            state.tokens.get_mut(&token).ok_or_else(|| reason(StandinError::NoToken))?.is_revoked = true;
        }
        "start-run" => {
            let run = RunId(body::<OfRun>(request)?.run);
            state.move_run(run, Progress::InProgress, None).map_err(reason)?;
        }
        "finish-run" => {
            let wanted: OfRun = body(request)?;
            let conclusion = wanted.conclusion.as_deref().unwrap_or("success");
            state.move_run(RunId(wanted.run), Progress::Completed, Some(conclusion)).map_err(reason)?;
        }
        "advance" => state.clock.advance(Duration::from_secs(body::<Seconds>(request)?.seconds)),
        "exhaust" => {
            let wanted: Exhaust = body(request)?;
            let known = Bucket::ALL.into_iter().find(|bucket| bucket.name() == wanted.bucket);
            let bucket = known.ok_or_else(|| format!("no bucket {}", wanted.bucket))?;
            let identity = state.identity_name(&wanted.identity);
            state.limits.exhaust(&identity, bucket, now);
        }
        "secondary-limit" => {
            let wanted: Seconds = body(request)?;
            state.limits.order_secondary(wanted.seconds, wanted.retry_after, now);
        }
        "webhooks" => match body::<Deliveries>(request)?.r#do.as_str() {
            "hold" => state.webhooks.hold(),
            "release" => state.webhooks.release(false),
            "release-reversed" => state.webhooks.release(true),
            "lose" => state.webhooks.lose_held(),
            other => {
                return Err(format!("webhooks: {other} is none of hold, release, release-reversed, lose"));
            }
        },
        "queue" => {
            let wanted: Queue = body(request)?;
            let jobs = wanted.jobs.into_iter().map(|QueuedJob { name, labels }| WantedJob { name, labels });
            let mut run = WantedRun::new(jobs.collect());
            run.event = wanted.event.unwrap_or(run.event);
            run.head_repository = wanted.head_repository;
            let id = state.queue_run(&wanted.repository, &run).map_err(reason)?;
            return Ok(json!({ "run": id.0 }));
        }
        "cancel-job" => state.cancel_job(JobId(body::<OfJob>(request)?.job)).map_err(reason)?,
        "registration-token" => {
            let scope = state.scope(&body::<Of>(request)?.of).map_err(reason)?;
            return Ok(state.runner_token(scope, Purpose::Register).0.into());
        }
        "order-runners" => {
            let wanted: Orders = body(request)?;
            let count = usize::try_from(wanted.count).map_err(|error| error.to_string())?;
            state.runners.orders.extend(std::iter::repeat_n(wanted.r#do, count));
        }
        "fault" => state.faults.add(rule(body(request)?)?),
        "clear-faults" => state.faults.clear(),
        other => return Err(format!("nothing is done under {other:?}")),
    }
    Ok(json!({}))
}

fn rule(wanted: NewFault) -> Result<FaultRule, String> {
    let fault = match (wanted.error, wanted.status, wanted.slow_ms, wanted.cut_after) {
        (Some(name), ..) => {
            let known = ErrorCase::ALL.into_iter().find(|case| case.name() == name);
            Fault::Error(known.ok_or_else(|| format!("no error {name}"))?)
        }
        (None, Some(status), ..) => Fault::Status { status, body: wanted.body },
        (None, None, Some(delay), _) => Fault::Slow(Duration::from_millis(delay)),
        (None, None, None, Some(after_bytes)) => Fault::CutBody { after_bytes },
        (None, None, None, None) if wanted.lost_answer => Fault::LostAnswer,
        (None, None, None, None) => return Err("which fault?".to_owned()),
    };
    let rule = FaultRule::new(&wanted.path, fault).times(wanted.times).after(wanted.after);
    Ok(match wanted.method {
        Some(method) => rule.method(&method),
        None => rule,
    })
}

fn shown(state: &State, what: &str) -> Option<Value> {
    Some(match what {
        "state" => json!({
            "now": state.now(),
            "repositories": state.repositories.values().map(|of| state.full_name(of)).collect::<Vec<_>>(),
            "requests": state.log.len(),
            "faults_left": state.faults.left(),
            "contract_problems": state.contract.problems(),
            "requests_during_limits":
                state.limits.in_vain.iter().map(|request| &request.request).collect::<Vec<_>>(),
        }),
        "requests" => {
            let requests = state.log.iter().map(|request| {
                json!({
                    "at": request.at, "identity": request.identity, "method": request.method,
                    "path": request.path, "status": request.status, "operation": request.operation,
                    "bucket": request.bucket.map(Bucket::name), "conditional": request.is_conditional,
                    "git": request.is_git,
                })
            });
            requests.collect()
        }
        "runs" => {
            let runs = state.actions.runs.values().map(|run| state.run_info(run)).map(|run| {
                json!({
                    "id": run.id.0, "repository": run.repository, "path": run.path, "event": run.event,
                    "head": run.head, "sha": run.sha, "status": run.progress.name(),
                    "conclusion": run.conclusion, "cancelled_by_client": run.is_cancelled_by_client,
                })
            });
            runs.collect()
        }
        "jobs" => {
            let jobs = state.actions.jobs.values().map(|job| state.job_info(job)).map(|job| {
                json!({
                    "id": job.id.0, "run": job.run.0, "repository": job.repository, "name": job.name,
                    "labels": job.labels, "status": job.progress.name(), "conclusion": job.conclusion,
                    "runner": job.runner_name, "handed_out": job.handed_out, "log": job.log,
                })
            });
            jobs.collect()
        }
        "runners" => {
            let runners = state.runners.all.values().map(Runners::info).map(|runner| {
                json!({
                    "id": runner.id.0, "name": runner.name, "labels": runner.labels,
                    "online": runner.is_online, "busy": runner.is_busy, "ephemeral": runner.is_ephemeral,
                })
            });
            runners.collect()
        }
        "runner-events" => {
            let events = state.runners.events.iter().map(
                |event| json!({ "at": event.at, "name": event.name, "what": format!("{:?}", event.change) }),
            );
            events.collect()
        }
        "dispatches" => {
            let dispatched = state.dispatched.iter().map(|made| {
                json!({
                    "at": made.at, "repository": made.repository, "workflow": made.workflow,
                    "ref": made.reference, "inputs": made.inputs, "run": made.run.0,
                })
            });
            dispatched.collect()
        }
        "statuses" => {
            let statuses = state.results.statuses.iter().map(|status| {
                json!({
                    "sha": status.sha, "state": status.state, "context": status.context,
                    "description": status.description,
                })
            });
            statuses.collect()
        }
        _ => return None,
    })
}
