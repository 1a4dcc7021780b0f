//! How jobs end before their time: limits, cancels, lost claims, dropped futures. Nobody may be left.

use std::{path::Path, time::Duration};

use crate::harness::{Bench, bench, steps, stop_at};
use tokio::sync::{mpsc, watch};
use wfengine_executor::{AlwaysOpen, Control, Ending, Gate, JobEvent, StopReason, run_job};
use wfengine_workflow::Conclusion;

/// A pipe in the file system: reading it ends when the last process that holds it open for writing has died.
struct Witness {
    read: tokio::task::JoinHandle<std::io::Result<Vec<u8>>>,
}

impl Witness {
    fn at(path: &Path) -> Self {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
        let path = path.to_owned();
        Witness { read: tokio::task::spawn_blocking(move || std::fs::read(path)) }
    }

    async fn sees_everybody_gone(self) {
        let read = tokio::time::timeout(Duration::from_secs(60), self.read).await;
        read.expect("a process of the job is alive").unwrap().unwrap();
    }
}

fn watched(steps_text: &str) -> (Bench, Witness) {
    let mut job = steps(steps_text);
    let witness = Witness::at(&job.lend_workspace().join("alive"));
    (job, witness)
}

#[tokio::test]
async fn a_step_that_takes_too_long_is_ended_with_its_children() {
    let (job, witness) = watched(
        r#"
- timeout-minutes: 0.01
  run: |
    exec 3> alive
    sh -c 'sleep 600' &
    sleep 600
- if: failure()
  run: echo afterwards
"#,
    );
    let ran = job.run().await;
    assert_eq!(ran.verdicts(), ["failure/failure", "success/success"]);
    assert_eq!((ran.outcome.conclusion, ran.outcome.ending), (Conclusion::Failure, Ending::Complete));
    assert!(ran.notes().contains("it took longer than its 0.01 minutes"), "{}", ran.notes());
    assert!(!ran.notes().contains("in the background"));
    witness.sees_everybody_gone().await;
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_cancelled_but_cleans_up() {
    let ran = bench(
        r#"    timeout-minutes: 0.01
    steps:
      - run: sleep 600
      - run: echo skipped
      - if: failure()
        run: echo not a failure
      - if: always()
        run: echo clean
"#,
    )
    .run()
    .await;
    assert_eq!(
        ran.verdicts(),
        ["cancelled/cancelled", "skipped/skipped", "skipped/skipped", "success/success"]
    );
    assert_eq!((ran.outcome.conclusion, ran.outcome.ending), (Conclusion::Cancelled, Ending::TimedOut));
    assert_eq!(ran.printed(), ["clean"]);
}

#[tokio::test]
async fn cleaning_up_has_a_limit_too() {
    let ran = bench(
        r#"    timeout-minutes: 0.005
    cancel-timeout-minutes: 0.005
    steps:
      - run: sleep 600
      - if: always()
        run: sleep 600
      - if: always()
        run: echo too late
"#,
    )
    .run()
    .await;
    assert_eq!(ran.verdicts(), ["cancelled/cancelled", "cancelled/cancelled", "skipped/skipped"]);
    assert_eq!(ran.outcome.ending, Ending::TimedOut);
}

#[tokio::test]
async fn a_cancelled_step_may_say_goodbye_and_cleanup_steps_run() {
    let mut job = steps(
        r#"
- run: |
    trap 'echo bye; exit 0' TERM
    echo ready
    sleep 600 & wait
- run: echo skipped
- if: cancelled()
  run: echo "clean ${{ job.status }}"
"#,
    );
    job.stops = vec![stop_at("ready", StopReason::Cancelled, 60_000)];
    let ran = job.run().await;
    assert_eq!(ran.printed(), ["ready", "bye", "clean cancelled"]);
    assert_eq!(ran.verdicts(), ["cancelled/cancelled", "skipped/skipped", "success/success"]);
    assert_eq!(
        (ran.outcome.conclusion, ran.outcome.ending),
        (Conclusion::Cancelled, Ending::Stopped(StopReason::Cancelled))
    );
}

#[tokio::test]
async fn a_step_that_ignores_term_is_killed_with_its_children_after_the_grace() {
    let (mut job, witness) = watched(
        r#"
- run: |
    exec 3> alive
    trap '' TERM
    echo ready
    while :; do sleep 600; done
"#,
    );
    job.stops = vec![stop_at("ready", StopReason::Cancelled, 50)];
    let ran = job.run().await;
    assert_eq!(ran.outcome.steps[0].exit_code, Some(137));
    assert_eq!(ran.outcome.conclusion, Conclusion::Cancelled);
    witness.sees_everybody_gone().await;
}

#[tokio::test]
async fn a_second_stop_ends_the_cleaning_up() {
    let mut job = steps(
        r#"
- run: echo ready; sleep 600
- if: always()
  run: echo cleaning; sleep 600
- if: always()
  run: echo unreached
"#,
    );
    job.stops = vec![
        stop_at("ready", StopReason::Cancelled, 60_000),
        stop_at("cleaning", StopReason::Shutdown, 60_000),
    ];
    let ran = job.run().await;
    assert_eq!(ran.printed(), ["ready", "cleaning"]);
    assert_eq!(ran.outcome.ending, Ending::Stopped(StopReason::Shutdown));
}

#[tokio::test]
async fn after_a_lost_claim_nothing_runs_any_more() {
    let mut job = steps("- run: echo ready; sleep 600\n- if: always()\n  run: echo unreached\n");
    job.stops = vec![stop_at("ready", StopReason::ClaimLost, 60_000)];
    let ran = job.run().await;
    assert_eq!(ran.printed(), ["ready"]);
    assert_eq!(ran.outcome.ending, Ending::Stopped(StopReason::ClaimLost));
    assert_eq!(ran.verdicts(), ["cancelled/cancelled", "skipped/skipped"]);
}

struct OpenUntil(u32, Vec<u32>);

impl Gate for OpenUntil {
    async fn may_start(&mut self, number: u32) -> bool {
        self.1.push(number);
        number < self.0
    }
}

#[tokio::test]
async fn the_gate_is_asked_before_each_step_that_would_run() {
    let job = steps(
        "- run: echo one\n- if: false\n  run: echo never\n- run: echo three\n- if: always()\n  run: echo four\n",
    );
    let mut gate = OpenUntil(3, Vec::new());
    let ran = job.run_through(&mut gate).await;
    assert_eq!(gate.1, [1, 3]);
    assert_eq!(ran.printed(), ["one"]);
    assert_eq!(ran.outcome.ending, Ending::Stopped(StopReason::ClaimLost));
}

#[tokio::test]
async fn what_a_step_leaves_in_the_background_lives_until_the_job_ends() {
    let (job, witness) = watched(
        r#"
- run: |
    exec 3> alive
    sleep 600 & echo $! > first
    setsid sh -c 'echo $$ > second; exec sleep 600' > /dev/null 2>&1 &
    until test -s second; do :; done
- run: kill -0 "$(cat first)" && kill -0 "$(cat second)" && echo both alive
"#,
    );
    let ran = job.run().await;
    assert_eq!(ran.printed(), ["both alive"], "{}", ran.notes());
    assert!(ran.notes().contains("goes on in the background"));
    witness.sees_everybody_gone().await;
}

#[tokio::test]
async fn dropping_a_running_job_leaves_nobody_and_nothing() {
    let (job, witness) =
        watched("- run: |\n    exec 3> alive\n    setsid sleep 600 &\n    echo ready\n    sleep 600\n");
    let root = job.temp_root();
    let (sender, mut ready) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        let workflow = job.parsed();
        let (_control, stops) = watch::channel(Control::Continue);
        let mut hear = |event: JobEvent| {
            if matches!(&event, JobEvent::Line(line) if line.text == b"ready") {
                sender.send(()).unwrap();
            }
        };
        run_job(job.input(&workflow), &mut hear, stops, &mut AlwaysOpen).await.map(|_| job.folder)
    });
    ready.recv().await.unwrap();
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 1);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(!root.exists() || std::fs::read_dir(&root).unwrap().count() == 0);
    witness.sees_everybody_gone().await;
}

#[tokio::test]
async fn a_stop_before_the_first_step_is_heard() {
    let job = steps("- run: echo unreached\n");
    let workflow = job.parsed();
    let stop = stop_at("", StopReason::Cancelled, 0).stop;
    let (_, stops) = watch::channel(Control::Stop(stop));
    let mut hear = |_: JobEvent| {};
    let outcome = run_job(job.input(&workflow), &mut hear, stops, &mut AlwaysOpen).await.unwrap();
    assert_eq!(outcome.conclusion, Conclusion::Cancelled);
    assert_eq!(outcome.steps[0].outcome, Conclusion::Skipped);
}

#[tokio::test]
async fn folders_that_cannot_be_made_are_an_error_of_this_host() {
    let job = steps("- run: echo unreached\n");
    std::fs::write(job.temp_root(), "a file in the way").unwrap();
    let (result, _, _job) = job.try_run(&mut AlwaysOpen).await;
    let error = result.unwrap_err().to_string();
    assert!(error.starts_with("no folders for the job in"), "{error}");
}
