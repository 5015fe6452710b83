use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use kubezt_model::cluster::Role;
use kubezt_model::desired::{
    AuthorityKind, CertificateKind, Desired, DesiredCertificate, DesiredNode, LeafSpec, Node, OnChange,
    RenderedFile, Sensitivity, Usage,
};
use kubezt_model::health::{
    ApiServerAnswer, ApiServerReading, ContainerReading, ContainerState, EtcdStatusReading, MemoryReading,
};
use kubezt_model::node::{
    EtcdMember, Facts, FileKind, FileReading, ProcessReading, Read, Reading, UnitReading,
};
use kubezt_model::survey::FileSystemReading;
use kubezt_model::{Mode, NodeName, Owner, SecretText};
use kubezt_testkit::sample_cluster;

use super::*;
use crate::members::MANIFEST;
use crate::preflight::{ClockOffset, Severity, Unreachable};

const PODS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
const CERTIFICATE: &str = "/var/lib/kubelet/pki/kubelet.crt";

/// Three control-plane nodes and one worker, on which nothing is wrong.
struct Fixture {
    desired: Desired,
    evidence: Evidence,
}

impl Fixture {
    fn new() -> Self {
        let mut cluster = sample_cluster();
        let node = |name: &str, role, last: u8| Node {
            name: name.parse().unwrap(),
            role,
            addresses: vec![[10, 0, 0, last].into()],
            labels: BTreeMap::new(),
            taints: Vec::new(),
        };
        cluster.nodes = (1..=3).map(|at| node(&format!("cp{at}"), Role::ControlPlane, at)).collect();
        cluster.nodes.push(node("w1", Role::Worker, 9));
        let nodes: Vec<DesiredNode> = cluster.nodes.iter().map(desired_node).collect();
        let at: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        let facts = nodes.iter().map(|node| (node.node.name.clone(), facts(node))).collect();
        let certificate = CertificateSeen {
            path: CERTIFICATE.to_owned(),
            state: CertificateState::Readable {
                from: at - SignedDuration::from_hours(24),
                until: at + SignedDuration::from_hours(24),
                names: ["localhost".to_owned()].into(),
            },
        };
        let ready =
            NodeCondition { kind: "Ready".to_owned(), status: "True".to_owned(), message: String::new() };
        let seen = |node: &DesiredNode| NodeSeen {
            name: node.node.name.to_string(),
            conditions: vec![ready.clone()],
        };
        let api = ApiEvidence { nodes: nodes.iter().map(seen).collect(), ..ApiEvidence::default() };
        let evidence = Evidence {
            at,
            facts,
            unreachable: Vec::new(),
            clocks: BTreeMap::new(),
            certificates: nodes
                .iter()
                .map(|node| (node.node.name.clone(), vec![certificate.clone()]))
                .collect(),
            api: Some(api),
            no_api: String::new(),
        };
        Self { desired: Desired { cluster, nodes, manifests: Vec::new() }, evidence }
    }

    fn set(&mut self, node: &str, read: Read, reading: Reading) {
        self.evidence.facts.get_mut(&name(node)).unwrap().readings.insert(read, reading);
    }

    fn lose(&mut self, node: &str) {
        let node = name(node);
        self.evidence.facts.remove(&node);
        let why = format!("{node}: no route to host");
        self.evidence.unreachable.push(Unreachable { node, why, privilege: false });
    }

    fn stop_unit(&mut self, node: &str, unit: &str) {
        let stopped = Reading::Unit(UnitReading {
            active: "failed".to_owned(),
            enabled: "enabled".to_owned(),
            started: 0,
            needs_reload: false,
            last_run: None,
        });
        self.set(node, Read::Unit { name: unit.to_owned() }, stopped);
    }

    /// Its program has ended, and its container says why.
    fn stop_pod(&mut self, node: &str, pod: &str, state: ContainerState, said: &str) {
        self.set(node, Read::Process { name: pod.to_owned() }, Reading::Processes(Vec::new()));
        let Some(Reading::Containers(containers)) =
            self.evidence.facts.get_mut(&name(node)).unwrap().readings.get_mut(&Read::Containers)
        else {
            panic!()
        };
        let container = containers.iter_mut().find(|container| container.name == pod).unwrap();
        *container =
            ContainerReading { state, restarts: 5, said: vec![said.to_owned()], ..container.clone() };
    }

