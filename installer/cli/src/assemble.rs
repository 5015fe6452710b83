//! Resolved cluster, rendered files and components become the desired state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kubezt_artifacts::{Architecture, Catalogue, Exported, Extent, Origin, Prepared, Progress, Wanted};
use kubezt_engine::link::{BlobSource, NodeProgram};
use kubezt_model::cluster::Role;
use kubezt_model::desired::{ComponentFile, ComponentImage, Desired, DesiredNode, ManifestSet, Node};
use kubezt_model::{Digest, Mode, SecretText};
use kubezt_plan::steps::NODE_OBJECTS;
use kubezt_render::{Input, Secrets};
use serde_json::{Value, json};

use crate::chart;
use crate::context::{self, Context};
use crate::failure::Failure;
use crate::printer::Printer;

/// Image the probe pods run: kubezt itself, so that nothing foreign is needed to try the data path.
const PROBE_IMAGE: &str = concat!("kubezt.dev/kubezt:", env!("CARGO_PKG_VERSION"));

/// This very program. The link keeps naming the running file also when it was replaced on disk meanwhile.
const PROGRAM: &str = "/proc/self/exe";

/// Architecture of the nodes: that of this program, which runs on them too.
const ARCHITECTURE: Architecture =
    if cfg!(target_arch = "aarch64") { Architecture::Arm64 } else { Architecture::Amd64 };

/// Where the node service's program goes.
const PROGRAM_PATH: &str = "/usr/local/bin/kubezt";

/// The desired state of the nodes, and where the content of every blob it names is.
pub struct Assembled {
    /// What is wanted; what is in the API comes later.
    pub desired: Desired,
    /// Content on this machine.
    pub blobs: BTreeMap<Digest, BlobSource>,
}

impl From<Desired> for Assembled {
    /// For whoever only looks: no node is handed anything.
    fn from(desired: Desired) -> Self {
        Self { desired, blobs: BTreeMap::new() }
    }
}

/// Reference of the image the probe pods run.
pub fn probe_image() -> &'static str {
    PROBE_IMAGE
}

/// Puts everything together; components come from the cache, or are obtained first.
pub async fn assemble(
    context: &Context,
    encryption_key: &SecretText,
    program: &NodeProgram,
    printer: Printer,
) -> Result<Assembled, Failure> {
    let mut desired = rendered(context, encryption_key)?;
    let prepared = components(&context.origin, &[], Extent::Everything, printer).await?;
    let probe = kubezt_artifacts::program_image(
        &cache()?,
        ARCHITECTURE,
        Path::new(PROGRAM),
        program.digest(),
        PROBE_IMAGE,
    )
    .await
    .map_err(Failure::environment)?;
    let probed = kubezt_engine::gates::pair(&context.cluster);
    for node in &mut desired.nodes {
        let tries = probed.is_some_and(|(near, far)| [near, far].contains(&&node.node.name));
        add_components(node, &prepared, tries.then_some(&probe), program);
    }
    let mut blobs: BTreeMap<Digest, BlobSource> = BTreeMap::new();
    let mut add = |digest: Digest, path: &Path, size: u64| {
        blobs.insert(digest, BlobSource { path: path.to_owned(), digest, size });
    };
    prepared.node_files.iter().for_each(|file| add(file.digest, &file.blob, file.size));
    prepared.images.iter().for_each(|image| add(image.digest, &image.blob, image.size));
    add(probe.digest, &probe.blob, probe.size);
    add(program.digest(), Path::new(PROGRAM), program.size());
    Ok(Assembled { desired, blobs })
}

/// The desired state without components, charts and secrets, for commands that neither install nor plan.
pub fn outline(context: &Context) -> Result<Desired, Failure> {
    rendered(context, &no_key())
}

/// The same with every set of objects, of which the network plug-in's, that Helm would render, is empty: what steps there are.
pub fn sketch(context: &Context) -> Result<Desired, Failure> {
    let mut desired = outline(context)?;
    let templates = context::templates()?;
    let images = catalogue()?.image_names(ARCHITECTURE);
    let secrets = Secrets { encryption_key: no_key() };
    let input = Input { cluster: &context.cluster, images: &images, secrets: &secrets };
    desired.manifests = kubezt_render::render_manifests(&templates, &input).map_err(Failure::usage)?;
    let empty = |name: &str| ManifestSet { name: name.to_owned(), objects: Vec::new(), absent: Vec::new() };
    desired.manifests.extend([context.cluster.cni.name.as_str(), NODE_OBJECTS].map(empty));
    Ok(desired)
}

/// The files of every node; nothing has to be obtained for them.
pub fn rendered(context: &Context, encryption_key: &SecretText) -> Result<Desired, Failure> {
    let templates = context::templates()?;
    let images = catalogue()?.image_names(ARCHITECTURE);
    let secrets = Secrets { encryption_key: encryption_key.clone() };
    let input = Input { cluster: &context.cluster, images: &images, secrets: &secrets };
    let nodes = kubezt_render::render_nodes(&templates, &input).map_err(|errors| {
        let told: Vec<String> = errors.iter().map(|(node, error)| format!("{node}: {error}")).collect();
        Failure::usage(told.join("\nerror: "))
    })?;
    Ok(Desired { cluster: context.cluster.clone(), nodes, manifests: Vec::new() })
}

