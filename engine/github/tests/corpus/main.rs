//! Our models and queries against GitHub's own description, its examples, recorded answers and payloads.
//!
//! Needs the folder of the contract data in `WFENGINE_CORPUS`; without it the tests say that they did not run.
#![expect(clippy::unwrap_used, reason = "a test stops at a broken corpus")]

#[path = "../client/fake.rs"]
#[expect(dead_code, reason = "this test takes a part of it")]
mod fake;
#[path = "../../../../tests/tests/requirements/folder.rs"]
mod folder;
mod queries;
mod runners;

use std::{collections::BTreeMap, path::Path};

use fake::{Fake, Reply};
use folder::folder;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wfengine_github::{
    ApiError,
    models::{
        Account, Blob, Branch, CheckRun, Commit, CommitStatus, ContentEntry, Hook, JitConfig, Job,
        RateLimits, Repository, Runner, RunnerToken, Tree, Workflow, WorkflowRun,
    },
    rest::{
        Annotation, AnnotationLevel, CheckConclusion, CheckOutput, CheckRunDraft, CheckState, RunsWanted,
        StatusState,
    },
    webhook::{Delivery, Hint},
};

type Reads = fn(&Value) -> Result<(), String>;

fn reads<T: DeserializeOwned>(value: &Value) -> Result<(), String> {
    serde_json::from_value::<T>(value.clone()).map(|_| ()).map_err(|error| error.to_string())
}

/// A list of them, or one.
fn content(value: &Value) -> Result<(), String> {
    match value {
        Value::Array(_) => reads::<Vec<ContentEntry>>(value),
        _ => reads::<ContentEntry>(value),
    }
}

/// What we model: operation, the part of its answer, how it is read.
const MODELLED: &[(&str, &str, Reads)] = &[
    ("repos/list-for-authenticated-user", "", reads::<Vec<Repository>>),
    ("repos/list-for-org", "", reads::<Vec<Repository>>),
    ("repos/list-for-user", "", reads::<Vec<Repository>>),
    ("apps/list-repos-accessible-to-installation", "/repositories", reads::<Vec<Repository>>),
    ("repos/get", "", reads::<Repository>),
    ("git/get-tree", "", reads::<Tree>),
    ("git/get-blob", "", reads::<Blob>),
    ("repos/get-content", "", content),
    ("repos/get-branch", "", reads::<Branch>),
    ("repos/get-commit", "", reads::<Commit>),
    ("users/get-authenticated", "", reads::<Account>),
    ("rate-limit/get", "", reads::<RateLimits>),
    ("actions/list-repo-workflows", "/workflows", reads::<Vec<Workflow>>),
    ("actions/list-workflow-runs-for-repo", "/workflow_runs", reads::<Vec<WorkflowRun>>),
    ("actions/list-workflow-runs", "/workflow_runs", reads::<Vec<WorkflowRun>>),
    ("actions/get-workflow-run", "", reads::<WorkflowRun>),
    ("actions/list-jobs-for-workflow-run", "/jobs", reads::<Vec<Job>>),
    ("actions/list-jobs-for-workflow-run-attempt", "/jobs", reads::<Vec<Job>>),
    ("actions/get-job-for-workflow-run", "", reads::<Job>),
    ("actions/list-self-hosted-runners-for-repo", "/runners", reads::<Vec<Runner>>),
    ("actions/list-self-hosted-runners-for-org", "/runners", reads::<Vec<Runner>>),
    ("actions/get-self-hosted-runner-for-repo", "", reads::<Runner>),
    ("actions/get-self-hosted-runner-for-org", "", reads::<Runner>),
    ("actions/generate-runner-jitconfig-for-repo", "", reads::<JitConfig>),
    ("actions/generate-runner-jitconfig-for-org", "", reads::<JitConfig>),
    ("actions/create-registration-token-for-repo", "", reads::<RunnerToken>),
    ("actions/create-registration-token-for-org", "", reads::<RunnerToken>),
    ("actions/create-remove-token-for-repo", "", reads::<RunnerToken>),
    ("actions/create-remove-token-for-org", "", reads::<RunnerToken>),
    ("checks/create", "", reads::<CheckRun>),
    ("checks/get", "", reads::<CheckRun>),
    ("checks/update", "", reads::<CheckRun>),
    ("repos/create-commit-status", "", reads::<CommitStatus>),
    ("repos/list-commit-statuses-for-ref", "", reads::<Vec<CommitStatus>>),
    ("repos/list-webhooks", "", reads::<Vec<Hook>>),
    ("repos/create-webhook", "", reads::<Hook>),
];

