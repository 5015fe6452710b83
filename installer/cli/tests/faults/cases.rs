//! The faults, a line or a few for each.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// One thing, or one kind of thing, that is wrong.
pub struct Fault {
    /// What is wrong.
    pub name: &'static str,
    /// What is done to the good cluster file, or around it.
    pub change: Change,
    /// The command, words apart by one space.
    pub arguments: &'static str,
}

/// What is done to the good cluster file, or around it.
pub enum Change {
    /// Nothing.
    None,
    /// Texts are replaced, each where it stands first.
    Swap(&'static [(&'static str, &'static str)]),
    /// Lines are added to its end.
    Add(&'static str),
    /// It holds these bytes.
    Whole(fn() -> Vec<u8>),
    /// Something is done to its folder.
    Around(fn(&Path)),
}

use Change::{Add, Around, None, Swap, Whole};

const INSTALL: &str = "install";

fn fault(name: &'static str, change: Change) -> Fault {
    Fault { name, change, arguments: INSTALL }
}

fn asked(name: &'static str, arguments: &'static str) -> Fault {
    Fault { name, change: None, arguments }
}

/// Sets the mode of a file.
pub fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What is no YAML document, or one that is meant to do harm.
pub fn documents() -> Vec<Fault> {
    vec![
        fault("an empty file", Whole(Vec::new)),
        fault("only a comment", Whole(|| b"# nothing yet\n".to_vec())),
        fault(
            "a list instead of a map",
            Whole(|| b"- apiVersion: kubezt.dev/v1alpha1\n- kind: Cluster\n".to_vec()),
        ),
        fault("a text instead of a map", Whole(|| b"cluster\n".to_vec())),
        fault("several documents", Add("---\nkind: Cluster\n")),
        fault("a tab for indentation", Add("  waivers:\n\t- {requirement: ppsm}\n")),
        fault("a bracket that is never closed", Swap(&[("[192.168.7.10]", "[192.168.7.10")])),
        fault("a quote that is never closed", Swap(&[("name: cp1", "name: \"cp1")])),
        fault("not UTF-8", Whole(|| b"apiVersion: kubezt.dev/v1alpha1\nkind: Cl\xfcster\n".to_vec())),
        fault(
            "UTF-16",
            Whole(|| "apiVersion: kubezt.dev/v1alpha1\n".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ),
        fault("a NUL", Swap(&[("name: demo", "name: de\0mo")])),
        fault("a key twice", Swap(&[("  profile: stig", "  profile: stig\n  profile: cis")])),
        fault("a key twice in a flow map", Swap(&[("role: worker", "role: worker, role: control-plane")])),
        fault("aliases that expand without end", Whole(laughs)),
        fault("an alias of nothing", Swap(&[("name: demo", "name: *demo")])),
        fault("an alias inside of what it names", Add("  settings: &s {a: *s}\n")),
        fault(
            "merge keys that bring keys nobody knows",
            Add("  cni2: &c {nmae: cilium}\n  cni3:\n    <<: *c\n"),
        ),
        fault("lists in lists without end", Whole(|| [b"spec: ".to_vec(), b"[".repeat(200_000)].concat())),
        fault("maps in maps without end", Whole(|| b"{a: ".repeat(200_000))),
        fault("lists in lists in block style", Whole(|| b"- ".repeat(200_000))),
        fault("a scalar of a megabyte", Whole(|| [b"apiVersion: ".to_vec(), b"x".repeat(1 << 20)].concat())),
        fault("a key of a megabyte", Whole(|| [b"x".repeat(1 << 20), b": 1\n".to_vec()].concat())),
        fault(
            "a hundred thousand keys",
            Whole(|| (0..100_000).flat_map(|key| format!("k{key}: 1\n").into_bytes()).collect()),
        ),
        fault(
            "a million items",
            Whole(|| [b"spec: {nodes: [".to_vec(), b"1,".repeat(900_000), b"]}\n".to_vec()].concat()),
        ),
    ]
}

/// Nine levels of nine aliases each.
fn laughs() -> Vec<u8> {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (one, other) in "abcdefgh".chars().zip("bcdefghi".chars()) {
        let aliases = vec![format!("*{one}"); 9].join(", ");
        text.push_str(&format!("{other}: &{other} [{aliases}]\n"));
    }
    text.into_bytes()
}

/// Keys nobody knows and values of other types, at every level.
pub fn keys() -> Vec<Fault> {
    vec![
        fault(
            "unknown keys at every level",
            Swap(&[
                ("kind: Cluster", "kind: Cluster\nkinds: Cluster"),
                ("{name: demo}", "{name: demo, nmae: demo}"),
                ("  profile: stig", "  profile: stig\n  profil: stig"),
                ("port: 6443", "port: 6443, prot: 6443"),
                ("nodeMask: 24", "nodeMask: 24, podCIDR: [10.0.0.0/8]"),
                ("agent: false", "agent: false, identityFile: id"),
                (
                    "role: worker,",
                    "role: worker, adresses: [], taints: [{key: a, effect: NoSchedule, vaule: b}],",
                ),
                ("ssh: {address: 127.0.0.1}", "ssh: {address: 127.0.0.1, adress: 127.0.0.1}"),
                ("{name: cilium}", "{name: cilium, value: {}}"),
                ("source: directory,", "source: directory, direktory: x,"),
            ]),
        ),
        fault(
            "other types at every level",
            Swap(&[
                ("{name: demo}", "{name: [demo]}"),
                ("kubernetesVersion: 1.36.3", "kubernetesVersion: 1.36"),
                ("profile: stig", "profile: {name: stig}"),
                ("port: 6443", "port: \"6443s\", addresses: 10.0.0.1"),
                ("[10.244.0.0/16]", "10.244.0.0/16"),
                ("nodeMask: 24", "nodeMask: 300"),
                ("agent: false", "agent: maybe"),
                ("[id.pub]", "id.pub"),
                ("role: worker, addresses: [192.168.7.11]", "role: [worker], addresses: {ip: 192.168.7.11}"),
                ("cni: {name: cilium}", "cni: cilium"),
                ("artifacts: {source: directory, directory: components}", "artifacts: [directory]"),
                ("passphraseFile: passphrase", "passphraseFile: {path: passphrase}"),
            ]),
        ),
        fault(
            "keys that are missing",
            Whole(|| {
                b"kind: Cluster\nmetadata: {}\nspec:\n  nodes:\n    - {name: cp1}\n    - {role: worker}\n"
                    .to_vec()
            }),
        ),
        fault("another version of the file", Swap(&[("v1alpha1", "v1beta1")])),
        fault("another kind of object", Swap(&[("kind: Cluster", "kind: Deployment")])),
        fault(
            "no nodes at all",
            Whole(|| {
                b"apiVersion: kubezt.dev/v1alpha1\nkind: Cluster\nmetadata: {name: demo}\nspec: {}\n".to_vec()
            }),
        ),
        fault(
            "settings nobody knows, and of other types",
            Add(
                "  settings:\n    apiSever.arguments.profiling: false\n    network: {wireguart: true}\n    kubelet.configuration.podPidsLimit: many\n    podSecurity.enforce+: [a]\n    audit.policy: everthing\n",
            ),
        ),
        fault(
            "waivers of nothing, for nobody, until never",
            Add(
                "  waivers:\n    - {requirement: ppsm, owner: us, expires: 2027-12-31}\n    - {requirement: ppsm, reason: r, owner: us, expires: never}\n    - {requirement: ppsm, reason: r, owner: us, expires: 2027-02-30, nodes: w1}\n",
            ),
        ),
    ]
}

/// Values of the right type that cannot work.
pub fn values() -> Vec<Fault> {
    vec![
        fault("host bits in a network", Swap(&[("10.244.0.0/16", "10.244.1.0/16")])),
        fault("a network without a length", Swap(&[("10.244.0.0/16", "10.244.0.0")])),
        fault("a network with an impossible length", Swap(&[("10.244.0.0/16", "10.244.0.0/33")])),
        fault("a pod network smaller than a node's part", Swap(&[("10.244.0.0/16", "10.244.0.0/25")])),
        fault("a pod network with room for one node", Swap(&[("10.244.0.0/16", "10.244.0.0/24")])),
        fault("a service network of two addresses", Swap(&[("10.96.0.0/16", "10.96.0.0/31")])),
        fault("a service network of the whole internet", Swap(&[("10.96.0.0/16", "0.0.0.0/0")])),
        fault("pods and services overlap", Swap(&[("10.96.0.0/16", "10.244.128.0/20")])),
        fault("nodes inside the pod network", Swap(&[("10.244.0.0/16", "192.168.0.0/16")])),
        fault("nodes inside the service network", Swap(&[("10.96.0.0/16", "192.168.0.0/16")])),
        fault("no pod network", Swap(&[("[10.244.0.0/16]", "[]")])),
        fault(
            "two pod networks of one family",
            Swap(&[("[10.244.0.0/16]", "[10.244.0.0/16, 10.245.0.0/16]")]),
        ),
        fault(
            "pods of both families and services of one",
            Swap(&[("[10.244.0.0/16]", "[10.244.0.0/16, \"fd00:1::/48\"]")]),
        ),
        fault(
            "pods of a family that no node has",
            Swap(&[
                ("[10.244.0.0/16]", "[\"fd00:1::/48\"]"),
                ("[10.96.0.0/16]", "[\"fd00:2::/108\"]"),
                ("nodeMask: 24", "nodeMask: 64"),
            ]),
        ),
        fault("two nodes with one name", Swap(&[("name: w1", "name: cp1")])),
        fault("two nodes with one address", Swap(&[("192.168.7.11", "192.168.7.10")])),
        fault("two addresses of one family", Swap(&[("[192.168.7.11]", "[192.168.7.11, 192.168.7.12]")])),
        fault("a node without an address", Swap(&[("[192.168.7.11]", "[]")])),
        fault("an address with a zone", Swap(&[("[192.168.7.11]", "[\"fe80::1%eth0\"]")])),
        fault("an address with a length", Swap(&[("[192.168.7.11]", "[192.168.7.11/24]")])),
        fault("a name where an address belongs", Swap(&[("[192.168.7.11]", "[w1.example.org]")])),
        fault("an address of one link", Swap(&[("[192.168.7.11]", "[192.168.7.11, \"fe80::1\"]")])),
        fault(
            "an IPv4 address in the form of IPv6",
            Swap(&[("[192.168.7.11]", "[\"::ffff:192.168.7.11\"]")]),
        ),
        fault("an address of the machine itself", Swap(&[("[192.168.7.11]", "[127.0.0.1]")])),
        fault("no control plane", Swap(&[("control-plane", "worker")])),
        fault("two control-plane nodes", Swap(&[("role: worker", "role: control-plane")])),
        fault("a role nobody knows", Swap(&[("role: worker", "role: master")])),
        fault("a node's name in capitals", Swap(&[("name: w1", "name: W1")])),
        fault("a node's name with an underscore", Swap(&[("name: w1", "name: w_1")])),
        fault(
            "a node's name longer than a label",
            Swap(&[("name: w1", "name: w123456789-123456789-123456789-123456789-123456789-123456789.abcd")]),
        ),
        fault(
            "a cluster's name longer than a label",
            Swap(&[(
                "name: demo",
                "name: d123456789-123456789-123456789-123456789-123456789-123456789.abcd",
            )]),
        ),
        fault("an empty name", Swap(&[("name: demo", "name: ''")])),
        fault("an endpoint with a port in its name", Swap(&[("api.demo.example", "api.demo.example:6443")])),
        fault("an endpoint that is a URL", Swap(&[("api.demo.example", "https://api.demo.example")])),
        fault("an endpoint without a port", Swap(&[("port: 6443", "port: 0")])),
        fault("an endpoint beyond all ports", Swap(&[("port: 6443", "port: 70000")])),
        fault("an endpoint on a port of etcd", Swap(&[("port: 6443", "port: 2379")])),
        fault("an endpoint on the balancer's port", Swap(&[("port: 6443", "port: 7443")])),
        fault("an endpoint that is everywhere", Swap(&[("port: 6443", "port: 6443, addresses: [0.0.0.0]")])),
        fault("an SSH user without a name", Swap(&[("user: admin", "user: ''")])),
        fault(
            "SSH on no port, and at no host",
            Swap(&[
                ("agent: false", "agent: false, connectTimeoutSeconds: 0"),
                ("{address: 127.0.0.1}", "{address: '', port: 0, user: a b}"),
            ]),
        ),
        fault(
            "a way that leads nowhere",
            Swap(&[("agent: false", "agent: false, proxyJump: ['bastion:no']")]),
        ),
        fault("Kubernetes 1.99", Swap(&[("1.36.3", "1.99.0")])),
        fault("the latest Kubernetes", Swap(&[("1.36.3", "latest")])),
        fault("a profile nobody knows", Swap(&[("profile: stig", "profile: stigg")])),
        fault("a profile that is no file", Swap(&[("profile: stig", "profile: ./site.yaml")])),
        fault("a network plug-in nobody knows", Swap(&[("name: cilium", "name: celium")])),
        fault("a network plug-in outside of its folder", Swap(&[("name: cilium", "name: ../cilium")])),
        fault("a source that lacks its folder", Swap(&[(", directory: components", "")])),
        fault(
            "labels and taints against their syntax",
            Swap(&[(
                "role: worker,",
                "role: worker, labels: {\"a b\": c, -a: b, a/b/c: d, ok: \"a b\"}, taints: [{key: a, value: b c, effect: NoExecute}, {key: a, effect: NoExecute}, {key: ok, effect: Never}],",
            )]),
        ),
        fault(
            "a waiver of what nobody knows, of a node nobody knows",
            Add(
                "  waivers: [{requirement: pspm, nodes: [w7], reason: '', owner: '', expires: 2027-12-31}]\n",
            ),
        ),
        fault(
            "settings that undo each other",
            Add(
                "  settings: {pki.leafLifetime: 10m, pki.rootYears: 0, etcd.uid: 0, etcd.arguments.data-dir: /tmp}\n",
            ),
        ),
        fault("a domain that is none", Swap(&[("nodeMask: 24", "nodeMask: 24, domain: Cluster_Local")])),
        fault(
            "everything at once",
            Swap(&[
                ("1.36.3", "1.99.0"),
                ("profile: stig", "profile: stigg"),
                ("10.244.0.0/16", "10.244.1.0/16"),
                ("192.168.7.11", "192.168.7.10"),
                ("name: cilium", "name: celium"),
            ]),
        ),
    ]
}

/// Files that are named and cannot be used.
pub fn files() -> Vec<Fault> {
    fn gone(folder: &Path) {
        fs_err::remove_file(folder.join("cluster.yaml")).unwrap();
    }
    fn pipe(path: &Path) {
        let status = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(status.success());
    }
    vec![
        fault("no cluster file", Around(gone)),
        fault(
            "a cluster file that is a folder",
            Around(|folder| {
                gone(folder);
                fs_err::create_dir(folder.join("cluster.yaml")).unwrap();
            }),
        ),
        fault(
            "a cluster file that is a pipe nobody writes to",
            Around(|folder| {
                gone(folder);
                pipe(&folder.join("cluster.yaml"));
            }),
        ),
        fault(
            "a cluster file that leads to itself",
            Around(|folder| {
                gone(folder);
                std::os::unix::fs::symlink("cluster.yaml", folder.join("cluster.yaml")).unwrap();
            }),
        ),
        fault(
            "a cluster file of a gigabyte",
            Around(|folder| {
                std::fs::File::options()
                    .write(true)
                    .open(folder.join("cluster.yaml"))
                    .unwrap()
                    .set_len(1 << 30)
                    .unwrap()
            }),
        ),
        asked("a cluster file without an end", "install -f /dev/zero"),
        fault("no passphrase file", Around(|folder| fs_err::remove_file(folder.join("passphrase")).unwrap())),
        fault(
            "a passphrase file that others may read",
            Around(|folder| set_mode(&folder.join("passphrase"), 0o644)),
        ),
        fault(
            "an empty passphrase file",
            Around(|folder| fs_err::write(folder.join("passphrase"), "\n").unwrap()),
        ),
        fault(
            "a passphrase that is too short",
            Around(|folder| fs_err::write(folder.join("passphrase"), "short\n").unwrap()),
        ),
        fault(
            "a passphrase file that is a pipe",
            Around(|folder| {
                fs_err::remove_file(folder.join("passphrase")).unwrap();
                pipe(&folder.join("passphrase"));
            }),
        ),
        fault(
            "no passphrase file is named, and nobody is there to ask",
            Swap(&[("  passphraseFile: passphrase\n", "")]),
        ),
        fault("no key file", Around(|folder| fs_err::remove_file(folder.join("id.pub")).unwrap())),
        fault(
            "a key file that is a folder",
            Around(|folder| {
                fs_err::remove_file(folder.join("id.pub")).unwrap();
                fs_err::create_dir(folder.join("id.pub")).unwrap();
            }),
        ),
        fault(
            "a key file that is none",
            Around(|folder| {
                fs_err::write(folder.join("id.pub"), "none\n").unwrap();
                set_mode(&folder.join("id.pub"), 0o600);
            }),
        ),
        fault(
            "a key file that others may read",
            Around(|folder| {
                fs_err::write(folder.join("id.pub"), "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
                set_mode(&folder.join("id.pub"), 0o644);
            }),
        ),
        fault(
            "files for passwords that are not there",
            Swap(&[(
                "agent: false",
                "agent: false, passwordFile: password, keyPassphraseFile: ~/key-passphrase",
            )]),
        ),
        fault("an ssh_config that is not there", Swap(&[("config: none", "config: ssh_config")])),
        Fault {
            name: "a profile of the site that is wrong",
            change: Around(|folder| {
                fs_err::write(
                    folder.join("site.yaml"),
                    "name: acme\ntitle: Acme\nextends: stigg\nsetings: {}\n",
                )
                .unwrap()
            }),
            arguments: "install --profile ./site.yaml",
        },
        Fault {
            name: "a profile of the site that extends itself",
            change: Around(|folder| {
                fs_err::write(folder.join("site.yaml"), "name: acme\ntitle: Acme\nextends: ./site.yaml\n")
                    .unwrap()
            }),
            arguments: "install --profile ./site.yaml",
        },
        Fault {
            name: "a plan that is no JSON",
            change: Around(|folder| fs_err::write(folder.join("plan.json"), "plan").unwrap()),
            arguments: "install --plan plan.json",
        },
        Fault {
            name: "a plan that was edited",
            change: Around(|folder| fs_err::write(folder.join("plan.json"), plan("demo")).unwrap()),
            arguments: "install --plan plan.json",
        },
        asked("a plan that is not there", "install --plan plan.json"),
    ]
}

/// A plan with a digest that is not its own.
fn plan(cluster: &str) -> String {
    format!(
        "{{\"apiVersion\":\"kubezt.dev/v1alpha1\",\"kind\":\"Plan\",\"digest\":\"sha256:{}\",\"cluster\":\"{cluster}\",\
         \"hasSecrets\":true,\"selection\":{{}},\"steps\":[]}}",
        "0".repeat(64)
    )
}

/// What is asked for wrongly.
pub fn arguments() -> Vec<Fault> {
    vec![
        asked("no command", ""),
        asked("a command nobody knows", "instal"),
        asked("a flag nobody knows", "install --dry-run"),
        asked("a node nobody knows", "install --nodes w1,w7"),
        asked("a node that cannot be", "install --nodes W_7"),
        asked("steps nobody knows", "install --only kubelt --skip w1/host,w9/host"),
        asked("a plan of a part nobody knows", "plan --only kubelt"),
        asked("a check nobody knows", "install --ignore swpa=fine"),
        asked("a check that is ignored for no reason", "install --ignore swap"),
        asked("a report nobody writes", "install --report yaml=report.yaml --report json"),
        asked("a report where nobody can write", "install --report json=none/report.json --report json=home"),
        asked("a report that is a folder", "verify --report json=."),
        asked("a folder below a file", "render -o passphrase/rendered"),
        asked("a kubeconfig where nobody can write", "kubeconfig --user me -o none/me.conf"),
        asked(
            "a kubeconfig for a group above all rights",
            "kubeconfig --user me --group system:masters -o me.conf",
        ),
        asked("a kubeconfig for a week", "kubeconfig --user me --hours 168 -o me.conf"),
        asked("an output nobody writes", "plan -o yaml"),
        asked("a plan and a part of it", "install --plan plan.json --nodes w1"),
        asked("trust in a node nobody knows", "trust w7"),
        asked("a profile nobody knows", "plan --profile stigg"),
        asked("a profile of the site that is not there", "plan --profile ./none.yaml"),
        asked("a passphrase file that is not there", "install --passphrase-file none"),
        asked("an explanation of what nobody knows", "explain V-1"),
        asked("a comparison with a profile nobody knows", "profile diff stig csi"),
        asked(
            "a new file over an old one",
            "init --name demo --profile stig --node cp1=control-plane@10.0.0.1",
        ),
        asked(
            "a new file of nodes that cannot be",
            "init -f new.yaml --name demo --profile stig --node cp1=control-plan@10.0.0.1 --node w1 --node w2=worker@10.0.0.300",
        ),
        asked(
            "a new file in no folder",
            "init -f none/new.yaml --name demo --profile stig --node cp1=control-plane@10.0.0.1",
        ),
    ]
}
