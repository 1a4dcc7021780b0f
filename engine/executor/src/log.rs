//! The log of one job: what its steps printed, line by line, in a file that can be followed while it grows.
//!
//! ```text
//! wfengine-log 1 1763683200000                  format version, wall time of the beginning in ms
//! 0 0 n Job build                               ms since the beginning, step number (0: the job), stream, text
//! 12 1 n ##[group]Run make
//! 498 1 o cc -c main.c                          o standard output, e standard error, n a note of the engine
//! ```
//!
//! The text is what was printed, byte for byte up to the line feed, control sequences and all, save that masked values
//! are `***` and that a line or a log that is too long ends with a visible mark. [`display`] makes it fit for a terminal.
//!
//! Invariants: every line ends with a line feed and holds at most [`LINE_BYTES_MAX`] bytes of text; the steps' lines
//! stop at the bound given, the engine's notes at [`NOTES_BYTES_MAX`] more; masking happened before anything comes here.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Text bytes of one line.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// What a log may hold unless told otherwise.
pub const LOG_BYTES_MAX: u64 = 64 << 20;
/// Room kept for the engine's own lines after the bound, so that a cut log still says how its job ended.
pub const NOTES_BYTES_MAX: u64 = 1 << 20;

const MAGIC: &str = "wfengine-log 1 ";
/// Offset, step and stream in front of a text take less than this.
const PREFIX_BYTES_MAX: usize = 64;
const READ_BYTES_MAX: u64 = 1 << 20;

/// Who printed a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The step, on its standard output.
    Out,
    /// The step, on its standard error.
    Err,
    /// The engine.
    Note,
}

impl Stream {
    fn letter(self) -> char {
        match self {
            Stream::Out => 'o',
            Stream::Err => 'e',
            Stream::Note => 'n',
        }
    }

    fn from_letter(letter: &[u8]) -> Option<Self> {
        match letter {
            b"o" => Some(Stream::Out),
            b"e" => Some(Stream::Err),
            b"n" => Some(Stream::Note),
            _ => None,
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Milliseconds since the job began.
    pub offset_ms: u64,
    /// The step's number, counted from 1; 0 is the job itself.
    pub step: u32,
    /// Who printed it.
    pub stream: Stream,
    /// What was printed, without the line feed.
    pub text: Vec<u8>,
}

/// A finished log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    /// Where it lies.
    pub path: PathBuf,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
    /// Its length.
    pub bytes: u64,
    /// Whether lines are missing because the bound was reached.
    pub cut: bool,
}

/// A log being written.
#[derive(Debug)]
pub struct JobLog {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
    bytes_max: u64,
    cut: bool,
}

impl JobLog {
    /// Begins a log in a new file.
    pub fn create(path: &Path, started_ms: u64, bytes_max: u64) -> io::Result<Self> {
        let file = BufWriter::new(File::create_new(path)?);
        let mut log =
            Self { path: path.to_owned(), file, hash: Sha256::new(), bytes: 0, bytes_max, cut: false };
        log.write(format!("{MAGIC}{started_ms}\n").as_bytes())?;
        Ok(log)
    }

    /// Adds a line; answers whether it was kept. The first line that is not is replaced by a mark.
    pub fn append(&mut self, line: &LogLine) -> io::Result<bool> {
        let bound =
            if line.stream == Stream::Note { self.bytes_max + NOTES_BYTES_MAX } else { self.bytes_max };
        let kept = &line.text[..line.text.len().min(LINE_BYTES_MAX)];
        let fits = self.bytes + (kept.len() + PREFIX_BYTES_MAX) as u64 <= bound;
        if line.stream != Stream::Note && (self.cut || !fits) {
            if !self.cut {
                self.cut = true;
                let mark = format!(
                    "##[warning]The log is cut here: it reached {} bytes. The job goes on.",
                    self.bytes_max
                );
                self.write_line(line.offset_ms, line.step, Stream::Note, mark.as_bytes())?;
            }
            return Ok(false);
        }
        if fits {
            self.write_line(line.offset_ms, line.step, line.stream, kept)?;
        }
        Ok(fits)
    }

    /// Makes everything appended visible to readers.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Ends the log.
    pub fn finish(mut self) -> io::Result<LogSummary> {
        self.file.flush()?;
        Ok(LogSummary {
            path: self.path,
            sha256: self.hash.finalize().into(),
            bytes: self.bytes,
            cut: self.cut,
        })
    }

