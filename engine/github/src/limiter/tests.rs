//! Each rule by an example, and a thousand random histories against a naive model that only remembers what was told.

mod registrations;

use proptest::prelude::*;

use super::*;

const DATE: u64 = 1_767_323_045;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn answer(status: u16) -> AnswerHeaders {
    AnswerHeaders { status, date_s: Some(DATE), ..AnswerHeaders::default() }
}

fn told(status: u16, limit: u64, remaining: u64, resets_in: u64) -> AnswerHeaders {
    AnswerHeaders {
        limit: Some(limit),
        remaining: Some(remaining),
        reset_s: Some(DATE + resets_in),
        resource: Some(Bucket::Core),
        ..answer(status)
    }
}

fn limiter() -> Limiter {
    Limiter::new(1, Pace::default())
}

fn read(limiter: &mut Limiter, now: Duration) -> Ask {
    limiter.ask(&Bucket::Core, Kind::Read, Urgency::Normal, now)
}

fn go(ask: Ask) -> Permit {
    match ask {
        Ask::Go(permit) => permit,
        other => panic!("may not go: {other:?}"),
    }
}

/// Asks and answers at once.
fn exchange(limiter: &mut Limiter, answer: &AnswerHeaders, now: Duration) -> Verdict {
    let permit = go(read(limiter, now));
    limiter.answered(permit, answer, now)
}

fn waits(ask: Ask) -> (Duration, Why) {
    match ask {
        Ask::WaitUntil(until, why) => (until, why),
        other => panic!("does not wait: {other:?}"),
    }
}

#[test]
fn a_date_that_contradicts_the_end_it_comes_with_is_not_believed() {
    let mut limiter = limiter();
    // something in between puts in its own clock, two hours ahead; this host's is right
    let spent = AnswerHeaders { date_s: Some(DATE + 7_200), wall_s: DATE, ..told(403, 5000, 0, 600) };
    assert_eq!(exchange(&mut limiter, &spent, s(0)), Verdict::Limited);
    assert_eq!(waits(read(&mut limiter, s(1))), (s(601), Why::Spent));
}

#[test]
fn one_normal_request_at_a_time_and_urgent_ones_beside_it() {
    let mut limiter = limiter();
    let first = go(read(&mut limiter, s(0)));
    assert!(matches!(read(&mut limiter, s(0)), Ask::Busy));
    let urgent = go(limiter.ask(&Bucket::Core, Kind::Read, Urgency::Urgent, s(0)));
    limiter.abandoned(first, s(1));
    let again = go(read(&mut limiter, s(1)));
    limiter.abandoned(urgent, s(1));
    limiter.abandoned(again, s(1));
}

#[test]
fn a_spent_bucket_opens_when_github_says_whatever_the_local_clock_says() {
    for wall_s in [0, DATE, DATE + 86_400] {
        let mut limiter = limiter();
        let spent = AnswerHeaders { wall_s, ..told(403, 5000, 0, 600) };
        assert_eq!(exchange(&mut limiter, &spent, s(10)), Verdict::Limited);
        assert_eq!(waits(read(&mut limiter, s(10))), (s(10 + 600 + 1), Why::Spent));
        assert!(matches!(read(&mut limiter, s(610)), Ask::WaitUntil(..)));
        assert!(matches!(read(&mut limiter, s(611)), Ask::Go(_)));
    }
}

#[test]
fn a_spent_bucket_leaves_the_others_open() {
    let mut limiter = limiter();
    exchange(&mut limiter, &told(403, 5000, 0, 600), s(0));
    let graphql = limiter.ask(&Bucket::Graphql, Kind::Read, Urgency::Normal, s(0));
    assert!(matches!(graphql, Ask::Go(_)));
}

#[test]
fn without_a_date_the_wall_clock_has_to_do() {
    let mut limiter = limiter();
    let spent = AnswerHeaders { date_s: None, wall_s: DATE + 100, ..told(200, 5000, 0, 600) };
    exchange(&mut limiter, &spent, s(0));
    assert_eq!(waits(read(&mut limiter, s(0))), (s(501), Why::Spent));
}

#[test]
fn the_last_tenth_of_core_is_kept_for_what_is_urgent() {
    let mut limiter = limiter();
    exchange(&mut limiter, &told(200, 5000, 501, 600), s(0));
    exchange(&mut limiter, &told(200, 5000, 500, 600), s(0));
    assert_eq!(waits(read(&mut limiter, s(1))), (s(601), Why::Reserve));
    let urgent = go(limiter.ask(&Bucket::Core, Kind::Read, Urgency::Urgent, s(1)));
    limiter.answered(urgent, &told(200, 5000, 499, 600), s(1));
    assert_eq!(limiter.budget(&Bucket::Core, s(1)).map(|budget| budget.remaining), Some(499));
    let search = limiter.ask(&Bucket::Search, Kind::Read, Urgency::Normal, s(1));
    assert!(matches!(search, Ask::Go(_)));
}

