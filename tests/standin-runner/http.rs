//! One request, one connection, one answer.
//!
//! Names are looked up in the file of hosts first: a static program may have nobody else to ask.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use crate::json::Json;

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER_LEN_MAX: u64 = 4 * 1024 * 1024;
const HTTP_PORT: u16 = 80;

/// Where the service is: `http://host:port`.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    name: String,
    port: u16,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Json,
}

impl Host {
    /// From an address with or without a scheme; a path is left out.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split('/').next().filter(|authority| !authority.is_empty())?;
        match authority.rsplit_once(':') {
            Some((name, port)) => Some(Self { name: name.to_owned(), port: port.parse().ok()? }),
            None => Some(Self { name: authority.to_owned(), port: HTTP_PORT }),
        }
    }

    fn address(&self) -> io::Result<SocketAddr> {
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        for line in hosts.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse) else { continue };
            if words.any(|name| name.eq_ignore_ascii_case(&self.name)) {
                return Ok(SocketAddr::new(address, self.port));
            }
        }
        let found = (self.name.as_str(), self.port).to_socket_addrs()?.next();
        found.ok_or_else(|| io::Error::other(format!("{} has no address", self.name)))
    }

    /// Asks and waits for as long as it takes.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Json>) -> io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.address()?, CONNECT)?;
        stream.set_nodelay(true)?;
        let body = body.map(Json::write).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}:{}\r\nuser-agent: standin-runner\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.name,
            self.port,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut bytes = Vec::new();
        stream.take(ANSWER_LEN_MAX).read_to_end(&mut bytes)?;
        Answer::read(&bytes).ok_or_else(|| io::Error::other("the answer is none"))
    }
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = if body.is_empty() { Json::Null } else { Json::read(body)? };
        Some(Self { status, body })
    }

    pub(crate) fn message(&self) -> &str {
        self.body.field("message").text()
    }
}
