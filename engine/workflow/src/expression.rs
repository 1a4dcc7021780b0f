//! The expression language of `${{ }}`: parsing, values, evaluation.
//!
//! Syntax is parsed by `github-actions-expressions`; its tree is copied into an owned one so that an [`Expression`] lives as
//! long as its workflow. What an expression means (coercions, filters, functions) is ours, in the modules below.
//!
//! Invariants: evaluation has no side effect, its depth is at most [`limits::VALUE_DEPTH_MAX`], no text it makes is longer
//! than [`limits::OUTPUT_LEN_MAX`], and it never panics.

mod contexts;
mod evaluate;
mod functions;
mod value;

use github_actions_expressions as syntax;

pub use contexts::{Contexts, HashFiles, Status};
pub use evaluate::EvaluationError;
pub use value::{Object, Value};

use crate::limits;

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// The text breaks the grammar.
    #[error("{message} at character {offset} of the expression `{source_text}`")]
    Syntax {
        /// What the parser did not like.
        message: String,
        /// Characters before the trouble, plus one.
        offset: usize,
        /// The expression.
        source_text: String,
    },
    /// A function nobody knows, or the wrong number of arguments.
    #[error("{0}")]
    Call(String),
    /// Nested deeper than GitHub allows.
    #[error("the expression is nested deeper than {} levels", limits::VALUE_DEPTH_MAX)]
    Depth,
    /// Longer than GitHub allows, or with more operators than anybody writes.
    #[error(
        "the expression is too long: at most {} characters, {} of them operators",
        limits::EXPRESSION_LEN_MAX,
        limits::EXPRESSION_OPERATORS_MAX
    )]
    TooLong,
    /// `${{ }}` with nothing inside.
    #[error("the expression is empty")]
    Empty,
}

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    source: String,
    root: Ast,
}

/// The functions of the language.
pub(crate) use syntax::call::Function;

/// The owned syntax tree.
#[derive(Debug, Clone)]
pub(crate) enum Ast {
    Literal(Value),
    /// A context: `github`, `env`, …
    Context(String),
    Call(Function, Vec<Ast>),
    /// `base.a[b].*`
    Access(Box<Ast>, Vec<Access>),
    Not(Box<Ast>),
    Binary(Box<Ast>, Operator, Box<Ast>),
}

