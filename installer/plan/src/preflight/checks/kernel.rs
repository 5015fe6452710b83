//! Version and features of the kernel.

use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::{Read, Reading};
use kubezt_model::survey::{Availability, KernelReading};

use super::operating_system::{install, of};
use super::{Check, Place, Remark, Scene, list};

/// The oldest kernel Cilium runs on (https://docs.cilium.io/en/stable/operations/system_requirements/#linux-kernel).
const OLDEST: (u32, u32) = (5, 10);

/// Build options without which kubelet, the runtime or Cilium's data path do not work: the required ones of Kubernetes'
/// `system-validators` for Linux, and of Cilium's system requirements.
const OPTIONS: [&str; 22] = [
    "BPF",
    "BPF_JIT",
    "BPF_SYSCALL",
    "CGROUPS",
    "CGROUP_BPF",
    "CGROUP_PIDS",
    "CGROUP_SCHED",
    "CPUSETS",
    "INOTIFY_USER",
    "IPC_NS",
    "MEMCG",
    "NAMESPACES",
    "NET_CLS_ACT",
    "NET_CLS_BPF",
    "NET_NS",
    "NET_SCH_INGRESS",
    "OVERLAY_FS",
    "PID_NS",
    "SECCOMP_FILTER",
    "UTS_NS",
    "VETH",
    "VXLAN",
];

const WIREGUARD: &str = "wireguard";

pub(super) const CHECK: Check =
    Check { id: "kernel", title: "The kernel is new enough and has what is needed", reads, judge };

fn reads(desired: &Desired, node: &DesiredNode) -> Vec<Read> {
    vec![Read::Host, read(desired, node)]
}

/// How the kernel of this node is asked for.
pub(super) fn read(desired: &Desired, node: &DesiredNode) -> Read {
    let mut modules = node.modules.clone();
    let mut options: Vec<String> = OPTIONS.map(str::to_owned).to_vec();
    if desired.cluster.settings.network.wireguard {
        modules.push(WIREGUARD.to_owned());
        options.push(WIREGUARD.to_uppercase());
    }
    modules.sort();
    modules.dedup();
    Read::Kernel { modules, options }
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let mut remarks = scene.each(|place| {
        let kernel = &place.host()?.kernel;
        let old = version(kernel).is_none_or(|version| version < OLDEST);
        old.then(|| {
            let (major, minor) = OLDEST;
            let what = format!("its kernel is {kernel}, and the network plug-in needs {major}.{minor}");
            let own = of(place).map(|system| {
                let (major, minor) = system.kernel;
                format!(": {} comes with {major}.{minor}", system.title)
            });
            let remedy = format!("install a newer kernel and boot it{}", own.unwrap_or_default());
            Remark::error(place.name(), what, remedy)
        })
    });
    remarks.extend(scene.each(|place| features(scene, place)));
    remarks
}

/// Major and minor version of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn features(scene: &Scene<'_>, place: &Place<'_>) -> Option<Remark> {
    let Reading::Kernel(kernel) = place.facts.reading(&read(scene.desired, place.desired))? else {
        return None;
    };
    let absent = absent(kernel);
    (!absent.is_empty()).then(|| {
        let hint = match absent.iter().any(|name| name == WIREGUARD) {
            true => ", or leave pod traffic between nodes unencrypted (`network.wireguard: false`)",
            false => "",
        };
        Remark::error(
            place.name(),
            format!("its kernel has no {}", list(&absent)),
            format!(
                "boot a kernel that has it, or install the package with the kernel's modules{}{hint}",
                install(place, |system| system.modules_package)
            ),
        )
    })
}

/// What the kernel says it does not have. A feature that is an option and a module is there where either says so.
fn absent(kernel: &KernelReading) -> Vec<String> {
    let option = |module: &str| kernel.options.get(&module.to_uppercase());
    let modules = kernel.modules.iter().filter(|(name, found)| {
        **found == Availability::Absent && option(name) != Some(&Availability::Present)
    });
    let options = kernel.options.iter().filter(|(name, found)| {
        let module = kernel.modules.get(&name.to_lowercase());
        let told = module.is_some_and(|module| *module != Availability::Unknown);
        **found == Availability::Absent && !told
    });
    let options = options.map(|(name, _)| match name.to_lowercase() {
        name if kernel.modules.contains_key(&name) => name,
        _ => format!("CONFIG_{name}"),
    });
    modules.map(|(name, _)| name.clone()).chain(options).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn an_old_kernel_is_refused_and_versions_are_numbers() {
        let mut fixture = Fixture::new();
        fixture.assert_none("kernel");
        fixture.host("w1").kernel = "5.9.16-generic".to_owned();
        let finding = fixture.assert_one("kernel", "error", &["w1"], "5.9.16-generic");
        assert!(finding.remedy.ends_with(": Debian 12 comes with 6.1"), "{}", finding.remedy);
        fixture.host("w1").kernel = "5.10.0".to_owned();
        fixture.assert_none("kernel");
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version(""), None);
    }

    #[test]
    fn what_the_kernel_lacks_is_named_and_what_it_does_not_tell_is_not() {
        let mut fixture = Fixture::new();
        fixture.kernel("w1").options.insert("VXLAN".to_owned(), Availability::Absent);
        fixture.assert_one("kernel", "error", &["w1"], "CONFIG_VXLAN");
        fixture.kernel("w1").options.insert("VXLAN".to_owned(), Availability::Unknown);
        fixture.assert_none("kernel");
        fixture.kernel("w1").modules.insert("overlay".to_owned(), Availability::Absent);
        let finding = fixture.assert_one("kernel", "error", &["w1"], "overlay");
        assert!(finding.remedy.ends_with(": apt-get install linux-image-amd64"), "{}", finding.remedy);
        fixture.host("w1").os_id = "rhel".to_owned();
        fixture.host("w1").os_version = "9.6".to_owned();
        let finding = fixture.assert_one("kernel", "error", &["w1"], "overlay");
        assert!(finding.remedy.ends_with(": dnf install kernel-modules-extra"), "{}", finding.remedy);
    }

    #[test]
    fn encryption_between_nodes_needs_wireguard_as_an_option_or_a_module() {
        let mut fixture = Fixture::new();
        fixture.desired.cluster.settings.network.wireguard = true;
        fixture.refresh();
        fixture.assert_none("kernel");
        fixture.kernel("w1").modules.insert(WIREGUARD.to_owned(), Availability::Unknown);
        fixture.kernel("w1").options.insert("WIREGUARD".to_owned(), Availability::Absent);
        let finding = fixture.assert_one("kernel", "error", &["w1"], "no wireguard");
        assert!(finding.remedy.contains("network.wireguard: false"), "{}", finding.remedy);
        fixture.kernel("w1").modules.insert(WIREGUARD.to_owned(), Availability::Present);
        fixture.assert_none("kernel");
    }
}
