//! `why`, `owner`, `distance`: who runs what, and why.

use wfengine_api::answers::{OwnerView, WhyView};
use wfengine_api::{Exit, Failure, Request};
use wfengine_storage_format::{BlobId, hamming_distance, sha256};

use super::Globals;
use super::watch::{Cause, watch};
use crate::args::{DistanceArgs, IdArgs, OwnerArgs};
use crate::documents::DistanceDocument;
use crate::terminal::{self, Page};

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
    let request = || Request::Owner { ids: args.ids.clone() };
    if args.watch.watch {
        let page = |found: &Vec<OwnerView>| owner_page(found);
        return watch(globals, Cause::Events, request, page).await;
    }
    let found: Vec<OwnerView> = super::call(globals, request()).await?;
    if globals.json {
        found.iter().for_each(terminal::json);
    } else {
        terminal::show(&owner_page(&found));
    }
    Ok(Exit::Success)
}

fn owner_page(found: &[OwnerView]) -> Page {
    let mut page = Page::default();
    if found.is_empty() {
        page.line("no open jobs");
    }
    for job in found {
        let holder = job
            .holder
            .as_deref()
            .map_or_else(|| "held by nobody".to_owned(), |peer| format!("held by {peer}"));
        let short = job.job.get(..12).unwrap_or(&job.job);
        page.stated(format!("{short} {} [", job.name), &job.status, &format!("], {holder}"));
        for ranked in &job.ranked {
            let band = if ranked.band == 0 { "" } else { " (joined after the submission)" };
            page.line(format!("  {:>2}. {} at distance {}{band}", ranked.rank, ranked.peer, ranked.distance));
        }
    }
    page
}

pub(super) fn distance(globals: &Globals, args: &DistanceArgs) -> Result<Exit, Failure> {
    let hash =
        |text: &str| text.parse::<BlobId>().map_or_else(|_| sha256(text.as_bytes()), |id| *id.as_bytes());
    let (a, b) = (hash(&args.a), hash(&args.b));
    let distance = hamming_distance(&a, &b);
    if globals.json {
        let text = |hash: [u8; 32]| BlobId::from_bytes(hash).to_string();
        terminal::json(&DistanceDocument { distance, hash_a: text(a), hash_b: text(b) });
    } else {
        terminal::line(&distance.to_string());
    }
    Ok(Exit::Success)
}
