//! What an install leaves on the nodes, told so that two installs can be compared.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use kubezt_pki::CertificateChain;

use crate::World;

/// Where kubezt writes configuration. Keys, certificates and what holds the cluster's own secrets differ from install to install.
const FILES: &str = "find /etc/kubernetes /etc/etcd /etc/containerd /etc/kubezt /etc/sysctl.d /etc/modules-load.d /etc/audit/rules.d \
     /etc/systemd/system /var/lib/kubelet/config.yaml -xdev -type f \
     -not -name '*.crt' -not -name '*.key' -not -name '*.pub' -not -name '*.pem' -not -path '/etc/kubernetes/encryption/*' -exec sha256sum {} + | sort --key=2";

/// Every certificate that kubezt put on a node, each file's blocks after its name.
const CERTIFICATES: &str = "find /etc/kubernetes /etc/etcd /etc/kubezt -xdev -type f -name '*.crt' | sort | \
     while read -r file; do echo \"file $file\"; cat \"$file\"; done";

/// What is on the nodes.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    /// Digest of each file, by node and path.
    files: BTreeMap<(String, String), String>,
    /// What each certificate says of subject, names, usages and issuer, by node, path and place in the file.
    certificates: BTreeMap<(String, String, usize), String>,
}

impl State {
    /// Reads it off the nodes.
    ///
    /// # Errors
    /// A node cannot be read, or has less than an installed node has.
    pub fn read(world: &World) -> Result<Self> {
        let mut state = Self { files: BTreeMap::new(), certificates: BTreeMap::new() };
        for node in &world.lab.nodes {
            for line in world.lab.shell(node, FILES)?.lines() {
                if let Some((digest, path)) = line.split_once("  ") {
                    state.files.insert((node.name.clone(), path.to_owned()), digest.to_owned());
                }
            }
            state.read_certificates(&node.name, &world.lab.shell(node, CERTIFICATES)?)?;
            let of_node = |name: &String| *name == node.name;
            let files = state.files.keys().filter(|(name, _)| of_node(name)).count();
            let certificates = state.certificates.keys().filter(|(name, ..)| of_node(name)).count();
            ensure!(
                files >= 5 && certificates >= 2,
                "{}: {files} files, {certificates} certificates",
                node.name
            );
        }
        Ok(state)
    }

    fn read_certificates(&mut self, node: &str, text: &str) -> Result<()> {
        for file in text.split("file ").skip(1) {
            let (path, blocks) = file.split_once('\n').unwrap_or((file, ""));
            for (place, certificate) in CertificateChain::parse(blocks)?.iter().enumerate() {
                let said = format!(
                    "{} {:?} {:?} {:?} {:?} {:?} ca={} by {}",
                    certificate.common_name,
                    certificate.organizations,
                    certificate.dns_names,
                    certificate.ip_addresses,
                    certificate.key_usages,
                    certificate.extended_usages,
                    certificate.is_ca,
                    certificate.issuer_common_name,
                );
                self.certificates.insert((node.to_owned(), path.to_owned(), place), said);
            }
        }
        Ok(())
    }

    /// What differs, a line each.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = differing(&self.files, &other.files);
        lines.extend(differing(&self.certificates, &other.certificates));
        lines
    }
}

fn differing<K: Ord + std::fmt::Debug>(
    these: &BTreeMap<K, String>,
    those: &BTreeMap<K, String>,
) -> Vec<String> {
    let keys: BTreeSet<&K> = these.keys().chain(those.keys()).collect();
    let differs = |key: &&&K| these.get(**key) != those.get(**key);
    keys.iter()
        .filter(differs)
        .map(|key| format!("{key:?}: {:?}, {:?}", these.get(*key), those.get(*key)))
        .collect()
}
