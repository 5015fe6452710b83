//! One component: compiled or downloaded, its images pulled or assembled, everything kept under a key of its inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use kubezt_model::Digest;
use kubezt_model::cluster::ArtifactSource;

use super::{Progress, Run};
use crate::cache::{Blob, Record};
use crate::catalogue::Component;
use crate::hashing::digest_parts;
use crate::image::{ImageConfig, assemble_blob};
use crate::layer::{Content, Layer};
use crate::recipe::{Architecture, BaseRecipe, Format, ImageRecipe, ToolRecipe, last_part};
use crate::release::{Downloader, extract};
use crate::source::{Build, FLAGS};
use crate::{Error, base, registry};

/// Raised when the same input is to give other bytes, so that what older versions cached is not used.
const FORMAT: &str = "2";

/// One component in a run.
pub(super) struct One<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) component: &'a Component,
    pub(super) architecture: Architecture,
}

impl One<'_> {
    /// Programs of the component, from the cache or made now.
    pub(super) async fn programs(&self) -> Result<Record, Error> {
        let recipe = &self.component.recipe;
        let what = match self.run.source {
            ArtifactSource::Source => "compile",
            ArtifactSource::Release => "download",
        };
        let key = match (&self.run.go, &recipe.module) {
            (Some(go), Some(module)) => {
                let described =
                    json(&(module, &recipe.binaries, &recipe.tools, &self.component.pin.version))?;
                self.key(&["source", &go.version, FLAGS, &described])
            }
            (Some(_), None) => return Err(self.no_source("it", "it has no `module`")),
            (None, _) => {
                let described =
                    json(&(&recipe.downloads, &recipe.binaries, &recipe.tools, &self.component.pin))?;
                self.key(&["release", &described])
            }
        };
        self.cached(&key, what, async |workspace| {
            let programs = match (&self.run.go, &recipe.module) {
                (Some(go), Some(module)) => {
                    let build = Build::prepare(go, self.component, module, self.architecture, workspace)?;
                    build.compile(&workspace.join("out")).await?
                }
                _ => self.download_programs(workspace).await?,
            };
            let cache = self.run.cache.clone();
            blocking(move || {
                let adopt = |(name, path): (String, PathBuf)| Ok((name, cache.adopt(&path, true)?));
                programs.into_iter().map(adopt).collect::<Result<_, Error>>().map(Record)
            })
            .await
        })
        .await
    }

    /// Charts of the component, from the cache or packed now. They need no program of it.
    pub(super) async fn charts(&self) -> Result<Record, Error> {
        let recipe = &self.component.recipe;
        let charts: BTreeMap<_, _> = recipe
            .tools
            .iter()
            .filter_map(|(name, tool)| Some((name, (tool, tool.chart.as_ref()?))))
            .collect();
        if charts.is_empty() {
            return Ok(Record::default());
        }
        let described = json(&(&recipe.module, &recipe.downloads, &recipe.tools, &self.component.pin))?;
        let key = self.key(&[
            "charts",
            match self.run.source {
                ArtifactSource::Source => "source",
                ArtifactSource::Release => "release",
            },
            &described,
        ]);
        self.cached(&key, "chart", async |workspace| {
            let sources = match (&self.run.go, &recipe.module) {
                (Some(go), Some(module)) => {
                    let build = Build::prepare(go, self.component, module, self.architecture, workspace)?;
                    let module = build.module_folder().await?;
                    let sources = |(name, (tool, chart)): (&String, (&ToolRecipe, &String))| {
                        let sources =
                            ChartSources::new(tool, module.join(chart), |folder| module.join(folder));
                        (name.clone(), sources)
                    };
                    charts.into_iter().map(sources).collect()
                }
                _ => self.download_charts(workspace).await?,
            };
            self.pack(sources, workspace).await
        })
        .await
    }

    async fn download_programs(&self, workspace: &Path) -> Result<BTreeMap<String, PathBuf>, Error> {
        let recipe = &self.component.recipe;
        let pin = &self.component.pin;
        // What an image that is pulled would have held is not needed.
        let assembled = recipe.images.iter().filter(|(name, _)| !pin.images.contains_key(*name));
        let mut needed: BTreeSet<_> = assembled.flat_map(|(_, image)| image.binaries.keys()).collect();
        needed.extend(recipe.files.iter().map(|file| &file.binary));
        needed.extend(recipe.tools.values().filter_map(|tool| tool.binary.as_ref()));

        let mut members = Members::new();
        let mut programs = BTreeMap::new();
        for name in needed {
            let binary = &recipe.binaries[name];
            let download = binary.download.as_deref();
            let download = download.ok_or_else(|| self.no_source(name, "its recipe names no download"))?;
            let path = workspace.join("out").join(name);
            let member = self.expand(binary.member.as_deref().unwrap_or_default());
            members.entry(download).or_default().insert(member, path.clone());
            programs.insert(name.clone(), path);
        }
        self.download(members, workspace).await?;
        Ok(programs)
    }

    async fn download_charts(&self, workspace: &Path) -> Result<BTreeMap<String, ChartSources>, Error> {
        let mut members = Members::new();
        let mut charts = BTreeMap::new();
        for (name, tool) in self.component.recipe.tools.iter().filter(|(_, tool)| tool.chart.is_some()) {
            let download = tool.download.as_deref();
            let download = download.ok_or_else(|| self.no_source(name, "its recipe names no download"))?;
            let path = workspace.join("charts").join(name);
            let member = self.expand(tool.member.as_deref().unwrap_or_default());
            let members = members.entry(download).or_default();
            members.insert(member, path.clone());
            let sources =
                ChartSources::new(tool, path, |folder| workspace.join("also").join(name).join(folder));
            let root = self.expand(tool.member_root().unwrap_or_default());
            for (folder, also) in tool.also.keys().zip(&sources.also) {
                members.insert(format!("{root}{folder}"), also.folder.clone());
            }
            charts.insert(name.clone(), sources);
        }
        self.download(members, workspace).await?;
        Ok(charts)
    }

    /// Fetches downloads and puts what is wanted of each where it is wanted.
    async fn download(&self, members: Members<'_>, workspace: &Path) -> Result<(), Error> {
        if members.is_empty() {
            return Ok(());
        }
        let downloader = Downloader::new()?;
        for (name, members) in members {
            let download = &self.component.recipe.downloads[name];
            let url = self.expand(&download.url);
            let wanted = match self.component.pin.downloads.get(name) {
                Some(digests) => Some(*digests.get(&self.architecture).ok_or_else(|| {
                    self.no_source(name, &format!("the lock has no digest of it for {}", self.architecture))
                })?),
                // Only charts may come without: the digest of the chart itself is checked.
                None => None,
            };
            let file = workspace.join(format!("download-{name}"));
            downloader.fetch(&url, wanted, &file, &|bytes, total| self.received(bytes, total)).await?;
            match download.format {
                Format::TarGz => blocking(move || extract(&file, &members)).await?,
                Format::File => {
                    for target in members.into_values() {
                        let parent = target.parent().unwrap_or(workspace);
                        fs_err::create_dir_all(parent)
                            .and_then(|()| fs_err::copy(&file, &target))
                            .map_err(Error::file("cannot keep a download"))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Packs charts into the cache.
    async fn pack(&self, charts: BTreeMap<String, ChartSources>, workspace: &Path) -> Result<Record, Error> {
        let cache = self.run.cache.clone();
        let name = self.component.recipe.name.clone();
        let pins = self.component.pin.charts.clone();
        let workspace = workspace.to_owned();
        blocking(move || {
            let mut record = Record::default();
            for (tool, sources) in charts {
                let packed = workspace.join(format!("{tool}.tgz"));
                let found =
                    pack_chart(&sources, &name, &packed).map_err(Error::file("cannot pack a chart"))?;
                match pins.get(&tool) {
                    Some(wanted) if *wanted == found => {}
                    wanted => {
                        let wanted = wanted.copied().unwrap_or(Digest::from_bytes([0; 32]));
                        return Err(Error::WrongDigest {
                            what: format!("the chart `{tool}`"),
                            wanted,
                            found,
                        });
                    }
                }
                record.0.insert(tool, cache.adopt(&packed, false)?);
            }
            Ok(record)
        })
        .await
    }

    pub(super) async fn image(&self, name: &str, image: &ImageRecipe, built: &Record) -> Result<Blob, Error> {
        let reference = self.expand(&image.reference);
        let pinned =
            self.component.pin.images.get(name).filter(|_| self.run.source == ArtifactSource::Release);
        let record = if let Some(index) = pinned {
            let key = self.key(&["pull", &reference, &index.to_string()]);
            self.cached(&key, &reference, async |workspace| {
                let downloader = Downloader::new()?;
                let received = |bytes, total| self.received(bytes, total);
                let (archive, blob) =
                    registry::pull(&downloader, &reference, *index, self.architecture, workspace, &received)
                        .await?;
                self.run.cache.adopt_hashed(&archive, blob, false).map(only)
            })
            .await?
        } else {
            let mut inputs = vec!["image".to_owned(), reference.clone(), json(image)?];
            for binary in image.binaries.keys() {
                inputs.push(self.named(built, binary)?.digest.to_string());
            }
            let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
            let key = self.key(&inputs);
            self.cached(&key, &reference, async |workspace| self.assemble(image, built, workspace).await)
                .await?
        };
        self.named(&record, IMAGE)
    }

    async fn assemble(&self, image: &ImageRecipe, built: &Record, workspace: &Path) -> Result<Record, Error> {
        let config = ImageConfig {
            reference: self.expand(&image.reference),
            architecture: self.architecture,
            user: image.user.clone(),
            entrypoint: image.entrypoint.clone(),
            arguments: image.arguments.clone(),
            environment: image.environment.clone(),
            working_directory: image.working_directory.clone(),
        };
        let mut layer = match &image.base {
            Some(base) => self.base_layer(base, &config.reference, workspace).await?,
            None => Layer::new(),
        };
        for (binary, path) in &image.binaries {
            let blob = self.named(built, binary)?;
            layer.add(path, 0o755, Content::File(self.run.cache.blob_path(&blob.digest)));
        }
        let cache = self.run.cache.clone();
        let workspace = workspace.to_owned();
        blocking(move || {
            let (archive, blob) = assemble_blob(&config, &layer, &workspace)
                .map_err(Error::file("cannot assemble an image"))?;
            cache.adopt_hashed(&archive, blob, false).map(only)
        })
        .await
    }

    async fn base_layer(
        &self,
        recipe: &BaseRecipe,
        reference: &str,
        workspace: &Path,
    ) -> Result<Layer, Error> {
        let (Some(go), Some(module)) = (&self.run.go, &self.component.recipe.module) else {
            return Err(self.no_source(reference, "an image with a `base` needs the files of its `module`"));
        };
        let build = Build::prepare(go, self.component, module, self.architecture, workspace)?;
        let module = build.module_folder().await?;
        let root = base::bootstrap(recipe, reference, self.architecture, workspace).await?;
        let recipe = recipe.clone();
        blocking(move || base::layer(&recipe, &root, &module)).await
    }

    /// The record of a key, from the cache or made by `make` while no other run makes it.
    async fn cached(
        &self,
        key: &Digest,
        what: &str,
        make: impl AsyncFnOnce(&Path) -> Result<Record, Error>,
    ) -> Result<Record, Error> {
        let cache = &self.run.cache;
        if let Some(record) = cache.record(key) {
            return Ok(record);
        }
        let component = || self.component.recipe.name.clone();
        let report = self.run.progress;
        let started = Instant::now();
        let workspace = cache.workspace(key, || report(Progress::Waiting { component: component() })).await?;
        // Another run may have made it while this one waited.
        if let Some(record) = cache.record(key) {
            return Ok(record);
        }
        // The semaphore is never closed, so a turn always comes.
        let _turn = self.run.turns.acquire().await;
        report(Progress::Started { component: component(), what: what.to_owned() });
        let record = make(workspace.path()).await?;
        cache.keep_record(key, &record, workspace.path())?;
        let seconds = started.elapsed().as_secs_f64();
        report(Progress::Finished { component: component(), what: what.to_owned(), seconds });
        Ok(record)
    }

    /// Key of something made from these inputs, this component's module and this architecture.
    fn key(&self, inputs: &[&str]) -> Digest {
        let head = [FORMAT, self.architecture.as_str(), &self.component.recipe.name];
        let module =
            self.component.module_files.iter().flat_map(|(path, bytes)| [path.as_bytes(), bytes.as_slice()]);
        digest_parts(head.iter().chain(inputs).map(|part| part.as_bytes()).chain(module))
    }

    pub(super) fn named(&self, record: &Record, name: &str) -> Result<Blob, Error> {
        record.0.get(name).copied().ok_or_else(|| self.no_source(name, "its recipe gives no way to make it"))
    }

    fn expand(&self, template: &str) -> String {
        self.component.expand(template, self.architecture)
    }

    fn received(&self, bytes: u64, total: Option<u64>) {
        (self.run.progress)(Progress::Received {
            component: self.component.recipe.name.clone(),
            bytes,
            total,
        });
    }

    fn no_source(&self, what: &str, hint: &str) -> Error {
        Error::NoSource {
            component: self.component.recipe.name.clone(),
            what: what.to_owned(),
            from: self.run.source,
            hint: hint.to_owned(),
        }
    }
}

const IMAGE: &str = "image";

fn only(blob: Blob) -> Record {
    Record([(IMAGE.to_owned(), blob)].into())
}

/// What is wanted of each download, and where it goes.
type Members<'a> = BTreeMap<&'a str, BTreeMap<String, PathBuf>>;

/// Where a chart's files are on this machine.
struct ChartSources {
    folder: PathBuf,
    also: Vec<Also>,
}

/// A further folder of a chart.
struct Also {
    folder: PathBuf,
    /// Folder in the chart.
    target: String,
    /// Name of the folder it was upstream.
    prefix: String,
}

impl ChartSources {
    /// `locate` says where a further folder of the tree is; order is the recipe's.
    fn new(tool: &ToolRecipe, folder: PathBuf, locate: impl Fn(&str) -> PathBuf) -> Self {
        let also = tool.also.iter().map(|(folder, target)| Also {
            folder: locate(folder),
            target: target.clone(),
            prefix: last_part(folder).to_owned(),
        });
        Self { folder, also: also.collect() }
    }
}

/// Packs a chart as Helm reads it. Returns the digest of the tar inside, which depends on the chart's files alone.
fn pack_chart(sources: &ChartSources, name: &str, packed: &Path) -> std::io::Result<Digest> {
    let mut layer = Layer::new();
    layer.add_tree(&sources.folder, name, &|_| true)?;
    for also in &sources.also {
        let mut found = false;
        for entry in fs_err::read_dir(&also.folder)? {
            let entry = entry?;
            let file = entry.file_name();
            let Some(file) = file.to_str().filter(|file| file.ends_with(".yaml")) else { continue };
            let path = format!("{name}/{}/{}-{file}", also.target, also.prefix);
            layer.add(&path, 0o644, Content::File(entry.path()));
            found = true;
        }
        if !found {
            let folder = also.folder.display();
            return Err(std::io::Error::other(format!("{folder} has no *.yaml file for the chart")));
        }
    }
    layer.restore_modes(name);
    let tar = layer.write(Vec::new())?;
    let digest = Digest::of(&tar);
    let mut encoder =
        flate2::write::GzEncoder::new(fs_err::File::create(packed)?, flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &tar)?;
    encoder.finish()?;
    Ok(digest)
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::file("cannot describe a build")(error.into()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::Worker)?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_chart_has_the_same_digest_wherever_it_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let chart = folder.path().join("chart");
        fs_err::create_dir_all(chart.join("templates")).unwrap();
        fs_err::write(chart.join("Chart.yaml"), b"name: a\n").unwrap();
        let packed = folder.path().join("a.tgz");
        let sources = ChartSources { folder: chart.clone(), also: Vec::new() };
        let first = pack_chart(&sources, "a", &packed).unwrap();
        // Go's module cache is read-only; an unpacked archive is not.
        fs_err::set_permissions(chart.join("Chart.yaml"), std::fs::Permissions::from_mode(0o444)).unwrap();
        assert_eq!(first, pack_chart(&sources, "a", &packed).unwrap());
        fs_err::write(chart.join("templates/b.yaml"), b"b").unwrap();
        assert_ne!(first, pack_chart(&sources, "a", &packed).unwrap());
    }

    #[test]
    fn further_folders_give_their_yaml_files_and_none_hides_another() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, bytes).unwrap();
        };
        write("chart/Chart.yaml", b"name: a\n");
        write("api/v1/a.yaml", b"one");
        write("api/v1/embed.go", b"package a");
        write("api/v2/a.yaml", b"two");
        let also = |version: &str| Also {
            folder: folder.path().join("api").join(version),
            target: "crds".to_owned(),
            prefix: version.to_owned(),
        };
        let mut sources =
            ChartSources { folder: folder.path().join("chart"), also: vec![also("v1"), also("v2")] };
        let packed = folder.path().join("a.tgz");
        let first = pack_chart(&sources, "a", &packed).unwrap();
        let file = fs_err::File::open(&packed).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let unpacked = tempfile::tempdir().unwrap();
        archive.unpack(unpacked.path()).unwrap();
        let read = |path: &str| fs_err::read(unpacked.path().join("a").join(path)).ok();
        assert_eq!(read("crds/v1-a.yaml").unwrap(), b"one");
        assert_eq!(read("crds/v2-a.yaml").unwrap(), b"two");
        assert_eq!(fs_err::read_dir(unpacked.path().join("a/crds")).unwrap().count(), 2);
        sources.also.reverse();
        assert_eq!(first, pack_chart(&sources, "a", &packed).unwrap());

        fs_err::create_dir_all(folder.path().join("api/v3")).unwrap();
        sources.also.push(also("v3"));
        let error = pack_chart(&sources, "a", &packed).unwrap_err().to_string();
        assert!(error.contains("v3"), "{error}");
    }
}
