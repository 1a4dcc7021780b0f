//! One repository: what it holds is judged and written down, then what is due in it is started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wfengine_core::command::Command;
use wfengine_core::views::repositories::{Repository as KnownRepository, RepositoryKey};
use wfengine_git::Refs;
use wfengine_storage_format::limits::PROBLEMS_MAX;
use wfengine_storage_format::{
    BlobId, RepositoryScanned, ScanOutcome, Trigger, WorkflowFound, WorkflowVanished,
};

use super::{Discovery, Stood, line};
use crate::due::{Due, cut};
use crate::host::Host;
use crate::memory::Judged;
use crate::plan::{self, REFS_AT_ONCE_MAX};
use crate::report::Report;
use crate::source::{Access, Listed, Look, Source};
use crate::verdict::{FOLDERS, Tagged, is_workflow_path};

/// Moved branches alone are written down no more often than this.
const REFS_WRITTEN_EVERY_MS: u64 = 6 * 3_600_000;

/// A tagged workflow of a default branch.
#[derive(Clone, Debug)]
pub(super) struct Here {
    pub(super) blob: BlobId,
    pub(super) tagged: Arc<Tagged>,
    /// What people should know of it there.
    remarks: Vec<String>,
}

/// A checkout has no GitHub to fall back to, so what stands in the way of that is no remark.
fn remarks_at(listed: &Listed, tagged: &Tagged) -> Vec<String> {
    let concerns = |remark: &&String| listed.folder.is_none() || !remark.starts_with("no fallback");
    tagged.remarks.iter().filter(concerns).cloned().collect()
}

/// An instant of a schedule that is to start its workflow.
struct ScheduleDue {
    path: String,
    trigger: Trigger,
    key: Vec<u8>,
}

/// What is in a repository now.
#[derive(Debug, Default)]
struct Content {
    default_branch: String,
    files: u32,
    tagged: BTreeMap<String, Here>,
    problems: Vec<(String, String)>,
}

impl<H: Host> Discovery<H> {
    pub(super) async fn visit(
        &mut self,
        source: &mut Source,
        listed: &Listed,
        known: Option<&KnownRepository>,
        report: &mut Report,
    ) {
        let name = listed.repository.name.as_str();
        let look = match source.look(listed).await {
            Ok(look) => look,
            Err(error) => {
                report.problem(name, "", &error.what);
                if !error.is_passing {
                    self.write_failure(listed, known, &error.what, report).await;
                }
                return;
            }
        };
        if look.is_stale {
            report.problem(name, "", "a limit of GitHub holds: this is what was seen before it");
        }
        let Some(content) = self.judge(source, listed, look, report).await else { return };
        for (path, here) in &content.tagged {
            let tagged = &here.tagged;
            report.workflows.push(line(
                name,
                path,
                &display_name(tagged, path),
                &tagged.tags,
                &here.remarks,
                "known".to_owned(),
            ));
        }
        if !self.options.dry_run {
            self.write_content(listed, known, &content, report).await;
        }
        let refs = match content.tagged.is_empty() {
            true => None,
            false => self.start_what_is_due(source, listed, known, &content, report).await,
        };
        if !self.options.dry_run {
            self.write_scan(listed, known, &content, refs.as_ref(), report).await;
        }
    }

    /// Reads and judges the files of a look. `None` when the repository cannot be read any further.
    async fn judge(
        &mut self,
        source: &mut Source,
        listed: &Listed,
        look: Look,
        report: &mut Report,
    ) -> Option<Content> {
        let name = listed.repository.name.as_str();
        let mut content = Content {
            default_branch: look.default_branch,
            files: u32::try_from(look.files.len()).unwrap_or(u32::MAX),
            problems: look.odd,
            ..Content::default()
        };
        report.files += look.files.len() as u64;
        let host = Arc::clone(&self.host);
        for file in &look.files {
            let judged = match self.memory.judged(host.cache(), host.blobs(), &file.object, &file.path) {
                Some(judged) => Ok(judged),
                None if file
                    .size
                    .is_some_and(|size| size > wfengine_workflow::limits::SOURCE_LEN_MAX as u64) =>
                {
                    Ok(Judged::Broken(format!(
                        "it has {} bytes; at most {} are read",
                        file.size.unwrap_or(0),
                        wfengine_workflow::limits::SOURCE_LEN_MAX
                    )))
                }
                None => match source.read(listed, file).await {
                    Ok(bytes) => {
                        self.memory.judge(host.cache(), host.blobs(), &file.object, &file.path, &bytes)
                    }
                    Err(error) => {
                        report.problem(name, &file.path, &error.what);
                        // half a repository must not make the other half vanish
                        return None;
                    }
                },
            };
            match judged {
                Ok(Judged::Untagged) => {}
                Ok(Judged::ForGithub(tags)) => {
                    report.for_github.push(format!("{name}/{}: {tags}", file.path))
                }
                Ok(Judged::Tagged(blob, tagged)) => {
                    let remarks = remarks_at(listed, &tagged);
                    content.tagged.insert(file.path.clone(), Here { blob, tagged, remarks });
                }
                Ok(Judged::Broken(why)) => content.problems.push((file.path.clone(), why)),
                Err(why) => {
                    report.problem(name, &file.path, why);
                    return None;
                }
            }
        }
        for (path, why) in &content.problems {
            report.problem(name, path, why);
        }
        Some(content)
    }

