//! The scheduler alone, against a cluster of which the other members are puppets: each rule and each timer of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it")]

use std::sync::Arc;
use std::time::Duration;

use wfengine_core::command::{Command, Decision, Refusal, decide};
use wfengine_core::log::{Admission, KnownEvents, Location, Log};
use wfengine_core::scheduler::{
    Action, Allow, Allowed, Beat, Config, Decline, Execution, NamedClaim, Presence, ProgramAsk, ProgramId,
    Scheduler, StopReason, order_of,
};
use wfengine_core::seal::{Author, found, seal};
use wfengine_core::time::{Monotonic, Now, WallMs};
use wfengine_core::views::job::{Job, Status};
use wfengine_core::views::runs::NoHistory;
use wfengine_core::{Admitted, Views};
use wfengine_storage_format::{
    BlobId, Body, ChainId, ClusterFounded, Conclusion, EventId, Frozen, Grant, Incarnation, JobClaimed,
    JobCompleted, JobId, JobReleased, JobStarted, JobsPlanned, Origin, PeerAdmitted, PeerId, Placement,
    PlannedKey, PlannedLeg, ReleaseReason, Roles, RunId, RunSpec, RunSubmitted, SignedHeader, Signer,
    VerifiedFrame, WorkflowSpec,
};

struct Nothing;
impl KnownEvents for Nothing {
    fn locate(&self, _: &EventId) -> Option<Location> {
        None
    }
    fn header_at(&self, _: &ChainId, _: u64) -> Option<SignedHeader> {
        None
    }
}

/// Three members in one log; member 0 has a scheduler, the others write what the test says.
struct Cluster {
    authors: Vec<Author>,
    log: Log,
    views: Views,
    scheduler: Scheduler,
    now_ms: u64,
    actions: Vec<Action>,
    refusals: Vec<Refusal>,
    beat_numbers: u64,
}

impl Cluster {
    fn new(config: Config) -> Self {
        let author = |n: u8| {
            let signer = Signer::from_seed(&[n + 1; 32]);
            let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([n; 16]) };
            Author { signer, chain }
        };
        let authors: Vec<Author> = (0..3).map(author).collect();
        let body = ClusterFounded { name: "home".into(), nonce: [0; 16], system: vec!["linux".into()] };
        let frame = found(&authors[0], body, WallMs(1)).unwrap();
        let cluster = frame.header().cluster;
        let (log, views) = (Log::new(cluster), Views::new(cluster));
        let scheduler = Scheduler::open(authors[0].chain, config, &views, Now::default());
        let mut cluster = Self {
            authors,
            log,
            views,
            scheduler,
            now_ms: 0,
            actions: vec![],
            refusals: vec![],
            beat_numbers: 0,
        };
        cluster.take(frame);
        for joiner in 1..3 {
            let peer = cluster.peer(joiner);
            let grant = Grant::Direct { roles: Roles::MEMBER, labels: vec![] };
            let body = PeerAdmitted { peer, name: format!("n{joiner}"), system: vec!["linux".into()], grant };
            cluster.says(0, Command::Admit(body)).unwrap();
        }
        for other in 1..3 {
            cluster.beats(other, 4, vec![]);
        }
        cluster
    }

    /// With slots, everybody allowed.
    fn usual() -> Self {
        Self::new(Config { slots: 4, allow: Allow::any(), ..Config::default() })
    }

    fn peer(&self, n: usize) -> PeerId {
        self.authors[n].chain.author
    }

    fn now(&self) -> Now {
        Now { wall: WallMs(1_000_000 + self.now_ms), monotonic: Monotonic(self.now_ms) }
    }

    fn take(&mut self, frame: VerifiedFrame) {
        assert_eq!(self.log.admit(&frame, |_| true, &Nothing).unwrap(), Admission::Admitted);
        for event in Admitted::of_frame(frame, WallMs(5)) {
            self.views.apply(&event, &NoHistory);
            let now = self.now();
            self.scheduler.handle_event(&self.views, &event, now);
        }
        self.pump();
    }

    fn write(&mut self, n: usize, command: &Command) -> Result<Vec<EventId>, Refusal> {
        let Decision::Write(drafts) = decide(&self.views, &self.authors[n].chain, command)? else {
            return Ok(vec![]);
        };
        let authors = self.authors[n].clone();
        let frames = seal(&self.log, &Nothing, &authors, &Default::default(), drafts, WallMs(2))?;
        let ids = frames.iter().flat_map(|frame| frame.events()).map(|(id, _)| *id).collect();
        frames.into_iter().for_each(|frame| self.take(frame));
        Ok(ids)
    }

    /// A member writes; what the scheduler wants of it is done.
    fn says(&mut self, n: usize, command: Command) -> Result<Vec<EventId>, Refusal> {
        let ids = self.write(n, &command);
        self.pump();
        ids
    }

    fn pump(&mut self) {
        while let Some((id, command)) = self.scheduler.poll_command() {
            let answer = self.write(0, &command);
            self.refusals.extend(answer.clone().err());
            let now = self.now();
            self.scheduler.handle_committed(&self.views, id, answer, now);
        }
        while let Some(action) = self.scheduler.poll_action() {
            self.actions.push(action);
        }
        while self.scheduler.poll_datagram().is_some() {}
    }

    fn pass(&mut self, ms: u64) {
        self.pass_with(ms, |_| {});
    }

    /// Lets time pass; every second the puppets say what `each` says.
    fn pass_with(&mut self, ms: u64, each: impl Fn(&mut Self)) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            let next =
                self.scheduler.poll_timeout().0.clamp(self.now_ms, end).min(self.now_ms / 1000 * 1000 + 1000);
            if next / 1000 > self.now_ms / 1000 {
                self.now_ms = next;
                each(self);
            }
            self.now_ms = next;
            let now = self.now();
            self.scheduler.handle_timer(&self.views, now);
            self.pump();
        }
    }

    fn beat(&mut self, n: usize, free_slots: u32, claims: Vec<EventId>) -> Beat {
        self.beat_numbers += 1;
        let named = |claim| NamedClaim { claim, step: 1, percent: None };
        Beat {
            chain: self.authors[n].chain,
            number: self.beat_numbers,
            healthy: true,
            free_slots,
            programs: 0,
            allowed: Allowed::Any,
            declines_all: None,
            claims: claims.into_iter().map(named).collect(),
            declines: vec![],
        }
    }

    fn beats(&mut self, n: usize, free_slots: u32, claims: Vec<EventId>) {
        let (peer, now) = (self.peer(n), self.now());
        self.scheduler.handle_peer(&self.views, peer, Presence::Alive, now);
        let beat = self.beat(n, free_slots, claims);
        self.scheduler.handle_beat(&self.views, &beat, now);
        self.pump();
    }

    fn down(&mut self, n: usize) {
        let (peer, now) = (self.peer(n), self.now());
        self.scheduler.handle_peer(&self.views, peer, Presence::Down, now);
        self.pump();
    }

    fn reports(&mut self, claim: EventId, report: Execution) {
        let now = self.now();
        self.scheduler.handle_execution(&self.views, claim, report, now);
        self.pump();
    }

    fn job(&self, run: &RunId) -> &Job {
        self.views.runs().live(run).unwrap().jobs.values().next().unwrap()
    }

    /// Submits runs until one is ranked so that `member` comes at `rank`.
    fn submit_ranked(
        &mut self,
        member: usize,
        rank: u32,
        shape: impl Fn(&str) -> (RunSubmitted, Vec<PlannedKey>),
    ) -> RunId {
        for _ in 0..200 {
            self.beat_numbers += 1;
            let (submission, plan) = shape(&self.beat_numbers.to_string());
            let run = submission.run();
            let peer = self.peer(member);
            // whose turn it is follows from the head at submission: look before the scheduler does
            let mut ahead = self.views.clone();
            let command = Command::Submit { submission: Box::new(submission), plan, blobs: vec![] };
            let Ok(Decision::Write(drafts)) = decide(&self.views, &self.authors[1].chain, &command) else {
                panic!()
            };
            let author = self.authors[1].clone();
            let frames = seal(&self.log, &Nothing, &author, &Default::default(), drafts, WallMs(2)).unwrap();
            for event in frames.iter().flat_map(|frame| Admitted::of_frame(frame.clone(), WallMs(5))) {
                ahead.apply(&event, &NoHistory);
            }
            let known = ahead.runs().live(&run).unwrap();
            let order = order_of(&ahead, known, known.jobs.values().next().unwrap());
            if order.iter().any(|place| place.peer == peer && place.rank == rank) {
                frames.into_iter().for_each(|frame| self.take(frame));
                return run;
            }
        }
        panic!("no submission ranks member {member} at {rank}");
    }

    /// The job of a run under one of this node's claims succeeds.
    fn succeeds(&mut self, run: &RunId, claim: EventId) {
        let jobs = self.views.runs().live(run).unwrap().jobs.values();
        let job = jobs.filter(|job| job.claim(&claim).is_some()).map(|job| job.id).next().unwrap();
        let body = done(*run, job, claim, Conclusion::Success);
        self.reports(claim, Execution::Finished(Box::new(body)));
    }

    fn executing(&self, run: &RunId) -> Option<EventId> {
        self.actions.iter().rev().find_map(|action| match action {
            Action::Execute { run: of, claim, .. } if of == run => Some(*claim),
            _ => None,
        })
    }
}

