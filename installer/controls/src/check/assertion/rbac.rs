//! Who may do what.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::api::{ApiRead, object_name, objects, outcome};
use super::super::{ClusterContext, Judged};

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// Groups everybody is in: granting them something is granting it to everybody.
const BROAD: [&str; 3] = ["system:authenticated", "system:unauthenticated", "system:serviceaccounts"];

/// The role bindings of the cluster.
pub fn bindings() -> Vec<ApiRead> {
    vec![
        ApiRead::all(RBAC, "ClusterRoleBinding", "clusterrolebindings"),
        ApiRead::all(RBAC, "RoleBinding", "rolebindings"),
    ]
}

/// The roles of the cluster.
pub fn roles() -> Vec<ApiRead> {
    vec![ApiRead::all(RBAC, "ClusterRole", "clusterroles"), ApiRead::all(RBAC, "Role", "roles")]
}

/// Roles and their bindings.
pub fn roles_and_bindings() -> Vec<ApiRead> {
    bindings().into_iter().chain(roles()).collect()
}

/// Something RBAC may allow: each of the verbs on each of the resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Right {
    /// API groups; empty text is the core group.
    pub api_groups: Vec<String>,
    /// Resources, `pods/exec` for a part of one.
    pub resources: Vec<String>,
    /// Verbs.
    pub verbs: Vec<String>,
}

impl Right {
    /// Whether a role gives any of it.
    fn is_in(&self, role: &Value) -> bool {
        let has = |rule: &Value, field: &str, wanted: &[String]| {
            let mut written = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
            written.any(|item| item == "*" || wanted.iter().any(|wanted| item == wanted))
        };
        // `*/exec` is the part `exec` of every resource.
        let parts = self.resources.iter().filter_map(|name| Some(format!("*/{}", name.split_once('/')?.1)));
        let resources: Vec<String> = self.resources.iter().cloned().chain(parts).collect();
        role["rules"].as_array().into_iter().flatten().any(|rule| {
            has(rule, "apiGroups", &self.api_groups)
                && has(rule, "resources", &resources)
                && has(rule, "verbs", &self.verbs)
        })
    }
}

/// `User/name`, `Group/name` or `ServiceAccount/namespace/name`.
fn subject_name(subject: &Value) -> String {
    let text = |field: &str| subject[field].as_str().unwrap_or_default();
    match text("kind") {
        "ServiceAccount" => format!("ServiceAccount/{}/{}", text("namespace"), text("name")),
        kind => format!("{kind}/{}", text("name")),
    }
}

/// A component of Kubernetes itself, and not a group everybody is in.
fn is_system(subject: &Value) -> bool {
    let text = |field: &str| subject[field].as_str().unwrap_or_default();
    let name = text("name");
    match text("kind") {
        "ServiceAccount" => text("namespace") == "kube-system",
        "User" => {
            // A service account may be named as a user as well.
            let account = name.strip_prefix("system:serviceaccount:");
            account.map_or(name.starts_with("system:") && name != "system:anonymous", |account| {
                account.starts_with("kube-system:")
            })
        }
        "Group" => {
            name.starts_with("system:")
                && !BROAD.contains(&name)
                && !name.starts_with("system:serviceaccounts:")
        }
        _ => false,
    }
}

fn subjects(binding: &Value) -> impl Iterator<Item = &Value> {
    binding["subjects"].as_array().into_iter().flatten()
}

/// The key of the role a binding refers to, and the namespace it lies in.
fn role_of(binding: &Value) -> (String, String, String) {
    let kind = binding["roleRef"]["kind"].as_str().unwrap_or_default();
    let name = binding["roleRef"]["name"].as_str().unwrap_or_default();
    let namespace =
        if kind == "Role" { binding["metadata"]["namespace"].as_str().unwrap_or_default() } else { "" };
    (kind.to_owned(), namespace.to_owned(), name.to_owned())
}

/// Every subject that may read Secrets is part of the system or allowed.
pub fn secret_readers(context: &ClusterContext<'_>, allowed: &[String]) -> Result<Judged, String> {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let reading = Right {
        api_groups: texts(&[""]),
        resources: texts(&["secrets"]),
        verbs: texts(&["get", "list", "watch"]),
    };
    holders(context, &[reading], allowed, "only documented subjects read Secrets")
}

