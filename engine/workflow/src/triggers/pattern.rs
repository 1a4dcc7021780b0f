//! Filter patterns: the small language of `branches`, `tags` and `paths`.
//!
//! | written | matches |
//! |---|---|
//! | `*` | any characters but `/`, or none |
//! | `**` | any characters, or none |
//! | `**/` at the beginning or after a `/` | any folders, or none |
//! | `?`, `+` | the character before it once or not at all; once or more |
//! | `[a-f7]` | one of these letters and digits |
//! | `\` | what follows, if it would be special: `* ? + [ ] ! \`; before anything else `\` is itself |
//! | `!` at the beginning | the pattern takes away what earlier ones let in |
//!
//! A pattern matches a whole name, and case counts. What GitHub's documentation does not define (`[^a]`, `a**+`, `[._]`) is an
//! error here, never a guess.
//!
//! Matching keeps the set of places in the name that the pattern up to one part can end at, and moves it part by part: it
//! neither recurses nor goes back, and costs at most the length of the one times the length of the other.

use crate::limits;

/// A filter pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    negative: bool,
    parts: Vec<Part>,
}

/// Why a text is no filter pattern. Columns are characters, from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing, or nothing behind the `!`.
    #[error("it is empty")]
    Empty,
    /// Longer than anybody writes.
    #[error("it has more than {} characters", limits::PATTERN_LEN_MAX)]
    TooLong,
    /// `?` or `+` without a character before it.
    #[error("'{sign}' at character {column} follows no character that it could repeat")]
    NothingToRepeat {
        /// `?` or `+`.
        sign: char,
        /// Where.
        column: usize,
    },
    /// `[` without `]`.
    #[error("'[' at character {column} is never closed by ']'")]
    Unclosed {
        /// Where.
        column: usize,
    },
    /// `[]`
    #[error("the brackets at character {column} are empty")]
    EmptyBrackets {
        /// Where.
        column: usize,
    },
    /// Something else than letters and digits in brackets.
    #[error(
        "'{found}' at character {column} cannot stand in brackets, only letters, digits and ranges of them"
    )]
    InBrackets {
        /// What was found.
        found: char,
        /// Where.
        column: usize,
    },
    /// A range that lacks an end, runs backwards or mixes kinds.
    #[error("the range at character {column} is none of 'a-z', 'A-Z', '0-9' or a part of one")]
    Range {
        /// Where.
        column: usize,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// One character of a set, so many times.
    One(Set, Times),
    /// `*`
    InSegment,
    /// `**`
    Anything,
    /// `**/` at the beginning of a segment.
    Folders,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Set {
    Char(char),
    /// Ranges, ends included.
    Ranges(Vec<(char, char)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    Once,
    AtMostOnce,
    AtLeastOnce,
}

impl Set {
    fn has(&self, c: char) -> bool {
        match self {
            Set::Char(own) => *own == c,
            Set::Ranges(ranges) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)),
        }
    }
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        let chars: Vec<char> = text.chars().take(limits::PATTERN_LEN_MAX + 1).collect();
        if chars.len() > limits::PATTERN_LEN_MAX {
            return Err(PatternError::TooLong);
        }
        let negative = chars.first() == Some(&'!');
        let mut reader = Reader { chars: &chars, at: usize::from(negative) };
        let mut parts = Vec::new();
        while reader.at < chars.len() {
            reader.part(&mut parts)?;
        }
        if parts.is_empty() {
            return Err(PatternError::Empty);
        }
        Ok(Pattern { text: text.to_owned(), negative, parts })
    }

    /// The pattern as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it begins with `!`.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// Whether a name is what the pattern describes; a `!` before it changes nothing here. Names longer than
    /// [`limits::MATCHED_NAME_LEN_MAX`] are not.
    pub fn matches(&self, name: &str) -> bool {
        Name::of(name).is_some_and(|name| self.matches_name(&name))
    }

    pub(super) fn matches_name(&self, Name(name): &Name) -> bool {
        let mut ends = Ends::at_start(name.len());
        for part in &self.parts {
            match part {
                Part::One(set, Times::Once) => ends.step(name, |c| set.has(c), false),
                Part::One(set, Times::AtMostOnce) => ends.step(name, |c| set.has(c), true),
                Part::One(set, Times::AtLeastOnce) => {
                    ends.step(name, |c| set.has(c), false);
                    ends.spread(name, |c| set.has(c));
                }
                Part::InSegment => ends.spread(name, |c| c != '/'),
                Part::Anything => ends.spread(name, |_| true),
                Part::Folders => ends.spread_to_segments(name),
            }
            if !ends.narrow() {
                return false;
            }
        }
        ends.reach.last() == Some(&true)
    }
}

