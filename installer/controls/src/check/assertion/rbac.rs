//! Who may do what.

use std::collections::BTreeSet;

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

/// Roles and their bindings.
pub fn roles_and_bindings() -> Vec<ApiRead> {
    let mut reads = bindings();
    reads.push(ApiRead::all(RBAC, "ClusterRole", "clusterroles"));
    reads.push(ApiRead::all(RBAC, "Role", "roles"));
    reads
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
        "User" => name.starts_with("system:") && name != "system:anonymous",
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

fn reads_secrets(role: &Value) -> bool {
    let has = |rule: &Value, field: &str, wanted: &[&str]| {
        rule[field].as_array().into_iter().flatten().any(|item| wanted.iter().any(|wanted| item == wanted))
    };
    role["rules"].as_array().into_iter().flatten().any(|rule| {
        has(rule, "apiGroups", &["", "*"])
            && has(rule, "resources", &["secrets", "*"])
            && has(rule, "verbs", &["get", "list", "watch", "*"])
    })
}

/// Every subject that may read Secrets is part of the system or allowed.
pub fn secret_readers(context: &ClusterContext<'_>, allowed: &[String]) -> Result<Judged, String> {
    let reads = roles_and_bindings();
    let found = objects(context, &reads)?;
    let readers: BTreeSet<(String, String, String)> = found
        .iter()
        .filter(|(kind, role)| ["Role", "ClusterRole"].contains(kind) && reads_secrets(role))
        .map(|(kind, role)| {
            let text = |field: &str| role["metadata"][field].as_str().unwrap_or_default().to_owned();
            ((*kind).to_owned(), text("namespace"), text("name"))
        })
        .collect();
    let mut looked_at = 0;
    let mut broken = Vec::new();
    for (kind, binding) in found.iter().filter(|(kind, _)| kind.ends_with("Binding")) {
        if !readers.contains(&role_of(binding)) {
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
    Ok(outcome("only documented subjects read Secrets", looked_at, broken))
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
