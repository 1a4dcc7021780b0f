//! One connection with one peer: who may say what, and when; and what is under way on it.
//!
//! ```text
//!  dialler   ─Hello▶  HelloSent ──Hello──▶ Member          joiner  ─JoinRequest▶  JoinSent ──Admitted──▶ ─Hello▶ HelloSent
//!  answerer  AwaitHello ──Hello of a member──▶ ─Hello▶ Member
//!            AwaitHello ──JoinRequest──▶ JoinAsked ──decision──▶ ─JoinAnswer▶ AwaitHello
//! ```
//!
//! Everything else than these messages, before `Member`, ends the connection; nothing of it is kept or answered. What a member
//! says is for [`Exchange`](crate::Exchange) to act upon: a session holds no log, asks for no read and knows no other session.
//!
//! Invariants: no message is decoded beyond the bound of its phase; what is under way with one peer is bounded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wfengine_core::time::Monotonic;
use wfengine_storage_format::{BlobId, ChainId, PeerId};

use crate::exchange::serving::{ServedTo, Serving};
use crate::exchange::standing::Sent;
use crate::limits::{OFFERS_MAX, PUSHED_BYTES_MAX};
use crate::message::{Bye, ByeCode, Hello, JoinAnswer, JoinRequest, Message, MessageError};
use crate::output::{AskId, RequestId};
use crate::scores::VIOLATION;

/// Which part this node has in a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// It dialled, as a member.
    Dialler,
    /// It was dialled.
    Answerer,
    /// It dialled, to present an invite.
    Joiner(Box<JoinRequest>),
}

/// How far the greeting has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    AwaitHello,
    HelloSent,
    JoinSent,
    JoinAsked,
    Member,
}

/// What a session made of a message.
#[derive(Debug)]
pub(crate) enum Heard {
    Hello(Hello),
    JoinRequest(JoinRequest),
    JoinAnswer(JoinAnswer),
    Bye(Bye),
    /// Anything from a member.
    Member(Message),
}

/// Why a connection has to end, and what it costs the peer.
#[derive(Debug)]
pub(crate) struct Breach {
    pub(crate) code: ByeCode,
    pub(crate) reason: String,
    pub(crate) points: i32,
}

impl Breach {
    pub(crate) fn violation(reason: impl Into<String>) -> Self {
        Self { code: ByeCode::Violation, reason: reason.into(), points: VIOLATION }
    }
    pub(crate) fn harmless(code: ByeCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), points: 0 }
    }
}

impl From<MessageError> for Breach {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::Version { .. } => Self::harmless(ByeCode::Version, error.to_string()),
            MessageError::TooLong { .. }
            | MessageError::Malformed { .. }
            | MessageError::Trailing { .. }
            | MessageError::Bound { .. } => Self::violation(error.to_string()),
        }
    }
}

/// Something that came from the peer and waits for its turn to be verified.
#[derive(Debug)]
pub(crate) enum Unverified {
    /// A chunk that was asked for.
    Asked { need: u32, chunk: Vec<u8> },
    /// A chunk that was pushed.
    Pushed { chain: ChainId, first_seq: u64, end_seq: u64, chunk: Vec<u8> },
    /// All chunks of a need have come.
    End { need: u32 },
}

impl Unverified {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Asked { chunk, .. } | Self::Pushed { chunk, .. } => chunk.len(),
            Self::End { .. } => 0,
        }
    }
}

/// A request for chunks that is not fully answered.
#[derive(Debug)]
pub(crate) struct OpenNeed {
    pub(crate) chain: ChainId,
    pub(crate) from_seq: u64,
    pub(crate) max_bytes: u32,
    pub(crate) received_bytes: usize,
    pub(crate) received: u32,
    pub(crate) ended: bool,
    pub(crate) deadline: Monotonic,
    pub(crate) kind: NeedKind,
}

/// What a need is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NeedKind {
    /// The events that follow those here.
    Range,
    /// What the peer has of a chain that is forked, or seems to be: its frames contradict those here and prove it. Others may name
    /// events of that branch, and what names them is admitted only when they have been seen.
    Branch,
}

/// What a peer has of one chain and this node does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    pub(crate) length: u64,
    pub(crate) height: u64,
}

/// Chains a peer has more of, lowest first.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    by_chain: BTreeMap<ChainId, Offer>,
    order: BTreeSet<(u64, ChainId)>,
}

impl Offers {
    pub(crate) fn insert(&mut self, chain: ChainId, offer: Offer) {
        if !self.by_chain.contains_key(&chain) && self.by_chain.len() >= OFFERS_MAX {
            return;
        }
        self.remove(&chain);
        self.by_chain.insert(chain, offer);
        self.order.insert((offer.height, chain));
    }
    pub(crate) fn remove(&mut self, chain: &ChainId) {
        if let Some(offer) = self.by_chain.remove(chain) {
            self.order.remove(&(offer.height, *chain));
        }
    }
    pub(crate) fn get(&self, chain: &ChainId) -> Option<&Offer> {
        self.by_chain.get(chain)
    }
    pub(crate) fn len(&self) -> usize {
        self.by_chain.len()
    }
    pub(crate) fn lowest_first(&self) -> impl Iterator<Item = (ChainId, Offer)> + '_ {
        self.order.iter().filter_map(|(_, chain)| self.by_chain.get(chain).map(|offer| (*chain, *offer)))
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: PeerId,
    pub(crate) phase: Phase,
    /// Who dialled, for choosing between two connections of the same two nodes.
    pub(crate) dialled_by: PeerId,
    pub(crate) dialled_here: bool,
    /// The node admitted this peer on this very connection.
    pub(crate) admitted: bool,
    pub(crate) greeting_deadline: Monotonic,
    /// Bytes given to the driver and not taken by the transport.
    pub(crate) unsent_bytes: usize,

