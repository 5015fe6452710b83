//! Pods in a namespace made a second ago: traffic nobody allowed is dropped, DNS works, allowed traffic flows.

use std::time::Duration;

use kubezt_model::NodeName;
use kubezt_model::desired::Cluster;

use super::ProbeResult;
use super::pods::{Attempt, Ground, Peer, Trial};

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

/// Tries both in a namespace that was just made, with three pods on two nodes. One may go out by a policy, one be reached, and the
/// first must reach the other, by name. Of the third nobody said anything: its name is known and it listens, and yet the first must
/// not reach it, nor may it reach the second.
pub async fn try_both(ground: &Ground<'_>, cluster: &Cluster) -> DataPath {
    let both = |error: String| DataPath { default_deny: Err(error.clone()), dns: Err(error) };
    let Some((near, far)) = crate::gates::pair(cluster) else {
        return both("the cluster has no nodes".to_owned());
    };
    let (resolve, reach) = (Attempt::Resolve(Peer::Unlisted), Attempt::Connect(Peer::Server));
    let intrude = Attempt::Connect(Peer::Unlisted);
    let (unlisted, client) = ([resolve, reach], [reach, intrude]);
    // All at once: the first pod of a node waits for the node's network, the others then do not.
    let longest = TIMEOUT + 2 * PATIENCE;
    let started = tokio::try_join!(
        ground.start(Peer::Server, far, &[], longest),
        ground.start(Peer::Unlisted, far, &unlisted, longest),
        ground.start(Peer::Client, near, &client, longest),
        ground.listens(Peer::Server, TIMEOUT),
        ground.listens(Peer::Unlisted, TIMEOUT),
    );
    if let Err(error) = started {
        return both(error);
    }
    let in_time = |peer, attempt| async move {
        let outcome = tokio::time::timeout(PATIENCE, ground.outcome(peer, attempt, longest)).await;
        let nothing = |_| Ok(Trial::Refused(format!("nothing within {} s", PATIENCE.as_secs())));
        outcome.unwrap_or_else(nothing)
    };
    let resolved = in_time(Peer::Unlisted, resolve).await;
    if !matches!(resolved, Ok(Trial::Succeeded)) {
        // Without names the addresses still tell whether what is unlisted is dropped.
        let by_address =
            |from, node, to, patience| ground.connect_by_address(from, node, to, patience, TIMEOUT);
        let listed = by_address(Peer::Client, near, Peer::Server, PATIENCE).await;
        let succeeded = |trial: Trial| (trial == Trial::Succeeded).then_some(trial);
        let unlisted = Unlisted {
            reached: by_address(Peer::Client, near, Peer::Unlisted, SILENCE).await.map(succeeded),
            reaches: by_address(Peer::Unlisted, far, Peer::Server, SILENCE).await.map(succeeded),
        };
        return DataPath {
            default_deny: judge_drop(near, far, &listed, unlisted),
            dns: judge_name(near, far, resolved),
        };
    }
    let listed = in_time(Peer::Client, reach).await;
    tokio::time::sleep(SILENCE).await;
    let unlisted = Unlisted {
        reached: ground.outcome_so_far(Peer::Client, intrude).await,
        reaches: ground.outcome_so_far(Peer::Unlisted, reach).await,
    };
    DataPath { default_deny: judge_drop(near, far, &listed, unlisted), dns: judge_name(near, far, listed) }
}

/// How connections nobody allowed have ended; `None` for one that still gets no answer.
struct Unlisted {
    /// To the pod nobody spoke of, from one that may go out.
    reached: Result<Option<Trial>, String>,
    /// From the pod nobody spoke of, to one that may be reached.
    reaches: Result<Option<Trial>, String>,
}

/// `listed` is how a connection beside them ends that policies allow.
fn judge_drop(
    near: &NodeName,
    far: &NodeName,
    listed: &Result<Trial, String>,
    Unlisted { reached, reaches }: Unlisted,
) -> Result<ProbeResult, String> {
    let (reached, reaches) = (reached?, reaches?);
    let broken = |got: String| Ok(ProbeResult::broken("unlisted traffic dropped in a new namespace", got));
    match (&reached, &reaches) {
        (Some(Trial::Succeeded), _) => {
            return broken(format!("a pod on {near} reached a pod on {far} that no policy names"));
        }
        (_, Some(Trial::Succeeded)) => {
            return broken(format!("a pod on {far} that no policy names reached another one"));
        }
        _ => {}
    }
    match listed {
        Ok(Trial::Succeeded) => {}
        Ok(Trial::Refused(why)) => {
            return Err(format!("allowed traffic does not flow either ({why}), so the drop means nothing"));
        }
        Err(error) => return Err(error.clone()),
    }
    if let Some(Trial::Refused(why)) = reached.or(reaches) {
        return Err(format!("the pod gave up too early: {why}"));
    }
    Ok(ProbeResult::held(format!(
        "nothing came into or out of a pod on {far} that no policy names for {} ms, beside a pod on {near} that policies let talk",
        SILENCE.as_millis()
    )))
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
        let judge = |listed, reached, reaches| {
            judge_drop(&near, &far, &listed, Unlisted { reached: Ok(reached), reaches: Ok(reaches) })
        };
        let refused = || Trial::Refused("no answer".to_owned());
        let flows = || Ok(Trial::Succeeded);
        assert!(matches!(judge(flows(), None, None), Ok(ProbeResult::Held { .. })));
        for listed in [flows(), Ok(refused()), Err("gone".to_owned())] {
            let through = Some(Trial::Succeeded);
            let into = judge(listed.clone(), through.clone(), None);
            assert!(matches!(into, Ok(ProbeResult::Broken { .. })));
            assert!(matches!(judge(listed, None, through), Ok(ProbeResult::Broken { .. })));
        }
        assert!(judge(Ok(refused()), None, None).is_err());
        assert!(judge(Err("gone".to_owned()), None, None).is_err());
        assert!(judge(flows(), Some(refused()), None).is_err());
        assert!(judge(flows(), None, Some(refused())).is_err());
    }

    #[test]
    fn a_name_that_leads_nowhere_is_a_finding() {
        let (near, far) = nodes();
        assert!(matches!(judge_name(&near, &far, Ok(Trial::Succeeded)), Ok(ProbeResult::Held { .. })));
        let refused = Ok(Trial::Refused("no such name".to_owned()));
        assert!(matches!(judge_name(&near, &far, refused), Ok(ProbeResult::Broken { .. })));
    }
}
