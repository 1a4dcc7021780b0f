//! What people read: notes on stderr, tables and JSON on stdout. The only place that prints.
//!
//! Text of others (names, reasons, labels) reaches the terminal without control characters; only log lines, which
//! `wfengine_executor::log::display` has cleaned, are printed as they are. A reader that closed stdout is remembered: what is
//! printed afterwards goes nowhere, and commands that print for long ask [`reader_left`].
#![expect(clippy::print_stderr, reason = "this is the one place that prints")]

use std::io::{IsTerminal, Write};

use serde::Serialize;
use tokio::sync::Notify;

/// Told once stdout is closed.
static READER_LEFT: Notify = Notify::const_new();

/// A remark on stderr.
pub(crate) fn note(text: &str) {
    eprintln!("note: {}", plain(text));
}

/// An error on stderr.
pub(crate) fn error(text: &str) {
    eprintln!("error: {}", plain(text));
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
        // JSON escapes control characters itself
        Ok(text) => log_line(&text),
        Err(error) => self::error(&error.to_string()),
    }
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

/// Rows under a header, columns as wide as they need to be, one line each.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) {
    let one_line = |cell: &String| plain(cell).replace(['\n', '\t'], " ");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(one_line).collect()).collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: &[String]| {
        let last = cells.len().saturating_sub(1);
        let mut text = String::new();
        for (place, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            if place != last {
                text.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
            }
        }
        line(text.trim_end());
    };
    print(&header.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
    rows.iter().for_each(|row| print(row));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\rc\u{9b}d"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d");
        assert_eq!(plain("zwölf\tund\n"), "zwölf\tund\n");
    }
}
