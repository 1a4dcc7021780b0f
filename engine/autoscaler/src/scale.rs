//! For which waiting jobs this node starts runners now. Pure.
//!
//! GitHub gives a job to any idle runner that offers its labels, so runners are counted, not assigned: every waiting job that is this
//! node's business is set against a runner of this node that starts or waits, and where none is left a new one is wished for. Whose
//! business a job is, the hamming rule says: the nearest member begins, each further one waits a turn for every nearer one that lives.
//!
//! Invariants: one waiting job makes at most one wish; a job that a living member already answered with a runner makes none; nothing is
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The job it was started for.
    pub job: u64,
    /// The member lives.
    pub is_alive: bool,
    /// GitHub shows it at work: with another job, since this one waits.
    pub is_busy: bool,
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
    /// Runners of other members that were started for a job.
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
    for Waiting { job, since, place, is_stale } in waiting {
        let scope = pool.scope_of(&job.repository).to_string();
        // the one that was started for it first, so that another job's is left to that
        let fits = |runner: &&FreeRunner| runner.scope == scope && offers(&runner.labels, &job.labels);
        let own = free.iter().position(|runner| runner.job == Some(job.job) && fits(runner));
        if let Some(at) = own.or_else(|| free.iter().position(fits)) {
            free.remove(at);
            continue;
        }
        let is_answered = answers.iter().any(|answer| {
            answer.job == job.job && answer.is_alive && !answer.is_busy && *now - answer.since < ANSWERED_FOR
        });
        if is_answered {
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
        let waiting = jobs.iter().map(|job| Waiting { job, since: at(0), place: 0, is_stale: false });
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
        let answer = Answer { job: 1, is_alive: true, is_busy: false, since: at(3) };
        let with = |answer| Scaling { answers: vec![answer], ..behind.clone() };
        assert!(scale(&with(answer)).wishes.is_empty());
        assert_eq!(scale(&with(Answer { is_alive: false, ..answer })).wishes.len(), 1, "its member died");
        assert_eq!(scale(&with(Answer { is_busy: true, ..answer })).wishes.len(), 1, "it took another job");
        let late = Scaling { now: at(303), ..with(answer) };
        assert_eq!(scale(&late).wishes.len(), 1, "it came to nothing");
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
