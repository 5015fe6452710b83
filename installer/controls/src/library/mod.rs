//! Everything under `profiles/`, read and found consistent.

mod catalogue;
mod error;
mod profile;
mod requirement;
mod site;
mod validate;
mod weakening;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use kubezt_model::desired::Cluster;
use kubezt_model::settings::Settings;
use kubezt_model::yaml;
use serde_json::Value;

pub use catalogue::{Catalogue, Rule};
pub use error::LoadError;
pub use profile::{Exclusion, Loosening, Profile, is_file};
pub use requirement::{Applies, ImageSupply, Requirement, Severity};

/// Requirements, profiles, control catalogues and default settings.
#[derive(Debug, Clone)]
pub struct Library {
    pub(crate) requirements: IndexMap<String, Requirement>,
    pub(crate) profiles: BTreeMap<String, Profile>,
    pub(crate) catalogues: BTreeMap<String, Catalogue>,
    pub(crate) defaults: Value,
}

impl Library {
    /// Reads the files of `profiles/`, given as path and text. Paths are relative to that folder; a leading
    /// `profiles/` is allowed. What a file is follows from its place: `defaults.yaml`, `requirements/<area>.yaml`,
    /// `controls/<framework>.yaml`, and every other YAML file at the top is a profile.
    ///
    /// # Errors
    /// Every mistake in every file at once: syntax, unknown keys, unknown settings, requirements nobody can judge,
    /// controls no catalogue lists, profiles that name what is not there.
    pub fn load(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<LoadError>> {
        let mut files: Vec<(String, String)> = files.into_iter().collect();
        files.sort();
        let mut errors = Vec::new();
        let mut library = Self {
            requirements: IndexMap::new(),
            profiles: BTreeMap::new(),
            catalogues: BTreeMap::new(),
            defaults: Value::Null,
        };
        for (path, text) in &files {
            if let Err(error) = library.add(path, text) {
                errors.extend(error);
            }
        }
        if library.defaults.is_null() && errors.is_empty() {
            errors.push(LoadError::Missing { path: "profiles/defaults.yaml".to_owned() });
        }
        if errors.is_empty() {
            errors = validate::problems(&library);
        }
        if errors.is_empty() { Ok(library) } else { Err(errors) }
    }

    fn add(&mut self, path: &str, text: &str) -> Result<(), Vec<LoadError>> {
        let place = path.strip_prefix("profiles/").unwrap_or(path);
        let invalid = |source| vec![LoadError::Yaml { source }];
        if !place.ends_with(".yaml") {
            return Ok(());
        }
        match place.split_once('/') {
            None if place == "defaults.yaml" => {
                self.defaults = yaml::read(path, text).map_err(invalid)?;
                yaml::read::<Settings>(path, text).map_err(invalid)?;
                Ok(())
            }
            None => {
                let mut profile: Profile = yaml::read(path, text).map_err(invalid)?;
                profile.place = path.to_owned();
                profile.text = text.to_owned();
                self.add_profile(path, profile)
            }
            Some(("requirements", _)) => {
                let list: Vec<Requirement> = yaml::read(path, text).map_err(invalid)?;
                self.add_requirements(path, text, list)
            }
            Some(("controls", _)) => {
                let catalogue: Catalogue = yaml::read(path, text).map_err(invalid)?;
                self.catalogues.insert(catalogue.framework.clone(), catalogue);
                Ok(())
            }
            Some(_) => Err(vec![LoadError::Misplaced { path: path.to_owned() }]),
        }
    }

    fn add_profile(&mut self, path: &str, profile: Profile) -> Result<(), Vec<LoadError>> {
        let file = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".yaml");
        if file != profile.name {
            return Err(vec![LoadError::invalid(
                path,
                format!("profile `{}` must live in `{}.yaml`", profile.name, profile.name),
            )]);
        }
        self.profiles.insert(profile.name.clone(), profile);
        Ok(())
    }

