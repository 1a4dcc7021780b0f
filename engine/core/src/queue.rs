//! The queue: which of this node's open jobs comes next.
//!
//! Jobs leave by (priority − ageing, base time, order of submission). Ageing: a job that has waited one period (ten
//! minutes unless configured) ranks as if it were one level more urgent, so nothing waits forever behind a stream of
//! newer jobs.
//!
//! # Why no key ever changes
//!
//! With priority p in thousandths, lower first, base time b and period T in milliseconds, a job's rank at time t is
//!
//! ```text
//! rank(t) = p − 1000 · (t − b) / T               | · T, which is positive and the same for every job
//! rank(t) · T = (p · T + 1000 · b) − 1000 · t    | 1000 · t is the same for every job at any one moment
//! ```
//!
//! Which of two jobs ranks before the other is therefore decided by `p · T + 1000 · b`, whatever the time: a constant
//! per job, in integers, without rounding. A job of priority p waits behind newer ones of priority q < p only if they
//! came within `(p − q) · T / 1000` ms after it. Without ageing (T = 0) the order is p, then b: the same sum with
//! weights 2^44 and 1, because a base time has 44 bits.
//!
//! The heap's key is 16 bytes, most significant first:
//!
//! ```text
//! order 64 bits: p · weight + b · scale │ 2^20 − 1 − p: 20 bits │ sequence: 44 bits
//! ```
//!
//! Of equal sums the one with the greater p has the earlier base time, so the middle field orders by base time, and
//! p and b can be read back from the key. The sequence counts the jobs pushed and makes keys unique: equal priority
//! and equal base time leave in order of submission, and the id never has to decide. Ids lie in a side table
//! beside the heap's arena.
//!
//! What it does not do: it reads no clock, knows nothing of runs, claims or placement, and is not part of any view:
//! sequence and base times are this node's own, so nothing of it reaches a digest.
//!
//! Invariants: a job is inside at most once; `handles`, the heap and the side table name the same jobs.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::fibonacci_heap::{FibonacciHeap, Handle};

/// Ageing unless configured: one level of priority per ten minutes of waiting.
pub const AGEING_PERIOD_MS_DEFAULT: u32 = 600_000;

/// Greatest priority in thousandths; a greater one counts as this.
pub const PRIORITY_MILLI_MAX: u32 = wfengine_storage_format::limits::PRIORITY_MILLI_MAX;

/// Latest base time, in the year 2527; a later one counts as this.
pub const BASE_MS_MAX: u64 = (1 << BASE_BITS) - 1;

/// One level of priority, in thousandths.
const LEVEL_MILLI: u64 = 1000;
const BASE_BITS: u32 = 44;
const PRIORITY_BITS: u32 = 20;
const SEQUENCE_BITS: u32 = 44;
const PRIORITY_MASK: u64 = (1 << PRIORITY_BITS) - 1;
const SEQUENCE_MAX: u64 = (1 << SEQUENCE_BITS) - 1;

const _: () = assert!(PRIORITY_MILLI_MAX as u64 <= PRIORITY_MASK, "a priority fits its bits");
const _: () =
    assert!(PRIORITY_BITS + SEQUENCE_BITS == 64 && PRIORITY_BITS + BASE_BITS <= 64, "a key has 16 bytes");
const _: () = assert!(
    PRIORITY_MASK * (u32::MAX as u64) < u64::MAX - BASE_MS_MAX * LEVEL_MILLI,
    "no period, priority and base time overflow the order"
);

/// The heap's key: see the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rank {
    order: u64,
    tie: u64,
}

/// By `order`, then `tie`, as one number: the heap compares it without branches.
impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_number().cmp(&other.as_number())
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }

    fn lt(&self, other: &Self) -> bool {
        self.as_number() < other.as_number()
    }
}

impl Rank {
    fn as_number(self) -> u128 {
        u128::from(self.order) << 64 | u128::from(self.tie)
    }

    fn priority_milli(self) -> u32 {
        (PRIORITY_MASK - (self.tie >> SEQUENCE_BITS)) as u32
    }

    fn sequence(self) -> u64 {
        self.tie & SEQUENCE_MAX
    }
}

/// What ageing makes of priority and base time: `order = priority · weight + base · scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ageing {
    weight: u64,
    scale: u64,
}

impl Ageing {
    fn new(period_ms: u32) -> Self {
        match period_ms {
            0 => Self { weight: 1 << BASE_BITS, scale: 1 },
            period_ms => Self { weight: u64::from(period_ms), scale: LEVEL_MILLI },
        }
    }

    fn rank(self, priority_milli: u32, base_ms: u64, sequence: u64) -> Rank {
        let priority = u64::from(priority_milli.min(PRIORITY_MILLI_MAX));
        Rank {
            order: priority * self.weight + base_ms.min(BASE_MS_MAX) * self.scale,
            tie: (PRIORITY_MASK - priority) << SEQUENCE_BITS | sequence.min(SEQUENCE_MAX),
        }
    }

