//! Who is at the other end: ed25519 keys as TLS raw public keys (RFC 7250), both ways.
//!
//! No certificates, no names, no trust store: a node is its key. The verifiers here prove possession of a key and, for a
//! dialled key, that it is the expected one. Whether a key is a member is not decided here.
//!
//! Invariants: a raw key is exactly the 12-byte prefix of ed25519 and 32 bytes; signatures are checked as strictly as
//! those of frames (`verify_strict`, so a key of small order proves nothing); only TLS 1.3, no 0-RTT, no tickets, no
//! resumption, so each connection proves both keys anew.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, PeerMisbehaved, SignatureAlgorithm, SignatureScheme};
use wfengine_storage_format::{PeerId, Signature, Signer};

/// What both ends must speak.
pub(crate) const ALPN: &[u8] = b"wfengine/1";

/// Sent as server name when the key behind an address is not known yet.
const UNKNOWN_PEER: &str = "unknown-peer";

/// DER of "SubjectPublicKeyInfo, algorithm ed25519, 32 bytes of key follow" (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A node's own key, ready for TLS.
#[derive(Clone)]
pub struct Identity {
    peer_id: PeerId,
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// The identity of a signer.
    pub fn new(signer: Signer) -> Self {
        let peer_id = signer.peer_id();
        let spki = CertificateDer::from(spki(&peer_id).to_vec());
        Self { peer_id, certified: Arc::new(CertifiedKey::new(vec![spki], Arc::new(NodeKey(signer)))) }
    }

    /// The identity of a 32-byte secret seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::new(Signer::from_seed(seed))
    }

    /// The public key.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// TLS for one dial. `verifier` keeps what it saw, for the error text.
    pub(crate) fn client_tls(
        &self,
        verifier: Arc<DialledKey>,
    ) -> Result<rustls::ClientConfig, rustls::Error> {
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                self.certified.clone(),
            )));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.resumption = Resumption::disabled();
        tls.enable_early_data = false;
        Ok(tls)
    }

    /// TLS for being dialled: a key is asked of every caller.
    pub(crate) fn server_tls(&self) -> Result<rustls::ServerConfig, rustls::Error> {
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(CallersKey))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.certified.clone())));
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.send_tls13_tickets = 0;
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        assert_eq!(tls.max_early_data_size, 0, "BUG: 0-RTT would let a message be replayed");
        Ok(tls)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.peer_id.short())
    }
}

/// Named explicitly everywhere, so that no other crate's choice of a process default matters.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Why the key shown in a handshake was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// Not one raw ed25519 public key.
    #[error("the other end did not show an ed25519 raw public key")]
    NotEd25519,
    /// Another key than the one dialled.
    #[error("the key there is {answered}, expected {expected}")]
    OtherPeer {
        /// The key that was dialled.
        expected: PeerId,
        /// The key that answered.
        answered: PeerId,
    },
}

/// The server name to dial a peer by: its id is a valid DNS label of 52 characters.
pub(crate) fn server_name(expected: Option<PeerId>) -> String {
    expected.map_or_else(|| UNKNOWN_PEER.to_owned(), |peer| peer.to_string())
}

/// The proved key of an established connection.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Result<PeerId, KeyRefused> {
    let shown = connection.peer_identity().ok_or(KeyRefused::NotEd25519)?;
    let shown = shown.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| KeyRefused::NotEd25519)?;
    match shown.as_slice() {
        [only] => peer_of_spki(only),
        _ => Err(KeyRefused::NotEd25519),
    }
}

fn spki(peer: &PeerId) -> [u8; 44] {
    let mut der = [0; 44];
    der[..12].copy_from_slice(&SPKI_PREFIX);
    der[12..].copy_from_slice(peer.as_bytes());
    der
}

fn peer_of_spki(der: &[u8]) -> Result<PeerId, KeyRefused> {
    der.strip_prefix(&SPKI_PREFIX)
        .and_then(|key| <[u8; 32]>::try_from(key).ok())
        .map(PeerId::from_bytes)
        .ok_or(KeyRefused::NotEd25519)
}

