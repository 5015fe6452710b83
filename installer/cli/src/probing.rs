//! Runs the probes that the requirements of a cluster name.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use kubezt_controls::probe::{TlsComponent, WeakTlsAttempt};
use kubezt_controls::{Probe, ProbeOutcome, ProbeResult};
use kubezt_engine::api::{ApiClient, Dialler};
use kubezt_engine::fleet::{RemoteFleet, loopback};
use kubezt_engine::probes::data_path::{self, DataPath};
use kubezt_engine::probes::hello::Offer;
use kubezt_engine::probes::pods::Ground;
use kubezt_engine::probes::{
    ProbeResult as Tried, admission, anonymous, at_rest, audit, firewall, quota, tls,
};
use kubezt_model::cluster::Role;
use kubezt_model::desired::{Cluster, Node};
use kubezt_model::settings::LimitedResource;
use kubezt_model::{NodeName, ports};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::assemble;
use crate::context::Context;

/// What probes came to.
#[derive(Debug, Default)]
pub struct Probed {
    /// One a requirement, or one a requirement and node.
    pub outcomes: Vec<ProbeOutcome>,
    /// Namespace they made and are done with; it goes away in the background.
    pub namespace: Option<String>,
}

/// Tries everything at once; a probe that cannot be tried is an outcome too.
pub async fn run(context: &Context, fleet: &RemoteFleet) -> Probed {
    let cluster = &context.cluster;
    let probes: Vec<(String, Probe)> = context
        .library
        .selected(cluster)
        .into_iter()
        .filter_map(|requirement| Some((requirement.id.clone(), requirement.probe.clone()?)))
        .collect();
    let trial = match Trial::start(fleet, cluster).await {
        Ok(trial) => trial,
        Err(reason) => {
            let failed = |(id, _)| outcome(id, None, Err(reason.clone()));
            return Probed { outcomes: probes.into_iter().map(failed).collect(), namespace: None };
        }
    };
    let data_path: OnceCell<DataPath> = OnceCell::new();
    let outcomes = probes.into_iter().map(|(id, probe)| trial.outcomes(id, probe, &data_path));
    let outcomes = futures::future::join_all(outcomes).await.into_iter().flatten().collect();
    // The next run removes what a killed one left.
    let _ = trial.ground.clear().await;
    Probed { outcomes, namespace: Some(trial.ground.namespace) }
}

fn outcome(requirement: String, node: Option<NodeName>, result: Result<Tried, String>) -> ProbeOutcome {
    let result = match result {
        Ok(Tried::Held { evidence }) => ProbeResult::Held { evidence: vec![evidence] },
        Ok(Tried::NotApplicable { reason }) => ProbeResult::NotApplicable { reason },
        Ok(Tried::Broken { wanted, got }) => ProbeResult::Broken { wanted, got },
        Err(reason) => ProbeResult::Failed { reason },
    };
    ProbeOutcome { requirement, node, result }
}

/// How long a probe that cannot be tried is tried again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every probe needs.
struct Trial<'a> {
    fleet: &'a RemoteFleet,
    cluster: &'a Cluster,
    client: &'a ApiClient,
    ground: Ground<'a>,
    /// What was tried before the namespace had a quota.
    first_pod: quota::FirstPod,
    /// The first control-plane node that was reached.
    first: &'a Node,
    unique: String,
}

impl<'a> Trial<'a> {
    async fn start(fleet: &'a RemoteFleet, cluster: &'a Cluster) -> Result<Self, String> {
        let client = fleet.api().await?;
        let asked = fleet.control_plane()?;
        let mut control_plane = cluster.control_plane();
        let first =
            control_plane.find(|node| node.name == asked).ok_or("the cluster has no control plane")?;
        let unique = random_name()?;
        let ground = Ground::prepare(client, assemble::probe_image(), &cluster.networks.domain, &unique)
            .await
            .map_err(|error| error.to_string())?;
        let first_pod = quota::first_pod(&ground, &first.name).await?;
        Ok(Self { fleet, cluster, client, ground, first_pod, first, unique })
    }

    /// Tries one probe; the two about the data path are tried together.
    async fn outcomes(&self, id: String, probe: Probe, data_path: &OnceCell<DataPath>) -> Vec<ProbeOutcome> {
        let data_path = || data_path.get_or_init(|| data_path::try_both(&self.ground, self.cluster));
        let result = match probe {
            Probe::WeakTls { component, attempt } => {
                let attempt = async |node| patiently(|| self.weak_tls(node, component, attempt)).await;
                return on_each(&id, self.nodes_of(component), attempt).await;
            }
            Probe::Firewall {} => {
                return on_each(&id, &self.cluster.nodes, async |node| self.closed_ports(node).await).await;
            }
            Probe::AuditRecord {} => {
                let attempt = async |node| patiently(|| self.audit_record(node)).await;
                return on_each(&id, self.cluster.control_plane(), attempt).await;
            }
            Probe::AnonymousRequest { health } => patiently(|| self.anonymous(health)).await,
            Probe::PrivilegedPod {} => patiently(|| self.privileged_pod()).await,
            Probe::WeakNamespace {} => patiently(|| admission::weak_namespace(&self.ground)).await,
            Probe::WithoutQuota { resource } => patiently(|| self.without_quota(resource)).await,
            Probe::SecretCiphertext {} => patiently(|| self.secret()).await,
            Probe::DefaultDeny {} => data_path().await.default_deny.clone(),
            Probe::Dns {} => data_path().await.dns.clone(),
        };
        vec![outcome(id, None, result)]
    }

