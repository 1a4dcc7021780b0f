//! The listener: what it takes, what it refuses and when, and that it never waits.

use std::{net::SocketAddr, time::Duration};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
};
use wfengine_github::{
    Secret,
    listener::{self, BoundListener, ListenError},
    webhook::Hint,
};

const PUSH: &str =
    r#"{"ref":"refs/heads/main","before":"0","after":"1","repository":{"id":1,"full_name":"a/b"}}"#;

struct Door {
    bound: BoundListener,
    hints: mpsc::Receiver<Hint>,
    stop: oneshot::Sender<()>,
}

async fn door(room: usize) -> Door {
    let (sender, hints) = mpsc::channel(room);
    let (stop, stopped) = oneshot::channel::<()>();
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let ends = async move {
        let _ = stopped.await;
    };
    let bound = listener::listen(address, Secret::new("s3cret"), sender, ends).await.unwrap();
    Door { bound, hints, stop }
}

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", HEXLOWER.encode(&mac.finalize().into_bytes()))
}

fn message(id: &str, body: &str, signature: &str) -> String {
    format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: x\r\nx-github-event: push\r\nx-github-delivery: {id}\r\n\
         x-hub-signature-256: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The status of the answer; 0 when there was none.
async fn send(door: &Door, request: &str) -> u16 {
    let mut socket = TcpStream::connect(door.bound.address()).await.unwrap();
    let _ = socket.write_all(request.as_bytes()).await;
    let mut answer = String::new();
    let _ = socket.read_to_string(&mut answer).await;
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_signed_message_is_passed_on_once() {
    let mut door = door(4).await;
    let request = message("one", PUSH, &signature("s3cret", PUSH));
    assert_eq!(send(&door, &request).await, 202);
    assert_eq!(send(&door, &request).await, 202, "sent again, taken as known");
    assert!(matches!(door.hints.recv().await, Some(Hint::Push { repository, .. }) if repository == "a/b"));
    assert!(door.hints.try_recv().is_err());
    let stats = door.bound.stats();
    assert_eq!((stats.passed, stats.repeated, stats.refused), (1, 1, 0));
}

#[tokio::test]
async fn forged_messages_are_refused_before_they_are_read_for_sense() {
    let mut door = door(4).await;
    let right = signature("s3cret", PUSH);
    for (request, status) in [
        (message("a", PUSH, &signature("other", PUSH)), 401),
        (message("b", &PUSH.replace("main", "evil"), &right), 401),
        (message("c", "not json at all", &right), 401),
        (message("d", PUSH, &right).replace("x-hub-signature-256", "x-hub-signature"), 401),
        (message("e", "not json at all", &signature("s3cret", "not json at all")), 400),
        (message("f", PUSH, &right).replace("x-github-event: push\r\n", ""), 400),
        (message("g", PUSH, &right).replace("x-github-delivery: g\r\n", ""), 400),
        (message("h", PUSH, &right).replace("POST ", "GET "), 405),
        (message("i", PUSH, &right).replace("/webhooks/github", "/webhooks"), 404),
        (
            message("j", PUSH, &right)
                .replace(&format!("content-length: {}", PUSH.len()), "content-length: 2000000"),
            413,
        ),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ] {
        assert_eq!(send(&door, &request).await, status, "{request}");
    }
    assert!(door.hints.try_recv().is_err());
    // a long body without a length is cut off while it is read
    let mut long = message("k", "", &right).replace("content-length: 0", "transfer-encoding: chunked");
    long.push_str(&format!("{:x}\r\n{}\r\n0\r\n\r\n", 1_100_000, " ".repeat(1_100_000)));
    let status = send(&door, &long).await;
    assert!(status == 413 || status == 0, "{status}: the connection may break while we still send");
    assert_eq!(door.bound.stats().passed, 0);
}

#[tokio::test]
async fn a_full_channel_loses_hints_and_nobody_waits() {
    let mut door = door(1).await;
    for id in ["a", "b", "c"] {
        assert_eq!(send(&door, &message(id, PUSH, &signature("s3cret", PUSH))).await, 202);
    }
    let stats = door.bound.stats();
    assert_eq!((stats.passed, stats.lost), (1, 2));
    assert!(door.hints.recv().await.is_some());
    assert_eq!(send(&door, &message("b", PUSH, &signature("s3cret", PUSH))).await, 202);
    assert!(door.hints.recv().await.is_some(), "what was lost is taken when it is sent again");
}

#[tokio::test]
async fn a_hundred_idle_connections_do_not_keep_others_out_for_ever() {
    tokio::time::timeout(Duration::from_secs(60), async {
        let door = door(4).await;
        let mut idle = Vec::new();
        for _ in 0..100 {
            idle.push(TcpStream::connect(door.bound.address()).await.unwrap());
        }
        assert_eq!(send(&door, &message("a", PUSH, &signature("s3cret", PUSH))).await, 202);
    })
    .await
    .expect("an answer");
}

#[tokio::test]
async fn it_stops_when_told_and_needs_a_secret() {
    let door = door(1).await;
    let address = door.bound.address();
    door.stop.send(()).unwrap();
    door.bound.stopped().await;
    assert!(TcpStream::connect(address).await.is_err());
    let (sender, _hints) = mpsc::channel(1);
    let none = listener::listen(address, Secret::new(""), sender.clone(), std::future::pending()).await;
    assert!(matches!(none, Err(ListenError::NoSecret)));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let there = taken.local_addr().unwrap();
    let error =
        listener::listen(there, Secret::new("x"), sender, std::future::pending()).await.expect_err("taken");
    assert!(error.to_string().starts_with(&there.to_string()), "{error}");
}
