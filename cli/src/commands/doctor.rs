//! `doctor`: looks at everything a node needs on this host, and says what to do.
//!
//! Works with and without a node. Read-only: it makes no data directory, opens no log for work and keeps no lock. Every question has a
//! bound in time and they are asked beside each other, so that it ends in seconds whatever does not answer.

mod finding;
mod here;
mod outside;

use std::path::Path;
use std::time::Duration;

use wfengine_api::answers::StatusView;
use wfengine_api::{Exit, Failure, Request};

pub(crate) use self::finding::Finding;
use self::finding::{State, fail, ok, warn};
use self::here::Owner;
use super::Globals;
use crate::args::DoctorArgs;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::Client;
use crate::documents::DoctorDocument;
use crate::home::{Settings, data_dir_path};
use crate::terminal;

/// How long a process that owns the data directory may take to answer at all.
const GREETING_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether it has ended.
const OWNER_LOOK: Duration = Duration::from_millis(50);

pub(super) async fn doctor(globals: &Globals, args: DoctorArgs) -> Result<Exit, Failure> {
    globals.only_here("doctor")?;
    let path = data_dir_path(globals.data_dir.clone())?;
    let path = std::path::absolute(&path).map_err(|error| Failure::io("find", &path, &error))?;
    let findings = examine(globals, &path, args.offline).await?;
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
    if globals.json {
        let count = |state: State| findings.iter().filter(|finding| finding.state == state).count();
        terminal::json(&DoctorDocument {
            ok: worst != State::Fail,
            warnings: count(State::Warn),
            failures: count(State::Fail),
            findings,
        });
    } else {
        for finding in &findings {
            terminal::line(&format!("{:<4}  {:<7} {}", finding.state.word(), finding.check, finding.says));
            if let Some(remedy) = &finding.remedy {
                terminal::line(&format!("              what helps: {remedy}"));
            }
        }
    }
    Ok(if worst == State::Fail { Exit::Failure } else { Exit::Success })
}

async fn examine(globals: &Globals, path: &Path, offline: bool) -> Result<Vec<Finding>, Failure> {
    let now_ms = Clock::start().wall().0;
    let config = Config::read(globals, Vec::new())?;
    let serving = config.serving().ok();
    let client = match here::owner(path) {
        Owner::Nobody => None,
        Owner::Process(_) => {
            let socket = path.join("control.sock");
            // a short command has no socket, and has ended in a moment
            let answers = async {
                loop {
                    if let Some(client) = Client::connect(&socket).await {
                        return Some(client);
                    }
                    if here::owner(path) == Owner::Nobody {
                        return None;
                    }
                    tokio::time::sleep(OWNER_LOOK).await;
                }
            };
            tokio::time::timeout(GREETING_MAX, answers).await.ok().flatten()
        }
    };
    // who has it once that is settled
    let owner = here::owner(path);
    let status: Option<StatusView> = match &client {
        Some(client) => outside::ask(client, Request::Status).await,
        None => None,
    };
    let is_serving = status.as_ref().is_some_and(|status| status.serving);
    let (settings, mut of_settings) = settings(path);
    let me = status.as_ref().map(|status| status.peer_id.as_str());
    let (clock, ports, peers, engine, github) = tokio::join!(
        outside::clock(client.as_ref(), me, now_ms),
        outside::ports(serving.as_ref(), status.as_ref()),
        outside::peers(client.as_ref(), is_serving, &settings, now_ms),
        outside::engine(&settings),
        outside::github(&settings, offline),
    );
    let mut findings = here::directory(path);
    findings.append(&mut of_settings);
    findings.push(here::store(path, owner));
    findings.push(node(owner, client.is_some(), status.as_ref()));
    findings.extend(here::configuration(&config));
    findings.extend(serving.as_ref().and_then(|serving| here::notifications(&serving.notify)));
    findings.push(clock);
    findings.extend(ports);
    findings.extend(peers);
    findings.push(engine);
    findings.push(github);
    findings.push(here::disk(path));
    Ok(findings)
}

/// The host's own settings, if there are any that can be read.
fn settings(path: &Path) -> (Settings, Vec<Finding>) {
    let file = path.join("settings.json");
    let Some(text) = here::small_text(&file) else { return (Settings::default(), Vec::new()) };
    match serde_json::from_str(&text) {
        Ok(settings) => (settings, Vec::new()),
        Err(error) => {
            let says = format!("{} is damaged: {error}", file.display());
            (Settings::default(), vec![fail("data", says, "correct it, or move it away")])
        }
    }
}

/// Whether a node serves here.
fn node(owner: Owner, answers: bool, status: Option<&StatusView>) -> Finding {
    const CHECK: &str = "node";
    match (owner, status) {
        (Owner::Nobody, _) => {
            warn(CHECK, "no node serves here", "`wfengine serve` starts one; short commands work without")
        }
        (Owner::Process(_), Some(status)) if status.serving => {
            let says = format!("{} ({}) serves, process {}", status.peer, &status.peer_id, status.pid);
            if let Some(why) = &status.declines {
                return warn(
                    CHECK,
                    format!("{says}, and claims nothing: {why}"),
                    "`wfengine status` says more, `wfengine resume` ends a pause",
                );
            }
            ok(CHECK, says)
        }
        (Owner::Process(_), Some(status)) => {
            ok(CHECK, format!("a command is at work, process {}; no node serves", status.pid))
        }
        (Owner::Process(pid), None) if answers => warn(
            CHECK,
            format!("process {pid} is there and did not answer in time"),
            "ask again; if that goes on, stop it with `kill` and start it anew",
        ),
        (Owner::Process(pid), None) => fail(
            CHECK,
            format!("process {pid} holds the data directory and answers nobody"),
            format!("wait for it, or stop it with `kill {pid}`"),
        ),
    }
}
