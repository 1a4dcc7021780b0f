//! Help: what somebody reads who has never seen the program.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod house;

use house::House;

/// Help fits the narrowest terminal that people use.
const COLUMNS_MAX: usize = 80;

#[test]
fn the_first_screen_of_help_fits_a_small_terminal() {
    let said = House::new().ask(&["--help"]).ends(0);
    assert!(said.out.lines().count() <= 25, "{}", said.out);
    for line in said.out.lines() {
        assert!(line.chars().count() <= COLUMNS_MAX, "{line}");
    }
}

#[test]
fn a_verb_has_its_own_options_first_and_those_of_every_verb_apart() {
    let house = House::new();
    for verb in [vec!["submit"], vec!["run"], vec!["task"], vec!["task", "submit"], vec!["work"]] {
        let said = house.ask(&[verb.as_slice(), &["--help"]].concat()).ends(0);
        let heading = said.out.find("\nOptions of every verb:\n").unwrap();
        for option in ["--json", "--data-dir"] {
            assert!(said.out.find(option).unwrap() > heading, "{verb:?}: {}", said.out);
        }
    }
}

#[test]
fn submit_and_task_submit_offer_the_same_retries() {
    let house = House::new();
    for verb in [vec!["submit"], vec!["task", "submit"]] {
        let said = house.ask(&[verb.as_slice(), &["--help"]].concat()).ends(0);
        for option in ["--retries <N>", "--backoff <A..B>", "[default: 10s..5m]"] {
            assert!(said.out.contains(option), "{verb:?}: {}", said.out);
        }
    }
}

#[test]
fn the_help_of_task_shows_a_task_from_its_submission_to_its_result() {
    let house = House::new();
    let help = house.ask(&["task", "--help"]).ends(0).out;
    let lines = help.lines().filter_map(|line| line.strip_prefix("  wfengine "));
    let mut commands: Vec<Vec<String>> = Vec::new();
    for line in lines {
        // one word may be quoted, as in a shell
        let (plain, quoted) = line.split_once('\'').unwrap_or((line, ""));
        let mut words: Vec<String> = plain.split_whitespace().map(str::to_owned).collect();
        words.extend(quoted.strip_suffix('\'').map(str::to_owned));
        commands.push(words);
    }
    assert_eq!(commands.len(), 4, "{help}");
    for command in &commands {
        house.ask(command).ends(0);
    }
    assert_eq!(house.ask(commands.last().unwrap()).ends(0).out, "{\"pages\":3}\n");
}
