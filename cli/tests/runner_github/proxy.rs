//! Stands between a client and a Docker Engine, on a Unix socket of its own: answers chosen requests itself, spoils others, lets all
//! the rest through.
//!
//! Every connection carries one request (`connection: close` is added to it), so each is seen and none hides behind another. Streams and
//! upgrades pass unchanged. Not here: what an engine is, and what its answers mean.
//!
//! Invariants: a rule is used as often as it says; what was held back goes on when its [`Gate`] opens or the proxy ends.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tempfile::TempDir;

const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What becomes of a request.
#[derive(Clone)]
pub enum Act {
    /// It is answered with a status and a message, as the engine says what is wrong; the engine never hears of it.
    Refuse(u16, &'static str),
    /// It is answered with bytes that are no answer.
    Garbage,
    /// It is answered with success and a body that is none of the engine's.
    Nonsense,
    /// The connection closes without an answer; the engine never hears of it.
    Close,
    /// The engine does it, and nobody learns that.
    LoseAnswer,
    /// It waits at a gate before it goes on to the engine.
    Hold(Gate),
}

/// Where requests wait.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    /// How many have come to it.
    pub fn arrived(&self) -> usize {
        self.0.0.lock().unwrap().0
    }
    /// Lets all through, now and from now on.
    pub fn open(&self) {
        self.0.0.lock().unwrap().1 = true;
        self.0.1.notify_all();
    }
    fn wait(&self) {
        let mut inner = self.0.0.lock().unwrap();
        inner.0 += 1;
        while !inner.1 {
            inner = self.0.1.wait(inner).unwrap();
        }
    }
}

struct Rule {
    method: &'static str,
    /// Path without version and query begins and ends so.
    path: (&'static str, &'static str),
    left: usize,
    act: Act,
}

#[derive(Default)]
struct Inner {
    rules: Vec<Rule>,
    seen: Vec<String>,
    gates: Vec<Gate>,
}

/// A socket that leads to an engine.
pub struct Proxy {
    folder: TempDir,
    inner: Arc<Mutex<Inner>>,
    is_over: Arc<AtomicBool>,
}

impl Proxy {
    /// In front of the engine at a socket.
    pub fn new(engine: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
        let (inner, is_over) = (Arc::new(Mutex::new(Inner::default())), Arc::new(AtomicBool::new(false)));
        let (shared, ends, engine) = (Arc::clone(&inner), Arc::clone(&is_over), engine.to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                let (shared, engine) = (Arc::clone(&shared), engine.clone());
                // how a connection ends is between its two ends
                thread::spawn(move || {
                    let _ = serve(client, &engine, &shared);
                });
            }
        });
        Self { folder, inner, is_over }
    }

    /// The socket.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// As `DOCKER_HOST` has it.
    pub fn url(&self) -> String {
        format!("unix://{}", self.path().display())
    }

    /// The next `times` requests with a method and a path (`/containers/create`, or `/containers/*/start`) come to this.
    pub fn order(&self, method: &'static str, path: &'static str, times: usize, act: Act) {
        let path = path.split_once('*').unwrap_or((path, ""));
        let mut inner = self.inner.lock().unwrap();
        if let Act::Hold(gate) = &act {
            inner.gates.push(gate.clone());
        }
        inner.rules.push(Rule { method, path, left: times, act });
    }

    /// All orders are taken back.
    pub fn clear(&self) {
        self.inner.lock().unwrap().rules.clear();
    }

    /// How many ordered acts have not happened.
    pub fn left(&self) -> usize {
        self.inner.lock().unwrap().rules.iter().map(|rule| rule.left).sum()
    }

    /// Requests so far, `METHOD /path` without version and query.
    pub fn seen(&self) -> Vec<String> {
        self.inner.lock().unwrap().seen.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.inner.lock().unwrap().gates.iter().for_each(Gate::open);
        // wakes who listens
        let _ = UnixStream::connect(self.path());
    }
}

fn fits(rule: &Rule, method: &str, path: &str) -> bool {
    let (head, tail) = rule.path;
    let is_path = if tail.is_empty() && !head.ends_with('/') {
        path == head
    } else {
        path.len() >= head.len() + tail.len() && path.starts_with(head) && path.ends_with(tail)
    };
    rule.left > 0 && rule.method == method && is_path
}

/// `/v1.41/containers/create?name=x` is `/containers/create`.
fn plain(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    let mut parts = path.splitn(3, '/');
    let (_, first) = (parts.next(), parts.next().unwrap_or_default());
    if first.starts_with("v1.") { &path[first.len() + 1..] } else { path }
}

fn serve(mut client: UnixStream, engine: &Path, shared: &Mutex<Inner>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut piece = [0_u8; 4096];
    let end = loop {
        if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 2;
        }
        let read = client.read(&mut piece)?;
        if read == 0 || head.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
        head.extend_from_slice(&piece[..read]);
    };
    let text = String::from_utf8_lossy(&head[..end]).into_owned();
    let mut words = text.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = plain(target);
    let act = {
        let mut inner = shared.lock().unwrap();
        inner.seen.push(format!("{method} {path}"));
        let rule = inner.rules.iter_mut().find(|rule| fits(rule, method, path));
        rule.map(|rule| {
            rule.left -= 1;
            rule.act.clone()
        })
    };
    let is_upgrade = text.to_ascii_lowercase().contains("\r\nupgrade:");
    let close = if is_upgrade { "" } else { "connection: close\r\n" };
    let mut request = text.clone().into_bytes();
    request.extend_from_slice(close.as_bytes());
    request.extend_from_slice(&head[end..]);
    match act {
        Some(Act::Refuse(status, message)) => {
            answer(&mut client, status, &format!("{{\"message\":\"{message}\"}}"))
        }
        Some(Act::Nonsense) => answer(&mut client, 200, "[\"not\", 1, {\"of\": \"the engine\"}]"),
        Some(Act::Garbage) => client.write_all(b"\x16\x03\x01 this is not the engine\r\n\r\n"),
        Some(Act::Close) => client.shutdown(Shutdown::Both),
        Some(Act::LoseAnswer) => {
            let mut engine = UnixStream::connect(engine)?;
            engine.write_all(&request)?;
            pour(&client, &engine)?;
            let mut lost = Vec::new();
            engine.read_to_end(&mut lost)?;
            client.shutdown(Shutdown::Both)
        }
        Some(Act::Hold(gate)) => {
            gate.wait();
            pass(&mut client, engine, &request)
        }
        None => pass(&mut client, engine, &request),
    }
}

fn answer(client: &mut UnixStream, status: u16, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())?;
    client.shutdown(Shutdown::Write)?;
    // what it has not sent yet is read, or the answer would be lost with it
    std::io::copy(client, &mut std::io::sink()).map(|_| ())
}

/// What the client sends besides goes on by itself.
fn pour(client: &UnixStream, engine: &UnixStream) -> std::io::Result<()> {
    let (mut from, mut to) = (client.try_clone()?, engine.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        // a client that is gone wants no answer; one that waits for it has not closed
        let _ = to.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn pass(client: &mut UnixStream, engine: &Path, request: &[u8]) -> std::io::Result<()> {
    let mut engine = UnixStream::connect(engine)?;
    engine.write_all(request)?;
    pour(client, &engine)?;
    std::io::copy(&mut engine, client)?;
    client.shutdown(Shutdown::Both)
}