/// For what holds no secret.
fn no_key() -> SecretText {
    SecretText::new(String::new())
}

/// The embedded component recipes.
pub fn catalogue() -> Result<Catalogue, Failure> {
    Catalogue::embedded().map_err(Failure::usage)
}

/// Obtains components; none named means all that clusters need.
pub async fn components(
    origin: &Origin,
    wanted: &[String],
    extent: Extent,
    printer: Printer,
) -> Result<Prepared, Failure> {
    let catalogue = catalogue()?;
    let components = named(&catalogue, wanted);
    let wanted = Wanted { components: &components, extent };
    let report = report(printer);
    kubezt_artifacts::prepare(&catalogue, origin, ARCHITECTURE, wanted, &cache()?, &report)
        .await
        .map_err(Failure::chain)
}

/// Fills a folder with components; none named means all that clusters need.
pub async fn export(
    origin: &Origin,
    wanted: &[String],
    folder: &Path,
    printer: Printer,
) -> Result<Exported, Failure> {
    let catalogue = catalogue()?;
    let components = named(&catalogue, wanted);
    let report = report(printer);
    kubezt_artifacts::export(&catalogue, origin, ARCHITECTURE, &components, &cache()?, folder, &report)
        .await
        .map_err(Failure::chain)
}

fn named<'a>(catalogue: &'a Catalogue, wanted: &'a [String]) -> Vec<&'a str> {
    if wanted.is_empty() { catalogue.installed() } else { wanted.iter().map(String::as_str).collect() }
}

/// What people hear of while components are obtained.
fn report(printer: Printer) -> impl Fn(Progress) + Send + Sync {
    move |progress| match progress {
        Progress::Finished { component, what, seconds } => {
            printer.note(&format!("{component}: {what} ({seconds:.0} s)"));
        }
        Progress::Again { component, problem, seconds } => {
            printer.note(&format!("{component}: {problem}; again in {seconds:.0} s"));
        }
        Progress::Chosen { source, why } => printer.note(&format!("components come from `{source}`: {why}")),
        Progress::Started { .. } | Progress::Waiting { .. } | Progress::Received { .. } => {}
    }
}

/// Where components are cached: `$XDG_CACHE_HOME/kubezt`, or `~/.cache/kubezt`.
fn cache() -> Result<PathBuf, Failure> {
    let home =
        std::env::home_dir().ok_or_else(|| Failure::environment("there is no home folder for the cache"))?;
    Ok(kubezt_artifacts::default_cache(std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from), &home))
}

fn add_components(
    desired: &mut DesiredNode,
    prepared: &Prepared,
    probe: Option<&kubezt_artifacts::ImageArchive>,
    program: &NodeProgram,
) {
    let role = desired.node.role;
    let on_node = |roles: &[Role]| roles.contains(&role);
    desired.components = prepared
        .node_files
        .iter()
        .filter(|file| on_node(&file.roles))
        .map(|file| ComponentFile {
            component: file.component.clone(),
            path: file.path.clone(),
            mode: file.mode,
            digest: file.digest,
            size: file.size,
        })
        .collect();
    desired.components.push(ComponentFile {
        component: "kubezt".to_owned(),
        path: PROGRAM_PATH.to_owned(),
        mode: Mode::new(0o755),
        digest: program.digest(),
        size: program.size(),
    });
    desired.images = prepared
        .images
        .iter()
        .filter(|image| on_node(&image.roles))
        .chain(probe)
        .map(|image| ComponentImage {
            reference: image.reference.clone(),
            digest: image.digest,
            size: image.size,
        })
        .collect();
}

/// Every object in the API: kubezt's own, the CNI's chart right after the first rights, the nodes' labels at the end.
pub async fn manifests(context: &Context, printer: Printer) -> Result<Vec<ManifestSet>, Failure> {
    let templates = context::templates()?;
    let prepared = components(&context.origin, &[], Extent::Tools, printer).await?;
    let images = catalogue()?.image_names(ARCHITECTURE);
    let secrets = Secrets { encryption_key: no_key() };
    let input = Input { cluster: &context.cluster, images: &images, secrets: &secrets };
    let mut sets = kubezt_render::render_manifests(&templates, &input).map_err(Failure::usage)?;
    let cni = &input.cluster.cni.name;
    if let Some(tool) = prepared.chart(cni) {
        let helm = prepared.helm().ok_or_else(|| Failure::environment("Helm was not prepared"))?;
        let values = kubezt_render::chart_values(&templates, &input).map_err(Failure::usage)?;
        let version = &input.cluster.kubernetes_version;
        let chart = chart::render(helm, tool, cni, version, &values).await?;
        sets.insert(usize::from(!sets.is_empty()), chart);
    }
    sets.push(ManifestSet {
        name: NODE_OBJECTS.to_owned(),
        objects: input.cluster.nodes.iter().map(node_object).collect(),
        absent: Vec::new(),
    });
    Ok(sets)
}

/// A node's labels. Kubelets may not set the role's label themselves, so it goes through the API.
fn node_object(node: &Node) -> Value {
    let mut labels: BTreeMap<String, String> = node.labels.clone();
    labels.insert(format!("node-role.kubernetes.io/{}", node.role.as_str()), String::new());
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": node.name.as_str(), "labels": labels},
    })
}
