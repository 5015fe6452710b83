//! A file system layer whose bytes depend on its content alone: entries sorted, no times, owners said.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A file with this content.
    Bytes(Vec<u8>),
    /// A file with the content of this one.
    File(PathBuf),
    /// A symbolic link to this target.
    Link(PathBuf),
}

#[derive(Debug, Clone)]
struct Entry {
    mode: u32,
    content: Content,
}

/// A layer. Everything in it belongs to 0:0.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

impl Layer {
    /// An empty layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry, and its parent directories (0755) where they are missing. A leading `/` is dropped; what
    /// was at the path is replaced. `mode` is masked with 01777: no set-user-id programs in images.
    pub fn add(&mut self, path: &str, mode: u32, content: Content) {
        let path = path.trim_matches('/');
        let mut parent = path;
        while let Some((folder, _)) = parent.rsplit_once('/') {
            self.entries
                .entry(folder.to_owned())
                .or_insert(Entry { mode: 0o755, content: Content::Directory });
            parent = folder;
        }
        self.entries.insert(path.to_owned(), Entry { mode: mode & 0o1777, content });
    }

    /// Adds a folder with everything in it that `keep` says yes to; devices, sockets and pipes are left out.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn add_tree(&mut self, folder: &Path, target: &str, keep: &dyn Fn(&str) -> bool) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().ok_or_else(|| {
                io::Error::other(format!("{}: the name is not UTF-8", entry.path().display()))
            })?;
            let path = if target.is_empty() { name.to_owned() } else { format!("{target}/{name}") };
            if !keep(&path) {
                continue;
            }
            let metadata = fs_err::symlink_metadata(entry.path())?;
            if metadata.is_dir() {
                self.add(&path, metadata.mode(), Content::Directory);
                self.add_tree(&entry.path(), &path, keep)?;
            } else if metadata.is_symlink() {
                self.add(&path, 0o777, Content::Link(fs_err::read_link(entry.path())?));
            } else if metadata.is_file() {
                self.add(&path, metadata.mode(), Content::File(entry.path()));
            }
        }
        Ok(())
    }

    /// Gives files and folders below `folder` ordinary modes: 0755 where anyone may execute or enter, 0644 elsewhere.
    /// What comes from a read-only place would stay read-only otherwise.
    pub fn restore_modes(&mut self, folder: &str) {
        let prefix = format!("{folder}/");
        let below = self.entries.iter_mut().filter(|(path, _)| path.starts_with(&prefix));
        for (_, entry) in below {
            let executable = entry.content == Content::Directory || entry.mode & 0o111 != 0;
            entry.mode = if executable { 0o755 } else { 0o644 };
        }
    }

    /// Paths in it, in the order they are written.
    pub fn paths(&self) -> BTreeSet<&str> {
        self.entries.keys().map(String::as_str).collect()
    }

    /// Writes it as a tar.
    ///
    /// # Errors
    /// Files that cannot be read, and what the writer says.
    pub fn write<W: Write>(&self, writer: W) -> io::Result<W> {
        let mut builder = Builder::new(writer);
        for (path, entry) in &self.entries {
            let mut header = header(entry.mode);
            match &entry.content {
                Content::Directory => {
                    header.set_entry_type(EntryType::Directory);
                    builder.append_data(&mut header, format!("{path}/"), io::empty())?;
                }
                Content::Bytes(bytes) => {
                    header.set_size(bytes.len() as u64);
                    builder.append_data(&mut header, path, bytes.as_slice())?;
                }
                Content::File(file) => {
                    let file = fs_err::File::open(file)?;
                    header.set_size(file.metadata()?.len());
                    builder.append_data(&mut header, path, file)?;
                }
                Content::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    builder.append_link(&mut header, path, target)?;
                }
            }
        }
        builder.into_inner()
    }
}

/// A header of a regular file that says nothing about when and by whom it was made.
pub(crate) fn header(mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// Whether a path, or a folder it is in, matches a pattern in which `*` stands for any part of one name.
pub(crate) fn is_under(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    pattern.split('/').all(|wanted| parts.next().is_some_and(|part| name_matches(wanted, part)))
}

fn name_matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let Some(last) = pattern.contains('*').then(|| pieces.next_back().unwrap_or_default()) else {
        return rest.is_empty();
    };
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_depend_on_content_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let layer = |order: [&str; 2]| {
            let mut layer = Layer::new();
            for path in order {
                layer.add(path, 0o4755, Content::File(file.clone()));
            }
            layer.write(Vec::new()).unwrap()
        };
        fs_err::write(&file, b"program").unwrap();
        let first = layer(["/usr/bin/b", "/a"]);
        // Written again: another inode, another time.
        fs_err::remove_file(&file).unwrap();
        fs_err::write(&file, b"program").unwrap();
        assert_eq!(first, layer(["a", "usr/bin/b"]));

        let mut archive = tar::Archive::new(first.as_slice());
        let listed: Vec<_> = archive
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .map(|entry| {
                let header = entry.header();
                (
                    entry.path().unwrap().display().to_string(),
                    header.mode().unwrap(),
                    header.mtime().unwrap(),
                    header.uid().unwrap(),
                )
            })
            .collect();
        let wanted = [("a", 0o755), ("usr/", 0o755), ("usr/bin/", 0o755), ("usr/bin/b", 0o755)];
        assert_eq!(listed, wanted.map(|(path, mode)| (path.to_owned(), mode, 0, 0)));
    }

    #[test]
    fn trees_keep_links_and_long_names_and_leave_out_what_they_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let long = "n".repeat(180);
        fs_err::create_dir_all(folder.path().join("share/doc")).unwrap();
        fs_err::write(folder.path().join("share/doc/readme"), b"x").unwrap();
        fs_err::write(folder.path().join("share").join(&long), b"y").unwrap();
        std::os::unix::fs::symlink("share", folder.path().join("link")).unwrap();
        let mut layer = Layer::new();
        layer.add_tree(folder.path(), "", &|path| !is_under("share/doc", path)).unwrap();
        let long_path = format!("share/{long}");
        assert_eq!(layer.paths(), BTreeSet::from(["link", "share", long_path.as_str()]));
        let bytes = layer.write(Vec::new()).unwrap();
        let unpacked = tempfile::tempdir().unwrap();
        tar::Archive::new(bytes.as_slice()).unpack(unpacked.path()).unwrap();
        assert_eq!(fs_err::read(unpacked.path().join("link").join(&long)).unwrap(), b"y");
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, path, wanted) in [
            ("usr/share/doc", "usr/share/doc", true),
            ("usr/share/doc", "usr/share/doc/a/b", true),
            ("usr/share/doc", "usr/share/docs", false),
            ("usr/share/doc", "usr/share", false),
            ("var/log/*", "var/log", false),
            ("var/log/*", "var/log/a", true),
            ("lib/*.a", "lib/libc.a", true),
            ("lib/*.a", "lib/libc.so", false),
            ("lib/python3*", "lib/python3.11/site", true),
            ("lib/libclang-19.so*", "lib/libclang-19.so.1", true),
            ("lib/libclang-19.so*", "lib/libclang-cpp.so.19", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXc", false),
        ] {
            assert_eq!(is_under(pattern, path), wanted, "{pattern} {path}");
        }
    }
}
