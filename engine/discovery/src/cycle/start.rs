//! What new content, pushes and schedules make due, and its start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wfengine_core::views::repositories::{Repository as KnownRepository, RepositoryKey};
use wfengine_git::Refs;
use wfengine_storage_format::{BlobId, Trigger};

use super::submit::Start;
use super::visit::{Content, Here};
use super::{Discovery, Stood};
use crate::due::{Due, cut};
use crate::host::Host;
use crate::memory::Judged;
use crate::plan::{self, REFS_AT_ONCE_MAX, RefMoved};
use crate::report::Report;
use crate::source::{Access, Listed, Source};
use crate::verdict::{FOLDERS, Tagged, is_workflow_path};

/// An instant of a schedule that is to start its workflow.
struct ScheduleDue {
    path: String,
    trigger: Trigger,
    key: Vec<u8>,
}

/// What became of new content.
#[derive(Default)]
struct NewContent {
    /// Paths whose workflows run, or are to run as soon as what failed works again.
    started: BTreeSet<String>,
    /// Some could not be started just now.
    has_failed: bool,
}

/// Workflows at a commit by path, with their bytes.
type There = BTreeMap<String, (Here, Vec<u8>)>;

impl<H: Host> Discovery<H> {
    /// Starts what is due, and says where the refs stand whose pushes are dealt with.
    ///
    /// # Errors
    /// Why nothing can be started.
    pub(super) async fn start_what_is_due(
        &mut self,
        source: &mut Source,
        listed: &Listed,
        known: Option<&KnownRepository>,
        content: &Content,
        report: &mut Report,
    ) -> Result<Refs, String> {
        let policy = self.options.policies.of(&listed.repository.name);
        let access = source.access(listed).await.map_err(|error| error.to_string())?;
        let refs = access.refs().await.map_err(|error| error.to_string())?;
        let key = RepositoryKey::of(&listed.repository);
        let mut dealt_with = refs.clone();
        let new = if policy.runs_new_content() {
            self.start_new_content(listed, &access, &refs, content, report).await
        } else {
            NewContent::default()
        };
        if policy.runs_triggers() {
            let stood = match self.stood(&key, known).await {
                None => before_it_came(known, content, &refs),
                stood => stood,
            };
            if let Some(stood) = stood {
                let mut open = self.start_pushes(listed, &access, &refs, &stood, &new, report).await;
                open.extend(refs.head.clone().filter(|_| new.has_failed));
                for git_ref in open {
                    match stood.get(&git_ref) {
                        Some(before) => dealt_with.commits.insert(git_ref, before.clone()),
                        None => dealt_with.commits.remove(&git_ref),
                    };
                }
            }
            let due = self.schedules_due(listed, content);
            self.start_schedules(listed, &access, &refs, due, content, report).await;
        }
        if !self.options.dry_run {
            let now_ms = self.host.wall_ms();
            self.memory.remember_refs(self.host.cache(), &key, &dealt_with, now_ms);
        }
        Ok(dealt_with)
    }

    /// Where the refs stood at the last look of this node or of another member, whichever is younger. Pushes older than that started
    /// their runs.
    async fn stood(&self, key: &RepositoryKey, known: Option<&KnownRepository>) -> Option<Stood> {
        let own = self.memory.refs(self.host.cache(), key);
        let seen = known.and_then(|known| known.seen.as_ref());
        let theirs = seen.filter(|seen| seen.author != self.host.peer() || own.is_none());
        if let Some((blob, time_ms)) = theirs.and_then(|seen| Some((seen.refs?, seen.time_ms)))
            && own.as_ref().is_none_or(|(_, own_ms)| *own_ms < time_ms)
            && self.host.bring(&blob).await
            && let Some(stood) = self.read_refs(&blob)
        {
            return Some(stood);
        }
        own.map(|(stood, _)| stood)
    }

    fn read_refs(&self, blob: &BlobId) -> Option<Stood> {
        let lines = self.host.blobs().read(blob).ok()?;
        Refs::from_lines(std::str::from_utf8(&lines).ok()?).ok().map(|refs| refs.commits)
    }

    fn is_started(&self, key: &[u8]) -> bool {
        self.host.watcher().views().runs().contains(&plan::run_of(key))
    }

