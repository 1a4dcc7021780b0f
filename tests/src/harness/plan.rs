//! What happens in a simulation: drawn from the seed before it starts, so that it can be printed.

use std::collections::BTreeSet;
use std::time::Duration;

use wfengine_core::scheduler::Timing;
use wfengine_storage_format::{Origin, Placement};

use super::chance::Chance;
use super::workflows::Shape;

/// Which faults, and how often.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Crashes over the whole run, each followed by a start.
    pub crashes: u64,
    /// Orderly shutdowns, each followed by a start.
    pub drains: u64,
    /// Cuts of the cluster in two.
    pub cuts: u64,
    /// Times a node stands still.
    pub stalls: u64,
    /// Messages lost, of a thousand.
    pub loss_permille: u64,
    /// Messages doubled, of a thousand.
    pub doubled_permille: u64,
    /// Executions that conclude with failure, of a thousand.
    pub failure_permille: u64,
    /// Executions that break down, hang or fall silent, of a thousand.
    pub broken_executor_permille: u64,
    /// Runs cancelled, of a thousand.
    pub cancelled_permille: u64,
}

impl Faults {
    /// None at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything, each drawn from the seed.
    pub fn drawn(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "faults");
        let mut up_to = |max: u64| if chance.happens(500) { chance.between(0, max + 1) } else { 0 };
        Self {
            crashes: up_to(4),
            drains: up_to(2),
            cuts: up_to(3),
            stalls: up_to(2),
            loss_permille: up_to(200),
            doubled_permille: up_to(300),
            failure_permille: up_to(200),
            broken_executor_permille: up_to(150),
            cancelled_permille: up_to(150),
        }
    }
}

/// What a simulation is made of, besides its seed.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many nodes.
    pub nodes: usize,
    /// Jobs a node executes at once.
    pub slots: u32,
    /// How many runs are submitted.
    pub runs: u64,
    /// Over which time, in milliseconds.
    pub submitted_over_ms: u64,
    /// Mean delay of a message, in milliseconds.
    pub delay_ms: u64,
    /// Which faults.
    pub faults: Faults,
    /// The times of the protocol; a bug can be planted here.
    pub timing: Timing,
    /// Which shapes are submitted.
    pub shapes: Vec<Shape>,
    /// All nodes but the first keep few finished runs in memory.
    pub forgetful: bool,
    /// Another bug that can be planted: executors do not ask whether they may go on, and do not stop.
    pub executors_never_stop: bool,
    /// Another: commits are announced before they are durable.
    pub announces_before_commit: bool,
}

impl Setup {
    /// Three nodes, all shapes, no faults.
    pub fn calm() -> Self {
        Self {
            nodes: 3,
            slots: 64,
            runs: 8,
            submitted_over_ms: 20_000,
            delay_ms: 20,
            faults: Faults::none(),
            timing: Timing::default(),
            shapes: vec![Shape::Chain(2), Shape::Fan(3), Shape::Chain(1)],
            forgetful: false,
            executors_never_stop: false,
            announces_before_commit: false,
        }
    }

    /// Three nodes, all shapes, faults drawn from the seed.
    pub fn stormy(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "setup");
        Self {
            slots: u32::try_from(chance.between(1, 4)).unwrap_or(1),
            runs: chance.between(3, 12),
            submitted_over_ms: 40_000,
            delay_ms: [2, 20, 80][usize::try_from(chance.between(0, 3)).unwrap_or(0)],
            faults: Faults::drawn(seed),
            forgetful: chance.happens(300),
            shapes: vec![
                Shape::Chain(2),
                Shape::Fan(2),
                Shape::Matrix(3),
                Shape::Matrix(4),
                Shape::Group,
                Shape::Task,
            ],
            ..Self::calm()
        }
    }
}

