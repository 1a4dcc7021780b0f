//! The client against a server on this host that answers as badly as a test likes, in virtual time.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the harness is test code too")]

mod app;
mod changes;
mod fake;
mod faults;
mod graphql;
mod limits;
mod owners;
mod pages;
mod runners;
mod tunnel;
mod webhooks;
