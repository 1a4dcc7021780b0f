//! One step as a process group: started, watched, stopped, and never left behind.
//!
//! Knows nothing of workflows. The leader stays unreaped until the group is dropped, so its number, which is the
//! group's number, cannot be given to a stranger meanwhile: a signal to the group always meets the group.
//!
//! Invariant: dropping a [`StepProcess`] kills whatever is left of its group, whether its leader ended or not.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::{
    process::{ChildStderr, ChildStdout},
    sync::watch,
};

/// What is to be started.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// Absolute path of the program.
    pub path: PathBuf,
    /// Its arguments, without its name.
    pub arguments: Vec<OsString>,
    /// Its whole environment: nothing is inherited.
    pub environment: BTreeMap<String, String>,
    /// Where it starts.
    pub folder: PathBuf,
}

/// How a leader ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself with this status.
    Status(i32),
    /// A signal ended it.
    Signal(i32),
}

impl Exit {
    /// The number a shell would show: 128 + signal for a death by signal.
    pub fn code(self) -> i32 {
        match self {
            Exit::Status(status) => status,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// The two pipes of a started group.
#[derive(Debug)]
pub struct Pipes {
    /// What it prints.
    pub out: ChildStdout,
    /// What it complains of.
    pub err: ChildStderr,
}

/// A started group.
#[derive(Debug)]
pub struct StepProcess {
    leader: Option<Child>,
    group: Pid,
    exit: watch::Receiver<Option<Exit>>,
    waiter: Option<JoinHandle<()>>,
}

impl StepProcess {
    /// Starts `program` as the leader of a new group, with an empty input and two pipes.
    pub fn start(program: &Program) -> io::Result<(Self, Pipes)> {
        let mut leader = Command::new(&program.path)
            .args(&program.arguments)
            .env_clear()
            .envs(&program.environment)
            .current_dir(&program.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = Pid::from_child(&leader);
        let pipes = (leader.stdout.take(), leader.stderr.take());
        let (sender, exit) = watch::channel(None);
        let mut process = Self { leader: Some(leader), group, exit, waiter: None };
        let (Some(out), Some(err)) = pipes else { return Err(io::Error::other("the pipes were not made")) };
        let pipes = Pipes { out: ChildStdout::from_std(out)?, err: ChildStderr::from_std(err)? };
        let waiter = std::thread::Builder::new().name("step-exit".to_owned()).stack_size(128 << 10);
        process.waiter = Some(waiter.spawn(move || {
            sender.send_replace(Some(wait_unreaped(group)));
        })?);
        Ok((process, pipes))
    }

    /// Waits for the leader; may be given up and asked again.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::Status(UNKNOWN_STATUS)),
            Err(_) => Exit::Status(UNKNOWN_STATUS),
        }
    }

    /// Asks the group to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
        // A group that is stopped would not see the TERM.
        self.signal(Signal::CONT);
    }

    /// Ends the group at once.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // An error means that nobody of the group is left (or, on some systems, only the unreaped leader).
        let _ = kill_process_group(self.group, signal);
    }
}

impl Drop for StepProcess {
    fn drop(&mut self) {
        self.kill();
        let Some(mut leader) = self.leader.take() else { return };
        let waiter = self.waiter.take();
        if self.exit.borrow().is_some() {
            let _ = leader.wait();
            return;
        }
        // The leader dies of the KILL, but perhaps not within the time a drop may take.
        let _ =
            std::thread::Builder::new().name("step-reap".to_owned()).stack_size(128 << 10).spawn(move || {
                if let Some(waiter) = waiter {
                    let _ = waiter.join();
                }
                let _ = leader.wait();
            });
    }
}

/// The status told when the system does not say how a leader ended.
const UNKNOWN_STATUS: i32 = 255;

fn wait_unreaped(leader: Pid) -> Exit {
    loop {
        match waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => {
                return status
                    .exit_status()
                    .map(Exit::Status)
                    .or_else(|| status.terminating_signal().map(Exit::Signal))
                    .unwrap_or(Exit::Status(UNKNOWN_STATUS));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Exit::Status(UNKNOWN_STATUS),
        }
    }
}

