//! Keeps runners away from the host: rules for the bridges that are made for them.
//!
//! A container reaches every service of its host at the gateway of its network, whatever that network is: only a rule on what comes in
//! from there keeps it out. The rules are the same for all runners, of a node, since the interfaces of their bridges have one beginning in common,
//! and they are looked at again and again, for others set up firewalls anew. Also closed are the addresses at which clouds hand out
//! credentials.
//!
//! Rules are set by the `iptables` program, which needs root. Where that does not go, a pool is refused unless it allows the host.

use std::collections::BTreeSet;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::container::bridge_prefix;

/// One at a time in this process: what is looked at is set afterwards.
static SETTING: Mutex<()> = Mutex::const_new(());

/// The chains of a node: what comes in from its runners, and what they send on. Nodes on one host have chains of their own.
fn chains(peer: &str) -> [String; 2] {
    let tag = bridge_prefix(peer).to_uppercase();
    [format!("{tag}-IN"), format!("{tag}-OUT")]
}

/// The engine leaves this chain alone, and lets everything that is forwarded pass it first.
const FORWARDED: &str = "DOCKER-USER";
/// Where clouds hand out credentials: the link-local network, Azure's and Alibaba's own addresses.
const CLOUDS: [&str; 3] = ["169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32"];

/// Why runners cannot be kept away from the host.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("runners cannot be kept away from this host: {0}")]
pub struct FirewallError(pub String);

impl FirewallError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        "run the node as root with iptables installed, or start the pool with --allow-host-access"
    }
}

/// What is open.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Openings {
    /// Ports of the host, TCP.
    pub host_ports: BTreeSet<u16>,
    /// Where runners may go, `ADDRESS/BITS` or `ADDRESS/BITS:PORT`; everywhere if empty.
    pub egress: BTreeSet<String>,
}

/// Where a rule of a chain is.
type Rule = Vec<String>;

fn rule(words: &[&str]) -> Rule {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The rules of both chains, in order.
fn rules(openings: &Openings) -> [Vec<Rule>; 2] {
    let answers = rule(&["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"]);
    let mut coming_in = vec![answers.clone()];
    for port in &openings.host_ports {
        coming_in.push(rule(&["-p", "tcp", "--dport", &port.to_string(), "-j", "ACCEPT"]));
    }
    coming_in.push(rule(&["-j", "REJECT"]));
    let mut going_out: Vec<Rule> =
        CLOUDS.iter().map(|address| rule(&["-d", address, "-j", "REJECT"])).collect();
    if !openings.egress.is_empty() {
        going_out.push(rule(&["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "RETURN"]));
        for open in &openings.egress {
            let (network, port) =
                open.split_once(':').map_or((open.as_str(), None), |(net, port)| (net, Some(port)));
            going_out.push(match port {
                Some(port) => rule(&["-d", network, "-p", "tcp", "--dport", port, "-j", "RETURN"]),
                None => rule(&["-d", network, "-j", "RETURN"]),
            });
        }
        going_out.push(rule(&["-j", "REJECT"]));
    }
    going_out.push(rule(&["-j", "RETURN"]));
    [coming_in, going_out]
}

/// Whether a text names where runners may go.
pub fn is_egress(text: &str) -> bool {
    let (network, port) = text.split_once(':').map_or((text, None), |(network, port)| (network, Some(port)));
    let (address, bits) =
        network.split_once('/').map_or((network, None), |(address, bits)| (address, Some(bits)));
    address.parse::<std::net::Ipv4Addr>().is_ok()
        && bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= 32))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

async fn iptables(words: &[&str]) -> Result<bool, FirewallError> {
    let mut command = Command::new("iptables");
    // others may be setting rules at this moment
    command.args(["-w", "10"]).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    let output = command.output().await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => FirewallError("there is no program iptables".to_owned()),
        _ => FirewallError(format!("iptables: {error}")),
    })?;
    if output.status.success() {
        return Ok(true);
    }
    // 4 is a lack of rights, and of the lock; a rule or a chain that is not there is 1
    match output.status.code() {
        Some(1) => Ok(false),
        _ => Err(FirewallError(said("iptables", &output.stderr))),
    }
}

fn words<'a>(first: &[&'a str], rule: &'a [String]) -> Vec<&'a str> {
    first.iter().copied().chain(rule.iter().map(String::as_str)).collect()
}

