//! Every bad answer that GitHub, or something in between, has been seen to give.

use std::time::Duration;

use wfengine_github::{ApiError, Credential, Origin, Settings};

use crate::fake::{Fake, Reply};

const REPOSITORY: &str = r#"{"id": 1, "full_name": "octo/one", "name": "one"}"#;

async fn error_of(reply: Reply) -> (ApiError, usize) {
    let fake = Fake::in_turn(vec![reply]).await;
    let error = fake.client().repository("octo/one").await.expect_err("a refusal");
    (error, fake.seen().len())
}

#[tokio::test]
async fn every_refusal_is_told_apart_and_sent_once() {
    let permission = Reply::message(403, "Resource not accessible by personal access token")
        .with("x-accepted-github-permissions", "contents=read")
        .with("x-ratelimit-remaining", 4000);
    let scopes = Reply::message(404, "Not Found")
        .with("x-accepted-oauth-scopes", "repo")
        .with("x-oauth-scopes", "gist");
    let sso = Reply::message(403, "Resource protected")
        .with("x-github-sso", "required; url=https://github.test/sso");
    let cases = [
        (Reply::message(401, "Bad credentials"), "401 Bad credentials: the token is wrong"),
        (permission, "needs the permission contents=read"),
        (sso, "authorise it at https://github.test/sso"),
        (Reply::message(403, "Repository access blocked"), "403 Repository access blocked"),
        (Reply::message(404, "Not Found"), "404: it does not exist, or the token may not see it"),
        (scopes, "it has none of the scopes repo"),
        (Reply::message(409, "Git Repository is empty."), "409 Git Repository is empty."),
        (Reply::message(410, "Gone"), "gone for good"),
        (Reply::message(422, "Validation Failed"), "422 Validation Failed"),
        (Reply::message(451, "Repository access blocked"), "451"),
        (Reply::message(400, "Problems parsing JSON"), "400 Problems parsing JSON"),
        (Reply::html(403), "not JSON but `<!DOCTYPE html>"),
        (Reply::html(200), "not JSON but `<!DOCTYPE html>"),
        (Reply::json("[]"), "another shape than described"),
        (Reply::json(r#"{"id": "x"}"#), "another shape than described"),
        (Reply::new(302, ""), "302 without a location"),
    ];
    for (reply, expected) in cases {
        let shown = format!("{reply:?}");
        let (error, requests) = error_of(reply).await;
        assert!(error.to_string().contains(expected), "{error}\n{shown}");
        assert!(error.to_string().starts_with("GET /repos/octo/one: "), "{error}");
        assert_eq!(requests, 1, "{error}");
        assert!(!error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn reading_is_repeated_three_times_with_growing_waits() {
    for broken in [
        Reply::html(502),
        Reply::message(500, "Server Error"),
        Reply::dropped(),
        Reply::json(REPOSITORY).cut(10),
        Reply::json(&REPOSITORY[..20]),
    ] {
        let fake = Fake::in_turn(vec![broken.clone()]).await;
        let error = fake.client().repository("octo/one").await.expect_err("broken");
        assert!(error.is_transient(), "{error}");
        let at: Vec<Duration> = fake.seen().iter().map(|seen| seen.at).collect();
        assert_eq!(at.len(), 4, "{error}");
        let waits: Vec<Duration> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (wait, seconds) in waits.iter().zip([1, 2, 4]) {
            let least = Duration::from_secs(seconds);
            assert!(*wait >= least && *wait <= least.mul_f64(1.5), "{waits:?}");
        }
        let mends = Fake::in_turn(vec![broken, Reply::json(REPOSITORY)]).await;
        let found = mends.client().repository("octo/one").await.expect("mended");
        assert_eq!((found.value.id, found.origin), (1, Origin::Fresh));
    }
}

#[tokio::test]
async fn a_server_that_names_a_wait_gets_it() {
    let fake = Fake::in_turn(vec![Reply::html(503).with("retry-after", 20), Reply::json(REPOSITORY)]).await;
    fake.client().repository("octo/one").await.expect("mended");
    let seen = fake.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(20));
}

#[tokio::test]
async fn a_cut_body_is_not_kept_and_a_whole_one_is() {
    let whole = Reply::json(REPOSITORY).with("etag", "\"a\"");
    let unchanged = Reply::new(304, "").with("etag", "\"a\"");
    let fake =
        Fake::in_turn(vec![whole.clone().cut(5), Reply::json("{").with("etag", "\"b\""), whole, unchanged])
            .await;
    let client = fake.client();
    assert_eq!(client.repository("octo/one").await.expect("at last").origin, Origin::Fresh);
    assert_eq!(client.repository("octo/one").await.expect("kept").origin, Origin::Unchanged);
    let tags: Vec<Option<String>> =
        fake.seen().iter().map(|seen| seen.header("if-none-match").map(str::to_owned)).collect();
    assert_eq!(tags, [None, None, None, Some("\"a\"".to_owned())]);
    let stats = client.stats();
    assert_eq!((stats.requests, stats.not_modified), (4, 1));
    assert_eq!(stats.by_status[&200], 3);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_not_read() {
    for reply in [
        Reply::json(&" ".repeat(2000)),
        Reply::json(&" ".repeat(2000)).with("transfer-encoding", "x").with("content-length", 5000),
    ] {
        let fake = Fake::in_turn(vec![reply]).await;
        let client = fake.client_with(
            Settings { body_bytes_max: 1000, ..fake.settings() },
            &Credential::token("ghp_test"),
        );
        let error = client.repository("octo/one").await.expect_err("too large");
        assert!(
            matches!(error, ApiError::TooLarge { bytes_max: 1000, .. } | ApiError::Transport { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn who_does_not_answer_is_given_up() {
    let fake = Fake::in_turn(vec![Reply::hanging()]).await;
    let settings = Settings { timeout: Duration::from_millis(50), ..fake.settings() };
    let error = fake
        .client_with(settings, &Credential::Anonymous)
        .repository("octo/one")
        .await
        .expect_err("no answer");
    assert!(error.to_string().contains("no whole answer within"), "{error}");
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn nobody_there_is_said_to_be_unsent() {
    let fake = Fake::in_turn(vec![Reply::json("")]).await;
    let settings = Settings::new("http://127.0.0.1:1").unwrap();
    let error =
        fake.client_with(settings, &Credential::Anonymous).repository("octo/one").await.expect_err("nobody");
    assert!(matches!(&error, ApiError::Transport { unsent: true, .. }), "{error}");
    assert!(error.to_string().ends_with("nothing was sent"), "{error}");
}

#[tokio::test]
async fn requests_carry_what_github_wants() {
    let fake = Fake::in_turn(vec![Reply::json(REPOSITORY)]).await;
    fake.client().repository("octo/one").await.expect("found");
    fake.client_as(&Credential::Anonymous).repository("octo/one").await.expect("found");
    let seen = fake.seen();
    assert_eq!(seen[0].header("authorization"), Some("Bearer ghp_test"));
    assert_eq!(seen[0].header("accept"), Some("application/vnd.github+json"));
    assert_eq!(seen[0].header("x-github-api-version"), Some("2022-11-28"));
    assert!(seen[0].header("user-agent").is_some_and(|agent| agent.starts_with("wfengine/")));
    assert_eq!(seen[1].header("authorization"), None);
}

#[tokio::test]
async fn no_error_and_no_debug_shows_the_token() {
    let fake = Fake::in_turn(vec![Reply::message(401, "Bad credentials")]).await;
    let error = fake.client().repository("octo/one").await.expect_err("refused");
    assert!(!format!("{error} {error:?}").contains("ghp_test"));
    assert!(!format!("{:?}", Credential::token("ghp_test")).contains("ghp_test"));
}
