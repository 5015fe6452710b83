//! Charts: the files of a chart as one tar that depends on them alone, and that packed as Helm reads it.

use std::io;
use std::path::{Path, PathBuf};

use crate::layer::{Content, Layer};
use crate::recipe::{ToolRecipe, last_part};

/// Where a chart comes from.
pub(super) enum ChartSource {
    /// Upstream's files.
    Files(ChartFiles),
    /// The tar itself.
    Tar(PathBuf),
}

impl ChartSource {
    /// The chart of a component as a tar; the lock's digest is of this.
    pub(super) fn tar(&self, component: &str) -> io::Result<Vec<u8>> {
        match self {
            Self::Files(files) => files.tar(component),
            Self::Tar(path) => fs_err::read(path),
        }
    }
}

/// Where a chart's files are on this machine.
pub(super) struct ChartFiles {
    folder: PathBuf,
    /// Further folders, in the recipe's order.
    pub(super) also: Vec<Also>,
}

/// A further folder of a chart.
pub(super) struct Also {
    pub(super) folder: PathBuf,
    /// Folder in the chart.
    target: String,
    /// Name of the folder it was upstream.
    prefix: String,
}

impl ChartFiles {
    /// `locate` says where a further folder of the tree is; order is the recipe's.
    pub(super) fn new(tool: &ToolRecipe, folder: PathBuf, locate: impl Fn(&str) -> PathBuf) -> Self {
        let also = tool.also.iter().map(|(folder, target)| Also {
            folder: locate(folder),
            target: target.clone(),
            prefix: last_part(folder).to_owned(),
        });
        Self { folder, also: also.collect() }
    }

    fn tar(&self, component: &str) -> io::Result<Vec<u8>> {
        let mut layer = Layer::new();
        layer.add_tree(&self.folder, component, &|_| true)?;
        for also in &self.also {
            let mut found = false;
            for entry in fs_err::read_dir(&also.folder)? {
                let entry = entry?;
                let file = entry.file_name();
                let Some(file) = file.to_str().filter(|file| file.ends_with(".yaml")) else { continue };
                let path = format!("{component}/{}/{}-{file}", also.target, also.prefix);
                layer.add(&path, 0o644, Content::File(entry.path()));
                found = true;
            }
            if !found {
                let folder = also.folder.display();
                return Err(io::Error::other(format!("{folder} has no *.yaml file for the chart")));
            }
        }
        layer.restore_modes(component);
        layer.write(Vec::new())
    }
}

/// Packs a tar as Helm reads it.
pub(super) fn pack(tar: &[u8], packed: &Path) -> io::Result<()> {
    let file = fs_err::File::create(packed)?;
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    io::Write::write_all(&mut encoder, tar)?;
    encoder.finish().map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_chart_has_the_same_bytes_wherever_it_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let chart = folder.path().join("chart");
        fs_err::create_dir_all(chart.join("templates")).unwrap();
        fs_err::write(chart.join("Chart.yaml"), b"name: a\n").unwrap();
        let sources = ChartFiles { folder: chart.clone(), also: Vec::new() };
        let first = sources.tar("a").unwrap();
        // Go's module cache is read-only; an unpacked archive is not.
        fs_err::set_permissions(chart.join("Chart.yaml"), std::fs::Permissions::from_mode(0o444)).unwrap();
        assert_eq!(first, sources.tar("a").unwrap());
        fs_err::write(chart.join("templates/b.yaml"), b"b").unwrap();
        assert_ne!(first, sources.tar("a").unwrap());
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
            ChartFiles { folder: folder.path().join("chart"), also: vec![also("v1"), also("v2")] };
        let packed = folder.path().join("a.tgz");
        let first = sources.tar("a").unwrap();
        pack(&first, &packed).unwrap();
        let file = fs_err::File::open(&packed).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let unpacked = tempfile::tempdir().unwrap();
        archive.unpack(unpacked.path()).unwrap();
        let read = |path: &str| fs_err::read(unpacked.path().join("a").join(path)).ok();
        assert_eq!(read("crds/v1-a.yaml").unwrap(), b"one");
        assert_eq!(read("crds/v2-a.yaml").unwrap(), b"two");
        assert_eq!(fs_err::read_dir(unpacked.path().join("a/crds")).unwrap().count(), 2);
        sources.also.reverse();
        assert_eq!(first, sources.tar("a").unwrap());

        fs_err::create_dir_all(folder.path().join("api/v3")).unwrap();
        sources.also.push(also("v3"));
        let error = sources.tar("a").unwrap_err().to_string();
        assert!(error.contains("v3"), "{error}");
    }
}
