//! The audit of a real store: told, exported, proved, damaged, proved alone, written as documents.

use std::path::Path;

use tempfile::TempDir;
use wfengine_core::command::Command;
use wfengine_core::replay::{Expected, Reread, What};
use wfengine_core::seal::Author;
use wfengine_core::time::WallMs;
use wfengine_core::views::VIEWS_VERSION;
use wfengine_storage_format::{
    ChainId, ClusterFounded, Conclusion, ExportScope, Frozen, Incarnation, JobClaimed, JobCompleted,
    JobStarted, Origin, Placement, RunId, RunSpec, RunSubmitted, SignedFrame, Signer,
};
use wfengine_store::{DataDir, Purpose, Store};

use super::*;

fn quiet(_: (u64, u64)) {}

struct Host {
    dir: TempDir,
    store: Store,
    signer: Signer,
}

fn task(id: &str) -> RunSubmitted {
    RunSubmitted {
        trigger_key: format!("id:{id}").into_bytes(),
        attempt: 1,
        name: id.to_owned(),
        spec: RunSpec::Task { workflow_id: "w".into() },
        frozen: Frozen::default(),
        tags: vec![],
        metadata_json: String::new(),
        priority_milli: 3000,
        placement: Placement::Rule,
        origin: Origin::Hand,
        retries: 0,
        backoff_ms: (0, 0),
        rerun_of: None,
    }
}

impl Host {
    fn with_runs(runs: usize) -> (Self, RunId) {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path().join("data")).unwrap();
        let signer = Signer::from_seed(&[1; 32]);
        let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([1; 16]) };
        let author = Author { signer: signer.clone(), chain };
        let body = ClusterFounded { name: "home".into(), nonce: [0; 16], system: vec!["linux".into()] };
        let cluster = Store::found(&data, &author, body, WallMs(1)).unwrap();
        let fresh = Incarnation::from_bytes([2; 16]);
        let (store, _) =
            Store::open(&data.cluster_dir(&cluster), signer.clone(), Purpose::Serve, fresh, "boot").unwrap();
        let host = Self { dir, store, signer };
        for n in 0..runs {
            host.ask(Command::Submit {
                submission: Box::new(task(&format!("task {n}"))),
                plan: vec![],
                blobs: vec![],
            });
        }
        let submission = task("told");
        let run = submission.run();
        let submission =
            host.ask(Command::Submit { submission: Box::new(submission), plan: vec![], blobs: vec![] });
        let job = *host.store.watcher().run(&run).unwrap().jobs.keys().next().unwrap();
        let claim = host.ask(Command::Claim(JobClaimed { run, job, submission, epoch: 1, supersedes: None }));
        host.ask(Command::Start(JobStarted { run, job, claim }));
        host.ask(Command::Complete(JobCompleted {
            run,
            job,
            claim,
            conclusion: Conclusion::Success,
            outputs: vec![],
            result_json: "{}".into(),
            log: None,
            log_len: 0,
            summary: None,
            artifacts: vec![],
            duration_ms: 12,
            notes: vec!["an output was dropped".into()],
        }));
        (host, run)
    }

    fn ask(&self, command: Command) -> wfengine_storage_format::EventId {
        self.store.recorder().ask_blocking(command, WallMs(1_795_219_199_000)).unwrap().events[0]
    }

    fn source(&self) -> Source {
        Source::of_store(self.store.watcher().clone())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn export(&self, run: Option<RunId>, name: &str) -> PathBuf {
        let path = self.path(name);
        let views = Some((VIEWS_VERSION, self.store.watcher().view_digest()));
        let exported = write_export(&mut self.source(), run, &path, &self.signer, views, &quiet).unwrap();
        assert_eq!(exported.bytes, std::fs::metadata(&path).unwrap().len());
        path
    }
}

fn prove(path: &Path) -> Proof {
    prove_whole(&mut Source::of_file(path).unwrap(), Expected::default(), None, &quiet).unwrap()
}

