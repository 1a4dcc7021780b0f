//! What is kept of a runner's events, and how it is packed when the runner is removed.
//!
//! Invariants: an entity is unpacked as it was packed; the intent is the first of its events in canonical order, since all others
//! name it; nothing packed is ever sent, and what a checkpoint keeps is read by the version that wrote it alone.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wfengine_storage_format::{
    BlobId, Body, ChainId, EventId, Incarnation, PeerId, RunnerEnd, RunnerExited, RunnerIntended, RunnerJob,
    RunnerStarted,
};

use super::runner::Runner;
use crate::admitted::Admitted;

/// Where an event stands; whose it is says the entity.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Place {
    incarnation: Incarnation,
    seq: u64,
    height: u64,
    time_ms: u64,
    /// Whether it lay below the cuts and its author had the right, when that was looked at last.
    counts: bool,
}

impl Place {
    fn of(event: &Admitted) -> Self {
        Self {
            incarnation: event.chain.incarnation,
            seq: event.seq,
            height: event.height,
            time_ms: event.time.0,
            counts: false,
        }
    }

    /// The canonical order, among events of one author.
    fn order(&self) -> (u64, Incarnation, u64) {
        (self.height, self.incarnation, self.seq)
    }
}

/// What a later event says, without the intent that it names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Said {
    Started { runner: u64, container: String, image: String },
    Exited { end: RunnerEnd, log: Option<BlobId>, ran: Option<RunnerJob> },
    Removed,
}

impl Said {
    fn of(body: &Body) -> Option<Self> {
        match body {
            Body::RunnerStarted(body) => Some(Said::Started {
                runner: body.runner,
                container: body.container.clone(),
                image: body.image.clone(),
            }),
            Body::RunnerExited(body) => {
                Some(Said::Exited { end: body.end.clone(), log: body.log, ran: body.ran.clone() })
            }
            Body::RunnerRemoved(_) => Some(Said::Removed),
            _ => None,
        }
    }
}

/// The events of a runner. The first fields are those of [`Head`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Entity {
    author: PeerId,
    intended: RunnerIntended,
    place: Place,
    /// In canonical order.
    later: Vec<(EventId, Place, Said)>,
}

impl Entity {
    pub(super) fn new(event: &Admitted, intended: &RunnerIntended) -> Self {
        let (intended, place) = (intended.clone(), Place::of(event));
        Self { author: event.author(), intended, place, later: Vec::new() }
    }

    pub(super) fn author(&self) -> PeerId {
        self.author
    }

    /// Where the intent stands: by height, then by chain.
    pub(super) fn order(&self) -> (u64, PeerId, Incarnation, u64) {
        let (height, incarnation, seq) = self.place.order();
        (height, self.author, incarnation, seq)
    }

    /// Puts a later event of the author in its canonical place, once.
    pub(super) fn insert(&mut self, event: &Admitted) {
        let Some(said) = Said::of(&event.body) else { return };
        let place = Place::of(event);
        let at = self.later.partition_point(|(_, known, _)| known.order() < place.order());
        if self.later.get(at).is_none_or(|(known, _, _)| *known != event.id) {
            self.later.insert(at, (event.id, place, said));
        }
    }

    /// Looks anew at which events count.
    pub(super) fn judge(&mut self, counts: impl Fn(&ChainId, u64) -> bool) {
        let author = self.author;
        let places = self.later.iter_mut().map(|(_, place, _)| place);
        for place in std::iter::once(&mut self.place).chain(places) {
            place.counts = counts(&ChainId { author, incarnation: place.incarnation }, place.seq);
        }
    }

    /// What came of the events that count; `None` if the intent does not.
    pub(super) fn runner(&self, intent: &EventId) -> Option<Runner> {
        if !self.place.counts {
            return None;
        }
        let intent = *intent;
        let mut runner = Runner {
            intent,
            author: self.author,
            time_ms: self.place.time_ms,
            intended: self.intended.clone(),
            started: None,
            exited: None,
            removed: None,
        };
        for (id, place, said) in self.later.iter().filter(|(_, place, _)| place.counts) {
            match said {
                Said::Started { runner: number, container, image } if runner.started.is_none() => {
                    let (container, image) = (container.clone(), image.clone());
                    let body = RunnerStarted { intent, runner: *number, container, image };
                    runner.started = Some((*id, place.time_ms, body));
                }
                Said::Exited { end, log, ran } if runner.exited.is_none() => {
                    let body = RunnerExited { intent, end: end.clone(), log: *log, ran: ran.clone() };
                    runner.exited = Some((*id, place.time_ms, body));
                }
                Said::Removed if runner.removed.is_none() => runner.removed = Some((*id, place.time_ms)),
                Said::Started { .. } | Said::Exited { .. } | Said::Removed => {}
            }
        }
        Some(runner)
    }

    pub(super) fn pack(&self) -> Packed {
        Packed(postcard::to_stdvec(self).unwrap_or_default().into())
    }
}

/// What can be read of a packed entity without unpacking it.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    pub(super) author: PeerId,
    _pool: &'a str,
    pub(super) name: &'a str,
}

/// An entity in one piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Packed(Arc<[u8]>);

impl Packed {
    pub(super) fn unpack(&self) -> Option<Entity> {
        postcard::from_bytes(&self.0).ok()
    }

    pub(super) fn head(&self) -> Option<Head<'_>> {
        postcard::take_from_bytes(&self.0).ok().map(|(head, _)| head)
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Vec::deserialize(deserializer)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use wfengine_storage_format::RunnerCause;

    use super::*;

    #[test]
    fn a_removed_runner_costs_little_and_is_unpacked_as_it_was() {
        let text = |len: usize| "x".repeat(len);
        let place = Place {
            incarnation: Incarnation::from_bytes([7; 16]),
            seq: 100_000,
            height: 10_000_000,
            time_ms: 1_800_000_000_000,
            counts: true,
        };
        let id = |n| EventId::from_bytes([n; 32]);
        let intended = RunnerIntended {
            pool: text(7),
            name: text(25),
            source: text(10),
            scope: text(30),
            labels: vec![text(11), text(5), text(3)],
            cause: RunnerCause::Job { repository: text(30), run: u64::MAX, job: u64::MAX },
        };
        let ran = Some(RunnerJob { repository: text(30), run: u64::MAX, job: u64::MAX });
        let log = Some(BlobId::from_bytes([9; 32]));
        let entity = Entity {
            author: PeerId::from_bytes([1; 32]),
            intended,
            place: place.clone(),
            later: vec![
                (id(1), place.clone(), Said::Started { runner: 1, container: text(64), image: text(71) }),
                (id(2), place.clone(), Said::Exited { end: RunnerEnd::Done { exit_code: 0 }, log, ran }),
                (id(3), place, Said::Removed),
            ],
        };
        let texts_len = 7 + 25 + 10 + 30 + 11 + 5 + 3 + 30 + 30 + 64 + 71;
        let packed = entity.pack();
        assert!(packed.0.len() <= 350 + texts_len, "{} bytes, {texts_len} of texts", packed.0.len());
        let head = packed.head().unwrap();
        assert_eq!((head.author, head.name), (entity.author, entity.intended.name.as_str()));
        assert_eq!(packed.unpack().as_ref(), Some(&entity));
        let stored: Packed = postcard::from_bytes(&postcard::to_stdvec(&packed).unwrap()).unwrap();
        assert_eq!(stored, packed);
    }
}
