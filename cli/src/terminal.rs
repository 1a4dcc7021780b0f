//! What people read: notes on stderr, tables and JSON on stdout. The only place that prints.
//!
//! Text of others (names, reasons, labels) reaches the terminal without control characters; only log lines, which
//! `wfengine_executor::log::display` has cleaned, are printed as they are. A reader that closed stdout is remembered: what is
//! printed afterwards goes nowhere, and commands that print for long ask [`reader_left`].
#![expect(clippy::print_stderr, reason = "this is the one place that prints")]

pub(crate) mod colours;
mod page;
mod screen;

use std::io::{IsTerminal, Write};

use serde::Serialize;
use tokio::sync::Notify;

pub(crate) use page::{Column, Look, Page};
pub(crate) use screen::Screen;

/// Told once stdout is closed.
static READER_LEFT: Notify = Notify::const_new();

/// A remark on stderr.
pub(crate) fn note(text: &str) {
    eprintln!("{} {}", prefix("note:", colours::NOTE), plain(text));
}

/// An error on stderr.
pub(crate) fn error(text: &str) {
    eprintln!("{} {}", prefix("error:", colours::ERROR), plain(text));
}

fn prefix(word: &str, style: anstyle::Style) -> String {
    if colours::on_stderr() { colours::painted(word, style) } else { word.to_owned() }
}

/// What may have been meant, under an error.
pub(crate) fn hint(text: &str) {
    eprintln!("  {}", plain(text));
}

/// A line on stdout.
pub(crate) fn line(text: &str) {
    log_line(&plain(text));
}

/// A line of a log on stdout, cleaned before.
pub(crate) fn log_line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").is_err() {
        READER_LEFT.notify_one();
    }
}

/// Text on stdout as it is.
pub(crate) fn raw(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        READER_LEFT.notify_one();
    }
}

/// Done once whoever read stdout has closed it.
pub(crate) async fn reader_left() {
    READER_LEFT.notified().await;
}

/// A JSON document on stdout, one line.
pub(crate) fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => log_line(&escaped(&text)),
        Err(error) => self::error(&error.to_string()),
    }
}

/// JSON in which also those control characters are escaped that JSON lets pass: U+007F to U+009F, which move cursors too.
pub(crate) fn escaped(json: &str) -> std::borrow::Cow<'_, str> {
    let passes = |c: char| c.is_control() && c >= '\u{7f}';
    if !json.contains(passes) {
        return json.into();
    }
    let escape = |c: char| match passes(c) {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    json.chars().map(escape).collect::<String>().into()
}

/// Text without what moves a terminal's cursor or changes its state; line ends and tabs stay.
fn plain(text: &str) -> std::borrow::Cow<'_, str> {
    let is_control = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(is_control) { text.replace(is_control, "\u{fffd}").into() } else { text.into() }
}

/// Whether people read stdout.
pub(crate) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether somebody can answer a question.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks a yes-or-no question at the terminal.
pub(crate) fn ask(question: &str) -> bool {
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// How a page looks on stdout.
fn look() -> Look {
    Look { width: width(), cut_lines: false, colours: colours::on_stdout() }
}

/// Columns of the terminal that shows stdout: as it says, else as `COLUMNS` says. `None`: programs read stdout, or nobody knows.
fn width() -> Option<usize> {
    if !stdout_is_terminal() {
        return None;
    }
    let told = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    let set = || std::env::var("COLUMNS").ok()?.trim().parse().ok();
    Some(told).filter(|told| *told > 0).or_else(set).filter(|columns| *columns > 0)
}

/// A page on stdout.
pub(crate) fn show(page: &Page) {
    page.lines(look()).iter().for_each(|line| log_line(line));
}

/// A line on stdout with a state in it.
pub(crate) fn stated(before: &str, state: &str, after: &str) {
    let mut page = Page::default();
    page.stated(before, state, after);
    show(&page);
}

/// One table on stdout.
pub(crate) fn table(columns: &'static [Column], rows: Vec<Vec<String>>) {
    let mut page = Page::default();
    page.table(columns, rows);
    show(&page);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\rc\u{9b}d"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d");
        assert_eq!(plain("zwölf\tund\n"), "zwölf\tund\n");
    }

    #[test]
    fn json_of_others_cannot_either_and_says_the_same() {
        let given = serde_json::json!({ "name": "a\u{9b}31mb\u{7f}\u{1b}c ü" });
        let text = escaped(&given.to_string()).into_owned();
        assert!(!text.contains(char::is_control), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), given);
    }
}
