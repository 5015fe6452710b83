//! A Secret must be ciphertext in etcd.

use std::future::Future;

use kubezt_model::node::{Read, Reading};
use serde_json::json;

use super::ProbeResult;
use crate::api::ApiClient;

/// First bytes of every value the API server's encryption writes.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Stores a Secret of known content in a namespace of the probe and reads it back past the API server; `read`
/// reads on a control-plane node.
///
/// # Errors
/// The API or etcd does not answer, or the value is not there.
pub async fn secret<F>(
    client: &ApiClient,
    namespace: &str,
    read: impl FnOnce(Read) -> F,
) -> Result<ProbeResult, String>
where
    F: Future<Output = Result<Reading, String>>,
{
    let planted = "kubezt-planted-plaintext";
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "planted", "namespace": namespace},
        "stringData": {"planted": planted},
    });
    client.create(&secret).await.map_err(|error| error.to_string())?;
    let reading = read(Read::EtcdValue { key: format!("/registry/secrets/{namespace}/planted") }).await?;
    client
        .delete(&format!("/api/v1/namespaces/{namespace}/secrets/planted"))
        .await
        .map_err(|error| error.to_string())?;
    let bytes = match reading {
        Reading::EtcdValue(text) => decode(&text)?,
        Reading::Failed(why) => return Err(why),
        other => return Err(format!("etcd does not hold the Secret ({other:?})")),
    };
    let plain = contains(&bytes, planted.as_bytes());
    Ok(if bytes.starts_with(ENCRYPTED) && !plain {
        let prefix: String = bytes
            .iter()
            .take(32)
            .take_while(|byte| byte.is_ascii_graphic())
            .map(|byte| char::from(*byte))
            .collect();
        ProbeResult::held(format!("the value in etcd begins with {prefix} and does not hold the plaintext"))
    } else if plain {
        ProbeResult::broken("ciphertext in etcd", "the plaintext")
    } else {
        ProbeResult::broken("ciphertext in etcd", "a value without the encryption prefix")
    })
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| format!("etcd's answer: {error}"))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