    fn base_ms(self, rank: Rank) -> u64 {
        (rank.order - u64::from(rank.priority_milli()) * self.weight) / self.scale
    }
}

/// A job with what decides its place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued<Id> {
    /// Which job.
    pub job: Id,
    /// Its priority in thousandths, lower first, without ageing.
    pub priority_milli: u32,
    /// Since when it waits.
    pub base_ms: u64,
}

/// A node's open jobs, next one first. `Id` is the job's id.
///
/// Lookup by id is O(log n); on top of that come the heap's costs: O(1) amortised to push, raise or remove,
/// O(log n) to pop. Memory follows the number of jobs inside, up as well as down.
///
/// ```
/// use wfengine_core::queue::{AGEING_PERIOD_MS_DEFAULT, Queue};
///
/// let mut queue = Queue::new(AGEING_PERIOD_MS_DEFAULT);
/// queue.push("background", 5_000, 0);
/// queue.push("normal", 3_000, 60_000);
/// queue.push("normal, twenty minutes later", 3_000, 1_260_000);
/// let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|next| next.job).collect();
/// assert_eq!(order, ["normal", "background", "normal, twenty minutes later"]);
/// ```
#[derive(Debug, Clone)]
pub struct Queue<Id> {
    ageing: Ageing,
    heap: FibonacciHeap<Rank, ()>,
    /// Ids by [`Handle::slot`]; those of vacant slots are left over and mean nothing.
    ids: Vec<Id>,
    handles: BTreeMap<Id, Handle>,
    next_sequence: u64,
}

impl<Id: Ord + Copy> Queue<Id> {
    /// An empty queue in which waiting for `ageing_period_ms` counts as one level of priority. 0 turns ageing off;
    /// then a steady stream of urgent jobs starves the others.
    pub fn new(ageing_period_ms: u32) -> Self {
        Self {
            ageing: Ageing::new(ageing_period_ms),
            heap: FibonacciHeap::new(),
            ids: Vec::new(),
            handles: BTreeMap::new(),
            next_sequence: 0,
        }
    }

    /// Number of jobs inside.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no job is inside.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Whether the job is inside.
    pub fn contains(&self, job: &Id) -> bool {
        self.handles.contains_key(job)
    }

    /// The job with its priority and base time, if it is inside.
    pub fn find(&self, job: &Id) -> Option<Queued<Id>> {
        let rank = *self.heap.key(*self.handles.get(job)?)?;
        Some(self.queued(*job, rank))
    }

    /// Adds a job that waits since `base_ms`: the lesser of its submission's time and the local time at which this
    /// node learned of it, so that a clock that runs ahead does not push it back and one that lags gains at most
    /// what it claims. Returns false, and changes nothing, when the job is inside already. Priority and base time
    /// count as [`PRIORITY_MILLI_MAX`] and [`BASE_MS_MAX`] where they are greater.
    pub fn push(&mut self, job: Id, priority_milli: u32, base_ms: u64) -> bool {
        if self.contains(&job) {
            return false;
        }
        let rank = self.ageing.rank(priority_milli, base_ms, self.next_sequence);
        self.next_sequence += 1;
        self.insert(job, rank);
        true
    }

    /// The next job. O(1).
    pub fn peek(&self) -> Option<Queued<Id>> {
        let (handle, &rank, ()) = self.heap.peek()?;
        Some(self.queued(self.ids[handle.slot()], rank))
    }

    /// Takes the next job out.
    pub fn pop(&mut self) -> Option<Queued<Id>> {
        let (handle, rank, ()) = self.heap.pop()?;
        let job = self.ids[handle.slot()];
        self.handles.remove(&job);
        self.compact_if_sparse();
        Some(self.queued(job, rank))
    }

    /// Gives a job another priority and returns the former one, or `None` when the job is not inside. Its base time
    /// and its place in the order of submission stay.
    pub fn reprioritise(&mut self, job: &Id, priority_milli: u32) -> Option<u32> {
        let handle = *self.handles.get(job)?;
        let former = *self.heap.key(handle)?;
        let rank = self.ageing.rank(priority_milli, self.ageing.base_ms(former), former.sequence());
        if self.heap.decrease_key(handle, rank).is_err() {
            self.heap.delete(handle);
            self.insert(*job, rank);
        }
        Some(former.priority_milli())
    }

    /// Takes a job out, wherever it stands.
    pub fn remove(&mut self, job: &Id) -> Option<Queued<Id>> {
        let handle = self.handles.remove(job)?;
        let (rank, ()) = self.heap.delete(handle)?;
        self.compact_if_sparse();
        Some(self.queued(*job, rank))
    }

