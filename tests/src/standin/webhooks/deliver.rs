//! Sends webhooks: one after the other, a small HTTP client, a signature.

use std::{sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::Delivery;
use crate::standin::Shared;

/// As long as GitHub waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends whatever is to leave, for as long as it is polled.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let next = {
            let mut state = shared.state();
            let next = state.webhooks.leaving.pop_front();
            state.webhooks.is_sending = next.is_some();
            next
        };
        let Some(delivery) = next else {
            shared.webhooks_quiet.notify_waiters();
            shared.webhooks_waiting.notified().await;
            continue;
        };
        let status = timeout(PATIENCE, send(&delivery)).await.unwrap_or_default();
        let seen = delivery.seen(status);
        let mut state = shared.state();
        state.webhooks.sent.push((delivery, seen));
        state.webhooks.is_sending = false;
    }
}

/// The status of the receiver's answer.
async fn send(delivery: &Delivery) -> Option<u16> {
    let address = delivery.url.strip_prefix("http://")?;
    let (host, path) = match address.split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (address, "/".to_owned()),
    };
    let connect_to = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut stream = TcpStream::connect(connect_to).await.ok()?;
    let signature = match &delivery.secret {
        Some(secret) => format!("x-hub-signature-256: sha256={}\r\n", signature(secret, &delivery.body)?),
        None => String::new(),
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: GitHub-Hookshot/standin\r\naccept: */*\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\nx-github-event: {}\r\n\
         x-github-delivery: {}\r\nx-github-hook-id: {}\r\nx-github-hook-installation-target-type: repository\r\n{signature}\r\n",
        delivery.body.len(),
        delivery.event,
        delivery.id,
        delivery.hook,
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(&delivery.body).await.ok()?;
    let mut answer = Vec::new();
    // a receiver that closes at once has still answered
    let _ = stream.take(64 * 1024).read_to_end(&mut answer).await;
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    line.split(' ').nth(1)?.parse().ok()
}

/// The HMAC of a body, in hexadecimal digits.
pub(crate) fn signature(secret: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(body);
    Some(HEXLOWER.encode(&mac.finalize().into_bytes()))
}
