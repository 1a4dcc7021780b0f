//! Reads an export piece by piece, whatever happened to it.
//!
//! Invariants: it never holds more than one record and what was pushed last; damage never stops it while a later record can be
//! found; every byte of the file is in an item or named as damaged.

use sha2::{Digest, Sha256};

use super::{
    EXPORT_HEADER_LEN, EXPORT_RECORD_HEAD_LEN, ExportHeader, ExportTrailer, RecordHead, SIGNATURE_LEN,
    VERSION, add_to_digest, digest_of_frames,
};
use crate::codec::{CodecError, from_canonical};
use crate::hash::Hash32;
use crate::limits::EXPORT_TRAILER_BYTES_MAX;
use crate::signature::{Signature, SignatureError};

/// Something in an export that is not as it was written. Offsets are bytes from the beginning of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportDamage {
    /// The file does not begin as an export does. Nothing of it can be read.
    #[error("it does not begin as an export of wfengine does")]
    NotAnExport,
    /// Written by a newer program. Nothing of it can be read.
    #[error("it is an export of version {found}, this program reads version {VERSION}: upgrade wfengine")]
    Version {
        /// As written.
        found: u8,
    },
    /// The header is altered: cluster and scope are unknown. Frames are read on.
    #[error("its header is altered, so it does not say which cluster it is of")]
    Header,
    /// Bytes that are no record where one should begin. Reading goes on at the next record.
    #[error("{len} bytes from byte {offset} on are no record: frame {number} should begin there")]
    Unreadable {
        /// Where they begin.
        offset: u64,
        /// How many.
        len: u64,
        /// The frame that was expected.
        number: u64,
    },
    /// Frames that should stand here are not in the file, or stand elsewhere.
    #[error("{} missing before byte {offset}", match count { 1 => format!("frame {first} is"), _ => format!("frames {first} to {} are", first + count - 1) })]
    Missing {
        /// Where the next frame stands.
        offset: u64,
        /// The first that is missing.
        first: u64,
        /// How many.
        count: u64,
    },
    /// A frame stands after one with a greater or the same number.
    #[error("frame {number} at byte {offset} stands after frame {after}: it was moved or doubled")]
    OutOfOrder {
        /// Where it stands.
        offset: u64,
        /// Which frame.
        number: u64,
        /// The frame before it.
        after: u64,
    },
    /// The file ends inside a frame.
    #[error("the file ends inside frame {number}, which begins at byte {offset}")]
    CutShort {
        /// Where the record begins.
        offset: u64,
        /// Which frame.
        number: u64,
    },
    /// The file ends without a trailer: whoever wrote it was interrupted, or the tail was cut off.
    #[error("the file ends at byte {offset} after {frames} frames without a trailer: its tail is missing")]
    NoTrailer {
        /// Where the file ends.
        offset: u64,
        /// Frames before that.
        frames: u64,
    },
    /// The trailer is not readable: what the file should hold is unknown.
    #[error("the trailer at byte {offset} cannot be read: {reason}")]
    Trailer {
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The trailer is not signed by whom it names, over this header.
    #[error("the trailer at byte {offset} is not proved: {reason}")]
    TrailerSignature {
        /// Where it begins.
        offset: u64,
        /// What is wrong.
        reason: SignatureError,
    },
    /// The file holds another number of frames than were signed.
    #[error("the trailer at byte {offset} tells of {announced} frames, the file holds {held}")]
    Count {
        /// Where the trailer begins.
        offset: u64,
        /// As signed.
        announced: u64,
        /// As read.
        held: u64,
    },
    /// The frames are not those that were signed, or not in their order.
    #[error("the frames before byte {offset} are not the ones whose digest the trailer has")]
    Digest {
        /// Where the trailer begins.
        offset: u64,
    },
    /// Something stands after the trailer.
    #[error("the export ends at byte {offset}, but the file goes on")]
    Trailing {
        /// Where the export ends.
        offset: u64,
    },
}

impl ExportDamage {
    /// Where in the file, in bytes from its beginning.
    pub fn offset(&self) -> u64 {
        match self {
            Self::NotAnExport | Self::Header => 0,
            Self::Version { .. } => 8,
            Self::Unreadable { offset, .. }
            | Self::Missing { offset, .. }
            | Self::OutOfOrder { offset, .. }
            | Self::CutShort { offset, .. }
            | Self::NoTrailer { offset, .. }
            | Self::Trailer { offset, .. }
            | Self::TrailerSignature { offset, .. }
            | Self::Count { offset, .. }
            | Self::Digest { offset }
            | Self::Trailing { offset } => *offset,
        }
    }
    /// The frame it is about, if it is about one.
    pub fn frame(&self) -> Option<u64> {
        match self {
            Self::Unreadable { number, .. }
            | Self::OutOfOrder { number, .. }
            | Self::CutShort { number, .. } => Some(*number),
            Self::Missing { first, .. } => Some(*first),
            _ => None,
        }
    }
}

