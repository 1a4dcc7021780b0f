//! Where GitHub is and how to get there: addresses, proxy, authorities, bounds. Everything is checked here, once.
//!
//! Invariants: the REST and GraphQL interfaces are on one host, the only one that ever gets the token; it is reached over TLS,
//! except on this very host or where somebody said `insecure`; the web address, which clones and links use, is derived from
//! the same place or stands beside it in the environment, so that a token for one server never goes to another.
//!
//! No connection is made here.

mod base_url;
mod proxy;

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::pki_types::{CertificateDer, pem::PemObject};

pub use base_url::BaseUrl;
pub use proxy::Proxy;

use crate::{credential::Environment, limiter::Pace};

/// A bundle of authorities larger than this is none.
const CA_BYTES_MAX: u64 = 4 << 20;

/// What the user gave by hand, which goes before the environment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// The base address of the REST interface.
    pub api: Option<&'a str>,
    /// A file with further authorities.
    pub ca_file: Option<&'a Path>,
    /// The token may travel in the clear.
    pub insecure: bool,
}

/// Where and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The base address of the REST interface.
    pub api: BaseUrl,
    /// The base address of pages and clones.
    pub web: BaseUrl,
    /// The address of the GraphQL interface, on the host of `api`.
    pub graphql: BaseUrl,
    /// The way out, if there is one.
    pub proxy: Option<Proxy>,
    /// Authorities trusted besides the system's.
    pub authorities: Vec<CertificateDer<'static>>,
    /// One exchange may take this long, body included.
    pub timeout: Duration,
    /// Bytes of a body that are read.
    pub body_bytes_max: u64,
    /// What requests say of their sender.
    pub user_agent: String,
    /// How fast requests go where GitHub has told nothing.
    pub pace: Pace,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No address.
    #[error("{name}: `{value}` is no address of a server: {problem}")]
    Address {
        /// Which setting.
        name: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The token would travel in the clear.
    #[error(
        "{name}: `{value}`: over http:// everybody on the way reads the token; use https://, or add --insecure"
    )]
    InTheClear {
        /// Which setting.
        name: &'static str,
        /// What it says.
        value: String,
    },
    /// The proxy cannot be used.
    #[error("{name}: {problem}")]
    Proxy {
        /// Which variable.
        name: &'static str,
        /// What is wrong with it. The value may hold a password and is not shown.
        problem: &'static str,
    },
    /// The file with authorities cannot be used.
    #[error("{}: {problem}", .path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Settings {
    /// The settings for one address, everything else as usual. Only what is on this host may be reached without TLS.
    pub fn new(api: &str) -> Result<Self, SettingsError> {
        let api = BaseUrl::parse("--api", api, false)?;
        Ok(Self {
            web: api.web(),
            graphql: api.graphql(),
            api,
            proxy: None,
            authorities: Vec::new(),
            timeout: Duration::from_secs(30),
            body_bytes_max: 16 << 20,
            user_agent: concat!("wfengine/", env!("CARGO_PKG_VERSION")).to_owned(),
            pace: Pace::default(),
        })
    }

    /// What was given by hand, what the environment says, and else github.com: `GITHUB_API_URL`, `GITHUB_SERVER_URL` (only
    /// together with the address from the environment), `WFENGINE_CA_FILE`, and the usual variables of proxies.
    pub fn find(env: Environment<'_>, given: Given<'_>) -> Result<Self, SettingsError> {
        let variable = |name: &str| {
            let value = env(name)?.to_string_lossy().trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let mut settings = Self::new("https://api.github.com")?;
        let (api, server) = match given.api {
            Some(api) => (Some(("--api", api.to_owned())), None),
            None => {
                (variable("GITHUB_API_URL").map(|url| ("GITHUB_API_URL", url)), variable("GITHUB_SERVER_URL"))
            }
        };
        if let Some((name, url)) = api {
            settings.api = BaseUrl::parse(name, &url, given.insecure)?;
            settings.web = settings.api.web();
            settings.graphql = settings.api.graphql();
            if let Some(url) = server {
                settings.web = BaseUrl::parse("GITHUB_SERVER_URL", &url, given.insecure)?;
            }
        }
        let ca_file =
            given.ca_file.map(PathBuf::from).or_else(|| variable("WFENGINE_CA_FILE").map(PathBuf::from));
        if let Some(path) = ca_file {
            settings.authorities = authorities(&path)?;
        }
        settings.proxy = Proxy::find(&variable, &settings.api)?;
        Ok(settings)
    }

    /// The host as tools name it (`github.com`), with its port where it is not the usual one.
    pub fn host(&self) -> &str {
        self.web.authority()
    }
}

