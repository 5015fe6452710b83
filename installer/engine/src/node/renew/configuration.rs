//! What a node is told about its certificates.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use kubezt_model::desired::{AuthorityKind, DesiredCertificate, NodeLeaves};
use kubezt_model::{Lifetime, NodeName, SecretText};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::api::{ApiClient, ApiError, BoxFuture, Credential, Dialler, Stream};
use crate::node::{NodeError, NodeRoot, files};

/// Where an install puts it.
pub const CONFIGURATION: &str = "/etc/kubezt/renewal.json";

/// What a node is told about its certificates, as JSON. It holds paths and names only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Configuration {
    /// This node.
    pub node: NodeName,
    /// How long a leaf lives.
    pub lifetime: Lifetime,
    /// How the API is asked.
    pub api: Api,
    /// PEM files with the intermediates that may have signed a leaf, one of every control-plane node.
    pub issuers: BTreeMap<AuthorityKind, String>,
    /// Folder of the intermediates and their keys; only where this node has them, and signs.
    #[serde(default)]
    pub authorities: Option<String>,
    /// Nodes whose requests are answered here.
    #[serde(default)]
    pub requesters: Vec<NodeLeaves>,
    /// Leaves of this node.
    pub leaves: Vec<DesiredCertificate>,
}

/// How the API is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Api {
    /// The balancer on loopback.
    pub server: SocketAddr,
    /// Name in the servers' certificates.
    pub name: String,
    /// PEM file with the servers' authority.
    pub authority: String,
    /// PEM file with this node's client certificate and its intermediate.
    pub certificate: String,
    /// PEM file with its key.
    pub key: String,
}

impl Configuration {
    /// Reads it.
    ///
    /// # Errors
    /// [`NodeError::File`], [`NodeError::Configuration`].
    pub fn load(root: &NodeRoot) -> Result<Self, NodeError> {
        let path = root.known(CONFIGURATION);
        let refuse = |why: String| NodeError::Configuration { path: path.clone(), why };
        match files::text(&path)? {
            Some(text) => serde_json::from_str(&text).map_err(|error| refuse(error.to_string())),
            None => Err(refuse("there is none; `kubezt install` writes it when it has ended".to_owned())),
        }
    }

    /// A client of the API with this node's identity. The pair is read now, because it is renewed.
    ///
    /// # Errors
    /// A file is missing or cannot be used.
    pub fn client(&self, root: &NodeRoot) -> Result<ApiClient, String> {
        let text = |path: &str| {
            root.path(path).and_then(|path| files::required(&path)).map_err(|error| error.chain())
        };
        let credential = Credential {
            chain_pem: text(&self.api.certificate)?,
            key_pem: SecretText::new(text(&self.api.key)?),
        };
        let server = self.api.server;
        let dial: Dialler = Arc::new(move || -> BoxFuture<io::Result<Box<dyn Stream>>> {
            Box::pin(async move {
                TcpStream::connect(server).await.map(|stream| Box::new(stream) as Box<dyn Stream>)
            })
        });
        ApiClient::new(vec![dial], &text(&self.api.authority)?, &self.api.name, Some(&credential))
            .map_err(|error: ApiError| error.to_string())
    }
}
