//! A repository: its numbers and names, what can be switched about it, and its git side.

use std::collections::BTreeMap;

use super::{
    accounts::{Account, Role},
    git::GitRepository,
    ids::{AccountId, RepositoryId},
};

/// What a new repository is.
#[derive(Debug, Clone)]
pub struct RepositoryOptions {
    /// Hidden from those without access.
    pub is_private: bool,
    /// Copied from another one.
    pub is_fork: bool,
    /// The branch that `HEAD` means.
    pub default_branch: String,
}

impl Default for RepositoryOptions {
    fn default() -> Self {
        Self { is_private: false, is_fork: false, default_branch: "main".to_owned() }
    }
}

impl RepositoryOptions {
    /// A private one.
    pub fn private() -> Self {
        Self { is_private: true, ..Self::default() }
    }
}

/// A repository.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) id: RepositoryId,
    pub(crate) owner: AccountId,
    pub(crate) name: String,
    pub(crate) is_private: bool,
    pub(crate) is_fork: bool,
    pub(crate) is_archived: bool,
    pub(crate) is_disabled: bool,
    /// Whether recursive trees are cut.
    pub(crate) cuts_trees: bool,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) pushed_at: Option<u64>,
    pub(crate) collaborators: BTreeMap<AccountId, Role>,
    pub(crate) git: GitRepository,
}

impl Repository {
    /// What a person may do here, apart from what everybody may.
    pub(crate) fn role_of(&self, user: AccountId, owner: &Account) -> Option<Role> {
        if self.owner == user {
            return Some(Role::Admin);
        }
        let roles = [self.collaborators.get(&user), owner.members.get(&user)];
        roles.into_iter().flatten().max().copied()
    }
}
