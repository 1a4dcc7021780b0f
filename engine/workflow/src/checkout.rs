//! `uses: actions/checkout@…`: the one action that runs without its own code, for nearly every workflow begins with it.
//!
//! Here stands which step is one, what its inputs say and which of them this version refuses; what a checkout does to a
//! folder is the executor's. Inputs are read as the action reads them: names without regard to case, values trimmed, an
//! empty value as if it was not given.
//!
//! Invariants: a token or key that was given is in no answer; a folder lies inside of the workspace; a repository and a ref
//! that are handed on are well formed, so git takes neither for an option nor for more than one ref.

mod given;
mod names;

use std::num::NonZeroU32;

use crate::{
    diagnostic::Position,
    expression::{Contexts, Value},
    model::{Step, StepAction, Word},
    template::{RenderError, Tree},
};

pub use names::is_commit_id;

use given::{Given, check};
use names::{folder_within, is_ref, is_repository};

const ACTION: &str = "actions/checkout";

/// A step that checks out a repository, as written.
#[derive(Debug, Clone, Copy)]
pub struct Checkout<'w> {
    action: &'w Word,
    with: Option<&'w Tree>,
}

/// Which commit of a repository is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// This commit.
    Commit {
        /// Its id: 40 or 64 hexadecimal digits in lower case.
        id: String,
        /// The full ref that the run has it from, such as `refs/heads/main`; empty if there is none.
        git_ref: String,
    },
    /// Whatever a branch, a tag or a full ref is at.
    Ref(String),
    /// The tip of the repository's default branch.
    DefaultBranch,
}

/// What a checkout is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutInputs {
    /// `owner/name`; empty when neither the step nor the run names one.
    pub repository: String,
    /// The address that `origin` gets.
    pub remote: String,
    /// Which commit; `None` when it is the run's own and the run names none.
    pub revision: Option<Revision>,
    /// Whether repository and revision are those of the run.
    pub is_own: bool,
    /// The commit that the run names; may be empty.
    pub run_commit: String,
    /// Where in the workspace: parts with `/` between them, empty for the workspace itself.
    pub folder: String,
    /// How many commits of the history; `None` for all.
    pub depth: Option<NonZeroU32>,
    /// Whether tags are wanted too.
    pub tags: bool,
    /// Whether what is already in the folder goes.
    pub clean: bool,
    /// The inputs that were given, for the log.
    pub shown: Vec<(String, String)>,
}

/// Why a checkout cannot be done as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckoutError {
    /// An expression in an input failed.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// An input that this version does not obey.
    #[error("the input '{input}': {why}")]
    Refused {
        /// The input.
        input: String,
        /// Why, and what to do.
        why: String,
    },
    /// Not `owner/name`.
    #[error("the input 'repository' is '{0}': write owner/name")]
    Repository(String),
    /// No name of a branch, tag or ref.
    #[error("the input 'ref' is '{0}', which git does not take for the name of a branch, a tag or a commit")]
    Ref(String),
    /// Not inside of the workspace.
    #[error(
        "the input 'path' is '{0}': it must lead to a folder inside of the workspace, and into no '.git'"
    )]
    Path(String),
    /// Another server.
    #[error("the input 'github-server-url' is '{given}': this run knows repositories of {own} only")]
    Server {
        /// What was given.
        given: String,
        /// The run's server.
        own: String,
    },
}

/// An input that is refused before anything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) at: Position,
    pub(crate) input: String,
    pub(crate) why: String,
}

impl Step {
    /// The checkout that this step is, if it is one.
    pub fn checkout(&self) -> Option<Checkout<'_>> {
        let StepAction::Uses { action, with } = &self.action else { return None };
        let (name, _) = action.text.split_once('@')?;
        name.eq_ignore_ascii_case(ACTION).then_some(Checkout { action, with: with.as_ref() })
    }
}

