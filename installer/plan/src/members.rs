//! Who is a member of etcd, who is to become one, and who is to go.
//!
//! A member's data is made by a step of its own (see `kubezt_model::action::Action::FormEtcdMember`), so that a data
//! directory tells who is one: kubelet's etcd never founds or joins a cluster by itself.

use std::collections::{BTreeMap, BTreeSet};

use kubezt_model::action::EtcdCluster;
use kubezt_model::cluster::Role;
use kubezt_model::desired::{Desired, DesiredNode, RenderedFile};
use kubezt_model::node::{EtcdMember, Facts, Read, Reading};
use kubezt_model::{NodeName, yaml};
use serde_json::Value;

/// Manifest of etcd's static pod.
pub(crate) const MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";

/// Name of the static pod and of its program.
const ETCD: &str = "etcd";

/// Intermediate authority of etcd on a control-plane node.
const AUTHORITY: &str = "/etc/kubernetes/pki/authority/etcd.crt";

/// Authorities whose certificates a member of etcd takes.
const BUNDLE: &str = "/etc/etcd/pki/ca.crt";

/// What a certificate in PEM ends with.
const END_OF_CERTIFICATE: &str = "-----END CERTIFICATE-----";

/// etcd as it is and as it is to be.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    /// Whether a member was ever set up.
    founded: bool,
    /// Members as etcd itself knows them; `None` where nobody answered.
    known: Option<Vec<EtcdMember>>,
    /// Who answered.
    answered: Option<NodeName>,
    /// Wanted members, in the order of the inventory.
    wanted: Vec<Member>,
}

/// A wanted member.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its node.
    pub node: NodeName,
    /// Where other members reach it.
    pub peer_url: String,
    /// Where clients reach it.
    client_url: String,
    /// Folder that holds its data.
    pub data: String,
    /// Text of its manifest.
    pub manifest: String,
    /// Whether the node was looked at.
    seen: bool,
    /// Whether it has data.
    has_data: bool,
    /// Whether its manifest is there.
    pub has_manifest: bool,
}

/// How a member comes to its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Formation {
    /// What it becomes a member of.
    pub cluster: EtcdCluster,
    /// Whether it has data of no use.
    pub set_aside: bool,
    /// Why.
    pub why: &'static str,
}

impl Membership {
    /// Reads it from the facts of nodes.
    pub fn of(desired: &Desired, facts: &BTreeMap<NodeName, Facts>) -> Self {
        let wanted: Vec<Member> =
            desired.nodes.iter().filter_map(|node| Member::read(node, facts.get(&node.node.name))).collect();
        let answer = wanted.iter().find_map(|member| Some((&member.node, known(facts.get(&member.node)?)?)));
        Self {
            founded: wanted.iter().any(|member| member.has_manifest),
            known: answer.map(|(_, members)| members.to_vec()),
            answered: answer.map(|(node, _)| node.clone()),
            wanted,
        }
    }

    /// The member on a node.
    pub(crate) fn member(&self, node: &NodeName) -> Option<&Member> {
        self.wanted.iter().find(|member| member.node == *node)
    }

    /// How the member on this node comes to its data; `None` where it has some.
    pub(crate) fn formation(&self, node: &NodeName) -> Option<Formation> {
        let member = self.member(node)?;
        if !self.founded {
            let founder = |member: &Member| format!("{}={}", member.node, member.peer_url);
            let members = self.wanted.iter().map(founder).collect();
            return (!member.has_data).then_some(Formation {
                cluster: EtcdCluster::Founded { members },
                set_aside: false,
                why: "",
            });
        }
        let (set_aside, why) = match (member.has_data, self.listed(member)) {
            (true, Some(None)) => (true, "it was removed from etcd"),
            (true, _) => return None,
            (false, Some(Some(listed))) if !listed.client_urls.is_empty() => (false, "its data is lost"),
            (false, _) => (false, "it has no data"),
        };
        let others = || self.wanted.iter().filter(|other| other.node != member.node);
        let mut endpoints: Vec<String> =
            others().filter(|other| self.stays(other)).map(|other| other.client_url.clone()).collect();
        if endpoints.is_empty() {
            endpoints = others().map(|other| other.client_url.clone()).collect();
        }
        Some(Formation { cluster: EtcdCluster::Joined { endpoints }, set_aside, why })
    }

    /// Whether this one has a vote and data that it keeps.
    fn stays(&self, member: &Member) -> bool {
        member.has_data && !matches!(self.listed(member), Some(None)) && !self.is_learner(member)
    }

    /// Nodes whose members keep their data, and those that join, each in the order of the inventory.
    pub(crate) fn staying(&self) -> impl Iterator<Item = &NodeName> {
        self.wanted.iter().filter(|member| self.stays(member)).map(|member| &member.node)
    }

    /// Whether a node has no vote yet in an etcd that runs.
    pub(crate) fn joins(&self, node: &NodeName) -> bool {
        self.joining().any(|one| one == node)
    }