    fn add_requirements(
        &mut self,
        path: &str,
        text: &str,
        list: Vec<Requirement>,
    ) -> Result<(), Vec<LoadError>> {
        let mut errors = Vec::new();
        for mut requirement in list {
            requirement.place = format!("{path}:{}", line_of_id(text, &requirement.id));
            if let Some(other) = self.requirements.get(&requirement.id) {
                errors.push(LoadError::invalid(
                    &requirement.place,
                    format!("requirement `{}` already exists at {}", requirement.id, other.place),
                ));
            } else {
                self.requirements.insert(requirement.id.clone(), requirement);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The profile of this name.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// All profiles, by name.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.values()
    }

    /// The requirement of this id.
    pub fn requirement(&self, id: &str) -> Option<&Requirement> {
        self.requirements.get(id)
    }

    /// All requirements, in the order of their files.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements.values()
    }

    /// The control catalogue of this framework, such as `stig`.
    pub fn catalogue(&self, framework: &str) -> Option<&Catalogue> {
        self.catalogues.get(framework)
    }

    /// All control catalogues, by framework.
    pub fn catalogues(&self) -> impl Iterator<Item = &Catalogue> {
        self.catalogues.values()
    }

    /// The settings of a cluster that no profile, requirement or person has touched.
    pub fn defaults(&self) -> &Value {
        &self.defaults
    }

    /// A profile and the ones it extends, the base first; empty where the profile does not exist.
    pub fn lineage(&self, profile: &str) -> Vec<&Profile> {
        let mut chain = Vec::new();
        let mut next = self.profiles.get(profile);
        while let Some(profile) = next {
            if chain.iter().any(|seen: &&Profile| seen.name == profile.name) {
                break;
            }
            chain.push(profile);
            next = profile.extends.as_ref().and_then(|name| self.profiles.get(name));
        }
        chain.reverse();
        chain
    }

    /// The frameworks of a profile and its bases, each once, the base's first.
    pub fn frameworks_of(&self, profile: &str) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.lineage(profile).into_iter().flat_map(|profile| &profile.frameworks) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// The requirements of a profile: those it and its bases name, those of its frameworks, less what it excludes.
    pub fn requirements_of(&self, profile: &str) -> Vec<&Requirement> {
        let mut wanted: Vec<&str> = Vec::new();
        for profile in self.lineage(profile) {
            wanted.extend(self.brought_by(profile));
            wanted.retain(|id| !profile.exclude.iter().any(|excluded| excluded.id == *id));
        }
        self.requirements.values().filter(|requirement| wanted.contains(&requirement.id.as_str())).collect()
    }

    /// What a profile adds by itself: the requirements it names, and those of its frameworks.
    fn brought_by<'a>(&'a self, profile: &'a Profile) -> impl Iterator<Item = &'a str> {
        let of_framework = |requirement: &&Requirement| {
            profile.frameworks.iter().any(|name| requirement.controls.contains_key(name))
        };
        let of_frameworks = self.requirements.values().filter(of_framework).map(|found| found.id.as_str());
        profile.requirements.iter().map(String::as_str).chain(of_frameworks)
    }

    /// The requirements a profile leaves out in the end, each with the profile that says so: excluded by it
    /// or one of its bases, and not brought back by a later one.
    pub fn exclusions_of(&self, profile: &str) -> Vec<(&Profile, &Exclusion)> {
        let mut left_out: Vec<(&Profile, &Exclusion)> = Vec::new();
        for profile in self.lineage(profile) {
            let brought: Vec<&str> = self.brought_by(profile).collect();
            left_out.retain(|(_, exclusion)| !brought.contains(&exclusion.id.as_str()));
            left_out.extend(profile.exclude.iter().map(|exclusion| (profile, exclusion)));
        }
        left_out
    }

    /// What a profile and its bases loosen, each with the profile that says so, of the requirements that are
    /// still in.
    pub fn loosenings_of(&self, profile: &str) -> Vec<(&Profile, &Loosening)> {
        let selected = self.requirements_of(profile);
        let lineage = self.lineage(profile).into_iter();
        lineage
            .flat_map(|profile| profile.loosen.iter().map(move |loosening| (profile, loosening)))
            .filter(|(_, loosening)| {
                selected.iter().any(|requirement| requirement.id == loosening.requirement)
            })
            .collect()
    }

    /// The exclusion for which a rule of a framework is not met, where the profile has one: of a requirement
    /// that satisfies the rule, with nothing in its place that does so too.
    pub fn excluded_rule(
        &self,
        profile: &str,
        framework: &str,
        rule: &str,
    ) -> Option<(&Profile, &Exclusion)> {
        let maps = |id: &str| {
            let controls = self.requirement(id).and_then(|requirement| requirement.controls.get(framework));
            controls.is_some_and(|ids| ids.iter().any(|id| id == rule))
        };
        self.exclusions_of(profile)
            .into_iter()
            .find(|(_, exclusion)| maps(&exclusion.id) && !exclusion.instead.as_deref().is_some_and(maps))
    }

    /// The requirements a resolved cluster has to meet.
    pub fn selected(&self, cluster: &Cluster) -> Vec<&Requirement> {
        self.requirements_of(&cluster.profile)
    }
}

/// Line of the entry with this id, counted from 1; 1 where the text is laid out unexpectedly.
fn line_of_id(text: &str, id: &str) -> usize {
    let entry = format!("id: {id}");
    let found = text.lines().position(|line| line.trim_start_matches(['-', ' ', '{']).trim_end() == entry);
    found.map_or(1, |index| index + 1)
}
