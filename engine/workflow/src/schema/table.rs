//! The language as a table: which keys stand where, what they hold, which contexts an expression there may use.
//!
//! Contexts are inherited: a place adds its names to those of the place around it.

use super::{Key, Map, Names, Need, Place, Rule, events};

const NO: Names = Names::NONE;
/// What is known when a run starts.
const RUN: Names = Names::GITHUB.and(Names::INPUTS).and(Names::VARS);
/// What is known when a job is planned.
const PLAN: Names = RUN.and(Names::NEEDS);
/// What is known of one leg of a job.
const LEG: Names = PLAN.and(Names::STRATEGY).and(Names::MATRIX);
/// What is known while a job runs, without secrets.
const RUNNING: Names = LEG.and(Names::STEPS).and(Names::JOB).and(Names::RUNNER).and(Names::ENV);
/// What a step's own keys see.
const STEP: Names = RUNNING.and(Names::SECRETS).and(Names::HASH_FILES);

const fn place(names: Names, rules: &'static [Rule]) -> Place {
    Place { names, rules }
}

const fn key(name: &'static str, place: &'static Place) -> Key {
    Key { name, place, need: Need::Optional }
}

const fn required(name: &'static str, place: &'static Place) -> Key {
    Key { name, place, need: Need::Required }
}

const fn required_by_github(name: &'static str, place: &'static Place) -> Key {
    Key { name, place, need: Need::RequiredByGithub }
}

const fn ours(name: &'static str, place: &'static Place) -> Key {
    Key { name, place, need: Need::Ours }
}

/// A mapping with these keys and no others.
macro_rules! map {
    ($($key:expr),+ $(,)?) => {
        Rule::Map(&Map { keys: &[$($key),+], others: None })
    };
}

/// A mapping from names to one kind of value.
macro_rules! map_of {
    ($place:expr) => {
        Rule::Map(&Map { keys: &[], others: Some($place) })
    };
}

pub(super) static ANY: Place = place(NO, &[Rule::Any]);
static TEXT: Place = place(NO, &[Rule::Text]);
static WORD: Place = place(NO, &[Rule::NonEmptyText]);
static WORDS: Place = place(NO, &[Rule::List(&WORD)]);
static WORD_OR_WORDS: Place = place(NO, &[Rule::NonEmptyText, Rule::List(&WORD)]);
static BOOL: Place = place(NO, &[Rule::Bool]);
static NUMBER: Place = place(NO, &[Rule::Number]);

/// Whether the text of this place is an expression even without `${{ }}`.
pub(super) fn is_condition(place: &'static Place) -> bool {
    [&JOB_IF, &STEP_IF, &SNAPSHOT_IF].into_iter().any(|condition| std::ptr::eq(condition, place))
}

pub(super) static WORKFLOW: Place = place(
    NO,
    &[map!(
        required_by_github("on", &ON),
        key("name", &TEXT),
        key("description", &TEXT),
        key("run-name", &RUN_NAME),
        key("defaults", &DEFAULTS),
        key("env", &WORKFLOW_ENV),
        key("permissions", &PERMISSIONS),
        key("concurrency", &WORKFLOW_CONCURRENCY),
        required("jobs", &JOBS),
        ours("labels", &LABELS),
    )],
);

static ON: Place = place(
    NO,
    &[
        Rule::OneOf(events::EVENT_NAMES),
        Rule::List(&place(NO, &[Rule::OneOf(events::EVENT_NAMES)])),
        Rule::Map(&events::EVENTS),
    ],
);
static RUN_NAME: Place = place(RUN, &[Rule::Text]);
static LABELS: Place = place(NO, &[Rule::NonEmptyText, Rule::List(&WORD)]);
static WORKFLOW_ENV: Place = place(RUN.and(Names::SECRETS), &[map_of!(&TEXT)]);
static DEFAULTS: Place = place(NO, &[map!(key("run", &place(NO, &[RUN_DEFAULTS])))]);
const RUN_DEFAULTS: Rule = map!(key("shell", &WORD), key("working-directory", &WORD));

