//! Room in the kernel for a third cluster beside the other labs.
//!
//! All labs' nodes share this machine's root user, and with it the number of inotify instances that a user may have. systemd, containerd,
//! kubelet and the control plane of three nodes hold about 60, the usual limit is 128, and a cluster that meets it does not fail
//! cleanly: sshd does not start, or a kubelet of another lab ends.

use std::path::PathBuf;

use anyhow::Result;

use crate::report;

/// The limit; it is the whole machine's.
const LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";

/// What three labs need at once, with some to spare.
const WANTED: u32 = 512;

/// Keeps the limit up while it lives; then the limit is what it was. A killed run leaves it raised, which harms nobody.
pub struct Headroom {
    path: PathBuf,
    before: Option<u32>,
}

impl Headroom {
    /// Raises the limit where it is lower, and says so.
    ///
    /// # Errors
    /// The limit cannot be read or written.
    pub fn make() -> Result<Self> {
        Self::at(LIMIT.into())
    }

    fn at(path: PathBuf) -> Result<Self> {
        let limit: u32 = fs_err::read_to_string(&path)?.trim().parse()?;
        if limit >= WANTED {
            return Ok(Self { path, before: None });
        }
        report::line(&format!("{}: {WANTED} for this run, {limit} again afterwards", path.display()));
        fs_err::write(&path, WANTED.to_string())?;
        Ok(Self { path, before: Some(limit) })
    }
}

impl Drop for Headroom {
    fn drop(&mut self) {
        if let Some(before) = self.before
            && let Err(error) = fs_err::write(&self.path, before.to_string())
        {
            report::line(&format!("the limit stays raised: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_is_raised_and_put_back() {
        let path = std::env::temp_dir().join(format!("kubezt-headroom-{}", std::process::id()));
        for (limit, meanwhile) in [("128\n", "512"), ("8192\n", "8192")] {
            fs_err::write(&path, limit).unwrap();
            let headroom = Headroom::at(path.clone()).unwrap();
            assert_eq!(fs_err::read_to_string(&path).unwrap().trim(), meanwhile);
            drop(headroom);
            assert_eq!(fs_err::read_to_string(&path).unwrap().trim(), limit.trim());
        }
        fs_err::remove_file(path).unwrap();
    }
}
