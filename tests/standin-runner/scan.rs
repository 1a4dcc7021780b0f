//! Whom a job can reach: the gateway, the engine's usual bridge, the cloud's metadata, itself, and its neighbours.
//!
//! A line for each: `scan: gateway 172.18.0.1:8080 reached`. `refused` means that somebody is there and does not listen,
//! `silent` that nothing came back, `unreachable` that there is no way. Only addresses of this network, this host and those
//! given by name are tried.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_millis(400);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const USUAL_BRIDGE: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
const PORTS_DEFAULT: [u16; 2] = [80, 2375];
/// Engines count addresses up from the gateway's.
const NEIGHBOURS: u8 = 12;
const AT_ONCE: usize = 8;

/// Tries everybody on these ports, `PORT-PORT-…`; what has a dot is an address besides.
pub(crate) fn lines(wanted: &str) -> Vec<String> {
    let words = || wanted.split('-').filter(|word| !word.is_empty());
    let mut ports: Vec<u16> = words().filter_map(|word| word.parse().ok()).collect();
    if ports.is_empty() {
        ports.extend(PORTS_DEFAULT);
    }
    let mut targets: Vec<(&str, Ipv4Addr)> = Vec::new();
    targets.extend(words().filter_map(|word| Some(("named", word.parse().ok()?))));
    let gateways = gateways();
    targets.extend(gateways.iter().map(|address| ("gateway", *address)));
    targets.extend([("bridge", USUAL_BRIDGE), ("loopback", Ipv4Addr::LOCALHOST)]);
    let own =
        gateways.first().and_then(|gateway| own_address(*gateway)).or_else(|| own_address(USUAL_BRIDGE));
    if let Some([a, b, c, last]) = own.map(|own| own.octets()) {
        let others = (1..=NEIGHBOURS).filter(|other| *other != last);
        targets.extend(others.map(|other| ("neighbour", Ipv4Addr::new(a, b, c, other))));
    }
    let mut all = vec![("metadata", SocketAddr::from((METADATA, 80)))];
    for (role, address) in targets {
        all.extend(ports.iter().map(|port| (role, SocketAddr::from((address, *port)))));
    }
    let mut lines =
        vec![format!("scan: own address {}", own.map_or("none".to_owned(), |own| own.to_string()))];
    for some in all.chunks(AT_ONCE) {
        lines.extend(together(some));
    }
    lines
}

fn together(some: &[(&str, SocketAddr)]) -> Vec<String> {
    thread::scope(|scope| {
        let tried: Vec<_> = some
            .iter()
            .map(|(role, address)| {
                let attempt = move || format!("scan: {role} {address} {}", tried(*address));
                // a limit on threads makes it slower, not shorter
                thread::Builder::new().spawn_scoped(scope, attempt).map_err(|_| attempt())
            })
            .collect();
        let lines = tried.into_iter().map(|one| match one {
            Ok(thread) => thread.join().unwrap_or_else(|_| "scan: broke off".to_owned()),
            Err(line) => line,
        });
        lines.collect()
    })
}

fn tried(address: SocketAddr) -> &'static str {
    match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(_) => "reached",
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => "refused",
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "silent",
            _ => "unreachable",
        },
    }
}

/// From the table of routes: the way out, and the first address of each network.
fn gateways() -> Vec<Ipv4Addr> {
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = |at: usize| {
            let number = u32::from_str_radix(words.get(at)?, 16).ok()?;
            Some(Ipv4Addr::from(number.swap_bytes()))
        };
        let (Some(destination), Some(gateway)) = (address(1), address(2)) else { continue };
        let candidate = if gateway.is_unspecified() {
            let [a, b, c, d] = destination.octets();
            Ipv4Addr::new(a, b, c, d | 1)
        } else {
            gateway
        };
        if !found.contains(&candidate) {
            found.push(candidate);
        }
    }
    found
}

/// Nothing is sent: a connected socket knows its own side.
fn own_address(towards: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((towards, 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() && !address.is_unspecified() => Some(address),
        _ => None,
    }
}
