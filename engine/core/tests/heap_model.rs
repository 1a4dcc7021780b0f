//! The heap and the queue against `BTreeMap` models: random sequences of every operation, stale handles included.
//!
//! The models are naive on purpose and share no code with what they check.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use wfengine_core::fibonacci_heap::{DecreaseKeyError, FibonacciHeap, Handle};
use wfengine_core::queue::{Queue, Queued};

/// What a random sequence does. Elements are chosen by a number taken modulo all that were ever issued, so
/// operations meet elements inside and stale handles alike.
#[derive(Debug, Clone)]
enum HeapOp {
    Insert(u8),
    Pop,
    PopMany(u8),
    DecreaseKey(usize, u8),
    Delete(usize),
    /// A second heap is filled, popped from, and absorbed.
    Merge {
        keys: Vec<u8>,
        pops: u8,
        compact: bool,
    },
    Compact,
    ShiftKeys,
}

fn heap_op() -> impl Strategy<Value = HeapOp> {
    prop_oneof![
        8 => any::<u8>().prop_map(HeapOp::Insert),
        4 => Just(HeapOp::Pop),
        1 => (0..20_u8).prop_map(HeapOp::PopMany),
        8 => (any::<usize>(), any::<u8>()).prop_map(|(which, key)| HeapOp::DecreaseKey(which, key)),
        4 => any::<usize>().prop_map(HeapOp::Delete),
        1 => (vec(any::<u8>(), 0..20), 0..12_u8, any::<bool>())
            .prop_map(|(keys, pops, compact)| HeapOp::Merge { keys, pops, compact }),
        1 => Just(HeapOp::Compact),
        1 => Just(HeapOp::ShiftKeys),
    ]
}

/// The heap beside its model. An element's value is its number in the order of issue.
#[derive(Default)]
struct Pair {
    heap: FibonacciHeap<(u64, u64), usize>,
    /// By key, of which the second part is unique: the element's number.
    model: BTreeMap<(u64, u64), usize>,
    /// By number: the handle under which the element is known, and its key while it is inside.
    issued: Vec<(Handle, Option<(u64, u64)>)>,
    /// Handles that a compaction replaced.
    replaced: Vec<Handle>,
}

impl Pair {
    fn insert(&mut self, key: u64) {
        let number = self.issued.len();
        let key = (key + 1_000, number as u64);
        self.issued.push((self.heap.insert(key, number), Some(key)));
        self.model.insert(key, number);
    }

    fn pop(&mut self) {
        let expected = self.model.pop_first();
        let popped = self.heap.pop();
        assert_eq!(popped.map(|(_, key, number)| (key, number)), expected);
        if let (Some((_, number)), Some((handle, ..))) = (expected, popped) {
            assert_eq!(handle, self.issued[number].0, "the handle popped is the one that was issued");
            self.issued[number].1 = None;
        }
    }

    fn decrease_key(&mut self, which: usize, key: u64) {
        let Some(number) = which.checked_rem(self.issued.len()) else { return };
        let (handle, present) = self.issued[number];
        let key = (key + 900, number as u64);
        let expected = match present {
            None => Err(DecreaseKeyError::Stale),
            Some(present) if key > present => Err(DecreaseKeyError::Greater),
            Some(present) => {
                self.model.remove(&present);
                self.model.insert(key, number);
                self.issued[number].1 = Some(key);
                Ok(())
            }
        };
        assert_eq!(self.heap.decrease_key(handle, key), expected);
    }

    fn delete(&mut self, which: usize) {
        let Some(number) = which.checked_rem(self.issued.len()) else { return };
        let (handle, present) = self.issued[number];
        if let Some(present) = present {
            self.model.remove(&present);
        }
        self.issued[number].1 = None;
        assert_eq!(self.heap.delete(handle), present.map(|key| (key, number)));
    }

    fn compact(&mut self) {
        let Self { heap, issued, replaced, .. } = self;
        heap.compact(|old, new| {
            let known = issued.iter_mut().find(|(handle, key)| *handle == old && key.is_some());
            assert!(known.is_some(), "a handle that moves was issued");
            known.into_iter().for_each(|(handle, _)| *handle = new);
            replaced.push(old);
        });
        assert_eq!(self.heap.slots(), self.heap.len());
        assert!(!self.heap.is_sparse());
    }

