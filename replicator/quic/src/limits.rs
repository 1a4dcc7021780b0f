//! Every bound of the transport, with its reason.
//!
//! These bound what one node holds and how long it waits; they are local, not part of the protocol, except the two
//! message limits, which both ends must share. The defaults are meant to be used; tests make them smaller.
//!
//! A connection holds at most `connection_window` received, the same again sent and not yet acknowledged, three send
//! lanes of `lane_bytes`, and two datagram buffers: 14.5 MiB in the worst case, `first_window` and a few KiB before
//! authentication.

/// Bounds of an [`Endpoint`](crate::Endpoint) and its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest message before [`Connection::authenticated`](crate::Connection::authenticated), in bytes: a hello or an
    /// invite fits, little else does. Both ends must use the same value.
    pub first_message_bytes: usize,
    /// Longest message afterwards, in bytes; a frame of 256 KiB in its envelope fits. Both ends must use the same value.
    pub message_bytes: usize,
    /// Bytes waiting in one send lane before `send` answers `Full`. At least `message_bytes`.
    pub lane_bytes: usize,
    /// Messages waiting in one send lane before `send` answers `Full`.
    pub lane_messages: usize,
    /// Blob streams a peer may have open towards this node.
    pub blob_streams: u32,
    /// Flow-control window of one stream, in bytes.
    pub stream_window: u32,
    /// Flow-control window of a whole connection before authentication, in bytes.
    pub first_window: u32,
    /// Flow-control window of a whole connection, and the bytes in flight towards the peer.
    pub connection_window: u32,
    /// Datagrams waiting to be sent, or to be received, in bytes; the oldest are dropped.
    pub datagram_bytes: usize,
    /// Handshakes the endpoint keeps waiting for `accept`.
    pub incoming_waiting: usize,
    /// Bytes kept for one such handshake.
    pub incoming_bytes: u64,
    /// Bytes kept for all of them.
    pub incoming_bytes_total: u64,
    /// Half-open handshakes from which on a caller must first prove that it receives at its address (QUIC Retry).
    pub half_open_before_retry: usize,
    /// Half-open handshakes from which on callers are refused.
    pub half_open: usize,
    /// Inbound connections that have not been authenticated; further ones are refused.
    pub unauthenticated: usize,
    /// Connections with one key, both directions together.
    pub connections_per_peer: usize,
    /// Connections in all.
    pub connections: usize,
    /// How long a dial or an inbound handshake may take, in milliseconds.
    pub handshake_ms: u32,
    /// How long a connection may exist without being authenticated, in milliseconds.
    pub hello_ms: u32,
    /// Silence after which a connection is lost, in milliseconds.
    pub idle_ms: u32,
    /// Silence after which this node sends a sign of life, in milliseconds; well below `idle_ms`.
    pub keep_alive_ms: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_message_bytes: 4 << 10,
            message_bytes: 1 << 20,
            lane_bytes: 2 << 20,
            lane_messages: 1024,
            blob_streams: 32,
            stream_window: 512 << 10,
            first_window: 64 << 10,
            connection_window: 4 << 20,
            datagram_bytes: 256 << 10,
            incoming_waiting: 256,
            incoming_bytes: 64 << 10,
            incoming_bytes_total: 4 << 20,
            half_open_before_retry: 32,
            half_open: 128,
            unauthenticated: 64,
            connections_per_peer: 4,
            connections: 1024,
            handshake_ms: 10_000,
            hello_ms: 10_000,
            // a connection that outlives a cut retransmits ever more rarely: after 10 s a new one is the quicker way back
            idle_ms: 10_000,
            keep_alive_ms: 3_000,
        }
    }
}

impl Limits {
    /// The longest message in one state of a connection.
    pub(crate) fn message_limit(&self, authenticated: bool) -> usize {
        if authenticated { self.message_bytes } else { self.first_message_bytes }
    }

    /// Names the first pair of limits that contradict each other.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        let checks = [
            (self.first_message_bytes >= 1, "first_message_bytes must not be zero"),
            (self.first_message_bytes <= self.message_bytes, "first_message_bytes is above message_bytes"),
            (u32::try_from(self.message_bytes).is_ok(), "message_bytes is above 4 GiB"),
            (self.message_bytes <= self.lane_bytes, "message_bytes is above lane_bytes"),
            (self.lane_messages >= 1, "lane_messages must not be zero"),
            (self.first_window <= self.connection_window, "first_window is above connection_window"),
            (self.keep_alive_ms < self.idle_ms, "keep_alive_ms is not below idle_ms"),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map(|(_, says)| says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_agree_with_each_other() {
        assert_eq!(Limits::default().contradiction(), None);
    }

    #[test]
    fn a_lane_that_cannot_take_one_message_is_named() {
        let limits = Limits { lane_bytes: 1000, ..Limits::default() };
        assert_eq!(limits.contradiction(), Some("message_bytes is above lane_bytes"));
    }

    #[test]
    fn authentication_raises_the_message_limit() {
        let limits = Limits::default();
        assert_eq!((limits.message_limit(false), limits.message_limit(true)), (4096, 1_048_576));
    }
}
