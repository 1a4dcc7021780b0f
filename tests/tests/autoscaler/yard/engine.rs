//! The yard as an engine that is asked for containers, networks and volumes.

use std::collections::BTreeMap;
use std::time::Duration;

use wfengine_autoscaler::Containers;
use wfengine_docker::{
    ContainerSpec, ContainerState, EngineError, EngineInfo, Image, Made, NetworkSpec, RegistryCredentials,
    Status,
};

use super::{Answer, CONNECTS_AFTER, Conduct, Container, Thing, Yard, shown};

fn has(labels: &BTreeMap<String, String>, wanted: &[(String, String)]) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn made(from: &BTreeMap<String, BTreeMap<String, String>>, wanted: &[(String, String)]) -> Vec<Made> {
    let of = from.iter().filter(|(_, labels)| has(labels, wanted));
    of.map(|(name, labels)| Made { id: name.clone(), name: name.clone(), labels: labels.clone() }).collect()
}

impl Containers for Yard {
    async fn info(&self) -> Answer<EngineInfo> {
        self.with(|_, _| Ok(Self::engine_info("x64"))).await
    }
    async fn image(&self, reference: &str) -> Answer<Image> {
        let reference = reference.to_owned();
        self.with(move |_, _| {
            Ok(Image {
                id: "sha256:0123".to_owned(),
                tags: vec![reference],
                digests: Vec::new(),
                architecture: "x64".to_owned(),
                size_bytes: 1 << 20,
                user: Some("runner".to_owned()),
                entrypoint: Vec::new(),
                command: Vec::new(),
            })
        })
        .await
    }
    async fn pull(&self, reference: &str, _: Option<&RegistryCredentials>) -> Answer<Image> {
        self.image(reference).await
    }
    async fn create_network(&self, spec: &NetworkSpec) -> Answer<String> {
        let (name, labels) = (spec.name.clone(), spec.labels.clone());
        self.with(move |_, state| {
            if state.networks.contains_key(&name) {
                return Err(EngineError::NameTaken { name });
            }
            state.networks.insert(name.clone(), labels);
            Ok(name)
        })
        .await
    }
    async fn remove_network(&self, name: &str) -> Answer<bool> {
        let name = name.to_owned();
        self.with(move |_, state| {
            if state.containers.get(&name).is_some_and(|of| of.state.status == Status::Running) {
                let message = format!("network {name} has active endpoints");
                return Err(EngineError::Conflict { message });
            }
            Ok(state.networks.remove(&name).is_some())
        })
        .await
    }
    async fn networks(&self, labels: &[(&str, &str)]) -> Answer<Vec<Made>> {
        let wanted = owned(labels);
        self.with(move |_, state| Ok(made(&state.networks, &wanted))).await
    }
    async fn create_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Answer<()> {
        let (name, labels) = (name.to_owned(), labels.clone());
        self.with(move |_, state| {
            state.volumes.insert(name, labels);
            Ok(())
        })
        .await
    }
    async fn remove_volume(&self, name: &str) -> Answer<bool> {
        let name = name.to_owned();
        self.with(move |_, state| {
            if state.containers.contains_key(&name) {
                let message = format!("volume {name} is in use");
                return Err(EngineError::Conflict { message });
            }
            Ok(state.volumes.remove(&name).is_some())
        })
        .await
    }
    async fn volumes(&self, labels: &[(&str, &str)]) -> Answer<Vec<Made>> {
        let wanted = owned(labels);
        self.with(move |_, state| Ok(made(&state.volumes, &wanted))).await
    }
    async fn create_container(&self, name: &str, spec: &ContainerSpec) -> Answer<String> {
        let (name, spec) = (name.to_owned(), spec.clone());
        self.with(move |inner, state| {
            if state.containers.contains_key(&name) {
                return Err(EngineError::NameTaken { name });
            }
            if state.creates_failing > 0 {
                state.creates_failing -= 1;
                return Err(EngineError::Failed { status: 500, message: "devicemapper".to_owned() });
            }
            state.number += 1;
            let id = format!("{:064x}", state.number);
            let container = Container {
                state: ContainerState {
                    id: id.clone(),
                    name: name.clone(),
                    image: spec.image.clone(),
                    labels: spec.labels.clone(),
                    status: Status::Created,
                    created: inner.moment(),
                    started: None,
                    finished: None,
                    exit_code: None,
                    oom_killed: false,
                    error: None,
                    networks: vec![name.clone()],
                },
                env: spec.env.clone(),
                conduct: Conduct::Works,
                session: None,
                job: None,
                printed: String::new(),
            };
            state.containers.insert(name.clone(), container);
            state.there_most = state.there_most.max(state.containers.len());
            if state.creates_unanswered > 0 {
                state.creates_unanswered -= 1;
                return Err(EngineError::TimedOut { what: format!("container {name}") });
            }
            Ok(id)
        })
        .await
    }
    async fn open_folder(&self, container: &str, _: &str) -> Answer<()> {
        let container = container.to_owned();
        self.with(move |_, state| state.known(&container).map(|_| ())).await
    }
    async fn start_container(&self, id: &str) -> Answer<()> {
        let id = id.to_owned();
        self.with(move |inner, state| {
            let name = state.known(&id)?;
            let conduct = state.orders.pop_front().unwrap_or(Conduct::Works);
            let at = inner.time.passed() + CONNECTS_AFTER;
            match conduct {
                Conduct::EndsFirst => state.plan(at, Thing::End(name.clone(), 1)),
                Conduct::NeverConnects => {}
                _ => state.plan(at, Thing::Connect(name.clone())),
            }
            if let Some(container) = state.containers.get_mut(&name) {
                container.conduct = conduct;
                container.state.status = Status::Running;
                container.state.started = Some(inner.moment());
            }
            state.started += 1;
            state.running_most = state.running_most.max(state.running());
            Ok(())
        })
        .await
    }
    async fn stop_container(&self, id: &str, _: Duration) -> Answer<bool> {
        self.kill_container(id).await
    }
    async fn kill_container(&self, id: &str) -> Answer<bool> {
        let id = id.to_owned();
        self.with(move |inner, state| {
            let Some(name) = state.name_of(&id) else { return Ok(false) };
            let was_running =
                state.containers.get(&name).is_some_and(|of| of.state.status == Status::Running);
            inner.end(state, &name, 143);
            Ok(was_running)
        })
        .await
    }
    async fn remove_container(&self, id: &str) -> Answer<bool> {
        let id = id.to_owned();
        self.with(move |inner, state| {
            let Some(name) = state.name_of(&id) else { return Ok(false) };
            inner.end(state, &name, 137);
            Ok(state.containers.remove(&name).is_some())
        })
        .await
    }
    async fn containers(&self, labels: &[(&str, &str)]) -> Answer<Vec<ContainerState>> {
        let wanted = owned(labels);
        self.with(move |_, state| {
            let all = state.containers.values().map(|container| &container.state);
            Ok(all.filter(|state| has(&state.labels, &wanted)).cloned().collect())
        })
        .await
    }
    async fn logs_tail(&self, id: &str, _: usize) -> Answer<Vec<u8>> {
        let id = id.to_owned();
        self.with(move |_, state| {
            let name = state.known(&id)?;
            let printed = state.containers.get(&name).map(|container| container.printed.clone());
            Ok(printed.unwrap_or_default().into_bytes())
        })
        .await
    }
    async fn environment(&self, id: &str) -> Answer<Vec<String>> {
        let id = id.to_owned();
        self.with(move |_, state| {
            let name = state.known(&id)?;
            let of = state.containers.get(&name).map(|container| container.env.clone()).unwrap_or_default();
            Ok(of.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect())
        })
        .await
    }
    async fn size_bytes(&self, _: &str) -> Answer<Option<u64>> {
        self.with(|_, _| Ok(Some(1 << 20))).await
    }
}
