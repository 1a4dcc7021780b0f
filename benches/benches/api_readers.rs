//! What 1,000 reads a second on the HTTP interface cost whoever submits (submissions/s), and whether they make the node grow (resident memory).
//!
//! A serving node of the release build in a scratch directory, with runs and tasks in its log. One client submits tasks over HTTP, each when
//! the one before was answered, for some seconds without readers and for as many with them, in turns: the reference is the same client in the
//! same minute without readers. Readers ask at fixed moments and not when they were answered, on connections that stay open, for the status, the
//! clock, lists of runs and single runs. Then readers alone go on for minutes while the node's resident memory is looked at every second; a line is
//! laid through what it was after the first quarter.
//!
//! Readers, submitter and node share the processors, so what a reader costs on its own side is in the figure too.
//!
//! `cargo build --release -p wfengine && cargo bench -p wfengine-benches --bench api_readers -- --minutes 10`; one minute without it.
//! `--reads 500` asks for another rate. Another binary is named by `WFENGINE_BIN`.

#![expect(clippy::expect_used, reason = "a bench stops when what it measures is wrong")]
#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wfengine_benches::measure::{head, line, median, milliseconds, percentile, rate, timed};

/// Tasks in the log before anything is measured.
const TASKS_BEFORE: usize = 500;
/// Turns without and with readers.
const TURNS: usize = 7;
/// Seconds of each.
const TURN_SECONDS: u64 = 5;
/// Connections of readers.
const READERS: u64 = 10;
/// What readers ask, in turns.
const READS: [&str; 4] =
    ["/api/v1/status", "/api/v1/clock", "/api/v1/runs?limit=10", "/api/v1/runs/before-100"];
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A serving node, ended when dropped.
struct Serving {
    node: Child,
    address: String,
    token: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

impl Serving {
    fn start(binary: &PathBuf, data: &std::path::Path) -> Self {
        let mut command = Command::new(binary);
        command.arg("--data-dir").arg(data).args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut node = command.spawn().expect("the program starts");
        let mut said = BufReader::new(node.stdout.take().expect("it is piped")).lines();
        let address = said
            .find_map(|line| {
                let line = line.expect("it is text");
                let (_, rest) = line.split_once("programs ask at http://")?;
                rest.split_whitespace().next().map(str::to_owned)
            })
            .expect("the node says where it answers");
        let token = std::fs::read_to_string(data.join("http-token")).expect("the node made a token");
        // whoever stops reading would stop a node that goes on printing
        thread::spawn(move || said.for_each(drop));
        Self { node, address, token }
    }

    /// Resident memory in bytes.
    fn resident(&self) -> u64 {
        let file = format!("/proc/{}/status", self.node.id());
        let status = std::fs::read_to_string(file).expect("the node goes on");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the system says it");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        kib * 1024
    }
}

/// A connection that stays open.
struct Client {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Client {
    fn new(serving: &Serving) -> Self {
        let stream = TcpStream::connect(&serving.address).expect("the node listens");
        stream.set_nodelay(true).expect("a socket of TCP");
        let head = format!("Host: {}\r\nAuthorization: Bearer {}\r\n", serving.address, serving.token.trim());
        Self { stream: BufReader::new(stream), head }
    }

    /// The status of the answer.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> u16 {
        let head = &self.head;
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\n{head}{kind}Content-Length: {length}\r\n\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes()).expect("the node reads");
        let mut status = 0;
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.stream.read_line(&mut line).expect("the node answers");
            assert!(read > 0, "the connection ended in the middle of an answer");
            let told = line.trim_end();
            if told.is_empty() {
                break;
            }
            if let Some(rest) = told.strip_prefix("HTTP/1.1 ") {
                status = rest.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
            } else if let Some((name, value)) = told.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length is a number");
            }
        }
        assert!(length <= ANSWER_BYTES_MAX, "{path}: {length} bytes");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the whole answer");
        status
    }

    fn submit(&mut self, id: &str) {
        let body = format!("{{\"id\": \"{id}\", \"name\": \"a task\"}}");
        let status = self.ask("POST", "/api/v1/tasks", &body);
        assert_eq!(status, 200, "{id} was not submitted");
    }
}

/// What readers did.
#[derive(Default)]
struct Reads {
    answered: AtomicU64,
    /// Those that could not begin when they should, for the one before was not yet answered by more than a tenth of a second.
    late: AtomicU64,
}

/// One reader among several that ask so often together, until it is told to stop.
fn read(serving: &Serving, number: u64, reads_per_second: u64, stop: &AtomicBool, reads: &Reads) -> Vec<f64> {
    let mut client = Client::new(serving);
    let gap = Duration::from_secs(1) * u32::try_from(READERS).expect("few")
        / u32::try_from(reads_per_second).expect("few");
    let mut due =
        Instant::now() + gap * u32::try_from(number).expect("few") / u32::try_from(READERS).expect("few");
    let mut took = Vec::new();
    for path in READS.iter().cycle().skip(usize::try_from(number).expect("few")) {
        while let Some(wait) = due.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero()) {
            thread::park_timeout(wait);
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if due.elapsed() > Duration::from_millis(100) {
            reads.late.fetch_add(1, Ordering::Relaxed);
        }
        let (seconds, status) = timed(|| client.ask("GET", path, ""));
        assert_eq!(status, 200, "{path}");
        reads.answered.fetch_add(1, Ordering::Relaxed);
        took.push(seconds);
        due += gap;
    }
    took
}

