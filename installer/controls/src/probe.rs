//! Probes: behaviour that is tried from outside. This crate only says what to try; the engine tries it.

use kubezt_model::NodeName;
use kubezt_model::settings::LimitedResource;
use serde::{Deserialize, Serialize};

/// One behaviour to try.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Probe {
    /// A request without credentials to the API server is refused with 401.
    AnonymousRequest {
        /// Whether its health, and nothing else, is answered without credentials.
        #[serde(default)]
        health: bool,
    },
    /// A handshake that must not succeed is tried against a component.
    WeakTls {
        /// Whose listening socket.
        component: TlsComponent,
        /// What is tried.
        attempt: WeakTlsAttempt,
    },
    /// A privileged pod is refused at admission (dry run).
    PrivilegedPod {},
    /// A namespace that asks for less Pod Security than the cluster enforces is refused (dry run).
    WeakNamespace {},
    /// In a namespace made a moment ago, whose quota does not cover it, this is refused (dry run).
    WithoutQuota {
        /// What is asked for.
        resource: LimitedResource,
    },
    /// A Secret written through the API lies in etcd as ciphertext of the expected provider.
    SecretCiphertext {},
    /// A request to each API server leaves a record in its audit log, with its bodies where the policy promises them.
    AuditRecord {},
    /// Ports of nodes that are the cluster's own cannot be reached from the operator's machine.
    Firewall {},
    /// A pod in a namespace made a moment ago can reach nothing, and nothing can reach it.
    DefaultDeny {},
    /// A pod resolves a Service name through the cluster's DNS.
    Dns {},
}

/// Components with a TLS socket that can be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsComponent {
    /// kube-apiserver on its secure port.
    KubeApiserver,
    /// etcd on its client port.
    Etcd,
    /// kubelet on port 10250.
    Kubelet,
}

/// Handshakes that must not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeakTlsAttempt {
    /// Offering nothing newer than TLS 1.1.
    #[serde(rename = "tls-1.1")]
    Tls11,
    /// Offering only TLS 1.2 suites outside the approved list.
    WeakCipher,
    /// Presenting no client certificate.
    NoClientCertificate,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeOutcome {
    /// Requirement it belongs to.
    pub requirement: String,
    /// Node it was tried on; `None` for the cluster as a whole.
    pub node: Option<NodeName>,
    /// How it went.
    pub result: ProbeResult,
}

/// How a probe went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeResult {
    /// The behaviour is as wanted.
    Held {
        /// What was seen, one line each; never a secret.
        evidence: Vec<String>,
    },
    /// The behaviour is not as wanted.
    Broken {
        /// What was wanted.
        wanted: String,
        /// What was seen.
        got: String,
    },
    /// There is nothing to try here, and what it would have proved is proved by no other.
    NotApplicable {
        /// Why.
        reason: String,
    },
    /// It could not be tried; never taken for an answer.
    Failed {
        /// Why.
        reason: String,
    },
}
