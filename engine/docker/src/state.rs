//! What a container is doing, as the engine's inspection says.

use std::collections::BTreeMap;

use bollard::models::ContainerInspectResponse;

use crate::engine::{filled, ordered};

/// What a container is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Made and never started, or its start failed.
    Created,
    /// Running.
    Running,
    /// Held.
    Paused,
    /// Between two runs.
    Restarting,
    /// Being removed.
    Removing,
    /// It ran and ended.
    Exited,
    /// It could not be removed whole.
    Dead,
    /// Another word of the engine's.
    Other(String),
}

impl Status {
    fn read(word: &str) -> Self {
        match word {
            "created" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "restarting" => Self::Restarting,
            "removing" => Self::Removing,
            "exited" => Self::Exited,
            "dead" => Self::Dead,
            other => Self::Other(other.to_owned()),
        }
    }

    /// It ran and will not run again.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Exited | Self::Dead)
    }
}

/// A moment on the engine's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// As the engine says it (RFC 3339).
    pub text: String,
    /// Seconds since 1970; 0 when the text is no date.
    pub unix_s: i64,
}

impl Moment {
    /// None for the engine's word for never, year 1.
    fn read(text: Option<String>) -> Option<Self> {
        let text = filled(text).filter(|text| !text.starts_with("0001-"))?;
        let unix_s = text.parse::<jiff::Timestamp>().map_or(0, |at| at.as_second());
        Some(Self { text, unix_s })
    }
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerState {
    /// The engine's id of it: 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The id of its image: `sha256:…`.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it is doing.
    pub status: Status,
    /// When it was made.
    pub created: Moment,
    /// When it was last started.
    pub started: Option<Moment>,
    /// When it last ended.
    pub finished: Option<Moment>,
    /// What its first process ended with. Only for a container that is over.
    pub exit_code: Option<i64>,
    /// A process in it was killed for want of memory. The exit code may be 0 all the same.
    pub oom_killed: bool,
    /// Why it did not start.
    pub error: Option<String>,
    /// Names of its networks, in order.
    pub networks: Vec<String>,
}

impl ContainerState {
    pub(crate) fn read(answer: ContainerInspectResponse) -> Self {
        let state = answer.state.unwrap_or_default();
        let status = Status::read(&state.status.map(|status| status.to_string()).unwrap_or_default());
        let name = filled(answer.name).unwrap_or_default();
        let networks = answer.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let mut networks: Vec<String> = networks.into_keys().collect();
        networks.sort();
        Self {
            id: filled(answer.id).unwrap_or_default(),
            name: name.trim_start_matches('/').to_owned(),
            image: filled(answer.image).unwrap_or_default(),
            labels: ordered(answer.config.and_then(|config| config.labels)),
            created: Moment::read(answer.created).unwrap_or(Moment { text: String::new(), unix_s: 0 }),
            started: Moment::read(state.started_at),
            finished: Moment::read(state.finished_at),
            exit_code: state.exit_code.filter(|_| status.is_over()),
            oom_killed: state.oom_killed == Some(true),
            error: filled(state.error),
            networks,
            status,
        }
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerState as TheirState, ContainerStateStatusEnum};

    use super::*;

    fn ended(status: ContainerStateStatusEnum) -> ContainerState {
        ContainerState::read(ContainerInspectResponse {
            id: Some("00ff".to_owned()),
            name: Some("/runner".to_owned()),
            created: Some("2024-05-06T07:08:09.123456789Z".to_owned()),
            state: Some(TheirState {
                status: Some(status),
                exit_code: Some(0),
                oom_killed: Some(true),
                error: Some(String::new()),
                started_at: Some("2024-05-06T07:08:10+00:00".to_owned()),
                finished_at: Some("0001-01-01T00:00:00Z".to_owned()),
                ..TheirState::default()
            }),
            ..ContainerInspectResponse::default()
        })
    }

    #[test]
    fn an_exit_code_is_only_of_what_is_over() {
        let exited = ended(ContainerStateStatusEnum::EXITED);
        assert_eq!((exited.name.as_str(), exited.exit_code, exited.oom_killed), ("runner", Some(0), true));
        for status in [ContainerStateStatusEnum::CREATED, ContainerStateStatusEnum::RUNNING] {
            assert_eq!(ended(status).exit_code, None);
        }
        assert!(exited.status.is_over() && exited.error.is_none());
    }

    #[test]
    fn a_word_of_a_newer_engine_is_kept() {
        assert_eq!(ended(ContainerStateStatusEnum::STOPPING).status, Status::Other("stopping".to_owned()));
        assert!(!Status::Other("stopping".to_owned()).is_over());
    }

    #[test]
    fn moments_are_read_and_year_one_is_never() {
        let exited = ended(ContainerStateStatusEnum::EXITED);
        assert_eq!(exited.created.unix_s, 1_714_979_289);
        assert_eq!(exited.started.map(|at| at.unix_s), Some(1_714_979_290));
        assert_eq!(exited.finished, None);
        assert_eq!(Moment::read(Some("soon".to_owned())).map(|at| at.unix_s), Some(0));
    }

    #[test]
    fn an_empty_answer_is_a_container_of_nothing() {
        let nothing = ContainerState::read(ContainerInspectResponse::default());
        assert_eq!((nothing.status, nothing.exit_code), (Status::Other(String::new()), None));
    }
}
