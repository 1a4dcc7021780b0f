//! Volumes: folders that the engine keeps for containers.

use std::collections::BTreeMap;

use bollard::{
    models::VolumeCreateRequest,
    query_parameters::{ListVolumesOptions, RemoveVolumeOptions},
};

use crate::{
    Engine, EngineError, Made,
    engine::{label_filters, ordered},
    error::Subject,
    network::absent_is_false,
    reference,
};

impl Engine {
    /// Makes a volume. One with the same name and the same labels is taken for this one; with other labels the name is taken.
    pub async fn create_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        let name = reference::name(name)?;
        let subject = Subject::Volume(name.to_owned());
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        let volume = self.ask(&subject, |docker| async move { docker.create_volume(request).await }).await?;
        // the engine answers with the one that is there, whoever made it
        if ordered(Some(volume.labels)) != *labels {
            return Err(EngineError::NameTaken { name: name.to_owned() });
        }
        Ok(())
    }

    /// Removes a volume. False: there is none. A volume in use is a [`EngineError::Conflict`].
    pub async fn remove_volume(&self, name: &str) -> Result<bool, EngineError> {
        let name = reference::name(name)?;
        let subject = Subject::Volume(name.to_owned());
        // with force the engine says that it removed what was never there
        let options = RemoveVolumeOptions { force: false };
        absent_is_false(
            self.ask(&subject, |docker| async move { docker.remove_volume(name, Some(options)).await }).await,
        )
    }

    /// Volumes with all of these labels, by name; an empty value stands for any.
    pub async fn volumes(&self, labels: &[(&str, &str)]) -> Result<Vec<Made>, EngineError> {
        let options = ListVolumesOptions { filters: Some(label_filters(labels)) };
        let found = self
            .ask(&Subject::Engine, |docker| async move { docker.list_volumes(Some(options)).await })
            .await?;
        let mut volumes: Vec<Made> = found
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(|volume| Made {
                id: volume.name.clone(),
                name: volume.name,
                labels: ordered(Some(volume.labels)),
            })
            .collect();
        volumes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(volumes)
    }
}
