//! Texts with `${{ }}` in them, trees of such texts, and conditions.
//!
//! Everything is parsed when the workflow is read, so a bad expression is reported with its place and rendering can only
//! fail for what the contexts hold.

use crate::{
    diagnostic::{Diagnostic, Position},
    expression::{Contexts, EvaluationError, Expression, ExpressionError, Object, Value},
    limits,
};

/// A scalar of the workflow file: a plain value, one expression, or text with expressions inside.
#[derive(Debug, Clone)]
pub struct Template {
    at: Position,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Literal(Value),
    /// The whole scalar is one `${{ }}`: its value keeps its type.
    Single(Expression),
    Mixed(Vec<Part>),
}

#[derive(Debug, Clone)]
pub(crate) enum Part {
    Text(String),
    Expression(Expression),
}

/// Why a template could not be rendered, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{expression}: {error}")]
pub struct RenderError {
    /// Where the template stands in the workflow file.
    pub at: Position,
    /// The expression that failed.
    pub expression: String,
    /// What went wrong.
    pub error: EvaluationError,
}

impl RenderError {
    /// The same as a diagnostic of a file.
    pub fn diagnostic(&self, file: &str) -> Diagnostic {
        Diagnostic::new(file, self.at, self.to_string(), "")
    }
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `${{` without `}}`.
    #[error("'${{{{' is never closed by '}}}}'")]
    Unclosed {
        /// The text from `${{` on.
        raw: String,
    },
    /// What stands between is not an expression.
    #[error("{error}")]
    Expression {
        /// The text from `${{` to `}}`.
        raw: String,
        /// What is wrong.
        error: ExpressionError,
    },
}

impl TemplateError {
    /// The part of the text that is wrong.
    pub fn raw(&self) -> &str {
        match self {
            TemplateError::Unclosed { raw } | TemplateError::Expression { raw, .. } => raw,
        }
    }
}

