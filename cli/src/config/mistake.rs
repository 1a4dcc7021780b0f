//! A mistake in what a node was told: where, which key, what was found, what is allowed.

use std::fmt;
use std::path::PathBuf;

use crate::documents::MistakeDocument;

/// Where something was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In a file, perhaps in a line of it.
    File(PathBuf, Option<usize>),
    /// In a variable of the environment.
    Variable(String),
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mistake {
    /// Where.
    pub(crate) place: Place,
    /// Which key; empty: the file itself.
    pub(crate) key: String,
    /// What was found.
    pub(crate) found: String,
    /// What is allowed.
    pub(crate) allowed: String,
    /// Keys that may have been meant.
    pub(crate) near: Vec<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "found {}; allowed: {}", self.found, self.allowed)?;
        if !self.near.is_empty() {
            write!(f, "; did you mean {}?", self.near.join(" or "))?;
        }
        Ok(())
    }
}

impl Mistake {
    /// The line, from 1; 0 for the whole file and for what is in none.
    pub(crate) fn line(&self) -> usize {
        match self.place {
            Place::File(_, line) => line.unwrap_or(0),
            Place::Variable(_) => 0,
        }
    }

    /// For programs.
    pub(crate) fn document(&self) -> MistakeDocument {
        let (file, line, variable) = match &self.place {
            Place::File(path, line) => (Some(path.display().to_string()), *line, None),
            Place::Variable(name) => (None, None, Some(name.clone())),
        };
        MistakeDocument {
            file,
            line,
            variable,
            key: Some(self.key.clone()).filter(|key| !key.is_empty()),
            found: self.found.clone(),
            allowed: self.allowed.clone(),
            did_you_mean: self.near.clone(),
        }
    }
}
