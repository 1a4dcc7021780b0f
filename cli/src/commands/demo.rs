//! `demo`: a cluster of real nodes on this host, one of which is killed in the middle of its work.
//!
//! The nodes are processes of this very executable and are told what to do as people would tell them: `init`, `serve`, `peer invite`,
//! `peer join`, `submit`, `replay --verify`. The demo itself only starts them, asks, kills one, and holds what the log says at the end
//! against what wfengine promises. Exit status 1 when a promise does not hold.
//!
//! Invariant: whatever ends it (success, failure, a signal, a panic), its processes, sockets and directory end with it.

mod cluster;
mod proof;
mod teller;
mod verdict;
mod watch;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::Globals;
use super::interrupt::Interrupts;
use crate::args::DemoArgs;
use crate::terminal::{self, Column};
use cluster::{Cluster, eventually};
use proof::{Proved, replay_verify};
use teller::{Teller, tenths};
use verdict::{Evidence, JobFacts, Requirement, requirements};
use watch::{Killed, TakenOver, Watch};
use wfengine_api::answers::{DigestView, RunView, Submitted};
use wfengine_api::{Exit, Failure, Request, Wishes};

/// What is submitted.
const WORKFLOW: &str = include_str!("../../examples/demo.yml");
/// After so long something is wrong, and the demo gives up.
const TIME_MAX: Duration = Duration::from_secs(120);
/// How long nodes have to come to the same log.
const AGREE_WAIT: Duration = Duration::from_secs(20);
/// Fewest and most nodes.
const PEERS: std::ops::RangeInclusive<u32> = 2..=8;

/// What was seen.
struct Seen {
    cluster: String,
    run: String,
    killed: Killed,
    taken_over: Vec<TakenOver>,
    jobs: Vec<JobFacts>,
    proofs: Vec<Proved>,
}

/// What `demo --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DemoDocument {
    /// Everything that wfengine promises was seen.
    holds: bool,
    /// What it promises, and what was seen.
    requirements: Vec<Requirement>,
    /// Id of the cluster, 64 hexadecimal digits.
    cluster: String,
    /// Id of the run, 64 hexadecimal digits.
    run: String,
    /// The node that was killed.
    killed: KilledDocument,
    /// Jobs that changed hands.
    taken_over: Vec<TakenOver>,
    /// The run's jobs.
    jobs: Vec<JobFacts>,
    /// What `replay --verify` found at each node that was left.
    nodes: Vec<Proved>,
    /// How long the demo took, in milliseconds.
    took_ms: u64,
    /// Where the nodes' directories are; null: they are removed.
    directory: Option<String>,
}

/// The node that was killed.
#[derive(Debug, Serialize, JsonSchema)]
struct KilledDocument {
    /// Its name.
    peer: &'static str,
    /// When, in milliseconds since the demo began.
    at_ms: u64,
    /// When the others took it for down, in milliseconds since then; null: they did not.
    down_after_ms: Option<u64>,
    /// Names of the jobs in whose long step it was.
    inside: Vec<String>,
}