#[test]
fn what_is_under_way_counts_as_spent_until_its_answer_says_otherwise() {
    let mut limiter = limiter();
    exchange(&mut limiter, &told(200, 60, 1, 600), s(0));
    let last = go(limiter.ask(&Bucket::Core, Kind::Read, Urgency::Urgent, s(0)));
    assert!(matches!(limiter.ask(&Bucket::Core, Kind::Read, Urgency::Urgent, s(0)), Ask::Busy));
    // a 304 has cost nothing
    limiter.answered(last, &told(304, 60, 1, 600), s(0));
    assert!(matches!(limiter.ask(&Bucket::Core, Kind::Read, Urgency::Urgent, s(0)), Ask::Go(_)));
}

#[test]
fn retry_after_silences_everything() {
    let mut limiter = limiter();
    let refused = AnswerHeaders { retry_after: Some(30), remaining: Some(4000), ..answer(403) };
    assert_eq!(exchange(&mut limiter, &refused, s(0)), Verdict::Limited);
    for bucket in [Bucket::Core, Bucket::Graphql, Bucket::Free, Bucket::ActionsRunnerRegistration] {
        let ask = limiter.ask(&bucket, Kind::Mutation, Urgency::Urgent, s(30));
        assert_eq!(waits(ask), (s(31), Why::Secondary));
    }
    assert!(matches!(read(&mut limiter, s(31)), Ask::Go(_)));
}

#[test]
fn a_limit_without_a_time_doubles_and_gives_up_after_six() {
    let mut limiter = limiter();
    let refused = AnswerHeaders { secondary_message: true, remaining: Some(14), ..answer(403) };
    let mut now = s(0);
    for (strike, least) in [60, 120, 240, 480, 900, 900].into_iter().enumerate() {
        assert_eq!(exchange(&mut limiter, &refused, now), Verdict::Limited);
        let until = match read(&mut limiter, now) {
            Ask::WaitUntil(until, Why::Secondary) if strike < 5 => until,
            Ask::GaveUp(until) if strike == 5 => until,
            other => panic!("strike {strike}: {other:?}"),
        };
        assert!(
            until - now >= s(least) && until - now <= s(least).mul_f64(1.1),
            "strike {strike}: {until:?}"
        );
        now = until;
    }
    // one is let through; its success ends the matter
    exchange(&mut limiter, &answer(200), now);
    exchange(&mut limiter, &refused, now);
    assert!(waits(read(&mut limiter, now)).0 - now < s(67));
}

#[test]
fn a_403_without_a_sign_is_no_limit_and_a_429_always_is() {
    let mut limiter = limiter();
    let permission = AnswerHeaders { remaining: Some(4000), limit: Some(5000), ..answer(403) };
    assert_eq!(exchange(&mut limiter, &permission, s(0)), Verdict::Free);
    assert_eq!(exchange(&mut limiter, &answer(403), s(0)), Verdict::Free);
    assert_eq!(exchange(&mut limiter, &answer(429), s(0)), Verdict::Limited);
    assert!(waits(read(&mut limiter, s(0))).0 >= s(60));
}

#[test]
fn a_spent_bucket_whose_reset_is_past_waits_all_the_same() {
    let mut limiter = limiter();
    let odd = AnswerHeaders { reset_s: Some(DATE - 5), ..told(403, 5000, 0, 0) };
    exchange(&mut limiter, &odd, s(0));
    assert!(waits(read(&mut limiter, s(0))).0 >= s(60));
}

#[test]
fn a_second_lies_between_two_changes_and_never_two_at_once() {
    let mut limiter = limiter();
    let change =
        |limiter: &mut Limiter, now| limiter.ask(&Bucket::Core, Kind::Mutation, Urgency::Urgent, now);
    let first = go(change(&mut limiter, s(0)));
    assert!(matches!(change(&mut limiter, s(5)), Ask::Busy));
    limiter.answered(first, &answer(201), s(5));
    assert_eq!(waits(change(&mut limiter, s(5))), (s(6), Why::Gap));
    assert!(matches!(change(&mut limiter, s(6)), Ask::Go(_)));
}

#[test]
fn five_hundred_changes_are_an_hours_worth() {
    let mut limiter = limiter();
    let mut now = s(0);
    for _ in 0..500 {
        let permit = go(limiter.ask(&Bucket::Core, Kind::Mutation, Urgency::Urgent, now));
        limiter.answered(permit, &answer(201), now);
        now += s(1);
    }
    let ask = limiter.ask(&Bucket::Core, Kind::Mutation, Urgency::Urgent, now);
    assert_eq!(waits(ask), (s(3601), Why::Hour));
}

