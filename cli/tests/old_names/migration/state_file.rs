//! Rows about what the older coordinator kept.

use super::Rows;
use super::Shown::{Here, There};
use crate::house::House;
use crate::taking_over::{IMPORT, entry, put};

const TAKING_OVER: &str = "cli/tests/old_names/taking_over.rs";
const ORDER: &str = "fn what_ended_has_ended_so_and_what_waits_waits_in_its_order(";

pub const ROWS: Rows = &[
    (
        "a workflow that was pending, assigned or in progress",
        &[There(
            TAKING_OVER,
            &[ORDER],
            &[
                "\"assigned\", 10.0",
                "\"pending\", 11.0",
                "\"in_progress\", 12.0",
                "workflow_file",
                "inputs",
                "tags",
            ],
        )],
    ),
    (
        "the same, with `--files DIR` and its file below DIR",
        &[There(
            TAKING_OVER,
            &["fn with_their_files_those_that_wait_are_runs("],
            &["\"--files\", \"flows\""],
        )],
    ),
    (
        "completed, failed, cancelled",
        &[There(
            TAKING_OVER,
            &[ORDER],
            &[
                "(\"done\", \"completed\")",
                "(\"failed\", \"failed\")",
                "(\"cancelled\", \"cancelled\")",
                "no such page",
            ],
        )],
    ),
    ("`peer_list`", &[There(TAKING_OVER, &[ORDER, "fn state("], &["peer_list", "[\"addresses\"]"])]),
    (
        "`merkle_clock`",
        &[
            Here(the_clock_is_left),
            There(
                TAKING_OVER,
                &["fn a_file_that_the_older_program_wrote_is_taken_over("],
                &["clock_events_left"],
            ),
        ],
    ),
    ("`created_at`", &[Here(when_it_was_made_is_kept_beside_when_it_was_imported)]),
];

fn the_clock_is_left(house: &House) {
    put(house, vec![entry("a", 3.0, "pending", 10.0)]);
    house.ask(&IMPORT).ends(0);
    // what is here was written by this node alone
    let clock = house.one(&["clock"]);
    let authors: Vec<&String> = clock["vector"].as_object().unwrap().keys().collect();
    assert_eq!(authors, [clock["node_id"].as_str().unwrap()]);
    house.ask(&["replay", "--verify"]).ends(0);
}

fn when_it_was_made_is_kept_beside_when_it_was_imported(house: &House) {
    put(house, vec![entry("a", 3.0, "pending", 10.0)]);
    house.ask(&IMPORT).ends(0);
    let shown = house.show("a");
    assert_eq!(shown["metadata"]["created_at"], 10.0, "{shown}");
    // and not half a century before
    assert!(shown["submitted_ms"].as_u64() > Some(1_700_000_000_000), "{shown}");
}
