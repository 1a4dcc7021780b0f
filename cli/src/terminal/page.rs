//! A page: lines and tables, as one verb shows them. It is made without knowing where it is shown; [`Page::lines`] fits it there.
//!
//! At a terminal a table is as wide as the terminal: columns that may yield are cut with an ellipsis, the least important first, and
//! left out if that is not enough; ids and states stay whole. Without a width every value is whole, for programs that read it.
//!
//! Invariant: whatever others wrote into a cell, it is one line without control characters.

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::colours::{HEADING, of_state, painted};
use super::plain;

/// Spaces between two columns.
const GAP: usize = 2;
/// Columns of text that a cell keeps before its whole column is left out.
const NARROWEST: usize = 8;
const ELLIPSIS: char = '…';

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    is_state: bool,
    /// When it is cut: 1 before 2; 0: never.
    cut: u8,
    /// When it is left out, if cutting was not enough: 1 before 2; 0: never.
    leave: u8,
}

impl Column {
    /// One that is never cut.
    pub(crate) const fn whole(title: &'static str) -> Self {
        Self { title, is_state: false, cut: 0, leave: 0 }
    }
    /// One of states, which have colours; never cut.
    pub(crate) const fn state(title: &'static str) -> Self {
        Self { title, is_state: true, cut: 0, leave: 0 }
    }
    /// One that yields where the terminal is too narrow: when it is cut (0: never), and when it is left out; lower numbers first.
    pub(crate) const fn yielding(title: &'static str, cut: u8, leave: u8) -> Self {
        Self { title, is_state: false, cut, leave }
    }
}

/// How a page is to look where it is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// Columns of the terminal; `None`: nothing is cut.
    pub(crate) width: Option<usize>,
    /// Lines outside of tables are cut as well.
    pub(crate) cut_lines: bool,
    pub(crate) colours: bool,
}

#[derive(Clone, Debug)]
enum Part {
    Line { before: String, state: String, after: String },
    Table { columns: &'static [Column], rows: Vec<Vec<String>> },
}

/// What a verb shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    parts: Vec<Part>,
}

impl Page {
    /// Adds a line.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        self.stated(text, "", "");
    }

    /// Adds a line with a state in it.
    pub(crate) fn stated(&mut self, before: impl AsRef<str>, state: &str, after: &str) {
        let clean = |text: &str| plain(text).into_owned();
        let (before, state, after) = (clean(before.as_ref()), clean(state), clean(after));
        self.parts.push(Part::Line { before, state, after });
    }

    /// Adds a table. A row has a cell for each column.
    pub(crate) fn table(&mut self, columns: &'static [Column], rows: Vec<Vec<String>>) {
        let one_line = |cell: String| plain(&cell).replace(['\n', '\t'], " ");
        let rows = rows.into_iter().map(|row| row.into_iter().map(one_line).collect()).collect();
        self.parts.push(Part::Table { columns, rows });
    }

    /// The page's lines as they are shown.
    pub(crate) fn lines(&self, look: Look) -> Vec<String> {
        let mut lines = Vec::new();
        for part in &self.parts {
            match part {
                Part::Line { before, state, after } => line_of(before, state, after, look, &mut lines),
                Part::Table { columns, rows } => table_of(columns, rows, look, &mut lines),
            }
        }
        lines
    }
}

fn line_of(before: &str, state: &str, after: &str, look: Look, lines: &mut Vec<String>) {
    let whole = format!("{before}{state}{after}");
    if look.cut_lines && whole.contains('\n') {
        // one row for each, or the screen would scroll
        let each = whole.split('\n').map(|line| line.replace('\t', " "));
        lines.extend(each.map(|line| look.width.map_or_else(|| line.clone(), |width| cut(&line, width))));
        return;
    }
    match look.width.filter(|width| look.cut_lines && whole.width() > *width) {
        Some(width) => lines.extend(whole.split('\n').map(|line| cut(&line.replace('\t', " "), width))),
        None if look.colours => lines.push(format!("{before}{}{after}", painted(state, of_state(state)))),
        None => lines.push(whole),
    }
}

