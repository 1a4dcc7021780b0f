//! What an expression can see: named contexts, the status so far, and a way to hash files.
//!
//! `secrets` is always there and empty unless the caller sets it: a workflow that names a secret must not fail to evaluate.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Object, Value};

/// Hashes the files of a workspace for `hashFiles`. The caller supplies it; this crate does no IO.
pub trait HashFiles: fmt::Debug + Send + Sync {
    /// The hex SHA-256 over all files that match the patterns, empty when none does; or why it could not be computed.
    fn hash_files(&self, patterns: &[String]) -> Result<String, String>;
}

/// What the status functions answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// `success()`
    pub success: bool,
    /// `failure()`
    pub failure: bool,
    /// `cancelled()`
    pub cancelled: bool,
}

impl Status {
    /// Everything before went well.
    pub const SUCCESS: Status = Status { success: true, failure: false, cancelled: false };
    /// Something before failed.
    pub const FAILURE: Status = Status { success: false, failure: true, cancelled: false };
    /// The job is being cancelled.
    pub const CANCELLED: Status = Status { success: false, failure: false, cancelled: true };
    /// Something before was skipped: neither a success nor a failure.
    pub const SKIPPED: Status = Status { success: false, failure: false, cancelled: false };
}

/// The contexts an expression is evaluated against. Names are found without regard to case.
#[derive(Debug, Clone)]
pub struct Contexts {
    values: BTreeMap<String, Value>,
    status: Status,
    hash_files: Option<Arc<dyn HashFiles>>,
}

impl Default for Contexts {
    fn default() -> Self {
        Contexts { values: BTreeMap::new(), status: Status::SUCCESS, hash_files: None }
    }
}

impl Contexts {
    /// No contexts at all, status success.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets or replaces a whole context (`runner`, `job`, …).
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_ascii_lowercase(), value.into());
    }

    /// Sets one field of a context, creating the context if need be: `set_field("github", "workspace", path)`.
    pub fn set_field(&mut self, name: &str, field: &str, value: impl Into<Value>) {
        let mut object = match self.values.get(&name.to_ascii_lowercase()) {
            Some(Value::Object(object)) => Object::clone(object),
            _ => Object::new(),
        };
        object.insert(field, value);
        self.set(name, object);
    }

    /// The context of that name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(&name.to_ascii_lowercase())
    }

    /// The status the next condition sees.
    pub fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// What the status functions answer.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Makes `hashFiles` work.
    pub fn set_hash_files(&mut self, hash_files: Arc<dyn HashFiles>) {
        self.hash_files = Some(hash_files);
    }

    pub(crate) fn hash_files(&self) -> Option<&dyn HashFiles> {
        self.hash_files.as_deref()
    }

    /// The `env` context as plain pairs, in order.
    pub fn env(&self) -> Vec<(String, String)> {
        match self.value("env") {
            Some(Value::Object(env)) => {
                env.iter().map(|(name, value)| (name.to_owned(), value.to_text())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Replaces the `env` context; names differ by case.
    pub fn set_env<K: Into<String>, V: Into<Value>>(&mut self, pairs: impl IntoIterator<Item = (K, V)>) {
        let mut env = Object::case_sensitive();
        for (name, value) in pairs {
            env.insert(name, value);
        }
        self.set("env", env);
    }
}
