//! What happens to containers, told by the engine as it happens.
//!
//! A subscription is a reason to look, never the only way to know: it ends when the engine is restarted, and what happened
//! until the next one is found by listing.

use std::collections::{BTreeMap, HashMap};

use bollard::{models::EventMessage, query_parameters::EventsOptions};
use tokio::sync::mpsc;

use crate::{
    Engine, EngineError,
    engine::{filled, label_filters, next},
    error::Subject,
};

/// Events that wait for a reader; then the engine waits.
const EVENTS_MAX: usize = 1024;
/// Labels kept of an event.
const LABELS_MAX: usize = 128;

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineEvent {
    /// The engine's word: `create`, `start`, `die`, `oom`, `destroy`, … The command line of `exec_create` is left out.
    pub action: String,
    /// The container's id.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Only of `die`.
    pub exit_code: Option<i64>,
    /// Its labels, among the engine's own attributes.
    pub labels: BTreeMap<String, String>,
    /// Nanoseconds since 1970 on the engine's clock.
    pub unix_ns: i64,
}

/// Events as they come. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Result<EngineEvent, EngineError>>);

impl Events {
    /// The next event. After an error, such as the end of the engine, nothing comes: subscribe anew.
    pub async fn next(&mut self) -> Option<Result<EngineEvent, EngineError>> {
        self.0.recv().await
    }
}

impl Engine {
    /// Events of containers with all of these labels; an empty value stands for any. Everything that happens after this call
    /// began is among them.
    pub async fn events(&self, labels: &[(&str, &str)]) -> Result<Events, EngineError> {
        let subject = Subject::Engine;
        let info = self.ask(&subject, |docker| async move { docker.info().await }).await?;
        // the engine repeats what happened since then, so nothing is lost until the stream is open
        let since = info.system_time.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let Some(since) = since else {
            let reason = "it has no time".to_owned();
            return Err(EngineError::Garbled { what: subject.shown(), reason });
        };
        let mut filters = label_filters(labels);
        filters.insert("type".to_owned(), vec!["container".to_owned()]);
        let options = EventsOptions {
            since: Some(format!("{}.{:09}", since.as_second(), since.subsec_nanosecond())),
            filters: Some(filters),
            ..EventsOptions::default()
        };
        let docker = self.streaming(&subject)?;
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let engine = self.clone();
        tokio::spawn(async move {
            let mut events = Box::pin(docker.events(Some(options)));
            loop {
                let event = tokio::select! {
                    event = next(&mut events) => event,
                    () = sender.closed() => return,
                };
                let event = match event {
                    Some(Ok(event)) => Ok(read(event)),
                    Some(Err(error)) => Err(engine.told(error, &subject)),
                    None => Err(engine.hung_up()),
                };
                let is_last = event.is_err();
                if sender.send(event).await.is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Events(receiver))
    }
}

fn read(message: EventMessage) -> EngineEvent {
    let action = filled(message.action).unwrap_or_default();
    let actor = message.actor.unwrap_or_default();
    let mut attributes: HashMap<String, String> = actor.attributes.unwrap_or_default();
    let exit_code = attributes.remove("exitCode").and_then(|text| text.parse().ok());
    let name = filled(attributes.remove("name")).unwrap_or_default();
    let mut labels: Vec<(String, String)> = attributes.into_iter().collect();
    labels.sort();
    labels.truncate(LABELS_MAX);
    EngineEvent {
        action: action.split(':').next().unwrap_or_default().trim().to_owned(),
        container: filled(actor.id).unwrap_or_default(),
        name,
        exit_code,
        labels: labels.into_iter().collect(),
        unix_ns: message.time_nano.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;

    use super::*;

    fn event(action: &str, attributes: &[(&str, &str)]) -> EngineEvent {
        let attributes =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read(EventMessage {
            action: Some(action.to_owned()),
            actor: Some(EventActor { id: Some("00ff".to_owned()), attributes: Some(attributes) }),
            time_nano: Some(7),
            ..EventMessage::default()
        })
    }

    #[test]
    fn the_end_of_a_container_tells_its_code() {
        let died = event("die", &[("exitCode", "3"), ("name", "runner"), ("image", "a"), ("k", "v")]);
        assert_eq!((died.action.as_str(), died.exit_code, died.name.as_str()), ("die", Some(3), "runner"));
        assert_eq!(died.labels.get("k").map(String::as_str), Some("v"));
        assert_eq!(event("die", &[("exitCode", "x")]).exit_code, None);
    }

    #[test]
    fn a_command_line_is_left_out() {
        assert_eq!(event("exec_create: sh -c token=1", &[]).action, "exec_create");
    }

    #[test]
    fn labels_are_bounded() {
        let names: Vec<String> = (0..1000).map(|number| format!("l{number:04}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(event("start", &many).labels.len(), LABELS_MAX);
        assert_eq!(read(EventMessage::default()).action, "");
    }
}
