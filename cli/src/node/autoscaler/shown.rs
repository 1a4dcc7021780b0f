//! What is shown of it: conditions in the document's words, times, budgets.

use std::collections::BTreeMap;

use wfengine_autoscaler::Fault;
use wfengine_core::time::Monotonic;
use wfengine_github::{Client, dates};

use super::conditions::Condition;

/// A moment of the node's own clock as a wall time.
pub(super) fn past(wall_ms: u64, now: Monotonic, at: Monotonic) -> String {
    dates::rfc3339(wall_ms.saturating_sub(millis(now - at)) / 1_000)
}

pub(super) fn future(wall_ms: u64, now: Monotonic, at: Monotonic) -> String {
    dates::rfc3339(wall_ms.saturating_add(millis(at - now)) / 1_000)
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What is left of GitHub's limits.
pub(super) fn budgets(client: &Client) -> BTreeMap<String, serde_json::Value> {
    let budgets = client.budgets();
    let shown = budgets.iter().map(|(bucket, budget)| {
        let value = serde_json::json!({
            "limit": budget.limit, "remaining": budget.remaining, "resets_in_s": budget.resets_in.as_secs(),
        });
        (bucket.to_string(), value)
    });
    shown.collect()
}

/// A fault as one of the document's conditions, with its remedy.
pub(super) fn condition(fault: &Fault, scope: &str) -> (String, String) {
    let detail = fault.what.clone();
    let condition = match fault.reason.as_str() {
        "github-unauthorised" => Condition::NotAuthenticated { detail },
        "github-permission" | "github-not-found" | "github-refused" => {
            Condition::NoToken { scope: scope.to_owned(), detail }
        }
        "engine-unreachable" | "engine-permission-denied" => {
            return (format!("Docker is not accessible: {detail}"), fault.remedy.clone());
        }
        // how many there are, it says itself
        "capacity" => return (detail, Condition::AtCapacity { active: 0, max: 0 }.remedy()),
        reason if reason.starts_with("engine-") || reason.starts_with("image-") => {
            return (format!("Container failed to start: {detail}"), fault.remedy.clone());
        }
        _ => return (detail, fault.remedy.clone()),
    };
    (condition.what(), condition.remedy())
}

/// The same in one sentence.
pub(super) fn condition_of(fault: &Fault, scope: &str) -> String {
    let (what, remedy) = condition(fault, scope);
    format!("{what}; what helps: {remedy}")
}
