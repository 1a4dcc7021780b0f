//! Repositories and who owns them.

use serde::Deserialize;

use super::{open::or_default, open_enum};
use crate::client::{Entry, Page};

open_enum! {
    /// Who may see a repository.
    Visibility {
        /// Everybody.
        Public = "public",
        /// Those who were let in.
        Private = "private",
        /// Everybody of the enterprise.
        Internal = "internal",
    }
}

/// A user or an organisation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Account {
    /// The name.
    #[serde(default, deserialize_with = "or_default")]
    pub login: String,
    /// The id.
    #[serde(default)]
    pub id: Option<u64>,
    /// `User`, `Organization` or `Bot`.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
}

/// What the credential may do in a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Permissions {
    /// Settings, runners, hooks.
    #[serde(default)]
    pub admin: bool,
    /// Pushing, statuses, dispatches.
    #[serde(default)]
    pub push: bool,
    /// Reading.
    #[serde(default)]
    pub pull: bool,
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Repository {
    /// The id, which a rename does not change.
    pub id: u64,
    /// The id in GraphQL.
    #[serde(default)]
    pub node_id: Option<String>,
    /// The name without the owner.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// `owner/name`.
    pub full_name: String,
    /// Who owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub owner: Account,
    /// Not public.
    #[serde(default, deserialize_with = "or_default")]
    pub private: bool,
    /// A copy of another one.
    #[serde(default, deserialize_with = "or_default")]
    pub fork: bool,
    /// Nobody can change it any more.
    #[serde(default, deserialize_with = "or_default")]
    pub archived: bool,
    /// GitHub switched it off.
    #[serde(default, deserialize_with = "or_default")]
    pub disabled: bool,
    /// The branch that `HEAD` names.
    #[serde(default)]
    pub default_branch: Option<String>,
    /// The last push to any branch, RFC 3339; absent where there was none.
    #[serde(default)]
    pub pushed_at: Option<String>,
    /// Who may see it.
    #[serde(default)]
    pub visibility: Option<Visibility>,
    /// What the credential may do.
    #[serde(default)]
    pub permissions: Option<Permissions>,
    /// In KiB; 0 is most often an empty repository.
    #[serde(default)]
    pub size: Option<u64>,
}

impl Repository {
    /// The last push in seconds since 1970.
    pub fn pushed_s(&self) -> Option<u64> {
        self.pushed_at.as_deref().and_then(crate::dates::rfc3339_s)
    }
}

/// A page of an installation's repositories.
#[derive(Deserialize)]
pub(crate) struct Repositories {
    #[serde(default = "Vec::new")]
    repositories: Vec<Entry<Repository>>,
}

impl Page for Repositories {
    type Item = Repository;

    fn entries(self) -> Vec<Entry<Repository>> {
        self.repositories
    }
}
