//! Doors of a node for programs: one set of requests and answers, and the ways in which they are asked and given.
//!
//! A door holds no state. It turns what comes in into a [`Request`], asks a [`Handlers`], and turns the answer into what its clients
//! expect. Whoever wires a node together implements [`Handlers`]; every door then says the same, and a mistake gets the same error at
//! each of them.
//!
//! Not here: what a request does (whoever implements [`Handlers`]), and the command line.

pub mod answers;
mod failure;
mod handlers;
pub mod http;
pub mod mcp;
mod request;
pub mod tools;

pub use failure::{Exit, Failure, Matter};
pub use handlers::{Asked, Handlers, Items};
pub use request::{Environment, GitFacts, GithubWishes, HeldBy, Listing, Request, Settings, Wishes};