/// A name taken apart for matching.
pub(super) struct Name(Vec<char>);

impl Name {
    /// Nothing for a name that is too long to be matched.
    pub(super) fn of(text: &str) -> Option<Name> {
        let chars: Vec<char> = text.chars().take(limits::MATCHED_NAME_LEN_MAX + 1).collect();
        (chars.len() <= limits::MATCHED_NAME_LEN_MAX).then_some(Name(chars))
    }
}

/// The places of a name that the parts so far can end at: 0 before its first character. All lie from `first` to `last`.
struct Ends {
    reach: Vec<bool>,
    first: usize,
    last: usize,
}

impl Ends {
    fn at_start(len: usize) -> Ends {
        let mut reach = vec![false; len + 1];
        if let Some(start) = reach.first_mut() {
            *start = true;
        }
        Ends { reach, first: 0, last: 0 }
    }

    /// Draws `first` and `last` together; false when no place is left.
    fn narrow(&mut self) -> bool {
        let live = self.reach.get(self.first..=self.last).unwrap_or_default();
        let (Some(first), Some(last)) = (live.iter().position(|at| *at), live.iter().rposition(|at| *at))
        else {
            return false;
        };
        (self.first, self.last) = (self.first + first, self.first + last);
        true
    }

    /// One character on from each place, where it fits; `stay` keeps the place as well.
    fn step(&mut self, name: &[char], fits: impl Fn(char) -> bool, stay: bool) {
        let top = (self.last + 1).min(name.len());
        for at in (self.first..=top).rev() {
            let came = at > self.first && self.reach[at - 1] && fits(name[at - 1]);
            self.reach[at] = came || (stay && self.reach[at]);
        }
        self.last = top;
    }

    /// Any number of fitting characters on from each place.
    fn spread(&mut self, name: &[char], fits: impl Fn(char) -> bool) {
        for (at, c) in name.iter().enumerate().skip(self.first) {
            if self.reach[at] && fits(*c) {
                self.reach[at + 1] = true;
            }
        }
        self.last = name.len();
    }

    /// On to every later beginning of a segment.
    fn spread_to_segments(&mut self, name: &[char]) {
        for (at, _) in name.iter().enumerate().skip(self.first).filter(|(_, c)| **c == '/') {
            self.reach[at + 1] = true;
        }
        self.last = name.len();
    }
}

