//! Requests that change something are sent once, a second apart, and say what became of them.

use std::{collections::BTreeMap, time::Duration};

use wfengine_github::{
    ApiError, Clock, Credential, Settings,
    rest::{CheckConclusion, CheckOutput, CheckRunDraft, CheckState, CreatedRef, StatusState},
};

use crate::fake::{Fake, Reply};

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

#[tokio::test]
async fn nothing_that_changes_something_is_repeated() {
    for broken in [Reply::html(500), Reply::html(502), Reply::dropped(), Reply::json("{}").cut(1)] {
        let fake = Fake::in_turn(vec![broken]).await;
        let client = fake.client();
        assert!(client.dispatch_workflow("o/r", "ci.yml", "main", &none()).await.is_err());
        assert!(client.cancel_run("o/r", 1).await.is_err());
        assert!(client.disable_workflow("o/r", "ci.yml").await.is_err());
        assert!(client.create_ref("o/r", "refs/x/y", "c").await.is_err());
        assert!(client.update_check_run("o/r", 1, &CheckRunDraft::default()).await.is_err());
        assert!(client.create_status("o/r", "c", StatusState::Success, "x", "y", None).await.is_err());
        assert_eq!(fake.seen().len(), 6, "{:?}", fake.lines());
    }
}

#[tokio::test]
async fn what_never_left_this_host_is_sent_again() {
    let fake = Fake::in_turn(vec![Reply::json("{}")]).await;
    let nobody =
        fake.client_with(Settings::new("http://127.0.0.1:1").unwrap(), &Credential::token("ghp_test"));
    let error = nobody.dispatch_workflow("o/r", "ci.yml", "main", &none()).await.expect_err("nobody there");
    assert!(matches!(error, ApiError::Transport { unsent: true, .. }), "{error}");
    assert_eq!(nobody.stats().requests, 4, "one and three repetitions");
}

#[tokio::test]
async fn a_second_lies_between_two_changes() {
    let fake = Fake::in_turn(vec![Reply::new(204, "")]).await;
    let client = fake.client().with_patience(Duration::ZERO);
    for _ in 0..3 {
        client.disable_workflow("o/r", "1").await.expect("done");
    }
    let at: Vec<Duration> = fake.seen().iter().map(|seen| seen.at).collect();
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)), "{at:?}");
}

