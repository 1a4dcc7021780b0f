//! For which waiting jobs this node starts runners now. Pure.
//!
//! GitHub gives a job to any idle runner that offers its labels, so runners are counted, not assigned: every waiting job is set against
//! a runner that starts or waits, of this node or of a member that lives, first against the one that was started for it, then against any
//! that is left; where none is left a new one is wished for. Whose business that is, the hamming rule says: the nearest member begins,
//! each further one waits a turn for every nearer one that lives.
//!
//! Invariants: one waiting job makes at most one wish; a runner that is free answers one job, whoever it was started for; nothing is
//! decided from a look that is older than the last change among the runners it is about.

use std::collections::BTreeMap;
use std::time::Duration;

use wfengine_core::time::Monotonic;
use wfengine_storage_format::RunnerCause;

use crate::demand::QueuedJob;
use crate::pool::{Pool, offers};

/// A member's runner counts as the answer to a job for so long; if the job still waits then, somebody else's runner is welcome.
const ANSWERED_FOR: Duration = Duration::from_secs(300);

/// A runner of this node that will take a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FreeRunner {
    /// Where it is registered.
    pub scope: String,
    /// What it offers.
    pub labels: Vec<String>,
    /// The job it was started for.
    pub job: Option<u64>,
}

/// A runner of another member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Where it is registered.
    pub scope: String,
    /// What it offers.
    pub labels: Vec<String>,
    /// The job it was started for.
    pub job: Option<u64>,
    /// The member lives.
    pub is_alive: bool,
    /// GitHub showed it at work, when asked then: with another job, if this one was asked for later and still waits.
    pub busy_at: Option<Monotonic>,
    /// When it was first seen here.
    pub since: Monotonic,
}

/// A waiting job that the pool serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting<'a> {
    /// The job.
    pub job: &'a QueuedJob,
    /// When it was first seen here.
    pub since: Monotonic,
    /// When it was asked for last.
    pub asked_at: Monotonic,
    /// How many living members come before this node for it.
    pub place: usize,
    /// The look that told of it is older than the last change among the runners of its scope.
    pub is_stale: bool,
}

/// Everything that decides.
#[derive(Clone, Debug)]
pub struct Scaling<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// Jobs that wait, the oldest first.
    pub waiting: Vec<Waiting<'a>>,
    /// Runners of this node that start or wait.
    pub free: Vec<FreeRunner>,
    /// Runners of other members.
    pub answers: Vec<Answer>,
    /// Scopes where runners are to wait for jobs, and how many.
    pub floors: BTreeMap<String, u32>,
    /// How many more there may be.
    pub room: u32,
    /// What a member that comes later waits for each that comes before it.
    pub turn: Duration,
    /// Now.
    pub now: Monotonic,
}

/// A runner that is to be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// Where it registers: `owner/name`, or an organisation.
    pub scope: String,
    /// Why.
    pub cause: RunnerCause,
}

/// What comes of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scaled {
    /// To be started now, in this order.
    pub wishes: Vec<Wish>,
    /// Jobs of this node for which there is no room.
    pub without_room: u32,
    /// When a turn of this node comes, if nothing else happens.
    pub next: Option<Monotonic>,
    /// Free runners that no waiting job is set against, by scope.
    pub spare: BTreeMap<String, u32>,
}

