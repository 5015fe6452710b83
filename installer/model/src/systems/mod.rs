//! Operating systems that nodes may run: how one is recognized, and what of it kubezt has to know.
//!
//! Each is one file and its line in [`SYSTEMS`]. What kubezt writes to a node is the same on all of them: paths that every
//! system with systemd reads, programs of kubezt's own, and names of units in all spellings. So a file here says what it takes
//! to recognize the system and to tell its operator, in the system's own words, what to do; the text stays with whoever says it.
//!
//! A requirement is limited to some of them by their names (`applies: {os: [rhel-9]}`).

mod debian_12;
mod debian_13;
mod rhel_9;
mod sles_15;
mod ubuntu_24_04;

use crate::node::HostReading;

/// An operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct System {
    /// Its name in requirements, such as `debian-12`.
    pub name: &'static str,
    /// Its name as people write it.
    pub title: &'static str,
    /// `ID` of os-release(5): the system itself, and those that are built from it and number their releases as it does.
    pub ids: &'static [&'static str],
    /// Words of `ID_LIKE` that say the same of further ones; empty where derivatives number their releases otherwise.
    pub like: &'static [&'static str],
    /// The first `VERSION_ID` it is about, major and minor.
    pub from: (u32, u32),
    /// The first one that it is not about any more.
    pub before: (u32, u32),
    /// The kernel it comes with, major and minor.
    pub kernel: (u32, u32),
    /// The security module it comes with, switched on.
    pub confinement: Confinement,
    /// How packages are installed.
    pub packages: Packages,
    /// The package with modules that the smallest installation leaves out; a shell may expand it.
    pub modules_package: &'static str,
    /// The package with the audit daemon.
    pub audit_package: &'static str,
    /// The list of name servers, where /etc/resolv.conf names a local stub that pods cannot reach.
    pub resolver: Option<&'static str>,
    /// The firewall that runs after an ordinary installation.
    pub firewall: Option<&'static str>,
    /// Whether the stories on real nodes run on it; otherwise only what is decided from its facts was tested.
    pub tried: bool,
}

/// A security module of the kernel that confines containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// Profiles by path.
    AppArmor,
    /// Labels.
    SeLinux,
}

impl Confinement {
    /// Its name as people write it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::AppArmor => "AppArmor",
            Self::SeLinux => "SELinux",
        }
    }
}

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packages {
    /// Debian's and Ubuntu's.
    Apt,
    /// Red Hat's.
    Dnf,
    /// SUSE's.
    Zypper,
}

impl Packages {
    /// The command that installs a package.
    pub fn install(self, package: &str) -> String {
        let command = match self {
            Self::Apt => "apt-get install",
            Self::Dnf => "dnf install",
            Self::Zypper => "zypper install",
        };
        format!("{command} {package}")
    }
}

/// All of them, as tables list them.
pub const SYSTEMS: [System; 5] =
    [debian_12::SYSTEM, debian_13::SYSTEM, ubuntu_24_04::SYSTEM, rhel_9::SYSTEM, sles_15::SYSTEM];

/// The system a host runs; `None` where it is none of these.
pub fn of(host: &HostReading) -> Option<&'static System> {
    let version = version(&host.os_version)?;
    SYSTEMS.iter().find(|system| {
        let itself = system.ids.contains(&host.os_id.as_str());
        let alike = host.os_like.iter().any(|word| system.like.contains(&word.as_str()));
        (itself || alike) && (system.from..system.before).contains(&version)
    })
}

/// The system of this name.
pub fn named(name: &str) -> Option<&'static System> {
    SYSTEMS.iter().find(|system| system.name == name)
}

/// Major and minor number of a `VERSION_ID` such as `12` or `24.04`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().map_or(Some(0), |minor| minor.parse().ok())?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn name(id: &str, like: &[&str], version: &str) -> Option<&'static str> {
        let host = HostReading {
            os_id: id.to_owned(),
            os_like: like.iter().map(|&word| word.to_owned()).collect(),
            os_version: version.to_owned(),
            ..HostReading::default()
        };
        of(&host).map(|system| system.name)
    }

    #[test]
    fn a_system_is_known_by_its_id_and_version() {
        assert_eq!(name("debian", &[], "12"), Some("debian-12"));
        assert_eq!(name("debian", &[], "13"), Some("debian-13"));
        assert_eq!(name("ubuntu", &["debian"], "24.04"), Some("ubuntu-24.04"));
        assert_eq!(name("rhel", &["fedora"], "9.6"), Some("rhel-9"));
        assert_eq!(name("centos", &["rhel", "fedora"], "9"), Some("rhel-9"));
        assert_eq!(name("sles", &["suse"], "15.6"), Some("sles-15"));
        assert_eq!(name("opensuse-leap", &["suse", "opensuse"], "15.6"), Some("sles-15"));
    }

    #[test]
    fn a_rebuild_is_known_by_what_it_is_like() {
        assert_eq!(name("somelinux", &["rhel", "centos", "fedora"], "9.5"), Some("rhel-9"));
        // Numbers of its own: a release 24.04 that is like Ubuntu is not Ubuntu's.
        assert_eq!(name("linuxmint", &["ubuntu", "debian"], "24.04"), None);
        // Read-only systems of the same family are something else.
        assert_eq!(name("sl-micro", &["suse"], "15.6"), None);
    }

    #[test]
    fn other_releases_are_other_systems() {
        for (id, version) in [
            ("debian", "11"),
            ("debian", "14"),
            ("debian", ""),
            ("debian", "testing"),
            ("ubuntu", "22.04"),
            ("ubuntu", "24.10"),
            ("rhel", "8.10"),
            ("rhel", "10.0"),
            ("sles", "15.5"),
            ("sles", "16.0"),
            ("alpine", "3.20.1"),
            ("", "12"),
        ] {
            assert_eq!(name(id, &[], version), None, "{id} {version}");
        }
    }

    #[test]
    fn names_are_unique_and_no_two_systems_claim_the_same_host() {
        let names: BTreeSet<&str> = SYSTEMS.iter().map(|system| system.name).collect();
        assert_eq!(names.len(), SYSTEMS.len());
        for (index, one) in SYSTEMS.iter().enumerate() {
            assert_eq!(named(one.name), Some(one));
            assert!(one.from < one.before, "{}", one.name);
            for other in &SYSTEMS[index + 1..] {
                let id = one.ids.iter().any(|id| other.ids.contains(id));
                assert!(
                    !id || one.before <= other.from || other.before <= one.from,
                    "{} {}",
                    one.name,
                    other.name
                );
            }
        }
        assert_eq!(named("debian"), None);
    }
}
