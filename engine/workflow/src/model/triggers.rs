//! `on`: events, schedules, inputs.

use super::{
    InputDefinition, InputType, Trigger,
    convert::{template, word},
};
use crate::{
    diagnostic::Diagnostics,
    reader::{Node, NodeKind},
};

/// What `on` says.
#[derive(Default)]
pub(super) struct On {
    pub(super) triggers: Vec<Trigger>,
    pub(super) dispatch_inputs: Vec<InputDefinition>,
    pub(super) call_inputs: Vec<InputDefinition>,
}

pub(super) fn convert(node: &Node, diagnostics: &mut Diagnostics<'_>) -> On {
    let mut on = On::default();
    let alone = |node: &Node| Trigger { at: node.at, event: node.text().unwrap_or_default(), filters: None };
    match &node.kind {
        NodeKind::Sequence(items) => on.triggers = items.iter().map(alone).collect(),
        NodeKind::Mapping(entries) => {
            for (event, filters) in entries {
                let trigger = Trigger {
                    filters: (!matches!(filters.kind, NodeKind::Null)).then(|| filters.clone()),
                    ..alone(event)
                };
                match trigger.event.as_str() {
                    "schedule" => check_schedule(filters, diagnostics),
                    "workflow_dispatch" => on.dispatch_inputs = inputs(filters, diagnostics),
                    "workflow_call" => on.call_inputs = inputs(filters, diagnostics),
                    _ => {}
                }
                on.triggers.push(trigger);
            }
        }
        _ => on.triggers.push(alone(node)),
    }
    on
}

fn inputs(node: &Node, diagnostics: &mut Diagnostics<'_>) -> Vec<InputDefinition> {
    let entries = node.entry("inputs").map(Node::entries).unwrap_or_default();
    entries.iter().map(|(name, node)| input(name, node, diagnostics)).collect()
}

fn input(name: &Node, node: &Node, diagnostics: &mut Diagnostics<'_>) -> InputDefinition {
    let kind = match node.entry("type").and_then(Node::text).as_deref() {
        Some("boolean") => InputType::Boolean,
        Some("number") => InputType::Number,
        Some("choice") => InputType::Choice,
        Some("environment") => InputType::Environment,
        _ => InputType::String,
    };
    let options: Option<Vec<String>> =
        node.entry("options").map(|options| options.items().iter().map(|item| word(item).text).collect());
    match (kind, &options) {
        (InputType::Choice, None) => {
            diagnostics.add(node.at, "an input of type 'choice' has no 'options'", "'options'");
        }
        (InputType::Choice, Some(options)) if options.is_empty() => {
            diagnostics.add(node.at, "an input of type 'choice' has no options", "at least one option");
        }
        (InputType::Choice, _) | (_, None) => {}
        (_, Some(_)) => {
            diagnostics.add(
                node.at,
                format!("'options' on an input of type '{}'", kind.name()),
                "'type: choice'",
            );
        }
    }
    let default = node.entry("default");
    if let Some(default) = default {
        let expression = matches!(&default.kind, NodeKind::Text(text) if text.contains("${{"));
        let fits = match kind {
            InputType::Boolean => matches!(default.kind, NodeKind::Bool(_)),
            InputType::Number => matches!(default.kind, NodeKind::Number(..)),
            _ => matches!(default.kind, NodeKind::Text(_) | NodeKind::Null),
        };
        if !fits && !expression {
            let message = format!("the default of an input of type '{}' has another type", kind.name());
            diagnostics.add(
                default.at,
                message,
                format!(
                    "a {}",
                    if kind == InputType::Boolean {
                        "boolean"
                    } else if kind == InputType::Number {
                        "number"
                    } else {
                        "text"
                    }
                ),
            );
        }
    }
    InputDefinition {
        at: name.at,
        name: name.text().unwrap_or_default(),
        description: node.entry("description").and_then(Node::text),
        kind,
        required: matches!(node.entry("required").map(|node| &node.kind), Some(NodeKind::Bool(true))),
        default: default.map(template),
        options: options.unwrap_or_default(),
    }
}

fn check_schedule(node: &Node, diagnostics: &mut Diagnostics<'_>) {
    for item in node.items() {
        let Some(cron) = item.entry("cron") else { continue };
        let text = cron.text().unwrap_or_default();
        if !is_cron(&text) {
            let expected = "five fields: minute hour day month weekday, such as '30 4 * * 1-5'";
            diagnostics.add(cron.at, format!("'{text}' is no cron expression"), expected);
        }
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

fn is_cron(text: &str) -> bool {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else { return false };
    is_field(minute, 0, 59, &[])
        && is_field(hour, 0, 23, &[])
        && is_field(day, 1, 31, &[])
        && is_field(month, 1, 12, &MONTHS)
        && is_field(weekday, 0, 6, &DAYS)
}

/// `*`, a number, a name, a range, each with an optional step, or several joined by commas.
fn is_field(field: &str, least: u32, greatest: u32, names: &[&str]) -> bool {
    let value = |text: &str| -> Option<u32> {
        if !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().ok().filter(|n| (least..=greatest).contains(n));
        }
        let at = names.iter().position(|name| name.eq_ignore_ascii_case(text))?;
        u32::try_from(at).ok().map(|at| at + least)
    };
    field.split(',').all(|part| {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let step_fits = step.is_none_or(|step| {
            step.len() <= 2 && step.parse::<u32>().is_ok_and(|step| step >= 1 && step <= greatest.max(1))
        });
        let range_fits = range == "*"
            || value(range).is_some()
            || range.split_once('-').is_some_and(
                |(from, to)| matches!((value(from), value(to)), (Some(from), Some(to)) if from <= to),
            );
        step_fits && range_fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Workflow;

    #[test]
    fn cron_expressions_are_checked() {
        for good in ["0 0 * * *", "*/15 1,13 1-7 JAN-mar MON", "30 4 * * 1-5/2", "5/10 * * * *"] {
            assert!(is_cron(good), "{good}");
        }
        for bad in [
            "$cron-weekly",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * mo",
            "*/0 * * * *",
            "5-1 * * * *",
        ] {
            assert!(!is_cron(bad), "{bad}");
        }
    }

    #[test]
    fn inputs_agree_with_their_types() {
        let errors = |lines: &str| {
            let text = format!(
                "on:\n  workflow_dispatch:\n    inputs:\n      i:\n{lines}\njobs: {{a: {{runs-on: x}}}}\n"
            );
            Workflow::read(text.as_bytes(), "f.yml")
                .map_or_else(|errors| errors[0].to_string(), |_| String::new())
        };
        assert!(errors("        type: boolean\n        default: 'true'").contains("expected a boolean"));
        assert!(errors("        type: choice").contains("no 'options'"));
        assert!(errors("        type: string\n        options: [a]").contains("type: choice"));
        assert!(errors("        type: text").contains("unexpected value 'text'"));
        assert_eq!(errors("        type: number\n        default: 3"), "");
    }
}