    fn write_line(&mut self, offset_ms: u64, step: u32, stream: Stream, text: &[u8]) -> io::Result<()> {
        let mut line = format!("{offset_ms} {step} {} ", stream.letter()).into_bytes();
        line.extend(text.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        line.push(b'\n');
        self.write(&line)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system refused.
    #[error("the log cannot be read: {0}")]
    Io(#[from] io::Error),
    /// These bytes are no log, or a damaged one.
    #[error("byte {offset} of the log: {expected} was expected; fetch the log again")]
    Malformed {
        /// Where the line begins.
        offset: u64,
        /// What should stand there.
        expected: &'static str,
    },
}

/// Reads a log, also one that still grows: the end is only the end so far.
#[derive(Debug)]
pub struct LogReader<R> {
    source: R,
    unread: Vec<u8>,
    offset: u64,
    started_ms: Option<u64>,
}

impl LogReader<File> {
    /// Reads the log at `path` from its beginning.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        Ok(Self::new(File::open(path)?))
    }
}

impl<R: Read> LogReader<R> {
    /// Reads a log from any source that may give more after it said "end".
    pub fn new(source: R) -> Self {
        Self { source, unread: Vec::new(), offset: 0, started_ms: None }
    }

    /// Wall time of the beginning in ms, once the first line was read.
    pub fn started_ms(&self) -> Option<u64> {
        self.started_ms
    }

    /// The next lines that are there, about 1 MiB at a time; none means: nothing more so far.
    pub fn read_available(&mut self) -> Result<Vec<LogLine>, LogError> {
        self.source.by_ref().take(READ_BYTES_MAX).read_to_end(&mut self.unread)?;
        let mut lines = Vec::new();
        let mut from = 0;
        while let Some(length) = self.unread[from..].iter().position(|byte| *byte == b'\n') {
            let line = &self.unread[from..from + length];
            if self.started_ms.is_some() {
                lines.push(parse_line(line, self.offset)?);
            } else {
                self.started_ms = Some(parse_first_line(line)?);
            }
            from += length + 1;
            self.offset += length as u64 + 1;
        }
        self.unread.drain(..from);
        if self.unread.len() > LINE_BYTES_MAX + PREFIX_BYTES_MAX {
            return Err(LogError::Malformed { offset: self.offset, expected: "a line feed within 64 KiB" });
        }
        Ok(lines)
    }
}

fn parse_first_line(line: &[u8]) -> Result<u64, LogError> {
    let time = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(MAGIC)?.parse().ok());
    time.ok_or(LogError::Malformed { offset: 0, expected: "`wfengine-log 1` and a time" })
}

fn parse_line(line: &[u8], offset: u64) -> Result<LogLine, LogError> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
    let (offset_ms, step) = (number(), number().and_then(|step| u32::try_from(step).ok()));
    let (stream, text) = (parts.next().and_then(Stream::from_letter), parts.next());
    match (offset_ms, step, stream, text) {
        (Some(offset_ms), Some(step), Some(stream), Some(text)) if text.len() <= LINE_BYTES_MAX => {
            Ok(LogLine { offset_ms, step, stream, text: text.to_vec() })
        }
        _ => Err(LogError::Malformed { offset, expected: "`MS STEP o|e|n TEXT`" }),
    }
}

/// What [`display`] does with colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// Colour sequences stay, nothing else that begins with escape does.
    Keep,
    /// No sequence stays.
    Strip,
}