fn leg(group: Option<&str>, runs_on: &str) -> PlannedLeg {
    PlannedLeg {
        name: "build".into(),
        matrix: Default::default(),
        runs_on: vec![runs_on.into()],
        group: group.map(Into::into),
        timeout_minutes: 10,
        continue_on_error: false,
    }
}

/// The legs of a matrix.
fn matrix(len: u32) -> Vec<PlannedLeg> {
    let of = |n: u32| [("n".to_owned(), n.to_string())].into();
    (0..len).map(|n| PlannedLeg { matrix: of(n), ..leg(None, "linux") }).collect()
}

fn workflow_with(name: &str, leg: PlannedLeg) -> (RunSubmitted, Vec<PlannedKey>) {
    let spec = RunSpec::Workflow(WorkflowSpec {
        path: "w.yml".into(),
        source: BlobId::from_bytes([0; 32]),
        called: vec![],
        job_keys: vec!["build".into()],
        rules_version: 1,
    });
    let planned = PlannedKey {
        key: "build".into(),
        needs: vec![],
        skipped: None,
        max_parallel: None,
        fail_fast: false,
        legs: vec![leg],
    };
    (submission(name, spec), vec![planned])
}

fn workflow(name: &str) -> (RunSubmitted, Vec<PlannedKey>) {
    workflow_with(name, leg(None, "linux"))
}

fn task(name: &str) -> (RunSubmitted, Vec<PlannedKey>) {
    (submission(name, RunSpec::Task { workflow_id: "w".into() }), vec![])
}

fn submission(name: &str, spec: RunSpec) -> RunSubmitted {
    RunSubmitted {
        trigger_key: format!("id:{name}").into_bytes(),
        attempt: 1,
        name: name.into(),
        spec,
        frozen: Frozen::default(),
        tags: vec!["blue".into()],
        metadata_json: String::new(),
        priority_milli: 3000,
        placement: Placement::Rule,
        origin: Origin::Hand,
        retries: 0,
        backoff_ms: (1_000, 8_000),
        rerun_of: None,
    }
}