    fn servers(&mut self, node: &str, answers: [ApiServerAnswer; 3]) {
        let address = |at: usize| format!("10.0.0.{}:6443", at + 1).parse().unwrap();
        let readings = answers.into_iter().enumerate();
        let readings = readings.map(|(at, answer)| ApiServerReading { address: address(at), answer });
        self.set(node, Read::ApiServers, Reading::ApiServers(readings.collect()));
    }

    fn condition(&mut self, node: &str, kind: &str, status: &str, message: &str) {
        let nodes = &mut self.evidence.api.as_mut().unwrap().nodes;
        let seen = nodes.iter_mut().find(|seen| seen.name == node).unwrap();
        let (kind, status, message) = (kind.to_owned(), status.to_owned(), message.to_owned());
        seen.conditions.retain(|condition| condition.kind != kind);
        seen.conditions.push(NodeCondition { kind, status, message });
    }

    fn findings(&self) -> Vec<Finding> {
        explain(&self.desired, &self.evidence)
    }

    /// Rule, nodes, and the rule it follows from; nothing else is found.
    #[track_caller]
    fn assert_found(&self, wanted: &[(&str, &[&str], Option<&str>)]) -> Vec<Finding> {
        let found = self.findings();
        let told: Vec<(&str, Vec<&str>, Option<&str>)> = found
            .iter()
            .map(|finding| {
                let nodes = finding.nodes.iter().map(NodeName::as_str).collect();
                (finding.id, nodes, finding.because.map(|because| found[because].id))
            })
            .collect();
        let wanted: Vec<(&str, Vec<&str>, Option<&str>)> =
            wanted.iter().map(|(id, nodes, because)| (*id, nodes.to_vec(), *because)).collect();
        assert_eq!(told, wanted, "{found:#?}");
        found
    }
}

fn name(node: &str) -> NodeName {
    node.parse().unwrap()
}

fn manifest(node: &Node) -> String {
    let (name, address) = (&node.name, node.address());
    format!(
        "spec:\n  containers:\n  - command: [etcd, --data-dir=/var/lib/etcd, '--initial-advertise-peer-urls=https://{address}:2380', \
         '--advertise-client-urls=https://{address}:2379', --name={name}]\n"
    )
}

fn desired_node(node: &Node) -> DesiredNode {
    let file = |pod: &str| RenderedFile {
        path: format!("/etc/kubernetes/manifests/{pod}.yaml"),
        mode: Mode::new(0o600),
        owner: Owner::root(),
        body: SecretText::new(if pod == "etcd" { manifest(node) } else { String::new() }),
        sensitivity: Sensitivity::Public,
        on_change: OnChange::StaticPod(pod.to_owned()),
        template: String::new(),
    };
    let leaf = LeafSpec {
        authority: AuthorityKind::Kubernetes,
        common_name: "kubelet".to_owned(),
        organizations: Vec::new(),
        dns_names: vec!["localhost".to_owned()],
        ip_addresses: Vec::new(),
        usage: Usage::Server,
    };
    DesiredNode {
        node: node.clone(),
        users: Vec::new(),
        directories: Vec::new(),
        components: Vec::new(),
        files: if node.role == Role::ControlPlane { PODS.map(file).to_vec() } else { Vec::new() },
        sysctls: BTreeMap::new(),
        modules: Vec::new(),
        units: [
            "containerd.service",
            "kubelet.service",
            "kubezt-node.service",
            "kubezt-cilium.service",
            "kubezt-renew.timer",
        ]
        .map(str::to_owned)
        .to_vec(),
        images: Vec::new(),
        keys: Vec::new(),
        certificates: vec![DesiredCertificate {
            certificate_path: CERTIFICATE.to_owned(),
            key_path: String::new(),
            owner: Owner::root(),
            certificate_mode: Mode::new(0o644),
            kind: CertificateKind::Leaf(leaf),
            on_change: OnChange::Nothing,
        }],
        bundles: Vec::new(),
        absent: Vec::new(),
    }
}

