//! Lists of repositories: who sees what, in which order, on how many pages, under which address.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wfengine_tests::standin::{Level, RepositoryOptions, Role, Selection, Standin, TokenKind};

use crate::{Client, assert_contract_kept, standin};

fn names(list: &Value) -> Vec<String> {
    let items = list.as_array().expect("a list").iter();
    items.map(|item| item["full_name"].as_str().expect("a name").to_owned()).collect()
}

async fn many(count: usize) -> (Standin, Client) {
    let standin = standin().await;
    standin.add_organization("org");
    standin.add_member("org", "mona", Role::Admin);
    for at in 0..count {
        standin.add_repository(&format!("org/r{at:04}"), &RepositoryOptions::private());
    }
    let client = Client::new(&standin).with_token(&standin.token(&TokenKind::classic("mona")));
    (standin, client)
}

#[tokio::test]
async fn pages_are_linked_by_number_and_end_where_they_end() {
    let (standin, client) = many(65).await;
    let first = client.read("/orgs/org/repos?sort=full_name").await;
    assert_eq!(names(&first.json()).len(), 30);
    assert_eq!((first.link("prev"), first.link("first")), (None, None));
    let next = first.link("next").expect("a next page");
    assert!(next.contains("/organizations/") && next.ends_with("repos?sort=full_name&page=2"), "{next}");
    let last = client.read(&first.link("last").expect("a last page")).await;
    assert_eq!((names(&last.json()).len(), last.link("next"), last.link("last")), (5, None, None));
    assert!(last.link("first").is_some_and(|first| first.ends_with("page=1")));
    let whole = client.read("/orgs/org/repos?per_page=100").await;
    assert_eq!((names(&whole.json()).len(), whole.header("link")), (65, None));
    let beyond = client.read("/orgs/org/repos?page=9").await.json();
    assert_eq!(names(&beyond).len(), 0);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn an_enterprise_server_has_the_same_below_its_prefix() {
    let (standin, client) = many(31).await;
    let page = client.read("/api/v3/orgs/org/repos").await;
    let next = page.link("next").expect("a next page");
    assert!(next.starts_with(&format!("{}/organizations/", standin.enterprise_url())), "{next}");
    assert_eq!(names(&client.read(&next).await.json()).len(), 1);
    assert_eq!(client.read("/api/v3").await.status, 200);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn everybody_sees_what_is_theirs() {
    let standin = standin().await;
    standin.add_organization("org");
    standin.add_member("org", "mona", Role::Read);
    for (name, options) in [
        ("mona/own", RepositoryOptions::private()),
        ("org/inner", RepositoryOptions::private()),
        ("org/open", RepositoryOptions::default()),
        ("lisa/shared", RepositoryOptions::private()),
        ("lisa/secret", RepositoryOptions::private()),
        ("lisa/fork", RepositoryOptions { is_fork: true, ..RepositoryOptions::default() }),
    ] {
        standin.add_repository(name, &options);
    }
    standin.add_collaborator("lisa/shared", "mona", Role::Write);
    let anonymous = Client::new(&standin);
    let mona = anonymous.with_token(&standin.token(&TokenKind::classic("mona")));
    let all = mona.read("/user/repos").await.json();
    assert_eq!(names(&all), ["lisa/shared", "mona/own", "org/inner", "org/open"]);
    assert_eq!(
        all[0]["permissions"],
        json!({ "admin": false, "maintain": false, "push": true, "triage": true, "pull": true })
    );
    assert_eq!(
        names(&mona.read("/user/repos?affiliation=owner,collaborator").await.json()),
        ["lisa/shared", "mona/own"]
    );
    assert_eq!(
        names(&mona.read("/user/repos?type=member&sort=created&direction=asc").await.json()),
        ["org/inner", "org/open", "lisa/shared"]
    );
    assert_eq!(names(&mona.read("/user/repos?visibility=public").await.json()), ["org/open"]);
    assert_eq!(mona.read("/user/repos?type=owner&visibility=all").await.status, 422);
    assert_eq!(names(&anonymous.read("/users/lisa/repos").await.json()), ["lisa/fork"]);
    assert_eq!(names(&anonymous.read("/orgs/org/repos").await.json()), ["org/open"]);
    assert_eq!(names(&mona.read("/orgs/org/repos?type=private").await.json()), ["org/inner"]);
    assert_eq!(anonymous.read("/orgs/lisa/repos").await.status, 404, "a user is no organisation");
    assert_eq!(anonymous.read("/user/repos").await.status, 401);

    let open = TokenKind::Classic { user: "mona".into(), scopes: vec!["public_repo".into()] };
    let open = anonymous.with_token(&standin.token(&open));
    assert_eq!(names(&open.read("/user/repos").await.json()), ["org/open"], "without `repo` nothing private");
    let app = TokenKind::Installation {
        owner: "lisa".into(),
        repositories: Selection::Only(vec!["lisa/secret".into()]),
        permissions: vec![("contents".into(), Level::Read)],
    };
    let app = anonymous.with_token(&standin.token(&app));
    let installed = app.read("/installation/repositories").await.json();
    assert_eq!(
        (names(&installed["repositories"]), &installed["total_count"]),
        (vec!["lisa/secret".to_owned()], &json!(1))
    );
    assert_eq!(installed["repository_selection"], "selected");
    assert_eq!(app.read("/user/repos").await.status, 403);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn the_owner_of_a_token_and_the_entry_points_are_told() {
    let standin = standin().await;
    standin.add_repository("mona/own", &RepositoryOptions::private());
    let client = Client::new(&standin).with_token(&standin.token(&TokenKind::classic("mona")));
    let user = client.read("/user").await.json();
    assert_eq!((&user["login"], &user["total_private_repos"]), (&json!("mona"), &json!(1)));
    let root = client.read("/").await.json();
    assert_eq!(root["rate_limit_url"], json!(format!("{}/rate_limit", standin.base_url())));
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_thousand_repositories_take_seconds() {
    let began = Instant::now();
    let (standin, client) = many(1_000).await;
    for at in 0..1_000 {
        let name = format!("org/r{at:04}");
        let file = format!("number {at}");
        let files: [(&str, Option<&[u8]>); 3] = [
            ("a", Some(file.as_bytes())),
            ("b/c", Some(b"same")),
            (".github/workflows/ci.yml", Some(crate::WORKFLOW.as_bytes())),
        ];
        standin.push(&name, "main", &files, "first");
    }
    let made = began.elapsed();
    let mut next = Some("/user/repos?per_page=100".to_owned());
    let mut seen = 0;
    while let Some(path) = next {
        let page = client.read(&path).await;
        seen += names(&page.json()).len();
        next = page.link("next");
    }
    assert_eq!(seen, 1_000);
    eprintln!("made in {made:?}, listed in {:?}", began.elapsed() - made);
    assert!(made < Duration::from_secs(20), "made in {made:?}");
    assert_contract_kept(&standin);
}
