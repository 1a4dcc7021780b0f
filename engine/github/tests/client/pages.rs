//! Pages, redirects, tags: what is followed, what is kept, and where the token goes.

use wfengine_github::{ApiError, Credential, MemoryCache, Origin, Scope};

use std::sync::Arc;

use crate::fake::{Fake, Reply};

fn repository(id: u64) -> String {
    format!(r#"{{"id": {id}, "full_name": "octo/r{id}", "owner": {{"login": "octo"}}}}"#)
}

fn page(ids: &[u64]) -> Reply {
    let all: Vec<String> = ids.iter().map(|id| repository(*id)).collect();
    Reply::json(&format!("[{}]", all.join(",")))
}

fn next(base: &str, path: &str) -> String {
    format!("<{base}{path}>; rel=\"next\", <{base}/user/repos?page=9>; rel=\"last\"")
}

#[tokio::test]
async fn pages_are_followed_by_path_and_doubles_dropped() {
    let fake = Fake::start(|seen| {
        let base = format!("http://{}", seen.header("host").unwrap());
        match seen.path.as_str() {
            "/user/repos?page=2" => page(&[2, 3]).with("link", next(&base, "/repositories/7/x?page=3")),
            "/repositories/7/x?page=3" => page(&[3, 4]),
            _ => page(&[1, 2]).with("link", next(&base, "/user/repos?page=2")),
        }
    })
    .await;
    let listing = fake.client().repositories(&Scope::All).await.expect("a list");
    let ids: Vec<u64> = listing.items.iter().map(|repository| repository.id).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_eq!((listing.pages, listing.is_cut, listing.unreadable), (3, false, 0));
    assert!(fake.seen().iter().all(|seen| seen.header("authorization") == Some("Bearer ghp_test")));
}

#[tokio::test]
async fn a_next_page_on_another_host_is_not_asked_for() {
    let foreign = Fake::in_turn(vec![page(&[9])]).await;
    let fake = Fake::in_turn(vec![page(&[1]).with("link", next(&foreign.base, "/user/repos?page=2"))]).await;
    let error = fake.client().repositories(&Scope::All).await.expect_err("a foreign host");
    assert!(matches!(&error, ApiError::ForeignLink { host, .. } if foreign.base.ends_with(host)), "{error}");
    assert_eq!((fake.seen().len(), foreign.seen().len()), (1, 0));
}

#[tokio::test]
async fn pages_that_lead_in_a_circle_end() {
    let fake = Fake::start(|seen| {
        let base = format!("http://{}", seen.header("host").unwrap());
        page(&[1]).with("link", next(&base, "/user/repos?page=2"))
    })
    .await;
    let error = fake.client().repositories(&Scope::All).await.expect_err("a circle");
    assert!(error.to_string().contains("circle"), "{error}");
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn one_odd_entry_does_not_lose_its_page() {
    let body = format!(r#"[{}, {{"id": null}}, 7, {}]"#, repository(1), repository(2));
    let fake = Fake::in_turn(vec![Reply::json(&body)]).await;
    let listing = fake.client().repositories(&Scope::All).await.expect("a list");
    assert_eq!((listing.items.len(), listing.unreadable), (2, 2));
}

#[tokio::test]
async fn a_page_that_was_cut_fails_the_list_and_is_not_kept() {
    let cut = page(&[1, 2]).with("etag", "\"a\"").cut(30);
    let fake = Fake::in_turn(vec![cut]).await;
    let error = fake.client().repositories(&Scope::All).await.expect_err("a cut page");
    assert!(matches!(error, ApiError::Truncated { .. }), "{error}");
    assert!(fake.seen().iter().all(|seen| seen.header("if-none-match").is_none()));
}

#[tokio::test]
async fn an_unchanged_list_costs_nothing_and_keeps_its_links() {
    let fake = Fake::start(|seen| {
        let base = format!("http://{}", seen.header("host").unwrap());
        if seen.header("if-none-match").is_some() {
            return Reply::new(304, "");
        }
        match seen.path.as_str() {
            "/user/repos?page=2" => page(&[2]).with("etag", "W/\"b\""),
            _ => page(&[1]).with("etag", "\"a\"").with("link", next(&base, "/user/repos?page=2")),
        }
    })
    .await;
    let client = fake.client();
    let first = client.repositories(&Scope::All).await.expect("a list");
    let second = client.repositories(&Scope::All).await.expect("a list");
    assert!(!first.is_unchanged && second.is_unchanged);
    assert_eq!((first.items, second.pages), (second.items, 2));
    assert_eq!(client.stats().not_modified, 2);
    assert_eq!(fake.seen()[3].header("if-none-match"), Some("W/\"b\""));
}

#[tokio::test]
async fn a_tag_serves_only_whoever_got_it() {
    let fake = Fake::in_turn(vec![Reply::json(&repository(1)).with("etag", "\"a\"")]).await;
    let cache = Arc::new(MemoryCache::default());
    let clock = Arc::clone(&fake.clock);
    let client = |token: &str| {
        let clock: Arc<dyn wfengine_github::Clock> = Arc::clone(&clock) as _;
        let credential = Credential::token(token);
        wfengine_github::Client::new(fake.settings(), &credential, clock, Arc::clone(&cache) as _, 1).unwrap()
    };
    for token in ["first", "second", "first"] {
        client(token).repository("octo/r1").await.expect("found");
    }
    let tags: Vec<bool> = fake.seen().iter().map(|seen| seen.header("if-none-match").is_some()).collect();
    assert_eq!(tags, [false, false, true]);
}

#[tokio::test]
async fn a_304_for_something_that_cannot_be_read_any_more_is_asked_again() {
    let fake = Fake::start(|seen| match (seen.path.as_str(), seen.header("if-none-match")) {
        (_, Some(_)) => Reply::new(304, ""),
        ("/user", None) => Reply::json(r#"{"login": "octocat"}"#).with("etag", "\"a\""),
        _ => Reply::json("{}"),
    })
    .await;
    let client = fake.client();
    client.user().await.expect("a user");
    assert_eq!(client.user().await.expect("a user").origin, Origin::Unchanged);
    // a 304 that nobody asked for is no answer
    let fake = Fake::in_turn(vec![Reply::new(304, "")]).await;
    assert!(matches!(fake.client().user().await, Err(ApiError::Refused { status: 304, .. })));
}

#[tokio::test]
async fn a_renamed_repository_is_followed_by_path_and_said() {
    let fake = Fake::start(|seen| match seen.path.as_str() {
        "/repos/octo/old" => {
            let location = format!("http://{}/repositories/7", seen.header("host").unwrap());
            Reply::message(301, "Moved Permanently").with("location", location)
        }
        _ => Reply::json(&repository(7)),
    })
    .await;
    let found = fake.client().repository("octo/old").await.expect("followed");
    assert_eq!(found.value.full_name, "octo/r7");
    assert_eq!(found.moved_to.as_deref(), Some("/repositories/7"));
    assert_eq!(fake.lines(), ["GET /repos/octo/old", "GET /repositories/7"]);
}

#[tokio::test]
async fn redirects_end_after_three() {
    let fake = Fake::start(|seen| Reply::new(302, "").with("location", format!("{}x", seen.path))).await;
    let error = fake.client().repository("octo/one").await.expect_err("no end");
    assert!(matches!(error, ApiError::Moved { .. }), "{error}");
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed_and_never_sees_the_token() {
    let foreign = Fake::in_turn(vec![Reply::json(&repository(1))]).await;
    for status in [301, 302, 307, 308] {
        let there = format!("{}/repos/octo/one?sig=secret", foreign.base);
        let fake = Fake::in_turn(vec![Reply::new(status, "").with("location", &there)]).await;
        let client = fake.client();
        let error = client.repository("octo/one").await.expect_err("elsewhere");
        assert!(
            matches!(&error, ApiError::RedirectElsewhere { location, .. } if *location == there),
            "{error}"
        );
        assert!(!error.to_string().contains("sig="), "{error}");
        assert_eq!(client.job_log_location("octo/one", 5).await.expect("a place"), there);
    }
    assert!(foreign.seen().is_empty());
}

#[tokio::test]
async fn a_base_with_a_path_is_kept_in_front() {
    let fake = Fake::start(|seen| match seen.path.as_str() {
        "/api/v3/user/repos?affiliation=owner,collaborator,organization_member&sort=full_name&per_page=100" =>
        {
            let base = format!("http://{}/api/v3", seen.header("host").unwrap());
            page(&[1]).with("link", next(&base, "/user/repos?page=2"))
        }
        "/api/v3/user/repos?page=2" => page(&[2]),
        other => panic!("{other}"),
    })
    .await;
    let settings = wfengine_github::Settings::new(&format!("{}/api/v3", fake.base)).unwrap();
    let client = fake.client_with(settings, &Credential::token("ghp_test"));
    assert_eq!(client.repositories(&Scope::All).await.expect("a list").items.len(), 2);
    assert_eq!(client.clone_url("octo/one"), format!("{}/octo/one.git", fake.base));
}
