//! What has to be asked: the node that serves here, its peers, the container engine, GitHub.
//!
//! Every question has a bound in time; what does not answer in time is said so and is no error of the doctor's. The token of GitHub is
//! sent to nobody but the GitHub that it is for, and shown to nobody.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use wfengine_api::answers::{DigestView, EventLine, HistoryView, PeersView, StatusView, SyncView};
use wfengine_api::{GithubWishes, Request};
use wfengine_docker::{Endpoint, Engine};
use wfengine_github::settings::Given;
use wfengine_github::{
    ApiError, Client as Github, MemoryCache, Settings as GithubSettings, SystemClock, credential,
};

use super::finding::{Finding, fail, ok, warn};
use crate::clock::{show_duration, show_wall};
use crate::config::Serving;
use crate::control::Client;
use crate::home::Settings;
use crate::node::discovery::environment;

/// How long one question may take.
const ASK_MAX: Duration = Duration::from_secs(8);
/// Frames at the end of the log in which clocks are compared.
const FRAMES_COMPARED: u64 = 200;
/// A clock that is off by less is right.
const SKEW_MAX_MS: u64 = 5_000;
/// No clock that was ever set says less: the beginning of 2026.
const WALL_MIN_MS: u64 = 1_767_225_600_000;
/// Events that a peer may lack while all is well.
const LAG_MAX: u64 = 1_000;

/// Asks the node of this host within a bound.
pub(super) async fn ask<T: DeserializeOwned>(client: &Client, request: Request) -> Option<T> {
    let answer = tokio::time::timeout(ASK_MAX, client.ask(&request, |_| ())).await.ok()?.ok()?;
    serde_json::from_value(answer).ok()
}

/// Wall time, and what the log's last events say of clocks.
pub(super) async fn clock(client: Option<&Client>, me: Option<&str>, now_ms: u64) -> Finding {
    const CHECK: &str = "clock";
    const SET: &str = "set the clock of the host that is wrong: `timedatectl set-ntp true`; clocks decide nothing here, but times are read by them";
    if now_ms < WALL_MIN_MS {
        return fail(CHECK, format!("it is {} by this host's clock", show_wall(now_ms)), SET);
    }
    let said = format!("it is {}", show_wall(now_ms));
    let Some(client) = client else {
        return ok(CHECK, format!("{said}; a node that serves could compare it with those of peers"));
    };
    let frames = ask::<DigestView>(client, Request::Digest).await.map_or(0, |digest| digest.frames);
    let last = Request::History {
        run: None,
        author: None,
        kinds: Vec::new(),
        from: frames.saturating_sub(FRAMES_COMPARED),
        limit: 1_000,
    };
    let events = ask::<HistoryView>(client, last).await.unwrap_or_default().events;
    if events.is_empty() {
        return ok(CHECK, said);
    }
    match from_the_future(&events, now_ms) {
        Some((ahead_ms, event)) => {
            let whose = if Some(event.author.as_str()) == me { "this node" } else { &event.author_name };
            let ahead = show_duration(ahead_ms);
            warn(
                CHECK,
                format!("{said}, and {whose} wrote an event {ahead} later than that by its clock"),
                SET,
            )
        }
        None => ok(CHECK, format!("{said}; none of the last {} events is from the future", events.len())),
    }
}

/// The event that is furthest ahead of this host's clock, beyond what is tolerable: its author's clock is ahead by as much, at least.
fn from_the_future(events: &[EventLine], now_ms: u64) -> Option<(u64, &EventLine)> {
    let ahead = events.iter().map(|event| (event.time_ms.saturating_sub(now_ms), event));
    ahead.filter(|(ahead_ms, _)| *ahead_ms > SKEW_MAX_MS).max_by_key(|(ahead_ms, _)| *ahead_ms)
}

