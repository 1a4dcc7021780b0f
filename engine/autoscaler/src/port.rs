//! What the autoscaler needs: of the node it runs in ([`Host`]), and of an engine for containers ([`Containers`]).
//!
//! [`wfengine_docker::Engine`] is the engine of the product. That it stands behind a trait lets a simulated day, with thousands of
//! containers, be gone through in a second.

use std::collections::BTreeMap;
use std::time::Duration;

use wfengine_core::command::Command;
use wfengine_core::scheduler::P2pLoad;
use wfengine_core::time::Monotonic;
use wfengine_docker::{
    ContainerSpec, ContainerState, Engine, EngineError, EngineInfo, Image, Made, NetworkSpec,
    RegistryCredentials,
};
use wfengine_storage_format::PeerId;
use wfengine_store::{AskError, Blobs, Receipt, Watcher};

/// The node: its log, its blobs, its clock, its place among the members.
pub trait Host: Send + Sync + 'static {
    /// Reads the log.
    fn watcher(&self) -> &Watcher;
    /// Keeps files by hash.
    fn blobs(&self) -> &Blobs;
    /// This node's id.
    fn peer(&self) -> PeerId;
    /// Asks for a command and waits until it is durable.
    fn ask(&self, command: Command) -> impl Future<Output = Result<Receipt, AskError>> + Send;
    /// The node's own clock.
    fn now(&self) -> Monotonic;
    /// The wall clock, milliseconds since 1970.
    fn wall_ms(&self) -> u64;
    /// Comes back after this time on the node's own clock.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
    /// How many of these members live and come before this node in answering `what`.
    fn place_for(&self, what: &str, among: &[PeerId]) -> usize;
    /// Whether a member lives, as far as this node can tell. Itself it always does.
    fn is_alive(&self, peer: &PeerId) -> bool;
    /// Members' jobs that wait for this node or run here.
    fn p2p_load(&self) -> P2pLoad;
    /// Random bytes, for names.
    fn random(&self) -> [u8; 4];
}

type Answer<T> = Result<T, EngineError>;

/// An engine for containers, as [`Engine`] describes each of these.
#[expect(missing_docs, reason = "the functions of `wfengine_docker::Engine`, one by one")]
pub trait Containers: Clone + Send + Sync + 'static {
    fn info(&self) -> impl Future<Output = Answer<EngineInfo>> + Send;
    fn image(&self, reference: &str) -> impl Future<Output = Answer<Image>> + Send;
    fn pull(
        &self,
        reference: &str,
        credentials: Option<&RegistryCredentials>,
    ) -> impl Future<Output = Answer<Image>> + Send;
    fn create_network(&self, spec: &NetworkSpec) -> impl Future<Output = Answer<String>> + Send;
    fn remove_network(&self, name: &str) -> impl Future<Output = Answer<bool>> + Send;
    fn networks(&self, labels: &[(&str, &str)]) -> impl Future<Output = Answer<Vec<Made>>> + Send;
    fn create_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> impl Future<Output = Answer<()>> + Send;
    fn remove_volume(&self, name: &str) -> impl Future<Output = Answer<bool>> + Send;
    fn volumes(&self, labels: &[(&str, &str)]) -> impl Future<Output = Answer<Vec<Made>>> + Send;
    fn create_container(
        &self,
        name: &str,
        spec: &ContainerSpec,
    ) -> impl Future<Output = Answer<String>> + Send;
    fn open_folder(&self, container: &str, path: &str) -> impl Future<Output = Answer<()>> + Send;
    fn start_container(&self, id: &str) -> impl Future<Output = Answer<()>> + Send;
    fn stop_container(&self, id: &str, grace: Duration) -> impl Future<Output = Answer<bool>> + Send;
    fn kill_container(&self, id: &str) -> impl Future<Output = Answer<bool>> + Send;
    fn remove_container(&self, id: &str) -> impl Future<Output = Answer<bool>> + Send;
    fn containers(&self, labels: &[(&str, &str)])
    -> impl Future<Output = Answer<Vec<ContainerState>>> + Send;
    fn logs_tail(&self, id: &str, bytes_max: usize) -> impl Future<Output = Answer<Vec<u8>>> + Send;
    fn environment(&self, id: &str) -> impl Future<Output = Answer<Vec<String>>> + Send;
    fn size_bytes(&self, name: &str) -> impl Future<Output = Answer<Option<u64>>> + Send;
}