    fn merge(&mut self, keys: Vec<u8>, pops: u8, compact: bool) {
        let mut other = Self { issued: std::mem::take(&mut self.issued), ..Self::default() };
        let ours = other.issued.len();
        keys.into_iter().for_each(|key| other.insert(u64::from(key)));
        (0..pops).for_each(|_| other.pop());
        if compact {
            // Handles of the two heaps may look alike until they are translated.
            let former = other.issued.drain(..ours).collect::<Vec<_>>();
            other.compact();
            other.issued.splice(0..0, former);
        }
        let translation = self.heap.merge(other.heap);
        self.model.append(&mut other.model);
        self.issued = other.issued;
        for (handle, _) in &mut self.issued[ours..] {
            *handle = translation.translate(*handle);
        }
        self.replaced.extend(other.replaced.into_iter().map(|handle| translation.translate(handle)));
    }

    fn shift_keys(&mut self) {
        self.heap.map_keys(|(key, number)| (key + 3, number));
        self.model = std::mem::take(&mut self.model).into_iter().map(|((k, n), v)| ((k + 3, n), v)).collect();
        self.issued.iter_mut().filter_map(|(_, key)| key.as_mut()).for_each(|key| key.0 += 3);
    }

    fn check(&self) {
        assert_eq!((self.heap.len(), self.heap.is_empty()), (self.model.len(), self.model.is_empty()));
        let least = self.heap.peek().map(|(handle, key, number)| {
            assert_eq!(handle, self.issued[*number].0);
            (key, number)
        });
        assert_eq!(least, self.model.first_key_value());
        for (number, (handle, key)) in self.issued.iter().enumerate() {
            assert_eq!(self.heap.key(*handle), key.as_ref());
            assert_eq!(self.heap.value(*handle), key.map(|_| &number).copied().as_ref());
            assert_eq!(self.heap.contains(*handle), key.is_some());
        }
        assert!(self.replaced.iter().all(|&handle| !self.heap.contains(handle)));
    }
}

#[derive(Debug, Clone)]
enum QueueOp {
    Push { job: u8, priority: u32, base_ms: u64 },
    Pop,
    Reprioritise { job: u8, priority: u32 },
    Remove(u8),
    Merge(Vec<(u8, u32, u64)>),
}

/// Few different ones, so that ties are common: with a period of 1000 ms or 2000 ms, a level and a second or two
/// weigh the same.
fn place() -> impl Strategy<Value = (u8, u32, u64)> {
    (0..40_u8, (0..6_u32).prop_map(|level| level * 1_000), (0..6_u64).prop_map(|second| second * 1_000))
}

fn queue_op() -> impl Strategy<Value = QueueOp> {
    prop_oneof![
        6 => place().prop_map(|(job, priority, base_ms)| QueueOp::Push { job, priority, base_ms }),
        3 => Just(QueueOp::Pop),
        3 => place().prop_map(|(job, priority, _)| QueueOp::Reprioritise { job, priority }),
        2 => (0..40_u8).prop_map(QueueOp::Remove),
        1 => vec(place(), 0..12).prop_map(QueueOp::Merge),
    ]
}

/// (Priority − ageing) at time 0 in millionths of a level, base time, number of the submission.
type Place = (i64, u64, usize);

fn ranked(period_ms: u32, priority: u32, base_ms: u64, submission: usize) -> Place {
    // Periods of 0, 1000 and 2000 ms divide without remainder.
    let aged = if period_ms == 0 { 0 } else { base_ms as i64 * 1_000_000 / i64::from(period_ms) };
    (i64::from(priority) * 1_000 + aged, base_ms, submission)
}

/// The queue's model: each job's priority and place, searched from end to end.
struct Naive {
    period_ms: u32,
    jobs: BTreeMap<u8, (u32, Place)>,
    submissions: usize,
}

impl Naive {
    fn new(period_ms: u32) -> Self {
        Self { period_ms, jobs: BTreeMap::new(), submissions: 0 }
    }

    fn push(&mut self, job: u8, priority: u32, base_ms: u64) -> bool {
        let place = ranked(self.period_ms, priority, base_ms, self.submissions);
        let new = !self.jobs.contains_key(&job);
        if new {
            self.jobs.insert(job, (priority, place));
            self.submissions += 1;
        }
        new
    }

    fn first(&self) -> Option<Queued<u8>> {
        let (&job, _) = self.jobs.iter().min_by_key(|(_, (_, place))| *place)?;
        self.find(job)
    }

    fn find(&self, job: u8) -> Option<Queued<u8>> {
        self.jobs.get(&job).map(|&(priority_milli, (_, base_ms, _))| Queued { job, priority_milli, base_ms })
    }

