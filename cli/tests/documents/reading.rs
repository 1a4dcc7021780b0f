//! Command lines of a document: the blocks for a shell, with what goes on in the next line put together.

/// Words after the fence of blocks that somebody types.
const SHELLS: [&str; 2] = ["sh", "bash"];
/// Words after the fence of blocks that nobody types.
const OTHERS: [&str; 6] = ["json", "yaml", "toml", "python", "javascript", "text"];
/// What a line begins with that is a command, wherever it stands.
const PROGRAMS: [&str; 5] = ["wfengine ", "cargo ", "curl ", "npm ", "$ "];

/// The lines that somebody types who reads a document, as they stand there.
///
/// # Errors
/// A block that may hold commands and is not marked so, or does not end.
pub(crate) fn commands(text: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut block: Option<&str> = None;
    let mut begun = String::new();
    for line in text.lines().map(str::trim) {
        match (block, line.strip_prefix("```")) {
            (None, Some(word)) => {
                if !word.is_empty() && !SHELLS.contains(&word) && !OTHERS.contains(&word) {
                    return Err(format!("a block of `{word}`: nobody knows whether it holds commands"));
                }
                block = Some(word);
            }
            (Some(_), Some("")) => {
                if !begun.is_empty() {
                    return Err(format!("`{begun}` goes on beyond its block"));
                }
                block = None;
            }
            (Some(word), _) if SHELLS.contains(&word) => match line.strip_suffix('\\') {
                Some(part) => begun.push_str(&format!("{} ", part.trim())),
                None if begun.is_empty() && (line.is_empty() || line.starts_with('#')) => {}
                None => found.push(std::mem::take(&mut begun) + line),
            },
            (Some(""), _) if PROGRAMS.iter().any(|program| line.starts_with(program)) => {
                return Err(format!("`{line}` stands in a block that is not marked as one for a shell"));
            }
            _ => {}
        }
    }
    if block.is_some() { Err("a block does not end".to_owned()) } else { Ok(found) }
}

/// A line without the remark behind it.
pub(crate) fn without_remark(line: &str) -> &str {
    line.split_once("  #").map_or(line, |(line, _)| line).trim_end()
}

#[test]
fn lines_are_found_as_they_are_typed() {
    let text = "x\n```sh\n# why\na b \\\n  --c \"d  e\" \\\n  f    # g\n\nh\n```\n   ```bash\n   i # j\n   ```\n```python\nk\n```\n```\nl\n```\n";
    let found = commands(text).unwrap();
    assert_eq!(found, ["a b --c \"d  e\" f    # g", "h", "i # j"]);
    assert_eq!(without_remark(&found[0]), "a b --c \"d  e\" f");
    assert_eq!(without_remark("a 'b#c' #d"), "a 'b#c' #d");
}

#[test]
fn blocks_that_may_hold_commands_are_marked_so() {
    for (text, wrong) in [
        ("```\nwfengine list\n```\n", "`wfengine list`"),
        ("```shell\na\n```\n", "`shell`"),
        ("```sh\na \\\n```\n", "goes on"),
        ("```sh\na\n", "does not end"),
    ] {
        let said = commands(text).unwrap_err();
        assert!(said.contains(wrong), "{said}");
    }
}
