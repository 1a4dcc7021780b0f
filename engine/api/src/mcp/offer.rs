//! What a server offers, as the server sees it: tools, resources, prompts, and who answers for them.
//!
//! The server beside it does what is the same for whatever is offered: the handshake, progress, the end of a call that nobody waits
//! for, errors.

use std::pin::Pin;

use rmcp::model::{
    CallToolResult, GetPromptResult, Implementation, Prompt, ReadResourceResult, Reference, Resource,
    ResourceTemplate, Tool,
};

use crate::failure::Failure;
use crate::tools::{Object, Progress};

/// An answer that is being made.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// What a server offers its clients.
pub trait Offer: Send + Sync + 'static {
    /// Who answers.
    fn implementation(&self) -> Implementation;

    /// What clients are told before they call anything.
    fn instructions(&self) -> String;

    /// Milliseconds since 1970, for what is told of an error.
    fn now_ms(&self) -> u64;

    /// The tools, with the schemas of their arguments and results.
    fn tools(&self) -> Vec<Tool>;

    /// A tool by its name.
    fn tool(&self, name: &str) -> Option<Tool> {
        self.tools().into_iter().find(|tool| tool.name == name)
    }

    /// Whether a call of this tool waits for something to happen, however long that takes.
    fn waits(&self, _name: &str) -> bool {
        false
    }

    /// Begins a call. What fails while it is under way is an answer that the caller reads.
    ///
    /// # Errors
    /// There is no such tool: an error of the protocol.
    fn call(
        &self,
        name: &str,
        arguments: Object,
        progress: Option<Progress>,
    ) -> Result<Answering<'_, CallToolResult>, Failure>;

    /// Documents with addresses that are there now.
    fn resources(&self) -> Answering<'_, Vec<Resource>>;

    /// How addresses of documents are made.
    fn templates(&self) -> Vec<ResourceTemplate>;

    /// A document. An error of the kind `unknown`: there is none at this address.
    fn read<'a>(&'a self, uri: &'a str) -> Answering<'a, ReadResourceResult>;

    /// The prompts, with their arguments.
    fn prompts(&self) -> Vec<Prompt>;

    /// A prompt with its arguments filled in.
    fn prompt<'a>(&'a self, name: &'a str, arguments: &'a Object) -> Answering<'a, GetPromptResult>;

    /// What an argument of a prompt, or a part of an address, may be that begins so; the best first.
    fn completions<'a>(
        &'a self,
        of: &'a Reference,
        argument: &'a str,
        begun: &'a str,
    ) -> Answering<'a, Vec<String>>;
}
