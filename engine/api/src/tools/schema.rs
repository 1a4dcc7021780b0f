//! JSON Schemas of what tools take and give, and the bounds that they set.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::Object;
use crate::failure::Failure;

/// The greatest whole number that every reader of JSON keeps as it is: 2⁵³.
const WHOLE_MAX: u64 = 1 << 53;

/// An object with named fields has no others; a number says its bounds instead of the type that it has here.
#[derive(Clone)]
struct Closed;

impl Transform for Closed {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if let Some(Value::String(format)) = object.remove("format") {
            let max = match format.as_str() {
                "uint8" => Some(u64::from(u8::MAX)),
                "uint16" => Some(u64::from(u16::MAX)),
                "uint32" => Some(u64::from(u32::MAX)),
                "uint64" | "uint" => Some(WHOLE_MAX),
                _ => None,
            };
            if let Some(max) = max {
                object.entry("maximum").or_insert_with(|| max.into());
            }
        }
        let names_fields = object.get("properties").is_some_and(Value::is_object);
        if names_fields && !object.contains_key("additionalProperties") {
            object.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
    }
}

/// The schema of a type: 2020-12, everything in one document, closed.
pub(super) fn of<T: JsonSchema>() -> Object {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(Closed);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut object = match schema.to_value() {
        Value::Object(object) => object,
        // `true`: of a type that may be anything
        _ => Object::new(),
    };
    // a tool has a name of its own; that of a type here says nothing to its clients
    object.remove("title");
    object.entry("type").or_insert_with(|| Value::String("object".to_owned()));
    // an object without fields has none
    if object.get("properties").is_none() {
        object.insert("properties".to_owned(), Value::Object(Object::new()));
        object.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    object
}

fn allows(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == kind,
        Some(Value::Array(many)) => many.iter().any(|one| one == kind),
        _ => false,
    }
}

/// One value against the bounds of its schema. A number without a fraction is a whole one, however it is written.
fn bounded(name: &str, schema: &Value, value: &mut Value) -> Result<(), Failure> {
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    let wrong = |expected: String| Err(Failure::bad_input(format!("{name}: expected {expected}")));
    if allows(schema, "integer")
        && let Some(number) = value.as_f64().filter(|_| value.is_f64())
        && number.fract() == 0.0
        && (0.0..=WHOLE_MAX as f64).contains(&number)
    {
        *value = Value::from(number as u64);
    }
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            if let Some(min) = bound("minimum").filter(|min| number < *min) {
                return wrong(format!("at least {min}"));
            }
            if let Some(max) = bound("maximum").filter(|max| number > *max) {
                return wrong(format!("at most {max}"));
            }
        }
        Value::String(text) => {
            let len = text.chars().count() as f64;
            if let Some(min) = bound("minLength").filter(|min| len < *min) {
                return wrong(format!("at least {min} characters"));
            }
            if let Some(max) = bound("maxLength").filter(|max| len > *max) {
                return wrong(format!("at most {max} characters"));
            }
        }
        Value::Array(items) => {
            if let Some(min) = bound("minItems").filter(|min| (items.len() as f64) < *min) {
                return wrong(format!("at least {min} items"));
            }
            if let Some(of) = schema.get("items") {
                for item in items {
                    bounded(name, of, item)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Holds arguments against the bounds of their schema; their types and names are checked as they are read.
pub(super) fn check(schema: &Object, arguments: &mut Value) -> Result<(), Failure> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    let Some(arguments) = arguments.as_object_mut() else { return Ok(()) };
    for (name, value) in arguments {
        if let Some(schema) = properties.get(name) {
            bounded(name, schema, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_are_held_and_whole_numbers_are_whole() {
        let Value::Object(schema) = json!({ "properties": {
            "n": { "type": ["integer", "null"], "minimum": 1, "maximum": 10 },
            "text": { "type": "string", "minLength": 1 },
            "list": { "type": "array", "minItems": 1, "items": { "type": "string", "minLength": 1 } },
        } }) else {
            panic!("no object")
        };
        let told = |mut arguments: Value| check(&schema, &mut arguments).map(|()| arguments);
        assert_eq!(told(json!({ "n": 3.0, "text": "x" })).unwrap(), json!({ "n": 3, "text": "x" }));
        assert_eq!(told(json!({ "n": null })).unwrap(), json!({ "n": null }));
        for (wrong, part) in [
            (json!({ "n": 0 }), "n: expected at least 1"),
            (json!({ "n": 11.0 }), "n: expected at most 10"),
            (json!({ "text": "" }), "text: expected at least 1 characters"),
            (json!({ "list": [] }), "list: expected at least 1 items"),
            (json!({ "list": ["a", ""] }), "list: expected at least 1 characters"),
        ] {
            assert_eq!(told(wrong).unwrap_err().message, part);
        }
    }
}
