//! Networks: bridges of their own, on which containers meet nobody else.

use std::collections::{BTreeMap, HashMap};

use bollard::{models::NetworkCreateRequest, query_parameters::ListNetworksOptions};

use crate::{
    Engine, EngineError, Made,
    engine::{filled, label_filters, ordered},
    error::Subject,
    reference,
};

/// A network to be made. Always a bridge, and always without IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The name of its interface on the host, at most 15 characters, so that a firewall rule can name it.
    pub bridge_interface: Option<String>,
    /// No way out to the internet. The host's own services still answer at its gateway.
    pub is_internal: bool,
    /// Its containers may reach each other.
    pub containers_may_talk: bool,
}

impl Engine {
    /// Makes a network and gives its id.
    pub async fn create_network(&self, spec: &NetworkSpec) -> Result<String, EngineError> {
        let name = reference::name(&spec.name)?;
        let subject = Subject::Network(name.to_owned());
        // old engines make a second network of the same name unless asked not to, and the library cannot ask
        let same_name = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
        if self.networks_by(same_name, &subject).await?.iter().any(|network| network.name == name) {
            return Err(EngineError::NameTaken { name: name.to_owned() });
        }
        let mut options = HashMap::from([(
            "com.docker.network.bridge.enable_icc".to_owned(),
            spec.containers_may_talk.to_string(),
        )]);
        if let Some(interface) = &spec.bridge_interface {
            options.insert("com.docker.network.bridge.name".to_owned(), interface.clone());
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            internal: Some(spec.is_internal),
            attachable: Some(false),
            ingress: Some(false),
            enable_ipv6: Some(false),
            options: Some(options),
            labels: Some(spec.labels.clone().into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        let made = self.ask(&subject, |docker| async move { docker.create_network(request).await }).await?;
        Ok(made.id)
    }

    /// Removes a network by its name or id. False: there is none. A network in use is a [`EngineError::Conflict`].
    pub async fn remove_network(&self, id: &str) -> Result<bool, EngineError> {
        let id = reference::name(id)?;
        let subject = Subject::Network(id.to_owned());
        absent_is_false(self.ask(&subject, |docker| async move { docker.remove_network(id).await }).await)
    }

    /// Networks with all of these labels, by name; an empty value stands for any.
    pub async fn networks(&self, labels: &[(&str, &str)]) -> Result<Vec<Made>, EngineError> {
        self.networks_by(label_filters(labels), &Subject::Engine).await
    }

    async fn networks_by(
        &self,
        filters: HashMap<String, Vec<String>>,
        subject: &Subject,
    ) -> Result<Vec<Made>, EngineError> {
        let options = ListNetworksOptions { filters: Some(filters) };
        let found =
            self.ask(subject, |docker| async move { docker.list_networks(Some(options)).await }).await?;
        let mut networks: Vec<Made> = found
            .into_iter()
            .filter_map(|network| {
                Some(Made {
                    id: filled(network.id)?,
                    name: filled(network.name)?,
                    labels: ordered(network.labels),
                })
            })
            .collect();
        networks.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        Ok(networks)
    }
}

/// Reads the answer to a removal: what is not there need not be removed.
pub(crate) fn absent_is_false<T>(answer: Result<T, EngineError>) -> Result<bool, EngineError> {
    match answer {
        Ok(_) => Ok(true),
        Err(EngineError::NoSuch { .. } | EngineError::ImageMissing { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}
