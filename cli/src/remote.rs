//! The way to a node on another host: its HTTP door's tunnel for commands.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};
use wfengine_api::{Exit, Failure, Matter, Request};

/// How long it may take until a node says anything.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// A node that works on an answer gives a sign of life every 15 s; one that gives none for so long is gone.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// Bytes of one line of an answer.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of an error.
const PROBLEM_BYTES_MAX: u64 = 1024 * 1024;
/// Items on their way to a slow reader.
const ITEMS_WAITING_MAX: usize = 256;

/// A node elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    url: String,
    token: String,
    agent: Agent,
}

/// One line of an answer.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Item(serde_json::Value),
    Done(serde_json::Value),
    Failed(Failure),
}

/// What a node says when it does not take a request.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    candidates: Vec<String>,
}

impl Remote {
    /// A node at `http://HOST:PORT` or `https://HOST[:PORT]`, and the token that opens it.
    pub(crate) fn new(url: &str, token: Option<String>) -> Result<Self, Failure> {
        let wrong =
            || Failure::bad_input(format!("--node {url}: expected an address such as http://127.0.0.1:8080"));
        let url = url.trim_end_matches('/');
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).ok_or_else(wrong)?;
        if rest.is_empty() || rest.contains(['/', '@', ' ', '?', '#']) {
            return Err(wrong());
        }
        let host =
            rest.rsplit_once(':').map_or(rest, |(host, port)| if port.contains(']') { rest } else { host });
        let is_here = host.eq_ignore_ascii_case("localhost")
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if url.starts_with("http://") && !is_here {
            return Err(Failure::refused(format!(
                "--node {url}: others on the network would read the token on its way; use https, or a tunnel to this host such as `ssh -L 8080:127.0.0.1:8080 {host}`"
            )));
        }
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| {
            Failure::bad_input(format!(
                "--node {url}: its token is needed, with --token or WFENGINE_TOKEN; it is in the file that `wfengine status` names there"
            ))
        })?;
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::bad_input("--token: expected what the file http-token of the node holds"));
        }
        let mut tls = TlsConfig::builder();
        if let Some(file) = std::env::var_os("WFENGINE_CA_FILE").filter(|file| !file.is_empty()) {
            let file = std::path::PathBuf::from(file);
            let pem = std::fs::read(&file).map_err(|error| Failure::io("read", &file, &error))?;
            let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
        }
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT_WAIT))
            .timeout_per_read(Some(SILENT_MAX))
            .http_status_as_error(false)
            .max_redirects(0)
            // what is in the environment for other programs is no way for this token
            .proxy(None)
            .tls_config(tls.build())
            .build();
        Ok(Self { url: url.to_owned(), token, agent: config.into() })
    }

    /// Asks, hands every item on as it comes, and waits for the answer.
    pub(crate) async fn ask(
        &self,
        request: &Request,
        mut each: impl FnMut(serde_json::Value),
    ) -> Result<serde_json::Value, Failure> {
        let body = serde_json::to_string(request)
            .map_err(|error| Failure::bad_input(format!("the request is no JSON: {error}")))?;
        let (signs, mut incoming) = mpsc::channel(ITEMS_WAITING_MAX);
        let remote = self.clone();
        let mut work = tokio::task::spawn_blocking(move || remote.converse(&body, &signs));
        let answer = loop {
            tokio::select! {
                biased;
                Some(sign) = incoming.recv() => if let Some(item) = sign {
                    each(item);
                },
                answer = &mut work => break answer,
                () = tokio::time::sleep(SILENT_MAX) => {
                    return Err(self.fell_silent(&format!("said nothing for {} s", SILENT_MAX.as_secs())));
                }
            }
        };
        while let Ok(sign) = incoming.try_recv() {
            if let Some(item) = sign {
                each(item);
            }
        }
        answer.map_err(|error| {
            Failure::new(Exit::Failure, format!("BUG: asking {} broke off: {error}", self.url))
        })?
    }

    fn broken(&self, why: impl std::fmt::Display) -> Failure {
        Failure::unreachable(format!(
            "the node at {} does not answer: {why}; is it running (`wfengine serve`), and is this its HTTP address?",
            self.url
        ))
    }

    fn fell_silent(&self, how: &str) -> Failure {
        Failure::unreachable(format!(
            "the node at {} {how}, and what was asked for may be done all the same: look with `wfengine list` before asking again",
            self.url
        ))
    }

    /// Asks; what comes before the answer goes to `signs`, signs of life as nothing.
    fn converse(
        &self,
        body: &str,
        signs: &mpsc::Sender<Option<serde_json::Value>>,
    ) -> Result<serde_json::Value, Failure> {
        let sent = self
            .agent
            .post(format!("{}/api/v1/control", self.url))
            .header("authorization", format!("Bearer {}", self.token))
            .content_type("application/json")
            .send(body);
        let mut response = sent.map_err(|error| self.broken(error))?;
        let status = response.status().as_u16();
        let mut lines = BufReader::new(response.body_mut().as_reader());
        if status != 200 {
            let mut text = String::new();
            let _ = lines.take(PROBLEM_BYTES_MAX).read_to_string(&mut text);
            return Err(self.refused(status, &text));
        }
        loop {
            let mut line = Vec::new();
            let read = (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if read.map_err(|error| self.broken(error))? == 0 {
                return Err(self.fell_silent("stopped before it answered"));
            }
            if line.trim_ascii().is_empty() {
                // whoever asked may have left meanwhile, and takes up no room at the node then
                if signs.blocking_send(None).is_err() {
                    return Err(left());
                }
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(Line::Item(item)) => {
                    if signs.blocking_send(Some(item)).is_err() {
                        return Err(left());
                    }
                }
                Ok(Line::Done(answer)) => return Ok(answer),
                Ok(Line::Failed(failure)) => return Err(failure),
                Err(error) => return Err(self.broken(format!("its answer was not understood: {error}"))),
            }
        }
    }

    fn refused(&self, status: u16, text: &str) -> Failure {
        let Ok(problem) = serde_json::from_str::<Problem>(text) else {
            return self.broken(format!("HTTP status {status}, and no word of a node's"));
        };
        let detail = format!("{}: {}", self.url, problem.detail);
        let mut failure = match (status, problem.kind.as_str()) {
            (404, _) => Failure::unknown(detail),
            (409, _) => Failure::conflict(detail),
            (429, _) => Failure::busy(detail),
            (400 | 413, _) => Failure::bad_input(detail),
            (401 | 403 | 421, _) => Failure::refused(detail),
            _ => Failure { matter: Matter::Plain, ..Failure::unreachable(detail) },
        };
        failure.candidates = problem.candidates;
        failure
    }
}

fn left() -> Failure {
    Failure::unreachable("whoever asked has left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_a_node_and_nothing_else() {
        let token = || Some("abc".to_owned());
        for good in ["http://127.0.0.1:8080", "https://node.example/", "http://[::1]:8080"] {
            assert!(Remote::new(good, token()).is_ok(), "{good}");
        }
        for wrong in ["", "127.0.0.1:8080", "ftp://x", "http://", "http://x/y", "http://u:p@x", "http://x?y"]
        {
            assert!(Remote::new(wrong, token()).unwrap_err().message.contains("--node"), "{wrong}");
        }
        assert!(Remote::new("http://lab-3.local:8080", token()).unwrap_err().message.contains("https"));
        assert!(Remote::new("http://localhost", None).unwrap_err().message.contains("WFENGINE_TOKEN"));
        assert!(
            Remote::new("http://localhost", Some("a b\r\n".to_owned()))
                .unwrap_err()
                .message
                .contains("--token")
        );
    }
}
