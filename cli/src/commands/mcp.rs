//! `mcp`: the Model Context Protocol at standard input and output.
//!
//! Whoever starts it speaks with the node of the data directory, or, where none is running, with the log itself. What is printed is the
//! protocol and nothing else.

use std::sync::Arc;

use wfengine_api::{Exit, Failure, Handlers};

use super::Globals;
use crate::args::McpArgs;
use crate::door::{Door, Others};

pub(super) async fn mcp(globals: &Globals, args: McpArgs) -> Result<Exit, Failure> {
    let McpArgs {} = args;
    let door = Arc::new(Door::open(globals, Others::Served).await?);
    let handlers: Arc<dyn Handlers> = Arc::clone(&door) as _;
    let served = wfengine_api::mcp::serve_stdio(handlers).await;
    super::leave(&door).await?;
    served.map(|()| Exit::Success)
}
