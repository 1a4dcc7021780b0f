//! A terminal's screen that one command has for itself while it goes on: a page is drawn over the one before.
//!
//! Invariant: whatever ends the command, short of a kill, the terminal has its cursor and its earlier content back, with the last page
//! below it.

use std::io::Write;

use super::colours;
use super::page::{Look, Page, cut};

/// The other screen, without a cursor.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
/// The cursor, and the screen as it was.
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// To the upper left corner.
const HOME: &str = "\u{1b}[H";
/// Nothing further in this line.
const LINE_END: &str = "\u{1b}[K\r\n";
/// Nothing below.
const PAGE_END: &str = "\u{1b}[J";
/// Of a terminal that does not say how large it is.
const SIZE: (usize, usize) = (80, 24);

/// The screen.
#[derive(Debug)]
pub(crate) struct Screen {
    last: Option<Page>,
}

impl Screen {
    /// Takes the screen, if people read stdout at a terminal that can move its cursor.
    pub(crate) fn take() -> Option<Self> {
        let can_move = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        if !super::stdout_is_terminal() || !can_move {
            return None;
        }
        super::raw(ENTER);
        Some(Self { last: None })
    }

    /// Shows a page, and a remark in the last line.
    pub(crate) fn draw(&mut self, page: &Page, remark: &str) {
        let (columns, rows) = size();
        let look = Look { width: Some(columns), cut_lines: true, colours: colours::on_stdout() };
        super::raw(&frame(page.lines(look), remark, columns, rows));
        self.last = Some(page.clone());
    }
}

/// What draws a page: as many of its lines as there is room for, and how many more there are.
fn frame(mut lines: Vec<String>, remark: &str, columns: usize, rows: usize) -> String {
    // the last row is the remark's
    let room = rows.saturating_sub(1);
    if lines.len() > room {
        let left_out = lines.len() - room.saturating_sub(1);
        lines.truncate(room.saturating_sub(1));
        lines.push(cut(&format!("… {left_out} more lines"), columns));
    }
    let drawn: String = lines.iter().flat_map(|line| [line.as_str(), LINE_END]).collect();
    format!("{HOME}{drawn}{}{PAGE_END}", cut(&super::plain(remark), columns))
}

impl Drop for Screen {
    fn drop(&mut self) {
        super::raw(LEAVE);
        if let Some(page) = &self.last {
            super::show(page);
        }
        let _ = std::io::stdout().flush();
    }
}

fn size() -> (usize, usize) {
    let told = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let told = told.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
    told.filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or(SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_too_long_says_how_much_is_missing() {
        let lines = |count: usize| (1..=count).map(|line| line.to_string()).collect::<Vec<_>>();
        assert_eq!(frame(lines(2), "a remark", 6, 4), "\u{1b}[H1\u{1b}[K\r\n2\u{1b}[K\r\na rem…\u{1b}[J");
        let long = frame(lines(9), "", 40, 4);
        assert!(long.contains("2\u{1b}[K\r\n… 7 more lines\u{1b}[K\r\n"), "{long:?}");
        // no line makes the screen scroll, however small it is
        for rows in 1..12 {
            assert!(frame(lines(9), "", 40, rows).matches('\n').count() < rows.max(2), "{rows}");
        }
    }
}
