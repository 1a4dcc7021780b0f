//! Everything the stand-in knows, behind one lock, and how it is found.
//!
//! Invariants: a name in use leads to one repository; a former name never hides one in use; what was deleted is found under no
//! name and no number.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use super::{
    accounts::{Account, Grant, Identity, Installation, Limited, Selection, Token, TokenKind},
    actions::Actions,
    clock::StandinClock,
    contract::Contract,
    faults::Faults,
    git::GitRepository,
    git::object::Objects,
    ids::{AccountId, Ids, InstallationId, RepositoryId},
    limits::Limits,
    log::{Dispatched, Logged, RunnerRequest},
    repositories::{Repository, RepositoryOptions},
    results::Results,
    runners::Runners,
    webhooks::Webhooks,
};

/// A test asked for something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StandinError {
    /// No repository has this name.
    #[error("the stand-in has no repository {0}")]
    NoRepository(String),
    /// The name is not `owner/name`.
    #[error("{0} is not owner/name")]
    NotAName(String),
    /// The repository has no such branch.
    #[error("{repository} has no branch {branch}")]
    NoBranch {
        /// Which repository.
        repository: String,
        /// Which branch.
        branch: String,
    },
    /// No such run.
    #[error("the stand-in has no run {0}")]
    NoRun(u64),
    /// No such runner.
    #[error("the stand-in has no runner {0}")]
    NoRunner(u64),
    /// No such job.
    #[error("the stand-in has no job {0}")]
    NoJob(u64),
    /// The job is not as it would have to be.
    #[error("job {0} is not queued")]
    NotQueued(u64),
    /// No such token was given out.
    #[error("the stand-in gave out no such token")]
    NoToken,
    /// The name is taken.
    #[error("the stand-in already has a repository {0}")]
    NameTaken(String),
}

/// The whole state.
pub(crate) struct State {
    pub(crate) clock: StandinClock,
    pub(crate) ids: Ids,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) repositories: BTreeMap<RepositoryId, Repository>,
    names: BTreeMap<String, RepositoryId>,
    former_names: BTreeMap<String, RepositoryId>,
    pub(crate) objects: Objects,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) installations: BTreeMap<InstallationId, Installation>,
    pub(crate) actions: Actions,
    pub(crate) results: Results,
    pub(crate) runners: Runners,
    pub(crate) webhooks: Webhooks,
    pub(crate) limits: Limits,
    pub(crate) faults: Faults,
    pub(crate) contract: Contract,
    pub(crate) log: Vec<Logged>,
    /// What runners asked, apart from what GitHub's contract knows.
    pub(crate) runner_log: Vec<RunnerRequest>,
    pub(crate) dispatched: Vec<Dispatched>,
    /// The status of a primary limit: 403 or 429.
    pub(crate) limit_status: u16,
    /// Where repositories are written for git.
    pub(crate) folder: PathBuf,
    /// Where the stand-in is found, for what it says of its own accord.
    pub(crate) base: String,
    /// Where runners find it, when that is somewhere else.
    pub(crate) runner_url: Option<String>,
}

/// What a name leads to.
pub(crate) enum Found {
    Repository(RepositoryId),
    /// It was renamed.
    Moved(RepositoryId),
    Nothing,
}