/// Splits a text at its `${{ }}`. A `}}` inside single quotes does not close.
pub(crate) fn split(text: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${{") {
        if start > 0 {
            parts.push(Part::Text(rest[..start].to_owned()));
        }
        let opened = &rest[start..];
        let end = closing(opened).ok_or_else(|| TemplateError::Unclosed { raw: opened.to_owned() })?;
        let raw = &opened[..end];
        let expression = Expression::parse(&raw[3..end - 2])
            .map_err(|error| TemplateError::Expression { raw: raw.to_owned(), error })?;
        parts.push(Part::Expression(expression));
        rest = &opened[end..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// Bytes up to and including the `}}` that closes the expression at the start of `text`.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quoted = false;
    for at in 3..bytes.len() {
        match bytes[at] {
            b'\'' => quoted = !quoted,
            b'}' if !quoted && at > 3 && bytes[at - 1] == b'}' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

impl Template {
    /// A value without expressions.
    pub fn literal(at: Position, value: impl Into<Value>) -> Self {
        Template { at, body: Body::Literal(value.into()) }
    }

    /// Parses a text.
    pub fn parse(at: Position, text: &str) -> Result<Self, TemplateError> {
        let mut parts = split(text)?;
        let body = match parts.as_slice() {
            [] | [Part::Text(_)] => Body::Literal(Value::text(text)),
            [Part::Expression(_)] => match parts.pop() {
                // `${{ 'text' }}` is that text, also where no expression may stand
                Some(Part::Expression(expression)) => match expression.as_text() {
                    Some(text) => Body::Literal(Value::text(text)),
                    None => Body::Single(expression),
                },
                _ => Body::Literal(Value::Null),
            },
            _ => Body::Mixed(parts),
        };
        Ok(Template { at, body })
    }

    /// Where it stands in the workflow file.
    pub fn at(&self) -> Position {
        self.at
    }

    /// The value, if there is no expression in it.
    pub fn as_literal(&self) -> Option<&Value> {
        match &self.body {
            Body::Literal(value) => Some(value),
            Body::Single(_) | Body::Mixed(_) => None,
        }
    }

    /// The template as written, with `${{ }}`; for messages and listings.
    pub fn source(&self) -> String {
        let wrapped = |expression: &Expression| format!("${{{{ {} }}}}", expression.source());
        match &self.body {
            Body::Literal(value) => value.to_text(),
            Body::Single(expression) => wrapped(expression),
            Body::Mixed(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => text.clone(),
                    Part::Expression(expression) => wrapped(expression),
                })
                .collect(),
        }
    }

    /// The texts and the expressions it is made of, in order.
    pub(crate) fn parts(&self) -> Vec<Part> {
        match &self.body {
            Body::Literal(value) => vec![Part::Text(value.to_text())],
            Body::Single(expression) => vec![Part::Expression(expression.clone())],
            Body::Mixed(parts) => parts.clone(),
        }
    }

    /// `${{ insert }}` as a key puts the entries of its value in its place.
    fn is_insert(&self) -> bool {
        matches!(&self.body, Body::Single(expression) if expression.source() == "insert")
    }

    /// The expressions inside, in order.
    pub fn expressions(&self) -> Vec<&Expression> {
        match &self.body {
            Body::Literal(_) => Vec::new(),
            Body::Single(expression) => vec![expression],
            Body::Mixed(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    Part::Text(_) => None,
                    Part::Expression(expression) => Some(expression),
                })
                .collect(),
        }
    }

    /// The value, with its type when the whole scalar is one literal or one expression.
    pub fn evaluate(&self, contexts: &Contexts) -> Result<Value, RenderError> {
        match &self.body {
            Body::Literal(value) => Ok(value.clone()),
            Body::Single(expression) => self.value_of(expression, contexts),
            Body::Mixed(parts) => {
                let mut out = String::new();
                for part in parts {
                    match part {
                        Part::Text(text) => out.push_str(text),
                        Part::Expression(expression) => {
                            out.push_str(&self.value_of(expression, contexts)?.to_text());
                        }
                    }
                    if out.len() > limits::OUTPUT_LEN_MAX {
                        return Err(self.failed("${{ }}", EvaluationError::TooLong));
                    }
                }
                Ok(out.into())
            }
        }
    }

    /// The text, as it reaches a script or a variable.
    pub fn render(&self, contexts: &Contexts) -> Result<String, RenderError> {
        self.evaluate(contexts).map(|value| value.to_text())
    }

    fn value_of(&self, expression: &Expression, contexts: &Contexts) -> Result<Value, RenderError> {
        expression.evaluate(contexts).map_err(|error| self.failed(expression.source(), error))
    }

    fn failed(&self, expression: &str, error: EvaluationError) -> RenderError {
        RenderError { at: self.at, expression: expression.to_owned(), error }
    }
}

/// The text of a template under these contexts: [`Template::render`] as a function.
pub fn render(template: &Template, contexts: &Contexts) -> Result<String, RenderError> {
    template.render(contexts)
}

/// A part of the file whose scalars are templates: `env`, `matrix`, `runs-on`, `with`, …
#[derive(Debug, Clone)]
pub enum Tree {
    /// One scalar.
    Scalar(Template),
    /// A sequence, and where it stands.
    Sequence(Position, Vec<Tree>),
    /// A mapping, and where it stands. Keys may be expressions too.
    Mapping(Position, Vec<(Template, Tree)>),
}

impl Tree {
    /// Where it stands in the workflow file.
    pub fn at(&self) -> Position {
        match self {
            Tree::Scalar(template) => template.at(),
            Tree::Sequence(at, _) | Tree::Mapping(at, _) => *at,
        }
    }

    /// The value of the whole tree; refused when it is larger than [`limits::TREE_LEN_MAX`].
    pub fn evaluate(&self, contexts: &Contexts) -> Result<Value, RenderError> {
        self.evaluate_within(contexts, &mut { limits::TREE_LEN_MAX })
    }

    /// The entries of a mapping, or of the object an expression makes; nothing for anything else. Names keep their case.
    pub fn pairs(&self, contexts: &Contexts) -> Result<Vec<(String, Value)>, RenderError> {
        self.pairs_within(contexts, &mut { limits::TREE_LEN_MAX })
    }

    fn evaluate_within(&self, contexts: &Contexts, left: &mut usize) -> Result<Value, RenderError> {
        match self {
            Tree::Scalar(template) => {
                let value = template.evaluate(contexts)?;
                *left = left
                    .checked_sub(value.size())
                    .ok_or_else(|| template.failed("${{ }}", EvaluationError::TooLong))?;
                Ok(value)
            }
            Tree::Sequence(_, items) => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    match (item, item.evaluate_within(contexts, left)?) {
                        // an expression that makes a list stands for its items, as GitHub has it
                        (Tree::Scalar(_), Value::Array(inserted)) => values.extend(inserted.iter().cloned()),
                        (_, value) => values.push(value),
                    }
                }
                Ok(values.into())
            }
            Tree::Mapping(..) => {
                Ok(self.pairs_within(contexts, left)?.into_iter().collect::<Object>().into())
            }
        }
    }

    fn pairs_within(
        &self,
        contexts: &Contexts,
        left: &mut usize,
    ) -> Result<Vec<(String, Value)>, RenderError> {
        let inner = |value: Value| match value {
            Value::Object(object) => {
                object.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
            }
            _ => Vec::new(),
        };
        let Tree::Mapping(_, entries) = self else { return Ok(inner(self.evaluate_within(contexts, left)?)) };
        let mut pairs = Vec::new();
        for (name, value) in entries {
            let value = value.evaluate_within(contexts, left)?;
            if name.is_insert() {
                pairs.extend(inner(value));
            } else {
                pairs.push((name.render(contexts)?, value));
            }
        }
        Ok(pairs)
    }

    /// Entries of a mapping; nothing for anything else.
    pub fn entries(&self) -> &[(Template, Tree)] {
        match self {
            Tree::Mapping(_, entries) => entries,
            Tree::Scalar(_) | Tree::Sequence(..) => &[],
        }
    }

    /// The value below a literal key of a mapping.
    pub fn entry(&self, name: &str) -> Option<&Tree> {
        self.entries()
            .iter()
            .find(|(key, _)| key.as_literal().is_some_and(|key| key.to_text() == name))
            .map(|(_, value)| value)
    }

    /// Every template in it, keys included, in order.
    pub fn templates(&self) -> Vec<&Template> {
        match self {
            Tree::Scalar(template) => vec![template],
            Tree::Sequence(_, items) => items.iter().flat_map(Tree::templates).collect(),
            Tree::Mapping(_, entries) => entries
                .iter()
                .flat_map(|(key, value)| std::iter::once(key).chain(value.templates()))
                .collect(),
        }
    }
}

/// An `if`.
#[derive(Debug, Clone)]
pub struct Condition {
    at: Position,
    source: String,
    body: Template,
}

impl Condition {
    /// Parses the text of an `if`: the whole text is an expression unless it has `${{ }}` in it.
    pub fn parse(at: Position, text: &str) -> Result<Self, TemplateError> {
        let source = text.trim().to_owned();
        let body = if source.contains("${{") {
            Template::parse(at, &source)?
        } else if source.is_empty() {
            Template::literal(at, true)
        } else {
            let expression = Expression::parse(&source)
                .map_err(|error| TemplateError::Expression { raw: source.clone(), error })?;
            Template { at, body: Body::Single(expression) }
        };
        Ok(Condition { at, source, body })
    }

    /// A condition from a value that is no text (`if: false`).
    pub fn literal(at: Position, value: Value) -> Self {
        Condition { at, source: value.to_text(), body: Template::literal(at, value) }
    }

    /// Where it stands in the workflow file.
    pub fn at(&self) -> Position {
        self.at
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it calls a status function itself; otherwise `success()` is asked first.
    pub fn asks_status(&self) -> bool {
        self.body.expressions().iter().any(|expression| expression.asks_status())
    }

    /// The expression that it is, when it is one and nothing more.
    pub(crate) fn expression(&self) -> Option<&Expression> {
        match &self.body.body {
            Body::Single(expression) => Some(expression),
            Body::Literal(_) | Body::Mixed(_) => None,
        }
    }

    /// Whether it is text with expressions in it, which is always true.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.body.body, Body::Mixed(_))
    }

    /// Whether what it guards runs, with the implicit `success()`.
    pub fn holds(&self, contexts: &Contexts) -> Result<bool, RenderError> {
        if !self.asks_status() && !contexts.status().success {
            return Ok(false);
        }
        self.body.evaluate(contexts).map(|value| value.truthy())
    }
}

/// Whether a step or job runs: its `if`, or `success()` when it has none.
pub fn evaluate_condition(condition: Option<&Condition>, contexts: &Contexts) -> Result<bool, RenderError> {
    match condition {
        Some(condition) => condition.holds(contexts),
        None => Ok(contexts.status().success),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::Status;

    fn at() -> Position {
        Position { line: 1, column: 1 }
    }

    fn rendered(text: &str) -> String {
        let mut contexts = Contexts::new();
        contexts.set("env", [("A", "x")].into_iter().collect::<Object>());
        Template::parse(at(), text).unwrap().render(&contexts).unwrap()
    }

    #[test]
    fn text_around_expressions_is_kept() {
        assert_eq!(rendered("a ${{ env.A }} b ${{ 'it''s }}' }}!"), "a x b it's }}!");
        assert_eq!(rendered("no expression, $"), "no expression, $");
        assert_eq!(rendered(""), "");
    }

    #[test]
    fn a_single_expression_keeps_its_type() {
        let template = Template::parse(at(), "${{ 1 == 1 }}").unwrap();
        assert!(matches!(template.evaluate(&Contexts::new()), Ok(Value::Bool(true))));
        let template = Template::parse(at(), " ${{ 1 == 1 }}").unwrap();
        assert!(matches!(template.evaluate(&Contexts::new()), Ok(Value::String(_))));
    }

    #[test]
    fn broken_templates_name_their_part() {
        let error = Template::parse(at(), "x ${{ env.A }} ${{ 'open }}").unwrap_err();
        assert_eq!(error.raw(), "${{ 'open }}");
        assert_eq!(error.to_string(), "'${{' is never closed by '}}'");
        let error = Template::parse(at(), "x ${{ a b }}").unwrap_err();
        assert_eq!(error.raw(), "${{ a b }}");
    }

    #[test]
    fn many_large_values_together_are_refused() {
        let large = format!("${{{{ format('{0}', 'x') }}}}", "y".repeat(20_000));
        let items = |n: usize| {
            let item = || Tree::Scalar(Template::parse(at(), &large).unwrap());
            Tree::Sequence(at(), (0..n).map(|_| item()).collect()).evaluate(&Contexts::new())
        };
        assert!(items(10).is_ok());
        assert_eq!(items(300).unwrap_err().error, EvaluationError::TooLong);
    }

    #[test]
    fn insert_puts_entries_in_place() {
        let key = |text: &str| Template::parse(at(), text).unwrap();
        let value = |text: &str| Tree::Scalar(key(text));
        let entries = vec![
            (key("${{ insert }}"), value("${{ fromJSON('{\"A\":1,\"b\":2}') }}")),
            (key("c"), value("3")),
        ];
        let value = Tree::Mapping(at(), entries).evaluate(&Contexts::new()).unwrap();
        assert_eq!(value.to_json_canonical(), r#"{"A":1,"b":2,"c":"3"}"#);
    }

    #[test]
    fn a_list_in_a_list_is_inserted_when_an_expression_made_it() {
        let value = |text: &str| Tree::Scalar(Template::parse(at(), text).unwrap());
        let items =
            vec![value("a"), value("${{ fromJSON('[1,[2]]') }}"), Tree::Sequence(at(), vec![value("b")])];
        let value = Tree::Sequence(at(), items).evaluate(&Contexts::new()).unwrap();
        assert_eq!(value.to_json_canonical(), r#"["a",1,[2],["b"]]"#);
    }

    #[test]
    fn a_condition_without_status_function_asks_for_success_first() {
        let mut contexts = Contexts::new();
        contexts.set_status(Status::FAILURE);
        let holds = |text: &str| Condition::parse(at(), text).unwrap().holds(&contexts).unwrap();
        assert!(!holds("true"));
        assert!(holds("always()"));
        assert!(holds("${{ failure() }}"));
        assert!(!holds("failure() && false"));
        assert!(!evaluate_condition(None, &contexts).unwrap());
    }
}
