//! A privileged pod must be refused by Pod Security, a restricted one admitted.

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
