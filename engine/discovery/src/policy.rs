//! When a found workflow is submitted, and how urgently.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wfengine_workflow::tags::Routing;

/// When a workflow is submitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// New content once when it is found, then on every trigger that is due.
    #[default]
    Auto,
    /// On every trigger that is due: a push to a matching branch and path, a new tag, a schedule, a dispatch.
    OnTrigger,
    /// New content once when it is found, and never else.
    OnDiscovery,
    /// Only when somebody dispatches it.
    Manual,
}

impl Policy {
    /// All of them.
    pub const ALL: [Policy; 4] = [Policy::Auto, Policy::OnTrigger, Policy::OnDiscovery, Policy::Manual];

    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Auto => "auto",
            Policy::OnTrigger => "on-trigger",
            Policy::OnDiscovery => "on-discovery",
            Policy::Manual => "manual",
        }
    }
    /// Whether new content runs once.
    pub fn runs_new_content(self) -> bool {
        matches!(self, Policy::Auto | Policy::OnDiscovery)
    }
    /// Whether pushes and schedules run.
    pub fn runs_triggers(self) -> bool {
        matches!(self, Policy::Auto | Policy::OnTrigger)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no policy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no policy: expected auto, on-trigger, on-discovery or manual")]
pub struct UnknownPolicy(String);

impl FromStr for Policy {
    type Err = UnknownPolicy;
    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let found = Policy::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| UnknownPolicy(text.chars().take(60).collect()))
    }
}

/// Policies by repository, by owner, and for all others.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Policies {
    /// For what nothing else is said of.
    pub default: Policy,
    /// By `owner` or `owner/name`, without regard to case.
    pub by_name: BTreeMap<String, Policy>,
}

impl Policies {
    /// The policy of a repository, `owner/name`: its own, else its owner's, else the default.
    pub fn of(&self, repository: &str) -> Policy {
        let name = repository.to_ascii_lowercase();
        let owner = name.rsplit_once('/').map_or("", |(owner, _)| owner);
        let find = |wanted: &str| {
            let same = |known: &&String| known.eq_ignore_ascii_case(wanted);
            self.by_name.keys().find(same).and_then(|known| self.by_name.get(known))
        };
        find(&name).or_else(|| find(owner)).copied().unwrap_or(self.default)
    }
}

/// Priorities of submissions, in thousandths; lower runs first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Priorities {
    /// Of `p2p-only` workflows.
    pub p2p_only: u32,
    /// Of `p2p-eligible` ones.
    pub p2p_eligible: u32,
    /// Of others.
    pub other: u32,
}

impl Default for Priorities {
    fn default() -> Self {
        Self { p2p_only: 1_500, p2p_eligible: 2_500, other: 3_000 }
    }
}

impl Priorities {
    /// The priority for a routing.
    pub fn of(&self, routing: Routing) -> u32 {
        match routing {
            Routing::P2pOnly => self.p2p_only,
            Routing::P2pEligible => self.p2p_eligible,
            Routing::GithubOnly | Routing::None => self.other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repositorys_own_policy_wins_over_its_owners() {
        let by_name = [("Octo", Policy::Manual), ("octo/CI", Policy::OnTrigger)];
        let by_name = by_name.into_iter().map(|(name, policy)| (name.to_owned(), policy)).collect();
        let policies = Policies { default: Policy::Auto, by_name };
        assert_eq!(policies.of("octo/ci"), Policy::OnTrigger);
        assert_eq!(policies.of("OCTO/other"), Policy::Manual);
        assert_eq!(policies.of("else/where"), Policy::Auto);
    }

    #[test]
    fn words_are_read_back() {
        for policy in Policy::ALL {
            assert_eq!(policy.name().parse(), Ok(policy));
        }
        assert!("never".parse::<Policy>().unwrap_err().to_string().contains("on-discovery"));
    }

    #[test]
    fn priorities_are_the_documents() {
        // (11 − urgency) / 2 for the urgencies 8, 6 and 5
        let priorities = Priorities::default();
        for (routing, urgency) in [(Routing::P2pOnly, 8), (Routing::P2pEligible, 6), (Routing::None, 5)] {
            assert_eq!(priorities.of(routing), (11 - urgency) * 500);
        }
    }
}
