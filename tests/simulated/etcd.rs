//! The members of a simulated etcd, which refuse what real ones would refuse.

use kubezt_model::NodeName;
use kubezt_model::action::{Action, EtcdCluster};
use kubezt_model::node::EtcdMember;

/// Where the data of a member is.
pub const DATA: &str = "/var/lib/etcd/member";
/// Its manifest.
pub const MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";

/// What the members agree on.
#[derive(Debug, Clone, Default)]
pub struct Etcd {
    members: Vec<EtcdMember>,
    issued: u64,
}

impl Etcd {
    /// Every member.
    pub fn members(&self) -> &[EtcdMember] {
        &self.members
    }

    /// Makes a member of the one on this node. Members of names for which `runs` holds can be asked.
    pub fn form(
        &mut self,
        node: &NodeName,
        peer_url: &str,
        cluster: &EtcdCluster,
        runs: &dyn Fn(&str) -> bool,
    ) -> Result<(), String> {
        match cluster {
            EtcdCluster::Founded { members } => {
                let wanted: Vec<(&str, &str)> =
                    members.iter().filter_map(|member| member.split_once('=')).collect();
                if self.members.is_empty() {
                    wanted.iter().for_each(|(name, url)| self.add(name, url, false));
                }
                let same =
                    self.members.iter().map(|member| (member.name.as_str(), member.peer_urls[0].as_str()));
                if !same.eq(wanted) {
                    return Err("a second cluster would be founded".to_owned());
                }
            }
            EtcdCluster::Joined { endpoints } => {
                self.quorum(runs)?;
                if endpoints.is_empty() {
                    return Err("nobody to ask".to_owned());
                }
                self.members.retain(|member| {
                    !member.peer_urls.contains(&peer_url.to_owned()) || member.client_urls.is_empty()
                });
                if self.member(peer_url).is_none() {
                    if self.members.iter().any(|member| member.learner) {
                        return Err("there is a learner already".to_owned());
                    }
                    self.add(node.as_str(), peer_url, true);
                }
            }
        }
        let member = self.member(peer_url).ok_or("not among the members")?;
        member.client_urls = vec!["started".to_owned()];
        Ok(())
    }

    /// Does what an action asks of the members; answers whether anything changed.
    pub fn change(&mut self, action: &Action, runs: &dyn Fn(&str) -> bool) -> Result<bool, String> {
        match action {
            Action::PromoteEtcdMember { peer_url, .. } => {
                self.quorum(runs)?;
                let member = self.member(peer_url).ok_or("no such member")?;
                if member.learner && !runs(&member.name) {
                    return Err(format!("{} has not caught up", member.name));
                }
                Ok(std::mem::take(&mut member.learner))
            }
            Action::RemoveEtcdMember { peer_url, .. } => {
                let before = self.members.len();
                let mut left = self.clone();
                left.members.retain(|member| !member.peer_urls.contains(peer_url));
                left.quorum(runs)?;
                *self = left;
                Ok(self.members.len() < before)
            }
            other => Err(format!("nobody simulates {}", other.describe())),
        }
    }

    fn quorum(&self, runs: &dyn Fn(&str) -> bool) -> Result<(), String> {
        let voters: Vec<_> = self.members.iter().filter(|member| !member.learner).collect();
        let running = voters.iter().filter(|member| runs(&member.name)).count();
        if running * 2 > voters.len() {
            Ok(())
        } else {
            Err(format!("{running} of {} members run", voters.len()))
        }
    }

    fn member(&mut self, peer_url: &str) -> Option<&mut EtcdMember> {
        self.members.iter_mut().find(|member| member.peer_urls.iter().any(|url| url == peer_url))
    }

    fn add(&mut self, name: &str, peer_url: &str, learner: bool) {
        self.issued += 1;
        self.members.push(EtcdMember {
            id: self.issued,
            name: name.to_owned(),
            peer_urls: vec![peer_url.to_owned()],
            client_urls: Vec::new(),
            learner,
        });
    }
}
