//! GitHub's own cases for the expression language.
//!
//! Needs the folder of the corpus in `WFENGINE_CORPUS`; without it the tests say that they did not run.

#[path = "../../../tests/tests/requirements/folder.rs"]
mod folder;

use std::path::PathBuf;

use folder::folder;
use serde_json::Value as Json;
use wfengine_workflow::{Contexts, Expression, Value};

/// Cases we deliberately answer otherwise: expression, why.
const EXCEPTIONS: &[(&str, &str)] =
    &[("", "an empty `${{ }}` is refused when the file is read, so nothing empty is ever evaluated")];

fn corpus() -> Option<PathBuf> {
    Some(folder("WFENGINE_CORPUS")?.join("conformance"))
}

/// A case: `Ok` when our answer is GitHub's, else what we answered.
fn check(case: &Json, text: &str) -> Result<(), String> {
    let source = case["expr"].as_str().unwrap_or_default();
    let mut contexts = Contexts::new();
    // read again from text, because the order of keys counts
    let raw: Value = Value::from_json(text).map_err(|error| error.to_string())?;
    if let Value::Object(given) = raw.field("contexts") {
        for (name, value) in given.iter() {
            contexts.set(name, value.clone());
        }
    }
    let wanted_error = case["err"]["kind"].as_str();
    let expression = match Expression::parse(source) {
        Ok(expression) => expression,
        Err(_) if matches!(wanted_error, Some("lexing" | "parsing")) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    match (expression.evaluate(&contexts), wanted_error) {
        (Err(_), Some("evaluation" | "parsing")) => Ok(()),
        (Err(error), _) => Err(error.to_string()),
        (Ok(value), Some(kind)) => {
            Err(format!("{} where a {kind} error was expected", value.to_json_canonical()))
        }
        (Ok(value), None) => {
            let kind = case["result"]["kind"].as_str().unwrap_or_default();
            let ours = match &value {
                Value::Null => "Null",
                Value::Bool(_) => "Boolean",
                Value::Number(_) => "Number",
                Value::String(_) => "String",
                Value::Array(_) => "Array",
                Value::Object(_) => "Object",
            };
            let wanted = raw.field("result").field("value");
            let same = match (&value, &wanted) {
                (Value::String(ours), Value::String(wanted)) => ours == wanted,
                (Value::Number(ours), Value::Number(wanted)) => {
                    ours == wanted || (ours.is_nan() && wanted.is_nan())
                }
                (Value::Number(ours), Value::String(wanted)) => Value::Number(*ours).to_text() == **wanted,
                (ours, wanted) => ours.to_json_canonical() == wanted.to_json_canonical(),
            };
            if kind == ours && same { Ok(()) } else { Err(format!("{ours} {}", value.to_json_canonical())) }
        }
    }
}

#[test]
fn expressions_have_githubs_values() {
    let Some(conformance) = corpus() else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(conformance.join("expressions"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let (mut passed, mut total) = (0, 0);
    let (mut problems, mut excepted) = (Vec::new(), Vec::new());
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        // values of a case are kept as text, because the order of keys counts
        let groups: std::collections::BTreeMap<String, Vec<Box<serde_json::value::RawValue>>> =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for (group, cases) in &groups {
            for case in cases {
                total += 1;
                let json: Json = serde_json::from_str(case.get()).unwrap();
                match check(&json, case.get()) {
                    Ok(()) => passed += 1,
                    Err(ours) => {
                        let source = json["expr"].as_str().unwrap_or_default().to_owned();
                        if EXCEPTIONS.iter().any(|(known, _)| *known == source) {
                            excepted.push(source);
                        } else {
                            problems.push(format!(
                                "{name} {group}: `{source}`: {ours}, expected {} {}",
                                json["result"], json["err"]
                            ));
                        }
                    }
                }
            }
        }
    }
    println!("expressions: {passed} of {total} as GitHub");
    for (source, reason) in EXCEPTIONS {
        assert!(excepted.iter().any(|seen| seen == source), "no exception needed for `{source}` ({reason})");
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
