//! The host firewall: one nftables table of our own, as it is written and as the kernel holds it.
//!
//! The file is written one rule a line, the way `nft list` prints rules, so that what is loaded can be compared with what is
//! wanted statement by statement: whatever was added, taken away or changed shows.

use std::collections::{BTreeMap, BTreeSet};

/// The table, as nft(8) names it.
pub const TABLE: &str = "inet kubezt";

/// File that holds it.
pub const RULES: &str = "/etc/kubezt/nftables.nft";

/// Unit that loads the file when the node starts.
pub const UNIT: &str = "kubezt-firewall.service";

/// File of that unit.
pub const UNIT_FILE: &str = "/etc/systemd/system/kubezt-firewall.service";

/// How many seconds a change of the firewall, or of the kernel's network parameters, waits for its confirmation.
pub const PROVISIONAL_SECONDS: u32 = 60;

/// The table, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Statements about the table itself, such as `flags dormant`, which would switch it off.
    pub statements: Vec<String>,
    /// Sets and chains, by kind and name, such as `chain input`.
    pub blocks: BTreeMap<String, Block>,
}

/// A set or a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// Its statements, in order; of a chain, where it is hooked and then its rules.
    pub statements: Vec<String>,
    /// Elements of a set.
    pub elements: BTreeSet<String>,
}

impl Table {
    /// Reads the table from a file for nft(8), or from what it prints; `None` where it is not in there.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let heading = format!("table {TABLE} {{");
        lines.find(|line| *line == heading)?;
        let mut table = Self::default();
        while let Some(line) = lines.next() {
            if line == "}" {
                break;
            }
            match line.strip_suffix(" {") {
                Some(name) => {
                    table.blocks.insert(name.to_owned(), Block::parse(&mut lines));
                }
                None => table.statements.push(line.to_owned()),
            }
        }
        Some(table)
    }
}

impl Block {
    fn parse<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Self {
        let mut block = Self::default();
        while let Some(line) = lines.next() {
            if line == "}" {
                break;
            }
            let Some(first) = line.strip_prefix("elements = {") else {
                block.statements.push(line.to_owned());
                continue;
            };
            // nft breaks long lists into lines.
            let mut elements = first.to_owned();
            while !elements.ends_with('}') {
                let Some(more) = lines.next() else { break };
                elements.push_str(more);
            }
            let elements = elements.trim_end_matches('}').split(',').map(str::trim);
            block.elements.extend(elements.filter(|element| !element.is_empty()).map(str::to_owned));
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "# why\ntable inet kubezt\ndelete table inet kubezt\ntable inet kubezt {\n  set nodes4 {\n    \
         type ipv4_addr\n    elements = { 10.0.0.13, 10.0.0.11, 10.0.0.12 }\n  }\n  chain input {\n    \
         type filter hook input priority filter; policy accept;\n    # etcd\n    tcp dport 2379 drop\n  }\n}\n";

    /// Debian 12's nft 1.0.6, of the same file.
    const PRINTED: &str = "table inet kubezt {\n\tset nodes4 {\n\t\ttype ipv4_addr\n\t\telements = { 10.0.0.11, 10.0.0.12,\n\
         \t\t\t     10.0.0.13 }\n\t}\n\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\
         \t\ttcp dport 2379 drop\n\t}\n}\n";

    #[test]
    fn what_is_printed_is_what_was_written() {
        let table = Table::parse(WRITTEN).unwrap();
        assert_eq!(Table::parse(PRINTED).unwrap(), table);
        assert_eq!(table.blocks["set nodes4"].elements.len(), 3);
        let chain = &table.blocks["chain input"].statements;
        assert_eq!(chain[1..], ["tcp dport 2379 drop"]);
        assert_eq!(Table::parse("table inet other {\n}\n"), None);
        assert_eq!(Table::parse("table inet kubezt\ndelete table inet kubezt\n"), None);
    }

    #[test]
    fn every_tampering_shows() {
        let table = Table::parse(PRINTED).unwrap();
        for (from, to) in [
            ("\t\ttcp dport 2379 drop\n", ""),
            ("\t\ttcp dport 2379 drop\n", "\t\taccept\n\t\ttcp dport 2379 drop\n"),
            ("2379 drop", "2379 accept"),
            ("10.0.0.12", "10.0.0.99"),
            ("{\n\tset", "{\n\tflags dormant\n\n\tset"),
            ("priority filter", "priority raw"),
        ] {
            let tampered = Table::parse(&PRINTED.replacen(from, to, 1)).unwrap();
            assert_ne!(tampered, table, "{from} to {to}");
        }
    }
}
