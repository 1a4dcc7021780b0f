//! Nodes to measure: a log in a scratch directory, alone or with a driver on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use wfengine_core::time::{Monotonic, Now};
use wfengine_protocol::{JoinAnswer, JoinDecision, JoinRefusal, JoinRequest};
use wfengine_quic::driver::{Driver, Host, HostFuture, Start};
use wfengine_quic::{Endpoint, Identity, Limits};
use wfengine_storage_format::{ClusterId, JobId, PeerId, VerifiedFrame};
use wfengine_store::{Blobs, Purpose, Store};

use crate::history::{WALL, incarnation, signer};

/// Creates the log of a cluster with these frames.
pub fn create(dir: &Path, cluster: ClusterId, frames: &[VerifiedFrame]) {
    Store::create(dir, cluster, frames, WALL).expect("the directory is empty and writable");
}

/// Opens a log under a key and incarnation of this number.
pub fn open(dir: &Path, number: u8) -> Store {
    let opened = Store::open(dir, signer(number), Purpose::Serve, incarnation(number + 100), "bench");
    opened.expect("the log is sound").0
}

/// A log and its driver.
pub struct Node {
    /// The log.
    pub store: Store,
    /// The network.
    pub driver: Driver,
    dir: PathBuf,
}

impl Node {
    /// Opens a log and goes on the network, dialling these addresses. Inside a tokio runtime.
    pub fn start(dir: &Path, number: u8, dial: Vec<String>) -> Self {
        let store = open(dir, number);
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let identity = Identity::new(signer(number));
        let endpoint = Endpoint::bind(loopback, 0, identity, Limits::default()).expect("a port is free");
        let driver = Driver::start(Start {
            endpoint,
            recorder: store.recorder().clone(),
            watcher: store.watcher().clone(),
            blobs: Blobs::open(dir.join("blobs")).expect("the directory is writable"),
            host: Arc::new(Quiet { started: Instant::now() }),
            name: format!("node-{number}"),
            software: "bench".to_owned(),
            addresses: Vec::new(),
            dial,
            join: None,
            seed: [number; 32],
        });
        Self { store, driver, dir: dir.to_owned() }
    }

    /// Where it can be dialled.
    pub fn address(&self) -> String {
        self.driver.local_addr().expect("the socket is bound").to_string()
    }

    /// Where its log lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A node that only replicates.
struct Quiet {
    started: Instant,
}

impl Host for Quiet {
    fn now(&self) -> Now {
        let monotonic = Monotonic(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX));
        Now { wall: WALL, monotonic }
    }
    fn beat(&self, _: &[u8]) -> bool {
        false
    }
    fn presence(&self, _: PeerId, _: bool) {}
    fn behind(&self, _: u64) {}
    fn admit(&self, _: PeerId, _: JoinRequest) -> HostFuture<JoinDecision> {
        Box::pin(async { Err(JoinRefusal::UnknownInvite) })
    }
    fn log_part(&self, _: JobId, _: u64) -> HostFuture<Option<(Vec<u8>, bool)>> {
        Box::pin(async { None })
    }
    fn rolled_back(&self, detail: String) {
        println!("rolled back: {detail}");
    }
    fn join_answered(&self, _: JoinAnswer) {}
}
