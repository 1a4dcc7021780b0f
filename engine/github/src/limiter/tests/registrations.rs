//! What makes runners: a pace of its own, and who is urgent goes first.

use super::*;

/// Everybody who wants a runner, and a clock that moves from event to event.
struct Burst {
    limiter: Limiter,
    now: Duration,
    waiting: u32,
    /// With the moment of the answer.
    under_way: Vec<(Duration, Permit)>,
    went: Vec<Duration>,
    most_at_once: usize,
}

impl Burst {
    fn of(count: u32) -> Self {
        Self {
            limiter: limiter(),
            now: s(0),
            waiting: count,
            under_way: Vec::new(),
            went: Vec::new(),
            most_at_once: 0,
        }
    }

    /// Asks for all who wait, and moves on to the next answer or the moment that was told. `answer` says what comes back to
    /// which request, counted from 1.
    fn run(&mut self, takes: Duration, answer: impl Fn(usize) -> AnswerHeaders) {
        let mut answered = 0;
        while self.waiting > 0 || !self.under_way.is_empty() {
            let mut told = None;
            while self.waiting > 0 {
                let bucket = Bucket::ActionsRunnerRegistration;
                match self.limiter.ask(&bucket, Kind::Mutation, Urgency::Urgent, self.now) {
                    Ask::Go(permit) => {
                        self.waiting -= 1;
                        self.went.push(self.now);
                        self.under_way.push((self.now + takes, permit));
                        self.most_at_once = self.most_at_once.max(self.under_way.len());
                    }
                    Ask::WaitUntil(until, _) => {
                        assert!(until > self.now, "a wait that is over");
                        told = Some(until);
                        break;
                    }
                    Ask::Busy => break,
                    Ask::GaveUp(until) => panic!("given up until {until:?}"),
                }
            }
            let comes = self.under_way.iter().map(|(at, _)| *at).min();
            self.now = comes.into_iter().chain(told).min().expect("it goes on");
            while let Some(index) = self.under_way.iter().position(|(at, _)| *at <= self.now) {
                let (_, permit) = self.under_way.remove(index);
                answered += 1;
                let answer = answer(answered);
                if self.limiter.answered(permit, &answer, self.now) == Verdict::Limited {
                    self.waiting += 1;
                }
            }
        }
    }

    /// The most that went in any span of a minute.
    fn most_in_a_minute(&self) -> usize {
        let within =
            |start: Duration| self.went.iter().filter(move |at| (start..start + s(60)).contains(*at));
        self.went.iter().map(|start| within(*start).count()).max().unwrap_or_default()
    }
}

fn register(limiter: &mut Limiter, now: Duration) -> Ask {
    limiter.ask(&Bucket::ActionsRunnerRegistration, Kind::Mutation, Urgency::Urgent, now)
}

fn change(limiter: &mut Limiter, urgency: Urgency, now: Duration) -> Ask {
    limiter.ask(&Bucket::Core, Kind::Mutation, urgency, now)
}

#[test]
fn of_two_hundred_at_once_a_minute_sees_166_and_none_is_lost() {
    for takes_ms in [1, 300, 2_000] {
        let mut burst = Burst::of(200);
        burst.run(Duration::from_millis(takes_ms), |_| answer(201));
        assert_eq!(burst.went.len(), 200);
        assert!(burst.most_in_a_minute() <= 166, "{}", burst.most_in_a_minute());
        assert_eq!(burst.most_at_once, 4);
        assert!(burst.now < s(130), "{:?}", burst.now);
    }
    let mut burst = Burst::of(200);
    burst.run(Duration::from_millis(1), |_| answer(201));
    assert_eq!(burst.most_in_a_minute(), 166, "as many as a minute may have");
    assert!(burst.went[165] < s(1), "no second lies between them");
}

#[test]
fn an_hour_never_sees_more_than_github_counts() {
    let mut burst = Burst::of(12_000);
    burst.run(Duration::from_millis(50), |_| answer(201));
    let within =
        |start: Duration| burst.went.iter().filter(|at| (start..start + s(3600)).contains(*at)).count();
    let most = burst.went.iter().step_by(83).map(|start| within(*start)).max();
    assert!(most.is_some_and(|most| (9_000..=10_000).contains(&most)), "{most:?}");
}

#[test]
fn nothing_goes_during_a_limit_and_the_burst_goes_on_after_it() {
    let refused = AnswerHeaders { retry_after: Some(45), remaining: Some(4000), ..answer(403) };
    let mut burst = Burst::of(200);
    burst.run(Duration::from_millis(500), |number| if number == 41 { refused.clone() } else { answer(201) });
    assert_eq!(burst.went.len(), 201, "the refused one goes again, none is lost");
    // 40 answers came four by four each half second; the next one brings the limit
    let limited = Duration::from_millis(500 * 11);
    let during = burst.went.iter().filter(|at| (limited..limited + s(45)).contains(*at)).count();
    assert_eq!(during, 0);
    assert!(burst.went.iter().any(|at| *at < limited) && burst.went.iter().any(|at| *at > limited + s(45)));
    assert!(burst.most_in_a_minute() <= 166);
}

