//! How many jobs a second go through the queue, beside `BinaryHeap` with lazy deletion (millions of operations/s).
//!
//! Every workload runs the same seeded operations on each and asserts that all pop the same elements in the same
//! order. Keys have 16 bytes and are unique. The rival cannot decrease a key: it pushes the element again and skips
//! what is out of date when it pops, with a table of current keys; "purged" is the same, but throws the outdated out
//! now and then, so that its memory is bounded too. "uniform 20:1" is 20 decrease-keys of random
//! elements per pop, "hot-1000" takes them from a thousand fixed elements; each element popped is pushed again with
//! a later key, so n stays n. A decreased key falls to a random point between the last popped key and its own.
//! The last table is the queue itself, with ids of 32 bytes and its index by id; it has no goal.
//!
//! `cargo bench -p wfengine-benches --bench queue [-- SIZE…]`; sizes are 1000 … 1000000 unless given. Each figure is
//! the best of three runs, taken in turns.

#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]
#![expect(clippy::expect_used, reason = "a bench stops when what it measures is wrong")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use wfengine_core::fibonacci_heap::{FibonacciHeap, Handle};
use wfengine_core::queue::{AGEING_PERIOD_MS_DEFAULT, Queue};

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const ROUNDS: usize = 3;
const HOT: usize = 1_000;

type Key = (u64, u64);

/// SplitMix64: its cost, one nanosecond, is inside every measurement.
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.throw()) * u128::from(bound)) >> 64) as u64
    }
}

/// What each heap can do: elements are numbers below n, first pushed in order,
/// and inside at most once.
trait Contender {
    fn with_elements(n: usize) -> Self;
    fn push(&mut self, element: u32, key: Key);
    fn pop(&mut self) -> Option<(Key, u32)>;
    fn key(&self, element: u32) -> Key;
    fn decrease(&mut self, element: u32, key: Key);
    fn memory_bytes(&self) -> usize;
}

/// Keys in the form that suits each: one number here, a pair in the rival, where it saves padding.
struct Ours {
    heap: FibonacciHeap<u128, u32>,
    handles: Vec<Handle>,
}

fn wide((high, low): Key) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

fn pair(key: u128) -> Key {
    ((key >> 64) as u64, key as u64)
}

impl Contender for Ours {
    fn with_elements(n: usize) -> Self {
        Self { heap: FibonacciHeap::new(), handles: Vec::with_capacity(n) }
    }

    fn push(&mut self, element: u32, key: Key) {
        let handle = self.heap.insert(wide(key), element);
        match self.handles.get_mut(element as usize) {
            Some(former) => *former = handle,
            None => self.handles.push(handle),
        }
    }

    fn pop(&mut self) -> Option<(Key, u32)> {
        self.heap.pop().map(|(_, key, element)| (pair(key), element))
    }

    fn key(&self, element: u32) -> Key {
        pair(*self.heap.key(self.handles[element as usize]).expect("inside"))
    }

    fn decrease(&mut self, element: u32, key: Key) {
        self.heap.decrease_key(self.handles[element as usize], wide(key)).expect("inside, and the key falls");
    }

    fn memory_bytes(&self) -> usize {
        self.heap.memory_bytes() + self.handles.capacity() * size_of::<Handle>()
    }
}

/// With `PURGE` it also throws out what is out of date whenever that is three quarters of it.
struct Lazy<const PURGE: bool> {
    heap: BinaryHeap<Reverse<(Key, u32)>>,
    current: Vec<Key>,
}

const GONE: Key = (u64::MAX, u64::MAX);

impl<const PURGE: bool> Contender for Lazy<PURGE> {
    fn with_elements(n: usize) -> Self {
        Self { heap: BinaryHeap::new(), current: vec![GONE; n] }
    }

