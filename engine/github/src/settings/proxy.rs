//! The way out through a proxy, as the usual variables of the environment name it.
//!
//! Only proxies spoken to over `http://`, which are asked for a tunnel (CONNECT), whatever lies at its other end. What is on this
//! host is reached directly. Rules of `NO_PROXY` are those of curl, by hyper-util.

use std::fmt;

use hyper::{Uri, header::HeaderValue};
use hyper_util::client::proxy::matcher::Matcher;

use super::{BaseUrl, SettingsError};

/// A proxy that leads to one server.
#[derive(Clone)]
pub struct Proxy {
    pub(crate) uri: Uri,
    pub(crate) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl Proxy {
    /// The proxy for a server: `HTTPS_PROXY` or `HTTP_PROXY` by its scheme, else `ALL_PROXY`, unless `NO_PROXY` names it. Lower
    /// case goes before upper case, and `HTTP_PROXY` is not read where a web server may have set it.
    pub(super) fn find(
        variable: &dyn Fn(&str) -> Option<String>,
        server: &BaseUrl,
    ) -> Result<Option<Self>, SettingsError> {
        if server.is_this_host() {
            return Ok(None);
        }
        let origin = server.origin();
        let is_in_cgi = variable("REQUEST_METHOD").is_some();
        let names: &[&'static str] = match (origin.starts_with("https:"), is_in_cgi) {
            (true, _) => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
            (false, true) => &["http_proxy", "all_proxy", "ALL_PROXY"],
            (false, false) => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
        };
        let Some((name, value)) = names.iter().find_map(|name| variable(name).map(|value| (*name, value)))
        else {
            return Ok(None);
        };
        let no = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        if value.split_once("://").is_some_and(|(scheme, _)| !scheme.eq_ignore_ascii_case("http")) {
            let problem = "only a proxy that is spoken to over http:// can be used (it makes a tunnel, TLS stays end to end)";
            return Err(SettingsError::Proxy { name, problem });
        }
        let target: Uri = origin
            .parse()
            .map_err(|_| SettingsError::Proxy { name, problem: "the server's address is none" })?;
        let is_left_out =
            Matcher::builder().all("http://localhost:1").no(no).build().intercept(&target).is_none();
        if is_left_out {
            return Ok(None);
        }
        let intercept =
            Matcher::builder().all(value).build().intercept(&target).ok_or(SettingsError::Proxy {
                name,
                problem: "is no address of a proxy; write http://HOST:PORT",
            })?;
        Ok(Some(Self { uri: intercept.uri().clone(), authorization: intercept.basic_auth().cloned() }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn found(variables: &[(&str, &str)], server: &str) -> Result<Option<String>, SettingsError> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let server = BaseUrl::parse("--api", server, true)?;
        let proxy = Proxy::find(&|name| variables.get(name).map(|value| (*value).to_owned()), &server)?;
        Ok(proxy.map(|proxy| proxy.uri.authority().map(ToString::to_string).unwrap_or_default()))
    }

    #[test]
    fn the_usual_variables_count() {
        let all = [
            ("HTTPS_PROXY", "http://a.test:3128"),
            ("http_proxy", "b.test:8080"),
            ("NO_PROXY", ".in.test,10.0.0.0/8"),
        ];
        let at = |server: &str| found(&all, server).expect("a proxy or none");
        assert_eq!(at("https://api.github.com").as_deref(), Some("a.test:3128"));
        assert_eq!(at("http://git.test").as_deref(), Some("b.test:8080"));
        assert_eq!(at("https://git.in.test"), None);
        assert_eq!(at("https://10.1.2.3/api/v3"), None);
        assert_eq!(at("http://127.0.0.1:80"), None, "this host needs no way out");
        assert_eq!(found(&[], "https://git.test").expect("none"), None);
        let both = [("HTTPS_PROXY", "http://upper.test:1"), ("https_proxy", "http://lower.test:1")];
        assert_eq!(found(&both, "https://git.test").expect("a proxy").as_deref(), Some("lower.test:1"));
    }

    #[test]
    fn what_cannot_be_used_is_said_without_its_password() {
        for wrong in ["socks5://u:secret@x:1", "https://u:secret@x:1", "http://"] {
            let error = found(&[("ALL_PROXY", wrong)], "https://git.test").expect_err(wrong);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_sent_and_not_printed() {
        let variable = |name: &str| (name == "HTTPS_PROXY").then(|| "http://u:secret@x.test:1".to_owned());
        let server = BaseUrl::parse("--api", "https://git.test", false).expect("an address");
        let proxy = Proxy::find(&variable, &server).expect("usable").expect("a proxy");
        assert!(proxy.authorization.is_some());
        assert!(!format!("{proxy:?}").contains("secret"), "{proxy:?}");
    }
}
