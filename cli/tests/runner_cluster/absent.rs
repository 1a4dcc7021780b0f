//! One of two members is killed: the other takes over what waits, what runs goes on, and nothing is left when it is back.

use wfengine_autoscaler::container::LABEL_PEER;
use wfengine_tests::standin::RunnerChange;

use crate::cluster::{Two, intents, organization, until_all_jobs_ended, until_late, waiting};
use crate::house::{House, text, until};
use crate::lab::{LABELS, Lab};

/// Containers of a house's node that are there, and how many of them run.
fn containers_of(lab: &Lab, house: &House) -> Vec<wfengine_docker::ContainerState> {
    let peer = house.one(&["peer", "id"]);
    let peer = text(&peer, "peer_id").to_owned();
    let mut all = lab.containers();
    all.retain(|state| state.labels.get(LABEL_PEER) == Some(&peer));
    all
}

#[test]
fn another_member_takes_over_from_a_killed_one_which_cleans_up_when_it_is_back() {
    let Some(lab) = organization(&["octo/one", "octo/two"], "a member that is killed") else { return };
    let options = ["--register", "organization", "--max-runners", "2", "--idle-timeout", "5s"];
    let mut two = Two::start(&lab, &options, &options);
    for repository in ["octo/one", "octo/two"] {
        lab.standin.queue_jobs(repository, "build do-slow-4", &LABELS, 6);
    }
    // killed while its runners are at work and others wait
    let busy = until("a runner of the second is at work", || {
        let names: Vec<String> =
            intents(&two.a).into_iter().filter(|of| of.author == "b").map(|of| of.name).collect();
        let busy =
            lab.standin.runners().into_iter().filter(|runner| runner.is_busy && names.contains(&runner.name));
        Some(busy.map(|runner| runner.name).collect::<Vec<_>>()).filter(|busy| !busy.is_empty())
    });
    two.node_b.kill();
    assert!(lab.standin.jobs().iter().filter(|job| job.started_at.is_none()).count() > 2);
    until_all_jobs_ended(&lab);
    lab.every_job_was_done_once();
    // what ran when it was killed went on to its end
    for name in &busy {
        let done = |event: &wfengine_tests::standin::RunnerEvent| {
            event.name == *name && event.change == RunnerChange::Finished
        };
        assert!(lab.standin.runner_events().iter().any(done), "{name}");
    }
    // and stays until its own node is back: a node touches its own containers only
    assert!(busy.iter().all(|name| lab.containers().iter().any(|state| state.name == *name)), "{busy:?}");
    two.node_b = lab.serve(&two.b, &[]);
    lab.until_nothing_is_left();
    for name in &busy {
        let kept = until("it is concluded", || {
            let said = two.b.ask(&["runner", "logs", name]);
            Some(said).filter(|said| said.err.contains("done (0)"))
        });
        assert!(kept.out.contains("completed with result"), "{kept:?}");
    }
    two.until_together();
    // it does its part again
    let before = intents(&two.a).len();
    lab.standin.queue_jobs("octo/one", "build", &LABELS, 6);
    until_all_jobs_ended(&lab);
    lab.every_job_was_done_once();
    lab.until_nothing_is_left();
    let after = intents(&two.a);
    assert!(after.len() >= before + 6, "{after:?}");
    two.end(&lab);
}

#[test]
fn a_registration_that_a_dead_member_left_is_deleted_by_another() {
    let Some(lab) = Lab::new(&["octo/one"], "registrations of a dead member") else { return };
    let floor = ["--repo", "octo/one", "--min-idle", "1"];
    let mut two = Two::start(&lab, &["--repo", "octo/one"], &floor);
    let name = until("its runner waits", || waiting(&lab).pop_first());
    let left = containers_of(&lab, &two.b);
    assert_eq!((left.len(), &left[0].name), (1, &name));
    two.node_b.kill();
    assert!(lab.runtime.block_on(lab.engine.kill_container(&name)).unwrap());
    until("GitHub has lost it", || {
        lab.standin.runners().iter().any(|runner| runner.name == name && !runner.is_online).then_some(())
    });
    until_late("the other one has deleted it", || lab.standin.runners().is_empty().then_some(()));
    let deleted = |event: &wfengine_tests::standin::RunnerEvent| {
        event.name == name && event.change == RunnerChange::Deleted
    };
    assert!(lab.standin.runner_events().iter().any(deleted));
    // its container is its own node's business
    assert_eq!(containers_of(&lab, &two.b).len(), 1);
    two.b.ask(&["runner", "stop"]).ends(0);
    two.node_b = lab.serve(&two.b, &[]);
    lab.until_nothing_is_left();
    two.end(&lab);
}