    /// Whether somebody ran this very commit's file as new content: that was its push.
    fn ran_as_new(&self, listed: &Listed, path: &str, content: &BlobId, sha: &str) -> bool {
        let run = plan::run_of(&plan::found_key(&listed.repository, path, content));
        let trigger = self.host.watcher().run(&run).and_then(|run| run.trigger);
        trigger.is_some_and(|trigger| trigger.sha == sha)
    }

    /// Starts content that nobody started before, at the commit that the default branch stands at.
    async fn start_new_content(
        &mut self,
        listed: &Listed,
        access: &Access,
        refs: &Refs,
        content: &Content,
        report: &mut Report,
    ) -> NewContent {
        let mut new = NewContent::default();
        let Some((git_ref, commit)) = refs.head.clone().zip(refs.head_commit()) else { return new };
        let fresh = |path: &str, blob: &BlobId| plan::found_key(&listed.repository, path, blob);
        let unseen: Vec<&String> = content
            .tagged
            .iter()
            .filter(|(path, here)| !self.is_started(&fresh(path, &here.blob)))
            .map(|(path, _)| path)
            .collect();
        if unseen.is_empty() {
            return new;
        }
        let Some(there) = self.at_commit(listed, access, commit, report).await else {
            new.has_failed = true;
            return new;
        };
        for path in unseen {
            // the branch may have moved on since it was looked at: what counts is what is at the commit
            let Some((here, source)) = there.get(path) else { continue };
            let key = fresh(path, &here.blob);
            let at = (content.default_branch.as_str(), git_ref.as_str(), commit);
            let due = due(listed, path, here, source, Trigger::Found, at, key);
            match self.start(access, due, report).await {
                Start::Begun => drop(new.started.insert(path.clone())),
                // its pushes may start it all the same: they need no inputs
                Start::Refused => {}
                Start::Failed => {
                    new.has_failed = true;
                    new.started.insert(path.clone());
                }
            }
        }
        new
    }

    /// Starts workflows for branches and tags that moved since they stood so. Says which of them are still to be dealt with.
    async fn start_pushes(
        &mut self,
        listed: &Listed,
        access: &Access,
        refs: &Refs,
        stood: &Stood,
        new: &NewContent,
        report: &mut Report,
    ) -> BTreeSet<String> {
        let name = listed.repository.name.as_str();
        let mut moved = plan::moved_refs(stood, refs);
        let mut open = BTreeSet::new();
        if moved.len() > REFS_AT_ONCE_MAX {
            let what = format!(
                "{} refs moved at once; {REFS_AT_ONCE_MAX} are looked at now, the others in the next rounds",
                moved.len()
            );
            report.problem(name, "", what);
            // others first in the next round, so that what fails again and again keeps nobody waiting
            let first = self.rounds.wrapping_mul(REFS_AT_ONCE_MAX) % moved.len();
            moved.rotate_left(first);
            open.extend(moved.drain(REFS_AT_ONCE_MAX..).map(|moved| moved.git_ref));
        }
        for moved in moved {
            if !self.start_push(listed, access, refs, &moved, new, report).await {
                open.insert(moved.git_ref);
            }
        }
        open
    }

    /// Whether the push is dealt with.
    async fn start_push(
        &mut self,
        listed: &Listed,
        access: &Access,
        refs: &Refs,
        moved: &RefMoved,
        new: &NewContent,
        report: &mut Report,
    ) -> bool {
        let Some(there) = self.at_commit(listed, access, &moved.after, report).await else { return false };
        if there.values().all(|(here, _)| here.tagged.triggers.push.is_none()) {
            return true;
        }
        let branch = refs.head.as_deref().unwrap_or_default();
        let default_branch = branch.trim_start_matches("refs/heads/");
        let changed = match moved.before.as_deref().or_else(|| refs.head_commit()) {
            // a new name for a commit that is there brings nothing
            Some(base) if base == moved.after && moved.git_ref != branch => Some(Vec::new()),
            Some(base) if base != moved.after => match changed(access, base, &moved.after).await {
                Ok(changed) => changed,
                Err(why) => {
                    let what = format!("what a push to {} changed is not known yet: {why}", moved.git_ref);
                    report.problem(&listed.repository.name, "", what);
                    return false;
                }
            },
            _ => None,
        };
        let mut is_dealt_with = true;
        for (path, (here, source)) in &there {
            let ran = || self.ran_as_new(listed, path, &here.blob, &moved.after);
            if moved.git_ref == branch && (new.started.contains(path) || ran()) {
                continue;
            }
            if plan::push_verdict(&here.tagged.triggers, &moved.git_ref, changed.as_deref()).is_err() {
                continue;
            }
            let key = plan::push_key(&listed.repository, path, &moved.git_ref, &moved.after);
            if self.is_started(&key) {
                continue;
            }
            let trigger = Trigger::Push { before: moved.before.clone().unwrap_or_default() };
            let at = (default_branch, moved.git_ref.as_str(), moved.after.as_str());
            let due = due(listed, path, here, source, trigger, at, key);
            is_dealt_with &= self.start(access, due, report).await != Start::Failed;
        }
        is_dealt_with
    }

