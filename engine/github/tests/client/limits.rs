//! No request while a limit was told, over minutes and over a day.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use wfengine_github::{ApiError, Bucket, Clock, Credential, Origin, Pace, Settings};

use crate::fake::{Fake, Reply, TestClock};

const REPOSITORY: &str = r#"{"id": 1, "full_name": "octo/one"}"#;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn secondary() -> Reply {
    Reply::message(
        403,
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
    )
    .with("x-ratelimit-remaining", 4211)
}

#[tokio::test]
async fn a_short_limit_is_waited_for_and_a_long_one_is_told() {
    let limited = secondary().with("retry-after", 60);
    let fake = Fake::in_turn(vec![limited.clone(), Reply::json(REPOSITORY)]).await;
    fake.client().repository("octo/one").await.expect("after a minute");
    let seen = fake.seen();
    assert!(seen[1].at - seen[0].at >= s(61), "{seen:?}");

    let fake = Fake::in_turn(vec![limited]).await;
    let client = fake.client().with_patience(s(10));
    let now_s = fake.clock.wall_s();
    for _ in 0..3 {
        let error = client.repository("octo/one").await.expect_err("no patience");
        let ApiError::Limited { until_s, gave_up, .. } = error else { panic!("{error}") };
        assert_eq!((until_s, gave_up), (now_s + 61, false));
    }
    assert_eq!(fake.seen().len(), 1, "nothing goes while it holds");
    assert_eq!(client.limited_for(&Bucket::Graphql), Some(s(61)));
}

#[tokio::test]
async fn after_six_refusals_in_a_row_the_client_gives_up() {
    let fake = Fake::in_turn(vec![secondary()]).await;
    let client = fake.client().with_patience(s(24 * 3600));
    let error = client.repository("octo/one").await.expect_err("for ever");
    assert!(matches!(error, ApiError::Limited { gave_up: true, .. }), "{error}");
    let at: Vec<Duration> = fake.seen().iter().map(|seen| seen.at).collect();
    assert_eq!(at.len(), 6);
    for (pair, least) in at.windows(2).zip([60, 120, 240, 480, 900]) {
        assert!(pair[1] - pair[0] >= s(least), "{at:?}");
    }
}

#[tokio::test]
async fn a_spent_budget_is_waited_out_by_githubs_clock() {
    for skew_s in [-7200_i64, 0, 7200] {
        let clock = Arc::new(TestClock::default());
        let server = Arc::clone(&clock);
        let opens = clock.now() + s(300);
        let fake = Fake::start_at(clock, move |_| {
            let date = server.server_s();
            if server.now() < opens {
                let left = (opens - server.now()).as_secs();
                Reply::message(403, "API rate limit exceeded for user ID 1.")
                    .limits("core", 5000, 0, date, left)
            } else {
                Reply::json(REPOSITORY).limits("core", 5000, 4999, date, 3600)
            }
        })
        .await;
        fake.clock.wall_at_start_s.store(1_767_323_045_u64.saturating_add_signed(skew_s), Ordering::SeqCst);
        let client = fake.client().with_patience(s(400));
        client.repository("octo/one").await.expect("after five minutes");
        let seen = fake.seen();
        assert_eq!(seen.len(), 2);
        assert!(
            seen[1].at - seen[0].at >= s(300) && seen[1].at - seen[0].at <= s(302),
            "skew {skew_s}: {seen:?}"
        );
        assert_eq!(client.budget(&Bucket::Core).map(|budget| budget.remaining), Some(4999));
    }
}

#[tokio::test]
async fn a_spent_core_leaves_graphql_and_stale_answers() {
    let clock = Arc::new(TestClock::default());
    let server = Arc::clone(&clock);
    let requests = AtomicU64::new(0);
    let fake = Fake::start_at(clock, move |seen| {
        match (seen.path.as_str(), requests.fetch_add(1, Ordering::SeqCst)) {
            ("/graphql", _) => Reply::json(r#"{"data": {"viewer": {"login": "octocat"}}}"#),
            (_, 0) => {
                Reply::json(REPOSITORY).with("etag", "\"a\"").limits("core", 60, 6, server.server_s(), 1800)
            }
            _ => panic!("within the reserve"),
        }
    })
    .await;
    let client = fake.client();
    client.repository("octo/one").await.expect("the first");
    let error = client.repository("octo/one").await.expect_err("the rest is kept");
    assert!(matches!(&error, ApiError::Limited { bucket: Bucket::Core, .. }), "{error}");
    assert!(error.is_limited() && !error.is_transient());
    let stale = client.taking_stale().repository("octo/one").await.expect("what was kept");
    assert!(matches!(stale.origin, Origin::Stale { confirmed_s } if confirmed_s == fake.clock.wall_s()));
    assert!(client.taking_stale().repository("octo/two").await.is_err(), "nothing was kept of it");
    let answered =
        client.graphql::<serde_json::Value>("{ viewer { login } }", &()).await.expect("another budget");
    assert_eq!(answered.data["viewer"]["login"], "octocat");
    assert_eq!(fake.lines(), ["GET /repos/octo/one", "POST /graphql"]);
}

#[tokio::test]
async fn a_permission_that_is_missing_is_no_limit() {
    let missing = Reply::message(403, "Resource not accessible by integration")
        .with("x-accepted-github-permissions", "administration=write")
        .limits("core", 5000, 4000, 1_767_323_045, 60);
    let fake = Fake::in_turn(vec![missing, Reply::json(REPOSITORY)]).await;
    let client = fake.client();
    let error = client.repository("octo/one").await.expect_err("not allowed");
    assert!(
        matches!(&error, ApiError::MissingPermission { accepted, .. } if accepted == "administration=write")
    );
    client.repository("octo/one").await.expect("nothing holds it back");
    let seen = fake.seen();
    assert!(seen[1].at == seen[0].at, "and at once");
}

#[tokio::test]
async fn requests_of_one_credential_go_one_by_one() {
    let under_way = Arc::new(AtomicU64::new(0));
    let most = Arc::new(AtomicU64::new(0));
    let (count, highest) = (Arc::clone(&under_way), Arc::clone(&most));
    let fake = Fake::start(move |_| {
        let now = count.fetch_add(1, Ordering::SeqCst) + 1;
        highest.fetch_max(now, Ordering::SeqCst);
        count.fetch_sub(1, Ordering::SeqCst);
        Reply::json(REPOSITORY)
    })
    .await;
    let client = fake.client();
    let all: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.repository("octo/one").await })
        })
        .collect();
    for one in all {
        one.await.unwrap().expect("its turn");
    }
    assert_eq!((fake.seen().len(), most.load(Ordering::SeqCst)), (20, 1));
}