fn shown_key(end_entity: &[u8], intermediates: &[CertificateDer<'_>]) -> Result<PeerId, KeyRefused> {
    if intermediates.is_empty() { peer_of_spki(end_entity) } else { Err(KeyRefused::NotEd25519) }
}

/// Checks that the handshake was signed by the key shown. The raw key is the "certificate" here.
fn check_signature(
    message: &[u8],
    cert: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    if signed.scheme != SignatureScheme::ED25519 {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let bad_signature = || rustls::Error::from(CertificateError::BadSignature);
    let peer = peer_of_spki(cert).map_err(|_| bad_key())?;
    let signature = <&[u8; 64]>::try_from(signed.signature()).map_err(|_| bad_signature())?;
    Signature::from_bytes(signature).verify(&peer, message).map_err(|_| bad_signature())?;
    Ok(HandshakeSignatureValid::assertion())
}

fn bad_key() -> rustls::Error {
    CertificateError::BadEncoding.into()
}

fn no_tls12() -> rustls::Error {
    PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()
}

/// Verifies the key that answers one dial, before this node shows its own.
#[derive(Debug)]
pub(crate) struct DialledKey {
    expected: Option<PeerId>,
    refused: OnceLock<KeyRefused>,
}

impl DialledKey {
    pub(crate) fn new(expected: Option<PeerId>) -> Self {
        Self { expected, refused: OnceLock::new() }
    }

    /// Why the key was refused, if it was: TLS itself only says "bad certificate".
    pub(crate) fn refused(&self) -> Option<KeyRefused> {
        self.refused.get().cloned()
    }

    fn judge(&self, end_entity: &[u8], intermediates: &[CertificateDer<'_>]) -> Result<(), KeyRefused> {
        let answered = shown_key(end_entity, intermediates)?;
        match self.expected {
            Some(expected) if expected != answered => Err(KeyRefused::OtherPeer { expected, answered }),
            Some(_) | None => Ok(()),
        }
    }
}

impl ServerCertVerifier for DialledKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(end_entity, intermediates).map_err(|refused| {
            self.refused.get_or_init(|| refused);
            rustls::Error::from(CertificateError::ApplicationVerificationFailure)
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        check_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Verifies that a caller shows some ed25519 key and holds it.
#[derive(Debug)]
struct CallersKey;

impl ClientCertVerifier for CallersKey {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        shown_key(end_entity, intermediates).map_err(|_| bad_key())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        check_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Lets TLS sign with the key that signs frames; the signed texts cannot be confused, TLS prefixes its own.
#[derive(Clone)]
struct NodeKey(Signer);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.0.peer_id().short())
    }
}

impl rustls::sign::SigningKey for NodeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as _)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(spki(&self.0.peer_id()).to_vec().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl rustls::sign::Signer for NodeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(seed: u8) -> PeerId {
        Identity::from_seed(&[seed; 32]).peer_id()
    }

    #[test]
    fn a_raw_key_is_the_exact_prefix_and_32_bytes() {
        let der = spki(&peer(1));
        assert_eq!(peer_of_spki(&der), Ok(peer(1)));
        assert_eq!(peer_of_spki(&der[..43]), Err(KeyRefused::NotEd25519));
        assert_eq!(peer_of_spki(&[&der[..], &[0]].concat()), Err(KeyRefused::NotEd25519));
        for position in 0..SPKI_PREFIX.len() {
            let mut other = der;
            other[position] ^= 1;
            assert_eq!(peer_of_spki(&other), Err(KeyRefused::NotEd25519), "position {position}");
        }
    }

    #[test]
    fn a_chain_of_keys_is_no_key() {
        let der = spki(&peer(1));
        assert_eq!(shown_key(&der, &[CertificateDer::from(der.to_vec())]), Err(KeyRefused::NotEd25519));
    }

    #[test]
    fn the_dialled_key_must_be_the_one_that_answers() {
        let (expected, answered) = (peer(1), peer(2));
        let dial = DialledKey::new(Some(expected));
        assert_eq!(dial.judge(&spki(&expected), &[]), Ok(()));
        assert_eq!(dial.judge(&spki(&answered), &[]), Err(KeyRefused::OtherPeer { expected, answered }));
        assert_eq!(DialledKey::new(None).judge(&spki(&answered), &[]), Ok(()));
    }

    #[test]
    fn a_peer_id_is_a_server_name() {
        let name = server_name(Some(peer(1)));
        assert_eq!(name.len(), 52);
        assert!(ServerName::try_from(name).is_ok());
        assert!(ServerName::try_from(server_name(None)).is_ok());
    }

    #[test]
    fn nothing_is_resumed_and_nothing_comes_early() {
        let server = Identity::from_seed(&[1; 32]).server_tls().unwrap();
        assert_eq!((server.max_early_data_size, server.send_tls13_tickets), (0, 0));
        assert!(!server.session_storage.can_cache());
        let client = Identity::from_seed(&[1; 32]).client_tls(Arc::new(DialledKey::new(None))).unwrap();
        assert!(!client.enable_early_data);
    }

    #[test]
    fn an_identity_prints_no_secret() {
        let identity = Identity::from_seed(&[7; 32]);
        assert_eq!(format!("{identity:?}"), format!("Identity({})", identity.peer_id().short()));
    }
}
