//! Pods in a namespace made a second ago: traffic nobody allowed is dropped, DNS works, allowed traffic flows.

use std::time::Duration;

use kubezt_model::NodeName;
use kubezt_model::desired::Cluster;

use super::ProbeResult;
use super::pods::{Ground, Trial};

/// How long a pod tries before it takes silence for a drop.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long a pod tries by name: endpoints of a Service made a moment ago take their time to spread, and name servers
/// that lost the API a while ago ask it again only now and then.
const NAMED_PATIENCE: Duration = Duration::from_secs(60);

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
    let Some((near, far)) = crate::gates::pair(cluster) else {
        return both("the cluster has no nodes".to_owned());
    };
    let server = match ground.listen(far, TIMEOUT).await {
        Ok(address) => address,
        Err(error) => return both(error),
    };
    let denied = ground.connect("unlisted", near, Some(server), PATIENCE, TIMEOUT).await;
    if let Err(error) = ground.allow().await {
        return both(error.to_string());
    }
    let named = ground.connect("named", near, None, NAMED_PATIENCE, TIMEOUT).await;
    // Where the name fails the address tells whether it is the name or the data path.
    let addressed = match &named {
        Ok(Trial::Refused(_)) => ground.connect("listed", near, Some(server), PATIENCE, TIMEOUT).await,
        other => other.clone(),
    };
    DataPath { default_deny: judge_drop(near, far, denied, addressed), dns: judge_name(near, far, named) }
}

/// `denied` is the connection nobody allowed, `allowed` the same one once a policy allows it.
fn judge_drop(
    near: &NodeName,
    far: &NodeName,
    denied: Result<Trial, String>,
    allowed: Result<Trial, String>,
) -> Result<ProbeResult, String> {
    match (denied, allowed) {
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
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

fn judge_name(near: &NodeName, far: &NodeName, named: Result<Trial, String>) -> Result<ProbeResult, String> {
    Ok(match named? {
        Trial::Succeeded => {
            ProbeResult::held(format!("a pod on {near} resolved a Service name and reached its pod on {far}"))
        }
        Trial::Refused(why) => ProbeResult::broken("a Service name resolves and its pod answers", why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> (NodeName, NodeName) {
        ("near".parse().unwrap(), "far".parse().unwrap())
    }

    #[test]
    fn a_drop_counts_only_where_allowed_traffic_flows() {
        let (near, far) = nodes();
        let refused = || Ok(Trial::Refused("no answer".to_owned()));
        let judge = |denied, allowed| judge_drop(&near, &far, denied, allowed);
        assert!(matches!(judge(refused(), Ok(Trial::Succeeded)), Ok(ProbeResult::Held { .. })));
        assert!(matches!(judge(Ok(Trial::Succeeded), Ok(Trial::Succeeded)), Ok(ProbeResult::Broken { .. })));
        assert!(judge(refused(), refused()).is_err());
        assert!(judge(refused(), Err("gone".to_owned())).is_err());
    }

    #[test]
    fn a_name_that_leads_nowhere_is_a_finding() {
        let (near, far) = nodes();
        assert!(matches!(judge_name(&near, &far, Ok(Trial::Succeeded)), Ok(ProbeResult::Held { .. })));
        let refused = Ok(Trial::Refused("no such name".to_owned()));
        assert!(matches!(judge_name(&near, &far, refused), Ok(ProbeResult::Broken { .. })));
    }
}
