//! Runners as GitHub lists them, and what makes a new one: a configuration for one job, or a token.
//!
//! The configuration and the tokens are secrets. Of what a configuration holds nothing is used here; [`JitConfig::decode`] only
//! says whether it has the shape that is known.
//!
//! Invariant: no `Debug` and no error of this file shows a configuration, a file of it, or a token.

use std::{collections::BTreeMap, fmt};

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer};

use super::{actions::page, open::or_default, open_enum};
use crate::{
    client::{Entry, Page},
    secret::Secret,
};

/// An encoded configuration is a few kilobytes; beyond this it is none, and would not fit into an environment either.
pub const JIT_BYTES_MAX: usize = 64 << 10;
/// The files that every known version of the runner wants.
pub const JIT_FILES: [&str; 3] = [".runner", ".credentials", ".credentials_rsaparams"];
/// Further files that are borne with.
const JIT_FILES_MAX: usize = 16;
const FILE_NAME_BYTES_MAX: usize = 100;

open_enum! {
    /// Whether a runner is there.
    RunnerStatus {
        /// It listens.
        Online = "online",
        /// It does not.
        Offline = "offline",
    }
}

/// A label of a runner.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RunnerLabel {
    /// Its text.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// `read-only` or `custom`.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
}

/// A self-hosted runner.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Runner {
    /// The id.
    pub id: u64,
    /// The name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Its operating system.
    #[serde(default)]
    pub os: Option<String>,
    /// Whether it is there. One that was only configured is `offline` until it calls.
    #[serde(default)]
    pub status: Option<RunnerStatus>,
    /// It has a job.
    #[serde(default, deserialize_with = "or_default")]
    pub busy: bool,
    /// It goes after one job.
    #[serde(default)]
    pub ephemeral: Option<bool>,
    /// The group; 1 is the default one.
    #[serde(default)]
    pub runner_group_id: Option<u64>,
    /// The version of its program, once it has called.
    #[serde(default)]
    pub version: Option<String>,
    /// What it offers.
    #[serde(default, deserialize_with = "or_default")]
    pub labels: Vec<RunnerLabel>,
}

page!(
    /// A page of runners.
    Runners, runners: Runner
);

/// A runner that was made for one job, and what its program needs to be it. GitHub lists it from this moment on, `offline`; one
/// that never gets a job stays until it is deleted.
#[derive(Clone, Debug, Deserialize)]
pub struct JitConfig {
    /// The runner.
    pub runner: Runner,
    /// For the environment of the runner's program; good once.
    #[serde(rename = "encoded_jit_config", deserialize_with = "secret")]
    pub encoded: Secret,
}

impl JitConfig {
    /// The files in it, if it has the known shape: base64 of a JSON object of file names and base64 contents.
    pub fn decode(&self) -> Result<JitFiles, JitShapeError> {
        JitFiles::decode(&self.encoded)
    }
}

/// The files that the runner's program writes beside itself, among them a private key.
#[derive(Clone, PartialEq, Eq)]
pub struct JitFiles(BTreeMap<String, Vec<u8>>);

impl JitFiles {
    /// Takes an encoded configuration apart, as the runner's program does.
    pub fn decode(encoded: &Secret) -> Result<Self, JitShapeError> {
        let encoded = encoded.expose();
        if encoded.len() > JIT_BYTES_MAX {
            return Err(JitShapeError::TooLarge);
        }
        let json = BASE64.decode(encoded.as_bytes()).map_err(|_| JitShapeError::NotBase64)?;
        let named: BTreeMap<String, String> =
            serde_json::from_slice(&json).map_err(|_| JitShapeError::NotObject)?;
        if named.len() > JIT_FILES_MAX {
            return Err(JitShapeError::TooMany(named.len()));
        }
        let mut files = BTreeMap::new();
        for (name, content) in named {
            if !is_file_name(&name) {
                return Err(JitShapeError::Name);
            }
            match BASE64.decode(content.as_bytes()) {
                Ok(content) => files.insert(name, content),
                Err(_) => return Err(JitShapeError::Content(name)),
            };
        }
        match JIT_FILES.into_iter().find(|name| !files.contains_key(*name)) {
            Some(missing) => Err(JitShapeError::Missing(missing)),
            None => Ok(Self(files)),
        }
    }

