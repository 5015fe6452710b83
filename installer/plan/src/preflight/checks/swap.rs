//! Swap, with which kubelet does not start unless it is told to.

use super::{Check, Remark, Scene, host, kubelet_switch, size_text};

pub(super) const CHECK: Check =
    Check { id: "swap", title: "Swap is off, or kubelet takes it", reads: host, judge };

fn judge(scene: &Scene<'_>) -> Vec<Remark> {
    scene.each(|place| {
        let swap = place.host().map(|host| host.swap).filter(|swap| *swap > 0)?;
        let fails = kubelet_switch(place, scene, "failSwapOn", true);
        let what = format!("{} of swap are in use by the kernel", size_text(swap));
        let off = "switch it off (`swapoff -a`) and take it out of /etc/fstab or its unit";
        Some(match fails {
            true => Remark::error(
                place.name(),
                format!("{what}, with which kubelet does not start"),
                format!("{off}, or set `kubelet.configuration.failSwapOn: false`"),
            ),
            false => {
                Remark::warning(place.name(), format!("{what}: memory of Secrets may reach the disk"), off)
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;

    #[test]
    fn swap_is_refused_unless_kubelet_takes_it() {
        let mut fixture = Fixture::new();
        fixture.assert_none("swap");
        fixture.host("w2").swap = 2 << 30;
        fixture.assert_one("swap", "error", &["w2"], "2.0 GiB of swap");
        fixture.desired.cluster.settings.kubelet.configuration.insert("failSwapOn".into(), false.into());
        fixture.assert_one("swap", "warning", &["w2"], "Secrets");
    }
}
