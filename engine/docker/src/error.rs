//! What can go wrong with the engine, and what to do about it.
//!
//! Every variant says what and where. Texts from the engine are bounded and cleaned before they get here; the library's own
//! errors are told apart here and nowhere else.

use std::{error::Error, io};

use crate::Endpoint;

/// Characters kept of a text that the engine sent.
const MESSAGE_MAX: usize = 400;
/// How deep a chain of causes is followed.
const CAUSES_MAX: usize = 16;

/// Why the engine did not do it. Unless a variant says otherwise, nothing changed there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers at the socket, or the conversation broke off; then the request may have been carried out.
    #[error("Docker is not accessible at {endpoint}: {reason}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What the system says.
        reason: String,
    },
    /// The socket is there and this user may not open it.
    #[error("Docker is not accessible at {endpoint}: this user has no permission")]
    PermissionDenied {
        /// Where.
        endpoint: String,
    },
    /// The engine does not have the image.
    #[error("the engine has no image {image}")]
    ImageMissing {
        /// As it was asked for.
        image: String,
    },
    /// The image could not be fetched.
    #[error("image {image} cannot be pulled: {reason}")]
    PullFailed {
        /// As it was asked for.
        image: String,
        /// What the engine or the registry says.
        reason: String,
    },
    /// Something else has the name.
    #[error("the name {name} is taken")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The engine's disk is full.
    #[error("no space is left for {what} on the engine's disk")]
    NoSpace {
        /// What needed it.
        what: String,
    },
    /// It is not there.
    #[error("the engine has no {what}")]
    NoSuch {
        /// Kind and name.
        what: String,
    },
    /// The state of something is in the way: in use, being removed, not running.
    #[error("the engine refuses as things are: {message}")]
    Conflict {
        /// What the engine says.
        message: String,
    },
    /// The engine understood and does not take it.
    #[error("the engine does not take this: {message}")]
    BadRequest {
        /// What the engine says, or what is wrong with the request.
        message: String,
    },
    /// It did not answer in time; the request may yet be carried out.
    #[error("the engine did not answer in time: {what}")]
    TimedOut {
        /// What was asked about.
        what: String,
    },
    /// The answer is not of the engine's interface.
    #[error("the engine's answer about {what} cannot be read: {reason}")]
    Garbled {
        /// What was asked about.
        what: String,
        /// Where it departs.
        reason: String,
    },
    /// The engine failed; what was asked for may be done in part.
    #[error("the engine failed ({status}): {message}")]
    Failed {
        /// Status of its answer; 0 when it failed after a good one.
        status: u16,
        /// What it says.
        message: String,
    },
}

impl EngineError {
    /// What to do about it, as a sentence without a full stop.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreachable { .. } => "check that Docker is running: docker version".to_owned(),
            Self::PermissionDenied { .. } => {
                "check Docker permissions: sudo usermod -aG docker $USER, then log in again".to_owned()
            }
            Self::ImageMissing { image } => {
                format!("check that the image exists: docker images; pull it: docker pull {image}")
            }
            Self::PullFailed { image, .. } => {
                format!("check the name, the network and the registry's credentials: docker pull {image}")
            }
            Self::NameTaken { name } => {
                format!("take another name, or remove what has it: docker ps --all --filter name={name}")
            }
            Self::NoSpace { .. } => "free space: docker system df, then docker system prune".to_owned(),
            Self::NoSuch { .. } => "look at what is there: docker ps --all".to_owned(),
            Self::Conflict { .. } => {
                "wait for what is under way, or stop what uses it: docker ps --all".to_owned()
            }
            Self::BadRequest { .. } => "correct what was asked for; the same request fails again".to_owned(),
            Self::TimedOut { .. } | Self::Garbled { .. } | Self::Failed { .. } => {
                "check the engine: docker info; its log: journalctl --unit docker".to_owned()
            }
        }
    }

    /// A short word that stays the same: for waiting longer after each failure of one reason, and for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::PermissionDenied { .. } => "permission-denied",
            Self::ImageMissing { .. } => "image-missing",
            Self::PullFailed { .. } => "pull-failed",
            Self::NameTaken { .. } => "name-taken",
            Self::NoSpace { .. } => "no-space",
            Self::NoSuch { .. } => "no-such",
            Self::Conflict { .. } => "conflict",
            Self::BadRequest { .. } => "bad-request",
            Self::TimedOut { .. } => "timed-out",
            Self::Garbled { .. } => "garbled",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether the same request may succeed later without anybody changing it.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::PullFailed { .. }
            | Self::NoSpace { .. }
            | Self::Conflict { .. }
            | Self::TimedOut { .. }
            | Self::Failed { .. } => true,
            Self::PermissionDenied { .. }
            | Self::ImageMissing { .. }
            | Self::NameTaken { .. }
            | Self::NoSuch { .. }
            | Self::BadRequest { .. }
            | Self::Garbled { .. } => false,
        }
    }

    /// The same error with each of these texts hidden, should the engine have repeated one.
    pub(crate) fn without<'a>(mut self, secrets: impl Iterator<Item = &'a str>) -> Self {
        if let Self::Conflict { message: text }
        | Self::BadRequest { message: text }
        | Self::Failed { message: text, .. }
        | Self::Garbled { reason: text, .. }
        | Self::PullFailed { reason: text, .. } = &mut self
        {
            for secret in secrets.filter(|secret| !secret.is_empty()) {
                *text = text.replace(secret, "***");
            }
        }
        self
    }
}

