//! The workflows of the simulator and their planner: a shape named by the file's path stands for the jobs inside.

use std::collections::BTreeMap;

use wfengine_core::views::job::Status;
use wfengine_core::views::run::Run;
use wfengine_storage_format::{
    BlobId, EventId, Frozen, JobsPlanned, Origin, Placement, PlannedKey, PlannedLeg, RunSpec, RunSubmitted,
    WorkflowSpec,
};

/// What a run looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// So many keys, each needing the one before.
    Chain(usize),
    /// So many independent keys and one that needs them all.
    Fan(usize),
    /// One key with so many legs, at most two at once.
    Matrix(usize),
    /// One key in the concurrency group `deploy`.
    Group,
    /// One opaque job for a program.
    Task,
}

impl Shape {
    /// The path that stands for it.
    pub fn path(self) -> String {
        match self {
            Shape::Chain(len) => format!("chain/{len}"),
            Shape::Fan(len) => format!("fan/{len}"),
            Shape::Matrix(len) => format!("matrix/{len}"),
            Shape::Group => "group/1".to_owned(),
            Shape::Task => "task/1".to_owned(),
        }
    }

    fn read(path: &str) -> Option<Self> {
        let (name, len) = path.split_once('/')?;
        let len = len.parse().ok()?;
        match name {
            "chain" => Some(Shape::Chain(len)),
            "fan" => Some(Shape::Fan(len)),
            "matrix" => Some(Shape::Matrix(len)),
            "group" => Some(Shape::Group),
            "task" => Some(Shape::Task),
            _ => None,
        }
    }

    /// The job keys with what they need.
    fn keys(self) -> Vec<(String, Vec<String>)> {
        let key = |n: usize| format!("k{n}");
        match self {
            Shape::Chain(len) => {
                (0..len).map(|n| (key(n), n.checked_sub(1).map(key).into_iter().collect())).collect()
            }
            Shape::Fan(len) => {
                let first = (0..len).map(|n| (key(n), Vec::new()));
                first.chain([("last".to_owned(), (0..len).map(key).collect())]).collect()
            }
            Shape::Matrix(_) | Shape::Group | Shape::Task => vec![("only".to_owned(), Vec::new())],
        }
    }

    fn legs(self, key: &str) -> Vec<PlannedLeg> {
        let leg = |n: Option<usize>| PlannedLeg {
            name: key.to_owned(),
            matrix: n.map(|n| BTreeMap::from([("n".to_owned(), n.to_string())])).unwrap_or_default(),
            runs_on: vec!["linux".to_owned()],
            group: (self == Shape::Group).then(|| "deploy".to_owned()),
            timeout_minutes: 60,
            continue_on_error: false,
        };
        match self {
            Shape::Matrix(len) => (0..len).map(|n| leg(Some(n))).collect(),
            _ => vec![leg(None)],
        }
    }

    fn planned(self, key: &str, needs: Vec<String>, skipped: Option<String>) -> PlannedKey {
        PlannedKey {
            key: key.to_owned(),
            needs,
            skipped,
            max_parallel: matches!(self, Shape::Matrix(_)).then_some(2),
            fail_fast: matches!(self, Shape::Matrix(len) if len % 2 == 1),
            legs: self.legs(key),
        }
    }

    /// The plan that needs no results.
    pub fn static_plan(self) -> Vec<PlannedKey> {
        if self == Shape::Task {
            return Vec::new();
        }
        let free = self.keys().into_iter().filter(|(_, needs)| needs.is_empty());
        free.map(|(key, needs)| self.planned(&key, needs, None)).collect()
    }

    /// The submission of a run of this shape.
    pub fn submission(self, name: &str) -> RunSubmitted {
        let spec = match self {
            Shape::Task => RunSpec::Task { workflow_id: "program".to_owned() },
            shape => RunSpec::Workflow(WorkflowSpec {
                path: shape.path(),
                source: BlobId::from_bytes(wfengine_storage_format::sha256(shape.path().as_bytes())),
                called: vec![],
                job_keys: shape.keys().into_iter().map(|(key, _)| key).collect(),
                rules_version: 1,
            }),
        };
        RunSubmitted {
            trigger_key: format!("id:{name}").into_bytes(),
            attempt: 1,
            name: name.to_owned(),
            spec,
            frozen: Frozen { repository: "house/garden".to_owned(), ..Frozen::default() },
            tags: vec![],
            metadata_json: String::new(),
            priority_milli: 3000,
            placement: Placement::Rule,
            origin: Origin::Hand,
            retries: 0,
            backoff_ms: (500, 5_000),
            rerun_of: None,
        }
    }
}

/// Plans what can be planned of a run: every unplanned key whose needs have all ended.
pub fn plan(run: &Run) -> Option<JobsPlanned> {
    let submitted = run.submitted.as_ref()?;
    let RunSpec::Workflow(spec) = &submitted.spec else { return None };
    let shape = Shape::read(&spec.path)?;
    let unplanned = run.unplanned_keys();
    let finished = run.finished_keys();
    let mut jobs = Vec::new();
    let mut consumed: Vec<EventId> = Vec::new();
    for (key, needs) in shape.keys() {
        let ready = needs.iter().all(|need| finished.contains(&need.as_str()));
        if !ready || !unplanned.contains(&key) {
            continue;
        }
        let needed: Vec<_> = needs.iter().flat_map(|need| run.jobs_of(need)).collect();
        consumed.extend(needed.iter().filter_map(|job| job.result.as_ref()).map(|result| result.id));
        let failed = needed.iter().any(|job| job.status != Status::Completed);
        let skipped = failed.then(|| "a job it needs did not succeed".to_owned());
        jobs.push(shape.planned(&key, needs, skipped));
    }
    consumed.sort_unstable();
    consumed.dedup();
    (!jobs.is_empty()).then_some(JobsPlanned {
        run: run.id,
        submission: run.canonical?,
        rules_version: spec.rules_version,
        consumed,
        jobs,
    })
}

/// The next attempt of a failed run.
pub fn resubmission(run: &Run, attempt: u32) -> Option<(RunSubmitted, Vec<PlannedKey>)> {
    let mut submitted = RunSubmitted::clone(run.submitted.as_ref()?);
    submitted.attempt = attempt;
    submitted.rerun_of = run.canonical;
    let plan = match &submitted.spec {
        RunSpec::Workflow(spec) => Shape::read(&spec.path)?.static_plan(),
        RunSpec::Task { .. } => Vec::new(),
    };
    Some((submitted, plan))
}
