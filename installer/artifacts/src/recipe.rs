//! `images/<component>/component.yaml`: what a component is, where it comes from and where it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kubezt_model::Mode;
use kubezt_model::cluster::Role;
use kubezt_model::yaml;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Processor architecture, in the words Go and OCI images use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

impl Architecture {
    /// The word used in files and URLs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// From what `uname -m` says, where it is one that kubezt has components for.
    pub fn from_machine(machine: &str) -> Option<Self> {
        match machine {
            "x86_64" | "amd64" => Some(Self::Amd64),
            "aarch64" | "arm64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// Architecture this program was compiled for, where kubezt has components for it.
    pub fn host() -> Option<Self> {
        Self::from_machine(std::env::consts::ARCH)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What a component is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComponentRole {
    /// Brings files onto nodes (and images, where it has any).
    Node,
    /// Brings images only.
    Image,
    /// Stays with the operator.
    Operator,
    /// Used by tests; never part of an installed cluster.
    Test,
    /// Used by benchmarks; never part of an installed cluster.
    Bench,
}

impl ComponentRole {
    /// Whether an ordinary cluster has it.
    pub const fn is_installed(self) -> bool {
        matches!(self, Self::Node | Self::Image | Self::Operator)
    }
}

/// Which nodes get a file or an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nodes {
    /// Every node.
    All,
    /// Control-plane nodes.
    ControlPlane,
    /// Workers.
    Worker,
}

impl Nodes {
    /// The node roles meant.
    pub fn roles(self) -> Vec<Role> {
        match self {
            Self::All => vec![Role::ControlPlane, Role::Worker],
            Self::ControlPlane => vec![Role::ControlPlane],
            Self::Worker => vec![Role::Worker],
        }
    }
}

/// One component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recipe {
    /// Name; equal to the folder's.
    pub name: String,
    /// SPDX licence expression of what is built.
    pub license: String,
    /// What it is for.
    pub role: ComponentRole,
    /// The Go module its programs are compiled from.
    pub module: Option<Module>,
    /// Upstream's files, by name.
    #[serde(default)]
    pub downloads: BTreeMap<String, Download>,
    /// Programs, by name.
    #[serde(default)]
    pub binaries: BTreeMap<String, Binary>,
    /// What goes onto nodes as it is.
    #[serde(default)]
    pub files: Vec<FileRecipe>,
    /// Images, by name.
    #[serde(default)]
    pub images: BTreeMap<String, ImageRecipe>,
    /// What stays with the operator, by name.
    #[serde(default)]
    pub tools: BTreeMap<String, ToolRecipe>,
}

/// How programs are compiled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Module {
    /// Module path of the version; absent where the program is kubezt's own.
    pub path: Option<String>,
    /// Folder whose `go.mod` and `go.sum` are used; the component's own by default.
    pub folder: Option<String>,
    /// Whether the lock's version is the module's version.
    #[serde(default = "yes")]
    pub own_version: bool,
    /// Build tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether a C compiler is needed.
    #[serde(default)]
    pub cgo: bool,
    /// Link statically, C libraries included.
    #[serde(default)]
    pub r#static: bool,
    /// Variables set by the linker (`-X`).
    #[serde(default)]
    pub stamps: BTreeMap<String, String>,
    /// What the build host needs beside Go, for the error message.
    pub needs: Option<String>,
    /// Seconds a build takes with empty caches; the longest starts first.
    #[serde(default)]
    pub cold_seconds: u32,
}

/// A file of upstream's. Its digest is in the lock, under the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Download {
    /// HTTPS URL with placeholders.
    pub url: String,
    /// What it is.
    #[serde(default)]
    pub format: Format,
}

/// Format of a download.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The file itself.
    #[default]
    #[serde(rename = "file")]
    File,
    /// A gzipped tar.
    #[serde(rename = "tar.gz")]
    TarGz,
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Binary {
    /// Go package that compiles to it.
    pub package: Option<String>,
    /// Download that has it.
    pub download: Option<String>,
    /// Member of the download, where that is an archive.
    pub member: Option<String>,
}

/// A program on nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRecipe {
    /// Program.
    pub binary: String,
    /// Absolute path on the node.
    pub path: String,
    /// Permission bits.
    pub mode: Mode,
    /// Which nodes get it.
    pub nodes: Nodes,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageRecipe {
    /// Full reference with placeholders.
    pub reference: String,
    /// Which nodes get it.
    pub nodes: Nodes,
    /// Numeric `uid:gid`.
    pub user: String,
    /// Programs in it, with their absolute paths.
    #[serde(default)]
    pub binaries: BTreeMap<String, String>,
    /// Entry point.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Default arguments.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Working directory.
    pub working_directory: Option<String>,
    /// Userland it stands on; absent means nothing but its programs.
    pub base: Option<BaseRecipe>,
}

