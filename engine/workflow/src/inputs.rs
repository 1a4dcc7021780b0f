//! Inputs of a run: what was given, checked against what the workflow declares, with defaults filled in.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::{
    diagnostic::{near_matches, quoted_list},
    expression::Value,
    frozen::Frozen,
    job_contexts,
    model::{InputDefinition, InputType, Workflow},
};

/// Resolved inputs by declared name: what a submission freezes.
pub type Inputs = BTreeMap<String, Json>;

/// Why inputs were refused. Nothing was submitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The workflow declares no such input.
    #[error("the workflow has no input '{name}'{hint}")]
    Unknown {
        /// The name given.
        name: String,
        /// What it may have meant, or which there are.
        hint: String,
    },
    /// A required input was not given and has no default.
    #[error("{place}: the input '{name}' is required{description}; give it with --input {name}=VALUE")]
    Missing {
        /// Where the workflow declares it: file, line, column.
        place: String,
        /// The input.
        name: String,
        /// What it is for, in brackets.
        description: String,
    },
    /// The value does not have the declared type.
    #[error("{place}: the input '{name}' has the value '{value}' (expected {expected})")]
    WrongType {
        /// Where the workflow declares it: file, line, column.
        place: String,
        /// The input.
        name: String,
        /// What was given.
        value: String,
        /// What its type wants.
        expected: String,
    },
    /// More than GitHub accepts.
    #[error("{0} inputs were given, at most 25 are accepted")]
    TooMany(usize),
    /// The default is an expression that has no value here, or one of another type.
    #[error(
        "{place}: the default of the input '{name}' cannot be used: {reason}; give it with --input {name}=VALUE"
    )]
    Default {
        /// Where the workflow declares it: file, line, column.
        place: String,
        /// The input.
        name: String,
        /// Why.
        reason: String,
    },
}

