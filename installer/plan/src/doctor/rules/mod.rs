//! The rules, causes before what follows from them. A further one is a function and its line in [`RULES`].

mod certificates;
mod etcd;
mod host;
mod servers;
mod units;
mod workloads;

use super::evidence::Scene;
use super::finding::Sign;

pub(super) use host::FOLDERS;

/// A sign, what it means, and what to do.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Id.
    pub id: &'static str,
    /// What it means where the sign is seen, in a sentence.
    pub means: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// Rules whose findings bring this one about, the most direct ones first.
    pub follows: &'static [&'static str],
    /// Where the sign is seen.
    pub(super) signs: fn(&Scene<'_>) -> Vec<Sign>,
}

/// All of them.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    Rule { id: "unreachable", signs: host::unreachable, follows: &[],
        means: "kubezt cannot look at it; where it is off or cut off, the cluster is without it too",
        remedy: "switch it on, or mend the way to it; `kubezt install` goes on with the others meanwhile" },
    Rule { id: "clock", signs: host::clocks, follows: &[],
        means: "certificates are not valid yet on one of two machines, and members of etcd distrust their leases",
        remedy: "let chrony or systemd-timesyncd set it, and wait until it has" },
    Rule { id: "disk", signs: host::disks, follows: &[],
        means: "kubelet evicts pods and takes no more; etcd and containers cannot write",
        remedy: "make room on that file system; `kubezt install` brings back what ended meanwhile" },
    Rule { id: "memory", signs: host::memory, follows: &[],
        means: "the kernel ends processes, and kubelet evicts pods and takes no more",
        remedy: "give the machine more memory, or its pods limits" },
    Rule { id: "locked", signs: host::locked, follows: &[],
        means: "somebody changes the node now, or a run that lost its connection has not noticed yet",
        remedy: "wait until that run has ended; a lost one lets go within 75 seconds, and `kubezt install --take-over` ends one" },
    Rule { id: "certificate", signs: certificates::certificates, follows: &["clock"],
        means: "nobody takes such a certificate, so whoever shows it is refused",
        remedy: "`kubezt certs renew` issues what has expired, where the node did not; `kubezt install` what is missing or has other names" },
    Rule { id: "runtime", signs: units::runtime, follows: &["disk", "memory"],
        means: "no container starts on the node, those of the control plane included",
        remedy: "what it said last tells why; `kubezt install` mends its files and starts it" },
    Rule { id: "kubelet", signs: units::kubelet, follows: &["runtime", "certificate", "disk", "memory"],
        means: "nobody starts pods on the node, and the API hears nothing of it",
        remedy: "what it said last tells why; `kubezt install` mends its files and starts it" },
    Rule { id: "node-service", signs: units::node_service, follows: &["disk", "memory"],
        means: "kubelet and pods of the node reach no API server: the balancer on loopback leads to them",
        remedy: "what it said last tells why; `kubezt install` mends its files and starts it" },
    Rule { id: "unit", signs: units::others, follows: &["disk", "memory"],
        means: "a part of what the install set up does not run",
        remedy: "what it said last tells why; `kubezt install` mends its files and starts it" },
    Rule { id: "etcd-quorum", signs: etcd::quorum,
        follows: &["kubelet", "runtime", "certificate", "disk", "memory", "unreachable", "clock"],
        means: "etcd decides nothing without more than half of its members, and the API neither reads nor writes",
        remedy: "bring one of those members back; nothing is lost meanwhile, and no member must be removed" },
    Rule { id: "etcd-member", signs: etcd::members_down, follows: &["kubelet", "runtime", "certificate", "disk", "memory"],
        means: "etcd is without this member; of three it bears the loss of one",
        remedy: "what it said last tells why; mend that, and kubelet starts it again" },
    Rule { id: "etcd-alarm", signs: etcd::alarms, follows: &["disk"],
        means: "etcd takes no writes until what it complains of is mended",
        remedy: "make room, compact and defragment etcd, then `etcdctl alarm disarm`" },
    Rule { id: "etcd-split", signs: etcd::split, follows: &["etcd-quorum"],
        means: "members do not agree on who is one, so one of them is behind or of another cluster",
        remedy: "`kubezt plan` says whether one of them has to join anew" },
    Rule { id: "static-pod", signs: units::static_pods,
        follows: &["kubelet", "runtime", "etcd-quorum", "etcd-alarm", "etcd-member", "certificate", "disk", "memory"],
        means: "the control plane of this node lacks a part",
        remedy: "what it said last tells why; mend that, and kubelet starts it again" },
    Rule { id: "api-lost", signs: servers::lost,
        follows: &["etcd-quorum", "etcd-alarm", "etcd-member", "kubelet", "runtime", "certificate", "static-pod", "disk",
            "memory", "unreachable", "clock"],
        means: "no API server answers, so nothing in the cluster changes; pods that run go on",
        remedy: "mend what keeps the servers from being ready" },
    Rule { id: "api-server", signs: servers::failing,
        follows: &["etcd-alarm", "etcd-member", "kubelet", "runtime", "certificate", "static-pod", "disk", "memory",
            "unreachable", "clock"],
        means: "the cluster goes on with its other servers",
        remedy: "mend what its checks name" },
    Rule { id: "api-way", signs: servers::unreached, follows: &["api-server", "unreachable"],
        means: "the server is ready, and this node does not get through to it",
        remedy: "let TCP through between the two; `kubezt preflight` tries every pair" },
    Rule { id: "renewal", signs: units::timed,
        follows: &["api-lost", "node-service", "certificate", "clock", "disk", "memory", "api-way"],
        means: "the node does not renew its certificates, which end one after the other",
        remedy: "what it said last tells why; `kubezt certs renew` renews all of them from here meanwhile" },
    Rule { id: "api-unheard", signs: servers::unheard, follows: &["api-lost", "unreachable"],
        means: "nodes and pods as the API sees them were not looked at",
        remedy: "ask again; what nodes say of themselves is complete without it" },
    Rule { id: "network-agent", signs: workloads::agents,
        follows: &["kubelet", "runtime", "node-service", "unit", "api-way", "api-lost", "disk", "memory"],
        means: "pods of the node get no network, and the node is not Ready without it",
        remedy: "what it said last tells why; kubelet starts it again" },
    Rule { id: "registration", signs: workloads::unregistered,
        follows: &["kubelet", "runtime", "node-service", "api-way", "certificate", "clock", "unreachable"],
        means: "its kubelet never reached the API, or somebody deleted the node there",
        remedy: "`kubezt install` starts its kubelet anew, which registers it" },
    Rule { id: "pressure", signs: workloads::pressure, follows: &["disk", "memory"],
        means: "kubelet evicts pods of the node and takes no more",
        remedy: "free what it runs out of" },
    Rule { id: "not-ready", signs: workloads::not_ready,
        follows: &["kubelet", "runtime", "node-service", "network-agent", "pressure", "api-way", "api-lost", "certificate",
            "unreachable", "clock"],
        means: "no new pod goes to the node, and after five minutes its pods go elsewhere",
        remedy: "kubelet's message says what it lacks" },
    Rule { id: "pods", signs: workloads::pods,
        follows: &["not-ready", "kubelet", "runtime", "node-service", "network-agent", "pressure", "api-way", "disk",
            "memory", "unreachable"],
        means: "a workload runs with less than it was meant to",
        remedy: "the events say what it waits for" },
    Rule { id: "unread", signs: host::unread, follows: &["unreachable"],
        means: "nothing is known of it, so nothing above speaks for it",
        remedy: "look on the node itself" },
];
