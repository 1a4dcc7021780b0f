//! Exports: a file of whole frames that proves what it holds. Sans-IO: bytes in, bytes out.
//!
//! An export begins with a header, holds numbered frames and ends with a trailer signed by the node that wrote it: the tips of
//! all chains in the file, the number of frames and their digest. So a frame that was dropped, doubled, moved or altered shows,
//! and so does a tail that is missing. SPEC.md, section "Export", has the bytes.
//!
//! Deliberately not here: whether frames are right ([`SignedFrame`](crate::SignedFrame)) and fit together (`engine/core`), files,
//! and compression.
//!
//! Here: what both sides share, and the writer. Reading is in `export/reader.rs`.

mod reader;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::codec::to_canonical;
use crate::event::Tip;
use crate::frame::VerifiedFrame;
use crate::hash::Hash32;
use crate::id::{ChainId, ClusterId, PeerId, RunId};
use crate::limits::{EXPORT_TRAILER_BYTES_MAX, FRAME_BYTES_MAX};
use crate::signature::Signer;

pub use reader::{ExportDamage, ExportItem, ExportReader, ExportedFrame};

/// The first eight bytes of every export.
pub const EXPORT_MAGIC: [u8; 8] = *b"wfexport";
/// Version of the container. The frames inside have their own format number.
const VERSION: u8 = 1;
/// Bytes of the header.
pub const EXPORT_HEADER_LEN: usize = 82;
/// Bytes in front of each frame, and of the trailer.
pub const EXPORT_RECORD_HEAD_LEN: usize = 16;
/// Bytes of the header that its check covers.
const HEADER_CHECKED_LEN: usize = 74;
/// Bytes of a record's head that its check covers.
const HEAD_CHECKED_LEN: usize = 12;
const SIGNATURE_LEN: usize = 64;

/// What an export holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportScope {
    /// All frames of the log: its chains have no gaps.
    Whole,
    /// The frames that hold events of one run and all authority events. Its chains have gaps, each frame is proved alone.
    Run(RunId),
}

/// The beginning of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExportHeader {
    /// Whose log it is.
    pub cluster: ClusterId,
    /// How much of it.
    pub scope: ExportScope,
}

impl ExportHeader {
    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; EXPORT_HEADER_LEN] {
        let mut bytes = [0; EXPORT_HEADER_LEN];
        bytes[..8].copy_from_slice(&EXPORT_MAGIC);
        bytes[8] = VERSION;
        bytes[10..42].copy_from_slice(self.cluster.as_bytes());
        if let ExportScope::Run(run) = &self.scope {
            bytes[9] = 1;
            bytes[42..74].copy_from_slice(run.as_bytes());
        }
        let check = header_check(&bytes);
        bytes[HEADER_CHECKED_LEN..].copy_from_slice(&check);
        bytes
    }

    fn read(bytes: &[u8; EXPORT_HEADER_LEN]) -> Result<Self, ExportDamage> {
        let sound = bytes[HEADER_CHECKED_LEN..] == header_check(bytes);
        if bytes[..8] != EXPORT_MAGIC {
            return Err(ExportDamage::NotAnExport);
        }
        if sound && bytes[8] != VERSION {
            return Err(ExportDamage::Version { found: bytes[8] });
        }
        let part = |from: usize| {
            let mut part = [0; 32];
            part.copy_from_slice(&bytes[from..from + 32]);
            part
        };
        let scope = match (bytes[9], part(42)) {
            (0, rest) if rest == [0; 32] => ExportScope::Whole,
            (1, run) => ExportScope::Run(RunId::from_bytes(run)),
            _ => return Err(ExportDamage::Header),
        };
        if !sound {
            return Err(ExportDamage::Header);
        }
        Ok(Self { cluster: ClusterId::from_bytes(part(10)), scope })
    }
}

fn header_check(bytes: &[u8; EXPORT_HEADER_LEN]) -> [u8; 8] {
    first_bytes(b"wfengine/export-header/v1", &bytes[..HEADER_CHECKED_LEN])
}

fn first_bytes<const N: usize>(domain: &[u8], bytes: &[u8]) -> [u8; N] {
    let hash = Sha256::new().chain_update(domain).chain_update(bytes).finalize();
    let mut first = [0; N];
    first.copy_from_slice(&hash[..N]);
    first
}

/// The head of one record: how long its frame is and which it is. A length of 0 announces the trailer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct RecordHead {
    len: u32,
    number: u64,
}

impl RecordHead {
    fn to_bytes(self) -> [u8; EXPORT_RECORD_HEAD_LEN] {
        let mut bytes = [0; EXPORT_RECORD_HEAD_LEN];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..HEAD_CHECKED_LEN].copy_from_slice(&self.number.to_le_bytes());
        let check = record_check(&bytes);
        bytes[HEAD_CHECKED_LEN..].copy_from_slice(&check);
        bytes
    }

    /// `None` when the bytes are not the head of a record.
    fn read(bytes: &[u8; EXPORT_RECORD_HEAD_LEN]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (number, check) = rest.split_first_chunk::<8>()?;
        let head = Self { len: u32::from_le_bytes(*len), number: u64::from_le_bytes(*number) };
        (head.frame_len() <= FRAME_BYTES_MAX && check == record_check(bytes)).then_some(head)
    }

    fn frame_len(self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }
}

