//! Users, organisations, tokens, and who may do what.
//!
//! A token has an identity, which limits are counted for, and rights, which are asked for one repository and one permission at a
//! time. What a token may not see is answered as if it did not exist.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    ids::{AccountId, InstallationId, RepositoryId},
    repositories::Repository,
};

/// A user or an organisation.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) login: String,
    pub(crate) is_organization: bool,
    /// Of an organisation.
    pub(crate) members: BTreeMap<AccountId, Role>,
}

/// What a person may do in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// See it.
    Read,
    /// Push, dispatch, set statuses.
    Write,
    /// Hooks, runners, settings.
    Admin,
}

/// How much of a permission a fine-grained or installation token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Look.
    Read,
    /// Change.
    Write,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Which repositories a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All that the account owns.
    All,
    /// These, as `owner/name`.
    Only(Vec<String>),
}

/// A token to be made.
#[derive(Debug, Clone)]
pub enum TokenKind {
    /// `ghp_`: what its user may do, within scopes such as `repo`.
    Classic {
        /// Whose it is; made when there is no such user.
        user: String,
        /// Without `repo`, private repositories do not exist for it.
        scopes: Vec<String>,
    },
    /// `github_pat_`: named repositories of one owner, named permissions.
    FineGrained {
        /// Whose it is; made when there is no such user.
        user: String,
        /// The account whose repositories it is for.
        owner: String,
        /// Which of them.
        repositories: Selection,
        /// Such as `("actions", Level::Write)`; `metadata` can always be read.
        permissions: Vec<(String, Level)>,
    },
    /// `ghs_`: an app at an account.
    Installation {
        /// The account.
        owner: String,
        /// Which of its repositories.
        repositories: Selection,
        /// What the app may do there.
        permissions: Vec<(String, Level)>,
    },
}

impl TokenKind {
    /// A classic token with the scopes that most people give: `repo` and `workflow`.
    pub fn classic(user: &str) -> Self {
        Self::Classic { user: user.to_owned(), scopes: vec!["repo".to_owned(), "workflow".to_owned()] }
    }
}

/// A token that was given out.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) grant: Grant,
    pub(crate) expires_at: Option<u64>,
    pub(crate) is_revoked: bool,
}

/// An app that is installed at an account.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    pub(crate) owner: AccountId,
    pub(crate) repositories: Option<Vec<RepositoryId>>,
    pub(crate) permissions: BTreeMap<String, Level>,
}

/// What a token allows.
#[derive(Debug, Clone)]
pub(crate) enum Grant {
    Classic { user: AccountId, scopes: Vec<String> },
    FineGrained { user: AccountId, limited: Limited },
    Installation { id: InstallationId, limited: Limited },
    App { issuer: String },
    Anonymous { address: IpAddr },
}

/// Some repositories of one owner, some permissions.
#[derive(Debug, Clone)]
pub(crate) struct Limited {
    pub(crate) owner: AccountId,
    /// All of the owner's when absent.
    pub(crate) repositories: Option<Vec<RepositoryId>>,
    pub(crate) permissions: BTreeMap<String, Level>,
}

impl Limited {
    pub(crate) fn holds(&self, repository: &Repository) -> bool {
        let selected = self.repositories.as_ref();
        repository.owner == self.owner && selected.is_none_or(|selected| selected.contains(&repository.id))
    }

    fn allows(&self, permission: &str, level: Level) -> bool {
        let is_given = self.permissions.get(permission).is_some_and(|given| *given >= level);
        is_given || (permission == "metadata" && level == Level::Read)
    }
}

/// Who is asking, as the log and the limits name it: `user:octocat`, `installation:48000001`, `address:127.0.0.1`.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
    /// As GitHub says it in messages: `user ID 1`.
    pub(crate) in_messages: String,
    pub(crate) grant: Grant,
}

/// What an operation needs in a repository.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) permission: &'static str,
    pub(crate) level: Level,
    /// What a person needs.
    pub(crate) role: Role,
}

/// Whether somebody may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Allowed,
    /// It does not exist, as far as this identity is concerned.
    Hidden,
    /// It is visible, and this permission is missing.
    Missing,
}

impl Identity {
    pub(crate) fn is_anonymous(&self) -> bool {
        matches!(self.grant, Grant::Anonymous { .. })
    }

    pub(crate) fn user(&self) -> Option<AccountId> {
        match self.grant {
            Grant::Classic { user, .. } | Grant::FineGrained { user, .. } => Some(user),
            Grant::Installation { .. } | Grant::App { .. } | Grant::Anonymous { .. } => None,
        }
    }

    /// Whether it sees a repository at all.
    pub(crate) fn sees(&self, repository: &Repository, owner: &Account) -> bool {
        let needs = Needs { permission: "metadata", level: Level::Read, role: Role::Read };
        self.may(repository, owner, needs) == Access::Allowed
    }

    /// Whether it may do something in a repository.
    pub(crate) fn may(&self, repository: &Repository, owner: &Account, needs: Needs) -> Access {
        let reads_public = !repository.is_private && needs.level == Level::Read && needs.role == Role::Read;
        match &self.grant {
            Grant::Anonymous { .. } | Grant::App { .. } if reads_public => Access::Allowed,
            Grant::Anonymous { .. } | Grant::App { .. } => Access::Hidden,
            Grant::Classic { user, scopes } => {
                let has = |scope: &str| scopes.iter().any(|given| given == scope);
                let is_scoped = has("repo") || (!repository.is_private && has("public_repo")) || reads_public;
                let role = repository.role_of(*user, owner);
                match (is_scoped, role) {
                    (true, Some(role)) if role >= needs.role => Access::Allowed,
                    _ if reads_public => Access::Allowed,
                    // seen, and too little for it
                    (true, Some(_)) if needs.role < Role::Admin => Access::Missing,
                    _ => Access::Hidden,
                }
            }
            Grant::FineGrained { limited, user } => {
                if !limited.holds(repository) || repository.role_of(*user, owner).is_none() {
                    return if reads_public { Access::Allowed } else { Access::Hidden };
                }
                self.within(limited, needs, reads_public)
            }
            Grant::Installation { limited, .. } => {
                if !limited.holds(repository) {
                    return if reads_public { Access::Allowed } else { Access::Hidden };
                }
                self.within(limited, needs, reads_public)
            }
        }
    }

    fn within(&self, limited: &Limited, needs: Needs, reads_public: bool) -> Access {
        match limited.allows(needs.permission, needs.level) || reads_public {
            true => Access::Allowed,
            false => Access::Missing,
        }
    }

    /// The sentence of a 403 for a missing permission.
    pub(crate) fn refusal(&self) -> &'static str {
        match self.grant {
            Grant::Installation { .. } | Grant::App { .. } => "Resource not accessible by integration",
            Grant::FineGrained { .. } => "Resource not accessible by personal access token",
            Grant::Classic { .. } | Grant::Anonymous { .. } => {
                "Must have push access to view repository collaborators."
            }
        }
    }
}
