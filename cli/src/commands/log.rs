//! `log`: the log as a file. An export proves itself; an import goes through the same door as a peer's frames.

use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use tokio::sync::mpsc;
use wfengine_api::answers::{DigestView, Imported, RunView};
use wfengine_api::{Exit, Failure, Request};
use wfengine_storage_format::{ExportScope, RunId};

use super::Globals;
use super::replay::frames;
use crate::args::{ExportArgs, ImportArgs, LogVerb};
use crate::audit::{Batch, Source, read_batches, write_export, write_segments};
use crate::documents::{ExportedDocument, ImportedDocument, SegmentsDocument};
use crate::door::Door;
use crate::home::Home;
use crate::terminal;

/// Batches of frames on their way to the node.
const BATCHES_WAITING_MAX: usize = 2;

pub(super) async fn log(globals: &Globals, verb: LogVerb) -> Result<Exit, Failure> {
    match verb {
        LogVerb::Export(args) => export(globals, args).await,
        LogVerb::Import(args) => import(globals, args).await,
    }
}

async fn export(globals: &Globals, args: ExportArgs) -> Result<Exit, Failure> {
    if args.automerge && args.run.is_some() {
        return Err(Failure::bad_input("--automerge writes whole segments: leave out --run"));
    }
    if !args.automerge && args.path.exists() {
        return Err(Failure::bad_input(format!(
            "{} exists: choose another name, or remove it first",
            args.path.display()
        )));
    }
    let (json, data_dir) = (globals.json, globals.data_dir.clone());
    super::serving(globals, async move |door| {
        let outcome = export_through(&door, args, json, data_dir).await;
        (door, outcome)
    })
    .await
}

async fn export_through(
    door: &Door,
    args: ExportArgs,
    json: bool,
    data_dir: Option<PathBuf>,
) -> Result<Exit, Failure> {
    let run = match &args.run {
        None => None,
        Some(id) => {
            let run: RunView = door.call(Request::Show { id: id.clone() }).await?;
            Some(run.id.parse::<RunId>().map_err(|error| Failure::bad_input(error.to_string()))?)
        }
    };
    let signer = match door.node() {
        Some(node) => node.home.signer.clone(),
        None => Home::open(data_dir)?.signer,
    };
    let frames::Here { mut source, views, .. } = frames::of_door(door).await?;
    let watched = terminal::stdout_is_terminal() && !json;
    let work = move || -> Result<Exported, Failure> {
        let bar = frames::bar("exporting", watched);
        let progress = frames::advance(&bar);
        let path = args.path.display().to_string();
        let exported = if args.automerge {
            let written = write_segments(&mut source, &args.path, &progress)?;
            Exported::Segments(SegmentsDocument {
                path,
                files: written.files,
                frames: written.frames,
                bytes: written.bytes,
            })
        } else {
            let written = write_export(&mut source, run, &args.path, &signer, views, &progress)?;
            let trailer = written.trailer;
            Exported::File(ExportedDocument {
                path,
                run: run.map(|run| run.to_string()),
                frames: trailer.frames,
                events: trailer.events,
                chains: trailer.tips.len(),
                bytes: written.bytes,
                exporter: trailer.exporter.to_string(),
                cluster: source.cluster().to_string(),
            })
        };
        bar.finish_and_clear();
        Ok(exported)
    };
    match tokio::task::spawn_blocking(work).await.map_err(broken_off)?? {
        Exported::Segments(document) if json => terminal::json(&document),
        Exported::File(document) if json => terminal::json(&document),
        Exported::Segments(SegmentsDocument { path, files, frames, bytes }) => {
            terminal::line(&format!("{path}: {frames} frames in {files} documents, {bytes} bytes"));
        }
        Exported::File(ExportedDocument { path, frames, events, bytes, cluster, .. }) => {
            terminal::line(&format!("{path}: {events} events in {frames} frames, {bytes} bytes"));
            terminal::line(&format!(
                "prove it anywhere with: wfengine replay --verify --from {path} --expect-cluster {cluster}"
            ));
        }
    }
    Ok(Exit::Success)
}

/// What an export came to.
enum Exported {
    File(ExportedDocument),
    Segments(SegmentsDocument),
}

fn broken_off(error: tokio::task::JoinError) -> Failure {
    Failure::new(Exit::Failure, format!("BUG: the audit broke off: {error}"))
}

async fn import(globals: &Globals, args: ImportArgs) -> Result<Exit, Failure> {
    let source = Source::of_file(&args.file)?;
    if let ExportScope::Run(run) = source.scope() {
        return Err(Failure::refused(format!(
            "{} holds run {run} alone, with gaps in its chains: such a file proves the run (`wfengine replay --verify --from`), it cannot be admitted",
            args.file.display()
        )));
    }
    let json = globals.json;
    let watched = terminal::stdout_is_terminal() && !json;
    let (imported, findings) = super::serving(globals, async move |door| {
        let outcome = import_through(&door, source, &args.file, watched).await;
        (door, outcome)
    })
    .await?;
    let clean = findings.is_empty() && imported.refused.is_empty() && imported.waiting == 0;
    if json {
        let Imported { admitted, duplicate, waiting, refused } = imported;
        terminal::json(&ImportedDocument { admitted, duplicate, waiting, refused, findings, clean });
    } else {
        terminal::line(&format!(
            "{} frames admitted, {} known already, {} wait for others, {} refused",
            imported.admitted,
            imported.duplicate,
            imported.waiting,
            imported.refused.len()
        ));
        imported.refused.iter().chain(&findings).for_each(|wrong| terminal::error(wrong));
    }
    Ok(if clean { Exit::Success } else { Exit::Failure })
}

async fn import_through(
    door: &Door,
    mut source: Source,
    path: &Path,
    watched: bool,
) -> Result<(Imported, Vec<String>), Failure> {
    let here: DigestView = door.call(Request::Digest).await?;
    let theirs = source.cluster().to_string();
    if theirs != here.cluster {
        return Err(Failure::refused(format!(
            "{} is of cluster {theirs}, this node belongs to {}: nothing was admitted. `wfengine replay --from` reads it all the same",
            path.display(),
            here.cluster
        )));
    }
    let (batches, mut incoming) = mpsc::channel::<Batch>(BATCHES_WAITING_MAX);
    let reading = tokio::task::spawn_blocking(move || {
        let bar = frames::bar("importing", watched);
        let outcome =
            read_batches(&mut source, |batch| batches.blocking_send(batch).is_ok(), &frames::advance(&bar));
        bar.finish_and_clear();
        outcome
    });
    let (mut imported, mut findings) = (Imported::default(), Vec::new());
    while let Some(batch) = incoming.recv().await {
        findings.extend(batch.findings.iter().map(ToString::to_string));
        if batch.frames.is_empty() {
            continue;
        }
        let frames = batch.frames.iter().map(|frame| BASE64.encode(frame)).collect();
        let part: Imported = door.call(Request::Import { frames }).await?;
        imported.admitted += part.admitted;
        imported.duplicate += part.duplicate;
        imported.waiting += part.waiting;
        imported.refused.extend(part.refused);
    }
    reading.await.map_err(broken_off)??;
    Ok((imported, findings))
}
