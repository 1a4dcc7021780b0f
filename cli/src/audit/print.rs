//! Events in words: one line each, or one JSON document each.
//!
//! The JSON has a stable schema: fields are added, never changed. All ids are whole; `time` is the author's wall time, advisory.

mod outside;
mod runners;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use wfengine_api::answers::EventLine;
use wfengine_core::admitted::Admitted;
use wfengine_core::replay::{Change, Subject};
use wfengine_core::views::Views;
use wfengine_core::views::run::Run;
use wfengine_storage_format::{AbortReason, Body, EventId, Grant, ReleaseReason, RunSpec};

use super::time::rfc3339;

/// An event as a JSON document.
pub(crate) fn event_line(event: &Admitted, views: &Views) -> EventLine {
    let says = said(event, views);
    EventLine {
        id: event.id.to_string(),
        author: event.author().to_string(),
        author_name: views.peer_name(&event.author()),
        incarnation: event.chain.incarnation.to_string(),
        seq: event.seq,
        height: event.height,
        time: rfc3339(event.time.0),
        time_ms: event.time.0,
        kind: event.kind.to_string(),
        kind_number: event.kind.number(),
        says: says.words,
        counts: views.authority().roster().counts(&event.chain, event.seq),
        body: match &event.body {
            Body::Unknown => "unknown",
            Body::Void(_) => "void",
            _ => "known",
        }
        .to_owned(),
        run: event.run().map(|run| run.to_string()),
        job: event.body.job().map(|(_, job)| job.to_string()),
        details: says.details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        prev: event.prev.map(|id| id.to_string()),
        parents: event.parents.iter().map(|tip| tip.id.to_string()).collect(),
        refs: event.refs.iter().map(ToString::to_string).collect(),
        blobs: event.blobs.iter().map(ToString::to_string).collect(),
    }
}

/// An event as a line: id, author, chain and place, height, time, what it says.
pub(crate) fn event_text(event: &Admitted, views: &Views) -> String {
    let mut name = views.peer_name(&event.author());
    if name.chars().count() > 16 {
        name = name.chars().take(15).chain(['…']).collect();
    }
    let incarnation = event.chain.incarnation.to_string();
    let chain = incarnation.get(..4).unwrap_or(&incarnation);
    let cut = if views.authority().roster().counts(&event.chain, event.seq) {
        ""
    } else {
        " (cut off: counts for nothing)"
    };
    format!(
        "{} {name:<16} {chain}:{:<6} {:>6} {} {}{cut}",
        event.id.short(),
        event.seq,
        event.height,
        rfc3339(event.time.0),
        clean(&said(event, views).words)
    )
}