/// A line's text made harmless for a terminal: no control characters but tab, no escape sequences (cursor, title,
/// links, clipboard), no characters that reorder text. Colours stay on request.
pub fn display(text: &[u8], colours: Colours) -> String {
    let text = String::from_utf8_lossy(text);
    let mut out = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text.as_ref();
    while let Some(first) = rest.chars().next() {
        if matches!(first, '\u{1b}' | '\u{9b}' | '\u{9d}' | '\u{90}' | '\u{98}' | '\u{9e}' | '\u{9f}') {
            let length = sequence_length(rest);
            let sequence = &rest[..length];
            if colours == Colours::Keep && is_colour(sequence) {
                out.push_str(sequence);
                coloured = true;
            }
            rest = &rest[length..];
            continue;
        }
        let reorders =
            matches!(first, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
        if first == '\t' || !(first.is_control() || reorders) {
            out.push(first);
        }
        rest = &rest[first.len_utf8()..];
    }
    if coloured {
        out.push_str("\u{1b}[0m");
    }
    out
}

fn is_colour(sequence: &str) -> bool {
    let inner = sequence.strip_prefix("\u{1b}[").and_then(|rest| rest.strip_suffix('m'));
    inner.is_some_and(|inner| {
        inner.len() <= 32 && inner.bytes().all(|byte| byte.is_ascii_digit() || b";:".contains(&byte))
    })
}

/// Bytes of the escape sequence at the beginning of `text`.
fn sequence_length(text: &str) -> usize {
    let mut characters = text.char_indices();
    let Some((_, introducer)) = characters.next() else { return 0 };
    let kind =
        if introducer == '\u{1b}' { characters.next().map(|(_, kind)| kind) } else { Some(introducer) };
    let end = |found: Option<(usize, char)>| found.map_or(text.len(), |(at, last)| at + last.len_utf8());
    match kind {
        Some('[' | '\u{9b}') => end(characters.find(|(_, next)| !matches!(next, ' '..='?'))),
        Some(']' | 'P' | 'X' | '^' | '_' | '\u{9d}' | '\u{90}' | '\u{98}' | '\u{9e}' | '\u{9f}') => {
            let mut escaped = false;
            end(characters.find(|(_, next)| {
                let over = matches!(next, '\u{7}' | '\u{9c}') || (escaped && *next == '\\');
                escaped = *next == '\u{1b}';
                over
            }))
        }
        Some(' '..='/') => end(characters.find(|(_, next)| !matches!(next, ' '..='/'))),
        Some(other) => introducer.len_utf8() + other.len_utf8(),
        None => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u32, stream: Stream, text: &str) -> LogLine {
        LogLine { offset_ms: 5, step, stream, text: text.as_bytes().to_vec() }
    }

    #[test]
    fn what_is_written_is_read_while_it_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = JobLog::create(&path, 1_700, LOG_BYTES_MAX).unwrap();
        let lines =
            [line(0, Stream::Note, ""), line(1, Stream::Out, "a b  c\r"), line(1, Stream::Err, "\u{1b}[1mx")];
        log.append(&lines[0]).unwrap();
        log.flush().unwrap();
        let mut reader = LogReader::open(&path).unwrap();
        assert_eq!(reader.read_available().unwrap(), lines[..1]);
        assert_eq!(reader.started_ms(), Some(1_700));
        assert_eq!(reader.read_available().unwrap(), []);
        log.append(&lines[1]).unwrap();
        log.append(&lines[2]).unwrap();
        log.flush().unwrap();
        assert_eq!(reader.read_available().unwrap(), lines[1..]);
        let summary = log.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((summary.bytes, summary.cut), (bytes.len() as u64, false));
        assert_eq!(summary.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
    }

    #[test]
    fn a_full_log_is_cut_once_and_still_takes_notes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = JobLog::create(&path, 0, 500).unwrap();
        let kept = (0..100).filter(|_| log.append(&line(1, Stream::Out, "0123456789")).unwrap()).count();
        assert!(log.append(&line(0, Stream::Note, "the end")).unwrap());
        let summary = log.finish().unwrap();
        assert!(summary.cut && kept > 10 && kept < 40, "{kept}");
        let lines = LogReader::open(&path).unwrap().read_available().unwrap();
        assert_eq!(lines.len(), kept + 2);
        assert!(display(&lines[kept].text, Colours::Strip).contains("cut here: it reached 500 bytes"));
        assert_eq!(lines[kept + 1].text, b"the end");
    }

    #[test]
    fn damaged_logs_are_errors() {
        let read = |bytes: &[u8]| LogReader::new(bytes).read_available().map(|lines| lines.len());
        assert!(read(b"something else\n").is_err());
        assert!(read(b"wfengine-log 1 5\n1 2 o x\n").is_ok_and(|lines| lines == 1));
        for bad in ["1 2 o", "x 2 o t", "1 x o t", "1 2 z t", ""] {
            let error = read(format!("wfengine-log 1 5\n{bad}\n").as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("byte 17"), "{error}");
        }
        assert!(read(&[&b"wfengine-log 1 5\n"[..], &[b'x'; LINE_BYTES_MAX + 100]].concat()).is_err());
    }

    #[test]
    fn a_terminal_gets_no_control_sequences() {
        let strip = |text: &str| display(text.as_bytes(), Colours::Strip);
        assert_eq!(strip("a\u{1b}[31mred\u{1b}[0m\tb\r"), "ared\tb");
        assert_eq!(strip("x\u{1b}]0;title\u{7}y\u{1b}]8;;http://e\u{1b}\\z"), "xyz");
        assert_eq!(strip("a\u{1b}(Bb\u{1b}cc\u{1b}[2Jd\u{9b}1;1He\u{7}\u{8}\u{202e}f\u{1b}"), "abcdef");
        assert_eq!(strip("\u{1b}]52;c;never closed"), "");
        assert_eq!(display(b"\xff\x1b[1mok", Colours::Strip), "\u{fffd}ok");
    }

    #[test]
    fn colours_stay_on_request_and_are_closed() {
        assert_eq!(display(b"\x1b[1;31mred\x1b[2J\x1b[?25l", Colours::Keep), "\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(display(b"plain", Colours::Keep), "plain");
    }
}
