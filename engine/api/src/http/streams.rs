//! Live streams: events of the log and what happens in a run as server-sent events, and the tunnel through which a command on another
//! host asks this node.
//!
//! A stream is written as fast as its client reads. One that reads nothing for a while is sent away, and the log never waits for it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{self, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::access::{Passed, SUBMITS_ONLY};
use super::{STREAMS_MAX, Shared, problem};
use crate::failure::Failure;
use crate::request::Request;

/// Items on their way to one client.
const ITEMS_WAITING_MAX: usize = 256;
/// A client that takes nothing for so long is gone.
const STALLED: Duration = Duration::from_secs(30);
/// A sign of life on a stream that has nothing to say.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a client is sent.
struct Outgoing<T> {
    items: mpsc::Receiver<T>,
    _permit: OwnedSemaphorePermit,
}

impl<T> Stream for Outgoing<T> {
    type Item = Result<T, Infallible>;
    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.items.poll_recv(task).map(|item| item.map(Ok))
    }
}

/// One piece of an answer.
enum Piece {
    Item(Value),
    Done(Value),
    Failed(Failure),
}

/// Asks, and sends every piece as `shape` has it, until the answer or until the client is gone. The answer is that of `last`, asked in
/// the end, if there is one.
fn stream<T: Send + 'static>(
    shared: &Shared,
    request: Request,
    last: Option<Request>,
    shape: fn(Piece) -> T,
) -> Result<Outgoing<T>, Failure> {
    let permit = Arc::clone(&shared.streams).try_acquire_owned();
    let Ok(permit) = permit else {
        return Err(Failure::busy(format!(
            "{STREAMS_MAX} live streams are open already: ask again when one has ended"
        )));
    };
    let (outgoing, items) = mpsc::channel(ITEMS_WAITING_MAX);
    let handlers = Arc::clone(&shared.handlers);
    tokio::spawn(async move {
        let (said, mut to_hand_on) = mpsc::channel(ITEMS_WAITING_MAX);
        let mut work = handlers.handle(request, said);
        let send = async |piece| {
            // a client that is gone, or as good as that
            matches!(tokio::time::timeout(STALLED, outgoing.send(shape(piece))).await, Ok(Ok(())))
        };
        let mut answered = loop {
            tokio::select! {
                biased;
                Some(item) = to_hand_on.recv() => if !send(Piece::Item(item)).await { return },
                answer = &mut work => break answer,
                () = outgoing.closed() => return,
            }
        };
        while let Ok(item) = to_hand_on.try_recv() {
            if !send(Piece::Item(item)).await {
                return;
            }
        }
        if let Some(request) = last.filter(|_| answered.is_ok()) {
            answered = handlers.ask(request).await;
        }
        send(match answered {
            Ok(answer) => Piece::Done(answer),
            Err(failure) => Piece::Failed(failure),
        })
        .await;
    });
    Ok(Outgoing { items, _permit: permit })
}

fn failed(failure: &Failure) -> Value {
    json!({ "kind": failure.word(), "detail": failure.message, "candidates": failure.candidates })
}

fn as_event(piece: Piece) -> Event {
    let (name, document) = match piece {
        Piece::Item(item) => ("item", item),
        Piece::Done(answer) => ("end", answer),
        Piece::Failed(failure) => ("error", failed(&failure)),
    };
    // JSON has no line breaks, which would end the event
    Event::default().event(name).data(document.to_string())
}

fn sse(shared: &Shared, request: Request, last: Option<Request>) -> Response {
    match stream(shared, request, last, as_event) {
        Ok(outgoing) => Sse::new(outgoing).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response(),
        Err(busy) => problem::of(&busy),
    }
}

/// Events of the log from now on, or from a place on: `?from=N`.
pub(super) async fn events(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let mut from = None;
    for (name, text) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match (&*name, text.parse::<u64>()) {
            ("from", Ok(place)) => from = Some(place),
            _ => {
                let failure =
                    Failure::bad_input(format!("{name}={text}: expected from=N, a place in the log"));
                return problem::of(&failure);
            }
        }
    }
    sse(&shared, Request::Follow { from }, None)
}

/// What happens in a run, until it has ended.
pub(super) async fn run(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    // what is not known is said with a status, not in a stream
    let shown: Result<Value, Failure> = shared.handlers.ask(Request::Show { id: id.clone() }).await;
    match shown {
        Ok(_) => sse(&shared, Request::Logs { id: id.clone(), follow: true }, Some(Request::Show { id })),
        Err(failure) => problem::of(&failure),
    }
}

fn as_line(piece: Piece) -> Bytes {
    let document = match piece {
        Piece::Item(item) => json!({ "item": item }),
        Piece::Done(answer) => json!({ "done": answer }),
        Piece::Failed(failure) => json!({ "failed": failure }),
    };
    Bytes::from(format!("{document}\n"))
}

/// A request of a command, and its answer line by line.
pub(super) async fn control(
    State(shared): State<Shared>,
    Extension(passed): Extension<Passed>,
    body: Bytes,
) -> Response {
    let request: Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            let text = format!("the request was not understood: {error}: is that node's version another?");
            return problem::of(&Failure::bad_input(text));
        }
    };
    if passed == Passed::ToSubmit && !request.submits() {
        return problem::of(&Failure::refused(SUBMITS_ONLY));
    }
    if let Some(why) = request.only_here() {
        return problem::of(&Failure::refused(format!("{why}: ask on the host itself")));
    }
    match stream(&shared, request, None, as_line) {
        Ok(outgoing) => {
            let mut response = Body::from_stream(outgoing).into_response();
            let kind = HeaderValue::from_static("application/x-ndjson");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(busy) => problem::of(&busy),
    }
}
