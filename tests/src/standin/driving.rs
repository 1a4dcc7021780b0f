//! What tests do to a stand-in and ask of it.
//!
//! Naming something that was never made is a mistake in the test: these methods panic at the line that called them.

mod runners;

use std::{fmt, time::Duration};

use super::{
    AccountId, Bucket, Delivered, Dispatched, DuringLimit, Entry, FaultRule, Logged, Progress, RepositoryId,
    RepositoryOptions, Role, RunId, RunInfo, Standin, StandinError, StatusSet, TokenKind,
    git::Note,
    ids::{HookId, InstallationId},
    state::State,
    webhooks::{Hook, payload, payload::Moved},
};

/// What was asked for, or the end of the test.
#[track_caller]
#[expect(
    clippy::panic,
    reason = "a test that names what it did not make is wrong, and its line is what matters"
)]
fn known<T, E: fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// Who pushes when nobody is named.
const PUSHER: &str = "octocat";

impl State {
    /// Puts changes on a branch, from where it is or from nothing, and tells of it.
    pub(crate) fn push(
        &mut self,
        full_name: &str,
        branch: &str,
        changes: &[(&str, Entry)],
        message: &str,
        is_forced: bool,
    ) -> Result<String, StandinError> {
        let now = self.now();
        let id = self.repository_id(full_name)?;
        self.ensure_account(PUSHER, false);
        let note = Note { author: PUSHER, seconds: now, message };
        let missing = || StandinError::NoRepository(full_name.to_owned());
        let repository = self.repositories.get_mut(&id).ok_or_else(missing)?;
        let before = repository.git.branch(branch);
        // a forced push drops what was there
        let onto =
            if is_forced { None } else { before.or_else(|| repository.git.branch(repository.git.head())) };
        let after = repository.git.commit(&mut self.objects, branch, onto, changes, &note);
        let reference = format!("refs/heads/{branch}");
        self.moved(
            id,
            &Moved { reference: &reference, before, after: Some(after), is_forced, pusher: PUSHER },
        );
        Ok(after.to_string())
    }

    /// What follows from a reference that was made, moved or removed: times, webhooks, runs.
    ///
    /// GitHub speaks of branches and tags alone; references elsewhere move in silence.
    pub(crate) fn moved(&mut self, id: RepositoryId, moved: &Moved<'_>) {
        let short = moved.reference.strip_prefix("refs/").unwrap_or(moved.reference);
        if !short.starts_with("heads/") && !short.starts_with("tags/") {
            return;
        }
        let now = self.now();
        if let Some(repository) = self.repositories.get_mut(&id) {
            repository.pushed_at = Some(now);
            repository.updated_at = now;
        }
        let body = payload::push(self, id, moved);
        self.emit(id, "push", None, body);
        if let Some(after) = moved.after {
            let actor = self.account(moved.pusher).map(|account| account.id);
            self.start_pushed(id, short, after, actor);
        }
    }

    fn tag(
        &mut self,
        full_name: &str,
        name: &str,
        target: &str,
        annotated_at: Option<u64>,
    ) -> Result<(), StandinError> {
        let id = self.repository_id(full_name)?;
        let no_target =
            || StandinError::NoBranch { repository: full_name.to_owned(), branch: target.to_owned() };
        let repository = self.repositories.get_mut(&id).ok_or_else(no_target)?;
        let commit = repository.git.resolve(&self.objects, target).ok_or_else(no_target)?;
        let reference = format!("refs/tags/{name}");
        let before = repository.git.reference(&reference);
        repository.git.tag(&mut self.objects, name, commit, annotated_at);
        self.ensure_account(PUSHER, false);
        let after = Some(commit);
        self.moved(id, &Moved { reference: &reference, before, after, is_forced: false, pusher: PUSHER });
        Ok(())
    }

    fn delete_branch(&mut self, full_name: &str, branch: &str) -> Result<(), StandinError> {
        let id = self.repository_id(full_name)?;
        let reference = format!("refs/heads/{branch}");
        let before = self.named(full_name)?.git.delete_reference(&reference);
        let no_branch =
            || StandinError::NoBranch { repository: full_name.to_owned(), branch: branch.to_owned() };
        let before = Some(before.ok_or_else(no_branch)?);
        self.moved(
            id,
            &Moved { reference: &reference, before, after: None, is_forced: false, pusher: PUSHER },
        );
        Ok(())
    }
}

fn entries<'p>(files: &[(&'p str, Option<&[u8]>)]) -> Vec<(&'p str, Entry)> {
    let entry = |content: &Option<&[u8]>| content.map_or(Entry::Removed, |bytes| Entry::File(bytes.to_vec()));
    files.iter().map(|(path, content)| (*path, entry(content))).collect()
}

