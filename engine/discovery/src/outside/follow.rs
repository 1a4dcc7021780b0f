//! What became of runs that were handed to GitHub.
//!
//! A run there is taken as ours when GitHub named it to us, or when it is the only one that can be; and only of the commit that was
//! found.

use std::collections::BTreeSet;

use wfengine_core::command::Command;
use wfengine_core::views::run::{Dispatch, Run};
use wfengine_github::ApiError;
use wfengine_github::models::{Conclusion as Ended, Progress, WorkflowRun};
use wfengine_github::rest::RunsWanted;
use wfengine_storage_format::{Conclusion, DispatchFollowed, EffectOutcome, PeerId, TriggerFired};

use super::fallback::is_another;
use super::refusals::Deed;
use super::{Outside, file_name, short_name};
use crate::due::cut;
use crate::host::Host;

/// The clocks of GitHub and of this host may differ by so much.
const CLOCKS_DIFFER_S: u64 = 120;
/// GitHub may not show a run at once that it began.
const SHOWN_AFTER_MS: u64 = 120_000;
/// What GitHub does not show for so long after the intent, it does not have.
const LOST_AFTER_MS: u64 = 600_000;

/// The run at GitHub that a hand-over started, where GitHub did not say.
#[derive(Debug)]
enum Found {
    One(Box<WorkflowRun>),
    /// None, as far as GitHub lists them.
    Nothing {
        /// The list was whole.
        is_certain: bool,
    },
    Several(usize),
}

impl<H: Host> Outside<H> {
    /// Writes down what GitHub shows of the runs that this node handed over, of some repositories or of all. Says what is wrong, a
    /// line each.
    pub async fn follow(&mut self, repositories: Option<&BTreeSet<String>>) -> Vec<String> {
        let own = self.host.peer();
        let mut said = Vec::new();
        for (run, trigger) in self.own_runs(|run| run.dispatches.iter().any(|known| is_open(known, own))) {
            let is_asked = repositories.is_none_or(|names| names.contains(&trigger.repository.name));
            if !is_asked || self.rests(run.id, Deed::Follow) {
                continue;
            }
            for dispatch in run.dispatches.iter().filter(|known| is_open(known, own)) {
                let followed = self.follow_one(&run, dispatch, &trigger).await;
                self.note(run.id, Deed::Follow, &followed);
                if let Err(why) = followed {
                    said.push(format!("run {}: {why}", run.id.short()));
                }
            }
        }
        said
    }

    /// Whether a run at GitHub may be one that this node follows.
    pub fn may_follow(&self, repository: &str, github_run: Option<u64>) -> bool {
        let own = self.host.peer();
        let views = self.host.watcher().views();
        let of_it =
            |run: &&Run| run.trigger.as_ref().is_some_and(|trigger| trigger.repository.name == repository);
        let open = |run: &Run| {
            run.dispatches.iter().any(|known| {
                let is_other = id_of(known).zip(github_run).is_some_and(|(known, seen)| known != seen);
                is_open(known, own) && !is_other
            })
        };
        views.runs().all_live().filter(of_it).any(open)
    }

    async fn follow_one(
        &mut self,
        run: &Run,
        dispatch: &Dispatch,
        trigger: &TriggerFired,
    ) -> Result<(), String> {
        if dispatch.outcome.is_none() {
            // nothing is followed while something is handed over, so an earlier process began it
            let why = "this node stopped before it heard from GitHub".to_owned();
            self.conclude(run.id, dispatch.intent, EffectOutcome::Unknown(why)).await?;
        }
        let Some(id) = id_of(dispatch) else { return self.look_for(run, dispatch, trigger).await };
        match self.connection.client.workflow_run(&trigger.repository.name, id).await {
            Ok(seen) => self.write_down(run, dispatch, trigger, &seen.value).await,
            Err(error) if error.is_not_found() => self.is_gone(run, dispatch, trigger, id, error).await,
            Err(error) => Err(error.to_string()),
        }
    }

