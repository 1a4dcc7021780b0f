//! Bodies of the authority kinds: who belongs to the cluster, what they may say, and up to where.

use serde::{Deserialize, Serialize};

use super::{Bounded, list_fits, name_fits, names_fit, text_fits};
use crate::event::ChainCut;
use crate::frame::SignedHeader;
use crate::id::{EventId, PeerId};
use crate::limits::{CUTS_MAX, WEIGHT_MAX};
use crate::signature::{InviteKey, Signature};

/// One thing a member may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Invites, admits, labels and revokes.
    Admin,
    /// Claims and runs jobs.
    Executor,
    /// Submits, cancels and re-runs its own runs.
    Submitter,
    /// Cancels and reprioritises everybody's runs.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 4] = [Role::Admin, Role::Executor, Role::Submitter, Role::Operator];

    const fn bit(self) -> u16 {
        match self {
            Role::Admin => 1,
            Role::Executor => 2,
            Role::Submitter => 4,
            Role::Operator => 8,
        }
    }
    /// The word used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Executor => "executor",
            Role::Submitter => "submitter",
            Role::Operator => "operator",
        }
    }
}

/// A set of roles; bits this version does not know are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Roles(u16);

impl Roles {
    /// No role at all.
    pub const NONE: Roles = Roles(0);
    /// What a founder has.
    pub const ALL: Roles = Roles(15);
    /// What an ordinary member has.
    pub const MEMBER: Roles = Roles(2 | 4);

    /// This set and one more role.
    pub const fn with(self, role: Role) -> Self {
        Self(self.0 | role.bit())
    }
    /// Whether the set holds a role.
    pub const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }
    /// Whether every role of `other` is in this set.
    pub const fn covers(self, other: Roles) -> bool {
        self.0 & other.0 == other.0
    }
    /// The names of the roles this version knows.
    pub fn names(self) -> Vec<&'static str> {
        Role::ALL.into_iter().filter(|role| self.has(*role)).map(Role::name).collect()
    }
}

/// The first event of a cluster; its author is the first admin, with every role. Its id is the cluster's id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterFounded {
    /// What the founding peer calls itself; may be empty.
    pub name: String,
    /// 16 random bytes, so that two clusters of one founder are never one.
    pub nonce: [u8; 16],
    /// Labels of the founder's own system: operating system and architecture, as `linux`, `x64`.
    pub system: Vec<String>,
}

impl Bounded for ClusterFounded {
    fn broken_bound(&self) -> Option<&'static str> {
        if !name_fits(&self.name) {
            Some("name")
        } else if !names_fit(&self.system) {
            Some("system")
        } else {
            None
        }
    }
}

/// A way in for one peer: whoever holds the invite's private key may be admitted by any member, once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerInvited {
    /// Public half of the invite.
    pub invite_key: InviteKey,
    /// What the joiner will be allowed. Must be covered by the inviter's own roles.
    pub roles: Roles,
    /// Labels the joiner will have.
    pub labels: Vec<String>,
    /// Wall time in milliseconds after which no door lets this invite in. Checked at the door only.
    pub expires_ms: u64,
}

impl Bounded for PeerInvited {
    fn broken_bound(&self) -> Option<&'static str> {
        (!names_fit(&self.labels)).then_some("labels")
    }
}

/// By what right a peer was admitted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Grant {
    /// By an invite, which says the roles and labels. Any member may write this; the second admission by one invite is void.
    Invite {
        /// The `PeerInvited`.
        invite: EventId,
        /// The invite key's signature over the joiner's key ([`crate::invite_statement`]).
        signature: Signature,
    },
    /// By an admin's word.
    Direct {
        /// What the peer may do.
        roles: Roles,
        /// Its labels.
        labels: Vec<String>,
    },
}

/// A peer became a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerAdmitted {
    /// Who.
    pub peer: PeerId,
    /// What it calls itself.
    pub name: String,
    /// Labels of its system as it told them at the door: operating system and architecture. They grant nothing.
    pub system: Vec<String>,
    /// By what right.
    pub grant: Grant,
}

impl Bounded for PeerAdmitted {
    fn broken_bound(&self) -> Option<&'static str> {
        if !name_fits(&self.name) {
            return Some("name");
        }
        if !names_fit(&self.system) {
            return Some("system");
        }
        match &self.grant {
            Grant::Direct { labels, .. } if !names_fit(labels) => Some("labels"),
            Grant::Direct { .. } | Grant::Invite { .. } => None,
        }
    }
}

fn cuts_fit(cuts: &[ChainCut]) -> bool {
    cuts.len() <= CUTS_MAX && cuts.windows(2).all(|pair| pair[0].incarnation < pair[1].incarnation)
}

/// A member lost its membership. Of its chains counts what the revoker had seen, listed here; a chain that is not listed counts
/// for nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerRevoked {
    /// Who.
    pub peer: PeerId,
    /// Why, for people.
    pub reason: String,
    /// What counts of each of its chains, sorted by incarnation.
    pub cuts: Vec<ChainCut>,
}

impl Bounded for PeerRevoked {
    fn broken_bound(&self) -> Option<&'static str> {
        if !text_fits(&self.reason) {
            Some("reason")
        } else if !cuts_fit(&self.cuts) {
            Some("cuts")
        } else {
            None
        }
    }
}

/// The author goes on under another key, with its roles, labels and weight. Its own later events are void.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyRotated {
    /// The new key.
    pub to: PeerId,
    /// The new key's signature ([`crate::rotation_statement`]).
    pub signature: Signature,
    /// What counts of each of the old key's chains, sorted by incarnation; the chain of this event counts up to and with it.
    pub cuts: Vec<ChainCut>,
}

impl Bounded for KeyRotated {
    fn broken_bound(&self) -> Option<&'static str> {
        (!cuts_fit(&self.cuts)).then_some("cuts")
    }
}

/// Two signed headers of one chain that cannot both be true: the chain counts only below the lower first seq of the two.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForkProved {
    /// One header.
    pub first: SignedHeader,
    /// The other.
    pub second: SignedHeader,
}

impl Bounded for ForkProved {
    fn broken_bound(&self) -> Option<&'static str> {
        None
    }
}

/// Labels and weight of a member, by an admin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerLabelled {
    /// Who.
    pub peer: PeerId,
    /// All of its labels from here on.
    pub labels: Vec<String>,
    /// Its points in the ownership rule, 1 to 64.
    pub weight: u16,
}

impl Bounded for PeerLabelled {
    fn broken_bound(&self) -> Option<&'static str> {
        if !names_fit(&self.labels) {
            Some("labels")
        } else if self.weight == 0 || self.weight > WEIGHT_MAX {
            Some("weight")
        } else {
            None
        }
    }
}

/// A member's own description. Decides nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerDescribed {
    /// What it calls itself.
    pub name: String,
    /// Where it can be reached, `host:port`.
    pub addresses: Vec<String>,
    /// Version of its software.
    pub version: String,
}

impl Bounded for PeerDescribed {
    fn broken_bound(&self) -> Option<&'static str> {
        if !name_fits(&self.name) || !name_fits(&self.version) {
            Some("name or version")
        } else if !list_fits(&self.addresses) || !names_fit(&self.addresses) {
            Some("addresses")
        } else {
            None
        }
    }
}
