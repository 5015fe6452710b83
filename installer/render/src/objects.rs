//! Objects in the API, and the values of the network plug-in's chart.

use kubezt_model::desired::ManifestSet;
use kubezt_model::yaml;
use serde_json::{Value, json};

use crate::context::Ground;
use crate::templates::{NETWORK_SET, ObjectTemplate, Templates};
use crate::{Input, RenderError, parse_back, values};

/// Renders all objects, set by set in the order they are applied; sets without objects are left out. What the
/// settings switch off is named as absent.
///
/// # Errors
/// Everything that is wrong with the templates, a policy the settings name that has none, an unknown network plug-in.
pub fn render_manifests(templates: &Templates, input: &Input<'_>) -> Result<Vec<ManifestSet>, RenderError> {
    let ground = Ground::of_cluster(input);
    let cni = &input.cluster.cni.name;
    known_network(templates, cni)?;
    let mut errors = unknown_names(templates, &ground);
    let mut sets = Vec::new();
    for name in &templates.sets {
        let folder =
            if name == NETWORK_SET { format!("cni/{cni}/manifests") } else { format!("manifests/{name}") };
        let mut set = ManifestSet { name: name.clone(), objects: Vec::new(), absent: Vec::new() };
        for template in templates.objects.iter().filter(|template| template.folder == folder) {
            match render(templates, &ground, template) {
                Ok((rendered, true)) => set.objects.extend(rendered),
                Ok((rendered, false)) => set.absent.extend(rendered.iter().map(identity)),
                Err(error) => errors.push(error),
            }
        }
        if !set.objects.is_empty() || !set.absent.is_empty() {
            sets.push(set);
        }
    }
    RenderError::all(errors)?;
    Ok(sets)
}

/// The objects of a template, and whether they are wanted.
fn render(
    templates: &Templates,
    ground: &Ground,
    template: &ObjectTemplate,
) -> Result<(Vec<Value>, bool), RenderError> {
    let wanted = ground.object_wanted(&template.name, &template.stem, &template.header)?;
    let text = templates.render(&template.name, ground.context())?;
    Ok((parse_back::objects(&template.name, &text)?, wanted))
}

/// What tells an object from all others.
fn identity(object: &Value) -> Value {
    let mut metadata = json!({"name": object["metadata"]["name"]});
    if let Some(namespace) = object["metadata"].get("namespace") {
        metadata["namespace"] = namespace.clone();
    }
    json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata})
}

/// Names in lists of the settings for which there is no template.
fn unknown_names(templates: &Templates, ground: &Ground) -> Vec<RenderError> {
    let mut errors = Vec::new();
    let mut lists: Vec<(&str, &str)> = templates
        .objects
        .iter()
        .filter_map(|template| Some((template.header.listed_in.as_deref()?, template.folder.as_str())))
        .collect();
    lists.sort_unstable();
    lists.dedup();
    for (setting, folder) in lists {
        let stems: Vec<&str> = templates
            .objects
            .iter()
            .filter(|template| template.folder == folder)
            .map(|template| template.stem.as_str())
            .collect();
        match ground.names(folder, setting) {
            Ok(names) => errors.extend(
                names
                    .into_iter()
                    .filter(|name| !stems.contains(name))
                    .map(|name| missing(setting, name, folder, &stems)),
            ),
            Err(error) => errors.push(error),
        }
    }
    errors
}

/// Values for the chart of the network plug-in: kubezt's own, with `cni.values` of the cluster file merged over them.
///
/// # Errors
/// An unknown network plug-in, or a template that is wrong.
pub fn chart_values(templates: &Templates, input: &Input<'_>) -> Result<Value, RenderError> {
    let cni = &input.cluster.cni;
    known_network(templates, &cni.name)?;
    let template = values_template(&cni.name);
    let text = templates.render(&template, Ground::of_cluster(input).context())?;
    let mut values: Value = yaml::read(&template, &text).map_err(|error| RenderError::NotParsed {
        template,
        line: error.line.unwrap_or(0),
        problem: error.message,
    })?;
    values::merge(&mut values, &Value::Object(cni.values.clone()));
    Ok(values::sorted(values))
}

fn values_template(cni: &str) -> String {
    format!("cni/{cni}/values.yaml.tera")
}

fn known_network(templates: &Templates, cni: &str) -> Result<(), RenderError> {
    if templates.has(&values_template(cni)) {
        return Ok(());
    }
    let available: Vec<&str> = templates
        .objects
        .iter()
        .filter_map(|template| template.folder.strip_prefix("cni/")?.strip_suffix("/manifests"))
        .collect();
    Err(missing("cni.name", cni, "cni", &available))
}

fn missing(setting: &str, wanted: &str, folder: &str, available: &[&str]) -> RenderError {
    RenderError::Missing {
        setting: setting.to_owned(),
        wanted: wanted.to_owned(),
        folder: folder.to_owned(),
        available: available.join(", "),
    }
}