/// What a call is about, for the words of its error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Engine,
    Container(String),
    Image(String),
    Network(String),
    Volume(String),
}

impl Subject {
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Engine => "the engine itself".to_owned(),
            Self::Container(name) => format!("container {name}"),
            Self::Image(name) => format!("image {name}"),
            Self::Network(name) => format!("network {name}"),
            Self::Volume(name) => format!("volume {name}"),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Engine => String::new(),
            Self::Container(name) | Self::Image(name) | Self::Network(name) | Self::Volume(name) => {
                name.clone()
            }
        }
    }
}

/// Says an error of the library in our words.
pub(crate) fn told(error: bollard::errors::Error, endpoint: &Endpoint, subject: &Subject) -> EngineError {
    use bollard::errors::Error as Theirs;
    match error {
        Theirs::DockerResponseServerError { status_code, message } => {
            answered(status_code, &message, subject)
        }
        Theirs::DockerStreamError { error } => answered(0, &error, subject),
        Theirs::RequestTimeoutError => EngineError::TimedOut { what: subject.shown() },
        Theirs::SocketNotFoundError(_) => no_socket(endpoint),
        // handed on one by one: the library's own error hides the first cause of some of them
        Theirs::HyperLegacyError { err } => broken(&err, endpoint),
        Theirs::HyperResponseError { err } => broken(&err, endpoint),
        Theirs::IOError { err } => broken(&err, endpoint),
        other => EngineError::Garbled { what: subject.shown(), reason: clean(&other.to_string()) },
    }
}

/// A missing socket, told from one in a folder that this user may not enter.
fn no_socket(endpoint: &Endpoint) -> EngineError {
    match std::fs::metadata(endpoint.path()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            EngineError::PermissionDenied { endpoint: endpoint.to_string() }
        }
        _ => EngineError::Unreachable {
            endpoint: endpoint.to_string(),
            reason: "there is no socket".to_owned(),
        },
    }
}

/// A connection that was not made, or broke.
fn broken(error: &(dyn Error + 'static), endpoint: &Endpoint) -> EngineError {
    let endpoint = endpoint.to_string();
    let mut reason = clean(&error.to_string());
    let mut cause = Some(error);
    for _ in 0..CAUSES_MAX {
        let Some(at) = cause else { break };
        reason = clean(&at.to_string());
        let kind = at.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::PermissionDenied) {
            return EngineError::PermissionDenied { endpoint };
        }
        cause = at.source();
    }
    EngineError::Unreachable { endpoint, reason }
}

/// What an answer that is no success means.
pub(crate) fn answered(status: u16, message: &str, subject: &Subject) -> EngineError {
    let lower = message.to_ascii_lowercase();
    let message = clean(message);
    if lower.contains("no space left on device") {
        return EngineError::NoSpace { what: subject.shown() };
    }
    match status {
        400 => EngineError::BadRequest { message },
        404 if lower.contains("no such image") => {
            EngineError::ImageMissing { image: missing_image(&message, subject) }
        }
        404 if *subject == Subject::Engine => EngineError::BadRequest { message },
        404 => match subject {
            Subject::Image(name) => EngineError::ImageMissing { image: name.clone() },
            other => EngineError::NoSuch { what: missing(&message).unwrap_or_else(|| other.shown()) },
        },
        409 if is_name_taken(&lower) => EngineError::NameTaken { name: subject.name() },
        // a network in use is answered with 403
        403 | 409 => EngineError::Conflict { message },
        _ => EngineError::Failed { status, message },
    }
}

fn is_name_taken(lower: &str) -> bool {
    lower.contains("name") && (lower.contains("already in use") || lower.contains("already exists"))
}

/// What is missing, where it is something else than what was asked about: a container's network, a file in it.
fn missing(message: &str) -> Option<String> {
    let network = message.strip_suffix(" not found").map(str::to_owned);
    network.or_else(|| message.strip_prefix("Could not find the file ").map(|file| format!("file {file}")))
}

fn missing_image(message: &str, subject: &Subject) -> String {
    match (subject, message.split_once("image: ")) {
        (Subject::Image(name), _) => name.clone(),
        (_, Some((_, named))) => named.trim().to_owned(),
        (other, None) => other.name(),
    }
}

