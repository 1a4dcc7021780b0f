//! Checks a tree against the language: keys, types, and the contexts an expression may use in each place.
//!
//! The language itself is a table (`schema/table.rs`, events in `schema/events.rs`); this file walks a tree along it. A value
//! may be an expression wherever its place has contexts. What needs more than one place at a time (ids, needs, inputs) is
//! checked when the model is made.
//!
//! Keys marked as ours, and the two required keys we can do without, become notes in place of errors.

mod events;
mod table;

use std::collections::BTreeMap;

use crate::{
    diagnostic::{Diagnostics, Position, near_matches, quoted_list},
    expression::{Ast, Expression, ExpressionError, Function, Value},
    reader::{Node, NodeKind},
    template::{self, Part, Template, TemplateError},
};

/// Stands between a message and the text of the expression it is about.
pub(crate) const IN_EXPRESSION: &str = " in `";

/// Contexts and special functions of a place, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Names(u16);

impl Names {
    const NONE: Names = Names(0);
    const GITHUB: Names = Names(1);
    const INPUTS: Names = Names(1 << 1);
    const VARS: Names = Names(1 << 2);
    const NEEDS: Names = Names(1 << 3);
    const STRATEGY: Names = Names(1 << 4);
    const MATRIX: Names = Names(1 << 5);
    const SECRETS: Names = Names(1 << 6);
    const STEPS: Names = Names(1 << 7);
    const JOB: Names = Names(1 << 8);
    const RUNNER: Names = Names(1 << 9);
    const ENV: Names = Names(1 << 10);
    const JOBS: Names = Names(1 << 11);
    const HASH_FILES: Names = Names(1 << 12);
    const STATUS: Names = Names(1 << 13);

    const CONTEXTS: [(&'static str, Names); 12] = [
        ("github", Names::GITHUB),
        ("inputs", Names::INPUTS),
        ("vars", Names::VARS),
        ("needs", Names::NEEDS),
        ("strategy", Names::STRATEGY),
        ("matrix", Names::MATRIX),
        ("secrets", Names::SECRETS),
        ("steps", Names::STEPS),
        ("job", Names::JOB),
        ("runner", Names::RUNNER),
        ("env", Names::ENV),
        ("jobs", Names::JOBS),
    ];

    const fn and(self, other: Names) -> Names {
        Names(self.0 | other.0)
    }

    const fn has(self, other: Names) -> bool {
        self.0 & other.0 == other.0
    }

    fn of_context(name: &str) -> Option<Names> {
        Self::CONTEXTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, bit)| *bit)
    }

    fn listed(self) -> String {
        let words = Self::CONTEXTS.iter().filter(|(_, bit)| self.has(*bit)).map(|(name, _)| *name);
        quoted_list(words)
    }
}

/// What may stand in a place. Several rules are alternatives.
#[derive(Debug)]
struct Place {
    /// Added to the names of the place around it.
    names: Names,
    rules: &'static [Rule],
}

#[derive(Debug)]
enum Rule {
    /// Everything.
    Any,
    Null,
    Bool,
    Number,
    Text,
    NonEmptyText,
    /// One of these words.
    OneOf(&'static [&'static str]),
    List(&'static Place),
    Map(&'static Map),
}

#[derive(Debug)]
struct Map {
    keys: &'static [Key],
    /// What any other key holds; `None`: no other keys.
    others: Option<&'static Place>,
}

#[derive(Debug)]
struct Key {
    name: &'static str,
    place: &'static Place,
    need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Optional,
    Required,
    /// Required by GitHub; we do without, and note it.
    RequiredByGithub,
    /// Unknown to GitHub; ours, and noted.
    Ours,
}

/// Checks a whole file: errors of both readers into `errors`, what only GitHub objects to into `notes`.
pub(crate) fn check<'f>(root: &Node, errors: &mut Diagnostics<'f>, notes: &mut Diagnostics<'f>) {
    Check { errors, notes }.node(root, &table::WORKFLOW, Names::NONE);
}

struct Check<'d, 'f> {
    errors: &'d mut Diagnostics<'f>,
    notes: &'d mut Diagnostics<'f>,
}

