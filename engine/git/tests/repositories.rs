//! The crate against the git program: a repository is made, read, packed, and taken in elsewhere.

#![expect(clippy::unwrap_used, reason = "functions of tests fail by panicking")]

use std::path::Path;
use std::process::Command;

use wfengine_git::{Git, GitError, PackError, Reach, Remote, Repository};

fn git() -> Option<Git> {
    Git::find(&std::env::var_os("PATH").unwrap_or_default()).ok()
}

fn by_hand(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn write(folder: &Path, path: &str, text: &str) {
    let file = folder.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

/// A checkout with two commits and a tag on the first.
fn checkout() -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    by_hand(at, &["init", "--quiet"]);
    write(at, ".github/workflows/ci.yml", "on: push\n");
    write(at, ".github/workflows/sub/no.yml", "x");
    write(at, "src/a.txt", "a\n");
    by_hand(at, &["add", "."]);
    by_hand(at, &["commit", "--quiet", "-m", "first"]);
    by_hand(at, &["tag", "-a", "v1", "-m", "v1"]);
    let first = by_hand(at, &["rev-parse", "HEAD"]);
    write(at, "src/b.txt", "b\n");
    by_hand(at, &["mv", "src/a.txt", "src/ä c.txt"]);
    by_hand(at, &["add", "."]);
    by_hand(at, &["commit", "--quiet", "-m", "second\n\nbody"]);
    let second = by_hand(at, &["rev-parse", "HEAD"]);
    (folder, first, second)
}

#[tokio::test]
async fn a_checkout_is_read() {
    let Some(git) = git() else { return };
    let (folder, first, second) = checkout();
    let repository = Repository::at(&git, folder.path());
    let refs = repository.refs().await.unwrap();
    assert_eq!((refs.head.as_deref(), refs.head_commit()), (Some("refs/heads/main"), Some(second.as_str())));
    assert_eq!(refs.commits["refs/tags/v1"], first, "an annotated tag leads to its commit");
    let entries = repository.entries(&second, &[".github/workflows", ".wfengine/workflows"]).await.unwrap();
    let files: Vec<&str> =
        entries.iter().filter(|entry| entry.is_file()).map(|entry| entry.path.as_str()).collect();
    assert_eq!((files.as_slice(), entries.len()), ([".github/workflows/ci.yml"].as_slice(), 2));
    assert_eq!(repository.file(&entries[0].object).await.unwrap(), b"on: push\n");
    let changed = repository.changed_paths(&first, &second).await.unwrap().unwrap();
    assert_eq!(changed, ["src/a.txt", "src/b.txt", "src/ä c.txt"]);
    assert_eq!(repository.facts(&second).await.unwrap().subject, "second");
    assert!(!repository.has(&"0".repeat(40)).await && repository.has(&first).await);
    let option = repository.entries("--help", &["x"]).await.unwrap_err().to_string();
    assert!(option.contains("`--help` is no commit"), "{option}");
}

#[tokio::test]
async fn a_commit_travels_as_a_pack_without_its_history() {
    let Some(git) = git() else { return };
    let (folder, first, second) = checkout();
    let repository = Repository::at(&git, folder.path());
    let scratch = tempfile::tempdir().unwrap();
    let pack = scratch.path().join("pack");
    let packed = repository.pack(&second, &pack, 1 << 20).await.unwrap();
    assert!(packed.len > 100);
    let other = Repository::bare(&git, &scratch.path().join("other")).await.unwrap();
    other.unpack(&pack, &second).await.unwrap();
    assert!(other.has(&second).await && !other.has(&first).await);
    other.run(&["fsck", "--strict"]).await.unwrap();
    assert_eq!(other.ask(&["rev-list", "--count", &second]).await.unwrap(), "1");
    other.unpack(&pack, &second).await.unwrap();

    let wrong = other.unpack(&pack, &first).await.unwrap_err();
    assert!(matches!(wrong, PackError::Other(_) | PackError::Git(_)), "{wrong}");
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let third = Repository::bare(&git, &scratch.path().join("third")).await.unwrap();
    assert!(matches!(third.unpack(&pack, &second).await, Err(PackError::Git(_))));
    let small = repository.pack(&second, &pack, 10).await.unwrap_err();
    assert!(small.to_string().contains("at most 10 are shared") && !pack.exists());
}

#[tokio::test]
async fn no_command_reaches_further_than_it_may() {
    let Some(git) = git() else { return };
    let (folder, _, second) = checkout();
    let scratch = tempfile::tempdir().unwrap();
    let other = Repository::bare(&git, scratch.path()).await.unwrap();
    let path = folder.path().to_str().unwrap();
    let refused = other.run(&["fetch", "--", path, &second]).await.unwrap_err();
    assert!(refused.said().contains("transport 'file' not allowed"), "{refused}");
    for url in ["http://example.com/r.git", "ext::sh -c id", "https://user@example.com/r.git", "/tmp"] {
        assert!(matches!(Remote::new(&git, url, None, Reach::Https), Err(GitError::Odd { .. })), "{url}");
    }
}

#[tokio::test]
async fn a_repositorys_own_configuration_starts_nothing() {
    let Some(git) = git() else { return };
    let (folder, first, second) = checkout();
    let mark = folder.path().join("mark");
    let touch = format!("touch {}", mark.display());
    for key in ["core.fsmonitor", "diff.external", "core.sshCommand", "credential.helper"] {
        by_hand(folder.path(), &["config", key, &touch]);
    }
    let repository = Repository::at(&git, folder.path());
    repository.refs().await.unwrap();
    repository.changed_paths(&first, &second).await.unwrap();
    repository.pack(&second, &folder.path().join("p"), 1 << 20).await.unwrap();
    assert!(!mark.exists());
}
