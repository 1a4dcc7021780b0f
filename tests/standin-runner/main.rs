//! A runner that runs nothing: the stand-in for GitHub's runner program, for images without anything else in them.
//!
//! It takes both contracts, the just-in-time configuration and the environment of the third-party image, gets one job from the
//! stand-in of the service, prints what the original prints and ends with its exit codes. On order it misbehaves: see `deeds`.
//!
//! What it does not do: speak GitHub's private protocol, run steps, handle signals (as process 1 of a container without an
//! init it therefore ignores SIGTERM, and dies of it everywhere else), update itself.
//!
//! Built by `rustc` alone from this folder; it has no dependency but the standard library.
//!
//! ```text
//! rustc --edition 2024 -O -C target-feature=+crt-static -C panic=abort -o standin-runner main.rs
//! standin-runner [--jitconfig BLOB] | sidecar [SOCKET] | idle
//! ```

#![expect(clippy::disallowed_methods, reason = "letting time pass is what this runner does in place of work")]

mod base64;
mod configuration;
mod deeds;
mod http;
mod inspection;
mod json;
mod listener;
mod scan;
mod sidecar;

use std::{env, thread, time::Duration};

/// The original's exit codes.
pub(crate) mod exit {
    pub(crate) const DONE: i32 = 0;
    pub(crate) const TERMINATED: i32 = 1;
    pub(crate) const RETRYABLE: i32 = 2;
    pub(crate) const SESSION_CONFLICT: i32 = 5;
    pub(crate) const DEPRECATED: i32 = 7;
}

fn main() {
    // the original's scripts are other names of this program, and may stand in front
    let is_script =
        |argument: &String| ["run.sh", "Runner.Listener"].iter().any(|name| argument.ends_with(name));
    let arguments: Vec<String> = env::args().skip(1).skip_while(is_script).collect();
    let first = arguments.first().map(String::as_str);
    let code = match (first, arguments.get(1)) {
        (Some("sidecar"), socket) => sidecar::serve(socket.map(String::as_str)),
        (Some("idle"), _) => loop {
            thread::sleep(Duration::from_secs(3_600));
        },
        // what a process made of this file can do at all
        (Some("true"), _) => exit::DONE,
        (Some("--jitconfig"), Some(blob)) => configuration::unpack(blob),
        (Some("--configured"), Some(folder)) => listener::with_files(folder),
        (None | Some("run"), _) => match env::var(configuration::JIT_VARIABLE) {
            Ok(blob) if !blob.is_empty() => configuration::unpack(&blob),
            _ => listener::with_token(),
        },
        (Some(other), _) => {
            eprintln!("{other} is not understood");
            exit::TERMINATED
        }
    };
    std::process::exit(code);
}