/// One line of bounded length without control characters.
pub(crate) fn clean(text: &str) -> String {
    let mut shown: String = text
        .trim()
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MESSAGE_MAX)
        .collect();
    if text.trim().chars().nth(MESSAGE_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bollard::errors::Error as Theirs;

    use super::*;

    fn container() -> Subject {
        Subject::Container("c1".to_owned())
    }

    #[test]
    fn a_status_with_its_words_becomes_what_it_means() {
        let image = Subject::Image("a:1".to_owned());
        let network = Subject::Network("n1".to_owned());
        let full = "write /var/lib/docker/x: no space left on device";
        let taken = "Conflict. The container name \"/c1\" is already in use by container \"00\". You have to remove it";
        let cases = [
            (404, "No such image: a:1", image.clone(), "image-missing"),
            (404, "manifest unknown", image, "image-missing"),
            (404, "No such image: b:2", container(), "image-missing"),
            (404, "No such container: c1", container(), "no-such"),
            (404, "network n1 not found", network.clone(), "no-such"),
            (404, "page not found", Subject::Engine, "bad-request"),
            (409, taken, container(), "name-taken"),
            (409, "network with name n1 already exists", network.clone(), "name-taken"),
            (409, "removal of container c1 is already in progress", container(), "conflict"),
            (403, "error while removing network: network n1 has active endpoints", network, "conflict"),
            (400, "Minimum memory limit allowed is 6MB", container(), "bad-request"),
            (500, full, container(), "no-space"),
            (0, full, container(), "no-space"),
            (500, "driver failed programming external connectivity", container(), "failed"),
        ];
        for (status, message, subject, kind) in cases {
            assert_eq!(answered(status, message, &subject).kind(), kind, "{status} {message}");
        }
        assert_eq!(
            answered(404, "No such image: b:2", &container()),
            EngineError::ImageMissing { image: "b:2".to_owned() }
        );
        assert_eq!(answered(409, taken, &container()), EngineError::NameTaken { name: "c1".to_owned() });
        let lost = EngineError::NoSuch { what: "network n1".to_owned() };
        assert_eq!(answered(404, "network n1 not found", &container()), lost);
        let file = EngineError::NoSuch { what: "file /x in container c1".to_owned() };
        assert_eq!(answered(404, "Could not find the file /x in container c1", &container()), file);
    }

    #[test]
    fn a_broken_connection_is_told_from_a_closed_door() {
        let endpoint = Endpoint::parse("/nowhere/docker.sock").unwrap();
        let of =
            |kind: io::ErrorKind| told(Theirs::IOError { err: kind.into() }, &endpoint, &Subject::Engine);
        let shown = "unix:///nowhere/docker.sock".to_owned();
        assert_eq!(
            of(io::ErrorKind::PermissionDenied),
            EngineError::PermissionDenied { endpoint: shown.clone() }
        );
        let refused = of(io::ErrorKind::ConnectionRefused);
        assert_eq!(refused.kind(), "unreachable");
        assert!(refused.to_string().contains(&shown), "{refused}");
        assert!(refused.remedy().contains("docker version"));
        let missing = told(Theirs::SocketNotFoundError(String::new()), &endpoint, &Subject::Engine);
        assert_eq!(missing.kind(), "unreachable");
        assert_eq!(told(Theirs::RequestTimeoutError, &endpoint, &container()).kind(), "timed-out");
    }

    #[test]
    fn every_error_has_a_word_of_its_own_and_a_remedy() {
        let text = || "x".to_owned();
        let all = [
            EngineError::Unreachable { endpoint: text(), reason: text() },
            EngineError::PermissionDenied { endpoint: text() },
            EngineError::ImageMissing { image: text() },
            EngineError::PullFailed { image: text(), reason: text() },
            EngineError::NameTaken { name: text() },
            EngineError::NoSpace { what: text() },
            EngineError::NoSuch { what: text() },
            EngineError::Conflict { message: text() },
            EngineError::BadRequest { message: text() },
            EngineError::TimedOut { what: text() },
            EngineError::Garbled { what: text(), reason: text() },
            EngineError::Failed { status: 500, message: text() },
        ];
        let kinds: BTreeSet<&str> = all.iter().map(EngineError::kind).collect();
        assert_eq!(kinds.len(), all.len());
        assert!(all.iter().all(|error| !error.remedy().is_empty() && !error.remedy().ends_with('.')));
        assert!(all[1].remedy().contains("sudo usermod -aG docker $USER"));
        let passing: Vec<&str> =
            all.iter().filter(|error| error.is_passing()).map(EngineError::kind).collect();
        assert_eq!(passing, ["unreachable", "pull-failed", "no-space", "conflict", "timed-out", "failed"]);
    }

    #[test]
    fn what_the_engine_says_is_one_short_line_without_secrets() {
        let shown = clean(&format!("  a\r\n\u{1b}[31mb{}", "ä".repeat(1000)));
        assert!(shown.starts_with("a   [31mb"), "{shown}");
        assert_eq!(shown.chars().count(), MESSAGE_MAX + 1);
        let error = EngineError::Failed { status: 500, message: "bad value s3cret in env".to_owned() };
        let told = error.without(["", "s3cret"].into_iter());
        assert_eq!(told.to_string(), "the engine failed (500): bad value *** in env");
    }
}