#[test]
fn store_export_and_spool_prove_the_same() {
    let (host, run) = Host::with_runs(40);
    let stored = Some((VIEWS_VERSION, host.store.watcher().view_digest()));
    let expected = Expected { views: stored, ..Expected::default() };
    let proof = prove_whole(&mut host.source(), expected, None, &quiet).unwrap();
    assert!(proof.report.is_clean(), "{:#?}", proof.report.findings);
    let from_file = prove(&host.export(None, "log.wfx"));
    assert!(from_file.report.is_clean(), "{:#?}", from_file.report.findings);
    assert_eq!(from_file.report.views, proof.report.views);
    assert_eq!(from_file.trailer.as_ref().unwrap().exporter, host.signer.peer_id());
    let spool = Spool::create([1; 8]).unwrap();
    for (_, bytes) in host.store.watcher().raw_frames(0, usize::MAX).unwrap() {
        spool.add(&bytes).unwrap();
    }
    let mut source = Source::of_spool(host.store.watcher().cluster(), std::sync::Arc::new(spool));
    let from_spool = replay_whole(&mut source, &quiet).unwrap();
    assert_eq!(from_spool.report, proof.report);
    assert!(from_spool.replayer.run(&run).is_some());
    assert!(!host.path(&format!("log.wfx.{}.part", std::process::id())).exists());
    let view = ReportView::of_whole(&from_file);
    assert!(view.clean && view.lines().iter().any(|line| line.starts_with("Clean")));
    assert!(serde_json::to_value(&view).unwrap()["view_digest"].is_string());
}

#[test]
fn events_are_told_in_words_and_as_json() {
    let (host, run) = Host::with_runs(1);
    let proof = replay_whole(&mut host.source(), &quiet).unwrap();
    let views = proof.replayer.views();
    let lines: Vec<String> = proof.replayer.history().map(|event| event_text(&event, views)).collect();
    assert_eq!(lines.len() as u64, proof.report.events);
    assert!(lines[0].contains("founded the cluster 'home'"), "{lines:#?}");
    assert!(
        lines.last().unwrap().contains("2026-11-20T23:59:59.000Z completed task 'told': success"),
        "{lines:#?}"
    );
    for event in proof.replayer.history() {
        let json = serde_json::to_value(event_line(&event, views)).unwrap();
        assert_eq!(json["id"], event.id.to_string());
        assert_eq!((&json["body"], &json["counts"]), (&"known".into(), &true.into()));
    }
    let shown = proof.replayer.run(&run).unwrap();
    let told = story(&shown, &proof.replayer.events_of_run(&run), views);
    let text: Vec<&str> = told.iter().map(|line| line.text.as_str()).collect();
    assert!(text[0].contains("'told': completed"), "{text:#?}");
    assert!(
        text.iter().any(|line| line.contains("epoch 1: home at rank 0") || line.contains("epoch 1: ")),
        "{text:#?}"
    );
    assert!(
        text.iter().any(|line| line.contains("result: success"))
            && text.iter().any(|line| line.contains("dropped"))
    );
    assert_eq!(run_lines(&shown, views).len(), 2);
}

#[test]
fn damage_in_an_export_is_named_with_its_place() {
    let (host, _) = Host::with_runs(30);
    let path = host.export(None, "log.wfx");
    let bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    let mut altered = bytes.clone();
    altered[middle] ^= 4;
    std::fs::write(host.path("altered"), &altered).unwrap();
    let proof = prove(&host.path("altered"));
    assert!(!proof.report.is_clean());
    let view = ReportView::of_whole(&proof);
    assert!(view.lines().iter().any(|line| line.contains(" at byte ")), "{:#?}", view.lines());
    std::fs::write(host.path("cut"), &bytes[..middle]).unwrap();
    let proof = prove(&host.path("cut"));
    assert!(proof.report.findings.list().iter().any(|finding| finding.what == What::Missing));
    std::fs::write(host.path("nothing"), b"not an export at all").unwrap();
    assert!(matches!(Source::of_file(&host.path("nothing")), Err(AuditError::NotAnExport { .. })));
    assert!(matches!(Source::of_file(&host.path("absent")), Err(AuditError::Io { .. })));
    // the header's scope and cluster are protected; frames still say whose they are
    let mut header = bytes;
    header[12] ^= 1;
    std::fs::write(host.path("header"), &header).unwrap();
    let source = Source::of_file(&host.path("header")).unwrap();
    assert_eq!(source.cluster(), host.store.watcher().cluster());
    assert!(!prove(&host.path("header")).report.is_clean());
}

