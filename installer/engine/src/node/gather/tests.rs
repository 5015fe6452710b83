use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kubezt_model::Digest;
use kubezt_model::node::FileKind;

use super::*;

fn write(root: &NodeRoot, path: &str, text: &str, mode: u32) {
    let path = root.path(path).unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn one(folder: &Path, read: Read) -> Reading {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut answers = runtime.block_on(gather(&NodeRoot::at(folder), vec![read.clone()]));
    let (asked, reading) = answers.pop().unwrap();
    assert_eq!(asked, read);
    reading
}

#[test]
fn files_are_described_and_what_is_absent_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let root = NodeRoot::at(folder.path());
    write(&root, "/etc/kubernetes/admin.conf", "text", 0o600);
    let path = || "/etc/kubernetes/admin.conf".to_owned();
    let Reading::File(file) = one(folder.path(), Read::File { path: path(), text: true }) else { panic!() };
    assert_eq!((file.mode.to_string().as_str(), file.size, file.kind), ("0600", 4, FileKind::File));
    assert_eq!(file.digest, Some(Digest::of(b"text")));
    assert_eq!(file.text.unwrap().expose(), "text");
    let Reading::File(file) = one(folder.path(), Read::File { path: path(), text: false }) else { panic!() };
    assert!(file.text.is_none() && file.digest.is_some());
    assert_eq!(one(folder.path(), Read::File { path: "/etc/x".to_owned(), text: true }), Reading::Missing);
    assert_eq!(
        one(folder.path(), Read::File { path: format!("{}/x", path()), text: true }),
        Reading::Missing
    );
    assert!(matches!(
        one(folder.path(), Read::File { path: "../x".to_owned(), text: true }),
        Reading::Failed(_)
    ));
    let Reading::Tree(tree) = one(folder.path(), Read::Tree { path: "/etc".to_owned() }) else { panic!() };
    let paths: Vec<_> = tree.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/etc", "/etc/kubernetes", "/etc/kubernetes/admin.conf"]);
}

#[test]
fn text_that_is_none_or_too_long_is_not_answered() {
    let folder = tempfile::tempdir().unwrap();
    let root = NodeRoot::at(folder.path());
    write(&root, "/long", &"x".repeat((1 << 20) + 1), 0o644);
    std::fs::write(root.path("/binary").unwrap(), [0xff, 0xfe]).unwrap();
    for path in ["/long", "/binary"] {
        let path = path.to_owned();
        assert!(matches!(one(folder.path(), Read::File { path, text: true }), Reading::Failed(_)));
    }
}

#[test]
fn programs_below_the_root_answer_for_units_and_versions() {
    let folder = tempfile::tempdir().unwrap();
    let root = NodeRoot::at(folder.path());
    let unit = || Read::Unit { name: "kubelet.service".to_owned() };
    assert!(matches!(one(folder.path(), unit()), Reading::Failed(_)), "no systemctl is no answer");
    write(&root, "/usr/bin/systemctl", "#!/bin/sh\necho LoadState=loaded\necho ActiveState=failed\n", 0o755);
    let Reading::Unit(reading) = one(folder.path(), unit()) else { panic!() };
    assert_eq!(reading.active, "failed");
    let version = |program: &str| Read::Version {
        program: program.to_owned(),
        arguments: vec!["--version".to_owned()],
    };
    write(&root, "/usr/local/bin/kubelet", "#!/bin/sh\necho Kubernetes v1.36.3 $1\n", 0o755);
    assert_eq!(
        one(folder.path(), version("/usr/local/bin/kubelet")),
        Reading::Text("Kubernetes v1.36.3 --version".to_owned())
    );
    assert_eq!(one(folder.path(), version("/usr/local/bin/absent")), Reading::Missing);
    let image = Read::Image { reference: "a:1".to_owned() };
    assert_eq!(one(folder.path(), image), Reading::Missing, "no containerd, no image");
}

#[test]
fn the_private_key_stays_and_its_public_half_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = NodeRoot::at(folder.path());
    let key = kubezt_pki::generate().unwrap();
    write(&root, "/k", key.expose(), 0o600);
    let expected = kubezt_pki::spki_of(&key).unwrap().to_base64();
    assert_eq!(one(folder.path(), Read::PublicKey { path: "/k".to_owned() }), Reading::PublicKey(expected));
    write(&root, "/k", "secret nonsense", 0o600);
    let Reading::Failed(why) = one(folder.path(), Read::PublicKey { path: "/k".to_owned() }) else {
        panic!()
    };
    assert!(!why.contains("secret"));
}

#[test]
fn every_look_before_an_install_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let root = NodeRoot::at(folder.path());
    write(&root, "/proc/net/tcp", "  sl  local_address rem_address   st\n", 0o444);
    write(&root, "/sys/class/net/eth0/mtu", "1500\n", 0o444);
    let text = || "/etc/x".to_owned();
    let answer = |read| one(folder.path(), read);
    let before = jiff::Timestamp::now().as_millisecond();
    let Reading::Clock(clock) = answer(Read::Clock) else { panic!() };
    assert!((before..=jiff::Timestamp::now().as_millisecond()).contains(&clock));
    assert_eq!(answer(Read::Sockets), Reading::Sockets(Vec::new()));
    assert!(matches!(answer(Read::Network), Reading::Network(seen) if seen.interfaces["eth0"].mtu == 1500));
    let kernel = answer(Read::Kernel { modules: vec!["overlay".to_owned()], options: Vec::new() });
    assert!(matches!(kernel, Reading::Kernel(seen) if seen.modules.len() == 1));
    assert!(matches!(answer(Read::FileSystem { path: text() }), Reading::FileSystem(_)));
    assert!(matches!(answer(Read::Fsync { path: text() }), Reading::Fsync(took) if took.writes > 0));
    let names = answer(Read::Names { names: vec!["localhost".to_owned()] });
    assert!(matches!(names, Reading::Names(found) if found.len() == 1));
    assert_eq!(answer(Read::Kubeconfig { path: text() }), Reading::Missing);
    assert_eq!(answer(Read::Subjects { path: text() }), Reading::Missing);
    assert_eq!(answer(Read::Reach { targets: Vec::new() }), Reading::Unreached(Vec::new()));
}