fn table_of(columns: &[Column], rows: &[Vec<String>], look: Look, lines: &mut Vec<String>) {
    let widths = widths(columns, rows, look.width);
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    let print = |cells: &[String], is_heading: bool| {
        let (mut text, mut owed) = (String::new(), 0);
        for ((cell, column), width) in cells.iter().zip(columns).zip(&widths) {
            let Some(width) = *width else { continue };
            let shown = cut(cell, width);
            let style = match (is_heading, column.is_state) {
                _ if !look.colours => Style::new(),
                (true, _) => HEADING,
                (false, true) => of_state(&shown),
                (false, false) => Style::new(),
            };
            text.extend(std::iter::repeat_n(' ', owed));
            text.push_str(&painted(&shown, style));
            owed = (width + GAP).saturating_sub(shown.width());
        }
        text.truncate(text.trim_end_matches(' ').len());
        text
    };
    lines.push(print(&titles, true));
    lines.extend(rows.iter().map(|row| print(row, false)));
}

/// How wide each column is; `None`: it is left out.
fn widths(columns: &[Column], rows: &[Vec<String>], fit: Option<usize>) -> Vec<Option<usize>> {
    let natural = |(place, column): (usize, &Column)| {
        let cells = rows.iter().filter_map(|row| row.get(place)).map(|cell| cell.width());
        cells.max().unwrap_or(0).max(column.title.width())
    };
    let natural: Vec<usize> = columns.iter().enumerate().map(natural).collect();
    let mut widths: Vec<Option<usize>> = natural.iter().copied().map(Some).collect();
    let Some(fit) = fit else { return widths };
    let in_order = |turn: fn(&Column) -> u8| {
        let mut places: Vec<(u8, usize)> =
            columns.iter().enumerate().map(|(place, column)| (turn(column), place)).collect();
        places.retain(|(turn, _)| *turn > 0);
        places.sort_unstable();
        places
    };
    for (_, place) in &in_order(|column| column.cut) {
        let excess = room(&widths).saturating_sub(fit);
        if let (Some(Some(width)), Some(column)) = (widths.get_mut(*place), columns.get(*place)) {
            let least = (*width).min(NARROWEST.max(column.title.width()));
            *width = width.saturating_sub(excess).max(least);
        }
    }
    let leaving = in_order(|column| column.leave);
    for (_, place) in &leaving {
        if room(&widths) > fit
            && let Some(width) = widths.get_mut(*place)
        {
            *width = None;
        }
    }
    // where a column was left out the others have more room, the most important first
    for (_, place) in leaving.iter().rev() {
        let free = fit.saturating_sub(room(&widths));
        if let (Some(Some(width)), Some(natural)) = (widths.get_mut(*place), natural.get(*place)) {
            *width = (*natural).min(*width + free);
        }
    }
    widths
}

/// Columns of a terminal that a table takes.
fn room(widths: &[Option<usize>]) -> usize {
    let shown: Vec<usize> = widths.iter().copied().flatten().collect();
    shown.iter().sum::<usize>() + GAP * shown.len().saturating_sub(1)
}

