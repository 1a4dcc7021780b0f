//! A command on its way: a process group of its own, fed, read and ended.
//!
//! Invariants: the group is over when [`Running::end`] is or the [`Running`] is dropped; its leader is reaped last, so a signal to the
//! group cannot meet a stranger who got the number meanwhile; what is read takes bounded memory.

use std::io;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// Bytes of what a command complains of that are kept: the last ones.
const COMPLAINT_BYTES_MAX: usize = 2 << 10;
const PIECE_BYTES: usize = 32 << 10;

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it printed: the beginning, and one byte more than was allowed if there was more.
    pub(crate) answer: Vec<u8>,
    /// What it complained of: the end, in one line.
    pub(crate) said: String,
}

/// A command that runs; killed with all that it started when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    leader: Child,
    /// `None` once the leader is reaped: from then on the number may be anybody's.
    group: Option<Pid>,
}

impl Running {
    /// Starts a command whose pipes are chosen.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let leader = command.process_group(0).spawn()?;
        let group = leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { leader, group })
    }

    /// Feeds it a text, if it reads from a pipe, and waits for it.
    pub(crate) async fn end(&mut self, text: &str, answer_bytes_max: usize) -> io::Result<Ended> {
        let Self { leader, group } = self;
        let (mut stdin, mut stdout, mut stderr) =
            (leader.stdin.take(), leader.stdout.take(), leader.stderr.take());
        let feed = async {
            if let Some(pipe) = &mut stdin {
                // a command that ended reads no more, and says itself why
                let _ = pipe.write_all(text.as_bytes()).await;
            }
            drop(stdin);
        };
        let answer = async {
            match &mut stdout {
                Some(pipe) => first_of(pipe, answer_bytes_max).await,
                None => Vec::new(),
            }
        };
        let complaint = async {
            match &mut stderr {
                Some(pipe) => last_of(pipe).await,
                None => Vec::new(),
            }
        };
        let wait = async {
            let waited = match *group {
                Some(leader) => ended(leader).await,
                None => Ok(()),
            };
            // whoever it left behind would hold the pipes open
            kill(*group);
            let status = leader.wait().await;
            *group = None;
            waited.and(status)
        };
        let ((), answer, complaint, status) = tokio::join!(feed, answer, complaint, wait);
        let said = String::from_utf8_lossy(&complaint).trim().replace('\n', "; ");
        Ok(Ended { status: status?, answer, said })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // the leader is reaped by the runtime, afterwards
        kill(self.group);
    }
}

fn kill(group: Option<Pid>) {
    if let Some(group) = group {
        // it may be gone: then there is nobody to kill
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Waits until a child ended and leaves it unreaped. The thread that waits is none of the runtime's, whose end would else wait for a
/// child that cannot be killed.
async fn ended(child: Pid) -> io::Result<()> {
    let (sender, end) = oneshot::channel();
    let wait = move || {
        let look = || waitid(WaitId::Pid(child), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        while matches!(look(), Ok(None) | Err(Errno::INTR)) {}
        // nobody hears it if the command was given up
        let _ = sender.send(());
    };
    std::thread::Builder::new().name("git-exit".to_owned()).stack_size(128 << 10).spawn(wait)?;
    end.await.map_err(io::Error::other)
}

/// Reads to the end; keeps the beginning, and one byte more than `bytes_max` if there are more.
async fn first_of(pipe: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; PIECE_BYTES]);
    while let Some(read) = pipe.read(&mut piece).await.ok().filter(|read| *read > 0) {
        let room = (bytes_max + 1).saturating_sub(kept.len());
        kept.extend_from_slice(piece.get(..read.min(room)).unwrap_or_default());
    }
    kept
}

/// Reads to the end; keeps the end.
async fn last_of(pipe: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; PIECE_BYTES]);
    while let Some(read) = pipe.read(&mut piece).await.ok().filter(|read| *read > 0) {
        kept.extend_from_slice(piece.get(..read).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(COMPLAINT_BYTES_MAX));
    }
    kept
}
