//! Recipes, lock and Go modules together.

use std::collections::BTreeMap;
use std::path::Path;

use include_dir::{Dir, include_dir};
use kubezt_model::yaml;
use semver::Version;

use crate::Error;
use crate::lock::{Lock, Pin};
use crate::recipe::{Architecture, Recipe, expand};

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../images");

/// Every component kubezt knows.
#[derive(Debug, Clone)]
pub struct Catalogue {
    components: BTreeMap<String, Component>,
}

/// A recipe with what is pinned of it.
#[derive(Debug, Clone)]
pub struct Component {
    /// The recipe.
    pub recipe: Recipe,
    /// Its entry in the lock.
    pub pin: Pin,
    /// Files of its Go module (`go.mod`, `go.sum`, own sources) by path relative to the module.
    pub module_files: BTreeMap<String, Vec<u8>>,
}

impl Component {
    /// Fills placeholders in. They were all tried when the catalogue was read, so this cannot fail any more.
    pub(crate) fn expand(&self, template: &str, architecture: Architecture) -> String {
        expand(template, &self.pin.version, architecture).unwrap_or_else(|_| template.to_owned())
    }
}

impl Catalogue {
    /// The recipes this program was built with.
    ///
    /// # Errors
    /// As [`Catalogue::from_files`]; a test reads them, so none are expected.
    pub fn embedded() -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        collect_embedded(&EMBEDDED, &mut files);
        Self::from_files(files)
    }

    /// Recipes of a folder laid out like `images/`.
    ///
    /// # Errors
    /// Files that cannot be read, and as [`Catalogue::from_files`].
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        collect_folder(folder, "", &mut files).map_err(Error::file("cannot read the recipes"))?;
        Self::from_files(files)
    }

    /// Recipes from their files, by path relative to the recipe folder.
    ///
    /// # Errors
    /// Recipes or a lock that are wrong in themselves or do not fit each other.
    pub fn from_files(files: BTreeMap<String, Vec<u8>>) -> Result<Self, Error> {
        let problem =
            |file: &str, problem: &str| Error::Recipe { file: file.to_owned(), problem: problem.to_owned() };
        let text = |file: &str| {
            let bytes = files.get(file).ok_or_else(|| problem(file, "this file is missing"))?;
            std::str::from_utf8(bytes).map_err(|_| problem(file, "this file is not UTF-8"))
        };
        let mut lock: Lock = yaml::read("lock.yaml", text("lock.yaml")?)?;
        let mut components = BTreeMap::new();
        for file in files.keys() {
            let Some(name) = file.strip_suffix("/component.yaml").filter(|name| !name.contains('/')) else {
                continue;
            };
            let recipe = Recipe::parse(file, text(file)?)?;
            if recipe.name != name {
                return Err(problem(file, &format!("`name` must be the folder's name, `{name}`")));
            }
            let pin =
                lock.0.remove(name).ok_or_else(|| problem("lock.yaml", &format!("`{name}` has no entry")))?;
            let module_files = match &recipe.module {
                Some(module) => folder_files(&files, module.folder.as_deref().unwrap_or(name)),
                None => BTreeMap::new(),
            };
            let component = Component { recipe, pin, module_files };
            check(&component).map_err(|what| problem(file, &what))?;
            components.insert(name.to_owned(), component);
        }
        match lock.0.keys().next() {
            Some(name) => Err(problem("lock.yaml", &format!("`{name}` has no recipe"))),
            None => Ok(Self { components }),
        }
    }

    /// A component.
    ///
    /// # Errors
    /// A name nobody described.
    pub fn component(&self, name: &str) -> Result<&Component, Error> {
        self.components.get(name).ok_or_else(|| Error::UnknownComponent {
            name: name.to_owned(),
            known: self.components.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Version of a component.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.components.get(name).map(|component| &component.pin.version)
    }

    /// Names of all components, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.components.keys().map(String::as_str)
    }

    /// Names of the components an ordinary cluster has: all but those of tests and benchmarks.
    pub fn installed(&self) -> Vec<&str> {
        let installed = self.components.iter().filter(|(_, component)| component.recipe.role.is_installed());
        installed.map(|(name, _)| name.as_str()).collect()
    }

    /// References of every image, by the name of the image in its recipe.
    pub fn image_names(&self, architecture: Architecture) -> BTreeMap<String, String> {
        self.components
            .values()
            .flat_map(|component| {
                component.recipe.images.iter().map(move |(name, image)| (component, name, image))
            })
            .map(|(component, name, image)| (name.clone(), component.expand(&image.reference, architecture)))
            .collect()
    }
}

