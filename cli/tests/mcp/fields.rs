//! What the older programs' tools took and gave, field by field: facts of their documents and code.

use serde_json::Value as Json;

/// A field and the JSON types that it may have.
pub(crate) type Field = (&'static str, &'static str);

/// A tool of an older program: its parameters, and the fields of its result.
pub(crate) const TOOLS: &[(&str, &[&str], &[Field])] = &[
    (
        "p2p_scheduler_status",
        &[],
        &[
            ("peer_id", "string"),
            ("merkle_clock", "object"),
            ("pending_tasks", "integer"),
            ("assigned_tasks", "integer"),
            ("completed_tasks", "integer"),
            ("queue_size", "integer"),
            ("known_peers", "integer"),
            ("tool", "string"),
            ("timestamp", "number"),
        ],
    ),
    (
        "p2p_submit_task",
        &["task_id", "workflow_id", "name", "tags", "priority"],
        &[("success", "boolean"), ("task_id", "string"), ("task_hash", "string"), ("priority", "integer")],
    ),
    ("p2p_get_next_task", &[], &[("task", "object null"), ("message", "string null")]),
    ("p2p_mark_task_complete", &["task_id"], &[("success", "boolean"), ("task_id", "string")]),
    (
        "p2p_check_workflow_tags",
        &["tags"],
        &[("should_bypass_github", "boolean"), ("is_p2p_only", "boolean"), ("tags", "array")],
    ),
    ("p2p_update_peer_state", &["peer_id", "clock_data"], &[("success", "boolean"), ("peer_id", "string")]),
    ("p2p_get_merkle_clock", &[], &[("node_id", "string"), ("vector", "object"), ("merkle_root", "string")]),
    (
        "initialize_p2p_scheduler",
        &["peer_id", "peers"],
        &[("success", "boolean"), ("message", "string"), ("status", "object")],
    ),
    (
        "schedule_p2p_workflow",
        &["workflow_id", "name", "tags", "priority", "metadata"],
        &[("success", "boolean"), ("workflow_id", "string"), ("result", "object"), ("timestamp", "number")],
    ),
    (
        "get_next_p2p_workflow",
        &[],
        &[
            ("success", "boolean"),
            ("workflow", "object null"),
            ("message", "string null"),
            ("timestamp", "number"),
        ],
    ),
    (
        "add_p2p_peer",
        &["peer_id"],
        &[
            ("success", "boolean"),
            ("peer_id", "string"),
            ("message", "string"),
            ("num_peers", "integer"),
            ("timestamp", "number"),
        ],
    ),
    (
        "remove_p2p_peer",
        &["peer_id"],
        &[
            ("success", "boolean"),
            ("peer_id", "string"),
            ("message", "string"),
            ("num_peers", "integer"),
            ("timestamp", "number"),
        ],
    ),
    (
        "get_p2p_scheduler_status",
        &[],
        &[("success", "boolean"), ("status", "object"), ("timestamp", "number")],
    ),
    (
        "calculate_peer_distance",
        &["hash1", "hash2"],
        &[
            ("success", "boolean"),
            ("distance", "integer"),
            ("hash1", "string"),
            ("hash2", "string"),
            ("timestamp", "number"),
        ],
    ),
    (
        "get_workflow_tags",
        &[],
        &[("success", "boolean"), ("tags", "array"), ("descriptions", "object"), ("timestamp", "number")],
    ),
    (
        "merge_merkle_clock",
        &["other_peer_id", "other_counter", "other_parent_hash", "other_timestamp"],
        &[("success", "boolean"), ("message", "string"), ("new_clock", "object"), ("timestamp", "number")],
    ),
    (
        "get_assigned_workflows",
        &[],
        &[
            ("success", "boolean"),
            ("assigned_workflows", "array"),
            ("count", "integer"),
            ("timestamp", "number"),
        ],
    ),
    (
        "submit_p2p_workflow",
        &["workflow_file", "name", "inputs", "priority"],
        &[("success", "boolean"), ("workflow_id", "string"), ("message", "string"), ("status", "string")],
    ),
    (
        "assign_p2p_workflows",
        &[],
        &[
            ("success", "boolean"),
            ("assigned_count", "integer"),
            ("workflow_ids", "array"),
            ("message", "string"),
        ],
    ),
    (
        "get_p2p_workflow_status",
        &["workflow_id"],
        &[
            ("success", "boolean"),
            ("workflow_id", "string"),
            ("name", "string"),
            ("workflow_file", "string"),
            ("inputs", "object"),
            ("priority", "number"),
            ("tags", "array"),
            ("status", "string"),
            ("assigned_peer", "string null"),
            ("created_at", "number"),
            ("started_at", "number null"),
            ("completed_at", "number null"),
            ("result", "any"),
            ("error", "string null"),
        ],
    ),
    (
        "list_p2p_workflows",
        &["status", "peer_id"],
        &[("success", "boolean"), ("count", "integer"), ("workflows", "array"), ("filters", "object")],
    ),
    (
        "update_p2p_workflow_status",
        &["workflow_id", "status", "result", "error"],
        &[("success", "boolean"), ("workflow_id", "string"), ("new_status", "string"), ("message", "string")],
    ),
    (
        "get_p2p_stats",
        &[],
        &[
            ("success", "boolean"),
            ("peer_id", "string"),
            ("total_workflows", "integer"),
            ("queue_size", "integer"),
            ("peer_count", "integer"),
            ("merkle_clock_height", "integer"),
            ("status_counts", "object"),
            ("my_workflows", "integer"),
        ],
    ),
    (
        "parse_workflow_tags",
        &["workflow_file"],
        &[
            ("success", "boolean"),
            ("workflow_file", "string"),
            ("is_p2p", "boolean"),
            ("metadata", "object null"),
        ],
    ),
    (
        "get_my_p2p_workflows",
        &[],
        &[("success", "boolean"), ("count", "integer"), ("peer_id", "string"), ("workflows", "array")],
    ),
    (
        "runner_start_autoscaler",
        &["owner", "poll_interval", "max_runners", "runner_image", "background"],
        &[("success", "boolean"), ("running", "boolean"), ("message", "string")],
    ),
    ("runner_stop_autoscaler", &[], &[("success", "boolean"), ("running", "boolean"), ("message", "string")]),
    ("runner_get_status", &[], &[("success", "boolean"), ("data", "object")]),
    ("runner_list_workflows", &[], &[("success", "boolean"), ("data", "array"), ("count", "integer")]),
    (
        "runner_provision_for_workflow",
        &["repo"],
        &[("success", "boolean"), ("data", "object"), ("message", "string")],
    ),
    ("runner_list_containers", &[], &[("success", "boolean"), ("data", "array"), ("count", "integer")]),
    ("runner_stop_container", &["container"], &[("success", "boolean"), ("message", "string")]),
];

fn is_of(value: &Json, types: &str) -> bool {
    types.split(' ').any(|of| match of {
        "any" => true,
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    })
}

/// Fails the test unless a result has every documented field of its tool, with its type.
#[track_caller]
pub(crate) fn check(tool: &str, result: &Json) {
    let (_, _, fields) = TOOLS.iter().find(|(name, ..)| *name == tool).unwrap();
    for (field, types) in *fields {
        let value = result.get(field).unwrap_or_else(|| panic!("{tool}: no {field} in {result}"));
        assert!(is_of(value, types), "{tool}: {field} is no {types}: {result}");
    }
}

/// As [`check`], of fields inside a result.
#[track_caller]
pub(crate) fn has(value: &Json, fields: &[Field]) {
    for (field, types) in fields {
        let found = value.get(field).unwrap_or_else(|| panic!("no {field} in {value}"));
        assert!(is_of(found, types), "{field} is no {types}: {value}");
    }
}
