//! `on`: events, schedules, inputs.

use super::{
    InputDefinition, InputType, Trigger,
    convert::{template, word},
};
use crate::{
    diagnostic::Diagnostics,
    reader::{Node, NodeKind},
    schedule::Cron,
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
        if let Err(error) = Cron::parse(&text) {
            let expected = "five fields: minute hour day month weekday, such as '30 4 * * 1-5'";
            diagnostics.add(cron.at, format!("'{text}' is no cron expression: {error}"), expected);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Workflow;

    #[test]
    fn cron_expressions_are_checked() {
        let text = "on:\n  schedule:\n  - cron: '0 0 * * *'\n  - cron: 60 * * * *\njobs: {a: {runs-on: x}}\n";
        let errors = Workflow::read(text.as_bytes(), "f.yml").unwrap_err();
        let expected = "f.yml:4:11: '60 * * * *' is no cron expression: '60' is no minute (expected 0 to 59) (expected five fields: minute hour day month weekday, such as '30 4 * * 1-5')";
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
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