/// What a node answers that is well.
fn facts(node: &DesiredNode) -> Facts {
    let readings = reads(node).into_iter().map(|read| {
        let reading = sound(node, &read);
        (read, reading)
    });
    Facts { node: node.node.name.clone(), at: 0, readings: readings.collect() }
}

fn sound(node: &DesiredNode, read: &Read) -> Reading {
    let control_plane = node.node.role == Role::ControlPlane;
    let member = |at: u64| EtcdMember {
        id: at,
        name: format!("cp{at}"),
        peer_urls: vec![format!("https://10.0.0.{at}:2380")],
        client_urls: vec![format!("https://10.0.0.{at}:2379")],
        learner: false,
    };
    match read {
        Read::Unit { .. } => Reading::Unit(UnitReading {
            active: "active".to_owned(),
            enabled: "enabled".to_owned(),
            started: 1,
            needs_reload: false,
            last_run: None,
        }),
        Read::UnitLog { name } => Reading::Lines(vec![format!("{name} speaks")]),
        Read::Containers => {
            let pods = if control_plane { PODS.to_vec() } else { Vec::new() };
            let containers = pods.into_iter().chain(["cilium-agent"]).map(|pod| ContainerReading {
                namespace: "kube-system".to_owned(),
                pod: format!("{pod}-{}", node.node.name),
                name: pod.to_owned(),
                state: ContainerState::Running,
                restarts: 0,
                said: Vec::new(),
            });
            Reading::Containers(containers.collect())
        }
        Read::Memory => Reading::Memory(MemoryReading { total: 8 << 30, available: 4 << 30, killed: 0 }),
        Read::ApiServers => {
            let servers = (1..=3).map(|at| ApiServerReading {
                address: format!("10.0.0.{at}:6443").parse().unwrap(),
                answer: ApiServerAnswer::Ready,
            });
            Reading::ApiServers(servers.collect())
        }
        Read::FileSystem { path } => Reading::FileSystem(FileSystemReading {
            folder: path.clone(),
            id: 1,
            size: 100 << 30,
            available: 50 << 30,
            files: 1000,
            files_available: 900,
            read_only: false,
        }),
        Read::Process { name } => Reading::Processes(vec![ProcessReading {
            pid: 1,
            arguments: vec![name.clone()],
            uid: 0,
            started: 1,
            capabilities: String::new(),
            seccomp: 2,
        }]),
        Read::EtcdMembers if control_plane => Reading::EtcdMembers((1..=3).map(member).collect()),
        Read::EtcdStatus if control_plane => {
            Reading::EtcdStatus(EtcdStatusReading { leader: 1, committed: 9, applied: 9, errors: Vec::new() })
        }
        Read::File { path, .. } if path == MANIFEST && control_plane => Reading::File(FileReading {
            path: path.clone(),
            kind: FileKind::File,
            mode: Mode::new(0o600),
            owner: Owner::root(),
            size: 1,
            digest: None,
            text: Some(SecretText::new("planted".to_owned())),
            changed: 0,
        }),
        _ => Reading::Missing,
    }
}

fn etcd_fails() -> ApiServerAnswer {
    ApiServerAnswer::Failing(vec!["etcd".to_owned()])
}

fn silent() -> ApiServerAnswer {
    ApiServerAnswer::Silent("connection refused".to_owned())
}

#[test]
fn a_cluster_that_is_well_has_no_findings() {
    Fixture::new().assert_found(&[]);
}

#[test]
fn rules_have_one_name_each_and_follow_from_earlier_ones() {
    let mut earlier = BTreeSet::new();
    for rule in RULES {
        for cause in rule.follows {
            assert!(
                earlier.contains(cause),
                "{} follows from {cause}, which does not stand before it",
                rule.id
            );
        }
        assert!(earlier.insert(rule.id), "{} twice", rule.id);
        assert!(!rule.means.is_empty() && !rule.remedy.is_empty(), "{}", rule.id);
    }
}