#[test]
fn one_run_is_exported_and_proved_alone() {
    let (host, run) = Host::with_runs(50);
    let path = host.export(Some(run), "run.wfx");
    let mut source = Source::of_file(&path).unwrap();
    assert_eq!(source.scope(), ExportScope::Run(run));
    let proof = prove_run(&mut source, run, Expected::default(), &quiet).unwrap();
    assert!(proof.findings.is_empty(), "{:#?}", proof.findings);
    assert_eq!(proof.run.as_ref(), host.store.watcher().run(&run).as_ref());
    let view = ReportView::of_run(&proof);
    assert!(view.clean && view.scope == "run" && view.frames < 10, "{view:#?}");
    let told = story(proof.run.as_ref().unwrap(), &proof.events_of_run, &proof.views);
    assert!(told.iter().any(|line| line.part == "claim"));
    let unknown = RunId::from_bytes([9; 32]);
    let outcome =
        write_export(&mut host.source(), Some(unknown), &host.path("no"), &host.signer, None, &quiet);
    assert!(matches!(outcome, Err(AuditError::UnknownRun(_))) && !host.path("no").exists());
}

#[test]
fn an_import_gets_the_good_frames_and_hears_of_the_others() {
    let (host, _) = Host::with_runs(600);
    let path = host.export(None, "log.wfx");
    let mut bytes = std::fs::read(&path).unwrap();
    let (mut frames, mut batches) = (0, 0);
    let count = |path: &Path, batches: &mut u64, frames: &mut u64| {
        let mut findings = Vec::new();
        read_batches(
            &mut Source::of_file(path).unwrap(),
            |batch| {
                *batches += 1;
                *frames += batch.frames.len() as u64;
                findings.extend(batch.findings);
                true
            },
            &quiet,
        )
        .unwrap();
        findings
    };
    assert!(count(&path, &mut batches, &mut frames).is_empty());
    assert_eq!(frames, host.store.watcher().frontier().frames_len);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let whole = std::mem::take(&mut frames);
    assert!(!count(&path, &mut batches, &mut frames).is_empty());
    assert_eq!(frames + 1, whole);
}

#[test]
fn segments_are_documents_with_all_frames() {
    let (host, _) = Host::with_runs(300);
    let folder = host.path("segments");
    let written = write_segments(&mut host.source(), &folder, &quiet).unwrap();
    let (mut frames, mut files) = (0, 0);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let document = wfengine_protocol::frames_of(&bytes).unwrap();
        for frame in &document.frames {
            SignedFrame::decode(frame).unwrap().verify().unwrap();
        }
        frames += document.frames.len() as u64;
        files += 1;
    }
    assert_eq!((frames, files), (host.store.watcher().frontier().frames_len, written.files));
    assert_eq!(frames, written.frames);
    assert!(files >= 2, "the founding chain and the writer's");
}

#[test]
fn frames_can_be_read_again_by_their_handles() {
    let (host, _) = Host::with_runs(3);
    let again = host.source().again();
    let frames = host.store.watcher().raw_frames(0, 100).unwrap();
    for (number, bytes) in &frames {
        assert_eq!(again.reread(*number).as_ref(), Some(bytes));
    }
    assert_eq!(again.reread(frames.len() as u64), None);
}