    /// Absorbs another queue. Where all else is equal, its jobs come after those already here. Of a job that is in
    /// both, the entry that comes first stays. If the other queue ages differently, its jobs are ranked anew.
    pub fn merge(&mut self, mut other: Self) {
        let twice: Vec<Id> = other.handles.keys().filter(|job| self.contains(job)).copied().collect();
        for job in twice {
            if let (Some(ours), Some(theirs)) = (self.find(&job), other.find(&job)) {
                let rank = |queued: Queued<Id>| self.ageing.rank(queued.priority_milli, queued.base_ms, 0);
                if rank(theirs) < rank(ours) {
                    self.remove(&job)
                } else {
                    other.remove(&job)
                };
            }
        }
        if self.ageing != other.ageing {
            while let Some(next) = other.pop() {
                self.push(next.job, next.priority_milli, next.base_ms);
            }
            return;
        }
        let first = self.next_sequence;
        other.heap.map_keys(|rank| Rank {
            tie: rank.tie - rank.sequence() + (rank.sequence() + first).min(SEQUENCE_MAX),
            ..rank
        });
        self.next_sequence += other.next_sequence;
        let translation = self.heap.merge(other.heap);
        if let Some(&any) = other.ids.first() {
            self.ids.resize(translation.slot_offset(), any);
        }
        self.ids.append(&mut other.ids);
        self.handles
            .extend(other.handles.into_iter().map(|(job, handle)| (job, translation.translate(handle))));
    }

    /// Bytes of the heap and its side table, without the index by id.
    pub fn memory_bytes(&self) -> usize {
        self.heap.memory_bytes() + self.ids.capacity() * size_of::<Id>()
    }

    fn insert(&mut self, job: Id, rank: Rank) {
        let handle = self.heap.insert(rank, ());
        if handle.slot() >= self.ids.len() {
            self.ids.resize(handle.slot() + 1, job);
        }
        self.ids[handle.slot()] = job;
        self.handles.insert(job, handle);
    }

    fn queued(&self, job: Id, rank: Rank) -> Queued<Id> {
        Queued { job, priority_milli: rank.priority_milli(), base_ms: self.ageing.base_ms(rank) }
    }

    fn compact_if_sparse(&mut self) {
        if !self.heap.is_sparse() {
            return;
        }
        let (ids, handles) = (&mut self.ids, &mut self.handles);
        self.heap.compact(|old, new| {
            ids[new.slot()] = ids[old.slot()];
            handles.insert(ids[old.slot()], new);
        });
        ids.truncate(self.heap.slots());
        ids.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;
    const CRITICAL: u32 = 1_000;
    const NORMAL: u32 = 3_000;
    const BACKGROUND: u32 = 5_000;

    fn jobs(queue: &mut Queue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).map(|next| next.job).collect()
    }

    /// The time after `submitted_ms` at which the background job runs while a newer normal job arrives every second
    /// and one job is served every second.
    fn waited_ms(mut queue: Queue<u32>, background: u32, limit_ms: u64) -> Option<u64> {
        let submitted_ms = 1_700_000_000_000;
        queue.push(0, background, submitted_ms);
        (0..limit_ms).step_by(1_000).zip(1..).find_map(|(waited_ms, job)| {
            queue.push(job, NORMAL, submitted_ms + waited_ms);
            let next = queue.pop().unwrap();
            (next.job == 0).then_some(waited_ms)
        })
    }

    #[test]
    fn lower_priorities_leave_first_and_equal_ones_in_order_of_submission() {
        for period_ms in [0, AGEING_PERIOD_MS_DEFAULT] {
            let mut queue = Queue::new(period_ms);
            for (job, priority) in [(9, NORMAL), (8, CRITICAL), (7, NORMAL), (6, BACKGROUND), (5, NORMAL)] {
                assert!(queue.push(job, priority, 77));
            }
            assert_eq!(queue.peek().map(|next| next.job), Some(8));
            assert_eq!(jobs(&mut queue), [8, 9, 7, 5, 6]);
        }
    }

    #[test]
    fn the_earlier_base_time_leaves_first_even_when_it_is_pushed_later() {
        let mut queue = Queue::new(AGEING_PERIOD_MS_DEFAULT);
        queue.push(1, NORMAL, 2 * MINUTE_MS);
        queue.push(2, NORMAL, MINUTE_MS);
        // Ranks like job 2 at any time, and waits longer.
        queue.push(3, NORMAL + 100, 0);
        assert_eq!(jobs(&mut queue), [3, 2, 1]);
    }

