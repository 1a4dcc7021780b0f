//! The engine: one call after another, each over a connection of its own, each with a bound in time.
//!
//! A connection lives as long as its call, so an engine that was stopped and started again is met by the next call as if
//! nothing had been. What the calls are stands beside the things they are about; here is how one is made.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, Docker};
use futures_core::Stream;

use crate::{
    Endpoint, EngineError, EngineInfo,
    error::{Subject, clean, told},
};

/// How long a call may take unless it is known to take longer.
const CALL: Duration = Duration::from_secs(30);
/// How long an image may take to come.
const PULL: Duration = Duration::from_secs(30 * 60);
/// How long a whole log may take to come.
const LOG: Duration = Duration::from_secs(120);
/// Longer than any stream lives, for the library wants a number.
const STREAM_S: u64 = 10 * 365 * 24 * 60 * 60;

/// A client of one engine. Clones are cheap and speak to the same one.
#[derive(Clone, Debug)]
pub struct Engine {
    endpoint: Arc<Endpoint>,
    call: Duration,
    pub(crate) pull: Duration,
    pub(crate) log: Duration,
}

/// A network or volume, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// A network's id; a volume has none and gives its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Engine {
    /// Connects nowhere yet: each call opens its own connection, so an engine that comes back is found again.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint: Arc::new(endpoint), call: CALL, pull: PULL, log: LOG }
    }

    /// The same with another bound on ordinary calls. Pulling an image and reading a log keep theirs.
    #[must_use]
    pub fn with_timeout(self, call: Duration) -> Self {
        Self { call, ..self }
    }

    /// Where the engine listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the engine says of itself. Also the cheapest way to learn whether it can be used.
    pub async fn info(&self) -> Result<EngineInfo, EngineError> {
        let (version, info) = self
            .call(&Subject::Engine, self.call, |docker| async move {
                let version = docker.version().await?;
                Ok((version, docker.info().await?))
            })
            .await?;
        Ok(EngineInfo::read(version, info))
    }

    /// Makes one call within a bound.
    pub(crate) async fn call<T, F>(
        &self,
        subject: &Subject,
        bound: Duration,
        work: impl FnOnce(Docker) -> F + Send,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>> + Send,
    {
        let docker = self.client(subject, bound.as_secs().saturating_add(1))?;
        match tokio::time::timeout(bound, work(docker)).await {
            Ok(answer) => answer.map_err(|error| told(error, &self.endpoint, subject)),
            Err(_) => Err(EngineError::TimedOut { what: subject.shown() }),
        }
    }

    /// Makes one ordinary call.
    pub(crate) async fn ask<T, F>(
        &self,
        subject: &Subject,
        work: impl FnOnce(Docker) -> F + Send,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>> + Send,
    {
        self.call(subject, self.call, work).await
    }

    /// The bound on an ordinary call.
    pub(crate) fn bound(&self) -> Duration {
        self.call
    }

    /// A client for a stream that may go on for as long as its reader wants.
    pub(crate) fn streaming(&self, subject: &Subject) -> Result<Docker, EngineError> {
        self.client(subject, STREAM_S)
    }

    fn client(&self, subject: &Subject, timeout_s: u64) -> Result<Docker, EngineError> {
        Docker::connect_with_unix(self.endpoint.as_str(), timeout_s, API_DEFAULT_VERSION)
            .map(|docker| docker.with_request_modifier(url_safe_credentials))
            .map_err(|error| told(error, &self.endpoint, subject))
    }

    /// Says an error of a stream in our words.
    pub(crate) fn told(&self, error: bollard::errors::Error, subject: &Subject) -> EngineError {
        told(error, &self.endpoint, subject)
    }

    /// What is said when the engine ends a stream that has no end.
    pub(crate) fn hung_up(&self) -> EngineError {
        EngineError::Unreachable {
            endpoint: self.endpoint.to_string(),
            reason: "the engine ended the stream".to_owned(),
        }
    }
}

/// The library writes credentials in plain base64; the engine reads the alphabet for addresses, and takes what it cannot read
/// for no credentials at all.
fn url_safe_credentials(mut request: bollard::BollardRequest) -> bollard::BollardRequest {
    if let Some(value) = request.headers_mut().get_mut("x-registry-auth") {
        let text = value.to_str().map(|text| text.replace('+', "-").replace('/', "_"));
        if let Some(written) = text.ok().and_then(|text| text.parse().ok()) {
            *value = written;
            value.set_sensitive(true);
        }
    }
    request
}

/// The next item of a stream.
pub(crate) async fn next<S: Stream + ?Sized>(stream: &mut Pin<Box<S>>) -> Option<S::Item> {
    std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
}

/// Filters for all of these labels; an empty value stands for any.
pub(crate) fn label_filters(labels: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    let wanted = labels.iter().map(|(name, value)| match *value {
        "" => (*name).to_owned(),
        value => format!("{name}={value}"),
    });
    HashMap::from([("label".to_owned(), wanted.collect())])
}

/// Labels in an order that may be shown.
pub(crate) fn ordered(labels: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    labels.unwrap_or_default().into_iter().collect()
}

/// A text that the engine may leave out or send empty.
pub(crate) fn filled(text: Option<String>) -> Option<String> {
    text.map(|text| clean(&text)).filter(|text| !text.is_empty())
}
