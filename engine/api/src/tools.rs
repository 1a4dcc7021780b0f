//! Tools: what programs call by name, with one JSON object in and one out.
//!
//! Every door that speaks of tools takes them from here, so that a tool has one description, one pair of schemas and one behaviour.
//! Three older programs gave 32 of them their names, parameters and fields; each speaks its own dialect of priorities, tags and clocks,
//! which stays in its module. A tool holds no state: it asks a [`Handlers`] and shapes the answer.
//!
//! Invariants: what a tool takes and gives is closed (no field that its schema does not name), and nothing says `success` that did not
//! happen.

mod coordinator;
mod runners;
mod runs;
mod scheduler;
mod schema;
mod shared;
mod tasks;
mod workflows;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::failure::{Exit, Failure};
use crate::handlers::Handlers;
use crate::request::Request;

/// A JSON object.
pub type Object = serde_json::Map<String, Value>;

/// What calling a tool may do, for clients that ask people before they call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing: it reads.
    Reads,
    /// Adds or changes something; doing it twice does more than doing it once.
    Adds,
    /// Adds or changes something; the same arguments again change nothing more.
    Sets,
    /// Ends or removes something.
    Ends,
}

/// How far a long call is: a text at a time, for people.
pub type Progress = mpsc::UnboundedSender<String>;

/// Where a tool that reads files may look for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Files {
    /// Paths are of the caller's own host: it started this process.
    Own,
    /// The caller may be anywhere: only what it sends counts.
    Sent,
}

/// A call's surroundings.
#[derive(Clone)]
pub struct Context {
    /// Who answers.
    pub handlers: Arc<dyn Handlers>,
    /// Where a long call tells how far it is; `None`: nobody listens.
    pub progress: Option<Progress>,
    /// Whose files a path names.
    pub files: Files,
    /// Who asks, as runs show it.
    pub actor: String,
}

impl Context {
    pub(crate) async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Failure> {
        self.handlers.ask(request).await
    }

    /// Asks, and hands every item on.
    pub(crate) async fn stream<I: DeserializeOwned, T: DeserializeOwned>(
        &self,
        request: Request,
        mut each: impl FnMut(I) -> Flow,
    ) -> Result<Option<T>, Failure> {
        let (items, mut incoming) = mpsc::channel(256);
        let mut work = self.handlers.handle(request, items);
        let answer = loop {
            tokio::select! {
                biased;
                Some(item) = incoming.recv() => {
                    let flow = serde_json::from_value(item).map_or(Flow::GoesOn, &mut each);
                    if flow == Flow::Ends {
                        return Ok(None);
                    }
                }
                answer = &mut work => break answer?,
            }
        };
        while let Ok(item) = incoming.try_recv() {
            if serde_json::from_value(item).map_or(Flow::GoesOn, &mut each) == Flow::Ends {
                return Ok(None);
            }
        }
        serde_json::from_value(answer).map(Some).map_err(not_understood)
    }

    pub(crate) fn now_s(&self) -> f64 {
        self.handlers.now_ms() as f64 / 1_000.0
    }
}

/// Whether more items are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    GoesOn,
    Ends,
}

fn not_understood(error: serde_json::Error) -> Failure {
    Failure::new(Exit::Failure, format!("BUG: the answer was not understood: {error}"))
}

type Called = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send>>;
type Call = Box<dyn Fn(Context, Value) -> Called + Send + Sync>;

/// A tool.
pub struct Tool {
    /// What it is called by.
    pub name: &'static str,
    /// What it does, for people and for programs that choose.
    pub description: &'static str,
    /// What calling it may do.
    pub effect: Effect,
    /// Whether it asks GitHub, a registry, or other hosts.
    pub is_open_world: bool,
    /// Whether it waits for something to happen, however long that takes.
    pub waits: bool,
    /// JSON Schema 2020-12 of its arguments.
    pub input: Arc<Object>,
    /// JSON Schema 2020-12 of its result.
    pub output: Arc<Object>,
    call: Call,
}

impl std::fmt::Debug for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tool").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tool {
    /// Calls it.
    ///
    /// # Errors
    /// Arguments that its schema does not allow, and whatever the node says.
    pub async fn call(&self, context: Context, arguments: Object) -> Result<Value, Failure> {
        (self.call)(context, Value::Object(arguments)).await
    }

    const fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    const fn open_world(mut self) -> Self {
        self.is_open_world = true;
        self
    }
}

fn tool<I, O, F>(
    name: &'static str,
    effect: Effect,
    description: &'static str,
    call: fn(Context, I) -> F,
) -> Tool
where
    I: DeserializeOwned + JsonSchema + Send + 'static,
    O: Serialize + JsonSchema,
    F: Future<Output = Result<O, Failure>> + Send + 'static,
{
    let (input, output) = (Arc::new(schema::of::<I>()), Arc::new(schema::of::<O>()));
    let bounds = Arc::clone(&input);
    let call: Call = Box::new(move |context, mut arguments| {
        let bounds = Arc::clone(&bounds);
        Box::pin(async move {
            schema::check(&bounds, &mut arguments)?;
            let arguments = serde_json::from_value(arguments)
                .map_err(|error| Failure::bad_input(format!("arguments of {name}: {error}")))?;
            serde_json::to_value(call(context, arguments).await?).map_err(not_understood)
        })
    });
    Tool { name, description, effect, is_open_world: false, waits: false, input, output, call }
}

/// All tools, by name.
pub fn all() -> &'static [Tool] {
    static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| {
        let mut tools = scheduler::tools();
        tools.extend(workflows::tools());
        tools.extend(coordinator::tools());
        tools.extend(runners::tools());
        tools.extend(runs::tools());
        tools.extend(tasks::tools());
        tools.sort_by_key(|tool| tool.name);
        tools
    });
    &TOOLS
}

/// A tool by its name, or the names that may have been meant.
///
/// # Errors
/// There is no such tool.
pub fn find(name: &str) -> Result<&'static Tool, Failure> {
    if let Some(tool) = all().iter().find(|tool| tool.name == name) {
        return Ok(tool);
    }
    let mut failure = Failure::unknown(format!("there is no tool `{name}`"));
    let wanted = name.to_ascii_lowercase();
    let alike =
        |known: &str| known.bytes().zip(wanted.bytes()).take_while(|(one, other)| one == other).count();
    let mut near: Vec<(usize, &str)> =
        all().iter().map(|tool| (alike(tool.name), tool.name)).filter(|(alike, _)| *alike > 2).collect();
    near.sort_by_key(|(alike, name)| (std::cmp::Reverse(*alike), name.len()));
    failure.candidates = near.into_iter().take(5).map(|(_, name)| name.to_owned()).collect();
    Err(failure)
}
