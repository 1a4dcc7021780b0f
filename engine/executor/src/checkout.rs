//! What a checkout does: a folder, a repository in it, the objects that [`Sources`] brings, and the commit put into place.
//!
//! In a folder that was lent (`wfengine run`) the run's own repository is there already, and nothing is done. Else git runs
//! as [`Repository`] has it: without the host's configuration, without hooks, without another host. Nothing of a token is
//! used or left behind.
//!
//! Invariants: what is checked out is the commit that was asked for, or nothing; nothing outside of the workspace is
//! touched, and nothing is removed from a folder that was lent. Dropping the future ends git.

mod target;

use std::{fs, io};

use wfengine_git::{Git, GitError, Repository};
use wfengine_workflow::{CheckoutInputs, Revision, checkout::is_commit_id};

use crate::sources::{Fetched, Sources, SourcesError, Wanted};

pub(crate) use target::Ground;
use target::{TargetError, clear, holds_repository, is_empty};

/// What is said instead of a checkout of the run's own repository in a folder that was lent.
const NOTHING_CHECKED_OUT: &str = "the workspace is the folder you started from; nothing was checked out";
/// In `.git` of a checkout that was made in a folder of somebody else's: repository and commit.
const MARK: &str = "wfengine-checkout";
/// Digits of a commit's id that people see.
const SHORT: usize = 7;

/// Why a step has not checked out what it was to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckoutFailure {
    /// Nobody said which commit of which repository.
    #[error(
        "the run names no {missing}: it was submitted from a folder that is no checkout of a repository, or one without a commit or an `origin`; submit it from such a checkout, or write {remedy} under `with`"
    )]
    Unnamed { missing: &'static str, remedy: &'static str },
    /// Somebody's own folder would be overwritten.
    #[error(
        "the workspace is the folder you started from: {wanted} is not put over it; give the checkout a `path`, or skip the step here with `if: vars.WFENGINE != 'true'`"
    )]
    OwnFolder { wanted: String },
    /// Somebody's own folder is in the way.
    #[error(
        "{folder} holds something else than an unchanged checkout of {repository}, and nothing is removed from the folder you started from: move it away, or give the checkout another `path`"
    )]
    NotEmpty { folder: String, repository: String },
    /// Nobody here brings commits.
    #[error("no source of {wanted} is known here: {remedy}")]
    NoSources { wanted: String, remedy: &'static str },
    /// The program is missing.
    #[error("`git` is not on this host (looked in PATH: {search_path}); install it")]
    NoGit { search_path: String },
    /// The source brought something else.
    #[error("the source of {repository} brought {brought} and not {wanted}")]
    Other { repository: String, brought: String, wanted: String },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Sources(#[from] SourcesError),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("the checkout cannot be marked as one that may be used again: {source}")]
    Mark { source: io::Error },
}

/// What a checkout leaves to later steps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CheckedOut {
    /// The ref that was meant; empty when a commit was.
    pub(crate) git_ref: String,
    pub(crate) commit: String,
}

/// What a checkout works with.
pub(crate) struct Tools<'a> {
    pub(crate) ground: Ground<'a>,
    pub(crate) git: Option<Git>,
    pub(crate) search_path: &'a str,
    pub(crate) sources: Option<&'a dyn Sources>,
}

