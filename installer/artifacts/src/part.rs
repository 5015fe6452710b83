//! A file that gets its name only once it is whole.

use std::io;
use std::path::{Path, PathBuf};

/// Where a file is until then: hidden, beside its name. Removed when dropped, unless it was finished.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    wanted: PathBuf,
}

impl Part {
    /// Begins the file that is to be at `path`, with the folders above it.
    pub(crate) fn begin(path: &Path) -> io::Result<(Self, fs_err::File)> {
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = Self { path: path.with_file_name(format!(".{name}.part")), wanted: path.to_owned() };
        let file = fs_err::File::create(&part.path)?;
        Ok((part, file))
    }

    /// Gives the file its name; what had it before is replaced.
    pub(crate) fn finish(self, file: &fs_err::File) -> io::Result<()> {
        // On disk first: a name is not to lead to less than it says after a power cut.
        file.sync_all()?;
        fs_err::rename(&self.path, &self.wanted)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone where it was finished; otherwise it would only cost disk.
        let _ = fs_err::remove_file(&self.path);
    }
}