/// As much of a text as fits, with an ellipsis where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut taken = 0;
    let mut shown: String = text
        .chars()
        .take_while(|c| {
            taken += c.width().unwrap_or(0);
            taken < width
        })
        .collect();
    shown.truncate(shown.trim_end_matches([' ', '\u{200d}']).len());
    if width > 0 {
        shown.push(ELLIPSIS);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column::whole("ID"),
        Column::state("STATUS"),
        Column::yielding("PEERS", 2, 1),
        Column::yielding("NAME", 1, 2),
    ];

    fn page(rows: &[[&str; 4]]) -> Page {
        let mut page = Page::default();
        page.table(COLUMNS, rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect());
        page
    }

    fn shown(rows: &[[&str; 4]], width: usize) -> Vec<String> {
        page(rows).lines(Look { width: Some(width), ..Look::default() })
    }

    const ROWS: &[[&str; 4]] = &[
        ["0123456789ab", "completed", "lab-1,lab-2", "a name that is rather long for a table"],
        ["ba9876543210", "failed", "lab-3", "short"],
    ];

    #[test]
    fn a_text_of_several_lines_has_a_row_for_each_on_a_screen_that_must_not_scroll() {
        let mut page = Page::default();
        page.line("failed: a\nb\tc\nd");
        let look = Look { width: Some(5), cut_lines: true, ..Look::default() };
        assert_eq!(page.lines(look), ["fail…", "b c", "d"]);
        let wide = Look { width: Some(80), cut_lines: true, ..Look::default() };
        assert_eq!(page.lines(wide), ["failed: a", "b c", "d"]);
    }

    #[test]
    fn without_a_width_every_value_is_whole() {
        let lines = page(ROWS).lines(Look::default());
        assert_eq!(
            lines,
            [
                "ID            STATUS     PEERS        NAME",
                "0123456789ab  completed  lab-1,lab-2  a name that is rather long for a table",
                "ba9876543210  failed     lab-3        short",
            ]
        );
    }

    #[test]
    fn the_least_important_column_is_cut_first_and_ids_never() {
        let lines = shown(ROWS, 60);
        assert_eq!(lines[1], "0123456789ab  completed  lab-1,lab-2  a name that is rather…");
        assert!(lines.iter().all(|line| line.width() <= 60), "{lines:?}");
        let lines = shown(ROWS, 44);
        assert_eq!(lines[1], "0123456789ab  completed  lab-1,la…  a name…");
        // then columns are left out, and what is left uses the room
        let lines = shown(ROWS, 40);
        assert_eq!(lines[1], "0123456789ab  completed  a name that is…");
        let lines = shown(ROWS, 20);
        assert_eq!(lines[1], "0123456789ab  completed");
    }

    #[test]
    fn wide_and_combining_characters_count_as_they_are_shown() {
        let rows: &[[&str; 4]] =
            &[["1", "failed", "x", "東京の夜間ビルド"], ["2", "failed", "e\u{301}e\u{301}", "y"]];
        assert_eq!(
            page(rows).lines(Look::default())[1..],
            ["1   failed  x      東京の夜間ビルド", "2   failed  e\u{301}e\u{301}     y"]
        );
        for width in 19..40 {
            let lines = shown(rows, width);
            assert!(lines.iter().all(|line| line.width() <= width), "{width} {lines:?}");
        }
        assert_eq!(cut("東京の夜", 6), "東京…");
        assert_eq!(cut("東京の夜", 7), "東京の…");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn a_cell_is_one_line_and_cannot_steer_the_terminal() {
        let lines = page(&[["1", "x", "a\nb\tc", "\u{1b}[2Jn"]]).lines(Look::default());
        assert_eq!(lines[1], "1   x       a b c  \u{fffd}[2Jn");
    }

    #[test]
    fn states_and_headings_have_colours_where_they_are_wanted() {
        let lines = page(ROWS).lines(Look { colours: true, ..Look::default() });
        assert!(lines[0].starts_with("\u{1b}[1mID\u{1b}[0m"), "{lines:?}");
        assert!(lines[2].contains("\u{1b}[31mfailed\u{1b}[0m     lab-3"), "{lines:?}");
        assert!(!lines[2].contains("\u{1b}[31mba98"), "{lines:?}");
        let mut page = Page::default();
        page.stated("status    ", "completed", " (well)");
        assert_eq!(
            page.lines(Look { colours: true, ..Look::default() }),
            ["status    \u{1b}[32mcompleted\u{1b}[0m (well)"]
        );
        let cut_to = Look { width: Some(12), cut_lines: true, colours: true };
        assert_eq!(page.lines(cut_to), ["status    c…"]);
    }
}
