//! The artifacts as nodes have them: programs in place and containerd's image store.
//!
//! containerd keeps no absolute paths in its store, so the store is made here once and copied to all nodes, which are then alike.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::artifacts::Artifact;
use super::{Bench, node};
use crate::command::{program, quiet, succeeds};
use crate::{lab, places};

/// Name of containerd's folder, here and below `/var/lib`.
const STORE: &str = "containerd";

/// How long containerd may take to start and to end.
const LIMIT: Duration = Duration::from_secs(30);

/// Programs that the image store is made with.
const TOOLS: &[&str] = &["/usr/local/bin/containerd", "/usr/local/bin/ctr"];

/// What every node gets.
pub struct Preloaded {
    /// Everything an ordinary cluster has.
    pub artifacts: Vec<Artifact>,
    /// The store of containerd.
    store: PathBuf,
}

impl Preloaded {
    /// Makes the store once. It is part of the lab's cache, which goes with the lab.
    ///
    /// # Errors
    /// An artifact is not in the cache, or an import failed.
    pub fn make(bench: &Bench, artifacts: Vec<Artifact>) -> Result<Self> {
        let folder = places::lab_cache()?.join(&bench.lab.name).join("preloaded");
        super::remove(&folder)?;
        let tools = folder.join("tools");
        for artifact in artifacts.iter().filter(|artifact| TOOLS.contains(&artifact.target.as_str())) {
            let name = Path::new(&artifact.target).file_name().context("a program has a name")?;
            let mut install = program("install", ["-D", "--mode=0755"]);
            quiet(install.arg(artifact.content()?).arg(tools.join(name)))?;
        }
        let containerd = Containerd::start(bench, &folder, &tools)?;
        for image in artifacts.iter().filter(|artifact| !artifact.is_file()) {
            containerd.import(image)?;
        }
        containerd.end()?;
        Ok(Self { artifacts, store: folder.join(STORE) })
    }

    /// Copies it to every node, and waits until the disk has it: what is still to be written would slow down whoever is measured.
    ///
    /// # Errors
    /// A node's file system cannot be written.
    pub fn copy_to_nodes(&self, bench: &Bench) -> Result<()> {
        for node in &bench.lab.nodes {
            let name = &node.name;
            let target = node::path(name, "var/lib");
            quiet(program("cp", ["--archive", "--reflink=auto"]).args([&self.store, &target]))?;
            for file in self.artifacts.iter().filter(|artifact| artifact.is_file()) {
                node::install(name, &file.content()?, &file.target)?;
            }
        }
        quiet(&mut program::<&str>("sync", []))?;
        Ok(())
    }
}

/// A containerd of this machine that does nothing but fill a store.
struct Containerd {
    process: Child,
    control: PathBuf,
    socket: PathBuf,
}

impl Containerd {
    fn start(bench: &Bench, folder: &Path, tools: &Path) -> Result<Self> {
        let (store, state) = (folder.join(STORE), folder.join("state"));
        let socket = state.join("socket");
        let configuration = folder.join("containerd.toml");
        fs_err::create_dir_all(&state)?;
        // No CRI, which would listen and look for networks, and no folder outside of this one.
        let text = format!(
            "version = 3\nroot = {store:?}\nstate = {state:?}\n\
             disabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime', \
             'io.containerd.nri.v1.nri', 'io.containerd.internal.v1.opt']\n\
             [grpc]\naddress = {socket:?}\n[ttrpc]\naddress = {:?}\n",
            state.join("ttrpc")
        );
        fs_err::write(&configuration, text)?;
        let log = bench.folder.join("containerd.log");
        let output = fs_err::File::create(&log)?.into_file();
        let mut command = program(tools.join("containerd"), ["--config"]);
        command.arg(&configuration).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        lab::label(&mut command, &bench.lab.name);
        let process = command.spawn().context("cannot start containerd")?;
        let mut containerd = Self { process, control: tools.join("ctr"), socket };
        containerd.wait_until_it_answers().with_context(|| format!("see {}", log.display()))?;
        Ok(containerd)
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !succeeds(self.control().arg("version")) {
            if let Some(status) = self.process.try_wait()? {
                bail!("containerd ended at its start: {status}");
            }
            if Instant::now() > deadline {
                bail!("containerd does not answer");
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Imports as kubezt does: pinned, and labelled with the archive's digest.
    fn import(&self, image: &Artifact) -> Result<()> {
        let origin = format!("kubezt.dev/archive={}", image.digest);
        let mut import = self.control();
        import.args(["--namespace", "k8s.io", "images", "import"]);
        import.args(["--label", "io.cri-containerd.pinned=pinned", "--label", &origin]);
        quiet(import.arg(image.content()?)).with_context(|| image.target.clone())?;
        let listed = quiet(self.control().args(["--namespace", "k8s.io", "images", "list", "--quiet"]))?;
        if !listed.lines().any(|reference| reference == image.target) {
            return Err(anyhow!("the archive does not bring {}", image.target));
        }
        Ok(())
    }

    fn control(&self) -> std::process::Command {
        let mut control = program(&self.control, ["--address"]);
        control.arg(&self.socket);
        control
    }

    /// Ends it in order: its databases are complete only then.
    fn end(mut self) -> Result<()> {
        quiet(&mut program("kill", ["-TERM", &self.process.id().to_string()]))?;
        let deadline = Instant::now() + LIMIT;
        while self.process.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("containerd does not end");
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // No-ops where it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