/// A Debian userland made by debootstrap. All paths are relative to its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BaseRecipe {
    /// Debian suite.
    pub suite: String,
    /// Packages beside the smallest set.
    pub packages: Vec<String>,
    /// Directories added.
    #[serde(default)]
    pub directories: BTreeSet<String>,
    /// Symbolic links added: path to target.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Files and folders of the Go module added: path in the module to path in the image.
    #[serde(default)]
    pub from_module: BTreeMap<String, String>,
    /// Paths left out; `*` stands for any part of one name.
    #[serde(default)]
    pub remove: Vec<String>,
    /// Folders of which only the named files are kept.
    #[serde(default)]
    pub keep_only: BTreeMap<String, BTreeSet<String>>,
}

/// What stays with the operator: exactly one of `binary` and `chart`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolRecipe {
    /// Program.
    pub binary: Option<String>,
    /// Folder of the Go module that is a Helm chart.
    pub chart: Option<String>,
    /// Download that has the chart.
    pub download: Option<String>,
    /// Folder of the download that is the chart.
    pub member: Option<String>,
    /// Further folders of the module whose `*.yaml` files go into the chart: folder to folder in the chart. Files keep
    /// the name of the folder they come from as a prefix (`v2-a.yaml`), so that none hides another of the same name.
    #[serde(default)]
    pub also: BTreeMap<String, String>,
    /// Labels that the chart's CustomResourceDefinitions get when it is rendered.
    #[serde(default)]
    pub definition_labels: BTreeMap<String, String>,
    /// Init containers that have nothing to do unless one of these values of the chart is true; they are left out then.
    #[serde(default)]
    pub idle_init_containers: BTreeMap<String, BTreeSet<String>>,
}

impl ToolRecipe {
    /// What comes before the chart's folder in the download, as `project-1.2.3/`: where the module's tree begins.
    /// `None` where `member` does not end with `chart`.
    pub(crate) fn member_root(&self) -> Option<&str> {
        let root = self.member.as_deref()?.strip_suffix(self.chart.as_deref()?)?;
        (root.is_empty() || root.ends_with('/')).then_some(root)
    }

    fn check_also(&self) -> Result<(), String> {
        if self.also.is_empty() {
            return Ok(());
        }
        if self.chart.is_none() {
            return Err("has `also`, which is for a `chart`".to_owned());
        }
        if self.download.is_some() && self.member_root().is_none() {
            return Err("has `also`, so its `member` must end with its `chart`".to_owned());
        }
        let mut seen = BTreeSet::new();
        for (folder, target) in &self.also {
            for path in [folder, target] {
                if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                    return Err(format!("`also`: `{path}` must be a relative path without `..`"));
                }
            }
            if !seen.insert((target, last_part(folder))) {
                let last = last_part(folder);
                return Err(format!("`also`: two folders named `{last}` would go into `{target}`"));
            }
        }
        Ok(())
    }
}

/// The last name of a path.
pub(crate) fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

impl Recipe {
    /// Reads and checks a recipe; `file` is its name in errors.
    ///
    /// # Errors
    /// Unknown keys, names that lead nowhere, relative paths on nodes, users that are not numeric, plain HTTP.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let recipe: Self = yaml::read(file, text)?;
        let problem = |problem: String| Error::Recipe { file: file.to_owned(), problem };
        recipe.check().map_err(problem)?;
        Ok(recipe)
    }

    fn check(&self) -> Result<(), String> {
        if self.license.is_empty() {
            return Err("`license` must be an SPDX expression".to_owned());
        }
        for (name, download) in &self.downloads {
            if !download.url.starts_with("https://") {
                return Err(format!("download `{name}`: only https URLs are fetched"));
            }
        }
        let known_download = |name: &Option<String>, whose: &str| match name {
            Some(name) if !self.downloads.contains_key(name) => {
                Err(format!("{whose} names the download `{name}`, which is not under `downloads`"))
            }
            _ => Ok(()),
        };
        let known_binary = |name: &str, whose: &str| match self.binaries.contains_key(name) {
            true => Ok(()),
            false => Err(format!("{whose} names the binary `{name}`, which is not under `binaries`")),
        };
        for (name, binary) in &self.binaries {
            known_download(&binary.download, &format!("binary `{name}`"))?;
            if binary.package.is_some() && self.module.is_none() {
                return Err(format!("binary `{name}` has a `package`, but there is no `module`"));
            }
            if binary.package.is_none() && binary.download.is_none() {
                return Err(format!("binary `{name}` needs a `package` or a `download`"));
            }
        }
        for file in &self.files {
            known_binary(&file.binary, &format!("file `{}`", file.path))?;
            absolute(&file.path)?;
        }
        for (name, image) in &self.images {
            for (binary, path) in &image.binaries {
                known_binary(binary, &format!("image `{name}`"))?;
                absolute(path)?;
            }
            let numeric = |id: &str| id.parse::<u32>().is_ok();
            if !image.user.split_once(':').is_some_and(|(user, group)| numeric(user) && numeric(group)) {
                return Err(format!("image `{name}`: `user` must be numeric, as \"65532:65532\""));
            }
        }
        for (name, tool) in &self.tools {
            known_download(&tool.download, &format!("tool `{name}`"))?;
            tool.check_also().map_err(|problem| format!("tool `{name}` {problem}"))?;
            match (&tool.binary, &tool.chart) {
                (Some(binary), None) => known_binary(binary, &format!("tool `{name}`"))?,
                (None, Some(_)) if self.module.is_some() => {}
                _ => return Err(format!("tool `{name}` needs either a `binary` or a `chart` of a `module`")),
            }
        }
        Ok(())
    }
}

