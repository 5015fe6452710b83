//! Files of one node.

use std::collections::BTreeMap;

use kubezt_model::desired::{DesiredNode, Node, OnChange, RenderedFile, Sensitivity};
use kubezt_model::{Digest, Mode, NodeName, SecretText, yaml};

use crate::context::{Ground, fault};
use crate::header::{FileHeader, ModeSource};
use crate::templates::{FileTemplate, Templates};
use crate::{Input, RenderError, arguments, node_shape, parse_back, values};

/// Renders every node, in the order of the cluster.
///
/// # Errors
/// Of each node that is wrong its name, and what [`render_node`] says.
pub fn render_nodes(
    templates: &Templates,
    input: &Input<'_>,
) -> Result<Vec<DesiredNode>, Vec<(NodeName, RenderError)>> {
    let ground = Ground::of_nodes(input);
    let mut nodes = Vec::new();
    let mut errors = Vec::new();
    for node in &input.cluster.nodes {
        match render_on(templates, input, &ground, node) {
            Ok(desired) => nodes.push(desired),
            Err(error) => errors.push((node.name.clone(), error)),
        }
    }
    if errors.is_empty() { Ok(nodes) } else { Err(errors) }
}

/// Renders a node: its shape and all its files, sorted by path; files that the settings switch off must be
/// absent. Components and images are the caller's to add.
///
/// # Errors
/// Everything that is wrong with the node's templates: undefined variables, settings that do not fit, results that do
/// not parse back, two files of one path.
pub fn render_node(
    templates: &Templates,
    input: &Input<'_>,
    node: &Node,
) -> Result<DesiredNode, RenderError> {
    render_on(templates, input, &Ground::of_nodes(input), node)
}

fn render_on(
    templates: &Templates,
    input: &Input<'_>,
    ground: &Ground,
    node: &Node,
) -> Result<DesiredNode, RenderError> {
    let ground = ground.on(input, node);
    let mut errors = Vec::new();
    let mut files: Vec<RenderedFile> = Vec::new();
    let mut switched_off = Vec::new();
    // Static pods come last: each carries a digest of the files it reads when it starts.
    let mut configurations = BTreeMap::new();
    let is_pod = |file: &&FileTemplate| matches!(file.header.on_change, OnChange::StaticPod(_));
    let files_here = || {
        let network = &input.cluster.cni.name;
        templates.files.iter().filter(move |file| file.network.as_ref().is_none_or(|other| other == network))
    };
    for template in files_here().filter(|file| !is_pod(file)).chain(files_here().filter(is_pod)) {
        match render_file(templates, input, &ground, node, template, &configurations) {
            Ok(Some(file)) => {
                if let OnChange::ReadAtStart(pod) = &file.on_change {
                    let lines: &mut String = configurations.entry(pod.clone()).or_default();
                    lines.push_str(&format!("{} {}\n", file.path, file.digest()));
                }
                if let Some(other) = files.iter().find(|other| other.path == file.path) {
                    errors.push(RenderError::SamePath {
                        path: file.path.clone(),
                        one: other.template.clone(),
                        other: file.template.clone(),
                    });
                }
                files.push(file);
            }
            // Other settings may have put it there.
            Ok(None) if template.header.roles.contains(&node.role) => {
                switched_off.push(template.header.path.clone());
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    RenderError::all(errors)?;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let mut desired = node_shape(input.cluster, node);
    add_units(&mut desired.units, &files);
    desired.sysctls = sysctls(&files);
    desired.absent.extend(switched_off);
    desired.files = files;
    Ok(desired)
}

/// What the node's sysctl.d(5) files set. A line that begins with `-` may fail, so nothing is expected of it.
fn sysctls(files: &[RenderedFile]) -> BTreeMap<String, String> {
    let texts =
        files.iter().filter(|file| file.on_change == OnChange::LoadSysctls).map(|file| file.body.expose());
    let settings = texts.flat_map(str::lines).filter(|line| !line.trim_start().starts_with(['#', ';', '-']));
    let pairs = settings.filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

/// Adds the units that templates bring. kubelet, which starts pods, stays the last.
fn add_units(units: &mut Vec<String>, files: &[RenderedFile]) {
    for file in files {
        if let OnChange::Restart(unit) | OnChange::NoticedBy(unit) = &file.on_change
            && !units.contains(unit)
        {
            units.insert(units.len().saturating_sub(1), unit.clone());
        }
    }
}

fn render_file(
    templates: &Templates,
    input: &Input<'_>,
    ground: &Ground,
    node: &Node,
    template: &FileTemplate,
    configurations: &BTreeMap<String, String>,
) -> Result<Option<RenderedFile>, RenderError> {
    let FileTemplate { name, header, .. } = template;
    if !ground.file_wanted(name, header, node)? {
        return Ok(None);
    }
    let mut context = match header.sensitivity {
        Sensitivity::Public => ground.context().clone(),
        Sensitivity::Secret => ground.with_secrets(input.secrets),
    };
    if let Some(source) = &header.arguments {
        context.insert("arguments", &arguments::arguments(templates, ground, name, source)?);
    }
    if let OnChange::StaticPod(pod) = &header.on_change {
        let lines = configurations.get(pod).map_or("", String::as_str);
        context.insert("configuration", &format!("sha256:{}", Digest::of(lines.as_bytes())));
    }
    let mut body = templates.render(name, &context)?;
    let documents = parse_back::check(name, header.format, header.sensitivity, &body)?;
    if !header.overlay.is_empty() {
        body = overlaid(ground, node, name, header, documents)?;
        parse_back::check(name, header.format, header.sensitivity, &body)?;
    }
    Ok(Some(RenderedFile {
        path: header.path.clone(),
        mode: mode(ground, name, &header.mode)?,
        owner: header.owner.clone(),
        body: SecretText::new(body),
        sensitivity: header.sensitivity,
        on_change: header.on_change.clone(),
        template: name.clone(),
    }))
}

/// The one document with settings merged over it.
fn overlaid(
    ground: &Ground,
    node: &Node,
    template: &str,
    header: &FileHeader,
    documents: Vec<serde_json::Value>,
) -> Result<String, RenderError> {
    let fault = |problem: String| RenderError::NotParsed { template: template.to_owned(), line: 0, problem };
    let [mut document] = <[_; 1]>::try_from(documents)
        .map_err(|_| fault("an overlay needs a result of one YAML or JSON document".to_owned()))?;
    for overlay in header.overlay.iter().filter(|overlay| overlay.roles.contains(&node.role)) {
        values::merge(&mut document, ground.setting(template, &overlay.settings)?);
    }
    yaml::write(&values::sorted(document)).map_err(|error| fault(error.message))
}

fn mode(ground: &Ground, template: &str, source: &ModeSource) -> Result<Mode, RenderError> {
    match source {
        ModeSource::Fixed(mode) => Ok(*mode),
        ModeSource::Setting(path) => ground
            .setting(template, path)?
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| fault(template, path, "is no file mode")),
    }
}
