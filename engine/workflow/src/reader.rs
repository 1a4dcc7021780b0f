//! Reads YAML 1.2 (core schema) into a tree with positions.
//!
//! `saphyr-parser` supplies events; everything that gives them meaning is here: scalars are resolved as GitHub resolves them
//! (`reader/scalar.rs`), aliases are expanded and counted, and what GitHub refuses is refused: merge keys, duplicate keys,
//! several documents, tags beyond the core schema.
//!
//! Invariants: input longer than [`limits::SOURCE_LEN_MAX`] is never scanned; a tree has at most [`limits::NODES_MAX`] nodes
//! and [`limits::DEPTH_MAX`] levels, aliases expanded; nothing here recurses on input depth beyond that.

mod comments;
mod scalar;

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

pub use comments::Comment;

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Position},
    expression::Value,
    limits,
};

/// A node of the file.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// Empty, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, and how it was written: `3.10` is 3.1 to GitHub, and people want to be told.
    Number(f64, String),
    /// Any other scalar.
    Text(String),
    /// A sequence.
    Sequence(Vec<Node>),
    /// A mapping in the order of the file. Keys are scalars; no two are equal.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// The scalar as a value; `None` for collections.
    pub fn scalar(&self) -> Option<Value> {
        match &self.kind {
            NodeKind::Null => Some(Value::Null),
            NodeKind::Bool(b) => Some(Value::Bool(*b)),
            NodeKind::Number(n, _) => Some(Value::Number(*n)),
            NodeKind::Text(text) => Some(Value::text(text)),
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => None,
        }
    }

    /// The text GitHub makes of a scalar (`3.10` becomes `3.1`); `None` for collections.
    pub fn text(&self) -> Option<String> {
        self.scalar().map(|value| value.to_text())
    }

    /// The value below a key of a mapping.
    pub fn entry(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name.text().as_deref() == Some(key)).map(|(_, value)| value)
    }

    /// Entries of a mapping; nothing for anything else.
    pub fn entries(&self) -> &[(Node, Node)] {
        match &self.kind {
            NodeKind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// Items of a sequence; nothing for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            NodeKind::Sequence(items) => items,
            _ => &[],
        }
    }

    fn count(&self) -> usize {
        1 + match &self.kind {
            NodeKind::Sequence(items) => items.iter().map(Node::count).sum(),
            NodeKind::Mapping(entries) => {
                entries.iter().map(|(key, value)| key.count() + value.count()).sum()
            }
            _ => 0,
        }
    }

    fn levels(&self) -> usize {
        match &self.kind {
            NodeKind::Sequence(items) => 1 + items.iter().map(Node::levels).max().unwrap_or(0),
            NodeKind::Mapping(entries) => {
                1 + entries.iter().map(|(_, value)| value.levels()).max().unwrap_or(0)
            }
            _ => 0,
        }
    }
}

/// A file that is YAML: its tree and its comments.
#[derive(Debug, Clone)]
pub struct Document {
    /// The root.
    pub root: Node,
    /// Real comments, in the order of the file.
    pub comments: Vec<Comment>,
}

/// Reads one document.
pub fn read(source: &[u8], file: &str) -> Result<Document, Vec<Diagnostic>> {
    let mut diagnostics = Diagnostics::new(file);
    let Some(text) = checked_text(source, &mut diagnostics) else { return Err(diagnostics.into_sorted()) };
    let mut builder = Builder::default();
    match builder.run(text) {
        Ok(()) => {}
        Err(error) => diagnostics.add(error.at, error.message, error.expected),
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics.into_sorted());
    }
    let root = builder.root.unwrap_or(Node { at: Position { line: 1, column: 1 }, kind: NodeKind::Null });
    Ok(Document { root, comments: comments::scan(text, &builder.scalar_spans) })
}

fn checked_text<'s>(source: &'s [u8], diagnostics: &mut Diagnostics<'_>) -> Option<&'s str> {
    let start = Position { line: 1, column: 1 };
    if source.len() > limits::SOURCE_LEN_MAX {
        let message = format!("the file has {} bytes", source.len());
        diagnostics.add(start, message, format!("at most {}", limits::SOURCE_LEN_MAX));
        return None;
    }
    match std::str::from_utf8(source) {
        Ok(text) => Some(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let good = String::from_utf8_lossy(&source[..error.valid_up_to()]).into_owned();
            let line = good.matches('\n').count() + 1;
            let column = good.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            diagnostics.add(position(line, column), "the file is not UTF-8 from here on", "UTF-8 text");
            None
        }
    }
}

