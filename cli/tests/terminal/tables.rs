//! Tables and colours, at a terminal and in a pipe.

use std::process::Command;

use unicode_width::UnicodeWidthStr;

use crate::house::House;
use crate::pty::AtTerminal;

const LONG: &str =
    "東京の夜間ビルド, and then a good deal more than fits into any terminal of eighty columns";

fn house() -> House {
    let house = House::new();
    house.ask(&["task", "submit", "--task-id", "nightly", "--name", LONG]).ends(0);
    house
}

fn at(house: &House, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = house.command(arguments);
    command.env("TERM", "xterm");
    command.envs(variables.iter().copied());
    command
}

/// What a terminal shows.
fn seen(house: &House, arguments: &[&str], variables: &[(&str, &str)], columns: u16) -> String {
    let (text, code) = AtTerminal::start(at(house, arguments, variables), columns, 24).end();
    assert_eq!(code, 0, "{text}");
    text
}

fn plain(text: &str) -> Vec<&str> {
    text.split("\r\n").filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_table_is_as_wide_as_the_terminal_and_whole_in_a_pipe() {
    let house = house();
    let piped = house.ask(&["list"]).ends(0).out;
    assert!(piped.contains(&format!("{LONG} [nightly]")), "{piped}");
    let run = piped.lines().nth(1).unwrap().split(' ').next().unwrap();
    for columns in [40, 60, 80, 100] {
        let text = seen(&house, &["list", "--color", "never"], &[], columns);
        let lines = plain(&text);
        assert!(lines.iter().all(|line| line.width() <= usize::from(columns)), "{lines:?}");
        assert!(lines[1].starts_with(run), "{lines:?}");
        assert!(lines[1].contains("pending"), "{lines:?}");
        assert!(lines[1].contains('…') == (columns > 40), "{lines:?}");
    }
    assert!(seen(&house, &["list"], &[], 300).contains(LONG));
    // a terminal that does not say how wide it is
    let text = seen(&house, &["list", "--color", "never"], &[("COLUMNS", "60")], 0);
    assert!(text.contains('…') && plain(&text).iter().all(|line| line.width() <= 60), "{text}");
    assert!(seen(&house, &["list"], &[], 0).contains(LONG));
    // a pipe is never cut
    let mut command = house.command(&["list"]);
    command.env("COLUMNS", "60");
    let said = crate::house::Live::start(command).end().ends(0);
    assert_eq!(said.out, piped);
}

#[test]
fn colours_are_for_terminals_and_for_whoever_asks() {
    let house = house();
    let list = ["list"];
    let is_coloured = |text: &str| text.contains("\u{1b}[36mpending\u{1b}[0m");
    assert!(is_coloured(&seen(&house, &list, &[], 80)));
    for (option, variable) in [
        ("--color=auto", ("NO_COLOR", "1")),
        ("--color=auto", ("TERM", "dumb")),
        ("--color=never", ("LANG", "C")),
        ("--color=never", ("CLICOLOR_FORCE", "1")),
    ] {
        let text = seen(&house, &[option, "list"], &[variable], 80);
        assert!(!text.contains('\u{1b}'), "{option} {variable:?} {text:?}");
    }
    let piped = |arguments: &[&str], variables: &[(&str, &str)]| {
        crate::house::Live::start(at(&house, arguments, variables)).end().ends(0).out
    };
    assert!(!piped(&list, &[]).contains('\u{1b}'));
    assert!(is_coloured(&piped(&list, &[("CLICOLOR_FORCE", "1")])));
    assert!(is_coloured(&piped(&["list", "--color", "always"], &[("NO_COLOR", "1")])));
    // programs read JSON, whatever it is shown at
    assert!(!piped(&["list", "--json", "--color", "always"], &[]).contains('\u{1b}'));
}

#[test]
fn errors_begin_with_a_word_that_is_coloured_at_a_terminal() {
    let house = house();
    let (text, code) = AtTerminal::start(at(&house, &["show", "nowhere"], &[]), 80, 24).end();
    assert_eq!(code, 2, "{text:?}");
    assert!(text.contains("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m "), "{text:?}");
    let said = house.ask(&["show", "nowhere"]).ends(2);
    assert!(said.err.starts_with("error: "), "{said:?}");
    // and those of the command line itself
    let (text, code) = AtTerminal::start(at(&house, &["show", "--color", "never"], &[]), 80, 24).end();
    assert_eq!(code, 2);
    assert!(text.starts_with("error: "), "{text:?}");
    let (text, _) = AtTerminal::start(at(&house, &["show"], &[]), 80, 24).end();
    assert!(text.starts_with('\u{1b}'), "{text:?}");
}
