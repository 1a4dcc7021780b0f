//! An engine that has no space, has the name already, speaks nonsense or is away for a while: seen, waited out by its reason, healed alone.

use crate::begin::{queue, registered, start, until_done, until_no_trouble, until_trouble};
use crate::house::{House, text, until};
use crate::lab::{LABELS, Lab};
use crate::proxy::{Act, Proxy};

#[test]
fn an_engine_that_refuses_is_waited_for_by_reason_and_goes_on_alone() {
    let Some(lab) = Lab::new(&["octo/one"], "an engine without space, and what it refuses besides") else {
        return;
    };
    let house = House::new();
    let proxy = Proxy::new(lab.engine.endpoint().path());
    let host = proxy.url();
    let node = start(&lab, &house, &["--docker-host", &host]);
    let full = Act::Refuse(500, "mkdir /var/lib/docker/overlay2/x: no space left on device");
    let taken = Act::Refuse(409, "Conflict. The container name is already in use by container abc");
    let failed = Act::Refuse(500, "could not find an available IPv4 address pool");
    for (path, times, act, what, remedy) in [
        ("/containers/create", 3, full, "no space is left", "docker system prune"),
        ("/containers/create", 1, taken, "is taken", "docker ps"),
        ("/networks/create", 1, failed, "available IPv4", "docker info"),
        ("/volumes/create", 1, Act::Garbage, "Docker is not accessible", "docker version"),
        ("/containers/create", 1, Act::Nonsense, "cannot be read", "docker info"),
        ("/containers/*/start", 1, Act::Close, "Docker is not accessible", "docker version"),
        ("/containers/create", 1, Act::LoseAnswer, "Docker is not accessible", "docker version"),
    ] {
        proxy.order("POST", path, times, act);
        // what many meet at the same moment is one failure
        let jobs = lab.standin.queue_jobs("octo/one", "build", &LABELS, times);
        let trouble = until_trouble(&lab, &house, what);
        assert!(text(&trouble, "remedy").contains(remedy), "{remedy}: {trouble}");
        assert!(trouble["next_try"].is_string() && trouble["times"] == 1, "{trouble}");
        for job in jobs {
            until_done(&lab, job);
        }
        assert_eq!(proxy.left(), 0, "{what}");
        lab.until_nothing_is_left();
        until_no_trouble(&lab, &house);
    }
    let said = node.stop().ends(0);
    assert!(!said.err.contains("BUG") && !said.err.contains("panicked"), "{said:?}");
    house.ask(&["replay", "--verify"]).ends(0);
    lab.is_content();
}

#[test]
fn an_engine_that_is_away_for_a_while_is_found_again_with_all_that_runs_there() {
    let Some(lab) = Lab::new(&["octo/one"], "an engine that is away for a while") else { return };
    let house = House::new();
    let proxy = Proxy::new(lab.engine.endpoint().path());
    let host = proxy.url();
    let node = start(&lab, &house, &["--docker-host", &host]);
    let first = queue(&lab, "octo/one", "build do-slow-5");
    crate::begin::until_service(&lab, "it has begun", |standin| standin.job(first).started_at.is_some());
    for (method, path) in [
        ("GET", "/containers/*"),
        ("GET", "/images/*"),
        ("GET", "/events"),
        ("POST", "/containers/*"),
        ("POST", "/networks/*"),
        ("POST", "/volumes/*"),
        ("DELETE", "/*"),
    ] {
        proxy.order(method, path, 1_000_000, Act::Close);
    }
    let second = queue(&lab, "octo/one", "build");
    let trouble = until_trouble(&lab, &house, "Docker is not accessible");
    assert!(
        text(&trouble, "remedy").contains("docker version") && trouble["next_try"].is_string(),
        "{trouble}"
    );
    // what runs goes on without it, and nothing is concluded from not seeing it
    until_done(&lab, first);
    until("it is still there for us", || (lab.containers().len() == 1).then_some(()));
    assert_eq!(registered(&lab).len(), 1);
    proxy.clear();
    until_done(&lab, second);
    lab.until_nothing_is_left();
    until_no_trouble(&lab, &house);
    assert_eq!(registered(&lab).len(), 2, "none was started twice");
    node.stop().ends(0);
    house.ask(&["replay", "--verify"]).ends(0);
    lab.is_content();
}
