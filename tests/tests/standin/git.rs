//! `git` itself against the stand-in.

use std::{path::Path, process::Stdio};

use tokio::process::Command;
use wfengine_tests::standin::{Entry, RepositoryOptions, Standin, TokenKind};

use crate::{Client, one_repository, require, requirements::Requirement};

/// Runs git in a folder without anybody's configuration; its output when it succeeds.
async fn git(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("git runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn with_token(standin: &Standin, token: &str) -> String {
    standin.git_url().replacen("http://", &format!("http://x-access-token:{token}@"), 1)
}

#[tokio::test]
async fn a_repository_is_cloned_shallow_with_all_it_has() {
    if require(Requirement::Git, "git clone from the stand-in").is_none() {
        return;
    }
    let (standin, _) = one_repository().await;
    let changes = [
        ("run.sh", Entry::Executable(b"#!/bin/sh\n".to_vec())),
        ("link", Entry::Symlink("README.md".to_owned())),
        ("large", Entry::File(vec![7; 200_000])),
    ];
    let head = standin.push_entries("octo/one", "main", &changes, "more");
    let scratch = tempfile::tempdir().expect("a folder");
    let url = format!("{}/octo/one.git", standin.git_url());
    git(scratch.path(), &["-c", "protocol.version=2", "clone", "--quiet", "--depth", "1", &url, "shallow"])
        .await
        .expect("a clone");
    let clone = scratch.path().join("shallow");
    assert_eq!(git(&clone, &["rev-parse", "HEAD"]).await, Ok(head.clone()));
    assert_eq!(git(&clone, &["rev-list", "--count", "HEAD"]).await, Ok("1".to_owned()));
    assert_eq!(std::fs::read(clone.join("large")).expect("the file"), vec![7; 200_000]);
    assert_eq!(std::fs::read_link(clone.join("link")).expect("a link"), Path::new("README.md"));
    git(&clone, &["fsck", "--full", "--strict"]).await.expect("sound objects");

    // what was pushed since, by its name, without its blobs
    let next = standin.push("octo/one", "topic", &[("README.md", Some(b"# two\n"))], "next");
    standin.annotated_tag("octo/one", "v1", "topic");
    git(&clone, &["fetch", "--quiet", "--depth", "1", "origin", &next]).await.expect("a commit by its name");
    git(&clone, &["fetch", "--quiet", "origin", "tag", "v1"]).await.expect("a tag");
    assert_eq!(git(&clone, &["show", "v1:README.md"]).await, Ok("# two".to_owned()));
    git(scratch.path(), &["clone", "--quiet", "--no-checkout", "--filter=blob:none", &url, "blobless"])
        .await
        .expect("a clone");
    let log = standin.requests();
    assert!(log.iter().all(|request| request.is_git && request.bucket.is_none()) && log.len() > 4);
}

#[tokio::test]
async fn private_repositories_need_a_token_and_names_redirect() {
    if require(Requirement::Git, "git clone of private and renamed repositories from the stand-in").is_none()
    {
        return;
    }
    let (standin, client) = one_repository().await;
    standin.set_private("octo/one", true);
    let scratch = tempfile::tempdir().expect("a folder");
    let refs = |base: String| async move {
        git(Path::new("."), &["ls-remote", &format!("{base}/octo/one.git"), "refs/heads/main"]).await
    };
    assert!(refs(standin.git_url()).await.is_err());
    let stranger = standin.token(&TokenKind::classic("eve"));
    assert!(refs(with_token(&standin, &stranger)).await.is_err_and(|error| error.contains("not found")));
    let token = standin.token(&TokenKind::classic("octo"));
    let head = standin.head("octo/one", "main").expect("a commit");
    assert_eq!(refs(with_token(&standin, &token)).await, Ok(format!("{head}\trefs/heads/main")));
    let anonymous =
        client.without("authorization").read("/octo/one.git/info/refs?service=git-upload-pack").await;
    assert_eq!(
        (anonymous.status, anonymous.header("www-authenticate")),
        (401, Some("Basic realm=\"GitHub\""))
    );
    standin.rename_repository("octo/one", "octo/new");
    assert_eq!(
        refs(with_token(&standin, &token)).await,
        Ok(format!("{head}\trefs/heads/main")),
        "git follows"
    );

    standin.add_repository("octo/empty", &RepositoryOptions::default());
    let empty = format!("{}/octo/empty", standin.git_url());
    git(scratch.path(), &["clone", "--quiet", &empty, "empty"]).await.expect("an empty clone");
    let push = Client::new(&standin).read("/octo/empty.git/info/refs?service=git-receive-pack").await;
    assert_eq!(push.status, 403, "for reading only");
}
