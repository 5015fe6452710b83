//! known_hosts files on disk: reading them, and recording a key once a person has seen it.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::TransportError;
use super::hostkeys::{HostKey, HostName, KnownHosts, Verdict};

/// Reads known_hosts files in order; one that does not exist is empty.
///
/// # Errors
/// [`TransportError::KnownHosts`] for a file that is there and cannot be read.
pub fn read_known_hosts(files: &[PathBuf]) -> Result<KnownHosts, TransportError> {
    let mut known = KnownHosts::default();
    for path in files {
        match std::fs::read(path) {
            Ok(bytes) => known.add(&path.display().to_string(), &String::from_utf8_lossy(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(TransportError::KnownHosts { doing: "read", path: path.clone(), source });
            }
        }
    }
    Ok(known)
}

/// Records a host key in a known_hosts file, which is made (0600, its folder 0700) where it does not exist. Answers
/// whether a line was added; a key that is known already is not written twice.
///
/// The caller has shown the fingerprint to a person first: recording is what makes the key trusted.
///
/// # Errors
/// [`TransportError::KnownHosts`].
pub fn record(path: &Path, host: &HostName, key: &HostKey) -> Result<bool, TransportError> {
    let known = read_known_hosts(&[path.to_owned()])?;
    if known.judge(host, key) == Verdict::Known {
        return Ok(false);
    }
    append(path, &key.known_hosts_line(host)).map_err(|source| TransportError::KnownHosts {
        doing: "write",
        path: path.to_owned(),
        source,
    })?;
    Ok(true)
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let unfinished = std::fs::read(path).is_ok_and(|bytes| bytes.last().is_some_and(|byte| *byte != b'\n'));
    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    // One write, so that two of them side by side do not mix their lines.
    file.write_all(format!("{}{line}\n", if unfinished { "\n" } else { "" }).as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_key_is_known_and_recorded_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/known_hosts");
        let key = HostKey::from_blob(b"\0\0\0\x0bssh-ed25519\0\0\0\x01x".to_vec()).unwrap();
        let host = HostName::new("10.0.0.1", 2222);
        assert!(record(&path, &host, &key).unwrap());
        assert!(!record(&path, &host, &key).unwrap());
        std::fs::write(&path, "# no line feed at the end").unwrap();
        assert!(record(&path, &host, &key).unwrap());
        assert_eq!(read_known_hosts(&[path]).unwrap().judge(&host, &key), Verdict::Known);
    }
}
