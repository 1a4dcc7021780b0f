//! The variables a step sees. Nothing of the node's own environment reaches a job except a short list of names.
//!
//! Layers, later ones win: the host's listed variables · `env` of the workflow · `env` of the job · what earlier steps
//! wrote to `GITHUB_ENV` · `env` of the step · the reserved variables below. `PATH` then gets what was written to
//! `GITHUB_PATH` in front, the latest first.
//!
//! Reserved (a workflow cannot change them): `GITHUB_ACTIONS`, `GITHUB_*` of the `github` context (see [`GITHUB_FIELDS`]),
//! `GITHUB_WORKSPACE`, `GITHUB_JOB`, `GITHUB_ACTION`, `GITHUB_EVENT_PATH`, the five environment files, `RUNNER_OS`,
//! `RUNNER_ARCH`, `RUNNER_NAME`, `RUNNER_TEMP`, `RUNNER_TOOL_CACHE`, `RUNNER_ENVIRONMENT`, `WFENGINE_RUN_ID`,
//! `WFENGINE_JOB_ID`, `WFENGINE_FENCING_TOKEN`, `WFENGINE_IDEMPOTENCY_KEY`. `CI` is `true` unless the workflow says
//! otherwise; so is `RUNNER_TRACKING_ID`, by which processes that outlive their job are found.

use std::{collections::BTreeMap, ffi::OsString, path::Path};

use wfengine_workflow::{Contexts, Value};

/// Variables of the host that a step sees.
pub const HOST_VARIABLES: &[&str] =
    &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];

/// Fields of the `github` context that become `GITHUB_<FIELD>`; the token is not among them.
pub const GITHUB_FIELDS: &[&str] = &[
    "action_ref",
    "action_repository",
    "actor",
    "actor_id",
    "api_url",
    "base_ref",
    "event_name",
    "graphql_url",
    "head_ref",
    "ref",
    "ref_name",
    "ref_protected",
    "ref_type",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "retention_days",
    "run_attempt",
    "run_id",
    "run_number",
    "server_url",
    "sha",
    "triggering_actor",
    "workflow",
    "workflow_ref",
    "workflow_sha",
];

/// The default search path where the host has none.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an operating system is called in `RUNNER_OS` and `runner.os`.
pub fn runner_os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "macOS",
        "windows" => "Windows",
        _ => "Linux",
    }
}

/// What a processor is called in `RUNNER_ARCH` and `runner.arch`.
pub fn runner_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86" => "X86",
        "arm" => "ARM",
        "aarch64" => "ARM64",
        _ => "X64",
    }
}

/// The part of `host` (mostly [`std::env::vars_os`]) that a job may see: [`HOST_VARIABLES`] and the names in `also`, which
/// the operator chose. What is not UTF-8 is left out.
pub fn visible_of_host(
    host: impl IntoIterator<Item = (OsString, OsString)>,
    also: &[String],
) -> BTreeMap<String, String> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let shown = |name: &String| HOST_VARIABLES.contains(&name.as_str()) || also.contains(name);
    let mut visible: BTreeMap<_, _> =
        host.into_iter().filter_map(text).filter(|(name, _)| shown(name)).collect();
    visible.entry("PATH".to_owned()).or_insert_with(|| PATH_DEFAULT.to_owned());
    visible
}

/// Who a job is, for its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobIdentity {
    /// `WFENGINE_RUN_ID`
    pub run_id: String,
    /// `WFENGINE_JOB_ID`
    pub job_id: String,
    /// The job's key in the workflow file: `GITHUB_JOB`.
    pub job_key: String,
    /// `WFENGINE_FENCING_TOKEN`: grows with every claim, for effects that can refuse an older one.
    pub fencing_token: String,
    /// `WFENGINE_IDEMPOTENCY_KEY`: the same for every claim of the job.
    pub idempotency_key: String,
    /// What `RUNNER_TRACKING_ID` begins with; the same for all jobs of one data directory, so that a node can end at its
    /// start what it left behind in a crash: see [`crate::clear_leftovers`]. Letters, digits and `-`, different for each
    /// data directory of a host; empty counts as `wfengine`.
    pub tracking_prefix: String,
    /// `RUNNER_NAME`: the peer's name.
    pub peer_name: String,
}

/// The folders of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobFolders {
    pub(crate) workspace: String,
    pub(crate) temp: String,
    pub(crate) tool_cache: String,
    pub(crate) event_file: String,
}