    /// Nodes that have no vote yet in an etcd that runs, in the order of the inventory. They get theirs one after the other.
    pub(crate) fn joining(&self) -> impl Iterator<Item = &NodeName> {
        let joins = |member: &&Member| {
            let formation = self.formation(&member.node);
            let forms = formation.is_some_and(|one| matches!(one.cluster, EtcdCluster::Joined { .. }));
            forms || self.is_learner(member)
        };
        self.wanted.iter().filter(joins).map(|member| &member.node)
    }

    /// Client URLs of members that vote, beside the one on this node.
    pub(crate) fn voters_beside(&self, node: &NodeName) -> Vec<String> {
        let others = self.wanted.iter().filter(|other| other.node != *node && self.stays(other));
        others.map(|other| other.client_url.clone()).collect()
    }

    /// Members that etcd knows and nobody wants: their names and peer URLs; with the node to remove them from.
    pub(crate) fn unwanted(&self) -> Option<(&NodeName, Vec<(&str, &str)>)> {
        let wanted = |url: &String| self.wanted.iter().any(|member| member.peer_url == *url);
        let unwanted: Vec<(&str, &str)> = self
            .known
            .iter()
            .flatten()
            .filter(|member| !member.peer_urls.iter().any(wanted))
            .filter_map(|member| Some((member.name.as_str(), member.peer_urls.first()?.as_str())))
            .collect();
        if unwanted.is_empty() { None } else { Some((self.answered.as_ref()?, unwanted)) }
    }

    /// What etcd knows of this member; `None` where nobody answered.
    fn listed(&self, member: &Member) -> Option<Option<&EtcdMember>> {
        let known = self.known.as_ref()?;
        Some(known.iter().find(|one| one.peer_urls.contains(&member.peer_url)))
    }

    fn is_learner(&self, member: &Member) -> bool {
        self.listed(member).flatten().is_some_and(|listed| listed.learner)
    }
}