/// The loss comes first, then what it does to the API, then what that does to nodes.
#[test]
fn a_lost_quorum_is_the_first_line_and_the_rest_follows() {
    let mut fixture = Fixture::new();
    for node in ["cp2", "cp3"] {
        fixture.stop_pod(
            node,
            "etcd",
            ContainerState::Exited { code: 2, reason: String::new() },
            "panic: disk",
        );
    }
    for node in ["cp1", "cp2", "cp3"] {
        fixture.set(node, Read::EtcdMembers, Reading::Failed("context deadline exceeded".to_owned()));
        fixture.set(node, Read::EtcdStatus, Reading::Failed("context deadline exceeded".to_owned()));
    }
    for node in ["cp1", "cp2", "cp3", "w1"] {
        fixture.servers(node, [etcd_fails(), etcd_fails(), etcd_fails()]);
    }
    fixture.evidence.api = None;
    fixture.stop_pod(
        "cp1",
        "kube-scheduler",
        ContainerState::Exited { code: 1, reason: String::new() },
        "lost lease",
    );
    let found = fixture.assert_found(&[
        ("etcd-quorum", &["cp2", "cp3"], None),
        ("static-pod", &["cp1"], Some("etcd-quorum")),
        ("api-lost", &["cp1", "cp2", "cp3"], Some("etcd-quorum")),
    ]);
    assert!(found[0].what.contains("1 of its 3 members run (cp1) and 2 are needed"), "{found:#?}");
    let said = ["cp2: etcd ended with code 2, started again 5 times", "cp2: panic: disk"];
    assert_eq!(found[0].said[..2], said, "{found:#?}");
    assert!(found[2].what.contains("10.0.0.1:6443 is not ready: etcd fails"), "{found:#?}");
}

#[test]
fn a_full_disk_explains_the_member_that_cannot_write() {
    let mut fixture = Fixture::new();
    let disk = |path: &str, available: u64| {
        Reading::FileSystem(FileSystemReading {
            folder: path.to_owned(),
            id: 7,
            size: 100 << 20,
            available,
            files: 0,
            files_available: 0,
            read_only: false,
        })
    };
    for path in ["/var/lib/etcd", "/var/log"] {
        fixture.set("cp2", Read::FileSystem { path: path.to_owned() }, disk(path, 1 << 20));
    }
    fixture.stop_pod("cp2", "etcd", ContainerState::Gone, "no space left on device");
    fixture.condition("cp2", "DiskPressure", "True", "kubelet has disk pressure");
    let found = fixture.assert_found(&[
        ("disk", &["cp2"], None),
        ("etcd-member", &["cp2"], Some("disk")),
        ("pressure", &["cp2"], Some("disk")),
    ]);
    assert_eq!(found[0].what, "/var/lib/etcd: 1 % of it are free (1 MiB, and 10 have to be)");
}

#[test]
fn nodes_that_are_lost_explain_what_is_lost_with_them() {
    let mut fixture = Fixture::new();
    fixture.lose("w1");
    fixture.condition("w1", "Ready", "Unknown", "Kubelet stopped posting node status.");
    fixture.assert_found(&[("unreachable", &["w1"], None), ("not-ready", &["w1"], Some("unreachable"))]);
    let mut fixture = Fixture::new();
    fixture.lose("cp2");
    fixture.lose("cp3");
    fixture.set("cp1", Read::EtcdMembers, Reading::Failed("no leader".to_owned()));
    let found = fixture.findings();
    assert_eq!((found[0].id, found[1].id), ("unreachable", "etcd-quorum"), "{found:#?}");
}

#[test]
fn a_unit_that_does_not_run_says_why_and_explains_its_node() {
    let mut fixture = Fixture::new();
    fixture.stop_unit("w1", "containerd.service");
    fixture.stop_unit("w1", "kubelet.service");
    fixture.condition("w1", "Ready", "False", "container runtime is down");
    let found = fixture.assert_found(&[
        ("runtime", &["w1"], None),
        ("kubelet", &["w1"], Some("runtime")),
        ("not-ready", &["w1"], Some("kubelet")),
    ]);
    assert_eq!(found[0].what, "containerd.service is failed");
    assert_eq!(found[0].said, ["containerd.service speaks"]);
    let mut fixture = Fixture::new();
    fixture.stop_unit("w1", "kubezt-node.service");
    fixture.set("w1", Read::Unit { name: "kubezt-cilium.service".to_owned() }, Reading::Missing);
    fixture.assert_found(&[("node-service", &["w1"], None), ("unit", &["w1"], None)]);
}

