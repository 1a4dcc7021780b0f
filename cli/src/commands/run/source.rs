//! A workflow file as a person names it: its text, or what to name instead.
//!
//! Not here: what the text means. Nothing is written, and only folders where workflow files usually lie are looked into.

use std::io::{ErrorKind, Read};
use std::path::Path;

use wfengine_api::Failure;

use crate::commands::example;

/// The largest workflow file.
const BYTES_MAX: u64 = 512 * 1024;
/// Where workflow files usually lie.
const FOLDERS: [&str; 2] = [".github/workflows", ".wfengine/workflows"];
/// Names offered at most.
const OFFERED_MAX: usize = 5;
/// Files of a folder looked at, at most: one with more is no folder of workflows.
const LOOKED_AT_MAX: usize = 2_000;

/// Reads a workflow file, bounded, as UTF-8.
pub(crate) fn read_source(file: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    // a pipe or a device does not say how long it is
    std::fs::File::open(file).and_then(|opened| opened.take(BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(
        |error| match error.kind() {
            ErrorKind::NotFound => missing(file, Path::new("")),
            ErrorKind::IsADirectory => directory(file),
            _ => Failure::io("read", file, &error),
        },
    )?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Failure::bad_input(format!(
            "{} is larger than the 512 KiB that a workflow file may have",
            file.display()
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::bad_input(format!("{} is not UTF-8 at byte {at}: save it as UTF-8", file.display()))
    })
}

/// What to do about a file that is not there; `here` is the current directory.
fn missing(file: &Path, here: &Path) -> Failure {
    let wanted = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let beside = file.parent().unwrap_or(Path::new(""));
    let mut near = Vec::new();
    for folder in [beside].into_iter().chain(FOLDERS.map(Path::new)) {
        let found = workflow_files(&here.join(folder)).into_iter();
        let alike = found.filter(|name| is_alike(&wanted, &stem(name)));
        near.extend(alike.map(|name| folder.join(name).display().to_string()));
    }
    near.sort();
    near.dedup();
    near.truncate(OFFERED_MAX);
    let bundled = example::bundled(&wanted).is_ok();
    let (example, what) = if bundled { (wanted.as_str(), "it") } else { ("hello", "one to try") };
    let mut failure = Failure::bad_input(format!(
        "no such file: {}; `wfengine example {example}` writes {what}, and workflow files usually lie in .github/workflows",
        file.display()
    ));
    failure.candidates = near;
    failure
}

/// What to name where a directory was named.
fn directory(named: &Path) -> Failure {
    let within = [Path::new("")].into_iter().chain(FOLDERS.map(Path::new));
    let files = within.flat_map(|folder| {
        let folder = named.join(folder);
        workflow_files(&folder).into_iter().map(move |name| folder.join(name))
    });
    let offered = files.take(OFFERED_MAX).map(|file| {
        // as one would type it: `.` before a path says nothing
        file.strip_prefix(".").unwrap_or(&file).display().to_string()
    });
    let offered: Vec<String> = offered.collect();
    let what = if offered.is_empty() {
        "there is no .yml file in it; workflow files usually lie in .github/workflows"
    } else {
        "name one file"
    };
    let mut failure =
        Failure::bad_input(format!("{} is a directory, not a workflow file: {what}", named.display()));
    failure.candidates = offered;
    failure
}

/// Names of the YAML files in a folder, sorted; none if it cannot be read.
fn workflow_files(folder: &Path) -> Vec<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .take(LOOKED_AT_MAX)
        .flatten()
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yml") || name.ends_with(".yaml"))
        .collect();
    names.sort();
    names
}

fn stem(name: &str) -> String {
    Path::new(name).file_stem().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Whether one may have been meant by the other: a part of it, or about a third of the letters mistyped at most.
fn is_alike(wanted: &str, there: &str) -> bool {
    let (short, long) = if wanted.len() <= there.len() { (wanted, there) } else { (there, wanted) };
    let is_part = short == long || (short.len() >= 2 && long.contains(short));
    let letters = wanted.chars().count().max(there.chars().count());
    // of two letters none is a mistake: `ci` and `cd` are two things
    is_part || (letters > 2 && mistyped(wanted, there) <= (letters + 1) / 3)
}

/// How many letters to insert, remove or replace to come from one text to the other.
fn mistyped(a: &str, b: &str) -> usize {
    // long names are no typing mistakes of each other, and the cost is the product of the lengths
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(100).collect(), b.chars().take(100).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, letter) in a.iter().enumerate() {
        let mut next = vec![line + 1];
        for (column, other) in b.iter().enumerate() {
            let replaced = row.get(column).copied().unwrap_or_default() + usize::from(letter != other);
            let removed = row.get(column + 1).copied().unwrap_or_default() + 1;
            let inserted = next.last().copied().unwrap_or_default() + 1;
            next.push(replaced.min(removed).min(inserted));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_may_have_been_meant_are_alike() {
        for (wanted, there) in [
            ("build", "build"),
            ("biuld", "build"),
            ("build", "build-and-test"),
            ("ci", "ci"),
            ("tests", "test"),
        ] {
            assert!(is_alike(wanted, there), "{wanted} {there}");
        }
        for (wanted, there) in
            [("missing", "ci"), ("deploy", "build"), ("a", "build"), ("", "ci"), ("ci", "cd")]
        {
            assert!(!is_alike(wanted, there), "{wanted} {there}");
        }
        assert_eq!((mistyped("kitten", "sitting"), mistyped("", "ab"), mistyped("äb", "äb")), (3, 2, 0));
    }
}