/// Accounts, repositories, tokens.
impl Standin {
    /// The user of this name, made if there is none.
    pub fn add_user(&self, login: &str) -> AccountId {
        self.state().ensure_account(login, false)
    }

    /// The organisation of this name, made if there is none.
    pub fn add_organization(&self, login: &str) -> AccountId {
        let mut state = self.state();
        let id = state.ensure_account(login, true);
        if let Some(account) = state.accounts.get_mut(&id) {
            account.is_organization = true;
        }
        id
    }

    /// Makes a user a member of an organisation; the role holds in all its repositories.
    pub fn add_member(&self, organization: &str, user: &str, role: Role) {
        let id = self.add_organization(organization);
        let mut state = self.state();
        let user = state.ensure_account(user, false);
        if let Some(account) = state.accounts.get_mut(&id) {
            account.members.insert(user, role);
        }
    }

    /// Gives somebody access to one repository.
    #[track_caller]
    pub fn add_collaborator(&self, repository: &str, user: &str, role: Role) {
        let mut state = self.state();
        let user = state.ensure_account(user, false);
        known(state.named(repository)).collaborators.insert(user, role);
    }

    /// Makes a repository, `owner/name`. The owner is made as a user if there is none.
    #[track_caller]
    pub fn add_repository(&self, full_name: &str, options: &RepositoryOptions) -> RepositoryId {
        known(self.state().add_repository(full_name, options))
    }

    /// Gives a repository another `owner/name`; the old one redirects.
    #[track_caller]
    pub fn rename_repository(&self, from: &str, to: &str) {
        known(self.state().rename(from, to));
    }

    /// Removes a repository with all its names.
    #[track_caller]
    pub fn delete_repository(&self, full_name: &str) {
        known(self.state().delete(full_name));
    }

    /// Read only.
    #[track_caller]
    pub fn set_archived(&self, repository: &str, is_archived: bool) {
        known(self.state().named(repository)).is_archived = is_archived;
    }

    /// Blocked by GitHub.
    #[track_caller]
    pub fn set_disabled(&self, repository: &str, is_disabled: bool) {
        known(self.state().named(repository)).is_disabled = is_disabled;
    }

    /// Hidden from those without access.
    #[track_caller]
    pub fn set_private(&self, repository: &str, is_private: bool) {
        known(self.state().named(repository)).is_private = is_private;
    }

    /// Which branch `HEAD` means.
    #[track_caller]
    pub fn set_default_branch(&self, repository: &str, branch: &str) {
        known(self.state().named(repository)).git.set_head(branch);
    }

    /// Whether recursive trees come back cut, with `truncated`.
    #[track_caller]
    pub fn set_trees_cut(&self, repository: &str, is_cut: bool) {
        known(self.state().named(repository)).cuts_trees = is_cut;
    }

    /// Makes a token.
    #[track_caller]
    pub fn token(&self, kind: &TokenKind) -> String {
        known(self.state().add_token(kind, None))
    }

    /// Makes a token that ends after a while, by the stand-in's clock.
    #[track_caller]
    pub fn expiring_token(&self, kind: &TokenKind, after: Duration) -> String {
        let mut state = self.state();
        let at = state.now() + after.as_secs();
        known(state.add_token(kind, Some(at)))
    }

    /// A token stops working.
    #[track_caller]
    pub fn revoke(&self, token: &str) {
        let mut state = self.state();
        let found = state.tokens.get_mut(token).ok_or(StandinError::NoToken);
        known(found).is_revoked = true;
    }

    /// Installs an app, which can then ask for tokens itself. Its own token is made like any other.
    #[track_caller]
    pub fn add_installation(&self, kind: &TokenKind) -> InstallationId {
        let mut state = self.state();
        known(state.add_token(kind, None));
        let newest = state.installations.keys().next_back().copied();
        known(newest.ok_or(StandinError::NoToken))
    }
}

/// Git.
impl Standin {
    /// Puts files on a branch; without content they go. A branch that is new starts at the default branch. The commit.
    #[track_caller]
    pub fn push(
        &self,
        repository: &str,
        branch: &str,
        files: &[(&str, Option<&[u8]>)],
        message: &str,
    ) -> String {
        let pushed = { self.state().push(repository, branch, &entries(files), message, false) };
        self.shared.webhooks_waiting.notify_one();
        known(pushed)
    }

    /// The same with links, submodules and executable files.
    #[track_caller]
    pub fn push_entries(
        &self,
        repository: &str,
        branch: &str,
        changes: &[(&str, Entry)],
        message: &str,
    ) -> String {
        let pushed = { self.state().push(repository, branch, changes, message, false) };
        self.shared.webhooks_waiting.notify_one();
        known(pushed)
    }

