//! What is listed, resources, prompts, progress, and what a wrong call is told.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use crate::clients::{Client, Kind, Served};
use crate::fields::TOOLS;
use crate::house::{House, text};

fn names(value: &Json) -> BTreeSet<String> {
    value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
}

/// Every object that names its fields has no others.
fn is_closed(schema: &Json, at: &str) {
    match schema {
        Json::Object(object) => {
            if object.get("properties").is_some_and(Json::is_object) {
                assert_eq!(object.get("additionalProperties"), Some(&Json::Bool(false)), "{at}");
            }
            object.iter().for_each(|(name, value)| is_closed(value, &format!("{at}/{name}")));
        }
        Json::Array(list) => list.iter().for_each(|value| is_closed(value, at)),
        _ => {}
    }
}

fn all_tools_are_listed(kind: Kind) {
    let served = Served::new();
    let Some(mut client) = Client::connect(kind, &served, "the list of tools") else { return };
    let tools = client.tools();
    assert_eq!(TOOLS.len(), 32);
    for (name, parameters, fields) in TOOLS {
        let tool = tools.iter().find(|tool| tool["name"] == *name).unwrap_or_else(|| panic!("no {name}"));
        let taken = names(&tool["inputSchema"]["properties"]);
        for parameter in *parameters {
            assert!(taken.contains(*parameter), "{name}: no {parameter} in {taken:?}");
        }
        let given = names(&tool["outputSchema"]["properties"]);
        for (field, _) in *fields {
            assert!(given.contains(*field), "{name}: no {field} in {given:?}");
        }
    }
    for tool in &tools {
        let name = text(tool, "name");
        assert!(text(tool, "description").len() > 20, "{name}");
        for side in ["inputSchema", "outputSchema"] {
            assert_eq!(tool[side]["type"], "object", "{name}");
            is_closed(&tool[side], &format!("{name}/{side}"));
        }
        for (parameter, schema) in tool["inputSchema"]["properties"].as_object().unwrap() {
            assert!(
                schema["description"].is_string() || schema["properties"].is_object(),
                "{name}: {parameter}"
            );
        }
        let hints = &tool["annotations"];
        let reads = hints["readOnlyHint"] == true;
        assert!(!reads || hints["destructiveHint"] == false, "{name}");
    }
    let hint = |name: &str, hint: &str| {
        tools.iter().find(|tool| tool["name"] == name).unwrap()["annotations"][hint].clone()
    };
    assert_eq!(hint("get_p2p_stats", "readOnlyHint"), true);
    assert_eq!(hint("cancel_run", "destructiveHint"), true);
    assert_eq!(hint("runner_list_workflows", "openWorldHint"), true);
}

