//! A runner's container as the engine describes it, held against a file; and which of it each option changes.
//!
//! What is policy is compared whole: a field that is not in the file has to be empty. Names and ports of one run are replaced.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};
use wfengine_docker::NetworkSpec;
use wfengine_tests::runner_image::RUNNER_HOME;

use crate::engine_api::EngineApi;
use crate::house::House;
use crate::lab::{LABELS, Lab};
use crate::{ended, inspected, runner_of, start_without};

/// Of the host's side of a container, all that opens or bounds anything.
const HOST_CONFIG: [&str; 39] = [
    "AutoRemove",
    "Binds",
    "CapAdd",
    "CapDrop",
    "CgroupParent",
    "CpuPeriod",
    "CpuQuota",
    "CpusetCpus",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "ExtraHosts",
    "GroupAdd",
    "Init",
    "IpcMode",
    "Links",
    "LogConfig",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "Mounts",
    "NanoCpus",
    "NetworkMode",
    "OomKillDisable",
    "OomScoreAdj",
    "PidMode",
    "PidsLimit",
    "PortBindings",
    "Privileged",
    "PublishAllPorts",
    "ReadonlyRootfs",
    "RestartPolicy",
    "SecurityOpt",
    "Sysctls",
    "Tmpfs",
    "UTSMode",
    "Ulimits",
    "UsernsMode",
];
/// And of its volumes and the container itself.
const CONFIG: [&str; 8] =
    ["User", "Entrypoint", "Cmd", "WorkingDir", "Hostname", "StopTimeout", "Tty", "ExposedPorts"];
const NETWORK: [&str; 6] = ["Driver", "Scope", "Internal", "EnableIPv6", "Attachable", "Options"];

/// An empty field is no field: engines differ in how they say nothing.
fn without_empty(value: Json) -> Option<Json> {
    match value {
        Json::Null => None,
        Json::Bool(false) => None,
        Json::Number(number) if number.as_i64() == Some(0) => None,
        Json::String(text) if text.is_empty() => None,
        Json::Array(items) if items.is_empty() => None,
        Json::Object(fields) => {
            let fields: Map<String, Json> =
                fields.into_iter().filter_map(|(name, value)| Some((name, without_empty(value)?))).collect();
            (!fields.is_empty()).then_some(Json::Object(fields))
        }
        value => Some(value),
    }
}

fn picked(document: &Json, fields: &[&str]) -> Json {
    let some = fields.iter().map(|field| ((*field).to_owned(), document[*field].clone()));
    Json::Object(some.collect())
}

fn names_of(labels: &Json) -> Vec<String> {
    labels.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

/// What is policy of a running container and its network.
fn policy(lab: &Lab, name: &str) -> Json {
    let inspect = lab.runtime.block_on(lab.engine.inspect_json(name)).unwrap();
    let mut config = picked(&inspect["Config"], &CONFIG);
    let variables = inspect["Config"]["Env"].as_array().unwrap().iter();
    config["Env"] = variables.map(|text| text.as_str().unwrap().split('=').next().unwrap()).collect();
    config["Labels"] = json!(names_of(&inspect["Config"]["Labels"]));
    let networks = inspect["NetworkSettings"]["Networks"].as_object().unwrap();
    let networks: BTreeMap<String, Json> = networks
        .keys()
        .map(|network| {
            let document = EngineApi::of(lab).json(&format!("/networks/{network}"));
            let mut shown = picked(&document, &NETWORK);
            shown["Labels"] = json!(names_of(&document["Labels"]));
            if let Some(bridge) = shown.pointer_mut("/Options/com.docker.network.bridge.name") {
                assert!(bridge.as_str().unwrap().starts_with("wfe"), "{document}");
                *bridge = json!("wfe…");
            }
            (network.clone(), shown)
        })
        .collect();
    let mounted = inspect["Mounts"].as_array().unwrap().iter();
    let mounted = mounted.map(|mount| picked(mount, &["Type", "Name", "Destination", "Driver", "RW"]));
    let mut host = picked(&inspect["HostConfig"], &HOST_CONFIG);
    // in no order
    if let Some(added) = host["CapAdd"].as_array_mut() {
        added.sort_by_key(ToString::to_string);
    }
    let whole = json!({ "HostConfig": host, "Config": config, "Mounted": mounted.collect::<Vec<_>>(), "Networks": networks });
    let text =
        without_empty(whole).unwrap().to_string().replace(name, "NAME").replace(RUNNER_HOME, "RUNNER_HOME");
    serde_json::from_str(&text).unwrap()
}

/// Every value of a document by its path.
fn flat(path: &str, value: &Json, into: &mut BTreeMap<String, Json>) {
    match value {
        Json::Object(fields) => {
            for (name, value) in fields {
                flat(&format!("{path}/{name}"), value, into);
            }
        }
        value => {
            into.insert(path.to_owned(), value.clone());
        }
    }
}

/// What differs: where, what it was, what it is.
fn differences(one: &Json, other: &Json) -> Json {
    let (mut was, mut is) = (BTreeMap::new(), BTreeMap::new());
    flat("", one, &mut was);
    flat("", other, &mut is);
    let places: Vec<&String> =
        was.keys().chain(is.keys().filter(|place| !was.contains_key(*place))).collect();
    let differing = places.into_iter().filter(|place| was.get(*place) != is.get(*place));
    differing.map(|place| (place.clone(), json!([was.get(place), is.get(place)]))).collect()
}

fn golden() -> Json {
    serde_json::from_str(include_str!("golden/default.json")).unwrap()
}

/// The policy of the container that a pool makes for a job which stays; the job is cancelled then.
fn policy_of_a_pool(lab: &Lab) -> Json {
    let job = lab.standin.queue_jobs("octo/one", "stays do-slow-600", &LABELS, 1)[0];
    let policy = policy(lab, &runner_of(lab, job));
    lab.standin.cancel_job(job);
    policy
}

#[test]
fn a_container_of_a_runner_is_made_as_the_golden_file_says() {
    let Some(lab) = Lab::new(&["octo/one"], "how a runner's container is made") else { return };
    let house = House::new();
    let node = lab.start(&house, &[]);
    let policy = policy_of_a_pool(&lab);
    assert_eq!(policy, golden(), "differs in {:#}", differences(&golden(), &policy));
    lab.until_nothing_is_left();
    node.stop().ends(0);
    lab.is_content();
}

/// A network that somebody made for runners, gone with its test.
struct OwnNetwork<'a>(&'a Lab, String);

