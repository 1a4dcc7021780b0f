//! Tokens, what they may do, and what is hidden from them; names that changed; requests that are no requests.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;
use wfengine_tests::standin::{
    ContractSource, Level, Options, RepositoryOptions, Role, Selection, Standin, TokenKind,
};

use crate::{Client, assert_contract_kept, one_repository, require, requirements::Requirement, standin};

fn fine_grained(
    user: &str,
    owner: &str,
    repositories: Selection,
    permissions: &[(&str, Level)],
) -> TokenKind {
    let permissions = permissions.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect();
    TokenKind::FineGrained { user: user.into(), owner: owner.into(), repositories, permissions }
}

#[tokio::test]
async fn what_a_token_may_not_see_does_not_exist() {
    let standin = standin().await;
    standin.add_repository("octo/secret", &RepositoryOptions::private());
    let anonymous = Client::new(&standin);
    let stranger = anonymous.with_token(&standin.token(&TokenKind::classic("eve")));
    let gone = stranger.read("/repos/octo/gone").await.json();
    for client in [&anonymous, &stranger] {
        let hidden = client.read("/repos/octo/secret").await;
        assert_eq!((hidden.status, hidden.json()), (404, gone.clone()));
    }
    let owner = anonymous.with_token(&standin.token(&TokenKind::classic("octo")));
    assert_eq!(owner.read("/repos/OCTO/Secret").await.json()["private"], true, "names have no case");
    assert_eq!(owner.read("/repositories/999").await.status, 404);
    let narrow = TokenKind::Classic { user: "octo".into(), scopes: vec!["public_repo".into()] };
    let narrow = anonymous.with_token(&standin.token(&narrow));
    assert_eq!(narrow.read("/repos/octo/secret").await.status, 404);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn every_way_to_send_a_token_works_until_it_ends() {
    let (standin, client) = one_repository().await;
    let token = standin.expiring_token(&TokenKind::classic("octo"), Duration::from_secs(60));
    let basic = data_encoding::BASE64.encode(format!("x-access-token:{token}").as_bytes());
    for header in [
        format!("Bearer {token}"),
        format!("token {token}"),
        format!("bearer {token}"),
        format!("Basic {basic}"),
    ] {
        assert_eq!(client.with("authorization", &header).read("/user").await.status, 200, "{header}");
    }
    standin.clock().advance(Duration::from_secs(60));
    let expired = client.with_token(&token).read("/user").await;
    assert_eq!((expired.status, &expired.json()["message"]), (401, &json!("Bad credentials")));
    let revoked = standin.token(&TokenKind::classic("octo"));
    standin.revoke(&revoked);
    for wrong in [revoked.as_str(), "ghp_unknown"] {
        assert_eq!(
            client.with_token(wrong).read("/repos/octo/one").await.status,
            401,
            "also where nobody is needed"
        );
    }
    assert_eq!(client.with("authorization", "Nothing").read("/user").await.status, 401);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let (standin, client) = one_repository().await;
    standin.add_repository("octo/two", &RepositoryOptions::private());
    let only = Selection::Only(vec!["octo/one".into()]);
    standin.set_private("octo/one", true);
    let kind = fine_grained("octo", "octo", only.clone(), &[("contents", Level::Read)]);
    let limited = client.with_token(&standin.token(&kind));
    assert_eq!(limited.read("/repos/octo/one/contents/README.md").await.status, 200);
    assert_eq!(limited.read("/repos/octo/two").await.status, 404, "not selected");
    let sha = standin.head("octo/one", "main").expect("a commit");
    let path = format!("/repos/octo/one/statuses/{sha}");
    let refused = limited.change("POST", &path, &json!({ "state": "success" })).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("x-accepted-github-permissions"), Some("statuses=write"));
    assert_eq!(refused.json()["message"], "Resource not accessible by personal access token");
    assert!(refused.number("x-ratelimit-remaining") > 0 && refused.header("retry-after").is_none());

    let app = TokenKind::Installation { owner: "octo".into(), repositories: only, permissions: Vec::new() };
    let app = client.with_token(&standin.token(&app));
    let refused = app.read("/repos/octo/one/actions/runs").await;
    assert_eq!(refused.json()["message"], "Resource not accessible by integration");
    standin.add_collaborator("octo/one", "reader", Role::Read);
    let reader = client.with_token(&standin.token(&TokenKind::classic("reader")));
    assert_eq!(reader.read("/repos/octo/one").await.status, 200);
    assert_eq!(reader.read("/repos/octo/one/hooks").await.status, 404, "administration is hidden");
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn an_app_gets_tokens_for_what_it_has() {
    let (standin, client) = one_repository().await;
    let kind = TokenKind::Installation {
        owner: "octo".into(),
        repositories: Selection::All,
        permissions: vec![("contents".into(), Level::Read), ("checks".into(), Level::Write)],
    };
    let id = standin.add_installation(&kind);
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let web_token =
        format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(r#"{"iss":"12","exp":1}"#), part("signed"));
    let app = client.with_token(&web_token);
    let path = format!("/app/installations/{id}/access_tokens");
    let wanted = json!({ "repositories": ["one"], "permissions": { "contents": "read" } });
    let given = app.change("POST", &path, &wanted).await;
    assert_eq!((given.status, &given.json()["permissions"]), (201, &json!({ "contents": "read" })));
    assert_eq!(given.json()["expires_at"], "2026-01-02T04:04:05Z");
    let token = given.json()["token"].as_str().expect("a token").to_owned();
    assert_eq!(client.with_token(&token).read("/installation/repositories").await.json()["total_count"], 1);
    standin.clock().advance(Duration::from_secs(3_600));
    assert_eq!(client.with_token(&token).read("/installation/repositories").await.status, 401);

    for wrong in
        [json!({ "repositories": ["gone"] }), json!({ "permissions": { "administration": "write" } })]
    {
        assert_eq!(app.change("POST", &path, &wrong).await.status, 422, "{wrong}");
    }
    assert_eq!(app.change("POST", "/app/installations/1/access_tokens", &json!({})).await.status, 404);
    assert_eq!(client.change("POST", &path, &json!({})).await.status, 401, "no app");
    let unsigned = format!("{}.{}.", part(r#"{"alg":"RS256"}"#), part(r#"{"iss":"12"}"#));
    assert_eq!(client.with_token(&unsigned).change("POST", &path, &json!({})).await.status, 401);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn former_names_redirect_by_number() {
    let (standin, client) = one_repository().await;
    standin.rename_repository("octo/one", "other/two");
    let moved = client.read("/repos/octo/one/contents/README.md?ref=main").await;
    let location = moved.header("location").expect("a location").to_owned();
    assert_eq!((moved.status, &moved.json()["message"]), (301, &json!("Moved Permanently")));
    assert!(location.starts_with(&format!("{}/repositories/", standin.base_url())), "{location}");
    assert!(location.ends_with("/contents/README.md?ref=main"), "{location}");
    assert_eq!(client.read(&location).await.json()["name"], "README.md");
    let again =
        client.change("POST", "/repos/octo/one/git/refs", &json!({ "ref": "refs/tags/x", "sha": "1" })).await;
    assert_eq!(again.status, 307);
    standin.add_repository("octo/one", &RepositoryOptions::default());
    assert_eq!(client.read("/repos/octo/one").await.status, 200, "the name was taken by another");
    standin.delete_repository("other/two");
    assert_eq!(client.read(&location).await.status, 404);
    assert_eq!(client.read("/repos/other/two").await.status, 404);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn archived_and_blocked_repositories_say_so() {
    let (standin, client) = one_repository().await;
    standin.set_archived("octo/one", true);
    assert_eq!(client.read("/repos/octo/one").await.json()["archived"], true);
    let write =
        client.change("POST", "/repos/octo/one/git/refs", &json!({ "ref": "refs/tags/x", "sha": "1" })).await;
    assert_eq!(write.status, 403);
    standin.set_archived("octo/one", false);
    standin.set_disabled("octo/one", true);
    assert_eq!(client.read("/repos/octo/one").await.json()["disabled"], true);
    assert_eq!(client.read("/repos/octo/one/contents/README.md").await.status, 403);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_request_needs_a_sender_and_a_known_version() {
    let (standin, client) = one_repository().await;
    let nameless = client.without("user-agent").read("/user").await;
    assert_eq!((nameless.status, nameless.header("content-type")), (403, Some("text/html")));
    assert!(nameless.text().contains("User-Agent"));
    for (version, status) in [("2022-11-28", 200), ("2026-03-10", 200), ("1999-01-01", 400)] {
        let reply = client.with("x-github-api-version", version).read("/user").await;
        assert_eq!(reply.status, status, "{version}");
    }
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_path_that_github_does_not_have_is_a_contract_problem() {
    let standin = Standin::start(Options { contract: ContractSource::Absent, ..Options::default() }).await;
    let standin = standin.expect("a stand-in");
    let client = Client::new(&standin);
    assert_eq!(client.read("/repos/octo/one/nothing").await.status, 404);
    assert_eq!(client.read("/graphql").await.status, 404);
    assert_eq!(
        standin.contract_problems(),
        ["GET /repos/octo/one/nothing: no such operation", "GET /graphql: no such operation"]
    );
}

#[tokio::test]
async fn what_is_not_as_described_is_a_contract_problem() {
    if require(Requirement::Corpus, "the stand-in notices requests that break GitHub's description").is_none()
    {
        return;
    }
    let (standin, client) = one_repository().await;
    assert!(standin.has_contract());
    let sha = standin.head("octo/one", "main").expect("a commit");
    client.read("/repos/octo/one/git/trees/main?depth=2").await;
    client.read("/user/repos?sort=stars").await;
    client.change("POST", &format!("/repos/octo/one/statuses/{sha}"), &json!({ "state": "fine" })).await;
    client.read("/repos/octo/one/actions/runs/first").await;
    let problems = standin.contract_problems();
    let expected = [
        "unknown query parameter `depth`",
        "query parameter `sort`",
        "\"fine\" is not one of",
        "path parameter `run_id`",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem} / {expected}");
    }
}
