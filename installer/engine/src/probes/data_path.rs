//! Pods in a namespace made a second ago: traffic nobody allowed is dropped, DNS works, allowed traffic flows.

use std::time::Duration;

use kubezt_model::desired::Cluster;

use super::ProbeResult;
use super::pods::{Ground, Trial};

/// How long a pod tries before it takes silence for a drop.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long a pod may take to start and end.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Results of the two requirements that are tried together.
pub struct DataPath {
    /// Unlisted traffic is dropped.
    pub default_deny: Result<ProbeResult, String>,
    /// A name resolves, across nodes, through a Service.
    pub dns: Result<ProbeResult, String>,
}

/// Tries both in a namespace that was just made: first a connection nobody allowed, then, once a policy allows it,
/// the same by name, so that the first silence is known to be the policy's doing.
pub async fn try_both(ground: &Ground<'_>, cluster: &Cluster) -> DataPath {
    let both = |error: String| DataPath { default_deny: Err(error.clone()), dns: Err(error) };
    let Some((near, far)) = crate::gates::pair(cluster) else { return both("the cluster has no nodes".to_owned()) };
    let server = match ground.listen(far, TIMEOUT).await {
        Ok(address) => address,
        Err(error) => return both(error),
    };
    let denied = ground.connect("unlisted", near, Some(server), PATIENCE, TIMEOUT).await;
    if let Err(error) = ground.allow().await {
        return both(error.to_string());
    }
    let allowed = ground.connect("listed", near, None, Duration::from_secs(60), TIMEOUT).await;
    let default_deny = match (&denied, &allowed) {
        (Ok(Trial::Refused(why)), Ok(Trial::Succeeded)) => Ok(ProbeResult::held(format!(
            "a pod on {near} did not reach a pod on {far} ({why}), and did once a policy allowed it"
        ))),
        (Ok(Trial::Succeeded), _) => Ok(ProbeResult::broken(
            "unlisted traffic dropped in a new namespace",
            format!("a pod on {near} reached a pod on {far}"),
        )),
        (Ok(Trial::Refused(_)), Ok(Trial::Refused(why))) => {
            Err(format!("allowed traffic does not flow either ({why}), so the drop means nothing"))
        }
        (Err(error), _) | (_, Err(error)) => Err(error.clone()),
    };
    let dns = match allowed {
        Ok(Trial::Succeeded) => Ok(ProbeResult::held(format!(
            "a pod on {near} resolved a Service name and reached its pod on {far}"
        ))),
        Ok(Trial::Refused(why)) => Ok(ProbeResult::broken("a Service name resolves and its pod answers", why)),
        Err(error) => Err(error),
    };
    DataPath { default_deny, dns }
}
