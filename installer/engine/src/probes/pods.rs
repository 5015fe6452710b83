//! Pods that try the data path. They run kubezt's own image, so nothing foreign has to be on the nodes, and answer
//! by their exit status.

use std::net::IpAddr;
use std::time::Duration;

use kubezt_model::NodeName;
use serde_json::{Value, json};

use crate::api::{ApiClient, ApiError};

/// Label of every namespace made for a probe: what a killed run left behind is found by it.
pub const PROBE_LABEL: &str = "kubezt.dev/probe";

/// Port the listening pod takes.
const PORT: u16 = 8080;

/// How long a namespace may lack its default service account. A controller manager that was just replaced first waits
/// until the lease of the one before has run out, 15 s and some tries.
const YOUNG_NAMESPACE: Duration = Duration::from_secs(60);

/// A namespace of one probe run.
pub struct Ground<'a> {
    client: &'a ApiClient,
    /// Name of the namespace.
    pub namespace: String,
    image: String,
    domain: String,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// The pod did what it was told.
    Succeeded,
    /// The pod ran and did not manage; what it said.
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

    /// Removes the namespace; it goes away in the background.
    ///
    /// # Errors
    /// The API refuses or does not answer.
    pub async fn clear(&self) -> Result<(), ApiError> {
        self.client.delete(&format!("/api/v1/namespaces/{}", self.namespace)).await
    }

    /// A pod of this probe on a node, as restricted as Pod Security demands.
    fn pod(&self, name: &str, node: &NodeName, arguments: &[String]) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "labels": {"app": name}},
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
                "containers": [{
                    "name": "probe",
                    "image": self.image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": arguments,
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }],
            },
        })
    }

    /// Starts a listening pod behind a Service of the name `server` and answers with the pod's address.
    ///
    /// # Errors
    /// The API refuses, or the pod does not run in time.
    pub async fn listen(&self, node: &NodeName, timeout: Duration) -> Result<IpAddr, String> {
        let arguments = ["probe", "listen", "--port", &PORT.to_string()].map(str::to_owned);
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "server", "namespace": self.namespace},
            "spec": {"selector": {"app": "server"}, "ports": [{"port": PORT, "targetPort": PORT}]},
        });
        self.client.create(&service).await.map_err(|error| error.to_string())?;
        self.create_pod(&self.pod("server", node, &arguments)).await?;
        self.wait("server", timeout, |pod| {
            let running = pod.pointer("/status/phase").and_then(Value::as_str) == Some("Running");
            let address = pod.pointer("/status/podIP").and_then(Value::as_str)?.parse().ok()?;
            running.then_some(address)
        })
        .await
    }

    /// Lets a pod on a node connect to an address, or to the Service by name.
    ///
    /// # Errors
    /// The API refuses, or the pod does not end in time.
    pub async fn connect(
        &self,
        name: &str,
        node: &NodeName,
        target: Option<IpAddr>,
        patience: Duration,
        timeout: Duration,
    ) -> Result<Trial, String> {
        let host = target.map_or_else(
            || format!("server.{}.svc.{}", self.namespace, self.domain),
            |address| match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            },
        );
        let seconds = patience.as_secs().to_string();
        let target = format!("{host}:{PORT}");
        let arguments = ["probe", "connect", &target, "--seconds", &seconds].map(str::to_owned);
        self.create_pod(&self.pod(name, node, &arguments)).await?;
        self.wait(name, timeout, |pod| {
            let said = || {
                pod.pointer("/status/containerStatuses/0/state/terminated/message")
                    .and_then(Value::as_str)
                    .unwrap_or("no word")
                    .trim()
                    .to_owned()
            };
            match pod.pointer("/status/phase").and_then(Value::as_str) {
                Some("Succeeded") => Some(Trial::Succeeded),
                Some("Failed") => Some(Trial::Refused(said())),
                _ => None,
            }
        })
        .await
    }

    /// Allows the namespace's pods to talk to each other.
    ///
    /// # Errors
    /// The API refuses or does not answer.
    pub async fn allow(&self) -> Result<(), ApiError> {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "allow-each-other", "namespace": self.namespace},
            "spec": {
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"podSelector": {}}]}],
                "egress": [{"to": [{"podSelector": {}}]}],
            },
        });
        self.client.create(&policy).await.map(|_| ())
    }

    /// Whether the API would admit this change to a harmless pod; nothing is stored.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn would_admit(
        &self,
        node: &NodeName,
        change: impl FnOnce(&mut Value),
    ) -> Result<Result<(), String>, ApiError> {
        let mut pod = self.pod("trial", node, &["probe".to_owned()]);
        change(&mut pod);
        let path = format!("/api/v1/namespaces/{}/pods?dryRun=All", self.namespace);
        let body = serde_json::to_vec(&pod).map_err(|error| ApiError::Setup(error.to_string()))?;
        let deadline = tokio::time::Instant::now() + YOUNG_NAMESPACE;
        loop {
            match self.client.call(http::Method::POST, &path, "application/json", body.clone()).await {
                Ok(_) => return Ok(Ok(())),
                // The namespace's default service account is made by a controller a moment later.
                Err(error) if is_young_namespace(&error) && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(ApiError::Refused { code: 403, message, .. }) => return Ok(Err(message)),
                Err(error) => return Err(error),
            }
        }
    }

    async fn create_pod(&self, pod: &Value) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + YOUNG_NAMESPACE;
        loop {
            match self.client.create(pod).await {
                Ok(_) => return Ok(()),
                Err(error) if is_young_namespace(&error) && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
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
            match self.client.read(&path).await {
                Ok(Some(pod)) => {
                    if let Some(value) = done(&pod) {
                        return Ok(value);
                    }
                    last = describe(&pod);
                }
                Ok(None) => {}
                Err(error) => last = error.to_string(),
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(format!(
                    "pod {}/{name} did not get there within {} s: {last}",
                    self.namespace,
                    timeout.as_secs()
                ));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn is_young_namespace(error: &ApiError) -> bool {
    matches!(error, ApiError::Refused { code: 403, message, .. } if message.contains("service account"))
}

fn describe(pod: &Value) -> String {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let waiting = text("/status/containerStatuses/0/state/waiting/reason");
    let message = text("/status/containerStatuses/0/state/waiting/message");
    format!("{} {waiting} {message}", text("/status/phase")).trim().to_owned()
}
