//! Where an engine listens: a Unix socket on this host.
//!
//! An engine elsewhere (`tcp://`, `ssh://`) is refused: limits, mounts and addresses are only meaningful on this host, and an
//! engine that listens to a network is root for all who reach it.

use std::{fmt, path::Path};

/// Where an engine listens when nobody says otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Bytes of a path that the kernel takes for a socket.
const PATH_MAX: usize = 107;

/// The socket of an engine on this host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint(String);

/// Why a text names no engine on this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It has another scheme.
    #[error(
        "`{text}` is no Unix socket; wfengine speaks to an engine on its own host: unix:///path/to/docker.sock"
    )]
    NotUnix {
        /// What was given.
        text: String,
    },
    /// The path is relative, empty, too long or has a NUL in it.
    #[error(
        "`{text}` is no path of a socket; give an absolute path of at most {PATH_MAX} bytes: unix:///path/to/docker.sock"
    )]
    NotAPath {
        /// What was given.
        text: String,
    },
}

impl Endpoint {
    /// Reads `unix:///path` or an absolute path.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let shown = || text.chars().take(PATH_MAX * 2).collect();
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.contains("://") {
            return Err(EndpointError::NotUnix { text: shown() });
        }
        if !path.starts_with('/') || path.len() > PATH_MAX || path.contains('\0') {
            return Err(EndpointError::NotAPath { text: shown() });
        }
        Ok(Self(path.to_owned()))
    }

    /// What the variable `DOCKER_HOST` says; the usual socket when it is unset or empty.
    pub fn from_docker_host(value: Option<&str>) -> Result<Self, EndpointError> {
        match value {
            Some(text) if !text.is_empty() => Self::parse(text),
            _ => Ok(Self::default()),
        }
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        Path::new(&self.0)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self(DEFAULT_SOCKET.to_owned())
    }
}

impl std::str::FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::parse(text)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_plain_path_name_the_same_socket() {
        let by_address = Endpoint::parse("unix:///run/docker.sock").unwrap();
        assert_eq!(by_address, "/run/docker.sock".parse().unwrap());
        assert_eq!(by_address.to_string(), "unix:///run/docker.sock");
        assert_eq!(by_address.path(), Path::new("/run/docker.sock"));
    }

    #[test]
    fn without_docker_host_it_is_the_usual_socket() {
        let usual = "unix:///var/run/docker.sock";
        assert_eq!(Endpoint::from_docker_host(None).unwrap().to_string(), usual);
        assert_eq!(Endpoint::from_docker_host(Some("")).unwrap().to_string(), usual);
        assert_eq!(Endpoint::from_docker_host(Some("unix:///a")).unwrap().to_string(), "unix:///a");
    }

    #[test]
    fn an_engine_elsewhere_is_refused() {
        for text in ["tcp://10.0.0.1:2375", "ssh://host", "npipe:////./pipe/x", "unix://tcp://x"] {
            assert!(matches!(Endpoint::parse(text), Err(EndpointError::NotUnix { .. })), "{text}");
        }
        for text in ["", "relative", "unix://", "unix://relative", "/a\0b", &format!("/{}", "a".repeat(107))]
        {
            assert!(matches!(Endpoint::parse(text), Err(EndpointError::NotAPath { .. })), "{text}");
        }
    }
}
