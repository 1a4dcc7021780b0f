//! Images: whether one is there, fetching one, making one of a root file system.

use bollard::{
    auth::DockerCredentials,
    models::{CreateImageInfo, ImageInspect},
    query_parameters::{CreateImageOptions, RemoveImageOptions},
};

use crate::{
    Engine, EngineError, Secret,
    engine::{filled, next},
    error::Subject,
    network::absent_is_false,
    reference,
};

/// An image at the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`: the same content has the same id everywhere.
    pub id: String,
    /// Names with tags, in order.
    pub tags: Vec<String>,
    /// Registry digests, in order: what a reference by digest names.
    pub digests: Vec<String>,
    /// The processor, in GitHub's words: `x64`, `arm64`.
    pub architecture: String,
    /// Size on disk.
    pub size_bytes: u64,
    /// Whom its processes run as; none: root.
    pub user: Option<String>,
    /// What is run.
    pub entrypoint: Vec<String>,
    /// What it is given, or what is run where there is no entry point.
    pub command: Vec<String>,
}

/// What a registry wants to know. The secret goes to the engine with each pull and is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryCredentials {
    /// The registry's host, as in the image's name.
    pub server: String,
    /// The user.
    pub username: String,
    /// Password or token.
    pub password: Secret,
}

impl Engine {
    /// Looks for an image at the engine; asks no registry.
    pub async fn image(&self, reference: &str) -> Result<Image, EngineError> {
        let reference = reference::image(reference)?;
        let subject = Subject::Image(reference.to_owned());
        let answer =
            self.ask(&subject, |docker| async move { docker.inspect_image(reference).await }).await?;
        Ok(Image::read(answer))
    }

    /// Fetches an image from its registry, or makes sure that it is the registry's. Without a tag it is `latest`.
    pub async fn pull(
        &self,
        reference: &str,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Image, EngineError> {
        let reference = reference::image(reference)?;
        let (name, tag) = reference::split_tag(reference);
        let options = CreateImageOptions {
            from_image: Some(name.to_owned()),
            // without one the engine fetches every tag there is
            tag: (!name.contains('@')).then(|| tag.unwrap_or("latest").to_owned()),
            ..CreateImageOptions::default()
        };
        let theirs = credentials.map(|credentials| DockerCredentials {
            username: Some(credentials.username.clone()),
            password: Some(credentials.password.expose().to_owned()),
            serveraddress: Some(credentials.server.clone()),
            ..DockerCredentials::default()
        });
        let secret = credentials.map(|credentials| credentials.password.expose());
        self.create_image(reference, options, None, theirs)
            .await
            .map_err(|error| pull_failed(error, reference).without(secret.into_iter()))?;
        self.image(reference).await
    }

    /// Makes an image of a root file system, given as a tar. `changes` are lines as in a Dockerfile: `ENTRYPOINT ["/a"]`.
    pub async fn import_image(
        &self,
        reference: &str,
        tar: Vec<u8>,
        changes: &[String],
    ) -> Result<Image, EngineError> {
        let reference = reference::image(reference)?;
        let (name, tag) = reference::split_tag(reference);
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(name.to_owned()),
            tag: Some(tag.unwrap_or("latest").to_owned()),
            changes: changes.to_vec(),
            ..CreateImageOptions::default()
        };
        self.create_image(reference, options, Some(tar), None).await?;
        self.image(reference).await
    }

    /// Takes a name from an image, and the image with its last one. False: there is none. In use: [`EngineError::Conflict`].
    pub async fn remove_image(&self, reference: &str) -> Result<bool, EngineError> {
        let reference = reference::image(reference)?;
        let subject = Subject::Image(reference.to_owned());
        let options = RemoveImageOptions { force: false, noprune: false, platforms: None };
        absent_is_false(
            self.ask(
                &subject,
                |docker| async move { docker.remove_image(reference, Some(options), None).await },
            )
            .await,
        )
    }

    async fn create_image(
        &self,
        reference: &str,
        options: CreateImageOptions,
        tar: Option<Vec<u8>>,
        credentials: Option<DockerCredentials>,
    ) -> Result<(), EngineError> {
        let subject = Subject::Image(reference.to_owned());
        self.call(&subject, self.pull, |docker| async move {
            let body = tar.map(|tar| bollard::body_full(tar.into()));
            let mut progress = Box::pin(docker.create_image(Some(options), body, credentials));
            while let Some(line) = next(&mut progress).await {
                let CreateImageInfo { .. } = line?;
            }
            Ok(())
        })
        .await
    }
}

impl Image {
    fn read(answer: ImageInspect) -> Self {
        let config = answer.config.unwrap_or_default();
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        Self {
            id: filled(answer.id).unwrap_or_default(),
            tags: sorted(answer.repo_tags.unwrap_or_default()),
            digests: sorted(answer.repo_digests.unwrap_or_default()),
            architecture: crate::info::architecture(&filled(answer.architecture).unwrap_or_default()),
            size_bytes: answer.size.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
            user: filled(config.user),
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
        }
    }
}

/// A registry's refusal comes with any status; only what is the engine's own trouble keeps its name.
fn pull_failed(error: EngineError, image: &str) -> EngineError {
    let reason = match error {
        EngineError::ImageMissing { .. } | EngineError::NoSuch { .. } => {
            "the registry has none of this name, or wants credentials".to_owned()
        }
        EngineError::Conflict { message }
        | EngineError::BadRequest { message }
        | EngineError::Failed { message, .. } => message,
        EngineError::Garbled { reason, .. } => reason,
        other => return other,
    };
    EngineError::PullFailed { image: image.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_s_refusal_is_told_from_the_engine_s_trouble() {
        let failed = |error| pull_failed(error, "a:1").kind();
        assert_eq!(failed(EngineError::ImageMissing { image: "a:1".to_owned() }), "pull-failed");
        assert_eq!(
            failed(EngineError::Failed { status: 500, message: "unauthorized".to_owned() }),
            "pull-failed"
        );
        assert_eq!(failed(EngineError::NoSpace { what: "image a:1".to_owned() }), "no-space");
        assert_eq!(failed(EngineError::PermissionDenied { endpoint: "x".to_owned() }), "permission-denied");
    }

    #[test]
    fn a_password_is_not_shown() {
        let credentials = RegistryCredentials {
            server: "example.org".to_owned(),
            username: "me".to_owned(),
            password: Secret::new("hunter2"),
        };
        let shown = format!("{credentials:?}");
        assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    }
}