/// Texts of others must not steer the terminal, nor turn the direction of a line.
pub(super) fn clean(text: &str) -> String {
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

struct Said {
    words: String,
    details: BTreeMap<&'static str, String>,
}

/// What an event says, in words.
pub(super) fn words(event: &Admitted, views: &Views) -> String {
    said(event, views).words
}

fn said(event: &Admitted, views: &Views) -> Said {
    let mut details: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut tell = |name, value: &dyn ToString| {
        details.insert(name, value.to_string());
    };
    let job_name = || {
        let (run, job) = event.body.job()?;
        let (run, job) = views.runs().live_job(&run, &job)?;
        Some(if run.is_task() {
            format!("task '{}'", run.name())
        } else {
            format!("job '{}' of '{}'", job.leg.name, run.name())
        })
    };
    let job = || {
        job_name()
            .or_else(|| event.body.job().map(|(_, job)| format!("job {}", job.short())))
            .unwrap_or_default()
    };
    let run = || {
        let id = event.run();
        let name = id.and_then(|id| views.runs().live(&id)).map(|run| format!("'{}'", run.name()));
        name.or_else(|| id.map(|id| id.short())).unwrap_or_default()
    };
    let labels = |labels: &[String]| {
        if labels.is_empty() { String::new() } else { format!(", labels {}", labels.join(", ")) }
    };
    let peer = |peer| views.peer_name(peer);
    let words = match &event.body {
        Body::ClusterFounded(body) => {
            tell("name", &body.name);
            format!("founded the cluster '{}'", body.name)
        }
        Body::PeerInvited(body) => {
            let roles = body.roles.names().join(", ");
            tell("roles", &roles);
            tell("expires_ms", &body.expires_ms);
            format!("invited a peer as {roles}{} until {}", labels(&body.labels), rfc3339(body.expires_ms))
        }
        Body::PeerAdmitted(body) => {
            tell("peer", &body.peer);
            tell("name", &body.name);
            match &body.grant {
                Grant::Invite { invite, .. } => {
                    tell("invite", invite);
                    format!("admitted {} ({}) by invite {}", body.name, body.peer.short(), invite.short())
                }
                Grant::Direct { roles, labels: given } => {
                    let roles = roles.names().join(", ");
                    tell("roles", &roles);
                    format!("admitted {} ({}) as {roles}{}", body.name, body.peer.short(), labels(given))
                }
            }
        }
        Body::PeerRevoked(body) => {
            tell("peer", &body.peer);
            tell("reason", &body.reason);
            format!("revoked {}: {}", peer(&body.peer), body.reason)
        }
        Body::KeyRotated(body) => {
            tell("peer", &body.to);
            format!("goes on under key {}", body.to.short())
        }
        Body::ForkProved(body) => {
            let header = &body.first.header;
            tell("peer", &header.chain.author);
            tell("chain", &header.chain.incarnation);
            tell("seq", &header.first_seq.min(body.second.header.first_seq));
            format!("proved that {} forked chain {}", peer(&header.chain.author), header.chain)
        }
        Body::PeerLabelled(body) => {
            tell("peer", &body.peer);
            tell("labels", &body.labels.join(", "));
            tell("weight", &body.weight);
            let list = if body.labels.is_empty() { "nothing".to_owned() } else { body.labels.join(", ") };
            format!("labelled {} {list}, weight {}", peer(&body.peer), body.weight)
        }
        Body::PeerDescribed(body) => {
            tell("name", &body.name);
            tell("addresses", &body.addresses.join(", "));
            tell("version", &body.version);
            let at = if body.addresses.is_empty() {
                String::new()
            } else {
                format!(" at {}", body.addresses.join(", "))
            };
            format!("calls itself '{}'{at}, version {}", body.name, body.version)
        }
        Body::RunSubmitted(body) => {
            tell("name", &body.name);
            tell("trigger", &String::from_utf8_lossy(&body.trigger_key));
            tell("attempt", &body.attempt);
            tell("priority_milli", &body.priority_milli);
            let what = match &body.spec {
                RunSpec::Workflow(spec) => {
                    tell("path", &spec.path);
                    tell("source", &spec.source);
                    format!("'{}' from {} ({} jobs)", body.name, spec.path, spec.job_keys.len())
                }
                RunSpec::Task { workflow_id } => {
                    tell("workflow_id", workflow_id);
                    format!("task '{}'", body.name)
                }
            };
            let again = if body.attempt > 1 { format!(", attempt {}", body.attempt) } else { String::new() };
            format!("submitted {what}{again} as run {}", body.run().short())
        }
        Body::JobsPlanned(body) => {
            tell("submission", &body.submission);
            tell("rules_version", &body.rules_version);
            tell("consumed", &body.consumed.len());
            let keys: Vec<String> = body
                .jobs
                .iter()
                .map(|planned| match (&planned.skipped, planned.legs.len()) {
                    (Some(_), _) => format!("{} (skipped)", planned.key),
                    (None, 1) => planned.key.clone(),
                    (None, legs) => format!("{} ×{legs}", planned.key),
                })
                .collect();
            let keys = keys.join(", ");
            tell("jobs", &keys);
            format!("planned {keys} of {}", run())
        }
        Body::RunCancelled(body) => {
            tell("submission", &body.submission);
            tell("reason", &body.reason);
            format!("cancelled {}: {}", run(), body.reason)
        }
        Body::RunExpired(body) => {
            tell("submission", &body.submission);
            tell("waited_ms", &body.waited_ms);
            format!("gave up {} after {} s without an eligible peer", run(), body.waited_ms / 1000)
        }
        Body::PriorityChanged(body) => {
            tell("submission", &body.submission);
            tell("priority_milli", &body.priority_milli);
            format!(
                "set the priority of {} to {}.{:03}",
                run(),
                body.priority_milli / 1000,
                body.priority_milli % 1000
            )
        }
        Body::JobClaimed(body) => {
            tell("submission", &body.submission);
            tell("epoch", &body.epoch);
            let placed = views
                .runs()
                .live_job(&body.run, &body.job)
                .and_then(|(_, job)| job.claim(&event.id))
                .map(|claim| (claim.rank, claim.distance));
            let place = match placed {
                Some((rank, distance)) => {
                    tell("rank", &rank);
                    tell("distance", &distance);
                    format!("rank {rank}, distance {distance}, ")
                }
                None => String::new(),
            };
            if let Some(before) = &body.supersedes {
                tell("supersedes", before);
            }
            format!("claimed {} ({place}epoch {})", job(), body.epoch)
        }
        Body::JobReleased(body) => {
            tell("claim", &body.claim);
            let reason = release_words(&body.reason);
            tell("reason", &reason);
            format!("gave {} back: {reason}", job())
        }
        Body::JobStarted(body) => {
            tell("claim", &body.claim);
            format!("started {}", job())
        }
        Body::StepFinished(body) => {
            tell("claim", &body.claim);
            tell("number", &body.number);
            tell("name", &body.name);
            tell("conclusion", &body.conclusion);
            tell("duration_ms", &body.duration_ms);
            format!("finished step {} '{}' of {}: {}", body.number, body.name, job(), body.conclusion)
        }
        Body::JobCompleted(body) => {
            tell("claim", &body.claim);
            tell("conclusion", &body.conclusion);
            tell("duration_ms", &body.duration_ms);
            tell("outputs", &body.outputs.len());
            if let Some(log) = &body.log {
                tell("log", log);
            }
            format!("completed {}: {} after {} ms", job(), body.conclusion, body.duration_ms)
        }
        Body::JobAborted(body) => {
            tell("claim", &body.claim);
            tell("steps_done", &body.steps_done);
            let reason = abort_words(&body.by);
            tell("reason", &reason);
            format!("stopped {} after {} steps: {reason}", job(), body.steps_done)
        }
        Body::JobFailed(body) => {
            if let Some(claim) = &body.claim {
                tell("claim", claim);
            }
            tell("submission", &body.submission);
            tell("error", &body.error);
            tell("infrastructure", &body.infrastructure);
            let whose = if body.infrastructure { " (the hosts failed)" } else { "" };
            format!("failed {}{whose}: {}", job(), body.error)
        }
        Body::RepositoryScanned(_)
        | Body::WorkflowFound(_)
        | Body::WorkflowVanished(_)
        | Body::TriggerFired(_)
        | Body::DiscoveryChanged(_)
        | Body::EffectIntended(_)
        | Body::EffectDone(_)
        | Body::DispatchFollowed(_) => outside::words(&event.body, run, &mut tell).unwrap_or_default(),
        Body::PoolChanged(_)
        | Body::RunnerIntended(_)
        | Body::RunnerStarted(_)
        | Body::RunnerExited(_)
        | Body::RunnerRemoved(_) => {
            let name = |intent: &EventId| {
                let runner = views.runners().get(intent);
                runner.map_or_else(|| intent.short(), |runner| runner.intended.name.clone())
            };
            runners::words(&event.body, name, &mut tell).unwrap_or_default()
        }
        Body::Unknown if event.kind.is_critical() => {
            format!("says something of {}, which this version must understand to decide: upgrade", event.kind)
        }
        Body::Unknown => format!("says something of {}, which this version does not know", event.kind),
        Body::Void(reason) => {
            tell("void", reason);
            format!("says nothing: its {} is void ({reason})", event.kind)
        }
    };
    Said { words, details }
}

fn release_words(reason: &ReleaseReason) -> String {
    match reason {
        ReleaseReason::Draining => "the node is shutting down".to_owned(),
        ReleaseReason::GroupFull => "an earlier claim fills the concurrency group".to_owned(),
        ReleaseReason::Superseded => "a greater claim was seen".to_owned(),
        ReleaseReason::LeaseEnded => "the program's lease ended".to_owned(),
        ReleaseReason::GivenBack => "the program gave it back".to_owned(),
        ReleaseReason::Unable(why) => why.clone(),
    }
}

fn abort_words(reason: &AbortReason) -> String {
    match reason {
        AbortReason::Superseded => "a greater claim was seen".to_owned(),
        AbortReason::Cancelled => "the run was cancelled".to_owned(),
        AbortReason::Completed => "somebody else completed it".to_owned(),
        AbortReason::Stopped => "the node is stopping".to_owned(),
        AbortReason::Fault(why) => why.clone(),
    }
}

/// A run and its jobs in a few lines, as `--at` shows them.
pub(crate) fn run_lines(run: &Run, views: &Views) -> Vec<String> {
    let reason = if run.reason.is_empty() { String::new() } else { format!(": {}", run.reason) };
    let mut lines =
        vec![clean(&format!("{} {:<12} {}{reason}", run.id.short(), run.status.name(), run.name()))];
    for job in run.jobs.values() {
        let claim = job.effective_claim().map_or_else(String::new, |claim| {
            format!(" by {} (epoch {})", views.peer_name(&claim.peer()), claim.epoch)
        });
        lines.push(clean(&format!("  {} {:<12} {}{claim}", job.id.short(), job.status.name(), job.leg.name)));
    }
    lines
}

/// A change between two states as a line.
pub(crate) fn change_text(change: &Change) -> String {
    let (what, id) = match change.subject {
        Subject::Member(peer) => ("member", peer.short()),
        Subject::Run(run) => ("run", run.short()),
        Subject::Job(_, job) => ("  job", job.short()),
    };
    let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "—".to_owned());
    clean(&format!("{what} {id} {}: {} → {}", change.name, side(&change.before), side(&change.after)))
}

