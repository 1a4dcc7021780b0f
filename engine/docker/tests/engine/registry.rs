//! Pulling from a registry on this host that wants a user and a password.
//!
//! An engine speaks plain HTTP to a registry on the loopback, so a few answers are a registry.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use wfengine_docker::{EngineError, RegistryCredentials, Secret};

use crate::{
    bench::{Bench, engine, small_tar, unique_name},
    socket,
};

/// Characters that plain base64 and that of addresses write differently.
const PASSWORD: &str = "???>>>~~~???>>>~~~";
/// `me:` and the password in base64, as a client sends them.
const BASIC: &str = "Basic bWU6Pz8/Pj4+fn5+Pz8/Pj4+fn5+";

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// One image, under every name and tag.
struct Registry {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
    refused: AtomicU32,
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Registry {
    fn new() -> Self {
        let layer = small_tar();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "User": "77" },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.len(),
                "digest": digest(&config),
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": layer.len(),
                "digest": digest(&layer),
            }],
        });
        Self { manifest: manifest.to_string().into_bytes(), config, layer, refused: AtomicU32::new(0) }
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let registry = Arc::clone(&self);
            tokio::spawn(async move { registry.answer(stream).await });
        }
    }

    /// Answers one request; who hangs up early is no concern of a registry.
    async fn answer(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let (mut request, mut is_known) = (String::new(), false);
        stream.read_line(&mut request).await.ok()?;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            is_known |= name.eq_ignore_ascii_case("authorization") && value == BASIC;
        }
        let (method, path) = request.split_once(' ')?;
        let (status, kind, body) = self.found(path.split(' ').next()?, is_known);
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ndocker-content-digest: {}\r\n\
             docker-distribution-api-version: registry/2.0\r\nwww-authenticate: Basic realm=\"test\"\r\n\
             connection: close\r\n\r\n",
            body.len(),
            digest(body)
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        if method != "HEAD" {
            stream.write_all(body).await.ok()?;
        }
        stream.shutdown().await.ok()
    }

    fn found(&self, path: &str, is_known: bool) -> (&'static str, &'static str, &[u8]) {
        let blobs = [&self.config, &self.layer];
        if !is_known {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let refusal = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            return ("401 Unauthorized", "application/json", refusal);
        }
        if path == "/v2/" {
            return ("200 OK", "application/json", b"{}");
        }
        let is_manifest =
            ["/manifests/latest", "/manifests/2", &format!("/manifests/{}", digest(&self.manifest))];
        if is_manifest.iter().any(|end| path.ends_with(end)) {
            return ("200 OK", MANIFEST, &self.manifest);
        }
        match blobs.into_iter().find(|blob| path.ends_with(&format!("/blobs/{}", digest(blob)))) {
            Some(blob) => ("200 OK", "application/octet-stream", blob),
            None => (
                "404 Not Found",
                "application/json",
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
            ),
        }
    }
}

#[tokio::test]
async fn an_image_is_pulled_with_credentials_and_its_refusals_are_typed() {
    let Some(socket) = socket() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let registry = Arc::new(Registry::new());
    let serving = tokio::spawn(Arc::clone(&registry).serve(listener));
    let name = unique_name();
    let named = format!("{server}/{name}");
    let bench = Bench { engine: engine(&socket), image: format!("{named}:latest"), name };
    let credentials =
        RegistryCredentials { server, username: "me".to_owned(), password: Secret::new(PASSWORD) };

    let anonymous = bench.engine.pull(&named, None).await.unwrap_err();
    assert!(matches!(&anonymous, EngineError::PullFailed { image, .. } if *image == named), "{anonymous:?}");
    assert!(registry.refused.load(Ordering::Relaxed) > 0);

    let image = bench.engine.pull(&named, Some(&credentials)).await.unwrap();
    // one tag, though the registry has more
    assert_eq!(image.tags, std::slice::from_ref(&bench.image));
    assert_eq!(image.user.as_deref(), Some("77"));
    let by_digest = format!("{named}@{}", digest(&registry.manifest));
    assert_eq!(image.digests, std::slice::from_ref(&by_digest));
    assert_eq!(bench.engine.pull(&by_digest, Some(&credentials)).await.unwrap().id, image.id);
    assert_eq!(bench.engine.image(&named).await.unwrap(), image);

    let unknown = bench.engine.pull(&format!("{named}:absent"), Some(&credentials)).await.unwrap_err();
    assert_eq!(unknown.kind(), "pull-failed");
    serving.abort();
}