/// Addresses of a node that is not there, or of the one that serves.
pub(super) async fn ports(serving: Option<&Serving>, status: Option<&StatusView>) -> Vec<Finding> {
    const CHECK: &str = "ports";
    if let Some(status) = status.filter(|status| status.serving) {
        let mut findings = Vec::new();
        findings.extend(
            status
                .listen
                .as_ref()
                .map(|listen| ok(CHECK, format!("UDP {listen} is held by our node (pid {})", status.pid))),
        );
        if let Some(url) = &status.http {
            let address = url.split_once("://").map_or(url.as_str(), |(_, address)| address).to_owned();
            let reached = tokio::time::timeout(ASK_MAX, tokio::net::TcpStream::connect(&address)).await;
            findings.push(match reached {
                Ok(Ok(_)) => ok(CHECK, format!("programs reach our node at {url}")),
                Ok(Err(error)) => fail(
                    CHECK,
                    format!("{url} does not take connections: {error}"),
                    "stop the node and start it again; what it prints says more",
                ),
                Err(_) => fail(
                    CHECK,
                    format!("{url} does not take connections in time"),
                    "stop the node and start it again",
                ),
            });
        }
        return findings;
    }
    let Some(serving) = serving else { return Vec::new() };
    let mut findings = vec![bindable("UDP", &serving.network.listen, "network.listen", |address| {
        UdpSocket::bind(address).map(drop)
    })];
    if serving.network.http.enabled {
        let address = serving.network.http.address.to_string();
        findings.push(bindable("TCP", &address, "http.port", |address| TcpListener::bind(address).map(drop)));
    }
    findings
}

