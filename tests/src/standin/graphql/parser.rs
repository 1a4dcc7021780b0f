//! Reads a query: operations, fragments, fields with aliases, arguments, variables, directives.
//!
//! The grammar of executable documents without subscriptions; block strings are taken as they stand.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A place in the query, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Operations and fragments of one request.
#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) operations: Vec<Operation>,
    pub(crate) fragments: BTreeMap<String, Fragment>,
}

#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: Option<String>,
    pub(crate) is_mutation: bool,
    pub(crate) variables: Vec<Variable>,
    pub(crate) selection: Vec<Selection>,
}

#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// As written: `[ID!]!`.
    pub(crate) kind: String,
    pub(crate) default: Option<Literal>,
}

#[derive(Debug)]
pub(crate) struct Fragment {
    pub(crate) on: String,
    pub(crate) selection: Vec<Selection>,
}

#[derive(Debug, Clone)]
pub(crate) enum Selection {
    Field(Field),
    Spread(String, Place),
    Inline { on: Option<String>, selection: Vec<Selection>, place: Place },
}

#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// The name in the answer.
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) arguments: Vec<(String, Literal)>,
    /// `include` and `skip` with their condition.
    pub(crate) conditions: Vec<(String, Literal)>,
    pub(crate) selection: Vec<Selection>,
    pub(crate) place: Place,
}

/// A value in a query.
#[derive(Debug, Clone)]
pub(crate) enum Literal {
    Variable(String),
    Value(Value),
    List(Vec<Literal>),
    Object(Vec<(String, Literal)>),
}

impl Literal {
    /// The value with variables filled in.
    pub(crate) fn value(&self, variables: &Map<String, Value>) -> Value {
        match self {
            Self::Variable(name) => variables.get(name).cloned().unwrap_or(Value::Null),
            Self::Value(value) => value.clone(),
            Self::List(items) => items.iter().map(|item| item.value(variables)).collect(),
            Self::Object(fields) => Value::Object(
                fields.iter().map(|(name, value)| (name.clone(), value.value(variables))).collect(),
            ),
        }
    }
}

/// The query is none.
#[derive(Debug, thiserror::Error)]
#[error("Parse error on {found} at [{line}, {column}]")]
pub(crate) struct ParseError {
    found: String,
    line: usize,
    column: usize,
}

impl ParseError {
    pub(crate) fn place(&self) -> Place {
        Place { line: self.line, column: self.column }
    }
}

/// How deep selections and values may lie in each other.
const DEPTH_MAX: usize = 50;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Number(String),
    Text(String),
    /// `{ } ( ) [ ] : ! $ = @ | &`, and `...` as `…`.
    Sign(char),
    End,
}

/// Reads a document.
pub(crate) fn parse(text: &str) -> Result<Document, ParseError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let mut document = Document::default();
    while parser.peek() != &Token::End {
        parser.definition(&mut document)?;
    }
    Ok(document)
}

fn tokens(text: &str) -> Result<Vec<(Token, Place)>, ParseError> {
    let mut found = Vec::new();
    let mut place = Place { line: 1, column: 1 };
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (token, length) = match letter {
            '#' => (None, rest.find('\n').unwrap_or(rest.len())),
            ',' | '\u{feff}' => (None, letter.len_utf8()),
            _ if letter.is_whitespace() => (None, letter.len_utf8()),
            '.' if rest.starts_with("...") => (Some(Token::Sign('…')), 3),
            '"' => {
                let (text, length) = quoted(rest).ok_or_else(|| error_at("\"", place))?;
                (Some(Token::Text(text)), length)
            }
            '-' | '0'..='9' => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
                let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                (Some(Token::Number(rest[..length].to_owned())), length)
            }
            _ if is_word(letter) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (Some(Token::Name(rest[..length].to_owned())), length)
            }
            _ if "{}()[]:!$=@|&".contains(letter) => (Some(Token::Sign(letter)), 1),
            _ => return Err(error_at(&letter.to_string(), place)),
        };
        found.extend(token.map(|token| (token, place)));
        let (taken, after) = rest.split_at(length);
        for letter in taken.chars() {
            place.column += 1;
            if letter == '\n' {
                place = Place { line: place.line + 1, column: 1 };
            }
        }
        rest = after;
    }
    found.push((Token::End, place));
    Ok(found)
}

