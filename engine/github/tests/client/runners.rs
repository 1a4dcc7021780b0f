//! Runners are listed, made once and deleted for sure, and nothing secret of them is shown.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use wfengine_github::{ApiError, Bucket, Clock, JitWanted, RunnerDeleted, RunnerScope, models::RunnerStatus};

use crate::fake::{Fake, Reply};

/// Of an encoded configuration; in no error and no `Debug`.
const BLOB: &str = "eyJzZWNyZXQiOiJibG9iIn0";

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn repository() -> RunnerScope {
    RunnerScope::parse("o/r").expect("a scope")
}

fn organization() -> RunnerScope {
    RunnerScope::parse("octo-org").expect("a scope")
}

fn wanted() -> JitWanted {
    JitWanted::new("wf-1", vec!["self-hosted".to_owned(), "linux".to_owned()])
}

fn made(name: &str) -> Reply {
    Reply::new(
        201,
        format!(
            r#"{{"runner": {{"id": 99999999999, "name": "{name}", "os": "unknown", "status": "offline",
                "busy": false, "labels": [], "runner_group_id": 1}}, "encoded_jit_config": "{BLOB}"}}"#
        ),
    )
}

fn taken() -> Reply {
    Reply::message(409, "Already exists - A runner with the name wf-1 already exists.")
}

