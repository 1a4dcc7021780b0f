//! The crate against the git program: a repository is made, read, packed, and taken in elsewhere.

#![expect(clippy::unwrap_used, reason = "functions of tests fail by panicking")]

use std::io::{Read, Write};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;

use wfengine_git::{Along, Git, GitError, PackError, Reach, Remote, Repository};

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
    let shallow = || std::fs::read_to_string(other.folder().join("shallow")).unwrap();
    assert_eq!(shallow(), format!("{second}\n"));

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
    let at = folder.path();
    let (mark, program) = (at.join("mark"), at.join("program"));
    write(at, "program", &format!("#!/bin/sh\ntouch {}\n", mark.display()));
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let keys = [
        "core.fsmonitor",
        "diff.external",
        "core.sshCommand",
        "credential.helper",
        "core.askPass",
        "gpg.program",
    ];
    for key in keys {
        by_hand(at, &["config", key, program.to_str().unwrap()]);
    }
    by_hand(at, &["config", "log.showSignature", "true"]);
    // what is missing would be brought by a program
    by_hand(at, &["config", "protocol.ext.allow", "always"]);
    by_hand(at, &["config", "remote.far.url", &format!("ext::{}", program.display())]);
    by_hand(at, &["config", "remote.far.promisor", "true"]);
    by_hand(at, &["config", "extensions.partialClone", "far"]);
    by_hand(at, &["config", "core.repositoryFormatVersion", "1"]);
    let absent = "1".repeat(40);
    let commit = by_hand(at, &["cat-file", "commit", &second]);
    let signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n";
    write(at, "signed", &format!("{}\n", commit.replacen("\n\n", &format!("\n{signature}"), 1)));
    let signed = by_hand(at, &["hash-object", "-t", "commit", "-w", "signed"]);
    by_hand(at, &["log", "-1", &signed]);
    assert!(mark.exists(), "git itself asks the program about the signature");
    std::fs::remove_file(&mark).unwrap();
    let repository = Repository::at(&git, at);
    repository.refs().await.unwrap();
    repository.changed_paths(&first, &second).await.unwrap();
    assert_eq!(repository.facts(&signed).await.unwrap().subject, "second");
    repository.pack(&second, &at.join("p"), 1 << 20).await.unwrap();
    assert!(repository.file(&absent).await.is_err() && !repository.has(&absent).await);
    let fetch = ["fetch", "far"];
    let refused = repository.run(&fetch).await.unwrap_err();
    assert!(refused.said().contains("transport 'ext' not allowed"), "{refused}");
    assert!(!mark.exists());
}

