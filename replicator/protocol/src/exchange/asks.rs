//! Questions beyond the log, and their answers: what a port of the store asks of another node.
//!
//! A question is answered once or times out; what is asked again (following a log) is a new question.

use std::time::Duration;

use wfengine_core::time::Monotonic;
use wfengine_storage_format::PeerId;

use super::Exchange;
use crate::limits::ASKS_MAX;
use crate::message::{Message, Question, Reply};
use crate::output::{AskId, Class, ConnectionId, Output};
use crate::session::Breach;

/// How long an answer may take; an answerer that has nothing new to tell says so before.
const PATIENCE: Duration = Duration::from_secs(20);

impl Exchange {
    /// Asks a connected member. `None`: it is not connected, or too many questions to it wait. The answer comes as
    /// [`Output::Answered`].
    pub fn ask(&mut self, peer: &PeerId, question: Question, now: Monotonic) -> Option<AskId> {
        self.now = now;
        let connection = *self.connected.get(peer)?;
        let ask = AskId(self.next_number());
        let session = self.sessions.get_mut(&connection).filter(|session| session.asks.len() < ASKS_MAX)?;
        let number = session.next_ask;
        session.next_ask = number.wrapping_add(1);
        session.asks.insert(number, (ask, now + PATIENCE));
        self.send(connection, &Message::Ask(number, question), Class::Normal);
        Some(ask)
    }

    /// Answers [`Output::Asked`]. Without effect if the peer has left.
    pub fn reply(&mut self, connection: ConnectionId, number: u32, reply: Reply, now: Monotonic) {
        self.now = now;
        let asked =
            self.sessions.get_mut(&connection).is_some_and(|session| session.questions.remove(&number));
        if asked {
            self.send(connection, &Message::Answer(number, reply), Class::Normal);
        }
    }

    pub(super) fn hear_question(
        &mut self,
        connection: ConnectionId,
        number: u32,
        question: Question,
    ) -> Result<(), Breach> {
        let Some(session) = self.sessions.get_mut(&connection) else { return Ok(()) };
        if session.questions.len() >= ASKS_MAX || !session.questions.insert(number) {
            return Err(Breach::violation("asks more than may be asked at once"));
        }
        let peer = session.peer;
        self.outputs.push_back(Output::Asked { connection, peer, number, question });
        Ok(())
    }

    pub(super) fn hear_reply(&mut self, connection: ConnectionId, number: u32, reply: Reply) {
        // one that comes too late is no longer waited for
        let waiting = self.sessions.get_mut(&connection).and_then(|session| session.asks.remove(&number));
        if let Some((ask, _)) = waiting {
            self.outputs.push_back(Output::Answered { ask, reply: Some(reply) });
        }
    }

    pub(super) fn time_out_asks(&mut self) {
        let now = self.now;
        for session in self.sessions.values_mut() {
            let late = session.asks.extract_if(.., |_, (_, deadline)| *deadline <= now);
            self.outputs.extend(late.map(|(_, (ask, _))| Output::Answered { ask, reply: None }));
        }
    }
}
