//! Members of etcd that are lost, removed and added.

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use kubezt_tests::{Kubezt, World};

use crate::install::{control_plane, etcdctl};
use crate::losses::as_wanted;

/// Something that is written when there are all, and must be there ever after.
const WITNESS: &str = "story-witness";

/// The disk of a member is lost: kubelet's etcd neither founds a cluster nor comes back as who it was; an install lets it join
/// as a new member, and the others go on all the while.
pub fn lost_data(world: &World) -> Result<()> {
    world.kubeconfig()?;
    world.kubectl(&format!("-n default create configmap {WITNESS} --from-literal=is=there"))?;
    let lost = control_plane(world).last().context("the lab has no control plane")?;
    let before = ids(world)?;
    world.lab.shell(
        lost,
        "rm -rf /var/lib/etcd/member; old=$(pgrep -x etcd); kill -9 $old; \
         for try in $(seq 30); do \
           grep -lq 'cannot fetch cluster info from peer urls' /var/log/pods/kube-system_etcd-*/etcd/*.log && break; sleep 1; \
         done; \
         grep -q 'cannot fetch cluster info from peer urls' /var/log/pods/kube-system_etcd-*/etcd/*.log",
    )?;
    let alone = etcdctl(world, lost, "--dial-timeout=1s --command-timeout=2s endpoint health");
    ensure!(alone.is_err(), "it came back by itself: {alone:?}");
    let plan = world.kubezt.run("plan", &["--exit-code", "--summary"])?;
    let why = format!("etcd member {}  (its data is lost)", lost.name);
    ensure!(plan.code == 5 && plan.stdout.contains(&why), "exit code {}:\n{}", plan.code, plan.stdout);
    world.kubezt.succeed("install", &["--no-verify"])?;
    let after = ids(world)?;
    let kept = after.iter().filter(|id| before.contains(id)).count();
    let wanted = control_plane(world).len();
    ensure!(after.len() == wanted && kept == wanted - 1, "members before {before:?}, after {after:?}");
    whole(world, &world.kubezt)
}

/// All control-plane nodes but one are taken out of the file: they are removed one after the other, nothing that was written is lost,
/// and what is left trusts them no more.
pub fn several_to_one(world: &World) -> Result<()> {
    let file = world.lab.path("cluster-one.yaml");
    let mut text = fs::read_to_string(world.lab.cluster_file())?;
    for node in &control_plane(world)[1..] {
        let start = text.find(&format!("  - name: {}\n", node.name));
        let entry = start.map(|start| {
            let mut lines = text[start..].split_inclusive('\n');
            let first = lines.next().unwrap_or_default().len();
            let rest: usize = lines.take_while(|line| line.starts_with("    ")).map(str::len).sum();
            text[start..start + first + rest].to_owned()
        });
        let entry =
            entry.ok_or_else(|| anyhow::anyhow!("{} is not listed as expected:\n{text}", node.name))?;
        text = text.replace(&entry, "");
    }
    fs::write(&file, text)?;
    let one = world.kubezt.on(file);
    one.succeed("install", &["--no-verify"])?;
    ensure!(ids(world)?.len() == 1, "members: {:?}", ids(world)?);
    let bundle = world.lab.shell(world.lab.control_plane(), "grep -c BEGIN /etc/etcd/pki/ca.crt")?;
    ensure!(bundle.trim() == "1", "{bundle} authorities of etcd are trusted");
    whole(world, &one)
}

/// They are added again: their old data is set aside, they learn, and they vote.
pub fn one_to_several(world: &World) -> Result<()> {
    world.kubezt.succeed("install", &["--profile", "stig"])?;
    ensure!(ids(world)?.len() == control_plane(world).len(), "members: {:?}", ids(world)?);
    for node in &control_plane(world)[1..] {
        let aside = world.lab.shell(node, "ls -d /var/lib/etcd/member.* | wc -l")?;
        ensure!(aside.trim() == "1", "{}: {aside} folders set aside", node.name);
        let witness =
            etcdctl(world, node, &format!("get --keys-only /registry/configmaps/default/{WITNESS}"))?;
        ensure!(witness.contains(WITNESS), "{} does not have what was written: {witness:?}", node.name);
    }
    whole(world, &world.kubezt)
}

/// Nothing is left to do, and nothing was lost.
fn whole(world: &World, kubezt: &Kubezt) -> Result<()> {
    as_wanted(kubezt)?;
    let witness =
        world.kubectl(&format!("-n default get configmap {WITNESS} --output jsonpath={{.data.is}}"))?;
    ensure!(witness.trim() == "there", "it is lost: {witness:?}");
    Ok(())
}

/// Ids of all members, as the first control-plane node knows them; every one has a vote.
fn ids(world: &World) -> Result<Vec<String>> {
    let list = etcdctl(world, world.lab.control_plane(), "member list")?;
    ensure!(list.lines().all(|line| line.ends_with("false")), "there is a learner:\n{list}");
    Ok(list.lines().filter_map(|line| line.split(',').next()).map(str::to_owned).collect())
}