/// Says what is to be started.
pub fn scale(scaling: &Scaling<'_>) -> Scaled {
    let Scaling { pool, waiting, free, answers, floors, room, turn, now } = scaling;
    let mut scaled = Scaled::default();
    let mut free: Vec<&FreeRunner> = free.iter().collect();
    let mut room = *room;
    let mut later =
        |at: Monotonic| scaled.next = Some(scaled.next.map_or(at, |next: Monotonic| next.min(at)));
    let (mut wishes, mut without_room) = (Vec::new(), 0);
    // the one that was started for a job first, so that another job's is left to that
    let fits = |runner: &FreeRunner, job: &QueuedJob| {
        runner.scope == pool.scope_of(&job.repository).to_string() && offers(&runner.labels, &job.labels)
    };
    let answers_to = |answer: &Answer, job: &QueuedJob| {
        answer.scope == pool.scope_of(&job.repository).to_string() && offers(&answer.labels, &job.labels)
    };
    let counts = |answer: &&Answer| answer.is_alive && *now - answer.since < ANSWERED_FOR;
    // at work when asked before the job was: with another one
    let is_free = |answer: &Answer, asked_at: Monotonic| answer.busy_at.is_none_or(|at| at >= asked_at);
    let mut answers: Vec<&Answer> = answers.iter().filter(counts).collect();
    let mut left = Vec::new();
    for waits in waiting {
        let job = waits.job;
        if let Some(at) = free.iter().position(|runner| runner.job == Some(job.job) && fits(runner, job)) {
            free.remove(at);
        } else if let Some(at) =
            answers.iter().position(|answer| answer.job == Some(job.job) && is_free(answer, waits.asked_at))
        {
            answers.remove(at);
            later(*now + ANSWERED_FOR);
        } else {
            left.push(waits);
        }
    }
    for Waiting { job, since, asked_at, place, is_stale } in left {
        let scope = pool.scope_of(&job.repository).to_string();
        if let Some(at) = free.iter().position(|runner| fits(runner, job)) {
            free.remove(at);
            continue;
        }
        // one whose own job went to another runner takes this one; what was started after the look may be for a job that is not known yet
        let spare = |answer: &&Answer| {
            answer.since < *asked_at && answer.busy_at.is_none() && answers_to(answer, job)
        };
        if let Some(at) = answers.iter().position(spare) {
            answers.remove(at);
            later(*now + ANSWERED_FOR);
            continue;
        }
        let turns = u32::try_from(*place).unwrap_or(u32::MAX);
        let due = *since + turn.saturating_mul(turns);
        if *now < due {
            later(due);
            continue;
        }
        if *is_stale {
            continue;
        }
        if room == 0 {
            without_room += 1;
            continue;
        }
        room -= 1;
        let cause = RunnerCause::Job { repository: job.repository.clone(), run: job.run, job: job.job };
        wishes.push(Wish { scope, cause });
    }
    let mut spare: BTreeMap<String, u32> = BTreeMap::new();
    for runner in free {
        *spare.entry(runner.scope.clone()).or_default() += 1;
    }
    for (scope, floor) in floors {
        let waits = spare.get(scope).copied().unwrap_or(0);
        let missing = floor.saturating_sub(waits).min(room);
        room -= missing;
        wishes.extend((0..missing).map(|_| Wish { scope: scope.clone(), cause: RunnerCause::Idle }));
    }
    (scaled.wishes, scaled.without_room, scaled.spare) = (wishes, without_room, spare);
    scaled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::tests::{job, pool};

    fn at(seconds: u64) -> Monotonic {
        Monotonic(seconds * 1_000)
    }

    fn scaling<'a>(pool: &'a Pool, jobs: &'a [QueuedJob], room: u32) -> Scaling<'a> {
        let waiting =
            jobs.iter().map(|job| Waiting { job, since: at(0), asked_at: at(1), place: 0, is_stale: false });
        Scaling {
            pool,
            waiting: waiting.collect(),
            free: Vec::new(),
            answers: Vec::new(),
            floors: BTreeMap::new(),
            room,
            turn: Duration::from_secs(2),
            now: at(1),
        }
    }

    fn free(job: Option<u64>) -> FreeRunner {
        FreeRunner { scope: "octo/one".into(), labels: pool().labels, job }
    }

    #[test]
    fn a_runner_for_each_job_and_no_more_than_there_is_room() {
        let (pool, jobs) = (pool(), [job(1), job(2), job(3), job(4)]);
        let scaled = scale(&scaling(&pool, &jobs, 3));
        let causes: Vec<Option<u64>> = scaled
            .wishes
            .iter()
            .map(|wish| match &wish.cause {
                RunnerCause::Job { job, .. } => Some(*job),
                _ => None,
            })
            .collect();
        assert_eq!((causes, scaled.without_room), (vec![Some(1), Some(2), Some(3)], 1));
    }

    #[test]
    fn runners_that_start_or_wait_are_counted_whatever_they_were_started_for() {
        let (pool, jobs) = (pool(), [job(1), job(2)]);
        // the one for job 9 took another's; it will take one of these
        let counted = Scaling { free: vec![free(Some(9)), free(None)], ..scaling(&pool, &jobs, 3) };
        assert!(scale(&counted).wishes.is_empty());
        let elsewhere = FreeRunner { scope: "octo/two".into(), ..free(None) };
        let not = Scaling { free: vec![elsewhere], ..scaling(&pool, &jobs, 3) };
        assert_eq!(scale(&not).wishes.len(), 2);
    }

    #[test]
    fn a_later_member_waits_its_turns_and_leaves_what_is_answered() {
        let (pool, jobs) = (pool(), [job(1)]);
        let mut behind = scaling(&pool, &jobs, 3);
        behind.waiting[0].place = 2;
        let early = scale(&behind);
        assert!(early.wishes.is_empty() && early.next == Some(at(4)), "{early:?}");
        behind.now = at(4);
        assert_eq!(scale(&behind).wishes.len(), 1);
        let answer = answer(1, at(3));
        let with = |answer: &Answer| Scaling { answers: vec![answer.clone()], ..behind.clone() };
        assert!(scale(&with(&answer)).wishes.is_empty());
        let dead = Answer { is_alive: false, ..answer.clone() };
        assert_eq!(scale(&with(&dead)).wishes.len(), 1, "its member died");
        let busy_at = |second| Answer { busy_at: Some(at(second)), ..answer.clone() };
        assert_eq!(scale(&with(&busy_at(0))).wishes.len(), 1, "it took another job");
        assert!(scale(&with(&busy_at(2))).wishes.is_empty(), "it may have taken this one");
        let late = Scaling { now: at(303), ..with(&answer) };
        assert_eq!(scale(&late).wishes.len(), 1, "it came to nothing");
    }

    fn answer(job: u64, since: Monotonic) -> Answer {
        let FreeRunner { scope, labels, .. } = free(Some(job));
        Answer { scope, labels, job: Some(job), is_alive: true, busy_at: None, since }
    }

    #[test]
    fn another_members_runner_whose_job_went_to_ours_takes_the_one_that_is_left() {
        let (pool, jobs) = (pool(), [job(1), job(2)]);
        // its job 9 is not waiting any more in a look of after it was started
        let mut scaling = Scaling { answers: vec![answer(9, at(1))], now: at(9), ..scaling(&pool, &jobs, 3) };
        for waiting in &mut scaling.waiting {
            waiting.asked_at = at(2);
        }
        assert_eq!(scale(&scaling).wishes.len(), 1, "one takes one");
        // the look is older: job 9 may wait as well
        scaling.answers = vec![answer(9, at(2))];
        assert_eq!(scale(&scaling).wishes.len(), 2);
        // its own job goes first, whatever order they wait in
        scaling.answers = vec![answer(2, at(1))];
        let scaled = scale(&scaling);
        let cause = RunnerCause::Job { repository: jobs[0].repository.clone(), run: jobs[0].run, job: 1 };
        assert_eq!(scaled.wishes, [Wish { scope: "octo/one".into(), cause }]);
        let elsewhere = Answer { scope: "octo/two".into(), ..answer(9, at(1)) };
        scaling.answers = vec![elsewhere];
        assert_eq!(scale(&scaling).wishes.len(), 2);
    }

    #[test]
    fn nothing_follows_from_a_look_that_is_older_than_the_runners() {
        let (pool, jobs) = (pool(), [job(1)]);
        let mut stale = scaling(&pool, &jobs, 3);
        stale.waiting[0].is_stale = true;
        assert_eq!(scale(&stale), Scaled::default());
    }

    #[test]
    fn a_floor_is_filled_beyond_the_jobs() {
        let (pool, jobs) = (pool(), [job(1)]);
        let floors = BTreeMap::from([("octo/one".to_owned(), 2)]);
        let scaled = scale(&Scaling { floors: floors.clone(), ..scaling(&pool, &jobs, 9) });
        assert_eq!(scaled.wishes.iter().filter(|wish| wish.cause == RunnerCause::Idle).count(), 2);
        let filled = Scaling { floors, free: vec![free(None), free(None)], ..scaling(&pool, &[], 9) };
        let scaled = scale(&filled);
        assert!(scaled.wishes.is_empty() && scaled.spare["octo/one"] == 2);
    }
}
