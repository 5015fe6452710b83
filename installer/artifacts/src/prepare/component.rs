//! One component: compiled or downloaded, its images pulled or assembled, everything kept under a key of its inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use kubezt_model::Digest;

use super::chart::{self, ChartFiles, ChartSource};
use super::{Extent, Progress, Run};
use crate::cache::{Blob, Record, Workspace};
use crate::catalogue::Component;
use crate::download::Step;
use crate::hashing::{blocking, digest_parts};
use crate::image::{ImageConfig, assemble_blob};
use crate::item::Item;
use crate::layer::{Content, Layer};
use crate::recipe::{Architecture, BaseRecipe, Format, ImageRecipe, ToolRecipe};
use crate::sources::compiled::{Build, FLAGS};
use crate::sources::{Pinned, Supply};
use crate::unpack::extract;
use crate::{Error, base, pull};

/// Raised when the same input is to give other bytes, so that what older versions cached is not used.
const FORMAT: &str = "2";

/// One component in a run.
pub(crate) struct One<'a> {
    pub(crate) run: &'a Run<'a>,
    pub(crate) component: &'a Component,
    pub(crate) architecture: Architecture,
}

impl One<'_> {
    /// Programs of the component, from the cache or made now.
    pub(super) async fn programs(&self) -> Result<Record, Error> {
        let key = self.programs_key()?;
        let what = match &self.run.supply {
            Supply::Compiled(_) => "compile",
            Supply::Pinned(pinned) => pinned.doing(),
        };
        self.cached(&key, what, async |workspace| {
            let programs = match &self.run.supply {
                Supply::Compiled(_) => self.build(workspace)?.compile(&workspace.join("out")).await?,
                Supply::Pinned(pinned) => self.bring_programs(pinned.as_ref(), workspace).await?,
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
    pub(crate) async fn charts(&self) -> Result<Record, Error> {
        if self.chart_tools().next().is_none() {
            return Ok(Record::default());
        }
        self.cached(&self.charts_key()?, "chart", async |workspace| {
            let sources = match &self.run.supply {
                Supply::Compiled(_) => {
                    let module = self.build(workspace)?.module_folder().await?;
                    let files = |(name, tool, chart): (&String, &ToolRecipe, &String)| {
                        let files = ChartFiles::new(tool, module.join(chart), |folder| module.join(folder));
                        (name.clone(), ChartSource::Files(files))
                    };
                    self.chart_tools().map(files).collect()
                }
                Supply::Pinned(pinned) if pinned.has_charts() => {
                    self.bring_charts(pinned.as_ref(), workspace).await?
                }
                Supply::Pinned(pinned) => self.bring_chart_files(pinned.as_ref(), workspace).await?,
            };
            self.pack(sources, workspace).await
        })
        .await
    }

    /// What a source of pinned content will be asked for: all that is not in the cache.
    pub(super) fn missing(&self, pinned: &dyn Pinned, extent: Extent) -> Result<Vec<Item>, Error> {
        let cache = &self.run.cache;
        let mut missing = Vec::new();
        if self.wants_programs(extent) && cache.record(&self.programs_key()?).is_none() {
            missing.extend(self.program_items()?);
        }
        if self.chart_tools().next().is_some() && cache.record(&self.charts_key()?).is_none() {
            if pinned.has_charts() {
                missing.extend(self.chart_items());
            } else {
                let (members, _) = self.chart_members(Path::new(""))?;
                missing.extend(self.files(&members)?);
            }
        }
        if extent == Extent::Everything {
            let images = self.image_items();
            let images = images
                .filter(|(reference, digest)| cache.record(&self.pull_key(reference, digest)).is_none());
            missing.extend(images.map(|(reference, digest)| Item::Document { reference, digest }));
        }
        Ok(missing)
    }

    /// Whether programs are wanted, and not charts alone.
    pub(super) fn wants_programs(&self, extent: Extent) -> bool {
        let tools = &self.component.recipe.tools;
        extent == Extent::Everything || tools.values().any(|tool| tool.binary.is_some())
    }

    /// Upstream's files that programs are taken from.
    pub(crate) fn program_items(&self) -> Result<Vec<Item>, Error> {
        let (members, _) = self.program_members(Path::new(""))?;
        self.files(&members)
    }

    /// Charts, as kubezt packs them.
    pub(crate) fn chart_items(&self) -> Vec<Item> {
        let Component { recipe, pin, .. } = self.component;
        let item = |(name, ..): (&String, &ToolRecipe, &String)| {
            Some(Item::Chart {
                component: recipe.name.clone(),
                version: pin.version.clone(),
                tool: name.clone(),
                digest: *pin.charts.get(name)?,
            })
        };
        self.chart_tools().filter_map(item).collect()
    }

    /// Images that are pulled, and not assembled: reference and digest of the index.
    pub(crate) fn image_items(&self) -> impl Iterator<Item = (String, Digest)> {
        let Component { recipe, pin, .. } = self.component;
        let pinned = |(name, image): (&String, &ImageRecipe)| {
            Some((self.expand(&image.reference), *pin.images.get(name)?))
        };
        recipe.images.iter().filter_map(pinned)
    }

    fn chart_tools(&self) -> impl Iterator<Item = (&String, &ToolRecipe, &String)> {
        let tools = self.component.recipe.tools.iter();
        tools.filter_map(|(name, tool)| Some((name, tool, tool.chart.as_ref()?)))
    }

    fn build(&self, workspace: &Path) -> Result<Build<'_>, Error> {
        match (self.run.supply.go(), &self.component.recipe.module) {
            (Some(go), Some(module)) => {
                Build::prepare(go, self.component, module, self.architecture, workspace)
            }
            _ => Err(self.no_source("it", "only what has a `module` is compiled")),
        }
    }

    /// What programs are taken from, and where each is then.
    fn program_members(&self, workspace: &Path) -> Result<(Members<'_>, BTreeMap<String, PathBuf>), Error> {
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
        Ok((members, programs))
    }

    async fn bring_programs(
        &self,
        pinned: &dyn Pinned,
        workspace: &Path,
    ) -> Result<BTreeMap<String, PathBuf>, Error> {
        let (members, programs) = self.program_members(workspace)?;
        self.unpack(pinned, members, workspace).await?;
        Ok(programs)
    }

    async fn bring_charts(
        &self,
        pinned: &dyn Pinned,
        workspace: &Path,
    ) -> Result<BTreeMap<String, ChartSource>, Error> {
        let mut charts = BTreeMap::new();
        for item in self.chart_items() {
            let path = workspace.join(item.path());
            pinned.bring(&item, &path, &|step| self.heard(step)).await?;
            if let Item::Chart { tool, .. } = item {
                charts.insert(tool, ChartSource::Tar(path));
            }
        }
        Ok(charts)
    }

    /// What charts are packed of, and where that is then.
    fn chart_members(&self, workspace: &Path) -> Result<(Members<'_>, BTreeMap<String, ChartSource>), Error> {
        let mut members = Members::new();
        let mut charts = BTreeMap::new();
        for (name, tool, _) in self.chart_tools() {
            let download = tool.download.as_deref();
            let download = download.ok_or_else(|| self.no_source(name, "its recipe names no download"))?;
            let path = workspace.join("charts").join(name);
            let member = self.expand(tool.member.as_deref().unwrap_or_default());
            let members = members.entry(download).or_default();
            members.insert(member, path.clone());
            let files = ChartFiles::new(tool, path, |folder| workspace.join("also").join(name).join(folder));
            let root = self.expand(tool.member_root().unwrap_or_default());
            for (folder, also) in tool.also.keys().zip(&files.also) {
                members.insert(format!("{root}{folder}"), also.folder.clone());
            }
            charts.insert(name.clone(), ChartSource::Files(files));
        }
        Ok((members, charts))
    }

    async fn bring_chart_files(
        &self,
        pinned: &dyn Pinned,
        workspace: &Path,
    ) -> Result<BTreeMap<String, ChartSource>, Error> {
        let (members, charts) = self.chart_members(workspace)?;
        self.unpack(pinned, members, workspace).await?;
        Ok(charts)
    }

    fn files(&self, members: &Members<'_>) -> Result<Vec<Item>, Error> {
        members.keys().map(|name| self.file(name)).collect()
    }

    fn file(&self, name: &str) -> Result<Item, Error> {
        let Component { recipe, pin, .. } = self.component;
        let digest = match pin.downloads.get(name) {
            Some(digests) => Some(*digests.get(&self.architecture).ok_or_else(|| {
                self.no_source(name, &format!("the lock has no digest of it for {}", self.architecture))
            })?),
            // Only charts may come without: the digest of the chart itself is checked.
            None => None,
        };
        Ok(Item::File {
            component: recipe.name.clone(),
            version: pin.version.clone(),
            architecture: self.architecture,
            url: self.expand(&recipe.downloads[name].url),
            digest,
        })
    }

    /// Has upstream's files brought and puts what is wanted of each where it is wanted.
    async fn unpack(&self, pinned: &dyn Pinned, members: Members<'_>, workspace: &Path) -> Result<(), Error> {
        for (name, members) in members {
            let file = workspace.join(format!("download-{name}"));
            pinned.bring(&self.file(name)?, &file, &|step| self.heard(step)).await?;
            match self.component.recipe.downloads[name].format {
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
    async fn pack(&self, charts: BTreeMap<String, ChartSource>, workspace: &Path) -> Result<Record, Error> {
        let cache = self.run.cache.clone();
        let name = self.component.recipe.name.clone();
        let pins = self.component.pin.charts.clone();
        let workspace = workspace.to_owned();
        blocking(move || {
            let doing = || Error::file("cannot pack a chart");
            let mut record = Record::default();
            for (tool, source) in charts {
                let tar = source.tar(&name).map_err(doing())?;
                let (wanted, found) = (pins.get(&tool), Digest::of(&tar));
                if wanted != Some(&found) {
                    let wanted = wanted.copied().unwrap_or(Digest::from_bytes([0; 32]));
                    return Err(Error::WrongDigest { what: format!("the chart `{tool}`"), wanted, found });
                }
                let packed = workspace.join(format!("{tool}.tgz"));
                chart::pack(&tar, &packed).map_err(doing())?;
                record.0.insert(tool, cache.adopt(&packed, false)?);
            }
            Ok(record)
        })
        .await
    }

    /// Userlands of images whose programs are compiled now, made while that goes on.
    pub(super) async fn userlands(&self) -> Result<BTreeMap<String, Userland>, Error> {
        let mut userlands = BTreeMap::new();
        for (name, image) in &self.component.recipe.images {
            let Some(base) = &image.base else { continue };
            // With programs that are there the image may be as well, which it says itself.
            if self.run.supply.go().is_some() && self.run.cache.record(&self.programs_key()?).is_none() {
                let _turn = self.run.turns.acquire().await;
                userlands.insert(name.clone(), self.userland(base, &self.expand(&image.reference)).await?);
            }
        }
        Ok(userlands)
    }

    async fn userland(&self, base: &BaseRecipe, reference: &str) -> Result<Userland, Error> {
        let key = self.key(&["userland", reference, &json(base)?]);
        let workspace = self.run.cache.workspace(&key, || self.waits()).await?;
        let making = base::bootstrap(base, reference, self.architecture, workspace.path());
        let root = self.work(&format!("userland of {reference}"), making).await?;
        Ok(Userland { root, _workspace: workspace })
    }

    pub(super) async fn image(
        &self,
        name: &str,
        image: &ImageRecipe,
        built: &Record,
        userland: Option<&Userland>,
    ) -> Result<Blob, Error> {
        let reference = self.expand(&image.reference);
        let pinned = match &self.run.supply {
            Supply::Pinned(pinned) => Some(pinned).zip(self.component.pin.images.get(name)),
            Supply::Compiled(_) => None,
        };
        let record = if let Some((pinned, index)) = pinned {
            self.cached(&self.pull_key(&reference, index), &reference, async |workspace| {
                let watch = |step| self.heard(step);
                let pulled =
                    pull::pull(pinned.as_ref(), &reference, *index, self.architecture, workspace, &watch);
                let (archive, blob) = pulled.await?;
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
            self.cached(&key, &reference, async |workspace| {
                self.assemble(image, built, userland, workspace).await
            })
            .await?
        };
        self.named(&record, IMAGE)
    }

    async fn assemble(
        &self,
        image: &ImageRecipe,
        built: &Record,
        userland: Option<&Userland>,
        workspace: &Path,
    ) -> Result<Record, Error> {
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
            Some(base) => self.base_layer(base, &config.reference, userland, workspace).await?,
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
        userland: Option<&Userland>,
        workspace: &Path,
    ) -> Result<Layer, Error> {
        let module = self.build(workspace)?.module_folder().await?;
        let made;
        let userland = match userland {
            Some(userland) => userland,
            None => {
                made = self.userland(recipe, reference).await?;
                &made
            }
        };
        let (recipe, root) = (recipe.clone(), userland.root.clone());
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
        let started = Instant::now();
        let workspace = cache.workspace(key, || self.waits()).await?;
        // Another run may have made it while this one waited.
        if let Some(record) = cache.record(key) {
            return Ok(record);
        }
        // The semaphore is never closed, so a turn always comes.
        let _turn = self.run.turns.acquire().await;
        let make = async {
            let record = make(workspace.path()).await?;
            cache.keep_record(key, &record, workspace.path())?;
            Ok(record)
        };
        self.work_since(started, what, make).await
    }

    fn waits(&self) {
        (self.run.progress)(Progress::Waiting { component: self.component.recipe.name.clone() });
    }

    /// Reports the beginning and the good end of work.
    pub(crate) async fn work<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.work_since(Instant::now(), what, work).await
    }

    async fn work_since<T>(
        &self,
        started: Instant,
        what: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let component = || self.component.recipe.name.clone();
        let report = self.run.progress;
        report(Progress::Started { component: component(), what: what.to_owned() });
        let done = work.await?;
        let seconds = started.elapsed().as_secs_f64();
        report(Progress::Finished { component: component(), what: what.to_owned(), seconds });
        Ok(done)
    }

    fn programs_key(&self) -> Result<Digest, Error> {
        let Component { recipe, pin, .. } = self.component;
        match (&self.run.supply, &recipe.module) {
            (Supply::Compiled(go), Some(module)) => {
                let described = json(&(module, &recipe.binaries, &recipe.tools, &pin.version))?;
                Ok(self.key(&["source", &go.version, FLAGS, &described]))
            }
            (Supply::Compiled(_), None) => Err(self.no_source("it", "it has no `module`")),
            (Supply::Pinned(_), _) => {
                let described = json(&(&recipe.downloads, &recipe.binaries, &recipe.tools, pin))?;
                Ok(self.key(&["release", &described]))
            }
        }
    }

    fn charts_key(&self) -> Result<Digest, Error> {
        let Component { recipe, pin, .. } = self.component;
        let described = json(&(&recipe.module, &recipe.downloads, &recipe.tools, pin))?;
        let from = match &self.run.supply {
            Supply::Compiled(_) => "source",
            Supply::Pinned(_) => "release",
        };
        Ok(self.key(&["charts", from, &described]))
    }

    fn pull_key(&self, reference: &str, index: &Digest) -> Digest {
        self.key(&["pull", reference, &index.to_string()])
    }

    /// Key of something made from these inputs, this component's module and this architecture.
    fn key(&self, inputs: &[&str]) -> Digest {
        let head = [FORMAT, self.architecture.as_str(), &self.component.recipe.name];
        let module =
            self.component.module_files.iter().flat_map(|(path, bytes)| [path.as_bytes(), bytes.as_slice()]);
        digest_parts(head.iter().chain(inputs).map(|part| part.as_bytes()).chain(module))
    }

    pub(crate) fn named(&self, record: &Record, name: &str) -> Result<Blob, Error> {
        record.0.get(name).copied().ok_or_else(|| self.no_source(name, "its recipe gives no way to make it"))
    }

    fn expand(&self, template: &str) -> String {
        self.component.expand(template, self.architecture)
    }

    /// Passes on what happens to a file.
    pub(crate) fn heard(&self, step: Step) {
        let component = self.component.recipe.name.clone();
        (self.run.progress)(match step {
            Step::Received { bytes, total } => Progress::Received { component, bytes, total },
            Step::Again { problem, wait } => {
                Progress::Again { component, problem, seconds: wait.as_secs_f64() }
            }
        });
    }

    fn no_source(&self, what: &str, hint: &str) -> Error {
        Error::NoSource {
            component: self.component.recipe.name.clone(),
            what: what.to_owned(),
            from: self.run.supply.kind(),
            hint: hint.to_owned(),
        }
    }
}

/// What an image's programs are put on, for as long as that takes.
pub(super) struct Userland {
    root: PathBuf,
    _workspace: Workspace,
}

const IMAGE: &str = "image";

fn only(blob: Blob) -> Record {
    Record([(IMAGE.to_owned(), blob)].into())
}

/// What is wanted of each download, and where it goes.
type Members<'a> = BTreeMap<&'a str, BTreeMap<String, PathBuf>>;

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::file("cannot describe a build")(error.into()))
}
