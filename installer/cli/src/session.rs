//! A cluster that is looked at: nodes connected, facts gathered, what is due assessed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kubezt_engine::certificates::{Authorities, assess};
use kubezt_engine::fleet::{FleetParts, RemoteFleet};
use kubezt_engine::link::NodeProgram;
use kubezt_engine::nodes::{NodeFailure, Nodes};
use kubezt_engine::{gates, manifests};
use kubezt_model::NodeName;
use kubezt_model::desired::{Desired, ManifestSet};
use kubezt_model::node::Facts;
use kubezt_pki::RootAuthority;
use kubezt_plan::Assessment;

use crate::assemble::{self, Assembled};
use crate::context::Context;
use crate::failure::Failure;
use crate::reach::Reach;

/// An API that runs answers within this; one that does not is installed first.
const API_PATIENCE: Duration = Duration::from_secs(5);

/// A cluster that is looked at.
pub struct Session {
    /// What is wanted.
    pub desired: Arc<Desired>,
    /// The nodes that were reached, and what performs steps on them.
    pub fleet: Arc<RemoteFleet>,
    /// What was seen.
    pub facts: BTreeMap<NodeName, Facts>,
    /// Nodes that were not reached.
    pub failures: Vec<NodeFailure>,
    /// What is due.
    pub assessment: Assessment,
}

/// Connects to the nodes; `desired` and `root` are at hand already.
pub fn connect(
    reach: Reach,
    program: Arc<NodeProgram>,
) -> impl Future<Output = (Nodes, Vec<NodeFailure>)> + Send + use<> {
    Nodes::connect(reach.targets, reach.at_once, reach.access, program)
}

impl Session {
    /// As [`Session::open`], for whoever changes nothing and compares no objects.
    pub async fn look(
        context: &Context,
        nodes: Nodes,
        failures: Vec<NodeFailure>,
        desired: Desired,
    ) -> Result<Self, Failure> {
        let manifests = std::future::ready(Ok(Vec::new()));
        Self::open(context, nodes, failures, desired.into(), manifests, None).await
    }

    /// Looks at the cluster: one message a node, and a dry run of every object where the API answers. Objects are not needed before
    /// all nodes have answered.
    pub async fn open(
        context: &Context,
        nodes: Nodes,
        mut failures: Vec<NodeFailure>,
        Assembled { mut desired, blobs }: Assembled,
        manifests: impl Future<Output = Result<Vec<ManifestSet>, Failure>>,
        root: Option<RootAuthority>,
    ) -> Result<Self, Failure> {
        let now = jiff::Timestamp::now();
        let reads = desired
            .nodes
            .iter()
            .map(|node| (node.node.name.clone(), kubezt_plan::facts::reads(node)))
            .collect();
        let ((facts, lost), manifests) = tokio::join!(nodes.gather(reads, now), manifests);
        desired.manifests = manifests?;
        failures.extend(lost);
        if facts.is_empty() {
            let why: Vec<String> = failures.iter().map(ToString::to_string).collect();
            return Err(
                Failure::environment(why.join("\nerror: ")).hint("no node was reached, so nothing was done")
            );
        }
        let certificate = match &root {
            Some(root) => Some(root.certificate().clone()),
            None => context.state.root_certificate().map_err(Failure::environment)?,
        };
        let mut assessment = Assessment::default();
        assess(&desired, &facts, certificate.as_ref(), now, &mut assessment);
        let certificate = certificate.ok_or_else(Failure::no_root)?;
        let authorities = Authorities::read(certificate, &desired, &facts);
        let desired = Arc::new(desired);
        let parts = FleetParts {
            desired: Arc::clone(&desired),
            authorities,
            root,
            blobs,
            probe_image: assemble::probe_image().to_owned(),
            uploads: context.file.spec.concurrency.uploads,
            relays: context.file.spec.concurrency.relays,
        };
        let fleet = Arc::new(RemoteFleet::new(nodes, parts));
        look_at_api(&fleet, &desired, &mut assessment).await;
        Ok(Self { desired, fleet, facts, failures, assessment })
    }

    /// One line a node that was not reached.
    pub fn failure_text(&self) -> String {
        self.failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: ")
    }
}

/// Finds what differs in the API. An API that does not answer yet is no error: everything in it is due.
async fn look_at_api(fleet: &RemoteFleet, desired: &Desired, assessment: &mut Assessment) {
    let look = async {
        let client = fleet.api().await.ok()?;
        client.read("/readyz").await.ok()?;
        Some(client)
    };
    let Ok(Some(client)) = tokio::time::timeout(API_PATIENCE, look).await else { return };
    let drifts = desired.manifests.iter().map(|set| async move {
        let found = tokio::try_join!(
            manifests::drift(client, &set.objects),
            manifests::left_over(client, &set.absent)
        );
        (set, found.map(|(due, left_over)| [due, left_over].concat()))
    });
    let mut reachable = true;
    for (set, drift) in futures::future::join_all(drifts).await {
        match drift {
            Ok(due) => {
                assessment.objects.insert(set.name.clone(), due);
            }
            Err(_) => reachable = false,
        }
    }
    assessment.api_reachable = reachable;
    if reachable {
        let (unready, registration) =
            tokio::join!(gates::unready(client, desired), gates::registration(client, &desired.cluster));
        assessment.unready = unready;
        let registration = registration.unwrap_or_default();
        assessment.departed = registration.departed;
        assessment.unregistered = registration.missing;
    }
}
