//! Evaluates the tree: operators, access, filters. Functions are in `functions`.

use std::sync::Arc;

use super::{Access, Ast, Contexts, Operator, Value, functions};
use crate::limits;

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The expression names a context that is not there at this point.
    #[error("there is no context '{0}' here")]
    UnknownContext(String),
    /// `hashFiles` where nobody supplied the files.
    #[error("hashFiles is not available here: it needs the job's workspace")]
    HashFilesUnavailable,
    /// `hashFiles` failed.
    #[error("hashFiles: {0}")]
    HashFiles(String),
    /// `format` with braces that do not pair, or an argument that is not given.
    #[error("format: {0}")]
    Format(String),
    /// `fromJSON` of something that is not JSON.
    #[error("fromJSON: {0}")]
    Json(String),
    /// A predicate of `case` is not a boolean.
    #[error("a predicate of case must be a boolean, this one is a {0}")]
    CasePredicate(&'static str),
    /// A text grew beyond the bound.
    #[error("the result is longer than {} bytes", limits::OUTPUT_LEN_MAX)]
    TooLong,
    /// A value is nested too deep.
    #[error("the result is nested deeper than {} levels", limits::VALUE_DEPTH_MAX)]
    TooDeep,
}

pub(super) fn evaluate(ast: &Ast, contexts: &Contexts) -> Result<Value, EvaluationError> {
    match ast {
        Ast::Literal(value) => Ok(value.clone()),
        Ast::Context(name) => {
            contexts.value(name).cloned().ok_or_else(|| EvaluationError::UnknownContext(name.clone()))
        }
        Ast::Call(function, arguments) => functions::call(*function, arguments, contexts),
        Ast::Access(base, path) => access(evaluate(base, contexts)?, path, contexts),
        Ast::Not(inner) => Ok(Value::Bool(!evaluate(inner, contexts)?.truthy())),
        Ast::Binary(left, operator, right) => binary(left, *operator, right, contexts),
    }
}

fn binary(
    left: &Ast,
    operator: Operator,
    right: &Ast,
    contexts: &Contexts,
) -> Result<Value, EvaluationError> {
    let left = evaluate(left, contexts)?;
    match operator {
        Operator::And if !left.truthy() => return Ok(left),
        Operator::Or if left.truthy() => return Ok(left),
        _ => {}
    }
    let right = evaluate(right, contexts)?;
    let less = || left.partial_cmp(&right) == Some(std::cmp::Ordering::Less);
    let greater = || left.partial_cmp(&right) == Some(std::cmp::Ordering::Greater);
    Ok(match operator {
        Operator::And | Operator::Or => right,
        Operator::Equal => (left == right).into(),
        Operator::NotEqual => (left != right).into(),
        Operator::Greater => greater().into(),
        Operator::GreaterOrEqual => (greater() || left == right).into(),
        Operator::Less => less().into(),
        Operator::LessOrEqual => (less() || left == right).into(),
    })
}

/// Walks into a value. After a `*` the current value is a list of hits and each further step applies to every hit,
/// dropping those that have no such field.
fn access(base: Value, path: &[Access], contexts: &Contexts) -> Result<Value, EvaluationError> {
    let mut current = base;
    let mut hits: Option<Vec<Value>> = None;
    for step in path {
        match (step, hits.take()) {
            (Access::Filter, None) => hits = Some(children(&current)),
            (Access::Filter, Some(list)) => hits = Some(list.iter().flat_map(children).collect()),
            (Access::Field(name), None) => current = child(&current, &Key::Text(name)).unwrap_or_default(),
            (Access::Field(name), Some(list)) => {
                hits = Some(list.iter().filter_map(|item| child(item, &Key::Text(name))).collect());
            }
            (Access::Index(index), before) => {
                let index = evaluate(index, contexts)?;
                let key = Key::Value(&index);
                match before {
                    None => current = child(&current, &key).unwrap_or_default(),
                    Some(list) => hits = Some(list.iter().filter_map(|item| child(item, &key)).collect()),
                }
            }
        }
    }
    Ok(match hits {
        Some(list) => Value::Array(Arc::new(list)),
        None => current,
    })
}

enum Key<'a> {
    Text(&'a str),
    Value(&'a Value),
}

fn children(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.to_vec(),
        Value::Object(object) => object.iter().map(|(_, value)| value.clone()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn child(value: &Value, key: &Key<'_>) -> Option<Value> {
    match value {
        Value::Object(object) => match key {
            Key::Text(name) => object.value(name).cloned(),
            Key::Value(index) if index.is_scalar() => object.value(&index.to_text()).cloned(),
            Key::Value(_) => None,
        },
        Value::Array(items) => {
            let at = match key {
                Key::Text(_) => f64::NAN,
                Key::Value(index) => index.to_number(),
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked in the condition"
            )]
            let at = (0.0..4e9).contains(&at).then(|| at.floor() as usize)?;
            items.get(at).cloned()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
