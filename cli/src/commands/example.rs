//! `example`: bundled workflows that run offline.

use std::path::Path;

use wfengine_api::{Exit, Failure};

use super::Globals;
use crate::args::ExampleArgs;
use crate::documents::{ExampleDocument, WrittenDocument};
use crate::terminal::{self, Column};

/// Name, what it shows, text.
const EXAMPLES: [(&str, &str, &str); 4] = [
    ("hello", "two jobs and an output", include_str!("../../examples/hello.yml")),
    ("scrape", "a matrix; tags: p2p-eligible, web-scraping", include_str!("../../examples/scrape.yml")),
    ("generate", "an input; tags: p2p-only, code-generation", include_str!("../../examples/generate.yml")),
    (
        "process",
        "a matrix made by a job; tags: p2p-eligible, data-processing",
        include_str!("../../examples/process.yml"),
    ),
];

/// File name and text of a bundled example.
pub(super) fn bundled(name: &str) -> Result<(String, String), Failure> {
    let found = EXAMPLES.iter().find(|(known, _, _)| *known == name);
    found.map(|(name, _, text)| (format!("{name}.yml"), (*text).to_owned())).ok_or_else(|| {
        let mut failure = Failure::bad_input(format!("there is no example `{name}`"));
        failure.candidates = EXAMPLES.iter().map(|(name, _, _)| (*name).to_owned()).collect();
        failure
    })
}

pub(super) fn example(globals: &Globals, args: &ExampleArgs) -> Result<Exit, Failure> {
    let written = match (&args.name, &args.all) {
        (Some(name), _) => {
            let (file, text) = bundled(name)?;
            vec![write(Path::new("."), &file, &text)?]
        }
        (None, Some(dir)) => {
            std::fs::create_dir_all(dir).map_err(|error| Failure::io("create", dir, &error))?;
            let texts = EXAMPLES.iter().map(|(name, _, text)| write(dir, &format!("{name}.yml"), text));
            texts.collect::<Result<Vec<_>, _>>()?
        }
        (None, None) => {
            list(globals);
            return Ok(Exit::Success);
        }
    };
    if globals.json {
        terminal::json(&WrittenDocument { written });
        return Ok(Exit::Success);
    }
    for file in &written {
        terminal::line(&format!("wrote {file}"));
    }
    if let Some(file) = written.first() {
        terminal::line(&format!("next: wfengine run {file}"));
    }
    Ok(Exit::Success)
}

fn list(globals: &Globals) {
    if globals.json {
        let all: Vec<_> = EXAMPLES.iter().map(|(name, shows, _)| ExampleDocument { name, shows }).collect();
        terminal::json(&all);
        return;
    }
    let rows: Vec<Vec<String>> =
        EXAMPLES.iter().map(|(name, shows, _)| vec![(*name).to_owned(), (*shows).to_owned()]).collect();
    terminal::table(const { &[Column::whole("EXAMPLE"), Column::yielding("SHOWS", 1, 1)] }, rows);
    terminal::line("next: wfengine example hello");
}

fn write(dir: &Path, file: &str, text: &str) -> Result<String, Failure> {
    use std::io::Write;
    let path = dir.join(file);
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).open(&path);
    let mut target = match opened {
        Ok(target) => target,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
                return Ok(shown(&path));
            }
            return Err(Failure::bad_input(format!(
                "{} is there already and differs: move it away first",
                shown(&path)
            )));
        }
        Err(error) => return Err(Failure::io("write", &path, &error)),
    };
    target.write_all(text.as_bytes()).map_err(|error| Failure::io("write", &path, &error))?;
    Ok(shown(&path))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}
