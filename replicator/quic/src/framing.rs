//! Messages on a byte stream: a length (u32, little endian), then that many bytes.
//!
//! Pure: no sockets, no clock. The control stream of a connection begins with [`PREFACE`], written by the dialler so that
//! the stream exists before anybody has something to say; then each direction is a sequence of messages. A message of
//! length zero does not exist.
//!
//! Invariants: the declared length is judged before a byte of the body is kept; memory grows with what arrived, not with
//! what was declared; the reader takes exactly the bytes of one message and not one of the next, so a limit may change
//! between two messages.

/// What the dialler writes first on the control stream.
pub const PREFACE: [u8; 4] = *b"wfe1";

/// Bytes of the length in front of each message.
pub const HEADER_BYTES: usize = 4;

/// A body grows in steps of this size while it arrives.
const GROWTH_BYTES: usize = 64 << 10;

/// Why a byte stream is not a sequence of messages. The stream cannot be read any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The length in front of a message is above the limit that holds at this moment.
    #[error("a message of {declared} bytes was announced, the limit here is {limit}")]
    Oversize {
        /// The announced length.
        declared: usize,
        /// The limit in force.
        limit: usize,
    },
    /// A length of zero.
    #[error("a message of no bytes was announced")]
    Empty,
    /// The stream ended inside a message.
    #[error("the stream ended after {got} of {expected} bytes of a message")]
    Truncated {
        /// Bytes of the message (or of its length) that arrived.
        got: usize,
        /// Bytes that should have arrived.
        expected: usize,
    },
    /// The control stream does not begin as it must.
    #[error("the control stream begins with {found:02x?}, expected {PREFACE:02x?} (`wfe1`)")]
    Preface {
        /// The first four bytes.
        found: [u8; 4],
    },
}

/// The length to write in front of a message.
///
/// # Errors
/// [`FramingError::Empty`] and [`FramingError::Oversize`]: the other end would close the connection.
pub fn header(message: &[u8], limit: usize) -> Result<[u8; HEADER_BYTES], FramingError> {
    if message.is_empty() {
        return Err(FramingError::Empty);
    }
    let oversize = FramingError::Oversize { declared: message.len(), limit };
    match u32::try_from(message.len()) {
        Ok(length) if message.len() <= limit => Ok(length.to_le_bytes()),
        Ok(_) | Err(_) => Err(oversize),
    }
}

/// Reads messages from pieces of a stream, however it was cut.
///
/// Give the bytes of the stream to [`space`](Self::space) and say with [`advance`](Self::advance) how many came. The
/// state survives between the two, so a caller may be cancelled at any await.
#[derive(Debug, Default)]
pub struct MessageReader {
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    /// Allocated so far; its first `body_filled` bytes have arrived.
    body: Vec<u8>,
    body_filled: usize,
    /// Zero while the header is incomplete.
    body_declared: usize,
}

impl MessageReader {
    /// Where the next bytes of the stream belong. Never empty, never beyond the current message.
    pub fn space(&mut self) -> &mut [u8] {
        if self.body_declared == 0 {
            return &mut self.header[self.header_filled..];
        }
        if self.body_filled == self.body.len() {
            self.body.resize(self.body_declared.min(self.body_filled + GROWTH_BYTES), 0);
        }
        &mut self.body[self.body_filled..]
    }

