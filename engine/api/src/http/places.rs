//! Room: how much is answered at once, and how long one request takes of it.
//!
//! An answer that is there as a whole gives its place back at once: sending it costs the connection and nobody else. One that is made
//! while it is sent, and a call that waits for something to happen, keep theirs until the end; the latter are counted with the live
//! streams, so that those who wait keep nobody from being answered.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::Failure;

/// Requests that are answered at once; further ones are told to come later.
const REQUESTS_MAX: usize = 128;
/// Live streams and waiting calls at once, of all clients.
const STREAMS_MAX: usize = 64;

/// The room of one door.
#[derive(Clone, Debug)]
pub(super) struct Room {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }
}

impl Room {
    /// A place for a request.
    pub(super) fn request(&self) -> Result<Arc<Place>, Failure> {
        let permit = Arc::clone(&self.requests).try_acquire_owned();
        let permit = permit.map_err(|_| {
            Failure::busy(format!("{REQUESTS_MAX} requests are answered already: ask again in a moment"))
        })?;
        Ok(Arc::new(Place { taken: Mutex::new(permit), room: self.clone() }))
    }

    /// A place for a stream.
    pub(super) fn stream(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            Failure::busy(format!(
                "{STREAMS_MAX} live streams and waiting calls are open already: ask again when one has ended"
            ))
        })
    }
}

/// What one request takes.
#[derive(Debug)]
pub(crate) struct Place {
    taken: Mutex<OwnedSemaphorePermit>,
    room: Room,
}

impl Place {
    /// From here on the request waits for something to happen, and takes the place of a stream.
    ///
    /// # Errors
    /// There is none left.
    pub(crate) fn waits(&self) -> Result<(), Failure> {
        let stream = self.room.stream()?;
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = stream;
        Ok(())
    }
}

/// The answer, which keeps its place as long as it is being made.
pub(super) fn kept(response: Response, place: Arc<Place>) -> Response {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| Body::new(Kept { body, _place: place }))
}

struct Kept {
    body: Body,
    _place: Arc<Place>,
}

impl HttpBody for Kept {
    type Data = Bytes;
    type Error = axum::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(task)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_keeps_nobody_from_being_answered() {
        let room = Room::default();
        let mut waiting = Vec::new();
        for _ in 0..STREAMS_MAX {
            let place = room.request().unwrap();
            place.waits().unwrap();
            waiting.push(place);
        }
        assert!(room.stream().unwrap_err().message.contains("64"));
        let all: Vec<_> = (0..REQUESTS_MAX).map(|_| room.request().unwrap()).collect();
        assert!(room.request().unwrap_err().message.contains("128"));
        assert!(all[0].waits().is_err());
        drop(waiting.pop());
        all[0].waits().unwrap();
        // what turned into a stream left its room to others
        room.request().unwrap();
    }

    #[test]
    fn an_answer_that_is_there_gives_its_place_back() {
        let room = Room::default();
        let place = room.request().unwrap();
        let weak = Arc::downgrade(&place);
        let whole = kept(Response::new(Body::from("done")), place);
        assert!(weak.upgrade().is_none(), "{whole:?}");

        let place = room.request().unwrap();
        let weak = Arc::downgrade(&place);
        let (_piece, pieces) = tokio::sync::mpsc::channel::<Bytes>(1);
        let made = kept(Response::new(Body::from_stream(super::super::streams::Outgoing(pieces))), place);
        assert!(weak.upgrade().is_some());
        drop(made);
        assert!(weak.upgrade().is_none());
    }
}
