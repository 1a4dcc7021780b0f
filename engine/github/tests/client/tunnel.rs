//! TLS under an authority of one's own, through a proxy that makes a tunnel: the way out of many companies.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{Read, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wfengine_github::{ApiError, Client, Clock, Credential, MemoryCache, Settings, settings::Given};

use crate::fake::TestClock;

/// A server that speaks TLS as `git.test` and answers every request with one repository. Its heads are sent back.
fn server(heads: Arc<Mutex<Vec<String>>>) -> u16 {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("keys/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("keys/server.key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, socket);
            let mut head = Vec::new();
            let mut byte = [0; 1];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            if head.is_empty() {
                continue;
            }
            heads.lock().unwrap().push(String::from_utf8(head).unwrap());
            let body = r#"{"id": 1, "full_name": "o/r"}"#;
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    port
}

/// A proxy that leads every tunnel to one port of this host.
async fn proxy(to: u16, heads: Arc<Mutex<Vec<String>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let heads = Arc::clone(&heads);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                heads.lock().unwrap().push(String::from_utf8(head).unwrap());
                let mut there = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut socket, &mut there).await;
            });
        }
    });
    port
}

fn client(variables: &[(&str, String)]) -> Client {
    let variables: BTreeMap<&str, &String> = variables.iter().map(|(name, value)| (*name, value)).collect();
    let env = |name: &str| variables.get(name).map(OsString::from);
    let given = Given { api: Some("https://git.test/api/v3"), ..Given::default() };
    let settings = Settings::find(&env, given).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(TestClock::default());
    Client::new(settings, &Credential::token("ghp_test"), clock, Arc::new(MemoryCache::default()), 1).unwrap()
}

#[tokio::test]
async fn a_server_of_ones_own_is_reached_through_the_tunnel_and_trusted_by_its_authority() {
    let (served, tunnelled) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let to = server(Arc::clone(&served));
    let port = proxy(to, Arc::clone(&tunnelled)).await;
    let authority: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests", "client", "keys", "authority.pem"].iter().collect();
    let through = ("HTTPS_PROXY", format!("http://u:secret@127.0.0.1:{port}"));
    let trusting = client(&[through.clone(), ("WFENGINE_CA_FILE", authority.display().to_string())]);
    assert_eq!(trusting.repository("o/r").await.expect("found").value.id, 1);
    let connect = tunnelled.lock().unwrap()[0].clone();
    assert!(connect.starts_with("CONNECT git.test:443 HTTP/1.1\r\n"), "{connect}");
    assert!(connect.contains("Proxy-Authorization: Basic dTpzZWNyZXQ="), "{connect}");
    assert!(!connect.contains("ghp_test"), "the proxy must not see the token");
    let head = served.lock().unwrap()[0].clone();
    assert!(
        head.starts_with("GET /api/v3/repos/o/r HTTP/1.1\r\n") && head.contains("Bearer ghp_test"),
        "{head}"
    );

    let error = client(&[through]).repository("o/r").await.expect_err("nobody vouches for it");
    assert!(matches!(&error, ApiError::Transport { unsent: true, .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(served.lock().unwrap().len(), 1, "no request, no token");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_as_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = [0; 512];
            let _ = socket.read(&mut head).await;
            let _ = socket.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        }
    });
    let error = client(&[("HTTPS_PROXY", format!("http://127.0.0.1:{port}"))])
        .repository("o/r")
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("proxy authorization required"), "{error}");
}
