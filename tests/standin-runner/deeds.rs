//! What a runner does on order, apart from taking a job: mostly what it should not.
//!
//! A job's deeds stand in its labels and in the words of its name, with `do-` in front: `do-slow-3`. A runner's stand in its
//! labels with `runner-do-` in front, in the environment variable `MODE` and in a test's orders to the service, both bare.
//!
//! ```text
//! before a job      crash-first      ends by a signal before it registers or connects
//!                   never-connects   registers where it has to, and then nothing
//!                   never-polls      is connected and never asks for a job
//!                   deprecated       ends with 7, or 1, as the original does when it is too old
//! in the job        slow-SECONDS     takes so long (1.5 is possible); ends early when cancelled
//!                   never-ends       not even when cancelled
//!                   crash            ends by a signal; nobody is told
//!                   exit-CODE        ends with this code; nobody is told
//!                   fail             the job fails
//!                   fill-MIB         writes so much into the workspace, or until it cannot
//!                   allocate-MIB     takes so much memory, or until it is killed
//!                   fork-N           starts so many processes that stay, or until it cannot
//!                   threads-N        the same with threads
//!                   flood-KIB        prints so much
//!                   scan-PORT-…      tries to reach others and says whom: see `scan`; with an ADDRESS also that one
//!                   inspect          says what it sees of its confinement: see `inspection`
//!                   leak             prints the environment, its own and that of the container's first process
//! ```
//!
//! Several are done in this order whatever order they were given in: looking, filling, waiting, ending.

use std::{
    env,
    fs::{self, File},
    io::Write,
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    inspection,
    listener::{Connected, Job, sleep_forever},
    scan,
};

const NAMES: [&str; 17] = [
    "crash-first",
    "never-connects",
    "never-polls",
    "deprecated",
    "slow",
    "never-ends",
    "crash",
    "exit",
    "fail",
    "fill",
    "allocate",
    "fork",
    "threads",
    "flood",
    "scan",
    "inspect",
    "leak",
];
const MIB: usize = 1024 * 1024;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Where no number is given: more than any limit that a test sets.
const MIB_DEFAULT: usize = 16 * 1024;
const COUNT_DEFAULT: usize = 4_096;

/// One deed and what it is given.
#[derive(Debug, Clone)]
pub(crate) struct Deed {
    name: &'static str,
    rest: String,
}

impl Deed {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    fn count(&self, otherwise: usize) -> usize {
        self.rest.parse().unwrap_or(otherwise)
    }
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    Failed,
    Cancelled,
}

/// A deed by its name, with what follows.
pub(crate) fn read(text: &str) -> Option<Deed> {
    let fits = |name: &&&'static str| {
        text.strip_prefix(**name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let name = NAMES.iter().filter(fits).max_by_key(|name| name.len())?;
    let rest = text[name.len()..].trim_start_matches('-').to_owned();
    Some(Deed { name, rest })
}

pub(crate) fn of_environment() -> Vec<Deed> {
    env::var("MODE").unwrap_or_default().split_whitespace().filter_map(read).collect()
}

/// Does it all, and says how the job ends.
pub(crate) fn perform(connected: &Connected, job: &Job, deeds: &[Deed]) -> End {
    let wanted = |name: &str| deeds.iter().find(|deed| deed.is(name));
    let work = &connected.configured.work;
    let made = fs::create_dir_all(work);
    let mut lines = vec![format!("{} on {}", job.name, connected.configured.name)];
    if let Err(error) = made {
        lines.push(format!("workspace {}: {error}", work.display()));
    }
    connected.say(&lines);
    if wanted("inspect").is_some() {
        connected.say(&inspection::lines(work));
    }
    if wanted("leak").is_some() {
        leak();
    }
    if let Some(scan) = wanted("scan") {
        connected.say(&scan::lines(&scan.rest));
    }
    if let Some(flood) = wanted("flood") {
        let line = "x".repeat(1_023);
        for _ in 0..flood.count(COUNT_DEFAULT) {
            println!("{line}");
        }
    }
    if let Some(fill) = wanted("fill") {
        connected.say(&[filled(work, fill.count(MIB_DEFAULT))]);
    }
    let mut held = Vec::new();
    if let Some(allocate) = wanted("allocate") {
        for _ in 0..allocate.count(MIB_DEFAULT) {
            // every page is written to, so that it is really there
            held.push(vec![1_u8; MIB]);
        }
        connected.say(&[format!("allocate: {} MiB", held.len())]);
    }
    let mut children = Vec::new();
    if let Some(fork) = wanted("fork") {
        connected.say(&[forked(&mut children, fork.count(COUNT_DEFAULT))]);
    }
    if let Some(threads) = wanted("threads") {
        connected.say(&[threaded(threads.count(COUNT_DEFAULT))]);
    }
    let end = waited(connected, job, deeds);
    for mut child in children {
        // one that is gone already is no trouble
        let _ = child.kill();
        let _ = child.wait();
    }
    drop(held);
    if wanted("crash").is_some() {
        eprintln!("crashing in the job");
        process::abort();
    }
    if let Some(exit) = wanted("exit") {
        process::exit(exit.rest.parse().unwrap_or(1));
    }
    match end {
        End::Succeeded if wanted("fail").is_some() => End::Failed,
        end => end,
    }
}

/// What a careless step prints. Here alone: the service is not told.
fn leak() {
    let first = fs::read("/proc/1/environ").unwrap_or_default();
    let first = String::from_utf8_lossy(&first).into_owned();
    let own = env::vars_os()
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()));
    for line in own.chain(first.split('\0').map(str::to_owned)) {
        println!("leak: {line}");
    }
}

fn waited(connected: &Connected, job: &Job, deeds: &[Deed]) -> End {
    if deeds.iter().any(|deed| deed.is("never-ends")) {
        println!("never ending");
        sleep_forever();
    }
    let slow = deeds.iter().rev().find(|deed| deed.is("slow"));
    let seconds = slow.map_or(0.0, |slow| slow.rest.parse().unwrap_or(1.0));
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < seconds {
        if connected.news.is_cancelled(job.id) {
            println!("The job was canceled.");
            return End::Cancelled;
        }
        thread::sleep(LOOK_EVERY);
    }
    if connected.news.is_cancelled(job.id) { End::Cancelled } else { End::Succeeded }
}

fn filled(work: &std::path::Path, wanted: usize) -> String {
    let path = work.join("filled");
    let block = vec![7_u8; MIB];
    let mut written = 0;
    let result = File::create(&path).and_then(|mut file| {
        while written < wanted {
            file.write_all(&block)?;
            written += 1;
        }
        file.sync_all()
    });
    match result {
        Ok(()) => format!("fill: {written} MiB"),
        Err(error) => format!("fill: {written} MiB, then {error}"),
    }
}

fn forked(children: &mut Vec<Child>, wanted: usize) -> String {
    while children.len() < wanted {
        let mut command = Command::new("/proc/self/exe");
        command.arg("idle").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => children.push(child),
            Err(error) => return format!("fork: {} processes, then {error}", children.len()),
        }
    }
    format!("fork: {} processes", children.len())
}

fn threaded(wanted: usize) -> String {
    for made in 0..wanted {
        let builder = thread::Builder::new().stack_size(64 * 1024);
        if let Err(error) = builder.spawn(|| sleep_forever()) {
            return format!("threads: {made} threads, then {error}");
        }
    }
    format!("threads: {wanted} threads")
}
