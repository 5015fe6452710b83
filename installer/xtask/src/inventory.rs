//! `vagrant/inventory.yaml`: which labs there are, and which nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// The labs by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    labs: BTreeMap<String, Lab>,
}

/// One lab: nodes on a bridge of their own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lab {
    /// The lab's name; node names begin with it.
    #[serde(skip)]
    pub name: String,
    /// Name of the bridge; at most 15 characters, as every Linux interface.
    pub bridge: String,
    /// The nodes' network.
    pub subnet: Subnet,
    /// The host's address in it.
    pub gateway: Ipv4Addr,
    /// The nodes, control planes first.
    pub nodes: Vec<Node>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Container name and host name.
    pub name: String,
    /// `control-plane` or `worker`.
    pub role: String,
    /// The node's only address.
    pub address: Ipv4Addr,
    /// The box it is made of, named as its operating system; `vagrant/box.sh` knows which there are.
    #[serde(rename = "box", default = "usual_box")]
    pub box_name: String,
}

fn usual_box() -> String {
    "debian-12".to_owned()
}

/// An IPv4 network as `address/length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Subnet {
    /// First address.
    pub network: Ipv4Addr,
    /// Prefix length, 1 to 30.
    pub prefix_length: u8,
}

impl Subnet {
    fn contains(self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX << (32 - u32::from(self.prefix_length));
        u32::from(address) & mask == u32::from(self.network)
    }
}

impl TryFrom<String> for Subnet {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        let (network, length) =
            text.split_once('/').with_context(|| format!("`{text}`: no prefix length"))?;
        let subnet = Self {
            network: network.parse().with_context(|| format!("`{text}`"))?,
            prefix_length: length.parse().with_context(|| format!("`{text}`"))?,
        };
        ensure!((1..=30).contains(&subnet.prefix_length), "`{text}`: the prefix length is not in 1 to 30");
        ensure!(subnet.contains(subnet.network), "`{text}`: the address has host bits");
        Ok(subnet)
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.network, self.prefix_length)
    }
}

impl Inventory {
    /// Reads the checkout's inventory.
    ///
    /// # Errors
    /// The file cannot be read, or says something that cannot be.
    pub fn load(checkout: &Path) -> Result<Self> {
        let path = checkout.join("vagrant/inventory.yaml");
        Self::parse(&fs_err::read_to_string(&path)?).with_context(|| path.display().to_string())
    }

    /// Reads an inventory and checks that its labs can be up side by side.
    fn parse(text: &str) -> Result<Self> {
        let mut inventory: Self = serde_yaml::from_str(text)?;
        for (name, lab) in &mut inventory.labs {
            lab.name.clone_from(name);
            lab.check().with_context(|| format!("lab {name}"))?;
        }
        let labs: Vec<_> = inventory.labs.values().collect();
        for (index, lab) in labs.iter().enumerate() {
            for other in &labs[index + 1..] {
                let overlap =
                    lab.subnet.contains(other.subnet.network) || other.subnet.contains(lab.subnet.network);
                ensure!(!overlap, "labs {} and {}: the subnets overlap", lab.name, other.name);
                ensure!(lab.bridge != other.bridge, "labs {} and {}: the same bridge", lab.name, other.name);
            }
        }
        Ok(inventory)
    }

    /// The boxes that the nodes of all labs are made of.
    pub fn boxes(&self) -> BTreeSet<String> {
        self.labs.values().flat_map(Lab::boxes).collect()
    }

    /// One lab.
    ///
    /// # Errors
    /// There is no lab of that name.
    pub fn lab(&self, name: &str) -> Result<&Lab> {
        self.labs.get(name).with_context(|| {
            let known: Vec<_> = self.labs.keys().map(String::as_str).collect();
            format!("no lab `{name}` in vagrant/inventory.yaml; there are {}", known.join(", "))
        })
    }
}

impl Lab {
    /// The boxes its nodes are made of.
    pub fn boxes(&self) -> BTreeSet<String> {
        self.nodes.iter().map(|node| node.box_name.clone()).collect()
    }

