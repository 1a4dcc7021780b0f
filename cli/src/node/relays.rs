//! Through whom this node reads the logs of peers that it is not connected with: two hosts that do not reach each other meet
//! through any third.
//!
//! Nobody tells who is connected with whom, so peers are asked: first the one that answered last time, then the others, a few at a
//! time. No question takes longer than [`Waits::in_all`], and when nobody answered the others are left in peace for a while.
//!
//! Invariant: at most [`ASKED_AT_ONCE`] peers are asked at once for one question.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use wfengine_core::time::Monotonic;
use wfengine_storage_format::PeerId;

/// Peers asked at once for one question.
const ASKED_AT_ONCE: usize = 3;

/// How long things are waited for.
#[derive(Clone, Copy, Debug)]
struct Waits {
    /// One peer's answer, which takes it two round trips.
    each: Duration,
    /// An answer of anybody.
    in_all: Duration,
    /// After nobody answered, before others than the last one that did are asked again.
    rest: Duration,
}

/// What is known of the way to one peer.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Who answered last.
    through: Option<PeerId>,
    /// Whom else was asked last: the next time it begins after that one.
    asked: Option<PeerId>,
    rest_until: Monotonic,
}

/// The ways to the peers whose logs were asked for. As many as there are members, at most.
#[derive(Debug)]
pub(super) struct Relays {
    waits: Waits,
    ways: Mutex<BTreeMap<PeerId, Way>>,
}

impl Default for Relays {
    fn default() -> Self {
        let waits = Waits {
            each: Duration::from_secs(3),
            in_all: Duration::from_secs(10),
            rest: Duration::from_secs(2),
        };
        Self { waits, ways: Mutex::default() }
    }
}

impl Relays {
    /// Asks connected peers for what one has that is not among them, until one answers.
    pub(super) async fn ask<F>(
        &self,
        holder: PeerId,
        connected: Vec<PeerId>,
        now: Monotonic,
        ask: impl Fn(PeerId) -> F,
    ) -> Option<Vec<u8>>
    where
        F: Future<Output = Option<Vec<u8>>> + Send + 'static,
    {
        let Way { through, asked, rest_until } = self.way(&holder, now);
        let first = through.filter(|through| connected.contains(through));
        let mut others: Vec<PeerId> = connected.into_iter().filter(|peer| Some(*peer) != first).collect();
        if now < rest_until {
            others.clear();
        }
        others.sort_unstable();
        let begin = asked.map_or(0, |asked| others.partition_point(|peer| *peer <= asked));
        others.rotate_left(begin);
        let rests = others.is_empty();

        let ask = |peer| {
            let answer = timeout(self.waits.each, ask(peer));
            async move { (peer, answer.await.ok().flatten()) }
        };
        let mut last = asked;
        let asking = async {
            if let Some(first) = first
                && let (_, Some(bytes)) = ask(first).await
            {
                return Some((first, bytes));
            }
            let mut others = others.into_iter();
            let mut waiting = JoinSet::new();
            loop {
                for peer in others.by_ref().take(ASKED_AT_ONCE - waiting.len()) {
                    last = Some(peer);
                    waiting.spawn(ask(peer));
                }
                if let Ok((peer, Some(bytes))) = waiting.join_next().await? {
                    return Some((peer, bytes));
                }
            }
        };
        let answer = timeout(self.waits.in_all, asking).await.ok().flatten();
        let way = Way {
            through: answer.as_ref().map(|(peer, _)| *peer).or(through),
            asked: last,
            rest_until: if answer.is_some() || rests { rest_until } else { now + self.waits.rest },
        };
        self.ways().insert(holder, way);
        answer.map(|(_, bytes)| bytes)
    }

    fn way(&self, holder: &PeerId, now: Monotonic) -> Way {
        let unknown = Way { through: None, asked: None, rest_until: now };
        self.ways().get(holder).copied().unwrap_or(unknown)
    }

    fn ways(&self) -> std::sync::MutexGuard<'_, BTreeMap<PeerId, Way>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    /// Peers of which one answers, some keep silent, and all others know nothing.
    #[derive(Default)]
    struct Cluster {
        connected: u8,
        silent: u8,
        answers: Option<u8>,
        asked: Mutex<Vec<PeerId>>,
        at_once: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }

