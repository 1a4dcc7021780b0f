//! How long until a submission is visible in the views of another node (milliseconds).
//!
//! Two nodes in one process, each with its own log on the disk and its own driver, joined by QUIC over loopback. A task is asked for
//! on one; the clock stops when the other has committed and folded it. The next is asked for then, so nothing queues.
//!
//! The floor is measured in turns with it: two commits of as many bytes by redb alone, one after the other, and half a round trip of
//! as many bytes over a QUIC connection of the same kind.
//!
//! `cargo bench -p wfengine-benches --bench visible`

#![expect(clippy::expect_used, reason = "a bench stops when what it measures is wrong")]

use std::time::Instant;

use wfengine_benches::bare::Bare;
use wfengine_benches::history::{History, WALL, signer, submit};
use wfengine_benches::measure::{head, line, median, milliseconds, percentile, timed};
use wfengine_benches::node::{self, Node};
use wfengine_quic::{Connection, Endpoint, Identity, Limits, Priority};
use wfengine_storage_format::EventId;
use wfengine_store::Watcher;

const ROUNDS: usize = 6;
const IN_A_ROUND: usize = 200;

/// Waits until a log holds an event.
async fn has(
    watcher: &Watcher,
    news: &mut tokio::sync::broadcast::Receiver<std::sync::Arc<wfengine_store::Committed>>,
    id: EventId,
) {
    if watcher.event(&id).expect("the log is sound").is_some() {
        return;
    }
    loop {
        let commit = news.recv().await.expect("the writer lives");
        if commit.events.iter().any(|event| event.id == id) {
            return;
        }
    }
}

/// Seconds from each question to its being visible on the other node.
async fn visible(from: &Node, to: &Node, round: usize) -> Vec<f64> {
    let mut took = Vec::new();
    for number in 0..IN_A_ROUND {
        let mut news = to.store.watcher().subscribe();
        let command = submit(&format!("round-{round}"), number);
        let started = Instant::now();
        let answer = from.store.recorder().ask_later(command, WALL).expect("the writer lives");
        // whichever comes first on the other node: nobody else writes
        let seen = news.recv().await.expect("the writer lives");
        let elapsed = started.elapsed();
        let receipt = answer.await.expect("the writer lives").expect("it is new");
        let id = *receipt.events.first().expect("a submission is an event");
        if seen.events.iter().any(|event| event.id == id) {
            took.push(elapsed.as_secs_f64());
        } else {
            has(to.store.watcher(), &mut news, id).await;
            took.push(started.elapsed().as_secs_f64());
        }
    }
    took
}

/// Two ends of a connection; what arrives at the second comes back.
async fn echo() -> (Connection, tokio::task::JoinHandle<()>, [Endpoint; 2]) {
    let bind = |number| {
        let address = "127.0.0.1:0".parse().expect("an address");
        Endpoint::bind(address, 0, Identity::new(signer(number)), Limits::default()).expect("a port is free")
    };
    let (near, far) = (bind(11), bind(12));
    let address = far.local_addr().expect("the socket is bound");
    let answering = async { far.accept().await.expect("the endpoint is open").establish().await };
    let (dialled, answered) = tokio::join!(near.connect(address, Some(far.peer_id())), answering);
    let (dialled, answered) = (dialled.expect("loopback"), answered.expect("loopback"));
    dialled.authenticated();
    answered.authenticated();
    let task = tokio::spawn(async move {
        while let Ok(message) = answered.recv().await {
            if answered.send(message, Priority::High).is_err() {
                return;
            }
        }
    });
    (dialled, task, [near, far])
}

async fn floor(databases: &mut [Bare; 2], connection: &Connection, value: &[u8]) -> Vec<f64> {
    let mut took = Vec::new();
    for _ in 0..IN_A_ROUND {
        let (commits, ()) = timed(|| databases.iter_mut().for_each(|database| database.commit([value])));
        let started = Instant::now();
        connection.send(value.to_vec(), Priority::High).expect("there is room");
        connection.recv().await.expect("it comes back");
        took.push(commits + started.elapsed().as_secs_f64() / 2.0);
    }
    took
}

async fn measure() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let mut history = History::founded(1);
    history.admit(signer(2).peer_id());
    let (cluster, frames) = (history.cluster(), history.take_frames());
    let dirs = [dir.path().join("a"), dir.path().join("b")];
    dirs.iter().for_each(|dir| node::create(dir, cluster, &frames));
    let a = Node::start(&dirs[0], 1, Vec::new());
    let b = Node::start(&dirs[1], 2, vec![a.address()]);
    let mut databases = [Bare::create(&dir.path().join("a.redb")), Bare::create(&dir.path().join("b.redb"))];
    let (connection, echoing, _endpoints) = echo().await;
    let (mut ours, mut least, mut value) = (Vec::new(), Vec::new(), vec![7; 600]);
    for round in 0..=ROUNDS {
        let took = visible(&a, &b, round).await;
        let last = a.store.watcher().raw_frames(2, 1).expect("the log is sound").remove(0).1;
        value.resize(last.len() + 8, 7);
        let alone = floor(&mut databases, &connection, &value).await;
        // the first round connects and warms up
        if round > 0 {
            ours.extend(took);
            least.extend(alone);
        }
    }
    echoing.abort();
    head(
        "from asking on one node to seeing on the other; reference: two commits of redb alone and half a round trip",
    );
    let (p50, floor) = (median(&ours), median(&least));
    line("p50", &milliseconds(p50), &milliseconds(floor), Some(p50 / floor), "<= 2 ms, ratio <= 1.5");
    let (p99, floor) = (percentile(&ours, 0.99), percentile(&least, 0.99));
    line("p99", &milliseconds(p99), &milliseconds(floor), Some(p99 / floor), "<= 10 ms");
    a.driver.stop().await;
    b.driver.stop().await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("threads can be started").block_on(measure());
}
