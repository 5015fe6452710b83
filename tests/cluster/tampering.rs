//! Every kind of check and every probe notices what it is for, and install mends what kubezt owns.

use anyhow::{Result, ensure};
use fs_err as fs;
use kubezt_tests::tamper::{self, How, Place, Tampering};

use crate::World;
use kubezt_tests::stories::KUBECONFIG;

/// A suite without forward-secret authenticated encryption, which servers must not take.
macro_rules! weak_suite {
    () => {
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
    };
}

/// Broken together, since none hides another.
const FIRST: &[Tampering] = &[
    Tampering {
        kind: "argument, and the probe anonymous-request",
        place: Place::ControlPlane,
        how: How::Manifest("kube-apiserver", "s/--anonymous-auth=false/--anonymous-auth=true/"),
        red: &["api-anonymous@", "api-anonymous/probe"],
    },
    Tampering {
        kind: "argument, and the probe weak-tls with TLS 1.1",
        place: Place::ControlPlane,
        how: How::Manifest(
            "kube-apiserver",
            "s/--tls-min-version=VersionTLS12/--tls-min-version=VersionTLS10/",
        ),
        red: &["api-tls-min@", "api-tls-min/probe@"],
    },
    Tampering {
        kind: "argument that is a list, and the probe weak-tls with a weak suite",
        place: Place::ControlPlane,
        how: How::Manifest("kube-apiserver", concat!("s/--tls-cipher-suites=/&", weak_suite!(), ",/")),
        red: &["api-ciphers@", "api-ciphers/probe@"],
    },
    Tampering {
        kind: "content, and the probe audit-record",
        place: Place::ControlPlane,
        how: How::Script("sed -i 's/level: RequestResponse/level: None/' /etc/kubernetes/audit/policy.yaml"),
        red: &["api-audit-content@", "api-audit-content/probe@"],
    },
    Tampering {
        kind: "content, and the probe privileged-pod",
        place: Place::ControlPlane,
        how: How::Script(
            "sed -i 's/enforce: .*/enforce: privileged/' /etc/kubernetes/admission/podsecurity.yaml",
        ),
        red: &["api-psa@", "api-psa/probe", "pod-security-restricted@"],
    },
    Tampering {
        kind: "content, and the probe without-quota for pods",
        place: Place::ControlPlane,
        how: How::Script("sed -i 's|count/pods|count/nothing|' /etc/kubernetes/admission/resourcequota.yaml"),
        red: &["ns-quota-first@", "ns-quota-first/probe"],
    },
    Tampering {
        kind: "content, and the probe without-quota for ports of nodes",
        place: Place::ControlPlane,
        how: How::Script("sed -i '/services.nodeports/d' /etc/kubernetes/admission/resourcequota.yaml"),
        red: &["ns-exposure-quota@", "ns-exposure-quota/probe"],
    },
    Tampering {
        kind: "content, and the probe without-quota for priority classes",
        place: Place::ControlPlane,
        how: How::Script(
            "sed -i 's/system-node-critical/a-class/' /etc/kubernetes/admission/resourcequota.yaml",
        ),
        red: &["ns-system-priority@", "ns-system-priority/probe"],
    },
    Tampering {
        kind: "content of a secret file, and the probe secret-ciphertext",
        place: Place::ControlPlane,
        how: How::Script(
            "sed -i 's/^  providers:$/&\\n  - identity: {}/' /etc/kubernetes/encryption/config.yaml",
        ),
        red: &["api-encryption-provider@", "api-encryption/probe"],
    },
    Tampering {
        kind: "argument of etcd, and the probe weak-tls without a client certificate",
        place: Place::ControlPlane,
        how: How::Manifest(
            "etcd",
            "s/--client-cert-auth=true/--client-cert-auth=false/; /\"--trusted-ca-file=/d",
        ),
        red: &["etcd-client-auth@", "etcd-client-auth/probe@", "etcd-own-ca@"],
    },
    Tampering {
        kind: "argument that is left out",
        place: Place::ControlPlane,
        // The probe stays green: etcd itself takes nothing below TLS 1.2, whatever it is told.
        how: How::Manifest(
            "etcd",
            concat!("/\"--tls-min-version=/d; s/--cipher-suites=/&", weak_suite!(), ",/"),
        ),
        red: &["etcd-tls-floor@"],
    },
    Tampering {
        kind: "process",
        place: Place::ControlPlane,
        how: How::Manifest("kube-scheduler", "s/drop: \\[ALL\\]/add: [NET_ADMIN]/"),
        red: &["control-plane-privileges@"],
    },
    Tampering {
        kind: "file mode of a key",
        place: Place::ControlPlane,
        how: How::Script("chmod 640 /etc/kubernetes/pki/sa.key"),
        red: &["pki-key-mode@"],
    },
    Tampering {
        kind: "kubelet",
        place: Place::Worker,
        how: How::Script("sed -i '/anonymous:/{n;s/false/true/}' /var/lib/kubelet/config.yaml"),
        red: &["kubelet-anonymous@"],
    },
    Tampering {
        kind: "kubelet, and the probe weak-tls with TLS 1.1 at kubelet",
        place: Place::Worker,
        how: How::Script(concat!(
            "sed -i -e 's/^tlsMinVersion:.*/tlsMinVersion: VersionTLS10/' -e 's/^tlsCipherSuites:$/&\\n- ",
            weak_suite!(),
            "/' /var/lib/kubelet/config.yaml"
        )),
        red: &["kubelet-tls-floor@", "kubelet-tls-floor/probe@", "kubelet-ciphers@"],
    },
    Tampering {
        kind: "feature-gate, on the command line",
        place: Place::Worker,
        how: How::Script(
            "sed -i 's/--kubeconfig=/--feature-gates=RotateKubeletServerCertificate=true &/' \
               /etc/systemd/system/kubelet.service.d/10-kubeadm.conf; \
             systemctl daemon-reload; systemctl restart kubelet.service; \
             for try in $(seq 60); do \
               ss -Hlnt sport = :10250 | grep -q . && exit 0; sleep 1; \
             done; echo kubelet does not listen after 60 s >&2; exit 1",
        ),
        red: &["api-dynaudit@", "kubelet-cli@"],
    },
    Tampering {
        kind: "file mode",
        place: Place::Worker,
        how: How::Script("chmod 644 /etc/kubernetes/kubelet.conf"),
        red: &["file-kubelet-conf-mode@"],
    },
    Tampering {
        kind: "file owner",
        place: Place::Worker,
        how: How::Script("chown nobody /etc/kubernetes/pki/ca.crt"),
        red: &["file-kubelet-ca-owner@"],
    },
    Tampering { kind: "unit", place: Place::Workers, how: How::Waived, red: &["node-sshd@"] },
    Tampering {
        kind: "api",
        place: Place::ControlPlane,
        how: How::Api(
            "patch validatingadmissionpolicybinding kubezt-no-secret-environment --type=merge \
               --patch='{\"spec\": {\"validationActions\": [\"Audit\"]}}'",
            None,
        ),
        red: &["env-secrets"],
    },
    Tampering {
        kind: "api, and the probe weak-namespace",
        place: Place::ControlPlane,
        how: How::Api(
            "patch validatingadmissionpolicybinding kubezt-pod-security-labels --type=merge \
               --patch='{\"spec\": {\"validationActions\": [\"Audit\"]}}'",
            None,
        ),
        red: &["ns-security-labels", "ns-security-labels/probe"],
    },
    Tampering {
        // Allows what does not exist. Without the policy kubelets would not reach pods any more.
        kind: "api, of a custom resource",
        place: Place::ControlPlane,
        how: How::Api(
            "patch ciliumclusterwidenetworkpolicy kubezt-default-deny --type=merge \
               --patch='{\"spec\": {\"ingress\": [{\"fromEndpoints\": [{\"matchLabels\": {\"nobody\": \"here\"}}]}]}}'",
            None,
        ),
        red: &["ns-network-defaults"],
    },
    Tampering {
        kind: "assertion",
        place: Place::ControlPlane,
        how: How::Api(
            "create clusterrolebinding story-admin --clusterrole=cluster-admin --user=somebody",
            Some("delete --ignore-not-found clusterrolebinding story-admin"),
        ),
        red: &["rbac-cluster-admin", "secret-access"],
    },
    Tampering {
        // One way alone.
        kind: "the probe default-deny",
        place: Place::ControlPlane,
        how: How::Api(
            "apply -f - <<POLICY\n\
             {\"apiVersion\": \"cilium.io/v2\", \"kind\": \"CiliumClusterwideNetworkPolicy\",\n\
              \"metadata\": {\"name\": \"story-open\"},\n\
              \"spec\": {\"endpointSelector\": {}, \"ingress\": [{\"fromEntities\": [\"all\"]}]}}\n\
             POLICY\n",
            Some("delete --ignore-not-found ciliumclusterwidenetworkpolicy story-open"),
        ),
        red: &["net-policies/probe"],
    },
];