fn json_of(file: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// The examples of every operation's success, by operation.
fn examples(corpus: &Path) -> BTreeMap<String, Vec<Value>> {
    let description = json_of(&corpus.join("openapi-subset.json"));
    let resolve = |value: &Value| match value["$ref"].as_str() {
        Some(reference) => description.pointer(reference.trim_start_matches('#')).unwrap().clone(),
        None => value.clone(),
    };
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for methods in description["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            for (status, response) in operation["responses"].as_object().unwrap() {
                if !status.starts_with('2') {
                    continue;
                }
                let response = resolve(response);
                let bodies = response["content"]["application/json"]["examples"]
                    .as_object()
                    .cloned()
                    .unwrap_or_default();
                for example in bodies.values() {
                    all.entry(id.clone()).or_default().push(resolve(example)["value"].clone());
                }
            }
        }
    }
    all
}

/// The schema of an operation's success.
fn schema(schemas: &Value, operation: &str) -> Value {
    let responses = schemas["operations"][operation]["responses"].as_object().unwrap();
    let ok = responses.iter().find(|(status, _)| status.starts_with('2')).unwrap().1;
    ok["content"]["application/json"].clone()
}

fn resolved<'a>(schemas: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolved(schemas, schemas.pointer(reference.trim_start_matches('#')).unwrap()),
        None => schema,
    }
}

/// Where a value that fits a schema may be null or missing: pointers into the value.
fn loose(
    schemas: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    nulls: &mut Vec<String>,
    absent: &mut Vec<String>,
) {
    let schema = resolved(schemas, schema);
    for several in ["allOf", "anyOf", "oneOf"] {
        for alternative in schema[several].as_array().into_iter().flatten() {
            loose(schemas, alternative, value, at, nulls, absent);
        }
    }
    if allows_null(schemas, schema) && !at.is_empty() {
        nulls.push(at.to_owned());
    }
    match value {
        Value::Object(fields) => {
            let required: Vec<&str> =
                schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            for (name, inner) in fields {
                let Some(of_field) = schema["properties"].get(name) else { continue };
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                if !required.contains(&name.as_str()) {
                    absent.push(at.clone());
                }
                loose(schemas, of_field, inner, &at, nulls, absent);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                loose(schemas, &schema["items"], item, &format!("{at}/{index}"), nulls, absent);
            }
        }
        _ => {}
    }
}

fn allows_null(schemas: &Value, schema: &Value) -> bool {
    let schema = resolved(schemas, schema);
    let of_type = match &schema["type"] {
        Value::String(kind) => kind == "null",
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "null"),
        _ => false,
    };
    let several = ["anyOf", "oneOf"].iter().flat_map(|name| schema[*name].as_array().into_iter().flatten());
    of_type || several.into_iter().any(|alternative| allows_null(schemas, alternative))
}

fn without(value: &Value, pointer: &str) -> Value {
    let mut value = value.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    if let Some(fields) = value.pointer_mut(parent).and_then(Value::as_object_mut) {
        fields.remove(&name);
    }
    value
}

/// New fields everywhere, and every text of an enumeration replaced by one that nobody knows.
fn of_tomorrow(value: &Value) -> Value {
    const ENUMERATIONS: [&str; 6] = ["status", "conclusion", "visibility", "type", "state", "event"];
    match value {
        Value::Object(fields) => {
            let mut changed: serde_json::Map<String, Value> =
                fields.iter().map(|(name, inner)| (name.clone(), of_tomorrow(inner))).collect();
            for name in ENUMERATIONS {
                if let Some(text) = changed.get_mut(name).filter(|text| text.is_string()) {
                    *text = json!("of_tomorrow");
                }
            }
            changed.insert("field_of_tomorrow".to_owned(), json!({ "a": [1, null] }));
            Value::Object(changed)
        }
        Value::Array(items) => items.iter().map(of_tomorrow).collect(),
        other => other.clone(),
    }
}

#[test]
fn every_example_is_read_also_with_nulls_gaps_and_news() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    let schemas = json_of(&corpus.join("json-schemas.json"));
    let examples = examples(&corpus);
    let mut problems = Vec::new();
    let (mut read, mut mutated) = (0, 0);
    for (operation, part, reads) in MODELLED {
        let Some(of_operation) = examples.get(*operation) else {
            problems.push(format!("{operation}: no example"));
            continue;
        };
        let schema = schema(&schemas, operation);
        for example in of_operation {
            read += 1;
            let mut check = |what: &str, value: &Value| {
                if let Err(error) = reads(value.pointer(part).unwrap_or(&Value::Null)) {
                    problems.push(format!("{operation} {what}: {error}"));
                }
            };
            check("as it is", example);
            let news = of_tomorrow(example);
            // of contents, what an entry is decides how it is read
            check("of tomorrow", &news);
            let (mut nulls, mut absent) = (Vec::new(), Vec::new());
            loose(&schemas, &schema, example, "", &mut nulls, &mut absent);
            mutated += nulls.len() + absent.len();
            for at in &nulls {
                let mut value = example.clone();
                if let Some(place) = value.pointer_mut(at).filter(|_| at != part) {
                    *place = Value::Null;
                    check(&format!("with null at {at}"), &value);
                }
            }
            for at in absent.iter().filter(|at| at != part) {
                check(&format!("without {at}"), &without(example, at));
            }
        }
    }
    println!("{read} examples read, and {mutated} with a null or a gap");
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    assert!(read >= MODELLED.len() && mutated > 500);
}

