//! Self-hosted runners, as those who administer them see them.

use std::time::Duration;

use serde_json::{Value, json};
use wfengine_tests::standin::{Level, Role, Selection, TokenKind};

use crate::{assert_contract_kept, one_repository};

#[tokio::test]
async fn runners_are_listed_labelled_and_deleted() {
    let (standin, client) = one_repository().await;
    let (first, second) =
        (standin.add_runner("octo/one", "wf-1", &["p2p"]), standin.add_runner("octo/one", "wf-2", &[]));
    let all = client.read("/repos/octo/one/actions/runners?per_page=1").await;
    assert_eq!(
        (&all.json()["total_count"], &all.json()["runners"][0]["status"]),
        (&json!(2), &json!("online"))
    );
    assert!(all.link("next").is_some());
    let named = client.read("/repos/octo/one/actions/runners?name=wf-2").await.json();
    assert_eq!((&named["total_count"], &named["runners"][0]["id"]), (&json!(1), &json!(second.0)));

    let path = format!("/repos/octo/one/actions/runners/{first}/labels");
    let names = |reply: crate::client::Reply| {
        let shown = reply.json();
        shown["labels"]
            .as_array()
            .expect("labels")
            .iter()
            .map(|label| label["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(client.read(&path).await), ["self-hosted", "Linux", "X64", "p2p"]);
    assert_eq!(names(client.change("POST", &path, &json!({ "labels": ["P2P", "gpu"] })).await).len(), 5);
    assert_eq!(
        client.send("DELETE", &format!("{path}/linux"), None).await.expect("an answer").status,
        422,
        "read-only"
    );
    assert_eq!(names(client.send("DELETE", &format!("{path}/gpu"), None).await.expect("an answer")).len(), 4);
    assert_eq!(client.send("DELETE", &format!("{path}/gpu"), None).await.expect("an answer").status, 404);
    assert_eq!(names(client.change("PUT", &path, &json!({ "labels": ["x"] })).await)[3], "x");
    assert_eq!(names(client.send("DELETE", &path, None).await.expect("an answer")).len(), 3);

    standin.set_runner(first, true, true);
    let own = format!("/repos/octo/one/actions/runners/{first}");
    assert_eq!(client.read(&own).await.json()["busy"], true);
    assert_eq!(client.send("DELETE", &own, None).await.expect("an answer").status, 422, "busy");
    standin.set_runner(first, false, false);
    assert_eq!(client.send("DELETE", &own, None).await.expect("an answer").status, 204);
    assert_eq!(client.send("DELETE", &own, None).await.expect("an answer").status, 404, "gone");
    assert_eq!(standin.runners().len(), 1);
    assert_eq!(client.read("/repos/octo/one/actions/runners/downloads").await.json()[0]["os"], "linux");
    standin.add_collaborator("octo/one", "writer", Role::Write);
    let writer = client.with_token(&standin.token(&TokenKind::classic("writer")));
    assert_eq!(writer.read("/repos/octo/one/actions/runners").await.status, 404, "no administrator");
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_just_in_time_configuration_makes_a_runner_that_waits() {
    let (standin, client) = one_repository().await;
    let path = "/repos/octo/one/actions/runners/generate-jitconfig";
    let wanted = json!({ "name": "wf-1", "runner_group_id": 1, "labels": ["p2p"] });
    let made = client.change("POST", path, &wanted).await;
    let runner = made.json()["runner"].clone();
    assert_eq!(
        (made.status, &runner["status"], &runner["ephemeral"]),
        (201, &json!("offline"), &json!(true))
    );
    assert_eq!(runner["labels"].as_array().map(Vec::len), Some(1), "nothing is added");
    let decode = |text: &Value| {
        let bytes = data_encoding::BASE64.decode(text.as_str().expect("text").as_bytes()).expect("base64");
        serde_json::from_slice::<Value>(&bytes).expect("JSON")
    };
    let files = decode(&made.json()["encoded_jit_config"]);
    assert_eq!(decode(&files[".runner"])["AgentName"], "wf-1");
    assert_eq!(decode(&files[".credentials"])["Data"]["ClientId"], json!(standin.runners()[0].secret));
    assert!(files.get(".credentials").is_some() && files.get(".credentials_rsaparams").is_some());
    assert_eq!(client.change("POST", path, &wanted).await.status, 409);
    let unlabelled = json!({ "name": "wf-2", "runner_group_id": 1, "labels": [" "] });
    assert_eq!(client.change("POST", path, &unlabelled).await.status, 422);
    let elsewhere = json!({ "name": "wf-2", "runner_group_id": 7, "labels": ["a"] });
    assert_eq!(client.change("POST", path, &elsewhere).await.status, 404);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn registration_tokens_last_an_hour_and_are_counted_apart() {
    let (standin, client) = one_repository().await;
    let made = client
        .send("POST", "/repos/octo/one/actions/runners/registration-token", None)
        .await
        .expect("an answer");
    assert_eq!(
        (made.status, made.header("x-ratelimit-resource")),
        (201, Some("actions_runner_registration"))
    );
    let token = made.json()["token"].as_str().expect("a token").to_owned();
    assert!(
        standin.accepts_registration("octo/one", &token) && standin.accepts_registration("octo/one", &token),
        "several times"
    );
    let remove = client
        .send("POST", "/repos/octo/one/actions/runners/remove-token", None)
        .await
        .expect("an answer")
        .json();
    assert!(
        !standin.accepts_registration("octo/one", remove["token"].as_str().expect("a token")),
        "for the other way"
    );
    standin.clock().advance(Duration::from_secs(3_600));
    assert!(!standin.accepts_registration("octo/one", &token));
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn the_runners_of_an_organisation_need_its_administration() {
    let (standin, client) = one_repository().await;
    standin.add_organization("org");
    standin.add_member("org", "octo", Role::Admin);
    standin.add_runner("org", "wf-1", &["p2p"]);
    assert_eq!(client.read("/orgs/org/actions/runners").await.status, 404, "without `admin:org`");
    let admin = TokenKind::Classic { user: "octo".into(), scopes: vec!["admin:org".into()] };
    let admin = client.with_token(&standin.token(&admin));
    assert_eq!(admin.read("/orgs/org/actions/runners").await.json()["total_count"], 1);
    let app = |level| {
        let permissions = vec![("organization_self_hosted_runners".to_owned(), level)];
        let kind = TokenKind::Installation { owner: "org".into(), repositories: Selection::All, permissions };
        client.with_token(&standin.token(&kind))
    };
    let path = "/orgs/org/actions/runners/registration-token";
    let refused = app(Level::Read).send("POST", path, None).await.expect("an answer");
    assert_eq!(
        (refused.status, refused.header("x-accepted-github-permissions")),
        (403, Some("organization_self_hosted_runners=write"))
    );
    assert_eq!(app(Level::Write).send("POST", path, None).await.expect("an answer").status, 201);
    assert_eq!(app(Level::Read).read("/orgs/org/actions/runners?name=wf-1").await.json()["total_count"], 1);
    assert_contract_kept(&standin);
}