/// Broken after what is not kubezt's own was taken back.
const SECOND: &[Tampering] = &[
    Tampering {
        kind: "the probe dns",
        place: Place::ControlPlane,
        how: How::Api("delete ciliumclusterwidenetworkpolicy kubezt-dns", None),
        // The requirement of the policies is red since the first batch.
        red: &["net-dns/probe"],
    },
    Tampering {
        kind: "api, of what the system needs itself",
        place: Place::ControlPlane,
        how: How::Api("--namespace=kube-system delete resourcequota kubezt-system", None),
        red: &["ns-quota-first"],
    },
    Tampering {
        // Nodes of the lab may share a kernel: everywhere is the same on such ones and on others.
        kind: "sysctl",
        place: Place::Everywhere,
        how: How::Script("sysctl -q -w kernel.keys.root_maxkeys=999999"),
        red: &["kubelet-kernel@"],
    },
    Tampering {
        // The scheduler has no capability, so a new one could not read the file: this one comes after its replacement.
        kind: "file owner of a kubeconfig",
        place: Place::ControlPlane,
        how: How::Script("chown nobody /etc/kubernetes/scheduler.conf"),
        red: &["file-kubeconfigs-owner@"],
    },
    Tampering {
        kind: "version",
        place: Place::ControlPlane,
        how: How::Script(
            "cat >/usr/local/bin/.kubectl <<PROGRAM\n\
             #!/bin/sh\n\
             echo '{\"clientVersion\": {\"gitVersion\": \"v1.12.8\"}}'\n\
             PROGRAM\n\
             chmod 755 /usr/local/bin/.kubectl; mv /usr/local/bin/.kubectl /usr/local/bin/kubectl",
        ),
        red: &["node-kubectl@"],
    },
];

