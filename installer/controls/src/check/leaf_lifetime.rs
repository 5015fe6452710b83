//! How long leaf certificates live, from their first moment to their last.

use kubezt_model::Lifetime;
use kubezt_model::cluster::Role;
use kubezt_model::node::{Read, Reading};
use serde::{Deserialize, Serialize};

use super::{Judged, NodeContext, unexpected};

/// Leaves that must live no longer than the setting `pki.leafLifetime`, by the rule that also renews them
/// ([`Lifetime::is_exceeded`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeafLifetimeCheck {
    /// PEM files; the first certificate of each is the leaf, what follows are its issuers.
    pub paths: Vec<String>,
    /// Node roles; empty means all.
    #[serde(default)]
    pub roles: Vec<Role>,
}

impl LeafLifetimeCheck {
    /// Whether the parts fit.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), String> {
        if self.paths.is_empty() {
            return Err("a check of leaves needs `paths`".to_owned());
        }
        match self.paths.iter().find(|path| !path.starts_with('/')) {
            Some(path) => Err(format!("`{path}` under `paths` is not absolute")),
            None => Ok(()),
        }
    }

    /// The files.
    pub fn reads(&self) -> Vec<Read> {
        self.paths.iter().map(|path| Read::Subjects { path: path.clone() }).collect()
    }

    /// Judges every leaf.
    ///
    /// # Errors
    /// A file could not be read, or holds no certificate.
    pub fn judge(&self, context: &NodeContext<'_>) -> Result<Judged, String> {
        let allowed = context.cluster.settings.pki.leaf_lifetime;
        let mut faults = Vec::new();
        for read in self.reads() {
            let Read::Subjects { path } = &read else { continue };
            let leaf = match context.reading(&read)? {
                Reading::Subjects(certificates) => certificates.first().ok_or_else(|| unexpected(&read))?,
                Reading::Missing => {
                    faults.push(format!("{path} does not exist"));
                    continue;
                }
                _ => return Err(unexpected(&read)),
            };
            if allowed.is_exceeded(leaf.not_before, leaf.not_after) {
                let lives = leaf.not_after.duration_since(leaf.not_before).as_secs().unsigned_abs();
                faults.push(format!("{path} lives {}", Lifetime::from_seconds(lives)));
            }
        }
        let wanted = format!("leaves that live no longer than {allowed}");
        let got = match faults.is_empty() {
            true => format!("{} live no longer than {allowed}", self.paths.join(", ")),
            false => faults.join(", "),
        };
        Ok(Judged::of(faults.is_empty(), wanted, got))
    }
}
