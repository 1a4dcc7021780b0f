//! A terminal of a test: the program's stdout and stderr lead to it, and the test reads what people would see.
//!
//! Not here: an emulator. A test looks at the bytes, escape sequences and all.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::house::PATIENCE;

/// A program at a terminal.
pub(crate) struct AtTerminal {
    child: Child,
    terminal: File,
    pieces: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl AtTerminal {
    /// Starts a command at a terminal of so many columns and rows.
    pub(crate) fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = std::ffi::OsStr::from_bytes(name.as_bytes());
        let terminal = OpenOptions::new().read(true).write(true).open(path).unwrap();
        command.stdout(terminal.try_clone().unwrap()).stderr(terminal.try_clone().unwrap());
        let mut this = {
            let (sender, pieces) = channel();
            let mut reader = File::from(master);
            resize(&terminal, columns, rows);
            let child = command.spawn().unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                // the last program that has the terminal open ends this with an error
                while let Ok(read @ 1..) = reader.read(&mut buffer) {
                    if sender.send(buffer[..read].to_vec()).is_err() {
                        return;
                    }
                }
            });
            Self { child, terminal, pieces, seen: Vec::new() }
        };
        // the command holds the terminal open until it is dropped
        drop(command);
        this.take();
        this
    }

    fn take(&mut self) {
        while let Ok(piece) = self.pieces.try_recv() {
            self.seen.extend(piece);
        }
    }

    /// Makes the terminal another size, and tells the program as a terminal would.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        resize(&self.terminal, columns, rows);
        self.signal(Signal::WINCH);
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the terminal was sent a text; gives all that it was sent since the last such question.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let text = String::from_utf8_lossy(&self.seen).into_owned();
            if fits(&text) {
                self.seen.clear();
                return text;
            }
            match self.pieces.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(piece) => self.seen.extend(piece),
                Err(_) => panic!("not seen: {what}; but {text:?}"),
            }
        }
    }

    /// Waits for the program's end; gives what the terminal was sent since the last question, and the exit status.
    #[track_caller]
    pub(crate) fn end(self) -> (String, i32) {
        let Self { mut child, terminal, pieces, mut seen } = self;
        drop(terminal);
        let begun = Instant::now();
        loop {
            match pieces.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(piece) => seen.extend(piece),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    let _ = child.kill();
                    panic!("it did not end: {:?}", String::from_utf8_lossy(&seen));
                }
            }
        }
        let code = child.wait().unwrap().code().unwrap();
        (String::from_utf8(seen).unwrap(), code)
    }
}

fn resize(terminal: &File, columns: u16, rows: u16) {
    tcsetwinsize(terminal, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}
