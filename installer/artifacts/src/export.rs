//! Fills a folder with everything that the lock pins of some components, for the source `directory` on another machine.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use kubezt_model::Digest;

use crate::cache::Cache;
use crate::hashing::blocking;
use crate::item::Item;
use crate::part::Part;
use crate::prepare::component::One;
use crate::prepare::{Extent, Progress, Run};
use crate::pull::{collect, is_there};
use crate::sources::{Origin, Pinned, Supply, open};
use crate::{Architecture, Catalogue, Error};

/// Files of a folder that was filled: path in it to digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported(pub BTreeMap<String, Digest>);

/// Fills `folder` with components for nodes and operators of one architecture. What is there already and right stays, so that
/// an export that was cut short goes on.
///
/// # Errors
/// A source that compiles, since it has nothing that the lock pins; a component that cannot be had; files that cannot be written.
pub async fn export(
    catalogue: &Catalogue,
    origin: &Origin,
    architecture: Architecture,
    components: &[&str],
    cache: &Path,
    folder: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Exported, Error> {
    let components =
        components.iter().map(|name| catalogue.component(name)).collect::<Result<Vec<_>, _>>()?;
    if let Origin::Source | Origin::Auto(_) = origin {
        return Err(Error::NotPinned);
    }
    // Nothing is compiled, so no compiler has to be looked for.
    let supply = open(origin, OsStr::new(""))?;
    let run = Run::new(Cache::open(cache)?, Extent::Everything, supply, architecture, progress);
    let Supply::Pinned(pinned) = &run.supply else { return Err(Error::NotPinned) };
    // Whoever carries the folder away has a machine of this architecture there, not necessarily here.
    let one = |component| One { run: &run, component, architecture };
    let ones: Vec<One<'_>> = components.into_iter().map(one).collect();
    let mut wanted = Vec::new();
    for one in &ones {
        wanted.extend(one.program_items()?);
        wanted.extend(one.chart_items());
        wanted.extend(one.image_items().map(|(reference, digest)| Item::Document { reference, digest }));
    }
    pinned.inspect(wanted, architecture).await?;
    let mut exported = Exported::default();
    for one in ones {
        let done = one.work(pinned.doing(), fill(&one, pinned.as_ref(), folder)).await?;
        exported.0.extend(done.into_iter().filter_map(|item| Some((item.path(), item.digest()?))));
    }
    Ok(exported)
}

/// Puts everything of one component into the folder; says what.
async fn fill(one: &One<'_>, pinned: &dyn Pinned, folder: &Path) -> Result<Vec<Item>, Error> {
    let watch = |step| one.heard(step);
    let mut done = Vec::new();
    for item in one.program_items()?.into_iter().chain(one.chart_items()) {
        let path = folder.join(item.path());
        if let Some(digest) = item.digest()
            && !is_there(&path, digest).await?
        {
            match &item {
                Item::Chart { tool, .. } if !pinned.has_charts() => {
                    let packed = one.named(&one.charts().await?, tool)?;
                    let packed = one.run.cache.blob_path(&packed.digest);
                    blocking(move || unpack_chart(&packed, &path)).await?;
                }
                _ => pinned.bring(&item, &path, &watch).await?,
            }
        }
        done.push(item);
    }
    for (reference, digest) in one.image_items() {
        let index = Item::Document { reference, digest };
        let folder = folder.join(index.folder());
        done.extend(collect(pinned, index, one.architecture, &folder, &watch).await?.items);
    }
    Ok(done)
}

/// The tar in a packed chart, whose digest was checked when it was packed.
fn unpack_chart(packed: &Path, path: &Path) -> Result<(), Error> {
    let doing = || Error::file("cannot put a chart into the folder");
    let packed = fs_err::File::open(packed).map_err(doing())?;
    let (part, mut file) = Part::begin(path).map_err(doing())?;
    std::io::copy(&mut flate2::read::GzDecoder::new(packed), &mut file).map_err(doing())?;
    part.finish(&file).map_err(doing())
}
