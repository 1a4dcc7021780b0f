//! What lies in a repository: files, directories, trees, blobs, commits, branches.

use serde_json::json;
use wfengine_tests::standin::{Entry, RepositoryOptions};

use crate::{Client, assert_contract_kept, one_repository, standin};

#[tokio::test]
async fn a_directory_is_an_array_and_a_file_an_object() {
    let (standin, client) = one_repository().await;
    let root = client.read("/repos/octo/one/contents/").await;
    let names: Vec<_> =
        root.json().as_array().expect("an array").iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!((root.status, names), (200, vec![json!(".github"), json!("README.md")]));
    assert!(root.json()[1].get("content").is_none());

    let file = client.read("/repos/octo/one/contents/README.md?ref=main").await.json();
    assert_eq!(
        (&file["type"], &file["encoding"], &file["content"]),
        (&json!("file"), &json!("base64"), &json!("IyBvbmUK\n"))
    );
    assert_eq!(file["sha"], "b8aad57f977a9415403e0a45eb71e51eb90a003b");
    let encoded = client.read("/repos/octo/one/contents/.github%2Fworkflows").await;
    assert_eq!(encoded.json()[0]["path"], ".github/workflows/ci.yml");

    let raw = client
        .with("accept", "application/vnd.github.raw+json")
        .read("/repos/octo/one/contents/README.md")
        .await;
    assert_eq!(
        (raw.text().as_str(), raw.header("content-type")),
        ("# one\n", Some("application/vnd.github.raw+json; charset=utf-8"))
    );
    let object = client.with("accept", "application/vnd.github.object+json");
    let folder = object.read("/repos/octo/one/contents/.github/workflows").await.json();
    assert_eq!((&folder["type"], &folder["entries"][0]["name"]), (&json!("dir"), &json!("ci.yml")));

    assert_eq!(client.read("/repos/octo/one/contents/gone").await.status, 404);
    assert_eq!(client.read("/repos/octo/one/contents/README.md?ref=gone").await.status, 404);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn above_a_megabyte_only_the_raw_and_object_forms_are_given() {
    let (standin, client) = one_repository().await;
    let large = vec![b'x'; 1_000_001];
    standin.push("octo/one", "main", &[("large", Some(&large))], "large");
    let path = "/repos/octo/one/contents/large";
    let usual = client.read(path).await;
    assert_eq!((usual.status, &usual.json()["errors"][0]["code"]), (403, &json!("too_large")));
    let object = client.with("accept", "application/vnd.github.object+json").read(path).await.json();
    assert_eq!((&object["content"], &object["encoding"]), (&json!(""), &json!("none")));
    let raw = client.with("accept", "application/vnd.github.raw+json").read(path).await;
    assert_eq!((raw.status, raw.body.len()), (200, large.len()));
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn links_submodules_and_long_lines_look_as_they_do_on_github() {
    let (standin, client) = one_repository().await;
    let commit = standin.head("octo/one", "main").expect("a commit");
    let changes = [
        ("link", Entry::Symlink("README.md".to_owned())),
        ("module", Entry::Submodule(commit.clone())),
        ("run.sh", Entry::Executable(vec![b'a'; 100])),
    ];
    standin.push_entries("octo/one", "main", &changes, "odd ones");
    let link = client.read("/repos/octo/one/contents/link").await.json();
    assert_eq!((&link["type"], &link["target"]), (&json!("symlink"), &json!("README.md")));
    let module = client.read("/repos/octo/one/contents/module").await.json();
    assert_eq!((&module["type"], &module["sha"]), (&json!("submodule"), &json!(commit)));
    let lines = client.read("/repos/octo/one/contents/run.sh").await.json();
    let longest = lines["content"].as_str().expect("text").lines().map(str::len).max();
    assert_eq!(longest, Some(60));
    let tree = client.read("/repos/octo/one/git/trees/main").await.json();
    let modes: Vec<_> =
        tree["tree"].as_array().expect("entries").iter().map(|entry| entry["mode"].clone()).collect();
    assert_eq!(modes, ["040000", "100644", "120000", "160000", "100755"]);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn trees_and_blobs_come_by_their_git_names() {
    let (standin, client) = one_repository().await;
    let tree = client.read("/repos/octo/one/git/trees/main?recursive=1").await.json();
    let paths: Vec<_> =
        tree["tree"].as_array().expect("entries").iter().map(|entry| entry["path"].clone()).collect();
    assert_eq!(paths, [".github", ".github/workflows", ".github/workflows/ci.yml", "README.md"]);
    assert_eq!(tree["truncated"], false);
    let blob = &tree["tree"][3];
    // the name that `git hash-object` gives
    assert_eq!(blob["sha"], "b8aad57f977a9415403e0a45eb71e51eb90a003b");
    let path = format!("/repos/octo/one/git/blobs/{}", blob["sha"].as_str().expect("an id"));
    assert_eq!(client.read(&path).await.json()["content"], "IyBvbmUK\n");
    let same =
        client.read(&format!("/repos/octo/one/git/trees/{}", tree["sha"].as_str().expect("an id"))).await;
    assert_eq!(same.json()["tree"].as_array().map(Vec::len), Some(2), "not recursive");

    standin.set_trees_cut("octo/one", true);
    let cut = client.read("/repos/octo/one/git/trees/main?recursive=1").await.json();
    assert_eq!((&cut["truncated"], cut["tree"].as_array().map(Vec::len)), (&json!(true), Some(2)));
    assert_eq!(client.read("/repos/octo/one/git/blobs/short").await.status, 422);
    assert_eq!(client.read(&format!("/repos/octo/one/git/blobs/{}", "0".repeat(40))).await.status, 404);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn an_empty_repository_has_no_tree_and_no_contents() {
    let standin = standin().await;
    standin.add_repository("octo/empty", &RepositoryOptions::default());
    let client = Client::new(&standin);
    assert_eq!(client.read("/repos/octo/empty/git/trees/main").await.status, 409);
    let contents = client.read("/repos/octo/empty/contents/.github/workflows").await;
    assert_eq!((contents.status, &contents.json()["message"]), (404, &json!("This repository is empty.")));
    assert_eq!(client.read("/repos/octo/empty/commits/main").await.status, 409);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn commits_and_branches_follow_pushes() {
    let (standin, client) = one_repository().await;
    let first = standin.head("octo/one", "main").expect("a commit");
    let second = standin.push("octo/one", "feature/x", &[("README.md", None)], "second\n\nbecause");
    let commit = client.read("/repos/octo/one/commits/feature/x").await.json();
    assert_eq!((&commit["sha"], &commit["parents"][0]["sha"]), (&json!(second), &json!(first)));
    assert_eq!(commit["commit"]["message"], "second\n\nbecause");
    assert_eq!(
        client.read("/repos/octo/one/branches/feature/x").await.json()["commit"]["sha"],
        json!(second)
    );
    assert_eq!(client.read("/repos/octo/one/branches/feature%2Fx").await.status, 200);
    assert_eq!(
        client.read("/repos/octo/one/contents/README.md?ref=feature/x").await.status,
        404,
        "removed there"
    );
    assert_eq!(client.read("/repos/octo/one/contents/README.md").await.status, 200);
    let sha = client.with("accept", "application/vnd.github.sha").read("/repos/octo/one/commits/HEAD").await;
    assert_eq!(sha.text(), first);
    assert_eq!(
        client.read(&format!("/repos/octo/one/commits/{}", &first[..7])).await.status,
        200,
        "a short id"
    );
    assert_eq!(client.read("/repos/octo/one/commits/gone").await.status, 422);

    standin.tag("octo/one", "v1", "main");
    standin.annotated_tag("octo/one", "v2", "main");
    for tag in ["v1", "v2", "tags/v2"] {
        assert_eq!(client.read(&format!("/repos/octo/one/commits/{tag}")).await.json()["sha"], json!(first));
    }
    let forced = standin.force_push("octo/one", "main", &[("only", Some(b"x"))], "again");
    let commit = client.read("/repos/octo/one/commits/main").await.json();
    assert_eq!((&commit["sha"], commit["parents"].as_array().map(Vec::len)), (&json!(forced), Some(0)));
    standin.delete_branch("octo/one", "feature/x");
    assert_eq!(client.read("/repos/octo/one/branches/feature/x").await.status, 404);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_reference_is_made_once() {
    let (standin, client) = one_repository().await;
    let sha = standin.head("octo/one", "main").expect("a commit");
    let runs = standin.runs().len();
    let silent = json!({ "ref": "refs/locks/1", "sha": sha });
    assert_eq!(client.change("POST", "/repos/octo/one/git/refs", &silent).await.status, 201);
    assert_eq!(standin.runs().len(), runs, "neither branch nor tag");
    let wanted = json!({ "ref": "refs/tags/wfengine/lock-1", "sha": sha });
    let made = client.change("POST", "/repos/octo/one/git/refs", &wanted).await;
    assert_eq!((made.status, &made.json()["object"]["sha"]), (201, &json!(sha)));
    assert_eq!(standin.runs().len(), runs + 1, "a tag is a push, and starts what pushes start");
    let again = client.change("POST", "/repos/octo/one/git/refs", &wanted).await;
    assert_eq!((again.status, &again.json()["message"]), (422, &json!("Reference already exists")));
    let unknown = json!({ "ref": "refs/tags/x", "sha": "0".repeat(40) });
    assert_eq!(client.change("POST", "/repos/octo/one/git/refs", &unknown).await.status, 422);
    let wrong = json!({ "ref": "tags/x", "sha": sha });
    assert_eq!(client.change("POST", "/repos/octo/one/git/refs", &wrong).await.status, 422);
    for prefix in ["tags/wfengine/", "tags/wfengine/lock", "heads/"] {
        let found = client.read(&format!("/repos/octo/one/git/matching-refs/{prefix}")).await.json();
        assert_eq!(found.as_array().map(Vec::len), Some(1), "{prefix}");
    }
    assert_contract_kept(&standin);
}
