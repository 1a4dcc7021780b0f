//! What GitHub refuses for good or for a while: who is not known, what is not there, what is not allowed, what is taken.

use wfengine_tests::standin::{ErrorCase, Fault, FaultRule, RunnerChange};

use crate::begin::{
    configurations, queue, registered, start, trouble_in, until_clock, until_done, until_looks,
    until_no_trouble, until_service, until_trouble,
};
use crate::house::{House, Live, text};
use crate::lab::{LABELS, Lab};

const JIT: &str = "/repos/octo/one/actions/runners/generate-jitconfig";

#[test]
fn a_token_that_is_revoked_is_said_once_and_not_tried_again_and_again() {
    let Some(lab) = Lab::new(&["octo/one"], "a token that is revoked") else { return };
    let house = House::new();
    let node = start(&lab, &house, &["--idle-timeout", "1s"]);
    until_looks(&lab, &house, 1);
    // a runner is left over, which has to be let go
    let job = queue(&lab, "octo/one", "build do-slow-3");
    until_service(&lab, "the job has begun", |standin| standin.job(job).started_at.is_some());
    lab.standin.revoke(&lab.token);
    until_done(&lab, job);
    let trouble = until_trouble(&lab, &house, "Not authenticated with GitHub CLI");
    for part in ["gh auth login", "GITHUB_TOKEN"] {
        assert!(text(&trouble, "remedy").contains(part), "{trouble}");
    }
    let before = lab.standin.requests().len();
    lab.standin.queue_jobs("octo/one", "build", &LABELS, 3);
    until_clock(&lab, 12);
    let refused = lab.standin.requests_since(before);
    assert!(refused.iter().all(|request| request.status == 401), "{refused:?}");
    assert!(refused.len() <= 8, "{} requests in 12 s: {refused:?}", refused.len());
    assert_eq!(registered(&lab).len(), 1);
    // it stays so until somebody starts again with another one
    assert!(trouble_in(&lab.status(&house), "Not authenticated").is_some());
    let said = node.stop().ends(0);
    // once for each list that could not be had, and not at every look
    let lines = said.out.matches("401").count();
    assert!((1..=2).contains(&lines), "{said:?}");
    let again = Live::start(lab.command(&house, &["serve", "--listen", "127.0.0.1:0", "--no-lan"]));
    until_trouble(&lab, &house, "Not authenticated with GitHub CLI");
    again.stop().ends(0);
    // with another token
    let token = lab.standin.token(&wfengine_tests::standin::TokenKind::classic("octo"));
    let mut command = lab.command(&house, &["serve", "--listen", "127.0.0.1:0", "--no-lan"]);
    command.env("GITHUB_TOKEN", &token);
    let node = Live::start(command);
    lab.until_all_jobs_ended();
    lab.every_job_was_done_once();
    lab.until_nothing_is_left();
    until_no_trouble(&lab, &house);
    node.stop().ends(0);
    assert_eq!(lab.standin.requests_during_limits().len(), 0);
}

#[test]
fn what_is_not_allowed_is_waited_out_and_other_repositories_go_on() {
    let repositories = ["octo/one", "octo/two", "octo/three"];
    let Some(lab) = Lab::new(&repositories, "a token without the permission for one repository") else {
        return;
    };
    let house = House::new();
    let denied = Fault::Error(ErrorCase::ResourceNotAccessible);
    lab.standin.fault(FaultRule::new(JIT, denied).method("POST").always());
    let node = start(&lab, &house, &[]);
    let waiting = lab.standin.queue_jobs("octo/one", "build", &LABELS, 2);
    let trouble = until_trouble(&lab, &house, "Failed to generate runner token for octo/one");
    for part in ["gh auth status", "octo/one", "administration"] {
        assert!(text(&trouble, "remedy").contains(part), "{trouble}");
    }
    assert!(trouble["next_try"].is_string() && text(&trouble, "what").contains("403"), "{trouble}");
    // jobs of the others do not wait for it, however often they end meanwhile
    let begun = lab.standin.clock().now();
    for round in 0..2 {
        let two = queue(&lab, "octo/two", "build");
        let three = queue(&lab, "octo/three", "build");
        for job in [two, three] {
            let job = until_done(&lab, job);
            assert!(job.started_at.unwrap() - job.queued_at <= 8, "round {round}: {job:?}");
        }
    }
    let took = lab.standin.clock().now() - begun;
    let tried = configurations(&lab, "octo/one");
    // both jobs at first; then after 5, 10, 20 and 40 seconds
    assert!(tried <= 2 * (2 + took.div_ceil(10) as usize) && tried <= 10, "{tried} in {took} s");
    // somebody grants it
    lab.standin.clear_faults();
    for job in waiting {
        until_done(&lab, job);
    }
    lab.until_nothing_is_left();
    until_no_trouble(&lab, &house);
    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn what_happens_to_a_configuration_on_its_way_costs_a_name_and_no_job() {
    let Some(lab) = Lab::new(&["octo/one"], "configurations that are refused or lost") else { return };
    let house = House::new();
    let node = start(&lab, &house, &[]);
    let mut made = 0;
    for (fault, part, registrations) in [
        // somebody has that name
        (Fault::Error(ErrorCase::JitNameTaken), "409", 1),
        // it was made, and nobody has its secret
        (Fault::LostAnswer, "generate-jitconfig", 2),
        (Fault::HtmlPage { status: 502 }, "502", 1),
        (Fault::InvalidJson, "generate-jitconfig", 2),
    ] {
        let asked = configurations(&lab, "octo/one");
        let is_lost = registrations == 2;
        lab.standin.fault(FaultRule::new(JIT, fault.clone()).method("POST"));
        let job = queue(&lab, "octo/one", "build");
        let trouble = until_trouble(&lab, &house, part);
        assert!(trouble["next_try"].is_string() && !text(&trouble, "remedy").is_empty(), "{trouble}");
        until_done(&lab, job);
        lab.until_nothing_is_left();
        until_no_trouble(&lab, &house);
        assert_eq!(configurations(&lab, "octo/one"), asked + 2, "{fault:?}");
        let names = registered(&lab);
        assert_eq!(names.len(), made + registrations, "{fault:?}: {names:?}");
        made = names.len();
        if is_lost {
            let [.., lost, used] = names.as_slice() else { unreachable!() };
            assert_ne!(lost, used);
            let events = lab.standin.runner_events();
            let ends: Vec<RunnerChange> =
                events.iter().filter(|event| event.name == *lost).map(|event| event.change).collect();
            assert_eq!(ends, [RunnerChange::Registered, RunnerChange::Deleted], "{fault:?}");
        }
    }
    node.stop().ends(0);
    house.ask(&["replay", "--verify"]).ends(0);
    assert_eq!(lab.standin.requests_during_limits().len(), 0);
}
