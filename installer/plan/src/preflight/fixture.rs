//! Three sound nodes, for tests that spoil them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kubezt_model::desired::{Desired, DesiredNode, Node, OnChange, RenderedFile, Sensitivity};
use kubezt_model::node::{Facts, FileKind, FileReading, HostReading, Read, Reading};
use kubezt_model::survey::{
    Availability, Endpoint, FileSystemReading, InterfaceReading, KernelReading, NetworkReading, Obstacle,
    Protocol, RouteReading, SocketReading, SubjectReading, Target, Unreached,
};
use kubezt_model::{Digest, Mode, NodeName, Owner, SecretText};
use kubezt_testkit::sample_cluster;

use super::members::ROOT;
use super::{Finding, Seen};

/// The sample cluster and what is seen of its nodes.
pub(super) struct Fixture {
    pub desired: Desired,
    pub seen: Seen,
}

impl Fixture {
    /// Nothing is wrong with any node.
    pub fn new() -> Self {
        let cluster = sample_cluster();
        let nodes = cluster.nodes.iter().map(desired_node).collect();
        let desired = Desired { cluster, nodes, manifests: Vec::new() };
        let mut fixture = Self { desired, seen: Seen::default() };
        fixture.refresh();
        fixture
    }

    /// Sees every node anew, sound.
    pub fn refresh(&mut self) {
        let sound = |node: &DesiredNode| {
            let reads = super::reads(&self.desired, node);
            let readings = reads.into_iter().map(|read| {
                let reading = sound(&node.node, &read);
                (read, reading)
            });
            let name = node.node.name.clone();
            (name.clone(), Facts { node: name, at: 0, readings: readings.collect() })
        };
        self.seen.facts = self.desired.nodes.iter().map(sound).collect();
    }

    pub fn name(&self, node: &str) -> NodeName {
        node.parse().unwrap()
    }

    pub fn readings(&mut self, node: &str) -> &mut BTreeMap<Read, Reading> {
        let name = self.name(node);
        &mut self.seen.facts.get_mut(&name).unwrap().readings
    }

    pub fn set(&mut self, node: &str, read: Read, reading: Reading) {
        self.readings(node).insert(read, reading);
    }

    pub fn host(&mut self, node: &str) -> &mut HostReading {
        match self.readings(node).get_mut(&Read::Host).unwrap() {
            Reading::Host(host) => host,
            other => panic!("{other:?}"),
        }
    }

    pub fn network(&mut self, node: &str) -> &mut NetworkReading {
        match self.readings(node).get_mut(&Read::Network).unwrap() {
            Reading::Network(network) => network,
            other => panic!("{other:?}"),
        }
    }

    pub fn sockets(&mut self, node: &str) -> &mut Vec<SocketReading> {
        match self.readings(node).get_mut(&Read::Sockets).unwrap() {
            Reading::Sockets(sockets) => sockets,
            other => panic!("{other:?}"),
        }
    }

    pub fn kernel(&mut self, node: &str) -> &mut KernelReading {
        let found = self.readings(node).values_mut().find_map(|reading| match reading {
            Reading::Kernel(kernel) => Some(kernel),
            _ => None,
        });
        found.unwrap()
    }

    /// Changes every file system of a node.
    pub fn file_systems(&mut self, node: &str, change: impl Fn(&mut FileSystemReading)) {
        for reading in self.readings(node).values_mut() {
            if let Reading::FileSystem(found) = reading {
                change(found);
            }
        }
    }

    /// What a node did not reach.
    pub fn reach(&mut self, node: &str, found: Vec<Unreached>) {
        self.set(node, Read::Reach { targets: Vec::new() }, Reading::Unreached(found));
    }

    /// Makes a node a member of the cluster.
    pub fn join(&mut self, node: &str) {
        let fingerprint = Digest::of(b"root");
        let common_name = self.desired.cluster.name.to_string();
        let root = certificate(&common_name, &[], fingerprint);
        self.set(node, Read::Subjects { path: ROOT.to_owned() }, Reading::Subjects(vec![root]));
        self.seen.root = Some(fingerprint);
    }

    /// Puts a file there as it is wanted.
    pub fn place_file(&mut self, node: &str, path: &str) {
        let wanted = self.desired.nodes.iter().find(|one| one.node.name.as_str() == node).unwrap();
        let digest = wanted.files.iter().find(|file| file.path == path).unwrap().digest();
        let reading = FileReading { digest: Some(digest), ..entry(path, FileKind::File) };
        self.set(node, Read::File { path: path.to_owned(), text: false }, Reading::File(reading));
    }

    /// What a check finds.
    pub fn findings(&self, id: &str) -> Vec<Finding> {
        let nodes: BTreeSet<NodeName> =
            self.desired.cluster.nodes.iter().map(|node| node.name.clone()).collect();
        let found = super::preflight(&self.desired, &self.seen, &nodes);
        found.into_iter().filter(|finding| finding.id == id).collect()
    }

    /// The check finds nothing.
    #[track_caller]
    pub fn assert_none(&self, id: &str) {
        assert_eq!(self.findings(id), [], "{id}");
    }