#[test]
fn a_minute_holds_nine_hundred_points() {
    let mut limiter = limiter();
    for _ in 0..900 {
        exchange(&mut limiter, &answer(200), s(0));
    }
    let (until, why) = waits(read(&mut limiter, s(1)));
    assert_eq!((until, why), (s(61), Why::Pace));
    assert!(!why.is_limit());
    let graphql = go(limiter.ask(&Bucket::Graphql, Kind::Read, Urgency::Normal, s(1)));
    limiter.abandoned(graphql, s(1));
    assert!(matches!(read(&mut limiter, s(61)), Ask::Go(_)));
}

#[test]
fn a_late_answer_of_an_earlier_window_changes_nothing() {
    let mut limiter = limiter();
    exchange(&mut limiter, &told(200, 5000, 4999, 3600), s(0));
    exchange(&mut limiter, &told(200, 5000, 10, 60), s(0));
    assert_eq!(limiter.budget(&Bucket::Core, s(0)).map(|budget| budget.remaining), Some(4999));
    exchange(&mut limiter, &told(200, 5000, 4998, 3600), s(0));
    exchange(&mut limiter, &told(200, 5000, 4999, 3600), s(0));
    assert_eq!(
        limiter.budget(&Bucket::Core, s(0)).map(|budget| budget.remaining),
        Some(4998),
        "it only goes down"
    );
}

#[test]
fn graphql_limited_inside_a_success_is_a_limit() {
    let mut limiter = limiter();
    let permit = go(limiter.ask(&Bucket::Graphql, Kind::Read, Urgency::Normal, s(0)));
    let limited =
        AnswerHeaders { graphql_limited: true, resource: Some(Bucket::Graphql), ..told(200, 5000, 0, 300) };
    assert_eq!(limiter.answered(permit, &limited, s(0)), Verdict::Limited);
    let ask = limiter.ask(&Bucket::Graphql, Kind::Read, Urgency::Normal, s(0));
    assert_eq!(waits(ask), (s(301), Why::Spent));
    assert!(matches!(read(&mut limiter, s(0)), Ask::Go(_)));
}

#[test]
fn an_apps_own_budget_is_kept_apart() {
    let mut limiter = limiter();
    let permit = go(limiter.ask(&Bucket::App, Kind::Mutation, Urgency::Normal, s(0)));
    limiter.answered(permit, &told(201, 5000, 0, 300), s(0));
    assert!(matches!(read(&mut limiter, s(0)), Ask::Go(_)));
    let app = limiter.ask(&Bucket::App, Kind::Read, Urgency::Normal, s(0));
    assert!(matches!(app, Ask::WaitUntil(..)));
}

/// What was told, in the plainest form: nothing in this bucket (or in any) before this moment.
#[derive(Debug)]
struct Forbidden {
    bucket: Option<Bucket>,
    until: Duration,
}

#[derive(Clone, Debug)]
struct Turn {
    pause_ms: u64,
    bucket: Bucket,
    kind: Kind,
    urgency: Urgency,
    status: u16,
    retry_after: Option<u64>,
    remaining: Option<u64>,
    resets_in: u64,
    skew: i64,
    secondary: bool,
    /// It is answered only after the next turns.
    lingers: bool,
}

prop_compose! {
    fn turn()(
        pause_ms in prop_oneof![0..2_000_u64, 0..120_000_u64, 0..4_000_000_u64],
        bucket in prop_oneof![Just(Bucket::Core), Just(Bucket::Graphql), Just(Bucket::Search), Just(Bucket::ActionsRunnerRegistration)],
        kind in prop_oneof![4 => Just(Kind::Read), 1 => Just(Kind::Mutation)],
        urgency in prop_oneof![3 => Just(Urgency::Normal), 1 => Just(Urgency::Urgent)],
        status in prop_oneof![8 => Just(200), 2 => Just(304), 3 => Just(403), 2 => Just(429), 1 => Just(500), 1 => Just(404)],
        retry_after in prop_oneof![5 => Just(None), 1 => (0..200_u64).prop_map(Some)],
        remaining in prop_oneof![1 => Just(None), 2 => Just(Some(0)), 4 => (0..60_u64).prop_map(Some)],
        resets_in in 0..4_000_u64,
        skew in -100_000..100_000_i64,
        secondary in any::<bool>(),
        lingers in prop::bool::weighted(0.2),
    ) -> Turn {
        Turn { pause_ms, bucket, kind, urgency, status, retry_after, remaining, resets_in, skew, secondary, lingers }
    }
}