    async fn write_down(
        &self,
        run: &Run,
        dispatch: &Dispatch,
        trigger: &TriggerFired,
        seen: &WorkflowRun,
    ) -> Result<(), String> {
        let id = seen.id.to_string();
        let name = &trigger.repository.name;
        let url = seen.html_url.clone().unwrap_or_else(|| self.run_url(name, &id));
        if is_another(seen, trigger) {
            let why = self.stop_another(name, seen.id).await;
            // what it says is of another commit
            self.write(run, dispatch, id, url, Some(Conclusion::Cancelled)).await?;
            return Err(why);
        }
        let conclusion = conclusion(seen);
        let began = seen.status.as_ref().is_some_and(|status| *status == Progress::InProgress);
        if conclusion.is_none() && !(began && dispatch.seen.is_none()) {
            return Ok(());
        }
        self.write(run, dispatch, id, url, conclusion).await
    }

    async fn write(
        &self,
        run: &Run,
        dispatch: &Dispatch,
        id: String,
        url: String,
        conclusion: Option<Conclusion>,
    ) -> Result<(), String> {
        let (intent, url) = (dispatch.intent, cut(&url, 1_000));
        let body = DispatchFollowed { run: run.id, intent, id, url, conclusion };
        self.host.ask(Command::Follow(body)).await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Somebody deleted the run there, unless it is not shown yet or the whole repository is out of sight.
    async fn is_gone(
        &self,
        run: &Run,
        dispatch: &Dispatch,
        trigger: &TriggerFired,
        id: u64,
        error: ApiError,
    ) -> Result<(), String> {
        if dispatch.seen.is_none() && self.age_ms(dispatch) < SHOWN_AFTER_MS {
            return Ok(());
        }
        let name = &trigger.repository.name;
        self.connection.client.repository(name).await.map_err(|_| error.to_string())?;
        let id = id.to_string();
        let url = self.run_url(name, &id);
        self.write(run, dispatch, id, url.clone(), Some(Conclusion::Cancelled)).await?;
        Err(format!("{url} is gone: somebody deleted it at GitHub"))
    }

    fn age_ms(&self, dispatch: &Dispatch) -> u64 {
        self.host.wall_ms().saturating_sub(dispatch.time_ms)
    }

    /// Looks for a run that GitHub did not name.
    async fn look_for(
        &mut self,
        run: &Run,
        dispatch: &Dispatch,
        trigger: &TriggerFired,
    ) -> Result<(), String> {
        match self.find(dispatch, trigger).await.map_err(|error| error.to_string())? {
            Found::One(seen) => {
                let id = seen.id.to_string();
                let url = self.run_url(&trigger.repository.name, &id);
                self.conclude(run.id, dispatch.intent, EffectOutcome::Done { id, url }).await?;
                self.write_down(run, dispatch, trigger, &seen).await
            }
            Found::Several(count) => Err(format!(
                "GitHub has {count} runs of it, and which of them this node started is not known: look at {} there",
                trigger.path
            )),
            Found::Nothing { is_certain } if is_certain && self.age_ms(dispatch) >= LOST_AFTER_MS => {
                let minutes = LOST_AFTER_MS / 60_000;
                let why = format!("GitHub does not show it {minutes} minutes later");
                self.conclude(run.id, dispatch.intent, EffectOutcome::Refused(why)).await
            }
            Found::Nothing { .. } => Ok(()),
        }
    }

    async fn find(&self, dispatch: &Dispatch, trigger: &TriggerFired) -> Result<Found, ApiError> {
        let wanted = RunsWanted {
            workflow: Some(file_name(&trigger.path).to_owned()),
            event: Some(DISPATCHED.to_owned()),
            head_sha: Some(trigger.sha.clone()),
            branch: Some(short_name(&trigger.git_ref).to_owned()),
            ..RunsWanted::default()
        };
        let client = &self.connection.client;
        let listing = client.workflow_runs(&trigger.repository.name, &wanted).await?;
        // by GitHub's clock, which that answer told: the one of this host may be hours off
        let since_s = client.server_s().saturating_sub(self.age_ms(dispatch) / 1_000 + CLOCKS_DIFFER_S);
        let taken: BTreeSet<u64> = {
            let views = self.host.watcher().views();
            views.runs().all_live().flat_map(|run| &run.dispatches).filter_map(id_of).collect()
        };
        Ok(pick(listing.items, trigger, &taken, since_s, !listing.is_cut && !listing.is_stale))
    }
}

/// What starts a run there that is handed over.
const DISPATCHED: &str = "workflow_dispatch";

/// Whether a hand-over is this member's to follow.
fn is_open(dispatch: &Dispatch, own: PeerId) -> bool {
    dispatch.author == own && dispatch.stands() && dispatch.conclusion().is_none()
}

/// The run at GitHub, as far as somebody knows it.
fn id_of(dispatch: &Dispatch) -> Option<u64> {
    match (&dispatch.seen, &dispatch.outcome) {
        (Some((id, _, _)), _) | (None, Some(EffectOutcome::Done { id, .. })) => id.parse().ok(),
        _ => None,
    }
}

/// Which of the runs that GitHub lists can be the one: of our commit and branch, dispatched, and not another run's. GitHub's filters
/// are asked for and not relied on. One that seems to be from before the hand-over is not ours, but makes it uncertain that none is.
fn pick(
    listed: Vec<WorkflowRun>,
    trigger: &TriggerFired,
    taken: &BTreeSet<u64>,
    since_s: u64,
    is_certain: bool,
) -> Found {
    let fits = |run: &WorkflowRun| {
        run.head_sha.as_ref() == Some(&trigger.sha)
            && run.event.as_deref().is_none_or(|event| event == DISPATCHED)
            && run.head_branch.as_deref().is_none_or(|branch| branch == short_name(&trigger.git_ref))
            && !taken.contains(&run.id)
    };
    let is_since = |run: &WorkflowRun| {
        let made_s = run.created_at.as_deref().and_then(wfengine_github::dates::rfc3339_s);
        made_s.is_none_or(|made_s| made_s >= since_s)
    };
    let (mut fitting, before): (Vec<WorkflowRun>, Vec<WorkflowRun>) =
        listed.into_iter().filter(fits).partition(is_since);
    match (fitting.len(), fitting.pop()) {
        (1, Some(run)) => Found::One(Box::new(run)),
        (0, _) | (_, None) => Found::Nothing { is_certain: is_certain && before.is_empty() },
        (count, Some(_)) => Found::Several(count),
    }
}

/// How a run at GitHub ended, in our words; `None` while it goes on.
fn conclusion(run: &WorkflowRun) -> Option<Conclusion> {
    if run.status.as_ref().is_some_and(|status| *status != Progress::Completed) {
        return None;
    }
    Some(match run.conclusion.as_ref()? {
        Ended::Success | Ended::Neutral => Conclusion::Success,
        Ended::Skipped => Conclusion::Skipped,
        Ended::Cancelled | Ended::Stale => Conclusion::Cancelled,
        _ => Conclusion::Failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wfengine_storage_format::{RepositoryRef, RunId, Trigger};

    fn trigger() -> TriggerFired {
        TriggerFired {
            run: RunId::from_bytes([1; 32]),
            repository: RepositoryRef { source: "h".into(), id: "1".into(), name: "o/r".into() },
            path: ".github/workflows/a.yml".to_owned(),
            trigger: Trigger::Found,
            git_ref: "refs/heads/main".to_owned(),
            sha: "abc".to_owned(),
            sources: None,
            sources_len: 0,
        }
    }

    fn listed(id: u64, sha: &str, branch: &str, event: &str) -> WorkflowRun {
        serde_json::from_value(
            serde_json::json!({ "id": id, "head_sha": sha, "head_branch": branch, "event": event }),
        )
        .unwrap()
    }

    #[test]
    fn only_a_run_that_can_be_ours_is_taken_as_ours() {
        let ours = || listed(7, "abc", "main", DISPATCHED);
        let foreign = || {
            vec![
                listed(1, "def", "main", DISPATCHED),
                listed(2, "abc", "other", DISPATCHED),
                listed(3, "abc", "main", "push"),
                listed(4, "abc", "main", DISPATCHED),
            ]
        };
        let taken = BTreeSet::from([4]);
        let pick = |listed| pick(listed, &trigger(), &taken, 1_767_323_045, true);
        assert!(matches!(pick(foreign()), Found::Nothing { is_certain: true }));
        let mut all = foreign();
        all.push(ours());
        assert!(matches!(pick(all.clone()), Found::One(run) if run.id == 7));
        all.push(listed(8, "abc", "main", DISPATCHED));
        assert!(matches!(pick(all), Found::Several(2)), "which of the two nobody can tell");
        let mut early = ours();
        early.created_at = Some("2026-01-02T03:04:04Z".to_owned());
        assert!(matches!(pick(vec![early.clone()]), Found::Nothing { is_certain: false }));
        early.created_at = Some("2026-01-02T03:04:05Z".to_owned());
        assert!(matches!(pick(vec![early]), Found::One(_)));
    }
}
