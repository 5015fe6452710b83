//! Pods in a namespace made a second ago: traffic nobody allowed is dropped, DNS works, allowed traffic flows.

use std::time::Duration;

use kubezt_model::NodeName;
use kubezt_model::desired::Cluster;

use super::ProbeResult;
use super::pods::{Attempt, Ground, Pair, Trial};

/// How long a pod has to have tried in vain, with a working path beside it, before silence is taken for a drop: enough for an
/// attempt from beginning to end, at half a second each, and another one.
const SILENCE: Duration = Duration::from_millis(1500);

/// How long names and connections may take once their pod is ready: endpoints take their time to spread, and name
/// servers that lost the API a while ago ask it again only now and then.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a pod may take to start: on a node that joined a moment ago its network comes first.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Results of the two requirements that are tried together.
pub struct DataPath {
    /// Unlisted traffic is dropped.
    pub default_deny: Result<ProbeResult, String>,
    /// A name resolves, across nodes, through a Service.
    pub dns: Result<ProbeResult, String>,
}

/// Tries both in a namespace that was just made, with two pairs of pods on the same two nodes. One pair is allowed to talk by
/// a policy, and must succeed, by name. Of the other nobody said anything: its server is ready and its name is known, and
/// yet it must not be reached.
pub async fn try_both(ground: &Ground<'_>, cluster: &Cluster) -> DataPath {
    let both = |error: String| DataPath { default_deny: Err(error.clone()), dns: Err(error) };
    let Some((near, far)) = crate::gates::pair(cluster) else {
        return both("the cluster has no nodes".to_owned());
    };
    // All at once: the first pod of a node waits for the node's network, the others then do not.
    let longest = TIMEOUT + 2 * PATIENCE;
    let started = tokio::try_join!(
        ground.start(Pair::Listed, near, far, longest),
        ground.start(Pair::Unlisted, near, far, longest),
        ground.listens(Pair::Listed, TIMEOUT),
        ground.listens(Pair::Unlisted, TIMEOUT),
    );
    if let Err(error) = started {
        return both(error);
    }
    let in_time = |pair, attempt| async move {
        let outcome = tokio::time::timeout(PATIENCE, ground.outcome(pair, attempt, longest)).await;
        let nothing = |_| Ok(Trial::Refused(format!("nothing within {} s", PATIENCE.as_secs())));
        outcome.unwrap_or_else(nothing)
    };
    let resolved = in_time(Pair::Unlisted, Attempt::Resolve).await;
    if !matches!(resolved, Ok(Trial::Succeeded)) {
        // Without names the addresses still tell whether what is unlisted is dropped.
        let listed = ground.connect_by_address(Pair::Listed, near, PATIENCE, TIMEOUT).await;
        let unlisted = ground.connect_by_address(Pair::Unlisted, near, SILENCE, TIMEOUT).await;
        let unlisted = unlisted.map(|trial| (trial == Trial::Succeeded).then_some(trial));
        return DataPath {
            default_deny: judge_drop(near, far, &listed, unlisted),
            dns: judge_name(near, far, resolved),
        };
    }
    let listed = in_time(Pair::Listed, Attempt::Connect).await;
    tokio::time::sleep(SILENCE).await;
    let unlisted = ground.outcome_so_far(Pair::Unlisted, Attempt::Connect).await;
    DataPath { default_deny: judge_drop(near, far, &listed, unlisted), dns: judge_name(near, far, listed) }
}

/// `unlisted` is how the connection nobody allowed has ended, `listed` one beside it that a policy allows.
fn judge_drop(
    near: &NodeName,
    far: &NodeName,
    listed: &Result<Trial, String>,
    unlisted: Result<Option<Trial>, String>,
) -> Result<ProbeResult, String> {
    match (unlisted?, listed) {
        (Some(Trial::Succeeded), _) => Ok(ProbeResult::broken(
            "unlisted traffic dropped in a new namespace",
            format!("a pod on {near} reached a pod on {far}"),
        )),
        (_, Ok(Trial::Refused(why))) => {
            Err(format!("allowed traffic does not flow either ({why}), so the drop means nothing"))
        }
        (_, Err(error)) => Err(error.clone()),
        (None, Ok(Trial::Succeeded)) => Ok(ProbeResult::held(format!(
            "a pod on {near} heard nothing from a pod on {far} for {} ms, beside a pair that a policy lets talk",
            SILENCE.as_millis()
        ))),
        (Some(Trial::Refused(why)), Ok(Trial::Succeeded)) => Err(format!("the pod gave up too early: {why}")),
    }
}

fn judge_name(near: &NodeName, far: &NodeName, listed: Result<Trial, String>) -> Result<ProbeResult, String> {
    Ok(match listed? {
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
        let judge = |listed, unlisted| judge_drop(&near, &far, &listed, Ok(unlisted));
        let refused = || Trial::Refused("no answer".to_owned());
        assert!(matches!(judge(Ok(Trial::Succeeded), None), Ok(ProbeResult::Held { .. })));
        for listed in [Ok(Trial::Succeeded), Ok(refused()), Err("gone".to_owned())] {
            assert!(matches!(judge(listed, Some(Trial::Succeeded)), Ok(ProbeResult::Broken { .. })));
        }
        assert!(judge(Ok(refused()), None).is_err());
        assert!(judge(Err("gone".to_owned()), None).is_err());
        assert!(judge(Ok(Trial::Succeeded), Some(refused())).is_err());
    }

    #[test]
    fn a_name_that_leads_nowhere_is_a_finding() {
        let (near, far) = nodes();
        assert!(matches!(judge_name(&near, &far, Ok(Trial::Succeeded)), Ok(ProbeResult::Held { .. })));
        let refused = Ok(Trial::Refused("no such name".to_owned()));
        assert!(matches!(judge_name(&near, &far, refused), Ok(ProbeResult::Broken { .. })));
    }
}