    pub(crate) unverified: VecDeque<Unverified>,
    pub(crate) pushed_bytes: usize,
    pub(crate) needs: BTreeMap<u32, OpenNeed>,
    pub(crate) next_need: u32,
    pub(crate) window_used: u32,
    pub(crate) offers: Offers,
    /// How much the peer has of open chains, as far as it said; `None` before its first word about that.
    pub(crate) said: Option<BTreeMap<ChainId, u64>>,
    /// What the peer was sent and may not have counted yet.
    pub(crate) sent: Sent,
    /// Chains of which the peer is known to have more than this node has committed.
    pub(crate) has: BTreeMap<ChainId, u64>,
    /// Chains that end otherwise there than here, as the peer said once.
    pub(crate) differing: BTreeSet<ChainId>,
    /// How much of the peer's branches of forked chains has been seen.
    pub(crate) branches: BTreeMap<ChainId, u64>,

    pub(crate) serving: BTreeMap<u32, Serving>,
    pub(crate) served: ServedTo,
    pub(crate) notices: BTreeSet<ChainId>,
    pub(crate) ranges: VecDeque<crate::message::RangeAsk>,
    pub(crate) ranges_asked: usize,

    pub(crate) blob_reads: BTreeMap<RequestId, (BlobId, u64, u32)>,
    pub(crate) questions: BTreeSet<u32>,
    pub(crate) asks: BTreeMap<u32, (AskId, Monotonic)>,
    pub(crate) next_ask: u32,
}

impl Session {
    pub(crate) fn new(me: PeerId, peer: PeerId, role: &Role, greeting_deadline: Monotonic) -> Self {
        let (phase, dialled_here) = match role {
            Role::Dialler => (Phase::HelloSent, true),
            Role::Joiner(_) => (Phase::JoinSent, true),
            Role::Answerer => (Phase::AwaitHello, false),
        };
        Self {
            peer,
            phase,
            dialled_by: if dialled_here { me } else { peer },
            dialled_here,
            admitted: false,
            greeting_deadline,
            unsent_bytes: 0,
            unverified: VecDeque::new(),
            pushed_bytes: 0,
            needs: BTreeMap::new(),
            next_need: 0,
            window_used: 0,
            offers: Offers::default(),
            said: None,
            sent: Sent::default(),
            has: BTreeMap::new(),
            differing: BTreeSet::new(),
            branches: BTreeMap::new(),
            serving: BTreeMap::new(),
            served: ServedTo::default(),
            notices: BTreeSet::new(),
            ranges: VecDeque::new(),
            ranges_asked: 0,
            blob_reads: BTreeMap::new(),
            questions: BTreeSet::new(),
            asks: BTreeMap::new(),
            next_ask: 0,
        }
    }

    pub(crate) fn is_member(&self) -> bool {
        self.phase == Phase::Member
    }

    /// Reads a message and says whether it may be said at this point.
    pub(crate) fn hear(&self, bytes: &[u8]) -> Result<Heard, Breach> {
        let message = match self.phase {
            Phase::Member => Message::decode(bytes)?,
            _ => Message::decode_first(bytes)?,
        };
        let heard = match (self.phase, message) {
            (_, Message::Bye(bye)) => Heard::Bye(bye),
            (Phase::AwaitHello | Phase::HelloSent, Message::Hello(hello)) => Heard::Hello(hello),
            (Phase::AwaitHello, Message::JoinRequest(request)) if !self.admitted => {
                Heard::JoinRequest(request)
            }
            (Phase::JoinSent, Message::JoinAnswer(answer)) => Heard::JoinAnswer(answer),
            (Phase::Member, Message::Hello(_) | Message::JoinRequest(_) | Message::JoinAnswer(_)) => {
                return Err(Breach::violation("a greeting after the greeting"));
            }
            (Phase::Member, message) => Heard::Member(message),
            (_, message) => {
                return Err(Breach::violation(format!("a {} before the greeting is over", message.name())));
            }
        };
        Ok(heard)
    }

    /// Remembers that the peer has at least this much of a chain, once it said what it has.
    pub(crate) fn note_said(&mut self, chain: ChainId, length: u64) {
        let Some(said) = &mut self.said else { return };
        if said.len() < OFFERS_MAX || said.contains_key(&chain) {
            let known = said.entry(chain).or_default();
            *known = length.max(*known);
        }
    }

    /// Remembers that the peer has this much of a chain of which this node has committed less.
    pub(crate) fn note_has(&mut self, chain: ChainId, length: u64, committed: u64) {
        let room = self.has.len() < OFFERS_MAX;
        match self.has.get_mut(&chain) {
            Some(has) => *has = length.max(*has),
            None if room && length > committed => {
                self.has.insert(chain, length);
            }
            None => {}
        }
    }

    /// Keeps a pushed chunk until it is verified. Says whether there was room.
    pub(crate) fn keep_pushed(&mut self, item: Unverified) -> bool {
        let fits = self.pushed_bytes + item.len() <= PUSHED_BYTES_MAX;
        if fits {
            self.pushed_bytes += item.len();
            self.unverified.push_back(item);
        }
        fits
    }

    pub(crate) fn take_unverified(&mut self) -> Option<Unverified> {
        let item = self.unverified.pop_front()?;
        if matches!(item, Unverified::Pushed { .. }) {
            self.pushed_bytes -= item.len();
        }
        Some(item)
    }
}
