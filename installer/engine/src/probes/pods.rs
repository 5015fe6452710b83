//! Pods that try the data path. They run kubezt's own image, so nothing foreign has to be on the nodes, and answer
//! by their exit status.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kubezt_model::NodeName;
use serde_json::{Value, json};

use crate::api::{ApiClient, ApiError, text};

/// Label of every namespace made for a probe: what a killed run left behind is found by it.
pub const PROBE_LABEL: &str = "kubezt.dev/probe";

/// How long a pod may stay as it is until it is looked at again, in case its change went unnoticed.
const UNCHANGED: Duration = Duration::from_secs(10);

/// How long to wait before another look at a pod that cannot be watched.
const POLL: Duration = Duration::from_secs(1);

/// Port that listening pods take.
const PORT: u16 = 8080;

/// Container that listens.
const LISTEN: &str = "listen";

/// How long a namespace may lack what controllers give it: its default service account, and how much of its quota is used. A
/// controller manager that was just replaced first waits until the lease of the one before has run out, 15 s and some tries.
const YOUNG_NAMESPACE: Duration = Duration::from_secs(120);

/// How often it is tried whether it has got that.
const YOUNG_POLL: Duration = Duration::from_millis(100);

/// What a refusal says where no quota covers what was asked for.
pub(super) const NO_QUOTA: &str = "insufficient quota";

/// A namespace of one probe run.
pub struct Ground<'a> {
    client: &'a ApiClient,
    /// Name of the namespace.
    pub namespace: String,
    image: String,
    domain: String,
}

/// A pod of a probe run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Listens; a policy lets every pod of the namespace in.
    Server,
    /// A policy lets it out to every pod of the namespace.
    Client,
    /// Listens; no policy says anything about it, so nothing may come in or go out.
    Unlisted,
}

