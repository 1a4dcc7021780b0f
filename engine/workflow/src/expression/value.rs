//! Values that expressions compute with, and GitHub's coercions between them.
//!
//! Objects keep the order of insertion and find their keys without regard to case (except environment variables, which
//! GitHub keeps apart by case on Linux). Arrays and objects are shared, so looking into a large event costs no copy.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    sync::Arc,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// A value of the expression language.
#[derive(Debug, Clone, Default)]
pub enum Value {
    /// `null`, and everything that is not there.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit float; the language knows no integers.
    Number(f64),
    /// A text.
    String(Arc<str>),
    /// A sequence.
    Array(Arc<Vec<Value>>),
    /// A mapping from text to values.
    Object(Arc<Object>),
}

/// The mapping behind [`Value::Object`]: insertion ordered, keys found without regard to case unless made otherwise.
#[derive(Debug, Clone, Default)]
pub struct Object {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
    case_sensitive: bool,
}

impl Object {
    /// An empty object whose keys are found without regard to case.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty object whose keys must match exactly: environment variables on Linux.
    pub fn case_sensitive() -> Self {
        Object { case_sensitive: true, ..Self::default() }
    }

    /// Adds or replaces; a replaced entry keeps its place and its first spelling.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let key = key.into();
        let folded = self.fold(&key);
        if let Some(&at) = self.index.get(&folded) {
            self.entries[at].1 = value.into();
        } else {
            self.index.insert(folded, self.entries.len());
            self.entries.push((key, value.into()));
        }
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.index.get(&self.fold(key)).map(|&at| &self.entries[at].1)
    }

    /// Entries in the order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn fold(&self, key: &str) -> String {
        if self.case_sensitive { key.to_owned() } else { upper(key) }
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut object = Object::new();
        for (key, value) in entries {
            object.insert(key, value);
        }
        object
    }
}

impl Value {
    /// A text value.
    pub fn text(text: impl AsRef<str>) -> Self {
        Value::String(Arc::from(text.as_ref()))
    }

    /// The field of an object, or [`Value::Null`].
    pub fn field(&self, key: &str) -> Value {
        match self {
            Value::Object(object) => object.value(key).cloned().unwrap_or_default(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Value::Null
            }
        }
    }

    /// `false`, `null`, 0, NaN and the empty text are false; everything else is true.
    pub fn truthy(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(b) => *b,
            Value::Number(n) => *n != 0.0 && !n.is_nan(),
            Value::String(s) => !s.is_empty(),
            Value::Array(_) | Value::Object(_) => true,
        }
    }

    /// The number GitHub makes of this value when types differ.
    pub fn to_number(&self) -> f64 {
        match self {
            Value::Null => 0.0,
            Value::Bool(b) => f64::from(u8::from(*b)),
            Value::Number(n) => *n,
            Value::String(s) => text_to_number(s),
            Value::Array(_) | Value::Object(_) => f64::NAN,
        }
    }

    /// The text GitHub makes of this value inside `${{ }}`: `null` is empty, collections are their type's name.
    pub fn to_text(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Bool(b) => b.to_string(),
            Value::Number(n) => number_to_text(*n),
            Value::String(s) => s.to_string(),
            Value::Array(_) => "Array".to_owned(),
            Value::Object(_) => "Object".to_owned(),
        }
    }

    /// Whether this is neither an array nor an object.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Value::Array(_) | Value::Object(_))
    }

    /// The word GitHub has for the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "sequence",
            Value::Object(_) => "mapping",
        }
    }

    /// `toJSON`: two spaces of indentation, keys in order.
    pub fn to_json_pretty(&self) -> String {
        let mut out = String::new();
        write_json(self, &mut out, Some(0), false);
        out
    }

    /// The canonical text of a matrix value: JSON without spaces, keys sorted, numbers in their shortest form.
    pub fn to_json_canonical(&self) -> String {
        let mut out = String::new();
        write_json(self, &mut out, None, true);
        out
    }

    /// Reads JSON, keeping the order of keys.
    pub fn from_json(text: &str) -> Result<Value, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Roughly the bytes it occupies, shared parts counted each time.
    pub(crate) fn size(&self) -> usize {
        let inside: usize = match self {
            Value::Array(items) => items.iter().map(Value::size).sum(),
            Value::Object(object) => object.iter().map(|(key, value)| 2 * key.len() + value.size()).sum(),
            Value::String(text) => text.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        };
        inside + 16
    }

    /// Levels of nesting: a scalar has none.
    pub fn depth(&self) -> usize {
        match self {
            Value::Array(items) => 1 + items.iter().map(Value::depth).max().unwrap_or(0),
            Value::Object(object) => 1 + object.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }

    /// The same value for programs.
    pub fn to_serde(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => {
                #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
                let whole = *n as i64;
                whole.into()
            }
            Value::Number(n) => serde_json::Number::from_f64(*n).map_or(serde_json::Value::Null, Into::into),
            Value::String(s) => s.as_ref().into(),
            Value::Array(items) => items.iter().map(Value::to_serde).collect(),
            Value::Object(object) => {
                object.iter().map(|(key, value)| (key.to_owned(), value.to_serde())).collect()
            }
        }
    }
}