/// Everything is broken in two batches; verify names exactly that; install mends it; nothing is red any more.
pub fn red_and_green(world: &World) -> Result<()> {
    world.kubeconfig()?;
    let without_waivers = without_waivers(world)?;
    let strict = world.kubezt.on(without_waivers.clone());

    // A run that failed half-way left them.
    tamper::take_back(FIRST, &world.lab, KUBECONFIG)?;
    tamper::apply(FIRST, &world.lab, KUBECONFIG)?;
    expect(world, &strict, &[FIRST])?;

    tamper::take_back(FIRST, &world.lab, KUBECONFIG)?;
    tamper::apply(SECOND, &world.lab, KUBECONFIG)?;
    let owned: Vec<Tampering> =
        FIRST.iter().copied().filter(|tampering| !matches!(tampering.how, How::Api(_, Some(_)))).collect();
    expect(world, &strict, &[&owned, SECOND])?;
    fs::remove_file(&without_waivers)?;

    world.kubezt.succeed("install", &["--no-verify"])?;
    let (red, said) = tamper::red(&world.kubezt, &world.lab)?;
    ensure!(red.is_empty(), "install did not mend {red:?}:\n{said}");
    let run = world.kubezt.run("plan", &["--exit-code"])?;
    ensure!(run.code == 0, "not converged after mending:\n{}", run.stdout);
    Ok(())
}

/// The audit policy is changed, the API server starts again, and the policy is put back: every file is right, and what
/// runs is not. The probe tells, and install mends it.
pub fn read_at_start(world: &World) -> Result<()> {
    let kubezt = &world.kubezt;
    let node = world.lab.control_plane();
    let script = "set -e; cd /etc/kubernetes/audit; cp -p policy.yaml /root/policy.yaml; \
                  sed -i 's/level: RequestResponse/level: None/' policy.yaml";
    world.lab.shell(node, script)?;
    tamper::restart(&world.lab, "kube-apiserver", KUBECONFIG)?;
    world.lab.shell(node, "mv /root/policy.yaml /etc/kubernetes/audit/policy.yaml")?;
    let (red, said) = tamper::red(kubezt, &world.lab)?;
    ensure!(red.iter().eq([&format!("api-audit-content/probe@{}", node.name)]), "{red:?}:\n{said}");
    let plan = kubezt.run("plan", &["--exit-code"])?;
    let why = "pod kube-apiserver  (/etc/kubernetes/audit/policy.yaml changed after it started)";
    ensure!(plan.code == 5 && plan.stdout.contains(why), "{}", plan.stdout);
    kubezt.succeed("install", &["--no-verify"])?;
    let (red, said) = tamper::red(kubezt, &world.lab)?;
    ensure!(red.is_empty(), "install did not mend {red:?}:\n{said}");
    let plan = kubezt.run("plan", &["--exit-code"])?;
    ensure!(plan.code == 0, "not converged after mending:\n{}", plan.stdout);
    Ok(())
}

/// Verifies; everything expected must be red, and nothing else.
fn expect(world: &World, kubezt: &kubezt_tests::Kubezt, tamperings: &[&[Tampering]]) -> Result<()> {
    let expected = tamper::expected(tamperings, &world.lab);
    let (red, said) = tamper::red(kubezt, &world.lab)?;
    let missing: Vec<_> = expected.difference(&red).collect();
    let unexpected: Vec<_> = red.difference(&expected).collect();
    ensure!(
        missing.is_empty() && unexpected.is_empty(),
        "not noticed: {missing:?}\nred without a reason: {unexpected:?}\n{said}"
    );
    Ok(())
}

/// The cluster file without its waivers, beside it, so that the state is the same.
fn without_waivers(world: &World) -> Result<std::path::PathBuf> {
    let text = fs::read_to_string(world.lab.cluster_file())?;
    let (kept, waivers) = text.split_once("  waivers:\n").unwrap_or((&text, ""));
    ensure!(
        waivers.lines().all(|line| line.starts_with("  ")) && waivers.contains("requirement: node-sshd"),
        "the lab's waivers are not the last part of its file, or not the known ones"
    );
    let file = world.lab.path("without-waivers.yaml");
    fs::write(&file, kept)?;
    Ok(file)
}
