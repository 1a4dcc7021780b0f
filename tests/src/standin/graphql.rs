//! GraphQL: a query is read, held against the schema, priced, paid for, and answered with exactly what it selects.
//!
//! Only the part of the schema in [`schema`] exists. A query that does not fit it gets GitHub's error and is a contract problem.

mod parser;
mod schema;
mod value;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    accounts::Identity,
    answer::{Answer, Outcome},
    faults::Fault,
    limits::{Bucket, primary_refusal},
    request::Request,
    state::State,
};
use parser::{Document, Field, Operation, Selection};
use value::{Context, Gives, Problem, Thing};

/// A call may not ask for more.
const NODES_MAX: u64 = 500_000;

/// The body of a request.
#[derive(Deserialize)]
struct Asked {
    query: Option<String>,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
    #[serde(rename = "operationName")]
    operation: Option<String>,
}

/// Answers a request.
pub(crate) fn answer(
    state: &mut State,
    request: &Request,
    identity: &Identity,
    fault: Option<&Fault>,
) -> Outcome {
    if request.method != "POST" {
        state.contract.unknown_path(request);
        return Err(Answer::not_found());
    }
    if identity.is_anonymous() {
        let message = "This endpoint requires you to be authenticated.";
        let documentation_url =
            "https://docs.github.com/graphql/guides/forming-calls-with-graphql#authenticating-with-graphql";
        return Err(Answer::json(
            401,
            json!({ "message": message, "documentation_url": documentation_url, "status": "401" }),
        ));
    }
    let asked: Asked = serde_json::from_slice(&request.body).map_err(|_| Answer::bad_json())?;
    let Some(query) = asked.query else {
        let message = "A query attribute must be specified and must be a string.";
        return Ok(Answer::json(200, json!({ "errors": [{ "message": message }] })));
    };
    match prepared(&query, asked.operation.as_deref(), asked.variables.unwrap_or_default()) {
        Ok(prepared) => paid(state, request, identity, &prepared, fault),
        Err(errors) => {
            state.contract.misfit(&errors);
            pay(state, identity, 1)?;
            Ok(Answer::json(200, json!({ "errors": errors })))
        }
    }
}

/// A query that fits the schema.
struct Prepared {
    document: Document,
    operation: usize,
    variables: Map<String, Value>,
}

impl Prepared {
    fn selection(&self) -> &[Selection] {
        self.document.operations.get(self.operation).map_or(&[], |operation| &operation.selection)
    }
}

fn prepared(query: &str, name: Option<&str>, given: Map<String, Value>) -> Result<Prepared, Vec<Value>> {
    let document = parser::parse(query).map_err(|error| {
        let place = error.place();
        vec![json!({
            "message": error.to_string(), "locations": [{ "line": place.line, "column": place.column }],
        })]
    })?;
    let is_named = |operation: &Operation| name.is_none() || operation.name.as_deref() == name;
    let Some(at) = document.operations.iter().position(is_named) else {
        return Err(vec![json!({ "message": "No operation of this name is in the query" })]);
    };
    let Some(operation) = document.operations.get(at) else { return Err(Vec::new()) };
    if operation.is_mutation {
        return Err(vec![json!({ "message": "Schema is not configured for mutations" })]);
    }
    let mut variables = Map::new();
    for declared in &operation.variables {
        let default = declared.default.as_ref().map(|default| default.value(&Map::new()));
        let value = given.get(&declared.name).cloned().or(default);
        if declared.kind.ends_with('!') && value.as_ref().is_none_or(Value::is_null) {
            let message =
                format!("Variable ${} of type {} was provided invalid value", declared.name, declared.kind);
            return Err(vec![json!({ "message": message })]);
        }
        variables.extend(value.map(|value| (declared.name.clone(), value)));
    }
    let undeclared = given.keys().find(|name| !operation.variables.iter().any(|known| known.name == **name));
    if let Some(name) = undeclared {
        return Err(vec![json!({ "message": format!("Variable ${name} is not declared by the query") })]);
    }
    let misfits = schema::misfits(&document, "Query", &operation.selection);
    if !misfits.is_empty() {
        return Err(misfits);
    }
    Ok(Prepared { document, operation: at, variables })
}

/// Takes points, or refuses.
fn pay(state: &mut State, identity: &Identity, cost: u64) -> Result<(), Answer> {
    let now = state.now();
    if state.limits.take(identity, Bucket::Graphql, cost, now) {
        return Ok(());
    }
    state.limits.exhaust(&identity.name, Bucket::Graphql, now);
    Err(primary_refusal(200, identity, Bucket::Graphql))
}

fn paid(
    state: &mut State,
    request: &Request,
    identity: &Identity,
    prepared: &Prepared,
    fault: Option<&Fault>,
) -> Outcome {
    let mut price = Price::default();
    price.add(prepared, prepared.selection(), 1);
    if price.nodes > NODES_MAX {
        let message = format!(
            "This query requests up to {} possible nodes which exceeds the maximum limit of {NODES_MAX}.",
            price.nodes
        );
        let errors = json!([{ "type": "MAX_NODE_LIMIT_EXCEEDED", "message": message }]);
        return Ok(Answer::json(200, json!({ "errors": errors })));
    }
    pay(state, identity, price.points())?;
    let standing = state.limits.standing(identity, Bucket::Graphql, state.now());
    let context = Context {
        state,
        identity,
        base: request.base(),
        standing,
        cost: price.points(),
        node_count: price.nodes,
        fault,
    };
    let mut execution = Execution { prepared, context: &context, errors: Vec::new() };
    let data = execution.object(&Thing::Query, prepared.selection(), &mut Vec::new());
    let mut body = json!({ "data": data });
    if !execution.errors.is_empty() {
        body["errors"] = execution.errors.into();
    }
    Ok(Answer::json(200, body))
}

