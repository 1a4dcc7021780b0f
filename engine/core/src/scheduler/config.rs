//! What a node tells its scheduler at the start: slots, whom it works for, and the times of the protocol.
//!
//! Every time is measured on the node's own monotonic clock. The defaults are those of a local network.

use std::collections::BTreeSet;
use std::time::Duration;

use wfengine_storage_format::PeerId;

use super::allow::Allow;
use crate::queue::AGEING_PERIOD_MS_DEFAULT;

/// The times of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// What each better-ranked peer that is alive and has not declined is waited for.
    pub turn: Duration,
    /// Most that is waited for better-ranked peers, however many there are.
    pub turns_max: Duration,
    /// Between the commit of a claim that was not the nearest peer's first one and its start.
    pub settle: Duration,
    /// How long a node that finds itself in a minority claims nothing. Once, from the moment it became one.
    pub minority_hold: Duration,
    /// Between two beats.
    pub beat: Duration,
    /// Least time between two beats, when something changed that others wait for.
    pub beat_soon: Duration,
    /// A loop that is later than this is unhealthy.
    pub lag_max: Duration,
    /// How long a loop has to be on time before it judges others again.
    pub healthy_after: Duration,
    /// Least time for which an author has to be down before its claim is lost.
    pub grace_min: Duration,
    /// Greatest such time; between the two it is a tenth of the run time so far.
    pub grace_max: Duration,
    /// How long the beats of a living author may leave out a claim before it is lost.
    pub unnamed_max: Duration,
    /// How long a node that lacks events of its peers claims nothing while it comes no nearer to having them.
    pub behind_max: Duration,
    /// How long it claims nothing for that reason in all, before it claims for as long whatever it lacks.
    pub behind_total: Duration,
    /// How long a run that discovery submitted waits without an eligible peer.
    pub expiry: Duration,
    /// How long a run that may fall back waits for a peer before it is handed to GitHub.
    pub fallback: Duration,
    /// How long a peer that was seen counts when majority and minority are told apart.
    pub seen: Duration,
    /// First wait after a refusal or a fault; doubles up to `backoff_max`.
    pub backoff: Duration,
    /// Greatest wait after refusals or faults.
    pub backoff_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            turn: Duration::from_secs(2),
            turns_max: Duration::from_secs(60),
            settle: Duration::from_millis(500),
            minority_hold: Duration::from_secs(20),
            beat: Duration::from_secs(2),
            beat_soon: Duration::from_millis(200),
            lag_max: Duration::from_millis(500),
            healthy_after: Duration::from_secs(10),
            grace_min: Duration::from_secs(10),
            grace_max: Duration::from_secs(120),
            unnamed_max: Duration::from_secs(15),
            behind_max: Duration::from_secs(30),
            behind_total: Duration::from_secs(600),
            expiry: Duration::from_secs(24 * 3600),
            fallback: Duration::from_secs(600),
            seen: Duration::from_secs(24 * 3600),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
        }
    }
}

/// What a scheduler is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Jobs executed at once. Jobs of outside programs and of `placement: author` do not count. At most [`SLOTS_MAX`].
    pub slots: u32,
    /// Jobs of `placement: author` executed at once: so many that none waits for a slot in practice, and not so many that a matrix of
    /// thousands takes the host down. Each run may have one beyond them. From 1 to [`SLOTS_MAX`].
    pub author_slots: u32,
    /// Whose jobs this node executes besides its own.
    pub allow: Allow,
    /// Waiting for so long counts as one level of priority; 0 turns ageing off.
    pub ageing_period_ms: u32,
    /// The times of the protocol.
    pub timing: Timing,
    /// The members seen within a day, as [`super::Action::RememberSeen`] reported them before the restart.
    pub seen: BTreeSet<PeerId>,
    /// A task that an earlier process of this incarnation handed to a program stays with it. For short commands, between which no
    /// process counts leases; a node that serves gives such claims back.
    pub keeps_tasks: bool,
    /// Spreads the waits after refusals, so that two nodes do not refuse each other in step.
    pub seed: u64,
}

/// [`Config::author_slots`] unless told otherwise.
pub const AUTHOR_SLOTS_DEFAULT: u32 = 32;

/// Greatest number of slots: every claim is named in beats.
pub const SLOTS_MAX: u32 = 1024;

impl Default for Config {
    fn default() -> Self {
        Self {
            slots: 2,
            author_slots: AUTHOR_SLOTS_DEFAULT,
            allow: Allow::default(),
            ageing_period_ms: AGEING_PERIOD_MS_DEFAULT,
            timing: Timing::default(),
            seen: BTreeSet::new(),
            keeps_tasks: false,
            seed: 0,
        }
    }
}
