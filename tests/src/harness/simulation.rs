//! The world: one queue of happenings in virtual time, nodes, network and deeds.

use std::collections::BTreeMap;

use wfengine_core::Views;
use wfengine_core::command::Command;
use wfengine_core::seal::{Author, found, seal};
use wfengine_core::time::WallMs;
use wfengine_core::{Admitted, Log};
use wfengine_storage_format::{
    ChainId, ClusterFounded, Grant, Incarnation, PeerAdmitted, PeerId, Roles, Signer, VerifiedFrame,
};

use super::checks::{Checker, Sometimes, Violation};
use super::disk::Disk;
use super::network::{Message, Network};
use super::node::{Node, Wake, Wish};
use super::plan::{Deed, Plan, QUIET_WITHIN, Setup};

enum Happening {
    Deed(Deed),
    Deliver { from: usize, to: usize, message: Message },
    Wake { node: usize, start: u64, wake: Wake },
}

/// What came out of a simulation that broke no invariant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Virtual time it took, in milliseconds.
    pub took_ms: u64,
    /// Things that happened.
    pub happenings: u64,
    /// Events in the log at the end.
    pub events: u64,
    /// Rare things.
    pub sometimes: Sometimes,
}

/// Driving is bounded, so that a bug cannot hang the suite.
const HAPPENINGS_MAX: u64 = 2_000_000;

/// A cluster in virtual time.
pub struct Simulation {
    seed: u64,
    setup: Setup,
    nodes: Vec<Node>,
    network: Network,
    checker: Checker,
    queue: BTreeMap<(u64, u64), Happening>,
    next_number: u64,
    now_ms: u64,
    heals_at_ms: u64,
    stalled_until: BTreeMap<usize, u64>,
    healed: bool,
    happenings: u64,
    submitted: BTreeMap<u64, wfengine_storage_format::RunId>,
}