impl Check<'_, '_> {
    fn node(&mut self, node: &Node, place: &'static Place, around: Names) {
        let names = around.and(place.names);
        match &node.kind {
            NodeKind::Sequence(items) => match list_of(place) {
                Some(inner) => items.iter().for_each(|item| self.node(item, inner, names)),
                None => self.errors.add(node.at, "a sequence does not belong here", kinds(place)),
            },
            NodeKind::Mapping(entries) => {
                let maps: Vec<&'static Map> = place
                    .rules
                    .iter()
                    .filter_map(|rule| match rule {
                        Rule::Map(map) => Some(*map),
                        Rule::Any => Some(&ANY_MAP),
                        _ => None,
                    })
                    .collect();
                if maps.is_empty() {
                    self.errors.add(node.at, "a mapping does not belong here", kinds(place));
                } else {
                    self.mapping(node.at, entries, maps, names);
                }
            }
            NodeKind::Text(text) if text.contains("${{") => {
                self.text_with_expressions(text, node.at, place, names)
            }
            _ => self.scalar(node, place),
        }
        if let (NodeKind::Text(text), true) = (&node.kind, table::is_condition(place)) {
            self.bare_condition(text, node.at, names);
        }
    }

    fn text_with_expressions(&mut self, text: &str, at: Position, place: &'static Place, names: Names) {
        let literal =
            Template::parse(at, text).ok().and_then(|template| template.as_literal().map(Value::to_text));
        match literal {
            Some(text) => self.scalar(&Node { at, kind: NodeKind::Text(text) }, place),
            None => self.template(text, at, names),
        }
    }

    fn scalar(&mut self, node: &Node, place: &'static Place) {
        let text = node.text().unwrap_or_default();
        let fits = place.rules.iter().any(|rule| match rule {
            Rule::Any | Rule::Text => true,
            Rule::Null => matches!(node.kind, NodeKind::Null),
            Rule::Bool => matches!(node.kind, NodeKind::Bool(_)),
            Rule::Number => matches!(node.kind, NodeKind::Number(..)),
            Rule::NonEmptyText => !text.is_empty(),
            Rule::OneOf(words) => words.contains(&text.as_str()),
            Rule::List(_) | Rule::Map(_) => false,
        });
        if fits {
            return;
        }
        let words = place.rules.iter().flat_map(|rule| match rule {
            Rule::OneOf(words) => *words,
            _ => &[],
        });
        let near = near_matches(&text, words.copied());
        let expected = if near.is_empty() { kinds(place) } else { quoted_list(near) };
        let message = match node.kind {
            NodeKind::Null => "a value is missing".to_owned(),
            _ => format!("unexpected value '{text}'"),
        };
        self.errors.add(node.at, message, expected);
    }

    fn mapping(&mut self, at: Position, entries: &[(Node, Node)], mut maps: Vec<&'static Map>, names: Names) {
        let mut seen: BTreeMap<String, Position> = BTreeMap::new();
        let mut dynamic = false;
        for (key, value) in entries {
            let name = key.text().unwrap_or_default();
            if name.contains("${{") {
                dynamic = true;
                if name.replace(' ', "") != "${{insert}}" || names == Names::NONE {
                    self.template(&name, key.at, names);
                }
                self.node(value, &table::ANY, names);
                continue;
            }
            if let Some(before) = seen.insert(name.to_uppercase(), key.at) {
                let message = format!("the key '{name}' is already defined at {before}");
                self.errors.add(key.at, message, "each key once, without regard to case");
                continue;
            }
            match find(&mut maps, &name) {
                Some(known) => {
                    if known.need == Need::Ours {
                        self.notes.add(key.at, format!("the key '{name}' is not valid on GitHub"), "");
                    }
                    self.node(value, known.place, names);
                }
                None => match maps.first().and_then(|map| map.others) {
                    Some(others) if name.is_empty() => {
                        self.errors.add(key.at, "a key is empty", "a name");
                        self.node(value, others, names);
                    }
                    Some(others) => self.node(value, others, names),
                    None => self.unknown_key(&name, key.at, &maps),
                },
            }
        }
        if !dynamic {
            self.required(at, &seen, &maps);
        }
    }

