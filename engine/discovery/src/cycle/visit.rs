//! One repository: what it holds is judged and written down, then what is due in it is started.

use std::collections::BTreeMap;
use std::sync::Arc;

use wfengine_core::command::Command;
use wfengine_core::views::repositories::{Repository as KnownRepository, RepositoryKey};
use wfengine_git::Refs;
use wfengine_storage_format::limits::PROBLEMS_MAX;
use wfengine_storage_format::{BlobId, RepositoryScanned, ScanOutcome, WorkflowFound, WorkflowVanished};

use super::{Discovery, line};
use crate::due::cut;
use crate::host::Host;
use crate::memory::Judged;
use crate::report::Report;
use crate::source::{Listed, Look, Source};
use crate::verdict::Tagged;

/// Moved branches alone are written down no more often than this.
const REFS_WRITTEN_EVERY_MS: u64 = 6 * 3_600_000;
/// Looks at a repository that fail one after the other before its turn goes to another member.
const STUMBLES_MAX: u32 = 3;

/// A tagged workflow of a default branch.
#[derive(Clone, Debug)]
pub(super) struct Here {
    pub(super) blob: BlobId,
    pub(super) tagged: Arc<Tagged>,
    /// What people should know of it there.
    pub(super) remarks: Vec<String>,
}

/// A checkout has no GitHub to fall back to, so what stands in the way of that is no remark.
fn remarks_at(listed: &Listed, tagged: &Tagged) -> Vec<String> {
    let concerns = |remark: &&String| listed.folder.is_none() || !remark.starts_with("no fallback");
    tagged.remarks.iter().filter(concerns).cloned().collect()
}

/// What is in a repository now.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) default_branch: String,
    pub(super) files: u32,
    pub(super) tagged: BTreeMap<String, Here>,
    pub(super) problems: Vec<(String, String)>,
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
                if error.is_passing {
                    self.stumble(listed, known, report).await;
                } else {
                    self.write_failure(listed, known, &error.what, report).await;
                }
                return;
            }
        };
        if look.is_stale {
            report.problem(name, "", "a limit of GitHub holds: this is what was seen before it");
        }
        let is_stale = look.is_stale;
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
        let mut refs = None;
        if !content.tagged.is_empty() {
            match self.start_what_is_due(source, listed, known, &content, report).await {
                Ok(found) => refs = Some(found),
                Err(why) => {
                    let why = format!("its workflows are not started: {why}");
                    report.problem(name, "", &why);
                    // whoever can start them is to have the turn
                    if self.is_for_others(listed) {
                        self.stumble(listed, known, report).await;
                        return;
                    }
                }
            }
        }
        self.stumbles.remove(&RepositoryKey::of(&listed.repository));
        let policy = self.options.policies.of(name);
        if !policy.runs_new_content() && !policy.runs_triggers() && self.is_for_others(listed) {
            // who starts nothing has no turn, or what is due would wait for it
            if known.and_then(|known| known.looks.get(&self.host.peer())).is_some_and(|look| look.saw()) {
                let why = "the policy of this member is manual: another one is to look";
                self.write_failure(listed, known, why, report).await;
            }
            return;
        }
        if !self.options.dry_run {
            self.write_scan(listed, known, &content, refs.as_ref(), report).await;
            let is_whole = !is_stale && (refs.is_some() || content.tagged.is_empty());
            if let Some(pushed_s) = listed.pushed_s.filter(|_| is_whole) {
                let key = RepositoryKey::of(&listed.repository);
                self.memory.remember_pushed_s(self.host.cache(), &key, pushed_s);
            }
        }
    }

    /// A look that failed for what may pass: after some of them another member may try, if there is one.
    pub(super) async fn stumble(
        &mut self,
        listed: &Listed,
        known: Option<&KnownRepository>,
        report: &mut Report,
    ) {
        let count = self.stumbles.entry(RepositoryKey::of(&listed.repository)).or_default();
        *count += 1;
        if *count >= STUMBLES_MAX && self.is_for_others(listed) {
            // the same words each time, or every round would write another event
            let why = "several looks in a row failed: another member is to look";
            self.write_failure(listed, known, why, report).await;
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
            let key = RepositoryKey::of(&listed.repository);
            self.memory.schedules_since(self.host.cache(), &key, path, &[], 0);
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
    pub(super) async fn write_failure(
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
}

/// What people call a workflow: its name, else its file's.
pub(super) fn display_name(tagged: &Tagged, path: &str) -> String {
    let named = tagged.workflow.name.as_ref().map(|name| name.text.trim()).filter(|name| !name.is_empty());
    named.unwrap_or_else(|| path.rsplit('/').next().unwrap_or(path)).to_owned()
}