fn done(run: RunId, job: JobId, claim: EventId, conclusion: Conclusion) -> JobCompleted {
    JobCompleted {
        run,
        job,
        claim,
        conclusion,
        outputs: vec![],
        result_json: String::new(),
        log: None,
        log_len: 0,
        summary: None,
        artifacts: vec![],
        duration_ms: 1,
        notes: vec![],
    }
}

/// Another member claims, and starts.
fn claimed_by(cluster: &mut Cluster, n: usize, run: RunId) -> EventId {
    let (job, submission) =
        (cluster.job(&run).id, cluster.views.runs().live(&run).unwrap().canonical.unwrap());
    let claim = JobClaimed { run, job, submission, epoch: 1, supersedes: None };
    let claim = cluster.says(n, Command::Claim(claim)).unwrap()[0];
    cluster.says(n, Command::Start(JobStarted { run, job, claim })).unwrap();
    claim
}

#[test]
fn the_nearest_peer_starts_at_once_and_finishes() {
    let mut cluster = Cluster::usual();
    let run = cluster.submit_ranked(0, 0, workflow);
    let claim = cluster.executing(&run).expect("no waiting");
    assert!(cluster.scheduler.may_go_on(&cluster.views, &claim));
    cluster.reports(claim, Execution::Started);
    assert_eq!(cluster.job(&run).status, Status::InProgress);
    let body = done(run, cluster.job(&run).id, claim, Conclusion::Success);
    cluster.reports(claim, Execution::Finished(Box::new(body)));
    assert_eq!(cluster.job(&run).status, Status::Completed);
    assert_eq!((cluster.scheduler.open_jobs(), cluster.scheduler.held_claims().len()), (0, 0));
    assert!(cluster.refusals.is_empty());
}

#[test]
fn another_waits_a_turn_for_each_better_peer_and_then_settles() {
    let mut cluster = Cluster::usual();
    let run = cluster.submit_ranked(0, 1, workflow);
    cluster.pass(1_900);
    assert!(cluster.job(&run).claims.is_empty());
    cluster.pass(200);
    assert_eq!((cluster.job(&run).claims.len(), cluster.executing(&run)), (1, None));
    cluster.pass(500);
    assert!(cluster.executing(&run).is_some());
}

#[test]
fn nobody_waits_for_the_dead_or_for_those_who_declined() {
    let mut cluster = Cluster::usual();
    cluster.down(1);
    cluster.beats(2, 0, vec![]);
    let run = cluster.submit_ranked(0, 2, workflow);
    assert_eq!(cluster.job(&run).claims.len(), 1);
}

#[test]
fn a_greater_token_stops_an_execution_and_is_asked_before_each_step() {
    let mut cluster = Cluster::usual();
    let run = cluster.submit_ranked(0, 1, workflow);
    cluster.pass(2_600);
    let claim = cluster.executing(&run).unwrap();
    cluster.reports(claim, Execution::Step { number: 1, percent: None });
    // the nearest peer claimed at the same time; its event comes late
    let mut before = cluster.job(&run).clone();
    before.claims.clear();
    let job = before.id;
    let submission = cluster.views.runs().live(&run).unwrap().canonical.unwrap();
    let body = JobClaimed { run, job, submission, epoch: 1, supersedes: None };
    let nearest = order_of(&cluster.views, cluster.views.runs().live(&run).unwrap(), &before)[0].peer;
    let n = (1..3).find(|n| cluster.peer(*n) == nearest).unwrap();
    let refs: Vec<EventId> =
        [submission].into_iter().chain(cluster.views.authority().heads().iter().copied()).collect();
    let draft = wfengine_core::command::Draft {
        body: wfengine_core::command::DraftBody::Ready(Box::new(Body::from(body))),
        refs,
        blobs: vec![],
    };
    let author = cluster.authors[n].clone();
    let frames = seal(&cluster.log, &Nothing, &author, &Default::default(), vec![draft], WallMs(2)).unwrap();
    frames.into_iter().for_each(|frame| cluster.take(frame));
    assert!(!cluster.scheduler.may_go_on(&cluster.views, &claim));
    assert!(cluster.actions.contains(&Action::Stop { claim, reason: StopReason::Superseded }));
    cluster.reports(claim, Execution::Stopped { steps_done: 1 });
    assert!(!cluster.job(&run).claim(&claim).unwrap().is_held());
}

#[test]
fn a_claim_is_lost_when_its_author_is_down_for_the_grace() {
    let mut cluster = Cluster::usual();
    let run = cluster.submit_ranked(1, 0, workflow);
    let claim = claimed_by(&mut cluster, 1, run);
    cluster.down(1);
    cluster.pass_with(9_900, |cluster| cluster.beats(2, 0, vec![]));
    assert_eq!(cluster.job(&run).claims.len(), 1);
    cluster.pass_with(400, |cluster| cluster.beats(2, 0, vec![]));
    let job = cluster.job(&run);
    assert_eq!((job.claims.len(), job.claims[1].epoch, job.claims[1].supersedes), (2, 2, Some(claim)));
}

#[test]
fn a_claim_is_lost_when_its_author_lives_and_does_not_name_it() {
    let mut cluster = Cluster::usual();
    let run = cluster.submit_ranked(1, 0, workflow);
    let claim = claimed_by(&mut cluster, 1, run);
    cluster.pass_with(40_000, |cluster| {
        cluster.beats(1, 4, vec![claim]);
        cluster.beats(2, 0, vec![]);
    });
    assert_eq!(cluster.job(&run).claims.len(), 1, "named claims are left alone");
    cluster.pass_with(20_000, |cluster| {
        cluster.beats(1, 0, vec![]);
        cluster.beats(2, 0, vec![]);
    });
    assert_eq!(cluster.job(&run).claims.len(), 2);
}

