//! Webhooks: they hasten a look and decide nothing, in whatever order and number they come.

use wfengine_tests::standin::Standin;

use crate::begin::{configurations, queue, registered, start_command, until_done, until_looks};
use crate::house::{House, Live, until};
use crate::lab::{LABELS, Lab};

/// A node with discovery beside the pool, and the address where it hears webhooks.
fn hearing(lab: &Lab, house: &House, interval: &str) -> (Live, String) {
    let secret = house.path("secret");
    std::fs::write(&secret, "a secret\n").unwrap();
    let secret = secret.display().to_string();
    let watch = ["discover", "watch", "--owner", "octo", "--interval", "3600"];
    let hook = ["--webhook", "127.0.0.1:0", "--webhook-secret-file", &secret];
    Live::start(lab.command(house, &[watch.as_slice(), &hook].concat())).end().ends(0);
    let mut node = lab.serve(house, &[]);
    let line = node.wait_for("webhooks are heard at ");
    let address = line.split("heard at ").nth(1).unwrap().trim().split('/').next().unwrap().to_owned();
    Live::start(start_command(lab, house, &["--interval", interval])).end().ends(0);
    until_looks_once(lab, house);
    (node, format!("http://{address}/webhooks/github"))
}

fn until_looks_once(lab: &Lab, house: &House) {
    until("the first look was made", || lab.status(house)["iterations"].as_u64().filter(|looks| *looks > 0));
}

fn delivered(standin: &Standin) -> usize {
    standin.delivered().iter().filter(|delivery| delivery.status.is_some()).count()
}

#[test]
fn a_webhook_alone_starts_a_runner_and_doubled_reordered_and_forged_ones_start_none() {
    let Some(lab) = Lab::new(&["octo/one", "octo/two"], "webhooks beside a pool") else { return };
    let house = House::new();
    let (node, url) = hearing(&lab, &house, "3600");
    for repository in ["octo/one", "octo/two"] {
        lab.standin.add_hook(repository, &url, Some("a secret"), &["workflow_job"]);
    }
    // an hour would go by without it
    let job = until_done(&lab, queue(&lab, "octo/one", "build"));
    assert!(job.waited.unwrap().as_secs() < 10, "{job:?}");
    lab.until_nothing_is_left();
    assert_eq!(lab.status(&house)["iterations"], 1, "polling had no part in it");

    // forged: nobody looks
    let before = lab.standin.requests().len();
    lab.standin.forge("another secret", 1);
    let unheard = queue(&lab, "octo/two", "build");
    until("it was answered", || {
        lab.standin.delivered().iter().any(|one| one.status == Some(401)).then_some(())
    });
    let asked: Vec<String> =
        lab.standin.requests_since(before).into_iter().map(|request| request.path).collect();
    assert!(asked.iter().all(|path| !path.contains("/two/")), "{asked:?}");
    assert_eq!(registered(&lab).len(), 1);

    // everything about five jobs in the wrong order, some of which ended before anybody heard of them
    lab.standin.hold();
    let theirs = lab.standin.add_runner("octo/one", "theirs", &["linux"]);
    let taken = queue(&lab, "octo/one", "build");
    lab.standin.take_job(theirs, taken);
    lab.standin.end_job(taken, "success");
    lab.standin.remove_runner(theirs);
    let cancelled = queue(&lab, "octo/one", "build");
    lab.standin.cancel_job(cancelled);
    let wanted = lab.standin.queue_jobs("octo/one", "build do-slow-1", &LABELS, 3);
    let held: Vec<String> = lab.standin.held().into_iter().map(|delivery| delivery.id).collect();
    assert_eq!(held.len(), 8, "three for the one that was taken, two for the cancelled one, three that wait");
    let before = delivered(&lab.standin);
    lab.standin.release_reversed();
    until("they were delivered", || (delivered(&lab.standin) >= before + held.len()).then_some(()));
    for id in &held {
        lab.standin.duplicate(id);
    }
    for job in wanted {
        until_done(&lab, job);
    }
    // with a hint that is believed, the other one is found too
    until_done(&lab, queue(&lab, "octo/two", "build"));
    until_done(&lab, unheard);
    lab.until_nothing_is_left();
    assert_eq!((configurations(&lab, "octo/one"), configurations(&lab, "octo/two")), (4, 2));
    assert_eq!(lab.standin.job(taken).handed_out + lab.standin.job(cancelled).handed_out, 1);
    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn lost_webhooks_are_made_good_by_polling() {
    let Some(lab) = Lab::new(&["octo/one"], "lost webhooks beside a pool") else { return };
    let house = House::new();
    let (node, url) = hearing(&lab, &house, "2");
    lab.standin.add_hook("octo/one", &url, Some("a secret"), &["workflow_job"]);
    lab.standin.lose(100);
    let jobs = lab.standin.queue_jobs("octo/one", "build", &LABELS, 2);
    for job in jobs {
        until_done(&lab, job);
    }
    lab.until_nothing_is_left();
    assert_eq!((delivered(&lab.standin), registered(&lab).len()), (0, 2));
    assert!(lab.standin.lost().len() >= 2);
    until_looks(&lab, &house, 1);
    node.stop().ends(0);
    lab.is_content();
}
