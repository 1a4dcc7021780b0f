//! JSON Schemas of what tools take and give.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::Object;

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