#[test]
fn recorded_answers_are_read() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    let recorded: &[(&str, usize, Reads)] = &[
        ("create-status.json", 0, reads::<CommitStatus>),
        ("create-status.json", 2, reads::<Vec<CommitStatus>>),
        ("get-content.json", 0, reads::<Vec<ContentEntry>>),
        ("get-repository.json", 0, reads::<Repository>),
        ("rename-repository.json", 0, reads::<Repository>),
        ("rename-repository.json", 2, reads::<Repository>),
    ];
    for (file, index, reads) in recorded {
        let answer = json_of(&corpus.join("recorded").join(file))[*index]["response"].clone();
        reads(&answer).unwrap_or_else(|error| panic!("{file} {index}: {error}"));
    }
}

#[tokio::test]
async fn recorded_redirects_are_followed() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    let recorded = json_of(&corpus.join("recorded/rename-repository.json"));
    let fake = Fake::start(move |seen| {
        let base = format!("http://{}", seen.header("host").unwrap());
        let exchanges = recorded.as_array().unwrap();
        let found = exchanges
            .iter()
            .find(|exchange| exchange["method"] == "get" && exchange["path"] == seen.path.as_str());
        let exchange = found.unwrap_or_else(|| panic!("{}", seen.path));
        let status = u16::try_from(exchange["status"].as_u64().unwrap()).unwrap();
        let body = exchange["response"].to_string();
        let mut reply = Reply::new(status, body);
        let headers = exchange["headers"].clone();
        let location = headers["location"]
            .as_str()
            .or_else(|| exchange["response"]["url"].as_str().filter(|_| status == 301));
        if let Some(location) = location {
            reply = reply.with("location", location.replace("https://api.github.com", &base));
        }
        reply
    })
    .await;
    let found = fake.client().repository("octokit-fixture-org/rename-repository").await.unwrap();
    assert_eq!(found.moved_to.as_deref(), Some("/repositories/1000"));
}

#[test]
fn every_payload_is_the_hint_it_should_be() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    for file in std::fs::read_dir(corpus.join("webhook-payloads")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let event = name.split('.').next().unwrap();
        let delivery = Delivery::parse(Some(event), Some("1"), &std::fs::read(&path).unwrap()).unwrap();
        let kind = match (&delivery.hint, event) {
            (Hint::Push { git_ref, after, .. }, "push")
                if git_ref.starts_with("refs/") && after.len() == 40 =>
            {
                "push"
            }
            (Hint::WorkflowRun { action, run, .. }, "workflow_run")
                if name.contains(action.as_str()) && run.id > 0 =>
            {
                "run"
            }
            (Hint::WorkflowJob { action, job, .. }, "workflow_job")
                if name.contains(action.as_str()) && job.id > 0 =>
            {
                "job"
            }
            (Hint::Ping, "ping") => "ping",
            (Hint::Other { repository: Some(_), .. }, "check_run" | "workflow_dispatch") => "other",
            (other, _) => panic!("{name}: {other:?}"),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    println!("payloads: {kinds:?}");
    assert_eq!(kinds.values().sum::<u32>(), 24);
}

/// What each described refusal becomes.
fn expected(name: &str, error: &ApiError) -> bool {
    match name {
        "bad-credentials" | "requires-authentication" => matches!(error, ApiError::Unauthorised { .. }),
        "not-found-or-hidden" => matches!(error, ApiError::NotFound { .. }),
        "resource-not-accessible" => matches!(error, ApiError::MissingPermission { .. }),
        "moved" | "log-redirect" => {
            matches!(error, ApiError::RedirectElsewhere { .. } | ApiError::Unexpected { .. })
        }
        "validation-failed" | "dispatch-without-trigger" | "delete-busy-runner" => {
            matches!(error, ApiError::Unprocessable { .. })
        }
        "jit-name-taken" | "empty-repository" => matches!(error, ApiError::Conflict { .. }),
        "bad-json" | "not-modified" => matches!(error, ApiError::Refused { .. }),
        "no-user-agent" => matches!(error, ApiError::NotJson { .. }),
        "unicorn" => matches!(error, ApiError::Server { .. }),
        name if name.contains("limit") && !name.contains("resource") => {
            matches!(error, ApiError::Limited { .. })
        }
        _ => true,
    }
}

#[tokio::test]
async fn every_described_refusal_is_told_apart() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    let cases = json_of(&corpus.join("error-bodies.json"))["cases"].as_array().unwrap().clone();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let mut statuses = vec![case["status"].as_u64().unwrap()];
        statuses.extend(case["also_status"].as_array().into_iter().flatten().filter_map(Value::as_u64));
        for status in statuses {
            let body = match (&case["body"], case["body_text"].as_str()) {
                (_, Some(text)) => text.to_owned(),
                (Value::Null, None) => String::new(),
                (body, None) => body.to_string(),
            };
            let mut reply = Reply::new(u16::try_from(status).unwrap(), body);
            for (header, value) in case["headers"].as_object().into_iter().flatten() {
                let value = value.as_str().unwrap();
                let value = if header == "x-ratelimit-reset" { "1767323645" } else { value };
                let value = if header == "location" { "https://elsewhere.test/x" } else { value };
                reply = reply.with(header, value);
            }
            let fake = Fake::in_turn(vec![reply.with("date", fake::http_date(1_767_323_045))]).await;
            let client = fake.client().with_patience(std::time::Duration::from_secs(30));
            let error = if name.starts_with("graphql") {
                client.graphql::<Value>("{ x }", &json!({})).await.err()
            } else {
                client.repository("o/r").await.err()
            };
            match error {
                Some(error) => assert!(expected(name, &error), "{name} {status}: {error:?}"),
                None => assert!(
                    name.starts_with("graphql-partial") || name.starts_with("graphql-resource"),
                    "{name}"
                ),
            }
        }
    }
    println!("{} described refusals", cases.len());
}

