//! The events of `on` and what each may filter by.

use super::{Key, Map, Names, Need, Place, Rule};

/// A list of words or one of them.
const WORDS: Place = Place { names: Names::NONE, rules: &[Rule::NonEmptyText, Rule::List(&WORD)] };
const WORD: Place = Place { names: Names::NONE, rules: &[Rule::NonEmptyText] };
static FILTER: Place = WORDS;
static WORD_LIST: Place = Place { names: Names::NONE, rules: &[Rule::List(&WORD)] };
static ALONE: Place = Place { names: Names::NONE, rules: &[Rule::Null] };

const fn key(name: &'static str, place: &'static Place) -> Key {
    Key { name, place, need: Need::Optional }
}

/// `event!(types ["a", "b"]; keys)`: an event that may stand alone or with a mapping.
macro_rules! event {
    ($([$($activity:literal),+])? $($filter:literal)*) => {
        &Place {
            names: Names::NONE,
            rules: &[
                Rule::Null,
                Rule::Map(&Map {
                    keys: &[
                        $(key("types", &Place {
                            names: Names::NONE,
                            rules: &[
                                Rule::OneOf(&[$($activity),+]),
                                Rule::List(&Place { names: Names::NONE, rules: &[Rule::OneOf(&[$($activity),+])] }),
                            ],
                        }),)?
                        $(key($filter, &FILTER),)*
                    ],
                    others: None,
                }),
            ],
        }
    };
}

macro_rules! pull_request {
    () => {
        event!(["assigned", "unassigned", "labeled", "unlabeled", "opened", "edited", "closed", "reopened", "synchronize",
            "converted_to_draft", "locked", "unlocked", "enqueued", "dequeued", "milestoned", "demilestoned",
            "ready_for_review", "review_requested", "review_request_removed", "auto_merge_enabled", "auto_merge_disabled",
            "stacked"] "branches" "branches-ignore" "paths" "paths-ignore")
    };
}

/// Events in a mapping.
pub(super) static EVENTS: Map = Map {
    keys: &[
        key("branch_protection_rule", event!(["created", "edited", "deleted"])),
        key("check_run", event!(["completed", "created", "rerequested", "requested_action"])),
        key("check_suite", event!(["completed"])),
        key("create", &ALONE),
        key("delete", &ALONE),
        key("deployment", &ALONE),
        key("deployment_status", &ALONE),
        key(
            "discussion",
            event!([
                "created",
                "edited",
                "deleted",
                "transferred",
                "pinned",
                "unpinned",
                "labeled",
                "unlabeled",
                "locked",
                "unlocked",
                "category_changed",
                "answered",
                "unanswered"
            ]),
        ),
        key("discussion_comment", event!(["created", "edited", "deleted"])),
        key("fork", &ALONE),
        key("gollum", &ALONE),
        key("image_version", event!(["created", "ready", "deleted"] "names" "versions")),
        key("issue_comment", event!(["created", "edited", "deleted"])),
        key(
            "issues",
            event!([
                "opened",
                "edited",
                "deleted",
                "transferred",
                "pinned",
                "unpinned",
                "closed",
                "reopened",
                "assigned",
                "unassigned",
                "labeled",
                "unlabeled",
                "locked",
                "unlocked",
                "milestoned",
                "demilestoned",
                "field_added",
                "field_removed",
                "typed",
                "untyped"
            ]),
        ),
        key("label", event!(["created", "edited", "deleted"])),
        key("merge_group", event!(["checks_requested"] "branches" "branches-ignore")),
        key("milestone", event!(["created", "closed", "opened", "edited", "deleted"])),
        key("page_build", &ALONE),
        key("project", event!(["created", "closed", "reopened", "edited", "deleted"])),
        key("project_card", event!(["created", "moved", "converted", "edited", "deleted"])),
        key("project_column", event!(["created", "updated", "moved", "deleted"])),
        key("public", &ALONE),
        key("pull_request", pull_request!()),
        key("pull_request_comment", event!(["created", "edited", "deleted"])),
        key("pull_request_review", event!(["submitted", "edited", "dismissed"])),
        key("pull_request_review_comment", event!(["created", "edited", "deleted"])),
        key("pull_request_target", pull_request!()),
        key("push", event!("branches" "branches-ignore" "tags" "tags-ignore" "paths" "paths-ignore")),
        key("registry_package", event!(["published", "updated"])),
        key(
            "release",
            event!(["published", "unpublished", "created", "edited", "deleted", "prereleased", "released"]),
        ),
        key(
            "repository_dispatch",
            &Place {
                names: Names::NONE,
                rules: &[Rule::Null, Rule::Map(&Map { keys: &[key("types", &WORD_LIST)], others: None })],
            },
        ),
        key("schedule", &Place { names: Names::NONE, rules: &[Rule::List(&CRON)] }),
        key("status", &ALONE),
        key("watch", event!(["started"])),
        key("workflow_call", &CALL),
        key("workflow_dispatch", &DISPATCH),
        key(
            "workflow_run",
            event!(["requested", "completed", "in_progress"] "workflows" "branches" "branches-ignore"),
        ),
    ],
    others: None,
};

