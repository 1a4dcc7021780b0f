//! The way through HTTP: the notification as JSON, signed as GitHub signs its own.
//!
//! `X-Hub-Signature-256` is `sha256=` and the HMAC-SHA256 of the body under the secret; the body holds the delivery's id and its time,
//! so that a receiver that keeps the ids it has seen cannot be told the same twice by somebody else.
//!
//! Invariants: the address and the secret are in no message; no redirect is followed; nothing of an answer but its status and its
//! beginning is read.

use std::io::Read;
use std::time::Duration;

use ureq::{Agent, Proxy};
use wfengine_api::Failure;
use wfengine_github::{Secret, webhook};

use super::delivery::Outcome;
use super::{Notification, Wanted};
use crate::clock::Clock;

/// Bytes of the file with the secret.
const SECRET_BYTES_MAX: u64 = 4_096;
/// A secret shorter than this is guessed.
const SECRET_BYTES_MIN: usize = 16;
/// Bytes of an answer that are shown.
const ANSWER_BYTES_MAX: u64 = 300;

/// Where to post to, and what signs.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    url: Secret,
    secret: Secret,
    agent: Agent,
}

impl Webhook {
    /// Fails if the secret cannot be read.
    pub(super) fn of(wanted: &Wanted) -> Result<Option<Self>, Failure> {
        if wanted.webhook.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self::new(&wanted.webhook, secret(wanted)?, wanted.timeout)))
    }

    fn new(url: &str, secret: Secret, timeout: Duration) -> Self {
        // what goes by no TLS stays on this host, whatever the environment says of proxies
        let proxy = if url.starts_with("https:") { Proxy::try_from_env() } else { None };
        let config = Agent::config_builder()
            .proxy(proxy)
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("wfengine/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { url: Secret::new(url), secret, agent: config.into() }
    }

    /// Posts it once.
    pub(super) async fn post(&self, notification: &Notification) -> Outcome {
        let (this, notification) = (self.clone(), notification.clone());
        let clock = Clock::start();
        let posted = tokio::task::spawn_blocking(move || this.post_now(&notification)).await;
        let (status, says) = match posted {
            Ok(Ok((status, said))) if said.is_empty() => (Some(status), format!("HTTP status {status}")),
            Ok(Ok((status, said))) => (Some(status), format!("HTTP status {status}: {said}")),
            Ok(Err(says)) => (None, says),
            Err(error) => (None, format!("BUG: posting broke off: {error}")),
        };
        Outcome {
            is_ok: status.is_some_and(|status| (200..300).contains(&status)),
            may_retry: status.is_none_or(|status| matches!(status, 408 | 425 | 429) || status >= 500),
            status: status.map(i32::from),
            says,
            took_ms: clock.monotonic().0,
        }
    }

    fn post_now(&self, notification: &Notification) -> Result<(u16, String), String> {
        let body = serde_json::to_vec(notification).map_err(|error| error.to_string())?;
        let sent = self
            .agent
            .post(self.url.expose())
            .header("content-type", "application/json")
            .header("x-wfengine-event", &notification.event)
            .header("x-wfengine-delivery", &notification.id)
            .header("x-wfengine-timestamp", (notification.time_ms / 1_000).to_string())
            .header("x-hub-signature-256", webhook::sign(&self.secret, &body))
            .send(&body[..]);
        let mut response = sent.map_err(|error| told(&error))?;
        let mut said = Vec::new();
        let _ = response.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut said);
        Ok((response.status().as_u16(), String::from_utf8_lossy(&said).trim().to_owned()))
    }
}

/// What went wrong, in words that do not repeat the address.
fn told(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "its host is not known".to_owned(),
        ureq::Error::ConnectionFailed => "nobody takes the connection".to_owned(),
        ureq::Error::Io(error) => format!("the connection failed: {error}"),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
            "TLS failed: its certificate is not trusted, or it speaks none".to_owned()
        }
        _ => "it does not answer as HTTP".to_owned(),
    }
}

fn secret(wanted: &Wanted) -> Result<Secret, Failure> {
    let path = &wanted.secret_file;
    let wrong = |what: String| Failure::bad_input(format!("notify.secret_file {}: {what}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| wrong(error.to_string()))?;
    let text = text.trim();
    if text.len() < SECRET_BYTES_MIN {
        return Err(wrong(format!(
            "a secret of at least {SECRET_BYTES_MIN} bytes is needed: `openssl rand -hex 32`"
        )));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::super::Named;
    use super::*;

    #[tokio::test]
    async fn nobody_there_is_said_without_the_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{free}/hooks/opensesame");
        let hook = Webhook::new(&url, Secret::new("0123456789abcdef"), Duration::from_secs(5));
        let notification =
            Notification::new("test", Named::default(), String::new(), String::new(), 0).unwrap();
        let told = hook.post(&notification).await;
        assert!(!told.is_ok && told.may_retry && told.status.is_none(), "{told:?}");
        assert!(!told.says.contains("opensesame") && !format!("{hook:?}").contains("opensesame"), "{told:?}");
    }
}
