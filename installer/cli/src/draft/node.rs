//! One node of a new cluster, as `--node` names it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use kubezt_controls::nearest::nearest;
use kubezt_model::NodeName;
use kubezt_model::cluster::Role;

use super::printable;

/// A node, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftNode {
    /// Host name.
    pub name: NodeName,
    /// What it is.
    pub role: Role,
    /// Addresses inside the cluster, one for each family.
    pub addresses: Vec<IpAddr>,
    /// Where SSH reaches it, when that is not its first address.
    pub ssh: Option<String>,
}

impl FromStr for DraftNode {
    type Err = String;

    /// Reads `NAME=ROLE@ADDRESS[,ADDRESS][,ssh=HOST]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "write NAME=ROLE@ADDRESS, for example w1=worker@10.0.0.2".to_owned();
        let (name, rest) = text.split_once('=').ok_or_else(form)?;
        let (word, places) = rest.split_once('@').ok_or_else(form)?;
        let mut node = Self {
            name: name.parse().map_err(|error: kubezt_model::names::NameError| error.to_string())?,
            role: role(word)?,
            addresses: Vec::new(),
            ssh: None,
        };
        for place in places.split(',') {
            match place.strip_prefix("ssh=") {
                Some(host) => {
                    printable(host).map_err(|error| format!("the host of `ssh=`: {error}"))?;
                    node.ssh = Some(host.to_owned());
                }
                None => node.addresses.push(address(place)?),
            }
        }
        if node.addresses.is_empty() { Err(form()) } else { Ok(node) }
    }
}

impl fmt::Display for DraftNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        write!(formatter, "{}={}@{}", self.name, self.role.as_str(), addresses.join(","))?;
        match &self.ssh {
            Some(host) => write!(formatter, ",ssh={host}"),
            None => Ok(()),
        }
    }
}

/// The role of this word.
pub fn role(word: &str) -> Result<Role, String> {
    let roles = [Role::ControlPlane, Role::Worker];
    roles.into_iter().find(|role| role.as_str() == word).ok_or_else(|| {
        match nearest(word, roles.map(Role::as_str)) {
            Some(near) => format!("there is no role `{word}`; did you mean `{near}`?"),
            None => format!("there is no role `{word}`; use control-plane or worker"),
        }
    })
}

/// An address inside the cluster: never a name, since certificates and etcd's members hold it.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "`{text}` is not an IP address; where SSH goes by another name, add `,ssh={text}` to an address"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_as_they_are_written() {
        for text in [
            "cp1=control-plane@10.0.0.1",
            "w1=worker@10.0.0.2,fd00::2",
            "w2=worker@10.0.0.3,ssh=w2.example.org",
            "w3.example.org=worker@fd00::3,10.0.0.4,ssh=jump alias",
        ] {
            assert_eq!(text.parse::<DraftNode>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (text, part) in [
            ("cp1", "NAME=ROLE@ADDRESS"),
            ("cp1=worker", "NAME=ROLE@ADDRESS"),
            ("CP1=worker@10.0.0.1", "RFC 1123"),
            ("cp1=control-plan@10.0.0.1", "did you mean `control-plane`?"),
            ("cp1=worker@cp1.example.org", ",ssh=cp1.example.org"),
            ("cp1=worker@ssh=host", "NAME=ROLE@ADDRESS"),
            ("cp1=worker@10.0.0.1,ssh=", "it is empty"),
        ] {
            let error = text.parse::<DraftNode>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
