//! Masking: what a job declared secret is replaced by `***` before anything is written, sent or shown.
//!
//! Masking is help against accidents, not a boundary: whoever can print a value can print it in a form that nobody
//! foresaw. Covered are the value itself, each line of a value of several lines, and its base64 (all three byte
//! phases, both alphabets, and wrapped at 64 and 76 columns), percent-encoded, JSON-escaped and hexadecimal forms.
//!
//! Invariants: masking a text in pieces gives the same bytes as masking it whole, wherever it is cut; no byte that
//! is part of a match is ever given out; a table that is full masks everything rather than forgetting a value.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};

/// Shorter values are not masked: they would blot out half of every log.
pub const VALUE_CHARS_MIN: usize = 4;
/// What stands in the place of a masked run.
pub const REPLACEMENT: &[u8] = b"***";

/// Longer forms are matched as consecutive pieces of this size, which bounds what a stream holds back.
const PIECE_BYTES_MAX: usize = 1024;
/// All patterns together; a job that declares more gets `***` for everything it prints.
const TABLE_BYTES_MAX: usize = 16 << 20;
const KEY_BYTES: usize = 4;

/// What became of a value given to [`Masker::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// The value and its variants are masked from here on.
    Masked,
    /// Blank, or shorter than [`VALUE_CHARS_MIN`] characters: not masked.
    TooShort,
    /// The table is full: from here on every line is `***`.
    Full,
}

/// The values to hide and all the forms in which they are recognised.
#[derive(Clone, Debug)]
pub struct Masker {
    patterns: BTreeMap<[u8; KEY_BYTES], BTreeSet<Box<[u8]>>>,
    /// The bytes with which some pattern begins: most bytes of a log are none.
    firsts: [bool; 256],
    table_bytes: usize,
    table_bytes_max: usize,
    closed: bool,
}

impl Default for Masker {
    fn default() -> Self {
        Self::with_table(TABLE_BYTES_MAX)
    }
}

impl Masker {
    /// A table that hides nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn with_table(table_bytes_max: usize) -> Self {
        Self {
            patterns: BTreeMap::new(),
            firsts: [false; 256],
            table_bytes: 0,
            table_bytes_max,
            closed: false,
        }
    }

    /// Hides `value` in every known form.
    pub fn add(&mut self, value: &str) -> Added {
        if value.trim().is_empty() || value.chars().count() < VALUE_CHARS_MIN {
            return Added::TooShort;
        }
        for form in forms(value) {
            self.insert(&form);
        }
        if self.closed { Added::Full } else { Added::Masked }
    }

    /// Whether nothing at all is hidden.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty() && !self.closed
    }

    /// `text` with every match replaced.
    pub fn mask(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut stream = MaskStream::default();
        stream.push(self, text, &mut out);
        stream.finish(self, &mut out);
        out
    }

    /// `text` with every match replaced; bytes that masking cut inside a character become U+FFFD.
    pub fn mask_text(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        String::from_utf8_lossy(&self.mask(text.as_bytes())).into_owned()
    }

    /// Whether `text` holds anything that masking would replace.
    pub fn finds(&self, text: &[u8]) -> bool {
        if self.closed {
            return !text.is_empty();
        }
        (0..text.len()).any(|at| self.look(&text[at..]).longest > 0)
    }

    fn insert(&mut self, form: &[u8]) {
        let last_start = form.len().saturating_sub(PIECE_BYTES_MAX);
        let mut start = 0;
        loop {
            let at = start.min(last_start);
            self.insert_piece(&form[at..form.len().min(at + PIECE_BYTES_MAX)]);
            start += PIECE_BYTES_MAX;
            if start >= form.len() {
                return;
            }
        }
    }

    fn insert_piece(&mut self, piece: &[u8]) {
        let Some(key) = piece.first_chunk::<KEY_BYTES>() else { return };
        if self.table_bytes + piece.len() > self.table_bytes_max {
            self.closed = true;
        } else if self.patterns.entry(*key).or_default().insert(piece.into()) {
            self.table_bytes += piece.len();
            self.firsts[usize::from(key[0])] = true;
        }
    }

    /// What can be said about a match that starts at the first byte of `rest`.
    fn look(&self, rest: &[u8]) -> Look {
        let mut look = Look { longest: 0, open: false };
        if !rest.first().is_some_and(|first| self.firsts[usize::from(*first)]) {
            return look;
        }
        let Some(key) = rest.first_chunk::<KEY_BYTES>() else {
            let mut low = [0; KEY_BYTES];
            low[..rest.len()].copy_from_slice(rest);
            look.open = self.patterns.range(low..).next().is_some_and(|(key, _)| key.starts_with(rest));
            return look;
        };
        for pattern in self.patterns.get(key).into_iter().flatten() {
            if rest.starts_with(pattern) {
                look.longest = look.longest.max(pattern.len());
            } else if pattern.starts_with(rest) {
                look.open = true;
            }
        }
        look
    }
}

