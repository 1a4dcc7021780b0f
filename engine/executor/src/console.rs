//! The voice of one job: every line that a step or the engine says passes here, is masked, logged and told.
//!
//! [`StepVoice`] reads the two streams of a step: it frames lines, carries out workflow commands and keeps what they
//! asked for. It starts nothing and decides nothing about the step.
//!
//! Invariants: no text reaches the log, an event or an annotation unmasked; a stream takes bounded memory however long
//! its lines are; a value declared by `::add-mask::` is hidden from the very next line on.

use std::{collections::BTreeMap, io, str};

use tokio::time::Instant;

use crate::{
    JobEvent,
    log::{JobLog, LINE_BYTES_MAX, LogLine, LogSummary, Stream},
    mask::{Added, MaskStream, Masker},
    workflow_commands::{Annotation, Command, CommandReader, Level, Reading},
};

/// Annotations of one level that a step may leave; as on GitHub, later ones stay in the log only.
pub const ANNOTATIONS_PER_LEVEL_AND_STEP_MAX: usize = 10;
/// Annotations that a job may leave.
pub const ANNOTATIONS_PER_JOB_MAX: usize = 50;
/// Bytes of an annotation's message or title.
pub const ANNOTATION_BYTES_MAX: usize = 4096;

/// Room at the end of a line for the mark that says it was cut.
const MARK_BYTES_MAX: usize = 96;
/// What `set-output` and its like may hold together in one step.
const COMMAND_VALUES_BYTES_MAX: usize = 1 << 20;

/// An annotation and the step that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepAnnotation {
    /// The step's number; 0 for the job itself.
    pub step: u32,
    /// What was said.
    pub annotation: Annotation,
}

/// Where everything that is said ends up.
pub(crate) struct Console<'a> {
    log: JobLog,
    pub(crate) masker: Masker,
    events: &'a mut (dyn FnMut(JobEvent) + Send),
    began: Instant,
    pub(crate) annotations: Vec<StepAnnotation>,
    /// The first failure to write; the log is not to be trusted after it.
    failed: Option<io::Error>,
}

impl<'a> Console<'a> {
    pub(crate) fn new(log: JobLog, masker: Masker, events: &'a mut (dyn FnMut(JobEvent) + Send)) -> Self {
        Self { log, masker, events, began: Instant::now(), annotations: Vec::new(), failed: None }
    }

    pub(crate) fn tell(&mut self, event: JobEvent) {
        (self.events)(event);
    }

    /// A line of the engine, masked.
    pub(crate) fn note(&mut self, step: u32, text: &str) {
        for line in text.split('\n') {
            let masked = self.masker.mask(line.as_bytes());
            self.say(step, Stream::Note, masked);
        }
    }

    /// An error of the engine: a line and an annotation.
    pub(crate) fn error(&mut self, step: u32, message: &str) {
        self.note(step, &format!("##[error]{message}"));
        self.annotate(step, Annotation::plain(Level::Error, message));
    }

    /// A warning of the engine: a line and an annotation.
    pub(crate) fn warning(&mut self, step: u32, message: &str) {
        self.note(step, &format!("##[warning]{message}"));
        self.annotate(step, Annotation::plain(Level::Warning, message));
    }

    /// Writes the buffered lines; called after every piece of output, so a follower sees whole pieces.
    pub(crate) fn flush(&mut self) {
        if let Err(error) = self.log.flush() {
            self.failed.get_or_insert(error);
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(crate) fn finish(self) -> io::Result<(LogSummary, Vec<StepAnnotation>)> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok((self.log.finish()?, self.annotations)),
        }
    }

    /// `text` is masked already.
    fn say(&mut self, step: u32, stream: Stream, mut text: Vec<u8>) {
        if text.len() > LINE_BYTES_MAX {
            cut(&mut text, None);
        }
        let offset_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line = LogLine { offset_ms, step, stream, text };
        if let Err(error) = self.log.append(&line) {
            self.failed.get_or_insert(error);
        }
        (self.events)(JobEvent::Line(line));
    }

    pub(crate) fn annotate(&mut self, step: u32, mut annotation: Annotation) {
        let same = |other: &&StepAnnotation| other.step == step && other.annotation.level == annotation.level;
        let full = self.annotations.len() >= ANNOTATIONS_PER_JOB_MAX
            || self.annotations.iter().filter(same).count() >= ANNOTATIONS_PER_LEVEL_AND_STEP_MAX;
        if full {
            return;
        }
        annotation.message = self.masked_short(&annotation.message);
        annotation.title = annotation.title.map(|title| self.masked_short(&title));
        annotation.file = annotation.file.map(|file| self.masked_short(&file));
        self.annotations.push(StepAnnotation { step, annotation });
    }

