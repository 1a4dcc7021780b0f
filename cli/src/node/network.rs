//! What the node needs of its network. Wired by `serve`; a short command has none.

use wfengine_core::scheduler::Beat;
use wfengine_quic::driver::Documents;
use wfengine_storage_format::{BlobId, EventId, JobId, PeerId};
use wfengine_store::port::{PeerAsk, PortFuture};

/// A peer as the network sees it now.
#[derive(Clone, Debug)]
pub(crate) struct Connected {
    pub(crate) peer: PeerId,
    pub(crate) address: String,
    pub(crate) rtt_ms: f64,
    /// How its log and this node's differ; `None` before it said anything about that.
    pub(crate) standing: Option<wfengine_protocol::Standing>,
}

/// The network of a serving node.
pub(crate) trait Network: PeerAsk {
    /// Sends beats to every member that can be reached.
    fn send_beats(&self, beats: Vec<Beat>);
    /// UDP address this node listens on.
    fn local_address(&self) -> String;
    /// The log of a job that runs at a connected peer, from `offset` on, asked of that peer and nobody else.
    fn log_at(&self, peer: PeerId, job: JobId, offset: u64) -> PortFuture<'_, Vec<u8>>;
    /// Peers connected now.
    fn connected(&self) -> Vec<Connected>;
    /// Bytes of messages that went to peers since this node serves.
    fn sent_bytes(&self) -> u64;
    /// The automerge documents that follow the log.
    fn documents(&self) -> Documents;
    /// Connects to an address, now and whenever the connection is lost.
    fn add_address(&self, address: String);
    /// Forgets an address.
    fn remove_address(&self, address: &str);
    /// Waits until this many peers hold an event and the blobs; says who.
    fn wait_for_copies(&self, event: EventId, blobs: Vec<BlobId>, copies: u32)
    -> PortFuture<'_, Vec<PeerId>>;
}

/// Addresses under which other hosts may reach a listening socket: its own, or every address of this host's interfaces.
pub(crate) fn reachable_addresses(local: &str) -> Vec<String> {
    let Ok(local) = local.parse::<std::net::SocketAddr>() else { return Vec::new() };
    if !local.ip().is_unspecified() {
        return vec![local.to_string()];
    }
    interface_addresses()
        .into_iter()
        .map(|ip| std::net::SocketAddr::new(ip, local.port()).to_string())
        .collect()
}

/// The addresses of this host's interfaces, without loopback and link-local ones; loopback if there are no others.
fn interface_addresses() -> Vec<std::net::IpAddr> {
    use std::net::{IpAddr, Ipv4Addr};
    let mut found: Vec<IpAddr> = Vec::new();
    // the kernel lists the local addresses of every interface here
    let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let mut last: Option<Ipv4Addr> = None;
    for line in table.lines() {
        let text = line.trim_start_matches([' ', '|', '+', '-']);
        if let Some(address) = text.split_whitespace().next().and_then(|word| word.parse().ok()) {
            last = Some(address);
        } else if text.starts_with("/32 host LOCAL")
            && let Some(address) = last.filter(|address| !address.is_loopback() && !address.is_link_local())
            && !found.contains(&IpAddr::V4(address))
        {
            found.push(IpAddr::V4(address));
        }
    }
    let v6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    for line in v6.lines() {
        let hex = line.split_whitespace().next().unwrap_or_default();
        if let Ok(bits) = u128::from_str_radix(hex, 16) {
            let address = std::net::Ipv6Addr::from_bits(bits);
            if !address.is_loopback() && !address.is_unicast_link_local() {
                found.push(IpAddr::V6(address));
            }
        }
    }
    if found.is_empty() {
        found.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    found
}