    /// A file's content.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// The names of all files, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for JitFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Why an encoded configuration is not of the known shape. A newer server may have another one that its runner understands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JitShapeError {
    /// Too long.
    #[error("the runner's configuration is larger than {JIT_BYTES_MAX} bytes")]
    TooLarge,
    /// The outer layer.
    #[error("the runner's configuration is not base64")]
    NotBase64,
    /// The inner layer.
    #[error("the runner's configuration is no JSON object of texts")]
    NotObject,
    /// More files than any runner has.
    #[error("the runner's configuration holds {0} files; at most {JIT_FILES_MAX} are expected")]
    TooMany(usize),
    /// The name of a file would lead elsewhere.
    #[error("the runner's configuration holds a file whose name is none")]
    Name,
    /// The content of a file.
    #[error("the file `{0}` of the runner's configuration is not base64")]
    Content(String),
    /// A file that every known runner wants.
    #[error("the runner's configuration lacks the file `{0}`")]
    Missing(&'static str),
}

/// Printable, and in no other folder than the runner's own.
fn is_file_name(name: &str) -> bool {
    let is_legal = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_legal && (1..=FILE_NAME_BYTES_MAX).contains(&name.len()) && name != "." && name != ".."
}

/// A token by which a runner's program registers or removes itself.
#[derive(Clone, Debug, Deserialize)]
pub struct RunnerToken {
    /// The token. It may be used several times, and for any runner of its repository or organisation.
    #[serde(deserialize_with = "secret")]
    pub token: Secret,
    /// When it ends, RFC 3339: an hour after it was made.
    #[serde(default)]
    pub expires_at: Option<String>,
}

impl RunnerToken {
    /// When it ends, in seconds since 1970.
    pub fn expires_s(&self) -> Option<u64> {
        self.expires_at.as_deref().and_then(crate::dates::rfc3339_s)
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Err(serde::de::Error::custom("an empty secret"));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(files: &[(&str, &str)]) -> Secret {
        let object: BTreeMap<&str, &str> = files.iter().copied().collect();
        Secret::new(BASE64.encode(&serde_json::to_vec(&object).expect("texts")))
    }

    fn all<'a>(key: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut files = vec![(".runner", "e30="), (".credentials", "e30="), (".credentials_rsaparams", key)];
        files.extend(more);
        files
    }

    #[test]
    fn the_known_shape_is_taken_apart_and_never_shown() {
        let key = BASE64.encode(b"private key");
        let config = JitConfig {
            runner: serde_json::from_str(r#"{"id": 99999999999, "name": "a", "status": "offline"}"#)
                .expect("a runner"),
            encoded: encoded(&all(&key, &[(".path", "")])),
        };
        let files = config.decode().expect("the known shape");
        assert_eq!(files.file(".credentials_rsaparams"), Some(b"private key".as_slice()));
        assert_eq!(
            files.names().collect::<Vec<_>>(),
            [".credentials", ".credentials_rsaparams", ".path", ".runner"]
        );
        let shown = format!("{config:?} {files:?}");
        assert!(shown.contains(".runner") && shown.contains("Secret(hidden)"), "{shown}");
        for hidden in [key.as_str(), "private key", config.encoded.expose()] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }

    #[test]
    fn another_shape_is_said_to_be_one() {
        let decode = |text: &str| JitFiles::decode(&Secret::new(text)).map(|_| ());
        assert_eq!(decode(&"A".repeat(JIT_BYTES_MAX + 1)), Err(JitShapeError::TooLarge));
        assert_eq!(decode("not base64"), Err(JitShapeError::NotBase64));
        for json in ["", "{", "[]", r#"{".runner": 1}"#, r#"{".runner": null}"#] {
            assert_eq!(decode(&BASE64.encode(json.as_bytes())), Err(JitShapeError::NotObject), "{json}");
        }
        let of = |files: &[(&str, &str)]| JitFiles::decode(&encoded(files)).map(|_| ());
        assert_eq!(of(&[]), Err(JitShapeError::Missing(".runner")));
        assert_eq!(of(&all("", &[])[..2]), Err(JitShapeError::Missing(".credentials_rsaparams")));
        assert_eq!(of(&all("?", &[])), Err(JitShapeError::Content(".credentials_rsaparams".to_owned())));
        for name in ["", ".", "..", "../x", "a/b", "a\0"] {
            assert_eq!(of(&all("", &[(name, "")])), Err(JitShapeError::Name), "{name}");
        }
        let many: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(of(&many), Err(JitShapeError::TooMany(20)));
    }

    #[test]
    fn a_secret_that_is_empty_or_missing_is_none() {
        let token = |body: &str| serde_json::from_str::<RunnerToken>(body);
        let good = token(r#"{"token": "AAA", "expires_at": "2026-01-02T03:04:05Z"}"#).expect("a token");
        assert_eq!((good.token.expose(), good.expires_s()), ("AAA", Some(1_767_323_045)));
        assert!(!format!("{good:?}").contains("AAA"));
        assert_eq!(token(r#"{"token": "A", "expires_at": null}"#).expect("a token").expires_s(), None);
        assert!(token(r#"{"token": ""}"#).is_err() && token(r#"{"token": null}"#).is_err());
        let runner = r#"{"id": 1}"#;
        let config = |encoded: &str| {
            serde_json::from_str::<JitConfig>(&format!(
                r#"{{"runner": {runner}, "encoded_jit_config": {encoded}}}"#
            ))
        };
        assert!(config(r#""x""#).is_ok() && config("null").is_err() && config(r#""""#).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_configuration_or_none(text in "\\PC{0,80}", json in "\\{\"[.a-z_]{0,12}\":\"[A-Za-z=]{0,12}\"\\}") {
            let _ = JitFiles::decode(&Secret::new(text));
            let inner = JitFiles::decode(&Secret::new(BASE64.encode(json.as_bytes())));
            prop_assert!(inner.is_err(), "it lacks files");
        }
    }
}