    fn masked_short(&self, text: &str) -> String {
        let mut text = self.masker.mask_text(text);
        text.truncate(text.floor_char_boundary(ANNOTATION_BYTES_MAX));
        text
    }
}

/// What the commands of a step asked for.
#[derive(Debug, Default)]
pub(crate) struct CommandResults {
    /// `set-output`, in order of first appearance.
    pub(crate) outputs: BTreeMap<String, String>,
    /// `set-env`, where allowed.
    pub(crate) environment: BTreeMap<String, String>,
    /// `add-path`, where allowed, in the order in which they came.
    pub(crate) paths: Vec<String>,
    /// Some command could not be carried out: the step has failed.
    pub(crate) wrong: bool,
}

/// Reads what one step prints.
pub(crate) struct StepVoice {
    step: u32,
    out: LineFrame,
    err: LineFrame,
    commands: CommandReader,
    switches: VoiceSwitches,
    echo: bool,
    warned: bool,
    value_bytes: usize,
    pub(crate) results: CommandResults,
}

/// What the step's environment says about its commands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct VoiceSwitches {
    /// `ACTIONS_ALLOW_UNSECURE_COMMANDS`
    pub(crate) unsecure_commands: bool,
    /// `ACTIONS_STEP_DEBUG`, `RUNNER_DEBUG`
    pub(crate) debug: bool,
}

impl StepVoice {
    pub(crate) fn new(step: u32, switches: VoiceSwitches) -> Self {
        Self {
            step,
            out: LineFrame::default(),
            err: LineFrame::default(),
            commands: CommandReader::default(),
            switches,
            echo: switches.debug,
            warned: false,
            value_bytes: 0,
            results: CommandResults::default(),
        }
    }

    /// Takes a piece of output.
    pub(crate) fn hear(&mut self, console: &mut Console<'_>, stream: Stream, mut piece: &[u8]) {
        while let Some(at) = piece.iter().position(|byte| *byte == b'\n') {
            self.frame(stream).push(&console.masker, &piece[..at]);
            self.line_ended(console, stream);
            piece = &piece[at + 1..];
        }
        self.frame(stream).push(&console.masker, piece);
        console.flush();
    }

    /// The stream is over: an unfinished line is a line.
    pub(crate) fn hear_end(&mut self, console: &mut Console<'_>, stream: Stream) {
        if self.frame(stream).bytes > 0 {
            self.line_ended(console, stream);
        }
        console.flush();
    }

    fn frame(&mut self, stream: Stream) -> &mut LineFrame {
        if stream == Stream::Err { &mut self.err } else { &mut self.out }
    }

    fn line_ended(&mut self, console: &mut Console<'_>, stream: Stream) {
        let line = self.frame(stream).take(&console.masker);
        let text = str::from_utf8(&line.head).map(|text| text.strip_suffix('\r').unwrap_or(text));
        let reading = match text {
            Ok(text) if line.whole => self.commands.read(text),
            // Too long for a command, but its value was meant to be hidden.
            _ if line.head.trim_ascii_start().starts_with(b"::add-mask::") => {
                Reading::Wrong(format!("a value to mask must be text of at most {LINE_BYTES_MAX} bytes"))
            }
            _ => Reading::Text,
        };
        match reading {
            Reading::Text => console.say(self.step, stream, line.shown),
            Reading::Wrong(why) => self.wrong(console, &why),
            Reading::Command(command) => {
                if self.echo && !matches!(command, Command::AddMask(_)) {
                    console.say(self.step, stream, line.shown);
                }
                self.obey(console, command);
            }
        }
    }