/// One step into a value.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    Field(String),
    Index(Ast),
    /// `*`: all of them, and what follows applies to each.
    Filter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    And,
    Or,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Expression {
    /// Parses the text between `${{` and `}}`, or the whole of an `if`.
    pub fn parse(source: &str) -> Result<Self, ExpressionError> {
        // also white space that is not ASCII, which editors hide
        let trimmed = source.trim();
        if trimmed.is_empty() {
            return Err(ExpressionError::Empty);
        }
        // before the parser, whose tree would be as deep as a chain of operators is long
        if trimmed.chars().count() > limits::EXPRESSION_LEN_MAX
            || operators(trimmed) > limits::EXPRESSION_OPERATORS_MAX
        {
            return Err(ExpressionError::TooLong);
        }
        let skipped = source.chars().take_while(|c| c.is_whitespace()).count();
        let parsed = syntax::Expr::parse(trimmed).map_err(|error| match error {
            syntax::Error::Syntax(error) => ExpressionError::Syntax {
                message: error.message.to_owned(),
                offset: trimmed.get(..error.offset).map_or(error.offset, |before| before.chars().count())
                    + skipped
                    + 1,
                source_text: trimmed.to_owned(),
            },
            syntax::Error::Call(syntax::call::Error::UnknownFunction(name)) => {
                ExpressionError::Call(format!("unknown function '{name}'"))
            }
            syntax::Error::Call(syntax::call::Error::Arity(function, expected)) => {
                ExpressionError::Call(format!("{} takes {expected}", functions::name(function)))
            }
            syntax::Error::Depth => ExpressionError::Depth,
        })?;
        let root = convert(&parsed);
        if depth(&root) > limits::VALUE_DEPTH_MAX {
            return Err(ExpressionError::Depth);
        }
        Ok(Expression { source: trimmed.to_owned(), root })
    }

    /// The text it was parsed from, without surrounding space.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Computes the value.
    pub fn evaluate(&self, contexts: &Contexts) -> Result<Value, EvaluationError> {
        evaluate::evaluate(&self.root, contexts)
    }

    /// The text, if the expression is nothing but a text in quotes.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.root {
            Ast::Literal(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether `success()`, `failure()`, `cancelled()` or `always()` occurs anywhere: then an `if` has no implicit
    /// `success()`.
    pub fn asks_status(&self) -> bool {
        let mut asks = false;
        self.visit(&mut |ast| {
            asks |= matches!(
                ast,
                Ast::Call(Function::Success | Function::Failure | Function::Cancelled | Function::Always, _)
            );
        });
        asks
    }

    /// The contexts it names, as written, in order of appearance.
    pub fn contexts(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.visit(&mut |ast| {
            if let Ast::Context(name) = ast {
                names.push(name.as_str());
            }
        });
        names
    }

    /// Whether it names a context, without regard to case.
    pub fn uses_context(&self, context: &str) -> bool {
        self.contexts().iter().any(|name| name.eq_ignore_ascii_case(context))
    }

    /// Whether it is false as long as this field of a context is not set, whatever else holds: it is a comparison of that
    /// field with a literal, or such a comparison and more, joined by `&&`.
    pub(crate) fn is_false_without(&self, context: &str, field: &str) -> bool {
        let mut joined = vec![&self.root];
        while let Some(ast) = joined.pop() {
            match ast {
                Ast::Binary(left, Operator::And, right) => joined.extend([&**left, &**right]),
                Ast::Binary(left, operator, right) if *operator != Operator::Or => {
                    let compares = matches!((&**left, &**right), (side, Ast::Literal(_)) | (Ast::Literal(_), side)
                        if is_field(side, context, field));
                    if compares && is_false_unset(ast, context, field) {
                        return true;
                    }
                }
                _ => {}
            }
        }
        false
    }

    pub(crate) fn visit<'a>(&'a self, visitor: &mut impl FnMut(&'a Ast)) {
        visit(&self.root, visitor);
    }
}

/// Whether it is this field of a context: `context.field` or `context['field']`.
fn is_field(ast: &Ast, context: &str, field: &str) -> bool {
    let Ast::Access(base, path) = ast else { return false };
    let named = match path.as_slice() {
        [Access::Field(name)] => name.eq_ignore_ascii_case(field),
        [Access::Index(Ast::Literal(Value::String(name)))] => name.eq_ignore_ascii_case(field),
        _ => false,
    };
    named && matches!(&**base, Ast::Context(name) if name.eq_ignore_ascii_case(context))
}

/// Whether it is false while the field is not set: both as null, which GitHub's evaluator has, and as the empty text that its
/// documentation names.
fn is_false_unset(ast: &Ast, context: &str, field: &str) -> bool {
    [Value::Null, Value::text("")].into_iter().all(|unset| {
        let mut contexts = Contexts::new();
        contexts.set_field(context, field, unset);
        evaluate::evaluate(ast, &contexts).is_ok_and(|value| !value.truthy())
    })
}

/// Characters of operators outside quotes.
fn operators(source: &str) -> usize {
    let mut quoted = false;
    let outside = |byte: &u8| {
        quoted ^= *byte == b'\'';
        !quoted && b"|&=<>!".contains(byte)
    };
    source.bytes().filter(outside).count()
}

fn visit<'a>(ast: &'a Ast, visitor: &mut impl FnMut(&'a Ast)) {
    visitor(ast);
    match ast {
        Ast::Literal(_) | Ast::Context(_) => {}
        Ast::Call(_, arguments) => arguments.iter().for_each(|argument| visit(argument, visitor)),
        Ast::Access(base, path) => {
            visit(base, visitor);
            for access in path {
                if let Access::Index(index) = access {
                    visit(index, visitor);
                }
            }
        }
        Ast::Not(inner) => visit(inner, visitor),
        Ast::Binary(left, _, right) => {
            visit(left, visitor);
            visit(right, visitor);
        }
    }
}

fn depth(ast: &Ast) -> usize {
    match ast {
        Ast::Literal(_) | Ast::Context(_) => 1,
        Ast::Call(_, arguments) => 1 + arguments.iter().map(depth).max().unwrap_or(0),
        Ast::Access(base, path) => {
            let inside = path.iter().rev().enumerate().map(|(above, access)| match access {
                Access::Index(index) => above + 1 + depth(index),
                Access::Field(_) | Access::Filter => above + 2,
            });
            inside.max().unwrap_or(0).max(path.len() + depth(base))
        }
        Ast::Not(inner) => 1 + depth(inner),
        // a chain of the same operator is one node for GitHub
        Ast::Binary(left, operator, right) => {
            let side = |ast: &Ast| match ast {
                Ast::Binary(_, inner, _) if inner == operator => depth(ast).saturating_sub(1),
                _ => depth(ast),
            };
            1 + side(left).max(side(right))
        }
    }
}

fn convert(expression: &syntax::SpannedExpr<'_>) -> Ast {
    match &expression.inner {
        syntax::Expr::Literal(literal) => Ast::Literal(match literal {
            syntax::literal::Literal::Number(n) => Value::Number(*n),
            syntax::literal::Literal::String(s) => Value::text(s),
            syntax::literal::Literal::Boolean(b) => Value::Bool(*b),
            syntax::literal::Literal::Null => Value::Null,
        }),
        syntax::Expr::Identifier(identifier) => Ast::Context(identifier.as_str().to_owned()),
        syntax::Expr::Call(call) => Ast::Call(call.func, call.args.iter().map(convert).collect()),
        syntax::Expr::Context(context) => convert_access(&context.parts),
        syntax::Expr::Index(inner) => convert(inner),
        // the parser produces a star only inside an index or after a dot, where `convert_access` takes it
        syntax::Expr::Star => Ast::Literal(Value::Null),
        syntax::Expr::UnExpr { op: syntax::op::UnOp::Not, expr } => Ast::Not(Box::new(convert(expr))),
        syntax::Expr::BinExpr(binary) => {
            let operator = match binary.op {
                syntax::op::BinOp::And => Operator::And,
                syntax::op::BinOp::Or => Operator::Or,
                syntax::op::BinOp::Eq => Operator::Equal,
                syntax::op::BinOp::Neq => Operator::NotEqual,
                syntax::op::BinOp::Gt => Operator::Greater,
                syntax::op::BinOp::Ge => Operator::GreaterOrEqual,
                syntax::op::BinOp::Lt => Operator::Less,
                syntax::op::BinOp::Le => Operator::LessOrEqual,
            };
            Ast::Binary(Box::new(convert(&binary.lhs)), operator, Box::new(convert(&binary.rhs)))
        }
    }
}

fn convert_access(parts: &[syntax::SpannedExpr<'_>]) -> Ast {
    let Some((head, rest)) = parts.split_first() else { return Ast::Literal(Value::Null) };
    let path = rest.iter().map(|part| match &part.inner {
        syntax::Expr::Identifier(identifier) => Access::Field(identifier.as_str().to_owned()),
        syntax::Expr::Star => Access::Filter,
        syntax::Expr::Index(inner) if matches!(inner.inner, syntax::Expr::Star) => Access::Filter,
        syntax::Expr::Index(inner) => Access::Index(convert(inner)),
        _ => Access::Index(convert(part)),
    });
    // `(a.*).b` filters like `a.*.b`: parentheses do not turn a filtered list into a plain one
    match convert(head) {
        base if rest.is_empty() => base,
        Ast::Access(base, mut before) => {
            before.extend(path);
            Ast::Access(base, before)
        }
        base => Ast::Access(Box::new(base), path.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_where_in_the_expression() {
        let error = Expression::parse("github.sha =! 'x'").unwrap_err();
        assert!(error.to_string().contains("at character 12"), "{error}");
        assert!(matches!(Expression::parse("  "), Err(ExpressionError::Empty)));
        let error = Expression::parse("lenght('a')").unwrap_err();
        assert_eq!(error.to_string(), "unknown function 'lenght'");
    }

    #[test]
    fn long_chains_of_fields_are_too_deep() {
        let text = |fields: usize| format!("github{}", ".a".repeat(fields));
        assert!(Expression::parse(&text(49)).is_ok());
        assert!(matches!(Expression::parse(&text(50)), Err(ExpressionError::Depth)));
    }

    #[test]
    fn long_chains_of_operators_end_before_the_stack_does() {
        let chain = |n: usize| vec!["1"; n].join("||");
        assert!(Expression::parse(&chain(500)).is_ok());
        assert!(matches!(Expression::parse(&chain(1_000)), Err(ExpressionError::TooLong)));
        assert!(matches!(Expression::parse(&chain(200_000)), Err(ExpressionError::TooLong)));
        let text = format!("'{}' == 'a'", "|".repeat(5_000));
        assert!(Expression::parse(&text).is_ok());
        assert!(matches!(Expression::parse(&"a".repeat(30_000)), Err(ExpressionError::TooLong)));
    }

    #[test]
    fn status_functions_are_seen_anywhere() {
        assert!(Expression::parse("github.ref == 'x' && (always())").unwrap().asks_status());
        assert!(!Expression::parse("contains('always()', 'a')").unwrap().asks_status());
    }
}