fn position(line: usize, column: usize) -> Position {
    Position {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    }
}

fn marked(marker: &Marker) -> Position {
    position(marker.line().max(1), marker.col() + 1)
}

/// The first thing that makes a file unreadable.
struct Unreadable {
    at: Position,
    message: String,
    expected: String,
}

fn unreadable<T>(
    at: Position,
    message: impl Into<String>,
    expected: impl Into<String>,
) -> Result<T, Unreadable> {
    Err(Unreadable { at, message: message.into(), expected: expected.into() })
}

/// A collection that is still open.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value, in a mapping.
    key: Option<Node>,
    /// Keys so far, in a mapping.
    keys: BTreeMap<String, Position>,
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    documents: usize,
    scalar_spans: Vec<(usize, usize)>,
}

impl Builder {
    fn run(&mut self, text: &str) -> Result<(), Unreadable> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            match event {
                Ok((event, span)) => self.event(event, span)?,
                Err(error) => {
                    return unreadable(marked(error.marker()), format!("not YAML: {}", error.info()), "");
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Unreadable> {
        let at = marked(&span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return unreadable(at, "a second document begins here", "one document in a file");
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar_spans.push((span.start.index(), span.end.index()));
                let kind = scalar_kind(&text, style, tag.as_deref(), at)?;
                self.grow(1, at)?;
                self.finish(Node { at, kind }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                expect_tag(tag.as_deref(), "seq", at)?;
                self.begin(Node { at, kind: NodeKind::Sequence(Vec::new()) }, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                expect_tag(tag.as_deref(), "map", at)?;
                self.begin(Node { at, kind: NodeKind::Mapping(Vec::new()) }, anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.finish(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return unreadable(
                        at,
                        "this alias refers to a node that contains it",
                        "an alias of a finished node",
                    );
                };
                let (count, levels) = (node.count(), node.levels());
                if self.open.len() + levels > limits::DEPTH_MAX {
                    return too_deep(at);
                }
                self.grow(count, at)?;
                let Some(node) = self.anchors.get(&anchor).cloned() else { return Ok(()) };
                self.finish(node, 0)
            }
        }
    }

    fn grow(&mut self, by: usize, at: Position) -> Result<(), Unreadable> {
        self.nodes = self.nodes.saturating_add(by);
        if self.nodes > limits::NODES_MAX {
            let message = "the file has too many values, aliases expanded";
            return unreadable(at, message, format!("at most {}", limits::NODES_MAX));
        }
        Ok(())
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), Unreadable> {
        let at = node.at;
        self.grow(1, at)?;
        if self.open.len() >= limits::DEPTH_MAX {
            return too_deep(at);
        }
        if let Some(Open { node: Node { kind: NodeKind::Mapping(_), .. }, key: None, .. }) = self.open.last()
        {
            return unreadable(at, "a key is a sequence or a mapping", "a scalar as key");
        }
        self.open.push(Open { node, anchor, key: None, keys: BTreeMap::new() });
        Ok(())
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Unreadable> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.kind {
            NodeKind::Sequence(items) => items.push(node),
            NodeKind::Mapping(entries) => match open.key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    check_key(&node, &mut open.keys)?;
                    open.key = Some(node);
                }
            },
            // only collections are ever open
            NodeKind::Null | NodeKind::Bool(_) | NodeKind::Number(..) | NodeKind::Text(_) => {}
        }
        Ok(())
    }
}

fn too_deep<T>(at: Position) -> Result<T, Unreadable> {
    unreadable(at, "the file is nested too deep", format!("at most {} levels", limits::DEPTH_MAX))
}

fn check_key(key: &Node, keys: &mut BTreeMap<String, Position>) -> Result<(), Unreadable> {
    let Some(name) = key.text() else {
        return unreadable(key.at, "a key is a sequence or a mapping", "a scalar as key");
    };
    if name == "<<" {
        return unreadable(
            key.at,
            "merge keys '<<' are not part of YAML 1.2",
            "the keys themselves, or an alias",
        );
    }
    if let Some(before) = keys.insert(name.clone(), key.at) {
        return unreadable(
            key.at,
            format!("the key '{name}' is already defined at {before}"),
            "each key once",
        );
    }
    Ok(())
}

/// The name of a core schema tag, written `!!name` or `!<tag:yaml.org,2002:name>`.
fn core_tag(tag: &Tag) -> Option<String> {
    format!("{}{}", tag.handle, tag.suffix).strip_prefix("tag:yaml.org,2002:").map(str::to_owned)
}

fn expect_tag(tag: Option<&Tag>, name: &str, at: Position) -> Result<(), Unreadable> {
    match tag {
        Some(tag) if core_tag(tag).as_deref() != Some(name) => unknown_tag(tag, at),
        _ => Ok(()),
    }
}

fn unknown_tag<T>(tag: &Tag, at: Position) -> Result<T, Unreadable> {
    unreadable(at, format!("the tag '{}{}' is not known", tag.handle, tag.suffix), "no tag")
}

fn scalar_kind(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: Position,
) -> Result<NodeKind, Unreadable> {
    let Some(tag) = tag else {
        let plain = style == ScalarStyle::Plain;
        return Ok(if plain { scalar::resolve(text) } else { NodeKind::Text(text.to_owned()) });
    };
    match (core_tag(tag).as_deref(), scalar::resolve(text)) {
        (Some("str"), _) => Ok(NodeKind::Text(text.to_owned())),
        (Some("int" | "float"), kind @ NodeKind::Number(..))
        | (Some("bool"), kind @ NodeKind::Bool(_))
        | (Some("null"), kind @ NodeKind::Null) => Ok(kind),
        (Some("int" | "float" | "bool" | "null"), _) => {
            unreadable(at, format!("'{text}' is not of the type that its tag names"), "")
        }
        // a lone `!` says: text
        (None, _) if tag.handle.is_empty() && tag.suffix == "!" => Ok(NodeKind::Text(text.to_owned())),
        _ => unknown_tag(tag, at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Node {
        read(text.as_bytes(), "f.yml").unwrap().root
    }

    fn refusal(text: &str) -> String {
        let errors = read(text.as_bytes(), "f.yml").unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn positions_count_from_one() {
        let root = root("on: push\njobs:\n  a:\n    name: x\n");
        let job = root.entry("jobs").and_then(|jobs| jobs.entry("a")).unwrap();
        assert_eq!(job.entry("name").unwrap().at, Position { line: 4, column: 11 });
    }

    #[test]
    fn what_github_refuses_is_refused_with_its_place() {
        assert!(
            refusal("a: 1\nb: 2\na: 3\n").starts_with("f.yml:3:1: the key 'a' is already defined at 1:1")
        );
        assert!(refusal("a: &x {b: 1}\nc:\n  <<: *x\n").starts_with("f.yml:3:3: merge keys"));
        assert!(refusal("a: 1\n---\nb: 2\n").contains("second document"));
        assert!(refusal("a: &x [*x]\n").contains("contains it"));
        assert!(refusal("a: *gone\n").contains("f.yml:1:4"));
        assert!(refusal("a: !!timestamp 2022-10-26\n").contains("tag"));
        assert!(refusal("a: !!bool test\n").contains("type that its tag names"));
        assert!(refusal("{a: 1}: 2\n").contains("scalar as key"));
        assert!(refusal("a: [1, 2\n").contains("not YAML"));
    }

    #[test]
    fn bombs_end_at_the_bounds() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(refusal(&bomb).contains("too many values"));
        assert!(refusal(&"[".repeat(100_000)).starts_with("f.yml:1:"));
        let deep: String = (0..60).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        assert!(refusal(&deep).contains("nested too deep"));
        assert!(refusal(&" ".repeat(limits::SOURCE_LEN_MAX + 1)).contains("bytes"));
    }

    #[test]
    fn core_tags_are_followed() {
        let root = root("a: !!str 5\nb: !<tag:yaml.org,2002:bool> TRUE\nc: ! 5\nd: !!int 0o10\n");
        assert!(matches!(&root.entry("a").unwrap().kind, NodeKind::Text(text) if text == "5"));
        assert!(matches!(root.entry("b").unwrap().kind, NodeKind::Bool(true)));
        assert!(matches!(&root.entry("c").unwrap().kind, NodeKind::Text(text) if text == "5"));
        assert!(matches!(root.entry("d").unwrap().kind, NodeKind::Number(n, _) if n == 8.0));
    }

    #[test]
    fn aliases_are_expanded() {
        let root = root("a: &x {b: [1, 2]}\nc: *x\n");
        assert_eq!(root.entry("c").and_then(|c| c.entry("b")).unwrap().items().len(), 2);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_named_by_place() {
        let errors = read(b"a: 1\nb: \xff\n", "f.yml").unwrap_err();
        assert_eq!((errors[0].line, errors[0].column), (2, 4));
    }
}
