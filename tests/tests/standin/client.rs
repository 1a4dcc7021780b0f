//! A client that sends exactly what it is told and hides nothing of what comes back.

use std::{collections::BTreeMap, io};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wfengine_tests::standin::Standin;

/// Sends requests to one stand-in.
#[derive(Clone)]
pub(crate) struct Client {
    host: String,
    headers: BTreeMap<String, String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// The body ended before its length.
    pub(crate) is_cut: bool,
}

impl Client {
    pub(crate) fn new(standin: &Standin) -> Self {
        Self::at(&standin.base_url())
    }

    pub(crate) fn at(url: &str) -> Self {
        let host = url.trim_start_matches("http://").to_owned();
        let client = Self { host, headers: BTreeMap::new() };
        client.with("user-agent", "standin-test").with("accept", "application/vnd.github+json")
    }

    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.insert(name.to_owned(), value.to_owned());
        client
    }

    pub(crate) fn without(&self, name: &str) -> Self {
        let mut client = self.clone();
        client.headers.remove(name);
        client
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    pub(crate) async fn read(&self, path: &str) -> Reply {
        self.send("GET", path, None).await.expect("an answer")
    }

    pub(crate) async fn change(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.send(method, path, Some(body)).await.expect("an answer")
    }

    pub(crate) async fn graphql(&self, query: &str, variables: Value) -> Reply {
        let body = serde_json::json!({ "query": query, "variables": variables });
        self.change("POST", "/graphql", &body).await
    }

    /// An error when the connection ends without an answer.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Reply> {
        let path = path.trim_start_matches(&format!("http://{}", self.host));
        let body = body.map(Value::to_string).unwrap_or_default();
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            self.host,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.host).await?;
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut bytes = Vec::new();
        // a body that is cut may end in an error
        let _ = stream.read_to_end(&mut bytes).await;
        Reply::of(&bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Reply {
    fn of(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut body = bytes[end + 4..].to_vec();
        let mut is_cut = false;
        if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            (body, is_cut) = unchunked(&body);
        } else if let Some(length) = headers.get("content-length").and_then(|length| length.parse().ok()) {
            is_cut = body.len() < length;
        }
        Some(Self { status, headers, body, is_cut })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.header(name).expect(name).parse().expect("a number")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The address of a relation in `link`, as it was sent.
    pub(crate) fn link(&self, relation: &str) -> Option<String> {
        let links = self.header("link")?.split(", ");
        let mut found = links.filter_map(|link| link.strip_suffix(&format!("; rel=\"{relation}\"")));
        Some(found.next()?.trim_matches(['<', '>']).to_owned())
    }
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return (body, true) };
        let length =
            std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        match length {
            Some(0) => return (body, false),
            Some(length) if rest.len() >= end + 2 + length => {
                body.extend_from_slice(&rest[end + 2..end + 2 + length]);
                rest = rest.get(end + 4 + length..).unwrap_or_default();
            }
            _ => return (body, true),
        }
    }
}
