//! A call just made must be in the audit log.

use std::future::Future;
use std::time::Duration;

use kubezt_model::node::{Read, Reading};
use serde_json::Value;

use super::ProbeResult;
use crate::api::ApiClient;

/// How long the record may take to reach the disk.
const PATIENCE: Duration = Duration::from_secs(15);

/// Reads a ConfigMap under an audit id of our own and looks for its record; `read` reads on the node whose API server
/// was asked. The record must name who asked, what for, and the decision.
///
/// # Errors
/// The API or the node does not answer.
pub async fn record<F>(
    client: &ApiClient,
    log: &str,
    audit_id: &str,
    read: impl Fn(Read) -> F,
) -> Result<ProbeResult, String>
where
    F: Future<Output = Result<Reading, String>>,
{
    // There from the first moment; what controllers make comes later.
    let path = "/api/v1/namespaces/kube-system";
    client.call_with_audit_id(path, audit_id).await.map_err(|error| error.to_string())?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match read(Read::AuditRecord { path: log.to_owned(), audit_id: audit_id.to_owned() }).await? {
            Reading::AuditRecord(record) => return Ok(judge(&record, path)),
            Reading::Failed(why) => return Err(why),
            _ if tokio::time::Instant::now() >= deadline => {
                return Ok(ProbeResult::broken("a record of the call in the audit log", "none after 15 s"));
            }
            _ => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

fn judge(record: &Value, path: &str) -> ProbeResult {
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (user, verb, uri, level) =
        (text("/user/username"), text("/verb"), text("/requestURI"), text("/level"));
    if user.is_empty() || verb != "get" || uri != path || level.is_empty() {
        ProbeResult::broken(
            format!("a record of get {path} with its user and level"),
            format!("user `{user}` verb `{verb}` URI `{uri}` level `{level}`"),
        )
    } else {
        ProbeResult::held(format!("{level} record of {verb} {uri} by {user}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_without_a_user_is_no_record() {
        let record = |user: &str| json!({"user": {"username": user}, "verb": "get", "requestURI": "/p", "level": "RequestResponse"});
        assert!(matches!(judge(&record("operator"), "/p"), ProbeResult::Held { .. }));
        assert!(matches!(judge(&record(""), "/p"), ProbeResult::Broken { .. }));
        assert!(matches!(judge(&record("operator"), "/other"), ProbeResult::Broken { .. }));
    }
}