impl State {
    pub(crate) fn new(
        clock: StandinClock,
        limits: Limits,
        contract: Contract,
        folder: PathBuf,
        base: String,
    ) -> Self {
        Self {
            clock,
            ids: Ids::new(),
            accounts: BTreeMap::new(),
            repositories: BTreeMap::new(),
            names: BTreeMap::new(),
            former_names: BTreeMap::new(),
            objects: Objects::default(),
            tokens: BTreeMap::new(),
            installations: BTreeMap::new(),
            actions: Actions::default(),
            results: Results::default(),
            runners: Runners::default(),
            webhooks: Webhooks::default(),
            limits,
            faults: Faults::default(),
            contract,
            log: Vec::new(),
            runner_log: Vec::new(),
            dispatched: Vec::new(),
            limit_status: 403,
            folder,
            base,
            runner_url: None,
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Finds an account without regard to case.
    pub(crate) fn account(&self, login: &str) -> Option<&Account> {
        self.accounts.values().find(|account| account.login.eq_ignore_ascii_case(login))
    }

    /// The account of this name, made if there is none.
    pub(crate) fn ensure_account(&mut self, login: &str, is_organization: bool) -> AccountId {
        if let Some(account) = self.account(login) {
            return account.id;
        }
        let id = self.ids.account();
        let account = Account { id, login: login.to_owned(), is_organization, members: BTreeMap::new() };
        self.accounts.insert(id, account);
        id
    }

    /// `owner/name`, as it is written.
    pub(crate) fn full_name(&self, repository: &Repository) -> String {
        format!("{}/{}", self.login(repository.owner), repository.name)
    }

    pub(crate) fn login(&self, id: AccountId) -> &str {
        self.accounts.get(&id).map_or("ghost", |account| &account.login)
    }

    /// Makes a repository; its owner is made as a user if there is none.
    pub(crate) fn add_repository(
        &mut self,
        full_name: &str,
        options: &RepositoryOptions,
    ) -> Result<RepositoryId, StandinError> {
        let not_a_name = || StandinError::NotAName(full_name.to_owned());
        let (owner, name) = full_name.split_once('/').ok_or_else(not_a_name)?;
        let key = full_name.to_lowercase();
        if self.names.contains_key(&key) {
            return Err(StandinError::NameTaken(full_name.to_owned()));
        }
        let owner = self.ensure_account(owner, false);
        let (id, now) = (self.ids.repository(), self.now());
        let repository = Repository {
            id,
            owner,
            name: name.to_owned(),
            is_private: options.is_private,
            is_fork: options.is_fork,
            is_archived: false,
            is_disabled: false,
            cuts_trees: false,
            created_at: now,
            updated_at: now,
            pushed_at: None,
            collaborators: BTreeMap::new(),
            git: GitRepository::new(&options.default_branch),
        };
        self.repositories.insert(id, repository);
        self.former_names.remove(&key);
        self.names.insert(key, id);
        Ok(id)
    }

    /// What a name leads to, without regard to case.
    pub(crate) fn find(&self, owner: &str, name: &str) -> Found {
        let key = format!("{owner}/{name}").to_lowercase();
        match (self.names.get(&key), self.former_names.get(&key)) {
            (Some(id), _) => Found::Repository(*id),
            (None, Some(id)) => Found::Moved(*id),
            (None, None) => Found::Nothing,
        }
    }

    pub(crate) fn repository_id(&self, full_name: &str) -> Result<RepositoryId, StandinError> {
        let missing = || StandinError::NoRepository(full_name.to_owned());
        self.names.get(&full_name.to_lowercase()).copied().ok_or_else(missing)
    }

    /// The repository that a test names.
    pub(crate) fn named(&mut self, full_name: &str) -> Result<&mut Repository, StandinError> {
        let id = self.repository_id(full_name)?;
        self.repositories.get_mut(&id).ok_or_else(|| StandinError::NoRepository(full_name.to_owned()))
    }

    /// Gives a repository another name, perhaps another owner; its former names lead to it.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), StandinError> {
        let id = self.repository_id(from)?;
        let (owner, name) = to.split_once('/').ok_or_else(|| StandinError::NotAName(to.to_owned()))?;
        let key = to.to_lowercase();
        if self.names.get(&key).is_some_and(|other| *other != id) {
            return Err(StandinError::NameTaken(to.to_owned()));
        }
        let owner = self.ensure_account(owner, false);
        self.names.remove(&from.to_lowercase());
        self.former_names.insert(from.to_lowercase(), id);
        self.former_names.remove(&key);
        self.names.insert(key, id);
        if let Some(repository) = self.repositories.get_mut(&id) {
            repository.owner = owner;
            repository.name = name.to_owned();
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, full_name: &str) -> Result<(), StandinError> {
        let id = self.repository_id(full_name)?;
        self.repositories.remove(&id);
        self.names.retain(|_, named| *named != id);
        self.former_names.retain(|_, named| *named != id);
        Ok(())
    }

    fn limited(
        &mut self,
        owner: &str,
        selection: &Selection,
        permissions: &[(String, super::accounts::Level)],
    ) -> Result<Limited, StandinError> {
        let owner = self.ensure_account(owner, false);
        let repositories = match selection {
            Selection::All => None,
            Selection::Only(names) => {
                Some(names.iter().map(|name| self.repository_id(name)).collect::<Result<Vec<_>, _>>()?)
            }
        };
        Ok(Limited { owner, repositories, permissions: permissions.iter().cloned().collect() })
    }

    /// Makes a token; its text.
    pub(crate) fn add_token(
        &mut self,
        kind: &TokenKind,
        expires_at: Option<u64>,
    ) -> Result<String, StandinError> {
        let (prefix, grant) = match kind {
            TokenKind::Classic { user, scopes } => {
                let user = self.ensure_account(user, false);
                ("ghp", Grant::Classic { user, scopes: scopes.clone() })
            }
            TokenKind::FineGrained { user, owner, repositories, permissions } => {
                let user = self.ensure_account(user, false);
                let limited = self.limited(owner, repositories, permissions)?;
                ("github_pat", Grant::FineGrained { user, limited })
            }
            TokenKind::Installation { owner, repositories, permissions } => {
                let limited = self.limited(owner, repositories, permissions)?;
                let id = self.ids.installation();
                let installation = Installation {
                    owner: limited.owner,
                    repositories: limited.repositories.clone(),
                    permissions: limited.permissions.clone(),
                };
                self.installations.insert(id, installation);
                ("ghs", Grant::Installation { id, limited })
            }
        };
        Ok(self.give_out(prefix, grant, expires_at))
    }

    pub(crate) fn give_out(&mut self, prefix: &str, grant: Grant, expires_at: Option<u64>) -> String {
        let serial = self.ids.serial();
        let text = format!("{prefix}_standin{serial:028}");
        self.tokens.insert(text.clone(), Token { grant, expires_at, is_revoked: false });
        text
    }

    /// Who a token speaks for; nobody when it is unknown, expired or revoked.
    pub(crate) fn identity_of(&self, token: &str) -> Option<Identity> {
        let known = self.tokens.get(token)?;
        let is_expired = known.expires_at.is_some_and(|at| at <= self.now());
        (!known.is_revoked && !is_expired).then(|| self.identity(known.grant.clone()))
    }

    pub(crate) fn identity(&self, grant: Grant) -> Identity {
        let (name, in_messages) = match &grant {
            Grant::Classic { user, .. } | Grant::FineGrained { user, .. } => {
                (format!("user:{}", self.login(*user)), format!("user ID {user}"))
            }
            Grant::Installation { id, .. } => (format!("installation:{id}"), format!("installation ID {id}")),
            Grant::App { issuer } => (format!("app:{issuer}"), format!("app ID {issuer}")),
            Grant::Anonymous { address } => (format!("address:{address}"), address.to_string()),
        };
        Identity { name, in_messages, grant }
    }

    pub(crate) fn anonymous(&self, address: IpAddr) -> Identity {
        self.identity(Grant::Anonymous { address })
    }

    /// The name that limits are counted under: of a token's owner, or what was given.
    pub(crate) fn identity_name(&self, token_or_name: &str) -> String {
        match self.tokens.get(token_or_name) {
            Some(token) => self.identity(token.grant.clone()).name,
            None => token_or_name.to_owned(),
        }
    }
}
