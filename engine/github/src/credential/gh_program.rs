//! Asks the `gh` program for the token it keeps.
//!
//! The program is looked for in `PATH` only, gets no input, and is killed after five seconds. What it says on stderr is not
//! shown: a user who has never logged in with it need not hear of it.

use std::{
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use super::{Environment, FILE_BYTES_MAX};

const LIMIT: Duration = Duration::from_secs(5);

pub(super) enum Outcome {
    Token(String),
    /// No such program, or it has no token for the host.
    None,
    TooSlow,
}

/// The token that `gh auth token` prints for a host.
pub(super) fn token(env: Environment<'_>, host: &str) -> Outcome {
    token_within(env, host, LIMIT)
}

fn token_within(env: Environment<'_>, host: &str, limit: Duration) -> Outcome {
    let Some(program) = program(env) else { return Outcome::None };
    let child = Command::new(program)
        .args(["auth", "token", "--hostname", host])
        .env("GH_PROMPT_DISABLED", "1")
        .env("GH_NO_UPDATE_NOTIFIER", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return Outcome::None };
    let Some(stdout) = child.stdout.take() else { return Outcome::None };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.take(FILE_BYTES_MAX).read_to_string(&mut text);
        // nobody listens any more after the limit
        let _ = sender.send(read.map(|_| text));
    });
    let answer = receiver.recv_timeout(limit);
    // whoever closed its output is about to end; whoever did not is too slow
    if answer.is_err() {
        let _ = child.kill();
    }
    let has_succeeded = child.wait().is_ok_and(|status| status.success());
    match answer {
        Err(_) => Outcome::TooSlow,
        Ok(Ok(text)) if has_succeeded && !text.trim().is_empty() => Outcome::Token(text),
        Ok(_) => Outcome::None,
    }
}

fn program(env: Environment<'_>) -> Option<PathBuf> {
    let path = env("PATH")?;
    let name = if cfg!(windows) { "gh.exe" } else { "gh" };
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::{ffi::OsString, os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    fn gh(folder: &Path, script: &str, limit: Duration) -> Outcome {
        let program = folder.join("gh");
        // written under another name first: a file that is open for writing cannot be run
        let draft = folder.join("draft");
        std::fs::write(&draft, format!("#!/bin/sh\n{script}\n")).expect("a script");
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        std::fs::rename(&draft, &program).expect("a name");
        let path = OsString::from(folder);
        token_within(&|name| (name == "PATH").then(|| path.clone()), "git.test", limit)
    }

    #[test]
    fn the_token_of_the_host_is_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "[ \"$*\" = 'auth token --hostname git.test' ] && echo gho_1";
        assert!(matches!(gh(folder.path(), script, LIMIT), Outcome::Token(text) if text.trim() == "gho_1"));
        assert!(matches!(gh(folder.path(), "echo none >&2; exit 1", LIMIT), Outcome::None));
        assert!(matches!(gh(folder.path(), "echo gho_1; exit 1", LIMIT), Outcome::None));
        assert!(matches!(token(&|_| None, "git.test"), Outcome::None));
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(gh(folder.path(), "exec sleep 60", Duration::from_millis(100)), Outcome::TooSlow));
    }
}
