//! Runners that wait for jobs before there are any.

use std::time::Duration;

use wfengine_docker::Status;
use wfengine_tests::standin::{Fault, FaultRule, Progress, RunnerChange};

use crate::cluster::{end, until_all_jobs_ended, until_job, until_looked, until_waiting};
use crate::house::{House, until};
use crate::lab::{LABELS, Lab};

#[test]
fn a_waiting_runner_takes_a_job_at_once_is_replaced_and_leaves_github_first() {
    let Some(lab) = Lab::new(&["octo/one"], "runners that wait") else { return };
    let house = House::new();
    let node = lab.start(&house, &["--min-idle", "2", "--repo", "octo/one"]);
    let before = until_waiting(&lab, 2);
    let job = lab.standin.queue_jobs("octo/one", "build do-slow-60", &LABELS, 1)[0];
    let begun = until_job(&lab, job, "has begun", |job| job.progress != Progress::Queued);
    assert!(before.contains(&begun.runner_name.clone().unwrap()), "{begun:?}");
    assert!(begun.waited.unwrap() < Duration::from_secs(1), "{begun:?}");
    // filled again while the job still runs
    let after = until_waiting(&lab, 2);
    assert_eq!(after.intersection(&before).count(), 1, "{before:?} {after:?}");
    assert_eq!(lab.standin.job(job).progress, Progress::InProgress);
    lab.standin.cancel_job(job);
    until_all_jobs_ended(&lab);
    let status = until("the one that worked is gone", || {
        Some(lab.status(&house))
            .filter(|status| status["active_runners"] == 2 && status["pools"][0]["idle"] == 2)
    });
    assert_eq!(status["pools"][0]["idle_min"], 2, "{status}");
    assert_eq!(lab.watched.lock().unwrap().started, 3);
    // as long as GitHub does not let them go they stay
    lab.standin.fault(
        FaultRule::new("/repos/octo/one/actions/runners/*", Fault::HtmlPage { status: 502 })
            .method("DELETE")
            .always(),
    );
    house.ask(&["runner", "stop"]).ends(0);
    let asked = || {
        let all = lab.standin.requests();
        all.iter().filter(|request| request.method == "DELETE").count()
    };
    until("it was asked to", || (asked() >= 3).then_some(()));
    assert!(lab.containers().iter().all(|state| state.status == Status::Running), "{:?}", lab.containers());
    assert_eq!(lab.containers().len(), 2);
    lab.standin.clear_faults();
    lab.until_nothing_is_left();
    let deleted =
        lab.standin.runner_events().into_iter().filter(|event| event.change == RunnerChange::Deleted);
    assert_eq!(deleted.map(|event| event.name).collect::<std::collections::BTreeSet<_>>(), after);
    end(&lab, &house, node);
}

#[test]
fn a_floor_holds_at_its_hours_only_and_never_beyond_the_maximum() {
    let Some(lab) = Lab::new(&["octo/one"], "runners that wait by the hour") else { return };
    let house = House::new();
    // it falls to nothing at every minute
    let nothing_now = ["--repo", "octo/one", "--min-idle", "2", "--min-idle", "* * * * *=0"];
    let node = lab.start(&house, &nothing_now);
    let status = until_looked(&lab, &house, 3);
    assert_eq!(status["pools"][0]["idle_min"], 0, "{status}");
    assert_eq!((lab.watched.lock().unwrap().started, lab.standin.runner_events().len()), (0, 0));
    let all_there_may_be = ["--repo", "octo/one", "--min-idle", "2", "--max-runners", "2"];
    lab.turn_on(&house, &all_there_may_be).ends(0);
    until_waiting(&lab, 2);
    lab.standin.queue_jobs("octo/one", "build do-slow-1", &LABELS, 5);
    until_all_jobs_ended(&lab);
    lab.every_job_was_done_once();
    until_waiting(&lab, 2);
    // two at first, and one in the place of each that did a job
    until("the engine told of all of them", || (lab.watched.lock().unwrap().started == 7).then_some(()));
    assert_eq!(lab.watched.lock().unwrap().most, 2);
    house.ask(&["runner", "stop"]).ends(0);
    lab.until_nothing_is_left();
    end(&lab, &house, node);
}
