//! The tools of runners against a service that stands in for GitHub and a real engine: what each one did is seen at the engine, at GitHub
//! and through the command line.

use serde_json::{Value as Json, json};

use crate::clients::{Client, Kind, Served};
use crate::fields::{check, has};
use crate::house::{House, Live, text, until};
use crate::lab::{LABELS, Lab};

const STATUS: [(&str, &str); 7] = [
    ("running", "boolean"),
    ("start_time", "string null"),
    ("iterations", "integer"),
    ("active_runners", "integer"),
    ("queued_workflows", "integer"),
    ("repositories_monitored", "integer"),
    ("last_check", "string null"),
];
const QUEUE: [(&str, &str); 5] = [
    ("repo", "string"),
    ("total_workflows", "integer"),
    ("running", "integer"),
    ("failed", "integer"),
    ("pending", "integer"),
];
const CONTAINER: [(&str, &str); 4] =
    [("container_id", "string"), ("repo", "string"), ("status", "string"), ("created_at", "string")];

/// What a verb of `runner` prints.
fn shown(lab: &Lab, house: &House, verb: &str) -> Json {
    Live::start(lab.command(house, &["--json", "runner", verb])).end().ends(0).json().remove(0)
}

/// Calls a tool and checks the fields that its document names.
#[track_caller]
fn call(client: &mut Client, tool: &str, arguments: Json) -> Json {
    let result = client.call(tool, arguments);
    check(tool, &result);
    result
}

/// Whether the engine has a container whose id begins so, and GitHub a runner of this name.
fn is_at(lab: &Lab, container: &str, name: &str) -> (bool, bool) {
    let at_engine = lab.containers().iter().any(|state| state.id.starts_with(container));
    (at_engine, lab.standin.runners().iter().any(|runner| runner.name == name))
}

