//! Where files and programs of the node are: on the host itself, or below a folder in tests.

use std::path::{Component, Path, PathBuf};

use super::NodeError;

/// Folders programs are looked for in; the environment is not asked, it belongs to whoever logged in.
const PROGRAM_FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The root of a node's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRoot(PathBuf);

impl NodeRoot {
    /// The host's own.
    pub fn host() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A folder that stands for the root, for tests.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The file a path of the node stands for.
    ///
    /// # Errors
    /// [`NodeError::Path`] for a path that is not absolute or has `..` in it.
    pub fn path(&self, path: &str) -> Result<PathBuf, NodeError> {
        let relative = Path::new(path).strip_prefix("/").map_err(|_| NodeError::Path(path.to_owned()))?;
        let plain = relative.components().all(|component| matches!(component, Component::Normal(_)));
        if plain && !path.contains('\0') {
            Ok(self.0.join(relative))
        } else {
            Err(NodeError::Path(path.to_owned()))
        }
    }

    /// As [`NodeRoot::path`], for the paths that are written in this program.
    pub(crate) fn known(&self, path: &'static str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// The absolute path of a program.
    ///
    /// # Errors
    /// [`NodeError::NoProgram`].
    pub fn program(&self, name: &str) -> Result<PathBuf, NodeError> {
        PROGRAM_FOLDERS
            .iter()
            .map(|folder| self.known(folder).join(name))
            .find(|path| path.is_file())
            .ok_or_else(|| NodeError::NoProgram(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        let root = NodeRoot::at(Path::new("/tmp/x"));
        assert_eq!(root.path("/etc/passwd").unwrap(), Path::new("/tmp/x/etc/passwd"));
        assert_eq!(root.path("/").unwrap(), Path::new("/tmp/x"));
        for bad in ["", "etc", "/etc/../../etc", "/a\0b"] {
            assert!(root.path(bad).is_err(), "{bad}");
        }
    }
}
