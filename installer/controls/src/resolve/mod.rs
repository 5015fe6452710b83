//! Profile and `cluster.yaml` become one resolved cluster, or every mistake in them is told at once.

mod error;
pub mod merge;
mod validate;

use std::collections::BTreeMap;

use kubezt_model::cluster::{ClusterFile, ClusterSpec};
use kubezt_model::desired::{Cluster, Endpoint, Networks, Node};
use kubezt_model::settings::Settings;
use serde_json::Value;

pub use error::ResolveError;

use crate::judge::applies_to_design;
use crate::library::{Library, Requirement};
use crate::nearest::nearest;
use crate::place::Source;

/// The profile of a cluster that names none.
pub const DEFAULT_PROFILE: &str = "baseline";

/// Resolves a cluster file. `source_name` and `source_text` are what the file was read from, for errors;
/// `profile` is the one named on the command line, which wins over the file's.
///
/// Settings add up in this order, the last wins: defaults, requirements of the profile, the profile and its bases,
/// `cluster.yaml`.
///
/// # Errors
/// Every mistake at once, with file and line: unknown profile or setting, wrong types, requirements that contradict
/// each other, and a cluster that cannot work (networks that overlap, names used twice, no control plane, …).
pub fn resolve(
    library: &Library,
    file: &ClusterFile,
    source_text: &str,
    source_name: &str,
    profile: Option<&str>,
) -> Result<Cluster, Vec<ResolveError>> {
    let source = Source { name: source_name, text: source_text };
    let mut errors = Vec::new();
    let name = profile.or(file.spec.profile.as_deref()).unwrap_or(DEFAULT_PROFILE);
    if library.profile(name).is_none() {
        let known: Vec<&str> = library.profiles().map(|profile| profile.name.as_str()).collect();
        errors.push(ResolveError::UnknownProfile {
            place: if profile.is_some() { "--profile".to_owned() } else { source.find("profile", name) },
            name: name.to_owned(),
            nearest: nearest(name, known.iter().copied()).map(str::to_owned),
            known: known.join(", "),
        });
    }
    let (kubernetes, cni) = (&file.spec.kubernetes_version, &file.spec.cni.name);
    let mut merged = merged_settings(library, name, kubernetes, cni, &mut errors);
    merge_cluster_settings(&mut merged, library, &file.spec, source, &mut errors);
    validate::cluster(file, library, source, &mut errors);
    let settings: Option<Settings> = if errors.is_empty() {
        serde_json::from_value(merged)
            .map_err(|error| {
                errors.push(ResolveError::Invalid {
                    place: source.name.to_owned(),
                    problem: format!("the settings do not fit together: {error}"),
                })
            })
            .ok()
    } else {
        None
    };
    let Some(settings) = settings else { return Err(errors) };
    validate::settings(&settings, source, &mut errors);
    if errors.is_empty() { Ok(cluster(file, name, settings)) } else { Err(errors) }
}

/// File and line at which a cluster file has this word below this key, as in the errors of [`resolve`].
pub fn place_of(source_name: &str, source_text: &str, key: &str, word: &str) -> String {
    Source { name: source_name, text: source_text }.find(key, word)
}

/// The settings of a profile for a cluster of this version and network plug-in, before a cluster file has its
/// say.
///
/// # Errors
/// Requirements that contradict each other, and settings that cannot be merged.
pub fn profile_settings(
    library: &Library,
    profile: &str,
    kubernetes: &semver::Version,
    cni: &str,
) -> Result<Value, Vec<ResolveError>> {
    let mut errors = Vec::new();
    let settings = merged_settings(library, profile, kubernetes, cni, &mut errors);
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
}

