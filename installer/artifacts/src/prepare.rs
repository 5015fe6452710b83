//! Wanted components → files for nodes, images for nodes, tools for the operator.

mod chart;
pub(crate) mod component;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use kubezt_model::artifacts::ArtifactSource;
use kubezt_model::cluster::Role;
use kubezt_model::{Digest, Mode};
use tokio::sync::Semaphore;

use self::component::One;
use crate::Error;
use crate::cache::{Cache, Record};
use crate::catalogue::{Catalogue, Component};
use crate::download::Trust;
use crate::item::Item;
use crate::recipe::{Architecture, ComponentRole};
use crate::sources::release::Release;
use crate::sources::{Origin, Supply, auto, open};

/// Builds and assemblies at once: each Go build keeps several processors busy by itself and may take gigabytes of memory.
const BUILDS_AT_ONCE: usize = 2;

/// Everything that was asked for, in the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Files for nodes, by component and path.
    pub node_files: Vec<NodeFile>,
    /// Images for nodes, by component and name.
    pub images: Vec<ImageArchive>,
    /// Tools of the operator, by name: `helm`, `cilium-chart`.
    pub tools: BTreeMap<String, Tool>,
}

/// A file of a component, for nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFile {
    /// Component.
    pub component: String,
    /// Absolute path on the node.
    pub path: String,
    /// Permission bits.
    pub mode: Mode,
    /// Roles of the nodes that get it.
    pub roles: Vec<Role>,
    /// Where its content is on this machine.
    pub blob: PathBuf,
    /// SHA-256 of the content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// An image archive, for nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageArchive {
    /// Component.
    pub component: String,
    /// Name of the image in its recipe, such as `kube-apiserver`.
    pub name: String,
    /// Full reference it is imported under.
    pub reference: String,
    /// Roles of the nodes that get it.
    pub roles: Vec<Role>,
    /// Where the archive is on this machine.
    pub blob: PathBuf,
    /// SHA-256 of the archive.
    pub digest: Digest,
    /// Bytes of the archive.
    pub size: u64,
}

/// A program or chart of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Where it is on this machine, under a name of its own: `helm`, `cilium-1.20.2.tgz`.
    pub path: PathBuf,
    /// SHA-256.
    pub digest: Digest,
    /// Labels that the CustomResourceDefinitions of a chart get when it is rendered.
    pub definition_labels: BTreeMap<String, String>,
    /// Init containers of a chart that have nothing to do unless one of these values is true.
    pub idle_init_containers: BTreeMap<String, BTreeSet<String>>,
}

impl Prepared {
    /// Helm, where it was wanted.
    pub fn helm(&self) -> Option<&Path> {
        self.tools.get("helm").map(|tool| tool.path.as_path())
    }

    /// The chart of a component, where it has one and was wanted.
    pub fn chart(&self, component: &str) -> Option<&Tool> {
        self.tools.get(&format!("{component}-chart"))
    }
}

/// What happens while components are prepared. Nothing is reported of what is cached.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Work began.
    Started {
        /// Component.
        component: String,
        /// What is done, as "compile", "download", or the reference of an image.
        what: String,
    },
    /// Another run is doing the same; this one waits for it.
    Waiting {
        /// Component.
        component: String,
    },
    /// Bytes of a download came in.
    Received {
        /// Component.
        component: String,
        /// Bytes of this file so far.
        bytes: u64,
        /// Bytes of this file in all, where the server says.
        total: Option<u64>,
    },
    /// A transfer failed in passing and is tried again.
    Again {
        /// Component.
        component: String,
        /// What failed.
        problem: String,
        /// Seconds until then.
        seconds: f64,
    },
    /// `auto` decided.
    Chosen {
        /// The source that is used.
        source: ArtifactSource,
        /// Why.
        why: String,
    },
    /// Work ended well.
    Finished {
        /// Component.
        component: String,
        /// As in [`Progress::Started`].
        what: String,
        /// Seconds it took, waiting for its turn included.
        seconds: f64,
    },
}

/// What is prepared.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Names of components.
    pub components: &'a [&'a str],
    /// How much of each.
    pub extent: Extent,
}

/// How much of each component is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Everything,
    /// What the operator's machine needs to render objects: programs that run there, and charts.
    Tools,
}

/// Prepares components for nodes of one architecture. What is cached costs milliseconds; no program runs and nothing is hashed.
///
/// `cache` is the folder of the cache, as [`crate::default_cache`] names it. Programs of the operator are prepared for the
/// machine this runs on.
///
/// # Errors
/// What the source lacks, where it can be looked at, all at once; else the first component that fails: the builds that run beside
/// it are stopped, and what was finished stays cached.
pub async fn prepare(
    catalogue: &Catalogue,
    origin: &Origin,
    architecture: Architecture,
    wanted: Wanted<'_>,
    cache: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Prepared, Error> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    prepare_with(&search, catalogue, origin, architecture, wanted, cache, progress).await
}

