//! `metrics`: files for Prometheus. The figures themselves are at `/metrics` of a serving node.

use wfengine_api::answers::StatusView;
use wfengine_api::http::ALERTS;
use wfengine_api::{Exit, Failure, Request};

use super::Globals;
use crate::args::MetricsVerb;
use crate::documents::FileDocument;
use crate::terminal;

pub(super) async fn metrics(globals: &Globals, verb: MetricsVerb) -> Result<Exit, Failure> {
    match verb {
        MetricsVerb::Alerts => {
            if globals.json {
                terminal::json(&FileDocument { file: "wfengine-alerts.yml", content: ALERTS });
            } else {
                terminal::raw(ALERTS);
            }
        }
        MetricsVerb::Scrape => {
            globals.only_here("metrics scrape")?;
            let status: StatusView = super::call(globals, Request::Status).await?;
            let content = scrape(&status)?;
            if globals.json {
                terminal::json(&FileDocument { file: "wfengine-scrape.yml", content: &content });
            } else {
                terminal::raw(&content);
            }
        }
    }
    Ok(Exit::Success)
}

/// A text as a scalar of YAML: what JSON makes of it is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The configuration that reads a node of this name, at this address, with the token in this file.
fn configuration(name: &str, url: &str, token_file: &str) -> String {
    let (scheme, address) = url.split_once("://").unwrap_or(("http", url));
    let [name, address, token_file] = [name, address, token_file].map(quoted);
    format!(
        "scrape_configs:\n  - job_name: wfengine\n    scheme: {scheme}\n    authorization:\n      credentials_file: {token_file}\n    static_configs:\n      - targets: [{address}]\n        labels:\n          instance: {name}\n",
    )
}

fn scrape(status: &StatusView) -> Result<String, Failure> {
    let url = status.http.as_deref().ok_or_else(|| {
        Failure::unreachable(
            "no node answers HTTP on this host, so there is nothing to read: start `wfengine serve` first, without --no-http",
        )
    })?;
    let token_file = std::path::Path::new(&status.data_dir).join("http-token");
    Ok(configuration(&status.peer, url, &token_file.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_kind_stay_one_scalar() {
        let text = configuration("x\" #", "https://127.0.0.1:8080", "/srv/a: b/http-token");
        assert!(text.contains("    scheme: https\n"), "{text}");
        assert!(text.contains("credentials_file: \"/srv/a: b/http-token\"\n"), "{text}");
        assert!(text.contains("targets: [\"127.0.0.1:8080\"]\n"), "{text}");
        assert!(text.contains("instance: \"x\\\" #\"\n"), "{text}");
    }
}