    /// Writes which tagged workflows are there, and which are not any more.
    async fn write_content(
        &self,
        listed: &Listed,
        known: Option<&KnownRepository>,
        content: &Content,
        report: &mut Report,
    ) {
        for (path, here) in &content.tagged {
            let found = WorkflowFound {
                repository: listed.repository.clone(),
                path: path.clone(),
                source: here.blob,
                name: cut(&display_name(&here.tagged, path), 200),
                tags: here.tagged.tags.iter().take(64).map(|tag| cut(tag, 200)).collect(),
                remarks: here.remarks.iter().take(8).map(|remark| cut(remark, 1_000)).collect(),
            };
            self.write(Command::Find(found), listed, path, report).await;
        }
        for (path, found) in known.iter().flat_map(|known| &known.workflows) {
            // a file that cannot be read as a workflow just now is not gone
            let is_broken = content.problems.iter().any(|(broken, _)| broken == path);
            if content.tagged.contains_key(path) || is_broken {
                continue;
            }
            report.vanished.push(format!("{}/{path} ({})", listed.repository.name, found.name));
            let gone = WorkflowVanished { repository: listed.repository.clone(), path: path.clone() };
            self.write(Command::Vanish(gone), listed, path, report).await;
        }
    }

    async fn write(&self, command: Command, listed: &Listed, path: &str, report: &mut Report) {
        if let Err(error) = self.host.ask(command).await {
            report.problem(&listed.repository.name, path, error);
        }
    }

    /// Writes that the repository cannot be read, so that another member may try.
    async fn write_failure(
        &self,
        listed: &Listed,
        known: Option<&KnownRepository>,
        why: &str,
        report: &mut Report,
    ) {
        // a repository that nobody ever saw is only a name in somebody's list
        if self.options.dry_run || known.is_none() {
            return;
        }
        let scan = RepositoryScanned {
            repository: listed.repository.clone(),
            outcome: ScanOutcome::Failed(cut(why, 1_000)),
            default_branch: String::new(),
            head: String::new(),
            refs: None,
            files: 0,
            problems: Vec::new(),
        };
        self.write(Command::Scan(scan), listed, "", report).await;
    }

    async fn write_scan(
        &self,
        listed: &Listed,
        known: Option<&KnownRepository>,
        content: &Content,
        refs: Option<&Refs>,
        report: &mut Report,
    ) {
        let before = known.and_then(|known| known.seen.as_ref());
        let written_ms = before.map_or(0, |before| before.time_ms);
        let is_old = self.host.wall_ms().saturating_sub(written_ms) >= REFS_WRITTEN_EVERY_MS;
        let (mut head, mut blob) =
            before.map_or((String::new(), None), |before| (before.head.clone(), before.refs));
        if let Some(refs) = refs.filter(|_| is_old || before.is_none_or(|before| before.refs.is_none())) {
            head = refs.head_commit().unwrap_or_default().to_owned();
            match self.host.blobs().put(refs.to_lines().as_bytes()) {
                Ok(id) => blob = Some(id),
                Err(error) => report.problem(&listed.repository.name, "", error),
            }
        }
        let problems = content.problems.iter().take(PROBLEMS_MAX);
        let scan = RepositoryScanned {
            repository: listed.repository.clone(),
            outcome: ScanOutcome::Scanned,
            default_branch: cut(&content.default_branch, 250),
            head,
            refs: blob,
            files: content.files,
            problems: problems.map(|(path, why)| (cut(path, 300), cut(why, 1_000))).collect(),
        };
        self.write(Command::Scan(scan), listed, "", report).await;
    }

