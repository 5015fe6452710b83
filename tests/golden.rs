//! What `kubezt render` writes for a sample cluster, and the plan for bare nodes, against files under `golden/`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p kubezt-tests --test golden` writes those files anew; the review is the diff in git.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

#[path = "simulated/assembly.rs"]
mod assembly;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use kubezt_controls::report;
use kubezt_engine::node::NodeRoot;
use kubezt_engine::node::gather::gather;
use kubezt_model::desired::{Desired, DesiredNode, OnChange, Sensitivity};
use kubezt_model::node::Facts;
use kubezt_model::yaml;
use kubezt_plan::Assessment;
use kubezt_plan::preflight::{Seen, preflight};
use similar::TextDiff;

const CLUSTER: &str = include_str!("golden/cluster.yaml");

/// Lines of difference that are shown; whoever wants all of them updates and asks git.
const SHOWN: usize = 120;

#[test]
fn baseline_renders_as_before() {
    compare("baseline");
}

#[test]
fn cis_renders_as_before() {
    compare("cis");
}

#[test]
fn nsa_renders_as_before() {
    compare("nsa");
}

#[test]
fn stig_renders_as_before() {
    compare("stig");
}

#[test]
fn stig_tiered_renders_as_before() {
    compare("stig-tiered");
}

fn compare(profile: &str) {
    compare_with(profile, &everything(&assembly::desired(CLUSTER, profile, "1").unwrap()));
}

/// Compares with the files of a folder below `golden/`.
fn compare_with(name: &str, actual: &BTreeMap<String, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        update(&folder, actual);
    }
    let expected = assembly::files_below(&folder);
    let difference = difference(&expected, actual);
    assert!(
        difference.is_empty(),
        "{name}: what is written differs from tests/golden/{name}:\n\n{}\n\nWhere this is meant, write the files \
         anew and commit them:\n\n    UPDATE_GOLDEN=1 cargo test -p kubezt-tests --test golden\n",
        shortened(&difference)
    );
}

/// What the command says about profiles: each one in words, and the way from one to the next.
#[test]
fn profiles_read_as_before() {
    let library = assembly::library();
    let mut texts = BTreeMap::new();
    for profile in library.profiles() {
        texts.insert(format!("show-{}.txt", profile.name), report::profile::write(library, profile));
    }
    let (kubernetes, cni) = ("1.36.3".parse().unwrap(), "cilium");
    for (from, to) in
        [("baseline", "cis"), ("cis", "nsa"), ("nsa", "stig"), ("stig", "stig-tiered"), ("stig", "baseline")]
    {
        let difference = kubezt_controls::compare::compare(library, from, to, &kubernetes, cni).unwrap();
        texts.insert(format!("diff-{from}-{to}.txt"), report::comparison::write(library, &difference));
    }
    compare_with("profiles", &texts);
}

/// Checks whose words depend on the operating system; what others say depends on the machine the test runs on.
const OF_SYSTEMS: [&str; 6] =
    ["operating-system", "kernel", "cgroups", "name-resolution", "security-modules", "audit"];

/// What the preflight says of a worker on each system: files recorded from the real ones, in `systems/`, read as on a node.
#[test]
fn systems_pass_the_preflight_as_before() {
    let desired = assembly::desired(CLUSTER, "nsa", "1").unwrap();
    let worker = &desired.nodes[1];
    let recorded = assembly::files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("systems"));
    let texts = recorded.iter().map(|(name, text)| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("systems").join(name);
        lay_out(&folder, &yaml::read(name, text).unwrap());
        let reads = kubezt_plan::preflight::reads(&desired, worker);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let readings = runtime.block_on(gather(&NodeRoot::at(&folder), reads)).into_iter().collect();
        let node = worker.node.name.clone();
        let facts = [(node.clone(), Facts { node: node.clone(), at: 0, readings })].into();
        let seen = Seen { facts, ..Seen::default() };
        let mut text = String::new();
        for finding in preflight(&desired, &seen, &[node].into()) {
            if OF_SYSTEMS.contains(&finding.id) {
                let _ = writeln!(text, "{} {}: {}", finding.severity, finding.id, finding.what);
            }
            if OF_SYSTEMS.contains(&finding.id) && !finding.remedy.is_empty() {
                let _ = writeln!(text, "  {}", finding.remedy);
            }
        }
        (name.replace(".yaml", ".txt"), text)
    });
    compare_with("systems", &texts.collect());
}

/// The files of a recorded system, below a folder, as systemd has booted it.
fn lay_out(folder: &Path, system: &serde_json::Value) {
    if folder.is_dir() {
        fs_err::remove_dir_all(folder).unwrap();
    }
    fs_err::create_dir_all(folder.join("run/systemd/system")).unwrap();
    for (path, text) in system["files"].as_object().unwrap() {
        let path = folder.join(path.trim_start_matches('/'));
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text.as_str().unwrap()).unwrap();
    }
    for (path, target) in system["links"].as_object().into_iter().flatten() {
        fs_err::os::unix::fs::symlink(target.as_str().unwrap(), folder.join(path.trim_start_matches('/')))
            .unwrap();
    }
}

