//! The join line: one word that lets one peer into a cluster.
//!
//! `wf1` and base32 (lower case, no padding) of: the postcard of [`JoinLine`], then the first four bytes of its SHA-256. It
//! carries the invite's private key, so whoever reads it can join; it is used once and expires. Case and white space inside
//! do not matter, so it survives being read aloud or wrapped by a mail program.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use wfengine_storage_format::{ClusterId, InviteKey, PeerId, Signer, invite_statement, sha256};

use crate::limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, LABELS_MAX};
use crate::message::{JoinRequest, List, Text, VERSION_MAX, VERSION_MIN};

/// What every join line of this version begins with.
const PREFIX: &str = "wf1";
const CHECKSUM_BYTES: usize = 4;
/// Characters of a join line, white space included.
const LINE_LEN_MAX: usize = 8 << 10;
const ALLOW_JOBS: u8 = 1;

/// Why a text is no join line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinLineError {
    /// It begins otherwise.
    #[error("a join line begins with `{PREFIX}`; copy the whole line that `invite` printed")]
    Prefix,
    /// It is longer than any join line.
    #[error("{len} characters are too many for a join line (at most {LINE_LEN_MAX})")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// It has characters that no join line has, or too few.
    #[error("the join line is damaged or incomplete; copy it again")]
    Damaged,
    /// It was made by a newer version.
    #[error("the join line was made by a newer version of wfengine; upgrade this one")]
    Newer,
}

/// What a join line says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinLine {
    /// Which cluster.
    pub cluster: ClusterId,
    /// The private seed of the invite's key.
    pub invite_seed: [u8; 32],
    flags: u8,
    /// Where members can be dialled, `host:port`.
    pub addresses: List<Text<ADDRESS_BYTES_MAX>, ADDRESSES_MAX>,
}

impl JoinLine {
    /// A join line for an invite. Addresses beyond the eighth are left out.
    pub fn new(cluster: ClusterId, invite_seed: [u8; 32], allow_jobs: bool, addresses: &[String]) -> Self {
        let addresses = addresses.iter().filter(|address| address.len() <= ADDRESS_BYTES_MAX);
        Self {
            cluster,
            invite_seed,
            flags: if allow_jobs { ALLOW_JOBS } else { 0 },
            addresses: List::truncated(addresses.map(|address| Text::truncated(address))),
        }
    }

    /// Whether the inviter asks the joiner to run the cluster's jobs. The joiner decides.
    pub fn allow_jobs(&self) -> bool {
        self.flags & ALLOW_JOBS != 0
    }

    /// The public half, as the invite in the log names it.
    pub fn invite_key(&self) -> InviteKey {
        InviteKey::of(&Signer::from_seed(&self.invite_seed))
    }

    /// The request with which `joiner` presents the invite.
    pub fn request(&self, joiner: &PeerId, name: &str, system: &[String]) -> JoinRequest {
        let invite = Signer::from_seed(&self.invite_seed);
        JoinRequest {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            cluster: self.cluster,
            invite_key: InviteKey::of(&invite),
            signature: invite.sign(&invite_statement(&self.cluster, joiner)),
            name: Text::truncated(name),
            system: List::<_, LABELS_MAX>::truncated(system.iter().map(|label| Text::truncated(label))),
        }
    }
}

impl fmt::Debug for JoinLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinLine({:?}, {:?})", self.cluster, self.addresses)
    }
}

impl fmt::Display for JoinLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = wfengine_storage_format::to_canonical(self);
        let checksum = sha256(&bytes);
        bytes.extend_from_slice(&checksum[..CHECKSUM_BYTES]);
        write!(f, "{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for JoinLine {
    type Err = JoinLineError;
    fn from_str(text: &str) -> Result<Self, JoinLineError> {
        if text.len() > LINE_LEN_MAX {
            return Err(JoinLineError::TooLong { len: text.len() });
        }
        let word: String =
            text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_uppercase()).collect();
        let digits = word.strip_prefix(&PREFIX.to_ascii_uppercase()).ok_or_else(|| {
            let newer =
                word.strip_prefix("WF").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            if newer { JoinLineError::Newer } else { JoinLineError::Prefix }
        })?;
        let bytes = BASE32_NOPAD.decode(digits.as_bytes()).map_err(|_| JoinLineError::Damaged)?;
        let (bytes, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(JoinLineError::Damaged)?;
        if sha256(bytes)[..CHECKSUM_BYTES] != *checksum {
            return Err(JoinLineError::Damaged);
        }
        wfengine_storage_format::from_canonical("a join line", bytes, LINE_LEN_MAX)
            .map_err(|_| JoinLineError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line() -> JoinLine {
        let addresses = ["10.0.0.7:4207".to_owned(), "[fe80::1]:4207".to_owned()];
        JoinLine::new(ClusterId::from_bytes([3; 32]), [7; 32], true, &addresses)
    }

    #[test]
    fn a_join_line_survives_its_text_however_it_was_wrapped() {
        let text = line().to_string();
        assert!(
            text.starts_with("wf1") && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        );
        assert_eq!(text.parse::<JoinLine>().unwrap(), line());
        let wrapped = format!(" {}\n {} ", &text[..40].to_uppercase(), &text[40..]);
        assert_eq!(wrapped.parse::<JoinLine>().unwrap(), line());
        assert!(line().allow_jobs());
        assert_eq!(line().addresses.len(), 2);
    }

    #[test]
    fn what_is_no_join_line_says_why() {
        let parse = |text: &str| text.parse::<JoinLine>().unwrap_err();
        assert_eq!(parse("hello"), JoinLineError::Prefix);
        assert_eq!(parse("wf2abc"), JoinLineError::Newer);
        assert_eq!(parse("wf1"), JoinLineError::Damaged);
        assert_eq!(parse(&"x".repeat(10_000)), JoinLineError::TooLong { len: 10_000 });
        let text = line().to_string();
        assert_eq!(parse(&text[..text.len() - 1]), JoinLineError::Damaged);
    }

    #[test]
    fn the_secret_is_not_printed_by_accident() {
        assert!(!format!("{:?}", line()).contains("7, 7"));
    }

    #[test]
    fn the_request_is_signed_for_one_joiner_of_one_cluster() {
        let (alice, bob) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let request = line().request(&alice, "laptop", &["linux".to_owned()]);
        assert_eq!(request.invite_key, line().invite_key());
        assert!(request.invite_key.verify(&request.cluster, &alice, &request.signature).is_ok());
        assert!(request.invite_key.verify(&request.cluster, &bob, &request.signature).is_err());
    }

    proptest! {
        #[test]
        fn a_changed_character_is_noticed(at in 3usize..100, letter in 0usize..32) {
            let mut text = line().to_string().into_bytes();
            let before = text[at];
            text[at] = b"abcdefghijklmnopqrstuvwxyz234567"[letter];
            if text[at] != before {
                prop_assert_eq!(String::from_utf8(text).unwrap().parse::<JoinLine>(), Err(JoinLineError::Damaged));
            }
        }

        #[test]
        fn any_text_is_a_join_line_or_an_error(text in ".{0,300}") {
            let _ = text.parse::<JoinLine>();
            let _ = format!("wf1{text}").parse::<JoinLine>();
        }
    }
}
