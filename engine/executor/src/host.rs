//! Runs one step as a process of this host: starts it, reads what it prints, ends it when its time is over.
//!
//! It decides nothing about the job. Invariants: when [`run`] returns, the step's leader has ended; while it has not,
//! both pipes are read, so a step never waits for its reader; a stopped step leaves nobody of its group.

use std::{io, pin::pin, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    console::{Console, StepVoice},
    control::{Stop, StopListener},
    log::Stream,
    process::{Exit, Pipes, Program, StepProcess},
};

/// Between TERM and KILL when a time limit ends a step.
pub const TIMEOUT_GRACE: Duration = Duration::from_secs(10);

/// After the leader ended its pipes are read until they close, but not longer than this…
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// …nor longer than this without a byte: a process left in the background may hold them open for ever.
const DRAIN_QUIET: Duration = Duration::from_millis(500);
const PIECE_BYTES: usize = 32 << 10;
/// What a pipe can hold; more came in later.
const PIPE_BYTES_MAX: usize = 64 << 10;

/// Why a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// By itself.
    Exited,
    /// Its own `timeout-minutes` passed.
    StepTimeout,
    /// The job's time was over.
    JobTimeout,
    /// It was told to.
    Stopped(Stop),
}

/// When a step has to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub(crate) step: Option<Instant>,
    pub(crate) job: Instant,
}

impl Deadlines {
    /// When it has to end at the latest, and why.
    pub(crate) fn next(self) -> (Instant, Cause) {
        match self.step {
            Some(step) if step < self.job => (step, Cause::StepTimeout),
            _ => (self.job, Cause::JobTimeout),
        }
    }
}

/// A step that ended. Its process is kept until the job ends: then whoever it left in the background is ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) process: StepProcess,
    pub(crate) exit: Exit,
    pub(crate) cause: Cause,
    /// Reads on what is left in the background, so that nobody there is hit by a closed pipe; to be aborted with the job.
    pub(crate) left: Option<tokio::task::JoinHandle<()>>,
}

/// Runs `program` to its end.
pub(crate) async fn run(
    program: &Program,
    deadlines: Deadlines,
    stops: &mut StopListener,
    voice: &mut StepVoice,
    console: &mut Console<'_>,
) -> io::Result<Ended> {
    let (process, mut pipes) = StepProcess::start(program)?;
    let mut buffers = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut open = (true, true);
    let mut cause = Cause::Exited;
    let (mut ends_at, ends_by) = deadlines.next();
    let mut killed = false;
    let exit = {
        let mut exited = pin!(process.exited());
        loop {
            let stopping = cause != Cause::Exited;
            tokio::select! {
                read = pipes.out.read(&mut buffers.0), if open.0 => {
                    open.0 = heard(read, &buffers.0, Stream::Out, voice, console);
                }
                read = pipes.err.read(&mut buffers.1), if open.1 => {
                    catch_up(&pipes, &mut buffers.0, &mut open.0, voice, console);
                    open.1 = heard(read, &buffers.1, Stream::Err, voice, console);
                }
                exit = &mut exited => break exit,
                stop = stops.next() => {
                    let kill_at = Instant::now() + stop.grace;
                    ends_at = if stopping { ends_at.min(kill_at) } else { kill_at };
                    cause = Cause::Stopped(stop);
                    process.terminate();
                }
                () = sleep_until(ends_at), if !killed => if stopping {
                    process.kill();
                    killed = true;
                } else {
                    cause = ends_by;
                    ends_at = Instant::now() + TIMEOUT_GRACE;
                    process.terminate();
                },
            }
        }
    };
    if cause != Cause::Exited {
        process.kill();
    }
    drain(&mut pipes, &mut buffers, &mut open, voice, console).await;
    voice.hear_end(console, Stream::Out);
    voice.hear_end(console, Stream::Err);
    let left = (open.0 || open.1).then(|| tokio::spawn(read_on(pipes)));
    Ok(Ended { process, exit, cause, left })
}

fn heard(
    read: io::Result<usize>,
    buffer: &[u8],
    stream: Stream,
    voice: &mut StepVoice,
    console: &mut Console<'_>,
) -> bool {
    match read {
        Ok(bytes) if bytes > 0 => {
            voice.hear(console, stream, &buffer[..bytes]);
            true
        }
        _ => false,
    }
}

async fn drain(
    pipes: &mut Pipes,
    buffers: &mut (Vec<u8>, Vec<u8>),
    open: &mut (bool, bool),
    voice: &mut StepVoice,
    console: &mut Console<'_>,
) {
    let end = Instant::now() + DRAIN_MAX;
    while open.0 || open.1 {
        let quiet = (Instant::now() + DRAIN_QUIET).min(end);
        let piece = async {
            tokio::select! {
                read = pipes.out.read(&mut buffers.0), if open.0 => (Stream::Out, read),
                read = pipes.err.read(&mut buffers.1), if open.1 => (Stream::Err, read),
            }
        };
        let Ok((stream, read)) = timeout_at(quiet, piece).await else { return };
        if stream == Stream::Out {
            open.0 = heard(read, &buffers.0, stream, voice, console);
        } else {
            catch_up(pipes, &mut buffers.0, &mut open.0, voice, console);
            open.1 = heard(read, &buffers.1, stream, voice, console);
        }
    }
}

/// Hears what is waiting on the standard output before something that was read from the standard error is heard: a value
/// that a step declared by `::add-mask::` must be known when the step then prints it as part of a complaint.
fn catch_up(
    pipes: &Pipes,
    buffer: &mut [u8],
    open: &mut bool,
    voice: &mut StepVoice,
    console: &mut Console<'_>,
) {
    let mut bytes = 0;
    while *open && bytes < PIPE_BYTES_MAX {
        match rustix::io::read(&pipes.out, &mut *buffer) {
            Ok(read) => {
                bytes += read;
                *open = heard(Ok(read), buffer, Stream::Out, voice, console);
            }
            Err(rustix::io::Errno::INTR) => {}
            // Mostly: nothing there. A real failure is met again by the next ordinary read.
            Err(_) => return,
        }
    }
}

async fn read_on(mut pipes: Pipes) {
    tokio::join!(discard(&mut pipes.out), discard(&mut pipes.err));
}

async fn discard(pipe: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = vec![0; PIECE_BYTES];
    while pipe.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}