#[tokio::test]
async fn a_refused_status_goes_again_after_its_limit_and_a_dispatch_does_not() {
    let limited = Reply::message(429, "slow down").with("retry-after", 5);
    let fake = Fake::in_turn(vec![
        limited.clone(),
        Reply::new(201, r#"{"id": 1, "state": "success", "context": "x"}"#),
    ])
    .await;
    let status =
        fake.client().create_status("o/r", "c", StatusState::Success, "x", "y", None).await.expect("set");
    assert_eq!((status.state.as_str(), fake.seen().len()), ("success", 2));
    let fake = Fake::in_turn(vec![limited, Reply::new(204, "")]).await;
    let error = fake.client().dispatch_workflow("o/r", "ci.yml", "main", &none()).await.expect_err("refused");
    let until = fake.clock.wall_s() + 6;
    assert!(matches!(error, ApiError::Limited { until_s, .. } if until_s == until), "{error}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_dispatch_says_which_run_it_made_where_github_says_so() {
    let details = Reply::json(r#"{"workflow_run_id": 77, "run_url": "x", "html_url": "y"}"#);
    let fake = Fake::in_turn(vec![details, Reply::new(204, "")]).await;
    let client = fake.client();
    let inputs = BTreeMap::from([("name".to_owned(), "value".to_owned())]);
    assert_eq!(
        client.dispatch_workflow("o/r", "ci.yml", "v1", &inputs).await.expect("taken").run_id,
        Some(77)
    );
    assert_eq!(client.dispatch_workflow("o/r", "5", "v1", &none()).await.expect("taken").run_id, None);
    let seen = fake.seen();
    assert_eq!(seen[0].line(), "POST /repos/o/r/actions/workflows/ci.yml/dispatches");
    assert_eq!(seen[0].body, r#"{"ref":"v1","inputs":{"name":"value"},"return_run_details":true}"#);

    // a server that does not know the field has done nothing
    let unknown = Reply::message(422, "\"return_run_details\" is not a permitted key.");
    let fake = Fake::in_turn(vec![unknown, Reply::new(204, "")]).await;
    assert_eq!(fake.client().dispatch_workflow("o/r", "5", "v1", &none()).await.expect("taken").run_id, None);
    assert_eq!(fake.seen()[1].body, r#"{"ref":"v1","inputs":{}}"#);

    let fake =
        Fake::in_turn(vec![Reply::message(422, "Workflow does not have 'workflow_dispatch' trigger")]).await;
    let error = fake.client().dispatch_workflow("o/r", "5", "v1", &none()).await.expect_err("no trigger");
    assert!(
        matches!(&error, ApiError::Unprocessable { message, .. } if message.contains("trigger")),
        "{error}"
    );
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn of_two_who_make_a_ref_one_makes_it() {
    let made = Reply::new(201, r#"{"ref": "refs/wfengine/x"}"#);
    let fake = Fake::in_turn(vec![
        made,
        Reply::message(422, "Reference already exists"),
        Reply::message(422, "Object does not exist"),
    ])
    .await;
    let client = fake.client();
    assert_eq!(client.create_ref("o/r", "refs/wfengine/x", "c").await, Ok(CreatedRef::Created));
    assert_eq!(client.create_ref("o/r", "refs/wfengine/x", "c").await, Ok(CreatedRef::Exists));
    assert!(matches!(
        client.create_ref("o/r", "refs/wfengine/x", "c").await,
        Err(ApiError::Unprocessable { .. })
    ));
}

#[tokio::test]
async fn a_check_run_is_made_and_changed() {
    let fake =
        Fake::in_turn(vec![Reply::new(201, r#"{"id": 4, "status": "queued"}"#), Reply::json(r#"{"id": 4}"#)])
            .await;
    let client = fake.client();
    let draft = CheckRunDraft {
        name: Some("build".to_owned()),
        head_sha: Some("c".to_owned()),
        status: Some(CheckState::Queued),
        ..CheckRunDraft::default()
    };
    assert_eq!(client.create_check_run("o/r", &draft).await.expect("made").id, 4);
    let end = CheckRunDraft {
        status: Some(CheckState::Completed),
        conclusion: Some(CheckConclusion::TimedOut),
        output: Some(CheckOutput {
            title: "t".to_owned(),
            summary: "s".to_owned(),
            ..CheckOutput::default()
        }),
        ..draft
    };
    client.update_check_run("o/r", 4, &end).await.expect("changed");
    let seen = fake.seen();
    assert_eq!(seen[0].body, r#"{"name":"build","head_sha":"c","status":"queued"}"#);
    assert_eq!(seen[1].line(), "PATCH /repos/o/r/check-runs/4");
    assert_eq!(
        seen[1].body,
        r#"{"name":"build","status":"completed","conclusion":"timed_out","output":{"title":"t","summary":"s"}}"#
    );
}

#[tokio::test]
async fn a_renamed_repository_takes_a_change_only_where_the_method_stays() {
    for (status, requests) in [(307, 2), (308, 2), (301, 1), (302, 1), (303, 1)] {
        let fake = Fake::start(move |seen| match seen.path.as_str() {
            "/repositories/7/x" => Reply::new(202, "{}"),
            _ => Reply::message(status, "Moved").with("location", "/repositories/7/x"),
        })
        .await;
        let result = fake.client().cancel_run("o/r", 1).await;
        assert_eq!(fake.seen().len(), requests, "{status}: {result:?}");
        assert_eq!(result.is_ok(), requests == 2);
        assert!(fake.seen().iter().all(|seen| seen.method == "POST"));
    }
}

#[tokio::test]
async fn runs_and_jobs_are_listed_by_what_is_wanted() {
    let fake = Fake::start(|seen| match seen.path.as_str() {
        "/repos/o/r/actions/runs?per_page=100&event=push&head_sha=c&created=%3E%3D2026-01-02" => {
            Reply::json(r#"{"total_count": 1, "workflow_runs": [{"id": 99999999999, "status": "new", "head_branch": null}]}"#)
        }
        "/repos/o/r/actions/workflows/ci.yml/runs?per_page=100" => Reply::json(r#"{"workflow_runs": []}"#),
        "/repos/o/r/actions/runs/5/jobs?filter=latest&per_page=100" => {
            Reply::json(r#"{"jobs": [{"id": 1, "name": "a", "labels": ["x"], "runner_id": 0}]}"#)
        }
        "/repos/o/r/actions/workflows?per_page=100" => {
            Reply::json(r#"{"workflows": [{"id": 3, "path": ".github/workflows/ci.yml", "state": "active"}]}"#)
        }
        "/repos/o/r/actions/runs/5" => Reply::json(r#"{"id": 5, "status": "completed", "conclusion": "stale"}"#),
        other => panic!("{other}"),
    })
    .await;
    let client = fake.client();
    let wanted = wfengine_github::rest::RunsWanted {
        event: Some("push".to_owned()),
        head_sha: Some("c".to_owned()),
        created: Some(">=2026-01-02".to_owned()),
        ..Default::default()
    };
    assert_eq!(client.workflow_runs("o/r", &wanted).await.expect("runs").items[0].id, 99_999_999_999);
    let of_one =
        wfengine_github::rest::RunsWanted { workflow: Some("ci.yml".to_owned()), ..Default::default() };
    assert!(client.workflow_runs("o/r", &of_one).await.expect("runs").items.is_empty());
    assert_eq!(client.run_jobs("o/r", 5).await.expect("jobs").items[0].labels, ["x"]);
    assert_eq!(client.workflows("o/r").await.expect("workflows").items[0].state, "active");
    assert_eq!(client.workflow_run("o/r", 5).await.expect("a run").value.id, 5);
}
