//! Proving frames: hashes and signatures on all processors, admission and folding in order on one.
//!
//! A reader, some checkers and the caller's thread: batches of frames are checked in any order and taken in their own.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;
use wfengine_core::replay::{
    Alone, AloneReport, Checked, Checking, Expected, Finding, Findings, Place, Planner, Replanned, Replayer,
    Report, check_frame,
};
use wfengine_storage_format::{EventId, ExportTrailer, RunId};

use super::AuditError;
use super::source::{Again, Piece, Source};

/// Finished runs that a proof keeps in memory.
const RUNS_KEPT: usize = 256;
/// Finished runs whose names a history can tell.
const RUNS_KEPT_TELLING: usize = 4_096;
/// Threads that check frames, at most.
const CHECKERS_MAX: usize = 8;

/// A piece that was checked by itself.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are frames")]
enum Ready {
    Frame(Place, Checked),
    Damage(Finding),
    Trailer(Box<ExportTrailer>),
}

fn check(piece: Piece, checking: Checking) -> Ready {
    match piece {
        Piece::Frame(place, bytes) => Ready::Frame(place, check_frame(&bytes, checking)),
        Piece::Damage(finding) => Ready::Damage(finding),
        Piece::Trailer(trailer) => Ready::Trailer(trailer),
    }
}

