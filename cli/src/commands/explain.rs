//! `why`, `owner`, `distance`: who runs what, and why.

use serde_json::json;
use wfengine_api::answers::{OwnerView, WhyView};
use wfengine_api::{Exit, Failure, Request};
use wfengine_storage_format::{BlobId, hamming_distance, sha256};

use super::Globals;
use crate::args::{DistanceArgs, IdArgs, OwnerArgs};
use crate::terminal;

pub(super) async fn why(globals: &Globals, args: IdArgs) -> Result<Exit, Failure> {
    let found: Vec<WhyView> = super::call(globals, Request::Why { id: args.id }).await?;
    for why in &found {
        if globals.json {
            terminal::json(why);
        } else {
            terminal::line(&format!("{} [{}] {}", why.name, why.status, why.text));
        }
    }
    Ok(Exit::Success)
}

pub(super) async fn owner(globals: &Globals, args: OwnerArgs) -> Result<Exit, Failure> {
    let found: Vec<OwnerView> = super::call(globals, Request::Owner { ids: args.ids }).await?;
    if found.is_empty() && !globals.json {
        terminal::line("no open jobs");
    }
    for job in &found {
        if globals.json {
            terminal::json(job);
            continue;
        }
        let holder = job
            .holder
            .as_deref()
            .map_or_else(|| "held by nobody".to_owned(), |peer| format!("held by {peer}"));
        let short = job.job.get(..12).unwrap_or(&job.job);
        terminal::line(&format!("{short} {} [{}], {holder}", job.name, job.status));
        for ranked in &job.ranked {
            let band = if ranked.band == 0 { "" } else { " (joined after the submission)" };
            terminal::line(&format!(
                "  {:>2}. {} at distance {}{band}",
                ranked.rank, ranked.peer, ranked.distance
            ));
        }
    }
    Ok(Exit::Success)
}

pub(super) fn distance(globals: &Globals, args: &DistanceArgs) -> Result<Exit, Failure> {
    let hash =
        |text: &str| text.parse::<BlobId>().map_or_else(|_| sha256(text.as_bytes()), |id| *id.as_bytes());
    let (a, b) = (hash(&args.a), hash(&args.b));
    let distance = hamming_distance(&a, &b);
    if globals.json {
        let text = |hash: [u8; 32]| BlobId::from_bytes(hash).to_string();
        terminal::json(&json!({ "distance": distance, "hash_a": text(a), "hash_b": text(b) }));
    } else {
        terminal::line(&distance.to_string());
    }
    Ok(Exit::Success)
}
