//! Which list an owner's repositories are in, and what is in a repository.

use wfengine_github::{ApiError, Credential, Scope, models::EntryKind};

use crate::fake::{Fake, Reply, Seen};

const MINE: &str = r#"[{"id": 1, "full_name": "octocat/one", "owner": {"login": "octocat"}}]"#;
const THEIRS: &str = r#"[{"id": 2, "full_name": "other/two", "owner": {"login": "other"}}]"#;
const ORG: &str = r#"[{"id": 3, "full_name": "acme/three", "owner": {"login": "acme"}}]"#;

fn github(seen: &Seen) -> Reply {
    match seen.path.split('?').next().unwrap() {
        "/orgs/acme/repos" => Reply::json(ORG),
        "/user/repos" => Reply::json(MINE),
        "/users/other/repos" => Reply::json(THEIRS),
        _ => Reply::message(404, "Not Found"),
    }
}

async fn paths_for(owner: &str) -> (Vec<String>, usize) {
    let fake = Fake::start(github).await;
    let client = fake.client();
    let scope = Scope::Owner(owner.to_owned());
    let listing = client.repositories(&scope).await.expect("a list");
    assert_eq!(listing.items.len(), 1);
    let first = fake.seen().len();
    assert_eq!(client.repositories(&scope).await.expect("a list").items, listing.items);
    let paths =
        fake.seen()[..first].iter().map(|seen| seen.path.split('?').next().unwrap().to_owned()).collect();
    (paths, fake.seen().len() - first)
}

#[tokio::test]
async fn an_organisation_is_found_at_once_and_a_user_is_remembered() {
    assert_eq!(paths_for("acme").await, (vec!["/orgs/acme/repos".to_owned()], 1));
    let oneself = ["/orgs/OctoCat/repos", "/user/repos"].map(str::to_owned).to_vec();
    assert_eq!(paths_for("OctoCat").await, (oneself, 1));
    let other = ["/orgs/other/repos", "/user/repos", "/users/other/repos"].map(str::to_owned).to_vec();
    assert_eq!(paths_for("other").await, (other, 1));
}

#[tokio::test]
async fn nobody_of_that_name_is_not_found() {
    let fake = Fake::start(github).await;
    let error = fake.client().repositories(&Scope::Owner("gone".to_owned())).await.expect_err("nobody");
    assert!(error.is_not_found(), "{error}");
    let client = fake.client_as(&Credential::Anonymous);
    assert!(client.repositories(&Scope::Owner("gone".to_owned())).await.is_err());
    let wrong = client.repositories(&Scope::Owner("a/../b".to_owned())).await.expect_err("no name");
    assert!(matches!(wrong, ApiError::Argument { .. }), "{wrong}");
}

#[tokio::test]
async fn a_wrong_token_is_not_taken_for_another_kind_of_owner() {
    let fake = Fake::in_turn(vec![Reply::message(401, "Bad credentials")]).await;
    let error = fake.client().repositories(&Scope::Owner("acme".to_owned())).await.expect_err("refused");
    assert!(matches!(error, ApiError::Unauthorised { .. }), "{error}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn trees_blobs_and_contents_are_asked_for_by_escaped_names() {
    let fake = Fake::start(|seen| match seen.path.as_str() {
        "/repos/o/r/git/trees/feature%2Fa?recursive=1" => Reply::json(
            r#"{"sha": "t", "truncated": true, "tree": [{"path": "a", "mode": "100644", "type": "blob", "sha": "b", "size": 1},
                {"path": "s", "mode": "160000", "type": "commit", "sha": "c"}]}"#,
        ),
        "/repos/o/r/git/blobs/b" => {
            Reply::json(r#"{"sha": "b", "size": 2, "encoding": "base64", "content": "aGk=\n"}"#)
        }
        "/repos/o/r/contents/.github/workflows?ref=main" => {
            Reply::json(r#"[{"name": "x.yml", "path": ".github/workflows/x.yml", "sha": "b", "type": "file", "size": 2}]"#)
        }
        "/repos/o/r/contents/a%20b.yml" => Reply::json(
            r#"{"name": "a b.yml", "path": "a b.yml", "sha": "b", "type": "file", "encoding": "base64", "content": "aGk="}"#,
        ),
        "/repos/o/r/branches/main" => Reply::json(r#"{"name": "main", "commit": {"sha": "c"}}"#),
        "/repos/o/r/commits/refs/heads/main" => {
            Reply::json(r#"{"sha": "c", "commit": {"message": "m", "tree": {"sha": "t"}}, "parents": [{"sha": "p"}]}"#)
        }
        "/rate_limit" => Reply::json(
            r#"{"resources": {"core": {"limit": 5000, "remaining": 1, "reset": 9, "used": 4999}}, "rate": {}}"#,
        ),
        other => panic!("{other}"),
    })
    .await;
    let client = fake.client();
    let tree = client.tree("o/r", "feature/a", true).await.expect("a tree").value;
    assert!(tree.truncated && tree.tree[1].kind == EntryKind::Commit);
    assert_eq!(client.blob("o/r", "b").await.expect("a blob").value.content.0, b"hi");
    assert_eq!(
        client.contents_dir("o/r", "/.github/workflows/", Some("main")).await.expect("a folder").value.len(),
        1
    );
    let file = client.contents_file("o/r", "a b.yml", None).await.expect("a file").value;
    assert_eq!(file.bytes(), Ok(Some(b"hi".to_vec())));
    assert_eq!(client.branch("o/r", "main").await.expect("a branch").value.commit.sha, "c");
    let commit = client.commit("o/r", "refs/heads/main").await.expect("a commit").value;
    assert_eq!((commit.tree_sha(), commit.message()), (Some("t"), Some("m")));
    assert_eq!(client.rate_limit().await.expect("limits").resources["core"].remaining, 1);
    assert!(client.contents_file("o/r", "../../user", None).await.is_err());
}