pub(super) async fn demo(globals: &Globals, args: DemoArgs) -> Result<Exit, Failure> {
    if !PEERS.contains(&args.peers) {
        return Err(Failure::bad_input(format!(
            "--peers {}: from {} to {} nodes are possible",
            args.peers,
            PEERS.start(),
            PEERS.end()
        )));
    }
    let mut interrupts = Interrupts::listen()?;
    let teller = Teller::new(globals.json);
    let mut cluster = Cluster::create(args.peers as usize, args.keep)?;
    let (root, nodes) = (cluster.root.display().to_string(), cluster.members.len());
    let seen = tokio::select! {
        biased;
        why = interrupts.next() => Err(Failure::new(Exit::Failure, format!("{why}: the demo was broken off"))),
        played = tokio::time::timeout(TIME_MAX, play(&mut cluster, &teller, args.explain)) => played.unwrap_or_else(|_| {
            let text = format!("the demo was given up after {} s", TIME_MAX.as_secs());
            Err(Failure::new(Exit::Failure, text))
        }),
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(mut failure) => {
            drop(cluster);
            let what = if args.keep {
                "nodes are ended; their directories are in "
            } else {
                "nodes and directories are removed"
            };
            failure.message = format!("{} ({what}{})", failure.message, if args.keep { &root } else { "" });
            return Err(failure);
        }
    };
    let left = cluster.stop().await;
    let took_ms = teller.now_ms();
    let rows = requirements(&Evidence {
        jobs: &seen.jobs,
        killed: seen.killed.name,
        inside: &seen.killed.inside,
        proofs: &seen.proofs,
        nodes,
        took_ms,
        left: &left,
        keep: args.keep,
    });
    let holds = rows.iter().all(|row| row.holds);
    if globals.json {
        terminal::json(&DemoDocument {
            holds,
            requirements: rows,
            cluster: seen.cluster,
            run: seen.run,
            killed: KilledDocument {
                peer: seen.killed.name,
                at_ms: seen.killed.at_ms,
                down_after_ms: seen.killed.down_after_ms,
                inside: seen.killed.inside,
            },
            taken_over: seen.taken_over,
            jobs: seen.jobs,
            nodes: seen.proofs,
            took_ms,
            directory: args.keep.then_some(root),
        });
    } else {
        conclude(&teller, &rows, args.keep.then_some(root.as_str()));
    }
    Ok(if holds { Exit::Success } else { Exit::Failure })
}

/// The whole story, from the first node to the audit.
async fn play(cluster: &mut Cluster, teller: &Teller, explain: bool) -> Result<Seen, Failure> {
    let names: Vec<&str> = cluster.members.iter().map(|member| member.name).collect();
    teller.chapter(&format!("1. {} nodes on this host, each with a log of its own; no server", names.len()));
    cluster.found().await?;
    teller.say(&format!(
        "{} founded a cluster of one  (wfengine init, wfengine serve)",
        names.first().unwrap_or(&"")
    ));
    cluster.join_others().await?;
    cluster.meet().await?;
    let agreed = agree(cluster).await?;
    let others = names.get(1..).unwrap_or_default().join(", ");
    teller.say(&format!("{others} joined with an invite each  (wfengine peer invite, wfengine peer join)"));
    for member in &cluster.members {
        let (pid, peer) =
            (member.pid().unwrap_or_default(), member.peer.map(|peer| peer.short()).unwrap_or_default());
        teller.add(&format!(
            "{:<6} peer id {peer}…  process {pid}  data {}",
            member.name,
            member.dir.display()
        ));
    }

    teller.chapter(
        "2. One of them submits a dozen jobs. Who runs a job is not assigned: everybody computes it",
    );
    let submitted = submit(cluster).await?;
    let run = submitted.run.id.clone();
    teller.say(&format!(
        "{} submitted `{}`, run {}; {} hold it",
        names.first().unwrap_or(&""),
        submitted.run.name,
        run.get(..12).unwrap_or(&run),
        submitted.copies.join(", ")
    ));
    teller.add("key of a job = SHA-256(clock head at submission ‖ job id), and the log holds both;");
    teller.add("its owner is the peer whose SHA-256(peer id) differs from the key in the fewest of 256 bits");
    let mut watch = Watch::new(teller, run.clone(), explain);
    let (place, inside) = watch.until_victim(cluster).await?;

    let victim = cluster.members.get(place).map_or("", |member| member.name);
    teller.chapter(&format!("3. kill -9 {victim}, in the middle of a step of ten seconds"));
    let pid = cluster.members.get(place).and_then(cluster::Member::pid).unwrap_or_default();
    let at_ms = teller.now_ms();
    cluster.kill(place).await?;
    teller.say(&format!(
        "{victim:<6} was killed (process {pid} and its steps), {} long steps under way",
        inside.len()
    ));
    teller.add("nobody is told. The others probe each other all the time, and will notice");
    watch.killed = Some(Killed { name: victim, at_ms, inside, down_after_ms: None });
    watch.until_end(cluster).await?;

    teller.chapter(&format!("4. {victim} comes back, and everybody proves the history"));
    cluster.serve(place)?;
    cluster.answers(place).await?;
    let digest = agree(cluster).await?;
    let digest = digest.view_digest.get(..12).unwrap_or_default().to_owned();
    teller.say(&format!(
        "{victim:<6} has fetched what it missed; all nodes fold the same log to digest {digest}"
    ));
    let ended: RunView = cluster.observer()?.ask(Request::Show { id: run.clone() }).await?;
    let jobs = watch.facts(&ended);
    let proofs = replay_verify(cluster).await?;
    for proof in &proofs {
        let verdict = if proof.clean { "clean" } else { "NOT CLEAN" };
        teller
            .say(&format!("{:<6} wfengine replay --verify: {verdict}, {} events", proof.node, proof.events));
        proof.findings.iter().for_each(|finding| teller.add(finding));
    }
    let killed = watch.killed.take();
    let killed = killed.ok_or_else(|| Failure::new(Exit::Failure, "BUG: nobody was killed"))?;
    Ok(Seen { cluster: agreed.cluster, run, killed, taken_over: watch.taken_over, jobs, proofs })
}