impl<'w> Checkout<'w> {
    /// `actions/checkout@…`, as written.
    pub fn action(&self) -> &'w Word {
        self.action
    }

    /// The inputs that are refused whatever the contexts are.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        let mut found = Vec::new();
        for (name, value) in self.with.map(Tree::entries).unwrap_or_default() {
            let Some(input) = name.as_literal().map(Value::to_text) else { continue };
            let value = match value {
                Tree::Scalar(template) => template.as_literal().map(Value::to_text),
                Tree::Sequence(..) | Tree::Mapping(..) => None,
            };
            if let Err(why) = check(&input, value.as_deref()) {
                found.push(Refusal { at: name.at(), input, why });
            }
        }
        found
    }

    /// What it is to do under the contexts of its step, which know `github.workspace`.
    pub fn inputs(&self, contexts: &Contexts) -> Result<CheckoutInputs, CheckoutError> {
        let given = Given::read(self.with, contexts)?;
        let github = contexts.value("github").cloned().unwrap_or_default();
        let github = |field: &str| github.field(field).to_text();
        let own_server = github("server_url");
        let server = given.text("github-server-url");
        let same = |server: &str| server.trim_end_matches('/').to_ascii_lowercase();
        if !server.is_empty() && same(server) != same(&own_server) {
            return Err(CheckoutError::Server { given: server.to_owned(), own: own_server });
        }
        let own = github("repository");
        let named = given.text("repository");
        if !named.is_empty() && !is_repository(named) {
            return Err(CheckoutError::Repository(named.to_owned()));
        }
        let is_own_repository = named.is_empty() || named.eq_ignore_ascii_case(&own);
        let repository = match is_own_repository {
            true if is_repository(&own) => own,
            true => String::new(),
            false => named.to_owned(),
        };
        let (sha, git_ref) = (github("sha"), github("ref"));
        let wanted = given.text("ref");
        let is_own_ref = wanted.is_empty()
            || wanted == git_ref
            || wanted == github("ref_name")
            || wanted.eq_ignore_ascii_case(&sha);
        let path = given.text("path");
        let folder =
            folder_within(&github("workspace"), path).ok_or_else(|| CheckoutError::Path(path.to_owned()))?;
        Ok(CheckoutInputs {
            remote: format!("{}/{repository}", own_server.trim_end_matches('/')),
            repository,
            revision: revision(wanted, is_own_repository, &sha, &git_ref)?,
            is_own: is_own_repository && is_own_ref,
            run_commit: sha,
            folder,
            depth: depth(given.text("fetch-depth")),
            tags: given.is("fetch-tags", false),
            clean: given.is("clean", true),
            shown: given.shown(),
        })
    }
}

fn revision(
    wanted: &str,
    is_own_repository: bool,
    sha: &str,
    git_ref: &str,
) -> Result<Option<Revision>, CheckoutError> {
    let commit = |id: &str, git_ref: String| Revision::Commit { id: id.to_ascii_lowercase(), git_ref };
    if wanted.is_empty() {
        // some events name a branch without saying that it is one
        let full = match git_ref {
            name if name.is_empty() || name.starts_with("refs/") => name.to_owned(),
            name => format!("refs/heads/{name}"),
        };
        let full = if is_ref(&full) { full } else { String::new() };
        return Ok(match is_own_repository {
            true => is_commit_id(sha).then(|| commit(sha, full)),
            false => Some(Revision::DefaultBranch),
        });
    }
    if is_commit_id(wanted) {
        return Ok(Some(commit(wanted, String::new())));
    }
    match is_ref(wanted) {
        true => Ok(Some(Revision::Ref(wanted.to_owned()))),
        false => Err(CheckoutError::Ref(wanted.to_owned())),
    }
}