/// Equality of GitHub's `==`: texts without regard to case, collections by identity, other types by their numbers.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a == b,
            (Value::String(a), Value::String(b)) => upper(a) == upper(b),
            (Value::Array(a), Value::Array(b)) => Arc::ptr_eq(a, b),
            (Value::Object(a), Value::Object(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.to_number() == b.to_number(),
        }
    }
}

/// Order of GitHub's `<` and `>`; `None` where neither holds.
impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Value::Null, Value::Null) => None,
            (Value::Bool(a), Value::Bool(b)) => a.partial_cmp(b),
            (Value::String(a), Value::String(b)) => {
                let (a, b) = (upper(a), upper(b));
                Some(a.encode_utf16().cmp(b.encode_utf16()))
            }
            (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => None,
            (a, b) => a.to_number().partial_cmp(&b.to_number()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}

impl From<f64> for Value {
    fn from(n: f64) -> Self {
        Value::Number(n)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text.into())
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Value::Object(Arc::new(object))
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Value::Array(Arc::new(items))
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(b) => Value::Bool(*b),
            serde_json::Value::Number(n) => Value::Number(n.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(s) => Value::text(s),
            serde_json::Value::Array(items) => items.iter().map(Value::from).collect::<Vec<_>>().into(),
            serde_json::Value::Object(map) => {
                map.iter().map(|(key, value)| (key.clone(), Value::from(value))).collect::<Object>().into()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
                Ok(Value::Bool(b))
            }
            #[expect(clippy::cast_precision_loss, reason = "the language knows only floats")]
            fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
                Ok(Value::Number(n as f64))
            }
            #[expect(clippy::cast_precision_loss, reason = "the language knows only floats")]
            fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
                Ok(Value::Number(n as f64))
            }
            fn visit_f64<E>(self, n: f64) -> Result<Value, E> {
                Ok(Value::Number(n))
            }
            fn visit_str<E>(self, s: &str) -> Result<Value, E> {
                Ok(Value::text(s))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<Value>()? {
                    items.push(item);
                }
                Ok(items.into())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut object = Object::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    object.insert(key, value);
                }
                Ok(object.into())
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// Upper case as GitHub compares: everything but the dotless ı, which has no upper case of its own there.
pub(crate) fn upper(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_uppercase();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == 'ı' {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
    }
    out
}

/// The shortest text with at most 15 decimals, as GitHub writes numbers.
pub(crate) fn number_to_text(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if n == 0.0 {
        return "0".to_owned();
    }
    if n.abs() >= 1e21 {
        return format!("{n:e}").replacen('e', "e+", 1);
    }
    let rounded: f64 = format!("{n:.15}").parse().unwrap_or(n);
    let rounded = if rounded == 0.0 { 0.0 } else { rounded };
    if rounded != 0.0 && rounded.abs() < 1e-6 {
        return format!("{rounded:e}");
    }
    rounded.to_string()
}

/// The number GitHub reads from a text: decimal, hexadecimal, octal, `Infinity`; the empty text is 0, others NaN.
pub(crate) fn text_to_number(text: &str) -> f64 {
    let text = text.trim();
    if text.is_empty() {
        return 0.0;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && let Ok(n) = text.parse::<f64>()
    {
        return n;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            // 32 bits in two's complement, as in the original
            return u32::from_str_radix(digits, radix).map_or(f64::NAN, |n| f64::from(n.cast_signed()));
        }
    }
    if unsigned.eq_ignore_ascii_case("infinity") {
        return if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    f64::NAN
}

/// Writes JSON; `indent` is the current level when pretty, `None` when compact.
fn write_json(value: &Value, out: &mut String, indent: Option<usize>, sorted: bool) {
    let newline = |out: &mut String, level: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', level * 2));
    };
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => out.push_str(&number_to_text(*n)),
        Value::String(s) => write_json_text(s, out),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                if let Some(level) = indent {
                    newline(out, level + 1);
                }
                write_json(item, out, indent.map(|level| level + 1), sorted);
            }
            if let Some(level) = indent {
                newline(out, level);
            }
            out.push(']');
        }
        Value::Object(object) if object.is_empty() => out.push_str("{}"),
        Value::Object(object) => {
            out.push('{');
            let mut entries: Vec<(&str, &Value)> = object.iter().collect();
            if sorted {
                entries.sort_by_key(|(key, _)| *key);
            }
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                if let Some(level) = indent {
                    newline(out, level + 1);
                }
                write_json_text(key, out);
                out.push_str(if indent.is_some() { ": " } else { ":" });
                write_json(value, out, indent.map(|level| level + 1), sorted);
            }
            if let Some(level) = indent {
                newline(out, level);
            }
            out.push('}');
        }
    }
}

