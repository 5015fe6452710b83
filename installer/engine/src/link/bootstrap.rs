//! Bringing this very program to a node and starting it there.
//!
//! The program lies on the node under the digest of its content, in a folder that only root can write to, so a file of
//! that name is trusted. Where it is there, one command starts it; where it is not, a second command receives it,
//! checks its digest, and starts it on the same channel.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::write::GzEncoder;
use kubezt_model::Digest;
use sha2::Digest as _;
use tokio::io::AsyncWriteExt;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::LinkError;
use super::client::{late, marked_line};
use super::elevation::{Elevated, not_started};
use super::message::PREAMBLE;
use crate::transport::{Access, Connection, ExecStream, Target};

/// Folder of kubezt's own files on the node: root's, 0700.
pub const STATE_FOLDER: &str = "/var/lib/kubezt";
/// Folder of the programs, named by digest.
pub const PROGRAM_FOLDER: &str = "/var/lib/kubezt/bin";
/// What the node says when it does not have the program: then its architecture and how it unpacks.
const NEED: &str = "KUBEZT-NEED ";
/// What the node says when it is ready to receive the program.
const SEND: &str = "KUBEZT-SEND";
/// What the node says when the program is there and must not be executed.
const NOT_EXECUTABLE: &str = "KUBEZT-NOEXEC";
/// What the node says when the program that arrived has another digest.
const BAD: &str = "KUBEZT-BAD ";
/// Bytes of the program that are compressed as one piece: large enough that the pieces cost nothing.
const PIECE: usize = 4 << 20;
/// How long starting the program may take.
const START_SECONDS: u64 = 60;
/// How long sending the program may take.
const UPLOAD_SECONDS: u64 = 600;

/// The program file that is copied to nodes.
#[derive(Debug)]
pub struct NodeProgram {
    path: PathBuf,
    digest: Digest,
    bytes: Arc<[u8]>,
    compressed: OnceCell<Vec<u8>>,
}

impl NodeProgram {
    /// This very program.
    ///
    /// # Errors
    /// [`LinkError::Program`].
    pub fn this() -> Result<Self, LinkError> {
        // The link keeps naming the running file also when it was replaced on disk meanwhile.
        Self::from_file(Path::new("/proc/self/exe"))
    }

    /// Another build of it; it must run on nodes as it is, so it should be linked statically.
    ///
    /// # Errors
    /// [`LinkError::Program`].
    pub fn from_file(path: &Path) -> Result<Self, LinkError> {
        let bytes =
            std::fs::read(path).map_err(|source| LinkError::Program { path: path.to_owned(), source })?;
        let digest = Digest::from_bytes(sha2::Sha256::digest(&bytes).into());
        Ok(Self { path: path.to_owned(), digest, bytes: bytes.into(), compressed: OnceCell::new() })
    }

    /// Digest of the program.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Where it lies on nodes.
    pub fn node_path(&self) -> String {
        format!("{PROGRAM_FOLDER}/kubezt-{}", self.digest)
    }

    /// Compressed once, whatever the number of nodes that need it: piece by piece on every processor, since whatever reads one
    /// gzip member reads many (RFC 1952, section 2.2).
    async fn compressed(&self) -> Result<&[u8], LinkError> {
        let failed = |source| LinkError::Program { path: self.path.clone(), source };
        let compress = || async {
            let pieces = (0..self.bytes.len()).step_by(PIECE).map(|start| {
                let bytes = Arc::clone(&self.bytes);
                tokio::task::spawn_blocking(move || {
                    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    encoder.write_all(&bytes[start..bytes.len().min(start + PIECE)])?;
                    encoder.finish()
                })
            });
            let members = futures::future::try_join_all(pieces).await.map_err(std::io::Error::other);
            let members: std::io::Result<Vec<Vec<u8>>> =
                members.and_then(|members| members.into_iter().collect());
            members.map(|members| members.concat()).map_err(failed)
        };
        self.compressed.get_or_try_init(compress).await.map(Vec::as_slice)
    }

    /// What a login shell left on the line ends with the empty line.
    fn start_script(&self) -> String {
        format!(
            "umask 077; echo; f={}; [ -x \"$f\" ] && exec \"$f\" node link; g=cat; \
             command -v gzip >/dev/null 2>&1 && g=gzip; echo \"{NEED}$(uname -m) $g\"",
            self.node_path()
        )
    }

    /// `length` bytes of standard input become the program. Interrupted anywhere, no file of that name appears.
    fn upload_script(&self, length: usize, unpack: &str) -> String {
        format!(
            "umask 077; set -e; echo; echo {SEND}; d={PROGRAM_FOLDER}; mkdir -p \"$d\"; chmod 0700 {STATE_FOLDER} \"$d\"; \
             t=\"$d/.upload-$$\"; trap \"rm -f $t\" EXIT; head -c {length}{unpack} >\"$t\"; \
             s=$(sha256sum \"$t\"); s=${{s%% *}}; [ \"$s\" = {digest} ] || {{ echo \"{BAD}$s\"; exit 1; }}; \
             chmod 0700 \"$t\"; sync \"$t\" 2>/dev/null || sync; mv -f \"$t\" \"$d/kubezt-{digest}\"; trap - EXIT; \
             [ -x \"$d/kubezt-{digest}\" ] || {{ echo {NOT_EXECUTABLE}; exit 1; }}; \
             exec \"$d/kubezt-{digest}\" node link",
            digest = self.digest
        )
    }

    /// The script that forwards its standard input and output to an address on the node.
    pub(super) fn dial_script(&self, address: &str) -> String {
        format!("exec {} node dial {address}", self.node_path())
    }
}

