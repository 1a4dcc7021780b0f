//! Limits hold, the job that met them fails, and the next one goes on.

use crate::house::House;
use crate::lab::{LABELS, Lab};
use crate::{ended, kept, kept_once, runner_of, through};

/// What a runner's log may be kept of.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// A job that meets a limit in a pool with these options: its runner is ended with this reason, and another one does the next job.
fn meets(job: &str, more: &[&str], reason: &str) {
    let Some(lab) = Lab::new(&["octo/one"], "that a limit of a runner holds") else { return };
    let house = House::new();
    let node = lab.start(&house, &[&["--max-runners", "1"], more].concat());
    let greedy = lab.standin.queue_jobs("octo/one", job, &LABELS, 1)[0];
    let runner = runner_of(&lab, greedy);
    let next = lab.standin.queue_jobs("octo/one", "build", &LABELS, 1)[0];
    let greedy = ended(&lab, greedy);
    assert_eq!((greedy.conclusion.as_deref(), greedy.handed_out), (Some("failure"), 1), "{greedy:?}");
    assert!(greedy.log.last().is_some_and(|line| line.contains("lost communication")), "{greedy:?}");
    let next = ended(&lab, next);
    assert_eq!(next.conclusion.as_deref(), Some("success"));
    assert_ne!(next.runner_name.as_ref(), Some(&runner));
    kept_once(&house, &runner, reason);
    lab.until_nothing_is_left();
    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn a_job_that_takes_too_much_memory_is_killed() {
    meets("greedy do-allocate-500", &[], "failed: ran out of memory");
}

#[test]
fn a_workspace_that_grows_too_large_ends_its_runner() {
    meets(
        "greedy do-fill-40 do-never-ends",
        &["--workspace-size", "8m"],
        "workspace grew to 40 MiB, 8 MiB are allowed",
    );
}

#[test]
fn a_job_that_takes_too_long_is_ended() {
    meets(
        "greedy do-never-ends",
        &["--job-timeout", "3s"],
        "failed: its job took longer than the pool allows",
    );
}

#[test]
fn processes_and_output_are_bounded() {
    let Some(lab) = Lab::new(&["octo/one"], "that processes and output of a runner are bounded") else {
        return;
    };
    let house = House::new();
    let node = lab.start(&house, &["--pids", "64"]);
    let bomb = through(&lab, "octo/one", "bomb do-fork-2000");
    let forked = bomb.log.iter().find_map(|line| line.strip_prefix("fork: ")).unwrap();
    let count: u32 = forked.split(' ').next().unwrap().parse().unwrap();
    assert!((16..64).contains(&count) && forked.contains("then"), "{forked}");
    let flood = through(&lab, "octo/one", "flood do-flood-4096");
    assert_eq!(flood.conclusion.as_deref(), Some("success"));
    let runner = flood.runner_name.unwrap();
    kept_once(&house, &runner, "done (0)");
    let kept = kept(&house, &runner);
    let bytes = kept.bytes().filter(|byte| *byte != b'\n').count();
    // the end of it, and nearly as much as is allowed
    assert!((KEPT_BYTES_MAX * 9 / 10..=KEPT_BYTES_MAX).contains(&bytes), "{bytes}");
    assert!(kept.contains("completed with result: Succeeded"));
    lab.until_nothing_is_left();
    node.stop().ends(0);
    lab.is_content();
}
