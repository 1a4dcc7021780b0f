//! Jobs that go away, and jobs that are nobody's.

use crate::begin::{configurations, queue, registered, start, until_done, until_looks, until_service};
use crate::house::{House, until};
use crate::lab::{LABELS, Lab};
use crate::proxy::{Act, Gate, Proxy};

#[test]
fn jobs_that_are_cancelled_while_their_runner_starts_leave_nothing() {
    let Some(lab) = Lab::new(&["octo/one"], "jobs that are cancelled while their runner starts") else {
        return;
    };
    let house = House::new();
    let proxy = Proxy::new(lab.engine.endpoint().path());
    let gate = Gate::default();
    proxy.order("POST", "/containers/*/start", 2, Act::Hold(gate.clone()));
    let host = proxy.url();
    let node = start(&lab, &house, &["--docker-host", &host, "--idle-timeout", "1s"]);
    let jobs = lab.standin.queue_jobs("octo/one", "build", &LABELS, 2);
    until("both runners are about to start", || (gate.arrived() == 2).then_some(()));
    for job in &jobs {
        lab.standin.cancel_job(*job);
    }
    until_looks(&lab, &house, 2);
    gate.open();
    lab.until_nothing_is_left();
    assert_eq!(configurations(&lab, "octo/one"), 2, "no further runner was made");
    assert_eq!(lab.watched.lock().unwrap().started, 2);
    assert!(lab.standin.jobs().iter().all(|job| job.handed_out == 0));
    // and it goes on as if nothing had been
    until_done(&lab, queue(&lab, "octo/one", "build"));
    lab.until_nothing_is_left();
    assert_eq!(registered(&lab).len(), 3);
    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn a_runner_whose_job_another_one_took_leaves_github_first_and_the_engine_second() {
    let Some(lab) = Lab::new(&["octo/one"], "a job that another runner takes") else { return };
    let house = House::new();
    let proxy = Proxy::new(lab.engine.endpoint().path());
    let (starts, stops) = (Gate::default(), Gate::default());
    proxy.order("POST", "/containers/*/start", 1, Act::Hold(starts.clone()));
    proxy.order("POST", "/containers/*/stop", 1, Act::Hold(stops.clone()));
    let host = proxy.url();
    let node = start(&lab, &house, &["--docker-host", &host, "--idle-timeout", "2s"]);
    let job = queue(&lab, "octo/one", "build");
    until("our runner is about to start", || (starts.arrived() == 1).then_some(()));
    let theirs = lab.standin.add_runner("octo/one", "theirs", &["linux"]);
    lab.standin.take_job(theirs, job);
    starts.open();
    until("our runner is to be stopped", || (stops.arrived() == 1).then_some(()));
    let names: Vec<String> = lab.standin.runners().into_iter().map(|runner| runner.name).collect();
    assert_eq!(names, ["theirs"], "GitHub has let it go before");
    assert_eq!(lab.containers().len(), 1, "the engine has not");
    stops.open();
    until("it is gone", || lab.left().is_empty().then_some(()));
    lab.standin.end_job(job, "success");
    until_done(&lab, job);
    lab.standin.remove_runner(theirs);
    until_looks(&lab, &house, 2);
    assert_eq!(registered(&lab).len(), 2, "ours and theirs: {:?}", registered(&lab));
    lab.until_nothing_is_left();
    let said = node.stop().ends(0);
    assert!(!said.err.contains(" ERROR "), "{said:?}");
    lab.is_content();
}

#[test]
fn jobs_for_labels_that_nobody_has_start_nothing_and_say_nothing() {
    let Some(lab) = Lab::new(&["octo/one"], "labels that nobody can serve") else { return };
    let house = House::new();
    let node = start(&lab, &house, &[]);
    lab.standin.queue_jobs("octo/one", "build", &["self-hosted", "quantum"], 3);
    lab.standin.queue_jobs("octo/one", "build", &["windows-latest"], 3);
    until_looks(&lab, &house, 3);
    let status = lab.status(&house);
    let nothing = serde_json::json!([]);
    assert_eq!(
        (&status["troubles"], &status["refused"], &status["runners"]),
        (&nothing, &nothing, &nothing),
        "{status}"
    );
    assert_eq!(status["queued_workflows"], 0);
    assert_eq!((registered(&lab).len(), configurations(&lab, "octo/one")), (0, 0));
    // one that can be served among them is
    until_done(&lab, queue(&lab, "octo/one", "build"));
    lab.until_nothing_is_left();
    let said = node.stop().ends(0);
    for word in ["quantum", "windows", "WARN", "ERROR"] {
        assert!(!said.out.contains(word) && !said.err.contains(word), "{word}: {said:?}");
    }
    lab.is_content();
}

#[test]
fn a_runner_that_gets_a_job_while_it_is_let_go_does_it() {
    use wfengine_tests::standin::{ErrorCase, Fault, FaultRule};
    let Some(lab) = Lab::new(&["octo/one"], "a job that comes while its runner is let go") else { return };
    let house = House::new();
    let node = start(&lab, &house, &["--idle-timeout", "1s"]);
    let refused = Fault::Error(ErrorCase::DeleteBusyRunner);
    lab.standin.fault(FaultRule::new("/repos/octo/one/actions/runners/*", refused).method("DELETE"));
    let asked = lab.command(&house, &["--json", "runner", "provision", "--repo", "octo/one"]);
    let asked = crate::house::Live::start(asked).end().ends(0).json().remove(0);
    assert_eq!(asked["data"]["status"], "provisioned", "{asked}");
    until_service(&lab, "GitHub would not let it go", |standin| standin.faults_left() == 0);
    let job = until_done(&lab, queue(&lab, "octo/one", "build"));
    assert_eq!(job.runner_name.as_deref(), asked["data"]["name"].as_str());
    lab.until_nothing_is_left();
    assert_eq!(registered(&lab).len(), 1, "no other runner was needed");
    assert_eq!(lab.status(&house)["troubles"], serde_json::json!([]));
    node.stop().ends(0);
    lab.is_content();
}
