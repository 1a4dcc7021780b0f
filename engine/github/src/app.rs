//! Tokens of a GitHub App: signed for with its key, kept until shortly before they end, and no wider than what they are for.
//!
//! The signature (RS256) is made by ring through rustls, whose arithmetic does not leak the key through timing. Its time is
//! GitHub's own as far as answers told it, so a wrong clock on this host costs one refused request.
//!
//! Not here: where the key was found (`credential`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use hyper::{Method, header::HeaderValue};
use rustls::{
    SignatureScheme,
    crypto::ring::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject},
    sign::SigningKey,
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    client::{self, Authority, Call, Client, Repeat, Signed},
    credential::AppKey,
    dates,
    error::ApiError,
    rest::RepositoryName,
    secret::Secret,
};

/// A token is not used in the last minutes of its hour.
const BEFORE_END: Duration = Duration::from_secs(5 * 60);
/// GitHub takes signatures of at most ten minutes; a minute of the past is for clocks that differ.
const SIGNED_BEFORE_S: u64 = 60;
const SIGNED_FOR_S: u64 = 9 * 60;
/// Tokens held at once; the one that ends first goes.
const TOKENS_MAX: usize = 200;

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TokenFor {
    /// All that the installation may do.
    Everything,
    /// Reading one repository, by its name without the owner.
    Contents(String),
}

/// A token that is good for a while.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) header: HeaderValue,
    pub(crate) token: Secret,
    until: Duration,
}

/// The tokens of one app's installation.
pub(crate) struct AppTokens {
    app_id: u64,
    key: Arc<dyn SigningKey>,
    installation: Mutex<Option<u64>>,
    held: Mutex<BTreeMap<TokenFor, Held>>,
}

