//! What a node offers: the tools, its runs, logs and history, and two prompts.

use std::sync::Arc;

use rmcp::model::{
    CallToolResult, GetPromptResult, Implementation, Prompt, ReadResourceResult, Reference, Resource,
    ResourceTemplate, Tool as ListedTool, ToolAnnotations,
};

use super::offer::{Answering, Offer};
use super::{prompts, resources};
use crate::failure::Failure;
use crate::handlers::Handlers;
use crate::tools::{self, Context, Effect, Files, Object, Progress, Tool};

/// What clients are told of this server before they call anything.
const INSTRUCTIONS: &str = "A node of a leaderless workflow engine. Runs are workflow files or tasks; which host runs a job follows from hashes, not from a leader. \
Start with node_status and list_runs; why says in a paragraph why a run is where it is; replay gives the signed history. Ids may be shortened to a unique beginning.";

/// A node's own offer.
#[derive(Clone)]
pub struct Own {
    handlers: Arc<dyn Handlers>,
    files: Files,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Own {
    /// What these handlers answer for. `files` says whose files a path names.
    pub fn new(handlers: Arc<dyn Handlers>, files: Files) -> Self {
        Self { handlers, files }
    }

    fn context(&self, progress: Option<Progress>) -> Context {
        Context { handlers: Arc::clone(&self.handlers), progress, files: self.files, actor: "mcp".to_owned() }
    }
}

fn listed(tool: &Tool) -> ListedTool {
    let annotations = ToolAnnotations::new()
        .read_only(tool.effect == Effect::Reads)
        .destructive(tool.effect == Effect::Ends)
        .idempotent(matches!(tool.effect, Effect::Reads | Effect::Sets))
        .open_world(tool.is_open_world);
    ListedTool::new(tool.name, tool.description, Arc::clone(&tool.input))
        .with_raw_output_schema(Arc::clone(&tool.output))
        .with_annotations(annotations)
}

impl Offer for Own {
    fn implementation(&self) -> Implementation {
        Implementation::new("wfengine", env!("CARGO_PKG_VERSION"))
    }

    fn instructions(&self) -> String {
        INSTRUCTIONS.to_owned()
    }

    fn now_ms(&self) -> u64 {
        self.handlers.now_ms()
    }

    fn tools(&self) -> Vec<ListedTool> {
        tools::all().iter().map(listed).collect()
    }

    fn tool(&self, name: &str) -> Option<ListedTool> {
        tools::find(name).ok().map(listed)
    }

    fn waits(&self, name: &str) -> bool {
        tools::find(name).is_ok_and(|tool| tool.waits)
    }

    fn call(
        &self,
        name: &str,
        arguments: Object,
        progress: Option<Progress>,
    ) -> Result<Answering<'_, CallToolResult>, Failure> {
        let tool = tools::find(name)?;
        let work = tool.call(self.context(progress), arguments);
        Ok(Box::pin(async move { Ok(CallToolResult::structured(work.await?)) }))
    }

    fn resources(&self) -> Answering<'_, Vec<Resource>> {
        Box::pin(async move { resources::listed(&self.context(None)).await })
    }

    fn templates(&self) -> Vec<ResourceTemplate> {
        resources::templates()
    }

    fn read<'a>(&'a self, uri: &'a str) -> Answering<'a, ReadResourceResult> {
        Box::pin(async move { resources::read(&self.context(None), uri).await })
    }

    fn prompts(&self) -> Vec<Prompt> {
        prompts::listed()
    }

    fn prompt<'a>(&'a self, name: &'a str, arguments: &'a Object) -> Answering<'a, GetPromptResult> {
        Box::pin(async move { prompts::made(&self.context(None), name, arguments).await })
    }

    fn completions<'a>(
        &'a self,
        of: &'a Reference,
        argument: &'a str,
        begun: &'a str,
    ) -> Answering<'a, Vec<String>> {
        Box::pin(async move {
            let names_run = match of {
                Reference::Prompt(prompt) => prompts::names_run(&prompt.name, argument)?,
                Reference::Resource(template) => resources::names_run(&template.uri, argument)?,
                // a kind that this version does not know
                _ => false,
            };
            if names_run { resources::runs(&self.context(None), begun).await } else { Ok(Vec::new()) }
        })
    }
}
