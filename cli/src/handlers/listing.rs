//! Runs, newest first, part by part.

use wfengine_api::answers::RunsView;
use wfengine_api::{Failure, Listing};
use wfengine_core::views::job::{Job, Status};
use wfengine_core::views::run::Run;
use wfengine_storage_format::{PeerId, RunId};
use wfengine_workflow::tags::Tag;

use super::{resolve, runs};
use crate::node::Node;

/// Runs of one answer.
const RUNS_MAX: usize = 10_000;
/// Finished runs that are folded again for one answer; the next part goes on after them.
const FOLDED_MAX: usize = 10_000;

/// Places that are sorted at once.
const SORTED_LEN: usize = 1_024;

/// Where a run is in the listing: when it was submitted, and which it is.
type Place = (u64, RunId);

fn text_of((submitted_ms, id): Place) -> String {
    format!("{submitted_ms}-{id}")
}

fn place_of(text: &str) -> Result<Place, Failure> {
    let wrong = || Failure::bad_input(format!("after {text:?}: expected the `next` of the part before"));
    let (submitted_ms, id) = text.split_once('-').ok_or_else(wrong)?;
    Ok((submitted_ms.parse().map_err(|_| wrong())?, id.parse().map_err(|_| wrong())?))
}

/// The runs that are wanted. Those that left memory are read from the disk: not for a thread that others wait for.
pub(super) fn list(node: &Node, wanted: &Listing) -> Result<RunsView, Failure> {
    let Listing { status, peer, tag, since_ms, open, disagree, after, limit } = wanted;
    let status = status.as_deref().map(known).transpose()?;
    let peer = peer.as_deref().map(|peer| resolve::peer(node, peer)).transpose()?;
    // every spelling of a routing tag is accepted
    let tag = tag.as_ref().map(|tag| Tag::parse(tag).map_or(tag.as_str(), |known| known.name()));
    let oldest = since_ms.map(|since| node.clock.wall().0.saturating_sub(since));
    let after = after.as_deref().map(place_of).transpose()?;
    let is_next = |place: &Place| {
        after.is_none_or(|after| *place < after) && oldest.is_none_or(|oldest| place.0 >= oldest)
    };
    let fits_status =
        |found: Status| status.is_none_or(|status| found == status) && !(*open && found.is_terminal());
    let order: Vec<(Place, bool)> = {
        let views = node.watcher().views();
        let live = views.runs().all_live().filter(|run| run.submitted.is_some() && fits_status(run.status));
        let live = live.map(|run| ((run.submission().map_or(0, |found| found.time_ms), run.id), false));
        let finished = views.runs().finished().iter().filter(|(_, finished)| fits_status(finished.status));
        let finished = finished.map(|(id, finished)| ((finished.submitted_ms, *id), true));
        live.chain(finished).filter(|(place, _)| is_next(place)).collect()
    };
    let fits = |run: &Run| {
        fits_status(run.status)
            && tag.is_none_or(|tag| {
                run.submitted
                    .as_ref()
                    .is_some_and(|submitted| submitted.tags.iter().any(|known| known == tag))
            })
            && peer.is_none_or(|peer| run.jobs.values().any(|job| is_at(job, &peer)))
            && (!*disagree || is_disagreed_on(run))
    };
    let mut found = RunsView::default();
    let (mut folded, mut last) = (0, None);
    for (place, is_finished) in greatest_first(order) {
        if found.runs.len() >= (*limit).min(RUNS_MAX) || folded >= FOLDED_MAX {
            found.next = last.or(after).map(text_of);
            break;
        }
        folded += usize::from(is_finished);
        last = Some(place);
        if let Some(run) = node.watcher().run(&place.1).filter(fits) {
            found.runs.push(runs::shown(node, &run));
        }
    }
    Ok(found)
}

/// The greatest first. Whoever looks at a few does not pay for an order of all.
fn greatest_first<T: Ord>(mut all: Vec<T>) -> impl Iterator<Item = T> {
    let mut sorted = Vec::new();
    std::iter::from_fn(move || {
        if sorted.is_empty() {
            let rest = all.len().saturating_sub(SORTED_LEN);
            if rest > 0 {
                all.select_nth_unstable(rest);
            }
            sorted = all.split_off(rest);
            sorted.sort_unstable();
        }
        sorted.pop()
    })
}

fn known(word: &str) -> Result<Status, Failure> {
    Status::ALL.iter().find(|status| status.name() == word).copied().ok_or_else(|| {
        let words: Vec<&str> = Status::ALL.iter().map(|status| status.name()).collect();
        let mut failure =
            Failure::bad_input(format!("--status {word}: expected one of {}", words.join(", ")));
        failure.candidates = words.into_iter().map(str::to_owned).collect();
        failure
    })
}

fn is_at(job: &Job, peer: &PeerId) -> bool {
    job.result.as_ref().map_or_else(
        || job.holder().is_some_and(|claim| claim.peer() == *peer),
        |result| result.peer == *peer,
    )
}

/// Whether hosts disagreed about it.
pub(crate) fn is_disagreed_on(run: &Run) -> bool {
    run.conflict
        || run.divergent_plan
        || run.stale_input
        || run.jobs.values().any(|job| job.divergent || job.result_superseded || !job.duplicates.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_come_first_however_many_there_are() {
        for len in [0, 1, SORTED_LEN - 1, SORTED_LEN, SORTED_LEN + 1, 5 * SORTED_LEN + 3] {
            // every number once, in an order of its own: 7,919 has no divisor in common with any of the lengths
            let all: Vec<usize> = (0..len).map(|n| n * 7_919 % len).collect();
            let seen: Vec<usize> = greatest_first(all).collect();
            assert_eq!(seen, (0..len).rev().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is() {
        let place = (1_700_000_000_123, RunId::from_bytes([7; 32]));
        assert_eq!(place_of(&text_of(place)).unwrap(), place);
        for wrong in ["", "-", "1", "x-07", "1-07", "1700000000123"] {
            assert!(place_of(wrong).unwrap_err().message.contains("next"), "{wrong}");
        }
    }
}