/// Does something while readers read; what it returned, how many reads a second were answered, how many were late, and how long each took.
fn among_readers<T>(
    serving: &Serving,
    reads_per_second: u64,
    work: impl FnOnce() -> T,
) -> (T, f64, u64, Vec<f64>) {
    let (stop, reads) = (AtomicBool::new(false), Reads::default());
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let (stop, reads) = (&stop, &reads);
                scope.spawn(move || read(serving, number, reads_per_second, stop, reads))
            })
            .collect();
        let (seconds, done) = timed(work);
        let answered = reads.answered.load(Ordering::Relaxed) as f64 / seconds;
        stop.store(true, Ordering::Relaxed);
        let took = readers.into_iter().flat_map(|reader| reader.join().expect("a reader")).collect();
        (done, answered, reads.late.load(Ordering::Relaxed), took)
    })
}

/// Submits for some seconds; how many a second.
fn submissions(client: &mut Client, turn: &str) -> f64 {
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < Duration::from_secs(TURN_SECONDS) {
        client.submit(&format!("{turn}-{count}"));
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn submit_rate(serving: &Serving, reads_per_second: u64) {
    let mut client = Client::new(serving);
    for number in 0..TASKS_BEFORE {
        client.submit(&format!("before-{number}"));
    }
    let (mut with, mut without, mut answered, mut waits, mut late) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
    for turn in 0..TURNS {
        let alone = submissions(&mut client, &format!("alone-{turn}"));
        let (among, reads, turn_late, took) =
            among_readers(serving, reads_per_second, || submissions(&mut client, &format!("among-{turn}")));
        without.push(alone);
        with.push(among);
        answered.push(reads);
        waits.extend(took);
        late += turn_late;
    }
    let ratios: Vec<f64> = with.iter().zip(&without).map(|(with, without)| with / without).collect();
    let ratio = median(&ratios);
    line(
        &format!("submit, one at a time, beside {} reads", rate(median(&answered))),
        &rate(median(&with)),
        &rate(median(&without)),
        Some(ratio),
        ">= 0.9",
    );
    let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = ratios.iter().copied().fold(0.0, f64::max);
    println!("    ratios of {TURNS} turns: {lowest:.2} to {highest:.2}; {late} reads began late");
    line("a read, p50", &milliseconds(median(&waits)), "", None, "");
    line("a read, p99", &milliseconds(percentile(&waits, 0.99)), "", None, "");
}

/// The slope of a line through points that lie a second apart, per minute.
fn slope_per_minute(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (place, value) in values.iter().enumerate() {
        let from_middle = place as f64 - middle;
        above += from_middle * (value - mean);
        below += from_middle * from_middle;
    }
    60.0 * above / below
}

fn memory(serving: &Serving, reads_per_second: u64, minutes: u64) {
    let watch = || {
        let begun = Instant::now();
        let mut resident = Vec::new();
        for second in 1..=minutes * 60 {
            while let Some(wait) =
                Duration::from_secs(second).checked_sub(begun.elapsed()).filter(|wait| !wait.is_zero())
            {
                thread::park_timeout(wait);
            }
            resident.push(serving.resident() as f64);
        }
        resident
    };
    let (resident, answered, late, _) = among_readers(serving, reads_per_second, watch);
    let (warming, rest) = resident.split_at(resident.len() / 4);
    let mib = |bytes: f64| format!("{:.1} MiB", bytes / (1024.0 * 1024.0));
    let (first, last) =
        (warming.first().copied().unwrap_or(f64::NAN), rest.last().copied().unwrap_or(f64::NAN));
    line(
        &format!("resident after {minutes} min of {} reads", rate(answered)),
        &mib(last),
        &mib(first),
        Some(last / first),
        "flat",
    );
    let least = rest.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rest.iter().copied().fold(0.0, f64::max);
    println!(
        "    after the first quarter: {:+.1} KiB a minute, between {} and {}; {late} reads began late",
        slope_per_minute(rest) / 1024.0,
        mib(least),
        mib(most),
    );
}

fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("WFENGINE_BIN").map(PathBuf::from);
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.parent()?.parent()?.join("wfengine"))
    };
    named.or_else(beside).filter(|path| path.exists())
}

/// The number behind a word of the command line.
fn wished(word: &str, otherwise: u64) -> u64 {
    let said: Vec<String> = std::env::args().collect();
    let place = said.iter().position(|said| said == word);
    let number = place.and_then(|place| said.get(place + 1)).map(|number| number.parse::<u64>());
    number.map_or(otherwise, |number| {
        number.ok().filter(|number| (1..=10_000).contains(number)).expect("1 to 10000")
    })
}

fn main() {
    let Some(binary) = binary() else {
        println!(
            "not run: build the program first, `cargo build --release -p wfengine`, or name it by WFENGINE_BIN"
        );
        return;
    };
    let (minutes, reads_per_second) = (wished("--minutes", 1), wished("--reads", 1_000));
    let dir = tempfile::tempdir().expect("a scratch directory");
    let serving = Serving::start(&binary, &dir.path().join("data"));
    head(
        "what readers of the HTTP interface cost; reference: the same without readers, and what was resident at first",
    );
    submit_rate(&serving, reads_per_second);
    memory(&serving, reads_per_second, minutes);
}
