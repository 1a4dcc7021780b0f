//! A GitHub App: what it signs, when it gets a new token, and how little each token may do.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use wfengine_github::{ApiError, Credential, Scope, Secret, credential::AppKey, dates};

use crate::fake::{Fake, Reply, Seen, TestClock};

/// Made for this test and used nowhere else.
const KEY: &str = include_str!("keys/app.pem");

fn app(installation: Option<u64>) -> Credential {
    Credential::App(AppKey { app_id: 7, key: Secret::new(KEY), installation, file: None })
}

fn token(number: u64, now_s: u64) -> Reply {
    let expires_at = dates::rfc3339(now_s + 3600);
    Reply::new(201, json!({ "token": format!("ghs_{number}"), "expires_at": expires_at }).to_string())
}

fn claims(seen: &Seen) -> Value {
    let bearer = seen.header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
    let parts: Vec<&str> = bearer.split('.').collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(BASE64URL_NOPAD.decode(parts[0].as_bytes()).unwrap(), br#"{"alg":"RS256","typ":"JWT"}"#);
    assert_eq!(BASE64URL_NOPAD.decode(parts[2].as_bytes()).unwrap().len(), 256);
    serde_json::from_slice(&BASE64URL_NOPAD.decode(parts[1].as_bytes()).unwrap()).unwrap()
}

async fn github() -> Fake {
    let clock = Arc::new(TestClock::default());
    let (server, made) = (Arc::clone(&clock), AtomicU64::new(0));
    Fake::start_at(clock, move |seen| match seen.path.split('?').next().unwrap() {
        "/app/installations" => Reply::json(r#"[{"id": 55, "account": {"login": "acme"}}]"#),
        "/app/installations/55/access_tokens" => token(made.fetch_add(1, Ordering::SeqCst) + 1, server.server_s()),
        "/installation/repositories" => Reply::json(
            r#"{"total_count": 2, "repositories": [{"id": 1, "full_name": "acme/one", "owner": {"login": "Acme"}},
                {"id": 2, "full_name": "other/two", "owner": {"login": "other"}}]}"#,
        ),
        _ => Reply::message(404, "Not Found"),
    })
    .await
}

#[tokio::test]
async fn the_only_installation_is_found_and_its_token_kept_until_shortly_before_its_end() {
    let fake = github().await;
    let client = fake.client_as(&app(None));
    assert_eq!(client.repositories(&Scope::All).await.expect("a list").items.len(), 2);
    assert_eq!(client.repositories(&Scope::Owner("acme".to_owned())).await.expect("a list").items.len(), 1);
    let seen = fake.seen();
    let lines: Vec<&str> = seen.iter().map(|seen| seen.path.split('?').next().unwrap()).collect();
    let list = "/installation/repositories";
    assert_eq!(lines, ["/app/installations", "/app/installations/55/access_tokens", list, list]);
    let claims = claims(&seen[1]);
    assert_eq!(claims["iss"], "7");
    let (made, ends) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(ends - made <= 600 && made < fake.clock.server_s(), "{claims}");
    assert_eq!(seen[2].header("authorization"), Some("Bearer ghs_1"));
    fake.clock.advance(std::time::Duration::from_secs(54 * 60));
    client.repositories(&Scope::All).await.expect("a list");
    fake.clock.advance(std::time::Duration::from_secs(120));
    client.repositories(&Scope::All).await.expect("a list");
    let tokens: Vec<_> =
        fake.seen()[4..].iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect();
    assert_eq!(tokens[0].as_deref(), Some("Bearer ghs_1"));
    assert_eq!(tokens.last().unwrap().as_deref(), Some("Bearer ghs_2"));
}