/// The same events where they stand alone, as text.
pub(super) static EVENT_NAMES: &[&str] = &[
    "branch_protection_rule",
    "check_run",
    "check_suite",
    "create",
    "delete",
    "deployment",
    "deployment_status",
    "discussion",
    "discussion_comment",
    "fork",
    "gollum",
    "image_version",
    "issue_comment",
    "issues",
    "label",
    "merge_group",
    "milestone",
    "page_build",
    "project",
    "project_card",
    "project_column",
    "public",
    "pull_request",
    "pull_request_comment",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_target",
    "push",
    "registry_package",
    "release",
    "repository_dispatch",
    "schedule",
    "status",
    "watch",
    "workflow_call",
    "workflow_dispatch",
    "workflow_run",
];

static CRON: Place = Place {
    names: Names::NONE,
    rules: &[Rule::Map(&Map {
        keys: &[Key { name: "cron", place: &WORD, need: Need::Required }, key("timezone", &WORD)],
        others: None,
    })],
};

static TEXT: Place = Place { names: Names::NONE, rules: &[Rule::Text] };
static BOOL: Place = Place { names: Names::NONE, rules: &[Rule::Bool] };
static PLAIN_SCALAR: Place = Place { names: Names::NONE, rules: &[Rule::Text, Rule::Bool, Rule::Number] };

static DISPATCH: Place = Place {
    names: Names::NONE,
    rules: &[
        Rule::Null,
        Rule::Map(&Map {
            keys: &[key(
                "inputs",
                &Place {
                    names: Names::NONE,
                    rules: &[Rule::Map(&Map { keys: &[], others: Some(&DISPATCH_INPUT) })],
                },
            )],
            others: None,
        }),
    ],
};

static DISPATCH_INPUT: Place = Place {
    names: Names::NONE,
    // an input without settings is a text
    rules: &[
        Rule::Null,
        Rule::Map(&Map {
            keys: &[
                key("description", &TEXT),
                key(
                    "type",
                    &Place {
                        names: Names::NONE,
                        rules: &[Rule::OneOf(&["string", "boolean", "number", "environment", "choice"])],
                    },
                ),
                key("required", &BOOL),
                key("default", &PLAIN_SCALAR),
                key("options", &Place { names: Names::NONE, rules: &[Rule::List(&TEXT)] }),
            ],
            others: None,
        }),
    ],
};

static CALL: Place = Place {
    names: Names::NONE,
    rules: &[
        Rule::Null,
        Rule::Map(&Map {
            keys: &[
                key(
                    "inputs",
                    &Place {
                        names: Names::NONE,
                        rules: &[Rule::Map(&Map { keys: &[], others: Some(&CALL_INPUT) })],
                    },
                ),
                key(
                    "secrets",
                    &Place {
                        names: Names::NONE,
                        rules: &[Rule::Map(&Map { keys: &[], others: Some(&CALL_SECRET) })],
                    },
                ),
                key(
                    "outputs",
                    &Place {
                        names: Names::NONE,
                        rules: &[Rule::Map(&Map { keys: &[], others: Some(&CALL_OUTPUT) })],
                    },
                ),
            ],
            others: None,
        }),
    ],
};

static CALL_INPUT: Place = Place {
    names: Names::NONE,
    rules: &[Rule::Map(&Map {
        keys: &[
            key("description", &TEXT),
            Key {
                name: "type",
                place: &Place { names: Names::NONE, rules: &[Rule::OneOf(&["string", "boolean", "number"])] },
                need: Need::Required,
            },
            key("required", &BOOL),
            key(
                "default",
                &Place {
                    names: Names::GITHUB.and(Names::INPUTS).and(Names::VARS),
                    rules: &[Rule::Text, Rule::Bool, Rule::Number],
                },
            ),
        ],
        others: None,
    })],
};

static CALL_SECRET: Place = Place {
    names: Names::NONE,
    rules: &[
        Rule::Null,
        Rule::Map(&Map { keys: &[key("description", &TEXT), key("required", &BOOL)], others: None }),
    ],
};

static CALL_OUTPUT: Place = Place {
    names: Names::NONE,
    rules: &[Rule::Map(&Map {
        keys: &[
            key("description", &TEXT),
            Key {
                name: "value",
                place: &Place {
                    names: Names::GITHUB.and(Names::INPUTS).and(Names::VARS).and(Names::JOBS),
                    rules: &[Rule::Text],
                },
                need: Need::Required,
            },
        ],
        others: None,
    })],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_both_forms() {
        let keys: Vec<&str> = EVENTS.keys.iter().map(|key| key.name).collect();
        assert_eq!(keys, EVENT_NAMES);
    }
}
