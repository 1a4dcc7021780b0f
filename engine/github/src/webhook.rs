//! GitHub's own messages: is one genuine, and what does it hint at.
//!
//! A message is a hint and nothing more: it can come late, twice, in the wrong order or never, and what it says is looked up
//! before anything is recorded. So whatever cannot be read is [`Hint::Other`], not an error that someone has to handle.
//!
//! Invariants: the signature is checked over the bytes as they came, before anything of them is parsed, in constant time; the
//! memory of what was seen is bounded.

use std::collections::{BTreeSet, VecDeque};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use crate::{
    models::{Job, RepositoryNamed, WorkflowRun, or_default},
    secret::Secret,
};

/// A body beyond this is not looked at. GitHub sends up to 25 MB; what we listen for is far smaller.
pub const BODY_BYTES_MAX: u64 = 1 << 20;
const ID_BYTES_MAX: usize = 100;

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("no x-hub-signature-256: give the webhook at GitHub the same secret")]
    Missing,
    /// It is not written as `sha256=` and 64 digits.
    #[error("x-hub-signature-256 is not `sha256=` with 64 hexadecimal digits")]
    Malformed,
    /// It was made with another secret or for another body.
    #[error("the signature does not fit the body: the secrets differ, or the message is forged")]
    Wrong,
}

/// Whether the body was signed with the secret. `signature` is the header `x-hub-signature-256`.
pub fn verify(secret: &Secret, body: &[u8], signature: Option<&str>) -> Result<(), SignatureError> {
    let signature = signature.ok_or(SignatureError::Missing)?;
    let digits = signature.strip_prefix("sha256=").ok_or(SignatureError::Malformed)?;
    let theirs = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| SignatureError::Malformed)?;
    if theirs.len() != 32 {
        return Err(SignatureError::Malformed);
    }
    // every length is a good key for this construction
    let mut ours =
        Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).map_err(|_| SignatureError::Wrong)?;
    ours.update(body);
    ours.verify_slice(&theirs).map_err(|_| SignatureError::Wrong)
}

/// The header `x-hub-signature-256` of a body that is signed with the secret: `sha256=` and 64 digits.
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    // every length is a good key for this construction
    let digits = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).map(|mut ours| {
        ours.update(body);
        HEXLOWER.encode(&ours.finalize().into_bytes())
    });
    format!("sha256={}", digits.unwrap_or_default())
}

/// What a message hints at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Something was pushed, or a branch or tag was deleted.
    Push {
        /// `owner/name`.
        repository: String,
        /// `refs/heads/…` or `refs/tags/…`.
        git_ref: String,
        /// The commit after it; zeros when it was deleted.
        after: String,
        /// The commit before it; zeros when it is new.
        before: String,
        /// The ref is gone.
        is_deleted: bool,
    },
    /// A run began or ended.
    WorkflowRun {
        /// `owner/name`.
        repository: String,
        /// `requested`, `in_progress` or `completed`.
        action: String,
        /// The run as it was then.
        run: Box<WorkflowRun>,
    },
    /// A job is queued, runs, or ended.
    WorkflowJob {
        /// `owner/name`.
        repository: String,
        /// `queued`, `waiting`, `in_progress` or `completed`.
        action: String,
        /// The job as it was then.
        job: Box<Job>,
    },
    /// The webhook was set up.
    Ping,
    /// Anything else, or something that could not be read.
    Other {
        /// The kind of message.
        event: String,
        /// `owner/name`, if it is about one.
        repository: Option<String>,
    },
}

/// A message that has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its id, the same when GitHub sends it again.
    pub id: String,
    /// What it hints at.
    pub hint: Hint,
}

/// Why something is no message of GitHub's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// A header is missing or is not what GitHub writes.
    #[error("no {0}, or not as GitHub writes it")]
    Header(&'static str),
    /// The body is too long.
    #[error("the body is larger than 1 MiB")]
    TooLarge,
    /// The body is not JSON.
    #[error("the body is not JSON: set the content type of the webhook to application/json")]
    NotJson,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default, deserialize_with = "or_default")]
    action: String,
    #[serde(default)]
    repository: Option<RepositoryNamed>,
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    git_ref: String,
    after: String,
    before: String,
    #[serde(default, deserialize_with = "or_default")]
    deleted: bool,
}

#[derive(Deserialize)]
struct Run {
    workflow_run: WorkflowRun,
}

#[derive(Deserialize)]
struct OfJob {
    workflow_job: Job,
}

impl Delivery {
    /// Reads a message whose signature was verified: headers `x-github-event` and `x-github-delivery`, and the body.
    pub fn parse(event: Option<&str>, id: Option<&str>, body: &[u8]) -> Result<Self, DeliveryError> {
        let event =
            event.filter(|event| is_short_word(event)).ok_or(DeliveryError::Header("x-github-event"))?;
        let id = id.filter(|id| is_short_word(id)).ok_or(DeliveryError::Header("x-github-delivery"))?;
        if body.len() as u64 > BODY_BYTES_MAX {
            return Err(DeliveryError::TooLarge);
        }
        serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(|_| DeliveryError::NotJson)?;
        let payload: Option<Payload> = serde_json::from_slice(body).ok();
        let repository = payload
            .as_ref()
            .and_then(|payload| payload.repository.as_ref())
            .map(|named| named.full_name.clone());
        let action = payload.map(|payload| payload.action).unwrap_or_default();
        let hint = repository.clone().and_then(|repository| hint(event, repository, action, body));
        let hint = match (event, hint) {
            ("ping", _) => Hint::Ping,
            (_, Some(hint)) => hint,
            (_, None) => Hint::Other { event: event.to_owned(), repository },
        };
        Ok(Self { id: id.to_owned(), hint })
    }
}