/// Checks what was given and fills in defaults. Texts are read as the declared type, so `--input n=3` gives a number.
pub fn resolve_inputs(workflow: &Workflow, given: &BTreeMap<String, Json>) -> Result<Inputs, InputError> {
    if given.len() > 25 {
        return Err(InputError::TooMany(given.len()));
    }
    let definitions = declared(workflow);
    for name in given.keys() {
        if !definitions.iter().any(|definition| definition.name.eq_ignore_ascii_case(name)) {
            return Err(InputError::Unknown { name: name.clone(), hint: hint(name, definitions) });
        }
    }
    let mut resolved = Inputs::new();
    for definition in definitions {
        let value =
            given.iter().find(|(name, _)| definition.name.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = match value {
            Some(value) => typed(definition, value).map_err(|wrong| InputError::WrongType {
                place: place(workflow, definition),
                name: definition.name.clone(),
                value: wrong.value,
                expected: wrong.expected,
            })?,
            None => fallback(workflow, definition)?,
        };
        resolved.insert(definition.name.clone(), value);
    }
    Ok(resolved)
}

/// The inputs of `workflow_dispatch` that have to be given, because they are required and have no default; in the order of the
/// file. Nobody but a person can start such a workflow.
pub fn missing_inputs(workflow: &Workflow) -> Vec<String> {
    let missing = |definition: &&InputDefinition| definition.required && definition.default.is_none();
    workflow.dispatch_inputs.iter().filter(missing).map(|definition| definition.name.clone()).collect()
}

/// The inputs of `workflow_dispatch`, or of `workflow_call` where that is the only way in.
fn declared(workflow: &Workflow) -> &[InputDefinition] {
    let dispatch = workflow.triggers.iter().any(|trigger| trigger.event == "workflow_dispatch");
    if dispatch { &workflow.dispatch_inputs } else { &workflow.call_inputs }
}

fn hint(name: &str, definitions: &[InputDefinition]) -> String {
    let names = || definitions.iter().map(|definition| definition.name.as_str());
    let near = near_matches(name, names());
    match (near.is_empty(), definitions.is_empty()) {
        (false, _) => format!("; did you mean {}?", quoted_list(near)),
        (true, true) => "; it takes none".to_owned(),
        (true, false) => format!("; it takes {}", quoted_list(names())),
    }
}

fn place(workflow: &Workflow, definition: &InputDefinition) -> String {
    format!("{}:{}", workflow.file, definition.at)
}

fn fallback(workflow: &Workflow, definition: &InputDefinition) -> Result<Json, InputError> {
    if let Some(default) = &definition.default {
        let unusable = |reason| InputError::Default {
            place: place(workflow, definition),
            name: definition.name.clone(),
            reason,
        };
        let contexts = job_contexts::of_run(workflow, &Frozen::default());
        let value = default.evaluate(&contexts).map_err(|error| unusable(error.to_string()))?;
        return typed(definition, &value.to_serde())
            .map_err(|wrong| unusable(format!("it is '{}', expected {}", wrong.value, wrong.expected)));
    }
    if definition.required {
        let description =
            definition.description.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
        return Err(InputError::Missing {
            place: place(workflow, definition),
            name: definition.name.clone(),
            description,
        });
    }
    Ok(match definition.kind {
        InputType::Boolean => Json::Bool(false),
        InputType::Number => Json::from(0),
        InputType::Choice => definition.options.first().cloned().unwrap_or_default().into(),
        InputType::String | InputType::Environment => Json::String(String::new()),
    })
}

/// A value that does not have the declared type.
struct Wrong {
    value: String,
    expected: String,
}

fn typed(definition: &InputDefinition, given: &Json) -> Result<Json, Wrong> {
    let text = Value::from(given).to_text();
    let wrong = |expected: String| Wrong { value: text.chars().take(200).collect(), expected };
    match definition.kind {
        InputType::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Json::Bool(true)),
            "false" => Ok(Json::Bool(false)),
            _ => Err(wrong("'true' or 'false'".to_owned())),
        },
        InputType::Number => match Value::from(given).to_number() {
            number if number.is_finite() && !text.trim().is_empty() => Ok(Value::Number(number).to_serde()),
            _ => Err(wrong("a number".to_owned())),
        },
        InputType::Choice if definition.options.contains(&text) => Ok(text.into()),
        InputType::Choice => Err(wrong(quoted_list(definition.options.iter().map(String::as_str)))),
        InputType::String | InputType::Environment if given.is_array() || given.is_object() => {
            Err(wrong("text".to_owned()))
        }
        InputType::String | InputType::Environment => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "on:\n  workflow_dispatch:\n    inputs:\n      count: {type: number, default: 2}\n      dry: {type: boolean}\n      level: {type: choice, options: [low, high]}\n      who: {required: true, description: your name}\njobs: {a: {runs-on: x}}\n";

    fn resolve(given: &[(&str, Json)]) -> Result<Inputs, InputError> {
        let workflow = Workflow::read(FILE.as_bytes(), "f.yml").unwrap();
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        resolve_inputs(&workflow, &given)
    }

    #[test]
    fn defaults_and_types_are_applied() {
        let inputs = resolve(&[("WHO", "ann".into()), ("dry", "TRUE".into())]).unwrap();
        assert_eq!(
            Json::from_iter(inputs),
            serde_json::json!({"count": 2, "dry": true, "level": "low", "who": "ann"})
        );
    }

    #[test]
    fn wrong_inputs_say_what_was_expected() {
        let text = |given: &[(&str, Json)]| resolve(given).unwrap_err().to_string();
        let missing = "f.yml:7:7: the input 'who' is required (your name); give it with --input who=VALUE";
        assert_eq!(text(&[]), missing);
        assert_eq!(text(&[("cuont", 1.into())]), "the workflow has no input 'cuont'; did you mean 'count'?");
        assert!(text(&[("who", "a".into()), ("count", "x".into())]).contains("expected a number"));
        assert!(text(&[("who", "a".into()), ("level", "mid".into())]).contains("'low' or 'high'"));
    }

    #[test]
    fn what_has_to_be_given_is_listed_in_the_order_of_the_file() {
        let missing = |text: &str| {
            let workflow = Workflow::read(text.as_bytes(), "f.yml").unwrap();
            let missing = missing_inputs(&workflow);
            let refused =
                matches!(resolve_inputs(&workflow, &BTreeMap::new()), Err(InputError::Missing { .. }));
            assert_eq!(refused, !missing.is_empty(), "{text}");
            missing
        };
        let inputs = "z: {required: true}, b: {required: true, default: ''}, a: {required: true, type: boolean}, c: {}";
        let text =
            format!("on: {{workflow_dispatch: {{inputs: {{{inputs}}}}}}}\njobs: {{a: {{runs-on: x}}}}\n");
        assert_eq!(missing(&text), ["z", "a"]);
        assert!(missing("on: [push, workflow_dispatch]\njobs: {a: {runs-on: x}}\n").is_empty());
    }

    #[test]
    fn a_default_of_another_type_is_named_as_such() {
        let file = b"on: {workflow_call: {inputs: {b: {type: boolean, default: \"${{ github.actor }}\"}}}}\njobs: {a: {runs-on: x}}\n";
        let workflow = Workflow::read(file, "f.yml").unwrap();
        let error = resolve_inputs(&workflow, &BTreeMap::new()).unwrap_err();
        assert!(
            error.to_string().starts_with("f.yml:1:31: the default of the input 'b' cannot be used"),
            "{error}"
        );
    }

    #[test]
    fn a_workflow_without_inputs_says_so() {
        let workflow = Workflow::read(b"on: push\njobs: {a: {runs-on: x}}\n", "f.yml").unwrap();
        let error = resolve_inputs(&workflow, &[("a".to_owned(), Json::Null)].into()).unwrap_err();
        assert_eq!(error.to_string(), "the workflow has no input 'a'; it takes none");
    }
}