impl Member {
    fn read(desired: &DesiredNode, facts: Option<&Facts>) -> Option<Self> {
        let (file, _) = desired.static_pods().find(|(file, _)| file.path == MANIFEST)?;
        let arguments = arguments(file);
        let argument = |name: &str| {
            arguments.iter().find_map(|word| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
        };
        let there = |path: &str| facts.is_some_and(|facts| facts.file(path).is_some());
        let data = format!("{}/member", argument("--data-dir")?);
        Some(Self {
            node: desired.node.name.clone(),
            peer_url: argument("--initial-advertise-peer-urls")?,
            client_url: argument("--advertise-client-urls")?,
            manifest: file.body.expose().to_owned(),
            seen: facts.is_some(),
            has_data: there(&log(&data)),
            has_manifest: there(MANIFEST),
            data,
        })
    }
}

/// What is read of etcd on a node that is to hold a member.
pub(crate) fn reads(desired: &DesiredNode) -> Vec<Read> {
    // On workers too: one may have been of the control plane.
    let mut reads = vec![Read::File { path: MANIFEST.to_owned(), text: true }];
    if let Some(member) = Member::read(desired, None) {
        reads.extend([Read::File { path: log(&member.data), text: false }, Read::EtcdMembers]);
    }
    reads
}

/// Folder of a member's log, without which it has no data: an etcd that finds none leaves an empty database behind.
fn log(data: &str) -> String {
    format!("{data}/wal")
}

fn known(facts: &Facts) -> Option<&[EtcdMember]> {
    match facts.reading(&Read::EtcdMembers)? {
        Reading::EtcdMembers(members) => Some(members),
        _ => None,
    }
}

/// Command and arguments in a manifest; none where it is not one.
fn arguments(manifest: &RenderedFile) -> Vec<String> {
    let pod: Value = yaml::read(MANIFEST, manifest.body.expose()).unwrap_or_default();
    let command = pod.pointer("/spec/containers/0/command").and_then(Value::as_array);
    command.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Why the wanted control plane cannot be brought about without losing what etcd holds; what can be done about it is part
/// of it.
pub fn refusal(desired: &Desired, facts: &BTreeMap<NodeName, Facts>) -> Option<String> {
    let etcd = Membership::of(desired, facts);
    demoted(desired, facts)
        .or_else(|| strangers(&etcd, facts))
        .or_else(|| moved(&etcd))
        .or_else(|| lost(&etcd))
        .or_else(|| unheard(&etcd, desired, facts))
}

/// Control-plane nodes without which nothing can begin: where none that was seen has a member of etcd, one that was not seen may
/// have, and those that were would found a second cluster. All found the first one together.
pub fn unseen_founders(desired: &Desired, facts: &BTreeMap<NodeName, Facts>) -> Vec<NodeName> {
    let etcd = Membership::of(desired, facts);
    let unseen = etcd.wanted.iter().filter(|member| !etcd.founded && !member.seen);
    unseen.map(|member| member.node.clone()).collect()
}

/// What keeps etcd from answering where too few of its members run; `None` where it answers, was never set up, or enough of them
/// run.
pub fn lost_quorum(desired: &Desired, facts: &BTreeMap<NodeName, Facts>) -> Option<String> {
    let etcd = Membership::of(desired, facts);
    if !etcd.founded || etcd.known.is_some() {
        return None;
    }
    let runs = |member: &&Member| {
        let seen =
            facts.get(&member.node).and_then(|facts| facts.reading(&Read::Process { name: ETCD.to_owned() }));
        matches!(seen, Some(Reading::Processes(processes)) if !processes.is_empty())
    };
    let (running, stopped): (Vec<&Member>, Vec<&Member>) = etcd.wanted.iter().partition(runs);
    let needed = etcd.wanted.len() / 2 + 1;
    if running.len() >= needed {
        return None;
    }
    let names = |members: &[&Member]| {
        members.iter().map(|member| member.node.as_str()).collect::<Vec<_>>().join(", ")
    };
    let running_ones = if running.is_empty() { String::new() } else { format!(" ({})", names(&running)) };
    Some(format!(
        "etcd has lost its quorum: {} of its {} members run{running_ones} and {needed} are needed; the API reads and writes nothing \
         until {} more of {} come back",
        running.len(),
        etcd.wanted.len(),
        needed - running.len(),
        names(&stopped)
    ))
}

/// A control-plane node does not become a worker by an install: its keys and its data would stay on it.
fn demoted(desired: &Desired, facts: &BTreeMap<NodeName, Facts>) -> Option<String> {
    let workers = desired.cluster.nodes.iter().filter(|node| node.role == Role::Worker);
    let mut demoted =
        workers.filter(|node| facts.get(&node.name).is_some_and(|facts| facts.file(MANIFEST).is_some()));
    let node = &demoted.next()?.name;
    Some(format!(
        "{node} is of the control plane and the cluster file wants a worker: take it out of the file and install, \
         which removes it, then set the machine up anew and add it as a worker"
    ))
}

/// Nodes that are members of different clusters would have to give up one of them.
fn strangers(etcd: &Membership, facts: &BTreeMap<NodeName, Facts>) -> Option<String> {
    let ids = |members: &[EtcdMember]| members.iter().map(|member| member.id).collect::<BTreeSet<_>>();
    let (first, members) = (etcd.answered.as_ref()?, ids(etcd.known.as_ref()?));
    let other = etcd.wanted.iter().find(|member| {
        let known = facts.get(&member.node).and_then(known);
        known.is_some_and(|known| ids(known).is_disjoint(&members))
    })?;
    Some(format!(
        "{first} and {} are members of two different etcd clusters: a control plane has one; make two cluster files of \
         it, or set one of the machines up anew",
        other.node
    ))
}

/// A member is known by its address.
fn moved(etcd: &Membership) -> Option<String> {
    etcd.wanted.iter().find_map(|member| {
        let known = etcd.known.as_ref()?;
        let listed = known.iter().find(|one| one.name == member.node.as_str())?;
        let old = listed.peer_urls.first().filter(|_| !listed.peer_urls.contains(&member.peer_url))?;
        Some(format!(
            "{} is known to etcd at {old} and the cluster file has it at {}: take it out of the file and install, which \
             removes it, then add it with its new address",
            member.node, member.peer_url
        ))
    })
}

/// Members are removed while all trust each other. Where etcd does not say who is one, a node that is named no more would be
/// distrusted while it has a vote.
fn unheard(etcd: &Membership, desired: &Desired, facts: &BTreeMap<NodeName, Facts>) -> Option<String> {
    if !etcd.founded || etcd.known.is_some() {
        return None;
    }
    let text =
        |node: &NodeName, path: &str| Some(facts.get(node)?.file(path)?.text.as_ref()?.expose().to_owned());
    let authorities: String =
        desired.cluster.control_plane().filter_map(|node| text(&node.name, AUTHORITY)).collect();
    let unseen = etcd.wanted.iter().filter(|member| !member.seen).count();
    let comes = etcd.wanted.iter().any(|member| member.seen && !member.has_manifest);
    let node = etcd.wanted.iter().find(|member| {
        let bundle = text(&member.node, BUNDLE).unwrap_or_default();
        let trusted: Vec<&str> =
            bundle.split_inclusive(END_OF_CERTIFICATE).filter(|one| one.contains("BEGIN")).collect();
        let others = trusted.iter().filter(|one| !authorities.contains(one.trim())).count();
        others > unseen && (comes || trusted.len() > etcd.wanted.len())
    })?;
    Some(format!(
        "{} trusts members of etcd that the cluster file does not name, and etcd does not answer on any node, so they \
         cannot be removed: put them back into the file and install, which brings etcd back, then take them out",
        node.node
    ))
}

/// Nobody founds a second, empty cluster where there was one.
fn lost(etcd: &Membership) -> Option<String> {
    let all_lost = etcd.founded && etcd.wanted.iter().all(|member| member.seen && !member.has_data);
    all_lost.then(|| {
        let folders: Vec<String> =
            etcd.wanted.iter().map(|member| format!("{}:{}", member.node, member.data)).collect();
        format!(
            "etcd was set up and its data is gone from every control-plane node ({}): put it back from a backup; to begin \
             anew with an empty cluster, set the machines up anew",
            folders.join(", ")
        )
    })
}