#[test]
fn a_claim_is_lost_when_its_author_starts_anew() {
    let mut cluster = Cluster::usual();
    let run = cluster.submit_ranked(1, 0, workflow);
    claimed_by(&mut cluster, 1, run);
    cluster.beats(2, 0, vec![]);
    cluster.authors[1].chain.incarnation = Incarnation::from_bytes([77; 16]);
    cluster.beats(1, 0, vec![]);
    assert_eq!(cluster.job(&run).claims.len(), 2);
}

#[test]
fn a_node_that_slept_judges_nobody_for_ten_seconds() {
    let mut cluster = Cluster::usual();
    let run = cluster.submit_ranked(1, 0, workflow);
    claimed_by(&mut cluster, 1, run);
    cluster.down(1);
    cluster.pass_with(5_000, |cluster| cluster.beats(2, 0, vec![]));
    cluster.now_ms += 60_000;
    cluster.beats(2, 0, vec![]);
    assert_eq!(cluster.scheduler.declines_all(cluster.now().monotonic), Some(Decline::Unhealthy));
    cluster.pass_with(19_000, |cluster| cluster.beats(2, 0, vec![]));
    assert_eq!(cluster.job(&run).claims.len(), 1);
    cluster.pass_with(2_000, |cluster| cluster.beats(2, 0, vec![]));
    assert_eq!(cluster.job(&run).claims.len(), 2);
}

#[test]
fn a_minority_holds_back_once_for_twenty_seconds() {
    let mut cluster = Cluster::usual();
    cluster.down(1);
    cluster.down(2);
    let first = cluster.submit_ranked(0, 0, workflow);
    cluster.pass(19_900);
    assert!(cluster.job(&first).claims.is_empty());
    let why = cluster.scheduler.why(&cluster.views, &first, &cluster.job(&first).id, cluster.now()).unwrap();
    assert_eq!(why.declined_here, Some(Decline::Minority));
    cluster.pass(200);
    assert_eq!(cluster.job(&first).claims.len(), 1);
    let second = cluster.submit_ranked(0, 0, workflow);
    assert_eq!(cluster.job(&second).claims.len(), 1, "not per job");
}

#[test]
fn of_two_halves_the_one_with_the_least_key_is_no_minority() {
    for survivor in 1..3 {
        let mut cluster = Cluster::usual();
        // only this member was ever seen besides the node itself: a cluster of two for the day
        let other = cluster.peer(survivor);
        let seen = [other].into();
        let config = Config { slots: 4, allow: Allow::any(), seen, ..Config::default() };
        let now = cluster.now();
        cluster.scheduler = Scheduler::open(cluster.authors[0].chain, config, &cluster.views, now);
        let holds = cluster.scheduler.declines_all(now.monotonic) == Some(Decline::Minority);
        assert_eq!(holds, other < cluster.peer(0));
    }
}

#[test]
fn a_node_that_was_away_listens_for_half_a_turn_before_it_claims() {
    let mut cluster = Cluster::usual();
    let lost = cluster.submit_ranked(0, 0, workflow);
    assert_eq!(cluster.job(&lost).claims.len(), 1);
    let seen = [cluster.peer(1), cluster.peer(2)].into();
    let config = Config { slots: 4, allow: Allow::any(), seen, ..Config::default() };
    let now = cluster.now();
    cluster.authors[0].chain.incarnation = Incarnation::from_bytes([88; 16]);
    cluster.scheduler = Scheduler::open(cluster.authors[0].chain, config, &cluster.views, now);
    (1..3).for_each(|other| cluster.beats(other, 4, vec![]));
    let open = cluster.submit_ranked(0, 0, workflow);
    cluster.pass(900);
    assert_eq!(cluster.job(&lost).claims.len(), 1, "its former claim may be taken over");
    assert!(cluster.job(&open).claims.is_empty(), "others may have done it meanwhile");
    cluster.pass(200);
    assert_eq!((cluster.job(&lost).claims.len(), cluster.job(&open).claims.len()), (2, 1));
}

#[test]
fn a_node_that_lacks_its_peers_events_claims_nothing_while_it_comes_nearer() {
    let mut cluster = Cluster::usual();
    let behind = |cluster: &mut Cluster, events| {
        let now = cluster.now();
        cluster.scheduler.handle_behind(&cluster.views, events, now);
        cluster.pump();
    };
    let alive = |cluster: &mut Cluster| (1..3).for_each(|other| cluster.beats(other, 4, vec![]));
    behind(&mut cluster, 63);
    let first = cluster.submit_ranked(0, 0, workflow);
    assert_eq!(cluster.job(&first).claims.len(), 1, "a few are on their way at any time");
    behind(&mut cluster, 5_000);
    let second = cluster.submit_ranked(0, 0, workflow);
    cluster.pass_with(25_000, alive);
    behind(&mut cluster, 100);
    cluster.pass_with(25_000, alive);
    behind(&mut cluster, 4_000);
    assert!(cluster.job(&second).claims.is_empty());
    assert_eq!(cluster.scheduler.declines_all(cluster.now().monotonic), Some(Decline::Behind));
    behind(&mut cluster, 0);
    assert_eq!(cluster.job(&second).claims.len(), 1);
    // a peer that promises and does not give
    behind(&mut cluster, 1_000_000);
    let third = cluster.submit_ranked(0, 0, workflow);
    cluster.pass_with(29_900, alive);
    assert!(cluster.job(&third).claims.is_empty());
    cluster.pass_with(2_200, alive);
    assert_eq!(cluster.job(&third).claims.len(), 1);
}