#[test]
fn runners_and_other_changes_do_not_hold_each_other_up_but_share_the_points() {
    let mut limiter = limiter();
    let status = go(change(&mut limiter, Urgency::Normal, s(0)));
    let runner = go(register(&mut limiter, s(0)));
    limiter.answered(runner, &answer(201), s(0));
    limiter.answered(status, &answer(201), s(0));
    assert_eq!(waits(change(&mut limiter, Urgency::Normal, s(0))), (s(1), Why::Gap));
    for _ in 0..165 {
        let runner = go(register(&mut limiter, s(0)));
        limiter.answered(runner, &answer(201), s(0));
    }
    assert_eq!(waits(register(&mut limiter, s(0))), (s(61), Why::Pace));
    // 166 runners and a status: 835 points; 65 are left of the minute
    for _ in 0..65 {
        exchange(&mut limiter, &answer(200), s(1));
    }
    assert_eq!(waits(read(&mut limiter, s(1))), (s(61), Why::Pace));
}

#[test]
fn where_answers_say_that_core_counts_runners_core_holds_them() {
    let mut limiter = limiter();
    exchange(&mut limiter, &told(200, 5000, 0, 600), s(0));
    let first = go(register(&mut limiter, s(1)));
    assert_eq!(limiter.answered(first, &told(403, 5000, 0, 599), s(1)), Verdict::Limited);
    assert_eq!(waits(register(&mut limiter, s(600))), (s(601), Why::Spent));
    let mut limiter = super::limiter();
    let first = go(register(&mut limiter, s(0)));
    limiter.answered(first, &told(201, 5000, 2, 600), s(0));
    let (second, third) = (go(register(&mut limiter, s(0))), go(register(&mut limiter, s(0))));
    assert!(matches!(register(&mut limiter, s(0)), Ask::Busy), "both may be the last");
    limiter.answered(second, &told(201, 5000, 1, 600), s(0));
    limiter.answered(third, &told(201, 5000, 0, 600), s(0));
    assert_eq!(waits(register(&mut limiter, s(0))), (s(601), Why::Spent));
    let closed = limiter.closed_until(&Bucket::ActionsRunnerRegistration, Urgency::Urgent, s(0));
    assert_eq!(closed, Some(s(601)));
    // counted where GitHub says, it has nothing to do with core
    let own =
        AnswerHeaders { resource: Some(Bucket::ActionsRunnerRegistration), ..told(201, 10_000, 9_999, 3600) };
    let mut limiter = super::limiter();
    let first = go(register(&mut limiter, s(0)));
    limiter.answered(first, &own, s(0));
    exchange(&mut limiter, &told(200, 5000, 0, 600), s(0));
    let next = go(register(&mut limiter, s(0)));
    limiter.abandoned(next, s(0));
    let left: Vec<(Bucket, u64)> =
        limiter.budgets(s(0)).into_iter().map(|(bucket, budget)| (bucket, budget.remaining)).collect();
    assert_eq!(left, [(Bucket::Core, 0), (Bucket::ActionsRunnerRegistration, 9_999)]);
    assert!(limiter.budgets(s(3601)).is_empty());
}

#[test]
fn an_urgent_change_goes_before_the_next_of_the_others() {
    let mut limiter = limiter();
    let look = go(read(&mut limiter, s(0)));
    let urgent = go(change(&mut limiter, Urgency::Urgent, s(0)));
    limiter.answered(urgent, &answer(204), s(0));
    limiter.abandoned(look, s(0));
    let status = go(change(&mut limiter, Urgency::Normal, s(1)));
    assert!(matches!(change(&mut limiter, Urgency::Urgent, s(2)), Ask::Busy));
    limiter.answered(status, &answer(201), s(2));
    assert_eq!(waits(change(&mut limiter, Urgency::Normal, s(2))), (s(4), Why::Gap));
    assert_eq!(waits(change(&mut limiter, Urgency::Urgent, s(2))), (s(3), Why::Gap));
    assert_eq!(waits(change(&mut limiter, Urgency::Normal, s(3))), (s(4), Why::Gap));
    let urgent = go(change(&mut limiter, Urgency::Urgent, s(3)));
    limiter.answered(urgent, &answer(204), s(3));
    // who was urgent may have gone away: the others wait a second longer, and no more
    let status = go(change(&mut limiter, Urgency::Normal, s(4)));
    assert!(matches!(change(&mut limiter, Urgency::Urgent, s(4)), Ask::Busy));
    limiter.answered(status, &answer(201), s(4));
    let status = go(change(&mut limiter, Urgency::Normal, s(6)));
    limiter.answered(status, &answer(201), s(6));
    let _next = go(change(&mut limiter, Urgency::Normal, s(7)));
}
