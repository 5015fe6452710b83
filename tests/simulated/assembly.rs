//! A desired state put together as the command does it, with made-up components in the place of real ones.
//!
//! Templates and profiles are read from disk, so that a changed one is tested without the binary being built. The
//! network plug-in's chart is left out: Helm renders it, and Helm is a component.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use kubezt_controls::Library;
use kubezt_model::cluster::{self, Role};
use kubezt_model::desired::{
    Cluster, ComponentFile, ComponentImage, Desired, DesiredNode, ManifestSet, Node,
};
use kubezt_model::{Digest, Mode, SecretText};
use kubezt_render::{Input, Secrets, Templates};
use serde_json::{Value, json};

static LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::load(texts("profiles")).unwrap());
static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| Templates::load(texts("templates")).unwrap());

/// A key of 32 bytes in base64 that protects nothing.
pub const PLANTED_KEY: &str = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=";

/// Component, path on nodes, and about as many megabytes as it has there.
const COMPONENTS: [(&str, &str, u64); 6] = [
    ("cni", "/opt/cni/bin/loopback", 3),
    ("containerd", "/usr/local/bin/containerd", 45),
    ("containerd", "/usr/local/bin/ctr", 23),
    ("kubernetes", "/usr/local/bin/kubelet", 84),
    ("kubezt", "/usr/local/bin/kubezt", 39),
    ("runc", "/usr/local/bin/runc", 15),
];

/// Short name, reference, whether only the control plane needs it, and about as many megabytes as its archive has.
const IMAGES: [(&str, &str, bool, u64); 8] = [
    ("agent", "quay.io/cilium/cilium:v1.20.2", false, 645),
    ("coredns", "registry.k8s.io/coredns/coredns:v1.14.7", false, 77),
    ("etcd", "registry.k8s.io/etcd:3.6.14-0", true, 58),
    ("kube-apiserver", "registry.k8s.io/kube-apiserver:v1.36.3", true, 122),
    ("kube-controller-manager", "registry.k8s.io/kube-controller-manager:v1.36.3", true, 105),
    ("kube-scheduler", "registry.k8s.io/kube-scheduler:v1.36.3", true, 73),
    ("operator", "quay.io/cilium/operator-generic:v1.20.2", false, 96),
    ("pause", "registry.k8s.io/pause:3.10.1", false, 1),
];

/// Bytes of a megabyte.
const MEGABYTE: u64 = 1_000_000;

/// Resolves and renders the text of a cluster file. `build` stands for the version of every component: another one
/// gives other digests.
pub fn desired(text: &str, profile: &str, build: &str) -> Result<Desired, String> {
    let file = cluster::parse("cluster.yaml", text)
        .map_err(|errors| errors.iter().map(|error| format!("{error}\n")).collect::<String>())?;
    let cluster = kubezt_controls::resolve(&LIBRARY, &file, text, "cluster.yaml", Some(profile))
        .map_err(|errors| errors.iter().map(|error| format!("{error}\n")).collect::<String>())?;
    let (images, secrets) = (image_names(), secrets());
    let input = Input { cluster: &cluster, images: &images, secrets: &secrets };
    let mut nodes = kubezt_render::render_nodes(&TEMPLATES, &input).map_err(|errors| {
        errors.iter().map(|(node, error)| format!("{node}: {error}\n")).collect::<String>()
    })?;
    nodes.iter_mut().for_each(|node| add_components(node, build));
    let mut manifests =
        kubezt_render::render_manifests(&TEMPLATES, &input).map_err(|error| error.to_string())?;
    // As the command does it: labels go through the API, after everything else.
    manifests.push(ManifestSet {
        name: "nodes".to_owned(),
        objects: cluster.nodes.iter().map(node_object).collect(),
        absent: Vec::new(),
    });
    Ok(Desired { cluster, nodes, manifests })
}

/// The profiles of the repository.
#[allow(dead_code, reason = "only one of the two test programs looks at it")]
pub fn library() -> &'static Library {
    &LIBRARY
}

/// Values for the chart of the cluster's network plug-in.
#[allow(dead_code, reason = "only one of the two test programs looks at it")]
pub fn chart_values(cluster: &Cluster) -> Value {
    let (images, secrets) = (image_names(), secrets());
    let input = Input { cluster, images: &images, secrets: &secrets };
    kubezt_render::chart_values(&TEMPLATES, &input).unwrap()
}

/// Files below a folder of the repository, as path in the folder and text, sorted.
fn texts(folder: &str) -> Vec<(String, String)> {
    files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder)).into_iter().collect()
}

/// Text of every file below a folder, by its path in there; nothing where there is no such folder.
pub fn files_below(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(next) = folders.pop().filter(|next| next.is_dir()) {
        for entry in fs_err::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs_err::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

fn secrets() -> Secrets {
    Secrets { encryption_key: SecretText::new(PLANTED_KEY.to_owned()) }
}

fn image_names() -> BTreeMap<String, String> {
    IMAGES.iter().map(|(name, reference, ..)| ((*name).to_owned(), (*reference).to_owned())).collect()
}

fn add_components(desired: &mut DesiredNode, build: &str) {
    let role = desired.node.role;
    let digest = |name: &str| Digest::of(format!("{name} {build}").as_bytes());
    desired.components = COMPONENTS
        .iter()
        .map(|(component, path, megabytes)| ComponentFile {
            component: (*component).to_owned(),
            path: (*path).to_owned(),
            mode: Mode::new(0o755),
            digest: digest(path),
            size: megabytes * MEGABYTE,
        })
        .collect();
    desired.images = IMAGES
        .iter()
        .filter(|(_, _, control_plane, _)| !control_plane || role == Role::ControlPlane)
        .map(|(_, reference, _, megabytes)| ComponentImage {
            reference: (*reference).to_owned(),
            digest: digest(reference),
            size: megabytes * MEGABYTE,
        })
        .collect();
}

fn node_object(node: &Node) -> Value {
    let mut labels = node.labels.clone();
    labels.insert(format!("node-role.kubernetes.io/{}", node.role.as_str()), String::new());
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": node.name.as_str(), "labels": labels},
    })
}