fn token() -> Reply {
    Reply::new(201, format!(r#"{{"token": "{BLOB}", "expires_at": "2026-01-02T04:04:05Z"}}"#))
}

fn secondary() -> Reply {
    Reply::message(403, "You have exceeded a secondary rate limit.").with("x-ratelimit-remaining", 4211)
}

#[tokio::test]
async fn a_runner_is_asked_for_as_github_wants_it_and_its_secret_is_not_shown() {
    let fake = Fake::in_turn(vec![made("wf-1"), made("wf-1"), token(), token()]).await;
    let client = fake.client();
    let config = client.jit_config(&repository(), &wanted()).await.expect("a runner");
    assert_eq!(
        (config.runner.id, config.runner.status.as_ref()),
        (99_999_999_999, Some(&RunnerStatus::Offline))
    );
    assert_eq!(config.encoded.expose(), BLOB);
    let more = JitWanted { work_folder: Some("w".to_owned()), runner_group_id: 7, ..wanted() };
    client.jit_config(&organization(), &more).await.expect("a runner");
    let registration = client.registration_token(&organization()).await.expect("a token");
    let remove = client.remove_token(&repository()).await.expect("a token");
    assert_eq!((registration.token.expose(), registration.expires_s()), (BLOB, Some(1_767_326_645)));
    let shown = format!("{config:?} {registration:?} {remove:?} {:?}", config.decode());
    assert!(!shown.contains(BLOB) && shown.contains("hidden"), "{shown}");
    assert_eq!(
        fake.lines(),
        [
            "POST /repos/o/r/actions/runners/generate-jitconfig",
            "POST /orgs/octo-org/actions/runners/generate-jitconfig",
            "POST /orgs/octo-org/actions/runners/registration-token",
            "POST /repos/o/r/actions/runners/remove-token",
        ]
    );
    let seen = fake.seen();
    assert_eq!(seen[0].body, r#"{"name":"wf-1","runner_group_id":1,"labels":["self-hosted","linux"]}"#);
    assert_eq!(
        seen[1].body,
        r#"{"name":"wf-1","runner_group_id":7,"labels":["self-hosted","linux"],"work_folder":"w"}"#
    );
    assert!(seen[2].body.is_empty() && seen[3].body.is_empty());
    assert!(seen.windows(2).all(|pair| pair[1].at == pair[0].at), "no second lies between them");
    assert_eq!(client.stats().by_bucket[&Bucket::ActionsRunnerRegistration], 4);
}

#[tokio::test]
async fn nothing_that_is_no_name_is_sent() {
    let fake = Fake::in_turn(vec![Reply::json("{}")]).await;
    let client = fake.client();
    for scope in [RunnerScope::Repository("o".to_owned()), RunnerScope::Organization("o/r".to_owned())] {
        assert!(matches!(client.runners(&scope).await, Err(ApiError::Argument { .. })));
        assert!(matches!(client.delete_runner(&scope, 1).await, Err(ApiError::Argument { .. })));
        assert!(matches!(client.jit_config(&scope, &wanted()).await, Err(ApiError::Argument { .. })));
    }
    let nameless = JitWanted::new("", vec!["x".to_owned()]);
    assert!(matches!(client.jit_config(&repository(), &nameless).await, Err(ApiError::Argument { .. })));
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_runner_that_is_deleted_is_gone_busy_or_somebodys_mistake() {
    let scopeless = Reply::message(404, "Not Found")
        .with("x-accepted-oauth-scopes", "admin:org")
        .with("x-oauth-scopes", "gist");
    let fake = Fake::in_turn(vec![
        Reply::new(204, ""),
        Reply::message(404, "Not Found"),
        Reply::message(422, "Runner \"wf-1\" is still running a job"),
        scopeless.clone(),
        scopeless,
        Reply::message(404, "Not Found"),
    ])
    .await;
    let client = fake.client();
    assert_eq!(client.delete_runner(&repository(), 5).await, Ok(RunnerDeleted::Deleted));
    assert_eq!(client.delete_runner(&repository(), 5).await, Ok(RunnerDeleted::AlreadyGone));
    assert_eq!(client.delete_runner(&organization(), 5).await, Ok(RunnerDeleted::Busy));
    let error = client.delete_runner(&organization(), 5).await.expect_err("it sees none");
    assert!(matches!(error, ApiError::NotFound { needs: Some(_), .. }), "{error}");
    assert!(client.runner(&organization(), 5).await.is_err());
    assert_eq!(client.runner(&organization(), 5).await, Ok(None));
    assert_eq!(fake.lines()[2], "DELETE /orgs/octo-org/actions/runners/5");
    let at: Vec<Duration> = fake.seen()[..4].iter().map(|seen| seen.at).collect();
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= s(1)), "{at:?}");
}

#[tokio::test]
async fn a_deletion_whose_answer_is_lost_is_made_sure_of() {
    for broken in [Reply::dropped(), Reply::html(502)] {
        let fake = Fake::in_turn(vec![broken, Reply::message(404, "Not Found")]).await;
        let deleted = fake.client().delete_runner(&repository(), 5).await;
        assert_eq!((deleted, fake.seen().len()), (Ok(RunnerDeleted::AlreadyGone), 2));
    }
}

#[tokio::test]
async fn a_deletion_does_not_wait_behind_looking_around() {
    let fake = Fake::start(|seen| match seen.method.as_str() {
        "GET" => Reply::hanging(),
        _ => Reply::new(204, ""),
    })
    .await;
    let client = fake.client();
    let looking = client.clone();
    let task = tokio::spawn(async move { looking.runners(&repository()).await });
    while fake.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.delete_runner(&repository(), 5).await, Ok(RunnerDeleted::Deleted));
    assert_eq!(client.stats().unanswered, 0, "the other is still under way");
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_name_that_is_taken_is_a_conflict_and_asked_for_once() {
    let fake = Fake::in_turn(vec![taken()]).await;
    let error = fake.client().jit_config(&repository(), &wanted()).await.expect_err("taken");
    assert!(matches!(&error, ApiError::Conflict { message, .. } if message.contains("wf-1")), "{error}");
    assert_eq!(fake.seen().len(), 1);
    let full =
        Reply::message(422, "Invalid Argument - Runner group 1 has reached max limit of 10000 runners.");
    let fake = Fake::in_turn(vec![full]).await;
    let error = fake.client().jit_config(&repository(), &wanted()).await.expect_err("full");
    assert!(
        matches!(&error, ApiError::Unprocessable { message, .. } if message.contains("10000")),
        "{error}"
    );
}

#[tokio::test]
async fn a_permission_that_is_missing_is_never_asked_for_again() {
    let missing = Reply::message(403, "Resource not accessible by integration")
        .with("x-accepted-github-permissions", "administration=write")
        .with("x-ratelimit-remaining", 4000);
    let fake = Fake::in_turn(vec![missing]).await;
    let client = fake.client();
    let scope = repository();
    let errors = [
        client.runners(&scope).await.map(|_| ()),
        client.runner(&scope, 1).await.map(|_| ()),
        client.runner_named(&scope, "wf-1").await.map(|_| ()),
        client.delete_runner(&scope, 1).await.map(|_| ()),
        client.jit_config(&scope, &wanted()).await.map(|_| ()),
        client.registration_token(&scope).await.map(|_| ()),
        client.remove_token(&scope).await.map(|_| ()),
    ];
    for refused in &errors {
        assert!(
            matches!(refused, Err(ApiError::MissingPermission { accepted, .. }) if accepted == "administration=write"),
            "{refused:?}"
        );
    }
    assert_eq!(fake.seen().len(), errors.len(), "{:?}", fake.lines());
    assert_eq!(client.limited_for(&Bucket::ActionsRunnerRegistration), None);
}

#[tokio::test]
async fn a_secondary_limit_is_waited_for_and_the_runner_is_made_after_it() {
    for (limited, least) in [(secondary().with("retry-after", 30), 31), (secondary(), 60)] {
        let fake = Fake::in_turn(vec![limited.clone(), made("wf-1")]).await;
        let config = fake.client().jit_config(&repository(), &wanted()).await.expect("after the limit");
        let seen = fake.seen();
        assert_eq!((config.runner.name.as_str(), seen.len()), ("wf-1", 2));
        assert!(seen[1].at - seen[0].at >= s(least), "{seen:?}");

        let fake = Fake::in_turn(vec![limited]).await;
        let client = fake.client().with_patience(s(10));
        for _ in 0..2 {
            let error = client.jit_config(&repository(), &wanted()).await.expect_err("no patience");
            let until = fake.clock.wall_s() + least;
            assert!(matches!(error, ApiError::Limited { until_s, .. } if until_s >= until), "{error}");
        }
        assert!(client.registration_token(&organization()).await.is_err());
        assert_eq!(fake.seen().len(), 1, "nothing goes while it holds");
    }
}

#[tokio::test]
async fn a_runner_whose_answer_is_lost_is_not_asked_for_again_and_can_be_found() {
    for lost in [Reply::dropped(), Reply::html(502), made("wf-1").cut(20)] {
        let names: Arc<Mutex<Vec<String>>> = Arc::default();
        let known = Arc::clone(&names);
        let fake = Fake::start(move |seen| {
            let mut known = known.lock().unwrap();
            if seen.method == "GET" {
                // it does not know the filter
                let listed = known.iter().enumerate();
                let listed: Vec<String> =
                    listed.map(|(id, name)| format!(r#"{{"id": {id}, "name": "{name}"}}"#)).collect();
                return Reply::json(&format!(r#"{{"total_count": 1, "runners": [{}]}}"#, listed.join(",")));
            }
            let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
            let name = body["name"].as_str().unwrap().to_owned();
            match known.contains(&name) {
                true => taken(),
                false if known.is_empty() => {
                    known.extend(["another".to_owned(), name]);
                    lost.clone()
                }
                false => {
                    known.push(name.clone());
                    made(&name)
                }
            }
        })
        .await;
        let client = fake.client();
        let error = client.jit_config(&repository(), &wanted()).await.expect_err("lost");
        assert!(error.is_transient() && !error.to_string().contains(BLOB), "{error}");
        assert_eq!(fake.seen().len(), 1, "{error}");
        let error = client.jit_config(&repository(), &wanted()).await.expect_err("it was made");
        assert!(matches!(error, ApiError::Conflict { .. }), "{error}");
        let found = client.runner_named(&repository(), "wf-1").await.expect("a list").expect("it is there");
        assert_eq!(found.id, 1);
        assert_eq!(client.runner_named(&repository(), "wf").await, Ok(None), "no other name will do");
        let another = JitWanted { name: "wf-2".to_owned(), ..wanted() };
        assert_eq!(client.jit_config(&repository(), &another).await.expect("made").runner.name, "wf-2");
        assert_eq!(fake.lines()[2], "GET /repos/o/r/actions/runners?name=wf-1&per_page=100");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_again_until_it_comes() {
    for broken in [Reply::dropped(), Reply::html(502), token().cut(5)] {
        let fake = Fake::in_turn(vec![broken, token()]).await;
        let token = fake.client().registration_token(&organization()).await.expect("at last");
        assert_eq!((token.token.expose(), fake.seen().len()), (BLOB, 2));
    }
}

#[tokio::test]
async fn no_error_shows_what_an_answer_held() {
    for body in [
        format!(r#"{{"encoded_jit_config": "{BLOB}", "token": ["{BLOB}"]}}"#),
        format!(r#""{BLOB}""#),
        format!(r#"{{"token": "{BLOB}", "encoded_jit_config": "{BLOB}", oops"#),
        format!(r#"<html>{BLOB}</html>"#),
        format!(r#"{{"runner": "{BLOB}", "encoded_jit_config": 5, "token": {{"{BLOB}": 1}}}}"#),
    ] {
        let fake = Fake::in_turn(vec![Reply::new(201, body.clone())]).await;
        let client = fake.client();
        let error = client.jit_config(&repository(), &wanted()).await.expect_err("another shape");
        assert!(!format!("{error} {error:?}").contains(&BLOB[..10]), "{error:?}");
        assert_eq!(fake.seen().len(), 1);
        if let Err(error) = client.remove_token(&repository()).await {
            assert!(!format!("{error} {error:?}").contains(&BLOB[..10]), "{error:?}");
        }
    }
}

fn page(ids: impl IntoIterator<Item = u64>) -> Reply {
    let all: Vec<String> = ids
        .into_iter()
        .map(|id| format!(r#"{{"id": {id}, "name": "r{id}", "status": "rebooting", "labels": null}}"#))
        .collect();
    Reply::json(&format!(r#"{{"total_count": 5, "runners": [{}]}}"#, all.join(",")))
}

#[tokio::test]
async fn a_runner_that_moves_between_pages_is_listed_once() {
    let fake = Fake::start(|seen| {
        let base = format!("http://{}", seen.header("host").unwrap());
        let next =
            |number: u32| format!("<{base}/organizations/7/actions/runners?page={number}>; rel=\"next\"");
        if seen.header("if-none-match").is_some() {
            return Reply::new(304, "");
        }
        match seen.path.as_str() {
            "/orgs/octo-org/actions/runners?per_page=100" => {
                page([1, 2]).with("link", next(2)).with("etag", "\"a\"")
            }
            // a new one came to the front meanwhile
            "/organizations/7/actions/runners?page=2" => {
                page([2, 3]).with("link", next(3)).with("etag", "\"b\"")
            }
            "/organizations/7/actions/runners?page=3" => {
                Reply::json(r#"{"runners": [{"id": null}, {"id": 4}]}"#).with("etag", "\"c\"")
            }
            other => panic!("{other}"),
        }
    })
    .await;
    let client = fake.client();
    let listing = client.runners(&organization()).await.expect("a list");
    let ids: Vec<u64> = listing.items.iter().map(|runner| runner.id).collect();
    assert_eq!((ids.as_slice(), listing.pages, listing.unreadable), ([1, 2, 3, 4].as_slice(), 3, 1));
    assert!(!listing.is_cut && !listing.is_unchanged);
    let again = client.runners(&organization()).await.expect("a list");
    assert!(again.is_unchanged && again.items == listing.items);
    assert_eq!(client.stats().not_modified, 3);
}

#[tokio::test]
async fn a_list_without_end_is_cut_after_a_hundred_pages() {
    let fake = Fake::start(|seen| {
        let number: u64 = seen.path.rsplit_once("&page=").map_or(1, |(_, number)| number.parse().unwrap());
        let base = format!("http://{}", seen.header("host").unwrap());
        let next =
            format!("<{base}/repos/o/r/actions/runners?per_page=100&page={}>; rel=\"next\"", number + 1);
        page([number]).with("link", next)
    })
    .await;
    let listing = fake.client().runners(&repository()).await.expect("a list");
    assert_eq!((listing.items.len(), listing.pages, listing.is_cut), (100, 100, true));
    assert_eq!(fake.seen().len(), 100);
}

#[tokio::test]
async fn two_hundred_runners_at_once_are_all_made_at_their_pace() {
    let fake = Fake::start(|seen| {
        let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
        made(body["name"].as_str().unwrap()).limits(
            "actions_runner_registration",
            10_000,
            5_000,
            1_767_323_045,
            3600,
        )
    })
    .await;
    // its patience is for limits; its own pace is none
    let client = fake.client().with_patience(Duration::ZERO);
    let all: Vec<_> = (0..200)
        .map(|number| {
            let client = client.clone();
            let wanted = JitWanted::new(format!("wf-{number}"), vec!["x".to_owned()]);
            tokio::spawn(async move { client.jit_config(&repository(), &wanted).await })
        })
        .collect();
    for one in all {
        one.await.unwrap().expect("its turn");
    }
    let at: Vec<Duration> = fake.seen().iter().map(|seen| seen.at).collect();
    let within = |start: Duration| at.iter().filter(|at| (start..start + s(60)).contains(*at)).count();
    let most = at.iter().map(|start| within(*start)).max();
    // those under way when the clock jumps arrive later than they went
    assert!(at.len() == 200 && most.is_some_and(|most| (160..=166).contains(&most)), "{most:?}");
    let left = client.budgets();
    assert_eq!(left[&Bucket::ActionsRunnerRegistration].remaining, 5_000);
    assert_eq!((left.len(), client.stats().limited), (1, 0));
}
