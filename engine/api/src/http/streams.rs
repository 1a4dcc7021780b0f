//! Live streams: events of the log and what happens in a run as server-sent events, and the tunnel through which a command on another
//! host asks this node.
//!
//! A stream is written as fast as its client reads. One that reads nothing for a while is sent away, and the log never waits for it.
//! Events carry the place after them as their id, so that a client that lost its connection asks for what it missed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::access::Passed;
use super::{Shared, problem};
use crate::answers::StatusView;
use crate::failure::Failure;
use crate::request::Request;

/// Items on their way to one client.
const ITEMS_WAITING_MAX: usize = 256;
/// A client that takes nothing for so long is gone.
const STALLED: Duration = Duration::from_secs(30);
/// A sign of life on a stream that has nothing to say.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a client is sent.
pub(super) struct Outgoing<T>(pub(super) mpsc::Receiver<T>);

impl<T> Stream for Outgoing<T> {
    type Item = Result<T, Infallible>;
    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(task).map(|item| item.map(Ok))
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
    let permit = shared.room.stream()?;
    let (outgoing, items) = mpsc::channel(ITEMS_WAITING_MAX);
    let handlers = Arc::clone(&shared.handlers);
    tokio::spawn(async move {
        // whoever makes the stream holds its place: a client that stops reading ends it
        let _permit = permit;
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
    Ok(Outgoing(items))
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

/// As [`as_event`], with the place to go on from.
fn as_placed_event(piece: Piece) -> Event {
    let next = match &piece {
        Piece::Item(item) => item.get("next").and_then(Value::as_u64),
        Piece::Done(_) | Piece::Failed(_) => None,
    };
    let event = as_event(piece);
    match next {
        Some(next) => event.id(next.to_string()),
        None => event,
    }
}

fn sse(shared: &Shared, request: Request, last: Option<Request>, shape: fn(Piece) -> Event) -> Response {
    match stream(shared, request, last, shape) {
        Ok(outgoing) => Sse::new(outgoing).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response(),
        Err(busy) => problem::of(&busy),
    }
}

/// Events of the log from now on, or from a place on: `?from=N`, or where a stream broke off: `Last-Event-ID`.
pub(super) async fn events(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
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
    // a browser that comes back sends both
    if let Some(last) = headers.get("last-event-id") {
        match last.to_str().ok().and_then(|last| last.parse().ok()) {
            Some(place) => from = Some(place),
            None => {
                let text = "last-event-id: expected the id of an event of this stream, a place in the log";
                return problem::of(&Failure::bad_input(text));
            }
        }
    }
    // a place that the log has not reached is said with a status, not in a stream
    if let Some(from) = from {
        let status: Result<StatusView, Failure> = shared.handlers.ask(Request::Status).await;
        match status {
            Ok(status) if from > status.frames => {
                return problem::of(&Failure::bad_input(format!(
                    "from={from}: the log has reached {}; begin there or before",
                    status.frames
                )));
            }
            Ok(_) => {}
            Err(failure) => return problem::of(&failure),
        }
    }
    sse(&shared, Request::Follow { from }, None, as_placed_event)
}

/// What happens in a run, until it has ended.
pub(super) async fn run(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    // what is not known is said with a status, not in a stream
    let shown: Result<Value, Failure> = shared.handlers.ask(Request::Show { id: id.clone() }).await;
    match shown {
        Ok(_) => {
            sse(&shared, Request::Logs { id: id.clone(), follow: true }, Some(Request::Show { id }), as_event)
        }
        Err(failure) => problem::of(&failure),
    }
}

/// Lines, and an empty one where none came for a while: whoever waits knows that it is waited for.
struct Alive {
    lines: Outgoing<Bytes>,
    silent: Pin<Box<tokio::time::Sleep>>,
}

impl Stream for Alive {
    type Item = Result<Bytes, Infallible>;
    fn poll_next(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let line = match Pin::new(&mut self.lines).poll_next(task) {
            Poll::Ready(line) => line,
            Poll::Pending => match self.silent.as_mut().poll(task) {
                Poll::Ready(()) => Some(Ok(Bytes::from_static(b"\n"))),
                Poll::Pending => return Poll::Pending,
            },
        };
        self.silent.as_mut().reset(tokio::time::Instant::now() + KEEP_ALIVE);
        Poll::Ready(line)
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

/// As [`as_line`], for whoever only submits.
fn as_receipt(piece: Piece) -> Bytes {
    as_line(match piece {
        Piece::Done(answer) => Piece::Done(Passed::ToSubmit.may_see(answer)),
        other => other,
    })
}

/// A request of a command, and its answer line by line.
pub(super) async fn control(
    State(shared): State<Shared>,
    Extension(passed): Extension<Passed>,
    body: Bytes,
) -> Response {
    let mut request: Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            let text = format!("the request was not understood: {error}: is that node's version another?");
            return problem::of(&Failure::bad_input(text));
        }
    };
    if passed == Passed::ToSubmit
        && let Err(failure) = request.only_submits()
    {
        return problem::of(&failure);
    }
    if let Some(why) = request.only_here() {
        return problem::of(&Failure::refused(format!("{why}: ask on the host itself")));
    }
    let shape = match passed {
        Passed::Whole => as_line,
        Passed::ToSubmit => as_receipt,
    };
    match stream(&shared, request, None, shape) {
        Ok(outgoing) => {
            let lines = Alive { lines: outgoing, silent: Box::pin(tokio::time::sleep(KEEP_ALIVE)) };
            let mut response = Body::from_stream(lines).into_response();
            let kind = HeaderValue::from_static("application/x-ndjson");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(busy) => problem::of(&busy),
    }
}