/// Does what the inputs say; `say` takes lines for the log.
pub(crate) async fn check_out(
    inputs: &CheckoutInputs,
    tools: Tools<'_>,
    say: &mut (dyn FnMut(&str) + Send),
) -> Result<CheckedOut, CheckoutFailure> {
    let Tools { ground, git, search_path, sources } = tools;
    if ground.is_lent && inputs.is_own && inputs.folder.is_empty() {
        say(NOTHING_CHECKED_OUT);
        let git_ref = inputs.revision.as_ref().map(asked_ref).unwrap_or_default().to_owned();
        return Ok(CheckedOut { git_ref, commit: inputs.run_commit.clone() });
    }
    let revision = match (&inputs.revision, inputs.repository.is_empty()) {
        (Some(revision), false) => revision.clone(),
        (_, true) => {
            return Err(CheckoutFailure::Unnamed { missing: "repository", remedy: "`repository` and `ref`" });
        }
        (None, false) => return Err(CheckoutFailure::Unnamed { missing: "commit", remedy: "`ref`" }),
    };
    let wanted = format!("{} at {}", inputs.repository, shown(&revision));
    if ground.is_lent && inputs.folder.is_empty() {
        return Err(CheckoutFailure::OwnFolder { wanted });
    }
    let sources = sources.ok_or_else(|| CheckoutFailure::NoSources {
        wanted: wanted.clone(),
        remedy: match (ground.is_lent, inputs.is_own) {
            (true, _) => "clone it there yourself and skip the step here with `if: vars.WFENGINE != 'true'`",
            (false, true) => "execute the workflow in a checkout of yours with `wfengine run`",
            (false, false) => "this host brings no commits but those that come with a run",
        },
    })?;
    let git = git.ok_or_else(|| CheckoutFailure::NoGit { search_path: search_path.to_owned() })?;
    let into = if inputs.folder.is_empty() { String::new() } else { format!(" into {}", inputs.folder) };
    say(&format!("Checking out {wanted}{into}"));
    let place = Place { inputs, revision, is_lent: ground.is_lent };
    let repository = place.repository(git, &ground, say).await?;
    let wanted = Wanted {
        repository: inputs.repository.clone(),
        revision: place.revision.clone(),
        depth: inputs.depth,
        tags: inputs.tags,
    };
    let fetched = sources.fetch(&wanted, &repository).await?;
    if let Some(note) = &fetched.note {
        say(note);
    }
    let checked_out = place.put(&repository, fetched).await?;
    let subject = repository.ask(&["show", "--no-patch", "--format=%s", "HEAD"]).await?;
    say(&format!(
        "HEAD is now at {} {}",
        short(&checked_out.commit),
        subject.lines().next().unwrap_or_default()
    ));
    place.say_depth(&repository, say).await?;
    Ok(checked_out)
}

fn asked_ref(revision: &Revision) -> &str {
    match revision {
        Revision::Commit { git_ref, .. } => git_ref,
        Revision::Ref(name) => name,
        Revision::DefaultBranch => "",
    }
}

fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

fn shown(revision: &Revision) -> String {
    match revision {
        Revision::Commit { id, git_ref } if git_ref.is_empty() => short(id).to_owned(),
        Revision::Commit { id, git_ref } => format!("{} ({git_ref})", short(id)),
        Revision::Ref(name) => name.clone(),
        Revision::DefaultBranch => "its default branch".to_owned(),
    }
}

/// One checkout on its way.
struct Place<'a> {
    inputs: &'a CheckoutInputs,
    revision: Revision,
    is_lent: bool,
}

