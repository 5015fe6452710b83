//! Files that people name: read whole where they are files of a sane size, and known to be writable before any work begins.

use std::fs::Metadata;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use fs_err as fs;
use zeroize::Zeroizing;

/// Most bytes of a cluster file or profile: one of a thousand nodes has a quarter of that.
pub const DOCUMENT: u64 = 2 << 20;
/// Most bytes of a passphrase, with its line end.
pub const SECRET: u64 = 4 << 10;
/// Most bytes of a plan: one of a thousand bare nodes has about half of that.
pub const PLAN: u64 = 512 << 20;

/// Reads a text of at most `most` bytes. Nothing of a larger one is read, and nothing is waited for: a pipe whose other end nobody
/// opens would never end.
///
/// # Errors
/// There is no such file, it is none (a folder, a pipe, a device), it is too large, it cannot be read or is not UTF-8. Each names
/// the file, the last one the line too.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let (bytes, _) = read(path, most)?;
    str::from_utf8(&bytes).map(str::to_owned).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        let wrong = format!("{}:{line}: this is not UTF-8; save the file as UTF-8", path.display());
        io::Error::new(ErrorKind::InvalidData, wrong)
    })
}

/// Reads a secret of one line from a file that nobody else may read.
///
/// # Errors
/// As [`read_text`]; others may read it, or it is empty.
pub fn read_secret(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let (mut bytes, metadata) = read(path, SECRET)?;
    let refused = |why: String| Err(io::Error::new(ErrorKind::InvalidData, why));
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        let path = path.display();
        return refused(format!(
            "{path}: others may read the passphrase (mode {:04o}); run `chmod 600 {path}`",
            mode & 0o7777
        ));
    }
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.is_empty() {
        refused(format!("{}: there is no passphrase in it", path.display()))
    } else {
        Ok(bytes)
    }
}

fn read(path: &Path, most: u64) -> io::Result<(Zeroizing<Vec<u8>>, Metadata)> {
    // Before it is opened: opening a pipe waits for its other end.
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            io::Error::new(ErrorKind::NotFound, format!("there is no file `{}`", path.display()))
        }
        kind => io::Error::new(kind, format!("{}: {error}", path.display())),
    })?;
    if let Some(kind) = other_kind(&metadata) {
        let wrong = format!("{} is {kind}, not a file", path.display());
        return Err(io::Error::new(ErrorKind::InvalidInput, wrong));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    // One byte more tells a file that grows, or has no size of its own as in /proc.
    fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let most = if most < 1 << 20 { format!("{} KiB", most >> 10) } else { format!("{} MiB", most >> 20) };
        let wrong = format!("{} has more than {most}: this cannot be the file that is meant", path.display());
        return Err(io::Error::new(ErrorKind::FileTooLarge, wrong));
    }
    Ok((bytes, metadata))
}

/// What it is, where it is no file.
fn other_kind(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a folder"),
        () if kind.is_fifo() => Some("a pipe"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

/// Whether a file can be written at this path, so that nothing is found out only after everything was done. Leaves no trace.
///
/// # Errors
/// Something else is there, its folder is missing, or nobody may write there; each names the path.
pub fn is_writable(path: &Path) -> io::Result<()> {
    let wrong =
        |why: String| Err(io::Error::new(ErrorKind::InvalidInput, format!("{}: {why}", path.display())));
    match std::fs::metadata(path) {
        // A pipe or a terminal may be written to.
        Ok(metadata) if metadata.is_dir() => return wrong("it is a folder, not a file".to_owned()),
        Ok(metadata) if !metadata.is_file() => return Ok(()),
        Ok(_) => return fs::OpenOptions::new().write(true).open(path).map(drop),
        Err(_) => {}
    }
    let folder = crate::context::folder_of(path);
    if !folder.is_dir() {
        return wrong(format!("there is no folder `{}` to write it into", folder.display()));
    }
    tempfile::tempfile_in(&folder).map(drop).or_else(|error| wrong(error.to_string()))
}

/// Whether files can be written into this folder, or it can be made. Leaves no trace.
///
/// # Errors
/// Something else is there, or above it, or nobody may write there; each names the path.
pub fn is_folder(path: &Path) -> io::Result<()> {
    let standing = path.ancestors().find(|part| part.symlink_metadata().is_ok()).unwrap_or(Path::new("."));
    let wrong = |why: String| io::Error::new(ErrorKind::InvalidInput, format!("{}: {why}", path.display()));
    if !standing.is_dir() {
        return Err(wrong(format!("`{}` is not a folder", standing.display())));
    }
    tempfile::tempfile_in(standing).map(drop).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_there_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "four").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "four");
        assert_eq!(read_text(&path, 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
        // It has no end, and is never asked for one.
        assert!(read_text(Path::new("/dev/zero"), 4).unwrap_err().to_string().contains("a device"));
        fs::write(&path, b"one\ntw\xff").unwrap();
        assert!(read_text(&path, 99).unwrap_err().to_string().contains("file:2: "));
    }

    #[test]
    fn whether_a_file_can_be_written_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        is_writable(&folder.path().join("new")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::write(folder.path().join("old"), "kept").unwrap();
        is_writable(&folder.path().join("old")).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("old")).unwrap(), "kept");
        assert!(is_writable(folder.path()).unwrap_err().to_string().contains("a folder"));
        assert!(is_writable(&folder.path().join("none/new")).unwrap_err().to_string().contains("no folder"));
    }
}