#[test]
fn a_renewal_that_failed_is_told_with_what_it_said_and_follows_from_a_lost_balancer() {
    let mut fixture = Fixture::new();
    fixture.stop_unit("w1", "kubezt-renew.service");
    let found = fixture.assert_found(&[("renewal", &["w1"], None)]);
    assert_eq!(found[0].what, "kubezt-renew.service failed when it ran last");
    assert_eq!(found[0].said, ["kubezt-renew.service speaks"]);
    fixture.stop_unit("w1", "kubezt-node.service");
    fixture.assert_found(&[("node-service", &["w1"], None), ("renewal", &["w1"], Some("node-service"))]);
    let mut fixture = Fixture::new();
    fixture.stop_unit("w1", "kubezt-renew.timer");
    fixture.assert_found(&[("unit", &["w1"], None)]);
}

#[test]
fn certificates_are_judged_by_the_clock_of_their_node() {
    let path = CERTIFICATE.to_owned();
    let mut fixture = Fixture::new();
    let at = fixture.evidence.at;
    let hours = SignedDuration::from_hours;
    let readable = |from, until, names: &[&str]| CertificateState::Readable {
        from,
        until,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let mut judge = |state: CertificateState| {
        let seen = vec![
            CertificateSeen { path: path.clone(), state },
            CertificateSeen { path: "/other".to_owned(), state: readable(at - hours(1), at + hours(1), &[]) },
        ];
        fixture.evidence.certificates.insert(name("w1"), seen);
        fixture.assert_found(&[("certificate", &["w1"], None)]).remove(0).what
    };
    let localhost = &["localhost"];
    assert!(
        judge(readable(at - hours(9), at - hours(1), localhost)).contains("expired on 2026-05-31 23:00Z")
    );
    assert!(judge(readable(at + hours(1), at + hours(9), localhost)).contains("not valid before"));
    assert!(judge(readable(at - hours(1), at + hours(9), &["example"])).ends_with("not for localhost"));
    assert!(judge(CertificateState::Missing).ends_with("missing"));
    assert!(judge(CertificateState::Unreadable("no PEM".to_owned())).contains("no PEM"));
    // Before an install there are none.
    let missing = CertificateSeen { path: path.clone(), state: CertificateState::Missing };
    fixture.evidence.certificates.insert(name("w1"), vec![missing]);
    fixture.assert_found(&[]);
    // The clock that is wrong is the cause.
    let mut fixture = Fixture::new();
    for (node, hours) in [("cp1", 0), ("cp2", 0), ("cp3", 0), ("w1", -48)] {
        let offset = ClockOffset { milliseconds: hours * 3_600_000, uncertainty: 1 };
        fixture.evidence.clocks.insert(name(node), offset);
    }
    fixture.assert_found(&[("clock", &["w1"], None), ("certificate", &["w1"], Some("clock"))]);
}

#[test]
fn servers_are_lost_together_or_fail_alone_or_are_not_reached() {
    let mut fixture = Fixture::new();
    let ready = || ApiServerAnswer::Ready;
    for node in ["cp1", "cp2", "cp3", "w1"] {
        fixture.servers(node, [ready(), ready(), silent()]);
    }
    fixture.stop_pod(
        "cp3",
        "kube-apiserver",
        ContainerState::Exited { code: 1, reason: String::new() },
        "bad flag",
    );
    fixture.assert_found(&[("static-pod", &["cp3"], None), ("api-server", &["cp3"], Some("static-pod"))]);
    let mut fixture = Fixture::new();
    fixture.servers("w1", [ready(), silent(), ready()]);
    let found = fixture.assert_found(&[("api-way", &["w1"], None)]);
    assert!(found[0].what.contains("10.0.0.2:6443 answers others, and not this node: connection refused"));
    let mut fixture = Fixture::new();
    fixture.evidence.api = None;
    fixture.evidence.no_api = "no node holds the kubernetes authority".to_owned();
    let found = fixture.assert_found(&[("api-unheard", &[], None)]);
    assert_eq!(found[0].severity, Severity::Warning);
}

#[test]
fn etcd_complains_disagrees_or_has_no_leader() {
    let status = |leader: u64, errors: &[&str]| {
        let errors = errors.iter().map(|error| (*error).to_owned()).collect();
        Reading::EtcdStatus(EtcdStatusReading { leader, committed: 9, applied: 9, errors })
    };
    let mut fixture = Fixture::new();
    fixture.set("cp2", Read::EtcdStatus, status(1, &["memberID:2 alarm:NOSPACE"]));
    fixture.assert_found(&[("etcd-alarm", &["cp2"], None)]);
    let mut fixture = Fixture::new();
    fixture.set("cp2", Read::EtcdMembers, Reading::EtcdMembers(Vec::new()));
    fixture.assert_found(&[("etcd-split", &["cp1", "cp2"], None)]);
    let mut fixture = Fixture::new();
    for node in ["cp1", "cp2", "cp3"] {
        fixture.set(node, Read::EtcdStatus, status(0, &["etcdserver: no leader"]));
        fixture.set(node, Read::EtcdMembers, Reading::Failed("no leader".to_owned()));
    }
    let found = fixture.assert_found(&[("etcd-quorum", &["cp1", "cp2", "cp3"], None)]);
    assert!(found[0].what.contains("know no leader"));
}

#[test]
fn agents_registrations_memory_and_pods_are_looked_at() {
    let mut fixture = Fixture::new();
    let low = MemoryReading { total: 1 << 30, available: 9 << 20, killed: 3 };
    fixture.set("w1", Read::Memory, Reading::Memory(low));
    fixture.stop_pod(
        "w1",
        "cilium-agent",
        ContainerState::Exited { code: 137, reason: "OOMKilled".to_owned() },
        "bye",
    );
    let api = fixture.evidence.api.as_mut().unwrap();
    api.nodes.retain(|seen| seen.name != "w1");
    let pod = |name: &str, node: &str| PodSeen {
        namespace: "a".to_owned(),
        name: name.to_owned(),
        node: node.to_owned(),
        waits: "has no node".to_owned(),
    };
    api.pods = vec![pod("x", "w1")];
    api.pods.extend((0..11).map(|at| pod(&format!("y{at}"), "")));
    let event =
        |what: &str| EventSeen { namespace: "a".to_owned(), name: "x".to_owned(), what: what.to_owned() };
    api.events = ["1", "2", "3", "4"].map(event).to_vec();
    let found = fixture.findings();
    let ids: BTreeSet<&str> = found.iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["memory", "network-agent", "pods", "registration"].into());
    assert_eq!((found[0].id, found[1].id, found[1].because), ("memory", "network-agent", Some(0)));
    assert!(found[1].what.contains("ended with code 137 (OOMKilled)"));
    let pods: Vec<&Finding> = found.iter().filter(|finding| finding.id == "pods").collect();
    assert_eq!(pods.len(), 11);
    assert_eq!(pods[0].said, ["2", "3", "4"]);
    assert!(pods.iter().any(|finding| finding.what == "2 more pods wait or fail"));
}

