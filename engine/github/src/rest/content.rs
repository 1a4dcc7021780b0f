//! What is in a repository.

use super::{RepositoryName, reference, segment, segments};
use crate::{
    client::{Client, Fetched},
    error::ApiError,
    models::{Account, Blob, Branch, Commit, ContentEntry, RateLimits, Tree},
};

impl Client {
    /// A tree by its id, a commit, a branch or `HEAD`. An empty repository is [`ApiError::Conflict`].
    pub async fn tree(
        &self,
        full_name: &str,
        tree_ish: &str,
        recursive: bool,
    ) -> Result<Fetched<Tree>, ApiError> {
        let query = if recursive { "?recursive=1" } else { "" };
        let path = RepositoryName::parse(full_name)?.path();
        self.read(format!("{path}/git/trees/{}{query}", segment(reference(tree_ish)?))).await
    }

    /// A blob with its bytes, by its id.
    pub async fn blob(&self, full_name: &str, sha: &str) -> Result<Fetched<Blob>, ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        self.read(format!("{path}/git/blobs/{}", segment(reference(sha)?))).await
    }

    /// The entries of a folder, at most 1,000; without a ref on the default branch. No such folder is [`ApiError::NotFound`], as
    /// is an empty repository.
    pub async fn contents_dir(
        &self,
        full_name: &str,
        folder: &str,
        git_ref: Option<&str>,
    ) -> Result<Fetched<Vec<ContentEntry>>, ApiError> {
        self.read(contents(full_name, folder, git_ref)?).await
    }

    /// One file. Above 1 MB it comes without its bytes, which [`Client::blob`] has.
    pub async fn contents_file(
        &self,
        full_name: &str,
        file: &str,
        git_ref: Option<&str>,
    ) -> Result<Fetched<ContentEntry>, ApiError> {
        self.read(contents(full_name, file, git_ref)?).await
    }

    /// A branch with the commit it is at.
    pub async fn branch(&self, full_name: &str, branch: &str) -> Result<Fetched<Branch>, ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        self.read(format!("{path}/branches/{}", segment(reference(branch)?))).await
    }

    /// The commit that a branch, a tag or an id names.
    pub async fn commit(&self, full_name: &str, git_ref: &str) -> Result<Fetched<Commit>, ApiError> {
        let path = RepositoryName::parse(full_name)?.path();
        self.read(format!("{path}/commits/{}", segments(reference(git_ref)?))).await
    }

    /// Who the token belongs to. The token of an app or of a workflow run has no user: [`ApiError::MissingPermission`].
    pub async fn user(&self) -> Result<Fetched<Account>, ApiError> {
        self.read("/user").await
    }

    /// What is left of every bucket. It costs nothing. An own server without limits is [`ApiError::NotFound`].
    pub async fn rate_limit(&self) -> Result<RateLimits, ApiError> {
        Ok(self.read("/rate_limit").await?.value)
    }
}

fn contents(full_name: &str, path: &str, git_ref: Option<&str>) -> Result<String, ApiError> {
    let repository = RepositoryName::parse(full_name)?.path();
    let path = path.trim_matches('/');
    let inside = if path.is_empty() { String::new() } else { segments(reference(path)?) };
    let query = git_ref.map(|git_ref| format!("?ref={}", segment(git_ref))).unwrap_or_default();
    Ok(format!("{repository}/contents/{inside}{query}"))
}
