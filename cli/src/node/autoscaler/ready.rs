//! Whether a pool can begin: the way to GitHub and to the engine, and what both have to be like.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use wfengine_api::{Environment, Exit, Failure};
use wfengine_autoscaler::pool::{Pull, Registration, RunnerNetwork, fitting};
use wfengine_autoscaler::{Pool, container, firewall};
use wfengine_docker::{Engine, EngineError, EngineInfo, RegistryCredentials, Secret as EngineSecret};
use wfengine_github::{ApiError, Client};

use super::conditions::Condition;
use super::{Node, RunnerWishes, engine};
use crate::node::discovery::{NodeHost, Wishes, connect};

/// Bytes of a file of registry credentials.
const CREDENTIALS_BYTES_MAX: u64 = 64 * 1024;

/// Everything that a pool needs to begin.
pub(super) struct Ready {
    pub(super) client: Client,
    pub(super) engine: Engine,
    pub(super) info: EngineInfo,
    pub(super) pool: Arc<Pool>,
    pub(super) credentials: Option<RegistryCredentials>,
    pub(super) notes: Vec<String>,
}

/// The way to the GitHub that a pool is for.
pub(super) async fn client(
    node: &Arc<Node>,
    wishes: &RunnerWishes,
    variables: &Environment,
) -> Result<(Client, Vec<String>), Failure> {
    let host = NodeHost::new(node, variables)?;
    let github = Wishes { github: wishes.github.clone(), ..Wishes::default() };
    let connected = connect(node, &github, variables, &host).await;
    let (connection, notes) = connected.map_err(|failure| match failure.exit {
        Exit::Refused => Condition::NotAuthenticated { detail: failure.message }.into(),
        _ => failure,
    })?;
    Ok((connection.client, notes))
}

/// Looks whether a pool can begin: the credential is taken, the engine answers and keeps what the pool promises, runners can be kept away
/// from the host.
pub(super) async fn ready(
    node: &Arc<Node>,
    wishes: &RunnerWishes,
    variables: &Environment,
) -> Result<Ready, Failure> {
    let (client, mut notes) = client(node, wishes, variables).await?;
    // it costs nothing
    // an own server without limits and one that cannot be reached now are no refusal: the looks will tell
    if let Err(error @ ApiError::Unauthorised { .. }) = client.rate_limit().await {
        return Err(Condition::NotAuthenticated { detail: error.to_string() }.into());
    }
    let engine = engine(wishes, variables)?;
    let not_accessible = |error: EngineError| not_accessible(&engine, &error);
    let info = engine.info().await.map_err(not_accessible)?;
    let unenforced: Vec<String> = info
        .unenforced()
        .into_iter()
        .filter(|limit| !limit.is_tolerable())
        .map(|limit| format!("{limit:?}").to_lowercase())
        .collect();
    if !unenforced.is_empty() && !wishes.insecure {
        return Err(Failure::refused(format!(
            "the engine at {} does not enforce limits of {}: a job could take the whole host\nwhat helps: an engine with cgroups v2, or --insecure",
            engine.endpoint(),
            unenforced.join(", ")
        )));
    }
    let socket = engine.endpoint().path();
    let engine_group = std::fs::metadata(socket).ok().map(|socket| socket.gid());
    let engine_socket = Some(socket.display().to_string());
    if wishes.registration == Registration::Token && !wishes.as_pool().policy.is_third_party() {
        return Err(Failure::bad_input(
            "--registration token: GitHub's own image takes a just-in-time configuration; tokens are for images that register by themselves, --image-contract third-party",
        ));
    }
    let plain = wishes.as_pool();
    if fitting(info.memory_bytes, plain.reserve_memory_bytes, container::memory_of(&plain.policy)) == 0 {
        return Err(Failure::refused(format!(
            "not one runner fits: each takes {} MiB of memory, the engine's host has {} MiB, of which {} MiB are kept back\nwhat helps: a smaller --memory or --reserve-memory",
            container::memory_of(&plain.policy) >> 20,
            info.memory_bytes >> 20,
            plain.reserve_memory_bytes >> 20,
        )));
    }
    let pool = Arc::new(Pool { engine_socket, engine_group, ..wishes.as_pool() });
    if pool.policy.network == RunnerNetwork::Own && !pool.policy.allows_host {
        firewall::check()
            .await
            .map_err(|error| Failure::refused(format!("{error}\nwhat helps: {}", error.remedy())))?;
    }
    if pool.policy.registration() == Registration::Token {
        notes.push(
            "runners of this image register with a token, which is weaker than a just-in-time configuration: for an hour whoever reads it in the container can register others"
                .to_owned(),
        );
    }
    notes.extend(unmeasured(&info.root_dir));
    match engine.image(&pool.policy.image).await {
        Ok(_) => {}
        Err(EngineError::ImageMissing { image }) if pool.policy.pull != Pull::Never => {
            notes.push(format!(
                "the image {image} is not there yet: it is pulled before the first runner starts"
            ));
        }
        Err(error @ EngineError::ImageMissing { .. }) => {
            let image = pool.policy.image.clone();
            return Err(Condition::ContainerFailed {
                image,
                container: String::new(),
                detail: error.to_string(),
            }
            .into());
        }
        Err(error) => return Err(not_accessible(error)),
    }
    let credentials = match wishes.container.registry_credentials.as_deref() {
        Some(path) => Some(registry_credentials(path, &pool.policy.image)?),
        None => None,
    };
    Ok(Ready { client, engine, info, pool, credentials, notes })
}