/// The variables that are the same for every step of a job.
pub(crate) fn reserved(
    identity: &JobIdentity,
    folders: &JobFolders,
    contexts: &Contexts,
    tracking_id: &str,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        variables.insert(name.to_owned(), value.to_owned());
    };
    let github = contexts.value("github").cloned().unwrap_or_default();
    for field in GITHUB_FIELDS {
        if let value @ (Value::String(_) | Value::Number(_) | Value::Bool(_)) = github.field(field) {
            set(&format!("GITHUB_{}", field.to_ascii_uppercase()), &value.to_text());
        }
    }
    set("GITHUB_ACTIONS", "true");
    set("GITHUB_JOB", &identity.job_key);
    set("GITHUB_WORKSPACE", &folders.workspace);
    set("GITHUB_EVENT_PATH", &folders.event_file);
    set("RUNNER_OS", runner_os());
    set("RUNNER_ARCH", runner_arch());
    set("RUNNER_NAME", &identity.peer_name);
    set("RUNNER_ENVIRONMENT", "self-hosted");
    set("RUNNER_TEMP", &folders.temp);
    set("RUNNER_TOOL_CACHE", &folders.tool_cache);
    set("WFENGINE_RUN_ID", &identity.run_id);
    set("WFENGINE_JOB_ID", &identity.job_id);
    set("WFENGINE_FENCING_TOKEN", &identity.fencing_token);
    set("WFENGINE_IDEMPOTENCY_KEY", &identity.idempotency_key);
    set("RUNNER_TRACKING_ID", tracking_id);
    variables
}

/// The environment of one step from its layers.
pub(crate) fn compose(
    host: &BTreeMap<String, String>,
    declared: &[&BTreeMap<String, String>],
    reserved: &BTreeMap<String, String>,
    paths: &[String],
) -> BTreeMap<String, String> {
    let mut environment = host.clone();
    environment.insert("CI".to_owned(), "true".to_owned());
    for layer in declared {
        environment.extend(layer.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    for (name, value) in reserved {
        let optional = name == "RUNNER_TRACKING_ID" && declared.iter().any(|layer| layer.contains_key(name));
        if !optional {
            environment.insert(name.clone(), value.clone());
        }
    }
    if !paths.is_empty() {
        let own = environment.remove("PATH").unwrap_or_default();
        let parts = paths.iter().rev().cloned().chain((!own.is_empty()).then_some(own));
        environment.insert("PATH".to_owned(), parts.collect::<Vec<_>>().join(":"));
    }
    environment
}

/// Why a name or value cannot be in an environment.
pub(crate) fn unusable(name: &str, value: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("the name is empty")
    } else if name.contains('=') {
        Some("the name holds `=`")
    } else if name.contains('\0') || value.contains('\0') {
        Some("it holds a zero byte")
    } else {
        None
    }
}

/// A path as text for a variable. Paths of jobs are made by us; a workspace that is not UTF-8 shows as near as possible.
pub(crate) fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_listed_variables_of_the_host_are_seen() {
        use std::os::unix::ffi::OsStringExt;
        let pairs =
            [("HOME", "/h"), ("GITHUB_TOKEN", "t"), ("AWS_SECRET_ACCESS_KEY", "s"), ("JAVA_HOME", "/j")];
        let mut host: Vec<(OsString, OsString)> =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        host.push(("TZ".into(), OsString::from_vec(vec![0xff])));
        assert_eq!(
            visible_of_host(host, &["JAVA_HOME".to_owned()]),
            map(&[("HOME", "/h"), ("JAVA_HOME", "/j"), ("PATH", PATH_DEFAULT)])
        );
    }

    #[test]
    fn later_layers_win_and_reserved_names_win_over_all() {
        let environment = compose(
            &map(&[("PATH", "/bin"), ("A", "host")]),
            &[
                &map(&[("A", "workflow"), ("B", "workflow"), ("GITHUB_SHA", "x")]),
                &map(&[("B", "step"), ("CI", "no")]),
            ],
            &map(&[("GITHUB_SHA", "real"), ("RUNNER_TRACKING_ID", "t")]),
            &["/one".to_owned(), "/two".to_owned()],
        );
        let expected = [
            ("A", "workflow"),
            ("B", "step"),
            ("CI", "no"),
            ("GITHUB_SHA", "real"),
            ("PATH", "/two:/one:/bin"),
            ("RUNNER_TRACKING_ID", "t"),
        ];
        assert_eq!(environment, map(&expected));
    }

    #[test]
    fn a_step_may_empty_its_tracking_id() {
        let step = map(&[("RUNNER_TRACKING_ID", "")]);
        let environment = compose(&map(&[]), &[&step], &map(&[("RUNNER_TRACKING_ID", "t")]), &[]);
        assert_eq!(environment["RUNNER_TRACKING_ID"], "");
    }

    #[test]
    fn the_github_context_becomes_variables_but_its_token_does_not() {
        let mut contexts = Contexts::new();
        contexts.set(
            "github",
            Value::from_json(r#"{"sha":"abc","run_number":7,"token":"t","event":{}}"#).unwrap(),
        );
        let folders = JobFolders {
            workspace: "/w".into(),
            temp: "/t".into(),
            tool_cache: "/c".into(),
            event_file: "/e".into(),
        };
        let variables = reserved(&JobIdentity::default(), &folders, &contexts, "id");
        assert_eq!(variables["GITHUB_SHA"], "abc");
        assert_eq!(variables["GITHUB_RUN_NUMBER"], "7");
        assert!(!variables.contains_key("GITHUB_TOKEN") && !variables.contains_key("GITHUB_EVENT"));
    }
}
