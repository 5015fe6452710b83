//! Short-lived client certificates for people and for kubezt itself. The key is made here and never stored by kubezt.

use jiff::Timestamp;
use kubezt_model::action::{Action, Outcome};
use kubezt_model::desired::{AuthorityKind, Desired, LeafSpec, Usage};
use kubezt_model::{Lifetime, NodeName, SecretText};

use crate::api::Credential;
use crate::certificates::{ApplyActions, authority_paths};

/// Group that kubezt's own RBAC binds to `cluster-admin`.
pub const ADMINISTRATORS: &str = "kubezt:cluster-admins";

/// Group the API server lets do everything before any binding exists; used to make the first bindings, never stored.
pub const MASTERS: &str = "system:masters";

/// User name kubezt itself shows in audit records.
pub const OPERATOR: &str = "kubezt:operator";

/// Has a client certificate signed on the control plane for a key made here.
///
/// # Errors
/// The control plane does not sign.
pub async fn issue(
    nodes: &impl ApplyActions,
    desired: &Desired,
    user: &str,
    group: &str,
    hours: u32,
) -> Result<Credential, String> {
    let key = kubezt_pki::generate().map_err(|error| error.to_string())?;
    let public = kubezt_pki::spki_of(&key).map_err(|error| error.to_string())?;
    let (node, authority_certificate, authority_key): (NodeName, _, _) =
        authority_paths(desired, AuthorityKind::Kubernetes, nodes)
            .ok_or("no node holds the kubernetes authority")?;
    let sign = Action::SignLeaf {
        authority_certificate,
        authority_key,
        leaf: LeafSpec {
            authority: AuthorityKind::Kubernetes,
            common_name: user.to_owned(),
            organizations: vec![group.to_owned()],
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usage: Usage::Client,
        },
        public_key: public.to_base64(),
        lifetime: Lifetime::from_seconds(u64::from(hours) * 3600),
    };
    let outcomes = nodes.apply(&node, vec![sign]).await?;
    match outcomes.into_iter().next() {
        Some(Outcome::Changed { output: Some(chain) } | Outcome::Unchanged { output: Some(chain) }) => {
            Ok(Credential { chain_pem: chain, key_pem: SecretText::new(key.expose().to_owned()) })
        }
        Some(Outcome::Failed { error }) => Err(error),
        _ => Err("the control plane gave no certificate back".to_owned()),
    }
}

/// A kubeconfig that holds such a credential.
pub fn kubeconfig(
    cluster: &str,
    server: &str,
    server_name: &str,
    trust_pem: &str,
    user: &str,
    credential: &Credential,
    expires: Timestamp,
) -> SecretText {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {
            "server": server,
            "tls-server-name": server_name,
            "certificate-authority-data": encode(trust_pem),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": encode(&credential.chain_pem),
            "client-key-data": encode(credential.key_pem.expose()),
        }}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    });
    let text = kubezt_model::yaml::write(&config).unwrap_or_default();
    SecretText::new(format!("# {user} on {cluster}, until {expires}\n{text}"))
}