#[test]
fn a_node_alone_waits_for_nobody_after_it_slept() {
    let mut cluster = Cluster::usual();
    let now = cluster.now();
    let config = Config { slots: 4, allow: Allow::any(), ..Config::default() };
    cluster.scheduler = Scheduler::open(cluster.authors[0].chain, config, &cluster.views, now);
    cluster.now_ms += 60_000;
    let run = cluster.submit_ranked(0, 0, workflow);
    assert_eq!(cluster.job(&run).claims.len(), 1);
}

#[test]
fn one_job_of_a_group_runs_at_a_time() {
    let mut cluster = Cluster::usual();
    cluster.beats(1, 0, vec![]);
    cluster.beats(2, 0, vec![]);
    let grouped = |name: &str| workflow_with(name, leg(Some("deploy"), "linux"));
    let runs: Vec<RunId> = (0..3).map(|_| cluster.submit_ranked(0, 0, grouped)).collect();
    let full = |cluster: &mut Cluster| {
        cluster.beats(1, 0, vec![]);
        cluster.beats(2, 0, vec![]);
    };
    cluster.pass_with(8_000, full);
    let held = |cluster: &Cluster| runs.iter().filter(|run| cluster.job(run).holder().is_some()).count();
    assert_eq!(held(&cluster), 1);
    for _ in 0..3 {
        let claim = cluster.scheduler.held_claims()[0];
        let run = *runs.iter().find(|run| cluster.job(run).claim(&claim).is_some()).unwrap();
        let body = done(run, cluster.job(&run).id, claim, Conclusion::Success);
        cluster.reports(claim, Execution::Finished(Box::new(body)));
        cluster.pass_with(4_000, full);
        assert!(held(&cluster) <= 1);
    }
    assert!(runs.iter().all(|run| cluster.job(run).status == Status::Completed));
}

#[test]
fn a_task_is_claimed_only_for_a_program_and_its_lease_ends() {
    let mut cluster = Cluster::usual();
    let run = cluster.submit_ranked(0, 0, task);
    cluster.pass(10_000);
    assert!(cluster.job(&run).claims.is_empty());
    let ask = |program, tags: &[&str], waits| ProgramAsk {
        only: None,
        program: ProgramId(program),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        lease: Duration::from_secs(5),
        waits,
    };
    let now = cluster.now();
    cluster.scheduler.handle_program(&cluster.views, ask(1, &["red"], false), now);
    cluster.pump();
    assert!(cluster.actions.contains(&Action::NothingFor { program: ProgramId(1) }));
    cluster.scheduler.handle_program(&cluster.views, ask(2, &["blue"], true), now);
    cluster.pump();
    let claim = cluster.job(&run).claims[0].id;
    let handed = |action: &Action| matches!(action, Action::Hand { program: ProgramId(2), .. });
    assert!(cluster.actions.iter().any(handed));
    cluster.pass(4_000);
    let now = cluster.now();
    assert!(cluster.scheduler.handle_extend(claim, Duration::from_secs(5), now));
    cluster.pass(4_900);
    assert!(cluster.job(&run).holder().is_some());
    cluster.pass(200);
    assert_eq!(cluster.job(&run).reason, "given back: the program's lease ended");
    assert!(!cluster.scheduler.handle_extend(claim, Duration::from_secs(5), cluster.now()));
    let now = cluster.now();
    cluster.scheduler.handle_program(&cluster.views, ask(3, &[], true), now);
    cluster.pass(4_000);
    assert_eq!(cluster.job(&run).claims.len(), 2, "it is offered again");
}

#[test]
fn a_drain_gives_back_finishes_and_ends() {
    let mut cluster = Cluster::usual();
    let run = cluster.submit_ranked(0, 0, workflow);
    let claim = cluster.executing(&run).unwrap();
    cluster.reports(claim, Execution::Started);
    let now = cluster.now();
    cluster.scheduler.handle_drain(&cluster.views, Duration::from_secs(30), now);
    cluster.pump();
    let later = cluster.submit_ranked(0, 0, workflow);
    cluster.pass(29_900);
    assert!(cluster.job(&later).claims.is_empty() && !cluster.scheduler.is_drained());
    cluster.pass(200);
    assert!(cluster.actions.contains(&Action::Stop { claim, reason: StopReason::Draining }));
    cluster.reports(claim, Execution::Stopped { steps_done: 1 });
    assert_eq!(cluster.job(&run).reason, "given back: its node is shutting down");
    assert!(cluster.scheduler.is_drained());
}

#[test]
fn others_jobs_need_the_operators_word_and_why_says_so() {
    let mut cluster = Cluster::new(Config { slots: 1, ..Config::default() });
    let run = cluster.submit_ranked(0, 0, workflow);
    cluster.pass(5_000);
    let job = cluster.job(&run).id;
    assert!(cluster.job(&run).claims.is_empty());
    let why = cluster.scheduler.why(&cluster.views, &run, &job, cluster.now()).unwrap();
    assert_eq!(why.declined_here, Some(Decline::NotAllowed));
    assert!(why.text.contains("wfengine allow --peer"), "{}", why.text);
    let allow = Allow { peers: [cluster.peer(1)].into(), ..Allow::default() };
    let now = cluster.now();
    cluster.scheduler.handle_allow(&cluster.views, allow, now);
    cluster.pass(10);
    assert_eq!(cluster.job(&run).claims.len(), 1);
}

