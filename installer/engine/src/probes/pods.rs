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

/// A pair of pods on two nodes: one listens behind a name, the other one connects to it all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair {
    /// A policy allows its traffic.
    Listed,
    /// No policy says anything about it.
    Unlisted,
}

impl Pair {
    const fn server(self) -> &'static str {
        match self {
            Self::Listed => "listed-server",
            Self::Unlisted => "unlisted-server",
        }
    }

    const fn client(self) -> &'static str {
        match self {
            Self::Listed => "listed-client",
            Self::Unlisted => "unlisted-client",
        }
    }

    /// What the connecting pod attempts. A connection by name tells that the name resolves as well; where there must be none, that
    /// has to be told apart.
    const fn attempts(self) -> &'static [Attempt] {
        match self {
            Self::Listed => &[Attempt::Connect],
            Self::Unlisted => &[Attempt::Resolve, Attempt::Connect],
        }
    }
}

/// What the connecting pod does, each in a container of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Resolve the server's name. It resolves once the server is ready, since that is when it is published.
    Resolve,
    /// Connect to the server by its name.
    Connect,
}

impl Attempt {
    const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
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

    /// A pod of this probe on a node, as restricted as Pod Security demands, with a label and with containers of these
    /// names and arguments.
    fn pod(&self, name: &str, app: &str, node: &NodeName, containers: &[(&str, Vec<String>)]) -> Value {
        let containers: Vec<Value> =
            containers.iter().map(|(name, arguments)| self.container(name, arguments)).collect();
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

    /// Starts a pair of pods that makes its attempts, each for `patience` at most. What allows the listed pair to talk
    /// is made first, so that its pods never wait for a policy.
    ///
    /// # Errors
    /// The API refuses.
    pub async fn start(
        &self,
        pair: Pair,
        near: &NodeName,
        far: &NodeName,
        patience: Duration,
    ) -> Result<(), String> {
        let server = pair.server();
        if pair == Pair::Listed {
            self.client.create(&self.policy()).await.map_err(|error| error.to_string())?;
        }
        // Its name leads to the pod's own address.
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": server, "namespace": self.namespace},
            "spec": {"clusterIP": "None", "selector": {"app": server}, "ports": [{"port": PORT}]},
        });
        self.client.create(&service).await.map_err(|error| error.to_string())?;
        let listen = ["probe", "listen", "--port", &PORT.to_string()].map(str::to_owned).to_vec();
        let mut listening = self.pod(server, server, far, &[("listen", listen)]);
        // Asked by kubelet from the node itself, which policies let through: what is ready does listen.
        listening["spec"]["containers"][0]["readinessProbe"] =
            json!({"tcpSocket": {"port": PORT}, "periodSeconds": 1});
        // The dot at its end makes the name complete: no search list is gone through first.
        let target = format!("{server}.{}.svc.{}.:{PORT}", self.namespace, self.domain);
        let seconds = patience.as_secs().to_string();
        let containers: Vec<_> = pair
            .attempts()
            .iter()
            .map(|attempt| {
                let name = attempt.name();
                (name, ["probe", name, &target, "--seconds", &seconds].map(str::to_owned).to_vec())
            })
            .collect();
        let connecting = self.pod(pair.client(), pair.client(), near, &containers);
        tokio::try_join!(self.create_pod(&listening), self.create_pod(&connecting)).map(drop)
    }

    /// Waits until the listening pod is ready.
    ///
    /// # Errors
    /// It is not ready in time.
    pub async fn listens(&self, pair: Pair, timeout: Duration) -> Result<(), String> {
        let ready = |pod: &Value| pod.pointer("/status/containerStatuses/0/ready")?.as_bool()?.then_some(());
        self.wait(pair.server(), timeout, ready).await
    }

    /// Lets one more pod of the pair connect to the server's address, for so long at most, and waits until it has ended.
    ///
    /// # Errors
    /// The API refuses, or a pod does not run in time.
    pub async fn connect_by_address(
        &self,
        pair: Pair,
        near: &NodeName,
        patience: Duration,
        timeout: Duration,
    ) -> Result<Trial, String> {
        let address = |pod: &Value| pod.pointer("/status/podIP")?.as_str()?.parse().ok();
        let server: IpAddr = self.wait(pair.server(), timeout, address).await?;
        let target = SocketAddr::new(server, PORT).to_string();
        let seconds = patience.as_secs().to_string();
        let connect = ["probe", "connect", &target, "--seconds", &seconds].map(str::to_owned).to_vec();
        let name = format!("{}-by-address", pair.client());
        let containers = [(Attempt::Connect.name(), connect)];
        self.create_pod(&self.pod(&name, pair.client(), near, &containers)).await?;
        self.wait(&name, timeout, |pod| trial(pod, Attempt::Connect)).await
    }

    /// How an attempt has ended by now; `None` while it goes on.
    ///
    /// # Errors
    /// The pod is not shown by the API.
    pub async fn outcome_so_far(&self, pair: Pair, attempt: Attempt) -> Result<Option<Trial>, String> {
        self.wait(pair.client(), Duration::ZERO, |pod| Some(trial(pod, attempt))).await
    }

    /// How an attempt ends.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn outcome(&self, pair: Pair, attempt: Attempt, timeout: Duration) -> Result<Trial, String> {
        self.wait(pair.client(), timeout, |pod| trial(pod, attempt)).await
    }

    /// Allows the listed pair, and nobody else, to talk to each other.
    fn policy(&self) -> Value {
        let apps = [Pair::Listed.server(), Pair::Listed.client()];
        let listed = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": apps}]});
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "listed", "namespace": self.namespace},
            "spec": {
                "podSelector": listed,
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"podSelector": listed}]}],
                "egress": [{"to": [{"podSelector": listed}]}],
            },
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
        let mut pod = self.pod("trial", "trial", node, &[("trial", Vec::new())]);
        change(&mut pod);
        self.judged(&pod, |error| is_without_account(error) || is_without_quota(error)).await
    }

    /// Whether the API would admit a harmless pod to the namespace as it was made; nothing is stored.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn would_admit_without_quota(&self, node: &NodeName) -> Result<Result<(), String>, ApiError> {
        let pod = self.pod("trial", "trial", node, &[("trial", Vec::new())]);
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
    let statuses = pod.pointer("/status/containerStatuses")?.as_array()?;
    let status = statuses.iter().find(|status| status["name"] == attempt.name())?;
    let ended = status.pointer("/state/terminated")?;
    if ended["exitCode"] == 0 {
        return Some(Trial::Succeeded);
    }
    Some(Trial::Refused(ended["message"].as_str().unwrap_or("no word").trim().to_owned()))
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
