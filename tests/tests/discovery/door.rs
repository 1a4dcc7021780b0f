//! A door before the stand-in that answers one path itself, byte by byte as told, and lets everything else through.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::world::World;

/// A listening door. It closes when this is dropped.
pub(crate) struct Door {
    address: String,
    answered: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Door {
    /// Answers requests for a path, its query left out, with these bytes.
    pub(crate) async fn before(world: &World, path: &'static str, answer: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let behind = world.github.base_url().trim_start_matches("http://").to_owned();
        let answered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&answered);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (behind, count) = (behind.clone(), Arc::clone(&count));
                // a connection that breaks off is the client's to notice
                connections.spawn(async move { pass(stream, &behind, path, answer, &count).await });
            }
        });
        Self { address, answered, task }
    }

    pub(crate) fn base_url(&self) -> String {
        self.address.clone()
    }

    /// How many requests it answered itself.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request of one connection; what comes after it needs another connection.
async fn pass(
    mut stream: TcpStream,
    behind: &str,
    path: &str,
    answer: &str,
    answered: &AtomicUsize,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let asked = head.split(' ').nth(1).unwrap_or_default();
    if asked.split('?').next() == Some(path) {
        answered.fetch_add(1, Ordering::Relaxed);
        return stream.write_all(answer.as_bytes()).await;
    }
    let mut through = TcpStream::connect(behind).await?;
    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    through.write_all(head.as_bytes()).await?;
    let (mut from_client, mut to_client) = stream.split();
    let (mut from_github, mut to_github) = through.split();
    tokio::select! {
        // bodies have no end that can be seen here
        sent = tokio::io::copy(&mut from_client, &mut to_github) => sent.map(|_| ()),
        answered = tokio::io::copy(&mut from_github, &mut to_client) => answered.map(|_| ()),
    }
}