fn record_check(bytes: &[u8; EXPORT_RECORD_HEAD_LEN]) -> [u8; 4] {
    first_bytes(b"wfengine/export-record/v1", &bytes[..HEAD_CHECKED_LEN])
}

/// What the exporting node says of the whole file, signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExportTrailer {
    /// Who wrote the file.
    pub exporter: PeerId,
    /// Number of frames.
    pub frames: u64,
    /// Number of events in them.
    pub events: u64,
    /// SHA-256 over all frames in their order, each after its length.
    pub digest: Hash32,
    /// The last event of each chain in the file, ascending by chain. In a whole export `seq` + 1 is the chain's length.
    pub tips: Vec<Tip>,
    /// Version and digest of the exporter's views of exactly these events; none in an export of one run.
    pub views: Option<(u32, Hash32)>,
}

impl ExportTrailer {
    /// `"wfengine/export/v1" ‖ header ‖ canonical trailer`: the signed message.
    pub fn statement(&self, header: &ExportHeader) -> Vec<u8> {
        [b"wfengine/export/v1".as_slice(), &header.to_bytes(), &to_canonical(self)].concat()
    }
}

/// Why a frame cannot stand in an export. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The frame is of another cluster.
    #[error("a frame of cluster {theirs} does not belong into an export of cluster {ours}")]
    ForeignCluster {
        /// The frame's cluster.
        theirs: ClusterId,
        /// The export's cluster.
        ours: ClusterId,
    },
    /// More chains than a trailer can hold.
    #[error(
        "the trailer of an export of {chains} chains would have {len} bytes, at most {EXPORT_TRAILER_BYTES_MAX} are allowed"
    )]
    TrailerTooLong {
        /// Chains in the file.
        chains: usize,
        /// Bytes it would have.
        len: usize,
    },
}

fn digest_of_frames() -> Sha256 {
    Sha256::new().chain_update(b"wfengine/export-frames/v1")
}

fn add_to_digest(digest: &mut Sha256, frame: &[u8]) {
    digest.update(u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes());
    digest.update(frame);
}

/// Writes an export piece by piece into a buffer of the caller's, who empties it into a file whenever it pleases.
///
/// Frames must be given so that each stands after the events it names, as the order of admission has it.
#[derive(Debug)]
#[must_use = "an export without trailer proves nothing"]
pub struct ExportWriter {
    header: ExportHeader,
    frames: u64,
    events: u64,
    digest: Sha256,
    tips: BTreeMap<ChainId, Tip>,
}

impl ExportWriter {
    /// Begins an export.
    pub fn begin(header: ExportHeader, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&header.to_bytes());
        Self { header, frames: 0, events: 0, digest: digest_of_frames(), tips: BTreeMap::new() }
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// [`ExportError::ForeignCluster`].
    pub fn frame(&mut self, frame: &VerifiedFrame, out: &mut Vec<u8>) -> Result<(), ExportError> {
        let theirs = frame.header().cluster;
        if theirs != self.header.cluster {
            return Err(ExportError::ForeignCluster { theirs, ours: self.header.cluster });
        }
        let bytes = frame.bytes();
        let head = RecordHead { len: u32::try_from(bytes.len()).unwrap_or(u32::MAX), number: self.frames };
        out.extend_from_slice(&head.to_bytes());
        out.extend_from_slice(bytes);
        add_to_digest(&mut self.digest, bytes);
        self.frames += 1;
        self.events += u64::from(frame.header().count);
        let tip = frame.tip();
        let last = self.tips.entry(tip.chain).or_insert(tip);
        if tip.seq > last.seq {
            *last = tip;
        }
        Ok(())
    }

    /// Number of frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Writes the trailer and returns it. `views` are version and digest of the exporter's views of exactly these events.
    ///
    /// # Errors
    /// [`ExportError::TrailerTooLong`].
    pub fn finish(
        self,
        signer: &Signer,
        views: Option<(u32, Hash32)>,
        out: &mut Vec<u8>,
    ) -> Result<ExportTrailer, ExportError> {
        let trailer = ExportTrailer {
            exporter: signer.peer_id(),
            frames: self.frames,
            events: self.events,
            digest: self.digest.finalize().into(),
            tips: self.tips.into_values().collect(),
            views,
        };
        let bytes = to_canonical(&trailer);
        if bytes.len() > EXPORT_TRAILER_BYTES_MAX {
            return Err(ExportError::TrailerTooLong { chains: trailer.tips.len(), len: bytes.len() });
        }
        out.extend_from_slice(&RecordHead { len: 0, number: trailer.frames }.to_bytes());
        out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&bytes);
        out.extend_from_slice(&signer.sign(&trailer.statement(&self.header)).to_bytes());
        Ok(trailer)
    }
}
