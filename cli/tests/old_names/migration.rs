//! Every row of the migration guide, and what shows that it is true.
//!
//! A row is known by the heading above its table and its first cell. What can be run is run here, each row in a house of its own, as the
//! words that it names; what other tests show is named with the file and the test, and has to be spoken of there. A row without a proof
//! and a proof without a row fail. Not here: whether the guide says all that there is to say.

mod accelerate;
mod datasets;
mod everywhere;
mod javascript;
mod kit;
mod python;
mod state_file;
mod tags;
mod tools;
mod variables;
mod with_an_engine;

use std::path::PathBuf;

use crate::house::{House, Live};

/// What shows that a row is true.
#[derive(Clone, Copy)]
pub enum Shown {
    /// It is run here.
    Here(fn(&House)),
    /// A test elsewhere: its file, how the lines of the test and of what it goes through begin, and words that stand in them; where none are
    /// told for a row, the names in its cell have to.
    There(&'static str, &'static [&'static str], &'static [&'static str]),
}

/// The first cells of a table, and what shows each row.
pub type Rows = &'static [(&'static str, &'static [Shown])];

/// The tables of the guide in their order, and a test for the rows of each that are run here.
macro_rules! tables {
    ($($test:ident: $heading:literal, $rows:expr;)*) => {
        const TABLES: &[(&str, Rows)] = &[$(($heading, $rows)),*];
        $(#[test]
        fn $test() {
            run($rows);
        })*
    };
}

tables! {
    everywhere_rows: "What is different everywhere", everywhere::ROWS;
    rows_of_p2p_workflow: "ipfs-accelerate p2p-workflow", accelerate::P2P_WORKFLOW;
    rows_of_github: "ipfs-accelerate github", accelerate::GITHUB;
    rows_of_mcp_and_runner: "ipfs-accelerate mcp and runner", accelerate::MCP_AND_RUNNER;
    rows_of_datasets: "ipfs-datasets", datasets::ROWS;
    rows_of_kit: "ipfs-kit p2p", kit::ROWS;
    rows_of_tools: "MCP tools", tools::ROWS;
    rows_of_tags: "Tags", tags::TAGS;
    rows_of_statuses: "Statuses", tags::STATUSES;
    rows_of_variables: "Environment variables", variables::ROWS;
    rows_of_python: "Python", python::ROWS;
    rows_of_javascript: "JavaScript", javascript::ROWS;
    rows_of_the_state_file: "The coordinator's state file", state_file::ROWS;
}

/// Runs all that is run here, and names every row that turned out otherwise.
fn run(rows: Rows) {
    let holds = |shown: &Shown| match shown {
        Shown::Here(show) => std::panic::catch_unwind(|| show(&House::new())).is_ok(),
        Shown::There(..) => true,
    };
    let untrue: Vec<&str> =
        rows.iter().filter(|(_, shown)| !shown.iter().all(holds)).map(|(cell, _)| *cell).collect();
    assert!(untrue.is_empty(), "untrue: {untrue:?}");
}

/// A file of the repository.
fn read(path: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first cell of a line of a table. A bar that is escaped belongs to it.
fn first_cell(line: &str) -> Option<String> {
    let mut cell = String::new();
    let mut chars = line.strip_prefix('|')?.chars();
    while let Some(c) = chars.next() {
        match c {
            '|' => return Some(cell.trim().to_owned()),
            '\\' => cell.extend(chars.next()),
            c => cell.push(c),
        }
    }
    None
}

/// Headings with the first cells of the table below them, without its head.
fn rows_of(guide: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut heading = "";
    let mut rows_seen = 0;
    for line in guide.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim();
        }
        let Some(cell) = first_cell(line) else {
            rows_seen = 0;
            continue;
        };
        rows_seen += 1;
        match rows_seen {
            1 => found.push((heading.to_owned(), Vec::new())),
            2 => assert!(cell.chars().all(|c| c == '-'), "{heading}: no line below the head of its table"),
            _ => found.last_mut().unwrap().1.push(cell),
        }
    }
    found
}

/// What a cell names: the beginning of each of its spans of code, as far as it is one name.
fn names_in(cell: &str) -> Vec<String> {
    let is_of_name = |c: &char| c.is_alphanumeric() || "_-./".contains(*c);
    let spans = cell.split('`').skip(1).step_by(2);
    let names = spans.map(|span| {
        let call = span.strip_prefix("new ").or(span.strip_prefix("mcp.")).unwrap_or(span);
        call.chars().take_while(is_of_name).collect::<String>()
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// The part of a text that begins with a declaration: its line, and those up to the next that is indented no deeper.
fn part(path: &str, text: &str, declaration: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &&str| line.trim_start().starts_with(declaration);
    let places: Vec<usize> = (0..lines.len()).filter(|at| begins(&lines[*at])).collect();
    let [at] = places[..] else { panic!("{path}: `{declaration}` begins {} lines", places.len()) };
    let outer = depth(lines[at]);
    let inside =
        lines[at + 1..].iter().copied().take_while(|line| line.trim().is_empty() || depth(line) > outer);
    [lines[at]].into_iter().chain(inside).flat_map(|line| [line, "\n"]).collect()
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Fails unless what is declared there is a test, or something of this name is used in the file.
fn is_run(path: &str, text: &str, declaration: &str) {
    let at = text.find(declaration).unwrap();
    let before = text[..at].lines().rev().find(|line| !line.trim().is_empty());
    let is_test = before.is_some_and(|line| line.trim() == "#[test]")
        || declaration.starts_with("def test_")
        || declaration.starts_with("test(")
        || declaration.starts_with("for ");
    let name =
        ["async function ", "const ", "fn "].into_iter().find_map(|word| declaration.strip_prefix(word));
    let name = name.unwrap_or(declaration);
    let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
    assert!(is_test || text.matches(name).count() > 1, "{path}: nothing runs `{declaration}`");
}

#[test]
fn every_row_of_the_guide_is_shown_and_what_is_shown_is_a_row() {
    let listed: Vec<(String, Vec<String>)> = TABLES
        .iter()
        .map(|(heading, rows)| {
            assert!(rows.iter().all(|(_, shown)| !shown.is_empty()), "{heading}: a row that nothing shows");
            ((*heading).to_owned(), rows.iter().map(|(cell, _)| (*cell).to_owned()).collect())
        })
        .collect();
    let written = rows_of(&read("cli/guide/migration.md"));
    for (written, listed) in written.iter().zip(&listed) {
        assert_eq!(written, listed);
    }
    assert_eq!(written.len(), listed.len());
}

#[test]
fn what_is_shown_elsewhere_is_shown_there() {
    for (heading, rows) in TABLES {
        for (cell, shown) in *rows {
            let mut parts = String::new();
            let mut said: Vec<&str> = Vec::new();
            for shown in *shown {
                let Shown::There(path, declarations, words) = shown else { continue };
                let text = read(path);
                for declaration in *declarations {
                    is_run(path, &text, declaration);
                    parts.push_str(&part(path, &text, declaration));
                }
                said.extend(*words);
            }
            let names = names_in(cell);
            let is_here = shown.iter().any(|shown| matches!(shown, Shown::Here(_)));
            // unless the words are told, the names in the cell are
            if said.is_empty() && !is_here {
                assert!(!names.is_empty(), "{heading}, {cell}: no word to look for");
                said.extend(names.iter().map(String::as_str));
            }
            for word in said {
                assert!(parts.contains(word), "{heading}, {cell}: no test that is named speaks of `{word}`");
            }
        }
    }
}

#[test]
fn rows_names_and_parts_are_read_as_they_are_written() {
    let guide =
        "# A\n\n| a | b |\n|---|---|\n| `x \\| y` | z |\n| c | |\n\n## B\ntext | text\n| d |\n|---|\n| e |\n";
    let cells = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    assert_eq!(rows_of(guide), [("A".to_owned(), cells(&["`x | y`", "c"])), ("B".to_owned(), cells(&["e"]))]);
    assert_eq!(names_in("`new MCP({ url })`, `mcp.call(x)` and `(peer)`, `a/b [c]`"), ["MCP", "call", "a/b"]);
    let text = "fn a() {\n    one\n\n    two\n}\n\n#[test]\nfn b() {\n    three\n}\n";
    assert_eq!(part("", text, "fn a("), "fn a() {\n    one\n\n    two\n");
    assert!(std::panic::catch_unwind(|| part("", text, "fn c(")).is_err());
    is_run("", text, "fn b(");
    assert!(std::panic::catch_unwind(|| is_run("", text, "fn a(")).is_err());
}

/// A command line with more variables.
fn started(house: &House, line: &str, variables: &[(&str, &str)]) -> Live {
    let mut words = line.split(' ');
    let name = words.next().unwrap();
    let words: Vec<&str> = words.collect();
    let mut command = crate::command(house, name, &words);
    command.envs(variables.iter().copied());
    Live::start(command)
}
