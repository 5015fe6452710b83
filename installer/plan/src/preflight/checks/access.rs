//! Nodes are reached.

use super::{Check, Remark, Scene, nothing};

pub(super) const CHECK: Check =
    Check { id: "access", title: "Nodes are reached over SSH", reads: nothing, judge };

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let unreachable = scene.seen.unreachable.iter().filter(|one| !one.privilege);
    let remedy = "see that the node runs and that address, port, user, key and recorded host key are right \
                  (`kubezt trust` records host keys)";
    unreachable.map(|one| Remark::error(&one.node, one.why.as_str(), remedy)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;
    use super::super::super::seen::Unreachable;

    #[test]
    fn a_node_that_is_not_reached_is_named() {
        let mut fixture = Fixture::new();
        fixture.assert_none("access");
        let node = fixture.name("w1");
        fixture.seen.facts.remove(&node);
        fixture.seen.unreachable.push(Unreachable { node, why: "w1: no route".into(), privilege: false });
        fixture.assert_one("access", "error", &["w1"], "no route");
        fixture.assert_none("privilege");
    }
}