    /// Starts what new content, pushes and schedules make due. Says where the refs stand, if that could be found out.
    async fn start_what_is_due(
        &mut self,
        source: &mut Source,
        listed: &Listed,
        known: Option<&KnownRepository>,
        content: &Content,
        report: &mut Report,
    ) -> Option<Refs> {
        let name = listed.repository.name.as_str();
        let policy = self.options.policies.of(name);
        let unseen = |what: &dyn std::fmt::Display| format!("its workflows are not started: {what}");
        let access = match source.access(listed).await {
            Ok(access) => access,
            Err(error) => {
                report.problem(name, "", unseen(&error));
                return None;
            }
        };
        let refs = match access.refs().await {
            Ok(refs) => refs,
            Err(error) => {
                report.problem(name, "", unseen(&error));
                return None;
            }
        };
        let key = RepositoryKey::of(&listed.repository);
        let started = if policy.runs_new_content() {
            self.start_new_content(listed, &access, &refs, content, report).await
        } else {
            BTreeSet::new()
        };
        if policy.runs_triggers() {
            if let Some(stood) = self.stood(&key, known) {
                self.start_pushes(listed, &access, &refs, &stood, &started, report).await;
            }
            let due = self.schedules_due(listed, known, content);
            self.start_schedules(listed, &access, &refs, due, content, report).await;
        }
        if !self.options.dry_run {
            self.memory.remember_refs(self.host.cache(), &key, &refs);
        }
        Some(refs)
    }

