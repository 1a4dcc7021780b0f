//! What the autoscaler says as it goes: the lines that a node in the foreground prints and one in the background leaves in its log.
//!
//! Nobody has to listen, and whoever is too slow misses lines; what matters is in the log of events. No line carries a secret.

use tokio::sync::broadcast;

/// Lines that wait for a slow listener.
const LINES_WAITING_MAX: usize = 1_024;

/// A line, and whether it is for those who asked for more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Shown with `--verbose` only.
    pub(crate) is_detail: bool,
}

/// Where they are said. Clones say to the same listeners.
#[derive(Clone, Debug)]
pub(crate) struct Lines(broadcast::Sender<Line>);

impl Default for Lines {
    fn default() -> Self {
        Self(broadcast::Sender::new(LINES_WAITING_MAX))
    }
}

impl Lines {
    /// Says what changed.
    pub(crate) fn say(&self, text: impl Into<String>) {
        self.send(text.into(), false);
    }

    /// Says what only those want to know who asked for more.
    pub(crate) fn detail(&self, text: impl Into<String>) {
        self.send(text.into(), true);
    }

    fn send(&self, text: String, is_detail: bool) {
        if is_detail {
            tracing::trace!("{text}");
        } else {
            tracing::debug!("{text}");
        }
        // nobody may be listening
        let _ = self.0.send(Line { text, is_detail });
    }

    /// Listens from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Line> {
        self.0.subscribe()
    }
}

/// Hands lines to `print` as they come, until nobody can say more.
pub(crate) async fn follow(mut lines: broadcast::Receiver<Line>, verbose: bool, print: impl Fn(&str)) {
    loop {
        match lines.recv().await {
            Ok(line) if line.is_detail && !verbose => {}
            Ok(line) => print(&line.text),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                print(&format!("({missed} lines were not shown)"))
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    async fn heard(verbose: bool) -> Vec<String> {
        let lines = Lines::default();
        let listening = lines.listen();
        lines.say("At capacity: 3/3");
        lines.detail("octo/ci: 2 queued");
        drop(lines);
        let heard = Mutex::new(Vec::new());
        follow(listening, verbose, |text| heard.lock().unwrap().push(text.to_owned())).await;
        heard.into_inner().unwrap()
    }

    #[tokio::test]
    async fn details_are_for_those_who_ask() {
        assert_eq!(heard(false).await, ["At capacity: 3/3"]);
        assert_eq!(heard(true).await, ["At capacity: 3/3", "octo/ci: 2 queued"]);
    }
}