/// What a query may cost at most.
#[derive(Default)]
struct Price {
    connections: u64,
    nodes: u64,
}

impl Price {
    /// A hundredth of the connections, at least 1.
    fn points(&self) -> u64 {
        self.connections.div_ceil(100).max(1)
    }

    fn add(&mut self, prepared: &Prepared, selection: &[Selection], times: u64) {
        for selected in selection {
            match selected {
                Selection::Field(field) => self.add_field(prepared, field, times),
                Selection::Spread(name, _) => {
                    if let Some(fragment) = prepared.document.fragments.get(name) {
                        self.add(prepared, &fragment.selection, times);
                    }
                }
                Selection::Inline { selection, .. } => self.add(prepared, selection, times),
            }
        }
    }

    fn add_field(&mut self, prepared: &Prepared, field: &Field, times: u64) {
        let argument = |name: &str| {
            let given = field.arguments.iter().find(|(given, _)| given == name);
            given.map(|(_, value)| value.value(&prepared.variables))
        };
        let each = match field.name.as_str() {
            "repositories" => {
                let size = argument("first").or_else(|| argument("last"));
                let size = size.and_then(|size| size.as_u64()).unwrap_or_default();
                self.connections = self.connections.saturating_add(times);
                self.nodes = self.nodes.saturating_add(times.saturating_mul(size));
                size.max(1)
            }
            "nodes" => {
                let ids = argument("ids").and_then(|ids| ids.as_array().map(Vec::len)).unwrap_or_default();
                self.nodes = self.nodes.saturating_add(times.saturating_mul(ids as u64));
                (ids as u64).max(1)
            }
            _ => 1,
        };
        self.add(prepared, &field.selection, times.saturating_mul(each));
    }
}

/// One answer in the making.
struct Execution<'e, 's> {
    prepared: &'e Prepared,
    context: &'e Context<'s>,
    errors: Vec<Value>,
}

impl<'e, 's> Execution<'e, 's> {
    fn object(&mut self, thing: &Thing<'s>, selection: &'e [Selection], path: &mut Vec<Value>) -> Value {
        let mut fields: Vec<(&'e Field, Vec<&'e [Selection]>)> = Vec::new();
        self.collect(thing, selection, &mut fields);
        let mut answer = Map::new();
        for (field, selections) in fields {
            path.push(field.key.clone().into());
            let value = self.field(thing, field, &selections, path);
            path.pop();
            answer.insert(field.key.clone(), value);
        }
        Value::Object(answer)
    }

    /// The fields of a selection, those under one name together, in the order of the query.
    fn collect(
        &self,
        thing: &Thing<'s>,
        selection: &'e [Selection],
        found: &mut Vec<(&'e Field, Vec<&'e [Selection]>)>,
    ) {
        let is_of = |on: &str| schema::is_a(thing.type_name(self.context), on);
        for selected in selection {
            match selected {
                Selection::Field(field) if !self.is_wanted(field) => {}
                Selection::Field(field) => match found.iter_mut().find(|(known, _)| known.key == field.key) {
                    Some((_, selections)) => selections.push(&field.selection),
                    None => found.push((field, vec![&field.selection])),
                },
                Selection::Spread(name, _) => {
                    if let Some(fragment) = self.prepared.document.fragments.get(name)
                        && is_of(&fragment.on)
                    {
                        self.collect(thing, &fragment.selection, found);
                    }
                }
                Selection::Inline { on, selection, .. } => {
                    if on.as_deref().is_none_or(is_of) {
                        self.collect(thing, selection, found);
                    }
                }
            }
        }
    }

    fn is_wanted(&self, field: &Field) -> bool {
        field.conditions.iter().all(|(directive, condition)| {
            let is_true = condition.value(&self.prepared.variables) == Value::Bool(true);
            if directive == "skip" { !is_true } else { is_true }
        })
    }

    fn field(
        &mut self,
        thing: &Thing<'s>,
        field: &Field,
        selections: &[&'e [Selection]],
        path: &mut Vec<Value>,
    ) -> Value {
        if field.name == "__typename" {
            return thing.type_name(self.context).into();
        }
        let variables = &self.prepared.variables;
        let arguments: BTreeMap<String, Value> =
            field.arguments.iter().map(|(name, value)| (name.clone(), value.value(variables))).collect();
        let arguments: Map<String, Value> =
            arguments.into_iter().filter(|(_, value)| !value.is_null()).collect();
        match thing.field(self.context, &field.name, &arguments) {
            Ok(Gives::Value(value)) => value,
            Ok(Gives::Thing(thing)) => self.merged(&thing, selections, path),
            Ok(Gives::Things(things)) => {
                let mut items = Vec::new();
                for (at, thing) in things.into_iter().enumerate() {
                    path.push(at.into());
                    items.push(match thing {
                        Ok(thing) => self.merged(&thing, selections, path),
                        Err(problem) => self.problem(&problem, field, path),
                    });
                    path.pop();
                }
                Value::Array(items)
            }
            Err(problem) => self.problem(&problem, field, path),
        }
    }

    fn merged(&mut self, thing: &Thing<'s>, selections: &[&'e [Selection]], path: &mut Vec<Value>) -> Value {
        let mut whole = Map::new();
        for selection in selections {
            if let Value::Object(part) = self.object(thing, selection, path) {
                whole.extend(part);
            }
        }
        Value::Object(whole)
    }

    fn problem(&mut self, problem: &Problem, field: &Field, path: &[Value]) -> Value {
        self.errors.push(json!({
            "type": problem.kind, "path": path, "message": problem.message,
            "locations": [{ "line": field.place.line, "column": field.place.column }],
        }));
        Value::Null
    }
}
