//! What `config`, `doctor`, `notify` and `metrics` print.

use schemars::JsonSchema;
use serde::Serialize;

use crate::commands::Finding;

/// `config show`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ConfigDocument {
    /// The file that was looked for.
    pub(crate) file: String,
    /// Whether it is there.
    pub(crate) file_exists: bool,
    /// Every key.
    pub(crate) keys: Vec<KeyDocument>,
    /// What is wrong.
    pub(crate) mistakes: Vec<MistakeDocument>,
}

/// One key of the configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeyDocument {
    /// `table.key`.
    pub(crate) key: &'static str,
    /// What holds: a text, a number, true or false, or a list; null where there is none, or where it may be secret.
    pub(crate) value: Option<serde_json::Value>,
    /// The same for people.
    pub(crate) shown: String,
    /// What it counts or is; may be empty.
    pub(crate) unit: &'static str,
    /// What is allowed.
    pub(crate) allowed: String,
    /// What holds where nobody says otherwise.
    pub(crate) default: String,
    /// Who says it, in a word.
    pub(crate) source: &'static str,
    /// The same for people, with the name of the option, variable or file.
    pub(crate) from: String,
    /// The file that says it, if one does.
    pub(crate) file: Option<String>,
    /// The line there, from 1.
    pub(crate) line: Option<usize>,
    /// The variable that can say it.
    pub(crate) variable: String,
    /// The option that can say it, if there is one.
    pub(crate) option: Option<&'static str>,
    /// Its value may hold what opens something.
    pub(crate) secret: bool,
    /// What it does.
    pub(crate) help: &'static str,
}

/// A mistake in the configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MistakeDocument {
    /// The file that it is in; null: in a variable.
    pub(crate) file: Option<String>,
    /// The line there, from 1; null: it is about the file as a whole, or in a variable.
    pub(crate) line: Option<usize>,
    /// The variable that it is in, if one.
    pub(crate) variable: Option<String>,
    /// The key; null: the file itself.
    pub(crate) key: Option<String>,
    /// What was found.
    pub(crate) found: String,
    /// What is allowed.
    pub(crate) allowed: String,
    /// Keys that may have been meant.
    pub(crate) did_you_mean: Vec<String>,
}

/// `config check`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CheckedConfigDocument {
    /// The file that was looked for.
    pub(crate) file: String,
    /// Whether it is there.
    pub(crate) file_exists: bool,
    /// Nothing is wrong.
    pub(crate) ok: bool,
    /// What is wrong.
    pub(crate) mistakes: Vec<MistakeDocument>,
}

/// `doctor`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DoctorDocument {
    /// Nothing failed.
    pub(crate) ok: bool,
    /// How many findings somebody should look at.
    pub(crate) warnings: usize,
    /// How many findings say that something does not work.
    pub(crate) failures: usize,
    /// Everything that was looked at.
    pub(crate) findings: Vec<Finding>,
}

/// `notify test`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NotifiedDocument {
    /// Every way took it.
    pub(crate) ok: bool,
    /// Id of the notification.
    pub(crate) delivery: String,
    /// What came back, by way.
    pub(crate) ways: Vec<WayDocument>,
}

/// One way that a notification took.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WayDocument {
    /// The command or webhook.
    pub(crate) way: String,
    /// It took the notification.
    pub(crate) ok: bool,
    /// Exit status of the command or HTTP status; null: there is none.
    pub(crate) status: Option<i32>,
    /// What came back, for people.
    pub(crate) says: String,
    /// How long it took, in milliseconds.
    pub(crate) took_ms: u64,
}

/// `metrics`: a file for Prometheus.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FileDocument<'a> {
    /// What it may be called.
    pub(crate) file: &'static str,
    /// What is in it.
    pub(crate) content: &'a str,
}
