//! The address of a server, as far as we take one: scheme, host, port and a path before everything.
//!
//! Neither user nor query belongs there. Two addresses are on one host when scheme, host and port are the same.

use std::fmt;

use hyper::Uri;

use super::SettingsError;

/// A checked address without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    is_tls: bool,
    /// Host and port, in lower case; the port is left out where it is the usual one.
    authority: String,
    /// Empty, or with a slash at its beginning and none at its end.
    path: String,
}

impl BaseUrl {
    /// Checks an address. `name` is the setting it stands in.
    pub(super) fn parse(name: &'static str, text: &str, insecure: bool) -> Result<Self, SettingsError> {
        let fail = |problem| {
            let shown = text.split_once('@').map_or(text, |(_, rest)| rest);
            SettingsError::Address { name, value: crate::error::clean(shown, 200), problem }
        };
        if text.contains('#') {
            return Err(fail("a `#` has no meaning there"));
        }
        let uri: Uri = text.parse().map_err(|_| fail("it should look like https://HOST"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(fail("it should begin with https://")),
        };
        let authority = uri.authority().ok_or_else(|| fail("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(fail("a user or password does not belong there"));
        }
        if uri.query().is_some() {
            return Err(fail("a query does not belong there"));
        }
        let base = Self {
            is_tls,
            authority: usual(authority.as_str(), is_tls),
            path: uri.path().trim_end_matches('/').to_owned(),
        };
        let has_port =
            authority.as_str().rsplit_once(']').map_or(authority.as_str(), |(_, port)| port).contains(':');
        if base.host().is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err(fail("it names no host and port"));
        }
        if !is_tls && !insecure && !base.is_this_host() {
            return Err(SettingsError::InTheClear { name, value: base.to_string() });
        }
        Ok(base)
    }

    /// Host, and port where it is not the usual one.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host alone, without brackets.
    pub fn host(&self) -> &str {
        let host = match self.authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => return address,
            None => &self.authority,
        };
        host.rsplit_once(':').map_or(host, |(host, _)| host)
    }

    /// The whole address of a path that begins with a slash.
    pub fn join(&self, path_and_query: &str) -> String {
        format!("{self}{path_and_query}")
    }

    /// The path and query under this address that a link leads to; `None` when it leads to another host.
    /// A link without a host is on ours.
    pub fn path_under(&self, link: &str) -> Option<String> {
        let uri: Uri = link.parse().ok()?;
        if let Some(authority) = uri.authority() {
            let is_tls = uri.scheme_str()? == "https";
            let is_ours = is_tls == self.is_tls
                && uri.scheme_str().is_some_and(|scheme| scheme == "http" || scheme == "https")
                && usual(authority.as_str(), is_tls) == self.authority;
            if !is_ours {
                return None;
            }
        }
        let whole = uri.path_and_query()?.as_str();
        let under = match whole.strip_prefix(self.path.as_str()) {
            Some(under) if !self.path.is_empty() && under.starts_with('/') => under,
            _ => whole,
        };
        // two slashes would name a host
        (under.starts_with('/') && !under.starts_with("//")).then(|| under.to_owned())
    }

    /// Whether the traffic does not leave this host.
    pub fn is_this_host(&self) -> bool {
        let host = self.host();
        let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        host == "localhost" || is_loopback
    }

    /// Where pages and repositories are for a REST interface that is here.
    pub(super) fn web(&self) -> Self {
        let authority = match self.authority.strip_prefix("api.") {
            Some(rest) if rest == "github.com" || rest.ends_with(".ghe.com") => rest,
            _ => &self.authority,
        };
        let path = self.path.strip_suffix("/api/v3").unwrap_or(&self.path);
        Self { is_tls: self.is_tls, authority: authority.to_owned(), path: path.to_owned() }
    }

    /// Where GraphQL is for a REST interface that is here.
    pub(super) fn graphql(&self) -> Self {
        let path = match self.path.strip_suffix("/v3") {
            Some(api) if api.ends_with("/api") => format!("{api}/graphql"),
            _ => format!("{}/graphql", self.path),
        };
        Self { is_tls: self.is_tls, authority: self.authority.clone(), path }
    }

    /// Scheme, host and port, for whoever connects.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.authority)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

/// In lower case, without the port that the scheme implies.
fn usual(authority: &str, is_tls: bool) -> String {
    let port = if is_tls { ":443" } else { ":80" };
    let authority = authority.to_ascii_lowercase();
    authority.strip_suffix(port).map(str::to_owned).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> BaseUrl {
        BaseUrl::parse("--api", text, true).expect("an address")
    }

    #[test]
    fn a_link_is_followed_on_our_host_only_and_by_path() {
        let own = base("https://git.test/api/v3");
        let under = |link: &str| own.path_under(link);
        assert_eq!(
            under("https://git.test/api/v3/repositories/1?page=2").as_deref(),
            Some("/repositories/1?page=2")
        );
        assert_eq!(under("https://GIT.test:443/api/v3/user").as_deref(), Some("/user"));
        assert_eq!(under("/repositories/1").as_deref(), Some("/repositories/1"));
        for foreign in [
            "https://evil.test/api/v3/user",
            "http://git.test/api/v3/user",
            "https://git.test:8443/user",
            "https://git.test@evil.test/user",
            "//evil.test/user",
            "ftp://git.test/x",
            "mailto:x",
        ] {
            assert_eq!(under(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_host_may_be_an_address() {
        assert_eq!(base("http://[::1]:8080/x").host(), "::1");
        assert!(base("http://[::1]:8080").is_this_host());
        assert_eq!(base("https://API.GitHub.com:443/").to_string(), "https://api.github.com");
        assert_eq!(base("https://git.test:8443").host(), "git.test");
    }
}