impl Peer {
    const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Unlisted => "unlisted",
        }
    }

    const fn listens(self) -> bool {
        matches!(self, Self::Server | Self::Unlisted)
    }

    /// What the policy about it says.
    fn rules(self) -> Option<Value> {
        match self {
            Self::Server => {
                Some(json!({"policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]}))
            }
            Self::Client => {
                Some(json!({"policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {}}]}]}))
            }
            Self::Unlisted => None,
        }
    }
}

/// What a pod does, each in a container of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Resolve a listening pod's name. It resolves once that pod is ready, since that is when it is published.
    Resolve(Peer),
    /// Connect to a listening pod by its name.
    Connect(Peer),
}

impl Attempt {
    /// Name of the container.
    fn name(self) -> String {
        match self {
            Self::Resolve(peer) => format!("resolve-{}", peer.name()),
            Self::Connect(peer) => format!("connect-{}", peer.name()),
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Resolve(_) => "resolve",
            Self::Connect(_) => "connect",
        }
    }

    const fn peer(self) -> Peer {
        match self {
            Self::Resolve(peer) | Self::Connect(peer) => peer,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// It did what it was to do.
    Succeeded,
    /// It ran and did not manage; what it said.
    Refused(String),
}

impl<'a> Ground<'a> {
    /// Removes what earlier runs left and makes a fresh namespace.
    ///
    /// # Errors
    /// The API refuses or does not answer.
    pub async fn prepare(
        client: &'a ApiClient,
        image: &str,
        domain: &str,
        unique: &str,
    ) -> Result<Self, ApiError> {
        for left in client.list("/api/v1/namespaces").await? {
            let name = left.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            if left.pointer("/metadata/labels").and_then(|labels| labels.get(PROBE_LABEL)).is_some() {
                client.delete(&format!("/api/v1/namespaces/{name}")).await?;
            }
        }
        let namespace = format!("kubezt-probe-{unique}");
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            // No Pod Security label: what is tried is what the cluster enforces where nobody asked for anything.
            "metadata": {"name": namespace, "labels": {PROBE_LABEL: "true"}},
        });
        client.create(&object).await?;
        Ok(Self { client, namespace, image: image.to_owned(), domain: domain.to_owned() })
    }

    /// Gives the namespace a quota for its pods, and for nothing else: where the cluster admits no pod without one, those of
    /// this probe are admitted as soon as the quota is counted.
    ///
    /// # Errors
    /// The API refuses or does not answer.
    pub async fn give_quota(&self) -> Result<(), ApiError> {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": "pods", "namespace": self.namespace},
            "spec": {"hard": {"count/pods": "20"}},
        });
        self.client.create(&quota).await.map(drop)
    }

    /// Removes the namespace; it goes away in the background.
    ///
    /// # Errors
    /// The API refuses or does not answer.
    pub async fn clear(&self) -> Result<(), ApiError> {
        self.client.delete(&format!("/api/v1/namespaces/{}", self.namespace)).await
    }

    /// A pod of this probe on a node, as restricted as Pod Security demands, with a label.
    fn pod(&self, name: &str, app: &str, node: &NodeName, containers: Vec<Value>) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "labels": {"app": app}},
            "spec": {
                "nodeName": node.as_str(),
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 0,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "tolerations": [{"operator": "Exists"}],
                "containers": containers,
            },
        })
    }

    fn container(&self, name: &str, arguments: &[String]) -> Value {
        json!({
            "name": name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "args": arguments,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        })
    }

    /// Starts a pod that makes these attempts, each for `patience` at most. What a policy says about it is said first, so that it
    /// never waits for that.
    ///
    /// # Errors
    /// The API refuses.
    pub async fn start(
        &self,
        peer: Peer,
        node: &NodeName,
        attempts: &[Attempt],
        patience: Duration,
    ) -> Result<(), String> {
        let policy = peer.rules().map(|rules| self.policy(peer, rules));
        let service = peer.listens().then(|| self.service(peer));
        for object in policy.iter().chain(&service) {
            self.client.create(object).await.map_err(|error| error.to_string())?;
        }
        let mut containers = Vec::new();
        if peer.listens() {
            let arguments = ["probe", "listen", "--port", &PORT.to_string()].map(str::to_owned);
            let mut listening = self.container(LISTEN, &arguments);
            // Asked by kubelet from the node itself, which policies let through: what is ready does listen.
            listening["readinessProbe"] = json!({"tcpSocket": {"port": PORT}, "periodSeconds": 1});
            containers.push(listening);
        }
        for attempt in attempts {
            // The dot at its end makes the name complete: no search list is gone through first.
            let server = attempt.peer().name();
            let target = format!("{server}.{}.svc.{}.:{PORT}", self.namespace, self.domain);
            containers.push(self.attempting(*attempt, &target, patience));
        }
        self.create_pod(&self.pod(peer.name(), peer.name(), node, containers)).await
    }

    /// Waits until a listening pod does.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn listens(&self, peer: Peer, timeout: Duration) -> Result<(), String> {
        let ready = |pod: &Value| status(pod, LISTEN)?["ready"].as_bool()?.then_some(());
        self.wait(peer.name(), timeout, ready).await
    }

    /// Lets one more pod, about which the policies say what they say about `from`, connect to the address of the pod `to`, for so
    /// long at most, and waits until it has ended.
    ///
    /// # Errors
    /// The API refuses, or a pod does not run in time.
    pub async fn connect_by_address(
        &self,
        from: Peer,
        node: &NodeName,
        to: Peer,
        patience: Duration,
        timeout: Duration,
    ) -> Result<Trial, String> {
        let address = |pod: &Value| pod.pointer("/status/podIP")?.as_str()?.parse().ok();
        let server: IpAddr = self.wait(to.name(), timeout, address).await?;
        let target = SocketAddr::new(server, PORT).to_string();
        let attempt = Attempt::Connect(to);
        let name = format!("{}-{}-by-address", from.name(), attempt.name());
        let containers = vec![self.attempting(attempt, &target, patience)];
        self.create_pod(&self.pod(&name, from.name(), node, containers)).await?;
        self.wait(&name, timeout, |pod| trial(pod, attempt)).await
    }

    /// How an attempt has ended by now; `None` while it goes on.
    ///
    /// # Errors
    /// The pod is not shown by the API.
    pub async fn outcome_so_far(&self, peer: Peer, attempt: Attempt) -> Result<Option<Trial>, String> {
        self.wait(peer.name(), Duration::ZERO, |pod| Some(trial(pod, attempt))).await
    }

    /// How an attempt ends.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn outcome(&self, peer: Peer, attempt: Attempt, timeout: Duration) -> Result<Trial, String> {
        self.wait(peer.name(), timeout, |pod| trial(pod, attempt)).await
    }

    fn attempting(&self, attempt: Attempt, target: &str, patience: Duration) -> Value {
        let seconds = patience.as_secs().to_string();
        let arguments = ["probe", attempt.verb(), target, "--seconds", &seconds].map(str::to_owned);
        self.container(&attempt.name(), &arguments)
    }

    /// A name that leads to the pod's own address.
    fn service(&self, peer: Peer) -> Value {
        let name = peer.name();
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"port": PORT}]},
        })
    }

    fn policy(&self, peer: Peer, mut rules: Value) -> Value {
        rules["podSelector"] = json!({"matchLabels": {"app": peer.name()}});
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": peer.name(), "namespace": self.namespace},
            "spec": rules,
        })
    }

    /// Whether the API would admit this change to a harmless pod, once the namespace has all that pods need; nothing is stored.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn would_admit(
        &self,
        node: &NodeName,
        change: impl FnOnce(&mut Value),
    ) -> Result<Result<(), String>, ApiError> {
        let mut pod = self.pod("trial", "trial", node, vec![self.container("trial", &[])]);
        change(&mut pod);
        self.judged(&pod, |error| is_without_account(error) || is_without_quota(error)).await
    }

    /// Whether the API would admit a harmless pod to the namespace as it was made; nothing is stored.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn would_admit_without_quota(&self, node: &NodeName) -> Result<Result<(), String>, ApiError> {
        let pod = self.pod("trial", "trial", node, vec![self.container("trial", &[])]);
        self.judged(&pod, is_without_account).await
    }

    /// Whether the API would take a Service of this type; nothing is stored.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn would_serve(&self, kind: &str) -> Result<Result<(), String>, ApiError> {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "trial", "namespace": self.namespace},
            "spec": {"type": kind, "selector": {"app": "trial"}, "ports": [{"port": PORT}]},
        });
        self.judged(&service, |_| false).await
    }

    /// Whether the API would take a namespace that asks for this level of Pod Security; nothing is stored.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn would_name(&self, level: &str) -> Result<Result<(), String>, ApiError> {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": format!("{}-{level}", self.namespace), "labels": {
                PROBE_LABEL: "true", "pod-security.kubernetes.io/enforce": level}},
        });
        self.judged(&namespace, |_| false).await
    }

    /// What the API says of an object in a dry run; asked again while it refuses for a reason that passes.
    async fn judged(
        &self,
        object: &Value,
        passes: impl Fn(&ApiError) -> bool,
    ) -> Result<Result<(), String>, ApiError> {
        let deadline = tokio::time::Instant::now() + YOUNG_NAMESPACE;
        loop {
            match self.client.would_create(object).await {
                Ok(_) => return Ok(Ok(())),
                Err(error) if passes(&error) && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(YOUNG_POLL).await;
                }
                Err(ApiError::Refused { code: 403, message, .. }) => return Ok(Err(message)),
                // The server has no code of its own for a scope that no quota covers.
                Err(ApiError::Refused { message, .. }) if message.contains(NO_QUOTA) => {
                    return Ok(Err(message));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn create_pod(&self, pod: &Value) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + YOUNG_NAMESPACE;
        loop {
            match self.client.create(pod).await {
                Ok(_) => return Ok(()),
                Err(error)
                    if (is_without_account(&error) || is_without_quota(&error))
                        && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(YOUNG_POLL).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn wait<T>(
        &self,
        name: &str,
        timeout: Duration,
        done: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, String> {
        let path = format!("/api/v1/namespaces/{}/pods/{name}", self.namespace);
        let deadline = tokio::time::Instant::now() + timeout;
        let mut last = "it was never seen".to_owned();
        loop {
            let mut version = String::new();
            match self.client.read(&path).await {
                Ok(Some(pod)) => {
                    if let Some(value) = done(&pod) {
                        return Ok(value);
                    }
                    last = describe(&pod);
                    version = text(&pod, "/metadata/resourceVersion").to_owned();
                }
                Ok(None) => {}
                Err(error) => last = error.to_string(),
            }
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return Err(format!(
                    "pod {}/{name} did not get there within {} s: {last}",
                    self.namespace,
                    timeout.as_secs()
                ));
            }
            if self.client.changed(&path, &version, left.min(UNCHANGED)).await.is_err() {
                tokio::time::sleep(POLL.min(left)).await;
            }
        }
    }
}

fn trial(pod: &Value, attempt: Attempt) -> Option<Trial> {
    let ended = status(pod, &attempt.name())?.pointer("/state/terminated")?;
    if ended["exitCode"] == 0 {
        return Some(Trial::Succeeded);
    }
    Some(Trial::Refused(ended["message"].as_str().unwrap_or("no word").trim().to_owned()))
}

/// What is known of a container.
fn status<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    let statuses = pod.pointer("/status/containerStatuses")?.as_array()?;
    statuses.iter().find(|status| status["name"] == container)
}

/// The namespace's default service account is made by a controller a moment after it.
fn is_without_account(error: &ApiError) -> bool {
    matches!(error, ApiError::Refused { code: 403, message, .. } if message.contains("service account"))
}

/// What its quota has been used for is counted by a controller a moment after it was made, and before it does not count.
fn is_without_quota(error: &ApiError) -> bool {
    let uncounted = |message: &str| {
        message.contains("insufficient quota to consume") || message.contains("status unknown for quota")
    };
    matches!(error, ApiError::Refused { code: 403, message, .. } if uncounted(message))
}

fn describe(pod: &Value) -> String {
    let waiting = text(pod, "/status/containerStatuses/0/state/waiting/reason");
    let message = text(pod, "/status/containerStatuses/0/state/waiting/message");
    format!("{} {waiting} {message}", text(pod, "/status/phase")).trim().to_owned()
}
