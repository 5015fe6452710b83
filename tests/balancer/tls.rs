//! An authority, and what is trusted and shown by whom.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kubezt_pki::{
    AuthorityKind, LeafSpec, Usage, generate, issue_intermediate, new_root, sign_leaf, spki_of,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How long everything is valid.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// File with the authority, in the folder.
pub const AUTHORITY: &str = "root.crt";
/// File with the chain that kubezt shows when it asks servers how they are.
pub const CERTIFICATE: &str = "balancer.crt";
/// Its key.
pub const KEY: &str = "balancer.key";

/// The two ends of a connection.
pub struct Tls {
    /// For the servers.
    pub server: Arc<rustls::ServerConfig>,
    /// For clients.
    pub client: Arc<rustls::ClientConfig>,
}

impl Tls {
    /// Makes it all anew, and writes what kubezt is given into a folder.
    pub fn new(folder: &Path) -> Self {
        let root = new_root("bench", Timestamp::now(), 1).unwrap();
        let authority_key = generate().unwrap();
        let authority = spki_of(&authority_key).unwrap();
        let kind = AuthorityKind::Kubernetes;
        let intermediate = issue_intermediate(&root, kind, &authority, Timestamp::now(), DAY).unwrap();
        let leaf = |usage| {
            let leaf = LeafSpec {
                authority: kind,
                common_name: "bench".to_owned(),
                organizations: Vec::new(),
                dns_names: Vec::new(),
                ip_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
                usage,
            };
            let key = generate().unwrap();
            let public = spki_of(&key).unwrap();
            let chain =
                sign_leaf(&intermediate, &authority_key, &leaf, &public, Timestamp::now(), DAY).unwrap();
            (chain.to_pem(), key)
        };
        let root_pem = root.info().to_pem();
        let (chain, key) = leaf(Usage::Client);
        fs_err::write(folder.join(AUTHORITY), &root_pem).unwrap();
        fs_err::write(folder.join(CERTIFICATE), chain).unwrap();
        fs_err::write(folder.join(KEY), key.expose()).unwrap();

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (chain, key) = leaf(Usage::Server);
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).unwrap())
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap()).unwrap();
        let mut client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Every connection is a new one, with a whole handshake.
        client.resumption = rustls::client::Resumption::disabled();
        server.alpn_protocols = vec![b"h2".to_vec()];
        client.alpn_protocols = vec![b"h2".to_vec()];
        Self { server: Arc::new(server), client: Arc::new(client) }
    }
}
