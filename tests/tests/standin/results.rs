//! Commit statuses and check runs.

use serde_json::json;
use wfengine_tests::standin::{Level, Selection, TokenKind};

use crate::{assert_contract_kept, one_repository};

#[tokio::test]
async fn the_latest_status_of_each_context_counts() {
    let (standin, client) = one_repository().await;
    let sha = standin.head("octo/one", "main").expect("a commit");
    let path = format!("/repos/octo/one/statuses/{sha}");
    let combined = || client.read("/repos/octo/one/commits/main/status");
    assert_eq!(combined().await.json()["state"], "pending");
    for (state, context, expected) in [
        ("pending", "a", "pending"),
        ("success", "a", "success"),
        ("error", "b", "failure"),
        ("success", "b", "success"),
    ] {
        let status = json!({ "state": state, "context": context, "description": "why", "target_url": "https://example.com" });
        let made = client.change("POST", &path, &status).await;
        assert_eq!(
            (made.status, &made.json()["context"], &made.json()["creator"]["login"]),
            (201, &json!(context), &json!("octo"))
        );
        assert!(made.header("etag").is_some() && made.header("location").is_some());
        assert_eq!(combined().await.json()["state"], expected);
    }
    assert_eq!(combined().await.json()["total_count"], 2);
    let all = client.read(&format!("/repos/octo/one/commits/{sha}/statuses?per_page=3")).await;
    assert_eq!(
        (all.json().as_array().map(Vec::len), all.json()[0]["context"].clone()),
        (Some(3), json!("b"))
    );
    assert!(all.link("next").is_some());
    assert_eq!(standin.statuses().len(), 4);
    assert_eq!(
        client
            .change(
                "POST",
                &format!("/repos/octo/one/statuses/{}", "0".repeat(40)),
                &json!({ "state": "success" })
            )
            .await
            .status,
        422
    );
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn check_runs_are_for_apps() {
    let (standin, client) = one_repository().await;
    let sha = standin.head("octo/one", "main").expect("a commit");
    let wanted = json!({ "name": "wfengine", "head_sha": sha, "external_id": "run-1" });
    assert_eq!(client.change("POST", "/repos/octo/one/check-runs", &wanted).await.status, 403, "no app");
    let kind = TokenKind::Installation {
        owner: "octo".into(),
        repositories: Selection::All,
        permissions: vec![("checks".into(), Level::Write)],
    };
    let app = client.with_token(&standin.token(&kind));
    let made = app.change("POST", "/repos/octo/one/check-runs", &wanted).await;
    assert_eq!(
        (made.status, &made.json()["status"], &made.json()["conclusion"]),
        (201, &json!("queued"), &json!(null))
    );
    let path = format!("/repos/octo/one/check-runs/{}", made.json()["id"]);
    let update = json!({ "conclusion": "failure", "output": { "title": "t", "summary": "s" } });
    let ended = app.change("PATCH", &path, &update).await;
    assert_eq!((ended.status, &ended.json()["status"]), (200, &json!("completed")));
    let shown = client.read(&path).await.json();
    assert_eq!(
        (&shown["conclusion"], &shown["output"]["summary"], &shown["external_id"]),
        (&json!("failure"), &json!("s"), &json!("run-1"))
    );
    let other = client.with_token(&standin.token(&kind));
    assert_eq!(other.change("PATCH", &path, &update).await.status, 403, "another installation");
    assert_contract_kept(&standin);
}