    fn nodes_of(&self, component: TlsComponent) -> Vec<&'a Node> {
        let everywhere = component == TlsComponent::Kubelet;
        self.cluster.nodes.iter().filter(|node| everywhere || node.role == Role::ControlPlane).collect()
    }

    fn dialler(&self, node: &Node, component: TlsComponent) -> Result<Dialler, String> {
        let port = match component {
            TlsComponent::KubeApiserver => self.cluster.endpoint.port,
            TlsComponent::Etcd => ports::ETCD_CLIENTS,
            TlsComponent::Kubelet => ports::KUBELET,
        };
        self.fleet.nodes.dialler(&node.name, loopback(port))
    }

    async fn weak_tls(
        &self,
        node: &Node,
        component: TlsComponent,
        attempt: WeakTlsAttempt,
    ) -> Result<Tried, String> {
        let dial = self.dialler(node, component)?;
        let random = *kubezt_pki::random_bytes::<32>().map_err(|error| error.to_string())?;
        match attempt {
            WeakTlsAttempt::Tls11 => tls::refuses(&dial, "TLS 1.1", &Offer::old_protocol(), random).await,
            WeakTlsAttempt::WeakCipher => {
                tls::refuses(&dial, "TLS 1.2 with CBC suites", &Offer::weak_suites(), random).await
            }
            WeakTlsAttempt::NoClientCertificate => tls::wants_certificate(&dial, random).await,
        }
    }

    /// This is tried from here and not through the node, where every port is open.
    async fn closed_ports(&self, node: &Node) -> Result<Tried, String> {
        let api = SocketAddr::new(node.address(), self.cluster.endpoint.port);
        Ok(match firewall::source(api).await {
            Ok(from) => firewall::closed(self.cluster, node, from, firewall::connect).await,
            Err(error) => Tried::NotApplicable {
                reason: format!("the operator's machine has no way to {api} ({error})"),
            },
        })
    }

    async fn anonymous(&self, health: bool) -> Result<Tried, String> {
        let dial = self.dialler(self.first, TlsComponent::KubeApiserver)?;
        let client = self.fleet.anonymous_client(dial)?;
        let refused = anonymous::request(&client, "/api/v1/namespaces").await?;
        if !health || matches!(refused, Tried::Broken { .. }) {
            return Ok(refused);
        }
        anonymous::health_only(&client).await
    }

    async fn privileged_pod(&self) -> Result<Tried, String> {
        admission::privileged_pod(&self.ground, &self.first.name).await
    }

    async fn without_quota(&self, resource: LimitedResource) -> Result<Tried, String> {
        quota::without(&self.ground, &self.first.name, resource, &self.first_pod).await
    }

    async fn secret(&self) -> Result<Tried, String> {
        let node = &self.first.name;
        at_rest::secret(self.client, &self.ground.namespace, |read| self.fleet.nodes.read(node, read)).await
    }

    /// Every server keeps a log of its own, so each is asked itself: which one answers otherwise depends on who was ready.
    async fn audit_record(&self, node: &Node) -> Result<Tried, String> {
        let client = self.fleet.api_of(&node.name).await?;
        let log = format!("{}/audit.log", self.cluster.settings.audit.log_directory);
        let audit_id = format!("kubezt-{}", self.unique);
        audit::record(&client, &log, &audit_id, |read| self.fleet.nodes.read(&node.name, read)).await
    }
}

/// Tries a probe on each of these nodes, all at once.
async fn on_each<'n>(
    id: &str,
    nodes: impl IntoIterator<Item = &'n Node>,
    attempt: impl AsyncFn(&'n Node) -> Result<Tried, String>,
) -> Vec<ProbeOutcome> {
    let attempt = &attempt;
    let tries = nodes
        .into_iter()
        .map(|node| async move { outcome(id.to_owned(), Some(node.name.clone()), attempt(node).await) });
    futures::future::join_all(tries).await
}

/// Tries again while a server that was started a moment ago does not answer yet.
async fn patiently<F: Future<Output = Result<Tried, String>>>(
    attempt: impl Fn() -> F,
) -> Result<Tried, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(250)).await,
            result => return result,
        }
    }
}

/// A short random name, so that two verifications at once do not share a namespace.
fn random_name() -> Result<String, String> {
    let bytes = kubezt_pki::random_bytes::<5>().map_err(|error| error.to_string())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
