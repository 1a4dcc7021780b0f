//! What can be seen on this host without asking anybody: the data directory, the log's file, the configuration, room on the disk.
//!
//! Invariant: nothing is made, changed, restricted or repaired. Whether a directory can be written to is asked of the system, not
//! tried.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, FlockOperation, access, flock};
use wfengine_storage_format::ClusterId;
use wfengine_store::disk::{DiskLevel, FREE_CRITICAL_BYTES, FREE_LOW_BYTES, free_bytes, level};
use wfengine_store::inspect::{LogFound, log};

use super::finding::{Finding, fail, ok, warn};
use crate::config::Config;
use crate::notify::{self, Wanted};

/// Bytes of a small file of the data directory that are read.
const SMALL_BYTES_MAX: u64 = 4 * 1024 * 1024;

const MIB: u64 = 1024 * 1024;

/// The beginning of a file, as text.
pub(super) fn small_text(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(SMALL_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Who works on the data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// Nobody.
    Nobody,
    /// A process; 0 if it does not say which.
    Process(u32),
}

/// Asks for the lock without keeping it.
pub(super) fn owner(dir: &Path) -> Owner {
    let path = dir.join("lock");
    let Ok(file) = std::fs::File::open(&path) else { return Owner::Nobody };
    // a shared lock for the moment of the question: a command that begins meanwhile waits and tries again
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Owner::Nobody,
        Err(_) => Owner::Process(small_text(&path).and_then(|text| text.trim().parse().ok()).unwrap_or(0)),
    }
}

/// Existence, owner, mode, and whether it can be written to.
pub(super) fn directory(path: &Path) -> Vec<Finding> {
    const CHECK: &str = "data";
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let above = path.ancestors().skip(1).find(|above| above.exists());
            let can = above.is_some_and(|above| access(above, Access::WRITE_OK | Access::EXEC_OK).is_ok());
            return vec![if can {
                ok(CHECK, format!("{shown} is not there yet; the first command makes it"))
            } else {
                fail(
                    CHECK,
                    format!("{shown} is not there, and this user cannot make it"),
                    "choose another directory with --data-dir or WFENGINE_DATA_DIR",
                )
            }];
        }
        Err(error) => {
            return vec![fail(
                CHECK,
                format!("{shown}: {error}"),
                "let this user read it, or choose another with --data-dir",
            )];
        }
    };
    let mut findings = Vec::new();
    if !metadata.is_dir() {
        return vec![fail(CHECK, format!("{shown} is no directory"), "choose another with --data-dir")];
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        findings.push(fail(
            CHECK,
            format!("{shown} belongs to user id {}, and this is {user}", metadata.uid()),
            "run as that user, or choose another directory with --data-dir",
        ));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let says = format!("{shown} has mode {mode:o}: others on this host may look into it");
        findings.push(warn(CHECK, says, format!("`chmod 700 {shown}`; a node that starts does so itself")));
    }
    if access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let remedy = format!(
            "`ls -ld {shown}`, and whether its file system is mounted read-only (`findmnt -T {shown}`)"
        );
        findings.push(fail(CHECK, format!("{shown} cannot be written to"), remedy));
    }
    let identity = path.join("identity");
    if let Ok(metadata) = std::fs::metadata(&identity)
        && metadata.permissions().mode() & 0o077 != 0
    {
        let shown = identity.display();
        let says = format!("{shown} is this node's key, and others on this host can read it");
        findings.push(fail(CHECK, says, format!("`chmod 600 {shown}`; if somebody may have read it, `wfengine peer remove` it from another member and join anew")));
    }
    let clusters = path.join("clusters");
    if !identity.exists() && clusters.exists() {
        findings.push(fail(
            CHECK,
            format!(
                "{} is missing, and without it this host is no member of its clusters",
                identity.display()
            ),
            "put the file back from a backup, or move `cluster` and `clusters` away to start anew",
        ));
    }
    if findings.is_empty() {
        findings.push(ok(
            CHECK,
            format!("{shown} is there, this user's own (mode {mode:o}), and can be written to"),
        ));
    }
    findings
}

