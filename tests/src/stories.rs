//! Stories: tests that build on each other, on one lab.

use std::process::ExitCode;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::{Kubezt, Lab};

/// What every story starts from.
#[derive(Debug, Clone)]
pub struct World {
    /// The lab.
    pub lab: Lab,
    /// The binary on the lab's cluster file.
    pub kubezt: Kubezt,
}

/// A story.
pub type Story = fn(&World) -> Result<()>;

/// Kubeconfig the stories use on the control-plane node; written and removed by them.
pub const KUBECONFIG: &str = "/root/story.conf";

impl World {
    /// The lab named by `KUBEZT_LAB`, and the binary named by `KUBEZT_BINARY`.
    ///
    /// # Errors
    /// A variable is missing, or the lab's files cannot be read.
    pub fn from_environment() -> Result<Self> {
        let lab = Lab::from_environment()?;
        let kubezt = Kubezt::from_environment(&lab)?;
        Ok(Self { lab, kubezt })
    }

    /// Puts a short-lived kubeconfig where the stories' kubectl finds it.
    ///
    /// # Errors
    /// kubezt does not issue one, or the node does not take it.
    pub fn kubeconfig(&self) -> Result<()> {
        let file = self.lab.path("story.conf");
        self.kubezt.succeed("kubeconfig", &["--user", "story", "-o", &file.display().to_string()])?;
        let text = fs_err::read_to_string(&file)?;
        let script = format!("umask 077; cat >{KUBECONFIG} <<'STORY'\n{text}\nSTORY");
        self.lab.shell(self.lab.control_plane(), &script).map(drop)
    }

    /// kubectl on the first control-plane node.
    ///
    /// # Errors
    /// kubectl fails.
    pub fn kubectl(&self, arguments: &str) -> Result<String> {
        self.lab.kubectl(KUBECONFIG, arguments)
    }
}

/// Runs stories in their order, or those among them that the command line names.
#[expect(clippy::print_stderr, reason = "tests say how they fail")]
pub fn run(stories: &'static [(&'static str, Story)]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The stories build on each other.
    arguments.test_threads = Some(1);
    let trials = stories
        .iter()
        .map(|(name, story)| {
            Trial::test(*name, move || {
                let run = || story(&World::from_environment()?);
                run().map_err(|error: anyhow::Error| {
                    // Now, and not only once the other stories are told: some take an hour.
                    eprintln!("{name}: {error:#}");
                    Failed::from(format!("{error:#}"))
                })
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
