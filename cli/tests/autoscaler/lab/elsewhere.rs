//! An address that is not this host's and leads to its ports: a service here, as containers see one that is somewhere else.
//!
//! Runners of a pool with the settings that nobody chose reach nothing of the host, not even the service that stands in for GitHub. A
//! network namespace of its own takes their connections and sends them on.
//!
//! Invariant: the namespace, and the cable to it, go with their owner.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A namespace at the end of a cable.
pub struct Elsewhere {
    ip: PathBuf,
    namespace: String,
    /// Where everybody finds it: its TCP ports are this host's.
    pub address: String,
}

#[track_caller]
fn run(program: &Path, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Elsewhere {
    /// With `ip` of iproute2.
    pub fn new(ip: PathBuf) -> Self {
        let mut place = [0; 3];
        getrandom::fill(&mut place).unwrap();
        // four addresses each, of a range that nothing else here uses
        let (third, fourth) = (place[0], place[1] & 0xfc);
        let (here, there) =
            (format!("10.79.{third}.{}", fourth | 1), format!("10.79.{third}.{}", fourth | 2));
        let name = format!("wfe-{:02x}{:02x}{:02x}", place[0], place[1], place[2]);
        // from here on it is taken down whatever happens
        let made = Self { ip, namespace: name.clone(), address: there.clone() };
        let (ip, cable) = (made.ip.as_path(), name.replace('-', "x"));
        run(ip, &["netns", "add", &name]);
        run(ip, &["link", "add", &cable, "type", "veth", "peer", "name", "out0", "netns", &name]);
        run(ip, &["address", "add", &format!("{here}/30"), "dev", &cable]);
        run(ip, &["link", "set", &cable, "up"]);
        for words in [
            ["address", "add", &format!("{there}/30"), "dev", "out0"].as_slice(),
            &["link", "set", "lo", "up"],
            &["link", "set", "out0", "up"],
            &["route", "add", "default", "via", &here],
        ] {
            run(ip, &[&["-n", &name], words].concat());
        }
        let script = format!(
            "echo 1 > /proc/sys/net/ipv4/ip_forward && echo 0 > /proc/sys/net/ipv4/conf/all/send_redirects \
             && iptables -t nat -A PREROUTING -p tcp -j DNAT --to-destination {here} && iptables -t nat -A POSTROUTING -j MASQUERADE"
        );
        run(ip, &["netns", "exec", &name, "sh", "-c", &script]);
        made
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // the cable goes with its end
        let _ = Command::new(&self.ip).args(["netns", "del", &self.namespace]).output();
    }
}
