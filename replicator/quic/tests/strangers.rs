//! Callers and answerers that are not nodes: no key, a wrong kind of key, somebody else's key, broken streams.
//!
//! Each is a plain quinn endpoint set up by hand, so the transport meets what its own code would never send.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may fail loudly, as tests may"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureAlgorithm, SignatureScheme};
use wfengine_quic::{
    CloseCode, Closed, ConnectError, Endpoint, EstablishError, FramingError, Identity, KeyRefused, Limits,
    RecvError,
};
use wfengine_storage_format::Signer;

const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs")
}

fn node() -> Endpoint {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Endpoint::bind(anywhere, 0, Identity::from_seed(&[1; 32]), Limits::default()).unwrap()
}

/// Signs with one key whatever key it shows.
#[derive(Debug, Clone)]
struct Pen(Arc<Signer>);

impl rustls::sign::SigningKey for Pen {
    fn choose_scheme(&self, _offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        Some(Box::new(self.clone()))
    }
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl rustls::sign::Signer for Pen {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// Believes everybody.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Gullible {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a stranger shows: DER of a raw key, signed for by the key of `seed`.
fn shown(spki: Vec<u8>, seed: u8) -> Arc<CertifiedKey> {
    let pen = Pen(Arc::new(Signer::from_seed(&[seed; 32])));
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], Arc::new(pen)))
}

fn raw_key(seed: u8) -> Vec<u8> {
    [&ED25519_PREFIX[..], Signer::from_seed(&[seed; 32]).peer_id().as_bytes()].concat()
}

/// A P-256 key in DER; the point is not on the curve, and nobody should get as far as asking.
fn p256_key() -> Vec<u8> {
    let prefix = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    [&prefix[..], &[7; 64]].concat()
}

/// Dials the node by hand and says how each end fared.
async fn call(
    node: &Endpoint,
    key: Option<Arc<CertifiedKey>>,
    alpn: &[u8],
) -> (Result<quinn::Connection, quinn::ConnectionError>, Result<wfengine_quic::Connection, EstablishError>) {
    call_and(node, key, alpn, |_| async {}).await
}