impl Containers for Engine {
    async fn info(&self) -> Answer<EngineInfo> {
        Engine::info(self).await
    }
    async fn image(&self, reference: &str) -> Answer<Image> {
        Engine::image(self, reference).await
    }
    async fn pull(&self, reference: &str, credentials: Option<&RegistryCredentials>) -> Answer<Image> {
        Engine::pull(self, reference, credentials).await
    }
    async fn create_network(&self, spec: &NetworkSpec) -> Answer<String> {
        Engine::create_network(self, spec).await
    }
    async fn remove_network(&self, name: &str) -> Answer<bool> {
        Engine::remove_network(self, name).await
    }
    async fn networks(&self, labels: &[(&str, &str)]) -> Answer<Vec<Made>> {
        Engine::networks(self, labels).await
    }
    async fn create_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Answer<()> {
        Engine::create_volume(self, name, labels).await
    }
    async fn remove_volume(&self, name: &str) -> Answer<bool> {
        Engine::remove_volume(self, name).await
    }
    async fn volumes(&self, labels: &[(&str, &str)]) -> Answer<Vec<Made>> {
        Engine::volumes(self, labels).await
    }
    async fn create_container(&self, name: &str, spec: &ContainerSpec) -> Answer<String> {
        Engine::create_container(self, name, spec).await
    }
    async fn open_folder(&self, container: &str, path: &str) -> Answer<()> {
        Engine::open_folder(self, container, path).await
    }
    async fn start_container(&self, id: &str) -> Answer<()> {
        Engine::start_container(self, id).await
    }
    async fn stop_container(&self, id: &str, grace: Duration) -> Answer<bool> {
        Engine::stop_container(self, id, grace).await
    }
    async fn kill_container(&self, id: &str) -> Answer<bool> {
        Engine::kill_container(self, id).await
    }
    async fn remove_container(&self, id: &str) -> Answer<bool> {
        Engine::remove_container(self, id).await
    }
    async fn containers(&self, labels: &[(&str, &str)]) -> Answer<Vec<ContainerState>> {
        Engine::containers(self, labels).await
    }
    async fn logs_tail(&self, id: &str, bytes_max: usize) -> Answer<Vec<u8>> {
        Engine::logs_tail(self, id, bytes_max).await
    }
    async fn environment(&self, id: &str) -> Answer<Vec<String>> {
        Engine::environment(self, id).await
    }
    async fn size_bytes(&self, name: &str) -> Answer<Option<u64>> {
        let layer = self.layer_bytes(name).await?;
        let folder = self.volume_folder(name).await?;
        let work = match folder {
            Some(folder) => tokio::task::spawn_blocking(move || folder_bytes(&folder)).await.ok().flatten(),
            None => None,
        };
        Ok(layer.zip(work).map(|(layer, work)| layer.saturating_add(work)).or(layer).or(work))
    }
}

/// Files that are counted in a folder.
const FILES_MAX: usize = 2_000_000;

/// Bytes of all files of a folder on the disk; `None` where this process may not look.
fn folder_bytes(folder: &std::path::Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    const SECTOR: u64 = 512;
    let (mut bytes, mut files) = (0_u64, 0_usize);
    let mut folders = vec![folder.to_owned()];
    let mut is_top = true;
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(_) if is_top => return None,
            // it went meanwhile
            Err(_) => continue,
        };
        is_top = false;
        for entry in entries.flatten() {
            files += 1;
            if files > FILES_MAX {
                return Some(bytes);
            }
            let Ok(metadata) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(SECTOR));
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Some(bytes)
}