static PERMISSIONS: Place = place(
    NO,
    &[
        Rule::OneOf(&["read-all", "write-all"]),
        map!(
            key("actions", &LEVEL),
            key("artifact-metadata", &LEVEL),
            key("attestations", &LEVEL),
            key("checks", &LEVEL),
            key("code-quality", &LEVEL),
            key("contents", &LEVEL),
            key("copilot-requests", &LEVEL_WRITE),
            key("deployments", &LEVEL),
            key("discussions", &LEVEL),
            key("drives", &LEVEL),
            key("id-token", &LEVEL_WRITE),
            key("issues", &LEVEL),
            key("models", &LEVEL_READ),
            key("packages", &LEVEL),
            key("pages", &LEVEL),
            key("pull-requests", &LEVEL),
            key("repository-projects", &LEVEL),
            key("security-events", &LEVEL),
            key("statuses", &LEVEL),
            key("vulnerability-alerts", &LEVEL_READ),
        ),
    ],
);
static LEVEL: Place = place(NO, &[Rule::OneOf(&["read", "write", "none"])]);
static LEVEL_READ: Place = place(NO, &[Rule::OneOf(&["read", "none"])]);
static LEVEL_WRITE: Place = place(NO, &[Rule::OneOf(&["write", "none"])]);

const CONCURRENCY: Rule = map!(
    required("group", &WORD),
    key("cancel-in-progress", &BOOL),
    key("queue", &place(NO, &[Rule::OneOf(&["single", "max"])])),
);
static WORKFLOW_CONCURRENCY: Place = place(RUN, &[Rule::Text, CONCURRENCY]);
static JOB_CONCURRENCY: Place = place(LEG, &[Rule::NonEmptyText, CONCURRENCY]);

static JOBS: Place = place(NO, &[map_of!(&JOB)]);
static JOB: Place = place(
    NO,
    &[
        map!(
            key("needs", &WORD_OR_WORDS),
            key("if", &JOB_IF),
            key("strategy", &STRATEGY),
            key("name", &LEG_TEXT),
            required_by_github("runs-on", &RUNS_ON),
            key("timeout-minutes", &LEG_NUMBER),
            key("cancel-timeout-minutes", &LEG_NUMBER),
            key("continue-on-error", &LEG_BOOL),
            key("container", &CONTAINER),
            key("services", &SERVICES),
            key("env", &JOB_ENV),
            key("environment", &ENVIRONMENT),
            key("permissions", &PERMISSIONS),
            key("concurrency", &JOB_CONCURRENCY),
            key("outputs", &OUTPUTS),
            key("defaults", &JOB_DEFAULTS),
            key("steps", &STEPS),
            key("snapshot", &SNAPSHOT),
            ours("labels", &LABELS),
        ),
        map!(
            key("name", &LEG_TEXT),
            required("uses", &WORD),
            key("with", &CALL_WITH),
            key("secrets", &CALL_SECRETS),
            key("needs", &WORD_OR_WORDS),
            key("if", &JOB_IF),
            key("permissions", &PERMISSIONS),
            key("concurrency", &JOB_CONCURRENCY),
            key("strategy", &STRATEGY),
            ours("labels", &LABELS),
        ),
    ],
);

static JOB_IF: Place = place(PLAN.and(Names::STATUS), &[Rule::Text]);
static LEG_TEXT: Place = place(LEG, &[Rule::Text]);
static LEG_NUMBER: Place = place(LEG, &[Rule::Number]);
static LEG_BOOL: Place = place(LEG, &[Rule::Bool]);
static JOB_ENV: Place = place(LEG.and(Names::SECRETS), &[map_of!(&TEXT)]);
static JOB_DEFAULTS: Place = place(NO, &[map!(key("run", &place(LEG.and(Names::ENV), &[RUN_DEFAULTS])))]);
static OUTPUTS: Place = place(NO, &[map_of!(&place(RUNNING.and(Names::SECRETS), &[Rule::Text]))]);
static CALL_WITH: Place = place(NO, &[map_of!(&place(LEG, &[Rule::Text, Rule::Bool, Rule::Number]))]);
static CALL_SECRETS: Place = place(
    NO,
    &[
        Rule::OneOf(&["inherit"]),
        map_of!(&place(LEG.and(Names::SECRETS), &[Rule::Text, Rule::Bool, Rule::Number])),
    ],
);

static STRATEGY: Place =
    place(PLAN, &[map!(key("fail-fast", &BOOL), key("max-parallel", &NUMBER), key("matrix", &MATRIX))]);
