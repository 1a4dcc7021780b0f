//! Whether GitHub takes the credential of this shell. It is asked here and not of a node, which may have another one.

use std::sync::Arc;

use serde_json::{Value, json};
use wfengine_api::{Exit, Failure};
use wfengine_github::{ApiError, Client, MemoryCache, Settings, SystemClock, credential, settings::Given};

use crate::node::autoscaler::Condition;
use crate::node::discovery::environment;

/// Bytes of the one answer that is kept.
const ANSWERS_BYTES_MAX: usize = 1024 * 1024;

/// Who GitHub says that we are, and where the credential was found.
pub(super) async fn seen() -> Result<Value, Failure> {
    let variables = environment();
    let unauthenticated = |detail: String| Failure::from(Condition::NotAuthenticated { detail });
    // the gh program is a process that may take its time
    let found = tokio::task::spawn_blocking(move || {
        let env = |name: &str| variables.get(name).map(std::ffi::OsString::from);
        let given = Given { api: None, ca_file: None, insecure: false };
        let settings = Settings::find(&env, given).map_err(|error| Failure::bad_input(error.to_string()))?;
        let found = credential::find(&env, settings.host(), None);
        Ok::<_, Failure>((settings, found))
    });
    let (settings, found) = found
        .await
        .map_err(|error| Failure::new(Exit::Failure, format!("BUG: looking for a token: {error}")))??;
    let credential = found.map_err(|error| unauthenticated(error.to_string()))?;
    let (host, origin) = (settings.host().to_owned(), credential.to_string());
    let cache = Arc::new(MemoryCache::new(ANSWERS_BYTES_MAX));
    let client = Client::new(settings, &credential, Arc::new(SystemClock), cache, 0)
        .map_err(|error| Failure::bad_input(error.to_string()))?;
    let user = match client.user().await {
        Ok(user) => Value::String(user.value.login),
        Err(error @ ApiError::Unauthorised { .. }) => return Err(unauthenticated(error.to_string())),
        // an app and a workflow's run have no user
        Err(ApiError::MissingPermission { .. }) => Value::Null,
        Err(error) => return Err(Failure::unreachable(error.to_string())),
    };
    Ok(json!({ "authenticated": true, "host": host, "user": user, "credential": origin }))
}