    /// Takes note of `count` bytes written into [`space`](Self::space); a message when that completed one.
    ///
    /// # Errors
    /// [`FramingError::Oversize`] and [`FramingError::Empty`] when a header is complete.
    pub fn advance(&mut self, count: usize, limit: usize) -> Result<Option<Vec<u8>>, FramingError> {
        if self.body_declared == 0 {
            self.header_filled = (self.header_filled + count).min(HEADER_BYTES);
            if self.header_filled == HEADER_BYTES {
                self.body_declared = declared_length(self.header, limit)?;
            }
            return Ok(None);
        }
        self.body_filled = (self.body_filled + count).min(self.body.len());
        if self.body_filled < self.body_declared {
            return Ok(None);
        }
        let message = std::mem::take(&mut self.body);
        *self = Self::default();
        Ok(Some(message))
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// [`FramingError::Truncated`] unless it ended between two messages.
    pub fn finish(&self) -> Result<(), FramingError> {
        match (self.header_filled, self.body_declared) {
            (0, _) => Ok(()),
            (got, 0) => Err(FramingError::Truncated { got, expected: HEADER_BYTES }),
            (_, expected) => Err(FramingError::Truncated { got: self.body_filled, expected }),
        }
    }
}

fn declared_length(header: [u8; HEADER_BYTES], limit: usize) -> Result<usize, FramingError> {
    let declared = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    match declared {
        0 => Err(FramingError::Empty),
        declared if declared > limit => Err(FramingError::Oversize { declared, limit }),
        declared => Ok(declared),
    }
}

/// Splits a whole stream (without its preface) into messages; the entry point for fuzzing.
///
/// # Errors
/// [`FramingError`] at the first byte that does not fit.
pub fn split(mut stream: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, FramingError> {
    let (mut reader, mut messages) = (MessageReader::default(), Vec::new());
    while !stream.is_empty() {
        let space = reader.space();
        let count = space.len().min(stream.len());
        space[..count].copy_from_slice(&stream[..count]);
        stream = &stream[count..];
        messages.extend(reader.advance(count, limit)?);
    }
    reader.finish()?;
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream_of(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for message in messages {
            stream.extend_from_slice(&header(message, 1 << 20).unwrap());
            stream.extend_from_slice(message);
        }
        stream
    }

    #[test]
    fn messages_of_every_awkward_size_come_out_as_they_went_in() {
        let sizes = [1, 3, 4, 5, GROWTH_BYTES - 1, GROWTH_BYTES, GROWTH_BYTES + 1, 1 << 20];
        let messages: Vec<Vec<u8>> = sizes.iter().map(|&size| (0..size).map(|i| i as u8).collect()).collect();
        assert_eq!(split(&stream_of(&messages), 1 << 20).unwrap(), messages);
    }

    #[test]
    fn a_stream_cut_into_single_bytes_gives_the_same_messages() {
        let messages = vec![b"one".to_vec(), vec![0; 300], b"three".to_vec()];
        let (mut reader, mut found) = (MessageReader::default(), Vec::new());
        for byte in stream_of(&messages) {
            reader.space()[0] = byte;
            found.extend(reader.advance(1, 300).unwrap());
        }
        assert_eq!(found, messages);
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn an_oversize_length_is_refused_before_any_body_is_kept() {
        let mut reader = MessageReader::default();
        reader.space().copy_from_slice(&4097u32.to_le_bytes());
        assert_eq!(reader.advance(4, 4096), Err(FramingError::Oversize { declared: 4097, limit: 4096 }));
        assert_eq!(reader.body.capacity(), 0);
    }

    #[test]
    fn memory_follows_what_arrived_and_not_what_was_announced() {
        let mut reader = MessageReader::default();
        reader.space().copy_from_slice(&(1u32 << 20).to_le_bytes());
        assert_eq!(reader.advance(4, 1 << 20), Ok(None));
        assert_eq!(reader.space().len(), GROWTH_BYTES);
    }

    #[test]
    fn the_limit_may_rise_between_two_messages() {
        let mut reader = MessageReader::default();
        reader.space().copy_from_slice(&1u32.to_le_bytes());
        reader.advance(4, 1).unwrap();
        assert_eq!(reader.space().len(), 1);
        assert_eq!(reader.advance(1, 1).unwrap().unwrap().len(), 1);
        reader.space().copy_from_slice(&9u32.to_le_bytes());
        assert_eq!(reader.advance(4, 9), Ok(None));
    }

    #[test]
    fn a_length_of_zero_is_refused_both_ways() {
        assert_eq!(split(&[0, 0, 0, 0], 10), Err(FramingError::Empty));
        assert_eq!(header(&[], 10), Err(FramingError::Empty));
    }

    #[test]
    fn an_end_inside_a_message_says_how_far_it_came() {
        assert_eq!(split(&[5, 0], 10), Err(FramingError::Truncated { got: 2, expected: 4 }));
        assert_eq!(split(&[5, 0, 0, 0], 10), Err(FramingError::Truncated { got: 0, expected: 5 }));
        assert_eq!(split(&[5, 0, 0, 0, 1, 2], 10), Err(FramingError::Truncated { got: 2, expected: 5 }));
    }
}
