//! Ways to break a requirement on a node, and what verify must say of it.

use anyhow::Result;

use crate::lab::Lab;

/// Where something is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The control-plane node.
    ControlPlane,
    /// The first worker.
    Worker,
}

/// One thing broken on a node.
#[derive(Debug, Clone, Copy)]
pub struct Tampering {
    /// What kind of check or probe has to notice.
    pub kind: &'static str,
    /// Where.
    pub place: Place,
    /// Shell script that breaks it, run as root.
    pub script: &'static str,
    /// Requirements that must turn red because of it, and no others.
    pub red: &'static [&'static str],
}

impl Tampering {
    /// Breaks it.
    pub fn apply(&self, lab: &Lab) -> Result<()> {
        let node = match self.place {
            Place::ControlPlane => lab.control_plane(),
            Place::Worker => lab.worker(),
        };
        lab.shell(node, self.script).map(|_| ())
    }

    /// What verify must say, as [`crate::Kubezt::red`] says it: without nodes, because some are judged for the cluster.
    pub fn expected(tamperings: &[Self]) -> Vec<String> {
        let mut red: Vec<String> =
            tamperings.iter().flat_map(|tampering| tampering.red).map(|id| (*id).to_owned()).collect();
        red.sort();
        red.dedup();
        red
    }
}
