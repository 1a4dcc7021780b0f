//! Images that no runner is started from: what is said of them, and that the pool goes on by itself once there is a better one.

use serde_json::Value as Json;

use crate::engine_api::EngineApi;
use crate::house::{House, text, until};
use crate::lab::{LABELS, Lab};
use crate::{ended, list, start_command, start_without};

const REPOSITORY: &str = "wfengine-test/late";

/// A name under which one image after another stands, all gone with the test.
struct Late {
    engine: EngineApi,
    reference: String,
    tag: String,
    loaded: Vec<String>,
}

impl Late {
    fn new(lab: &Lab) -> Self {
        let tag = lab.pool.clone();
        let reference = format!("{REPOSITORY}:{tag}");
        Self { engine: EngineApi::of(lab), reference, tag, loaded: Vec::new() }
    }

    fn becomes_empty(&mut self, architecture: &str, user: &str) {
        self.loaded.push(self.engine.load_empty_image(&self.reference, architecture, user));
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.engine.remove_image(&self.reference);
        for id in &self.loaded {
            self.engine.remove_image(id);
        }
    }
}

/// Waits until a trouble is shown; gives it.
fn trouble(lab: &Lab, house: &House, what: &str) -> Json {
    until(&format!("trouble: {what}"), || {
        let status = lab.status(house);
        list(&status, "troubles").iter().find(|trouble| text(trouble, "what").contains(what)).cloned()
    })
}

#[test]
fn a_missing_wrong_or_root_image_is_said_and_the_right_one_is_used_once_it_is_there() {
    let Some(lab) = Lab::new(&["octo/one"], "images that no runner is started from") else { return };
    let house = House::new();
    let mut late = Late::new(&lab);
    let options = ["--image", late.reference.as_str()].map(str::to_owned);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    // without it nobody is promised anything
    let said = crate::house::Live::start(start_command(&lab, &house, &["--image"], &options)).end();
    assert!(!said.status.success(), "{said:?}");
    said.complains(&["Container failed to start with image", &late.reference, "docker pull"]);

    let (own, other) = if cfg!(target_arch = "x86_64") { ("amd64", "arm64") } else { ("arm64", "amd64") };
    late.becomes_empty(own, "");
    let node = start_without(&lab, &house, &["--image"], &options);
    let job = lab.standin.queue_jobs("octo/one", "build", &LABELS, 1)[0];
    let root = trouble(&lab, &house, "runs as root");
    assert!(text(&root, "what").contains(&late.reference), "{root}");
    assert!(text(&root, "remedy").contains("--user"), "{root}");
    assert!(root["next_try"].is_string() && root["times"].as_u64() >= Some(1), "{root}");
    assert_eq!(text(&root, "about"), lab.pool);

    late.becomes_empty(other, "1001");
    let foreign = trouble(&lab, &house, "this engine for");
    assert!(text(&foreign, "remedy").contains("an image for this architecture"), "{foreign}");

    late.engine.remove_image(&late.reference);
    let missing = trouble(&lab, &house, "no image");
    assert!(text(&missing, "remedy").contains("docker pull"), "{missing}");
    assert_eq!(lab.standin.job(job).handed_out, 0);
    assert!(lab.left().is_empty() && lab.standin.runner_events().is_empty(), "not even registered");
    let shown = lab.status(&house);
    assert!(shown["pools"][0]["trouble"].is_string(), "{shown}");

    // somebody brings it, and nobody has to say so
    late.engine.tag(&lab.image.reference, REPOSITORY, &late.tag);
    assert_eq!(ended(&lab, job).conclusion.as_deref(), Some("success"));
    until("no trouble is left", || list(&lab.status(&house), "troubles").is_empty().then_some(()));
    lab.until_nothing_is_left();
    node.stop().ends(0);
    lab.is_content();
}
