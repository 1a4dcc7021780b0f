//! The pure half: which refs moved, which schedules came due, and the keys that make one trigger one run.

use std::collections::BTreeMap;

use wfengine_git::Refs;
use wfengine_storage_format::limits::TRIGGER_KEY_BYTES_MAX;
use wfengine_storage_format::{BlobId, RepositoryRef, RunId, run_id, sha256};
use wfengine_workflow::Schedule;
use wfengine_workflow::triggers::{Changed, Push, PushVerdict, Triggers};

/// Refs of one repository that are looked at for pushes in one go; beyond that something else is going on than pushes.
pub const REFS_AT_ONCE_MAX: usize = 32;

/// A trigger key: its source and repository, the workflow, and what happened. Too long a one is named by its hash.
fn key(repository: &RepositoryRef, path: &str, what: &str) -> Vec<u8> {
    let source = match repository.source.as_str() {
        "path" => "path:".to_owned(),
        host => format!("github:{host}#"),
    };
    let whole = format!("{source}{}:{path}:{what}", repository.id);
    if whole.len() <= TRIGGER_KEY_BYTES_MAX {
        return whole.into_bytes();
    }
    format!("{source}sha256:{}", BlobId::from_bytes(sha256(whole.as_bytes()))).into_bytes()
}

/// The key of new content.
pub fn found_key(repository: &RepositoryRef, path: &str, content: &BlobId) -> Vec<u8> {
    key(repository, path, &format!("found:{content}"))
}

/// The key of a push: a ref that came to stand at a commit.
pub fn push_key(repository: &RepositoryRef, path: &str, git_ref: &str, sha: &str) -> Vec<u8> {
    key(repository, path, &format!("push:{git_ref}:{sha}"))
}

/// The key of an instant of a schedule.
pub fn schedule_key(repository: &RepositoryRef, path: &str, schedule: &Schedule, due_s: u64) -> Vec<u8> {
    key(repository, path, &format!("schedule:{}|{}:{due_s}", schedule.cron.text(), schedule.timezone))
}

/// The key of a dispatch: every one is another.
pub fn dispatch_key(repository: &RepositoryRef, path: &str, random: [u8; 16]) -> Vec<u8> {
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    key(repository, path, &format!("dispatch:{random}"))
}

/// The run of a key.
pub fn run_of(key: &[u8]) -> RunId {
    run_id(key, 1)
}

/// A branch or tag that came to stand at a commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefMoved {
    /// Its full name.
    pub git_ref: String,
    /// Where it stood; `None` when it is new.
    pub before: Option<String>,
    /// Where it stands.
    pub after: String,
}

/// The refs that are new or stand elsewhere; what was deleted starts nothing.
pub fn moved_refs(before: &BTreeMap<String, String>, now: &Refs) -> Vec<RefMoved> {
    let moved = now.commits.iter().filter_map(|(git_ref, after)| {
        let stood = before.get(git_ref);
        (stood != Some(after)).then(|| RefMoved {
            git_ref: git_ref.clone(),
            before: stood.cloned(),
            after: after.clone(),
        })
    });
    moved.collect()
}

/// Whether a push starts a workflow, and if not, why.
pub fn push_verdict(triggers: &Triggers, git_ref: &str, changed: Option<&[String]>) -> Result<(), String> {
    let Some(push) = &triggers.push else { return Err("it has no push trigger".to_owned()) };
    let changed = changed.map_or(Changed::Unknown, Changed::Known);
    match push.matches(&Push { git_ref, changed }) {
        PushVerdict::Due => Ok(()),
        PushVerdict::NotDue { reason } => Err(reason),
    }
}

/// The latest due instant of a schedule after `since_s` and until `now_s`: what was missed fires once.
pub fn schedule_due(schedule: &Schedule, since_s: u64, now_s: u64) -> Option<u64> {
    let seconds = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
    u64::try_from(schedule.latest_due(seconds(since_s), seconds(now_s))?).ok()
}