/// The whole number in it; nothing that can be read as one above 0 means all of the history.
fn depth(text: &str) -> Option<NonZeroU32> {
    let number = if text.is_empty() { 1.0 } else { Value::text(text).to_number() };
    if number.is_nan() || number < 1.0 {
        return None;
    }
    // the whole number below it, or the greatest there is
    NonZeroU32::new(number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Workflow;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    fn workflow(with: &str) -> Workflow {
        let text = format!(
            "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - uses: Actions/Checkout@v4\n      with: {{{with}}}\n"
        );
        Workflow::read(text.as_bytes(), "f.yml").unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    fn contexts() -> Contexts {
        let mut contexts = Contexts::new();
        let github = format!(
            r#"{{"repository":"o/r","sha":"{SHA}","ref":"refs/heads/main","ref_name":"main","workspace":"/w/s","server_url":"https://github.com"}}"#
        );
        contexts.set("github", Value::from_json(&github).unwrap());
        contexts.set_env([("SUB", "true"), ("NAME", "sub/dir")]);
        contexts
    }

    fn under(contexts: &Contexts, with: &str) -> Result<CheckoutInputs, CheckoutError> {
        workflow(with).jobs[0].steps[0].checkout().unwrap().inputs(contexts)
    }

    fn inputs(with: &str) -> CheckoutInputs {
        under(&contexts(), with).unwrap_or_else(|error| panic!("{with}: {error}"))
    }

    fn own() -> Option<Revision> {
        Some(Revision::Commit { id: SHA.to_owned(), git_ref: "refs/heads/main".to_owned() })
    }

    #[test]
    fn only_the_checkout_is_recognised() {
        let steps = ["actions/checkout@v4", "ACTIONS/checkout@0123", "actions/checkout@feature/x"];
        let others =
            ["actions/checkout/sub@v4", "actions/cache@v4", "./actions/checkout", "other/checkout@v4"];
        for (uses, is_one) in steps.iter().map(|s| (s, true)).chain(others.iter().map(|s| (s, false))) {
            let text =
                format!("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - {{uses: '{uses}'}}\n");
            let workflow = Workflow::read(text.as_bytes(), "f.yml").unwrap();
            assert_eq!(workflow.jobs[0].steps[0].checkout().is_some(), is_one, "{uses}");
            assert_eq!(workflow.unsupported().is_empty(), is_one, "{uses}");
        }
    }

    #[test]
    fn nothing_given_means_the_commit_of_the_run() {
        let inputs = inputs("");
        assert_eq!((inputs.repository.as_str(), inputs.folder.as_str()), ("o/r", ""));
        assert_eq!(inputs.remote, "https://github.com/o/r");
        assert_eq!(inputs.revision, own());
        assert!(inputs.is_own && inputs.clean && !inputs.tags && inputs.shown.is_empty());
        assert_eq!(inputs.depth, NonZeroU32::new(1));
    }

    #[test]
    fn names_of_inputs_have_no_case_and_empty_values_count_for_nothing() {
        let inputs =
            inputs("Repository: '', REF: ' ', Path: ./sub/, FETCH-Depth: 2, clean: FALSE, fetch-tags: true");
        assert_eq!((inputs.revision, inputs.folder.as_str()), (own(), "sub"));
        assert_eq!((inputs.depth, inputs.clean, inputs.tags), (NonZeroU32::new(2), false, true));
        assert!(inputs.is_own, "a path changes nothing about that");
    }

    #[test]
    fn what_is_the_runs_own_is_recognised_in_each_spelling() {
        for with in [
            "ref: main",
            "ref: refs/heads/main",
            "ref: '${{ github.sha }}'",
            "repository: O/R",
            "repository: '${{ github.repository }}', ref: '${{ github.head_ref }}'",
        ] {
            assert!(inputs(with).is_own, "{with}");
        }
        for with in ["ref: dev", "repository: a/b", "repository: a/b, ref: main", "ref: v1"] {
            assert!(!inputs(with).is_own, "{with}");
        }
        assert_eq!(inputs("repository: O/R").repository, "o/r");
    }

    #[test]
    fn a_ref_is_a_commit_a_name_or_the_default_branch() {
        let named = |name: &str| Some(Revision::Ref(name.to_owned()));
        assert_eq!(inputs("ref: refs/tags/v1").revision, named("refs/tags/v1"));
        assert_eq!(inputs("ref: main").revision, named("main"));
        assert_eq!(inputs("repository: a/b").revision, Some(Revision::DefaultBranch));
        let upper = SHA.to_uppercase();
        assert_eq!(
            inputs(&format!("repository: a/b, ref: {upper}")).revision,
            Some(Revision::Commit { id: SHA.to_owned(), git_ref: String::new() })
        );
        for bad in ["-x", "a..b", "a b:c"] {
            let error = under(&contexts(), &format!("ref: '{bad}'")).unwrap_err();
            assert_eq!(error, CheckoutError::Ref(bad.to_owned()));
        }
    }

    #[test]
    fn a_run_without_a_commit_has_no_revision_of_its_own() {
        let mut contexts = contexts();
        contexts.set_field("github", "sha", "");
        assert_eq!(under(&contexts, "").unwrap().revision, None);
        contexts.set_field("github", "repository", "~me/not a name");
        let inputs = under(&contexts, "").unwrap();
        assert!(inputs.repository.is_empty() && inputs.is_own);
    }

    #[test]
    fn an_event_may_name_its_branch_without_a_prefix() {
        let mut contexts = contexts();
        contexts.set_field("github", "ref", "main");
        assert_eq!(under(&contexts, "").unwrap().revision, own());
        contexts.set_field("github", "ref", "not a ref");
        let bare = Revision::Commit { id: SHA.to_owned(), git_ref: String::new() };
        assert_eq!(under(&contexts, "").unwrap().revision, Some(bare));
    }

    #[test]
    fn a_path_stays_inside_of_the_workspace() {
        for (path, folder) in [
            ("", ""),
            (".", ""),
            ("a/../b/./c/", "b/c"),
            ("${{ github.workspace }}", ""),
            ("${{ github.workspace }}/x", "x"),
            ("${{ env.NAME }}", "sub/dir"),
            ("-x", "-x"),
        ] {
            assert_eq!(inputs(&format!("path: '{path}'")).folder, folder, "{path}");
        }
        for path in ["..", "a/../..", "/etc", "/w/sx", "/w/s/../x", ".git/hooks", "a/.GIT", "\"a\\nb\""] {
            let quoted = if path.starts_with('"') { path.to_owned() } else { format!("'{path}'") };
            let found = under(&contexts(), &format!("path: {quoted}"));
            assert!(matches!(found, Err(CheckoutError::Path(_))), "{path}: {found:?}");
        }
    }

    #[test]
    fn a_depth_that_is_no_number_means_everything() {
        for (text, expected) in
            [("0", 0), ("-1", 0), ("all", 0), ("1", 1), ("3.9", 3), ("2147483647", i32::MAX.unsigned_abs())]
        {
            assert_eq!(depth(text), NonZeroU32::new(expected), "{text}");
        }
        assert_eq!(depth("1e99"), NonZeroU32::new(u32::MAX));
    }

    #[test]
    fn repositories_are_owner_and_name() {
        for bad in ["a", "a/b/c", "a/..", "-a/b", "a b/c", "/b", "https://x/a/b"] {
            let error = under(&contexts(), &format!("repository: '{bad}'")).unwrap_err();
            assert_eq!(error, CheckoutError::Repository(bad.to_owned()));
        }
    }

    #[test]
    fn another_server_is_refused_and_the_own_one_is_not() {
        assert!(under(&contexts(), "github-server-url: https://GitHub.com/").is_ok());
        let error = under(&contexts(), "github-server-url: https://git.example").unwrap_err().to_string();
        assert!(error.contains("https://git.example") && error.contains("https://github.com"), "{error}");
    }

    #[test]
    fn no_token_is_shown() {
        let shown = inputs("token: very-secret, persist-credentials: true, path: a").shown;
        let text = format!("{shown:?}");
        assert!(!text.contains("very-secret") && text.contains("***"), "{text}");
        assert_eq!(shown.len(), 3);
    }

    #[test]
    fn what_is_not_obeyed_is_refused_by_name_before_anything_runs() {
        for (with, key) in [
            ("submodules: recursive", "submodules"),
            ("submodules: true", "submodules"),
            ("lfs: 'TRUE'", "lfs"),
            ("sparse-checkout: src", "sparse-checkout"),
            ("sparse-checkout-cone-mode: false", "sparse-checkout-cone-mode"),
            ("filter: 'blob:none'", "filter"),
            ("ssh-key: x", "ssh-key"),
            ("ssh-strict: false", "ssh-strict"),
            ("pth: x", "pth"),
        ] {
            let found = workflow(with).unsupported();
            assert_eq!(found.len(), 1, "{with}: {found:?}");
            assert_eq!((found[0].line, found[0].key.as_str()), (7, &*format!("jobs.a.steps[0].with.{key}")));
        }
        assert!(workflow("pth: x").unsupported()[0].why.contains("did you mean 'path'?"));
        let all = "submodules: 'no', lfs: false, filter: null, sparse-checkout-cone-mode: true, ssh-user: git, ssh-strict: true, show-progress: false, set-safe-directory: true, allow-unsafe-pr-checkout: true, token: x";
        assert!(workflow(all).unsupported().is_empty());
        assert!(under(&contexts(), all).is_ok());
    }

    #[test]
    fn what_an_expression_asks_for_is_refused_when_it_is_known() {
        let with = "submodules: '${{ env.SUB }}'";
        assert!(workflow(with).unsupported().is_empty());
        let error = under(&contexts(), with).unwrap_err();
        assert!(error.to_string().starts_with("the input 'submodules': "), "{error}");
        assert!(under(&contexts(), "submodules: '${{ env.NONE }}', ssh-key: '${{ env.NONE }}'").is_ok());
        let error = under(&contexts(), "ref: \"${{ fromJSON('{') }}\"").unwrap_err();
        assert!(matches!(error, CheckoutError::Render(_)), "{error}");
    }

    #[test]
    fn a_checkout_needs_git() {
        assert_eq!(workflow("").required_programs()[0].program, "git");
    }
}