/// Finds the program `name` as a shell would: by its path if it holds a `/`, else in the folders of `search_path`.
pub fn find_program(name: &str, search_path: &str, folder: &Path) -> Option<PathBuf> {
    let runnable = |path: PathBuf| {
        use std::os::unix::fs::PermissionsExt;
        let metadata = path.metadata().ok()?;
        (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then_some(path)
    };
    if name.contains('/') {
        return runnable(folder.join(name));
    }
    search_path
        .split(':')
        .filter(|part| !part.is_empty())
        .find_map(|part| runnable(folder.join(part).join(name)))
}

/// Ends every process of this user whose environment holds `RUNNER_TRACKING_ID` beginning with `tracking`: those that
/// left their group, and after a crash of the node those of its former jobs. Answers how many were ended. A step keeps
/// a process alive past its job by emptying that variable, as on GitHub. Does nothing where there is no `/proc`.
pub fn end_tracked(tracking: &str) -> usize {
    if tracking.is_empty() {
        return 0;
    }
    let wanted = format!("RUNNER_TRACKING_ID={tracking}").into_bytes();
    let mut ended = 0;
    // One that is just being forked escapes a look, but not several.
    for _ in 0..TRACKED_LOOKS_MAX {
        let found = end_tracked_once(&wanted);
        ended += found;
        if found == 0 {
            break;
        }
    }
    ended
}

const TRACKED_LOOKS_MAX: usize = 8;
const ENVIRONMENT_BYTES_MAX: u64 = 4 << 20;

#[cfg(target_os = "linux")]
fn end_tracked_once(wanted: &[u8]) -> usize {
    use rustix::process::{PidfdFlags, getpid, pidfd_open, pidfd_send_signal};
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(Pid::from_raw)
        .filter(|pid| *pid != getpid() && is_tracked(*pid, wanted))
        .filter(|pid| {
            // The handle is taken first and the look repeated, so the signal cannot meet a stranger with this number.
            let Ok(handle) = pidfd_open(*pid, PidfdFlags::empty()) else { return false };
            is_tracked(*pid, wanted) && pidfd_send_signal(&handle, Signal::KILL).is_ok()
        })
        .count()
}

#[cfg(target_os = "linux")]
fn is_tracked(pid: Pid, wanted: &[u8]) -> bool {
    use std::io::Read;
    let Ok(file) = std::fs::File::open(format!("/proc/{}/environ", pid.as_raw_nonzero())) else {
        return false;
    };
    let mut environment = Vec::new();
    let read = file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut environment);
    read.is_ok() && environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(wanted))
}

#[cfg(not(target_os = "linux"))]
fn end_tracked_once(_wanted: &[u8]) -> usize {
    0
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn sh(script: &str, folder: &Path) -> Program {
        Program {
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]),
            folder: folder.to_owned(),
        }
    }

    async fn read_all(mut pipe: impl tokio::io::AsyncRead + Unpin) -> String {
        let mut text = String::new();
        pipe.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_process_gives_its_output_and_status_and_sees_only_its_own_environment() {
        let (process, pipes) =
            StepProcess::start(&sh("pwd; env | grep -v -e PATH -e PWD -e _; exit 3", Path::new("/")))
                .unwrap();
        assert_eq!(read_all(pipes.out).await, "/\n");
        assert_eq!(process.exited().await, Exit::Status(3));
        assert_eq!(process.exited().await.code(), 3);
    }

    #[tokio::test]
    async fn a_process_that_ignores_term_can_be_killed() {
        let (process, mut pipes) =
            StepProcess::start(&sh("trap '' TERM; echo ready; while :; do sleep 600; done", Path::new("/")))
                .unwrap();
        let mut ready = [0; 6];
        pipes.out.read_exact(&mut ready).await.unwrap();
        process.terminate();
        process.kill();
        assert_eq!(process.exited().await, Exit::Signal(9));
        assert_eq!(read_all(pipes.out).await, "", "the grandchild holds the pipe no longer");
    }

    #[tokio::test]
    async fn a_process_that_heeds_term_may_say_goodbye() {
        let script = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 600 & wait; done";
        let (process, mut pipes) = StepProcess::start(&sh(script, Path::new("/"))).unwrap();
        let mut ready = [0; 6];
        pipes.out.read_exact(&mut ready).await.unwrap();
        process.terminate();
        assert_eq!(process.exited().await, Exit::Status(7));
        process.kill();
        assert_eq!(read_all(pipes.out).await, "bye\n");
    }

    #[tokio::test]
    async fn dropping_ends_what_the_leader_left_behind() {
        let (process, mut pipes) = StepProcess::start(&sh("sleep 600 & echo left", Path::new("/"))).unwrap();
        let mut left = [0; 5];
        pipes.out.read_exact(&mut left).await.unwrap();
        assert_eq!(process.exited().await, Exit::Status(0));
        drop(process);
        assert_eq!(read_all(pipes.out).await, "");
    }

    #[tokio::test]
    async fn dropping_ends_a_running_group() {
        let (process, pipes) = StepProcess::start(&sh("sleep 600 & sleep 600", Path::new("/"))).unwrap();
        drop(process);
        assert_eq!(read_all(pipes.out).await, "");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn one_that_left_its_group_is_found_by_its_tracking_id() {
        let tracking = format!("wfengine_test_{}_", std::process::id());
        let mut program = sh("setsid sh -c 'echo away; exec sleep 600'", Path::new("/"));
        program.environment.insert("RUNNER_TRACKING_ID".to_owned(), format!("{tracking}7"));
        let (process, mut pipes) = StepProcess::start(&program).unwrap();
        let mut away = [0; 5];
        pipes.out.read_exact(&mut away).await.unwrap();
        drop(process);
        assert!(end_tracked(&tracking) >= 1);
        assert_eq!(read_all(pipes.out).await, "");
        assert_eq!(end_tracked(""), 0);
    }

    #[test]
    fn programs_are_found_in_the_given_path_only() {
        assert!(find_program("sh", "/nowhere:/bin", Path::new("/")).is_some());
        assert_eq!(find_program("sh", "/nowhere", Path::new("/")), None);
        assert_eq!(find_program("/bin/sh", "", Path::new("/")), Some("/bin/sh".into()));
        assert_eq!(find_program("/etc/passwd", "", Path::new("/")), None);
    }
}
