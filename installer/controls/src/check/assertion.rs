//! Statements about API objects that predicates cannot express.

mod images;
mod namespaces;
mod rbac;
mod secrets;
mod versions;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::api::ApiRead;
use super::content::Statement;
use super::{ClusterContext, Judged};

pub use rbac::Right;

/// A named statement and what it allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssertionCheck {
    /// The statement.
    pub assertion: Assertion,
    /// What is known and allowed: owners of pods (`DaemonSet/cilium`), or subjects (`Group/name`,
    /// `ServiceAccount/namespace/name`), as the statement says.
    #[serde(default)]
    pub allowed: Vec<String>,
    /// Last day a minor version (`1.36`) is maintained.
    #[serde(default)]
    pub maintained_until: BTreeMap<String, jiff::civil::Date>,
    /// Rights whose holders are looked for.
    #[serde(default)]
    pub rights: Vec<Right>,
    /// What every namespace of users must hold one of.
    #[serde(default)]
    pub wanted: Option<ApiRead>,
    /// What must hold for one such object in each namespace.
    #[serde(default)]
    pub each: Vec<Statement>,
}

/// The statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assertion {
    /// In default, kube-public and kube-node-lease lies nothing but Service default/kubernetes (V-242383).
    DefaultNamespacesEmpty,
    /// Every pod in the system namespaces belongs to an allowed owner (V-242417).
    SystemPodsKnown,
    /// No container takes a Secret from its environment (V-242415).
    NoSecretEnvironment,
    /// No two versions of one image are in use (V-242442).
    OneImageVersion,
    /// Only system subjects and allowed ones may read Secrets (V-274884).
    SecretReadersKnown,
    /// Nodes and server are maintained releases within the version-skew policy (V-242443).
    SupportedVersions,
    /// No binding names anonymous users beyond public information.
    NothingForAnonymous,
    /// Nobody beside the built-in binding and allowed subjects is cluster-admin, and nobody uses system:masters.
    ClusterAdminsKnown,
    /// Only system subjects and allowed ones hold certain rights.
    RightHoldersKnown,
    /// No role beside the built-in ones and allowed ones (`ClusterRole/name`, `Role/namespace/name`) has a
    /// wildcard.
    RolesWithoutWildcards,
    /// Every namespace of users holds an object of a kind for which some statements hold.
    NamespacesHold,
}

impl AssertionCheck {
    /// Whether it has what its statement needs.
    ///
    /// # Errors
    /// It does not.
    pub fn validate(&self) -> Result<(), String> {
        if self.assertion == Assertion::SupportedVersions && self.maintained_until.is_empty() {
            return Err("`supported-versions` needs `maintainedUntil`".to_owned());
        }
        if self.assertion == Assertion::SystemPodsKnown && self.allowed.is_empty() {
            return Err("`system-pods-known` needs `allowed`".to_owned());
        }
        if (self.assertion == Assertion::RightHoldersKnown) == self.rights.is_empty() {
            return Err("`rights` and `right-holders-known` belong together".to_owned());
        }
        if (self.assertion == Assertion::NamespacesHold) == self.wanted.is_none() {
            return Err("`wanted` and `namespaces-hold` belong together".to_owned());
        }
        self.each.iter().try_for_each(Statement::validate)
    }

    /// The lists it looks at.
    pub fn reads(&self) -> Vec<ApiRead> {
        match self.assertion {
            Assertion::DefaultNamespacesEmpty => namespaces::user_objects(),
            Assertion::SystemPodsKnown | Assertion::OneImageVersion => vec![pods()],
            Assertion::NoSecretEnvironment => secrets::pod_owners(),
            Assertion::SecretReadersKnown | Assertion::RightHoldersKnown => rbac::roles_and_bindings(),
            Assertion::RolesWithoutWildcards => rbac::roles(),
            Assertion::NamespacesHold => namespaces::with(self.wanted.as_ref()),
            Assertion::NothingForAnonymous | Assertion::ClusterAdminsKnown => rbac::bindings(),
            Assertion::SupportedVersions => vec![ApiRead::all("v1", "Node", "nodes")],
        }
    }

    /// Judges it.
    ///
    /// # Errors
    /// A list was not read, or an object is not what its kind promises.
    pub fn judge(&self, context: &ClusterContext<'_>) -> Result<Judged, String> {
        match self.assertion {
            Assertion::DefaultNamespacesEmpty => namespaces::default_empty(context),
            Assertion::SystemPodsKnown => namespaces::system_pods(context, &self.allowed),
            Assertion::NoSecretEnvironment => secrets::environment(context),
            Assertion::OneImageVersion => images::one_version(context),
            Assertion::SecretReadersKnown => rbac::secret_readers(context, &self.allowed),
            Assertion::RightHoldersKnown => rbac::right_holders(context, &self.rights, &self.allowed),
            Assertion::RolesWithoutWildcards => rbac::without_wildcards(context, &self.allowed),
            Assertion::NamespacesHold => namespaces::hold(context, self.wanted.as_ref(), &self.each),
            Assertion::NothingForAnonymous => rbac::anonymous(context),
            Assertion::ClusterAdminsKnown => rbac::cluster_admins(context, &self.allowed),
            Assertion::SupportedVersions => versions::supported(context, &self.maintained_until),
        }
    }
}

fn pods() -> ApiRead {
    ApiRead::all("v1", "Pod", "pods")
}
