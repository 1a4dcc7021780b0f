//! GitHub's own description, held against every request and every answer.
//!
//! The description is open: unknown fields in bodies pass. Success must be as described; an error that the description leaves out
//! must at least look like one.

use std::{collections::HashMap, fs, path::Path};

use jsonschema::{Draft, Registry, Validator};
use serde_json::{Value, json};

use super::{answer::Answer, request::Request};

const DESCRIPTION: &str = "urn:github:rest";

/// Operations that GitHub has and the subset of its description leaves out, and why the stand-in has them all the same.
pub const OUTSIDE_THE_SUBSET: [(&str, &str); 4] = [
    ("actions/disable-workflow", "a workflow that runs here is switched off there, or both would run it"),
    ("actions/enable-workflow", "and on again"),
    ("git/create-ref", "a reference can be created once: the lock between nodes that do not know each other"),
    ("git/list-matching-refs", "finds those locks"),
];

/// Parameters that take more than the description says, and what they take.
const WIDER_THAN_DESCRIBED: [(&str, &str, &str); 2] = [
    ("actions/list-workflow-runs-for-repo", "created", "described as one time, documented as a range"),
    ("actions/list-workflow-runs", "created", "described as one time, documented as a range"),
];

/// The description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The file is not there or not readable.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

/// The description, what was compiled of it, and what broke it.
#[derive(Default)]
pub(crate) struct Contract {
    described: Option<Described>,
    problems: Vec<String>,
}

struct Described {
    document: Value,
    registry: Registry<'static>,
    validators: HashMap<String, Validator>,
}

