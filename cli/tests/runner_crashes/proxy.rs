//! A door between a node and what it speaks to, with a trap in it: when a certain request comes through, the node is killed, before what
//! it asks for happens or right after; or it is kept waiting.
//!
//! Every connection carries one request: the door asks for its end with it, so what is a request and what is its answer needs no more
//! than the head of the first. Not here: what is asked, and what it means.
//!
//! Invariants: of an answer that the trap keeps back nothing was passed on, and the node is gone before its connection is; a trap springs
//! once.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::house::{PATIENCE, is_alive, until};

const HEAD_LEN_MAX: usize = 64 * 1024;

/// Where the trap is.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    pub method: &'static str,
    /// `*` stands for anything; without the query.
    pub path: &'static str,
    pub moment: Moment,
}

/// What the trap does, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// The node is killed, and the request goes nowhere.
    Before,
    /// The request is answered, and the node is killed before it gets the answer.
    After,
    /// The request waits until it is let go.
    Held,
}

#[derive(Default)]
struct State {
    trap: Option<(Trap, i32)>,
    is_sprung: bool,
    is_let_go: bool,
}

/// What both sides of a door have.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A door. What goes through it ends with the process.
pub struct Proxy {
    shared: Arc<Shared>,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

#[derive(Clone)]
enum Behind {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Behind {
    fn open(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
            Self::Tcp(address) => Stream::Tcp(TcpStream::connect(address)?),
        })
    }
}

impl Stream {
    fn twin(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
        })
    }
    fn close(&self) {
        // the other side may have been first
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            let Some(rest) = text.strip_prefix(head) else { return false };
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| fits(tail, &rest[at..]))
        }
    }
}

/// The head of a request, and what of its body came with it.
fn head(client: &mut Stream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return Some((String::from_utf8(bytes).ok()?, body));
        }
        let read = client.read(&mut piece).ok().filter(|read| *read > 0)?;
        bytes.extend(&piece[..read]);
        if bytes.len() > HEAD_LEN_MAX {
            return None;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Whether this request is the one, which it is once.
    fn springs(&self, head: &str) -> Option<(Moment, i32)> {
        let mut words = head.split(' ');
        let (method, path) = (words.next()?, words.next()?.split('?').next()?);
        let mut state = self.state();
        let (trap, victim) = state.trap?;
        if trap.method != method || !fits(trap.path, path) {
            return None;
        }
        state.trap = None;
        Some((trap.moment, victim))
    }

    fn say_sprung(&self) {
        self.state().is_sprung = true;
        self.changed.notify_all();
    }

    /// Kills, and waits until it is done: whoever lives would see its connection end.
    fn kill(&self, victim: i32) {
        kill_process(Pid::from_raw(victim).unwrap(), Signal::KILL).unwrap();
        until("the process is gone", || (!is_alive(victim)).then_some(()));
    }

    fn carry(&self, mut client: Stream, behind: &Behind) -> Option<()> {
        let (head, body) = head(&mut client)?;
        let sprung = self.springs(&head);
        match sprung {
            Some((Moment::Before, victim)) => {
                self.kill(victim);
                self.say_sprung();
                return None;
            }
            Some((Moment::Held, _)) => {
                self.say_sprung();
                let state = self.state();
                let waited = self.changed.wait_timeout_while(state, PATIENCE, |state| !state.is_let_go);
                drop(waited.unwrap());
            }
            _ => {}
        }
        let mut there = behind.open().ok()?;
        let (line, fields) = head.split_once("\r\n")?;
        there.write_all(format!("{line}\r\nconnection: close\r\n{fields}").as_bytes()).ok()?;
        there.write_all(&body).ok()?;
        let (mut from, mut to) = (client.twin().ok()?, there.twin().ok()?);
        let asking = thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            // whoever asks and goes is waited for no longer
            to.close();
        });
        if let Some((Moment::After, victim)) = sprung {
            let mut answer = Vec::new();
            there.read_to_end(&mut answer).ok()?;
            let said = String::from_utf8_lossy(&answer);
            assert!(said.starts_with("HTTP/1.1 ") && !said.starts_with("HTTP/1.1 5"), "{said}");
            self.kill(victim);
            client.close();
            self.say_sprung();
        } else {
            let mut piece = [0; 16 * 1024];
            while let Some(read) = there.read(&mut piece).ok().filter(|read| *read > 0) {
                if client.write_all(&piece[..read]).is_err() {
                    break;
                }
            }
            client.close();
        }
        asking.join().ok()
    }

    fn accept(self: Arc<Self>, behind: Behind, next: impl Fn() -> io::Result<Stream> + Send + 'static) {
        thread::spawn(move || {
            while let Ok(client) = next() {
                let (shared, behind) = (Arc::clone(&self), behind.clone());
                thread::spawn(move || shared.carry(client, &behind));
            }
        });
    }
}

impl Proxy {
    /// A socket that leads to another.
    pub fn unix(at: &Path, behind: &Path) -> Self {
        let listener = UnixListener::bind(at).unwrap();
        let shared = Arc::new(Shared::default());
        let next = move || Ok(Stream::Unix(listener.accept()?.0));
        Arc::clone(&shared).accept(Behind::Unix(behind.to_owned()), next);
        Self { shared }
    }

    /// A port of the loopback that leads to another address. Also gives its own.
    pub fn tcp(behind: SocketAddr) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let next = move || Ok(Stream::Tcp(listener.accept()?.0));
        Arc::clone(&shared).accept(Behind::Tcp(behind), next);
        (Self { shared }, address)
    }

    /// Sets the trap for a process.
    pub fn set(&self, trap: Trap, victim: i32) {
        let mut state = self.shared.state();
        *state = State { trap: Some((trap, victim)), ..State::default() };
    }

    /// Waits until the trap has sprung.
    #[track_caller]
    pub fn until_sprung(&self) {
        let state = self.shared.state();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| !state.is_sprung);
        let (state, waited) = waited.unwrap();
        let trap = state.trap;
        drop(state);
        assert!(!waited.timed_out(), "nobody came by: {trap:?}");
    }

    /// Lets go who was held.
    pub fn let_go(&self) {
        self.shared.state().is_let_go = true;
        self.shared.changed.notify_all();
    }
}