/// Fills `{version}`, `{major}`, `{minor}` and `{arch}` in.
///
/// # Errors
/// The name of a placeholder that is not known, or `{` without `}`.
pub fn expand(template: &str, version: &Version, architecture: Architecture) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("`{template}` has a `{{` without `}}`"));
        };
        text.push_str(before);
        match name {
            "version" => text.push_str(&version.to_string()),
            "major" => text.push_str(&version.major.to_string()),
            "minor" => text.push_str(&version.minor.to_string()),
            "arch" => text.push_str(architecture.as_str()),
            _ => return Err(format!("`{template}` has the unknown placeholder `{{{name}}}`")),
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn absolute(path: &str) -> Result<(), String> {
    match path.starts_with('/') && !path.split('/').any(|part| part == "..") {
        true => Ok(()),
        false => Err(format!("`{path}` must be an absolute path without `..`")),
    }
}

const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name: a\nlicense: MIT\nrole: node\nmodule: {path: example.org/a}\nbinaries: {a: {package: example.org/a}}\n";

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let error = Recipe::parse("a/component.yaml", &format!("{GOOD}licence: MIT\n")).unwrap_err();
        let Error::Yaml(error) = error else { panic!("{error}") };
        assert_eq!(error.line, Some(6), "{error}");
        assert!(error.message.contains("licence"), "{error}");
    }

    #[test]
    fn names_must_lead_somewhere() {
        for (bad, wanted) in [
            ("files: [{binary: b, path: /b, mode: \"0755\", nodes: all}]", "not under `binaries`"),
            ("files: [{binary: a, path: a, mode: \"0755\", nodes: all}]", "absolute"),
            ("files: [{binary: a, path: /a/../b, mode: \"0755\", nodes: all}]", "absolute"),
            ("images: {a: {reference: a, nodes: all, user: nobody}}", "numeric"),
            ("downloads: {a: {url: http://example.org}}", "https"),
            ("tools: {a: {}}", "either"),
            ("tools: {a: {binary: a, download: b}}", "not under `downloads`"),
            ("tools: {a: {binary: a, also: {b: c}}}", "is for a `chart`"),
            ("tools: {a: {chart: a, also: {../b: c}}}", "relative"),
            ("tools: {a: {chart: a, also: {x/b: c, y/b: c}}}", "two folders named `b`"),
            (
                "downloads: {d: {url: \"https://a\"}}\ntools: {a: {chart: a, download: d, member: r/b, also: {b: c}}}",
                "must end with its `chart`",
            ),
        ] {
            let error = Recipe::parse("a", &format!("{GOOD}{bad}\n")).unwrap_err().to_string();
            assert!(error.contains(wanted), "{bad}: {error}");
        }
        Recipe::parse("a", GOOD).unwrap();
    }

    #[test]
    fn the_tree_of_a_download_begins_before_the_chart() {
        let tool = |member: &str| ToolRecipe {
            binary: None,
            chart: Some("install/a".to_owned()),
            download: None,
            member: Some(member.to_owned()),
            also: BTreeMap::new(),
            definition_labels: BTreeMap::new(),
            idle_init_containers: BTreeMap::new(),
        };
        assert_eq!(tool("a-{version}/install/a").member_root(), Some("a-{version}/"));
        assert_eq!(tool("install/a").member_root(), Some(""));
        assert_eq!(tool("reinstall/a").member_root(), None);
        assert_eq!(tool("a/b").member_root(), None);
    }

    #[test]
    fn placeholders_are_filled_in_or_refused() {
        let version = Version::new(1, 36, 3);
        let expand = |text| expand(text, &version, Architecture::Arm64);
        assert_eq!(expand("v{version}-{major}.{minor}/{arch}").unwrap(), "v1.36.3-1.36/arm64");
        assert!(expand("{versoin}").unwrap_err().contains("versoin"));
        assert!(expand("{version").is_err());
    }
}
