//! Where jobs may connect to: a network, with a port or all of them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wfengine_api::Failure;

use super::wrong;

/// A network that may be reached. As text: `10.0.0.0/8`, `10.0.0.5/32:443`, `[2001:db8::/32]:443`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Egress {
    pub(crate) address: IpAddr,
    /// Bits of the address that count.
    pub(crate) prefix: u8,
    /// All if there is none.
    pub(crate) port: Option<u16>,
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let Some(prefix) = prefix else { return Some((address, bits)) };
    let plain = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix.parse::<u8>().ok().filter(|prefix| plain && *prefix <= bits)?;
    Some((masked(address, prefix), prefix))
}

/// The bits that count, and zeros.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

fn read(text: &str) -> Option<Egress> {
    let (inner, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']')? {
            (inner, "") => (inner, None),
            (inner, port) => (inner, Some(port.strip_prefix(':')?)),
        },
        // without brackets, several colons are an address alone
        None if text.matches(':').count() == 1 => {
            text.split_once(':').map(|(inner, port)| (inner, Some(port)))?
        }
        None => (text, None),
    };
    let plain = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port = match port {
        Some(port) => Some(port.parse::<u16>().ok().filter(|number| *number > 0 && plain(port))?),
        None => None,
    };
    network(inner).map(|(address, prefix)| Egress { address, prefix, port })
}

impl FromStr for Egress {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        read(text).ok_or_else(|| {
            wrong(
                "--egress",
                text,
                "a network and perhaps a port, such as 140.82.112.0/20:443 or [2001:db8::/32]:443",
            )
        })
    }
}

impl TryFrom<String> for Egress {
    type Error = Failure;

    fn try_from(text: String) -> Result<Self, Failure> {
        text.parse()
    }
}

impl From<Egress> for String {
    fn from(egress: Egress) -> Self {
        egress.to_string()
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, prefix, port } = self;
        match port {
            None => write!(f, "{address}/{prefix}"),
            Some(port) if address.is_ipv4() => write!(f, "{address}/{prefix}:{port}"),
            Some(port) => write!(f, "[{address}/{prefix}]:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_with_or_without_a_port() {
        for (text, wanted) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("0.0.0.0/0:443", "0.0.0.0/0:443"),
            ("10.0.0.5:8080", "10.0.0.5/32:8080"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8:1::/32", "2001:db8::/32"),
            ("[2001:db8::/32]:443", "[2001:db8::/32]:443"),
            ("[::/0]", "::/0"),
        ] {
            let read: Egress = text.parse().unwrap();
            assert_eq!(read.to_string(), wanted);
            let json = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<Egress>(&json).unwrap(), read);
        }
        for text in [
            "",
            "github.com",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.1:0",
            "10.0.0.1:+80",
            "10.0.0.1:99999",
            "[::1",
            "[::1]443",
        ] {
            let said = text.parse::<Egress>().unwrap_err().message;
            assert!(said.starts_with(&format!("--egress {text}: expected a network")), "{said}");
        }
    }
}
