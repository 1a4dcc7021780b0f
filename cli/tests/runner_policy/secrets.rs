//! Where the secrets of a runner are: in one variable of its container while that is there, and nowhere else.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::engine_api::EngineApi;
use crate::house::{House, Live};
use crate::lab::{LABELS, Lab, files_with};
use crate::{ended, kept_once, runner_of};

/// What a command prints, as text.
fn printed(lab: &Lab, house: &House, arguments: &[&str]) -> String {
    let said = Live::start(lab.command(house, arguments)).end().ends(0);
    said.out + &said.err
}

fn decoded(text: &[u8]) -> Option<Json> {
    let bytes = data_encoding::BASE64.decode(text).ok()?;
    serde_json::from_slice(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes)).ok()
}

/// The key inside of a just-in-time configuration.
fn key_of(blob: &str) -> Option<String> {
    let files = decoded(blob.as_bytes())?;
    let credentials = decoded(files[".credentials"].as_str()?.as_bytes())?;
    Some(credentials["Data"]["ClientId"].as_str()?.to_owned())
}

/// A runner that prints its whole environment takes a job and stays. Everything that anybody is shown meanwhile and after, holds none of
/// the secrets.
fn nothing_shows(lab: &Lab, variable: &str, more: &[&str]) {
    let house = House::new();
    let engine = EngineApi::of(lab);
    let events = engine.record_events();
    let node = lab.start(&house, more);
    let job = lab.standin.queue_jobs("octo/one", "stays do-leak do-slow-600", &LABELS, 1)[0];
    let runner = runner_of(lab, job);
    let environment = lab.runtime.block_on(lab.engine.environment(&runner)).unwrap();
    let secret = environment.iter().find_map(|line| line.strip_prefix(variable)?.strip_prefix('=')).unwrap();
    let mut secrets = vec![secret.to_owned(), lab.token.clone()];
    secrets.extend(key_of(secret));
    assert!(secrets.iter().all(|secret| secret.len() >= 8), "{secrets:?}");
    assert!(!environment.iter().any(|line| line.contains(&lab.token)), "the token is not the runner's");

    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    let mut inspect = engine.json(&format!("/containers/{runner}/json"));
    // the one place; it goes with the container
    assert!(inspect["Config"]["Env"].take().to_string().contains(secret));
    shown.insert("inspection".to_owned(), inspect.to_string());
    for path in ["/containers/json?all=1", "/networks", "/volumes", "/images/json"] {
        shown.insert(path.to_owned(), engine.text(path));
    }
    shown.insert("processes".to_owned(), engine.text(&format!("/containers/{runner}/top")));
    let live = crate::house::until("it has leaked", || {
        Some(printed(lab, &house, &["runner", "logs", &runner]))
            .filter(|log| log.contains(&format!("leak: {variable}=")))
    });
    assert!(live.contains(&format!("{variable}=***")), "{live}");
    shown.insert("its log while it runs".to_owned(), live);
    let mut follow = Live::start(lab.command(&house, &["runner", "logs", "--follow", &runner]));
    follow.wait_for(&format!("{variable}=***"));
    for verb in ["status", "list-containers", "list-workflows"] {
        shown.insert(format!("{verb} meanwhile"), printed(lab, &house, &["--json", "runner", verb]));
    }
    for (place, text) in &shown {
        assert!(!text.is_empty(), "{place}");
    }
    assert!(shown["inspection"].contains(&runner) && shown["status meanwhile"].contains(&runner));

    lab.standin.cancel_job(job);
    ended(lab, job);
    let followed = follow.end();
    shown.insert("its log as it came".to_owned(), followed.out + &followed.err);
    lab.until_nothing_is_left();
    let log = kept_once(&house, &runner, "done (0)");
    assert!(log.contains(&format!("{variable}=***")) && log.contains("completed with result"), "{log}");
    shown.insert("its kept log".to_owned(), log);
    for verb in ["status", "list-containers"] {
        shown.insert(format!("{verb} after"), printed(lab, &house, &["--json", "runner", verb]));
    }
    let there = engine.text("/containers/json?all=1");
    assert!(!there.contains(&runner), "whose inspection would show it: {there}");
    shown.insert("containers after".to_owned(), there);
    let heard = events.text();
    assert!(heard.contains(&runner) && heard.contains("\"destroy\""), "{heard}");
    shown.insert("events".to_owned(), heard);
    let said = node.stop().ends(0);
    shown.insert("the node".to_owned(), said.out + &said.err);
    shown.insert("story".to_owned(), house.ask(&["replay"]).ends(0).out);
    shown.insert("events of the log".to_owned(), house.ask(&["--json", "replay"]).ends(0).out);
    for (place, text) in &shown {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{place} shows a secret: {text}");
        }
    }
    // what is looked for would be found
    assert_ne!(files_with(&house.data(), &runner), [""; 0]);
    for secret in &secrets {
        assert_eq!(files_with(&house.path(""), secret), [""; 0]);
    }
    lab.is_content();
}

#[test]
fn a_configuration_is_in_the_environment_of_its_container_and_nowhere_else() {
    let Some(lab) = Lab::new(&["octo/one"], "where the configuration of a runner is shown") else { return };
    nothing_shows(&lab, "ACTIONS_RUNNER_INPUT_JITCONFIG", &[]);
}

#[test]
fn a_registration_token_is_in_the_environment_of_its_container_and_nowhere_else() {
    let Some(lab) = Lab::new(&["octo/one"], "where the token of a runner is shown") else { return };
    let url = lab.standin.runner_url();
    nothing_shows(&lab, "RUNNER_TOKEN", &["--image-contract", "third-party", "--runner-url", &url]);
}