    fn push(&mut self, element: u32, key: Key) {
        self.current[element as usize] = key;
        self.heap.push(Reverse((key, element)));
        if PURGE && self.heap.len() > 4 * self.current.len() {
            let current = &self.current;
            self.heap.retain(|&Reverse((key, element))| current[element as usize] == key);
        }
    }

    fn pop(&mut self) -> Option<(Key, u32)> {
        while let Some(Reverse((key, element))) = self.heap.pop() {
            if self.current[element as usize] == key {
                self.current[element as usize] = GONE;
                return Some((key, element));
            }
        }
        None
    }

    fn key(&self, element: u32) -> Key {
        self.current[element as usize]
    }

    fn decrease(&mut self, element: u32, key: Key) {
        self.push(element, key);
    }

    fn memory_bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Reverse<(Key, u32)>>() + self.current.capacity() * size_of::<Key>()
    }
}

/// What is timed. Whatever precedes it is not.
#[derive(Clone, Copy)]
enum Workload {
    Push,
    Pop,
    /// Rounds of decrease-keys on the first `among` elements, one pop, one push.
    Churn {
        decreases: usize,
        among: usize,
    },
}

#[derive(Clone)]
struct Outcome {
    elapsed: Duration,
    operations: usize,
    /// Of the popped keys: the same for all contenders, or one of them is wrong.
    digest: u64,
    memory_bytes: usize,
}

fn measure<C: Contender>(workload: Workload, n: usize) -> Outcome {
    let mut dice = Dice(n as u64);
    let mut sequence = 0;
    let mut later = |dice: &mut Dice, last: u64| {
        sequence += 1;
        (last + dice.below(1 << 40), sequence)
    };
    // Small sizes are repeated, so that each measurement lasts.
    let repeats = match workload {
        Workload::Push | Workload::Pop => (200_000 / n).max(1),
        Workload::Churn { .. } => 1,
    };
    let mut outcome = Outcome { elapsed: Duration::ZERO, operations: 0, digest: 0, memory_bytes: 0 };
    for _ in 0..repeats {
        let mut heap = C::with_elements(n);
        let keys: Vec<Key> = (0..n).map(|_| later(&mut dice, 0)).collect();
        let started = Instant::now();
        for (element, &key) in (0..).zip(&keys) {
            heap.push(element, key);
        }
        if let Workload::Push = workload {
            outcome.elapsed += started.elapsed();
            outcome.operations += n;
        }
        match workload {
            Workload::Push => {}
            Workload::Pop => {
                let started = Instant::now();
                while let Some((key, _)) = heap.pop() {
                    outcome.digest = outcome.digest.rotate_left(5) ^ key.0 ^ key.1;
                }
                outcome.elapsed += started.elapsed();
                outcome.operations += n;
            }
            Workload::Churn { decreases, among } => {
                let mut last = 0;
                let rounds = (4_000_000 / (decreases + 2)).max(n / 5);
                // A first part outside the measurement brings each into its steady shape.
                for part in [rounds / 2, rounds] {
                    let started = Instant::now();
                    for _ in 0..part {
                        for _ in 0..decreases {
                            let element = dice.below(among as u64) as u32;
                            let key = heap.key(element);
                            let fallen = last + dice.below(key.0 - last + 1);
                            heap.decrease(element, (fallen, key.1));
                        }
                        let (key, element) = heap.pop().expect("n elements are inside");
                        last = key.0;
                        outcome.digest = outcome.digest.rotate_left(5) ^ key.0 ^ key.1;
                        heap.push(element, later(&mut dice, last));
                    }
                    outcome.elapsed = started.elapsed();
                    outcome.operations = part * (decreases + 2);
                }
            }
        }
        outcome.memory_bytes = heap.memory_bytes();
        black_box(&heap);
    }
    outcome
}

