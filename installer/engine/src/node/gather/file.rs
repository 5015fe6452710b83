//! Files, folders, and public halves of keys.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kubezt_model::node::{FileKind, FileReading};
use kubezt_model::{Digest, Mode, SecretText};
use rustix::time::ClockId;
use zeroize::Zeroizing;

use crate::node::accounts::Accounts;
use crate::node::{NodeError, NodeRoot, files};

/// Bytes a file may have whose text is wanted.
const TEXT_MAXIMUM: u64 = 1 << 20;
/// Entries a folder may have with all below it.
const TREE_MAXIMUM: usize = 20_000;

/// One path; `None` where nothing is there. A symbolic link is reported as one and not followed.
///
/// # Errors
/// A file that cannot be read, or whose text is wanted and is too long or not UTF-8.
pub fn read(
    root: &NodeRoot,
    accounts: &Accounts,
    name: &str,
    text: bool,
) -> Result<Option<FileReading>, NodeError> {
    let path = root.path(name)?;
    let Some(metadata) = files::metadata(&path)? else { return Ok(None) };
    let mut reading = describe(accounts, name, &metadata);
    if reading.kind != FileKind::File {
        return Ok(Some(reading));
    }
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if files::is_absent(&error) => return Ok(None),
        Err(error) => return Err(NodeError::file("read", &path)(error)),
    };
    if text {
        let content = text_of(&mut file, &path)?;
        reading.digest = Some(Digest::of(content.as_bytes()));
        reading.text = Some(SecretText::new(content));
    } else {
        let digest = files::copy(&mut file, &mut std::io::sink()).map_err(NodeError::file("read", &path))?;
        reading.digest = Some(digest);
    }
    Ok(Some(reading))
}

fn text_of(file: &mut File, path: &Path) -> Result<String, NodeError> {
    let unsuitable = |why: &str| NodeError::Unsuitable { path: path.to_owned(), why: why.to_owned() };
    let mut content = Vec::new();
    file.take(TEXT_MAXIMUM + 1).read_to_end(&mut content).map_err(NodeError::file("read", path))?;
    if content.len() as u64 > TEXT_MAXIMUM {
        return Err(unsuitable("its text is wanted and it is longer than 1 MiB"));
    }
    String::from_utf8(content).map_err(|_| unsuitable("its text is wanted and it is not UTF-8"))
}

/// A folder and everything below it, sorted by path; `None` where it is not there. Links are not followed.
///
/// # Errors
/// A folder that cannot be read, or more entries than are sensible.
pub fn tree(root: &NodeRoot, accounts: &Accounts, name: &str) -> Result<Option<Vec<FileReading>>, NodeError> {
    let path = root.path(name)?;
    let Some(metadata) = files::metadata(&path)? else { return Ok(None) };
    let mut found = vec![describe(accounts, name, &metadata)];
    let mut folders =
        if metadata.is_dir() { vec![(path, name.trim_end_matches('/').to_owned())] } else { Vec::new() };
    while let Some((folder, folder_name)) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // It was there a moment ago: folders of running databases come and go.
            Err(error) if files::is_absent(&error) => continue,
            Err(error) => return Err(NodeError::file("read", &folder)(error)),
        };
        for entry in entries.filter_map(Result::ok) {
            let Some(metadata) = files::metadata(&entry.path())? else { continue };
            let name = format!("{folder_name}/{}", entry.file_name().to_string_lossy());
            found.push(describe(accounts, &name, &metadata));
            if found.len() > TREE_MAXIMUM {
                let why = format!("there are more than {TREE_MAXIMUM} files below it");
                return Err(NodeError::Unsuitable { path: root.path(&folder_name)?, why });
            }
            if metadata.is_dir() {
                folders.push((entry.path(), name));
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Some(found))
}

pub(super) fn describe(accounts: &Accounts, name: &str, metadata: &Metadata) -> FileReading {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Link,
        _ => FileKind::Other,
    };
    FileReading {
        path: name.to_owned(),
        kind,
        mode: Mode::new(metadata.mode()),
        owner: accounts.owner(metadata.uid(), metadata.gid()),
        size: metadata.size(),
        digest: None,
        text: None,
        changed: changed(metadata),
    }
}

/// The kernel stamps files by the clock on the wall and processes by the time since boot; both are the latter here.
fn changed(metadata: &Metadata) -> u64 {
    let microseconds = |seconds: i64, nanoseconds: i64| seconds * 1_000_000 + nanoseconds / 1000;
    let now = |clock| {
        let time = rustix::time::clock_gettime(clock);
        microseconds(time.tv_sec, time.tv_nsec)
    };
    let age = now(ClockId::Realtime) - microseconds(metadata.ctime(), metadata.ctime_nsec());
    if age < 0 { 0 } else { u64::try_from(now(ClockId::Boottime) - age).unwrap_or(0) }
}

/// The public half of a private key, as base64 of its SubjectPublicKeyInfo; `None` where the file is not there.
///
/// # Errors
/// [`NodeError::Pki`] where it is not a private key.
pub fn public_key(root: &NodeRoot, name: &str) -> Result<Option<String>, NodeError> {
    let path = root.path(name)?;
    let Some(text) = files::text(&path)?.map(Zeroizing::new) else { return Ok(None) };
    let key = kubezt_pki::parse_private_key_spki(&text)
        .map_err(|error| NodeError::Pki { path, source: Box::new(error) })?;
    Ok(Some(key.to_base64()))
}