impl AppTokens {
    pub(crate) fn new(app: &AppKey) -> Result<Self, String> {
        let key =
            PrivateKeyDer::from_pem_slice(app.key.expose().as_bytes()).map_err(|error| error.to_string())?;
        let key = any_supported_type(&key).map_err(|error| error.to_string())?;
        if key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).is_none() {
            return Err("it is no RSA key".to_owned());
        }
        Ok(Self {
            app_id: app.app_id,
            key,
            installation: Mutex::new(app.installation),
            held: Mutex::default(),
        })
    }

    /// The header by which the app itself signs a request at this wall time.
    pub(crate) fn signature(&self, server_s: u64) -> Result<HeaderValue, ApiError> {
        let fail = || ApiError::App { problem: "the app's key does not sign; give another one".to_owned() };
        let claims = json!({
            "iat": server_s.saturating_sub(SIGNED_BEFORE_S),
            "exp": server_s + SIGNED_FOR_S,
            "iss": self.app_id.to_string(),
        });
        let head = BASE64URL_NOPAD.encode(br#"{"alg":"RS256","typ":"JWT"}"#);
        let signed = format!("{head}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or_else(fail)?;
        let signature = signer.sign(signed.as_bytes()).map_err(|_| fail())?;
        Secret::new(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))).bearer().map_err(|_| fail())
    }

    /// A token that is good for some minutes at least.
    pub(crate) async fn token(&self, client: &Client, wanted: &TokenFor) -> Result<Held, ApiError> {
        // held while a token is made: whoever comes meanwhile gets the same one
        let mut held = self.held.lock().await;
        let now = client.now();
        if let Some(token) = held.get(wanted).filter(|token| now < token.until) {
            return Ok(token.clone());
        }
        let token = self.mint(client, wanted).await?;
        held.retain(|_, token| now < token.until);
        while held.len() >= TOKENS_MAX {
            let Some(first) =
                held.iter().min_by_key(|(_, token)| token.until).map(|(wanted, _)| wanted.clone())
            else {
                break;
            };
            held.remove(&first);
        }
        held.insert(wanted.clone(), token.clone());
        Ok(token)
    }

    /// Forgets a token that GitHub did not take.
    pub(crate) async fn forget(&self, wanted: &TokenFor) {
        self.held.lock().await.remove(wanted);
    }

    async fn mint(&self, client: &Client, wanted: &TokenFor) -> Result<Held, ApiError> {
        #[derive(Deserialize)]
        struct Minted {
            token: String,
            expires_at: Option<String>,
        }
        let body = match wanted {
            TokenFor::Everything => json!({}),
            TokenFor::Contents(name) => {
                json!({ "repositories": [name], "permissions": { "contents": "read" } })
            }
        };
        let installation = self.installation(client).await?;
        let path = format!("/app/installations/{installation}/access_tokens");
        // a token made twice harms nobody
        let call = Call {
            signed: Signed::App,
            repeat: Repeat::Always,
            ..Call::change(Method::POST, path, Some(&body))
        };
        let minted = client.run(&call, &client::json::<Minted>).await?.fetched.value;
        let expires_s = minted.expires_at.as_deref().and_then(dates::rfc3339_s);
        let left = expires_s.map_or(3600, |expires_s| expires_s.saturating_sub(client.server_s()));
        let token = Secret::new(minted.token);
        let header = token
            .bearer()
            .map_err(|_| ApiError::App { problem: "GitHub sent a token that is none".to_owned() })?;
        let until = client.now() + Duration::from_secs(left.min(24 * 3600)).saturating_sub(BEFORE_END);
        Ok(Held { header, token, until })
    }

    /// The installation to act for: the one configured, or the only one.
    async fn installation(&self, client: &Client) -> Result<u64, ApiError> {
        #[derive(Deserialize)]
        struct Account {
            #[serde(default)]
            login: String,
        }
        #[derive(Deserialize)]
        struct Installation {
            id: u64,
            account: Option<Account>,
        }
        let mut known = self.installation.lock().await;
        if let Some(id) = *known {
            return Ok(id);
        }
        let call = Call { signed: Signed::App, ..Call::get("/app/installations?per_page=100") };
        let found = client.run(&call, &client::json::<Vec<Installation>>).await?.fetched.value;
        if let [only] = found.as_slice() {
            *known = Some(only.id);
            return Ok(only.id);
        }
        let name = |one: &Installation| {
            let login = one.account.as_ref().map(|account| account.login.as_str()).unwrap_or_default();
            format!("{} ({})", one.id, crate::error::clean(login, 40))
        };
        let names: Vec<String> = found.iter().take(10).map(name).collect();
        let problem = if names.is_empty() {
            format!("app {} is installed nowhere; install it for an account first", self.app_id)
        } else {
            format!(
                "app {} is installed more than once: {}; set WFENGINE_GITHUB_APP_INSTALLATION",
                self.app_id,
                names.join(", ")
            )
        };
        Err(ApiError::App { problem })
    }
}

impl Client {
    /// The header with which git clones a repository, as [`Client::clone_token`] says; what GitHub takes for git is a token as the
    /// password of any user.
    pub async fn clone_authorization(&self, full_name: &str) -> Result<Option<Secret>, ApiError> {
        let header = |token: Secret| {
            let pair = format!("x-access-token:{}", token.expose());
            Secret::new(format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes())))
        };
        Ok(self.clone_token(full_name).await?.map(header))
    }

    /// What git needs to clone a repository: the token itself, for an app one that may only read this repository, and nothing
    /// for nobody. Its user name is `x-access-token`.
    pub async fn clone_token(&self, full_name: &str) -> Result<Option<Secret>, ApiError> {
        let name = RepositoryName::parse(full_name)?;
        match self.authority() {
            Authority::Nobody => Ok(None),
            Authority::Token { token, .. } => Ok(Some(token.clone())),
            Authority::App(app) => {
                let held = app.token(self, &TokenFor::Contents(name.name().to_owned())).await?;
                Ok(Some(held.token))
            }
        }
    }
}