#[tokio::test]
async fn a_dropped_request_gives_its_place_back() {
    let fake = Fake::in_turn(vec![Reply::hanging(), Reply::json(REPOSITORY)]).await;
    let client = fake.client();
    let hanging = client.clone();
    let task = tokio::spawn(async move { hanging.repository("octo/one").await });
    while fake.seen().is_empty() {
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    client.repository("octo/one").await.expect("the place is free");
}

/// GitHub as its documentation describes it, with a window of an hour, refusals that come out of nowhere, and a note of every
/// request that comes while one of them holds.
struct Strict {
    limit: u64,
    used: u64,
    window_ends: Duration,
    refuses_until: Duration,
    requests: u64,
    broken: Vec<String>,
    chance: u64,
}

impl Strict {
    fn answer(&mut self, clock: &TestClock) -> Reply {
        let now = clock.now();
        self.requests += 1;
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if now < self.refuses_until {
            self.broken.push(format!("{now:?}: within the refusal until {:?}", self.refuses_until));
        }
        if now >= self.window_ends {
            (self.used, self.window_ends) = (0, now + s(3600));
        }
        let date = clock.server_s();
        let left = (self.window_ends - now).as_secs();
        if self.used >= self.limit {
            self.broken.push(format!("{now:?}: nothing was left until {:?}", self.window_ends));
        }
        let draw = (self.chance >> 33) % 200;
        if draw < 3 {
            let told = 20 + self.chance % 300;
            self.refuses_until = now + s(if draw == 0 { told } else { 60 });
            let refusal = secondary().limits("core", self.limit, self.limit - self.used, date, left);
            return if draw == 0 { refusal.with("retry-after", told) } else { refusal };
        }
        self.used += 1;
        let remaining = self.limit.saturating_sub(self.used);
        match draw {
            3 => Reply::html(502).limits("core", self.limit, remaining, date, left),
            4 => Reply::dropped(),
            _ => Reply::json(REPOSITORY).limits("core", self.limit, remaining, date, left),
        }
    }
}

#[tokio::test]
async fn a_day_of_asking_never_hits_a_limit() {
    let clock = Arc::new(TestClock::default());
    clock.wall_at_start_s.store(12_345, Ordering::SeqCst);
    let strict = Arc::new(Mutex::new(Strict {
        limit: 100,
        used: 0,
        window_ends: Duration::ZERO,
        refuses_until: Duration::ZERO,
        requests: 0,
        broken: Vec::new(),
        chance: 42,
    }));
    let (server, at) = (Arc::clone(&strict), Arc::clone(&clock));
    let fake = Fake::start_at(Arc::clone(&clock), move |_| server.lock().unwrap().answer(&at)).await;
    let settings =
        Settings { pace: Pace { rest_points_a_minute: 100_000, ..Pace::default() }, ..fake.settings() };
    let client = fake.client_with(settings, &Credential::token("ghp_test"));
    let end = clock.now() + s(24 * 3600);
    let (mut answers, mut limited) = (0_u64, 0_u64);
    while clock.now() < end {
        match client.repository("octo/one").await {
            Ok(_) => answers += 1,
            Err(ApiError::Limited { until_s, .. }) => {
                limited += 1;
                clock.advance(s(until_s - clock.wall_s()));
            }
            Err(error) => panic!("{error}"),
        }
    }
    let strict = strict.lock().unwrap();
    assert!(
        strict.broken.is_empty(),
        "{} of {}: {:?}",
        strict.broken.len(),
        strict.requests,
        &strict.broken[..1]
    );
    assert!(answers > 24 * 50 && limited > 10, "{answers} answers, {limited} limits: the day was too quiet");
    assert_eq!(client.stats().requests, strict.requests);
}
