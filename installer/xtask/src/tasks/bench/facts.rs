//! What 200 hosts are like: `kubezt plan` next to Ansible's `setup` module, as Ansible is installed and as is advised for many hosts, in
//! turn and on the same SSH servers.
//!
//! The servers are OpenSSH's, one for each host, on loopback addresses of this machine (see [`hosts`]), so what hosts do counts on both
//! sides. kubezt does more: it also reads its cluster file, renders what 200 nodes are to have, and plans what each lacks. Both are
//! connected to as many hosts at a time, log in with the same key and check the same host key. Neither meets its first time: kubezt's
//! program is on the hosts already, as it is in every run after the first, and Ansible has gathered once as well.

mod ansible;
mod hosts;

use std::path::Path;

use anyhow::{Result, ensure};
use serde::Serialize;

use self::ansible::{Ansible, Setup};
use self::hosts::Hosts;
use super::measure::{self, Measured};
use crate::lab::packages;
use crate::{command, report};

/// Hosts, of which three are to be the control plane.
const HOSTS: u8 = 200;

/// Hosts that either side is connected to at a time: what a cluster file says that says nothing (`concurrency.connections`).
const AT_ONCE: usize = 32;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// How many times as long Ansible takes as it is installed.
    facts_200_vs_ansible: f64,
    /// How many times as long it takes when it is set up as its documentation advises for many hosts.
    facts_200_vs_advised_ansible: f64,
    /// `kubezt plan` for 200 bare nodes: the median of the runs.
    facts_200_seconds: f64,
    /// A playbook that gathers facts and does nothing else.
    facts_200_ansible_seconds: f64,
    /// The same, set up as advised.
    facts_200_advised_ansible_seconds: f64,
    /// Largest resident memory of kubezt, in MiB.
    facts_200_peak_mb: f64,
}

/// Runs both, with their files and logs in a folder. `None` where this machine cannot have the hosts or has no Ansible, which is said.
///
/// # Errors
/// A run fails or does not reach every host.
pub fn measure(binary: &Path, folder: &Path) -> Result<Option<Facts>> {
    fs_err::create_dir_all(folder)?;
    let prepared = packages::install(&[ansible::PACKAGE, "openssh-client"])
        .and_then(|()| packages::unpack("openssh-server"))
        .and_then(|server| report::timed("200 SSH servers", || Hosts::start(folder, &server, HOSTS)));
    let hosts = match prepared {
        Ok(hosts) => hosts,
        Err(why) => {
            report::line(&format!("facts of 200 hosts are left out: {why:#}"));
            return Ok(None);
        }
    };
    fs_err::write(folder.join("cluster.yaml"), cluster(&hosts))?;
    let installed = Ansible::new(folder, &hosts, Setup::Installed)?;
    let advised = Ansible::new(folder, &hosts, Setup::Advised)?;
    let plan = |run: &str| -> Result<Measured> {
        let log = folder.join(format!("{run}.log"));
        let mut plan = command::program(binary, ["plan", "--summary"]);
        let measured = measure::run(&format!("kubezt plan ({run})"), plan.current_dir(folder), &log)?;
        is_whole(&fs_err::read_to_string(log)?, &hosts)?;
        Ok(measured)
    };

    plan("first")?;
    for ansible in [&installed, &advised] {
        ansible.gather("first", Some(&hosts.names()[0]))?;
    }
    let idle = || report::timed("the machine is idle again", measure::settle);
    let mut ours: Vec<Measured> = Vec::new();
    let mut before = |run: &str, ansible: &Ansible| {
        idle()?;
        ours.push(plan(run)?);
        ansible.gather("all", None)
    };
    let installed = before("kubezt-0", &installed)?;
    let advised = before("kubezt-1", &advised)?;
    idle()?;
    ours.push(plan("kubezt-2")?);
    let median = |figure: fn(&Measured) -> f64| measure::median(ours.iter().map(figure));
    let kubezt = median(|run| run.seconds);
    report::line(&format!(
        "  without what hosts do, kubezt takes {:.1} s of a processor, Ansible {:.1} and {:.1} s",
        median(|run| run.processor_seconds),
        installed.processor_seconds,
        advised.processor_seconds
    ));
    let peak = ours.iter().map(|run| run.peak_kib).max().unwrap_or_default();
    Ok(Some(Facts {
        facts_200_vs_ansible: super::rounded(installed.seconds / kubezt),
        facts_200_vs_advised_ansible: super::rounded(advised.seconds / kubezt),
        facts_200_seconds: super::rounded(kubezt),
        facts_200_ansible_seconds: super::rounded(installed.seconds),
        facts_200_advised_ansible_seconds: super::rounded(advised.seconds),
        facts_200_peak_mb: super::rounded(peak as f64 / 1024.0),
    }))
}

/// A cluster file with the hosts as its nodes. Addresses of nodes are made up, since no node may have one on loopback; nobody goes there.
fn cluster(hosts: &Hosts) -> String {
    let mut text = format!(
        "apiVersion: kubezt.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: hosts}}\nspec:\n  \
         profile: stig\n  artifacts: {{source: source}}\n  concurrency: {{connections: {AT_ONCE}}}\n  \
         ssh: {{user: root, port: {}, identityFiles: [{}], knownHosts: [{}], agent: false, config: none}}\n  nodes:\n",
        hosts::PORT,
        hosts::USER_KEY,
        hosts::KNOWN_HOSTS,
    );
    for (index, (name, address)) in hosts.names().iter().zip(hosts.addresses()).enumerate() {
        let role = if index < 3 { "control-plane" } else { "worker" };
        let [_, _, third, fourth] = address.octets();
        text += &format!(
            "    - {{name: {name}, role: {role}, addresses: [10.77.{third}.{fourth}], ssh: {{address: {address}}}}}\n"
        );
    }
    text
}

/// A plan names every host, each of which lacks everything.
fn is_whole(plan: &str, hosts: &Hosts) -> Result<()> {
    let planned = |name: &String| plan.lines().any(|line| line == name);
    let left_out: Vec<_> = hosts.names().iter().filter(|name| !planned(name)).cloned().collect();
    ensure!(left_out.is_empty(), "`kubezt plan` has nothing for {}", left_out.join(", "));
    Ok(())
}
