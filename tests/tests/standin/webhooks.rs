//! Webhooks arrive signed; late, twice, never or forged when a test wants it so.

use std::sync::{Arc, Mutex};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{assert_contract_kept, one_repository};

/// One delivery as the receiver sees it.
#[derive(Debug, Clone)]
struct Received {
    head: String,
    body: Vec<u8>,
}

impl Received {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn is_signed_with(&self, secret: &str) -> bool {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key fits");
        mac.update(&self.body);
        let expected = format!("sha256={}", HEXLOWER.encode(&mac.finalize().into_bytes()));
        self.header("x-hub-signature-256") == Some(&expected)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

type Inbox = Arc<Mutex<Vec<Received>>>;

/// Somebody who takes deliveries; where, and what came.
async fn receiver() -> (String, Inbox) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let inbox = Inbox::default();
    let received = Arc::clone(&inbox);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let mut buffer = [0; 65_536];
            let whole = loop {
                let read = stream.read(&mut buffer).await.expect("bytes");
                bytes.extend_from_slice(&buffer[..read]);
                let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .and_then(|length| length.parse::<usize>().ok());
                if bytes.len() >= end + 4 + length.expect("a length") {
                    break Received { head, body: bytes[end + 4..].to_vec() };
                }
            };
            received.lock().expect("the inbox").push(whole);
            let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    (url, inbox)
}

fn events(inbox: &Inbox) -> Vec<String> {
    let inbox = inbox.lock().expect("the inbox");
    inbox.iter().map(|received| received.header("x-github-event").expect("an event").to_owned()).collect()
}

#[tokio::test]
async fn pushes_and_runs_are_told_signed_and_in_order() {
    let (standin, _) = one_repository().await;
    let (url, inbox) = receiver().await;
    standin.add_hook("octo/one", &url, Some("secret"), &["*"]);
    let before = standin.head("octo/one", "main").expect("a commit");
    let after = standin.push("octo/one", "main", &[("a", Some(b"x"))], "told");
    let run = standin.runs().last().expect("a run").id;
    standin.start_run(run);
    standin.finish_run(run, "success");
    standin.tag("octo/one", "v1", "main");
    standin.delete_branch("octo/one", "main");
    standin.webhooks_settled().await;
    let all = [
        "push",
        "workflow_run",
        "workflow_job",
        "workflow_run",
        "workflow_job",
        "workflow_run",
        "workflow_job",
        "push",
        "push",
    ];
    let seen = events(&inbox);
    assert_eq!(seen[..7], all[..7]);
    assert_eq!(seen.iter().filter(|event| *event == "push").count(), 3);
    let received = inbox.lock().expect("the inbox").clone();
    assert!(
        received
            .iter()
            .all(|received| received.is_signed_with("secret") && !received.is_signed_with("other"))
    );
    let push = received[0].json();
    assert_eq!(
        (&push["ref"], &push["before"], &push["after"]),
        (&json!("refs/heads/main"), &json!(before), &json!(after))
    );
    assert_eq!(received[5].json()["workflow_run"]["conclusion"], "success");
    assert_eq!(received.last().expect("one").json()["deleted"], true);
    let ids: std::collections::BTreeSet<_> = received
        .iter()
        .map(|received| received.header("x-github-delivery").expect("an id").to_owned())
        .collect();
    assert_eq!(ids.len(), received.len());
    assert!(standin.delivered().iter().all(|delivered| delivered.status == Some(202)));
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn a_hook_made_through_the_api_is_pinged_and_hears_what_it_wants() {
    let (standin, client) = one_repository().await;
    let (url, inbox) = receiver().await;
    let wanted = json!({ "name": "web", "config": { "url": url, "content_type": "json", "secret": "s" }, "events": ["workflow_dispatch"] });
    let made = client.change("POST", "/repos/octo/one/hooks", &wanted).await;
    assert_eq!((made.status, &made.json()["config"]["secret"]), (201, &json!("********")));
    assert_eq!(client.change("POST", "/repos/octo/one/hooks", &wanted).await.status, 422, "twice");
    assert_eq!(client.read("/repos/octo/one/hooks").await.json()[0]["id"], made.json()["id"]);
    standin.push("octo/one", "main", &[("a", Some(b"x"))], "not told");
    client
        .change("POST", "/repos/octo/one/actions/workflows/ci.yml/dispatches", &json!({ "ref": "main" }))
        .await;
    standin.webhooks_settled().await;
    assert_eq!(events(&inbox), ["ping", "workflow_dispatch"]);
    assert_contract_kept(&standin);
}

#[tokio::test]
async fn deliveries_are_held_reordered_repeated_lost_and_forged() {
    let (standin, _) = one_repository().await;
    let (url, inbox) = receiver().await;
    standin.add_hook("octo/one", &url, Some("secret"), &["push"]);
    let push = |message: &str| standin.push("octo/one", "main", &[("a", Some(message.as_bytes()))], message);
    let messages = || {
        let received = inbox.lock().expect("the inbox").clone();
        received
            .iter()
            .map(|received| received.json()["head_commit"]["message"].as_str().expect("a message").to_owned())
            .collect::<Vec<_>>()
    };
    standin.hold();
    for message in ["one", "two", "three"] {
        push(message);
    }
    standin.webhooks_settled().await;
    assert_eq!((messages().len(), standin.held().len()), (0, 3));
    standin.deliver_late(1);
    standin.webhooks_settled().await;
    assert_eq!(messages(), ["two"]);
    standin.release_reversed();
    standin.webhooks_settled().await;
    assert_eq!(messages(), ["two", "three", "one"]);

    let first = standin.delivered()[0].id.clone();
    standin.duplicate(&first);
    standin.lose(1);
    push("lost");
    standin.forge("guess", 1);
    push("forged");
    push("true");
    standin.webhooks_settled().await;
    assert_eq!(messages(), ["two", "three", "one", "two", "forged", "true"]);
    let received = inbox.lock().expect("the inbox").clone();
    assert_eq!(received[3].header("x-github-delivery"), Some(first.as_str()));
    assert_eq!(
        [
            received[4].is_signed_with("secret"),
            received[4].is_signed_with("guess"),
            received[5].is_signed_with("secret")
        ],
        [false, true, true]
    );
    assert_eq!(standin.lost().len(), 1);
    standin.hold();
    push("held");
    standin.lose_held();
    standin.release();
    standin.webhooks_settled().await;
    assert_eq!((messages().len(), standin.lost().len()), (6, 2));

    standin.add_hook("octo/one", "http://127.0.0.1:1/", None, &["push"]);
    push("nobody");
    standin.webhooks_settled().await;
    assert_eq!(standin.delivered().last().map(|delivered| delivered.status), Some(None));
    assert_contract_kept(&standin);
}
