//! The Model Context Protocol: the tools, with runs, logs and the history as resources, and two prompts.
//!
//! Messages, sessions and transports are rmcp's; here is what they carry. A tool that fails answers with `isError` and a document of
//! the same error that every other door gives, so that whoever called can read it; the protocol's own errors are for calls that no tool
//! could take.

mod prompts;
mod resources;

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, GetPromptRequestParams,
    GetPromptResponse, Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig, Tool as ListedTool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::failure::{Exit, Failure};
use crate::handlers::Handlers;
use crate::http::Place;
use crate::tools::{self, Context, Effect, Files, Tool};

/// What clients are told of this server before they call anything.
const INSTRUCTIONS: &str = "A node of a leaderless workflow engine. Runs are workflow files or tasks; which host runs a job follows from hashes, not from a leader. \
Start with node_status and list_runs; why says in a paragraph why a run is where it is; replay gives the signed history. Ids may be shortened to a unique beginning.";

/// A server for one client.
#[derive(Clone)]
pub struct Server {
    handlers: Arc<dyn Handlers>,
    files: Files,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Server {
    /// A server that asks these handlers. `files` says whose files a path names.
    pub fn new(handlers: Arc<dyn Handlers>, files: Files) -> Self {
        Self { handlers, files }
    }

    fn context(&self, progress: Option<tools::Progress>) -> Context {
        Context { handlers: Arc::clone(&self.handlers), progress, files: self.files, actor: "mcp".to_owned() }
    }
}

/// Serves the one client at standard input and output until it goes.
///
/// # Errors
/// The client does not speak the protocol, or the streams broke off.
pub async fn serve_stdio(handlers: Arc<dyn Handlers>) -> Result<(), Failure> {
    let broken =
        |error: String| Failure::new(Exit::Unreachable, format!("the client at standard input: {error}"));
    let server = Server::new(handlers, Files::Own);
    let running = server.serve(rmcp::transport::stdio()).await.map_err(|error| broken(error.to_string()))?;
    running.waiting().await.map_err(|error| broken(error.to_string()))?;
    Ok(())
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

/// The error document of every door.
fn error_document(failure: &Failure, tool: &str, now_s: f64) -> Value {
    json!({
        "success": false,
        "error": failure.message,
        "kind": failure.word(),
        "candidates": failure.candidates,
        "tool": tool,
        "timestamp": now_s,
    })
}

fn failed(failure: &Failure, tool: &str, now_s: f64) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(error_document(failure, tool, now_s).to_string())])
}

/// An error of the protocol itself.
fn protocol_error(failure: &Failure) -> ErrorData {
    let data = json!({ "kind": failure.word(), "candidates": failure.candidates });
    match failure.exit {
        Exit::BadInput => ErrorData::invalid_params(failure.message.clone(), Some(data)),
        _ => ErrorData::internal_error(failure.message.clone(), Some(data)),
    }
}

/// A call that waits takes no place of those that are answered at once, where this came over HTTP.
fn waits(context: &RequestContext<RoleServer>) -> Result<(), ErrorData> {
    let parts = context.extensions.get::<axum::http::request::Parts>();
    let place = parts.and_then(|parts| parts.extensions.get::<Arc<Place>>());
    place.map_or(Ok(()), |place| place.waits()).map_err(|failure| protocol_error(&failure))
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts().build();
        let implementation = Implementation::new("wfengine", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities).with_server_info(implementation).with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all().iter().map(listed).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = tools::find(&request.name).map_err(|failure| protocol_error(&failure))?;
        if tool.waits {
            waits(&context)?;
        }
        let (told, mut telling) = mpsc::unbounded_channel();
        let progress = context.meta.get_progress_token();
        let arguments = request.arguments.unwrap_or_default();
        let surroundings = self.context(progress.is_some().then_some(told));
        let work = tool.call(surroundings, arguments);
        tokio::pin!(work);
        let mut told_so_far = 0.0;
        let mut tell = async |text: String| {
            if let Some(token) = &progress {
                told_so_far += 1.0;
                let param = ProgressNotificationParam::new(token.clone(), told_so_far).with_message(text);
                // whoever asked may be gone; the answer finds that out
                let _ = context.peer.notify_progress(param).await;
            }
        };
        let outcome = loop {
            tokio::select! {
                biased;
                () = context.ct.cancelled() => {
                    return Err(ErrorData::internal_error("the call was cancelled", None));
                }
                Some(text) = telling.recv() => tell(text).await,
                outcome = &mut work => break outcome,
            }
        };
        // what was told last comes before the answer
        while let Ok(text) = telling.try_recv() {
            tell(text).await;
        }
        let result = match outcome {
            Ok(value) => CallToolResult::structured(value),
            Err(failure) => failed(&failure, tool.name, self.handlers.now_ms() as f64 / 1_000.0),
        };
        Ok(result.into())
    }

    fn get_tool(&self, name: &str) -> Option<ListedTool> {
        tools::find(name).ok().map(listed)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let listed =
            resources::listed(&self.context(None)).await.map_err(|failure| protocol_error(&failure))?;
        Ok(ListResourcesResult::with_all_items(listed))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let read = resources::read(&self.context(None), &request.uri).await;
        let read = read.map_err(|failure| match failure.word() {
            "unknown" => ErrorData::resource_not_found(failure.message.clone(), None),
            _ => protocol_error(&failure),
        })?;
        Ok(read.into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::listed()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let made =
            prompts::made(&self.context(None), &request.name, &request.arguments.unwrap_or_default()).await;
        Ok(made.map_err(|failure| protocol_error(&failure))?.into())
    }
}