/// A change as `--json` prints it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub(crate) struct ChangeLine {
    /// `member`, `run` or `job`.
    pub(crate) what: &'static str,
    /// Its id.
    pub(crate) id: String,
    /// The run of a job; null of others.
    pub(crate) run: Option<String>,
    /// What people call it.
    pub(crate) name: String,
    /// How it was; null: it was not there.
    pub(crate) before: Option<String>,
    /// How it is; null: it is not there any more.
    pub(crate) after: Option<String>,
}

/// A change as a JSON document.
pub(crate) fn change_line(change: &Change) -> ChangeLine {
    let (what, id, run) = match change.subject {
        Subject::Member(peer) => ("member", peer.to_string(), None),
        Subject::Run(run) => ("run", run.to_string(), None),
        Subject::Job(run, job) => ("job", job.to_string(), Some(run.to_string())),
    };
    let (name, before, after) = (change.name.clone(), change.before.clone(), change.after.clone());
    ChangeLine { what, id, run, name, before, after }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use wfengine_core::views::runs::NoHistory;
    use wfengine_storage_format::{Kind, SignedFrame};

    use super::*;

    #[test]
    fn every_kind_has_words_also_unknown_and_void_ones() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../storage-format/golden/v1");
        let mut events: Vec<Arc<Admitted>> = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "frame")
                && let Ok(frame) =
                    SignedFrame::decode(&std::fs::read(&path).unwrap()).and_then(SignedFrame::verify)
            {
                events.extend(Admitted::of_frame(frame, wfengine_core::time::WallMs(0)));
            }
        }
        events.sort_by_key(|event| event.order());
        let mut views = Views::new(events[0].id.into());
        for event in &events {
            views.apply(event, &NoHistory);
        }
        let mut kinds = BTreeSet::new();
        let mut bodies = BTreeSet::new();
        for event in &events {
            let line = event_line(event, &views);
            assert!(line.says.len() > 6 && !line.says.contains("  "), "{line:?}");
            assert!(event_text(event, &views).lines().count() == 1);
            kinds.insert(event.kind);
            bodies.insert(line.body);
            if event.kind.is_critical() {
                assert!(line.says.contains("upgrade"));
            }
        }
        assert!(Kind::ALL.iter().all(|kind| kinds.contains(kind)));
        assert_eq!(bodies, BTreeSet::from(["known", "unknown", "void"].map(str::to_owned)));
    }

    #[test]
    fn texts_of_others_do_not_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{202e}d é"), "a�[2Jb�c�d é");
    }
}