    #[test]
    fn a_background_job_is_served_after_the_computed_time_before_an_endless_stream_of_newer_ones() {
        let ageing = Queue::new(AGEING_PERIOD_MS_DEFAULT);
        assert_eq!(waited_ms(ageing, BACKGROUND, 60 * MINUTE_MS), Some(20 * MINUTE_MS));
        let faster = Queue::new(60_000);
        assert_eq!(waited_ms(faster, BACKGROUND, 60 * MINUTE_MS), Some(2 * MINUTE_MS));
        let worst = Queue::new(1_000);
        let levels = u64::from((PRIORITY_MILLI_MAX - NORMAL) / 1_000);
        assert_eq!(waited_ms(worst, PRIORITY_MILLI_MAX, 60 * MINUTE_MS), Some(levels * 1_000));
    }

    #[test]
    fn without_ageing_a_background_job_waits_for_as_long_as_normal_ones_come() {
        assert_eq!(waited_ms(Queue::new(0), BACKGROUND, 24 * 60 * MINUTE_MS), None);
    }

    #[test]
    fn priority_and_base_time_are_read_back_as_they_were_pushed() {
        for period_ms in [0, 1, AGEING_PERIOD_MS_DEFAULT, u32::MAX] {
            let mut queue = Queue::new(period_ms);
            let places = [(0, 0), (1, 1), (NORMAL, 1_700_000_000_123), (PRIORITY_MILLI_MAX, BASE_MS_MAX)];
            for (job, (priority_milli, base_ms)) in (0..).zip(places) {
                queue.push(job, priority_milli, base_ms);
                assert_eq!(queue.find(&job), Some(Queued { job, priority_milli, base_ms }));
            }
            queue.push(9, u32::MAX, u64::MAX);
            let limits = Queued { job: 9, priority_milli: PRIORITY_MILLI_MAX, base_ms: BASE_MS_MAX };
            assert_eq!(queue.find(&9), Some(limits));
        }
    }

    #[test]
    fn a_changed_priority_keeps_base_time_and_order_of_submission() {
        let mut queue = Queue::new(AGEING_PERIOD_MS_DEFAULT);
        for job in 1..=4 {
            queue.push(job, NORMAL, 5);
        }
        assert_eq!(queue.reprioritise(&2, BACKGROUND), Some(NORMAL));
        assert_eq!(queue.reprioritise(&4, CRITICAL), Some(NORMAL));
        assert_eq!(queue.find(&2), Some(Queued { job: 2, priority_milli: BACKGROUND, base_ms: 5 }));
        assert_eq!(queue.reprioritise(&2, NORMAL), Some(BACKGROUND));
        assert_eq!(queue.reprioritise(&9, CRITICAL), None);
        assert_eq!(queue.len(), 4);
        assert_eq!(jobs(&mut queue), [4, 1, 2, 3]);
    }

    #[test]
    fn a_job_is_inside_once_and_gone_when_removed() {
        let mut queue = Queue::new(AGEING_PERIOD_MS_DEFAULT);
        assert!(queue.push(1, NORMAL, 5));
        assert!(!queue.push(1, CRITICAL, 0));
        assert_eq!(queue.remove(&1), Some(Queued { job: 1, priority_milli: NORMAL, base_ms: 5 }));
        assert_eq!((queue.remove(&1), queue.contains(&1), queue.is_empty()), (None, false, true));
    }

    #[test]
    fn merged_queues_are_one_order_and_a_job_in_both_keeps_its_better_place() {
        for theirs_ms in [AGEING_PERIOD_MS_DEFAULT, 60_000] {
            let mut ours = Queue::new(AGEING_PERIOD_MS_DEFAULT);
            let mut theirs = Queue::new(theirs_ms);
            for job in 0..10 {
                ours.push(job, NORMAL, 5);
                theirs.push(100 + job, NORMAL, 5);
            }
            theirs.push(3, CRITICAL, 5);
            theirs.push(4, BACKGROUND, 5);
            theirs.pop();
            ours.merge(theirs);
            ours.push(50, NORMAL, 5);
            assert_eq!(ours.reprioritise(&105, CRITICAL), Some(NORMAL));
            let expected: Vec<u32> = [3, 105, 0, 1, 2]
                .into_iter()
                .chain(4..10)
                .chain(100..105)
                .chain(106..110)
                .chain([50])
                .collect();
            // Job 3 left the other queue with `pop`, so ours is the one that stays.
            let mut normal = expected.clone();
            normal.retain(|&job| job != 3);
            normal.insert(4, 3);
            assert_eq!(jobs(&mut ours), normal);
        }
    }

    #[test]
    fn memory_follows_the_number_of_jobs_down() {
        let mut queue = Queue::new(AGEING_PERIOD_MS_DEFAULT);
        for job in 0..100_000_u32 {
            queue.push(job, NORMAL, u64::from(job));
        }
        let full = queue.memory_bytes();
        for job in 0..99_000 {
            assert!(queue.remove(&job).is_some());
        }
        assert!(queue.memory_bytes() * 20 < full);
        assert_eq!(jobs(&mut queue), (99_000..100_000).collect::<Vec<u32>>());
    }
}