/// The best of three, in turns, so that a slow minute of the machine hits all.
fn compare(name: &str, workload: Workload, n: usize, goal: &str) {
    let mut best: Option<[Outcome; 3]> = None;
    for _ in 0..ROUNDS {
        let outcomes =
            [measure::<Ours>, measure::<Lazy<false>>, measure::<Lazy<true>>].map(|run| run(workload, n));
        for outcome in &outcomes {
            assert_eq!(
                outcome.digest, outcomes[0].digest,
                "{name} at {n}: all pop the same, in the same order"
            );
        }
        let former = best.get_or_insert_with(|| outcomes.clone());
        for (former, outcome) in former.iter_mut().zip(outcomes) {
            if outcome.elapsed < former.elapsed {
                *former = outcome;
            }
        }
    }
    let Some(outcomes) = best else { return };
    let [ours, lazy, purged] = outcomes.each_ref().map(mega_per_second);
    let bytes = outcomes.each_ref().map(|outcome| outcome.memory_bytes as f64 / n as f64);
    println!(
        "{name:<14} {n:>8} {ours:>9.2} {lazy:>8.2} {purged:>8.2} {:>8.2} {:>8.2} {:>9.1} {:>9.1} {:>9.1}  {goal}",
        ours / lazy,
        ours / purged,
        bytes[0],
        bytes[1],
        bytes[2],
    );
}

fn mega_per_second(outcome: &Outcome) -> f64 {
    outcome.operations as f64 / outcome.elapsed.as_secs_f64() / 1e6
}

/// Push, reprioritise and pop through the queue, ids and all.
fn queue_itself(n: usize) {
    let mut best = [f64::MAX; 3];
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let mut dice = Dice(n as u64);
        let ids: Vec<[u64; 4]> =
            (0..n).map(|_| [dice.throw(), dice.throw(), dice.throw(), dice.throw()]).collect();
        let mut queue = Queue::new(AGEING_PERIOD_MS_DEFAULT);
        let mut time = |which: usize, work: &mut dyn FnMut()| {
            let started = Instant::now();
            work();
            best[which] = best[which].min(started.elapsed().as_secs_f64());
        };
        time(0, &mut || {
            for (base_ms, &id) in (0..).zip(&ids) {
                queue.push(id, 3_000, base_ms);
            }
        });
        time(1, &mut || {
            for _ in 0..n {
                let id = ids[dice.below(n as u64) as usize];
                queue.reprioritise(&id, 1_000 + dice.below(4_000) as u32);
            }
        });
        bytes = queue.memory_bytes();
        time(2, &mut || while queue.pop().is_some() {});
    }
    let [push, reprioritise, pop] = best.map(|seconds| n as f64 / seconds / 1e6);
    println!("{n:>9} {push:>8.2} {reprioritise:>13.2} {pop:>8.2} {:>12.1}", bytes as f64 / n as f64);
}

fn main() {
    let asked: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if asked.is_empty() { SIZES.to_vec() } else { asked };
    println!(
        "million operations per second; bytes per element at the end of the run, handles and tables included\n"
    );
    println!(
        "{:<14} {:>8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9}  goal at 1 M",
        "workload", "n", "fibonacci", "lazy", "purged", "/ lazy", "/ purged", "bytes", "lazy", "purged"
    );
    for &n in &sizes {
        let hot = HOT.min(n);
        compare("push only", Workload::Push, n, "push >= 5 M/s");
        compare("pop only", Workload::Pop, n, "pop >= 0.6 M/s");
        compare("uniform 1:1", Workload::Churn { decreases: 1, among: n }, n, "");
        compare("uniform 20:1", Workload::Churn { decreases: 20, among: n }, n, "ratio >= 0.9");
        compare("hot-1000 20:1", Workload::Churn { decreases: 20, among: hot }, n, "ratio >= 2");
        println!();
    }
    println!("the queue, ids of 32 bytes and their index by id included\n");
    println!("{:>9} {:>8} {:>13} {:>8} {:>12}", "n", "push", "reprioritise", "pop", "bytes each*");
    for &n in &sizes {
        queue_itself(n);
    }
    println!("\n* heap and side table; the index by id is a BTreeMap beside them");
}