    /// Starts the schedules that came due since their workflow was found; what was missed meanwhile starts once.
    async fn start_schedules(
        &mut self,
        listed: &Listed,
        access: &Access,
        refs: &Refs,
        instants: Vec<ScheduleDue>,
        content: &Content,
        report: &mut Report,
    ) {
        let Some((git_ref, commit)) = refs.head.clone().zip(refs.head_commit()) else { return };
        if instants.is_empty() {
            return;
        }
        let Some(there) = self.at_commit(listed, access, commit, report).await else { return };
        for ScheduleDue { path, trigger, key } in instants {
            let Some((here, source)) = there.get(&path) else { continue };
            let at = (content.default_branch.as_str(), git_ref.as_str(), commit);
            let due = due(listed, &path, here, source, trigger, at, key);
            // one that fails is due still in the next round
            self.start(access, due, report).await;
        }
    }

    /// The instants of schedules that came due and that nobody started.
    fn schedules_due(&self, listed: &Listed, content: &Content) -> Vec<ScheduleDue> {
        let now_s = self.host.wall_ms() / 1_000;
        let key = RepositoryKey::of(&listed.repository);
        let found: BTreeMap<String, (BlobId, u64)> = {
            let views = self.host.watcher().views();
            let known = views.repositories().get(&key);
            let workflows = known.into_iter().flat_map(|known| &known.workflows);
            workflows.map(|(path, found)| (path.clone(), (found.source, found.since_ms / 1_000))).collect()
        };
        let mut due = Vec::new();
        for (path, here) in
            content.tagged.iter().filter(|(_, here)| !here.tagged.triggers.schedules.is_empty())
        {
            // what members wrote of this very content; one that was found just now has missed nothing
            let said_s = found.get(path).filter(|(blob, _)| *blob == here.blob).map_or(now_s, |(_, at)| *at);
            let schedules = &here.tagged.triggers.schedules;
            let since = self.memory.schedules_since(self.host.cache(), &key, path, schedules, now_s);
            for (schedule, since_s) in schedules.iter().zip(since) {
                let Some(due_s) = plan::schedule_due(schedule, since_s.min(said_s), now_s) else { continue };
                let key = plan::schedule_key(&listed.repository, path, schedule, due_s);
                if !self.is_started(&key) {
                    let (cron, timezone) = (schedule.cron.text().to_owned(), schedule.timezone.clone());
                    let trigger = Trigger::Schedule { cron, timezone, due_s };
                    due.push(ScheduleDue { path: path.clone(), trigger, key });
                }
            }
        }
        due
    }

    /// Starts what schedules make due in a repository that is not looked at: nothing was pushed, but time passes.
    pub(super) async fn tick(
        &mut self,
        source: &mut Source,
        listed: &Listed,
        known: &KnownRepository,
        report: &mut Report,
    ) {
        if !self.options.policies.of(&listed.repository.name).runs_triggers() {
            return;
        }
        let host = Arc::clone(&self.host);
        let branch = known.seen.as_ref().map(|seen| seen.default_branch.clone()).unwrap_or_default();
        let mut content = Content { default_branch: branch, ..Content::default() };
        for (path, found) in &known.workflows {
            if !host.bring(&found.source).await {
                continue;
            }
            if let Some(tagged) = self.memory.tagged(host.blobs(), &found.source, path) {
                content.tagged.insert(path.clone(), Here { blob: found.source, tagged, remarks: Vec::new() });
            }
        }
        let due = self.schedules_due(listed, &content);
        if due.is_empty() {
            return;
        }
        let refs = match source.access(listed).await {
            Ok(access) => access.refs().await.map(|refs| (access, refs)),
            Err(error) => Err(error),
        };
        match refs {
            Ok((access, refs)) => self.start_schedules(listed, &access, &refs, due, &content, report).await,
            Err(error) => {
                report.problem(&listed.repository.name, "", format!("its schedules are not started: {error}"))
            }
        }
    }