/// Submits the bundled workflow at the first node; returns once all others hold it.
async fn submit(cluster: &Cluster) -> Result<Submitted, Failure> {
    let wishes = Wishes { actor: super::run::actor(), backoff_ms: (10_000, 300_000), ..Wishes::default() };
    let copies = u32::try_from(cluster.members.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let request =
        Request::Submit { path: "demo.yml".to_owned(), source: WORKFLOW.to_owned(), wishes, copies };
    cluster.observer()?.ask(request).await
}

/// Waits until all nodes that are up hold the same log and fold it to the same views.
async fn agree(cluster: &Cluster) -> Result<DigestView, Failure> {
    eventually("all nodes hold the same log", AGREE_WAIT, async || {
        let mut first: Option<DigestView> = None;
        for member in cluster.up() {
            let digest: DigestView = member.ask(Request::Digest).await?;
            let same = |first: &DigestView| {
                (&first.clock_hash, &first.view_digest) == (&digest.clock_hash, &digest.view_digest)
            };
            if first.as_ref().is_some_and(|first| !same(first)) {
                return Ok(None);
            }
            first = Some(digest);
        }
        Ok(first)
    })
    .await
}

fn conclude(teller: &Teller, rows: &[Requirement], kept: Option<&str>) {
    teller.chapter("What wfengine promises, held against the log");
    let cells = |row: &Requirement| {
        vec![if row.holds { "yes" } else { "NO" }.to_owned(), row.requirement.to_owned(), row.detail.clone()]
    };
    const COLUMNS: &[Column] =
        &[Column::whole("HOLDS"), Column::yielding("PROMISE", 2, 2), Column::yielding("SEEN", 1, 1)];
    terminal::table(COLUMNS, rows.iter().map(cells).collect());
    let held = rows.iter().filter(|row| row.holds).count();
    terminal::line("");
    terminal::line(&format!("{held} of {} hold, after {} s", rows.len(), tenths(teller.now_ms())));
    match kept {
        Some(root) => {
            terminal::line(&format!("the nodes' directories are kept in {root}"));
            terminal::line(&format!(
                "next: wfengine --data-dir {root}/ash replay   or: wfengine --data-dir {root}/ash list"
            ));
        }
        None => {
            terminal::line(
                "next: wfengine demo --explain --keep   says why each job is where it is, and leaves the logs to look at",
            );
            terminal::line(
                "      wfengine example hello && wfengine run hello.yml   runs a workflow on this host",
            );
            terminal::line(
                "      wfengine serve, then wfengine peer invite   lets a second host join for real",
            );
        }
    }
}
