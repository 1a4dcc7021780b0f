//! Finds real comments: `#` at the start of a line or after white space, outside every scalar.
//!
//! The parser skips comments, so they are found by a scan that leaves out the spans of all scalars it reported; a `#` inside a
//! script, a quoted text or a block scalar is therefore never a comment.

use crate::diagnostic::Position;

/// A comment, without its `#`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Where the `#` stands.
    pub at: Position,
    /// The rest of the line, trimmed.
    pub text: String,
}

/// `scalars` are character ranges in the order of the file.
pub(super) fn scan(source: &str, scalars: &[(usize, usize)]) -> Vec<Comment> {
    let mut comments = Vec::new();
    let mut spans = scalars.iter().peekable();
    let (mut line, mut column) = (1_u32, 1_u32);
    let mut before = '\n';
    let mut open: Option<Comment> = None;
    for (index, c) in source.chars().enumerate() {
        while spans.next_if(|(_, end)| *end <= index).is_some() {}
        let inside = spans.peek().is_some_and(|(start, _)| *start <= index);
        match &mut open {
            Some(_) if c == '\n' => comments.extend(open.take()),
            Some(comment) => comment.text.push(c),
            None if c == '#' && !inside && (before.is_whitespace()) => {
                open = Some(Comment { at: Position { line, column }, text: String::new() });
            }
            None => {}
        }
        if c == '\n' {
            line += 1;
            column = 1;
        } else {
            column += 1;
        }
        before = c;
    }
    comments.extend(open);
    for comment in &mut comments {
        comment.text = comment.text.trim().to_owned();
    }
    comments
}

#[cfg(test)]
mod tests {
    use super::super::read;

    fn comments(text: &str) -> Vec<(u32, String)> {
        let document = read(text.as_bytes(), "f.yml").unwrap();
        document.comments.into_iter().map(|comment| (comment.at.line, comment.text)).collect()
    }

    #[test]
    fn only_real_comments_count() {
        let text = "# P2P: p2p-only\nname: a#b # tail\nurl: 'x # no'\nrun: |\n  echo # no\n  # no\n\n# Tags: unit-test\non: push\n";
        let expected = [(1, "P2P: p2p-only"), (2, "tail"), (8, "Tags: unit-test")];
        assert_eq!(comments(text), expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn folded_and_plain_texts_over_several_lines_hide_nothing_after_them() {
        let text = "a: >-\n  x # no\n  y\n# yes\nb: plain\n  goes on\n  # yes too\nc: \"q\n  # no\"\nd: [1, # yes three\n 2]\n";
        let found: Vec<String> = comments(text).into_iter().map(|(_, text)| text).collect();
        assert_eq!(found, ["yes", "yes too", "yes three"]);
    }

    #[test]
    fn windows_line_ends_are_no_part_of_a_comment() {
        assert_eq!(comments("# a\r\nb: 1 # c\r\n"), [(1, "a".to_owned()), (2, "c".to_owned())]);
    }
}
