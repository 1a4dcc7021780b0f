//! `strategy.matrix`: from vectors, `include` and `exclude` to the combinations GitHub would make.
//!
//! Vectors multiply, the last varies fastest. `exclude` removes combinations it matches in part. An `include` extends every
//! combination whose vector values it matches in part, and is a combination of its own when it matches none. In part means:
//! every scalar that a filter holds, at whatever depth, equals the value at the same place.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    expression::{Object, Value},
    limits,
};

/// One combination: its values, in the order of the vectors.
#[derive(Debug, Clone, Default)]
pub struct Combination {
    values: Object,
    vectors: usize,
}

/// Why there are no combinations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// The matrix is not a mapping.
    #[error("the matrix is a {0}, not a mapping")]
    NotAMapping(&'static str),
    /// A vector is not a list.
    #[error("the matrix vector '{0}' is not a list")]
    NotAList(String),
    /// A vector is empty.
    #[error("the matrix vector '{0}' has no values")]
    EmptyVector(String),
    /// An entry of `include` or `exclude` is not a mapping.
    #[error("an entry of '{0}' is not a mapping")]
    NotAFilter(&'static str),
    /// An entry of `include` or `exclude` says nothing.
    #[error("an entry of '{0}' has no keys")]
    EmptyFilter(&'static str),
    /// An entry of `exclude` names a key that is no vector.
    #[error("'exclude' names '{0}', which is no vector of the matrix")]
    UnknownVector(String),
    /// More combinations than GitHub allows.
    #[error("the matrix has more than {} combinations", limits::MATRIX_COMBINATIONS_MAX)]
    TooMany,
    /// Neither vectors nor `include`.
    #[error("the matrix has neither vectors nor 'include'")]
    Empty,
}

impl MatrixError {
    /// What would have been right.
    pub fn expected(&self) -> &'static str {
        match self {
            MatrixError::NotAMapping(_)
            | MatrixError::NotAList(_)
            | MatrixError::EmptyVector(_)
            | MatrixError::Empty => "a matrix with at least one combination",
            MatrixError::NotAFilter(_) | MatrixError::EmptyFilter(_) => "a mapping with at least one key",
            MatrixError::UnknownVector(_) => "keys of the matrix other than 'include' and 'exclude'",
            MatrixError::TooMany => "a smaller matrix",
        }
    }
}

impl Combination {
    /// The `matrix` context of this combination.
    pub fn context(&self) -> Value {
        self.values.clone().into()
    }

    /// Map sorted by key, values as canonical JSON text: what a job's id is made of.
    pub fn canonical(&self) -> BTreeMap<String, String> {
        self.values.iter().map(|(key, value)| (key.to_owned(), value.to_json_canonical())).collect()
    }

    /// What GitHub writes behind a job's name: the values, joined by commas, without those that an `include` added.
    pub fn label(&self) -> String {
        let mut words = Vec::new();
        let named = if self.vectors == 0 { self.values.len() } else { self.vectors };
        for (_, value) in self.values.iter().take(named) {
            flatten(value, &mut words);
        }
        words.join(", ")
    }

    /// Whether it is the combination of a job without matrix.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

/// The `matrix` context from a canonical matrix. Values that are not JSON count as text.
pub fn context_of(canonical: &BTreeMap<String, String>) -> Value {
    let object: Object = canonical
        .iter()
        .map(|(key, json)| (key.clone(), Value::from_json(json).unwrap_or_else(|_| Value::text(json))))
        .collect();
    object.into()
}

/// All combinations of an evaluated matrix, in GitHub's order. May be empty when `exclude` removes everything.
pub fn combinations(matrix: &Value) -> Result<Vec<Combination>, MatrixError> {
    let Value::Object(matrix) = matrix else { return Err(MatrixError::NotAMapping(matrix.type_name())) };
    let mut found = Vec::new();
    let (mut include, mut exclude) = (Vec::new(), Vec::new());
    let mut vectors = 0;
    for (name, value) in matrix.iter() {
        match name.to_ascii_lowercase().as_str() {
            "include" => include = filters("include", value)?,
            "exclude" => exclude = filters("exclude", value)?,
            _ => {
                let Value::Array(items) = value else { return Err(MatrixError::NotAList(name.to_owned())) };
                if items.is_empty() {
                    return Err(MatrixError::EmptyVector(name.to_owned()));
                }
                if vectors == 0 {
                    found.push(Combination::default());
                }
                vectors += 1;
                if found.len().saturating_mul(items.len()) > product_max(matrix) {
                    return Err(MatrixError::TooMany);
                }
                found = multiply(&found, name, items);
            }
        }
    }
    if vectors == 0 && include.is_empty() {
        return Err(MatrixError::Empty);
    }
    for (key, _) in exclude.iter().flat_map(|filter| filter.iter()) {
        if ["include", "exclude"].iter().any(|own| key.eq_ignore_ascii_case(own))
            || matrix.value(key).is_none()
        {
            return Err(MatrixError::UnknownVector(key.to_owned()));
        }
    }
    found.retain(|combination| {
        !exclude
            .iter()
            .any(|filter| filter.iter().all(|(key, wanted)| matches(combination.values.value(key), wanted)))
    });
    let originals = found.len();
    for entry in &include {
        extend(&mut found, originals, entry);
    }
    if found.len() > limits::MATRIX_COMBINATIONS_MAX { Err(MatrixError::TooMany) } else { Ok(found) }
}

/// Only what is left after `exclude` counts, so more may stand there in between; still bounded.
fn product_max(matrix: &Object) -> usize {
    if matrix.value("exclude").is_none() {
        limits::MATRIX_COMBINATIONS_MAX
    } else {
        limits::MATRIX_COMBINATIONS_MAX * 64
    }
}

fn filters(key: &'static str, value: &Value) -> Result<Vec<Arc<Object>>, MatrixError> {
    match value {
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::Object(object) if object.is_empty() => Err(MatrixError::EmptyFilter(key)),
                Value::Object(object) => Ok(object.clone()),
                _ => Err(MatrixError::NotAFilter(key)),
            })
            .collect(),
        Value::Null => Ok(Vec::new()),
        _ => Err(MatrixError::NotAFilter(key)),
    }
}