    fn obey(&mut self, console: &mut Console<'_>, command: Command) {
        match command {
            Command::Annotate(annotation) => {
                console.note(self.step, &format!("##[{}]{}", annotation.level.as_str(), annotation.message));
                console.annotate(self.step, annotation);
            }
            Command::Debug(text) if self.switches.debug => console.note(self.step, &format!("##[debug]{text}")),
            Command::Group(title) => console.note(self.step, &format!("##[group]{title}")),
            Command::EndGroup => console.note(self.step, "##[endgroup]"),
            Command::AddMask(value) => match console.masker.add(&value) {
                Added::Masked => {}
                Added::TooShort => console.note(
                    self.step,
                    "##[warning]A value given to add-mask is blank or shorter than 4 characters: it is not masked.",
                ),
                Added::Full => {
                    self.wrong(console, "too many values to mask: from here on nothing is shown");
                }
            },
            Command::SetOutput { name, value } => {
                self.warn_once(console, "`::set-output` is deprecated: append `NAME=VALUE` to the file $GITHUB_OUTPUT.");
                if self.has_room(console, name.len() + value.len()) {
                    self.results.outputs.insert(name, value);
                }
            }
            Command::SetEnv { name, value } if self.switches.unsecure_commands => {
                if name.eq_ignore_ascii_case("NODE_OPTIONS") || name.contains(['=', '\0']) || value.contains('\0') {
                    self.wrong(console, &format!("`{name}` cannot be set by `::set-env`"));
                } else if self.has_room(console, name.len() + value.len()) {
                    self.results.environment.insert(name, value);
                }
            }
            Command::AddPath(folder) if self.switches.unsecure_commands => {
                if self.has_room(console, folder.len()) {
                    self.results.paths.push(folder);
                }
            }
            Command::SetEnv { .. } => self.wrong(
                console,
                "`::set-env` is disabled because output can come from strangers: append `NAME=VALUE` to the file $GITHUB_ENV",
            ),
            Command::AddPath(_) => self.wrong(
                console,
                "`::add-path` is disabled because output can come from strangers: append the folder to the file $GITHUB_PATH",
            ),
            Command::SaveState => {
                self.warn_once(console, "`::save-state` has no meaning outside an action and is passed over.");
            }
            Command::Echo(on) => self.echo = on,
            Command::Matcher => {
                self.warn_once(console, "Problem matchers are not applied: use `::error file=…,line=…::` instead.");
            }
            Command::Debug(_) | Command::Stop | Command::Resume => {}
        }
    }

    fn wrong(&mut self, console: &mut Console<'_>, why: &str) {
        self.results.wrong = true;
        console.error(self.step, why);
    }

    fn warn_once(&mut self, console: &mut Console<'_>, text: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            console.note(self.step, &format!("##[warning]{text}"));
        }
    }

    fn has_room(&mut self, console: &mut Console<'_>, bytes: usize) -> bool {
        self.value_bytes += bytes;
        let room = self.value_bytes <= COMMAND_VALUES_BYTES_MAX;
        if !room {
            self.wrong(console, &format!("commands may set {COMMAND_VALUES_BYTES_MAX} bytes per step"));
        }
        room
    }
}

/// One line in the making.
#[derive(Default)]
struct LineFrame {
    /// Its unmasked beginning, for commands.
    head: Vec<u8>,
    mask: MaskStream,
    /// Its masked beginning.
    shown: Vec<u8>,
    bytes: usize,
}

struct Line {
    head: Vec<u8>,
    whole: bool,
    shown: Vec<u8>,
}

impl LineFrame {
    fn push(&mut self, masker: &Masker, piece: &[u8]) {
        self.bytes += piece.len();
        self.head.extend_from_slice(&piece[..piece.len().min(LINE_BYTES_MAX - self.head.len())]);
        // Once nothing of it would be shown, the rest of the line need not be looked at.
        if self.shown.len() <= LINE_BYTES_MAX {
            self.mask.push(masker, piece, &mut self.shown);
            self.shown.truncate(LINE_BYTES_MAX + 1);
        }
    }

    fn take(&mut self, masker: &Masker) -> Line {
        self.mask.finish(masker, &mut self.shown);
        let mut shown = std::mem::take(&mut self.shown);
        if !masker.is_empty() {
            // A value may have been declared on the other stream while this line was coming in.
            shown = masker.mask(&shown);
        }
        if shown.len() > LINE_BYTES_MAX {
            cut(&mut shown, Some(self.bytes));
        }
        let line = Line { whole: self.head.len() == self.bytes, head: std::mem::take(&mut self.head), shown };
        self.bytes = 0;
        line
    }
}

/// Cuts a line that is too long, not in the middle of a character, and says so.
fn cut(text: &mut Vec<u8>, bytes: Option<usize>) {
    let bytes = bytes.unwrap_or(text.len());
    let limit = LINE_BYTES_MAX - MARK_BYTES_MAX;
    let continues = |at: &usize| text[*at] & 0xc0 == 0x80;
    let kept = (limit - 3..=limit).rev().find(|at| !continues(at)).unwrap_or(limit);
    text.truncate(kept);
    text.extend_from_slice(format!(" … [cut: the line has {bytes} bytes]").as_bytes());
}