    /// What the names of all its containers begin with.
    pub fn prefix(&self) -> String {
        format!("{}-", self.name)
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.nodes.is_empty(), "no nodes");
        ensure!((1..=15).contains(&self.bridge.len()), "bridge `{}`: not 1 to 15 characters", self.bridge);
        ensure!(self.subnet.contains(self.gateway), "gateway {} is not in {}", self.gateway, self.subnet);
        let mut addresses = vec![self.gateway];
        for Node { name, role, address, box_name } in &self.nodes {
            ensure!(
                name.starts_with(&self.prefix()),
                "node `{name}`: the name does not begin with `{}`",
                self.prefix()
            );
            ensure!(
                matches!(role.as_str(), "control-plane" | "worker"),
                "node `{name}`: unknown role `{role}`"
            );
            let is_word =
                |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
            ensure!(box_name.bytes().all(is_word), "node `{name}`: `{box_name}` is not the name of a box");
            ensure!(self.subnet.contains(*address), "node `{name}`: {address} is not in {}", self.subnet);
            if addresses.contains(address) {
                bail!("node `{name}`: {address} is taken");
            }
            addresses.push(*address);
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Two labs of two nodes.
    pub const TWO: &str = "
labs:
  demo:
    bridge: b-demo
    subnet: 10.90.0.0/24
    gateway: 10.90.0.1
    nodes:
      - { name: demo-cp1, role: control-plane, address: 10.90.0.11 }
      - { name: demo-w1, role: worker, address: 10.90.0.12 }
  test:
    bridge: b-test
    subnet: 10.91.0.0/24
    gateway: 10.91.0.1
    nodes:
      - { name: test-cp1, role: control-plane, address: 10.91.0.11 }
      - { name: test-w1, role: worker, address: 10.91.0.12 }
";

    /// The labs of [`TWO`].
    pub fn two() -> Inventory {
        Inventory::parse(TWO).unwrap()
    }

    #[test]
    fn labs_know_their_names() {
        let inventory = two();
        assert_eq!(inventory.lab("test").unwrap().nodes[1].name, "test-w1");
        assert_eq!(inventory.lab("test").unwrap().prefix(), "test-");
        assert_eq!(inventory.lab("test").unwrap().subnet.to_string(), "10.91.0.0/24");
        assert_eq!(inventory.boxes(), BTreeSet::from(["debian-12".to_owned()]));
        assert!(inventory.lab("prod").unwrap_err().to_string().ends_with("there are demo, test"));
    }

    #[test]
    fn the_committed_inventory_is_sound() {
        let inventory = Inventory::load(&crate::places::checkout()).unwrap();
        for (name, nodes) in [("demo", 3), ("test", 3), ("bench", 3), ("bench5", 5), ("ha", 5), ("five", 6)] {
            assert_eq!(inventory.lab(name).unwrap().nodes.len(), nodes, "{name}");
        }
        let mixed = inventory.lab("test").unwrap().boxes();
        assert!(mixed.len() > 1, "the stories run on one system only: {mixed:?}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (from, to, complaint) in [
            ("10.91.0.0/24", "10.91.0.1/24", "host bits"),
            ("10.90.0.0/24", "10.90.0.0/15", "overlap"),
            ("10.91.0.0/24", "10.91.0.0/33", "prefix length"),
            ("10.91.0.0/24", "10.91.0.0", "no prefix length"),
            ("gateway: 10.91.0.1", "gateway: 10.90.0.1", "gateway 10.90.0.1 is not in 10.91.0.0/24"),
            ("address: 10.91.0.12", "address: 10.91.0.11", "is taken"),
            ("address: 10.91.0.12", "address: 10.92.0.12", "is not in"),
            ("name: test-w1", "name: demo-w1", "does not begin with `test-`"),
            ("test-cp1, role: control-plane", "test-cp1, role: master", "unknown role"),
            ("10.91.0.12 }", "10.91.0.12, box: ../x }", "not the name of a box"),
            ("b-test", "a-very-long-bridge", "15 characters"),
            ("b-test", "b-demo", "the same bridge"),
            ("bridge: b-test", "bridge: b-test\n    colour: red", "unknown field"),
        ] {
            let changed = TWO.replace(from, to);
            assert_ne!(changed, TWO, "{from}");
            let error = format!("{:#}", Inventory::parse(&changed).unwrap_err());
            assert!(error.contains(complaint), "{to}: {error}");
        }
    }
}