/// What starting the node side cost beside the link's own traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BootstrapStatistics {
    /// Bytes of the program that were sent; 0 where it was there.
    pub bytes_sent: u64,
    /// Commands that were run.
    pub commands: u64,
}

/// Starts the node side, bringing the program there first where it is missing. The stream stands after the preamble.
pub(super) async fn start(
    connection: &Connection,
    access: &Arc<Access>,
    program: &NodeProgram,
) -> Result<(ExecStream, Elevated, BootstrapStatistics), LinkError> {
    let target = connection.target();
    let begun = Elevated::first(target).begin(connection, access, &program.start_script()).await?;
    let elevated = begun.elevated;
    if begun.line == PREAMBLE {
        return Ok((begun.stream, elevated, BootstrapStatistics { bytes_sent: 0, commands: 1 }));
    }
    let Some((architecture, unpacker)) = begun.line.strip_prefix(NEED).and_then(|rest| rest.split_once(' '))
    else {
        return Err(start_error(target, begun.stream, &format!("it says `{}`", begun.line)).await);
    };
    if architecture != std::env::consts::ARCH {
        return Err(LinkError::Architecture {
            node: target.node.clone(),
            theirs: architecture.to_owned(),
            ours: std::env::consts::ARCH,
        });
    }
    drop(begun.stream);
    let (bytes, unpack) = match unpacker {
        "gzip" => (program.compressed().await?, " | gzip -dc"),
        _ => (&*program.bytes, ""),
    };
    let script = program.upload_script(bytes.len(), unpack);
    let begun = elevated.begin(connection, access, &script).await?;
    let (mut stream, elevated) = (begun.stream, begun.elevated);
    if begun.line != SEND {
        return Err(start_error(target, stream, &format!("it says `{}`", begun.line)).await);
    }
    let sent = timeout(Duration::from_secs(UPLOAD_SECONDS), async {
        stream.write_all(bytes).await?;
        stream.flush().await
    })
    .await
    .map_err(|_| late(&target.node, "copying kubezt to the node", UPLOAD_SECONDS))?;
    // A command that ended early says why in what it printed; that is worth more than the broken pipe.
    let line = match (sent, said(target, &mut stream).await) {
        (_, Ok(line)) => line,
        (sent, Err(why)) => {
            let error = sent.err().map(|error| format!(" ({error})")).unwrap_or_default();
            let why = format!("it was being copied to {PROGRAM_FOLDER}, and {why}{error}");
            return Err(start_error(target, stream, &why).await);
        }
    };
    match line.strip_prefix(BAD) {
        _ if line == PREAMBLE => {
            Ok((stream, elevated, BootstrapStatistics { bytes_sent: bytes.len() as u64, commands: 2 }))
        }
        _ if line == NOT_EXECUTABLE => Err(LinkError::Start {
            node: target.node.clone(),
            why: format!(
                "nothing in {PROGRAM_FOLDER} may be executed: is its file system mounted with `noexec`?"
            ),
        }),
        Some(digest) => Err(LinkError::Start {
            node: target.node.clone(),
            why: format!("the program arrived damaged: its digest is {digest}, {} was sent", program.digest),
        }),
        None => Err(start_error(target, stream, &format!("it says `{line}`")).await),
    }
}

async fn said(target: &Target, stream: &mut ExecStream) -> Result<String, String> {
    timeout(Duration::from_secs(START_SECONDS), marked_line(stream))
        .await
        .unwrap_or_else(|_| Err(format!("{} said nothing for {START_SECONDS} s", target.node)))
}

/// Makes the error out of what the command printed on its standard error.
async fn start_error(target: &Target, stream: ExecStream, why: &str) -> LinkError {
    let before = stream.stderr();
    let exit = timeout(Duration::from_secs(5), stream.finish()).await.unwrap_or_default();
    let stderr = if exit.stderr.is_empty() { before } else { exit.stderr.clone() };
    not_started(target, why, &exit, &stderr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(folder: &Path, content: &str) -> NodeProgram {
        let path = folder.join("program");
        std::fs::write(&path, content).unwrap();
        NodeProgram::from_file(&path).unwrap()
    }

    /// Runs a script with its fixed folders moved below `root`, by the shell that nodes have.
    fn run(root: &Path, script: &str, input: &[u8]) -> String {
        let script = script.replace(STATE_FOLDER, &root.display().to_string());
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(input);
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    #[tokio::test]
    async fn the_program_is_sent_once_and_only_whole() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("state");
        // Longer than what is compressed as one piece.
        let comment = "#".repeat(PIECE);
        let program = program(folder.path(), &format!("#!/bin/sh\necho started \"$@\"\n{comment}\n"));
        let need = run(&root, &program.start_script(), b"");
        let need = need.trim_start();
        assert!(need.starts_with(NEED) && need.split_whitespace().count() == 3, "{need}");

        let bytes = program.compressed().await.unwrap().to_vec();
        let upload = program.upload_script(bytes.len(), " | gzip -dc");
        run(&root, &upload, &bytes[..bytes.len() / 2]);
        let mut damaged = program.bytes.to_vec();
        damaged[3] ^= 1;
        let said = run(&root, &program.upload_script(damaged.len(), ""), &damaged);
        assert!(said.starts_with(&format!("\n{SEND}\n{BAD}")), "{said}");
        assert_eq!(std::fs::read_dir(root.join("bin")).unwrap().count(), 0, "nothing half-done is left");

        assert_eq!(run(&root, &upload, &bytes), format!("\n{SEND}\nstarted node link\n"));
        assert_eq!(run(&root, &program.start_script(), b""), "\nstarted node link\n");
        use std::os::unix::fs::PermissionsExt;
        for path in [root.clone(), root.join("bin"), root.join(format!("bin/kubezt-{}", program.digest))] {
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o700,
                "{}",
                path.display()
            );
        }
    }
}
