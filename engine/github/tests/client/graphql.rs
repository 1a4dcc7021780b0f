//! GraphQL: pages, partial answers, limits inside a success, pages that are too much.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use wfengine_github::{ApiError, Bucket};

use crate::fake::{Fake, Reply, Seen, TestClock};

fn variables(seen: &Seen) -> Value {
    serde_json::from_str::<Value>(&seen.body).unwrap()["variables"].clone()
}

fn node(id: &str) -> Value {
    json!({ "id": id, "nameWithOwner": format!("acme/{id}"), "visibility": "PRIVATE",
        "defaultBranchRef": { "name": "main", "target": { "oid": "c" } },
        "github": { "__typename": "Tree", "oid": "t", "entries": [
            { "name": "a.yml", "type": "blob", "mode": 33188, "oid": "b",
              "object": { "__typename": "Blob", "byteSize": 2, "isBinary": false, "isTruncated": false, "text": "hi" } },
            { "name": "big.yml", "type": "blob", "mode": 33188, "oid": "b",
              "object": { "__typename": "Blob", "byteSize": 9, "isBinary": false, "isTruncated": true, "text": "hi" } },
            { "name": "docs", "type": "tree", "mode": 16384, "oid": "d", "object": { "__typename": "Tree" } } ] },
        "own": null })
}

fn page(nodes: &[Value], next: Option<&str>) -> Value {
    json!({ "data": {
        "rateLimit": { "cost": 1, "limit": 5000, "remaining": 4321, "used": 679, "resetAt": "2026-01-02T04:04:05Z" },
        "repositoryOwner": { "login": "acme", "repositories": {
            "pageInfo": { "hasNextPage": next.is_some(), "endCursor": next }, "nodes": nodes } } } })
}

#[tokio::test]
async fn all_repositories_come_with_their_sources() {
    let fake = Fake::start(|seen| {
        let answer = match variables(seen)["after"].as_str() {
            None => page(&[node("one"), Value::Null, json!({ "id": 5 }), node("two")], Some("cursor")),
            Some(_) => page(&[node("two"), node("three")], None),
        };
        Reply::json(&answer.to_string())
    })
    .await;
    let client = fake.client();
    let listing = client.repositories_with_sources(Some("acme")).await.expect("a list");
    let ids: Vec<&str> = listing.repositories.iter().map(|repository| repository.id.as_str()).collect();
    assert_eq!(ids, ["one", "two", "three"]);
    assert_eq!((listing.pages, listing.points, listing.unreadable), (2, 2, 1));
    let first = &listing.repositories[0];
    assert_eq!(first.default_branch.as_ref().and_then(|branch| branch.sha()), Some("c"));
    assert_eq!(first.visibility, Some(wfengine_github::models::Visibility::Private));
    let entries = &first.github.as_ref().expect("a folder").entries;
    let texts: Vec<Option<&str>> = entries.iter().map(|entry| entry.text()).collect();
    assert_eq!(texts, [Some("hi"), None, None], "what was cut has to be fetched");
    assert_eq!(first.own, None);
    assert_eq!(client.budget(&Bucket::Graphql).map(|budget| budget.remaining), Some(4321));
    assert_eq!(client.stats().graphql_points, 2);
    let seen = fake.seen();
    assert_eq!(seen[0].line(), "POST /graphql");
    assert!(
        seen[0].body.contains("HEAD:.wfengine/workflows") && seen[0].body.contains("HEAD:.github/workflows")
    );
}

#[tokio::test]
async fn a_page_that_is_too_much_is_halved_from_where_it_was() {
    let limits_exceeded = json!({ "data": { "repositoryOwner": null },
        "errors": [{ "type": "RESOURCE_LIMITS_EXCEEDED", "path": ["repositoryOwner"], "message": "exceeded" }] });
    let fake = Fake::start(move |seen| {
        let variables = variables(seen);
        match (variables["first"].as_u64(), variables["after"].as_str()) {
            (Some(100), None) => Reply::json(&page(&[node("one")], Some("cursor")).to_string()),
            (Some(100), _) => Reply::html(502),
            (Some(50), _) => Reply::json(&limits_exceeded.to_string()),
            (_, cursor) => {
                assert_eq!(cursor, Some("cursor"));
                Reply::json(&page(&[node("two")], None).to_string())
            }
        }
    })
    .await;
    let listing = fake.client().repositories_with_sources(Some("acme")).await.expect("a list");
    let sizes: Vec<Option<u64>> = fake.seen().iter().map(|seen| variables(seen)["first"].as_u64()).collect();
    assert_eq!(sizes, [Some(100), Some(100), Some(50), Some(25)]);
    assert_eq!((listing.repositories.len(), listing.pages), (2, 4));
    let fake = Fake::in_turn(vec![Reply::html(502)]).await;
    let error = fake.client().repositories_with_sources(None).await.expect_err("never");
    assert!(matches!(error, ApiError::Server { .. }), "{error}");
    assert!(fake.seen().len() <= 10, "{}", fake.seen().len());
}