    /// The tagged workflows at a commit, which is brought here if need be.
    pub(super) async fn at_commit(
        &mut self,
        listed: &Listed,
        access: &Access,
        commit: &str,
        report: &mut Report,
    ) -> Option<There> {
        match self.read_commit(access, commit).await {
            Ok(there) => Some(there),
            Err(why) => {
                report.problem(&listed.repository.name, "", format!("commit {}: {why}", cut(commit, 12)));
                None
            }
        }
    }

    async fn read_commit(&mut self, access: &Access, commit: &str) -> Result<There, String> {
        access.bring(&[commit]).await.map_err(|error| error.to_string())?;
        let entries = access.repository.entries(commit, &FOLDERS).await.map_err(|error| error.to_string())?;
        let mut there = BTreeMap::new();
        let host = Arc::clone(&self.host);
        for entry in entries.into_iter().filter(|entry| entry.is_file() && is_workflow_path(&entry.path)) {
            if entry.size.is_some_and(|size| size > wfengine_workflow::limits::SOURCE_LEN_MAX as u64) {
                continue;
            }
            let known = self.memory.judged(host.cache(), host.blobs(), &entry.object, &entry.path);
            if known.as_ref().is_some_and(|known| !matches!(known, Judged::Tagged(..))) {
                continue;
            }
            let source = access.repository.file(&entry.object).await.map_err(|error| error.to_string())?;
            let judged = match known {
                Some(judged) => judged,
                None => self.memory.judge(host.cache(), host.blobs(), &entry.object, &entry.path, &source)?,
            };
            if let Judged::Tagged(blob, tagged) = judged {
                there.insert(entry.path, (Here { blob, tagged, remarks: Vec::new() }, source));
            }
        }
        Ok(there)
    }
}

/// Where the refs stood for a repository that was looked at when it had nothing tagged, so that nobody asked where they stand: what is
/// tagged now came with a push to the default branch. `None` when it may have been there all along.
fn before_it_came(known: Option<&KnownRepository>, content: &Content, refs: &Refs) -> Option<Stood> {
    let known = known.filter(|known| known.seen.as_ref().is_some_and(|seen| seen.refs.is_none()))?;
    let came = known.workflows.is_empty() && !content.tagged.is_empty();
    came.then(|| {
        let head = refs.head.as_deref();
        let others = refs.commits.iter().filter(|(name, _)| Some(name.as_str()) != head);
        others.map(|(name, commit)| (name.clone(), commit.clone())).collect()
    })
}

/// The paths that differ between two commits; `None` when nobody can say, and then a push counts.
///
/// # Errors
/// Why the other side cannot be asked just now.
async fn changed(access: &Access, from: &str, to: &str) -> Result<Option<Vec<String>>, String> {
    match access.bring(&[from, to]).await {
        Ok(()) => Ok(access.repository.changed_paths(from, to).await.ok().flatten()),
        // a ref was forced elsewhere, and what it led to is gone
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// A workflow that is due; `at` is the default branch, the ref and the commit.
fn due(
    listed: &Listed,
    path: &str,
    here: &Here,
    source: &[u8],
    trigger: Trigger,
    at: (&str, &str, &str),
    key: Vec<u8>,
) -> Due {
    let (default_branch, git_ref, sha) = at;
    Due {
        repository: listed.repository.clone(),
        default_branch: default_branch.to_owned(),
        path: path.to_owned(),
        trigger,
        git_ref: git_ref.to_owned(),
        sha: sha.to_owned(),
        key,
        source: source.to_vec(),
        tagged: Tagged::clone(&here.tagged),
        inputs: BTreeMap::new(),
    }
}
