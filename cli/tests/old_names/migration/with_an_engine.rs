//! Rows about runners that nothing but an engine shows. A service stands in for GitHub.

use serde_json::{Value as Json, json};

use crate::documents::words;
use crate::house::{Live, Said, text, until};
use crate::lab::LABELS;
use crate::with_both::Stage;

fn begun(stage: &Stage, line: &str) -> Live {
    let said = words(line);
    let (name, rest) = said.split_first().unwrap();
    Live::start(stage.command(name, rest))
}

fn asked(stage: &Stage, line: &str) -> Said {
    begun(stage, line).end()
}

#[test]
fn the_autoscaler_runs_what_it_finds_and_goes_on_looking() {
    let Some(stage) = Stage::new("the autoscaler's row of the migration guide") else { return };
    stage.work();
    stage.go();
    let line = "ipfs-accelerate github autoscaler --owner myorg --interval 60 --since-days 1 --max-runners 2";
    let mut live = begun(&stage, line);
    live.wait_for("pool default is on: looks every 60 s");
    live.wait_for("serves on UDP");
    until("what it found has run", || {
        let runs = stage.house.json(&["list"]);
        runs.iter().any(|run| run["status"] == "completed").then_some(())
    });
    live.stop().ends(0);
    let status = stage.house.one(&["status"]);
    assert!(status["discovers"].to_string().contains("myorg"), "{status}");
    stage.house.ask(&["runner", "stop"]).ends(0);
    stage.lab.until_nothing_is_left();
    stage.lab.is_content();
}

#[test]
fn the_verbs_about_runners_do_what_the_guide_says() {
    let Some(stage) = Stage::new("the runners' rows of the migration guide") else { return };
    let job = stage.lab.standin.queue_jobs("myorg/one", "build do-slow-600", &LABELS, 1)[0];
    let mut live = begun(&stage, "ipfs-accelerate runner start --owner myorg --interval 1 --max-runners 2");
    live.wait_for("serves on UDP");
    let listed = |line: &str| -> Json { serde_json::from_str(&asked(&stage, line).ends(0).out).unwrap() };
    let busy = until("a runner has the job", || {
        let runners = listed("ipfs-accelerate github runners list --json");
        runners.as_array()?.iter().find(|runner| runner["busy"] == true).cloned()
    });
    let name = text(&busy, "name");
    assert_eq!(listed("ipfs-accelerate github runners list --repo myorg/one --json")[0]["name"], name);
    assert_eq!(listed("ipfs-accelerate github runners list --repo owner/repo --json"), json!([]));

    let provisioned = asked(&stage, "ipfs-accelerate github runners provision --repo myorg/one").ends(0);
    assert!(provisioned.out.starts_with("myorg/one: runner wfengine-"), "{provisioned:?}");
    assert!(!provisioned.out.to_lowercase().contains("token"), "no token is handed out: {provisioned:?}");
    until("it is there", || (stage.lab.containers().len() == 2).then_some(()));

    let stop = format!("runner stop-container --container {name}");
    asked(&stage, &format!("ipfs-accelerate {stop}")).ends(1).complains(&["has a job"]);
    assert!(stage.lab.standin.job(job).completed_at.is_none());
    asked(&stage, &format!("wfengine {stop} --force")).ends(0);
    until("the job has failed", || stage.lab.standin.job(job).conclusion.map(drop));
    asked(&stage, "ipfs-accelerate runner stop").ends(0);
    stage.lab.until_nothing_is_left();
    live.stop().ends(0);
    stage.lab.is_content();
}
