//! ssh_config files on disk: the operator's own and the system's, or one that was named.

use std::io;
use std::path::{Path, PathBuf};

use super::TransportError;
use super::config::{ConfigText, SshConfig};

/// The system's file, and the folder its `Include` lines start from.
const SYSTEM_FOLDER: &str = "/etc/ssh";

/// Which files count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigFiles {
    /// `~/.ssh/config` and then `/etc/ssh/ssh_config`, as OpenSSH's client does; either may be missing.
    Default,
    /// This one alone, as with `ssh -F`.
    Named(PathBuf),
    /// None.
    Off,
}

/// Reads the files that count.
///
/// # Errors
/// [`TransportError::Config`] for a file that cannot be read or was named and is missing.
pub fn read(files: &ConfigFiles, home: &Path) -> Result<SshConfig, TransportError> {
    let mut config = SshConfig::default();
    let user_folder = home.join(".ssh");
    match files {
        ConfigFiles::Off => {}
        ConfigFiles::Named(path) => add(&mut config, path, &user_folder, home, true)?,
        ConfigFiles::Default => {
            add(&mut config, &user_folder.join("config"), &user_folder, home, false)?;
            let folder = Path::new(SYSTEM_FOLDER);
            add(&mut config, &folder.join("ssh_config"), folder, home, false)?;
        }
    }
    Ok(config)
}

fn add(
    config: &mut SshConfig,
    path: &Path,
    folder: &Path,
    home: &Path,
    wanted: bool,
) -> Result<(), TransportError> {
    match text(path) {
        Ok(file) => {
            config.add(&file, &mut |pattern| matching(pattern, home, folder));
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !wanted => Ok(()),
        Err(source) => Err(TransportError::Config { path: path.to_owned(), source }),
    }
}

fn text(path: &Path) -> io::Result<ConfigText> {
    let bytes = std::fs::read(path)?;
    Ok(ConfigText { name: path.display().to_string(), text: String::from_utf8_lossy(&bytes).into_owned() })
}

/// The files an `Include` names, in the order of their names; that there is none is no error.
pub(super) fn matching(pattern: &str, home: &Path, folder: &Path) -> Result<Vec<ConfigText>, String> {
    let path = match pattern.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None if pattern.starts_with('~') => return Err(format!("`{pattern}`: only `~/` is expanded")),
        None => folder.join(pattern),
    };
    let unreadable = |error: &dyn std::fmt::Display| format!("`{pattern}` cannot be read: {error}");
    let paths = glob::glob(&path.display().to_string()).map_err(|error| unreadable(&error))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| unreadable(&error))?;
        match text(&path) {
            Ok(file) => files.push(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&error)),
        }
    }
    Ok(files)
}
