//! Repositories that are renamed, made public or deleted while something goes on in them.

use crate::begin::{queue, registered, start, until_done, until_looks, until_no_trouble, until_service};
use crate::house::{House, text, until};
use crate::lab::{LABELS, Lab};

#[test]
fn a_repository_that_is_renamed_while_its_runner_works_is_served_under_its_new_name() {
    let Some(lab) = Lab::new(&["octo/one"], "a repository that is renamed") else { return };
    let house = House::new();
    let node = start(&lab, &house, &[]);
    let job = queue(&lab, "octo/one", "build do-slow-4");
    until_service(&lab, "the job has begun", |standin| standin.job(job).started_at.is_some());
    lab.standin.rename_repository("octo/one", "octo/uno");
    let after = queue(&lab, "octo/uno", "build");
    until_done(&lab, job);
    until_done(&lab, after);
    lab.until_nothing_is_left();
    assert_eq!(registered(&lab).len(), 2, "one for each job");
    let status = until("the log says that all of them are gone", || {
        Some(lab.status(&house)).filter(|status| status["runners"] == serde_json::json!([]))
    });
    assert_eq!(status["repositories_monitored"], 1, "{status}");
    let said = node.stop().ends(0);
    assert!(said.out.contains("for octo/uno"), "{said:?}");
    lab.is_content();
}

#[test]
fn a_repository_that_is_made_public_while_jobs_wait_gets_no_more_runners() {
    let Some(lab) = Lab::new(&["octo/one"], "a repository that is made public") else { return };
    let house = House::new();
    let node = start(&lab, &house, &["--max-runners", "1", "--idle-timeout", "1s"]);
    let first = queue(&lab, "octo/one", "build do-slow-4");
    until_service(&lab, "the job has begun", |standin| standin.job(first).started_at.is_some());
    let waiting = lab.standin.queue_jobs("octo/one", "build", &LABELS, 2);
    lab.standin.set_private("octo/one", false);
    until_done(&lab, first);
    let status = until("they are refused", || {
        Some(lab.status(&house)).filter(|status| status["refused"].as_array().unwrap().len() == 2)
    });
    let refused = &status["refused"][0];
    assert!(
        text(refused, "why").contains("public") && text(refused, "remedy").contains("--allow-"),
        "{refused}"
    );
    assert!(refused["labels"].as_array().unwrap().contains(&"self-hosted".into()), "{refused}");
    assert!(text(refused, "url").contains("/octo/one/actions/runs/"), "{refused}");
    lab.until_nothing_is_left();
    until_looks(&lab, &house, 3);
    assert_eq!(registered(&lab).len(), 1, "none was started for them");
    assert!(waiting.iter().all(|job| lab.standin.job(*job).handed_out == 0));
    // and back
    lab.standin.set_private("octo/one", true);
    for job in waiting {
        until_done(&lab, job);
    }
    lab.until_nothing_is_left();
    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn a_repository_that_is_deleted_takes_its_jobs_along_and_nothing_is_left() {
    let Some(lab) = Lab::new(&["octo/one", "octo/two"], "a repository that is deleted") else { return };
    let house = House::new();
    let node = start(&lab, &house, &["--idle-timeout", "1s"]);
    let job = queue(&lab, "octo/two", "build do-slow-30");
    until_service(&lab, "the job has begun", |standin| standin.job(job).started_at.is_some());
    lab.standin.delete_repository("octo/two");
    until("nothing of it is left at the engine", || lab.left().is_empty().then_some(()));
    until_done(&lab, queue(&lab, "octo/one", "build"));
    let status = until("the log says that all of them are gone", || {
        Some(lab.status(&house)).filter(|status| status["runners"] == serde_json::json!([]))
    });
    assert_eq!(status["repositories_monitored"], 1, "{status}");
    // what was asked just before it was known is forgotten with it
    until_no_trouble(&lab, &house);
    node.stop().ends(0);
    house.ask(&["replay", "--verify"]).ends(0);
    assert_eq!(lab.standin.requests_during_limits().len(), 0);
}
