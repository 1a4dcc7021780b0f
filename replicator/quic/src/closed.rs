//! Why a connection ended: the codes two nodes use, and the reason as each end sees it.
//!
//! A reason given by a peer is foreign text: it is cut and made printable before anybody sees it.

/// Longest reason kept or sent, in bytes; it fits one packet.
const REASON_BYTES: usize = 256;

/// A number that says why a connection was closed. Codes below 64 are the transport's, the rest are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u32);

impl CloseCode {
    /// Nothing is wrong; there is nothing more to say.
    pub const DONE: Self = Self(0);
    /// The node is stopping.
    pub const STOPPING: Self = Self(1);
    /// The peer broke the rules of the transport.
    pub const VIOLATION: Self = Self(2);
    /// A limit on connections is reached: in all, per key, or of unauthenticated ones.
    pub const TOO_MANY: Self = Self(3);
    /// The peer was not authenticated in time.
    pub const NO_HELLO: Self = Self(4);
    /// The other end has this node's own key.
    pub const OWN_KEY: Self = Self(5);
    /// The first code the protocol may use for itself.
    pub const FIRST_OF_PROTOCOL: Self = Self(64);
}

/// Why a connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The peer closed it and said why.
    #[error("closed by the peer: {reason} (code {})", code.0)]
    ByPeer {
        /// The peer's code.
        code: CloseCode,
        /// The peer's words, printable and at most 256 characters.
        reason: String,
    },
    /// This node closed it.
    #[error("closed by this node")]
    Here,
    /// Nothing was heard for the idle time.
    #[error("the peer has not been heard for too long")]
    TimedOut,
    /// The peer does not know the connection: it was restarted.
    #[error("the peer has forgotten the connection, it was probably restarted")]
    Reset,
    /// QUIC or TLS failed.
    #[error("the connection failed: {reason}")]
    Failed {
        /// What QUIC says.
        reason: String,
    },
}

impl Closed {
    pub(crate) fn from_quinn(error: &quinn::ConnectionError) -> Self {
        use quinn::ConnectionError as E;
        match error {
            E::ApplicationClosed(close) => Self::ByPeer {
                // our own diallers never send more than 32 bits; a stranger's greater code is still only a number
                code: CloseCode(u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX)),
                reason: printable(&close.reason),
            },
            E::LocallyClosed => Self::Here,
            E::TimedOut => Self::TimedOut,
            E::Reset => Self::Reset,
            E::VersionMismatch | E::TransportError(_) | E::ConnectionClosed(_) | E::CidsExhausted => {
                Self::Failed { reason: printable(error.to_string().as_bytes()) }
            }
        }
    }
}

/// Foreign bytes as text that is safe to log and to show: one line, no control characters, bounded.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(REASON_BYTES)];
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    String::from_utf8_lossy(bytes).chars().map(clean).collect()
}

/// A reason of ours cut to what is sent, at a character boundary.
pub(crate) fn sendable(reason: &str) -> &[u8] {
    &reason.as_bytes()[..reason.floor_char_boundary(REASON_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_loses_control_characters_and_is_cut() {
        assert_eq!(printable(b"no\x1b[2J\nroom"), "no\u{fffd}[2J\u{fffd}room");
        assert!(printable(&[0xff; 10_000]).chars().count() <= REASON_BYTES);
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let reason = "é".repeat(300);
        assert_eq!(std::str::from_utf8(sendable(&reason)).unwrap().len(), REASON_BYTES);
        assert_eq!(sendable("short"), b"short");
    }
}