fn update(folder: &Path, files: &BTreeMap<String, String>) {
    if folder.is_dir() {
        fs_err::remove_dir_all(folder).unwrap();
    }
    for (path, text) in files {
        let path = folder.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
}

/// Unified diffs of all files that are not the same; empty where all are.
fn difference(expected: &BTreeMap<String, String>, actual: &BTreeMap<String, String>) -> String {
    let paths: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
    let mut text = String::new();
    for path in paths {
        let old = expected.get(path).map_or("", String::as_str);
        let new = actual.get(path).map_or("", String::as_str);
        match (expected.contains_key(path), actual.contains_key(path)) {
            (true, false) => {
                let _ = writeln!(text, "--- {path} is no longer rendered");
            }
            (false, _) => {
                let _ = writeln!(text, "+++ {path} is new");
            }
            _ if old != new => {
                let diff = TextDiff::from_lines(old, new);
                let _ = write!(text, "{}", diff.unified_diff().context_radius(2).header(path, path));
            }
            _ => {}
        }
    }
    text
}

fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let rest = lines.len().saturating_sub(SHOWN);
    let mut shown = lines[..lines.len() - rest].join("\n");
    if rest > 0 {
        let _ = write!(shown, "\n… and {rest} more lines");
    }
    shown
}

/// Every golden file, by path: the nodes' files, what else a node holds, API objects, chart values, the plan.
fn everything(desired: &Desired) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for node in &desired.nodes {
        let name = &node.node.name;
        for file in &node.files {
            let text = match file.sensitivity {
                Sensitivity::Public => file.body.expose().to_owned(),
                Sensitivity::Secret => format!("(secret; sha256 {})\n", file.digest()),
            };
            files.insert(format!("{name}{}", file.path), text);
        }
        files.insert(format!("{name}.txt"), holdings(node));
    }
    for (position, set) in desired.manifests.iter().enumerate() {
        let mut text = String::new();
        for object in &set.objects {
            text.push_str("---\n");
            text.push_str(&yaml::write(object).unwrap());
        }
        for object in &set.absent {
            let _ = writeln!(text, "# absent: {}", kubezt_plan::assess::object_name(object));
        }
        files.insert(format!("cluster/{position:02}-{}.yaml", set.name), text);
    }
    let values = yaml::write(&assembly::chart_values(&desired.cluster)).unwrap();
    files.insert(format!("cluster/values-{}.yaml", desired.cluster.cni.name), values);
    files.insert("plan.txt".to_owned(), bare_plan(desired));
    files
}

/// Modes, owners and consequences of the files, and everything a node holds that is not rendered.
fn holdings(node: &DesiredNode) -> String {
    let mut text = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        let _ = writeln!(text, "{title}");
        lines.iter().for_each(|line| {
            let _ = writeln!(text, "  {line}");
        });
    };
    section("accounts", node.users.iter().map(|user| format!("{} {}", user.name, user.uid)).collect());
    section(
        "directories",
        node.directories.iter().map(|one| format!("{} {} {}", one.mode, one.owner, one.path)).collect(),
    );
    section(
        "files",
        node.files
            .iter()
            .map(|one| {
                let then = consequence(&one.on_change);
                format!("{} {} {}{then}", one.mode, one.owner, one.path)
            })
            .collect(),
    );
    section("kernel", node.sysctls.iter().map(|(key, value)| format!("{key} = {value}")).collect());
    section("modules", node.modules.clone());
    section("units", node.units.clone());
    section("keys", node.keys.iter().map(|key| key.key_path.clone()).collect());
    section(
        "certificates",
        node.certificates
            .iter()
            .map(|one| {
                let kind = yaml::write(&one.kind).unwrap().replace('\n', "\n    ");
                format!(
                    "{} {} {}\n    {}",
                    one.certificate_mode,
                    one.owner,
                    one.certificate_path,
                    kind.trim_end()
                )
            })
            .collect(),
    );
    section(
        "trust bundles",
        node.bundles
            .iter()
            .map(|one| format!("{} {} {} {:?}", one.mode, one.owner, one.path, one.members))
            .collect(),
    );
    section("absent", node.absent.clone());
    text
}

fn consequence(on_change: &OnChange) -> String {
    match on_change {
        OnChange::Nothing => String::new(),
        OnChange::ReadAtStart(pod) => format!(" (read by {pod} when it starts)"),
        OnChange::Restart(unit) => format!(" (restarts {unit})"),
        OnChange::NoticedBy(unit) => format!(" (noticed by {unit})"),
        OnChange::LoadSysctls => " (is loaded)".to_owned(),
        OnChange::StaticPod(pod) => format!(" (replaces pod {pod})"),
    }
}

/// The plan for nodes on which nothing is, and without a root.
fn bare_plan(desired: &Desired) -> String {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let facts = desired
        .nodes
        .iter()
        .map(|node| {
            let name = node.node.name.clone();
            (name.clone(), Facts { node: name, at: now.as_second(), readings: BTreeMap::new() })
        })
        .collect();
    let mut assessment = Assessment::default();
    kubezt_engine::certificates::assess(desired, &facts, None, now, &mut assessment);
    kubezt_plan::text::plan(&kubezt_plan::plan(desired, &facts, &assessment), false)
}