    /// The check finds one thing: how bad, on which nodes, and words of what it says. What is wrong has a remedy.
    #[track_caller]
    pub fn assert_one(&self, id: &str, severity: &str, nodes: &[&str], words: &str) -> Finding {
        let mut found = self.findings(id);
        assert_eq!(found.len(), 1, "{found:#?}");
        let finding = found.remove(0);
        assert_eq!(finding.severity.to_string(), severity, "{finding:#?}");
        assert_eq!(finding.nodes.iter().map(NodeName::as_str).collect::<Vec<_>>(), nodes, "{finding:#?}");
        assert!(finding.what.contains(words), "{words}: {finding:#?}");
        assert!(!finding.remedy.is_empty(), "{finding:#?}");
        finding
    }
}

fn desired_node(node: &Node) -> DesiredNode {
    DesiredNode {
        node: node.clone(),
        users: Vec::new(),
        directories: Vec::new(),
        components: Vec::new(),
        files: vec![RenderedFile {
            path: "/etc/kubezt/node.json".to_owned(),
            mode: Mode::new(0o644),
            owner: Owner::root(),
            body: SecretText::new("{}".to_owned()),
            sensitivity: Sensitivity::Public,
            on_change: OnChange::Nothing,
            template: String::new(),
        }],
        sysctls: BTreeMap::new(),
        modules: vec!["overlay".to_owned()],
        units: Vec::new(),
        images: Vec::new(),
        keys: Vec::new(),
        certificates: Vec::new(),
        bundles: Vec::new(),
        absent: Vec::new(),
    }
}

/// What a node answers on which nothing is wrong and nothing was installed.
fn sound(node: &Node, read: &Read) -> Reading {
    let present = |names: &[String]| names.iter().map(|name| (name.clone(), Availability::Present)).collect();
    match read {
        Read::Host => Reading::Host(Box::new(host(node))),
        Read::Network => Reading::Network(network(node)),
        Read::Sockets => Reading::Sockets(Vec::new()),
        Read::Kernel { modules, options } => Reading::Kernel(KernelReading {
            modules: present(modules),
            options: present(options),
            controllers: ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).to_vec(),
            systemd: true,
            selinux: String::new(),
            apparmor: true,
        }),
        Read::FileSystem { .. } => Reading::FileSystem(FileSystemReading {
            folder: "/var/lib".to_owned(),
            id: 1,
            size: 100 << 30,
            available: 80 << 30,
            files: 1_000_000,
            files_available: 900_000,
            read_only: false,
        }),
        Read::File { path, .. } if path == "/usr/sbin/auditd" => Reading::File(entry(path, FileKind::File)),
        _ => Reading::Missing,
    }
}

fn host(node: &Node) -> HostReading {
    HostReading {
        os_id: "debian".to_owned(),
        os_version: "12".to_owned(),
        os_like: Vec::new(),
        name_servers: Vec::new(),
        kernel: "6.1.0-18-amd64".to_owned(),
        architecture: "x86_64".to_owned(),
        hostname: node.name.to_string(),
        machine_id: format!("{}", Digest::of(node.name.as_str().as_bytes())),
        boot_id: String::new(),
        cpus: 4,
        memory: 8 << 30,
        swap: 0,
        cgroup_version: 2,
        wireguard: true,
        security_modules: Vec::new(),
        clock: 0,
    }
}

fn network(node: &Node) -> NetworkReading {
    let route = |destination: &str, gateway: Option<&str>| RouteReading {
        destination: destination.parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        interface: "eth0".to_owned(),
    };
    let hardware_address =
        format!("00:16:3e:00:00:{}", node.address().to_string().rsplit('.').next().unwrap());
    NetworkReading {
        addresses: node.addresses.clone(),
        interfaces: [("eth0".to_owned(), InterfaceReading { mtu: 1500, hardware_address })].into(),
        routes: vec![route("0.0.0.0/0", Some("10.0.0.1")), route("10.0.0.0/24", None)],
    }
}

/// Whom a certificate is for that lives as long as time.
pub(super) fn certificate(common_name: &str, organizations: &[&str], fingerprint: Digest) -> SubjectReading {
    SubjectReading {
        common_name: common_name.to_owned(),
        organizations: organizations.iter().map(|&one| one.to_owned()).collect(),
        fingerprint,
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
    }
}

/// A path that is there.
pub(super) fn entry(path: &str, kind: FileKind) -> FileReading {
    FileReading {
        path: path.to_owned(),
        kind,
        mode: Mode::new(0o600),
        owner: Owner::root(),
        size: 0,
        digest: None,
        text: None,
        changed: 0,
    }
}

/// Something that was not reached.
pub(super) fn unreached(protocol: &str, address: &str, why: Obstacle) -> Unreached {
    let protocol = if protocol == "UDP" { Protocol::Udp } else { Protocol::Tcp };
    let endpoint = Endpoint { protocol, address: address.parse().unwrap() };
    Unreached { target: Target { endpoint, node: None, bytes: 0 }, why }
}
