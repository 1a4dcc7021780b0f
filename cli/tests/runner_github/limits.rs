//! GitHub's limits: nothing is asked while one holds, it is seen that one holds, and afterwards all goes on by itself.

use wfengine_tests::standin::Bucket;

use crate::begin::{
    configurations, queue, start, until_clock, until_done, until_looks, until_no_trouble, until_trouble,
};
use crate::house::{House, text};
use crate::lab::Lab;

const HOUR: u64 = 3_600;

#[test]
fn a_spent_budget_and_a_told_wait_are_kept_and_the_job_is_done_after_them() {
    let Some(lab) = Lab::new(&["octo/one"], "limits that GitHub tells") else { return };
    let house = House::new();
    let node = start(&lab, &house, &[]);
    until_looks(&lab, &house, 1);
    // the hour of the budget is nearly over, and so is the budget
    let first = lab.standin.requests()[0].at;
    lab.standin.clock().set(first + HOUR - 20);
    lab.standin.exhaust(Bucket::Core, &lab.token);
    let job = queue(&lab, "octo/one", "build");
    let trouble = until_trouble(&lab, &house, "GitHub's limit is spent");
    assert!(trouble["next_try"].is_string() && text(&trouble, "remedy").contains("by itself"), "{trouble}");
    let job = until_done(&lab, job);
    assert!(job.started_at.unwrap() >= first + HOUR, "{job:?}");
    lab.until_nothing_is_left();
    until_no_trouble(&lab, &house);
    lab.is_content();

    lab.standin.secondary_limit_for(15, true);
    let told = lab.standin.clock().now();
    let job = queue(&lab, "octo/one", "build");
    until_trouble(&lab, &house, "GitHub's limit is spent");
    let job = until_done(&lab, job);
    assert!(job.started_at.unwrap() >= told + 14, "{job:?}");
    lab.until_nothing_is_left();
    until_no_trouble(&lab, &house);

    node.stop().ends(0);
    lab.is_content();
}

#[test]
fn a_limit_without_a_time_is_waited_out_for_a_minute_and_the_job_is_done_then() {
    let Some(lab) = Lab::new(&["octo/one"], "a limit without a time") else { return };
    let house = House::new();
    let node = start(&lab, &house, &[]);
    until_looks(&lab, &house, 1);
    lab.standin.secondary_limit_for(50, false);
    let job = queue(&lab, "octo/one", "build");
    until_trouble(&lab, &house, "GitHub's limit is spent");
    let told = lab.standin.clock().now();
    let before = lab.standin.requests().len();
    until_clock(&lab, 20);
    let asked = lab.standin.requests_since(before);
    assert!(asked.is_empty(), "{asked:?}");
    let job = until_done(&lab, job);
    assert!(job.started_at.unwrap() >= told + 58, "{job:?}, told at {told}");
    assert_eq!(configurations(&lab, "octo/one"), 1);
    lab.until_nothing_is_left();
    node.stop().ends(0);
    lab.is_content();
}
