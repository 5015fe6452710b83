//! Members of upstream's archives.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component as PathPart, Path, PathBuf};

use crate::Error;

/// Takes members out of a gzipped tar: a file to a path, a folder with all it has to a folder.
///
/// # Errors
/// A member that is not there, and an archive that cannot be read.
pub(crate) fn extract(archive: &Path, members: &BTreeMap<String, PathBuf>) -> Result<(), Error> {
    let doing = || Error::file(format!("cannot unpack {}", archive.display()));
    let file = fs_err::File::open(archive).map_err(doing())?;
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(io::BufReader::new(file)));
    let mut missing: BTreeMap<PathBuf, &PathBuf> =
        members.iter().map(|(member, target)| (plain(Path::new(member)), target)).collect();
    let wanted = missing.clone();
    for entry in tar.entries().map_err(doing())? {
        let mut entry = entry.map_err(doing())?;
        let path = plain(&entry.path().map_err(doing())?);
        let Some((member, target)) = wanted.iter().find(|(member, _)| path.starts_with(member)) else {
            continue;
        };
        missing.remove(member);
        let rest = path.strip_prefix(member).unwrap_or(&path);
        if rest.components().any(|part| !matches!(part, PathPart::Normal(_)))
            || !entry.header().entry_type().is_file()
        {
            continue;
        }
        let target = if rest.as_os_str().is_empty() { (*target).clone() } else { target.join(rest) };
        if let Some(parent) = target.parent() {
            fs_err::create_dir_all(parent).map_err(doing())?;
        }
        let mut out = fs_err::File::create(target).map_err(doing())?;
        io::copy(&mut entry, &mut out).map_err(doing())?;
    }
    match missing.keys().next() {
        Some(member) => Err(Error::MemberMissing {
            archive: archive.display().to_string(),
            member: member.display().to_string(),
        }),
        None => Ok(()),
    }
}

/// A path without `.` parts: some archives say `./name`.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != PathPart::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (path, content) in entries {
            let mut header = crate::layer::header(0o755);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn members_are_taken_out_and_missing_ones_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        let bytes =
            archive(&[("./loopback", b"program"), ("chart/a/b.yaml", b"yaml"), ("charts", b"not it")]);
        fs_err::write(&path, bytes).unwrap();
        let target = |name: &str| folder.path().join(name);
        let members = BTreeMap::from([
            ("./loopback".to_owned(), target("loopback")),
            ("chart".to_owned(), target("out")),
        ]);
        extract(&path, &members).unwrap();
        assert_eq!(fs_err::read(target("loopback")).unwrap(), b"program");
        assert_eq!(fs_err::read(target("out/a/b.yaml")).unwrap(), b"yaml");
        let error = extract(&path, &BTreeMap::from([("bin/ctr".to_owned(), target("x"))])).unwrap_err();
        assert!(error.to_string().contains("bin/ctr"), "{error}");
    }
}
