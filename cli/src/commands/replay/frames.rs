//! The frames of this host's log, whoever has it open, and what the node says of the views they give.

use std::sync::Arc;

use data_encoding::BASE64;
use indicatif::{ProgressBar, ProgressStyle};
use wfengine_api::answers::DigestView;
use wfengine_api::{Exit, Failure, Request};
use wfengine_core::views::VIEWS_VERSION;
use wfengine_storage_format::{ClusterId, EventId, Hash32};

use crate::audit::{AuditError, Source, Spool};
use crate::door::Door;

/// Frames asked for at once.
const FRAMES_AT_ONCE: usize = 4096;
/// How often the node is asked for a moment at which frames and digest agree.
const TRIES_MAX: u32 = 8;

/// This host's frames.
pub(in crate::commands) struct Here {
    pub(in crate::commands) source: Source,
    /// Version and digest of the stored views of exactly these frames. `None` when the node wrote on all the time.
    pub(in crate::commands) views: Option<(u32, Hash32)>,
    /// Where the frames of a running node are kept.
    pub(in crate::commands) spool: Option<Arc<Spool>>,
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        let exit = match &error {
            AuditError::Io { .. } | AuditError::UnknownRun(_) => Exit::BadInput,
            AuditError::NotAnExport { .. }
            | AuditError::Empty { .. }
            | AuditError::Damaged { .. }
            | AuditError::Export(_)
            | AuditError::Document(_)
            | AuditError::Store(_) => Exit::Failure,
        };
        Failure::new(exit, error.to_string())
    }
}

/// Takes the frames through a door: straight from the store if it is open here, else from the node that has it.
pub(in crate::commands) async fn of_door(door: &Door) -> Result<Here, Failure> {
    if let Some(node) = door.node() {
        let watcher = node.watcher();
        for _ in 0..TRIES_MAX {
            let source = Source::of_store(watcher.clone());
            let frames_len = source.progress().1;
            let digest = watcher.view_digest();
            // views are published after the commit: no frame more means that the digest is of these
            if watcher.raw_frames(frames_len, 1)?.is_empty() {
                return Ok(Here { source, views: Some((VIEWS_VERSION, digest)), spool: None });
            }
        }
        return Ok(Here { source: Source::of_store(watcher.clone()), views: None, spool: None });
    }
    let spool = Arc::new(Spool::create(crate::home::random()?)?);
    let (mut views, mut cluster) = (None, None);
    for _ in 0..TRIES_MAX {
        fetch(door, &spool).await?;
        let digest: DigestView = door.call(Request::Digest).await?;
        cluster =
            Some(digest.cluster.parse::<ClusterId>().map_err(|error| Failure::bad_input(error.to_string()))?);
        // views are published after the commit: no frame more means that the digest is of these
        let first_new = fetch(door, &spool).await?;
        if digest.frames == first_new && first_new == spool.len() {
            views =
                digest.view_digest.parse().ok().map(|hash: EventId| (digest.views_version, *hash.as_bytes()));
            break;
        }
    }
    let cluster =
        cluster.ok_or_else(|| Failure::unreachable("the node does not say which cluster it is of"))?;
    Ok(Here { source: Source::of_spool(cluster, Arc::clone(&spool)), views, spool: Some(spool) })
}

/// Brings the frames that the spool lacks. Says the first new one's number.
pub(in crate::commands) async fn fetch(door: &Door, spool: &Spool) -> Result<u64, Failure> {
    let first = spool.len();
    loop {
        let request = Request::Frames { from: spool.len(), len_max: FRAMES_AT_ONCE };
        let frames: Vec<String> = door.call(request).await?;
        if frames.is_empty() {
            return Ok(first);
        }
        for frame in &frames {
            let bytes = BASE64.decode(frame.as_bytes()).map_err(|error| {
                Failure::new(Exit::Failure, format!("the node sent something that is no frame: {error}"))
            })?;
            spool.add(&bytes)?;
        }
    }
}

/// A bar on stderr while frames are read; nothing where nobody watches.
pub(in crate::commands) fn bar(what: &'static str, shown: bool) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}") {
        bar.set_style(style);
    }
    bar
}

/// What a bar is told.
pub(in crate::commands) fn advance(bar: &ProgressBar) -> impl Fn((u64, u64)) + Sync + '_ {
    |(done, all)| {
        bar.set_length(all);
        bar.set_position(done);
    }
}