    fn remove(&mut self, job: u8) -> Option<Queued<u8>> {
        let found = self.find(job);
        self.jobs.remove(&job);
        found
    }

    fn reprioritise(&mut self, job: u8, priority: u32) -> Option<u32> {
        let period_ms = self.period_ms;
        let (present, place) = self.jobs.get_mut(&job)?;
        let former = std::mem::replace(present, priority);
        *place = ranked(period_ms, priority, place.1, place.2);
        Some(former)
    }

    fn merge(&mut self, other: Self) {
        for (job, (priority, (rank, base_ms, submission))) in other.jobs {
            let theirs = (rank, base_ms, submission + self.submissions);
            if self.jobs.get(&job).is_none_or(|(_, ours)| (theirs.0, theirs.1) < (ours.0, ours.1)) {
                self.jobs.insert(job, (priority, theirs));
            }
        }
        self.submissions += other.submissions;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_heap_equals_a_btreemap_over_random_operations(ops in vec(heap_op(), 1..120)) {
        let mut pair = Pair::default();
        for op in ops {
            match op {
                HeapOp::Insert(key) => pair.insert(u64::from(key)),
                HeapOp::Pop => pair.pop(),
                HeapOp::PopMany(times) => (0..times).for_each(|_| pair.pop()),
                HeapOp::DecreaseKey(which, key) => pair.decrease_key(which, u64::from(key)),
                HeapOp::Delete(which) => pair.delete(which),
                HeapOp::Merge { keys, pops, compact } => pair.merge(keys, pops, compact),
                HeapOp::Compact => pair.compact(),
                HeapOp::ShiftKeys => pair.shift_keys(),
            }
            pair.check();
        }
        while !pair.model.is_empty() {
            pair.pop();
        }
        pair.check();
    }

    #[test]
    fn the_queue_equals_a_sorted_list_over_random_operations(
        period_ms in prop_oneof![Just(0), Just(1_000), Just(2_000)],
        ops in vec(queue_op(), 1..120),
    ) {
        let mut queue = Queue::new(period_ms);
        let mut model = Naive::new(period_ms);
        for op in ops {
            match op {
                QueueOp::Push { job, priority, base_ms } => {
                    prop_assert_eq!(queue.push(job, priority, base_ms), model.push(job, priority, base_ms));
                }
                QueueOp::Pop => {
                    let first = model.first();
                    first.map(|first| model.remove(first.job));
                    prop_assert_eq!(queue.pop(), first);
                }
                QueueOp::Reprioritise { job, priority } => {
                    prop_assert_eq!(queue.reprioritise(&job, priority), model.reprioritise(job, priority));
                }
                QueueOp::Remove(job) => prop_assert_eq!(queue.remove(&job), model.remove(job)),
                QueueOp::Merge(places) => {
                    let (mut absorbed, mut naive) = (Queue::new(period_ms), Naive::new(period_ms));
                    for (job, priority, base_ms) in places {
                        absorbed.push(job, priority, base_ms);
                        naive.push(job, priority, base_ms);
                    }
                    queue.merge(absorbed);
                    model.merge(naive);
                }
            }
            prop_assert_eq!(queue.len(), model.jobs.len());
            prop_assert_eq!(queue.peek(), model.first());
            for job in 0..40 {
                prop_assert_eq!(queue.find(&job), model.find(job));
                prop_assert_eq!(queue.contains(&job), model.find(job).is_some());
            }
        }
        while let Some(first) = model.first() {
            model.remove(first.job);
            prop_assert_eq!(queue.pop(), Some(first));
        }
        prop_assert!(queue.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Long enough for deep trees and cascades, which short sequences rarely grow.
    #[test]
    fn the_heap_equals_a_btreemap_when_it_is_large(seed in any::<u64>()) {
        let mut dice = seed | 1;
        let mut throw = || {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice as usize
        };
        let mut pair = Pair::default();
        for _ in 0..20_000 {
            pair.insert(1_000_000 + (throw() % 1_000_000) as u64);
        }
        for round in 0..4_000 {
            for _ in 0..10 {
                let which = throw();
                let fallen = throw() % 2_000_000;
                pair.decrease_key(which, fallen as u64);
            }
            pair.pop();
            pair.delete(throw());
            if round % 1_000 == 999 {
                pair.check();
            }
        }
        pair.check();
        while !pair.model.is_empty() {
            pair.pop();
        }
        pair.check();
    }
}