/// As [`prepare`], with the search path `go` is looked for in.
async fn prepare_with(
    search: &OsStr,
    catalogue: &Catalogue,
    origin: &Origin,
    architecture: Architecture,
    wanted: Wanted<'_>,
    cache: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Prepared, Error> {
    let names: BTreeSet<_> = wanted.components.iter().copied().collect();
    let mut components =
        names.into_iter().map(|name| catalogue.component(name)).collect::<Result<Vec<_>, _>>()?;
    let cache = Cache::open(cache)?;
    let settled = match origin {
        Origin::Auto(choice) => {
            // All that a cluster has, whatever is wanted now: the answer holds for the whole run.
            let names: BTreeSet<_> =
                catalogue.installed().into_iter().chain(wanted.components.iter().copied()).collect();
            let every =
                names.into_iter().map(|name| catalogue.component(name)).collect::<Result<Vec<_>, _>>()?;
            choice.settle(decide(&cache, architecture, &every, progress)).await
        }
        other => other.clone(),
    };
    let run = Run::new(cache, wanted.extent, open(&settled, search)?, architecture, progress);
    if let Supply::Pinned(pinned) = &run.supply {
        let inspect = async |extent| pinned.inspect(run.missing(&components, extent)?, architecture).await;
        if let Err(error) = inspect(wanted.extent).await {
            // Tools alone are wanted first: what else will be missing is told with them.
            inspect(Extent::Everything).await?;
            return Err(error);
        }
    }
    // Turns are given in the order they are asked for: the longest build must not be the last to start.
    components.sort_by_key(|component| {
        std::cmp::Reverse(component.recipe.module.as_ref().map_or(0, |module| module.cold_seconds))
    });
    let parts =
        futures::future::try_join_all(components.into_iter().map(|component| run.component(component)))
            .await?;
    let mut prepared = Prepared::default();
    for part in parts {
        prepared.node_files.extend(part.node_files);
        prepared.images.extend(part.images);
        prepared.tools.extend(part.tools);
    }
    prepared
        .node_files
        .sort_by(|one, other| (&one.component, &one.path).cmp(&(&other.component, &other.path)));
    prepared
        .images
        .sort_by(|one, other| (&one.component, &one.reference).cmp(&(&other.component, &other.reference)));
    Ok(prepared)
}

/// Release or source, by what is cached and which hosts answer.
async fn decide(
    cache: &Cache,
    architecture: Architecture,
    components: &[&Component],
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> ArtifactSource {
    let supply = Supply::Pinned(Box::new(Release::new()));
    let run = Run::new(cache.clone(), Extent::Everything, supply, architecture, progress);
    let (source, why) = match run.missing(components, Extent::Everything) {
        Ok(missing) => {
            let hosts = missing.iter().map(|item| format!("https://{}/", item.upstream())).collect();
            auto::choose(&Trust::System, hosts, auto::ANSWER).await
        }
        Err(error) => (ArtifactSource::Source, error.to_string()),
    };
    progress(Progress::Chosen { source, why });
    source
}

/// What all components of a call share.
pub(crate) struct Run<'a> {
    pub(crate) cache: Cache,
    pub(crate) supply: Supply,
    extent: Extent,
    architecture: Architecture,
    turns: Semaphore,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        cache: Cache,
        extent: Extent,
        supply: Supply,
        architecture: Architecture,
        progress: &'a (dyn Fn(Progress) + Send + Sync),
    ) -> Self {
        Self { cache, supply, extent, architecture, turns: Semaphore::new(BUILDS_AT_ONCE), progress }
    }

    fn one(&'a self, component: &'a Component) -> One<'a> {
        let architecture = match component.recipe.role {
            ComponentRole::Operator => Architecture::host().unwrap_or(self.architecture),
            _ => self.architecture,
        };
        One { run: self, component, architecture }
    }

    /// What a source of pinned content will be asked for; nothing of one that compiles.
    fn missing(&self, components: &[&Component], extent: Extent) -> Result<Vec<Item>, Error> {
        let Supply::Pinned(pinned) = &self.supply else { return Ok(Vec::new()) };
        let missing = components.iter().map(|component| self.one(component).missing(pinned.as_ref(), extent));
        Ok(missing.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    async fn component(&self, component: &Component) -> Result<Prepared, Error> {
        let recipe = &component.recipe;
        let one = self.one(component);
        let everything = self.extent == Extent::Everything;
        let (programs, charts, userlands) = tokio::try_join!(
            async {
                if one.wants_programs(self.extent) { one.programs().await } else { Ok(Record::default()) }
            },
            one.charts(),
            async { if everything { one.userlands().await } else { Ok(BTreeMap::new()) } },
        )?;
        let mut prepared = Prepared::default();
        for (name, tool) in &recipe.tools {
            let (blob, file) = match &tool.binary {
                Some(binary) => (one.named(&programs, binary)?, binary.clone()),
                None => (one.named(&charts, name)?, format!("{}-{}.tgz", recipe.name, component.pin.version)),
            };
            let path = self.cache.named(&blob.digest, &file)?;
            let found = Tool {
                path,
                digest: blob.digest,
                definition_labels: tool.definition_labels.clone(),
                idle_init_containers: tool.idle_init_containers.clone(),
            };
            prepared.tools.insert(name.clone(), found);
        }
        if !everything {
            return Ok(prepared);
        }
        for (name, image) in &recipe.images {
            let blob = one.image(name, image, &programs, userlands.get(name)).await?;
            prepared.images.push(ImageArchive {
                component: recipe.name.clone(),
                name: name.clone(),
                reference: component.expand(&image.reference, one.architecture),
                roles: image.nodes.roles(),
                blob: self.cache.blob_path(&blob.digest),
                digest: blob.digest,
                size: blob.size,
            });
        }
        for file in &recipe.files {
            let blob = one.named(&programs, &file.binary)?;
            prepared.node_files.push(NodeFile {
                component: recipe.name.clone(),
                path: file.path.clone(),
                mode: file.mode,
                roles: file.nodes.roles(),
                blob: self.cache.blob_path(&blob.digest),
                digest: blob.digest,
                size: blob.size,
            });
        }
        Ok(prepared)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Mutex;

    use super::*;

    /// A folder with a `go` that writes its program and counts how often it was run.
    struct Host {
        folder: tempfile::TempDir,
    }

    impl Host {
        fn new(script: &str) -> Self {
            let host = Self { folder: tempfile::tempdir().unwrap() };
            fs_err::create_dir_all(host.path("go/bin")).unwrap();
            host.set_version("go1.26.8");
            let go = host.path("go/bin/go");
            fs_err::write(
                &go,
                format!("#!/bin/sh\necho \"$@\" >>{}\n{script}\n", host.path("runs").display()),
            )
            .unwrap();
            fs_err::set_permissions(go, std::fs::Permissions::from_mode(0o755)).unwrap();
            host
        }

        fn good() -> Self {
            // The argument after `-o` is the folder the programs go to.
            Self::new("while [ \"$1\" != -o ]; do shift; done; sleep 0.2; echo program >\"$2\"pause")
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn set_version(&self, version: &str) {
            fs_err::write(self.path("go/VERSION"), format!("{version}\ntime x\n")).unwrap();
        }

        fn runs(&self) -> usize {
            fs_err::read_to_string(self.path("runs")).map_or(0, |runs| runs.lines().count())
        }

        async fn prepare(&self) -> Result<(Prepared, Vec<Progress>), Error> {
            let seen = Mutex::new(Vec::new());
            let catalogue = Catalogue::embedded()?;
            let prepared = prepare_with(
                self.path("go/bin").as_os_str(),
                &catalogue,
                &Origin::Source,
                Architecture::Amd64,
                Wanted { components: &["pause"], extent: Extent::Everything },
                &self.path("cache"),
                &|progress| seen.lock().unwrap().push(progress),
            )
            .await?;
            Ok((prepared, seen.into_inner().unwrap()))
        }
    }

    #[tokio::test]
    async fn what_is_cached_runs_nothing_until_an_input_changes_or_a_blob_is_damaged() {
        let host = Host::good();
        let (first, seen) = host.prepare().await.unwrap();
        assert_eq!(first.images[0].reference, "registry.k8s.io/pause:3.10.1");
        assert_eq!(seen.len(), 4, "{seen:?}");
        let (second, seen) = host.prepare().await.unwrap();
        assert_eq!((&second, seen.as_slice(), host.runs()), (&first, &[][..], 1));

        host.set_version("go1.26.9");
        let (third, _) = host.prepare().await.unwrap();
        assert_eq!((&third, host.runs()), (&first, 2), "the same program gives the same archive");

        let archive = &first.images[0].blob;
        fs_err::remove_file(archive).unwrap();
        fs_err::write(archive, b"damaged").unwrap();
        assert_eq!(crate::verify(&host.path("cache")).unwrap().len(), 1);
        assert_eq!(
            (host.prepare().await.unwrap().0, host.runs()),
            (first, 2),
            "only the image is made again"
        );
    }

    #[tokio::test]
    async fn two_runs_at_once_compile_once() {
        let host = Host::good();
        let (one, other) = tokio::join!(host.prepare(), host.prepare());
        let ((one, first), (other, second)) = (one.unwrap(), other.unwrap());
        assert_eq!((one, host.runs()), (other, 1));
        let waited =
            |seen: &[Progress]| seen.iter().any(|progress| matches!(progress, Progress::Waiting { .. }));
        assert!(waited(&first) != waited(&second));
    }

    #[tokio::test]
    async fn a_failing_compiler_is_quoted_and_nothing_is_kept() {
        let host = Host::new("echo 'missing go.sum entry' >&2; exit 1");
        let error = host.prepare().await.unwrap_err().to_string();
        assert!(error.contains("pause") && error.contains("missing go.sum entry"), "{error}");
        host.prepare().await.unwrap_err();
        assert_eq!(host.runs(), 2);
    }

    #[tokio::test]
    async fn a_host_without_go_is_told_what_to_do() {
        let host = Host::good();
        fs_err::remove_file(host.path("go/bin/go")).unwrap();
        let error = host.prepare().await.unwrap_err();
        assert!(matches!(&error, Error::ProgramMissing { program, .. } if program == "go"), "{error}");
    }
}