#[tokio::test]
async fn no_other_repository_is_taken_for_the_one_that_is_named() {
    let Some(git) = git() else { return };
    let (folder, first, second) = checkout();
    let inside = folder.path().join("src");
    for repository in [Repository::at(&git, &inside), Repository::checkout(&git, &inside)] {
        let none = repository.refs().await.unwrap_err();
        assert!(none.said().contains("not a git repository"), "{none}");
    }
    // what looks like a bare repository is none beside a `.git`
    std::fs::create_dir_all(folder.path().join("objects")).unwrap();
    write(folder.path(), "HEAD", "ref: refs/heads/evil\n");
    let repository = Repository::at(&git, folder.path());
    assert_eq!(repository.ask(&["rev-parse", "HEAD"]).await.unwrap(), second);
    assert_eq!(repository.git_folder(), folder.path().join(".git"));
    // and a checkout is where it is, whatever its configuration says
    let elsewhere = tempfile::tempdir().unwrap();
    by_hand(folder.path(), &["config", "core.worktree", elsewhere.path().to_str().unwrap()]);
    let repository = Repository::checkout(&git, folder.path());
    repository.run(&["checkout", "--quiet", "--force", "--detach", &first]).await.unwrap();
    assert!(folder.path().join("src/a.txt").exists());
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_worktree_is_read_and_shares_what_it_is_cut_at() {
    let Some(git) = git() else { return };
    let (folder, first, second) = checkout();
    let beside = tempfile::tempdir().unwrap();
    let at = beside.path().join("tree");
    by_hand(folder.path(), &["worktree", "add", "--quiet", "-b", "side", at.to_str().unwrap(), &first]);
    let repository = Repository::at(&git, &at);
    let refs = repository.refs().await.unwrap();
    assert_eq!((refs.head.as_deref(), refs.head_commit()), (Some("refs/heads/side"), Some(first.as_str())));
    let read = || std::fs::read_to_string(folder.path().join(".git/shallow")).unwrap_or_default();
    repository.add_shallow(&[]).await.unwrap();
    assert_eq!(read(), "");
    repository.add_shallow(&[&first, "not an id"]).await.unwrap();
    repository.add_shallow(&[&first, &second]).await.unwrap();
    assert_eq!(read(), format!("{first}\n{second}\n"));
}

#[tokio::test]
async fn a_pack_becomes_a_checkout_and_cuts_no_history_that_is_there() {
    let Some(git) = git() else { return };
    let (folder, _, second) = checkout();
    let scratch = tempfile::tempdir().unwrap();
    let (pack, at) = (scratch.path().join("pack"), scratch.path().join("into"));
    Repository::at(&git, folder.path()).pack(&second, &pack, 1 << 20).await.unwrap();
    std::fs::create_dir(&at).unwrap();
    let into = Repository::checkout(&git, &at);
    into.run(&["init", "--quiet", "--template="]).await.unwrap();
    into.unpack(&pack, &second).await.unwrap();
    into.run(&["checkout", "--quiet", "--detach", &second]).await.unwrap();
    assert_eq!(std::fs::read_to_string(at.join("src/b.txt")).unwrap(), "b\n");
    assert_eq!(into.ask(&["status", "--porcelain"]).await.unwrap(), "");

    let whole = Repository::checkout(&git, folder.path());
    whole.unpack(&pack, &second).await.unwrap();
    assert_eq!(whole.ask(&["rev-list", "--count", &second]).await.unwrap(), "2");
}

const URL: &str = "https://git.example.org/o/r.git";

/// git that finds a folder of this host at an address.
fn redirected(git: &Git, folder: &Path) -> Git {
    git.with_variable("GIT_ALLOW_PROTOCOL", "file:https")
        .with_variable("GIT_CONFIG_COUNT", "1")
        .with_variable("GIT_CONFIG_KEY_0", format!("url.file://{}.insteadOf", folder.display()))
        .with_variable("GIT_CONFIG_VALUE_0", URL)
}

#[tokio::test]
async fn a_remote_says_what_its_names_mean() {
    let Some(git) = git() else { return };
    let (folder, first, second) = checkout();
    for name in ["refs/heads/v1/refs/heads/deep", "refs/heads/both", "refs/tags/both"] {
        by_hand(folder.path(), &["update-ref", name, &first]);
    }
    let git = redirected(&git, folder.path());
    let remote = Remote::new(&git, URL, None, Reach::Https).unwrap();
    let refs = remote.refs().await.unwrap();
    assert_eq!((refs.head_commit(), &refs.commits["refs/tags/v1"]), (Some(second.as_str()), &first));
    assert_eq!(remote.default_branch().await.unwrap().as_deref(), Some("refs/heads/main"));
    for (name, full) in [
        ("main", Some("refs/heads/main")),
        ("v1", Some("refs/tags/v1")),
        ("both", Some("refs/heads/both")),
        ("deep", None),
        ("nowhere", None),
    ] {
        assert_eq!(remote.full_ref(name).await.unwrap().as_deref(), full, "{name}");
    }
    by_hand(folder.path(), &["checkout", "--quiet", "--detach"]);
    assert_eq!(remote.default_branch().await.unwrap(), None);
}

#[tokio::test]
async fn as_much_is_fetched_as_is_asked_for() {
    let Some(git) = git() else { return };
    let (folder, first, second) = checkout();
    let git = redirected(&git, folder.path());
    let remote = Remote::new(&git, URL, None, Reach::Https).unwrap();
    let one = NonZeroU32::new(1);
    for (wanted, depth, tags, commit, count, there) in [
        ("refs/heads/main", one, false, &second, "1", false),
        ("refs/heads/main", NonZeroU32::new(2), false, &second, "2", false),
        ("refs/heads/main", NonZeroU32::new(u32::MAX), false, &second, "2", false),
        ("HEAD", None, true, &second, "2", true),
        ("refs/heads/main", one, true, &second, "1", true),
        ("refs/tags/v1", one, false, &first, "1", false),
        (second.as_str(), None, false, &second, "2", false),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let into = Repository::checkout(&git, scratch.path());
        into.run(&["init", "--quiet", "--template="]).await.unwrap();
        let along = Along { depth, tags };
        assert_eq!(&remote.fetch_one(wanted, along, &into).await.unwrap(), commit, "{wanted}");
        assert_eq!(into.ask(&["rev-list", "--count", commit]).await.unwrap(), count, "{wanted} {along:?}");
        let refs = into.refs().await.unwrap();
        assert_eq!(refs.commits.contains_key("refs/tags/v1"), there, "{wanted} {along:?}");
        assert_eq!(refs.commits.len(), usize::from(there), "no branch comes: {refs:?}");
    }

    let scratch = tempfile::tempdir().unwrap();
    let into = Repository::bare(&git, scratch.path()).await.unwrap();
    remote.fetch(&[&second], &into).await.unwrap();
    assert!(into.has(&second).await && !into.has(&first).await && !into.folder().join("FETCH_HEAD").exists());
    let along = Along { depth: one, tags: false };
    for wanted in ["refs/heads/nowhere", &"1".repeat(40)] {
        let none = remote.fetch_one(wanted, along, &into).await.unwrap_err();
        assert!(none.is_absent(), "{none}");
    }
    // one commit is deepened
    remote.fetch_one(&second, Along { depth: None, tags: false }, &into).await.unwrap();
    assert!(into.has(&first).await);
    drop(folder);
    let gone = remote.fetch_one("HEAD", along, &into).await.unwrap_err();
    assert!(!gone.is_absent(), "{gone}");
}

#[tokio::test]
async fn a_repository_with_long_ids_is_fetched_as_well() {
    let Some(git) = git() else { return };
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    by_hand(folder.path(), &["init", "--quiet", "--object-format=sha256"]);
    by_hand(folder.path(), &["commit", "--quiet", "--allow-empty", "-m", "first"]);
    let first = by_hand(folder.path(), &["rev-parse", "HEAD"]);
    let git = redirected(&git, folder.path());
    let remote = Remote::new(&git, URL, None, Reach::Https).unwrap();
    let into = Repository::checkout(&git, scratch.path());
    into.run(&["init", "--quiet", "--template=", "--object-format=sha256"]).await.unwrap();
    for wanted in ["refs/heads/main", &first] {
        let along = Along { depth: NonZeroU32::new(1), tags: true };
        assert_eq!(remote.fetch_one(wanted, along, &into).await.unwrap(), first);
    }
    assert!(into.has(&first).await);
}

#[tokio::test]
async fn what_opens_a_repository_goes_to_its_address() {
    let Some(git) = git() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/o/r.git", listener.local_addr().unwrap());
    // answers one request with a refusal and hands it back
    let asked = tokio::task::spawn_blocking(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        connection.write_all(b"HTTP/1.1 403 no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        String::from_utf8(request).unwrap()
    });
    let remote = Remote::new(&git, &url, Some("Basic c2VjcmV0"), Reach::Http).unwrap();
    let refused = remote.default_branch().await.unwrap_err();
    if refused.said().contains("remote helper") || refused.said().contains("remote-http") {
        // a git without http: somebody has to let the other side go
        std::net::TcpStream::connect(url.trim_start_matches("http://").trim_end_matches("/o/r.git")).unwrap();
        return;
    }
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("GET /o/r.git/info/refs"), "{asked}");
    assert!(asked.lines().any(|line| line.eq_ignore_ascii_case("authorization: Basic c2VjcmV0")), "{asked}");
    assert!(refused.said().contains("403"), "{refused}");
}
