//! The functions of the expression language.

use super::{Ast, Contexts, EvaluationError, Function, Value, evaluate::evaluate, value::upper};
use crate::limits;

/// The name as documented.
pub(super) fn name(function: Function) -> &'static str {
    match function {
        Function::Contains => "contains",
        Function::StartsWith => "startsWith",
        Function::EndsWith => "endsWith",
        Function::Format => "format",
        Function::Join => "join",
        Function::ToJSON => "toJSON",
        Function::FromJSON => "fromJSON",
        Function::HashFiles => "hashFiles",
        Function::Case => "case",
        Function::Success => "success",
        Function::Always => "always",
        Function::Cancelled => "cancelled",
        Function::Failure => "failure",
    }
}

pub(super) fn call(
    function: Function,
    arguments: &[Ast],
    contexts: &Contexts,
) -> Result<Value, EvaluationError> {
    let argument = |at: usize| arguments.get(at).map_or(Ok(Value::Null), |ast| evaluate(ast, contexts));
    Ok(match function {
        Function::Success => contexts.status().success.into(),
        Function::Failure => contexts.status().failure.into(),
        Function::Cancelled => contexts.status().cancelled.into(),
        Function::Always => true.into(),
        Function::Contains => contains(&argument(0)?, &argument(1)?).into(),
        Function::StartsWith => both_texts(&argument(0)?, &argument(1)?, |a, b| a.starts_with(b)).into(),
        Function::EndsWith => both_texts(&argument(0)?, &argument(1)?, |a, b| a.ends_with(b)).into(),
        Function::Format => format_text(&argument(0)?.to_text(), |at| {
            arguments.get(at + 1).map(|ast| evaluate(ast, contexts)).transpose()
        })?
        .into(),
        Function::Join => {
            join(&argument(0)?, arguments.get(1).map(|_| argument(1)).transpose()?.as_ref())?.into()
        }
        Function::ToJSON => bounded(argument(0)?.to_json_pretty())?.into(),
        Function::FromJSON => from_json(&argument(0)?.to_text())?,
        Function::HashFiles => {
            let patterns = arguments
                .iter()
                .map(|ast| evaluate(ast, contexts).map(|value| value.to_text()))
                .collect::<Result<Vec<_>, _>>()?;
            let hash_files = contexts.hash_files().ok_or(EvaluationError::HashFilesUnavailable)?;
            hash_files.hash_files(&patterns).map_err(EvaluationError::HashFiles)?.into()
        }
        Function::Case => case(arguments, contexts)?,
    })
}

fn bounded(text: String) -> Result<String, EvaluationError> {
    if text.len() > limits::OUTPUT_LEN_MAX { Err(EvaluationError::TooLong) } else { Ok(text) }
}

fn contains(haystack: &Value, needle: &Value) -> bool {
    match haystack {
        Value::Array(items) => {
            items.iter().any(|item| item.is_scalar() && needle.is_scalar() && item == needle)
        }
        Value::Object(_) => false,
        _ => both_texts(haystack, needle, |a, b| a.contains(b)),
    }
}

/// Compares two scalars as texts, without regard to case; collections never match.
fn both_texts(a: &Value, b: &Value, test: impl Fn(&str, &str) -> bool) -> bool {
    a.is_scalar() && b.is_scalar() && test(&upper(&a.to_text()), &upper(&b.to_text()))
}

fn join(items: &Value, separator: Option<&Value>) -> Result<String, EvaluationError> {
    let separator = match separator {
        Some(separator) if separator.is_scalar() => separator.to_text(),
        _ => ",".to_owned(),
    };
    match items {
        Value::Array(items) => {
            let mut out = String::new();
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(&separator);
                }
                out.push_str(&item.to_text());
                if out.len() > limits::OUTPUT_LEN_MAX {
                    return Err(EvaluationError::TooLong);
                }
            }
            Ok(out)
        }
        Value::Object(_) => Ok(String::new()),
        scalar => Ok(scalar.to_text()),
    }
}

fn from_json(text: &str) -> Result<Value, EvaluationError> {
    if text.len() > limits::OUTPUT_LEN_MAX {
        return Err(EvaluationError::TooLong);
    }
    if text.trim().is_empty() {
        return Err(EvaluationError::Json("the text is empty".to_owned()));
    }
    let value = Value::from_json(text).map_err(|error| EvaluationError::Json(error.to_string()))?;
    if value.depth() > limits::VALUE_DEPTH_MAX { Err(EvaluationError::TooDeep) } else { Ok(value) }
}