fn headers(turn: &Turn, now: Duration) -> AnswerHeaders {
    let date = DATE + now.as_secs();
    AnswerHeaders {
        status: turn.status,
        retry_after: turn.retry_after.filter(|_| matches!(turn.status, 403 | 429)),
        limit: turn.remaining.map(|_| 60),
        remaining: turn.remaining,
        reset_s: turn.remaining.map(|_| date + turn.resets_in),
        resource: Some(turn.bucket.clone()),
        date_s: Some(date),
        wall_s: date.saturating_add_signed(turn.skew),
        secondary_message: turn.secondary && matches!(turn.status, 403 | 429),
        ..AnswerHeaders::default()
    }
}

fn is_change(permit: &Permit) -> bool {
    permit.kind == Kind::Mutation && permit.bucket != Bucket::ActionsRunnerRegistration
}

/// What GitHub's documentation forbids after an answer.
fn forbidden(turn: &Turn, answer: &AnswerHeaders, now: Duration) -> Vec<Forbidden> {
    let mut all = Vec::new();
    let is_refused = matches!(turn.status, 403 | 429);
    let reset = now + s(turn.resets_in);
    if answer.remaining == Some(0) && turn.resets_in > 0 {
        all.push(Forbidden { bucket: Some(turn.bucket.clone()), until: reset });
    }
    let is_spent = answer.remaining == Some(0) && !answer.secondary_message;
    if let Some(seconds) = answer.retry_after.filter(|_| is_refused) {
        all.push(Forbidden { bucket: is_spent.then(|| turn.bucket.clone()), until: now + s(seconds) });
    } else if is_refused && !(is_spent && turn.resets_in > 0) && answer.is_limit() {
        all.push(Forbidden { bucket: None, until: now + s(60) });
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn nothing_goes_inside_a_told_limit(turns in prop::collection::vec(turn(), 1..80), seed in any::<u64>()) {
        let mut limiter = Limiter::new(seed, Pace::default());
        let mut told: Vec<Forbidden> = Vec::new();
        let mut lingering: Vec<(Permit, Turn)> = Vec::new();
        let mut now = Duration::ZERO;
        let mut changed_at: Option<Duration> = None;
        for turn in turns {
            now += Duration::from_millis(turn.pause_ms);
            let ask = limiter.ask(&turn.bucket, turn.kind, turn.urgency, now);
            match ask {
                Ask::Go(permit) => {
                    let broken = told.iter().find(|limit| {
                        now < limit.until && limit.bucket.as_ref().is_none_or(|bucket| *bucket == turn.bucket)
                    });
                    prop_assert!(broken.is_none(), "{now:?}: {turn:?} went inside {broken:?}");
                    let normal = lingering.iter().filter(|(held, _)| held.urgency == Urgency::Normal).count();
                    prop_assert!(turn.urgency == Urgency::Urgent || normal == 0, "two normal requests at once");
                    if is_change(&permit) {
                        prop_assert!(changed_at.is_none_or(|at| now - at >= s(1)), "two changes within a second");
                        prop_assert!(!lingering.iter().any(|(held, _)| is_change(held)), "two changes at once");
                        changed_at = Some(now);
                    }
                    lingering.push((permit, turn.clone()));
                }
                Ask::WaitUntil(until, _) | Ask::GaveUp(until) => {
                    prop_assert!(until > now && until - now <= s(24 * 3600 + 1), "{until:?} at {now:?}");
                }
                Ask::Busy => prop_assert!(!lingering.is_empty(), "busy with nothing under way"),
            }
            if !turn.lingers {
                for (permit, turn) in lingering.drain(..) {
                    let answer = headers(&turn, now);
                    if is_change(&permit) {
                        changed_at = Some(now);
                    }
                    limiter.answered(permit, &answer, now);
                    told.extend(forbidden(&turn, &answer, now));
                }
            }
        }
    }

    #[test]
    fn who_waits_as_told_may_go_in_the_end(turns in prop::collection::vec(turn(), 1..40), seed in any::<u64>()) {
        let mut limiter = Limiter::new(seed, Pace::default());
        let mut now = Duration::ZERO;
        for turn in turns {
            let mut waits = 0;
            let permit = loop {
                match limiter.ask(&turn.bucket, turn.kind, turn.urgency, now) {
                    Ask::Go(permit) => break permit,
                    Ask::WaitUntil(until, _) | Ask::GaveUp(until) => now = until,
                    Ask::Busy => prop_assert!(false, "nothing is under way"),
                }
                waits += 1;
                prop_assert!(waits < 10, "it waits for ever");
            };
            limiter.answered(permit, &headers(&turn, now), now);
        }
    }
}