/// The log of the node's cluster; of an owner's it is only said that somebody works on it.
pub(super) fn store(path: &Path, owner: Owner) -> Finding {
    const CHECK: &str = "log";
    let Some(text) = small_text(&path.join("cluster")) else {
        return ok(CHECK, "there is none yet; the first command founds a cluster of one");
    };
    let Ok(cluster) = text.trim().parse::<ClusterId>() else {
        let says = format!("{} holds no cluster id", path.join("cluster").display());
        return fail(
            CHECK,
            says,
            "put the file back from a backup, or move it away to found another cluster",
        );
    };
    let dir = path.join("clusters").join(cluster.to_string());
    let in_use = || format!("of cluster {}, open in the process that works on it", cluster.short());
    // while it is looked at nobody begins: a command waits as it does for another short one
    let quiet = std::fs::File::open(path.join("lock")).ok();
    if quiet.as_ref().is_some_and(|quiet| flock(quiet, FlockOperation::NonBlockingLockShared).is_err()) {
        return ok(CHECK, in_use());
    }
    let found = log(&dir);
    drop(quiet);
    match found {
        Ok(LogFound::Readable { version }) => {
            ok(CHECK, format!("of cluster {}, tables of version {version}", cluster.short()))
        }
        Ok(LogFound::InUse) => ok(CHECK, in_use()),
        Ok(LogFound::NotClosed) if owner == Owner::Nobody => ok(
            CHECK,
            format!(
                "of cluster {}; its last process did not close it, and the next start puts that in order",
                cluster.short()
            ),
        ),
        Ok(LogFound::NotClosed) => ok(CHECK, format!("of cluster {}, at work", cluster.short())),
        Ok(LogFound::Missing) => fail(
            CHECK,
            format!("the log of cluster {} is missing at {}", cluster.short(), dir.display()),
            "restore it from a backup, or move `cluster` away to found another cluster",
        ),
        Err(error) => {
            fail(CHECK, error.to_string(), "`wfengine log export` from another member brings the events back")
        }
    }
}

/// What the node is told.
pub(super) fn configuration(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "config";
    if config.mistakes.is_empty() {
        let file = config.file.display();
        return vec![ok(
            CHECK,
            if config.file_exists {
                format!("{file} is right")
            } else {
                format!("{file} is not there: defaults hold")
            },
        )];
    }
    let remedy = "mend it: no node starts with it; `wfengine config show` lists what is allowed";
    config.mistakes.iter().map(|mistake| fail(CHECK, mistake.to_string(), remedy)).collect()
}

/// Whether whoever is to be notified could be.
pub(super) fn notifications(wanted: &Wanted) -> Option<Finding> {
    let failure = notify::check(wanted).err()?;
    Some(fail(
        "config",
        failure.message,
        "no node starts without it; `wfengine notify test` tries it once it is there",
    ))
}

/// Room on the disk.
pub(super) fn disk(path: &Path) -> Finding {
    const CHECK: &str = "disk";
    let existing = path.ancestors().find(|above| above.exists()).unwrap_or(path);
    let free = free_bytes(existing);
    let Some(bytes) = free else {
        return warn(
            CHECK,
            format!("the system does not say how much room there is at {}", existing.display()),
            "`df` may",
        );
    };
    let says = format!("{} MiB free at {}", bytes / MIB, existing.display());
    let remedy = format!("make room, or move the data directory: `du -sh {}/*`", path.display());
    match level(free) {
        DiskLevel::Ample => ok(CHECK, says),
        DiskLevel::Low => warn(CHECK, format!("{says}, less than {} MiB", FREE_LOW_BYTES / MIB), remedy),
        DiskLevel::Critical => {
            fail(CHECK, format!("{says}, less than {} MiB", FREE_CRITICAL_BYTES / MIB), remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn states(findings: &[Finding]) -> Vec<State> {
        findings.iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn a_directory_is_judged_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        assert_eq!(states(&directory(&path)), [State::Ok]);
        assert!(!path.exists());
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(states(&directory(&path)), [State::Warn]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(states(&directory(&path)), [State::Ok]);
        std::fs::write(path.join("identity"), "key").unwrap();
        std::fs::set_permissions(path.join("identity"), std::fs::Permissions::from_mode(0o644)).unwrap();
        let found = directory(&path);
        assert_eq!(states(&found), [State::Fail]);
        assert!(found.first().unwrap().remedy.as_ref().unwrap().contains("chmod 600"));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(states(&directory(&file)), [State::Fail]);
    }

    #[test]
    fn a_cluster_without_its_log_fails() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(store(dir.path(), Owner::Nobody).state, State::Ok);
        std::fs::write(dir.path().join("cluster"), "ab".repeat(32)).unwrap();
        assert_eq!(store(dir.path(), Owner::Nobody).state, State::Fail);
        std::fs::write(dir.path().join("cluster"), "nonsense").unwrap();
        assert_eq!(store(dir.path(), Owner::Nobody).state, State::Fail);
    }
}