fn write_json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => {
                // writing to a String cannot fail
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_without_regard_to_case_and_keep_their_order() {
        let value = Value::from_json(r#"{"b":1,"A":2,"B":3}"#).unwrap();
        assert_eq!(value.field("a").to_number(), 2.0);
        assert_eq!(value.to_json_pretty(), "{\n  \"b\": 3,\n  \"A\": 2\n}");
        let mut env = Object::case_sensitive();
        env.insert("Path", "a");
        assert!(env.value("PATH").is_none());
    }

    #[test]
    fn numbers_are_written_in_their_shortest_form() {
        for (n, text) in [(3.10, "3.1"), (10.0, "10"), (-0.0, "0"), (0.1 + 0.2, "0.3"), (1e21, "1e+21")] {
            assert_eq!(number_to_text(n), text);
        }
        assert_eq!(Value::Number(f64::INFINITY).to_text(), "Infinity");
    }

    #[test]
    fn texts_become_numbers_as_on_github() {
        for (text, n) in
            [("", 0.0), (" 12 ", 12.0), ("0xff", 255.0), ("0o17", 15.0), ("1e3", 1000.0), (".5", 0.5)]
        {
            assert_eq!(text_to_number(text), n, "{text}");
        }
        assert!(text_to_number("abc").is_nan());
        assert!(text_to_number("inf").is_nan());
        assert_eq!(text_to_number("-Infinity"), f64::NEG_INFINITY);
    }

    #[test]
    fn canonical_text_sorts_keys_and_has_no_spaces() {
        let value = Value::from_json(r#"{"b":[1, 2.50],"a":"x\ny"}"#).unwrap();
        assert_eq!(value.to_json_canonical(), r#"{"a":"x\ny","b":[1,2.5]}"#);
    }
}