#[test]
fn a_paused_node_claims_nothing_until_it_is_resumed() {
    let mut cluster = Cluster::usual();
    let now = cluster.now();
    cluster.scheduler.handle_pause(&cluster.views, now);
    let run = cluster.submit_ranked(0, 0, workflow);
    cluster.pass(5_000);
    assert!(cluster.job(&run).claims.is_empty());
    let now = cluster.now();
    cluster.scheduler.handle_resume(&cluster.views, now);
    cluster.pump();
    assert_eq!(cluster.job(&run).claims.len(), 1);
}

#[test]
fn the_more_urgent_job_gets_the_slot_and_a_changed_priority_counts() {
    let mut cluster = Cluster::new(Config { slots: 1, allow: Allow::any(), ..Config::default() });
    let first = cluster.submit_ranked(0, 0, workflow);
    let second = cluster.submit_ranked(0, 0, workflow);
    let third = cluster.submit_ranked(0, 0, workflow);
    assert_eq!(cluster.scheduler.ready_jobs(), 2);
    cluster.says(1, Command::Prioritise { run: third, priority_milli: 1000 }).unwrap();
    let claim = cluster.executing(&first).unwrap();
    let body = done(first, cluster.job(&first).id, claim, Conclusion::Success);
    cluster.reports(claim, Execution::Finished(Box::new(body)));
    assert!(cluster.executing(&third).is_some() && cluster.executing(&second).is_none());
}

#[test]
fn who_completed_the_needed_job_plans_first_the_others_later() {
    let mut cluster = Cluster::usual();
    let chained = |name: &str| {
        let (mut submission, plan) = workflow(name);
        if let RunSpec::Workflow(spec) = &mut submission.spec {
            spec.job_keys.push("test".into());
        }
        (submission, plan)
    };
    let run = cluster.submit_ranked(0, 0, chained);
    let claim = cluster.executing(&run).unwrap();
    let body = done(run, cluster.job(&run).id, claim, Conclusion::Success);
    cluster.reports(claim, Execution::Finished(Box::new(body)));
    cluster.pass(1);
    assert!(cluster.actions.contains(&Action::Plan { run }));
    let other = cluster.submit_ranked(1, 0, chained);
    let claim = claimed_by(&mut cluster, 1, other);
    let body = done(other, cluster.job(&other).id, claim, Conclusion::Success);
    cluster.says(1, Command::Complete(body)).unwrap();
    cluster.pass(1_900);
    assert!(!cluster.actions.contains(&Action::Plan { run: other }));
    cluster.pass(5_000);
    assert!(cluster.actions.contains(&Action::Plan { run: other }));
}

#[test]
fn a_failed_run_with_retries_is_submitted_again_by_another_if_its_submitter_does_not() {
    let mut cluster = Cluster::usual();
    let retried = |name: &str| {
        let (mut submission, plan) = workflow(name);
        submission.retries = 1;
        (submission, plan)
    };
    let run = cluster.submit_ranked(0, 0, retried);
    let claim = cluster.executing(&run).unwrap();
    let body = done(run, cluster.job(&run).id, claim, Conclusion::Failure);
    cluster.reports(claim, Execution::Finished(Box::new(body)));
    cluster.pass(2_900);
    assert!(!cluster.actions.contains(&Action::Resubmit { run, attempt: 2 }));
    cluster.pass(6_000);
    assert!(cluster.actions.contains(&Action::Resubmit { run, attempt: 2 }));
}

#[test]
fn a_failed_run_that_is_cancelled_before_its_retry_is_not_submitted_again() {
    let mut cluster = Cluster::usual();
    let retried = |name: &str| {
        let (mut submission, plan) = workflow(name);
        submission.retries = 1;
        (submission, plan)
    };
    let run = cluster.submit_ranked(0, 0, retried);
    let claim = cluster.executing(&run).unwrap();
    let body = done(run, cluster.job(&run).id, claim, Conclusion::Failure);
    cluster.reports(claim, Execution::Finished(Box::new(body)));
    let cancel = || Command::Cancel { run, reason: "not needed".to_owned() };
    assert_eq!(cluster.says(0, cancel()).unwrap().len(), 1);
    cluster.pass(600_000);
    assert!(!cluster.actions.contains(&Action::Resubmit { run, attempt: 2 }));
    // there is nothing more to cancel
    assert_eq!(cluster.says(0, cancel()), Ok(vec![]));
}

#[test]
fn what_discovery_found_expires_after_a_day_without_an_eligible_peer() {
    let mut cluster = Cluster::usual();
    let found = |name: &str| {
        let (mut submission, plan) = workflow_with(name, leg(None, "amiga"));
        submission.origin = Origin::Discovery;
        (submission, plan)
    };
    let (submission, plan) = found("x");
    let run = submission.run();
    cluster.says(1, Command::Submit { submission: Box::new(submission), plan, blobs: vec![] }).unwrap();
    cluster.pass(86_000_000);
    assert_eq!(cluster.views.runs().live(&run).unwrap().status, Status::Pending);
    let why = cluster.scheduler.why(&cluster.views, &run, &cluster.job(&run).id, cluster.now()).unwrap();
    assert!(why.text.contains("amiga"), "{}", why.text);
    cluster.pass(1_500_000);
    assert_eq!(cluster.views.runs().live(&run).unwrap().status, Status::Expired);
}