/// The certificates in a PEM file. An empty file is a mistake, not an empty list.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let fail = |problem: String| SettingsError::Authorities { path: path.to_owned(), problem };
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    let mut pem = Vec::new();
    file.take(CA_BYTES_MAX + 1).read_to_end(&mut pem).map_err(|error| fail(error.to_string()))?;
    if pem.len() as u64 > CA_BYTES_MAX {
        return Err(fail("is larger than 4 MiB".to_owned()));
    }
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| fail(format!("is no PEM file: {error}")))?;
    if certificates.is_empty() {
        return Err(fail("holds no certificate".to_owned()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ffi::OsString};

    use super::*;

    fn found(variables: &[(&str, &str)], given: Given<'_>) -> Result<Settings, SettingsError> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        Settings::find(&|name| variables.get(name).map(OsString::from), given)
    }

    fn addresses(variables: &[(&str, &str)], api: Option<&str>) -> [String; 3] {
        let settings = found(variables, Given { api, ..Given::default() }).expect("settings");
        [settings.api.to_string(), settings.web.to_string(), settings.graphql.to_string()]
    }

    #[test]
    fn web_and_graphql_follow_from_the_api() {
        let github = ["https://api.github.com", "https://github.com", "https://api.github.com/graphql"];
        assert_eq!(addresses(&[], None), github);
        let own = ["https://git.test/api/v3", "https://git.test", "https://git.test/api/graphql"];
        assert_eq!(addresses(&[], Some("https://git.test/api/v3/")), own);
        let tenant = ["https://api.acme.ghe.com", "https://acme.ghe.com", "https://api.acme.ghe.com/graphql"];
        assert_eq!(addresses(&[], Some("https://api.acme.ghe.com")), tenant);
        let local = ["http://127.0.0.1:8080", "http://127.0.0.1:8080", "http://127.0.0.1:8080/graphql"];
        assert_eq!(addresses(&[("GITHUB_API_URL", "http://127.0.0.1:8080")], None), local);
    }

    #[test]
    fn the_web_address_of_the_environment_belongs_to_its_api_only() {
        let env =
            [("GITHUB_API_URL", "https://git.test/api/v3"), ("GITHUB_SERVER_URL", "https://pages.test")];
        assert_eq!(addresses(&env, None)[1], "https://pages.test");
        assert_eq!(addresses(&env, Some("https://other.test/api/v3"))[1], "https://other.test");
        assert_eq!(addresses(&env[1..], None)[1], "https://github.com");
    }

    #[test]
    fn a_token_does_not_travel_in_the_clear_unasked() {
        let given = |insecure| Given { api: Some("http://git.test/api/v3"), insecure, ca_file: None };
        assert!(matches!(found(&[], given(false)), Err(SettingsError::InTheClear { .. })));
        assert!(found(&[], given(true)).is_ok());
        for local in ["http://localhost:1", "http://127.0.0.2", "http://[::1]:8080"] {
            assert!(Settings::new(local).is_ok(), "{local}");
        }
        for elsewhere in ["http://localhost.test", "http://127.0.0.1.test", "http://10.0.0.1"] {
            assert!(matches!(Settings::new(elsewhere), Err(SettingsError::InTheClear { .. })), "{elsewhere}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in [
            "",
            "github.com",
            "ftp://x",
            "https://",
            "https://u:p@x",
            "https://x/?a",
            "https://x/#a",
            "https://x y",
            "https://x:99999",
        ] {
            assert!(matches!(Settings::new(wrong), Err(SettingsError::Address { .. })), "{wrong}");
        }
        let error = Settings::new("https://user:secret@x").expect_err("no user");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn the_file_of_authorities_has_to_hold_some() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "nothing\n").expect("a file");
        let given = Given { ca_file: Some(&file), ..Given::default() };
        assert!(found(&[], given).expect_err("empty").to_string().contains("holds no certificate"));
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").expect("a file");
        assert!(found(&[], given).expect_err("broken").to_string().contains("no PEM file"));
        let gone = folder.path().join("gone").to_string_lossy().into_owned();
        assert!(found(&[("WFENGINE_CA_FILE", &gone)], Given::default()).is_err());
    }
}