/// A frame of an export, not looked at yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportedFrame {
    /// Which, from 0.
    pub number: u64,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// Its bytes, at most [`FRAME_BYTES_MAX`](crate::limits::FRAME_BYTES_MAX).
    pub bytes: Vec<u8>,
}

/// What stands in an export, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExportItem {
    /// The beginning. Missing when damaged.
    Header(ExportHeader),
    /// A frame.
    Frame(ExportedFrame),
    /// The end, its signature checked. Whether its author may speak for the cluster is for the log to say.
    Trailer(ExportTrailer),
    /// Something is wrong; reading goes on if it can.
    Damage(ExportDamage),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    Header,
    Records,
    /// Looking for the next record since this offset.
    Lost(u64),
    Trailer {
        frames: u64,
    },
    /// Behind the trailer.
    Behind,
    Done,
}

/// Reads an export as its bytes come. Give bytes with [`push`](Self::push), say [`end`](Self::end) after the last, and take items
/// until there are none.
#[derive(Debug)]
pub struct ExportReader {
    buffer: Vec<u8>,
    taken: usize,
    /// Offset in the file of the first byte that was not taken.
    offset: u64,
    ended: bool,
    reading: Reading,
    header: Option<ExportHeader>,
    digest: Sha256,
    frames: u64,
    next_number: u64,
    found: std::collections::VecDeque<ExportItem>,
}

