//! Two members with one organisation's queue.

use wfengine_tests::standin::{Progress, WantedJob, WantedRun};

use crate::cluster::{
    Two, by_author, every_job_had_one_runner, intents, organization, until_all_jobs_ended, until_at_work,
    until_job, until_late,
};
use crate::lab::{LABELS, Lab};

const REPOSITORIES: [&str; 3] = ["octo/one", "octo/two", "octo/three"];

/// Twelve jobs at once, then some more one by one.
fn share_the_queue(lab: &Lab, options: &[&str]) {
    let two = Two::start(lab, options, options);
    for repository in REPOSITORIES {
        lab.standin.queue_jobs(repository, "build do-slow-0.5", &LABELS, 4);
    }
    until_all_jobs_ended(lab);
    lab.until_nothing_is_left();
    every_job_had_one_runner(lab, &two.a);
    for round in 0..6 {
        let run = WantedRun::new(vec![WantedJob::new(&format!("single {round}"), &LABELS)]);
        let run = lab.standin.queue_run(REPOSITORIES[round % REPOSITORIES.len()], &run);
        let job = lab.standin.jobs().into_iter().find(|job| job.run == run).unwrap().id;
        until_job(lab, job, "has begun", |job| job.progress != Progress::Queued);
    }
    until_all_jobs_ended(lab);
    lab.until_nothing_is_left();
    every_job_had_one_runner(lab, &two.b);
    let intents = intents(&two.a);
    assert_eq!(by_author(&intents).len(), 2, "one of them did nothing: {intents:?}");
    two.end(lab);
}

#[test]
fn two_members_give_each_job_of_an_organisation_one_runner() {
    let Some(lab) = organization(&REPOSITORIES, "an organisation's queue between two members") else {
        return;
    };
    share_the_queue(&lab, &["--register", "organization"]);
}

#[test]
fn two_members_give_each_job_of_its_repositories_one_runner() {
    let Some(lab) = organization(&REPOSITORIES, "repositories' queues between two members") else { return };
    share_the_queue(&lab, &[]);
}

#[test]
fn two_members_together_never_pass_the_clusters_maximum() {
    let Some(lab) = Lab::new(&REPOSITORIES, "a maximum for the whole cluster") else { return };
    let two = Two::start(&lab, &["--cluster-max", "2"], &["--cluster-max", "2"]);
    for repository in REPOSITORIES {
        lab.standin.queue_jobs(repository, "build do-slow-0.5", &LABELS, 3);
    }
    until_all_jobs_ended(&lab);
    lab.every_job_was_done_once();
    lab.until_nothing_is_left();
    let most = lab.watched.lock().unwrap().most;
    assert_eq!(most, 2, "{:?}", intents(&two.a));
    two.end(&lab);
}

#[test]
fn a_member_at_capacity_leaves_its_jobs_to_the_next_in_turn() {
    let Some(lab) = Lab::new(&["octo/one"], "a member at capacity") else { return };
    let two = Two::start(&lab, &["--max-runners", "1"], &["--max-runners", "8"]);
    lab.standin.queue_jobs("octo/one", "build do-slow-30", &LABELS, 4);
    // the first that began is not through when the last one begins
    until_at_work(&lab, 4);
    let waited = lab.standin.jobs().into_iter().filter_map(|job| job.waited).max().unwrap();
    assert!(waited.as_secs() < 30, "{waited:?}");
    until_all_jobs_ended(&lab);
    lab.until_nothing_is_left();
    every_job_had_one_runner(&lab, &two.a);
    let intents = intents(&two.a);
    assert!(
        by_author(&intents).get("a").is_none_or(|count| *count <= 1) && by_author(&intents)["b"] >= 3,
        "{intents:?}"
    );
    let status = until_late("the log says that all are gone", || {
        Some(lab.status(&two.a)).filter(|status| status["runners"] == serde_json::json!([]))
    });
    assert_eq!(status["active_runners"], 0, "{status}");
    two.end(&lab);
}
