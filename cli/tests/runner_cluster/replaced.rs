//! `runner rotate`: fresh runners for those that wait, and a fresh image.

use std::process::Command;

use wfengine_tests::runner_image::runner_program;
use wfengine_tests::standin::Progress;

use crate::cluster::{end, until_all_jobs_ended, until_job, until_waiting};
use crate::house::{House, until};
use crate::lab::{LABELS, Lab};
use crate::verbs::has_fields;

/// An image of this lab's own, whose name can be given to another one.
struct OwnImage<'a> {
    lab: &'a Lab,
    reference: String,
}

impl Drop for OwnImage<'_> {
    fn drop(&mut self) {
        let _ = self.lab.runtime.block_on(self.lab.engine.remove_image(&self.reference));
    }
}

/// Gives a name to a new image of the stand-in runner.
fn import(lab: &Lab, reference: &str, generation: u32) -> String {
    let folder = tempfile::TempDir::new().unwrap();
    for inner in ["etc", "tmp", "home/runner/_work"] {
        std::fs::create_dir_all(folder.path().join(inner)).unwrap();
    }
    let users = "root:x:0:0:root:/:/standin-runner\nrunner:x:1001:1001::/home/runner:/standin-runner\n";
    std::fs::write(folder.path().join("etc/passwd"), users).unwrap();
    std::fs::write(folder.path().join("etc/group"), "root:x:0:\nrunner:x:1001:\n").unwrap();
    std::fs::copy(runner_program().unwrap(), folder.path().join("standin-runner")).unwrap();
    std::os::unix::fs::symlink("/standin-runner", folder.path().join("home/runner/run.sh")).unwrap();
    let packed = Command::new("tar")
        .args(["--owner=1001", "--group=1001", "-c", "."])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(packed.status.success(), "{packed:?}");
    let changes = [
        "USER 1001".to_owned(),
        "ENTRYPOINT [\"/standin-runner\"]".to_owned(),
        "WORKDIR /home/runner".to_owned(),
        "ENV HOME=/home/runner".to_owned(),
        format!("LABEL generation={generation}"),
    ];
    lab.runtime.block_on(lab.engine.import_image(reference, packed.stdout, &changes)).unwrap().id
}

#[test]
fn rotation_replaces_runners_that_wait_and_lets_busy_ones_finish() {
    let Some(mut lab) = Lab::new(&["octo/one"], "the rotation of runners") else { return };
    lab.image.reference = format!("wfengine-test/rotated-{}:now", lab.pool);
    let reference = lab.image.reference.clone();
    let first = import(&lab, &reference, 1);
    let lab = lab;
    let own = OwnImage { lab: &lab, reference: reference.clone() };
    let house = House::new();
    let node = lab.start(&house, &["--min-idle", "2", "--repo", "octo/one"]);
    let before = until_waiting(&lab, 2);
    let job = lab.standin.queue_jobs("octo/one", "build do-slow-30", &LABELS, 1)[0];
    let busy = until_job(&lab, job, "has begun", |job| job.started_at.is_some()).runner_name.unwrap();
    assert!(before.contains(&busy));
    let before = until_waiting(&lab, 2);
    // none is older than its image
    let none = house.one(&["runner", "rotate", "--outdated"]);
    has_fields(&none, &["success", "message", "runners"]);
    assert_eq!(none["runners"], serde_json::json!([]), "{none}");
    let second = import(&lab, &reference, 2);
    assert_ne!(first, second);
    let rotated = until("all three are outdated", || {
        Some(house.one(&["runner", "rotate", "--outdated"]))
            .filter(|view| view["runners"].as_array().unwrap().len() == 3)
    });
    for runner in rotated["runners"].as_array().unwrap() {
        has_fields(runner, &["name", "pool", "what", "why"]);
    }
    let after = until("others wait", || {
        let names = until_waiting(&lab, 2);
        names.is_disjoint(&before).then_some(names)
    });
    let image_of = |name: &str| {
        let listed = lab.containers();
        listed.iter().find(|state| state.name == name).map(|state| state.image.clone())
    };
    for name in &after {
        assert_eq!(image_of(name).as_ref(), Some(&second), "{name}");
    }
    // the one with a job is let finish
    assert_eq!(lab.standin.job(job).progress, Progress::InProgress);
    until_all_jobs_ended(&lab);
    assert_eq!(lab.standin.job(job).conclusion.as_deref(), Some("success"));
    // new ones are not outdated; by hand they go all the same
    until("none is outdated", || {
        let view = house.one(&["runner", "rotate", "--outdated"]);
        (view["runners"] == serde_json::json!([])).then_some(())
    });
    let said = house.ask(&["runner", "rotate"]).ends(0);
    assert!(said.out.contains("runners go as soon as they have no job"), "{said:?}");
    until("others wait again", || {
        let names = until_waiting(&lab, 2);
        names.is_disjoint(&after).then_some(names)
    });
    house.ask(&["runner", "stop"]).ends(0);
    lab.until_nothing_is_left();
    end(&lab, &house, node);
    drop(own);
}