struct Look {
    /// Length of the longest pattern that matches here, 0 for none.
    longest: usize,
    /// More bytes could complete a (longer) match here.
    open: bool,
}

/// Masks one stream that arrives in pieces. It holds back only bytes that may be the beginning of a match.
#[derive(Debug, Default)]
pub struct MaskStream {
    held: Vec<u8>,
    /// How many bytes at the front of `held` lie inside a match.
    covered: usize,
    /// The last thing written was a replacement, so touching matches become one.
    in_run: bool,
}

impl MaskStream {
    /// Takes the next piece and appends to `out` what is decided.
    pub fn push(&mut self, masker: &Masker, piece: &[u8], out: &mut Vec<u8>) {
        self.scan(masker, piece, out, false);
    }

    /// The stream has ended: appends the rest to `out` and is ready for another stream.
    pub fn finish(&mut self, masker: &Masker, out: &mut Vec<u8>) {
        self.scan(masker, &[], out, true);
        *self = Self::default();
    }

    fn scan(&mut self, masker: &Masker, piece: &[u8], out: &mut Vec<u8>, ended: bool) {
        if masker.closed {
            let some = !piece.is_empty() || !self.held.is_empty();
            self.held.clear();
            if some && !self.in_run {
                out.extend_from_slice(REPLACEMENT);
                self.in_run = true;
            }
            return;
        }
        if masker.is_empty() && self.held.is_empty() {
            out.extend_from_slice(piece);
            return;
        }
        self.held.extend_from_slice(piece);
        let mut at = 0;
        while at < self.held.len() {
            let look = masker.look(&self.held[at..]);
            if look.open && !ended {
                break;
            }
            if look.longest > 0 && self.covered == 0 && !self.in_run {
                out.extend_from_slice(REPLACEMENT);
                self.in_run = true;
            }
            self.covered = self.covered.max(look.longest);
            if self.covered > 0 {
                self.covered -= 1;
            } else {
                self.in_run = false;
                out.push(self.held[at]);
            }
            at += 1;
        }
        self.held.drain(..at);
    }
}

/// Every form of `value` that is recognised, none shorter than [`KEY_BYTES`].
fn forms(value: &str) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    let mut texts = BTreeSet::from([value, value.trim()]);
    texts.extend(value.split(['\r', '\n']).flat_map(|line| [line, line.trim()]));
    for text in texts {
        if text.trim().is_empty() || text.chars().count() < VALUE_CHARS_MIN {
            continue;
        }
        let bytes = text.as_bytes();
        forms.insert(bytes.to_vec());
        forms.insert(HEXLOWER.encode(bytes).into_bytes());
        forms.insert(HEXUPPER.encode(bytes).into_bytes());
        forms.insert(json_escaped(text).into_bytes());
        let percent = percent_encoded(text, false);
        forms.insert(percent.replace("%20", "+").into_bytes());
        forms.insert(percent.into_bytes());
        forms.insert(percent_encoded(text, true).into_bytes());
        for phase in 0..3 {
            forms.extend(base64_forms(bytes, phase));
        }
    }
    forms.retain(|form| form.len() >= KEY_BYTES);
    forms
}

/// The base64 characters that depend on `value` alone when `phase` foreign bytes stand before it.
fn base64_forms(value: &[u8], phase: usize) -> BTreeSet<Vec<u8>> {
    let mut input = vec![0; phase];
    input.extend_from_slice(value);
    let first = (phase * 8).div_ceil(6);
    let whole = input.len() * 8 / 6;
    let mut forms = BTreeSet::new();
    for encoding in [&BASE64, &BASE64URL] {
        let text = encoding.encode(&input).into_bytes();
        forms.insert(text[first..whole].to_vec());
        if phase == 0 {
            forms.extend(
                [64, 76].iter().filter(|columns| text.len() > **columns).flat_map(|columns| {
                    text[..whole].chunks(*columns).map(<[u8]>::to_vec).collect::<Vec<_>>()
                }),
            );
        }
    }
    forms
}

fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent_encoded(text: &str, lower: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else if lower {
            out.push_str(&format!("%{byte:02x}"));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masker(values: &[&str]) -> Masker {
        let mut masker = Masker::new();
        for value in values {
            assert_eq!(masker.add(value), Added::Masked);
        }
        masker
    }

    fn masked(values: &[&str], text: &str) -> String {
        masker(values).mask_text(text)
    }

    #[test]
    fn a_value_is_replaced_wherever_it_stands() {
        assert_eq!(masked(&["s3cr3t"], "a s3cr3t b s3cr3t"), "a *** b ***");
        assert_eq!(masked(&["s3cr3t"], "s3cr3"), "s3cr3");
    }

    #[test]
    fn overlapping_and_touching_matches_leave_nothing_between() {
        assert_eq!(masked(&["abcdef", "defghi"], "xabcdefghix"), "x***x");
        assert_eq!(masked(&["abcd", "abcdefgh"], "abcdefgh abcdef"), "*** ***ef");
        assert_eq!(masked(&["abcd"], "abcdabcd"), "***");
    }

    #[test]
    fn short_and_blank_values_are_refused() {
        for value in ["", "abc", "    ", "é12"] {
            assert_eq!(Masker::new().add(value), Added::TooShort, "{value:?}");
        }
    }

    #[test]
    fn every_line_of_a_long_value_is_hidden() {
        let key = "-----BEGIN KEY-----\nabcdefgh\nxyz\n-----END KEY-----\n";
        assert_eq!(masked(&[key], "line abcdefgh\nxyz\n"), "line ***\nxyz\n");
    }

    #[test]
    fn encoded_forms_are_hidden() {
        let value = "p@ss \"wörd\"/1";
        for (name, text) in [
            ("hex", HEXLOWER.encode(value.as_bytes())),
            ("HEX", HEXUPPER.encode(value.as_bytes())),
            ("json", json_escaped(value)),
            ("url", percent_encoded(value, false)),
            ("url, lower case", percent_encoded(value, true)),
            ("form", percent_encoded(value, false).replace("%20", "+")),
        ] {
            assert_eq!(masked(&[value], &format!("<{text}>")), "<***>", "{name}");
        }
    }

    #[test]
    fn base64_is_hidden_in_all_three_phases() {
        let value = "correct horse";
        for before in ["", "a", "ab", "user:"] {
            for after in ["", "z", "zz"] {
                let text = BASE64.encode(format!("{before}{value}{after}").as_bytes());
                let shown = masked(&[value], &text);
                assert!(
                    shown.contains("***") && shown.len() <= 3 + 4 + 4 + 8,
                    "{before:?} {after:?}: {text} -> {shown}"
                );
            }
        }
    }

    #[test]
    fn wrapped_base64_of_a_long_value_is_hidden() {
        let value = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        for columns in [64, 76] {
            let text = BASE64.encode(value.as_bytes());
            let wrapped: Vec<_> = text.as_bytes().chunks(columns).map(<[u8]>::to_vec).collect();
            assert_eq!(masked(&[value], &String::from_utf8(wrapped.join(&b'\n')).unwrap()), "***\n***");
        }
    }

    #[test]
    fn a_value_longer_than_a_piece_is_hidden_whole() {
        let value: String = (0..5000).map(|n| char::from(b'a' + (n * 7 % 26) as u8)).collect();
        assert_eq!(masked(&[&value], &format!("<{value}>")), "<***>");
    }

    #[test]
    fn a_full_table_hides_everything() {
        let mut masker = Masker::with_table(200);
        assert_eq!(masker.add("first value"), Added::Masked);
        assert_eq!(masker.add("second value"), Added::Full);
        assert_eq!(masker.mask(b"harmless"), b"***");
        assert!(masker.finds(b"harmless"));
    }

    proptest! {
        #[test]
        fn cutting_a_stream_anywhere_changes_nothing(
            values in prop::collection::vec("[ab]{4,9}", 0..4),
            text in "[ab \n]{0,80}",
            cuts in prop::collection::vec(0usize..80, 0..8),
        ) {
            let mut masker = Masker::new();
            for value in &values { masker.add(value); }
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let (mut out, mut stream, mut from) = (Vec::new(), MaskStream::default(), 0);
            for cut in cuts {
                stream.push(&masker, &text.as_bytes()[from..cut], &mut out);
                from = cut;
            }
            stream.finish(&masker, &mut out);
            prop_assert_eq!(&out, &masker.mask(text.as_bytes()));
            prop_assert!(values.iter().all(|value| !String::from_utf8_lossy(&out).contains(value.as_str())));
        }
    }
}