/// Reads a source to its end, checks each frame by itself and hands everything over in order.
fn drive(
    source: &mut Source,
    checking: Checking,
    progress: &(dyn Fn((u64, u64)) + Sync),
    mut each: impl FnMut(Ready),
) -> Result<(), AuditError> {
    let checkers = threads();
    let (batches, to_check) = sync_channel::<(u64, Vec<Piece>)>(2 * checkers);
    let (checked, ready) = sync_channel::<(u64, Vec<Ready>)>(2 * checkers);
    let to_check = &Mutex::new(to_check);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read_all(source, &batches, progress));
        for _ in 0..checkers {
            let checked = checked.clone();
            scope.spawn(move || {
                while let Some((number, pieces)) = next_batch(to_check) {
                    let pieces = pieces.into_iter().map(|piece| check(piece, checking)).collect();
                    if checked.send((number, pieces)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(checked);
        let (mut early, mut next) = (BTreeMap::new(), 0);
        for (number, pieces) in ready {
            early.insert(number, pieces);
            while let Some(pieces) = early.remove(&next) {
                next += 1;
                pieces.into_iter().for_each(&mut each);
            }
        }
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How many threads an audit uses for each of its parts.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(CHECKERS_MAX)
}

/// Lets as many threads as there are processors do a piece of an audit's work.
fn share(work: &(dyn Fn() + Sync)) {
    std::thread::scope(|scope| {
        for _ in 1..threads() {
            scope.spawn(work);
        }
        work();
    });
}

fn read_all(
    source: &mut Source,
    batches: &SyncSender<(u64, Vec<Piece>)>,
    progress: &(dyn Fn((u64, u64)) + Sync),
) -> Result<(), AuditError> {
    for number in 0.. {
        let mut pieces = Vec::new();
        let more = source.read(&mut pieces)?;
        progress(source.progress());
        if batches.send((number, pieces)).is_err() || !more {
            break;
        }
    }
    Ok(())
}

fn next_batch(batches: &Mutex<Receiver<(u64, Vec<Piece>)>>) -> Option<(u64, Vec<Piece>)> {
    batches.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// A replayed log and the trailer of its export.
pub(crate) struct Proof {
    /// To be asked for history, runs and states.
    pub(crate) replayer: Replayer<Again>,
    /// What came out.
    pub(crate) report: Report,
    /// What the exporter signed, if it is an export.
    pub(crate) trailer: Option<ExportTrailer>,
    /// What planning again came to, if it was asked for.
    pub(crate) replanned: Option<Replanned>,
}

/// Replays a whole log without checking signatures, for telling it. Findings are collected all the same.
pub(crate) fn replay_whole(
    source: &mut Source,
    progress: &(dyn Fn((u64, u64)) + Sync),
) -> Result<Proof, AuditError> {
    prove(source, Checking::HashesOnly, RUNS_KEPT_TELLING, Expected::default(), None, progress)
}

/// Replays a whole log and checks everything.
pub(crate) fn prove_whole(
    source: &mut Source,
    expected: Expected,
    planner: Option<&dyn Planner>,
    progress: &(dyn Fn((u64, u64)) + Sync),
) -> Result<Proof, AuditError> {
    prove(source, Checking::Signatures, RUNS_KEPT, expected, planner, progress)
}

fn prove(
    source: &mut Source,
    checking: Checking,
    runs_kept: usize,
    mut expected: Expected,
    planner: Option<&dyn Planner>,
    progress: &(dyn Fn((u64, u64)) + Sync),
) -> Result<Proof, AuditError> {
    let mut replayer = Replayer::new(source.cluster(), source.again(), runs_kept).sharing(&share);
    drive(source, checking, progress, |ready| match ready {
        Ready::Frame(place, checked) => replayer.take(place, checked),
        Ready::Damage(finding) => replayer.note_finding(finding),
        Ready::Trailer(trailer) => expected.trailer = Some(*trailer),
    })?;
    let mut report = replayer.finish(&expected);
    let replanned = planner.map(|planner| replayer.replan(planner));
    report.findings = replayer.findings().clone();
    Ok(Proof { replayer, report, trailer: expected.trailer, replanned })
}

/// One run, proved without the rest of its log.
pub(crate) type RunProof = AloneReport;

/// Checks everything that an export of one run can prove.
pub(crate) fn prove_run(
    source: &mut Source,
    run: RunId,
    mut expected: Expected,
    progress: &(dyn Fn((u64, u64)) + Sync),
) -> Result<RunProof, AuditError> {
    let mut alone = Alone::new(source.cluster(), run);
    drive(source, Checking::Signatures, progress, |ready| match ready {
        Ready::Frame(place, checked) => alone.take(place, checked),
        Ready::Damage(finding) => alone.note_finding(finding),
        Ready::Trailer(trailer) => expected.trailer = Some(*trailer),
    })?;
    Ok(alone.finish(&expected))
}

/// A report as `--json` prints it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub(crate) struct ReportView {
    /// Whether nothing is wrong.
    pub(crate) clean: bool,
    /// `whole`, or `run` for an export of one run.
    pub(crate) scope: &'static str,
    /// Id of the cluster, 64 hexadecimal digits.
    pub(crate) cluster: String,
    /// The clock hash, 64 hexadecimal digits; null: an export of one run has none.
    pub(crate) head: Option<String>,
    /// Ids of the events that no other event names yet.
    pub(crate) heads: Vec<String>,
    /// Greatest height of an event.
    pub(crate) height: u64,
    /// Frames that were read.
    pub(crate) frames: u64,
    /// Frames that were admitted.
    pub(crate) frames_admitted: u64,
    /// Events that were admitted.
    pub(crate) events: u64,
    /// Events that count for nothing, because they lie above a cut.
    pub(crate) events_not_folded: u64,
    /// Chains.
    pub(crate) chains: usize,
    /// Members of the cluster.
    pub(crate) members: usize,
    /// Runs.
    pub(crate) runs: usize,
    /// What the views mean: digests are compared only where this is equal; null: there are no views to compare.
    pub(crate) views_version: Option<u32>,
    /// Hash of everything that the views hold, 64 hexadecimal digits; null: there are no views to compare.
    pub(crate) view_digest: Option<String>,
    /// Id of the peer that signed the export; null: it is no export.
    pub(crate) exporter: Option<String>,
    /// What planning again came to; null: it was not tried.
    pub(crate) replanned: Option<ReplannedView>,
    /// What is wrong.
    pub(crate) findings: Vec<FindingView>,
    /// Findings beyond those listed.
    pub(crate) findings_more: u64,
    /// What people should know of the proof.
    pub(crate) notes: Vec<String>,
}

/// What planning again came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub(crate) struct ReplannedView {
    /// Plans that came out the same.
    pub(crate) agreed: u64,
    /// Plans that came out otherwise.
    pub(crate) differ: u64,
    /// Plans that were not made again, by reason.
    pub(crate) not_tried: BTreeMap<String, u64>,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub(crate) struct FindingView {
    /// What is wrong, in one word.
    pub(crate) what: &'static str,
    /// Number of the frame, from 0; null: it is of no one frame.
    pub(crate) frame: Option<u64>,
    /// Where in the file; null: of no file.
    pub(crate) offset: Option<u64>,
    /// The same in words.
    pub(crate) detail: String,
    #[serde(skip)]
    place: String,
    #[serde(skip)]
    text: String,
}

fn finding_views(findings: &Findings) -> Vec<FindingView> {
    let view = |finding: &Finding| FindingView {
        what: finding.what.name(),
        frame: finding.place.map(|place| place.frame),
        offset: finding.place.and_then(|place| place.offset),
        detail: finding.detail.clone(),
        place: finding.place.map(|place| place.to_string()).unwrap_or_default(),
        text: finding.to_string(),
    };
    findings.list().iter().map(view).collect()
}

fn hex(hash: [u8; 32]) -> String {
    EventId::from_bytes(hash).to_string()
}

impl ReportView {
    /// Of a whole log.
    pub(crate) fn of_whole(proof: &Proof) -> Self {
        let report = &proof.report;
        Self {
            clean: report.is_clean(),
            scope: "whole",
            cluster: report.cluster.to_string(),
            head: Some(hex(report.clock_hash)),
            heads: report.heads.iter().map(|tip| tip.id.to_string()).collect(),
            height: report.height,
            frames: report.frames,
            frames_admitted: report.frames_admitted,
            events: report.events,
            events_not_folded: report.not_folded,
            chains: report.chains.len(),
            members: report.members,
            runs: report.runs,
            views_version: Some(report.views.0),
            view_digest: Some(hex(report.views.1)),
            exporter: proof.trailer.as_ref().map(|trailer| trailer.exporter.to_string()),
            replanned: proof.replanned.as_ref().map(|replanned| ReplannedView {
                agreed: replanned.agreed,
                differ: replanned.differ,
                not_tried: replanned.not_tried.clone(),
            }),
            findings: finding_views(&report.findings),
            findings_more: report.findings.more(),
            notes: report.notes.clone(),
        }
    }

    /// Of one run.
    pub(crate) fn of_run(proof: &RunProof) -> Self {
        let roster = proof.views.authority().roster();
        let mut notes = Vec::new();
        if let Some(trailer) = &proof.trailer {
            notes.push(format!(
                "that no other events of the run exist is the word of {}, who signed the export",
                proof.views.peer_name(&trailer.exporter)
            ));
        }
        Self {
            clean: proof.findings.is_empty(),
            scope: "run",
            cluster: proof.cluster.to_string(),
            head: None,
            heads: Vec::new(),
            height: proof.events_of_run.iter().map(|event| event.height).max().unwrap_or(0),
            frames: proof.frames,
            frames_admitted: proof.frames,
            events: proof.events,
            events_not_folded: proof.views.void_len() + proof.views.unknown().values().sum::<u64>(),
            chains: 0,
            members: roster.members().len(),
            runs: usize::from(proof.run.is_some()),
            views_version: None,
            view_digest: None,
            exporter: proof.trailer.as_ref().map(|trailer| trailer.exporter.to_string()),
            replanned: None,
            findings: finding_views(&proof.findings),
            findings_more: proof.findings.more(),
            notes,
        }
    }

    /// The report as people read it. What is wrong comes last.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("Cluster: {}", self.cluster)];
        if let Some(head) = &self.head {
            lines.push(format!("Head: {head} (height {})", self.height));
            lines.extend(self.heads.iter().map(|head| format!("  {head}")));
        }
        let frames = if self.frames == self.frames_admitted {
            self.frames.to_string()
        } else {
            format!("{} of {}", self.frames_admitted, self.frames)
        };
        lines.push(format!("Events: {} in {frames} frames", self.events));
        if self.scope == "whole" {
            lines.push(format!("Chains: {}, members: {}, runs: {}", self.chains, self.members, self.runs));
        }
        if self.events_not_folded > 0 {
            lines.push(format!(
                "Not folded: {} events of unknown kinds or with void bodies",
                self.events_not_folded
            ));
        }
        if let (Some(digest), Some(version)) = (&self.view_digest, self.views_version) {
            lines.push(format!("Views: {digest} (version {version})"));
        }
        if let Some(exporter) = &self.exporter {
            lines.push(format!("Exported by: {exporter}"));
        }
        if let Some(replanned) = &self.replanned {
            lines.push(format!(
                "Plans: {} made again and equal, {} differ",
                replanned.agreed, replanned.differ
            ));
            let not_tried = replanned.not_tried.iter();
            lines.extend(not_tried.map(|(reason, count)| format!("  {count} not made again: {reason}")));
        }
        lines.extend(self.notes.iter().map(|note| format!("Note: {note}")));
        if self.clean {
            let holds = match self.scope {
                "run" => {
                    "every hash and signature holds, the authority is complete, and the run folds as told"
                }
                _ => "every hash, link and signature holds",
            };
            lines.push(format!("Clean: {holds}"));
        } else {
            let count = self.findings.len() as u64 + self.findings_more;
            lines.push(format!("NOT CLEAN: {count} finding{}", if count == 1 { "" } else { "s" }));
            let same = |one: &FindingView, other: &FindingView| {
                one.frame.is_some() && (one.what, &one.detail) == (other.what, &other.detail)
            };
            for alike in self.findings.chunk_by(same) {
                match alike {
                    [first, .., last] => lines.push(format!(
                        "  {}: {} to {} ({} frames): {}",
                        first.what,
                        first.place,
                        last.place,
                        alike.len(),
                        first.detail
                    )),
                    rest => lines.extend(rest.iter().map(|finding| format!("  {}", finding.text))),
                }
            }
            if self.findings_more > 0 {
                lines.push(format!("  and {} more", self.findings_more));
            }
        }
        lines
    }
}
