//! The login user may become root.

use super::{Check, Remark, Scene, nothing};

pub(super) const CHECK: Check =
    Check { id: "privilege", title: "The login user may become root", reads: nothing, judge };

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    let refused = scene.seen.unreachable.iter().filter(|one| one.privilege);
    let remedy = "give the user sudo rights without a password (`NOPASSWD: ALL` in a file of /etc/sudoers.d), \
                  or log in as root";
    refused.map(|one| Remark::error(&one.node, one.why.as_str(), remedy)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;
    use super::super::super::seen::Unreachable;

    #[test]
    fn a_user_without_rights_is_told_from_an_unreachable_node() {
        let mut fixture = Fixture::new();
        fixture.assert_none("privilege");
        let node = fixture.name("w1");
        fixture.seen.unreachable.push(Unreachable { node, why: "w1: sudo wants".into(), privilege: true });
        fixture.assert_one("privilege", "error", &["w1"], "sudo wants");
        fixture.assert_none("access");
    }
}
