//! Timing: seconds of a piece of work, medians over rounds taken in turns, percentiles, peak memory, one line per result.

use std::hint::black_box;
use std::process::{Command, ExitStatus};
use std::time::Instant;

/// Seconds that a piece of work takes, and what it returned.
pub fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let started = Instant::now();
    let outcome = black_box(work());
    (started.elapsed().as_secs_f64(), outcome)
}

/// The value in the middle; of an even number the upper of the two.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value below which this part of the values lies.
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let place = (sorted.len() as f64 * part) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// A rate as people read it.
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate >= 1e6 => format!("{:.2} M/s", rate / 1e6),
        rate if rate >= 1e4 => format!("{:.1} k/s", rate / 1e3),
        rate if rate >= 1e3 => format!("{:.2} k/s", rate / 1e3),
        rate => format!("{rate:.0}/s"),
    }
}

/// Milliseconds as people read them.
pub fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

/// Prints the head of the table that [`line()`] fills.
pub fn head(question: &str) {
    println!("{question}\n");
    println!("{:<48} {:>12} {:>12} {:>7}  goal", "", "ours", "reference", "ratio");
}

/// Prints one result. `ratio` is ours over the reference.
pub fn line(what: &str, ours: &str, reference: &str, ratio: Option<f64>, goal: &str) {
    let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    println!("{what:<48} {ours:>12} {reference:>12} {ratio:>7}  {goal}");
}

/// Most memory that this process ever held, in bytes; `None` where the system does not say.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Variable that tells a bench's own child process what to do.
const PART: &str = "WFENGINE_BENCH_PART";

/// What this process is to do, if it is a child that [`in_child`] started.
pub fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Runs a part of the bench in a process of its own: for what must not count into this one's memory, or is to end unclean.
pub fn in_child(part: &str) -> ExitStatus {
    let program = std::env::current_exe().expect("the bench knows its own file");
    Command::new(program).env(PART, part).status().expect("the bench starts itself again")
}

/// As [`in_child`], and returns what the child printed.
pub fn output_of_child(part: &str) -> String {
    let program = std::env::current_exe().expect("the bench knows its own file");
    let output = Command::new(program).env(PART, part).output().expect("the bench starts itself again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
