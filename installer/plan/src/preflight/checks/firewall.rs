//! The program that loads the host firewall.

use kubezt_model::desired::{Desired, DesiredNode};
use kubezt_model::node::{Read, Reading};

use super::{Check, Remark, Scene};

pub(super) const CHECK: Check =
    Check { id: "firewall", title: "The host firewall can be loaded", reads, judge };

fn reads(desired: &Desired, _: &DesiredNode) -> Vec<Read> {
    if desired.cluster.settings.host.firewall { vec![Read::Firewall] } else { Vec::new() }
}

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    scene.each(|place| match place.facts.reading(&Read::Firewall)? {
        Reading::Failed(why) => Some(Remark::error(
            place.name(),
            format!("its firewall cannot be read: {why}"),
            "install the package nftables, and a kernel with nf_tables; or leave the firewall to the site (`host.firewall: false`)",
        )),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn a_node_without_nft_is_told_what_to_install() {
        let mut fixture = Fixture::new();
        fixture.assert_none("firewall");
        fixture.set("w1", Read::Firewall, Reading::Failed("the program `nft` is in none of …".to_owned()));
        let finding = fixture.assert_one("firewall", "error", &["w1"], "`nft`");
        assert!(finding.remedy.contains("nftables"), "{}", finding.remedy);
        fixture.desired.cluster.settings.host.firewall = false;
        fixture.refresh();
        fixture.assert_none("firewall");
    }
}
