use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use kubezt_model::action::Condition;
use kubezt_model::desired::Sensitivity;
use kubezt_model::{Digest, Mode, Owner, SecretText};

use super::*;
use crate::node::blobs;

struct Fixture {
    _folder: tempfile::TempDir,
    root: NodeRoot,
}

impl Fixture {
    /// A node whose root account is whoever runs the test.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metadata = std::fs::metadata(folder.path()).unwrap();
        let root = NodeRoot::at(folder.path());
        let fixture = Self { _folder: folder, root };
        fixture.write("/etc/passwd", &format!("root:x:{}:0::/root:/bin/sh\n", metadata.uid()), 0o644);
        fixture.write("/etc/group", &format!("root:x:{}:\n", metadata.gid()), 0o644);
        fixture
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path(path).unwrap()
    }

    fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    fn mode(&self, path: &str) -> u32 {
        std::fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }

    fn apply(&self, action: Action) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(apply(&self.root, action, &|_| {}))
    }

    /// Applies twice: the first time must change, the second must not.
    fn once(&self, action: Action) {
        let first = self.apply(action.clone());
        assert!(matches!(first, Outcome::Changed { .. }), "{action:?}: {first:?}");
        let second = self.apply(action.clone());
        assert!(matches!(second, Outcome::Unchanged { .. }), "{action:?}: {second:?}");
    }

    fn refused(&self, action: Action, expected: &str) {
        let Outcome::Failed { error } = self.apply(action) else { panic!("a failure is wanted") };
        assert!(error.contains(expected), "{error}");
    }
}

fn put(path: &str, mode: u32, body: &str) -> Action {
    Action::PutFile {
        path: path.to_owned(),
        mode: Mode::new(mode),
        owner: Owner::root(),
        body: SecretText::new(body.to_owned()),
        sensitivity: Sensitivity::Secret,
    }
}

#[test]
fn what_is_written_gets_the_label_of_its_path_where_selinux_is_on() {
    let node = Fixture::new();
    // Tells what it was asked, as the real one would set the label.
    let asked = node.path("/asked");
    let program = format!("#!/bin/sh\necho \"$@\" >>{}\n", asked.display());
    node.write("/usr/sbin/restorecon", &program, 0o755);
    node.once(put("/etc/a", 0o644, "text"));
    assert!(!asked.exists(), "SELinux is off");

    node.write("/sys/fs/selinux/enforce", "1", 0o644);
    node.once(put("/etc/b", 0o644, "text"));
    let path = |path: &str| node.path(path).display().to_string();
    assert_eq!(node.read("/asked"), format!("-- {}\n", path("/etc/b")), "once, and not for what is there");

    node.write("/usr/sbin/restorecon", "#!/bin/sh\necho no such policy >&2; exit 1\n", 0o755);
    node.refused(put("/etc/c", 0o644, "text"), "no such policy");
    std::fs::remove_file(node.path("/usr/sbin/restorecon")).unwrap();
    node.refused(put("/etc/d", 0o644, "text"), "restorecon");
}

#[test]
fn what_is_made_in_a_closed_folder_is_closed() {
    let node = Fixture::new();
    let directory = |path: &str, mode| Action::EnsureDirectory {
        path: path.to_owned(),
        mode: Mode::new(mode),
        owner: Owner::root(),
    };
    node.once(directory("/open", 0o755));
    node.once(directory("/closed", 0o700));
    let supported = rustix::fs::getxattr_query(node.path("/closed"), "system.posix_acl_default").is_ok();
    for (path, wanted) in [("/open/db", 0o644), ("/closed/db", if supported { 0o600 } else { 0o644 })] {
        std::fs::write(node.path(path), "made by a program with an open umask").unwrap();
        std::fs::create_dir(node.path(&format!("{path}.d"))).unwrap();
        std::fs::write(node.path(&format!("{path}.d/deeper")), "").unwrap();
        assert_eq!((node.mode(path), node.mode(&format!("{path}.d/deeper"))), (wanted, wanted), "{path}");
    }
    // What is written with a mode of its own keeps it.
    node.once(put("/closed/ca.crt", 0o644, "public"));
    assert_eq!(node.mode("/closed/ca.crt"), 0o644);
}