/// Why workspaces of an engine with this root cannot be measured, if so: its volumes lie where only root may look.
fn unmeasured(root_dir: &str) -> Option<String> {
    let volumes = Path::new(root_dir).join("volumes");
    let error = std::fs::read_dir(&volumes).err()?;
    Some(format!(
        "{}: {error}: workspaces cannot be measured, so --workspace-size holds for no runner here; run the node as root, or bound the disk of the engine",
        volumes.display()
    ))
}

/// The engine does not answer.
pub(super) fn not_accessible(engine: &Engine, error: &EngineError) -> Failure {
    let socket = engine.endpoint().to_string();
    let said = error.to_string();
    // the error says where, and so does the condition
    let detail =
        said.rsplit_once(&format!("{socket}: ")).map_or(said.as_str(), |(_, detail)| detail).to_owned();
    Condition::DockerNotAccessible { socket, detail }.into()
}

/// What Docker's own configuration says of the registry of an image.
fn registry_credentials(path: &Path, image: &str) -> Result<RegistryCredentials, Failure> {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        auths: BTreeMap<String, Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        auth: String,
    }
    // what is in it is not repeated
    let wrong = |why: &str| {
        Failure::bad_input(format!(
            "{}: {why}; expected Docker's config.json, such as `docker login` writes it: {{\"auths\": {{\"ghcr.io\": {{\"auth\": \"…\"}}}}}}",
            path.display()
        ))
    };
    let len = std::fs::metadata(path).map_err(|error| Failure::io("read", path, &error))?.len();
    if len > CREDENTIALS_BYTES_MAX {
        return Err(wrong("it is too long"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error))?;
    let file: File = serde_json::from_str(&text).map_err(|_| wrong("it cannot be read"))?;
    let first = image.split('/').next().unwrap_or_default();
    let registry = if first.contains(['.', ':']) { first } else { "https://index.docker.io/v1/" };
    let entry = file.auths.iter().find(|(server, _)| {
        server.as_str() == registry || server.trim_start_matches("https://").trim_end_matches('/') == registry
    });
    let Some((server, entry)) = entry else { return Err(wrong(&format!("it says nothing of {registry}"))) };
    let decoded = data_encoding::BASE64.decode(entry.auth.as_bytes()).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let parts = decoded.as_deref().and_then(|text| text.split_once(':'));
    let Some((username, password)) = parts else {
        return Err(wrong(&format!(
            "it holds no password for {registry}, perhaps because a helper keeps it"
        )));
    };
    Ok(RegistryCredentials {
        server: server.clone(),
        username: username.to_owned(),
        password: EngineSecret::new(password),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_nobody_can_keep_is_said() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_str().unwrap();
        assert!(unmeasured(path).unwrap().contains("--workspace-size"));
        std::fs::create_dir(root.path().join("volumes")).unwrap();
        assert_eq!(unmeasured(path), None);
    }
}