impl Default for ExportReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ExportReader {
    /// At the beginning of a file.
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            offset: 0,
            ended: false,
            reading: Reading::Header,
            header: None,
            digest: digest_of_frames(),
            frames: 0,
            next_number: 0,
            found: std::collections::VecDeque::new(),
        }
    }

    /// More bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// There are no more bytes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next item. `None` means that more bytes are needed, or, after [`end`](Self::end), that there are no more items.
    pub fn next_item(&mut self) -> Option<ExportItem> {
        loop {
            if let Some(item) = self.found.pop_front() {
                return Some(item);
            }
            if !self.step() {
                return self.found.pop_front();
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    fn take(&mut self, len: usize) {
        self.taken += len;
        self.offset += len as u64;
    }

    fn damage(&mut self, damage: ExportDamage) {
        self.found.push_back(ExportItem::Damage(damage));
    }

    /// Goes on by one piece. Says whether there may be more to do with the bytes at hand.
    fn step(&mut self) -> bool {
        match self.reading {
            Reading::Header => self.read_header(),
            Reading::Records => self.read_record(),
            Reading::Lost(since) => self.find_record(since),
            Reading::Trailer { frames } => self.read_trailer(frames),
            Reading::Behind => {
                if !self.rest().is_empty() {
                    self.damage(ExportDamage::Trailing { offset: self.offset });
                    self.reading = Reading::Done;
                    return true;
                }
                false
            }
            Reading::Done => {
                self.take(self.rest().len());
                false
            }
        }
    }

    fn read_header(&mut self) -> bool {
        let Some(bytes) = self.rest().first_chunk::<EXPORT_HEADER_LEN>() else {
            if self.ended {
                self.damage(ExportDamage::NotAnExport);
                self.reading = Reading::Done;
            }
            return self.ended;
        };
        let header = ExportHeader::read(bytes);
        self.take(EXPORT_HEADER_LEN);
        self.reading = Reading::Records;
        match header {
            Ok(header) => {
                self.header = Some(header);
                self.found.push_back(ExportItem::Header(header));
            }
            Err(damage) => {
                if damage != ExportDamage::Header {
                    self.reading = Reading::Done;
                }
                self.damage(damage);
            }
        }
        true
    }

    fn read_record(&mut self) -> bool {
        let rest = self.rest();
        let Some(bytes) = rest.first_chunk::<EXPORT_RECORD_HEAD_LEN>() else {
            return self.ended && self.end_early();
        };
        let Some(head) = RecordHead::read(bytes) else {
            self.reading = Reading::Lost(self.offset);
            return true;
        };
        if head.len == 0 {
            self.reading = Reading::Trailer { frames: head.number };
            self.take(EXPORT_RECORD_HEAD_LEN);
            return true;
        }
        let Some(frame) = rest.get(EXPORT_RECORD_HEAD_LEN..EXPORT_RECORD_HEAD_LEN + head.frame_len()) else {
            if self.ended {
                self.damage(ExportDamage::CutShort { offset: self.offset, number: head.number });
                // a record may stand inside what was taken for a frame
                self.take(EXPORT_RECORD_HEAD_LEN);
                self.reading = Reading::Lost(self.offset);
            }
            return self.ended;
        };
        let bytes = frame.to_vec();
        self.note_number(head.number);
        add_to_digest(&mut self.digest, &bytes);
        self.frames += 1;
        let offset = self.offset + EXPORT_RECORD_HEAD_LEN as u64;
        self.take(EXPORT_RECORD_HEAD_LEN + bytes.len());
        self.found.push_back(ExportItem::Frame(ExportedFrame { number: head.number, offset, bytes }));
        true
    }

    fn note_number(&mut self, number: u64) {
        let (offset, next) = (self.offset, self.next_number);
        if number < next {
            self.damage(ExportDamage::OutOfOrder { offset, number, after: next - 1 });
            return;
        }
        if number > next {
            self.damage(ExportDamage::Missing { offset, first: next, count: number - next });
        }
        self.next_number = number.saturating_add(1);
    }

    /// The bytes end where a record should begin.
    fn end_early(&mut self) -> bool {
        let len = self.rest().len();
        if len > 0 {
            let (offset, number) = (self.offset, self.next_number);
            self.damage(ExportDamage::Unreadable { offset, len: len as u64, number });
            self.take(len);
        }
        self.damage(ExportDamage::NoTrailer { offset: self.offset, frames: self.frames });
        self.reading = Reading::Done;
        true
    }

    fn find_record(&mut self, since: u64) -> bool {
        let begins = |window: &[u8]| {
            window.first_chunk::<EXPORT_RECORD_HEAD_LEN>().is_some_and(|head| {
                // bytes that cannot be a length cost no hash
                head[3] == 0 && head[2] <= 4 && RecordHead::read(head).is_some()
            })
        };
        let found = self.rest().windows(EXPORT_RECORD_HEAD_LEN).position(begins);
        match found {
            Some(skipped) => {
                self.take(skipped);
                self.reading = Reading::Records;
            }
            None if !self.ended => {
                self.take(self.rest().len().saturating_sub(EXPORT_RECORD_HEAD_LEN - 1));
                return false;
            }
            None => self.take(self.rest().len()),
        }
        let (len, number) = (self.offset - since, self.next_number);
        self.damage(ExportDamage::Unreadable { offset: since, len, number });
        if self.reading != Reading::Records {
            return self.end_early();
        }
        true
    }

    fn read_trailer(&mut self, frames: u64) -> bool {
        let begin = self.offset - EXPORT_RECORD_HEAD_LEN as u64;
        let unreadable = |reason: String| ExportDamage::Trailer { offset: begin, reason };
        let rest = self.rest();
        let len = rest.first_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize);
        if let Some(len) = len.filter(|len| *len > EXPORT_TRAILER_BYTES_MAX) {
            self.damage(unreadable(format!(
                "it announces {len} bytes, at most {EXPORT_TRAILER_BYTES_MAX} are allowed"
            )));
            self.reading = Reading::Done;
            return true;
        }
        let whole = len.and_then(|len| rest.get(4..4 + len + SIGNATURE_LEN));
        let Some(whole) = whole else {
            if self.ended {
                self.damage(unreadable("the file ends inside it".to_owned()));
                self.reading = Reading::Done;
            }
            return self.ended;
        };
        let decoded = decode_trailer(whole);
        let taken = 4 + whole.len();
        self.take(taken);
        self.reading = Reading::Behind;
        match decoded {
            Err(error) => self.damage(unreadable(error.to_string())),
            Ok((trailer, signature)) => self.check_trailer(begin, frames, trailer, &signature),
        }
        true
    }

    fn check_trailer(&mut self, offset: u64, frames: u64, trailer: ExportTrailer, signature: &Signature) {
        if !trailer.tips.windows(2).all(|pair| pair[0].chain < pair[1].chain) {
            let reason = "its chains are not in ascending order".to_owned();
            return self.damage(ExportDamage::Trailer { offset, reason });
        }
        // without a header nothing says what was signed; that it is damaged has been said
        if let Some(header) = &self.header
            && let Err(reason) = signature.verify(&trailer.exporter, &trailer.statement(header))
        {
            return self.damage(ExportDamage::TrailerSignature { offset, reason });
        }
        if trailer.frames > self.next_number {
            let (first, count) = (self.next_number, trailer.frames - self.next_number);
            self.damage(ExportDamage::Missing { offset, first, count });
        }
        if trailer.frames != self.frames || trailer.frames != frames {
            self.damage(ExportDamage::Count { offset, announced: trailer.frames, held: self.frames });
        }
        if trailer.digest != Hash32::from(self.digest.clone().finalize()) {
            self.damage(ExportDamage::Digest { offset });
        }
        self.found.push_back(ExportItem::Trailer(trailer));
    }
}

fn decode_trailer(bytes: &[u8]) -> Result<(ExportTrailer, Signature), CodecError> {
    let cut = bytes.len().saturating_sub(SIGNATURE_LEN);
    let (trailer, signature) = bytes.split_at(cut);
    let trailer = from_canonical("the trailer", trailer, EXPORT_TRAILER_BYTES_MAX)?;
    let signature = signature.first_chunk::<SIGNATURE_LEN>().ok_or_else(|| CodecError::Malformed {
        what: "the trailer's signature",
        detail: "it is too short".to_owned(),
    })?;
    Ok((trailer, Signature::from_bytes(signature)))
}