fn runners(kind: Kind) {
    let what = "the runners' tools with an engine";
    let house = House::new();
    let Some(lab) = Lab::plain(&house, &["octo/one", "octo/two"], what) else { return };
    let variables = lab.command(&house, &[]);
    let variables = variables
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned())));
    let served = Served::with(house, variables.collect());
    let Some(mut client) = Client::connect(kind, &served, what) else { return };
    let (house, client) = (&served.house, &mut client);

    let off = call(client, "runner_get_status", json!({}));
    has(&off["data"], &STATUS);
    assert_eq!((&off["data"]["running"], &off["data"]["start_time"]), (&false.into(), &Json::Null), "{off}");
    let image = lab.image.reference.as_str();
    let started = call(
        client,
        "runner_start_autoscaler",
        json!({ "owner": "octo", "poll_interval": 1, "max_runners": 2, "runner_image": image, "background": false }),
    );
    assert_eq!((&started["success"], &started["running"]), (&true.into(), &true.into()), "{started}");
    assert!(started["notes"].to_string().contains("this call does not wait"), "{started}");
    let pool = shown(&lab, house, "status")["pools"][0].clone();
    assert_eq!(
        (&pool["on"], &pool["scopes"], &pool["interval_s"], &pool["max"], &pool["image"]),
        (&true.into(), &json!(["octo"]), &1.into(), &2.into(), &image.into())
    );

    // one that stays, so that it is seen from every side
    let job = lab.standin.queue_jobs("octo/one", "build do-slow-600", &LABELS, 1)[0];
    let status = until("a runner has the job", || {
        let status = call(client, "runner_get_status", json!({}))["data"].take();
        let has_job = status["runners"].as_array().unwrap().iter().any(|runner| runner["busy"] == true);
        has_job.then_some(status)
    });
    has(&status, &STATUS);
    assert_eq!((&status["running"], &status["active_runners"]), (&true.into(), &1.into()), "{status}");
    assert_eq!(status["repositories_monitored"], 2);
    assert!(status["start_time"].is_string() && status["last_check"].is_string(), "{status}");
    assert_eq!(status["start_time"], shown(&lab, house, "status")["start_time"]);

    let queues = call(client, "runner_list_workflows", json!({}));
    let rows = queues["data"].as_array().unwrap();
    rows.iter().for_each(|row| has(row, &QUEUE));
    assert_eq!(queues["count"], 2);
    let counted = |row: &Json| QUEUE.map(|(field, _)| row[field].clone());
    assert_eq!(counted(&rows[0]), [json!("octo/one"), 1.into(), 1.into(), 0.into(), 0.into()]);
    let listed = shown(&lab, house, "list-workflows");
    assert!(rows.iter().zip(listed.as_array().unwrap()).all(|(one, other)| counted(one) == counted(other)));

    let containers = call(client, "runner_list_containers", json!({}));
    assert_eq!(containers["count"], 1, "{containers}");
    let busy = &containers["data"][0];
    has(busy, &CONTAINER);
    let at_engine = lab.containers().remove(0);
    assert_eq!(busy["container_id"], at_engine.id[..12]);
    assert_eq!((&busy["repo"], &busy["status"]), (&"octo/one".into(), &"running".into()));
    assert_eq!(busy["container_id"], shown(&lab, house, "list-containers")[0]["container_id"]);
    // it has a job, and keeps it
    let kept = client.fails("runner_stop_container", json!({ "container": busy["container_id"] }));
    assert!(text(&kept, "error").contains("job"), "{kept}");
    assert_eq!(is_at(&lab, text(busy, "container_id"), text(busy, "name")), (true, true));

    let provisioned = call(client, "runner_provision_for_workflow", json!({ "repo": "octo/two" }));
    let data = &provisioned["data"];
    has(data, &[("repo", "string"), ("container_id", "string"), ("token_generated", "boolean")]);
    assert_eq!(
        (&provisioned["success"], &data["repo"], &data["token_generated"]),
        (&true.into(), &"octo/two".into(), &true.into()),
        "{provisioned}"
    );
    let (container, name) = (text(data, "container_id").to_owned(), text(data, "name").to_owned());
    assert_eq!(is_at(&lab, &container, &name), (true, true), "{provisioned}");
    let ids = shown(&lab, house, "list-containers").to_string();
    assert!(ids.contains(&container), "{ids}");
    // there is no room for a third
    let full = call(client, "runner_provision_for_workflow", json!({ "repo": "octo/two" }));
    assert_eq!((&full["success"], &full["data"]["container_id"]), (&false.into(), &Json::Null), "{full}");
    assert!(text(&full, "message").contains("At capacity: 2/2 runners active"), "{full}");

    let stopped = call(client, "runner_stop_container", json!({ "container": container }));
    assert_eq!(stopped["success"], true, "{stopped}");
    until("it is gone from both", || (is_at(&lab, &container, &name) == (false, false)).then_some(()));
    let unknown = client.fails("runner_stop_container", json!({ "container": "abc123def456" }));
    assert!(text(&unknown, "error").contains("there is no runner abc123def456"), "{unknown}");

    let stopped = call(client, "runner_stop_autoscaler", json!({}));
    assert_eq!((&stopped["success"], &stopped["running"]), (&true.into(), &false.into()), "{stopped}");
    assert_eq!(stopped["draining"], json!([busy["name"]]), "{stopped}");
    let status = shown(&lab, house, "status");
    assert_eq!((&status["running"], &status["pools"][0]["on"]), (&false.into(), &false.into()), "{status}");
    // who has a job ends with it, and nobody comes after him
    lab.standin.cancel_job(job);
    lab.until_nothing_is_left();
    assert_eq!(call(client, "runner_list_containers", json!({}))["count"], 0);
    // without a word it goes on as it was
    let again = call(client, "runner_start_autoscaler", json!({}));
    assert!(again["notes"].to_string().contains("as it was started last"), "{again}");
    let pool = shown(&lab, house, "status")["pools"][0].clone();
    assert_eq!((&pool["on"], &pool["image"], &pool["max"]), (&true.into(), &image.into(), &2.into()));
    call(client, "runner_stop_autoscaler", json!({}));
    lab.until_nothing_is_left();
    lab.is_content();
}

macro_rules! for_each_client {
    ($($name:ident: $kind:ident;)*) => {
        $(#[test]
        fn $name() {
            runners(Kind::$kind);
        })*
    };
}

for_each_client! {
    runners_of_an_engine_through_python_at_stdio: PythonStdio;
    runners_of_an_engine_through_python_over_http: PythonHttp;
    runners_of_an_engine_through_typescript_at_stdio: NodeStdio;
    runners_of_an_engine_through_typescript_over_http: NodeHttp;
}
