//! What no quota covers must be refused, and what one covers admitted.

use kubezt_model::NodeName;
use kubezt_model::settings::LimitedResource;
use serde_json::json;

use super::ProbeResult;
use super::pods::{Ground, NO_QUOTA};

/// What became of a pod that was asked for before the namespace had a quota; the reason where it was refused.
pub type FirstPod = Result<Result<(), String>, String>;

/// Asks for a pod before the namespace has a quota; nothing is stored. Afterwards it has one for pods, and for nothing else.
///
/// # Errors
/// The API refuses the quota, or does not answer.
pub async fn first_pod(ground: &Ground<'_>, node: &NodeName) -> Result<FirstPod, String> {
    let first = ground.would_admit_without_quota(node).await.map_err(|error| error.to_string());
    ground.give_quota().await.map_err(|error| error.to_string())?;
    Ok(first)
}

/// Whether a resource is refused without a quota; `first` is the pod that was asked for when there was none. Nothing is stored.
///
/// # Errors
/// The API does not answer, or what needs no quota, or has one, is refused too, so that the refusal means nothing.
pub async fn without(
    ground: &Ground<'_>,
    node: &NodeName,
    resource: LimitedResource,
    first: &FirstPod,
) -> Result<ProbeResult, String> {
    let pod = async |class: Option<&str>| {
        ground
            .would_admit(node, |pod| {
                if let Some(class) = class {
                    pod["spec"]["priorityClassName"] = json!(class);
                }
            })
            .await
    };
    let service = async |kind: &str| ground.would_serve(kind).await;
    let (harmless, refused, named) = match resource {
        LimitedResource::Pods => (pod(None).await, first.clone(), "count/pods"),
        LimitedResource::SystemPriority => {
            (pod(None).await, said(pod(Some("system-node-critical")).await), "PriorityClass")
        }
        LimitedResource::NodePorts => {
            (service("ClusterIP").await, said(service("NodePort").await), "services.nodeports")
        }
        LimitedResource::LoadBalancers => {
            (service("ClusterIP").await, said(service("LoadBalancer").await), "services.loadbalancers")
        }
    };
    if let Err(why) = said(harmless)? {
        return Err(format!("what needs no other quota was refused as well: {why}"));
    }
    Ok(judge(refused?, named))
}

fn said<T>(answer: Result<T, crate::api::ApiError>) -> Result<T, String> {
    answer.map_err(|error| error.to_string())
}

fn judge(answer: Result<(), String>, named: &str) -> ProbeResult {
    let wanted = format!("refused without a quota, naming {named}");
    match answer {
        Ok(()) => ProbeResult::broken(wanted, "admitted"),
        Err(why) if why.contains(NO_QUOTA) && why.contains(named) => ProbeResult::held(why),
        Err(why) => ProbeResult::broken(wanted, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_where_it_names_the_quota() {
        let judge = |answer: Result<(), &str>| judge(answer.map_err(str::to_owned), "count/pods");
        let held = "pods \"trial\" is forbidden: insufficient quota to consume: count/pods";
        assert!(matches!(judge(Err(held)), ProbeResult::Held { .. }));
        for answer in [Ok(()), Err("insufficient quota to consume: limits.cpu"), Err("violates PodSecurity")]
        {
            assert!(matches!(judge(answer), ProbeResult::Broken { .. }), "{answer:?}");
        }
    }
}
