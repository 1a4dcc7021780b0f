//! Which repositories there are.

use std::collections::BTreeMap;

use super::{RepositoryName, owner};
use crate::{
    client::{Authority, Client, Entry, Fetched, Listing},
    error::ApiError,
    models::{Repositories, Repository},
};

/// 100 repositories each.
const PAGES_MAX: u32 = 200;
/// Owners whose kind is remembered.
const OWNERS_MAX: usize = 1000;

/// Whose repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything that the credential sees: as owner, collaborator or member; for an app, what it is installed for.
    All,
    /// Those of one user or organisation, by name.
    Owner(String),
    /// This one, `owner/name`.
    Repository(String),
    /// What the installation was given.
    Installation,
}

/// How the repositories of an owner are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnerKind {
    Organisation,
    /// The token's own user, whose private repositories another list shows.
    Oneself,
    User,
}

/// What was found out about owners.
pub(crate) type Owners = BTreeMap<String, OwnerKind>;

type Plain = Vec<Entry<Repository>>;

impl Client {
    /// The repositories of a scope.
    ///
    /// An owner may be an organisation, the token's own user or somebody else, each with a list of its own. The first time that
    /// takes one request more for one's own name and two for another user's; then it is remembered.
    pub async fn repositories(&self, scope: &Scope) -> Result<Listing<Repository>, ApiError> {
        let is_app = self.acts_for_installation();
        match scope {
            Scope::All if is_app => self.installed().await,
            Scope::Installation => self.installed().await,
            Scope::All => {
                self.plain("/user/repos?affiliation=owner,collaborator,organization_member&sort=full_name&per_page=100").await
            }
            Scope::Owner(name) if is_app => {
                let mut listing = self.installed().await?;
                listing.retain(|repository| repository.owner.login.eq_ignore_ascii_case(name));
                Ok(listing)
            }
            Scope::Owner(name) => self.of_owner(owner(name)?).await,
            Scope::Repository(full_name) => {
                let Fetched { value, origin, .. } = self.repository(full_name).await?;
                Ok(Listing::of_one(value, origin))
            }
        }
    }

    /// One repository. After a rename it is found under its old name too; then its `full_name` is another.
    pub async fn repository(&self, full_name: &str) -> Result<Fetched<Repository>, ApiError> {
        self.read(RepositoryName::parse(full_name)?.path()).await
    }

    /// An app, or one of the tokens that apps and workflow runs get: they have no user whose repositories could be listed.
    fn acts_for_installation(&self) -> bool {
        match self.authority() {
            Authority::App(_) => true,
            Authority::Token { token, .. } => token.expose().starts_with("ghs_"),
            Authority::Nobody => false,
        }
    }

    async fn installed(&self) -> Result<Listing<Repository>, ApiError> {
        self.list::<Repositories>(
            "/installation/repositories?per_page=100",
            |repository| repository.id,
            PAGES_MAX,
        )
        .await
    }

    async fn plain(&self, path: impl Into<String>) -> Result<Listing<Repository>, ApiError> {
        self.list::<Plain>(path, |repository| repository.id, PAGES_MAX).await
    }

    async fn of_owner(&self, name: &str) -> Result<Listing<Repository>, ApiError> {
        let key = name.to_ascii_lowercase();
        let known = self.owners().get(&key).copied();
        if let Some(kind) = known {
            let found = self.of_kind(name, kind).await;
            // an account may have become another kind meanwhile
            if !found.as_ref().is_err_and(ApiError::is_not_found) {
                return found;
            }
            self.owners().remove(&key);
        }
        let mut kinds = vec![OwnerKind::Organisation];
        if matches!(self.authority(), Authority::Token { .. }) {
            kinds.push(OwnerKind::Oneself);
        }
        kinds.push(OwnerKind::User);
        let last = kinds.len() - 1;
        for (index, kind) in kinds.into_iter().enumerate() {
            let found = self.of_kind(name, kind).await;
            let is_it = match &found {
                Ok(listing) => kind != OwnerKind::Oneself || !listing.items.is_empty(),
                // a token that may not list its user's repositories
                Err(ApiError::NotFound { .. }) => false,
                Err(ApiError::MissingPermission { .. } | ApiError::Forbidden { .. }) => {
                    kind != OwnerKind::Oneself
                }
                Err(_) => true,
            };
            if is_it || index == last {
                if is_it && found.is_ok() {
                    self.remember(key, kind);
                }
                return found;
            }
        }
        self.of_kind(name, OwnerKind::User).await
    }

    fn remember(&self, key: String, kind: OwnerKind) {
        let mut owners = self.owners();
        if owners.len() < OWNERS_MAX {
            owners.insert(key, kind);
        }
    }

    async fn of_kind(&self, name: &str, kind: OwnerKind) -> Result<Listing<Repository>, ApiError> {
        match kind {
            OwnerKind::Organisation => {
                self.plain(format!("/orgs/{name}/repos?type=all&sort=full_name&per_page=100")).await
            }
            OwnerKind::User => {
                self.plain(format!("/users/{name}/repos?type=owner&sort=full_name&per_page=100")).await
            }
            OwnerKind::Oneself => {
                let mut listing =
                    self.plain("/user/repos?affiliation=owner&sort=full_name&per_page=100").await?;
                listing.retain(|repository| repository.owner.login.eq_ignore_ascii_case(name));
                Ok(listing)
            }
        }
    }
}