#[tokio::test]
async fn data_beside_errors_is_kept() {
    let answer = json!({ "data": { "nodes": [node("one"), null] },
        "errors": [{ "type": "NOT_FOUND", "path": ["nodes", 1], "message": "Could not resolve to a node" }] });
    let fake = Fake::in_turn(vec![Reply::json(&answer.to_string())]).await;
    let listing = fake.client().sources_by_id(&["one", "gone"]).await.expect("some");
    assert_eq!(listing.repositories.len(), 1);
    assert_eq!(
        (listing.errors[0].kind.as_deref(), listing.errors[0].path.as_str()),
        (Some("NOT_FOUND"), "nodes.1")
    );
    let nothing = json!({ "data": null, "errors": [{ "message": "Field 'x' doesn't exist" }] });
    let fake = Fake::in_turn(vec![Reply::json(&nothing.to_string())]).await;
    let error = fake.client().graphql::<Value>("{ x }", &json!({})).await.expect_err("no data");
    assert!(error.to_string().contains("Field 'x' doesn't exist"), "{error}");
    let nobody = json!({ "data": { "repositoryOwner": null } });
    let fake = Fake::in_turn(vec![Reply::json(&nobody.to_string())]).await;
    assert!(fake.client().repositories_with_sources(Some("gone")).await.expect_err("nobody").is_not_found());
}

#[tokio::test]
async fn many_ids_are_asked_for_in_hundreds() {
    let fake = Fake::start(|seen| {
        let ids = variables(seen)["ids"].as_array().unwrap().clone();
        let nodes: Vec<Value> = ids.iter().map(|id| node(id.as_str().unwrap())).collect();
        Reply::json(&json!({ "data": { "nodes": nodes } }).to_string())
    })
    .await;
    let ids: Vec<String> = (0..230).map(|number| format!("r{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let listing = fake.client().sources_by_id(&ids).await.expect("all");
    assert_eq!((listing.repositories.len(), listing.pages), (230, 3));
}

#[tokio::test]
async fn a_limit_inside_a_success_is_a_limit() {
    let clock = Arc::new(TestClock::default());
    let server = Arc::clone(&clock);
    let limited =
        json!({ "errors": [{ "type": "RATE_LIMITED", "message": "API rate limit exceeded" }] }).to_string();
    let fake = Fake::start_at(clock, move |seen| match seen.path.as_str() {
        "/graphql" => Reply::json(&limited).limits("graphql", 5000, 0, server.server_s(), 600),
        _ => Reply::json(r#"{"login": "octocat"}"#),
    })
    .await;
    let client = fake.client();
    for _ in 0..2 {
        let error = client.graphql::<Value>("{ x }", &json!({})).await.expect_err("spent");
        assert!(matches!(&error, ApiError::Limited { bucket: Bucket::Graphql, .. }), "{error}");
    }
    assert_eq!(fake.seen().len(), 1);
    client.user().await.expect("core has its own budget");
    let secondary = r#"{"documentation_url": "x", "message": "You have exceeded a secondary rate limit."}"#;
    let fake =
        Fake::in_turn(vec![Reply::json(secondary).with("retry-after", 30), Reply::json(r#"{"data": {}}"#)])
            .await;
    fake.client().graphql::<Value>("{ x }", &json!({})).await.expect("after the limit");
    let seen = fake.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(30));
}

#[tokio::test]
async fn a_repository_with_holes_is_told_from_a_whole_one() {
    let mut holes = node("holes");
    holes["github"] = Value::Null;
    let mut odd = node("odd");
    odd["github"]["entries"] = json!([{ "name": "a.yml" }]);
    let mut answer = page(&[node("whole"), holes, odd], None);
    answer["errors"] = json!([{ "type": "SERVICE_UNAVAILABLE", "message": "timed out",
        "path": ["repositoryOwner", "repositories", "nodes", 1, "github"] }]);
    let fake = Fake::in_turn(vec![Reply::json(&answer.to_string())]).await;
    let listing = fake.client().repositories_with_sources(Some("acme")).await.expect("a list");
    let whole: Vec<bool> = listing.repositories.iter().map(|repository| repository.is_whole()).collect();
    assert_eq!(whole, [true, false, false]);
    // an error that names no place may be about any of them
    answer["errors"] = json!([{ "message": "something went wrong" }]);
    let fake = Fake::in_turn(vec![Reply::json(&answer.to_string())]).await;
    let listing = fake.client().repositories_with_sources(Some("acme")).await.expect("a list");
    assert!(listing.repositories.iter().all(|repository| !repository.is_whole()));
}
