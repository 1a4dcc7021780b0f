//! What GitHub refused for good: asked for once, said as long as it holds.
//!
//! Kept in memory: another token or other permissions come with another start, or with other settings.

use std::collections::BTreeMap;

use wfengine_github::ApiError;

/// What was to be done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Deed {
    Dispatch,
    Follow,
    Report,
    Cancel,
    Disable,
}

impl Deed {
    fn words(self) -> &'static str {
        match self {
            Self::Dispatch => "nothing is handed to GitHub",
            Self::Follow => "what was handed to GitHub is not followed",
            Self::Report => "jobs are not shown at GitHub",
            Self::Cancel => "GitHub's own runs are not cancelled",
            Self::Disable => "is not disabled at GitHub",
        }
    }
}

/// How far a refusal reaches that is not about the whole repository; empty: it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Subject<'a> {
    /// What is not there when GitHub says 404.
    pub(super) absent: &'a str,
    /// What is wrong when GitHub says 422.
    pub(super) wrong: &'a str,
}

/// All of them, by repository, deed and subject.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<(String, Deed, String), String>);

impl Refusals {
    /// Why something need not be asked for.
    pub(super) fn of(&self, repository: &str, deed: Deed, subject: Subject<'_>) -> Option<&str> {
        let known = |of: &str| self.0.get(&(repository.to_owned(), deed, of.to_owned()));
        ["", subject.absent, subject.wrong].into_iter().find_map(known).map(String::as_str)
    }

    /// Remembers an error that will be the same next time. Whether it is one.
    pub(super) fn note(
        &mut self,
        repository: &str,
        deed: Deed,
        subject: Subject<'_>,
        error: &ApiError,
    ) -> bool {
        let reach = match error {
            ApiError::NotFound { .. } | ApiError::Gone { .. } => subject.absent,
            ApiError::Unprocessable { .. } | ApiError::Argument { .. } => subject.wrong,
            ApiError::Unauthorised { .. }
            | ApiError::MissingPermission { .. }
            | ApiError::Sso { .. }
            | ApiError::Forbidden { .. }
            | ApiError::Blocked { .. }
            | ApiError::Moved { .. } => "",
            _ => return false,
        };
        self.0.entry((repository.to_owned(), deed, reach.to_owned())).or_insert_with(|| error.to_string());
        true
    }

    /// What is not done, and why, a line each. What concerns one run only is said where it was tried.
    pub(super) fn lines(&self) -> Vec<String> {
        let of_all = self.0.iter().filter(|((_, deed, reach), _)| reach.is_empty() || *deed == Deed::Disable);
        of_all
            .map(|((repository, deed, reach), why)| {
                let slash = if reach.is_empty() { "" } else { "/" };
                format!("{repository}{slash}{reach}: {}: {why}", deed.words())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wfengine_github::Place;

    fn place() -> Place {
        Place { method: "POST", path: "/x".to_owned() }
    }

    #[test]
    fn a_refusal_reaches_as_far_as_it_means() {
        let subject = Subject { absent: "a.yml", wrong: "run" };
        let other = Subject { absent: "b.yml", wrong: "another run" };
        let mut refusals = Refusals::default();
        let absent = ApiError::NotFound { place: place(), needs: None };
        assert!(refusals.note("o/r", Deed::Dispatch, subject, &absent));
        assert!(refusals.of("o/r", Deed::Dispatch, subject).is_some());
        assert!(refusals.of("o/r", Deed::Dispatch, other).is_none(), "another workflow");
        let forbidden = ApiError::Forbidden { place: place(), message: "no".to_owned() };
        assert!(refusals.note("o/r", Deed::Dispatch, subject, &forbidden));
        assert!(refusals.of("o/r", Deed::Dispatch, other).is_some(), "the whole repository");
        assert!(refusals.of("o/r", Deed::Report, other).is_none());
        assert!(refusals.of("o/s", Deed::Dispatch, other).is_none());
        assert_eq!(refusals.lines().len(), 1);
    }

    #[test]
    fn what_may_pass_is_not_remembered() {
        let mut refusals = Refusals::default();
        let whole = Subject { absent: "", wrong: "" };
        for passing in [
            ApiError::Server { place: place(), status: 502, message: String::new() },
            ApiError::Transport { place: place(), problem: String::new(), unsent: true },
            ApiError::Limited {
                place: place(),
                bucket: wfengine_github::Bucket::Core,
                until_s: 1,
                gave_up: false,
            },
            ApiError::Conflict { place: place(), message: String::new() },
        ] {
            assert!(!refusals.note("o/r", Deed::Report, whole, &passing), "{passing}");
        }
        assert!(refusals.of("o/r", Deed::Report, whole).is_none());
    }
}
