//! A server on this host that answers as a test tells it to, broken answers included, and a clock that a test moves.
//!
//! Raw TCP, one request for each connection: so a body can end early and a connection can drop. It knows nothing of GitHub.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wfengine_github::{BoxFuture, Client, Clock, Credential, MemoryCache, Settings};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    /// By the test's clock.
    pub(crate) at: Duration,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Bytes of the body that are left out although they were announced.
    cut: usize,
    /// The connection ends before anything was answered.
    is_dropped: bool,
    /// Nothing is ever answered.
    hangs: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let headers = vec![("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
        Self { status, headers, body, cut: 0, is_dropped: false, hangs: false }
    }

    pub(crate) fn json(body: &str) -> Self {
        Self::new(200, body)
    }

    pub(crate) fn message(status: u16, message: &str) -> Self {
        Self::new(status, serde_json::json!({ "message": message }).to_string())
    }

    pub(crate) fn html(status: u16) -> Self {
        Self::new(status, "<!DOCTYPE html><html><title>Unicorn!</title></html>")
            .with("content-type", "text/html")
    }

    pub(crate) fn dropped() -> Self {
        Self { is_dropped: true, ..Self::json("") }
    }

    pub(crate) fn hanging() -> Self {
        Self { hangs: true, ..Self::json("") }
    }

    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.cut = bytes;
        self
    }

    /// What GitHub says of a bucket, with its date and reset by the same clock.
    pub(crate) fn limits(
        self,
        resource: &str,
        limit: u64,
        remaining: u64,
        date_s: u64,
        resets_in: u64,
    ) -> Self {
        self.with("x-ratelimit-resource", resource)
            .with("x-ratelimit-limit", limit)
            .with("x-ratelimit-remaining", remaining)
            .with("x-ratelimit-used", limit - remaining)
            .with("x-ratelimit-reset", date_s + resets_in)
            .with("date", http_date(date_s))
    }
}

/// A moment as headers write it.
pub(crate) fn http_date(seconds: u64) -> String {
    let text = wfengine_github::dates::rfc3339(seconds);
    let (date, time) = text.trim_end_matches('Z').split_once('T').unwrap();
    let parts: Vec<&str> = date.split('-').collect();
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        [parts[1].parse::<usize>().unwrap() - 1];
    format!("Thu, {} {month} {} {time} GMT", parts[2], parts[0])
}

type Answerer = dyn Fn(&Seen) -> Reply + Send + Sync;

/// The server. It ends with the runtime of the test.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) clock: Arc<TestClock>,
}

impl Fake {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(Arc::new(TestClock::default()), answer).await
    }

    /// The same with a clock that the answers look at as well.
    pub(crate) async fn start_at(
        clock: Arc<TestClock>,
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Answerer> = Arc::new(answer);
        let fake = Self { base, seen: Arc::clone(&seen), clock: Arc::clone(&clock) };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&answer), Arc::clone(&seen), Arc::clone(&clock)));
            }
        });
        fake
    }

    /// Answers in turn, the last one for ever.
    pub(crate) async fn in_turn(replies: Vec<Reply>) -> Self {
        let next = AtomicU64::new(0);
        Self::start(move |_| {
            let index = usize::try_from(next.fetch_add(1, Ordering::SeqCst)).unwrap();
            replies[index.min(replies.len() - 1)].clone()
        })
        .await
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::new(&self.base).unwrap()
    }

    /// A client with a token, the test's clock and a cache of its own.
    pub(crate) fn client(&self) -> Client {
        self.client_as(&Credential::token("ghp_test"))
    }

    pub(crate) fn client_as(&self, credential: &Credential) -> Client {
        self.client_with(self.settings(), credential)
    }

    pub(crate) fn client_with(&self, settings: Settings, credential: &Credential) -> Client {
        let cache = Arc::new(MemoryCache::default());
        Client::new(settings, credential, Arc::clone(&self.clock) as Arc<dyn Clock>, cache, 7).unwrap()
    }
}

async fn serve(
    mut socket: TcpStream,
    answer: Arc<Answerer>,
    log: Arc<Mutex<Vec<Seen>>>,
    clock: Arc<TestClock>,
) {
    let Some(mut seen) = request(&mut socket).await else { return };
    seen.at = clock.now();
    log.lock().unwrap().push(seen.clone());
    let reply = answer(&seen);
    if reply.hangs {
        std::future::pending::<()>().await;
    }
    if reply.is_dropped {
        return;
    }
    let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if reply.status != 304
        && reply.status != 204
        && !reply.headers.iter().any(|(name, _)| name == "content-length")
    {
        head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if reply.status != 304 && reply.status != 204 {
        bytes.extend_from_slice(&reply.body[..reply.body.len() - reply.cut]);
    }
    let _ = socket.write_all(&bytes).await;
    let _ = socket.shutdown().await;
}

async fn request(socket: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut piece = [0; 4096];
        let count = socket.read(&mut piece).await.ok()?;
        if count == 0 {
            return None;
        }
        bytes.extend_from_slice(&piece[..count]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length {
        let mut piece = [0; 4096];
        let count = socket.read(&mut piece).await.ok()?;
        if count == 0 {
            return None;
        }
        body.extend_from_slice(&piece[..count]);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Some(Seen { method, path, headers, body, at: Duration::ZERO })
}

/// A clock that jumps over every wait. Its wall time is wrong by as much as a test likes.
#[derive(Debug)]
pub(crate) struct TestClock {
    now: Mutex<Duration>,
    pub(crate) wall_at_start_s: AtomicU64,
}

impl Default for TestClock {
    fn default() -> Self {
        Self { now: Mutex::new(Duration::from_secs(1000)), wall_at_start_s: AtomicU64::new(1_767_323_045) }
    }
}

impl TestClock {
    pub(crate) fn advance(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }

    /// What GitHub's clock says, which is right.
    pub(crate) fn server_s(&self) -> u64 {
        1_767_323_045 + (self.now() - Duration::from_secs(1000)).as_secs()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn wall_s(&self) -> u64 {
        self.wall_at_start_s.load(Ordering::SeqCst) + (self.now() - Duration::from_secs(1000)).as_secs()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        self.advance(duration);
        Box::pin(tokio::task::yield_now())
    }
}
