//! What was changed on nodes, by a story or by kubezt.

use anyhow::{Result, ensure};

use crate::lab::Node;
use crate::stories::World;

/// A file that nobody restarts for.
const FILE: &str = "/etc/audit/rules.d/kubezt.rules";

/// Makes that file differ from what is wanted.
pub fn drift(world: &World, node: &Node) -> Result<()> {
    world.lab.shell(node, &format!("echo '# drift' >> {FILE}")).map(drop)
}

/// Whether it still does.
pub fn has_drifted(world: &World, node: &Node) -> Result<bool> {
    let found = world.lab.shell(node, &format!("grep -c drift {FILE} || true"))?;
    Ok(found.trim() != "0")
}

/// Everything kubezt would write to a node, with sizes and times: equal before and after means nothing was written.
pub fn traces(world: &World) -> Result<String> {
    let script = "for place in /etc/kubernetes /etc/kubezt /etc/systemd/system /usr/local /var/lib/kubezt /var/lib/kubelet/config.yaml; do \
                  test ! -e $place || find $place -printf \"%p %m %s %T@\\n\"; done | sort";
    let mut all = String::new();
    for node in &world.lab.nodes {
        all.push_str(&format!("{}\n{}", node.name, world.lab.shell(node, script)?));
    }
    ensure!(all.contains("/usr/local"), "the search finds nothing:\n{all}");
    Ok(all)
}
