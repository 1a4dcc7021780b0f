//! Answers that are late, empty, broken or nothing new, and a token that ends before it is used.

use std::time::Duration;

use wfengine_tests::standin::{Bucket, Fault, FaultRule};

use crate::begin::{queue, registered, start, until_done, until_looks, until_no_trouble, until_trouble};
use crate::house::{House, text, until};
use crate::lab::Lab;
use crate::proxy::{Act, Gate, Proxy};

#[test]
fn nothing_new_costs_nothing_and_pages_of_an_overloaded_github_are_outwaited() {
    let Some(lab) = Lab::new(&["octo/one", "octo/two"], "answers that are not modified, late or broken")
    else {
        return;
    };
    let house = House::new();
    let node = start(&lab, &house, &[]);
    until_looks(&lab, &house, 3);
    let (before, budget) = (lab.standin.requests().len(), lab.standin.remaining(Bucket::Core, &lab.token));
    until_looks(&lab, &house, 4);
    let asked = lab.standin.requests_since(before);
    assert!(!asked.is_empty() && asked.iter().all(|request| request.status == 304), "{asked:?}");
    assert_eq!(lab.standin.remaining(Bucket::Core, &lab.token), budget, "they were free");
    // what is new is seen in the middle of it
    until_done(&lab, queue(&lab, "octo/one", "build"));

    for status in [502, 504] {
        for path in [
            "/user/repos",
            "/users/octo/repos",
            "/repos/octo/two/actions/runs",
            "/repos/octo/two/actions/runners",
        ] {
            lab.standin.fault(FaultRule::new(path, Fault::HtmlPage { status }).method("GET"));
        }
        until_done(&lab, queue(&lab, "octo/two", "build"));
        lab.standin.clear_faults();
    }
    for fault in [Fault::Slow(Duration::from_secs(3)), Fault::CutBody { after_bytes: 20 }, Fault::LostAnswer]
    {
        lab.standin.fault(FaultRule::new("/repos/octo/two/actions/*", fault).method("GET").times(3));
        until_done(&lab, queue(&lab, "octo/two", "build"));
        lab.standin.clear_faults();
    }
    lab.until_nothing_is_left();
    until_no_trouble(&lab, &house);
    assert_eq!(registered(&lab).len(), 6, "one for each job");
    node.stop().ends(0);
    assert_eq!(lab.standin.requests_during_limits().len(), 0);
}

#[test]
fn a_token_that_ends_between_its_making_and_its_use_is_replaced_by_another() {
    let Some(lab) = Lab::new(&["octo/one"], "a registration token that ends before it is used") else {
        return;
    };
    let house = House::new();
    let proxy = Proxy::new(lab.engine.endpoint().path());
    let gate = Gate::default();
    proxy.order("POST", "/containers/*/start", 1, Act::Hold(gate.clone()));
    let (host, url) = (proxy.url(), lab.standin.runner_url());
    let third = ["--docker-host", &host, "--image-contract", "third-party", "--runner-url", &url];
    let node = start(&lab, &house, &third);
    let job = queue(&lab, "octo/one", "build");
    until("the runner is about to start", || (gate.arrived() == 1).then_some(()));
    lab.standin.clock().advance(Duration::from_secs(3_700));
    gate.open();
    let trouble = until_trouble(&lab, &house, "Container failed to start");
    assert!(text(&trouble, "remedy").contains("runner logs"), "{trouble}");
    until_done(&lab, job);
    lab.until_nothing_is_left();
    until_no_trouble(&lab, &house);
    assert_eq!(registered(&lab).len(), 1);
    assert_eq!(crate::begin::requests(&lab, "POST", "/actions/runners/registration-token"), 2);
    node.stop().ends(0);
    lab.is_content();
}
