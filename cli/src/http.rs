//! Where this node's HTTP door is, who may pass it, and its secrets: files in the data directory.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use tokio::net::TcpListener;
use wfengine_api::Failure;
use wfengine_api::http::{Gate, TlsAcceptor, TlsError, Token, acceptor};

use crate::config::Http;
use crate::home::{Home, random};

/// Ports that are tried after the one that is taken.
const PORTS_TRIED: u16 = 100;

/// A door that is open and not served yet.
pub(crate) struct Opened {
    pub(crate) listener: TcpListener,
    /// What makes its connections secret, if they are.
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) gate: Gate,
    /// `http://127.0.0.1:8080`
    pub(crate) url: String,
    /// The file with the secret that opens everything.
    pub(crate) token_file: PathBuf,
}

/// A secret of the door, made at first use. It begins with a word by which people, and programs that look for secrets, know it.
fn token(home: &Home, file: &str, begins: &str) -> Result<(Token, PathBuf), Failure> {
    let path = home.data.path().join(file);
    if let Some(text) = home.data.read_small(&path)?.filter(|text| !text.trim().is_empty()) {
        return Ok((Token::new(&text), path));
    }
    let text = format!("{begins}{}", BASE64URL_NOPAD.encode(&random::<32>()?));
    home.data.write_small(&path, &text)?;
    Ok((Token::new(&text), path))
}

/// Bytes of a file with certificates or a key.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

fn pem(option: &str, file: &Path) -> Result<Vec<u8>, Failure> {
    let io = |error: std::io::Error| Failure::io("read", file, &error);
    let mut text = Vec::new();
    let opened = std::fs::File::open(file).map_err(io)?;
    opened.take(PEM_BYTES_MAX + 1).read_to_end(&mut text).map_err(io)?;
    if text.len() as u64 > PEM_BYTES_MAX {
        return Err(Failure::bad_input(format!(
            "{option} {}: more than {PEM_BYTES_MAX} bytes",
            file.display()
        )));
    }
    Ok(text)
}

/// What speaks TLS with the certificate and key that are given, if they are.
fn tls(http: &Http) -> Result<Option<TlsAcceptor>, Failure> {
    let Http { cert, key, .. } = http;
    let (Some(cert), Some(key)) = (cert, key) else {
        if cert.is_some() || key.is_some() {
            return Err(Failure::bad_input(
                "http.cert and http.key: TLS needs both a certificate and its key",
            ));
        }
        return Ok(None);
    };
    let made = acceptor(&pem("http.cert", cert)?, &pem("http.key", key)?).map_err(|error| {
        let (option, file) = match &error {
            TlsError::Certificate(_) => ("http.cert", cert),
            TlsError::Key(_) => ("http.key", key),
        };
        Failure::bad_input(format!("{option} {}: {error}", file.display()))
    });
    made.map(Some)
}

/// Names under which a loopback address is asked.
fn names(address: SocketAddr) -> BTreeSet<String> {
    let port = address.port();
    let mut names: BTreeSet<String> = [address.to_string()].into();
    if address.ip().is_loopback() {
        names.insert(format!("localhost:{port}"));
        names.insert(format!("127.0.0.1:{port}"));
    }
    names
}

/// Opens the door at the address that is wished for, or at the next free port.
pub(crate) async fn open(home: &Home, http: &Http) -> Result<Option<Opened>, Failure> {
    if !http.enabled {
        return Ok(None);
    }
    let wished = http.address;
    let tls = tls(http)?;
    if !wished.ip().is_loopback() && tls.is_none() {
        return Err(Failure::refused(format!(
            "--http {wished}: others on the network would read the token on its way; give --http-cert and --http-key (http.cert, http.key) for TLS, or listen on 127.0.0.1 and let a proxy with TLS in front of it, or a tunnel, bring them here (--http-host names what it is called then)"
        )));
    }
    let mut tried = wished;
    let listener = loop {
        match TcpListener::bind(tried).await {
            Ok(listener) => break listener,
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse
                    && wished.port() != 0
                    && tried.port() - wished.port() < PORTS_TRIED =>
            {
                let next = tried.port().checked_add(1);
                let next =
                    next.ok_or_else(|| Failure::refused(format!("--http {wished}: no port is free")))?;
                tried.set_port(next);
            }
            Err(error) => {
                return Err(Failure::refused(format!("--http {tried}: {error}; --no-http does without")));
            }
        }
    };
    let address = listener.local_addr().map_err(|error| Failure::refused(error.to_string()))?;
    let (full, token_file) = token(home, "http-token", "wfe_")?;
    let (submit, _) = token(home, "http-submit-token", "wfe_submit_")?;
    let mut hosts = names(address);
    hosts.extend(http.hosts.iter().map(|host| host.to_ascii_lowercase()));
    // whoever asks at the usual port of HTTP or HTTPS does not name it
    let bare = |host: &String| host.strip_suffix(":443").or(host.strip_suffix(":80")).map(str::to_owned);
    let unnamed: Vec<String> = hosts.iter().filter_map(bare).collect();
    hosts.extend(unnamed);
    let gate = Gate {
        hosts,
        origins: http.origins.iter().cloned().collect(),
        token: full,
        submit_token: Some(submit),
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    Ok(Some(Opened { listener, tls, gate, url: format!("{scheme}://{address}"), token_file }))
}
