//! Members of one cluster find each other on the local network by multicast DNS (RFC 6762, RFC 6763), also after their addresses
//! changed.
//!
//! A node is announced as `ID._wfengine._udp.local.` with a tag of its cluster, from which the cluster's id cannot be told. What is
//! heard decides nothing: it is a place to dial, of a member alone, and whoever answers there has to prove its key. Anybody on the
//! network may announce anything, so an announcement displaces no address that was learned otherwise, and few changes of one member
//! are taken in a while.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use wfengine_storage_format::{ClusterId, PeerId, sha256};

/// What nodes are announced as.
const SERVICE: &str = "_wfengine._udp.local.";
/// The property that holds the cluster's tag.
const CLUSTER: &str = "cluster";
/// Changes of one member that are taken within [`WHILE`]. The addresses of a host are heard one by one, so some follow each other
/// closely.
const CHANGES_MAX: u32 = 8;
/// See [`CHANGES_MAX`].
const WHILE: Duration = Duration::from_secs(10);
/// Addresses of one announcement that are looked at.
const ADDRESSES_MAX: usize = 8;

/// Why a node is not on the local network. It works without.
#[derive(Debug, thiserror::Error)]
pub enum LanError {
    /// The node's own socket has no address.
    #[error("the node's own UDP port is not known: {0}")]
    Socket(#[source] std::io::Error),
    /// The daemon did not start.
    #[error("multicast DNS does not start (UDP port 5353): {0}")]
    Mdns(#[from] mdns_sd::Error),
    /// No thread.
    #[error("no thread to listen on the local network: {0}")]
    Thread(#[source] std::io::Error),
}

/// The presence of a node on the local network. Dropping it takes the announcement back.
pub struct Lan {
    daemon: ServiceDaemon,
}

impl Lan {
    /// Announces `me` with its port on every interface, and tells `seen` where members of the cluster are.
    pub(crate) fn start(
        cluster: ClusterId,
        me: PeerId,
        port: u16,
        is_member: impl Fn(&PeerId) -> bool + Send + 'static,
        seen: impl Fn(PeerId, Vec<String>) + Send + 'static,
    ) -> Result<Self, LanError> {
        let daemon = ServiceDaemon::new()?;
        let tag = tag(&cluster);
        let (name, host) = (me.to_string(), format!("{}.local.", me.short()));
        let properties = [(CLUSTER, tag.as_str())];
        let service = ServiceInfo::new(SERVICE, &name, &host, "", port, &properties[..])?;
        // the addresses of the interfaces, also as they change
        daemon.register(service.enable_addr_auto())?;
        let events = daemon.browse(SERVICE)?;
        let lan = Self { daemon };
        let mut hearing = Hearing { tag, me, taken: BTreeMap::new() };
        let listen = move || {
            while let Ok(event) = events.recv() {
                let ServiceEvent::ServiceResolved(service) = event else { continue };
                if let Some((peer, addresses)) = hearing.take(&service, &is_member, Instant::now()) {
                    seen(peer, addresses);
                }
            }
        };
        let thread = std::thread::Builder::new().name("wfengine-lan".to_owned());
        thread.spawn(listen).map_err(LanError::Thread)?;
        Ok(lan)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // the goodbye is sent before the daemon ends
        let _ = self.daemon.shutdown();
    }
}

/// Names a cluster to those who know it: the first 8 bytes of SHA-256 of a prefix and its id, in hexadecimal digits.
fn tag(cluster: &ClusterId) -> String {
    let hash = sha256(&[b"wfengine lan\0".as_slice(), cluster.as_bytes()].concat());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What was heard, and what of it counts.
struct Hearing {
    tag: String,
    me: PeerId,
    /// Members only, so it is bounded.
    taken: BTreeMap<PeerId, Taken>,
}

/// What was heard of one member last.
struct Taken {
    since: Instant,
    /// Changes since then.
    changes: u32,
    addresses: Vec<String>,
}

impl Hearing {
    fn take(
        &mut self,
        service: &ResolvedService,
        is_member: impl Fn(&PeerId) -> bool,
        now: Instant,
    ) -> Option<(PeerId, Vec<String>)> {
        if service.get_property_val_str(CLUSTER) != Some(self.tag.as_str()) {
            return None;
        }
        let name = service.fullname.strip_suffix(SERVICE)?.strip_suffix('.')?;
        let peer: PeerId = name.parse().ok()?;
        if peer == self.me || !is_member(&peer) {
            return None;
        }
        let mut addresses: Vec<String> = service
            .addresses
            .iter()
            .map(|address| address.to_ip_addr())
            .filter(is_dialled)
            .map(|address| std::net::SocketAddr::new(address, service.port).to_string())
            .collect();
        addresses.sort_unstable();
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return None;
        }
        let taken = self.taken.entry(peer).or_insert(Taken { since: now, changes: 0, addresses: Vec::new() });
        if now.saturating_duration_since(taken.since) >= WHILE {
            (taken.since, taken.changes) = (now, 0);
        }
        if taken.addresses == addresses || taken.changes >= CHANGES_MAX {
            return None;
        }
        taken.changes += 1;
        taken.addresses.clone_from(&addresses);
        Some((peer, addresses))
    }
}

/// Whether an address means the same on this host: not loopback, and none that needs the name of an interface.
fn is_dialled(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified() && !v4.is_multicast(),
        IpAddr::V6(v6) => {
            !v6.is_loopback() && !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use wfengine_storage_format::Signer;

    use super::*;

    fn peer(number: u8) -> PeerId {
        Signer::from_seed(&[number; 32]).peer_id()
    }

    fn announced(cluster: u8, name: &str, addresses: &str) -> ResolvedService {
        let tag = tag(&ClusterId::from_bytes([cluster; 32]));
        let properties = [(CLUSTER, tag.as_str())];
        ServiceInfo::new(SERVICE, name, "host.local.", addresses, 4433, &properties[..])
            .unwrap()
            .as_resolved_service()
    }

    fn hearing() -> Hearing {
        Hearing { tag: tag(&ClusterId::from_bytes([7; 32])), me: peer(1), taken: BTreeMap::new() }
    }

    #[test]
    fn only_members_of_the_cluster_are_heard() {
        let mut hearing = hearing();
        let members = |of: &PeerId| [peer(1), peer(2)].contains(of);
        let mut hear = |service| hearing.take(&service, members, Instant::now());
        let seen = Some((peer(2), vec!["10.0.0.2:4433".to_owned()]));
        assert_eq!(hear(announced(7, &peer(2).to_string(), "10.0.0.2,127.0.0.1,fe80::1")), seen);
        assert_eq!(hear(announced(8, &peer(2).to_string(), "10.0.0.9")), None, "of another cluster");
        assert_eq!(hear(announced(7, &peer(3).to_string(), "10.0.0.3")), None, "no member");
        assert_eq!(hear(announced(7, &peer(1).to_string(), "10.0.0.1")), None, "this node");
        assert_eq!(hear(announced(7, "printer", "10.0.0.4")), None, "no peer's id");
    }

    #[test]
    fn few_changes_of_one_member_are_taken_in_a_while_and_each_is_cut() {
        let mut hearing = hearing();
        let begun = Instant::now();
        let mut hear = |addresses: &str, after_ms: u64| {
            let service = announced(7, &peer(2).to_string(), addresses);
            let taken = hearing.take(&service, |_| true, begun + Duration::from_millis(after_ms));
            taken.map(|(_, addresses)| addresses.len())
        };
        assert_eq!(hear("10.0.0.2", 0), Some(1));
        assert_eq!(hear("10.0.0.2,10.1.0.2", 10), Some(2), "its second interface is heard next");
        assert_eq!(hear("10.0.0.2,10.1.0.2", 20), None, "nothing new");
        let many: Vec<String> = (1..=20).map(|n| format!("10.0.1.{n}")).collect();
        assert_eq!(hear(&many.join(","), 30), Some(ADDRESSES_MAX));
        let flood = (0..100).filter_map(|n| hear(&format!("10.2.0.{n}"), 40 + n)).count();
        assert_eq!(flood, CHANGES_MAX as usize - 3);
        assert_eq!(hear("10.0.0.9", 10_000), Some(1));
    }
}
