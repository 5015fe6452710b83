//! Ansible's side: a playbook that gathers facts, with Ansible as it is installed, and set up as its documentation advises for many hosts.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::super::measure::{self, Measured};
use super::AT_ONCE;
use super::hosts::{self, Hosts};
use crate::command::program;

/// The package that brings it.
pub const PACKAGE: &str = "ansible-core";

/// Where the package has it; another one that comes first in the search path is not what is measured.
const PROGRAM: &str = "/usr/bin/ansible-playbook";

const PLAYBOOK: &str = "- hosts: all\n  gather_facts: true\n";

/// How Ansible is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Its defaults, with connections that stay open among them; only the limit of hosts at a time is the bench's.
    Installed,
    /// Modules go through standard input instead of a file (pipelining), and Python is not searched for.
    Advised,
}

impl Setup {
    const fn name(self) -> &'static str {
        match self {
            Self::Installed => "ansible",
            Self::Advised => "ansible-advised",
        }
    }

    /// What it adds to `[defaults]` and `[ssh_connection]`.
    const fn configuration(self) -> (&'static str, &'static str) {
        match self {
            Self::Installed => ("", ""),
            Self::Advised => ("interpreter_python = /usr/bin/python3\n", "pipelining = True\n"),
        }
    }
}

/// Ansible with its files.
pub struct Ansible {
    folder: PathBuf,
    hosts: usize,
}

impl Ansible {
    /// Writes configuration, inventory and playbook.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn new(folder: &Path, hosts: &Hosts, setup: Setup) -> Result<Self> {
        let folder = folder.join(setup.name());
        fs_err::create_dir_all(&folder)?;
        let (defaults, connection) = setup.configuration();
        let configuration = format!(
            "[defaults]\ninventory = inventory\nforks = {AT_ONCE}\n{defaults}\
             [ssh_connection]\ncontrol_path_dir = {}\n{connection}",
            folder.join("cp").display(),
        );
        fs_err::write(folder.join("ansible.cfg"), configuration)?;
        let mut inventory = String::new();
        for (name, address) in hosts.names().iter().zip(hosts.addresses()) {
            inventory += &format!("{name} ansible_host={address}\n");
        }
        inventory += &format!(
            "[all:vars]\nansible_port={}\nansible_user=root\nansible_ssh_private_key_file=../{}\n\
             ansible_ssh_common_args='-F /dev/null -o UserKnownHostsFile=../{} -o IdentitiesOnly=yes'\n",
            hosts::PORT,
            hosts::USER_KEY,
            hosts::KNOWN_HOSTS
        );
        fs_err::write(folder.join("inventory"), inventory)?;
        fs_err::write(folder.join("facts.yaml"), PLAYBOOK)?;
        Ok(Self { folder, hosts: hosts.names().len() })
    }

    /// Gathers facts of all hosts, or of one.
    ///
    /// # Errors
    /// Ansible fails, or leaves a host out.
    pub fn gather(&self, run: &str, only: Option<&str>) -> Result<Measured> {
        let log = self.folder.join(format!("{run}.log"));
        let mut playbook = program(PROGRAM, ["facts.yaml"]);
        playbook.args(only.map(|host| format!("--limit={host}"))).current_dir(&self.folder);
        playbook.env("ANSIBLE_CONFIG", self.folder.join("ansible.cfg")).env("ANSIBLE_HOME", &self.folder);
        playbook.env("ANSIBLE_LOCAL_TEMP", self.folder.join("tmp")).env("LC_ALL", "C.UTF-8");
        let measured = measure::run(&format!("Ansible's facts ({run})"), &mut playbook, &log)?;
        let said = fs_err::read_to_string(log)?;
        let reached = said.lines().filter(|line| line.starts_with("ok: [")).count();
        let wanted = if only.is_some() { 1 } else { self.hosts };
        ensure!(reached == wanted, "Ansible gathered facts of {reached} hosts instead of {wanted}");
        Ok(measured)
    }
}
