//! How much room is left, and what follows from it.

use std::path::Path;

/// Below this much free space a node claims nothing and takes no blobs, in bytes.
pub const FREE_LOW_BYTES: u64 = 1024 * 1024 * 1024;
/// Below this much free space a node writes nothing but what it must, in bytes.
pub const FREE_CRITICAL_BYTES: u64 = 256 * 1024 * 1024;

/// How a node behaves for want of room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DiskLevel {
    /// Room enough.
    Ample,
    /// Stop claiming and taking blobs, go on replicating.
    Low,
    /// Read only.
    Critical,
}

/// Free bytes on the file system of a path, or `None` if the system does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The level that follows from the free bytes.
pub fn level(free_bytes: Option<u64>) -> DiskLevel {
    match free_bytes {
        Some(free) if free < FREE_CRITICAL_BYTES => DiskLevel::Critical,
        Some(free) if free < FREE_LOW_BYTES => DiskLevel::Low,
        _ => DiskLevel::Ample,
    }
}