static MATRIX: Place = place(
    NO,
    &[Rule::Map(&Map {
        keys: &[key("include", &FILTERS), key("exclude", &FILTERS)],
        others: Some(&place(NO, &[Rule::List(&ANY)])),
    })],
);
static FILTERS: Place = place(NO, &[Rule::List(&place(NO, &[map_of!(&ANY)]))]);

static RUNS_ON: Place = place(
    LEG,
    &[Rule::NonEmptyText, Rule::List(&WORD), map!(key("group", &WORD), key("labels", &WORD_OR_WORDS))],
);
static ENVIRONMENT: Place = place(
    LEG,
    &[
        Rule::Text,
        map!(
            required("name", &LEG_TEXT),
            key("url", &place(RUNNING, &[Rule::Text])),
            key("deployment", &BOOL),
        ),
    ],
);
static SNAPSHOT: Place = place(
    NO,
    &[
        Rule::NonEmptyText,
        map!(required("image-name", &WORD), key("if", &SNAPSHOT_IF), key("version", &WORD)),
    ],
);
static SNAPSHOT_IF: Place = place(LEG, &[Rule::Text]);

static CONTAINER: Place = place(
    LEG,
    &[
        Rule::Text,
        map!(
            key("image", &WORD),
            key("options", &TEXT),
            key("env", &CONTAINER_ENV),
            key("ports", &WORDS),
            key("volumes", &WORDS),
            key("credentials", &CREDENTIALS),
        ),
    ],
);
static SERVICES: Place = place(
    LEG,
    &[map_of!(&place(
        NO,
        &[
            Rule::NonEmptyText,
            map!(
                key("image", &WORD),
                key("options", &TEXT),
                key("env", &CONTAINER_ENV),
                key("ports", &WORDS),
                key("volumes", &WORDS),
                key("credentials", &CREDENTIALS),
                key("entrypoint", &TEXT),
                key("command", &TEXT),
            ),
        ]
    ))],
);
static CONTAINER_ENV: Place = place(NO, &[map_of!(&place(RUNNING.and(Names::SECRETS), &[Rule::Text]))]);
static CREDENTIALS: Place =
    place(RUN.and(Names::SECRETS).and(Names::ENV), &[map!(key("username", &WORD), key("password", &WORD))]);

static STEPS: Place = place(NO, &[Rule::List(&STEP_ITEM)]);
static STEP_ITEM: Place = place(
    NO,
    &[
        map!(
            key("name", &STEP_TEXT),
            key("id", &WORD),
            key("if", &STEP_IF),
            key("timeout-minutes", &STEP_NUMBER),
            required("run", &STEP_TEXT),
            key("continue-on-error", &STEP_BOOL),
            key("env", &STEP_ENV),
            key("working-directory", &STEP_TEXT),
            key("shell", &WORD),
            key("background", &BOOL),
        ),
        map!(
            key("name", &STEP_TEXT),
            key("id", &WORD),
            key("if", &STEP_IF),
            key("continue-on-error", &STEP_BOOL),
            key("timeout-minutes", &STEP_NUMBER),
            required("uses", &WORD),
            key("with", &STEP_ENV),
            key("env", &STEP_ENV),
            key("background", &BOOL),
        ),
        map!(
            key("name", &STEP_TEXT),
            key("id", &WORD),
            key("continue-on-error", &STEP_BOOL),
            required("wait", &WORD_OR_WORDS),
        ),
        map!(
            key("name", &STEP_TEXT),
            key("id", &WORD),
            key("continue-on-error", &STEP_BOOL),
            required("wait-all", &place(NO, &[Rule::Null, Rule::Bool])),
        ),
        map!(
            key("name", &STEP_TEXT),
            key("id", &WORD),
            key("continue-on-error", &STEP_BOOL),
            required("cancel", &WORD),
        ),
        map!(required("parallel", &STEPS)),
    ],
);
static STEP_IF: Place = place(RUNNING.and(Names::HASH_FILES).and(Names::STATUS), &[Rule::Text]);
static STEP_TEXT: Place = place(STEP, &[Rule::Text]);
static STEP_NUMBER: Place = place(STEP, &[Rule::Number]);
static STEP_BOOL: Place = place(STEP, &[Rule::Bool]);
static STEP_ENV: Place = place(STEP, &[map_of!(&TEXT)]);