#[test]
fn files_and_folders_come_once_with_their_mode() {
    let node = Fixture::new();
    node.once(put("/etc/kubernetes/x.conf", 0o600, "one"));
    node.once(put("/etc/kubernetes/x.conf", 0o600, "two"));
    node.once(put("/etc/kubernetes/x.conf", 0o640, "two"));
    assert_eq!(
        (node.read("/etc/kubernetes/x.conf").as_str(), node.mode("/etc/kubernetes/x.conf")),
        ("two", 0o640)
    );
    assert_eq!(
        std::fs::read_dir(node.path("/etc/kubernetes")).unwrap().count(),
        1,
        "no temporary file stays"
    );
    let directory = |mode| Action::EnsureDirectory {
        path: "/var/lib/etcd".to_owned(),
        mode: Mode::new(mode),
        owner: Owner::root(),
    };
    node.once(directory(0o700));
    node.once(directory(0o750));
    assert_eq!(node.mode("/var/lib/etcd"), 0o750);
    node.once(Action::RemoveFile { path: "/etc/kubernetes/x.conf".to_owned() });
    node.refused(Action::RemoveFile { path: "/etc".to_owned() }, "a folder is there");
    node.refused(put("/etc", 0o600, "x"), "a folder is there");
    node.refused(put("relative", 0o600, "secret text"), "not an absolute path");
    let foreign = Action::PutFile {
        path: "/x".to_owned(),
        mode: Mode::new(0o600),
        owner: "nobody-here:root".parse().unwrap(),
        body: SecretText::new(String::new()),
        sensitivity: Sensitivity::Public,
    };
    node.refused(foreign, "no user `nobody-here`");
}

#[test]
fn a_link_is_replaced_and_not_followed() {
    let node = Fixture::new();
    node.write("/elsewhere", "untouched", 0o644);
    std::os::unix::fs::symlink(node.path("/elsewhere"), node.path("/link")).unwrap();
    node.once(put("/link", 0o600, "new"));
    assert_eq!((node.read("/elsewhere").as_str(), node.read("/link").as_str()), ("untouched", "new"));
}

#[test]
fn blobs_are_installed_whole_or_not_at_all() {
    let node = Fixture::new();
    let digest = Digest::of(b"program");
    let install = Action::InstallBlob { digest, path: "/usr/local/bin/x".to_owned(), mode: Mode::new(0o755) };
    node.refused(install.clone(), "has to be sent first");
    let stored = format!("{}/{digest}", blobs::BLOB_FOLDER);
    node.write(&stored, "tampered", 0o600);
    node.write("/usr/local/bin/x", "old", 0o755);
    node.refused(install.clone(), "is damaged");
    assert_eq!(node.read("/usr/local/bin/x"), "old");
    assert!(!node.path(&stored).exists(), "a damaged blob is sent again");
    node.write(&stored, "program", 0o600);
    node.once(install);
    assert_eq!((node.read("/usr/local/bin/x").as_str(), node.mode("/usr/local/bin/x")), ("program", 0o755));
}