#[test]
fn a_job_whose_nodes_are_lost_five_times_is_given_up() {
    let mut cluster = Cluster::usual();
    cluster.down(1);
    cluster.down(2);
    let run = cluster.submit_ranked(0, 0, workflow);
    cluster.pass(21_000);
    let config = || Config { slots: 4, allow: Allow::any(), ..Config::default() };
    for start in 0..8u8 {
        if cluster.job(&run).status.is_terminal() {
            break;
        }
        if let Some(claim) = cluster.executing(&run) {
            cluster.reports(claim, Execution::Started);
        }
        // the process dies and starts under a new incarnation
        cluster.authors[0].chain.incarnation = Incarnation::from_bytes([100 + start; 16]);
        let now = cluster.now();
        cluster.scheduler = Scheduler::open(cluster.authors[0].chain, config(), &cluster.views, now);
        cluster.pass(30_000);
    }
    let job = cluster.job(&run);
    assert_eq!((job.status, job.failed_infrastructure, job.claims.len()), (Status::Failed, true, 5));
}

/// Found by the simulator: such a run waited for ever.
#[test]
fn a_job_only_its_author_may_run_and_cannot_is_given_up() {
    let mut cluster = Cluster::usual();
    let (mut submission, plan) = workflow("mine");
    submission.placement = Placement::Author;
    let run = submission.run();
    cluster.says(0, Command::Submit { submission: Box::new(submission), plan, blobs: vec![] }).unwrap();
    let claim = cluster.executing(&run).unwrap();
    cluster.reports(claim, Execution::Unable { why: "no docker".into() });
    cluster.pass(2_000);
    let job = cluster.job(&run);
    assert_eq!((job.status, job.claims.len()), (Status::Failed, 1));
    assert!(job.reason.contains("no docker"), "{}", job.reason);
}

/// Found by the simulator: the legs were claimed and given back until no claim was left.
#[test]
fn max_parallel_holds_for_runs_placed_at_their_author() {
    let mut cluster = Cluster::usual();
    let (mut submission, mut plan) = workflow("mine");
    submission.placement = Placement::Author;
    plan[0].max_parallel = Some(1);
    plan[0].legs = matrix(3);
    let run = submission.run();
    cluster.says(0, Command::Submit { submission: Box::new(submission), plan, blobs: vec![] }).unwrap();
    for _ in 0..3 {
        cluster.pass(5_000);
        let held = cluster.scheduler.held_claims();
        assert_eq!(held.len(), 1);
        cluster.succeeds(&run, held[0]);
    }
    let run = cluster.views.runs().live(&run).unwrap();
    assert!(run.jobs.values().all(|job| job.claims.len() == 1 && job.status == Status::Completed));
}

/// A matrix of hundreds must not begin hundreds of jobs at once.
#[test]
fn runs_placed_at_their_author_share_their_own_slots() {
    let mut cluster = Cluster::new(Config { slots: 0, author_slots: 2, ..Config::default() });
    let (mut submission, mut plan) = workflow("mine");
    submission.placement = Placement::Author;
    plan[0].legs = matrix(5);
    let run = submission.run();
    cluster.says(0, Command::Submit { submission: Box::new(submission), plan, blobs: vec![] }).unwrap();
    for left in (1..=5).rev() {
        // no timer has to pass: the end of one begins the next
        let held = cluster.scheduler.held_claims();
        assert_eq!(held.len(), left.min(2));
        cluster.succeeds(&run, held[0]);
    }
    let run = cluster.views.runs().live(&run).unwrap();
    assert!(run.jobs.values().all(|job| job.claims.len() == 1 && job.status == Status::Completed));
}

/// A job may wait for a run that it started, and all jobs that take the slots may.
#[test]
fn each_run_placed_at_its_author_goes_on_when_their_slots_are_taken() {
    let mut cluster = Cluster::new(Config { slots: 0, author_slots: 1, ..Config::default() });
    let runs: Vec<RunId> = ["outer", "inner", "innermost"]
        .map(|name| {
            let (mut submission, mut plan) = workflow(name);
            submission.placement = Placement::Author;
            plan[0].legs = matrix(2);
            let run = submission.run();
            let command = Command::Submit { submission: Box::new(submission), plan, blobs: vec![] };
            cluster.says(0, command).unwrap();
            run
        })
        .into();
    // the first one's jobs end last, as if they waited for the others
    for run in runs.iter().rev() {
        for _ in 0..2 {
            let held = cluster.scheduler.held_claims().into_iter();
            let known = cluster.views.runs().live(run).unwrap();
            let is_of_run = |claim: &EventId| known.jobs.values().any(|job| job.claim(claim).is_some());
            let under_way: Vec<EventId> = held.filter(is_of_run).collect();
            assert_eq!(under_way.len(), 1, "{run}");
            cluster.succeeds(run, under_way[0]);
        }
        assert_eq!(cluster.views.runs().live(run).unwrap().status, Status::Completed);
    }
}

#[test]
fn a_retry_that_was_under_way_when_the_run_was_cancelled_is_not_written() {
    let mut cluster = Cluster::usual();
    let (mut first, plan) = workflow("again");
    first.retries = 1;
    let run = first.run();
    let retried = RunSubmitted { attempt: 2, ..first.clone() };
    let retry = |of| Command::Retry {
        of,
        submission: Box::new(retried.clone()),
        trigger: None,
        plan: workflow("again").1,
        blobs: vec![],
    };
    cluster.says(0, Command::Submit { submission: Box::new(first), plan, blobs: vec![] }).unwrap();
    assert!(matches!(cluster.says(0, retry(run)), Err(Refusal::Pointless(_))), "it has not failed");
    cluster.pass(60_000);
    let (claim, job) = (cluster.executing(&run).unwrap(), cluster.job(&run).id);
    cluster.reports(claim, Execution::Finished(Box::new(done(run, job, claim, Conclusion::Failure))));
    assert_eq!(retry(run).run(), Some(run), "never in one batch with a cancel");
    cluster.says(0, Command::Cancel { run, reason: "not needed".to_owned() }).unwrap();
    assert!(matches!(cluster.says(0, retry(run)), Err(Refusal::Pointless(_))), "it was cancelled");
}

