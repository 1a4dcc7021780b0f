//! A careful client of GitHub: limits obeyed to the letter, a cache that knows whose answers it holds, tolerant models, webhooks.
//!
//! [`Client`] is the one door. It sits on octocrab and closes its traps: nothing is sent while a limit was told
//! ([`limiter`]), an answer is kept only after it was read whole and understood ([`cache`]), the token never leaves the
//! configured host, what changes something at GitHub is never repeated blindly, and one odd item does not lose a page
//! ([`models`]). [`webhook`] and [`listener`] take GitHub's own messages as hints.
//!
//! ```no_run
//! use std::sync::Arc;
//! use wfengine_github::{Client, MemoryCache, Scope, Settings, SystemClock, credential, settings::Given};
//!
//! # async fn look() -> Result<(), Box<dyn std::error::Error>> {
//! let env = |name: &str| std::env::var_os(name);
//! let settings = Settings::find(&env, Given::default())?;
//! let credential = credential::find(&env, settings.host(), None)?;
//! let client = Client::new(settings, &credential, Arc::new(SystemClock), Arc::new(MemoryCache::default()), 1)?;
//! for repository in client.repositories(&Scope::Owner("octo-org".to_owned())).await?.items {
//!     let tree = client.tree(&repository.full_name, "HEAD", true).await?;
//!     tracing::info!(name = repository.full_name, files = tree.value.tree.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Deliberately not here: what a workflow means, what is recorded as an event, where a cache lies on disk. The crate names
//! no other crate of the engine.
//!
//! Invariants: no secret is printed by any `Debug` or `Display`; every wait goes through a [`clock::Clock`]; every number that
//! comes from outside is bounded.

pub mod app;
pub mod cache;
pub mod client;
pub mod clock;
pub mod credential;
pub mod dates;
pub mod error;
pub mod graphql;
pub mod limiter;
pub mod listener;
pub mod models;
pub mod rest;
pub mod secret;
pub mod settings;
mod transport;
pub mod webhook;

pub use cache::{AnswerCache, Kept, MemoryCache};
pub use client::{Client, ClientError, Fetched, Listing, Origin, Stats};
pub use clock::{BoxFuture, Clock, SystemClock};
pub use credential::{Credential, CredentialError};
pub use error::{ApiError, Place};
pub use limiter::{Bucket, Budget, Pace};
pub use rest::{JitWanted, RunnerDeleted, RunnerScope, Scope};
pub use secret::Secret;
pub use settings::{Settings, SettingsError};