/// What a recipe and its pin must agree on.
fn check(component: &Component) -> Result<(), String> {
    let Component { recipe, pin, module_files } = component;
    let mut templates: Vec<&str> = recipe.downloads.values().map(|download| download.url.as_str()).collect();
    templates.extend(recipe.images.values().map(|image| image.reference.as_str()));
    templates.extend(recipe.binaries.values().filter_map(|binary| binary.member.as_deref()));
    templates.extend(recipe.tools.values().filter_map(|tool| tool.member.as_deref()));
    templates.extend(recipe.module.iter().flat_map(|module| module.stamps.values().map(String::as_str)));
    for template in templates {
        expand(template, &pin.version, Architecture::Amd64)?;
    }
    for (name, binary) in &recipe.binaries {
        if let Some(download) = &binary.download
            && !pin.downloads.contains_key(download)
        {
            return Err(format!("binary `{name}`: the lock has no digest of the download `{download}`"));
        }
    }
    for (name, tool) in &recipe.tools {
        if tool.chart.is_some() && !pin.charts.contains_key(name) {
            return Err(format!("tool `{name}`: the lock has no digest of this chart"));
        }
    }
    let names = |what: &str, pinned: Vec<&String>, known: Vec<&String>| match pinned
        .into_iter()
        .find(|name| !known.contains(name))
    {
        Some(name) => Err(format!("the lock pins the {what} `{name}`, which the recipe does not have")),
        None => Ok(()),
    };
    names("download", pin.downloads.keys().collect(), recipe.downloads.keys().collect())?;
    names("image", pin.images.keys().collect(), recipe.images.keys().collect())?;
    names("chart", pin.charts.keys().collect(), recipe.tools.keys().collect())?;
    let Some(module) = &recipe.module else { return Ok(()) };
    let go_mod = module_files.get("go.mod").ok_or("its module folder has no go.mod")?;
    if let (Some(path), true) = (&module.path, module.own_version) {
        let wanted = format!("{path} v{}", pin.version);
        let go_mod = String::from_utf8_lossy(go_mod);
        let required = go_mod.lines().map(|line| line.trim().trim_start_matches("require "));
        if !required.into_iter().any(|line| line.split(" //").next() == Some(wanted.as_str())) {
            return Err(format!("go.mod must require `{wanted}`, the version of the lock"));
        }
    }
    Ok(())
}

fn folder_files(files: &BTreeMap<String, Vec<u8>>, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let prefix = format!("{folder}/");
    let inside = files.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(&prefix)?, bytes)));
    let inside = inside.filter(|(path, _)| *path != "component.yaml");
    inside.map(|(path, bytes)| (path.to_owned(), bytes.clone())).collect()
}

fn collect_embedded(folder: &Dir<'_>, files: &mut BTreeMap<String, Vec<u8>>) {
    for file in folder.files() {
        files.insert(file.path().to_string_lossy().into_owned(), file.contents().to_vec());
    }
    folder.dirs().for_each(|folder| collect_embedded(folder, files));
}

fn collect_folder(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect_folder(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name, fs_err::read(entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect_embedded(&EMBEDDED, &mut files);
        files
    }

    fn changed(file: &str, from: &str, to: &str) -> String {
        let mut files = shipped();
        let text = String::from_utf8(files[file].clone()).unwrap();
        assert!(text.contains(from), "{file} has no `{from}`");
        files.insert(file.to_owned(), text.replace(from, to).into_bytes());
        Catalogue::from_files(files).unwrap_err().to_string()
    }

    #[test]
    fn shipped_recipes_fit_their_lock() {
        let catalogue = Catalogue::embedded().unwrap();
        let installed = catalogue.installed();
        let wanted =
            ["cilium", "cni", "containerd", "coredns", "etcd", "helm", "kubernetes", "pause", "runc"];
        assert_eq!(installed, wanted);
        assert_eq!(catalogue.version("kubeadm"), catalogue.version("kubernetes"));
    }

    #[test]
    fn lock_and_recipes_must_agree() {
        assert!(changed("lock.yaml", "version: 1.4.3", "version: 1.4.4").contains("go.mod must require"));
        assert!(changed("lock.yaml", "runc:", "rnuc:").contains("`runc` has no entry"));
        assert!(changed("runc/component.yaml", "name: runc", "name: rnuc").contains("folder's name"));
        assert!(changed("runc/component.yaml", "{arch}", "{architecture}").contains("placeholder"));
        assert!(
            changed("lock.yaml", "    binary:\n", "    archive:\n").contains("no digest of the download")
        );
    }

    #[test]
    fn a_component_may_use_the_module_of_another() {
        let catalogue = Catalogue::embedded().unwrap();
        let module = |name| &catalogue.component(name).unwrap().module_files;
        assert_eq!(module("kubeadm"), module("kubernetes"));
        assert!(module("cilium").contains_key("mcs-api-controllers/controllers.go"));
        assert!(catalogue.component("docker").unwrap_err().to_string().contains("containerd"));
    }
}