    /// Replaces a branch by one commit without a past.
    #[track_caller]
    pub fn force_push(
        &self,
        repository: &str,
        branch: &str,
        files: &[(&str, Option<&[u8]>)],
        message: &str,
    ) -> String {
        let pushed = { self.state().push(repository, branch, &entries(files), message, true) };
        self.shared.webhooks_waiting.notify_one();
        known(pushed)
    }

    /// Tags a branch, tag or commit.
    #[track_caller]
    pub fn tag(&self, repository: &str, name: &str, target: &str) {
        let tagged = { self.state().tag(repository, name, target, None) };
        self.shared.webhooks_waiting.notify_one();
        known(tagged);
    }

    /// Tags with an object of its own.
    #[track_caller]
    pub fn annotated_tag(&self, repository: &str, name: &str, target: &str) {
        let now = self.clock().now();
        let tagged = { self.state().tag(repository, name, target, Some(now)) };
        self.shared.webhooks_waiting.notify_one();
        known(tagged);
    }

    /// Removes a branch.
    #[track_caller]
    pub fn delete_branch(&self, repository: &str, branch: &str) {
        let deleted = { self.state().delete_branch(repository, branch) };
        self.shared.webhooks_waiting.notify_one();
        known(deleted);
    }

    /// The commit at the end of a branch, where there is one.
    #[track_caller]
    pub fn head(&self, repository: &str, branch: &str) -> Option<String> {
        known(self.state().named(repository)).git.branch(branch).map(|id| id.to_string())
    }

    /// Full names of all references of a repository, with what they point to.
    #[track_caller]
    pub fn references(&self, repository: &str) -> Vec<(String, String)> {
        let mut state = self.state();
        let references = known(state.named(repository)).git.references();
        references.iter().map(|(name, id)| (name.clone(), id.to_string())).collect()
    }
}

/// Limits, faults, log.
impl Standin {
    /// Uses up what a token's owner, or an identity such as `user:octocat`, has left.
    pub fn exhaust(&self, bucket: Bucket, token_or_identity: &str) {
        let mut state = self.state();
        let (identity, now) = (state.identity_name(token_or_identity), state.now());
        state.limits.exhaust(&identity, bucket, now);
    }

    /// Everybody is refused with a secondary limit for a while.
    pub fn secondary_limit_for(&self, seconds: u64, with_retry_after: bool) {
        let mut state = self.state();
        let now = state.now();
        state.limits.order_secondary(seconds, with_retry_after, now);
    }

    /// How much of a bucket is left for a token's owner.
    pub fn remaining(&self, bucket: Bucket, token: &str) -> Option<u64> {
        let state = self.state();
        let identity = state.identity_of(token)?;
        Some(state.limits.standing(&identity, bucket, state.now()).remaining())
    }

    /// Requests of identities that had been told to wait: none, in a good client.
    pub fn requests_during_limits(&self) -> Vec<DuringLimit> {
        self.state().limits.in_vain.clone()
    }

    /// What was not as GitHub describes it: none, in a good client and a good stand-in.
    pub fn contract_problems(&self) -> Vec<String> {
        self.state().contract.problems()
    }

    /// Whether there is a description to hold anything against.
    pub fn has_contract(&self) -> bool {
        self.state().contract.is_described()
    }

    /// Orders a fault.
    pub fn fault(&self, rule: FaultRule) {
        self.state().faults.add(rule);
    }

    /// Takes all orders back.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// How many ordered faults have not happened; one that always happens counts as one.
    pub fn faults_left(&self) -> u64 {
        self.state().faults.left()
    }

    /// Everything that was asked, in order.
    pub fn requests(&self) -> Vec<Logged> {
        self.state().log.clone()
    }

    /// What was asked after the first so many.
    pub fn requests_since(&self, first: usize) -> Vec<Logged> {
        self.state().log.iter().skip(first).cloned().collect()
    }

    /// Forgets what was asked.
    pub fn clear_requests(&self) {
        self.state().log.clear();
    }

    /// Workflows that were dispatched through the API, in order.
    pub fn dispatches(&self) -> Vec<Dispatched> {
        self.state().dispatched.clone()
    }

    /// Commit statuses that were set, in order.
    pub fn statuses(&self) -> Vec<StatusSet> {
        let state = self.state();
        let show = |status: &super::results::CommitStatus| StatusSet {
            repository: state
                .repositories
                .get(&status.repository)
                .map_or_else(String::new, |of| state.full_name(of)),
            sha: status.sha.clone(),
            state: status.state.clone(),
            context: status.context.clone(),
            description: status.description.clone(),
        };
        state.results.statuses.iter().map(show).collect()
    }
}

