//! What kubelet does on a node by its configuration, as preflight and doctor foretell it.

use kubezt_model::cluster::Role;
use kubezt_model::desired::{Cluster, Node};
use serde_json::{Map, Value};

/// kubelet's own hard thresholds of eviction, where none are set (kubelet: `eviction/defaults_linux.go`).
const THRESHOLDS: [(&str, &str); 3] =
    [("nodefs.available", "10%"), ("nodefs.inodesFree", "5%"), ("imagefs.available", "15%")];

/// Fields of kubelet's configuration on this node, as settings have them.
pub(crate) fn configuration(cluster: &Cluster, node: &Node) -> Map<String, Value> {
    let settings = &cluster.settings.kubelet;
    let mut fields = settings.configuration.clone();
    if node.role == Role::ControlPlane {
        fields.extend(settings.control_plane.clone());
    }
    fields
}

/// What a signal of eviction must not fall below, by a configuration; `None` where kubelet does not watch it.
pub(crate) fn threshold(configuration: &Map<String, Value>, signal: &str) -> Option<String> {
    // Whoever sets one threshold has set all of them.
    match configuration.get("evictionHard").and_then(Value::as_object) {
        Some(set) => set.get(signal)?.as_str().map(str::to_owned),
        None => {
            THRESHOLDS.iter().find(|(known, _)| *known == signal).map(|(_, default)| (*default).to_owned())
        }
    }
}

/// An amount of `all` as kubelet's thresholds are written: a share in percent, or a number with a unit.
pub(crate) fn amount(text: &str, all: u64) -> Option<u64> {
    if let Some(percent) = text.strip_suffix('%') {
        let share = percent.parse::<f64>().ok().filter(|share| (0.0..=100.0).contains(share))?;
        // A byte more or less decides nothing.
        return Some((all as f64 * share / 100.0) as u64);
    }
    const UNITS: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, unit) = unit.unwrap_or((text, 1));
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn thresholds_are_those_set_or_kubelets_own() {
        let of = |configuration: Value, signal: &str| {
            threshold(configuration.as_object().expect("an object"), signal)
        };
        assert_eq!(of(json!({}), "imagefs.available").as_deref(), Some("15%"));
        let set = json!({"evictionHard": {"nodefs.available": "1Gi"}});
        assert_eq!(of(set.clone(), "nodefs.available").as_deref(), Some("1Gi"));
        assert_eq!(of(set, "imagefs.available"), None);
    }

    #[test]
    fn amounts_are_shares_or_sizes() {
        assert_eq!(amount("10%", 200), Some(20));
        assert_eq!(amount("1Gi", 0), Some(1 << 30));
        assert_eq!([amount("5M", 0), amount("7", 0)], [Some(5_000_000), Some(7)]);
        assert_eq!([amount("x", 1), amount("200%", 1), amount("-1%", 1)], [None; 3]);
    }
}
