//! The way through a program of the operator's: the notification as JSON on its standard input.
//!
//! No shell is between: what others wrote (names, reasons) is in the JSON and in no argument. The program gets a small environment of
//! its own, without the node's tokens.
//!
//! Invariant: at its timeout the program is killed with everything it started in its process group.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::delivery::Outcome;
use super::{Notification, Wanted};
use crate::clock::Clock;

/// Bytes that are kept of what it prints.
const PRINTED_BYTES_MAX: u64 = 2_048;
/// Variables that it gets as the node has them.
const VARIABLES: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// A program with its arguments.
#[derive(Clone, Debug)]
pub(super) struct Program {
    words: Vec<String>,
    timeout: Duration,
}

impl Program {
    pub(super) fn of(wanted: &Wanted) -> Option<Self> {
        (!wanted.command.is_empty()).then(|| Self { words: wanted.command.clone(), timeout: wanted.timeout })
    }

    /// Runs it once.
    pub(super) async fn run(&self, notification: &Notification) -> Outcome {
        let clock = Clock::start();
        let outcome = |is_ok, may_retry, status, says| Outcome {
            is_ok,
            may_retry,
            status,
            says,
            took_ms: clock.monotonic().0,
        };
        let mut child = match self.command(notification).spawn() {
            Ok(child) => child,
            Err(error) => {
                let program = self.words.first().map(String::as_str).unwrap_or_default();
                return outcome(false, false, None, format!("{program} does not start: {error}"));
            }
        };
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        let body = serde_json::to_vec(notification).unwrap_or_default();
        let ended = tokio::time::timeout(self.timeout, converse(&mut child, &mut group, &body)).await;
        drop(group);
        match ended {
            Ok((Ok(status), printed)) => {
                let says = match status.code() {
                    Some(code) => format!("exit status {code}"),
                    None => "ended by a signal".to_owned(),
                };
                let says = if printed.is_empty() { says } else { format!("{says}: {printed}") };
                outcome(status.success(), true, status.code(), says)
            }
            Ok((Err(error), _)) => outcome(false, true, None, format!("its end is not known: {error}")),
            Err(_) => {
                let _ = child.wait().await;
                outcome(
                    false,
                    true,
                    None,
                    format!("killed after {} ms: it took too long", self.timeout.as_millis()),
                )
            }
        }
    }

    fn command(&self, notification: &Notification) -> Command {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().map(String::as_str).unwrap_or_default());
        command.args(words).env_clear();
        command.envs(VARIABLES.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("WFENGINE_EVENT", &notification.event).env("WFENGINE_DELIVERY", &notification.id);
        if let Some(run) = &notification.run {
            command.env("WFENGINE_RUN_ID", &run.id).env("WFENGINE_RUN_STATUS", &run.status);
        }
        command.current_dir("/").process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// The processes that a program started, and itself: whatever is left of them ends with it, also where nobody waits any more.
struct Group(Option<Pid>);

impl Group {
    fn end(&mut self) {
        if let Some(group) = self.0.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tells it, listens to it, and waits for its end.
async fn converse(
    child: &mut Child,
    group: &mut Group,
    body: &[u8],
) -> (std::io::Result<std::process::ExitStatus>, String) {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let tell = async {
        if let Some(mut stdin) = stdin {
            // one that does not read is free not to
            let _ = stdin.write_all(body).await;
        }
    };
    let end = async {
        let status = child.wait().await;
        // what it left behind may hold its output open
        group.end();
        status
    };
    let ((), out, err, status) = tokio::join!(tell, beginning(stdout), beginning(stderr), end);
    let printed = format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    (status, printed.trim().to_owned())
}

/// The beginning of what is printed; the rest is read and forgotten, so that nothing waits for a reader.
async fn beginning(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = (&mut pipe).take(PRINTED_BYTES_MAX).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::Named;
    use super::*;

    fn program(script: &str, timeout: Duration) -> Program {
        let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Program { words, timeout }
    }

    fn notification() -> Notification {
        let text = "$(touch /tmp/never) `id`".to_owned();
        Notification::new("run.failed", Named::default(), String::new(), text, 0).unwrap()
    }

    #[tokio::test]
    async fn a_program_reads_the_notification_and_its_end_is_told() {
        let patient = Duration::from_secs(30);
        let told = program("cat; echo $WFENGINE_EVENT; exit 3", patient).run(&notification()).await;
        assert_eq!((told.is_ok, told.status), (false, Some(3)));
        assert!(
            told.says.contains("$(touch /tmp/never) `id`") && told.says.ends_with("run.failed"),
            "{told:?}"
        );
        // one that reads nothing, and prints more than is kept
        let loud = program("exec <&-; yes | head -c 200000", patient).run(&notification()).await;
        assert!(loud.is_ok && loud.says.len() < 3_000, "{loud:?}");
        let secret = program("test -z \"$GITHUB_TOKEN$WFENGINE_TOKEN\"", patient).run(&notification()).await;
        assert!(secret.is_ok);
        let none = Program { words: vec!["/nowhere/at/all".to_owned()], timeout: patient };
        let none = none.run(&notification()).await;
        assert!(!none.is_ok && !none.may_retry && none.says.contains("does not start"), "{none:?}");
    }

    #[tokio::test]
    async fn a_program_that_goes_on_is_killed_with_its_children() {
        let told = program("sleep 600 & sleep 600", Duration::from_millis(200)).run(&notification()).await;
        assert!(!told.is_ok && told.may_retry && told.says.contains("killed"), "{told:?}");
        assert!(told.took_ms < 60_000, "{told:?}");
    }
}