fn merged_settings(
    library: &Library,
    profile: &str,
    kubernetes: &semver::Version,
    cni: &str,
    errors: &mut Vec<ResolveError>,
) -> Value {
    let mut settings = library.defaults().clone();
    let requirements: Vec<&Requirement> = library
        .requirements_of(profile)
        .into_iter()
        .filter(|requirement| applies_to_design(requirement, kubernetes, cni))
        .collect();
    apply_requirements(&mut settings, &requirements, errors);
    for profile in library.lineage(profile) {
        let loosened = profile.loosen.iter().flat_map(|loosening| merge::flatten(&loosening.settings));
        for entry in loosened.chain(merge::flatten(&profile.settings)) {
            if let Err(problem) = merge::apply(&mut settings, &entry) {
                let place = profile.source().setting(problem.path());
                errors.push(ResolveError::Setting { place, problem });
            }
        }
    }
    settings
}

fn merge_cluster_settings(
    settings: &mut Value,
    library: &Library,
    spec: &ClusterSpec,
    source: Source<'_>,
    errors: &mut Vec<ResolveError>,
) {
    let problems = merge::problems(library.defaults(), &spec.settings);
    errors.extend(
        problems
            .into_iter()
            .map(|problem| ResolveError::Setting { place: source.setting(problem.path()), problem }),
    );
    for entry in merge::flatten(&spec.settings) {
        // A list that cannot be added to was told above.
        let _told = merge::apply(settings, &entry);
    }
}

fn apply_requirements(settings: &mut Value, requirements: &[&Requirement], errors: &mut Vec<ResolveError>) {
    let mut owners: BTreeMap<String, (&Requirement, merge::Entry)> = BTreeMap::new();
    let mut additions = Vec::new();
    for requirement in requirements {
        for entry in merge::flatten(&requirement.set) {
            if let Some((first, earlier)) = owners.get(&entry.path())
                && (earlier.add != entry.add || (!entry.add && earlier.value != entry.value))
            {
                errors.push(ResolveError::Conflict {
                    path: entry.path(),
                    first: first.id.clone(),
                    first_place: first.place.clone(),
                    first_value: wish(earlier),
                    second: requirement.id.clone(),
                    second_place: requirement.place.clone(),
                    second_value: wish(&entry),
                });
            }
            owners.entry(entry.path()).or_insert_with(|| (requirement, entry.clone()));
            if entry.add {
                additions.push((requirement.place.clone(), entry));
            } else {
                crate::settings_path::put(settings, &entry.keys, entry.value);
            }
        }
    }
    for (place, entry) in additions {
        if let Err(problem) = merge::apply(settings, &entry) {
            errors.push(ResolveError::Setting { place, problem });
        }
    }
}

fn wish(entry: &merge::Entry) -> String {
    if entry.add { format!("{} added", entry.value) } else { entry.value.to_string() }
}

fn cluster(file: &ClusterFile, profile: &str, settings: Settings) -> Cluster {
    let spec = &file.spec;
    let endpoint_name = if spec.endpoint.name.is_empty() {
        format!("api.{}.internal", file.metadata.name)
    } else {
        spec.endpoint.name.clone()
    };
    Cluster {
        name: file.metadata.name.clone(),
        kubernetes_version: spec.kubernetes_version.clone(),
        profile: profile.to_owned(),
        endpoint: Endpoint {
            name: endpoint_name,
            addresses: spec.endpoint.addresses.clone(),
            external: spec.endpoint.external.clone(),
            port: spec.endpoint.port,
            balancer_port: spec.endpoint.balancer_port,
        },
        networks: Networks {
            pods: spec.networks.pods.clone(),
            services: spec.networks.services.clone(),
            domain: spec.networks.domain.clone(),
            node_mask: spec.networks.node_mask,
            kubernetes_service: validate::service_address(spec.networks.services.first(), 1),
            dns_service: validate::service_address(spec.networks.services.first(), 10),
        },
        nodes: spec
            .nodes
            .iter()
            .map(|node| Node {
                name: node.name.clone(),
                role: node.role,
                addresses: node.addresses.clone(),
                labels: node.labels.clone(),
                taints: node.taints.clone(),
            })
            .collect(),
        cni: spec.cni.clone(),
        settings,
        waivers: spec.waivers.clone(),
    }
}