    impl Cluster {
        async fn read(&self, relays: &Relays, now_ms: u64) -> Option<Vec<u8>> {
            let connected = (1..=self.connected).map(peer).collect();
            let ask = |asked: PeerId| {
                self.asked.lock().unwrap().push(asked);
                let is_silent = (1..=self.silent).map(peer).any(|silent| silent == asked);
                let answers = self.answers.map(peer) == Some(asked);
                let (at_once, most) = (Arc::clone(&self.at_once), Arc::clone(&self.most));
                async move {
                    most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let _leaves = Leaves(at_once);
                    tokio::task::yield_now().await;
                    match is_silent {
                        true => std::future::pending().await,
                        false => answers.then(|| b"log".to_vec()),
                    }
                }
            };
            relays.ask(peer(200), connected, Monotonic(now_ms), ask).await
        }

        fn asked(&self) -> Vec<PeerId> {
            std::mem::take(&mut self.asked.lock().unwrap())
        }
    }

    struct Leaves(Arc<AtomicUsize>);

    impl Drop for Leaves {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn impatient() -> Relays {
        let ms = Duration::from_millis;
        Relays { waits: Waits { each: ms(10), in_all: ms(40), rest: ms(2_000) }, ways: Mutex::default() }
    }

    #[tokio::test]
    async fn who_answered_is_asked_first_and_alone() {
        let relays = Relays::default();
        let mut cluster = Cluster { connected: 40, answers: Some(30), ..Cluster::default() };
        assert_eq!(cluster.read(&relays, 0).await.as_deref(), Some(&b"log"[..]));
        assert!(cluster.asked().len() <= 30 + ASKED_AT_ONCE);
        assert_eq!(cluster.most.load(Ordering::SeqCst), ASKED_AT_ONCE);
        assert!(cluster.read(&relays, 500).await.is_some());
        assert_eq!(cluster.asked(), [peer(30)]);
        // another way: the one that knew it does not any more
        cluster.answers = Some(7);
        assert!(cluster.read(&relays, 1_000).await.is_some());
        assert_eq!(cluster.asked()[0], peer(30));
        assert!(cluster.read(&relays, 1_500).await.is_some());
        assert_eq!(cluster.asked(), [peer(7)]);
    }

    #[tokio::test]
    async fn when_nobody_answers_the_others_are_not_asked_again_at_once() {
        let relays = Relays::default();
        let cluster = Cluster { connected: 10, ..Cluster::default() };
        assert_eq!(cluster.read(&relays, 0).await, None);
        assert_eq!(cluster.asked().len(), 10);
        for now_ms in [500, 1_000, 1_500] {
            assert_eq!(cluster.read(&relays, now_ms).await, None);
        }
        assert_eq!(cluster.asked(), []);
        assert_eq!(cluster.read(&relays, 2_000).await, None);
        assert_eq!(cluster.asked().len(), 10);
    }

    #[tokio::test]
    async fn silent_peers_hold_nobody_up_for_longer_than_one_wait() {
        let relays = impatient();
        let cluster = Cluster { connected: 40, silent: 35, answers: Some(38), ..Cluster::default() };
        let mut rounds = 0;
        while cluster.read(&relays, rounds * 2_000).await.is_none() {
            // each round goes on behind the one before
            rounds += 1;
            assert!(rounds < 20);
            assert!(cluster.asked().len() <= 5 * ASKED_AT_ONCE);
        }
        assert!(rounds >= 2, "{rounds}");
        assert_eq!(cluster.most.load(Ordering::SeqCst), ASKED_AT_ONCE);
        cluster.asked();
        assert!(cluster.read(&relays, 100_000).await.is_some());
        assert_eq!(cluster.asked(), [peer(38)]);
    }

    #[tokio::test]
    async fn a_peer_that_left_is_not_asked() {
        let relays = Relays::default();
        let mut cluster = Cluster { connected: 5, answers: Some(5), ..Cluster::default() };
        assert!(cluster.read(&relays, 0).await.is_some());
        cluster.asked();
        (cluster.connected, cluster.answers) = (4, Some(2));
        assert!(cluster.read(&relays, 500).await.is_some());
        assert!(!cluster.asked().contains(&peer(5)));
    }
}