/// When the next schedule comes due.
pub fn next_schedule(triggers: &Triggers, now_s: u64) -> Option<u64> {
    let now = i64::try_from(now_s).ok()?;
    let next = triggers.schedules.iter().filter_map(|schedule| schedule.next_due(now)).min()?;
    u64::try_from(next).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wfengine_workflow::Workflow;

    fn repository(source: &str) -> RepositoryRef {
        RepositoryRef { source: source.into(), id: "7".into(), name: "o/r".into() }
    }

    fn triggers(on: &str) -> Triggers {
        let text = format!("on: {on}\njobs: {{a: {{runs-on: x}}}}\n");
        Triggers::of(&Workflow::read(text.as_bytes(), "f.yml").unwrap()).unwrap()
    }

    #[test]
    fn keys_name_their_source_and_tell_everything_apart() {
        let github = repository("github.com");
        let a = push_key(&github, "a.yml", "refs/heads/main", "5");
        assert_eq!(a, b"github:github.com#7:a.yml:push:refs/heads/main:5");
        assert!(push_key(&repository("path"), "a.yml", "r", "5").starts_with(b"path:7:a.yml:"));
        let renamed = RepositoryRef { name: "o/new".into(), ..github.clone() };
        assert_eq!(push_key(&renamed, "a.yml", "refs/heads/main", "5"), a, "a name is no identity");
        let schedule = &triggers("{schedule: [{cron: '0 0 * * *'}]}").schedules[0];
        let content = BlobId::from_bytes([1; 32]);
        let keys = [
            a,
            push_key(&github, "a.yml", "refs/heads/main", "6"),
            push_key(&github, "b.yml", "refs/heads/main", "5"),
            found_key(&github, "a.yml", &content),
            schedule_key(&github, "a.yml", schedule, 5),
            schedule_key(&github, "a.yml", schedule, 6),
            dispatch_key(&github, "a.yml", [1; 16]),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().map(|key| run_of(key)).collect();
        assert_eq!(distinct.len(), keys.len());
        let long = found_key(&github, &"p".repeat(4_000), &content);
        assert!(long.len() < TRIGGER_KEY_BYTES_MAX && long.starts_with(b"github:github.com#sha256:"));
    }

    #[test]
    fn new_and_moved_refs_are_pushes_and_deleted_ones_are_not() {
        let refs = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
            list.iter().map(|(name, commit)| ((*name).to_owned(), (*commit).to_owned())).collect()
        };
        let before = refs(&[("refs/heads/a", "1"), ("refs/heads/b", "1"), ("refs/heads/gone", "1")]);
        let commits = refs(&[("refs/heads/a", "1"), ("refs/heads/b", "2"), ("refs/tags/v1", "1")]);
        let moved = moved_refs(&before, &Refs { commits, head: None });
        let shown: Vec<_> = moved
            .iter()
            .map(|moved| (moved.git_ref.as_str(), moved.before.as_deref(), moved.after.as_str()))
            .collect();
        assert_eq!(shown, [("refs/heads/b", Some("1"), "2"), ("refs/tags/v1", None, "1")]);
    }

    #[test]
    fn a_push_is_judged_by_branch_and_path() {
        let filtered = triggers("{push: {branches: [main], paths: ['data/**']}}");
        let verdict = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            push_verdict(&filtered, "refs/heads/main", Some(&paths))
        };
        assert_eq!(verdict(&["data/x/y", "z"]), Ok(()));
        assert!(verdict(&["z"]).is_err());
        assert_eq!(push_verdict(&filtered, "refs/heads/main", None), Ok(()));
        assert!(push_verdict(&filtered, "refs/heads/other", None).is_err());
        assert_eq!(
            push_verdict(&triggers("workflow_dispatch"), "r", None),
            Err("it has no push trigger".to_owned())
        );
    }

    #[test]
    fn what_was_missed_while_asleep_fires_once() {
        let daily =
            triggers("{schedule: [{cron: '0 6 * * *'}, {cron: '30 * * * *', timezone: Europe/Berlin}]}");
        let day = 86_400;
        let since = 1_700_000_000 / day * day;
        let due = |now_s: u64| -> Vec<Option<u64>> {
            daily.schedules.iter().map(|schedule| schedule_due(schedule, since, now_s)).collect()
        };
        let third = since + 3 * day + 6 * 3_600;
        assert_eq!(due(since + 3 * day + 7 * 3_600), [Some(third), Some(third + 1_800)]);
        assert_eq!(due(since + 60), [None, None]);
        assert_eq!(next_schedule(&daily, since), Some(since + 1_800));
    }
}