async fn call_and<F: Future<Output = ()>>(
    node: &Endpoint,
    key: Option<Arc<CertifiedKey>>,
    alpn: &[u8],
    then: impl FnOnce(quinn::Connection) -> F,
) -> (Result<quinn::Connection, quinn::ConnectionError>, Result<wfengine_quic::Connection, EstablishError>) {
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut tls = match key {
        Some(key) => tls
            .with_client_cert_resolver(Arc::new(rustls::client::AlwaysResolvesClientRawPublicKeys::new(key))),
        None => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let caller = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = node.local_addr().unwrap();
    let dial = async {
        let quic = caller.connect_with(config, address, "node").unwrap().await?;
        then(quic.clone()).await;
        Ok(quic)
    };
    let answer = async { node.accept().await.unwrap().establish().await };
    tokio::join!(dial, answer)
}

#[tokio::test]
async fn an_honest_caller_made_by_hand_is_taken() {
    // the others fail for the reason they are meant to fail for, because this one does not
    bounded(async {
        let node = node();
        let preface = |quic: quinn::Connection| async move {
            quic.open_bi().await.unwrap().0.write_all(b"wfe1").await.unwrap();
        };
        let (dialled, answered) = call_and(&node, Some(shown(raw_key(2), 2)), b"wfengine/1", preface).await;
        dialled.unwrap();
        assert_eq!(answered.unwrap().peer_id(), Signer::from_seed(&[2; 32]).peer_id());
    })
    .await;
}

#[tokio::test]
async fn a_caller_without_a_usable_key_is_refused() {
    bounded(async {
        let node = node();
        let trailing = [raw_key(2), vec![0]].concat();
        let strangers = [
            ("no key", None),
            ("a P-256 key", Some(shown(p256_key(), 2))),
            ("a key with a byte too many", Some(shown(trailing, 2))),
            ("somebody else's key", Some(shown(raw_key(3), 2))),
            ("a key of small order", Some(shown([&ED25519_PREFIX[..], &[0; 32]].concat(), 2))),
        ];
        for (what, key) in strangers {
            let (dialled, answered) = call(&node, key, b"wfengine/1").await;
            let refused = answered.expect_err(what);
            assert!(matches!(refused, EstablishError::Handshake { .. }), "{what}: {refused}");
            // the dialler finishes its half first, so it may learn of the refusal only afterwards
            if let Ok(dialled) = dialled {
                assert!(
                    matches!(dialled.closed().await, quinn::ConnectionError::ConnectionClosed(_)),
                    "{what}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_caller_of_another_protocol_is_refused() {
    bounded(async {
        let (dialled, answered) = call(&node(), Some(shown(raw_key(2), 2)), b"h3").await;
        assert!(matches!(answered.unwrap_err(), EstablishError::Handshake { .. }));
        assert!(dialled.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_control_stream_with_a_wrong_beginning_closes_the_connection() {
    bounded(async {
        let greet = |quic: quinn::Connection| async move {
            quic.open_bi().await.unwrap().0.write_all(b"GET / HTTP/1.1").await.unwrap();
        };
        let (dialled, answered) = call_and(&node(), Some(shown(raw_key(2), 2)), b"wfengine/1", greet).await;
        let EstablishError::Lost { error, .. } = answered.unwrap_err() else { panic!("wrong error") };
        let peer = Signer::from_seed(&[2; 32]).peer_id();
        assert_eq!(error, RecvError::Framing { peer, error: FramingError::Preface { found: *b"GET " } });
        let closed = dialled.unwrap().closed().await;
        let quinn::ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
        assert_eq!(close.error_code.into_inner(), u64::from(CloseCode::VIOLATION.0));
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_message_is_said_to_be_truncated() {
    bounded(async {
        let node = node();
        let stop_early = |quic: quinn::Connection| async move {
            let (mut control, _) = quic.open_bi().await.unwrap();
            control.write_all(b"wfe1").await.unwrap();
            control.write_all(&[10, 0, 0, 0, 1, 2, 3]).await.unwrap();
            control.finish().unwrap();
        };
        let (dialled, answered) =
            call_and(&node, Some(shown(raw_key(2), 2)), b"wfengine/1", stop_early).await;
        let (dialled, answered) = (dialled.unwrap(), answered.unwrap());
        let error = FramingError::Truncated { got: 3, expected: 10 };
        assert_eq!(answered.recv().await, Err(RecvError::Framing { peer: answered.peer_id(), error }));
        assert_eq!(answered.closed().await, Closed::Here);
        assert!(matches!(dialled.closed().await, quinn::ConnectionError::ApplicationClosed(_)));
    })
    .await;
}

#[tokio::test]
async fn a_stranger_gets_one_stream_and_a_small_window() {
    bounded(async {
        let node = node();
        let preface = |quic: quinn::Connection| async move {
            let (mut control, _) = quic.open_bi().await.unwrap();
            control.write_all(b"wfe1").await.unwrap();
            // keeps writing until the window is full; nobody reads
            let mut written = 4;
            loop {
                tokio::select! {
                    biased;
                    count = control.write(&[0; 1024]) => written += count.unwrap(),
                    () = quiet(&quic) => break,
                }
            }
            assert_eq!(written, 64 << 10);
            // both wait for a permission that does not come
            assert!(futures_pending(quic.open_uni()).await);
            assert!(futures_pending(quic.open_bi()).await);
        };
        let (dialled, answered) = call_and(&node, Some(shown(raw_key(2), 2)), b"wfengine/1", preface).await;
        let (dialled, answered) = (dialled.unwrap(), answered.unwrap());
        answered.authenticated();
        dialled.open_uni().await.unwrap();
    })
    .await;
}

/// Waits until the peer has acknowledged everything that could be sent.
async fn quiet(quic: &quinn::Connection) {
    let mut blocked = quic.stats().frame_tx.data_blocked;
    while blocked == 0 {
        tokio::task::yield_now().await;
        blocked = quic.stats().frame_tx.data_blocked;
    }
}

/// Whether a future is still waiting after the runtime has had many turns.
async fn futures_pending<T>(future: impl Future<Output = T>) -> bool {
    let turns = async {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _ = future => false,
        () = turns => true,
    }
}

/// A server that shows a key and answers as told.
fn impostor(spki: Vec<u8>, seed: u8, alpn: &[u8]) -> quinn::Endpoint {
    let resolver = rustls::server::AlwaysResolvesServerRawPublicKeys::new(shown(spki, seed));
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(Gullible))
        .with_cert_resolver(Arc::new(resolver));
    tls.alpn_protocols = vec![alpn.to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

async fn dial(node: &Endpoint, server: &quinn::Endpoint) -> Result<wfengine_quic::Connection, ConnectError> {
    let expected = Some(Signer::from_seed(&[2; 32]).peer_id());
    let answer = async { server.accept().await.unwrap().await };
    let (dialled, _) = tokio::join!(node.connect(server.local_addr().unwrap(), expected), answer);
    dialled
}

#[tokio::test]
async fn an_honest_server_made_by_hand_is_taken() {
    bounded(async { dial(&node(), &impostor(raw_key(2), 2, b"wfengine/1")).await.map(drop).unwrap() }).await;
}

#[tokio::test]
async fn an_impostor_that_shows_the_dialled_key_but_does_not_hold_it_is_refused() {
    bounded(async {
        let error = dial(&node(), &impostor(raw_key(2), 3, b"wfengine/1")).await.unwrap_err();
        let ConnectError::Handshake { reason, .. } = error else { panic!("{error}") };
        assert!(reason.contains("BadSignature"), "{reason}");
    })
    .await;
}

#[tokio::test]
async fn a_server_with_another_kind_of_key_is_refused_by_name() {
    bounded(async {
        let error = dial(&node(), &impostor(p256_key(), 2, b"wfengine/1")).await.unwrap_err();
        let ConnectError::Key { refused, .. } = error else { panic!("{error}") };
        assert_eq!(refused, KeyRefused::NotEd25519);
    })
    .await;
}

#[tokio::test]
async fn a_quic_server_of_another_protocol_is_not_a_node() {
    bounded(async {
        let error = dial(&node(), &impostor(raw_key(2), 2, b"h3")).await.unwrap_err();
        assert!(matches!(error, ConnectError::NotANode { .. }), "{error}");
    })
    .await;
}