struct Reader<'p> {
    chars: &'p [char],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn part(&mut self, parts: &mut Vec<Part>) -> Result<(), PatternError> {
        let column = self.at + 1;
        let Some(c) = self.peek(0) else { return Ok(()) };
        self.at += 1;
        match c {
            '*' if self.peek(0) == Some('*') => {
                self.at += 1;
                let begins = matches!(parts.last(), None | Some(Part::One(Set::Char('/'), Times::Once)));
                let repeats = matches!(self.peek(1), Some('?' | '+'));
                if begins && self.peek(0) == Some('/') && !repeats {
                    self.at += 1;
                    parts.push(Part::Folders);
                } else {
                    parts.push(Part::Anything);
                }
            }
            '*' => parts.push(Part::InSegment),
            '?' | '+' => match parts.last_mut() {
                Some(Part::One(_, times @ Times::Once)) => {
                    *times = if c == '?' { Times::AtMostOnce } else { Times::AtLeastOnce };
                }
                _ => return Err(PatternError::NothingToRepeat { sign: c, column }),
            },
            '[' => parts.push(Part::One(Set::Ranges(self.brackets(column)?), Times::Once)),
            '\\' => {
                let escaped =
                    self.peek(0).filter(|next| matches!(next, '*' | '?' | '+' | '[' | ']' | '!' | '\\'));
                self.at += usize::from(escaped.is_some());
                parts.push(Part::One(Set::Char(escaped.unwrap_or('\\')), Times::Once));
            }
            _ => parts.push(Part::One(Set::Char(c), Times::Once)),
        }
        Ok(())
    }

    /// What stands up to `]`; the `[` at `opened` is read.
    fn brackets(&mut self, opened: usize) -> Result<Vec<(char, char)>, PatternError> {
        let mut ranges = Vec::new();
        loop {
            let column = self.at + 1;
            let Some(first) = self.peek(0) else { return Err(PatternError::Unclosed { column: opened }) };
            self.at += 1;
            match first {
                ']' if ranges.is_empty() => return Err(PatternError::EmptyBrackets { column: opened }),
                ']' => return Ok(ranges),
                '-' => return Err(PatternError::Range { column }),
                _ if !first.is_ascii_alphanumeric() => {
                    return Err(PatternError::InBrackets { found: first, column });
                }
                _ => {}
            }
            if self.peek(0) != Some('-') {
                ranges.push((first, first));
                continue;
            }
            let last = self.peek(1).ok_or(PatternError::Unclosed { column: opened })?;
            self.at += 2;
            let kinds = [char::is_ascii_digit, char::is_ascii_lowercase, char::is_ascii_uppercase];
            if first > last || !kinds.iter().any(|kind| kind(&first) && kind(&last)) {
                return Err(PatternError::Range { column });
            }
            ranges.push((first, last));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn check(table: &[(&str, &[&str], &[&str])]) {
        for (text, matching, others) in table {
            let pattern = pattern(text);
            for name in *matching {
                assert!(pattern.matches(name), "{text} does not match {name}");
            }
            for name in *others {
                assert!(!pattern.matches(name), "{text} matches {name}");
            }
        }
    }

    #[test]
    fn branches_and_tags_match_as_documented() {
        check(&[
            (
                "feature/*",
                &["feature/my-branch", "feature/your-branch", "feature/"],
                &["feature", "feature/beta-a/my-branch", "my/feature/x"],
            ),
            (
                "feature/**",
                &["feature/beta-a/my-branch", "feature/your-branch", "feature/mona/the/octocat"],
                &["feature", "features/x", "my-feature/x"],
            ),
            ("main", &["main"], &["Main", "main2", "amain", "main/x", ""]),
            ("releases/mona-the-octocat", &["releases/mona-the-octocat"], &["releases/mona"]),
            ("*", &["main", "releases", ".github"], &["all/the/branches"]),
            ("**", &["main", "all/the/branches", "every/tag"], &[]),
            ("*feature", &["mona-feature", "feature", "ver-10-feature"], &["features", "mona/feature"]),
            ("v2*", &["v2", "v2.0", "v2.9"], &["v1", "av2", "v2/x"]),
            (
                "v[12].[0-9]+.[0-9]+",
                &["v1.10.1", "v2.0.0"],
                &["v3.0.0", "v1.10", "v1..1", "v1a10b1", "v1.10.1-rc", "v1.10.x"],
            ),
            ("releases/**-alpha", &["releases/10-alpha", "releases/beta/3-alpha"], &["releases/10"]),
            ("Octo*", &["Octocat", "Octo"], &["octocat"]),
            ("[CB]at", &["Cat", "Bat"], &["cat", "at", "CBat"]),
            ("[1-2]00", &["100", "200"], &["300", "00"]),
            ("[0-9a-z]", &["7", "q"], &["Q", "-", ""]),
        ]);
    }

    #[test]
    fn paths_match_as_documented() {
        check(&[
            ("*", &["README.md", "server.rb"], &["docs/README.md"]),
            ("*.jsx?", &["page.js", "page.jsx"], &["page.jsxx", "src/page.js", "page.ts"]),
            ("**", &["all/the/files.md"], &[]),
            ("*.js", &["app.js", "index.js", ".js"], &["js/index.js", "app.jsx"]),
            ("**.js", &["index.js", "js/index.js", "src/js/app.js"], &["index.ts"]),
            ("docs/*", &["docs/README.md", "docs/file.txt"], &["docs/a/b", "a/docs/b", "docs"]),
            ("docs/**", &["docs/README.md", "docs/mona/octocat.txt"], &["docs", "mydocs/x", "a/docs/x"]),
            (
                "docs/**/*.md",
                &["docs/README.md", "docs/mona/hello-world.md", "docs/a/markdown/file.md"],
                &["docs/README.txt", "README.md", "docsREADME.md"],
            ),
            (
                "**/docs/**",
                &["docs/hello.md", "dir/docs/my-file.txt", "space/docs/plan/space.doc"],
                &["mydocs/hello.md", "docs", "dir/docs"],
            ),
            (
                "**/README.md",
                &["README.md", "js/README.md", "a/b/README.md"],
                &["MY-README.md", "README.mdx"],
            ),
            ("**/*src/**", &["a/src/app.js", "my-src/code/js/app.js"], &["src", "srcs/app.js"]),
            ("**/*-post.md", &["my-post.md", "path/their-post.md"], &["my-post.txt", "post.md"]),
            (
                "**/migrate-*.sql",
                &["migrate-10909.sql", "db/migrate-v1.0.sql", "db/sept/migrate-v1.sql"],
                &["db/remigrate-1.sql", "migrate-a/b.sql"],
            ),
            ("*.md", &["hello.md"], &["docs/hello.md"]),
            ("README*", &["README.md", "README.doc"], &["docs/README.md"]),
        ]);
    }

    #[test]
    fn special_characters_stand_for_themselves_where_they_are_escaped_or_not_special() {
        check(&[
            (r"\!file", &["!file"], &["file", r"\!file"]),
            (r"a\*b", &["a*b"], &["ab", "axb"]),
            (r"a\?\+\[\]", &["a?+[]"], &["a"]),
            (r"escape\\backslash", &[r"escape\backslash"], &[r"escape\\backslash"]),
            // a backslash before anything else is itself: GitHub does not run `v[0-9]+\.[0-9]+` for v1.0
            (r"v[0-9]+\.[0-9]+", &[r"v1\.0"], &["v1.0"]),
            (r"a\", &[r"a\"], &["a"]),
            ("a!b", &["a!b"], &["ab"]),
            ("a]b", &["a]b"], &["ab"]),
            ("a-b.c{d,e}", &["a-b.c{d,e}"], &["a-bxcd"]),
            (".yml", &[".yml"], &["fyml"]),
            ("é+", &["é", "ééé"], &["", "e"]),
        ]);
        let negative = pattern("!!x");
        assert!(negative.is_negative() && negative.matches("!x") && !negative.matches("x"));
        assert_eq!(negative.text(), "!!x");
        assert!(!pattern(r"\!x").is_negative());
    }

    #[test]
    fn signs_repeat_the_character_or_the_brackets_before_them() {
        check(&[
            ("ab?c", &["abc", "ac"], &["abbc", "ab"]),
            ("ab+c", &["abc", "abbbc"], &["ac", "ab"]),
            ("[0-9]+x?[a-c]?", &["1", "12x", "12xb", "7c"], &["x", "1xx", "1d"]),
            ("a+a+", &["aa", "aaaa"], &["a"]),
            ("/?x", &["x", "/x"], &["//x"]),
            ("a**/b", &["a/b", "ax/b", "a/x/b"], &["ab", "b"]),
            ("a/?**/b", &["a/b", "a/x/b", "ax/b"], &["ab"]),
            ("**/+a", &["/a", "x//a"], &["a"]),
            ("**/**", &["x", "x/y"], &[]),
            ("***", &["x", "x/y", ""], &[]),
        ]);
    }

    #[test]
    fn malformed_patterns_say_what_is_wrong_and_where() {
        for (text, said) in [
            ("", "it is empty"),
            ("!", "it is empty"),
            ("+a", "'+' at character 1 follows no character that it could repeat"),
            ("!?a", "'?' at character 2 follows no character that it could repeat"),
            ("a**+", "'+' at character 4 follows no character that it could repeat"),
            ("*?", "'?' at character 2 follows no character that it could repeat"),
            ("a++", "'+' at character 3 follows no character that it could repeat"),
            ("a[0-9", "'[' at character 2 is never closed by ']'"),
            ("a[0-", "'[' at character 2 is never closed by ']'"),
            ("a[]", "the brackets at character 2 are empty"),
            ("[0-]", "the range at character 2 is none of 'a-z', 'A-Z', '0-9' or a part of one"),
            ("[-a]", "the range at character 2 is none of 'a-z', 'A-Z', '0-9' or a part of one"),
            ("[9-0]", "the range at character 2 is none of 'a-z', 'A-Z', '0-9' or a part of one"),
            ("[A-z]", "the range at character 2 is none of 'a-z', 'A-Z', '0-9' or a part of one"),
            ("x[^a]", "'^' at character 3 cannot stand in brackets, only letters, digits and ranges of them"),
        ] {
            assert_eq!(Pattern::parse(text).unwrap_err().to_string(), said, "{text}");
        }
        assert!(Pattern::parse(&"a".repeat(limits::PATTERN_LEN_MAX)).is_ok());
        let long = "é".repeat(limits::PATTERN_LEN_MAX + 1);
        assert_eq!(Pattern::parse(&long), Err(PatternError::TooLong));
    }

    #[test]
    fn the_worst_pattern_costs_length_times_length() {
        let worst = pattern(&"**a+".repeat(limits::PATTERN_LEN_MAX / 4));
        assert!(worst.matches(&"a".repeat(limits::MATCHED_NAME_LEN_MAX)));
        assert!(!worst.matches(&format!("{}b", "a".repeat(limits::MATCHED_NAME_LEN_MAX - 1))));
        assert!(!worst.matches(&"a".repeat(limits::MATCHED_NAME_LEN_MAX + 1)));
    }

    /// The same language by trying everything.
    fn naive(parts: &[Part], name: &[char], at_segment: bool) -> bool {
        let Some((part, rest)) = parts.split_first() else { return name.is_empty() };
        let after = |taken: usize| naive(rest, &name[taken..], taken > 0 && name[taken - 1] == '/');
        let all = |taken: usize, fits: &dyn Fn(char) -> bool| name[..taken].iter().all(|c| fits(*c));
        match part {
            Part::One(set, times) => (0..=name.len()).any(|taken| {
                let counts = match times {
                    Times::Once => taken == 1,
                    Times::AtMostOnce => taken <= 1,
                    Times::AtLeastOnce => taken >= 1,
                };
                counts && all(taken, &|c| set.has(c)) && after(taken)
            }),
            Part::InSegment => (0..=name.len()).any(|taken| all(taken, &|c| c != '/') && after(taken)),
            Part::Anything => (0..=name.len()).any(after),
            Part::Folders => {
                (0..=name.len()).any(|taken| (taken == 0 || name[taken - 1] == '/') && after(taken))
                    || (at_segment && naive(rest, name, at_segment))
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn matching_agrees_with_trying_everything(
            text in r"!?([ab/]|\*|\*\*|\*\*/|[ab/][?+]|\[a-b\]\+?|\\\*){1,7}",
            names in proptest::collection::vec("[ab/*]{0,8}", 8),
        ) {
            let pattern = pattern(&text);
            for name in names {
                let chars: Vec<char> = name.chars().collect();
                prop_assert_eq!(pattern.matches(&name), naive(&pattern.parts, &chars, true), "{} on {}", text, name);
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in r"[ab!*?+\[\]\\/0-9-]{0,12}", name in any::<String>()) {
            if let Ok(pattern) = Pattern::parse(&text) {
                pattern.matches(&name);
            }
        }
    }
}