    fn unknown_key(&mut self, name: &str, at: Position, maps: &[&'static Map]) {
        let known: Vec<&'static str> =
            maps.iter().flat_map(|map| map.keys.iter()).map(|key| key.name).collect();
        let near = near_matches(name, known.iter().copied());
        let expected = match (near.is_empty(), known.len()) {
            (false, _) => quoted_list(near),
            (true, 0) => "no key".to_owned(),
            (true, 1..=8) => quoted_list(known),
            (true, _) => String::new(),
        };
        self.errors.add(at, format!("unknown key '{name}'"), expected);
    }

    fn required(&mut self, at: Position, seen: &BTreeMap<String, Position>, maps: &[&'static Map]) {
        let absent = |key: &&Key| !seen.contains_key(&key.name.to_uppercase());
        if let [map] = maps {
            for key in map.keys.iter().filter(absent) {
                let message = format!("the key '{}' is missing", key.name);
                match key.need {
                    Need::Required => self.errors.add(at, message, format!("'{}'", key.name)),
                    Need::RequiredByGithub => {
                        self.notes.add(at, format!("{message}, which is not valid on GitHub"), "")
                    }
                    Need::Optional | Need::Ours => {}
                }
            }
            return;
        }
        // several kinds of mapping are still possible: the keys that decide are those one of them requires
        let deciding: Vec<&'static str> = maps
            .iter()
            .filter_map(|map| {
                map.keys.iter().find(|key| key.need != Need::Optional && key.need != Need::Ours)
            })
            .map(|key| key.name)
            .collect();
        self.errors.add(at, "not enough keys to tell what this is", quoted_list(deciding));
    }

    /// Checks every expression of a text. Returns nothing: all is reported.
    fn template(&mut self, text: &str, at: Position, names: Names) {
        match template::split(text) {
            Ok(parts) => {
                for part in &parts {
                    let Part::Expression(expression) = part else { continue };
                    self.expression(expression, at, names);
                }
            }
            Err(error) => self.broken(&error, at),
        }
    }

    fn broken(&mut self, error: &TemplateError, at: Position) {
        let expected = match error {
            TemplateError::Unclosed { .. } => "'}}'",
            TemplateError::Expression { error: ExpressionError::Empty, .. } => "an expression",
            TemplateError::Expression { .. } => "",
        };
        let message = match error {
            TemplateError::Expression { error: ExpressionError::Syntax { message, offset, .. }, .. } => {
                format!("{message} at character {offset}")
            }
            other => other.to_string(),
        };
        self.errors.add(at, format!("{message}{IN_EXPRESSION}{}`", error.raw()), expected);
    }

    fn bare_condition(&mut self, text: &str, at: Position, names: Names) {
        let text = text.trim();
        if text.is_empty() || text.contains("${{") {
            return;
        }
        match Expression::parse(text) {
            Ok(expression) => self.expression(&expression, at, names),
            Err(error) => self.broken(&TemplateError::Expression { raw: text.to_owned(), error }, at),
        }
    }

    fn expression(&mut self, expression: &Expression, at: Position, names: Names) {
        let source = expression.source();
        let mut found: Vec<(String, String)> = Vec::new();
        expression.visit(&mut |ast| match ast {
            Ast::Context(name) => match Names::of_context(name) {
                Some(bit) if names.has(bit) => {}
                Some(_) => {
                    found.push((format!("the context '{name}' is not available here"), names.listed()))
                }
                None => found.push((format!("unknown context '{name}'"), names.listed())),
            },
            Ast::Call(Function::HashFiles, _) if !names.has(Names::HASH_FILES) => {
                found.push(("hashFiles is not available here".to_owned(), "a step".to_owned()));
            }
            Ast::Call(Function::Success | Function::Failure | Function::Cancelled | Function::Always, _)
                if !names.has(Names::STATUS) =>
            {
                found.push(("status functions are not available here".to_owned(), "an 'if'".to_owned()));
            }
            _ => {}
        });
        if names == Names::NONE {
            let message = format!("an expression is not allowed here{IN_EXPRESSION}{source}`");
            self.errors.add(at, message, "plain text");
            return;
        }
        for (message, expected) in found {
            self.errors.add(at, format!("{message}{IN_EXPRESSION}{source}`"), expected);
        }
    }
}

static ANY_MAP: Map = Map { keys: &[], others: Some(&table::ANY) };

/// The property of that name, dropping the alternatives that do not have it.
fn find(maps: &mut Vec<&'static Map>, name: &str) -> Option<&'static Key> {
    let key_of = |map: &'static Map| map.keys.iter().find(|key| key.name == name);
    let found = maps.iter().find_map(|map| key_of(map))?;
    maps.retain(|map| key_of(map).is_some());
    Some(found)
}

fn list_of(place: &'static Place) -> Option<&'static Place> {
    place.rules.iter().find_map(|rule| match rule {
        Rule::List(inner) => Some(*inner),
        Rule::Any => Some(&table::ANY),
        _ => None,
    })
}

/// What may stand in a place, in words.
fn kinds(place: &'static Place) -> String {
    let mut words: Vec<String> = Vec::new();
    for rule in place.rules {
        let word = match rule {
            Rule::Any => "anything".to_owned(),
            Rule::Null => "nothing".to_owned(),
            Rule::Bool => "'true' or 'false'".to_owned(),
            Rule::Number => "a number".to_owned(),
            Rule::Text => "text".to_owned(),
            Rule::NonEmptyText => "text that is not empty".to_owned(),
            Rule::OneOf(words) => quoted_list(words.iter().copied()),
            Rule::List(_) => "a sequence".to_owned(),
            Rule::Map(_) => "a mapping".to_owned(),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join(" or ")
}

#[cfg(test)]
mod tests {
    use crate::Workflow;

    fn errors(text: &str) -> Vec<String> {
        match Workflow::read(text.as_bytes(), "f.yml") {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }

    fn job(lines: &str) -> String {
        let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
        format!("on: push\njobs:\n  a:\n    runs-on: x\n{lines}")
    }

    #[test]
    fn unknown_keys_name_their_neighbours() {
        assert_eq!(errors(&job("stepz:\n- run: x")), ["f.yml:5:5: unknown key 'stepz' (expected 'steps')"]);
        let found = errors(&job("steps:\n- run: x\n  Shell: bash"));
        assert_eq!(found, ["f.yml:7:7: unknown key 'Shell' (expected 'shell')"]);
    }

    #[test]
    fn contexts_are_known_per_place() {
        let found = errors(&job("if: env.A == 'x'\nsteps:\n- run: x"));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("f.yml:5:9: the context 'env' is not available here"), "{found:?}");
        let found = errors(&job("steps:\n- run: |\n    echo\n    echo ${{ nope.x }}"));
        assert!(found[0].starts_with("f.yml:8:18: unknown context 'nope'"), "{found:?}");
        let found = errors(&job("env:\n  A: ${{ hashFiles('x') }}"));
        assert!(found[0].contains("hashFiles is not available here"), "{found:?}");
        let found = errors("on: push\nname: ${{ github.ref }}\njobs: {a: {runs-on: x}}\n");
        assert!(found[0].contains("an expression is not allowed here"), "{found:?}");
    }

    #[test]
    fn bad_expressions_have_their_line() {
        let found = errors(&job("steps:\n- run: |\n    one\n    two ${{ 1 + 1 }}"));
        assert!(found[0].starts_with("f.yml:8:13:"), "{found:?}");
        let found = errors(&job("steps:\n- run: echo ${{ github.ref"));
        assert!(found[0].contains("never closed"), "{found:?}");
    }

    #[test]
    fn types_are_checked() {
        let found = errors(&job("timeout-minutes: soon"));
        assert_eq!(found, ["f.yml:5:22: unexpected value 'soon' (expected a number)"]);
        assert!(errors(&job("timeout-minutes: ${{ fromJSON('3') }}")).is_empty());
        assert_eq!(errors(&job("steps: x")), ["f.yml:5:12: unexpected value 'x' (expected a sequence)"]);
        let found = errors("on: {push: {branchez: x}}\njobs: {a: {runs-on: x}}\n");
        assert!(found[0].contains("'branches'"), "{found:?}");
    }

    #[test]
    fn what_a_mapping_is_must_be_clear() {
        let found = errors("on: push\njobs:\n  a:\n    name: x\n");
        assert!(found[0].contains("not enough keys"), "{found:?}");
        let found = errors(&job("steps:\n- name: x"));
        assert!(found[0].contains("'run'") && found[0].contains("'uses'"), "{found:?}");
        let found = errors(&job("steps:\n- uses: a/b@v1\n  run: x"));
        assert!(found[0].contains("unknown key 'run'"), "{found:?}");
    }

    #[test]
    fn a_workflow_without_jobs_is_none() {
        assert!(errors("on: push\n")[0].contains("'jobs' is missing"));
        assert!(errors("")[0].contains("a value is missing"));
        assert!(errors("just text")[0].contains("expected a mapping"));
    }
}