#[test]
fn who_works_on_a_node_is_only_noted_and_what_is_not_known_is_said() {
    let mut fixture = Fixture::new();
    fixture.set("w1", Read::Lock, Reading::Text("a@b, since noon".to_owned()));
    fixture.set("w1", Read::Memory, Reading::Failed("permission denied".to_owned()));
    let found = fixture.assert_found(&[("unread", &["w1"], None), ("locked", &["w1"], None)]);
    assert_eq!((found[1].severity, found[1].what.as_str()), (Severity::Note, "held by a@b, since noon"));
}

/// Whatever somebody wrote where it does not belong: nothing of it leaves.
#[test]
fn evidence_that_others_see_holds_no_secret() {
    let mut fixture = Fixture::new();
    let key = "-----BEGIN PRIVATE KEY-----\nMIGHplanted\n-----END PRIVATE KEY-----";
    let said = format!(
        "passphrase: planted phrase\ntoken=planted {key} QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
    );
    fixture.set(
        "w1",
        Read::UnitLog { name: "kubelet.service".to_owned() },
        Reading::Lines(vec![said.clone()]),
    );
    fixture.stop_pod("cp1", "etcd", ContainerState::Gone, &said);
    fixture.evidence.no_api.clone_from(&said);
    let shown = fixture.evidence.public().to_string();
    assert!(!shown.contains("planted") && !shown.contains("QUJDREVG"), "{shown}");
    assert!(shown.contains("kubelet.service") && shown.contains("etcd"));
}