#[test]
fn a_result_after_a_cancel_is_written_as_cancelled() {
    let mut cluster = Cluster::usual();
    let run = cluster.submit_ranked(0, 0, workflow);
    let claim = cluster.executing(&run).unwrap();
    cluster.reports(claim, Execution::Started);
    cluster.says(1, Command::Cancel { run, reason: "no".into() }).unwrap();
    assert!(cluster.actions.contains(&Action::Stop { claim, reason: StopReason::Cancelled }));
    let body = done(run, cluster.job(&run).id, claim, Conclusion::Success);
    cluster.reports(claim, Execution::Finished(Box::new(body)));
    let job = cluster.job(&run);
    assert_eq!(job.result.as_ref().map(|result| result.conclusion), Some(Conclusion::Cancelled));
    assert!(cluster.scheduler.held_claims().is_empty());
}

#[test]
fn a_release_by_the_holder_offers_the_job_again() {
    let mut cluster = Cluster::usual();
    let run = cluster.submit_ranked(1, 0, workflow);
    let claim = claimed_by(&mut cluster, 1, run);
    let job = cluster.job(&run).id;
    let body = JobReleased { run, job, claim, reason: ReleaseReason::Draining };
    cluster.says(1, Command::Release(body)).unwrap();
    cluster.down(1);
    cluster.beats(2, 0, vec![]);
    cluster.pass(5_000);
    assert_eq!(cluster.job(&run).claims.len(), 2);
}

#[test]
fn an_event_does_not_scan_a_hundred_thousand_jobs() {
    let mut cluster = Cluster::new(Config { slots: 0, allow: Allow::any(), ..Config::default() });
    let jobs: u32 =
        std::env::var("WFENGINE_SCHEDULER_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let mut drafts = Vec::new();
    for n in 0..jobs {
        let (submission, plan) = workflow(&n.to_string());
        let command = Command::Submit { submission: Box::new(submission), plan, blobs: vec![] };
        let Ok(Decision::Write(more)) = decide(&cluster.views, &cluster.authors[1].chain, &command) else {
            panic!()
        };
        drafts.extend(more);
    }
    let author = cluster.authors[1].clone();
    let frames = seal(&cluster.log, &Nothing, &author, &Default::default(), drafts, WallMs(2)).unwrap();
    let events: Vec<Arc<Admitted>> = frames
        .into_iter()
        .flat_map(|frame| {
            assert_eq!(cluster.log.admit(&frame, |_| true, &Nothing).unwrap(), Admission::Admitted);
            Admitted::of_frame(frame, WallMs(5))
        })
        .collect();
    for event in &events {
        cluster.views.apply(event, &NoHistory);
        let now = cluster.now();
        cluster.scheduler.handle_event(&cluster.views, event, now);
    }
    cluster.pass(10_000);
    assert_eq!(cluster.scheduler.open_jobs(), usize::try_from(jobs).unwrap());
    assert_eq!(cluster.scheduler.ready_jobs(), usize::try_from(jobs).unwrap());
    assert!(events.iter().any(|event| matches!(event.body, Body::JobsPlanned(JobsPlanned { .. }))));
}

#[test]
fn the_load_is_what_has_a_slot_and_what_would_take_one() {
    let mut cluster = Cluster::new(Config { slots: 1, allow: Allow::any(), ..Config::default() });
    let load = |cluster: &Cluster| {
        let load = cluster.scheduler.p2p_load(&cluster.views);
        (load.pending, load.running)
    };
    assert_eq!(load(&cluster), (0, 0));
    let run = cluster.submit_ranked(0, 0, workflow);
    let claim = cluster.executing(&run).unwrap();
    assert_eq!(load(&cluster), (0, 1));
    // the slot is taken: one is ready, one waits for its turn behind another peer
    let second = cluster.submit_ranked(0, 0, workflow);
    cluster.submit_ranked(0, 1, workflow);
    assert_eq!(load(&cluster), (2, 1));
    // for programs, at its author's, held by another, where no label fits, and before a full group: none of them would take a slot
    cluster.submit_ranked(0, 0, task);
    let here = |name: &str| {
        let (submission, plan) = workflow(name);
        (RunSubmitted { placement: Placement::Author, ..submission }, plan)
    };
    cluster.submit_ranked(1, 0, here);
    let others = cluster.submit_ranked(1, 0, workflow);
    claimed_by(&mut cluster, 1, others);
    let (submission, plan) = workflow_with("elsewhere", leg(None, "windows"));
    cluster.says(1, Command::Submit { submission: Box::new(submission), plan, blobs: vec![] }).unwrap();
    let grouped = |name: &str| workflow_with(name, leg(Some("deploy"), "linux"));
    let first = cluster.submit_ranked(1, 0, grouped);
    claimed_by(&mut cluster, 1, first);
    cluster.submit_ranked(0, 0, grouped);
    assert_eq!(load(&cluster), (2, 1));
    // whoever claims nothing has nothing pending
    let now = cluster.now();
    cluster.scheduler.handle_pause(&cluster.views, now);
    assert_eq!(load(&cluster), (0, 1));
    cluster.scheduler.handle_resume(&cluster.views, now);
    cluster.pump();
    // of what this node does not execute nothing is pending, but what has a slot keeps it
    cluster.scheduler.handle_allow(&cluster.views, Allow::default(), now);
    cluster.pass(10);
    assert_eq!(load(&cluster).1, 1);
    cluster.scheduler.handle_allow(&cluster.views, Allow::any(), now);
    cluster.pass(10);
    cluster.succeeds(&run, claim);
    assert!(cluster.executing(&second).is_some());
    assert_eq!(load(&cluster), (1, 1));
}
