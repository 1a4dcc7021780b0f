//! Messages waiting to be written: three lanes, each bounded in bytes and in messages.
//!
//! A message is refused with [`QueueRefusal::Full`] rather than kept, so a peer that reads slowly costs a fixed amount of
//! memory and its sender learns of it. A more urgent lane is always emptied first; inside a lane the order is that of the
//! calls. A message of a less urgent lane can wait for ever behind urgent ones: urgent traffic must be small by design.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::framing::{self, FramingError};
use crate::limits::Limits;

/// A batch is closed when it holds this many bytes; one long message may exceed it.
const BATCH_BYTES: usize = 32 << 10;

/// Which of the waiting messages goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Hellos, claims, refusals: small and rare.
    High,
    /// New frames, questions and answers.
    Normal,
    /// Catching up.
    Low,
}

/// Why a message was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum QueueRefusal {
    Full { waiting_bytes: usize },
    Framing(FramingError),
    Closed,
}

/// The lanes of one connection; written by many, emptied by one.
#[derive(Debug)]
pub(crate) struct SendQueue {
    state: Mutex<State>,
    lane_bytes: usize,
    lane_messages: usize,
    work: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    lanes: [Lane; 3],
    closed: bool,
}

#[derive(Debug, Default)]
struct Lane {
    messages: VecDeque<([u8; framing::HEADER_BYTES], Arc<[u8]>)>,
    bytes: usize,
}

impl SendQueue {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            state: Mutex::default(),
            lane_bytes: limits.lane_bytes,
            lane_messages: limits.lane_messages,
            work: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Queues a message of at most `limit` bytes.
    pub(crate) fn push(
        &self,
        message: Arc<[u8]>,
        priority: Priority,
        limit: usize,
    ) -> Result<(), QueueRefusal> {
        let header = framing::header(&message, limit).map_err(QueueRefusal::Framing)?;
        let mut state = self.lock();
        if state.closed {
            return Err(QueueRefusal::Closed);
        }
        let lane = &mut state.lanes[priority as usize];
        if lane.messages.len() >= self.lane_messages || lane.bytes + message.len() > self.lane_bytes {
            return Err(QueueRefusal::Full { waiting_bytes: lane.bytes });
        }
        lane.bytes += message.len();
        lane.messages.push_back((header, message));
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Replaces `batch` by the next messages with their headers; waits while there are none. Cancel-safe.
    pub(crate) async fn next_batch(&self, batch: &mut Vec<u8>) {
        loop {
            let work = self.work.notified();
            if self.fill(batch) {
                self.room.notify_waiters();
                return;
            }
            work.await;
        }
    }

    fn fill(&self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        // one long message must not keep its megabyte for the life of the connection
        batch.shrink_to(2 * BATCH_BYTES);
        let mut state = self.lock();
        for lane in &mut state.lanes {
            while batch.len() < BATCH_BYTES {
                let Some((header, message)) = lane.messages.pop_front() else { break };
                lane.bytes -= message.len();
                batch.extend_from_slice(&header);
                batch.extend_from_slice(&message);
            }
        }
        !batch.is_empty()
    }

    /// Waits until a lane is at most half full, or the queue is closed.
    pub(crate) async fn room(&self, priority: Priority) {
        loop {
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            if self.has_room(priority) {
                return;
            }
            room.await;
        }
    }

    fn has_room(&self, priority: Priority) -> bool {
        let state = self.lock();
        let lane = &state.lanes[priority as usize];
        state.closed || (lane.bytes <= self.lane_bytes / 2 && lane.messages.len() <= self.lane_messages / 2)
    }

    /// Forgets what waits and takes nothing more.
    pub(crate) fn close(&self) {
        *self.lock() = State { closed: true, ..State::default() };
        self.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(lane_bytes: usize, lane_messages: usize) -> SendQueue {
        SendQueue::new(&Limits { lane_bytes, lane_messages, ..Limits::default() })
    }

    fn push(queue: &SendQueue, message: &[u8], priority: Priority) -> Result<(), QueueRefusal> {
        queue.push(message.into(), priority, 1 << 20)
    }

    #[tokio::test]
    async fn urgent_messages_overtake_and_equals_keep_their_order() {
        let queue = queue(100, 10);
        for (message, priority) in [
            ("low", Priority::Low),
            ("one", Priority::Normal),
            ("two", Priority::Normal),
            ("hi", Priority::High),
        ] {
            push(&queue, message.as_bytes(), priority).unwrap();
        }
        let mut batch = Vec::new();
        queue.next_batch(&mut batch).await;
        assert_eq!(framing::split(&batch, 100).unwrap(), [&b"hi"[..], b"one", b"two", b"low"]);
    }

    #[tokio::test]
    async fn a_full_lane_refuses_and_the_others_do_not() {
        let queue = queue(10, 10);
        push(&queue, &[0; 8], Priority::Normal).unwrap();
        assert_eq!(push(&queue, &[0; 3], Priority::Normal), Err(QueueRefusal::Full { waiting_bytes: 8 }));
        push(&queue, &[0; 10], Priority::High).unwrap();

        queue.next_batch(&mut Vec::new()).await;
        queue.room(Priority::Normal).await;
        push(&queue, &[0; 10], Priority::Normal).unwrap();
    }

    #[test]
    fn many_small_messages_are_bounded_too() {
        let queue = queue(1000, 2);
        push(&queue, b"1", Priority::Low).unwrap();
        push(&queue, b"2", Priority::Low).unwrap();
        assert_eq!(push(&queue, b"3", Priority::Low), Err(QueueRefusal::Full { waiting_bytes: 2 }));
    }

    #[tokio::test]
    async fn a_closed_queue_refuses_and_lets_waiters_go() {
        let queue = queue(10, 10);
        push(&queue, &[0; 10], Priority::Normal).unwrap();
        queue.close();
        queue.room(Priority::Normal).await;
        assert_eq!(push(&queue, b"x", Priority::Normal), Err(QueueRefusal::Closed));
    }

    #[test]
    fn what_the_peer_would_refuse_is_not_queued() {
        let queue = queue(1 << 20, 10);
        let refused = queue.push(vec![0; 5000].into(), Priority::Normal, 4096);
        let oversize = FramingError::Oversize { declared: 5000, limit: 4096 };
        assert_eq!(refused, Err(QueueRefusal::Framing(oversize)));
    }
}