fn multiply(found: &[Combination], name: &str, items: &[Value]) -> Vec<Combination> {
    let mut next = Vec::with_capacity(found.len() * items.len());
    for combination in found {
        for item in items {
            let mut combination = combination.clone();
            combination.values.insert(name, item.clone());
            combination.vectors += 1;
            next.push(combination);
        }
    }
    next
}

fn extend(found: &mut Vec<Combination>, originals: usize, entry: &Object) {
    let mut extended = false;
    for combination in found.iter_mut().take(originals) {
        let fits = combination
            .values
            .iter()
            .take(combination.vectors)
            .all(|(key, value)| entry.value(key).is_none_or(|wanted| matches(Some(value), wanted)));
        if !fits {
            continue;
        }
        extended = true;
        let vector_keys: Vec<String> =
            combination.values.iter().take(combination.vectors).map(|(key, _)| key.to_owned()).collect();
        for (key, value) in entry.iter() {
            if !vector_keys.iter().any(|vector| vector.eq_ignore_ascii_case(key)) {
                combination.values.insert(key, value.clone());
            }
        }
    }
    if !extended {
        found.push(Combination { values: entry.clone(), vectors: 0 });
    }
}

/// Scalars as `==` compares them; of a mapping and of a list only what is wanted of them.
fn matches(value: Option<&Value>, wanted: &Value) -> bool {
    match wanted {
        Value::Object(wanted) => wanted.iter().all(|(key, wanted)| {
            let inner = if let Some(Value::Object(value)) = value { value.value(key) } else { None };
            matches(inner, wanted)
        }),
        Value::Array(wanted) => wanted.iter().enumerate().all(|(at, wanted)| {
            let inner = if let Some(Value::Array(value)) = value { value.get(at) } else { None };
            matches(inner, wanted)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            value.unwrap_or(&Value::Null) == wanted
        }
    }
}

fn flatten(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, words)),
        Value::Object(object) => object.iter().for_each(|(_, value)| flatten(value, words)),
        scalar => words.extend(Some(scalar.to_text()).filter(|word| !word.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combined(json: &str) -> Vec<String> {
        let value = Value::from_json(json).unwrap();
        combinations(&value).unwrap().iter().map(|c| c.context().to_json_canonical()).collect()
    }

    #[test]
    fn vectors_multiply_in_order() {
        let found = combined(r#"{"os":["a","b"],"v":[1,2]}"#);
        assert_eq!(
            found,
            [r#"{"os":"a","v":1}"#, r#"{"os":"a","v":2}"#, r#"{"os":"b","v":1}"#, r#"{"os":"b","v":2}"#]
        );
    }

    #[test]
    fn excludes_match_in_part() {
        assert_eq!(
            combined(r#"{"os":["a","b"],"v":[1,2],"exclude":[{"os":"A"},{"v":2}]}"#),
            [r#"{"os":"b","v":1}"#]
        );
    }

    #[test]
    fn includes_extend_or_stand_alone_as_documented() {
        // the example of GitHub's documentation
        let found = combined(
            r#"{"fruit":["apple","pear"],"animal":["cat","dog"],"include":[
                {"color":"green"},{"color":"pink","animal":"cat"},{"fruit":"apple","shape":"circle"},
                {"fruit":"banana"},{"fruit":"banana","animal":"cat"}]}"#,
        );
        assert_eq!(
            found,
            [
                r#"{"animal":"cat","color":"pink","fruit":"apple","shape":"circle"}"#,
                r#"{"animal":"dog","color":"green","fruit":"apple","shape":"circle"}"#,
                r#"{"animal":"cat","color":"pink","fruit":"pear"}"#,
                r#"{"animal":"dog","color":"green","fruit":"pear"}"#,
                r#"{"fruit":"banana"}"#,
                r#"{"animal":"cat","fruit":"banana"}"#,
            ]
        );
    }

    #[test]
    fn filters_match_what_they_hold_of_mappings_and_lists() {
        let found = combined(
            r#"{"t":[{"n":1,"l":["a","b"]},{"n":2,"l":["a","b"]}],
                "exclude":[{"t":{"n":2,"l":["a"]}},{"t":{"n":1,"l":["b"]}},{"t":{"n":1,"x":0.5}}],
                "include":[{"t":{"l":["a"]},"p":1},{"t":{"n":1},"q":2},{"t":{"l":["a","b","c"]},"r":3}]}"#,
        );
        let expected = [r#"{"p":1,"q":2,"t":{"l":["a","b"],"n":1}}"#, r#"{"r":3,"t":{"l":["a","b","c"]}}"#];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_label_leaves_out_what_an_include_added() {
        let value =
            Value::from_json(r#"{"os":["a"],"include":[{"os":"a","more":1},{"os":"b","more":2}]}"#).unwrap();
        let labels: Vec<String> = combinations(&value).unwrap().iter().map(Combination::label).collect();
        assert_eq!(labels, ["a", "b, 2"]);
    }

    #[test]
    fn includes_alone_are_the_combinations() {
        assert_eq!(combined(r#"{"include":[{"a":1},{"a":2}]}"#), [r#"{"a":1}"#, r#"{"a":2}"#]);
    }

    #[test]
    fn impossible_matrices_say_why() {
        let error = |json: &str| combinations(&Value::from_json(json).unwrap()).unwrap_err();
        assert_eq!(error(r#"{"a":[]}"#), MatrixError::EmptyVector("a".to_owned()));
        assert_eq!(error(r#"{"a":1}"#), MatrixError::NotAList("a".to_owned()));
        assert_eq!(error(r"{}"), MatrixError::Empty);
        assert_eq!(error(r#"{"a":[1],"exclude":[{}]}"#), MatrixError::EmptyFilter("exclude"));
        assert_eq!(error(r#"{"a":[1],"exclude":[{"b":1}]}"#), MatrixError::UnknownVector("b".to_owned()));
        let many = format!("{{\"a\":{0:?},\"b\":{0:?}}}", (0..17).collect::<Vec<_>>());
        assert_eq!(error(&many), MatrixError::TooMany);
    }

    #[test]
    fn the_canonical_matrix_leads_back_to_the_context() {
        let value = Value::from_json(r#"{"include":[{"b":3.10,"a":{"y":1,"x":"q"}}]}"#).unwrap();
        let combination = combinations(&value).unwrap().remove(0);
        let canonical = combination.canonical();
        assert_eq!(canonical["a"], r#"{"x":"q","y":1}"#);
        assert_eq!(canonical["b"], "3.1");
        assert_eq!(context_of(&canonical).to_json_canonical(), combination.context().to_json_canonical());
        assert_eq!(combination.label(), "3.1, 1, q");
    }
}
