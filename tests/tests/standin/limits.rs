//! Tags that make repeated reading free, limits, and the record of who did not wait.

use std::time::Duration;

use serde_json::json;
use wfengine_tests::standin::{
    Bucket, ErrorCase, Fault, FaultRule, Options, PrimaryLimits, RepositoryOptions, SecondaryLimits, Standin,
    TokenKind,
};

use crate::{Client, assert_contract_kept, one_repository};

async fn limited(options: Options) -> (Standin, Client) {
    let standin = Standin::start(options).await.expect("a stand-in");
    standin.add_repository("octo/one", &RepositoryOptions::default());
    let client = Client::new(&standin).with_token(&standin.token(&TokenKind::classic("octo")));
    (standin, client)
}

#[tokio::test]
async fn every_answer_says_how_much_is_left() {
    let (standin, client) = one_repository().await;
    for (used, path) in [(1, "/user"), (2, "/repos/octo/gone")] {
        let reply = client.read(path).await;
        assert_eq!(reply.number("x-ratelimit-used"), used, "{path}");
        assert_eq!(reply.number("x-ratelimit-remaining"), 5_000 - used);
        assert_eq!(reply.number("x-ratelimit-reset"), standin.clock().now() + 3_600);
        assert_eq!(reply.header("x-ratelimit-resource"), Some("core"));
        assert_eq!(reply.header("date"), Some("Fri, 02 Jan 2026 03:04:05 GMT"));
        assert!(
            reply.header("x-github-request-id").is_some() && reply.header("x-github-media-type").is_some()
        );
    }
    assert_eq!(client.read("/user").await.header("cache-control"), Some("private, max-age=60, s-maxage=60"));
    let told = client.read("/rate_limit").await;
    assert_eq!(
        (told.json()["resources"]["core"]["used"].clone(), told.number("x-ratelimit-used")),
        (json!(3), 3),
        "free"
    );
    standin.clock().advance(Duration::from_secs(3_600));
    assert_eq!(client.read("/user").await.number("x-ratelimit-used"), 1, "a new hour");
    let anonymous = client.without("authorization").read("/repos/octo/one").await;
    assert_eq!(
        (anonymous.number("x-ratelimit-limit"), anonymous.header("cache-control")),
        (60, Some("public, max-age=60, s-maxage=60"))
    );
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn what_did_not_change_is_free_and_has_no_body() {
    let (standin, client) = one_repository().await;
    let path = "/repos/octo/one/git/trees/main";
    let first = client.read(path).await;
    let tag = first.header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with('"'), "strong");
    for given in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}")] {
        let same = client.with("if-none-match", &given).read(path).await;
        assert_eq!(
            (same.status, same.body.len(), same.header("etag")),
            (304, 0, Some(tag.as_str())),
            "{given}"
        );
        assert_eq!((same.header("content-type"), same.header("link")), (None, None));
        assert_eq!(same.number("x-ratelimit-used"), 1, "free");
    }
    let other = client.with_token(&standin.token(&TokenKind::classic("eve")));
    assert_ne!(other.read(path).await.header("etag"), Some(tag.as_str()), "another identity, another tag");
    let raw = client.with("accept", "application/json").read(path).await;
    assert_ne!(raw.header("etag"), Some(tag.as_str()), "another form, another tag");
    let anonymous = client.without("authorization");
    let own = anonymous.read(path).await.header("etag").expect("a tag").to_owned();
    let same = anonymous.with("if-none-match", &own).read(path).await;
    assert_eq!((same.status, same.number("x-ratelimit-used")), (304, 2), "not free without a token");
    standin.push("octo/one", "main", &[("new", Some(b"x"))], "more");
    assert_eq!(client.with("if-none-match", &tag).read(path).await.status, 200);
    let log = standin.requests();
    assert_eq!(log.iter().filter(|request| request.is_conditional).count(), 5);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn an_empty_bucket_stays_empty_until_its_hour_ends() {
    let (standin, client) = limited(Options::default()).await;
    let token = standin.token(&TokenKind::classic("octo"));
    standin.exhaust(Bucket::Core, &token);
    let refused = client.read("/user").await;
    assert_eq!(
        (refused.status, refused.number("x-ratelimit-remaining")),
        (403, 0),
        "all tokens of one user share it"
    );
    assert!(
        refused.json()["message"].as_str().expect("text").starts_with("API rate limit exceeded for user ID")
    );
    assert_eq!(standin.requests_during_limits(), []);
    assert_eq!(client.read("/rate_limit").await.status, 200);
    assert_eq!(standin.requests_during_limits(), [], "asking how one stands is free");
    assert_eq!(
        client.graphql("{ viewer { login } }", json!({})).await.json()["data"]["viewer"]["login"],
        "octo"
    );
    assert_eq!(standin.requests_during_limits(), [], "another bucket");

    client.read("/user").await;
    let in_vain = standin.requests_during_limits();
    assert_eq!(in_vain.len(), 1);
    assert_eq!((in_vain[0].identity.as_str(), in_vain[0].request.as_str()), ("user:octo", "GET /user"));
    assert_eq!(in_vain[0].until, standin.clock().now() + 3_600);
    standin.clock().advance(Duration::from_secs(3_600));
    assert_eq!(client.read("/user").await.status, 200);
    assert_eq!(standin.requests_during_limits().len(), 1);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_limit_is_reached_by_asking() {
    let primary = PrimaryLimits { anonymous: 2, user: 3, ..PrimaryLimits::default() };
    let (standin, client) = limited(Options { primary, limit_status: 429, ..Options::default() }).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(client.read("/user").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    let anonymous = client.without("authorization");
    anonymous.read("/repos/octo/one").await;
    anonymous.read("/repos/octo/one").await;
    let refused = anonymous.read("/repos/octo/one").await;
    assert!(
        refused.json()["message"]
            .as_str()
            .expect("text")
            .contains("Authenticated requests get a higher rate limit")
    );
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn an_ordered_secondary_limit_says_how_long_or_not() {
    let (standin, client) = limited(Options::default()).await;
    standin.secondary_limit_for(30, true);
    let refused = client.read("/user").await;
    assert_eq!((refused.status, refused.number("retry-after")), (403, 30));
    assert!(refused.number("x-ratelimit-remaining") > 0);
    assert!(refused.json()["message"].as_str().expect("text").contains("secondary rate limit"));
    standin.clock().advance(Duration::from_secs(10));
    assert_eq!(client.read("/user").await.number("retry-after"), 20);
    assert_eq!(standin.requests_during_limits().len(), 1);
    standin.clock().advance(Duration::from_secs(20));
    assert_eq!(client.read("/user").await.status, 200);

    standin.secondary_limit_for(10, false);
    assert_eq!(client.read("/user").await.header("retry-after"), None);
    standin.clock().advance(Duration::from_secs(59));
    assert_eq!(client.read("/user").await.status, 200);
    let in_vain = standin.requests_during_limits();
    assert_eq!(in_vain.len(), 2, "without a word it is a minute: {in_vain:?}");
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn going_too_fast_is_a_secondary_limit() {
    let secondary =
        SecondaryLimits { rest_points: 10, changes: 80, graphql_points: 2, retry_after: Some(60) };
    let (standin, client) = limited(Options { secondary: Some(secondary), ..Options::default() }).await;
    for _ in 0..2 {
        let reference = json!({ "ref": "refs/tags/x", "sha": "1" });
        assert_eq!(
            client.change("POST", "/repos/octo/one/git/refs", &reference).await.status,
            422,
            "5 points each"
        );
    }
    assert_eq!(client.read("/user").await.number("retry-after"), 60);
    for status in [200, 200, 403] {
        assert_eq!(client.graphql("{ viewer { login } }", json!({})).await.status, status);
    }
    let other = client.with_token(&standin.token(&TokenKind::classic("eve")));
    assert_eq!(other.read("/user").await.status, 200, "one's own minute");
    standin.clock().advance(Duration::from_secs(60));
    assert_eq!(client.read("/user").await.status, 200);

    let secondary = SecondaryLimits { changes: 1, ..SecondaryLimits::default() };
    let (standin, client) = limited(Options { secondary: Some(secondary), ..Options::default() }).await;
    let sha = json!({ "ref": "refs/tags/x", "sha": "1" });
    assert_eq!(client.change("POST", "/repos/octo/one/git/refs", &sha).await.status, 422);
    assert_eq!(client.change("POST", "/repos/octo/one/git/refs", &sha).await.status, 403);
    assert_eq!(client.read("/user").await.status, 200, "reading goes on");
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn too_many_at_once_is_a_secondary_limit() {
    let (standin, client) = limited(Options { concurrent_max: 2, ..Options::default() }).await;
    standin.fault(FaultRule::new("/user", Fault::Slow(Duration::from_millis(300))).times(2));
    let (first, second) = (client.clone(), client.clone());
    let slow = [
        tokio::spawn(async move { first.read("/user").await.status }),
        tokio::spawn(async move { second.read("/user").await.status }),
    ];
    while standin.faults_left() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.read("/repos/octo/one").await.status, 403, "the third at once");
    for slow in slow {
        assert_eq!(slow.await.expect("an answer"), 200);
    }
    standin.clock().advance(Duration::from_secs(60));
    assert_eq!(client.read("/repos/octo/one").await.status, 200);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn injected_limits_count_like_earned_ones() {
    let (standin, client) = limited(Options::default()).await;
    standin.fault(FaultRule::new("/user", Fault::Error(ErrorCase::SecondaryLimitWithRetryAfter)));
    standin.fault(FaultRule::new("/graphql", Fault::Error(ErrorCase::GraphqlPrimaryLimit)));
    client.graphql("{ viewer { login } }", json!({})).await;
    client.graphql("{ viewer { login } }", json!({})).await;
    assert_eq!(standin.requests_during_limits().len(), 1);
    client.read("/user").await;
    client.read("/repos/octo/one").await;
    assert_eq!(standin.requests_during_limits().len(), 2, "all buckets");
    standin.clock().advance(Duration::from_secs(3_600));
    standin.fault(FaultRule::new("/user", Fault::Error(ErrorCase::ResourceNotAccessible)));
    client.read("/user").await;
    client.read("/user").await;
    assert_eq!(standin.requests_during_limits().len(), 2, "a missing permission is no limit");
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn the_log_holds_every_request() {
    let (standin, client) = one_repository().await;
    client.read("/repos/octo/one?x=1").await;
    client.without("authorization").read("/api/v3/repos/octo/gone").await;
    let log = standin.requests();
    let seen: Vec<_> = log
        .iter()
        .map(|request| (request.identity.as_str(), request.bare_path(), request.status, request.operation))
        .collect();
    assert_eq!(
        seen,
        [
            ("user:octo", "/repos/octo/one", 200, Some("repos/get")),
            ("address:127.0.0.1", "/repos/octo/gone", 404, Some("repos/get"))
        ]
    );
    assert_eq!(
        (log[0].path.as_str(), log[0].bucket, log[0].is_git),
        ("/repos/octo/one?x=1", Some(Bucket::Core), false)
    );
    standin.clear_requests();
    assert!(standin.requests().is_empty());
}