impl Contract {
    /// Without a description only requests to unknown paths are problems.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, ContractError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let name = path.display().to_string();
        let malformed = |reason: String| ContractError::Malformed { path: name.clone(), reason };
        let text = fs::read_to_string(path)
            .map_err(|source| ContractError::Unreadable { path: name.clone(), source })?;
        let document: Value = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        let registry = Registry::new()
            .add(DESCRIPTION, document.clone())
            .and_then(|registry| registry.prepare())
            .map_err(|error| malformed(error.to_string()))?;
        let described = Described { document, registry, validators: HashMap::new() };
        Ok(Self { described: Some(described), problems: Vec::new() })
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems.clone()
    }

    pub(crate) fn is_described(&self) -> bool {
        self.described.is_some()
    }

    pub(crate) fn unknown_path(&mut self, request: &Request) {
        self.problems.push(format!("{} {}: no such operation", request.method, request.target()));
    }

    /// A GraphQL query does not fit the schema.
    pub(crate) fn misfit(&mut self, errors: &[Value]) {
        let messages: Vec<&str> = errors.iter().filter_map(|error| error["message"].as_str()).collect();
        self.problems.push(format!("graphql: {}", messages.join("; ")));
    }

    /// Holds a request against its operation.
    pub(crate) fn check_request(
        &mut self,
        operation: &'static str,
        request: &Request,
        parameters: &[(&'static str, String)],
    ) {
        let Some(described) = &mut self.described else { return };
        if !described.knows(operation) {
            if !OUTSIDE_THE_SUBSET.iter().any(|(name, _)| *name == operation) {
                self.problems.push(format!("{operation}: not described and in no table"));
            }
            return;
        }
        let mut found = described.check_parameters(operation, request, parameters);
        found.extend(described.check_request_body(operation, request));
        let place = format!("request {operation} ({} {})", request.method, request.target());
        self.problems.extend(found.into_iter().map(|problem| format!("{place}: {problem}")));
    }

    /// Holds an answer against its operation.
    pub(crate) fn check_answer(&mut self, operation: &'static str, answer: &Answer) {
        let Some(described) = &mut self.described else { return };
        if !described.knows(operation) {
            return;
        }
        let found = described.check_answer(operation, answer);
        let place = format!("answer {operation} {}", answer.status);
        self.problems.extend(found.into_iter().map(|problem| format!("{place}: {problem}")));
    }

    /// Holds a webhook's payload against its event: `push`, `workflow-run-completed`.
    pub(crate) fn check_webhook(&mut self, event: &str, payload: &Value) {
        let Some(described) = &mut self.described else { return };
        if described.document["webhooks"].get(event).is_none() {
            self.problems.push(format!("webhook {event}: not described"));
            return;
        }
        let found = described.check(&pointer(&["webhooks", event]), payload);
        self.problems.extend(found.into_iter().map(|problem| format!("webhook {event}: {problem}")));
    }
}

impl Described {
    fn knows(&self, operation: &str) -> bool {
        self.document["operations"].get(operation).is_some()
    }

    /// Problems of a value with the schema at a place of the description.
    fn check(&mut self, place: &str, value: &Value) -> Vec<String> {
        if !self.validators.contains_key(place) {
            let built = jsonschema::options()
                .with_draft(Draft::Draft202012)
                .with_registry(&self.registry)
                .should_validate_formats(true)
                .build(&json!({ "$ref": format!("{DESCRIPTION}#{place}") }));
            match built {
                Ok(validator) => self.validators.insert(place.to_owned(), validator),
                Err(error) => return vec![format!("{place}: {error}")],
            };
        }
        let Some(validator) = self.validators.get(place) else { return Vec::new() };
        let short = |text: String| text.chars().take(400).collect::<String>();
        let errors = validator.iter_errors(value).take(10);
        errors.map(|error| format!("{} at {}", short(error.to_string()), error.instance_path())).collect()
    }

    fn check_parameters(
        &mut self,
        operation: &str,
        request: &Request,
        given: &[(&'static str, String)],
    ) -> Vec<String> {
        let declared = self.document["operations"][operation]["parameters"].clone();
        let declared = declared.as_array().cloned().unwrap_or_default();
        let find = |place: &str, name: &str| {
            declared.iter().position(|parameter| parameter["in"] == place && parameter["name"] == name)
        };
        let mut found = Vec::new();
        let queries = request.query.iter().map(|(name, value)| ("query", name.as_str(), value.as_str()));
        let paths = given.iter().map(|(name, value)| ("path", *name, value.as_str()));
        let all: Vec<_> = queries.chain(paths).collect();
        for (place, name, text) in all {
            let Some(index) = find(place, name) else {
                found.push(format!("unknown {place} parameter `{name}`"));
                continue;
            };
            if WIDER_THAN_DESCRIBED.iter().any(|(of, wider, _)| (*of, *wider) == (operation, name)) {
                continue;
            }
            let schema = pointer(&["operations", operation, "parameters", &index.to_string(), "schema"]);
            // a parameter is a text; where it reads as a number or a truth value, that may be what is wanted
            let typed: Option<Value> = serde_json::from_str(text)
                .ok()
                .filter(|value: &Value| value.is_number() || value.is_boolean());
            let as_text = self.check(&schema, &Value::String(text.to_owned()));
            let is_wrong =
                !as_text.is_empty() && typed.is_none_or(|value| !self.check(&schema, &value).is_empty());
            if is_wrong {
                found.push(format!("{place} parameter `{name}`: {}", as_text.join("; ")));
            }
        }
        found
    }

    fn check_request_body(&mut self, operation: &str, request: &Request) -> Vec<String> {
        let declared = &self.document["operations"][operation]["request"];
        if declared.is_null() {
            // some clients send `{}` or `null` with every POST
            let is_empty = request.body.is_empty() || [b"{}".as_slice(), b"null"].contains(&&*request.body);
            return if is_empty { Vec::new() } else { vec!["a body where none is described".to_owned()] };
        }
        if request.body.is_empty() {
            let is_required = declared["required"] == true;
            return if is_required { vec!["the body is missing".to_owned()] } else { Vec::new() };
        }
        match serde_json::from_slice(&request.body) {
            Ok(body) => self.check(&pointer(&["operations", operation, "request", "schema"]), &body),
            Err(error) => vec![format!("the body is not JSON: {error}")],
        }
    }

    fn check_answer(&mut self, operation: &str, answer: &Answer) -> Vec<String> {
        let status = answer.status.to_string();
        let response = &self.document["operations"][operation]["responses"][&status];
        if response.is_null() {
            return self.check_undescribed(answer);
        }
        let media_type = described_type(&answer.media_type);
        let has_content = response["content"].as_object().is_some_and(|content| !content.is_empty());
        let is_described = !response["content"][&media_type].is_null();
        match (has_content, answer.value()) {
            (false, None) => Vec::new(),
            (false, Some(_)) => vec!["a body where none is described".to_owned()],
            // bytes of a file are whatever they are
            (true, None) if answer.media_type.contains("raw") => Vec::new(),
            (true, _) if !is_described => vec![format!("media type `{media_type}` is not described")],
            (true, given) => {
                let text = || Value::String(String::from_utf8_lossy(&answer.body()).into_owned());
                let value = given.cloned().unwrap_or_else(text);
                let place = ["operations", operation, "responses", &status, "content", &media_type];
                self.check(&pointer(&place), &value)
            }
        }
    }

    /// Redirects, errors and "not modified" can meet any operation.
    fn check_undescribed(&mut self, answer: &Answer) -> Vec<String> {
        match (answer.status, answer.value()) {
            (304, None) => Vec::new(),
            (300.., Some(value)) => self.check("/$defs/basic-error", value),
            (300.., None) => vec!["an error without JSON".to_owned()],
            (status, _) => vec![format!("status {status} is not described")],
        }
    }
}

/// `application/vnd.github.object+json; charset=utf-8` is described as `application/vnd.github.object`.
fn described_type(media_type: &str) -> String {
    let bare = media_type.split(';').next().unwrap_or_default().trim();
    match bare.strip_suffix("+json") {
        Some(vendor) => vendor.to_owned(),
        None => bare.to_owned(),
    }
}

/// A place in a document, escaped for a reference.
fn pointer(parts: &[&str]) -> String {
    let escaped =
        |part: &&str| part.replace('~', "~0").replace('/', "~1").replace('{', "%7B").replace('}', "%7D");
    parts.iter().map(|part| format!("/{}", escaped(part))).collect()
}
