//! Jobs that are refused: they are shown with what would allow them, and no container is made for them. Jobs that are others' are not shown.

use serde_json::Value as Json;
use wfengine_tests::standin::{JobId, JobInfo, Progress, RepositoryOptions, WantedJob, WantedRun};

use crate::engine_api::EngineApi;
use crate::house::{House, text, until};
use crate::lab::{LABELS, Lab};
use crate::{ended, list, start_without};

/// Repositories of their own, so that no runner which was started for one job is given another.
const PRIVATE: [&str; 5] = ["octo/plain", "octo/boxed", "octo/forked", "octo/foreign", "octo/nobodys"];

/// The job of a workflow that comes with a push.
fn pushed(lab: &Lab, repository: &str, name: &str, job: &str) -> JobId {
    let text = format!("name: {name}\non: push\njobs:\n  job:\n    {job}\n    steps:\n    - run: 'true'\n");
    lab.standin.push(
        repository,
        "main",
        &[(".github/workflows/ci.yml", Some(text.as_bytes()))],
        "a workflow",
    );
    lab.standin.jobs().into_iter().rfind(|job| job.repository == repository).unwrap().id
}

fn refused(lab: &Lab, house: &House, repository: &str) -> Option<Json> {
    let status = lab.status(house);
    list(&status, "refused").iter().find(|refused| text(refused, "repo") == repository).cloned()
}

#[track_caller]
fn is_refused(lab: &Lab, house: &House, job: JobId, why: &str, remedy: &str) {
    let repository = lab.standin.job(job).repository;
    let refused = until(&format!("{repository} is refused"), || refused(lab, house, &repository));
    assert_eq!(text(&refused, "job"), lab.standin.job(job).name);
    assert!(
        text(&refused, "url").ends_with(&format!(
            "/{repository}/actions/runs/{}/job/{}",
            lab.standin.job(job).run.0,
            job.0
        )),
        "{refused}"
    );
    assert!(text(&refused, "why").contains(why), "{refused}");
    assert!(text(&refused, "remedy").contains(remedy), "{refused}");
}

/// Nobody was given it.
fn waits(job: &JobInfo) -> bool {
    job.progress == Progress::Queued && job.handed_out == 0
}

#[test]
fn what_is_refused_is_shown_and_started_only_once_it_is_allowed() {
    let Some(lab) = Lab::new(&PRIVATE, "which jobs are refused") else { return };
    for public in ["octo/open", "octo/open-too"] {
        lab.standin.add_repository(public, &RepositoryOptions::default());
        lab.standin.push(public, "main", &[("README", Some(b"text".as_slice()))], "first");
    }
    let house = House::new();
    let events = EngineApi::of(&lab).record_events();
    let open = lab.standin.queue_jobs("octo/open", "open", &LABELS, 1)[0];
    let open_too = lab.standin.queue_jobs("octo/open-too", "open", &LABELS, 1)[0];
    let from_fork = WantedRun::from_fork("stranger/forked", vec![WantedJob::new("change", &LABELS)]);
    let run = lab.standin.queue_run("octo/forked", &from_fork);
    let forked = lab.standin.jobs().into_iter().find(|job| job.run == run).unwrap().id;
    let boxed = pushed(&lab, "octo/boxed", "boxed", "runs-on: self-hosted\n    container: alpine:3");
    let other = if cfg!(target_arch = "x86_64") { "arm64" } else { "amd64" };
    let foreign = pushed(&lab, "octo/foreign", &format!("build for {other}"), "runs-on: self-hosted");
    let nobodys = pushed(&lab, "octo/nobodys", "nobodys", "runs-on: [self-hosted, of-nobody]");
    let plain = lab.standin.queue_jobs("octo/plain", "plain", &LABELS, 1)[0];

    let node = lab.start(&house, &[]);
    assert_eq!(ended(&lab, plain).conclusion.as_deref(), Some("success"));
    is_refused(&lab, &house, open, "public", "--allow-repo");
    is_refused(&lab, &house, open_too, "public", "--allow-public");
    is_refused(&lab, &house, forked, "fork stranger/forked", "--allow-forks");
    is_refused(&lab, &house, boxed, "`container:` of job job needs Docker", "--docker rootless-sidecar");
    // whoever looked at all of these looked at the others as well
    let status = lab.status(&house);
    assert_eq!(list(&status, "refused").len(), 4, "{status}");
    lab.until_nothing_is_left();
    for job in [open, open_too, forked, boxed, foreign, nobodys] {
        assert!(waits(&lab.standin.job(job)), "{:?}", lab.standin.job(job));
    }
    assert_eq!(lab.watched.lock().unwrap().started, 1, "for the plain job alone");

    let said = lab.turn_on(&house, &["--allow-repo", "octo/open"]).ends(0);
    assert!(!said.err.contains("--allow-public"), "{said:?}");
    assert_eq!(ended(&lab, open).conclusion.as_deref(), Some("success"));
    assert!(waits(&lab.standin.job(open_too)) && waits(&lab.standin.job(forked)));

    let allowed = ["--allow-public", "--allow-forks", "--no-arch-filter"];
    let said = lab.turn_on(&house, &allowed).ends(0);
    said.complains(&[
        "--allow-public: jobs of public repositories",
        "--allow-forks: whoever can open a pull request",
    ]);
    for job in [open_too, forked, foreign] {
        assert_eq!(ended(&lab, job).conclusion.as_deref(), Some("success"));
    }
    until("what is done is not refused any more", || {
        (list(&lab.status(&house), "refused").len() == 1).then_some(())
    });
    assert!(waits(&lab.standin.job(boxed)) && waits(&lab.standin.job(nobodys)));
    lab.until_nothing_is_left();
    assert_eq!(lab.watched.lock().unwrap().started, 5);
    node.stop().ends(0);
    let started = events.started(&lab.pool, "dev.wfengine.scope");
    let allowed = ["octo/foreign", "octo/forked", "octo/open", "octo/open-too", "octo/plain"];
    assert_eq!(started.iter().map(String::as_str).collect::<Vec<_>>(), allowed);
    lab.is_content();
}

#[test]
fn a_job_in_a_container_is_served_where_there_is_an_engine_for_it() {
    let Some(lab) =
        Lab::new(&["octo/boxed"], "that jobs in containers are served with an engine of their own")
    else {
        return;
    };
    let sidecar =
        lab.runtime.block_on(wfengine_tests::runner_image::RunnerImage::build_sidecar(&lab.engine)).unwrap();
    let house = House::new();
    let boxed = pushed(&lab, "octo/boxed", "boxed", "runs-on: self-hosted\n    container: alpine:3");
    let options = ["--docker", "rootless-sidecar", "--sidecar-image", &sidecar.reference];
    let node = start_without(&lab, &house, &[], &options);
    assert_eq!(ended(&lab, boxed).conclusion.as_deref(), Some("success"));
    lab.until_nothing_is_left();
    node.stop().ends(0);
    lab.is_content();
}