fn hint(event: &str, repository: String, action: String, body: &[u8]) -> Option<Hint> {
    match event {
        "push" => {
            let Push { git_ref, after, before, deleted } = serde_json::from_slice(body).ok()?;
            Some(Hint::Push { repository, git_ref, after, before, is_deleted: deleted })
        }
        "workflow_run" => {
            let Run { workflow_run } = serde_json::from_slice(body).ok()?;
            Some(Hint::WorkflowRun { repository, action, run: Box::new(workflow_run) })
        }
        "workflow_job" => {
            let OfJob { workflow_job } = serde_json::from_slice(body).ok()?;
            Some(Hint::WorkflowJob { repository, action, job: Box::new(workflow_job) })
        }
        _ => None,
    }
}

fn is_short_word(text: &str) -> bool {
    let is_legal = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    is_legal && (1..=ID_BYTES_MAX).contains(&text.len())
}

/// The ids of the last messages, so that one that is sent again is known.
#[derive(Debug)]
pub struct SeenDeliveries {
    most: usize,
    ids: BTreeSet<String>,
    in_order: VecDeque<String>,
}

impl SeenDeliveries {
    /// Remembers this many; the oldest is forgotten first.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), ids: BTreeSet::new(), in_order: VecDeque::new() }
    }

    /// Whether it is the first of its id, which is known from then on.
    pub fn is_first(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.in_order.push_back(id.to_owned());
        if self.in_order.len() > self.most
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    /// It came to nothing: when it is sent again, it counts as new.
    pub fn forget(&mut self, id: &str) {
        if self.ids.remove(id) {
            self.in_order.retain(|known| known != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation.
    const SIGNED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn what_is_signed_here_is_believed_with_the_same_secret_alone() {
        let secret = Secret::new("It's a Secret to Everybody");
        let signature = sign(&secret, b"Hello, World!");
        // the example of GitHub's documentation
        assert_eq!(signature, "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
        assert_eq!(verify(&secret, b"Hello, World!", Some(&signature)), Ok(()));
        assert_eq!(
            verify(&Secret::new("other"), b"Hello, World!", Some(&signature)),
            Err(SignatureError::Wrong)
        );
    }

    #[test]
    fn only_the_right_secret_over_the_right_bytes_is_believed() {
        let secret = Secret::new("It's a Secret to Everybody");
        let check = |body: &[u8], signature| verify(&secret, body, signature);
        assert_eq!(check(b"Hello, World!", Some(SIGNED)), Ok(()));
        assert_eq!(check(b"Hello, World?", Some(SIGNED)), Err(SignatureError::Wrong));
        assert_eq!(check(b"Hello, World!", None), Err(SignatureError::Missing));
        for malformed in ["", "sha1=757107ea", "sha256=", "sha256=zz", &SIGNED[..70]] {
            assert_eq!(
                check(b"Hello, World!", Some(malformed)),
                Err(SignatureError::Malformed),
                "{malformed}"
            );
        }
        assert_eq!(verify(&Secret::new(""), b"Hello, World!", Some(SIGNED)), Err(SignatureError::Wrong));
    }

    #[test]
    fn a_push_says_where() {
        let body =
            br#"{"ref":"refs/heads/main","before":"0","after":"1","repository":{"id":1,"full_name":"a/b"}}"#;
        let delivery = Delivery::parse(Some("push"), Some("id-1"), body).expect("a message");
        assert_eq!(
            delivery.hint,
            Hint::Push {
                repository: "a/b".to_owned(),
                git_ref: "refs/heads/main".to_owned(),
                after: "1".to_owned(),
                before: "0".to_owned(),
                is_deleted: false,
            }
        );
    }

    #[test]
    fn what_cannot_be_read_is_some_other_hint() {
        let other = |event: &str, body: &str| {
            Delivery::parse(Some(event), Some("1"), body.as_bytes()).map(|d| d.hint)
        };
        let named = |event: &str, repository: Option<&str>| {
            Ok(Hint::Other { event: event.to_owned(), repository: repository.map(str::to_owned) })
        };
        assert_eq!(other("star", r#"{"repository":{"full_name":"a/b"}}"#), named("star", Some("a/b")));
        assert_eq!(other("push", r#"{"repository":{"full_name":"a/b"}}"#), named("push", Some("a/b")));
        assert_eq!(other("push", "[]"), named("push", None));
        assert_eq!(other("push", "payload=%7B%7D"), Err(DeliveryError::NotJson));
        assert_eq!(Delivery::parse(None, Some("1"), b"{}"), Err(DeliveryError::Header("x-github-event")));
        assert_eq!(
            Delivery::parse(Some("push"), Some("a b"), b"{}"),
            Err(DeliveryError::Header("x-github-delivery"))
        );
    }

    #[test]
    fn a_message_is_new_once_and_memory_ends() {
        let mut seen = SeenDeliveries::new(2);
        assert!(seen.is_first("a") && seen.is_first("b") && !seen.is_first("a"));
        assert!(seen.is_first("c") && seen.is_first("a"), "the oldest was forgotten");
        assert_eq!((seen.ids.len(), seen.in_order.len()), (2, 2));
    }
}
