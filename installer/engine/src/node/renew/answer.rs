//! Answering nodes that ask for their leaves, where this node has the authorities' keys.
//!
//! Whoever may ask the API for certificates may leave requests for this signer; what is not exactly one of the leaves that the cluster
//! file gives the node that asks is denied, with the reason. What is signed comes from the cluster file, never from the request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use jiff::Timestamp;
use kubezt_pki::request::{Asked, admit};
use serde_json::{Value, json};

use super::{Configuration, NodeRoot, OURS, REQUESTS, Report, sign};
use crate::api::{ApiClient, ApiError, text};

/// Answers every request that has no answer yet.
pub(super) async fn all(
    root: &NodeRoot,
    folder: &str,
    configuration: &Configuration,
    now: Timestamp,
    report: &mut Report,
) {
    let client = match configuration.client(root) {
        Ok(client) => client,
        Err(why) => return report.failed.push(why),
    };
    let requests = match client.list_selected(REQUESTS, OURS).await {
        Ok(requests) => requests,
        // A node that starts, or stands alone, is not to be blamed for it; who asked says that nobody answers.
        Err(error @ ApiError::Unreachable { .. }) => {
            return report.said.push(format!("requests of other nodes were not answered: {error}"));
        }
        Err(error) => return report.failed.push(error.to_string()),
    };
    for request in requests.iter().filter(|request| is_open(request)) {
        let name = text(request, "/metadata/name");
        match answer(root, folder, configuration, &client, request, now).await {
            Ok(Some(said)) => report.said.push(format!("request {name}: {said}")),
            Ok(None) => {}
            Err(why) => report.failed.push(format!("request {name} was not answered: {why}")),
        }
    }
}

/// Whether nobody signed or denied it. One that was approved is open: whoever approved it may have ended before it signed.
fn is_open(request: &Value) -> bool {
    let is_final = |condition: &Value| ["Denied", "Failed"].contains(&text(condition, "/type"));
    text(request, "/status/certificate").is_empty() && !conditions(request).iter().any(is_final)
}

fn conditions(request: &Value) -> &[Value] {
    request.pointer("/status/conditions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What was answered; `None` where another control-plane node was faster.
async fn answer(
    root: &NodeRoot,
    folder: &str,
    configuration: &Configuration,
    client: &ApiClient,
    request: &Value,
    now: Timestamp,
) -> Result<Option<String>, String> {
    let list = |pointer: &str| -> Vec<&str> {
        let items = request.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).collect()
    };
    let pem = STANDARD.decode(text(request, "/spec/request")).unwrap_or_default();
    let asked = Asked {
        user: text(request, "/spec/username"),
        groups: &list("/spec/groups"),
        usages: &list("/spec/usages"),
        request: &String::from_utf8_lossy(&pem),
    };
    let is_approved = conditions(request).iter().any(|condition| text(condition, "/type") == "Approved");
    let (leaf, key) = match admit(&asked, &configuration.requesters) {
        Ok(admitted) => admitted,
        // Somebody else with the right to approve did so. The API lets nobody take that back, but nobody has to sign.
        Err(refusal) if is_approved => {
            return Ok(Some(format!("approved by others, and not signed: {refusal}")));
        }
        Err(refusal) => {
            let why = refusal.to_string();
            let denied = decided(request, "Denied", &why);
            return Ok(update(client, "approval", &denied).await?.map(|_| format!("denied: {why}")));
        }
    };
    let approved = if is_approved {
        request.clone()
    } else {
        let approved = decided(request, "Approved", "it is one of the node's own leaves");
        match update(client, "approval", &approved).await? {
            Some(approved) => approved,
            None => return Ok(None),
        }
    };
    let chain = sign(root, folder, leaf, &key, configuration, now).map_err(|error| error.chain())?;
    let mut signed = approved;
    signed["status"]["certificate"] = json!(STANDARD.encode(chain));
    let signed = update(client, "status", &signed).await?;
    Ok(signed.map(|_| format!("signed `{}` for {}", leaf.common_name, asked.user)))
}

fn decided(request: &Value, kind: &str, message: &str) -> Value {
    let mut conditions = conditions(request).to_vec();
    conditions.push(json!({"type": kind, "status": "True", "reason": "KubeztRenewal", "message": message}));
    let mut decided = request.clone();
    decided["status"]["conditions"] = json!(conditions);
    // Of a list only the list itself says what it holds.
    decided["apiVersion"] = json!("certificates.k8s.io/v1");
    decided["kind"] = json!("CertificateSigningRequest");
    decided
}

/// Writes a part of a request; `None` where it was changed or removed meanwhile.
async fn update(client: &ApiClient, part: &str, request: &Value) -> Result<Option<Value>, String> {
    let path = format!("{REQUESTS}/{}/{part}", text(request, "/metadata/name"));
    let body = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    match client.call(Method::PUT, &path, "application/json", body).await {
        Ok(updated) => Ok(Some(updated)),
        Err(error) if [Some(404), Some(409)].contains(&error.code()) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_open_until_it_is_signed_or_denied() {
        let request = |status: Value| json!({"metadata": {"name": "a"}, "status": status});
        let open = request(json!({}));
        assert!(is_open(&open));
        let approved = decided(&open, "Approved", "yes");
        assert!(is_open(&approved));
        assert!(!is_open(&decided(&open, "Denied", "no")));
        assert!(!is_open(&request(json!({"certificate": "QQ=="}))));
        assert_eq!(approved["kind"], "CertificateSigningRequest");
        assert_eq!(conditions(&decided(&approved, "Other", "")).len(), 2);
    }
}