fn error_at(found: &str, place: Place) -> ParseError {
    ParseError { found: format!("{found:?}"), line: place.line, column: place.column }
}

/// The text between quotation marks and how long it is with them.
fn quoted(rest: &str) -> Option<(String, usize)> {
    if let Some(block) = rest.strip_prefix("\"\"\"") {
        let end = block.find("\"\"\"")?;
        return Some((block[..end].to_owned(), end + 6));
    }
    let mut is_escaped = false;
    let end = rest[1..].find(|letter| {
        let ends = letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        ends || letter == '\n'
    })?;
    let literal = rest.get(..end + 2).filter(|literal| literal.ends_with('"'))?;
    // the escapes are those of JSON
    Some((serde_json::from_str(literal).ok()?, literal.len()))
}

struct Parser {
    tokens: Vec<(Token, Place)>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn place(&self) -> Place {
        let last = self.tokens.last();
        self.tokens.get(self.at).or(last).map_or(Place { line: 1, column: 1 }, |(_, place)| *place)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn error<T>(&self) -> Result<T, ParseError> {
        let found = match self.peek() {
            Token::Name(text) | Token::Number(text) | Token::Text(text) => text.clone(),
            Token::Sign(sign) => sign.to_string(),
            Token::End => "end of document".to_owned(),
        };
        Err(error_at(&found, self.place()))
    }

    fn take(&mut self, sign: char) -> bool {
        let is_next = self.peek() == &Token::Sign(sign);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, sign: char) -> Result<(), ParseError> {
        if self.take(sign) { Ok(()) } else { self.error() }
    }

    fn name(&mut self) -> Result<String, ParseError> {
        match self.peek() {
            Token::Name(_) => match self.next() {
                Token::Name(name) => Ok(name),
                _ => self.error(),
            },
            _ => self.error(),
        }
    }

    fn definition(&mut self, document: &mut Document) -> Result<(), ParseError> {
        if self.peek() == &Token::Sign('{') {
            let selection = self.selection(0)?;
            let operation = Operation { name: None, is_mutation: false, variables: Vec::new(), selection };
            document.operations.push(operation);
            return Ok(());
        }
        let start = self.at;
        let word = self.name()?;
        match word.as_str() {
            "fragment" => {
                let name = self.name()?;
                if self.name()? != "on" {
                    return self.error();
                }
                let on = self.name()?;
                let selection = self.selection(0)?;
                document.fragments.insert(name, Fragment { on, selection });
            }
            "query" | "mutation" => {
                let name = if matches!(self.peek(), Token::Name(_)) { Some(self.name()?) } else { None };
                let variables = self.variables()?;
                let selection = self.selection(0)?;
                let is_mutation = word == "mutation";
                document.operations.push(Operation { name, is_mutation, variables, selection });
            }
            _ => {
                self.at = start;
                return self.error();
            }
        }
        Ok(())
    }

    fn variables(&mut self) -> Result<Vec<Variable>, ParseError> {
        let mut variables = Vec::new();
        if !self.take('(') {
            return Ok(variables);
        }
        while !self.take(')') {
            self.expect('$')?;
            let name = self.name()?;
            self.expect(':')?;
            let mut kind = String::new();
            loop {
                match self.peek() {
                    Token::Sign(sign @ ('[' | ']' | '!')) => kind.push(*sign),
                    Token::Name(name) if kind.is_empty() || kind.ends_with('[') => kind.push_str(name),
                    _ => break,
                }
                self.at += 1;
            }
            if kind.is_empty() {
                return self.error();
            }
            let default = if self.take('=') { Some(self.literal(0)?) } else { None };
            variables.push(Variable { name, kind, default });
        }
        Ok(variables)
    }

    fn selection(&mut self, depth: usize) -> Result<Vec<Selection>, ParseError> {
        if depth > DEPTH_MAX {
            return self.error();
        }
        self.expect('{')?;
        let mut selection = Vec::new();
        while !self.take('}') {
            let place = self.place();
            if !self.take('…') {
                selection.push(Selection::Field(self.field(depth)?));
                continue;
            }
            let word = if matches!(self.peek(), Token::Name(_)) { Some(self.name()?) } else { None };
            match word.as_deref() {
                Some("on") => {
                    let on = Some(self.name()?);
                    selection.push(Selection::Inline { on, selection: self.selection(depth + 1)?, place });
                }
                Some(name) => selection.push(Selection::Spread(name.to_owned(), place)),
                None => {
                    selection.push(Selection::Inline {
                        on: None,
                        selection: self.selection(depth + 1)?,
                        place,
                    });
                }
            }
        }
        Ok(selection)
    }

    fn field(&mut self, depth: usize) -> Result<Field, ParseError> {
        let place = self.place();
        let key = self.name()?;
        let name = if self.take(':') { self.name()? } else { key.clone() };
        let arguments = self.arguments(depth)?;
        let mut conditions = Vec::new();
        while self.take('@') {
            let directive = self.name()?;
            let condition = self.arguments(depth)?.into_iter().find(|(name, _)| name == "if");
            conditions.extend(condition.map(|(_, value)| (directive, value)));
        }
        let selection =
            if self.peek() == &Token::Sign('{') { self.selection(depth + 1)? } else { Vec::new() };
        Ok(Field { key, name, arguments, conditions, selection, place })
    }

    fn arguments(&mut self, depth: usize) -> Result<Vec<(String, Literal)>, ParseError> {
        let mut arguments = Vec::new();
        if self.take('(') {
            while !self.take(')') {
                let name = self.name()?;
                self.expect(':')?;
                arguments.push((name, self.literal(depth)?));
            }
        }
        Ok(arguments)
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, ParseError> {
        if depth > DEPTH_MAX {
            return self.error();
        }
        if self.take('$') {
            return Ok(Literal::Variable(self.name()?));
        }
        if self.take('[') {
            let mut items = Vec::new();
            while !self.take(']') {
                items.push(self.literal(depth + 1)?);
            }
            return Ok(Literal::List(items));
        }
        if self.take('{') {
            let mut fields = Vec::new();
            while !self.take('}') {
                let name = self.name()?;
                self.expect(':')?;
                fields.push((name, self.literal(depth + 1)?));
            }
            return Ok(Literal::Object(fields));
        }
        let value = match self.peek() {
            Token::Text(text) => Value::String(text.clone()),
            Token::Number(number) => match serde_json::from_str(number) {
                Ok(number) => number,
                Err(_) => return self.error(),
            },
            Token::Name(name) => match name.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                // a word of an enumeration
                _ => Value::String(name.clone()),
            },
            Token::Sign(_) | Token::End => return self.error(),
        };
        self.at += 1;
        Ok(Literal::Value(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_taken_apart() {
        let text = "# why\nquery Q($a: [ID!]! = [\"x\"], $n: Int) { one: thing(id: $a, n: 3, o: {d: ASC}) @include(if: true) \
                    { ...F ... on T { b } ... { c } } }\nfragment F on T { d }";
        let document = parse(text).expect("a query");
        let operation = &document.operations[0];
        let kinds: Vec<_> = operation.variables.iter().map(|variable| variable.kind.as_str()).collect();
        assert_eq!((operation.name.as_deref(), kinds), (Some("Q"), vec!["[ID!]!", "Int"]));
        let Selection::Field(field) = &operation.selection[0] else { panic!("a field") };
        assert_eq!((field.key.as_str(), field.name.as_str(), field.place.line), ("one", "thing", 2));
        assert_eq!((field.selection.len(), field.conditions.len()), (3, 1));
        assert_eq!(field.arguments[2].1.value(&Map::new()), serde_json::json!({ "d": "ASC" }));
        assert_eq!(document.fragments["F"].on, "T");
    }

    #[test]
    fn what_is_no_query_is_an_error_with_a_place() {
        for (text, place) in
            [("{ a", (1, 4)), ("query {\n a(b: ) }", (2, 7)), ("nothing { a }", (1, 1)), ("{ a ? }", (1, 5))]
        {
            let error = parse(text).expect_err(text).place();
            assert_eq!((error.line, error.column), place, "{text}");
        }
        assert!(parse(&"{a".repeat(10_000)).is_err(), "bounded depth");
    }
}