impl Simulation {
    /// Runs one seed to its end.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn run(seed: u64, setup: Setup) -> Result<Outcome, Violation> {
        let plan = Plan::draw(seed, &setup);
        Self::with_plan(seed, setup, plan)?.drive()
    }

    /// A cluster of which all know all, about to do what the plan says.
    ///
    /// # Errors
    /// [`Violation::Broken`] when the cluster cannot be founded.
    pub fn with_plan(seed: u64, setup: Setup, plan: Plan) -> Result<Self, Violation> {
        let signers: Vec<Signer> = (0..setup.nodes).map(|index| signer(seed, index)).collect();
        let members: Vec<PeerId> = signers.iter().map(Signer::peer_id).collect();
        let frames = founding_frames(&signers).map_err(|what| Violation::Broken { node: 0, what })?;
        let cluster = frames.first().map(|frame| frame.header().cluster);
        let cluster =
            cluster.ok_or_else(|| Violation::Broken { node: 0, what: "no founding frame".to_owned() })?;
        let faults = &setup.faults;
        let excused = [
            faults.crashes,
            faults.drains,
            faults.cuts,
            faults.stalls,
            faults.loss_permille,
            faults.broken_executor_permille,
            faults.cancelled_permille,
        ];
        let network = Network::new(seed, setup.delay_ms, &setup.faults);
        let mut simulation = Self {
            seed,
            nodes: Vec::new(),
            network,
            checker: Checker::new(excused.iter().any(|often| *often > 0), setup.slots >= 64),
            queue: BTreeMap::new(),
            next_number: 0,
            now_ms: 0,
            heals_at_ms: plan.heals_at_ms,
            stalled_until: BTreeMap::new(),
            healed: false,
            happenings: 0,
            submitted: BTreeMap::new(),
            setup,
        };
        for (index, signer) in signers.into_iter().enumerate() {
            let mut node = Node::new(seed, index, signer, cluster, members.clone());
            node.install(&frames);
            node.disk.seen = members.iter().copied().filter(|peer| *peer != node.peer()).collect();
            simulation.nodes.push(node);
            simulation.at(index as u64 * 10, Happening::Deed(Deed::Start { node: index }));
        }
        for (at_ms, deed) in plan.deeds {
            simulation.at(at_ms, Happening::Deed(deed));
        }
        Ok(simulation)
    }

    fn at(&mut self, at_ms: u64, happening: Happening) {
        self.next_number += 1;
        self.queue.insert((at_ms, self.next_number), happening);
    }

    /// Drives the cluster through its faults until it is quiet.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn drive(mut self) -> Result<Outcome, Violation> {
        let quiet_within_ms = u64::try_from(QUIET_WITHIN.as_millis()).unwrap_or(u64::MAX);
        let mut next_look_ms = self.heals_at_ms + 500;
        while let Some(((at_ms, _), happening)) = self.queue.pop_first() {
            self.now_ms = at_ms;
            self.happenings += 1;
            self.happen(happening);
            if let Some(violation) = self.checker.first() {
                return Err(violation.clone());
            }
            if self.healed && self.now_ms >= next_look_ms {
                next_look_ms = self.now_ms + 500;
                let busy = self.busy();
                match busy {
                    None => return self.finish(),
                    Some(what) if self.now_ms > self.heals_at_ms + quiet_within_ms => {
                        return Err(Violation::NotQuiet { waited_ms: self.now_ms - self.heals_at_ms, what });
                    }
                    Some(_) => {}
                }
            }
            if self.happenings > HAPPENINGS_MAX {
                let what = format!("{HAPPENINGS_MAX} things happened in {} ms", self.now_ms);
                return Err(Violation::NotQuiet { waited_ms: self.now_ms, what });
            }
        }
        Err(Violation::NotQuiet { waited_ms: self.now_ms, what: "nothing happens any more".to_owned() })
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deed(deed) => self.deed(deed),
            Happening::Deliver { from, to, message } => {
                if let Some(later) = self.stalled(to) {
                    return self.at(later, Happening::Deliver { from, to, message });
                }
                let mut wishes = Vec::new();
                if let Some(node) = self.nodes.get_mut(to) {
                    node.receive(self.now_ms, from, message, &mut wishes);
                    node.pump(self.now_ms, &self.setup, self.seed, &mut self.checker, &mut wishes);
                }
                self.grant(to, wishes);
            }
            Happening::Wake { node: index, start, wake } => {
                if let Some(later) = self.stalled(index) {
                    return self.at(later, Happening::Wake { node: index, start, wake });
                }
                let mut wishes = Vec::new();
                if let Some(node) = self.nodes.get_mut(index).filter(|node| node.starts == start) {
                    node.wake(self.now_ms, wake, &self.setup, self.seed, &mut self.checker, &mut wishes);
                }
                self.grant(index, wishes);
            }
        }
    }

    fn stalled(&self, node: usize) -> Option<u64> {
        self.stalled_until.get(&node).copied().filter(|until| *until > self.now_ms)
    }

    fn grant(&mut self, index: usize, wishes: Vec<Wish>) {
        let Some(start) = self.nodes.get(index).map(|node| node.starts) else { return };
        for wish in wishes {
            match wish {
                Wish::Wake(after_ms, wake) => {
                    self.at(self.now_ms + after_ms, Happening::Wake { node: index, start, wake });
                }
                Wish::Send(to, message) => self.send(index, to, message),
                Wish::Broadcast(message) => {
                    for to in (0..self.nodes.len()).filter(|to| *to != index) {
                        self.send(index, to, message.clone());
                    }
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        for after_ms in self.network.send(from, to) {
            self.at(self.now_ms + after_ms, Happening::Deliver { from, to, message: message.clone() });
        }
    }

    fn deed(&mut self, deed: Deed) {
        match deed {
            Deed::Submit { node, number, shape, priority_milli, placement, origin, retries, unplanned } => {
                let mut submission = shape.submission(&format!("run-{number}"));
                submission.priority_milli = priority_milli;
                submission.placement = placement;
                submission.origin = origin;
                submission.retries = retries;
                self.submitted.insert(number, submission.run());
                let plan = if unplanned { Vec::new() } else { shape.static_plan() };
                let command = Command::Submit { submission: Box::new(submission), plan, blobs: vec![] };
                self.ask(node, command);
            }
            Deed::Cancel { node, number } => {
                if let Some(run) = self.submitted.get(&number).copied() {
                    self.ask(node, Command::Cancel { run, reason: "changed my mind".to_owned() });
                }
            }
            Deed::Crash { node } => {
                self.stalled_until.remove(&node);
                if let Some(node) = self.nodes.get_mut(node) {
                    node.crash(&mut self.checker);
                }
            }
            Deed::Drain { node: index } => {
                let mut wishes = Vec::new();
                if let Some(node) = self.nodes.get_mut(index) {
                    node.drain(self.now_ms);
                    node.pump(self.now_ms, &self.setup, self.seed, &mut self.checker, &mut wishes);
                }
                self.grant(index, wishes);
            }
            Deed::Start { node } => self.start(node),
            Deed::Cut { nodes } => self.network.cut(nodes),
            Deed::Join => self.network.cut(Default::default()),
            Deed::Stall { node, for_ms } => {
                self.stalled_until.insert(node, self.now_ms + for_ms);
            }
            Deed::Heal => {
                self.network.heal();
                self.stalled_until.clear();
                (0..self.nodes.len()).for_each(|node| self.start(node));
                self.healed = true;
            }
        }
    }

    fn start(&mut self, index: usize) {
        let mut wishes = Vec::new();
        if let Some(node) = self.nodes.get_mut(index).filter(|node| node.live.is_none()) {
            wishes = node.start(self.now_ms, &self.setup, self.seed, &mut self.checker);
        }
        self.grant(index, wishes);
    }

    fn ask(&mut self, index: usize, command: Command) {
        let mut wishes = Vec::new();
        if let Some(node) = self.nodes.get_mut(index) {
            node.ask(command);
            node.pump(self.now_ms, &self.setup, self.seed, &mut self.checker, &mut wishes);
        }
        self.grant(index, wishes);
    }

    /// What still goes on, if anything.
    fn busy(&mut self) -> Option<String> {
        for node in &self.nodes {
            let Some(live) = &node.live else { return Some(format!("node {} is down", node.index)) };
            if let Some(open) = self.checker.open_work(&live.views) {
                return Some(format!("node {}: {open}", node.index));
            }
            if !node.is_idle() {
                return Some(format!("node {} holds claims", node.index));
            }
        }
        let frontiers: Vec<_> = self.nodes.iter().map(|node| node.disk.frontier()).collect();
        let same = frontiers.windows(2).all(|pair| pair[0] == pair[1]);
        (!same).then(|| "logs differ".to_owned())
    }

    fn finish(mut self) -> Result<Outcome, Violation> {
        let mut sometimes = Sometimes::default();
        let mut digests = Vec::new();
        for node in &mut self.nodes {
            let Some(live) = &mut node.live else { continue };
            let mut counted = Sometimes::default();
            self.checker.inspect(node.index, &live.views, &mut counted);
            if node.index == 0 {
                sometimes = counted;
            }
            digests.push(live.views.digest());
            if live.scheduler.open_jobs() > 0 {
                let what = format!("{} jobs are left over in the scheduler", live.scheduler.open_jobs());
                self.checker.report(Violation::Broken { node: node.index, what });
            }
        }
        for (node, digest) in digests.iter().enumerate() {
            if Some(digest) != digests.first() {
                self.checker.report(Violation::Diverged { node });
            }
        }
        if let Some(violation) = self.checker.first() {
            return Err(violation.clone());
        }
        let events = self.nodes.first().map_or(0, |node| node.disk.frontier().values().sum());
        Ok(Outcome { took_ms: self.now_ms, happenings: self.happenings, events, sometimes })
    }
}

fn signer(seed: u64, index: usize) -> Signer {
    let text = format!("signer {index} of {seed}");
    Signer::from_seed(&wfengine_storage_format::sha256(text.as_bytes()))
}

/// The founder's frames: the founding, then the admission of everybody else.
fn founding_frames(signers: &[Signer]) -> Result<Vec<VerifiedFrame>, String> {
    let founder = signers.first().ok_or("a cluster needs a node")?;
    let chain = ChainId { author: founder.peer_id(), incarnation: Incarnation::from_bytes([1; 16]) };
    let author = Author { signer: founder.clone(), chain };
    let system = vec!["linux".to_owned(), "x64".to_owned()];
    let body = ClusterFounded { name: "simulated".to_owned(), nonce: [0; 16], system: system.clone() };
    let first = found(&author, body, WallMs(1)).map_err(|refusal| refusal.to_string())?;
    let cluster = first.header().cluster;
    let (mut log, mut views, mut disk) = (Log::new(cluster), Views::new(cluster), Disk::default());
    let mut frames = vec![first];
    let mut admitted = 0;
    loop {
        while let Some(frame) = frames.get(admitted) {
            log.admit(frame, |_| true, &disk).map_err(|rejected| rejected.to_string()).map(drop)?;
            let events = Admitted::of_frame(frame.clone(), WallMs(1));
            for event in &events {
                views.apply(event, &disk);
            }
            disk.commit(std::sync::Arc::new(frame.clone()), &events);
            admitted += 1;
        }
        let Some((index, joiner)) = signers.iter().enumerate().nth(frames.len()) else { return Ok(frames) };
        let command = Command::Admit(PeerAdmitted {
            peer: joiner.peer_id(),
            name: format!("node-{index}"),
            system: system.clone(),
            grant: Grant::Direct { roles: Roles::MEMBER, labels: vec![] },
        });
        let decided = wfengine_core::command::decide(&views, &chain, &command);
        let Ok(wfengine_core::command::Decision::Write(drafts)) = decided else {
            return Err(format!("a peer is not admitted: {decided:?}"));
        };
        let sealed = seal(&log, &disk, &author, &Default::default(), drafts, WallMs(1));
        frames.extend(sealed.map_err(|refusal| refusal.to_string())?);
    }
}
