//! Runs every command line of the documents, and holds the list of them against the documents themselves.
//!
//! The documents are looked for in the folder that `WFENGINE_DOCUMENTS` names; without it the lines of the list are run as they are.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::command;
use crate::house::{House, Live, Said};
use crate::lines::{DOCUMENTS, Wanted};
use crate::requirements::{Requirement, require};

/// A workflow file that the older coordinator would have taken.
const WORKFLOW: &str = "name: P2P-Workflow Data Scraping\n\non:\n  workflow_dispatch:\n    inputs:\n      a:\n        default: \"1\"\n\nlabels:\n  - p2p-workflow\n  - data-collection\n\njobs:\n  scrape:\n    name: Scrape Data\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo scraped\n";

/// The command lines of the blocks for a shell, with lines that go on in the next one put together and comments left out.
fn written_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_inside = false;
    let mut begun = String::new();
    for line in text.lines().map(str::trim) {
        match (is_inside, line) {
            (false, "```bash") => is_inside = true,
            (true, line) if line.starts_with("```") => is_inside = false,
            (true, line) if line.is_empty() || line.starts_with('#') => {}
            (true, line) => match line.strip_suffix('\\') {
                Some(part) => begun.push_str(&format!("{} ", part.trim())),
                None => found.push(std::mem::take(&mut begun) + line),
            },
            (false, _) => {}
        }
    }
    found
}

/// Words as a shell makes them.
pub fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A line without its brackets and what is in them, and, if it has some, one with it.
fn variants(line: &str) -> Vec<String> {
    if !line.contains('[') {
        return vec![line.to_owned()];
    }
    let mut without = String::new();
    let mut depth = 0;
    for c in line.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            c if depth == 0 => without.push(c),
            _ => {}
        }
    }
    vec![without.trim().to_owned(), line.replace(['[', ']'], "")]
}

/// What stands in a line for something of whoever types it.
struct Filling {
    workflow: String,
    peer: String,
}

impl Filling {
    fn word(&self, before: &str, word: &str) -> String {
        let filled = match word {
            "<file>" => "workflow.yml",
            "<id>" | "<workflow_id>" => &self.workflow,
            "<status>" => "cancelled",
            "<peer_id>" => "peer-9",
            "ID" if before == "--peer-id" => &self.peer,
            "ID" => "task-7",
            "WID" => "workflow-7",
            "NAME" => "A name",
            "TAG1" => "p2p-only",
            "TAG2" => "code-generation",
            "N" => "7",
            "STATUS" => "pending",
            "JSON" => r#"{"a": "2"}"#,
            "MSG" => "A message",
            word => word,
        };
        filled.to_owned()
    }

    fn words(&self, line: &str) -> Vec<String> {
        // what a shell does with the output is its own affair
        let line = line.split(" 2>&1").next().unwrap_or(line);
        let words = words(line);
        let before = [String::new()].into_iter().chain(words.iter().cloned());
        words.iter().zip(before).map(|(word, before)| self.word(&before, word)).collect()
    }

    /// Remembers what was submitted last.
    fn learn(&mut self, words: &[String], said: &Said) {
        if words.iter().any(|word| word == "submit")
            && let Some((_, document)) = said.out.split_once('\n')
            && let Ok(document) = serde_json::from_str::<serde_json::Value>(document)
        {
            self.workflow = document["workflow_id"].as_str().unwrap_or_default().to_owned();
        }
    }
}

/// What a door says to a stranger who asks for the protocol.
pub fn answer_of_the_door(line: &str) -> String {
    let address = line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn run(house: &House, line: &str, wanted: Wanted, filling: &mut Filling) {
    if matches!(wanted, Wanted::Another) {
        return;
    }
    for line in variants(line) {
        let words = filling.words(&line);
        let (name, rest) = words.split_first().unwrap();
        let mut live = Live::start(command(house, name, rest));
        match wanted {
            Wanted::Done(shape) => {
                let said = live.end().ends(0);
                shape(rest, &said);
                filling.learn(rest, &said);
            }
            Wanted::Needs(complaints) => {
                let said = live.end().ends(1).complains(complaints);
                assert!(said.out.is_empty(), "{line}: {said:?}");
            }
            Wanted::GoesOn(says) => {
                let printed = live.wait_for(says);
                assert!(answer_of_the_door(&printed).starts_with("HTTP/1.1 401 "), "{line}");
                live.stop().ends(0);
            }
            Wanted::Another => {}
        }
    }
}

#[test]
fn the_list_holds_every_command_line_of_the_documents() {
    let wanted = "the list of command lines against the documents";
    let Some(folder) = require(Requirement::Documents, wanted) else { return };
    for (name, listed) in DOCUMENTS {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let listed: Vec<&str> = listed.iter().map(|(line, _)| *line).collect();
        assert_eq!(written_in(&text), listed, "{name}");
    }
}

#[test]
fn every_command_line_of_the_documents_does_what_they_say() {
    for (document, lines) in DOCUMENTS {
        let house = House::new();
        house.put("workflow.yml", WORKFLOW);
        let peer = house.one(&["peer", "id"])["peer"].as_str().unwrap().to_owned();
        let mut filling = Filling { workflow: String::new(), peer };
        for (line, wanted) in *lines {
            assert!(!line.is_empty(), "{document}");
            run(&house, line, *wanted, &mut filling);
        }
        // nothing that needed what was not there has left anything on
        let status = house.one(&["status"]);
        assert_eq!(status["discovers"], serde_json::json!([]), "{document}: {status}");
        assert_eq!(house.one(&["runner", "status"])["pools"], serde_json::json!([]), "{document}");
    }
}

#[test]
fn lines_are_read_as_a_shell_reads_them() {
    let text = "x\n```bash\n# why\na b \\\n  --c \"d e\" \\\n  f\n\n  g\n```\n   ```bash\n   h\n   ```\n```python\ni\n```\n";
    assert_eq!(written_in(text), [r#"a b --c "d e" f"#, "g", "h"]);
    assert_eq!(words(r#"a --c "d e" f"#), ["a", "--c", "d e", "f"]);
    assert_eq!(variants("a <b> [--c C] [--d]"), ["a <b>", "a <b> --c C --d"]);
}
