//! A node with an HTTP door, and requests as bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value as Json;

use crate::house::{House, Live};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that serves, and where programs ask it.
pub(crate) struct Served {
    pub(crate) house: House,
    pub(crate) live: Live,
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    pub(crate) token: String,
    pub(crate) submit_token: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem that it tells; its status is the answer's own.
    #[track_caller]
    pub(crate) fn problem(&self) -> Json {
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        problem
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

impl Served {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(options: &[&str]) -> Self {
        let house = House::new();
        let begin = ["serve", "--listen", "127.0.0.1:0", "--no-lan", "--http", "127.0.0.1:0"];
        let mut live = house.begin(&[&begin, options].concat());
        let line = live.wait_for("programs ask at");
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        let address = url.strip_prefix("http://").unwrap().to_owned();
        let secret = |file: &str| std::fs::read_to_string(house.data().join(file)).unwrap();
        let (token, submit_token) = (secret("http-token"), secret("http-submit-token"));
        Self { house, live, address, token, submit_token }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A request as it is written, with what every request needs; the connection ends with it.
    pub(crate) fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let mut stream = self.connect();
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
        answer(stream)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask_with("GET", path, &[("Authorization", &self.bearer())], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Json) -> Answer {
        let headers = [("Authorization", &*self.bearer()), ("Content-Type", "application/json")];
        self.ask_with("POST", path, &headers, &body.to_string())
    }

    /// As the submit-only token.
    pub(crate) fn submitting(&self, method: &str, path: &str, body: &Json) -> Answer {
        let bearer = format!("Bearer {}", self.submit_token);
        let body = if method == "GET" { String::new() } else { body.to_string() };
        self.ask_with(
            method,
            path,
            &[("Authorization", &bearer), ("Content-Type", "application/json")],
            &body,
        )
    }

    /// A stream of server-sent events.
    pub(crate) fn events(&self, path: &str) -> Events {
        self.events_with(path, "")
    }

    /// The same after an event, by its id.
    pub(crate) fn events_after(&self, path: &str, id: &str) -> Events {
        self.events_with(path, &format!("Last-Event-ID: {id}\r\n"))
    }

    fn events_with(&self, path: &str, headers: &str) -> Events {
        let mut stream = self.connect();
        let bearer = self.bearer();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\n{headers}\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let mut status = String::new();
        lines.read_line(&mut status).unwrap();
        assert!(status.contains(" 200 "), "{status}");
        Events { lines }
    }
}

/// What a connection is told until it ends.
pub(crate) fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // a peer that closes with something unread resets the connection; what it said before counts
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Server-sent events as they come.
pub(crate) struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// Ids of events, and what they say.
    pub(crate) fn placed(mut self) -> impl Iterator<Item = (String, String)> {
        let (mut id, mut data) = (String::new(), String::new());
        std::iter::from_fn(move || {
            loop {
                let mut line = String::new();
                if self.lines.read_line(&mut line).unwrap() == 0 {
                    return None;
                }
                if let Some(is) = line.strip_prefix("id: ") {
                    is.trim().clone_into(&mut id);
                } else if let Some(is) = line.strip_prefix("data: ") {
                    is.trim().clone_into(&mut data);
                } else if line.trim().is_empty() && !data.is_empty() {
                    return Some((id.clone(), std::mem::take(&mut data)));
                }
            }
        })
    }
}

impl Iterator for Events {
    type Item = (String, Json);
    fn next(&mut self) -> Option<Self::Item> {
        let mut name = String::new();
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(event) = line.strip_prefix("event: ") {
                event.trim().clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
    }
}