#[test]
fn keys_are_made_once_and_kept() {
    let node = Fixture::new();
    let make = Action::MakeKey { path: "/etc/kubernetes/pki/sa.key".to_owned(), owner: Owner::root() };
    let Outcome::Changed { output: Some(first) } = node.apply(make.clone()) else { panic!() };
    let Outcome::Unchanged { output: Some(second) } = node.apply(make.clone()) else { panic!() };
    assert_eq!(first, second);
    assert_eq!(node.mode("/etc/kubernetes/pki/sa.key"), 0o600);
    std::fs::set_permissions(node.path("/etc/kubernetes/pki/sa.key"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    node.once(make.clone());
    assert_eq!(node.mode("/etc/kubernetes/pki/sa.key"), 0o600);
    node.write("/etc/kubernetes/pki/sa.key", "damaged secret", 0o600);
    let Outcome::Failed { error } = node.apply(make) else { panic!() };
    assert!(!error.contains("secret") && node.read("/etc/kubernetes/pki/sa.key") == "damaged secret");
}

#[test]
fn kernel_parameters_are_set_and_read_back() {
    let node = Fixture::new();
    node.write("/proc/sys/kernel/panic", "0\n", 0o644);
    node.write("/proc/sys/vm/overcommit_memory", "1\n", 0o644);
    node.write(
        "/etc/sysctl.d/k.conf",
        "# why\nkernel.panic = 10\nvm.overcommit_memory=1\n-no.such = 1\n",
        0o644,
    );
    node.once(Action::LoadSysctls { path: "/etc/sysctl.d/k.conf".to_owned() });
    node.write("/etc/sysctl.d/k.conf", "no.such = 1\n", 0o644);
    node.refused(Action::LoadSysctls { path: "/etc/sysctl.d/k.conf".to_owned() }, "no/such");
    assert!(!node.path("/proc/sys/no").exists());
    node.write("/proc/filesystems", "nodev\toverlay\n", 0o644);
    assert_eq!(
        node.apply(Action::LoadModule { name: "overlay".to_owned() }),
        Outcome::Unchanged { output: None }
    );
    node.refused(Action::LoadModule { name: "absent".to_owned() }, "cannot be loaded");
}

#[test]
fn accounts_are_created_and_never_taken_over() {
    let node = Fixture::new();
    node.write("/etc/shadow", "root:*:::::::\n", 0o640);
    let user = |name: &str, uid| Action::EnsureUser { name: name.to_owned(), uid };
    node.once(user("etcd", 2379));
    assert!(node.read("/etc/passwd").ends_with("etcd:x:2379:2379::/nonexistent:/usr/sbin/nologin\n"));
    assert!(node.read("/etc/group").ends_with("etcd:x:2379:\n"));
    assert!(node.read("/etc/shadow").ends_with("etcd:!:::::::\n") && node.mode("/etc/shadow") == 0o640);
    node.refused(user("etcd", 2380), "is there with id 2379");
    node.refused(user("other", 2379), "etcd has this id");
    node.refused(user("a:b", 77), "not a name");
}

#[test]
fn units_are_started_once() {
    let node = Fixture::new();
    let state = node.path("/state");
    node.write(
        "/usr/bin/systemctl",
        &format!(
            "#!/bin/sh\ncase $1 in start) touch {0};; show) echo LoadState=loaded; if [ -e {0} ]; then\n\
             echo ActiveState=active; echo UnitFileState=enabled; else echo ActiveState=failed; fi;; esac\n",
            state.display()
        ),
        0o755,
    );
    node.once(Action::StartUnit { name: "kubelet.service".to_owned() });
    node.write("/usr/bin/systemctl", "#!/bin/sh\n[ $1 = show ] && echo ActiveState=failed; exit 0\n", 0o755);
    node.write("/usr/bin/journalctl", "#!/bin/sh\necho no such flag\n", 0o755);
    node.refused(
        Action::RestartUnit { name: "kubelet.service".to_owned() },
        "is failed after it was started: no such flag",
    );
}

#[test]
fn images_are_imported_verified_and_pinned() {
    let node = Fixture::new();
    let digest = Digest::of(b"archive");
    let import = Action::ImportImage { digest, reference: "registry.k8s.io/pause:3.10".to_owned() };
    node.refused(import.clone(), "has to be sent first");
    node.write(&format!("{}/{digest}", blobs::BLOB_FOLDER), "archive", 0o600);
    node.write("/run/containerd/containerd.sock", "", 0o600);
    let state = node.path("/labels");
    node.write(
        "/usr/local/bin/ctr",
        &format!(
            "#!/bin/sh\ncase $4 in import) touch {0};; label) echo $6,$7 >{0};; list) echo REF; [ -e {0} ] && \
             echo registry.k8s.io/pause:3.10 t sha256:{digest} 1.0 B linux/amd64 $(cat {0});; esac; exit 0\n",
            state.display()
        ),
        0o755,
    );
    node.once(import);
    // The runtime has the content now.
    assert!(!node.path(&format!("{}/{digest}", blobs::BLOB_FOLDER)).exists());
    node.write(&format!("{}/{digest}", blobs::BLOB_FOLDER), "archive", 0o600);
    let other = Action::ImportImage { digest, reference: "other:1".to_owned() };
    node.refused(other, "does not bring other:1");
}

#[test]
fn waiting_ends_when_it_holds_and_says_what_was_there_instead() {
    let node = Fixture::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let wait = |condition| Action::Wait { condition, timeout_seconds: 0 };
    let open = wait(Condition::TcpOpen { address });
    assert_eq!(node.apply(open), Outcome::Unchanged { output: None });
    // Bound and deaf: nobody else can be given this port meanwhile.
    let deaf = tokio::net::TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = Condition::TcpOpen { address: deaf.local_addr().unwrap().to_string() };
    node.refused(wait(closed), "refused");
    let socket = Condition::SocketOpen { path: "/run/containerd/containerd.sock".to_owned() };
    node.refused(wait(socket), "at the end: No such file");
    let server = wait(Condition::ApiServerReady { address: deaf.local_addr().unwrap() });
    node.refused(server.clone(), "the node's balancer has not been told how to ask");
    let told = r#"{"listen": "127.0.0.1:7443", "servers": ["127.0.0.1:6443"],
        "health": {"authority": "/root.crt", "certificate": "/balancer.crt", "key": "/balancer.key"}}"#;
    node.write("/etc/kubezt/node.json", told, 0o644);
    node.refused(server, "at the end: it does not answer: the balancer's own pair cannot be read");

    node.write("/m.yaml", "spec: {containers: [{name: etcd, command: [etcd, --a]}]}\n", 0o600);
    let pod =
        || wait(Condition::StaticPodCurrent { name: "etcd".to_owned(), manifest: "/m.yaml".to_owned() });
    node.write("/proc/7/status", "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\nSeccomp:\t2\n", 0o644);
    node.write("/proc/7/stat", &format!("7 (etcd) S {} 99", ["0"; 18].join(" ")), 0o644);
    node.write("/proc/7/cmdline", "etcd\0--old\0", 0o644);
    node.refused(pod(), "it does not run");
    std::os::unix::fs::symlink("/usr/local/bin/etcd", node.path("/proc/7/exe")).unwrap();
    node.refused(pod(), "other arguments (process 7)");
    // The right arguments, but it ran before the waiting began: its manifest was written a moment ago.
    node.write("/proc/7/cmdline", "etcd\0--a\0", 0o644);
    node.refused(pod(), "the process from before still runs");
}
