//! Faults on order.

use std::time::{Duration, Instant};

use serde_json::json;
use wfengine_tests::standin::{ErrorCase, Fault, FaultRule, RepositoryOptions};

use crate::{assert_contract_kept, one_repository};

#[tokio::test]
async fn an_error_takes_the_place_of_the_answer() {
    let (standin, client) = one_repository().await;
    standin.fault(FaultRule::new("/repos/octo/*", Fault::HtmlPage { status: 504 }).after(1));
    standin.fault(FaultRule::new(
        "/repos/octo/*",
        Fault::Status { status: 500, body: json!({ "message": "Server Error" }) },
    ));
    let statuses = [
        client.read("/repos/octo/one").await,
        client.read("/repos/octo/one").await,
        client.read("/repos/octo/one").await,
    ]
    .map(|reply| (reply.status, reply.header("content-type").map(|kind| kind.starts_with("text/html"))));
    assert_eq!(statuses, [(500, Some(false)), (504, Some(true)), (200, Some(false))]);

    standin.fault(FaultRule::new("/repos/octo/one*", Fault::Error(ErrorCase::NotFoundOrHidden)).always());
    let id = client.read("/user/repos").await.json()[0]["id"].clone();
    assert_eq!(
        client.read(&format!("/repositories/{id}/contents/README.md")).await.status,
        404,
        "found by number too"
    );
    standin.clear_faults();
    assert_eq!(client.read("/repos/octo/one").await.status, 200);

    let sha = standin.head("octo/one", "main").expect("a commit");
    standin.fault(FaultRule::new("*", Fault::Error(ErrorCase::Unicorn)).method("POST"));
    let reference = json!({ "ref": "refs/tags/x", "sha": sha });
    assert_eq!(client.change("POST", "/repos/octo/one/git/refs", &reference).await.status, 502);
    assert_eq!(
        client.change("POST", "/repos/octo/one/git/refs", &reference).await.status,
        201,
        "nothing had happened"
    );
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_lost_answer_has_taken_effect() {
    let (standin, client) = one_repository().await;
    let sha = standin.head("octo/one", "main").expect("a commit");
    let reference = json!({ "ref": "refs/tags/x", "sha": sha });
    standin.fault(FaultRule::new("*/git/refs", Fault::LostAnswer));
    assert!(client.send("POST", "/repos/octo/one/git/refs", Some(&reference)).await.is_err());
    assert_eq!(client.change("POST", "/repos/octo/one/git/refs", &reference).await.status, 422);
    assert_eq!(standin.requests()[0].status, 0);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn bodies_are_cut_spoilt_and_blown_up() {
    let (standin, client) = one_repository().await;
    let whole = client.read("/repos/octo/one").await;
    let next = |fault| {
        standin.fault(FaultRule::new("/repos/octo/one", fault));
        client.read("/repos/octo/one")
    };
    let cut = next(Fault::CutBody { after_bytes: 10 }).await;
    assert_eq!(
        (cut.body.len(), cut.is_cut, cut.number("content-length")),
        (10, true, whole.body.len() as u64)
    );
    let half = next(Fault::InvalidJson).await;
    assert_eq!((half.is_cut, half.body.len()), (false, whole.body.len() / 2));
    let huge = next(Fault::HugeBody { bytes: 3_000_000 }).await;
    assert_eq!((huge.header("content-length"), huge.body.len()), (None, 3_000_000 + whole.body.len()));
    let wrong = next(Fault::WrongContentType).await;
    assert_eq!(
        (wrong.header("content-type"), wrong.body == whole.body),
        (Some("text/html; charset=utf-8"), true)
    );
    let ahead = next(Fault::SkewedDate { seconds: 3_600 }).await;
    assert_eq!(ahead.header("date"), Some("Fri, 02 Jan 2026 04:04:05 GMT"));
    let around = next(Fault::RedirectLoop).await;
    assert_eq!(
        (around.status, around.header("location")),
        (301, Some(format!("{}/repos/octo/one", standin.base_url()).as_str()))
    );
    let began = Instant::now();
    next(Fault::Slow(Duration::from_millis(50))).await;
    assert!(began.elapsed() >= Duration::from_millis(50));
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn items_move_between_pages() {
    let (standin, client) = one_repository().await;
    for name in ["octo/two", "octo/three", "octo/zero"] {
        standin.add_repository(name, &RepositoryOptions::default());
    }
    let names = |reply: crate::client::Reply| {
        let items = reply.json();
        items.as_array().expect("a list").iter().map(|item| item["name"].clone()).collect::<Vec<_>>()
    };
    let second = || client.read("/user/repos?per_page=2&page=2");
    assert_eq!(names(second().await), ["two", "zero"]);
    standin.fault(FaultRule::new("/user/repos", Fault::RepeatedItem));
    assert_eq!(names(second().await), ["three", "two"]);
    standin.fault(FaultRule::new("/user/repos", Fault::SkippedItem));
    assert_eq!(names(second().await), ["zero"]);
    standin.fault(FaultRule::new("/user/repos", Fault::EmptyPage));
    let empty = client.read("/user/repos?per_page=2").await;
    assert!(empty.link("next").is_some(), "its links stay");
    assert!(names(empty).is_empty());

    let query = "query($after: String) { viewer { repositories(first: 2, after: $after, orderBy: { field: NAME, direction: ASC }) \
                 { nodes { name } pageInfo { endCursor } } } }";
    let list = async |after: serde_json::Value| {
        let reply = client.graphql(query, json!({ "after": after })).await.json();
        reply["data"]["viewer"]["repositories"].clone()
    };
    let end = list(json!(null)).await["pageInfo"]["endCursor"].clone();
    assert_eq!(list(end.clone()).await["nodes"], json!([{ "name": "two" }, { "name": "zero" }]));
    standin.fault(FaultRule::new("/graphql", Fault::RepeatedItem));
    assert_eq!(list(end.clone()).await["nodes"], json!([{ "name": "three" }, { "name": "two" }]));
    standin.fault(FaultRule::new("/graphql", Fault::EmptyPage));
    assert_eq!(list(end).await["nodes"], json!([]));
    assert_eq!(standin.faults_left(), 0);
    assert_contract_kept(&standin);
}
