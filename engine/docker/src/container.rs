//! Containers: made, started, stopped, removed, looked at.
//!
//! A container goes by its id, for a name may have passed to another one since it was read.

use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, KillContainerOptions, ListContainersOptions,
    RemoveContainerOptions, StartContainerOptions, StopContainerOptions,
};
use serde_json::Value;

use crate::{
    ContainerSpec, ContainerState, Engine, EngineError,
    engine::{filled, label_filters},
    error::{Subject, clean},
    network::absent_is_false,
    reference,
    spec::seconds,
};

impl Engine {
    /// Makes a container and gives its id. It does not run yet.
    pub async fn create_container(&self, name: &str, spec: &ContainerSpec) -> Result<String, EngineError> {
        let name = reference::name(name)?;
        reference::image(&spec.image)?;
        let subject = Subject::Container(name.to_owned());
        let body = spec.body()?;
        let options =
            CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
        let made = self
            .ask(&subject, |docker| async move { docker.create_container(Some(options), body).await })
            .await
            .map_err(|error| error.without(spec.secrets()))?;
        for warning in &made.warnings {
            tracing::warn!(
                container = name,
                warning = clean(warning),
                "the engine warns of the container's settings"
            );
        }
        Ok(made.id)
    }

    /// Starts a container. One that runs already stays as it is.
    pub async fn start_container(&self, id: &str) -> Result<(), EngineError> {
        let id = reference::name(id)?;
        let subject = Subject::Container(id.to_owned());
        self.ask(
            &subject,
            |docker| async move { docker.start_container(id, None::<StartContainerOptions>).await },
        )
        .await
    }

    /// Asks a container to end, and kills it after the grace (whole seconds, rounded up). False: there is none. One that is
    /// over stays as it is.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<bool, EngineError> {
        let id = reference::name(id)?;
        let subject = Subject::Container(id.to_owned());
        let options = StopContainerOptions { signal: None, t: Some(seconds(grace)) };
        let bound = self.bound().saturating_add(grace);
        let stopped = self
            .call(&subject, bound, |docker| async move { docker.stop_container(id, Some(options)).await })
            .await;
        absent_is_false(stopped)
    }

    /// Kills a container. False: there is none, or it does not run.
    pub async fn kill_container(&self, id: &str) -> Result<bool, EngineError> {
        let id = reference::name(id)?;
        let subject = Subject::Container(id.to_owned());
        let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
        match self.ask(&subject, |docker| async move { docker.kill_container(id, Some(options)).await }).await
        {
            Err(EngineError::Conflict { message }) if message.contains("is not running") => Ok(false),
            answer => absent_is_false(answer),
        }
    }

    /// Removes a container with the volumes that have no name, and kills it first if it runs. False: there is none. One that
    /// is being removed is a [`EngineError::Conflict`].
    pub async fn remove_container(&self, id: &str) -> Result<bool, EngineError> {
        let id = reference::name(id)?;
        let subject = Subject::Container(id.to_owned());
        let options = RemoveContainerOptions { v: true, force: true, link: false };
        absent_is_false(
            self.ask(&subject, |docker| async move { docker.remove_container(id, Some(options)).await })
                .await,
        )
    }

    /// The engine's own description of a container, with the size of its layer if that is wanted.
    pub(crate) async fn inspect(
        &self,
        id: &str,
        with_size: bool,
    ) -> Result<ContainerInspectResponse, EngineError> {
        let id = reference::name(id)?;
        let subject = Subject::Container(id.to_owned());
        let options = InspectContainerOptions { size: with_size };
        self.ask(&subject, |docker| async move { docker.inspect_container(id, Some(options)).await }).await
    }

    /// Looks at a container.
    pub async fn container(&self, id: &str) -> Result<ContainerState, EngineError> {
        Ok(ContainerState::read(self.inspect(id, false).await?))
    }

    /// Containers with all of these labels, whatever they are doing, by name; an empty value stands for any. One call each: a
    /// list alone does not tell how a container ended.
    pub async fn containers(&self, labels: &[(&str, &str)]) -> Result<Vec<ContainerState>, EngineError> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(label_filters(labels)),
            ..ListContainersOptions::default()
        };
        let found = self
            .ask(&Subject::Engine, |docker| async move { docker.list_containers(Some(options)).await })
            .await?;
        let mut containers = Vec::with_capacity(found.len());
        for id in found.into_iter().filter_map(|container| filled(container.id)) {
            match self.container(&id).await {
                Ok(container) => containers.push(container),
                // removed since the list was made
                Err(EngineError::NoSuch { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        containers.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        Ok(containers)
    }

    /// The engine's whole description of a container, for people and for tests of a policy. Values of its environment are
    /// replaced by `***`: anything in there may be a secret.
    pub async fn inspect_json(&self, id: &str) -> Result<Value, EngineError> {
        let answer = self.inspect(id, false).await?;
        let mut document = serde_json::to_value(answer).map_err(|error| EngineError::Garbled {
            what: Subject::Container(id.to_owned()).shown(),
            reason: clean(&error.to_string()),
        })?;
        hide_values(&mut document);
        Ok(document)
    }
}

fn hide_values(document: &mut Value) {
    let env = document.pointer_mut("/Config/Env").and_then(Value::as_array_mut);
    for variable in env.into_iter().flatten() {
        let name = variable.as_str().and_then(|text| text.split_once('=')).map_or("", |(name, _)| name);
        *variable = Value::String(format!("{name}=***"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_an_environment_is_shown() {
        let mut document = serde_json::json!({ "Config": { "Env": ["A=1=2", "B=", "C", 4] }, "Name": "x" });
        hide_values(&mut document);
        assert_eq!(
            document.pointer("/Config/Env"),
            Some(&serde_json::json!(["A=***", "B=***", "=***", "=***"]))
        );
        let mut without = serde_json::json!({ "Config": 3 });
        hide_values(&mut without);
        assert_eq!(without, serde_json::json!({ "Config": 3 }));
    }
}