impl Place<'_> {
    /// The repository into which objects are to be brought: new, or that of an earlier checkout.
    async fn repository(
        &self,
        git: Git,
        ground: &Ground<'_>,
        say: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Repository, CheckoutFailure> {
        let folder = ground.folder(&self.inputs.folder)?;
        let repository = Repository::checkout(&git, &folder);
        if !is_empty(&folder)? {
            if self.is_kept(&repository).await {
                for lock in ["index.lock", "shallow.lock"] {
                    // left by a checkout that was ended; mostly there is none
                    let _ = fs::remove_file(repository.git_folder().join(lock));
                }
                return Ok(repository);
            }
            if self.is_lent {
                let folder = self.inputs.folder.clone();
                return Err(CheckoutFailure::NotEmpty { folder, repository: self.inputs.repository.clone() });
            }
            say(&format!("Removing what is in {}", folder.display()));
            clear(&folder)?;
        }
        let mut init = vec!["init", "--quiet", "--template="];
        if matches!(&self.revision, Revision::Commit { id, .. } if id.len() == 64) {
            init.push("--object-format=sha256");
        }
        repository.run(&init).await?;
        repository.run(&["remote", "add", "origin", &self.inputs.remote]).await?;
        Ok(repository)
    }

    /// Whether what is in the folder stays: where the job may not remove anything, an unchanged checkout that was made here
    /// before; else a checkout of the same repository that is not to be cleaned.
    async fn is_kept(&self, repository: &Repository) -> bool {
        if !holds_repository(repository.folder()) {
            return false;
        }
        if !self.is_lent {
            let remote = repository.ask(&["config", "--local", "--get", "remote.origin.url"]).await;
            return !self.inputs.clean && remote.is_ok_and(|remote| remote == self.inputs.remote);
        }
        let mark = fs::read_to_string(repository.git_folder().join(MARK)).unwrap_or_default();
        let Some((name, commit)) = mark.trim().split_once(' ') else { return false };
        let is_at = repository.ask(&["rev-parse", "HEAD"]).await.is_ok_and(|head| head == commit);
        let is_unchanged = repository.ask(&["status", "--porcelain"]).await.is_ok_and(|text| text.is_empty());
        name == self.inputs.repository && is_at && is_unchanged
    }

    /// Puts the commit into place: on a local branch if it is the tip of one.
    async fn put(&self, repository: &Repository, fetched: Fetched) -> Result<CheckedOut, CheckoutFailure> {
        let commit = self.verified(repository, &fetched.commit).await?;
        let git_ref = match &self.revision {
            Revision::Commit { git_ref, .. } => git_ref,
            Revision::Ref(_) | Revision::DefaultBranch => &fetched.git_ref,
        };
        if let Some(branch) = git_ref.strip_prefix("refs/heads/") {
            let tracked = format!("refs/remotes/origin/{branch}");
            repository.run(&["update-ref", &tracked, &commit]).await?;
            repository.run(&["checkout", "--quiet", "--force", "-B", branch, &tracked]).await?;
        } else {
            if let Some(local) = local_ref(git_ref)
                && repository.run(&["show-ref", "--verify", "--quiet", &local]).await.is_err()
            {
                repository.run(&["update-ref", &local, &commit]).await?;
            }
            repository.run(&["checkout", "--quiet", "--force", "--detach", &commit]).await?;
        }
        if self.is_lent {
            let mark = format!("{} {commit}\n", self.inputs.repository);
            fs::write(repository.git_folder().join(MARK), mark)
                .map_err(|source| CheckoutFailure::Mark { source })?;
        }
        let asked = asked_ref(&self.revision).to_owned();
        Ok(CheckedOut { git_ref: if asked.is_empty() { fetched.git_ref } else { asked }, commit })
    }

    /// The commit that was brought, if it is the one that was asked for and is there.
    async fn verified(&self, repository: &Repository, brought: &str) -> Result<String, CheckoutFailure> {
        let commit = brought.to_ascii_lowercase();
        let other = |brought: String| CheckoutFailure::Other {
            repository: self.inputs.repository.clone(),
            brought,
            wanted: shown(&self.revision),
        };
        let is_asked_for = !matches!(&self.revision, Revision::Commit { id, .. } if *id != commit);
        if !is_commit_id(&commit) || !is_asked_for {
            return Err(other(format!("'{brought}'")));
        }
        let is_there = repository.run(&["cat-file", "-e", &format!("{commit}^{{commit}}")]).await;
        is_there.map(|_| commit).map_err(|_| other("no such commit".to_owned()))
    }

    /// Says it when there is less of the history than was asked for.
    async fn say_depth(
        &self,
        repository: &Repository,
        say: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), CheckoutFailure> {
        let wanted = self.inputs.depth.map_or(u64::MAX, |depth| u64::from(depth.get()));
        let is_cut = fs::metadata(repository.git_folder().join("shallow")).is_ok_and(|file| file.len() > 0);
        if wanted == 1 || !is_cut {
            return Ok(());
        }
        let there: u64 = repository.ask(&["rev-list", "--count", "HEAD"]).await?.parse().unwrap_or(1);
        if there < wanted {
            let asked = self.inputs.depth.map_or_else(|| "all of them".to_owned(), |depth| depth.to_string());
            let commits = if there == 1 { "only one commit is" } else { "only some commits are" };
            say(&format!(
                "##[warning]`fetch-depth` asks for {asked}, but {commits} there ({there}): the source of this run brings no more."
            ));
        }
        Ok(())
    }
}

/// The name under which the action keeps a ref that is no branch.
fn local_ref(git_ref: &str) -> Option<String> {
    match git_ref.strip_prefix("refs/pull/") {
        Some(pull) => Some(format!("refs/remotes/pull/{pull}")),
        None => git_ref.starts_with("refs/tags/").then(|| git_ref.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_that_are_no_branches_are_kept_where_the_action_keeps_them() {
        assert_eq!(local_ref("refs/pull/7/merge").as_deref(), Some("refs/remotes/pull/7/merge"));
        assert_eq!(local_ref("refs/tags/v1").as_deref(), Some("refs/tags/v1"));
        assert_eq!(local_ref("refs/notes/x"), None);
        assert_eq!(local_ref(""), None);
    }
}