fn case(arguments: &[Ast], contexts: &Contexts) -> Result<Value, EvaluationError> {
    for pair in arguments.chunks(2) {
        match pair {
            [predicate, value] => match evaluate(predicate, contexts)? {
                Value::Bool(true) => return evaluate(value, contexts),
                Value::Bool(false) => {}
                other => return Err(EvaluationError::CasePredicate(other.type_name())),
            },
            [default] => return evaluate(default, contexts),
            _ => {}
        }
    }
    Ok(Value::Null)
}

/// `{0}` is an argument, `{{` and `}}` are braces. `argument` is asked once for each that occurs.
fn format_text(
    template: &str,
    argument: impl Fn(usize) -> Result<Option<Value>, EvaluationError>,
) -> Result<String, EvaluationError> {
    let invalid = || EvaluationError::Format(format!("the braces of '{template}' do not pair"));
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
        } else if brace == "}" {
            return Err(invalid());
        } else {
            let (index, after) = rest.split_once('}').ok_or_else(invalid)?;
            if index.is_empty() || !index.bytes().all(|b| b.is_ascii_digit()) {
                return Err(invalid());
            }
            let index: usize = index.parse().map_err(|_| invalid())?;
            let value = argument(index)?.ok_or_else(|| {
                EvaluationError::Format(format!("'{template}' names argument {index}, which is not given"))
            })?;
            out.push_str(&value.to_text());
            rest = after;
        }
        if out.len() > limits::OUTPUT_LEN_MAX {
            return Err(EvaluationError::TooLong);
        }
    }
    out.push_str(rest);
    bounded(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Contexts, EvaluationError, Expression, HashFiles, Status, Value};

    fn evaluate(text: &str) -> Result<Value, EvaluationError> {
        Expression::parse(text).unwrap().evaluate(&Contexts::new())
    }

    fn text(expression: &str) -> String {
        evaluate(expression).unwrap().to_text()
    }

    #[test]
    fn operators_return_operands_and_stop_early() {
        assert_eq!(text("'' || 'b'"), "b");
        assert_eq!(text("0 && fromJSON('broken')"), "0");
        assert_eq!(text("'A' == 'a'"), "true");
        assert_eq!(text("null == 0"), "true");
        assert_eq!(text("'abc' == 0"), "false");
    }

    #[test]
    fn format_keeps_doubled_braces_and_names_missing_arguments() {
        assert_eq!(text("format('{{{0}}} {1}', 'a', 2)"), "{a} 2");
        assert!(evaluate("format('{1}', 'a')").unwrap_err().to_string().contains("argument 1"));
        assert!(evaluate("format('{a}', 'a')").is_err());
    }

    #[test]
    fn filters_reach_into_every_element() {
        assert_eq!(text("join(fromJSON('[{\"a\":1},{\"b\":2},{\"a\":3}]').*.a, '+')"), "1+3");
        assert_eq!(text("contains(fromJSON('[\"X\",\"y\"]'), 'x')"), "true");
    }

    #[test]
    fn texts_that_grow_without_end_are_refused() {
        let mut expression = "'0123456789abcdef'".to_owned();
        for _ in 0..17 {
            expression = format!("format('{{0}}{{0}}', {expression})");
        }
        assert_eq!(evaluate(&expression), Err(EvaluationError::TooLong));
        let deep = format!("fromJSON('{}{}')", "[".repeat(60), "]".repeat(60));
        assert_eq!(evaluate(&deep), Err(EvaluationError::TooDeep));
    }

    #[test]
    fn hash_files_needs_somebody_who_can_read_files() {
        #[derive(Debug)]
        struct Count;
        impl HashFiles for Count {
            fn hash_files(&self, patterns: &[String]) -> Result<String, String> {
                Ok(patterns.join("|"))
            }
        }
        assert_eq!(evaluate("hashFiles('a')"), Err(EvaluationError::HashFilesUnavailable));
        let mut contexts = Contexts::new();
        contexts.set_hash_files(Arc::new(Count));
        let hash = Expression::parse("hashFiles('a', '**/b')").unwrap().evaluate(&contexts).unwrap();
        assert_eq!(hash.to_text(), "a|**/b");
    }

    #[test]
    fn status_functions_answer_from_the_status() {
        let mut contexts = Contexts::new();
        contexts.set_status(Status::SKIPPED);
        for (expression, answer) in [("success()", false), ("failure()", false), ("always()", true)] {
            let value = Expression::parse(expression).unwrap().evaluate(&contexts).unwrap();
            assert_eq!(value.truthy(), answer, "{expression}");
        }
    }
}
