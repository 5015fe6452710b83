//! A privileged pod must be refused by Pod Security, a restricted one admitted; and the same of namespaces that ask for it.

use std::time::Duration;

use kubezt_model::NodeName;
use serde_json::json;

use super::ProbeResult;
use super::pods::Ground;

/// Asks for both; nothing is stored.
///
/// # Errors
/// The API does not answer, or the harmless pod is refused too, so that the refusal means nothing.
pub async fn privileged_pod(ground: &Ground<'_>, node: &NodeName) -> Result<ProbeResult, String> {
    let harmless = ground.would_admit(node, |_| {}).await.map_err(|error| error.to_string())?;
    if let Err(why) = harmless {
        return Err(format!("a restricted pod was refused as well: {why}"));
    }
    let privileged = ground
        .would_admit(node, |pod| {
            pod["spec"]["hostPID"] = json!(true);
            pod["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
        })
        .await
        .map_err(|error| error.to_string())?;
    Ok(match privileged {
        Ok(()) => ProbeResult::broken("a privileged pod refused", "admitted"),
        Err(why) if why.contains("PodSecurity") => ProbeResult::held(why),
        Err(why) => ProbeResult::broken("a privileged pod refused by Pod Security", why),
    })
}

/// How long a policy that was installed a moment ago may take until the server minds it.
const SETTLING: Duration = Duration::from_secs(3);

/// Asks for a namespace of each of the two levels; nothing is stored.
///
/// # Errors
/// The API does not answer, or a namespace of the restricted level is refused too, so that the refusal means nothing.
pub async fn weak_namespace(ground: &Ground<'_>) -> Result<ProbeResult, String> {
    if let Err(why) = ground.would_name("restricted").await.map_err(|error| error.to_string())? {
        return Err(format!("a namespace of the restricted level was refused as well: {why}"));
    }
    let deadline = tokio::time::Instant::now() + SETTLING;
    loop {
        match ground.would_name("privileged").await.map_err(|error| error.to_string())? {
            Err(why) => return Ok(ProbeResult::held(why)),
            Ok(()) if tokio::time::Instant::now() >= deadline => {
                return Ok(ProbeResult::broken("a namespace of the privileged level refused", "admitted"));
            }
            Ok(()) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}
