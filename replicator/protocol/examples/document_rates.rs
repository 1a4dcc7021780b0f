//! How fast frames become chunks and chunks pass the filter, on one core. Run it with `--release`.
//!
//! Prints figures and asserts nothing about them. The frames are incompressible and as long as frames of 64 and of 1 event
//! are; signatures, hashes of events and the disk are not part of it.

#![expect(clippy::print_stdout, reason = "an example that prints its figures")]

use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wfengine_protocol::{FrameLength, ParsedChunk, Rejected, SegmentCursor};
use wfengine_storage_format::{ChainId, Incarnation, PeerId};

#[derive(Debug, thiserror::Error)]
enum RatesError {
    #[error(transparent)]
    Frame(#[from] FrameLength),
    #[error(transparent)]
    Chunk(#[from] Rejected),
}

fn main() -> Result<(), RatesError> {
    let chain =
        ChainId { author: PeerId::from_bytes([1; 32]), incarnation: Incarnation::from_bytes([2; 16]) };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (events, frame_len, frames) in [(64, 16 * 1024, 20_000), (1, 400, 200_000)] {
        let mut frame = vec![0; frame_len];
        rng.fill_bytes(&mut frame);
        let mut author = SegmentCursor::START;
        let start = Instant::now();
        let mut chunks = Vec::with_capacity(frames);
        for _ in 0..frames {
            chunks.push(author.append(&chain, &frame)?);
        }
        report("encode", events, frames, start);

        let mut reader = SegmentCursor::START;
        let start = Instant::now();
        for chunk in &chunks {
            let parsed = ParsedChunk::parse(chunk.bytes())?;
            reader.accept(&chain, &parsed, parsed.frame())?;
        }
        report("filter and match", events, frames, start);
    }
    Ok(())
}

fn report(what: &str, events: usize, frames: usize, start: Instant) {
    let per_second = frames as f64 / start.elapsed().as_secs_f64();
    println!(
        "{what}, frames of {events} events: {per_second:.0} frames/s, {:.0} events/s",
        per_second * events as f64
    );
}