/// Something done to the cluster from outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    /// Submit a run at a node.
    Submit {
        /// Where.
        node: usize,
        /// Number of the run; names it.
        number: u64,
        /// What.
        shape: Shape,
        /// Priority in thousandths.
        priority_milli: u32,
        /// Where it may run.
        placement: Placement,
        /// Where it comes from.
        origin: Origin,
        /// How often it is tried again.
        retries: u32,
        /// Whether the static plan is left to the planner.
        unplanned: bool,
    },
    /// Cancel a run at the node that submitted it.
    Cancel {
        /// Where.
        node: usize,
        /// Number of the run.
        number: u64,
    },
    /// A node loses power.
    Crash {
        /// Which.
        node: usize,
    },
    /// A node is told to shut down.
    Drain {
        /// Which.
        node: usize,
    },
    /// A crashed node starts.
    Start {
        /// Which.
        node: usize,
    },
    /// Some nodes are cut off from the others.
    Cut {
        /// Which.
        nodes: BTreeSet<usize>,
    },
    /// The cut ends.
    Join,
    /// A node stands still.
    Stall {
        /// Which.
        node: usize,
        /// For how long.
        for_ms: u64,
    },
    /// All faults end.
    Heal,
}

/// The deeds of a simulation, with their times in milliseconds.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In no particular order.
    pub deeds: Vec<(u64, Deed)>,
    /// When the faults end.
    pub heals_at_ms: u64,
}

/// The cluster is given this time to meet before anything is submitted.
const MEETS_MS: u64 = 3_000;

impl Plan {
    /// Draws what happens.
    pub fn draw(seed: u64, setup: &Setup) -> Self {
        let mut chance = Chance::new(seed, "plan");
        let mut deeds = Vec::new();
        let nodes = setup.nodes as u64;
        let node = |chance: &mut Chance| usize::try_from(chance.between(0, nodes)).unwrap_or(0);
        for number in 0..setup.runs {
            let at = MEETS_MS + chance.between(0, setup.submitted_over_ms);
            let shapes = setup.shapes.len() as u64;
            let shape = setup.shapes[usize::try_from(chance.between(0, shapes)).unwrap_or(0)];
            let node = node(&mut chance);
            let author = chance.happens(60) && shape != Shape::Task;
            deeds.push((
                at,
                Deed::Submit {
                    node,
                    number,
                    shape,
                    priority_milli: [1_000, 3_000, 5_000][usize::try_from(chance.between(0, 3)).unwrap_or(0)],
                    placement: if author { Placement::Author } else { Placement::Rule },
                    origin: Origin::Hand,
                    retries: u32::try_from(chance.between(0, 3)).unwrap_or(0),
                    unplanned: chance.happens(200),
                },
            ));
            if chance.happens(setup.faults.cancelled_permille) {
                deeds.push((at + chance.between(0, 10_000), Deed::Cancel { node, number }));
            }
        }
        let last = MEETS_MS + setup.submitted_over_ms + 20_000;
        let mut heals_at_ms = last;
        for _ in 0..setup.faults.crashes {
            let (node, at) = (node(&mut chance), chance.between(MEETS_MS, last));
            let down_ms = chance.between(500, 30_000);
            deeds.push((at, Deed::Crash { node }));
            deeds.push((at + down_ms, Deed::Start { node }));
            heals_at_ms = heals_at_ms.max(at + down_ms);
        }
        for _ in 0..setup.faults.drains {
            let (node, at) = (node(&mut chance), chance.between(MEETS_MS, last));
            deeds.push((at, Deed::Drain { node }));
            deeds.push((at + 6_000, Deed::Crash { node }));
            deeds.push((at + 9_000, Deed::Start { node }));
            heals_at_ms = heals_at_ms.max(at + 9_000);
        }
        for _ in 0..setup.faults.cuts {
            let at = chance.between(MEETS_MS, last);
            let for_ms = chance.between(2_000, 40_000);
            let off = BTreeSet::from([node(&mut chance)]);
            deeds.push((at, Deed::Cut { nodes: off }));
            deeds.push((at + for_ms, Deed::Join));
            heals_at_ms = heals_at_ms.max(at + for_ms);
        }
        for _ in 0..setup.faults.stalls {
            let (node, at) = (node(&mut chance), chance.between(MEETS_MS, last));
            let for_ms = chance.between(600, 25_000);
            deeds.push((at, Deed::Stall { node, for_ms }));
            heals_at_ms = heals_at_ms.max(at + for_ms);
        }
        deeds.push((heals_at_ms + 1, Deed::Heal));
        Self { deeds, heals_at_ms }
    }
}

/// How long the cluster is left alone after the faults before it must be quiet.
pub const QUIET_WITHIN: Duration = Duration::from_secs(900);