#[tokio::test]
async fn what_we_send_fits_the_description() {
    let Some(corpus) = folder("WFENGINE_CORPUS") else { return };
    let schemas = json_of(&corpus.join("json-schemas.json"));
    let fake = Fake::in_turn(vec![Reply::json(r#"{"id": 1}"#)]).await;
    let client = fake.client();
    let annotation = Annotation {
        path: "a".to_owned(),
        start_line: 1,
        end_line: 2,
        annotation_level: AnnotationLevel::Warning,
        message: "m".to_owned(),
        title: Some("t".to_owned()),
    };
    let draft = CheckRunDraft {
        name: Some("build".to_owned()),
        head_sha: Some("c".to_owned()),
        external_id: Some("x".to_owned()),
        details_url: Some("https://x.test".to_owned()),
        status: Some(CheckState::Completed),
        conclusion: Some(CheckConclusion::ActionRequired),
        started_at: Some("2026-01-02T03:04:05Z".to_owned()),
        completed_at: Some("2026-01-02T03:04:05Z".to_owned()),
        output: Some(CheckOutput {
            title: "t".to_owned(),
            summary: "s".repeat(70_000),
            text: Some("é".repeat(70_000)),
            annotations: vec![annotation; 60],
        }),
    };
    let inputs = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    client.create_check_run("o/r", &draft).await.unwrap();
    client.update_check_run("o/r", 1, &draft).await.unwrap();
    client
        .create_status("o/r", "c", StatusState::Failure, "x", &"y".repeat(300), Some("https://x.test"))
        .await
        .unwrap();
    client.dispatch_workflow("o/r", "ci.yml", "main", &inputs).await.unwrap();
    let operations =
        ["checks/create", "checks/update", "repos/create-commit-status", "actions/create-workflow-dispatch"];
    for (seen, operation) in fake.seen().iter().zip(operations) {
        let mut schema = schemas["operations"][operation]["request"]["schema"].clone();
        schema["$defs"] = schemas["$defs"].clone();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        let problems: Vec<String> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{operation}: {problems:?}");
        let known = schema["properties"].as_object().unwrap();
        assert!(body.as_object().unwrap().keys().all(|name| known.contains_key(name)), "{operation}: {body}");
    }
    let all = RunsWanted {
        workflow: None,
        event: Some("push".to_owned()),
        head_sha: Some("c".to_owned()),
        branch: Some("a b".to_owned()),
        status: Some("queued".to_owned()),
        created: Some(">=2026-01-02".to_owned()),
    };
    let _ = client.workflow_runs("o/r", &all).await;
    let described: Vec<&str> = schemas["operations"]["actions/list-workflow-runs-for-repo"]["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    let path = fake.seen().last().unwrap().path.clone();
    for parameter in path.split_once('?').unwrap().1.split('&') {
        let name = parameter.split('=').next().unwrap();
        assert!(described.contains(&name), "{name}");
    }
}
