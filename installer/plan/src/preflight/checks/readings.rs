//! What could not be looked at is no answer, and is said.

use std::collections::BTreeSet;

use kubezt_model::node::Reading;

use super::{Check, Remark, Scene, list, nothing};

pub(super) const CHECK: Check =
    Check { id: "readings", title: "Everything could be looked at", reads: nothing, judge };

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    scene.each(|place| {
        let failed: BTreeSet<&str> = place
            .facts
            .readings
            .values()
            .filter_map(|reading| match reading {
                Reading::Failed(why) => Some(why.as_str()),
                _ => None,
            })
            .collect();
        (!failed.is_empty()).then(|| {
            let what =
                format!("something could not be looked at, so nothing is said of it: {}", list(&failed));
            Remark::warning(place.name(), what, "mend what the message says, and run this again")
        })
    })
}

#[cfg(test)]
mod tests {
    use kubezt_model::node::Read;

    use super::super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn what_failed_is_said_and_judged_by_nobody() {
        let mut fixture = Fixture::new();
        fixture.assert_none("readings");
        fixture.set("w1", Read::Sockets, Reading::Failed("cannot read /proc/net/tcp".to_owned()));
        fixture.assert_one("readings", "warning", &["w1"], "/proc/net/tcp");
        fixture.assert_none("ports");
    }
}