#[tokio::test]
async fn a_clone_gets_a_token_that_reads_one_repository() {
    let fake = github().await;
    let client = fake.client_as(&app(Some(55)));
    let first = client.clone_token("acme/one").await.expect("a token").expect("one");
    let again = client.clone_token("acme/one").await.expect("a token").expect("one");
    let other = client.clone_token("acme/two").await.expect("a token").expect("one");
    assert_eq!((first.expose(), again.expose(), other.expose()), ("ghs_1", "ghs_1", "ghs_2"));
    let body: Value = serde_json::from_str(&fake.seen()[0].body).unwrap();
    assert_eq!(body, json!({ "repositories": ["one"], "permissions": { "contents": "read" } }));
    let with_token = fake.client();
    assert_eq!(with_token.clone_token("acme/one").await.unwrap().unwrap().expose(), "ghp_test");
    assert!(fake.client_as(&Credential::Anonymous).clone_token("acme/one").await.unwrap().is_none());
}

#[tokio::test]
async fn a_revoked_token_is_made_anew_once() {
    let clock = Arc::new(TestClock::default());
    let (server, made) = (Arc::clone(&clock), AtomicU64::new(0));
    let fake = Fake::start_at(clock, move |seen| {
        if seen.method == "POST" {
            return token(made.fetch_add(1, Ordering::SeqCst) + 1, server.server_s());
        }
        match seen.header("authorization") {
            Some("Bearer ghs_2") if seen.path == "/repos/acme/one" => {
                Reply::json(r#"{"id": 1, "full_name": "acme/one"}"#)
            }
            _ => Reply::message(401, "Bad credentials"),
        }
    })
    .await;
    let client = fake.client_as(&app(Some(55)));
    client.repository("acme/one").await.expect("with a new token");
    let error = client.repository("acme/two").await.expect_err("refused for good");
    assert!(matches!(error, ApiError::Unauthorised { .. }), "{error}");
    assert_eq!(fake.seen().len(), 4 + 3);
}

#[tokio::test]
async fn a_wrong_clock_costs_one_refusal() {
    let clock = Arc::new(TestClock::default());
    clock.wall_at_start_s.fetch_add(3600, Ordering::SeqCst);
    let server = Arc::clone(&clock);
    let fake = Fake::start_at(clock, move |seen| {
        if seen.method == "GET" {
            return Reply::json(r#"{"id": 1, "full_name": "acme/one"}"#);
        }
        let now_s = server.server_s();
        let claims = claims(seen);
        let reply = if claims["iat"].as_u64().unwrap() > now_s || claims["exp"].as_u64().unwrap() > now_s + 600 {
            Reply::message(401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")
        } else {
            token(1, now_s)
        };
        reply.with("date", crate::fake::http_date(now_s))
    })
    .await;
    fake.client_as(&app(Some(55))).repository("acme/one").await.expect("by GitHub's clock");
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test]
async fn an_app_that_is_nowhere_or_everywhere_says_what_to_do() {
    for (installations, expected) in [
        ("[]", "installed nowhere"),
        (
            r#"[{"id": 1, "account": {"login": "a"}}, {"id": 2, "account": null}]"#,
            "1 (a), 2 (); set WFENGINE_GITHUB_APP_INSTALLATION",
        ),
    ] {
        let fake = Fake::in_turn(vec![Reply::json(installations)]).await;
        let error = fake.client_as(&app(None)).repositories(&Scope::All).await.expect_err("which one");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_key_that_cannot_sign_is_refused_at_once() {
    let fake = Fake::in_turn(vec![Reply::json("{}")]).await;
    for wrong in [
        "",
        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
        include_str!("keys/server.key.pem"),
    ] {
        let credential =
            Credential::App(AppKey { app_id: 7, key: Secret::new(wrong), installation: None, file: None });
        let cache = Arc::new(wfengine_github::MemoryCache::default());
        let clock: Arc<dyn wfengine_github::Clock> = Arc::clone(&fake.clock) as _;
        let made = wfengine_github::Client::new(fake.settings(), &credential, clock, cache, 1);
        assert!(matches!(made.err(), Some(wfengine_github::ClientError::Key(_))));
    }
}

#[tokio::test]
async fn the_token_of_a_workflow_run_lists_what_its_installation_has() {
    let fake = github().await;
    let client = fake.client_as(&Credential::token("ghs_run"));
    assert_eq!(client.repositories(&Scope::All).await.expect("a list").items.len(), 2);
    assert_eq!(fake.lines(), ["GET /installation/repositories?per_page=100"]);
}