impl<'a> OwnNetwork<'a> {
    fn new(lab: &'a Lab) -> Self {
        let name = format!("wfengine-test-{}", lab.pool);
        let spec = NetworkSpec { name: name.clone(), containers_may_talk: true, ..NetworkSpec::default() };
        lab.runtime.block_on(lab.engine.create_network(&spec)).unwrap();
        Self(lab, name)
    }
}

impl Drop for OwnNetwork<'_> {
    fn drop(&mut self) {
        for container in self.0.containers() {
            let _ = self.0.runtime.block_on(self.0.engine.remove_container(&container.id));
        }
        let _ = self.0.runtime.block_on(self.0.engine.remove_network(&self.1));
    }
}

#[test]
fn each_option_changes_what_it_names_and_nothing_else() {
    let Some(lab) = Lab::new(&["octo/one"], "what options change of a runner's container") else { return };
    let network = OwnNetwork::new(&lab);
    let house = House::new();
    let opened = [
        "--network",
        &network.1,
        "--cap-add",
        "NET_RAW",
        "--cap-add",
        "cap_setuid",
        "--allow-privilege-gain",
        "--pids",
        "100",
        "--user",
        "1002:1002",
        "--work-dir",
        "elsewhere",
        "--memory",
        "96m",
    ];
    let node = start_without(&lab, &house, &["--allow-host-port", "--memory"], &opened);
    let job = lab.standin.queue_jobs("octo/one", "stays do-slow-600", &LABELS, 1)[0];
    let first = runner_of(&lab, job);
    let policy = policy(&lab, &first);
    let named: Json = serde_json::from_str(
        &json!({
            "/Config/User": ["1001", "1002:1002"],
            "/HostConfig/CapAdd": [null, ["NET_RAW", "SETUID"]],
            "/HostConfig/SecurityOpt": [["no-new-privileges"], null],
            "/HostConfig/Memory": [67_108_864, 100_663_296],
            "/HostConfig/MemorySwap": [67_108_864, 100_663_296],
            "/HostConfig/PidsLimit": [512, 100],
            "/HostConfig/NetworkMode": ["NAME", network.1],
            "/HostConfig/Mounts": [
                golden()["HostConfig"]["Mounts"],
                [{ "Source": "NAME", "Target": "RUNNER_HOME/elsewhere", "Type": "volume" }],
            ],
            "/Mounted": [golden()["Mounted"], [{
                "Destination": "RUNNER_HOME/elsewhere", "Driver": "local", "Name": "NAME", "RW": true, "Type": "volume",
            }]],
            "/Networks/NAME/Driver": ["bridge", null],
            "/Networks/NAME/Scope": ["local", null],
            "/Networks/NAME/Labels": [golden()["Networks"]["NAME"]["Labels"], null],
            "/Networks/NAME/Options/com.docker.network.bridge.name": ["wfe…", null],
            "/Networks/NAME/Options/com.docker.network.bridge.enable_icc": ["false", null],
        })
        .to_string(),
    )
    .unwrap();
    let mut differing = differences(&golden(), &policy);
    // the operator's network is as it was made
    differing
        .as_object_mut()
        .unwrap()
        .retain(|place, _| !place.starts_with(&format!("/Networks/{}", network.1)));
    assert_eq!(differing, named);
    // seen from inside; and there, unlike on networks of their own, runners reach each other
    let address = crate::isolation::address_of(&lab, &first);
    let looking =
        lab.standin.queue_jobs("octo/one", &format!("looks do-inspect do-scan-9-{address}"), &LABELS, 1)[0];
    let looking = ended(&lab, looking);
    assert_eq!(inspected(&looking, "uid"), "1002");
    assert_eq!(inspected(&looking, "no_new_privs"), "0");
    assert_eq!(inspected(&looking, "cap_bnd"), "0000000000002080", "NET_RAW and SETUID");
    assert_eq!(inspected(&looking, "cap_eff"), "0000000000000000");
    assert_eq!(inspected(&looking, "pids_max"), "100");
    let seen = crate::isolation::scanned(&looking);
    assert!(seen.contains(&("named".to_owned(), format!("{address}:9"), "refused".to_owned())), "{seen:?}");
    lab.standin.cancel_job(job);
    lab.until_nothing_is_left();
    let said = node.stop().ends(0);
    said.complains(&["--allow-privilege-gain: jobs can become root inside of their container"]);
    lab.is_content();
}
