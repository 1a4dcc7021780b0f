//! What a node that serves is told, in the types that it uses, and which options say which key.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use wfengine_api::Failure;

use super::keys;
use super::value::Value;
use super::{Config, Given};
use crate::args::{HttpArgs, NetworkArgs, ServingArgs};
use crate::node::processors;
use crate::notify::Wanted;
use crate::submission::duration_ms;

/// How a node serves.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) network: Network,
    /// Jobs at once.
    pub(crate) slots: u32,
    /// Running jobs may go on so long after a stop signal.
    pub(crate) grace: Duration,
    /// Says more of what the autoscaler does.
    pub(crate) verbose: bool,
    /// Who hears of what.
    pub(crate) notify: Wanted,
}

/// How it is on the network.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// UDP address to listen on.
    pub(crate) listen: String,
    /// Announced on the local network.
    pub(crate) lan: bool,
    /// The door for programs.
    pub(crate) http: Http,
}

/// Its door for programs.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    /// Whether there is one.
    pub(crate) enabled: bool,
    /// Where it is wished for.
    pub(crate) address: SocketAddr,
    /// Further names to answer under.
    pub(crate) hosts: Vec<String>,
    /// Origins of pages that may ask.
    pub(crate) origins: Vec<String>,
    /// PEM file with the certificate for TLS.
    pub(crate) cert: Option<PathBuf>,
    /// PEM file with its key.
    pub(crate) key: Option<PathBuf>,
}

fn on(
    switch: bool,
    name: &'static str,
    value: bool,
    option: &'static str,
) -> Option<(&'static str, Value, &'static str)> {
    switch.then_some((name, Value::Switch(value), option))
}

/// What the options of `serve` say.
pub(crate) fn given(args: &ServingArgs) -> Result<Given, Failure> {
    let mut given = network(&args.network)?;
    given.extend(args.slots.map(|slots| ("jobs.slots", Value::Number(slots.into()), "--slots")));
    if let Some(grace) = &args.grace {
        duration_ms("--grace", grace)?;
        given.push(("jobs.grace", Value::Text(grace.clone()), "--grace"));
    }
    given.extend(on(args.verbose, "runners.verbose", true, "--verbose"));
    checked(given)
}

fn network(args: &NetworkArgs) -> Result<Given, Failure> {
    let NetworkArgs { listen, no_lan, http } = args;
    let mut given = Given::new();
    given.extend(listen.clone().map(|listen| ("network.listen", Value::Text(listen), "--listen")));
    given.extend(on(*no_lan, "network.lan", false, "--no-lan"));
    let HttpArgs { http, no_http, http_cert, http_key, http_host, http_origin } = http;
    if let Some(text) = http {
        let address: SocketAddr = text.parse().map_err(|_| {
            Failure::bad_input(format!(
                "--http {text}: expected an address and a port, such as 127.0.0.1:8080"
            ))
        })?;
        given.push(("http.host", Value::Text(address.ip().to_string()), "--http"));
        given.push(("http.port", Value::Number(address.port().into()), "--http"));
        given.extend(on(!no_http, "http.enabled", true, "--http"));
    }
    given.extend(on(*no_http, "http.enabled", false, "--no-http"));
    for (file, name, option) in
        [(http_cert, "http.cert", "--http-cert"), (http_key, "http.key", "--http-key")]
    {
        if let Some(file) = file {
            // a path that a command is given is meant from where it is typed
            let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
            given.push((name, Value::Text(file.display().to_string()), option));
        }
    }
    let mut list = |texts: &Vec<String>, name, option| {
        if !texts.is_empty() {
            given.push((name, Value::List(texts.clone()), option));
        }
    };
    list(http_host, "http.allowed_hosts", "--http-host");
    list(http_origin, "http.allowed_origins", "--http-origin");
    Ok(given)
}

/// Holds options to the ranges of their keys; addresses are refused where they are used, which says more.
fn checked(given: Given) -> Result<Given, Failure> {
    for (name, value, option) in &given {
        if matches!(*name, "http.host" | "network.listen") {
            continue;
        }
        let Some(key) = keys::named(name) else { continue };
        if let Err(found) = key.kind.check(value) {
            return Err(Failure::bad_input(format!("{option} {found}: expected {}", key.kind.allowed())));
        }
    }
    Ok(given)
}

impl Config {
    /// How the node is to serve.
    pub(crate) fn serving(&self) -> Result<Serving, Failure> {
        let port = self.number("http.port").and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
        let host = self.text("http.host").parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let slots = self
            .number("jobs.slots")
            .map_or_else(processors, |slots| u32::try_from(slots).unwrap_or(u32::MAX));
        let file = |name| Some(self.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Serving {
            network: Network {
                listen: self.text("network.listen"),
                lan: self.is_on("network.lan"),
                http: Http {
                    enabled: self.is_on("http.enabled"),
                    address: SocketAddr::new(host, port),
                    hosts: self.list("http.allowed_hosts"),
                    origins: self.list("http.allowed_origins"),
                    cert: file("http.cert"),
                    key: file("http.key"),
                },
            },
            slots,
            grace: Duration::from_millis(duration_ms("jobs.grace", &self.text("jobs.grace"))?),
            verbose: self.is_on("runners.verbose"),
            notify: self.notify()?,
        })
    }

    /// Who is to hear of what.
    pub(crate) fn notify(&self) -> Result<Wanted, Failure> {
        let duration = |name| Ok::<_, Failure>(Duration::from_millis(duration_ms(name, &self.text(name))?));
        Ok(Wanted {
            command: self.list("notify.command"),
            webhook: self.text("notify.webhook"),
            secret_file: self.text("notify.secret_file").into(),
            events: self.list("notify.events"),
            timeout: duration("notify.timeout")?,
            attempts: self
                .number("notify.attempts")
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(1),
            left_after: duration("notify.left_after")?,
        })
    }
}