/// What of the runners of a node comes in, and what they send on: where each is looked at, and by which chain.
fn hooks(peer: &str) -> [(&'static str, String); 2] {
    let [coming_in, going_out] = chains(peer);
    [("INPUT", coming_in), (FORWARDED, going_out)]
}

/// Sets the rules for the runners of a node, unless they stand. At no moment is there a part of them alone.
///
/// # Errors
/// [`FirewallError`].
pub async fn close(peer: &str, openings: &Openings) -> Result<(), FirewallError> {
    let _setting = SETTING.lock().await;
    let interface = format!("{}+", bridge_prefix(peer));
    for ((hook, chain), rules) in hooks(peer).into_iter().zip(rules(openings)) {
        if !stands(&chain, &rules).await? {
            restore(&chain, &rules).await?;
        }
        let jump = ["-i", &interface, "-j", &chain];
        if jumps_first(hook, &chain).await? {
            continue;
        }
        while iptables(&[&["-D", hook], &jump[..]].concat()).await? {}
        if !iptables(&[&["-I", hook, "1"], &jump[..]].concat()).await? {
            return Err(FirewallError(format!("there is no chain {hook}")));
        }
    }
    Ok(())
}

/// Whether rules can be set here at all. Changes nothing.
///
/// # Errors
/// [`FirewallError`].
pub async fn check() -> Result<(), FirewallError> {
    match iptables(&["-S", "INPUT"]).await? {
        true => Ok(()),
        false => Err(FirewallError("there is no chain INPUT".to_owned())),
    }
}

/// Takes the rules for a node's runners away: it has none any more.
///
/// # Errors
/// [`FirewallError`].
pub async fn open(peer: &str) -> Result<(), FirewallError> {
    let _setting = SETTING.lock().await;
    let interface = format!("{}+", bridge_prefix(peer));
    for (hook, chain) in hooks(peer) {
        while iptables(&["-D", hook, "-i", &interface, "-j", &chain]).await? {}
        if iptables(&["-F", &chain]).await? {
            iptables(&["-X", &chain]).await?;
        }
    }
    Ok(())
}

/// Whether a chain is jumped to before any rule that is not of a node's runners: one that lets everything in would come first otherwise.
async fn jumps_first(hook: &str, chain: &str) -> Result<bool, FirewallError> {
    let listed = listed(&["-S", hook]).await?;
    let jump = format!(" -j {chain}");
    let rules: Vec<&str> = listed.lines().filter(|rule| rule.starts_with("-A ")).collect();
    let of_runners = |rule: &&&str| rule.contains(" -i wfe") && rule.contains(" -j WFE");
    let is_first = rules.iter().take_while(of_runners).any(|rule| rule.ends_with(&jump));
    Ok(is_first && rules.iter().filter(|rule| rule.ends_with(&jump)).count() == 1)
}

async fn listed(words: &[&str]) -> Result<String, FirewallError> {
    let mut command = Command::new("iptables");
    command.args(["-w", "10"]).args(words).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| FirewallError(format!("iptables: {error}")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Sets a chain in one piece.
async fn restore(chain: &str, rules: &[Rule]) -> Result<(), FirewallError> {
    let mut text = format!("*filter\n:{chain} - [0:0]\n");
    for rule in rules {
        text.push_str(&format!("-A {chain} {}\n", rule.join(" ")));
    }
    text.push_str("COMMIT\n");
    let failed = |error: std::io::Error| FirewallError(format!("iptables-restore: {error}"));
    let mut command = Command::new("iptables-restore");
    command.args(["-w", "10", "--noflush"]).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).await.map_err(failed)?;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(FirewallError(said("iptables-restore", &output.stderr)))
    }
}

/// What a program complained of, in one line.
fn said(program: &str, stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    let said: String = said.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    format!("{program}: {said}")
}

async fn stands(chain: &str, rules: &[Rule]) -> Result<bool, FirewallError> {
    for rule in rules {
        if !iptables(&words(&["-C", chain], rule)).await? {
            return Ok(false);
        }
    }
    // a rule too many is an opening that is wanted no more
    Ok(!has_rule(chain, rules.len() + 1).await?)
}

/// Whether a chain has a rule of this number.
async fn has_rule(chain: &str, number: usize) -> Result<bool, FirewallError> {
    Ok(!listed(&["-S", chain, &number.to_string()]).await?.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_closed_but_for_what_is_opened() {
        let openings = Openings { host_ports: BTreeSet::from([8080]), egress: BTreeSet::new() };
        let [coming_in, going_out] = rules(&openings);
        assert_eq!(
            coming_in.first().unwrap().join(" "),
            "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
        );
        assert_eq!(coming_in[1].join(" "), "-p tcp --dport 8080 -j ACCEPT");
        assert_eq!(coming_in.last().unwrap().join(" "), "-j REJECT");
        assert_eq!(going_out.first().unwrap().join(" "), "-d 169.254.0.0/16 -j REJECT");
        assert_eq!(going_out.last().unwrap().join(" "), "-j RETURN");
    }

    #[test]
    fn with_a_list_everything_else_is_closed() {
        let egress = ["140.82.112.0/20:443", "10.0.0.0/8"].map(str::to_owned);
        let openings = Openings { host_ports: BTreeSet::new(), egress: BTreeSet::from(egress) };
        let [_, going_out] = rules(&openings);
        let shown: Vec<String> = going_out.iter().map(|rule| rule.join(" ")).collect();
        assert!(shown.contains(&"-d 140.82.112.0/20 -p tcp --dport 443 -j RETURN".to_owned()));
        assert!(shown.contains(&"-d 10.0.0.0/8 -j RETURN".to_owned()));
        assert_eq!(shown[shown.len() - 2], "-j REJECT");
    }

    #[test]
    fn what_is_no_network_is_none() {
        for good in ["10.0.0.0/8", "1.2.3.4", "1.2.3.4/32:443"] {
            assert!(is_egress(good), "{good}");
        }
        for bad in ["", "example.org", "1.2.3.4/33", "1.2.3.4:0", "1.2.3.4 -j ACCEPT", "1.2.3.4:x", "::1/128"]
        {
            assert!(!is_egress(bad), "{bad}");
        }
    }
}