/// Whether a node could listen there.
fn bindable(
    what: &str,
    address: &str,
    key: &str,
    bind: impl FnOnce(SocketAddr) -> std::io::Result<()>,
) -> Finding {
    const CHECK: &str = "ports";
    let Ok(parsed) = address.parse::<SocketAddr>() else {
        return fail(
            CHECK,
            format!("{what} {address} is no address and port"),
            format!("set {key}, such as 127.0.0.1:0"),
        );
    };
    match bind(parsed) {
        Ok(()) => ok(CHECK, format!("{what} {address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => warn(
            CHECK,
            format!("{what} {address} is taken by another program; a node would take the next free port"),
            format!("`ss -lpn | grep :{}` says by whom; {key} names another", parsed.port()),
        ),
        Err(error) => fail(
            CHECK,
            format!("{what} {address}: {error}"),
            format!("set {key} to an address that this host has"),
        ),
    }
}

/// Members, whether they are there, and how far behind they are.
pub(super) async fn peers(
    client: Option<&Client>,
    serving: bool,
    settings: &Settings,
    now_ms: u64,
) -> Vec<Finding> {
    const CHECK: &str = "peers";
    let Some(client) = client.filter(|_| serving) else {
        let count = settings.addresses.len();
        return vec![ok(
            CHECK,
            format!(
                "{count} addresses are remembered; whether anybody is there is known while a node serves"
            ),
        )];
    };
    let Some(members) = ask::<PeersView>(client, Request::Peers).await else {
        return vec![warn(CHECK, "the node did not say in time", "ask it: `wfengine peer list`")];
    };
    let sync = ask::<SyncView>(client, Request::Sync { wait: false, copies: 0 }).await;
    let others: Vec<_> = members.peers.iter().filter(|peer| !peer.me).collect();
    if others.is_empty() {
        return vec![ok(
            CHECK,
            "this node is the only member; `wfengine peer invite` brings in another host",
        )];
    }
    let mut findings = Vec::new();
    for peer in others {
        let Some(address) = &peer.connected else {
            let seen = settings
                .seen
                .get(&peer.id)
                .map(|at| format!(", last seen {} ago", show_duration(now_ms.saturating_sub(*at))));
            let by_others = if peer.alive == Some(true) { "; other members hear it" } else { "" };
            let says = format!("{} is not connected{}{by_others}", peer.name, seen.unwrap_or_default());
            let known =
                if peer.addresses.is_empty() { "no address".to_owned() } else { peer.addresses.join(", ") };
            let remedy = format!(
                "see whether it serves, and whether UDP gets to it ({known}); `wfengine peer add` names another address, `wfengine peer remove {}` takes it out",
                peer.name
            );
            findings.push(warn(CHECK, says, remedy));
            continue;
        };
        let standing = sync.iter().flat_map(|sync| &sync.peers).find(|link| link.address == *address);
        let (lacks, owes) = standing.map_or((None, None), |link| (link.lacks, link.owes));
        let rtt = peer.rtt_ms.map_or_else(String::new, |rtt| format!(", {rtt:.1} ms away"));
        let lag = match (lacks, owes) {
            (Some(lacks), Some(owes)) => format!(", lacks {lacks} events and owes {owes}"),
            _ => String::new(),
        };
        let says = format!("{} is connected at {address}{rtt}{lag}", peer.name);
        if lacks.unwrap_or(0).max(owes.unwrap_or(0)) > LAG_MAX {
            findings.push(warn(
                CHECK,
                says,
                "`wfengine sync` shows whether that shrinks; a slow or lossy way between the two does this",
            ));
        } else {
            findings.push(ok(CHECK, says));
        }
    }
    findings
}

/// Whether this host starts runners, and with which engine.
fn pools(settings: &Settings) -> Option<&crate::node::autoscaler::RunnerWishes> {
    settings.autoscaler.values().find(|pool| pool.on)
}

/// The container engine.
pub(super) async fn engine(settings: &Settings) -> Finding {
    const CHECK: &str = "engine";
    let pool = pools(settings);
    let unusable = |says: String, remedy: &str| {
        if pool.is_some() {
            fail(CHECK, says, remedy)
        } else {
            warn(CHECK, format!("{says}; only `wfengine runner` needs one"), remedy)
        }
    };
    let named = pool.and_then(|pool| pool.docker_host.clone()).or_else(|| std::env::var("DOCKER_HOST").ok());
    let endpoint = match Endpoint::from_docker_host(named.as_deref()) {
        Ok(endpoint) => endpoint,
        Err(error) => {
            return unusable(error.to_string(), "set DOCKER_HOST, or leave it out for /var/run/docker.sock");
        }
    };
    let shown = endpoint.to_string();
    let asked = Engine::new(endpoint).with_timeout(ASK_MAX);
    let answer = tokio::time::timeout(ASK_MAX, asked.info()).await;
    let info = match answer {
        Ok(Ok(info)) => info,
        Ok(Err(error)) => {
            return unusable(
                error.to_string(),
                "`docker version` as this user; `sudo systemctl start docker`; `sudo usermod -aG docker $USER` and a new login; DOCKER_HOST names another socket",
            );
        }
        Err(_) => {
            return unusable(
                format!("the engine at {shown} does not answer in time"),
                "`sudo systemctl restart docker`",
            );
        }
    };
    let says =
        format!("Docker Engine {} with API {} answers at {shown}", info.server_version, info.api_version);
    if info.is_too_old() {
        return unusable(
            format!("{says}, which is too old"),
            "API 1.40 (Docker Engine 19.03) is the oldest that has every limit",
        );
    }
    let lost: Vec<String> =
        info.unenforced().iter().filter(|limit| !limit.is_tolerable()).map(ToString::to_string).collect();
    if lost.is_empty() {
        ok(CHECK, says)
    } else {
        warn(
            CHECK,
            format!("{says}, and holds no container to its limit of {}", lost.join(", ")),
            "turn the control groups on (cgroup v2 with systemd), or use an engine that runs as root",
        )
    }
}

/// The token for GitHub: present, from where, taken, and what is left of its budget.
pub(super) async fn github(settings: &Settings, offline: bool) -> Finding {
    const CHECK: &str = "github";
    let pool = pools(settings);
    let is_needed = pool.is_some() || settings.discovery.on;
    let wishes: GithubWishes = match pool {
        _ if settings.discovery.on => settings.discovery.github.clone(),
        Some(pool) => pool.github.clone(),
        None => GithubWishes::default(),
    };
    let variables = environment();
    let found = tokio::task::spawn_blocking(move || {
        let env = |name: &str| variables.get(name).map(std::ffi::OsString::from);
        let given = Given {
            api: wishes.api.as_deref(),
            ca_file: wishes.ca_file.as_deref(),
            insecure: wishes.insecure,
        };
        let settings = GithubSettings::find(&env, given).map_err(|error| error.to_string())?;
        let credential = credential::find(&env, settings.host(), wishes.token_file.as_deref());
        Ok::<_, String>((credential.map_err(|error| error.to_string())?, settings))
    });
    const REMEDY: &str =
        "`gh auth login`, or GITHUB_TOKEN, or --token-file FILE with `discover watch` and `runner start`";
    let (credential, github) = match tokio::time::timeout(ASK_MAX, found).await {
        Ok(Ok(Ok(found))) => found,
        Ok(Ok(Err(error))) if is_needed => return fail(CHECK, error, REMEDY),
        Ok(Ok(Err(error))) => {
            return warn(CHECK, format!("{error}; a folder of checkouts needs none"), REMEDY);
        }
        Ok(Err(_)) | Err(_) => return warn(CHECK, "looking for a token took too long", REMEDY),
    };
    let host = github.host().to_owned();
    let present = format!("{credential} for {host}");
    if let Some(warning) = credential.warning() {
        return warn(CHECK, present, warning);
    }
    if offline {
        return ok(CHECK, format!("{present}; not tried (--offline)"));
    }
    let client = Github::new(github, &credential, Arc::new(SystemClock), Arc::new(MemoryCache::default()), 1);
    let client = match client {
        Ok(client) => client.with_patience(ASK_MAX),
        Err(error) => return fail(CHECK, format!("{present}: {error}"), REMEDY),
    };
    match tokio::time::timeout(ASK_MAX, client.rate_limit()).await {
        Ok(Ok(limits)) => {
            let left = limits
                .resources
                .get("core")
                .map(|core| format!("; {} of {} requests are left in this hour", core.remaining, core.limit));
            let is_spent = limits.resources.get("core").is_some_and(|core| core.remaining == 0);
            let says = format!("{present} is taken{}", left.unwrap_or_default());
            if is_spent {
                warn(
                    CHECK,
                    says,
                    "wait for the reset: nothing is asked before; a longer --interval spends less",
                )
            } else {
                ok(CHECK, says)
            }
        }
        // an own server without limits has no such page, and knows the token
        Ok(Err(ApiError::NotFound { .. })) => {
            ok(CHECK, format!("{present} is taken; that server counts no requests"))
        }
        Ok(Err(error @ ApiError::Unauthorised { .. })) => fail(CHECK, format!("{present}: {error}"), REMEDY),
        Ok(Err(error)) => warn(
            CHECK,
            format!("{present}; whether it works is not known: {error}"),
            "see whether this host is online; members share what they know, and runs go on without GitHub",
        ),
        Err(_) => warn(
            CHECK,
            format!("{present}; {host} did not answer within {} s", ASK_MAX.as_secs()),
            "see whether this host is online, and HTTPS_PROXY",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn the_clock_that_is_furthest_ahead_is_named() {
        let event = |time_ms: u64| EventLine {
            id: String::new(),
            author: time_ms.to_string(),
            author_name: String::new(),
            incarnation: String::new(),
            seq: 0,
            height: 0,
            time: String::new(),
            time_ms,
            kind: String::new(),
            kind_number: 0,
            says: String::new(),
            counts: true,
            body: String::new(),
            run: None,
            job: None,
            details: std::collections::BTreeMap::new(),
            prev: None,
            parents: Vec::new(),
            refs: Vec::new(),
            blobs: Vec::new(),
        };
        let events = [event(1), event(100_000), event(200_000)];
        let ahead =
            |now_ms| from_the_future(&events, now_ms).map(|(ahead_ms, event)| (ahead_ms, event.time_ms));
        assert_eq!(ahead(90_000), Some((110_000, 200_000)));
        // a few seconds are nothing
        assert_eq!(ahead(200_000 - SKEW_MAX_MS), None);
        assert_eq!(ahead(300_000), None);
    }

    #[test]
    fn a_port_is_free_taken_or_not_this_hosts() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let bind = |address: &str| {
            bindable("TCP", address, "http.port", |address| TcpListener::bind(address).map(drop))
        };
        assert_eq!(bind(&address).state, State::Warn);
        assert_eq!(bind("127.0.0.1:0").state, State::Ok);
        assert_eq!(bind("192.0.2.1:0").state, State::Fail);
        assert_eq!(bind("nowhere").state, State::Fail);
    }
}
