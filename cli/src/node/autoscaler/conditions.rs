//! The five conditions that the document of the older program names, each with its remedy: the same words where a command is refused
//! and where `runner status` shows what keeps the autoscaler from getting on.
//!
//! Invariant: neither a title nor a detail carries a token; whoever makes a condition hands in texts that hold none.

use wfengine_api::{Exit, Failure};

/// What keeps runners from being started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Condition {
    /// No credential was found, or GitHub takes none of it. `detail` says where it was looked for.
    NotAuthenticated { detail: String },
    /// The engine does not answer at `socket`.
    DockerNotAccessible { socket: String, detail: String },
    /// GitHub gives no registration for `scope`.
    NoToken { scope: String, detail: String },
    /// A container did not start; `container` is empty where none was made.
    ContainerFailed { image: String, container: String, detail: String },
    /// As many runners as there may be.
    AtCapacity { active: u64, max: u64 },
}

impl Condition {
    /// As the document has it.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::NotAuthenticated { .. } => "Not authenticated with GitHub CLI".to_owned(),
            Self::DockerNotAccessible { .. } => "Docker is not accessible".to_owned(),
            Self::NoToken { .. } => "Failed to generate runner token".to_owned(),
            Self::ContainerFailed { .. } => "Container failed to start".to_owned(),
            Self::AtCapacity { active, max } => format!("At capacity: {active}/{max} runners active"),
        }
    }

    /// The title and what happened.
    pub(crate) fn what(&self) -> String {
        let title = self.title();
        match self {
            Self::NotAuthenticated { detail } => format!("{title}: {detail}"),
            Self::DockerNotAccessible { socket, detail } => format!("{title} at {socket}: {detail}"),
            Self::NoToken { scope, detail } => format!("{title} for {scope}: {detail}"),
            Self::ContainerFailed { image, detail, .. } => format!("{title} with image {image}: {detail}"),
            Self::AtCapacity { .. } => title,
        }
    }

    /// What to do.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::NotAuthenticated { .. } => {
                "`gh auth login`, or set GITHUB_TOKEN, or give --token-file FILE".to_owned()
            }
            Self::DockerNotAccessible { .. } => {
                "look whether it runs with `docker version`, and whether this user may use it: \
                 `sudo usermod -aG docker $USER` and a new login; --docker-host or DOCKER_HOST names another socket"
                    .to_owned()
            }
            Self::NoToken { scope, .. } => format!(
                "look at `gh auth status`, whether {scope} exists, and whether the token may administer it \
                 (repository: administration, write; organization: self-hosted runners, write)"
            ),
            Self::ContainerFailed { image, container, .. } => {
                let logs = if container.is_empty() {
                    String::new()
                } else {
                    format!(", and what it wrote with `wfengine runner logs {container}`")
                };
                format!("look whether the image is there with `docker images`, get it with `docker pull {image}`{logs}")
            }
            Self::AtCapacity { .. } => {
                "start again with a greater --max-runners, or look at `wfengine runner list-containers` for runners \
                 that should be gone and end them with `wfengine runner stop-container --container ID`"
                    .to_owned()
            }
        }
    }
}

impl From<Condition> for Failure {
    fn from(condition: Condition) -> Self {
        let exit = match condition {
            Condition::NotAuthenticated { .. } | Condition::AtCapacity { .. } => Exit::Refused,
            Condition::DockerNotAccessible { .. } => Exit::Unreachable,
            Condition::NoToken { .. } | Condition::ContainerFailed { .. } => Exit::Failure,
        };
        Self::new(exit, format!("{}\nwhat helps: {}", condition.what(), condition.remedy()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_condition_has_the_words_of_the_document_and_its_remedy() {
        let text = |text: &str| text.to_owned();
        let cases = [
            (
                Condition::NotAuthenticated { detail: text("no token for github.com") },
                "Not authenticated with GitHub CLI: no token",
                "gh auth login",
            ),
            (
                Condition::DockerNotAccessible {
                    socket: text("unix:///var/run/docker.sock"),
                    detail: text("permission denied"),
                },
                "Docker is not accessible at unix:///var/run/docker.sock: permission denied",
                "docker version",
            ),
            (
                Condition::NoToken { scope: text("octo/ci"), detail: text("403") },
                "Failed to generate runner token for octo/ci: 403",
                "gh auth status",
            ),
            (
                Condition::ContainerFailed {
                    image: text("runner:1"),
                    container: text("wfengine-default-0badcafe"),
                    detail: text("no such image"),
                },
                "Container failed to start with image runner:1: no such image",
                "docker pull runner:1`, and what it wrote with `wfengine runner logs wfengine-default-0badcafe",
            ),
            (
                Condition::AtCapacity { active: 3, max: 3 },
                "At capacity: 3/3 runners active\n",
                "--max-runners",
            ),
        ];
        for (condition, what, remedy) in cases {
            let message = Failure::from(condition.clone()).message;
            assert!(message.starts_with(what) && message.contains(remedy), "{message}");
            assert!(message.starts_with(&condition.title()));
        }
    }
}
