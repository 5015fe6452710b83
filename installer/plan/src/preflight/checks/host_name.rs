//! Host names: a node registers under its own, and no two share one.

use super::{Check, Remark, Scene, host, list};

pub(super) const CHECK: Check =
    Check { id: "host-name", title: "Every node's host name is its own", reads: host, judge };

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    scene.each(|place| {
        let name = &place.host()?.hostname;
        if name == place.name().as_str() {
            return None;
        }
        let same = scene.places.iter().filter(|other| other.name() != place.name());
        let same = list(
            same.filter(|other| other.host().is_some_and(|host| host.hostname == *name))
                .map(|other| other.name()),
        );
        let shared = if same.is_empty() { String::new() } else { format!(", as is that of {same}") };
        let what = format!("its host name is `{name}`{shared}, and kubelet would register it under that");
        let remedy =
            format!("`hostnamectl set-hostname {}`, or give it that name in the cluster file", place.name());
        Some(Remark::error(place.name(), what, remedy))
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;

    #[test]
    fn another_name_is_refused_and_a_shared_one_names_both() {
        let mut fixture = Fixture::new();
        fixture.assert_none("host-name");
        fixture.host("w1").hostname = "localhost".to_owned();
        fixture.assert_one("host-name", "error", &["w1"], "`localhost`");
        fixture.host("w1").hostname = "w2".to_owned();
        fixture.assert_one("host-name", "error", &["w1"], "`w2`, as is that of w2");
    }
}