    /// Where the refs stood at the last look of this node, else as members wrote it down. Pushes older than that started their runs.
    fn stood(&self, key: &RepositoryKey, known: Option<&KnownRepository>) -> Option<Stood> {
        let own = self.memory.refs(self.host.cache(), key);
        own.or_else(|| {
            let blob = known?.seen.as_ref()?.refs?;
            let lines = self.host.blobs().read(&blob).ok()?;
            Refs::from_lines(std::str::from_utf8(&lines).ok()?).ok().map(|refs| refs.commits)
        })
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

    /// Starts content that nobody started before, at the commit that the default branch stands at. Says which paths.
    async fn start_new_content(
        &mut self,
        listed: &Listed,
        access: &Access,
        refs: &Refs,
        content: &Content,
        report: &mut Report,
    ) -> BTreeSet<String> {
        let mut started = BTreeSet::new();
        let Some((git_ref, commit)) = refs.head.clone().zip(refs.head_commit()) else { return started };
        let fresh = |path: &str, blob: &BlobId| plan::found_key(&listed.repository, path, blob);
        let new: Vec<&String> = content
            .tagged
            .iter()
            .filter(|(path, here)| !self.is_started(&fresh(path, &here.blob)))
            .map(|(path, _)| path)
            .collect();
        if new.is_empty() {
            return started;
        }
        let Some(there) = self.at_commit(listed, access, commit, report).await else { return started };
        for path in new {
            // the branch may have moved on since it was looked at: what counts is what is at the commit
            let Some((here, source)) = there.get(path) else { continue };
            let key = fresh(path, &here.blob);
            started.insert(path.clone());
            let due = self.due(listed, content, path, here, source, Trigger::Found, &git_ref, commit, key);
            self.start(access, due, report).await;
        }
        started
    }

    /// Starts workflows for branches and tags that moved since they stood so.
    async fn start_pushes(
        &mut self,
        listed: &Listed,
        access: &Access,
        refs: &Refs,
        stood: &Stood,
        started: &BTreeSet<String>,
        report: &mut Report,
    ) {
        let name = listed.repository.name.as_str();
        let moved = plan::moved_refs(stood, refs);
        if moved.len() > REFS_AT_ONCE_MAX {
            let what =
                format!("{} refs moved at once; the first {REFS_AT_ONCE_MAX} are looked at", moved.len());
            report.problem(name, "", what);
        }
        let branch = refs.head.clone().unwrap_or_default();
        let default_branch = branch.trim_start_matches("refs/heads/").to_owned();
        for moved in moved.into_iter().take(REFS_AT_ONCE_MAX) {
            let Some(there) = self.at_commit(listed, access, &moved.after, report).await else { continue };
            if there.values().all(|(here, _)| here.tagged.triggers.push.is_none()) {
                continue;
            }
            let base =
                moved.before.as_deref().or_else(|| refs.head_commit()).filter(|base| *base != moved.after);
            let changed = match base {
                Some(base) => self.changed(access, base, &moved.after).await,
                None => None,
            };
            for (path, (here, source)) in &there {
                let ran = || self.ran_as_new(listed, path, &here.blob, &moved.after);
                if moved.git_ref == branch && (started.contains(path) || ran()) {
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
                let content = Content { default_branch: default_branch.clone(), ..Content::default() };
                let due = self.due(
                    listed,
                    &content,
                    path,
                    here,
                    source,
                    trigger,
                    &moved.git_ref,
                    &moved.after,
                    key,
                );
                self.start(access, due, report).await;
            }
        }
    }

    /// Starts the schedules that came due since their workflow was found; what was missed meanwhile starts once.
    async fn start_schedules(
        &mut self,
        listed: &Listed,
        access: &Access,
        refs: &Refs,
        due: Vec<ScheduleDue>,
        content: &Content,
        report: &mut Report,
    ) {
        let Some((git_ref, commit)) = refs.head.clone().zip(refs.head_commit()) else { return };
        if due.is_empty() {
            return;
        }
        let Some(there) = self.at_commit(listed, access, commit, report).await else { return };
        for ScheduleDue { path, trigger, key } in due {
            let Some((here, source)) = there.get(&path) else { continue };
            let due = self.due(listed, content, &path, here, source, trigger, &git_ref, commit, key);
            self.start(access, due, report).await;
        }
    }

    /// The instants of schedules that came due and that nobody started.
    fn schedules_due(
        &self,
        listed: &Listed,
        known: Option<&KnownRepository>,
        content: &Content,
    ) -> Vec<ScheduleDue> {
        let now_s = self.host.wall_ms() / 1_000;
        let mut due = Vec::new();
        for (path, here) in &content.tagged {
            // content that was found just now has missed nothing
            let found =
                known.and_then(|known| known.workflows.get(path)).filter(|found| found.source == here.blob);
            let Some(found) = found else { continue };
            for (schedule, due_s) in plan::schedules_due(&here.tagged.triggers, found.since_ms / 1_000, now_s)
            {
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
            if let Some(tagged) = self.memory.tagged(host.blobs(), &found.source, path) {
                content.tagged.insert(path.clone(), Here { blob: found.source, tagged, remarks: Vec::new() });
            }
        }
        let due = self.schedules_due(listed, Some(known), &content);
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

    #[expect(clippy::too_many_arguments, reason = "each is another fact of what is due")]
    fn due(
        &self,
        listed: &Listed,
        content: &Content,
        path: &str,
        here: &Here,
        source: &[u8],
        trigger: Trigger,
        git_ref: &str,
        sha: &str,
        key: Vec<u8>,
    ) -> Due {
        Due {
            repository: listed.repository.clone(),
            default_branch: content.default_branch.clone(),
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

    /// The tagged workflows at a commit, which is brought here if need be.
    pub(super) async fn at_commit(
        &mut self,
        listed: &Listed,
        access: &Access,
        commit: &str,
        report: &mut Report,
    ) -> Option<BTreeMap<String, (Here, Vec<u8>)>> {
        match self.read_commit(access, commit).await {
            Ok(there) => Some(there),
            Err(why) => {
                report.problem(&listed.repository.name, "", format!("commit {}: {why}", cut(commit, 12)));
                None
            }
        }
    }

    async fn read_commit(
        &mut self,
        access: &Access,
        commit: &str,
    ) -> Result<BTreeMap<String, (Here, Vec<u8>)>, String> {
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

    /// The paths that differ between two commits; `None` when that cannot be found out, and then a push counts.
    async fn changed(&self, access: &Access, from: &str, to: &str) -> Option<Vec<String>> {
        if let Err(error) = access.bring(&[from, to]).await {
            tracing::debug!(%error, "a push is judged without its changes");
            return None;
        }
        access.repository.changed_paths(from, to).await.ok().flatten()
    }
}

/// What people call a workflow: its name, else its file's.
pub(super) fn display_name(tagged: &Tagged, path: &str) -> String {
    let named = tagged.workflow.name.as_ref().map(|name| name.text.trim()).filter(|name| !name.is_empty());
    named.unwrap_or_else(|| path.rsplit('/').next().unwrap_or(path)).to_owned()
}
