//! Documents of `--json` against the schemas that the program prints for them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by failing")]
#![allow(dead_code, unreachable_pub, reason = "every test file uses another part of it")]

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::Value as Json;

use crate::house::{House, text};

/// Every schema of one program, as they are asked for.
pub struct Schemas<'a> {
    house: &'a House,
    known: BTreeMap<String, Validator>,
}

/// A schema says that fields may be added; here each has to be in it.
fn close(schema: &mut Json) {
    match schema {
        Json::Array(below) => below.iter_mut().for_each(close),
        Json::Object(object) => {
            object.values_mut().for_each(close);
            if object.get("properties").is_some_and(Json::is_object) {
                object.entry("additionalProperties").or_insert(Json::Bool(false));
            }
        }
        _ => {}
    }
}

impl<'a> Schemas<'a> {
    pub fn new(house: &'a House) -> Self {
        Self { house, known: BTreeMap::new() }
    }

    /// The verbs that print JSON.
    pub fn verbs(&self) -> Vec<String> {
        let all = self.house.one(&["schema"]);
        all.as_array().unwrap().iter().map(|verb| text(verb, "verb").to_owned()).collect()
    }

    /// What is wrong with a document of a verb.
    #[track_caller]
    pub fn wrong(&mut self, verb: &str, document: &Json) -> Vec<String> {
        let house = self.house;
        let validator = self.known.entry(verb.to_owned()).or_insert_with(|| {
            let words: Vec<&str> = std::iter::once("schema").chain(verb.split(' ')).collect();
            let mut schema = house.one(&words);
            close(&mut schema);
            jsonschema::options().build(&schema).unwrap_or_else(|error| panic!("{verb}: {error}"))
        });
        let errors = validator.iter_errors(document);
        errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// Fails the test unless each document is as the schema of its verb says.
    #[track_caller]
    pub fn hold(&mut self, verb: &str, documents: &[Json]) {
        for document in documents {
            let wrong = self.wrong(verb, document);
            assert!(wrong.is_empty(), "{verb}: {wrong:#?} in {document:#}");
        }
    }
}
