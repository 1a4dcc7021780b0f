//! `--watch`: a list that is shown anew whenever it has changed.
//!
//! What makes it look again is the node's word that its log has grown; what no event tells of (who is connected, which containers
//! run) is looked at every [`LOOK`]. Between two questions lies [`REFRESH`] at least. It never holds the data directory: where no node
//! serves it shows how things are and waits for one, and likewise when the node goes.

use std::cell::RefCell;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use wfengine_api::answers::Changed;
use wfengine_api::{Exit, Failure, Request};

use super::Globals;
use super::interrupt::Interrupts;
use crate::door::Door;
use crate::terminal::{self, Look, Page, Screen};

/// Between two looks at what no event tells of.
const LOOK: Duration = Duration::from_secs(2);
/// Between two questions at least.
const REFRESH: Duration = Duration::from_millis(250);
/// Between two looks for a node.
const ABSENT: Duration = Duration::from_millis(500);

const HOW_TO_END: &str = "Ctrl-C ends it";
const NO_NODE: &str = "no node answers: this is how it was at the last look, and goes on when one does";

/// What changes a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// Events alone.
    Events,
    /// Events, and what no event tells of.
    EventsAndTime,
}

/// Shows the answer to a question until it is told to stop.
pub(super) async fn watch<T: Serialize + DeserializeOwned>(
    globals: &Globals,
    cause: Cause,
    request: impl Fn() -> Request,
    page: impl Fn(&T) -> Page,
) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::listen()?;
    let mut resized = signal(SignalKind::window_change())
        .map_err(|error| Failure::new(Exit::Failure, format!("signals cannot be heard: {error}")))?;
    let board = RefCell::new(Board::new(globals.json));
    let show = |answer: &T| board.borrow_mut().show(answer, &page);
    let absent = || board.borrow_mut().remark(NO_NODE);
    let shown = go_on(globals, cause, &request, &show, &absent);
    tokio::pin!(shown);
    loop {
        tokio::select! {
            failure = &mut shown => return Err(failure),
            _ = interrupts.next() => return Ok(Exit::Success),
            _ = resized.recv() => board.borrow_mut().redraw(),
        }
    }
}

/// Asks one node after the other. Ends with what cannot get better by waiting.
async fn go_on<T: DeserializeOwned>(
    globals: &Globals,
    cause: Cause,
    request: &impl Fn() -> Request,
    show: &impl Fn(&T),
    absent: &impl Fn(),
) -> Failure {
    let mut was_answered = false;
    loop {
        let ended = match Door::of_node(globals).await {
            Ok(Some(door)) => follow(&door, cause, request, &mut was_answered, show).await,
            // the log of this host is looked at once, as every command does
            Ok(None) if !was_answered => match super::call(globals, request()).await {
                Ok(answer) => {
                    was_answered = true;
                    show(&answer);
                    continue;
                }
                Err(failure) => failure,
            },
            Ok(None) => Failure::unreachable(NO_NODE),
            Err(failure) => return failure,
        };
        let may_come_back = ended.exit == Exit::Unreachable && (was_answered || globals.node.is_none());
        if !may_come_back {
            return ended;
        }
        absent();
        tokio::time::sleep(ABSENT).await;
    }
}

/// Asks one node as often as something may have changed, until it is gone.
async fn follow<T: DeserializeOwned>(
    door: &Door,
    cause: Cause,
    request: &impl Fn() -> Request,
    was_answered: &mut bool,
    show: &impl Fn(&T),
) -> Failure {
    let changed = Notify::new();
    // the node speaks as soon as it listens: nothing falls between the first answer and the first change
    let told = door.stream::<Changed, ()>(Request::Changes, |_| changed.notify_one());
    let shown = async {
        let mut clock = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = changed.notified() => {}
                _ = clock.tick(), if cause == Cause::EventsAndTime => {}
            }
            match door.call(request()).await {
                Ok(answer) => {
                    *was_answered = true;
                    show(&answer);
                }
                Err(failure) => return failure,
            }
            tokio::time::sleep(REFRESH).await;
        }
    };
    tokio::select! {
        told = told => told.err().unwrap_or_else(|| Failure::unreachable("the node tells nothing more")),
        failure = shown => failure,
    }
}

/// Where the list is shown.
enum Board {
    /// A document a line, or one table after the other: what was printed last, and whether it was remarked on since.
    Stream { json: bool, last: Option<String>, remarked: bool },
    /// One in place of the other.
    Screen { screen: Screen, page: Page, remark: &'static str },
}

impl Board {
    fn new(json: bool) -> Self {
        match Some(()).filter(|()| !json).and_then(|()| Screen::take()) {
            Some(screen) => Self::Screen { screen, page: Page::default(), remark: HOW_TO_END },
            None => Self::Stream { json, last: None, remarked: false },
        }
    }

    /// Shows an answer, if it is another than the last.
    fn show<T: Serialize>(&mut self, answer: &T, page: impl Fn(&T) -> Page) {
        match self {
            Self::Stream { json, last, remarked } => {
                *remarked = false;
                let page = page(answer);
                let text = if *json {
                    serde_json::to_string(answer).unwrap_or_default()
                } else {
                    page.lines(Look::default()).join("\n")
                };
                match last.replace(text.clone()) {
                    Some(last) if last == text => {}
                    _ if *json => terminal::json(answer),
                    Some(_) => {
                        terminal::line("");
                        terminal::show(&page);
                    }
                    None => terminal::show(&page),
                }
            }
            Self::Screen { page: shown, remark, .. } => {
                *shown = page(answer);
                *remark = HOW_TO_END;
                self.redraw();
            }
        }
    }

    /// Says why nothing changes.
    fn remark(&mut self, text: &'static str) {
        match self {
            Self::Stream { remarked, .. } => {
                if !std::mem::replace(remarked, true) {
                    terminal::note(text);
                }
            }
            Self::Screen { remark, .. } => {
                *remark = text;
                self.redraw();
            }
        }
    }

    fn redraw(&mut self) {
        if let Self::Screen { screen, page, remark } = self {
            screen.draw(page, remark);
        }
    }
}