/// Every subject that holds one of the rights is part of the system or allowed.
pub fn right_holders(
    context: &ClusterContext<'_>,
    rights: &[Right],
    allowed: &[String],
) -> Result<Judged, String> {
    let words: Vec<String> = rights
        .iter()
        .map(|right| format!("{} {}", right.verbs.join("/"), right.resources.join(", ")))
        .collect();
    holders(context, rights, allowed, &format!("only documented subjects may {}", words.join(", ")))
}

fn holders(
    context: &ClusterContext<'_>,
    rights: &[Right],
    allowed: &[String],
    wanted: &str,
) -> Result<Judged, String> {
    let reads = roles_and_bindings();
    let found = objects(context, &reads)?;
    let giving: BTreeSet<(String, String, String)> = found
        .iter()
        .filter(|(kind, role)| {
            ["Role", "ClusterRole"].contains(kind) && rights.iter().any(|right| right.is_in(role))
        })
        .map(|(kind, role)| {
            let text = |field: &str| role["metadata"][field].as_str().unwrap_or_default().to_owned();
            ((*kind).to_owned(), text("namespace"), text("name"))
        })
        .collect();
    let mut looked_at = 0;
    let mut broken = Vec::new();
    for (kind, binding) in found.iter().filter(|(kind, _)| kind.ends_with("Binding")) {
        if !giving.contains(&role_of(binding)) {
            continue;
        }
        looked_at += 1;
        for subject in subjects(binding) {
            let name = subject_name(subject);
            if !is_system(subject) && !allowed.contains(&name) {
                broken.push(format!("{name} by {}", object_name(kind, binding)));
            }
        }
    }
    Ok(outcome(wanted, looked_at, broken))
}

/// No role beside Kubernetes' own has a `*` among its API groups, resources or verbs.
pub fn without_wildcards(context: &ClusterContext<'_>, allowed: &[String]) -> Result<Judged, String> {
    let reads = roles();
    let found = objects(context, &reads)?;
    let mut broken = Vec::new();
    for (kind, role) in &found {
        let text = |field: &str| role["metadata"][field].as_str().unwrap_or_default();
        let name = object_name(kind, role).replacen(' ', "/", 1);
        let built_in = text("name").starts_with("system:") || name == "ClusterRole/cluster-admin";
        let wildcard = |rule: &Value| {
            ["apiGroups", "resources", "verbs"]
                .iter()
                .any(|field| rule[*field].as_array().into_iter().flatten().any(|item| item == "*"))
        };
        let has = role["rules"].as_array().into_iter().flatten().any(wildcard);
        if has && !built_in && !allowed.contains(&name) {
            broken.push(name);
        }
    }
    Ok(outcome("no role with a wildcard beside the built-in ones", found.len(), broken))
}

/// The role that everybody may have, and what it is bound by.
const PUBLIC: &str = "system:public-info-viewer";

/// Nothing but public information is granted to anonymous users.
pub fn anonymous(context: &ClusterContext<'_>) -> Result<Judged, String> {
    let reads = bindings();
    let found = objects(context, &reads)?;
    let mut broken = Vec::new();
    for (kind, binding) in &found {
        let anonymous = |subject: &Value| {
            let name = subject["name"].as_str().unwrap_or_default();
            ["system:anonymous", "system:unauthenticated"].contains(&name)
        };
        if subjects(binding).any(anonymous) && binding["roleRef"]["name"] != PUBLIC {
            broken.push(object_name(kind, binding));
        }
    }
    Ok(outcome("nothing but public information granted to anonymous users", found.len(), broken))
}

/// Only the built-in binding and allowed subjects hold cluster-admin.
pub fn cluster_admins(context: &ClusterContext<'_>, allowed: &[String]) -> Result<Judged, String> {
    let reads = bindings();
    let mut looked_at = 0;
    let mut broken = Vec::new();
    for (kind, binding) in objects(context, &reads)? {
        if binding["roleRef"]["name"] != "cluster-admin" {
            continue;
        }
        looked_at += 1;
        let built_in = kind == "ClusterRoleBinding" && binding["metadata"]["name"] == "cluster-admin";
        for subject in subjects(binding) {
            let name = subject_name(subject);
            // Kubernetes puts this binding back whenever it is taken away; no credential may carry the group.
            let expected = built_in && name == "Group/system:masters";
            if !expected && !allowed.contains(&name) {
                broken.push(format!("{name} by {}", object_name(kind, binding)));
            }
        }
    }
    Ok(outcome("only documented subjects are cluster-admin", looked_at, broken))
}