/// Workflows and runs.
impl Standin {
    /// All runs, in the order of their making.
    pub fn runs(&self) -> Vec<RunInfo> {
        let state = self.state();
        state.actions.runs.values().map(|run| state.run_info(run)).collect()
    }

    /// A queued run begins.
    #[track_caller]
    pub fn start_run(&self, run: RunId) {
        let moved = { self.state().move_run(run, Progress::InProgress, None) };
        self.shared.webhooks_waiting.notify_one();
        known(moved);
    }

    /// A run ends: `success`, `failure`, `cancelled`.
    #[track_caller]
    pub fn finish_run(&self, run: RunId, conclusion: &str) {
        let moved = { self.state().move_run(run, Progress::Completed, Some(conclusion)) };
        self.shared.webhooks_waiting.notify_one();
        known(moved);
    }

    /// Whether a workflow file is switched off on GitHub.
    #[track_caller]
    pub fn is_workflow_disabled(&self, repository: &str, path: &str) -> bool {
        let mut state = self.state();
        let id = known(state.repository_id(repository));
        state.workflows_of(id).iter().any(|file| file.path == path && file.is_disabled)
    }
}

/// Webhooks.
impl Standin {
    /// Registers a hook, without the `ping` that one made through the API gets. `*` is every event.
    #[track_caller]
    pub fn add_hook(&self, repository: &str, url: &str, secret: Option<&str>, events: &[&str]) -> HookId {
        let mut state = self.state();
        let hook = Hook {
            repository: known(state.repository_id(repository)),
            id: state.ids.hook(),
            url: url.to_owned(),
            secret: secret.map(str::to_owned),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            is_active: true,
            created_at: state.now(),
        };
        state.webhooks.add(hook)
    }

    /// From here on deliveries are kept back until [`Standin::release`] or one of its kin.
    pub fn hold(&self) {
        self.state().webhooks.hold();
    }

    /// What is kept back, in order.
    pub fn held(&self) -> Vec<Delivered> {
        self.state().webhooks.held.iter().map(|delivery| delivery.seen(None)).collect()
    }

    /// Sends all that was kept back, in order, and keeps nothing back any more.
    pub fn release(&self) {
        self.state().webhooks.release(false);
        self.shared.webhooks_waiting.notify_one();
    }

    /// The same, the last first.
    pub fn release_reversed(&self) {
        self.state().webhooks.release(true);
        self.shared.webhooks_waiting.notify_one();
    }

    /// Sends one of those that are kept back, by its place among them; the others stay.
    #[track_caller]
    pub fn deliver_late(&self, place: usize) {
        let mut state = self.state();
        assert!(place < state.webhooks.held.len(), "only {} deliveries are held", state.webhooks.held.len());
        let delivery = state.webhooks.held.remove(place);
        state.webhooks.leaving.push_back(delivery);
        drop(state);
        self.shared.webhooks_waiting.notify_one();
    }

    /// Throws away all that is kept back.
    pub fn lose_held(&self) {
        self.state().webhooks.lose_held();
    }

    /// The next deliveries never leave.
    pub fn lose(&self, count: u64) {
        self.state().webhooks.to_lose = count;
    }

    /// The next deliveries are signed with this secret in place of the hook's.
    pub fn forge(&self, secret: &str, count: u64) {
        self.state().webhooks.forged = (count > 0).then(|| (secret.to_owned(), count));
    }

    /// Sends a delivery that was sent before once more, under the same id.
    #[track_caller]
    pub fn duplicate(&self, delivery: &str) {
        let mut state = self.state();
        let found = state.webhooks.sent.iter().find(|(sent, _)| sent.id == delivery);
        let again = found.map(|(sent, _)| sent.clone());
        assert!(again.is_some(), "no delivery {delivery} was sent");
        state.webhooks.leaving.extend(again);
        drop(state);
        self.shared.webhooks_waiting.notify_one();
    }

    /// What was sent, in order, with the answers.
    pub fn delivered(&self) -> Vec<Delivered> {
        self.state().webhooks.sent.iter().map(|(_, seen)| seen.clone()).collect()
    }

    /// What never left.
    pub fn lost(&self) -> Vec<Delivered> {
        self.state().webhooks.lost.clone()
    }

    /// Waits until nothing is on its way.
    pub async fn webhooks_settled(&self) {
        loop {
            let quiet = self.shared.webhooks_quiet.notified();
            if self.state().webhooks.is_quiet() {
                return;
            }
            quiet.await;
        }
    }
}
