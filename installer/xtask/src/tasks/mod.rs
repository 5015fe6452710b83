//! One module for each task.

pub mod bench;
pub mod build;
pub mod check;
pub mod demo;
pub mod down;
pub mod fresh;
pub mod soak;
pub mod test;
pub mod up;

/// Which lab.
#[derive(Debug, Clone, clap::Args)]
pub struct LabArgument {
    /// Lab of vagrant/inventory.yaml
    #[arg(long, default_value = "demo")]
    pub lab: String,
}

impl LabArgument {
    fn open(&self) -> anyhow::Result<crate::lab::OpenLab> {
        crate::lab::OpenLab::open(&self.lab)
    }
}