fn runs_logs_and_history_are_resources(kind: Kind) {
    let served = Served::new();
    let Some(mut client) = Client::connect(kind, &served, "resources and prompts") else { return };
    let house = &served.house;
    house.put_script("ci.yml", "echo hello there; exit 3");
    let run = house.json_of(&["submit", "ci.yml", "--wait"], 1).pop().unwrap();
    let id = text(&run, "id").to_owned();
    let listed = client.ask(&json!({ "ask": "resources" })).unwrap();
    let uri = format!("wfengine://runs/{id}");
    assert!(listed["resources"].as_array().unwrap().iter().any(|of| of["uri"] == uri.as_str()), "{listed}");
    let templates = client.ask(&json!({ "ask": "templates" })).unwrap();
    assert_eq!(templates["resourceTemplates"].as_array().unwrap().len(), 3);
    let mut read = |uri: &str| {
        let read = client.ask(&json!({ "ask": "read", "uri": uri })).unwrap();
        read["contents"][0]["text"].as_str().unwrap().to_owned()
    };
    let shown: Json = serde_json::from_str(&read(&uri)).unwrap();
    assert_eq!(shown, house.show(&id));
    assert!(read(&format!("{uri}/log")).contains("job: hello there"));
    let history: Json = serde_json::from_str(&read(&format!("{uri}/history"))).unwrap();
    let kinds: Vec<&str> =
        history["events"].as_array().unwrap().iter().map(|event| text(event, "kind")).collect();
    for kind in ["RunSubmitted", "JobClaimed", "JobCompleted"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    assert!(read("wfengine://history").contains("ClusterFounded"));
    assert!(client.ask(&json!({ "ask": "read", "uri": "wfengine://runs/feedbeef" })).is_err());
    let prompts = client.ask(&json!({ "ask": "prompts" })).unwrap();
    assert_eq!(prompts["prompts"].as_array().unwrap().len(), 2);
    let asked = json!({ "ask": "prompt", "name": "why_did_this_run_fail", "arguments": { "run": id } });
    let prompt = client.ask(&asked).unwrap();
    let text = prompt["messages"][0]["content"]["text"].as_str().unwrap();
    assert!(text.contains("hello there") && text.contains(&id), "{text}");
    let asked = json!({ "ask": "prompt", "name": "who_owned_what", "arguments": { "run": id } });
    assert!(
        client.ask(&asked).unwrap()["messages"][0]["content"]["text"].as_str().unwrap().contains("distance")
    );
}

fn ids_of_runs_are_completed(kind: Kind) {
    let served = Served::new();
    let Some(mut client) = Client::connect(kind, &served, "completions") else { return };
    for id in ["report-1", "report-2", "other"] {
        served.house.one(&["task", "submit", "--task-id", id]);
    }
    let ids = |begins: &str| -> Vec<String> {
        let runs = served.house.json(&["list"]);
        let ids = runs.iter().map(|run| text(run, "id").to_owned());
        ids.filter(|id| id.starts_with(begins)).collect()
    };
    let first = ids("").remove(0);
    let mut complete = |of: &Json, argument: &str, begun: &str| {
        let asked = json!({ "ask": "complete", "ref": of, "argument": { "name": argument, "value": begun } });
        let answer = client.ask(&asked)?;
        let values = answer["completion"]["values"].as_array().unwrap().clone();
        Ok::<_, String>(values.iter().map(|value| value.as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let prompt = json!({ "type": "ref/prompt", "name": "why_did_this_run_fail" });
    let template = json!({ "type": "ref/resource", "uri": "wfengine://runs/{id}/log" });
    assert_eq!(complete(&prompt, "run", ""), Ok(ids("")));
    assert_eq!(complete(&prompt, "run", &first[..4]), Ok(ids(&first[..4])));
    assert_eq!(complete(&template, "id", &first), Ok(vec![first.clone()]));
    assert_eq!(complete(&prompt, "colour", ""), Ok(Vec::new()));
    let unknown = json!({ "type": "ref/prompt", "name": "why" });
    assert!(complete(&unknown, "run", "").unwrap_err().contains("there is no prompt `why`"));
}

fn a_long_call_tells_how_far_it_is(kind: Kind) {
    let served = Served::new();
    let Some(mut client) = Client::connect(kind, &served, "progress of long calls") else { return };
    served.house.put_script("ci.yml", "echo begun; until test -e {desk}/go; do sleep 0.05; done; echo gone");
    let source = std::fs::read_to_string(served.house.desk().join("ci.yml")).unwrap();
    // it begins while somebody waits
    served.house.ask(&["pause"]).ends(0);
    let submitted =
        client.call("submit_workflow", json!({ "path": "ci.yml", "source": source, "id": "once" }));
    let again = client.call("submit_workflow", json!({ "path": "ci.yml", "source": source, "id": "once" }));
    assert_eq!((&again["already_so"], &again["run"]["id"]), (&true.into(), &submitted["run"]["id"]));
    let other = client.fails(
        "submit_workflow",
        json!({ "path": "ci.yml", "source": format!("{source}\n#"), "id": "once" }),
    );
    assert_eq!(other["kind"], "conflict");
    let question =
        json!({ "ask": "call", "name": "wait_for_run", "arguments": { "id": submitted["run"]["id"] } });
    let house = &served.house;
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| client.ask(&question).unwrap());
        house.ask(&["resume"]).ends(0);
        house.until_status("once", "in_progress");
        house.put("go", "");
        asked.join().unwrap()
    });
    assert_eq!(answer["structuredContent"]["status"], "completed", "{answer}");
    let told: Vec<&str> = answer["told"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
    assert!(told.iter().any(|text| text.starts_with("job begins at")), "{told:?}");
}

fn a_wrong_call_is_told_what_is_wrong(kind: Kind) {
    let served = Served::new();
    let Some(mut client) = Client::connect(kind, &served, "errors of tools") else { return };
    let error = client.ask(&json!({ "ask": "call", "name": "p2p_get_next_taks", "arguments": {} }));
    let error = error.unwrap_err();
    assert!(error.contains("there is no tool `p2p_get_next_taks`"), "{error}");
    let missing = client.fails("get_run", json!({}));
    assert!(text(&missing, "error").contains("missing field `id`"), "{missing}");
    let unknown = client.fails("get_run", json!({ "id": "feedbeef" }));
    assert_eq!((&unknown["kind"], &unknown["success"]), (&"unknown".into(), &false.into()));
    let wrong = client
        .fails("p2p_submit_task", json!({ "task_id": "x", "workflow_id": "w", "name": "n", "priority": 11 }));
    assert!(text(&wrong, "error").contains("priority: expected at most 10"), "{wrong}");
}

macro_rules! for_each_client {
    ($($name:ident: $scenario:ident, $kind:ident;)*) => {
        $(#[test]
        fn $name() {
            $scenario(Kind::$kind);
        })*
    };
}

for_each_client! {
    tools_are_listed_to_python_at_stdio: all_tools_are_listed, PythonStdio;
    tools_are_listed_to_python_over_http: all_tools_are_listed, PythonHttp;
    tools_are_listed_to_typescript_at_stdio: all_tools_are_listed, NodeStdio;
    tools_are_listed_to_typescript_over_http: all_tools_are_listed, NodeHttp;
    resources_through_python_at_stdio: runs_logs_and_history_are_resources, PythonStdio;
    resources_through_typescript_over_http: runs_logs_and_history_are_resources, NodeHttp;
    completions_through_python_over_http: ids_of_runs_are_completed, PythonHttp;
    completions_through_typescript_at_stdio: ids_of_runs_are_completed, NodeStdio;
    progress_through_python_over_http: a_long_call_tells_how_far_it_is, PythonHttp;
    progress_through_typescript_at_stdio: a_long_call_tells_how_far_it_is, NodeStdio;
    errors_through_python_at_stdio: a_wrong_call_is_told_what_is_wrong, PythonStdio;
    errors_through_typescript_over_http: a_wrong_call_is_told_what_is_wrong, NodeHttp;
}

#[test]
fn without_a_node_the_log_itself_is_asked() {
    let house = House::new();
    house.one(&["task", "submit", "--task-id", "before"]);
    let Some(mut client) = Client::without_a_node(Kind::PythonStdio, &house, "the log without a node") else {
        return;
    };
    let taken = client.call("p2p_get_next_task", json!({}));
    assert_eq!(taken["task"]["task_id"], "before");
    // other commands go through it meanwhile
    assert_eq!(house.show("before")["jobs"][0]["claims"].as_array().unwrap().len(), 1);
    client.call("p2p_mark_task_complete", json!({ "task_id": "before", "result": 1 }));
    drop(client);
    assert_eq!(house.one(&["task", "result", "before"])["result"], 1);
    house.ask(&["replay", "--verify"]).ends(0);
}

#[test]
fn a_client_that_is_idle_keeps_no_node_from_starting() {
    let house = House::new();
    let Some(mut client) = Client::without_a_node(Kind::NodeStdio, &house, "a node beside an idle client")
    else {
        return;
    };
    client.call("submit_task", json!({ "id": "before" }));
    let mut live = house.begin(&["serve", "--listen", "127.0.0.1:0", "--no-lan", "--no-http"]);
    live.wait_for("serves on UDP");
    // from here on it goes through the node, and by itself again once that has ended
    assert_eq!(client.call("node_status", json!({}))["serving"], true);
    live.stop().ends(0);
    assert_eq!(client.call("node_status", json!({}))["serving"], false);
    assert_eq!(client.call("get_run", json!({ "id": "before" }))["status"], "pending");
}
