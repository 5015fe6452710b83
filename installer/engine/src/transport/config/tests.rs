use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

const HOME: &str = "/home/operator";

fn query(host: &str) -> Query<'_> {
    Query { host, user: None, default_user: "operator", port: None, local_user: "operator", home: HOME }
}

fn config(text: &str) -> SshConfig {
    let mut config = SshConfig::default();
    let text = ConfigText { name: "config".to_owned(), text: text.to_owned() };
    config.add(&text, &mut |pattern| Err(format!("there is no `{pattern}`")));
    config
}

/// Configurations that OpenSSH's own client is asked about as well: text, and hosts. `@` stands for a folder with the files of
/// [`INCLUDED`].
#[rustfmt::skip]
const TABLE: &[(&str, &[&str])] = &[
    ("Host cp1\n HostName 10.0.0.1\n User admin\n Port 2222\nHost *\n User other\n Port 23", &["cp1", "cp2"]),
    ("Host *.example !bad.example\n User a\nHost bad.example\n User b", &["x.example", "bad.example", "example"]),
    ("Host !bad.example *.example\n User a", &["x.example", "bad.example"]),
    ("Host !bad\n User a", &["good", "bad"]),
    ("Host CP1\n User upper\nHost cp1\n User lower", &["cp1", "CP1"]),
    ("Host c?1 w*\n User a", &["cp1", "cpp1", "w", "worker"]),
    ("User first\nHost *\n User second\n", &["any"]),
    ("HostName=%h.example\nPort = 24\nUser=\"quoted\" # comment\n", &["cp1"]),
    ("Host cp1\n HostName 100%%.%h\n", &["cp1"]),
    ("IdentityFile ~/.ssh/a\nHost cp1\n IdentityFile ~/.ssh/b\n IdentityFile ~/.ssh/a\n IdentityFile \"~/.ssh/c d\"", &["cp1", "cp2"]),
    ("Host cp1\n CertificateFile ~/.ssh/a-cert.pub\n IdentitiesOnly yes\nHost *\n CertificateFile ~/.ssh/b-cert.pub\n IdentitiesOnly no", &["cp1", "x"]),
    ("Host cp*\n ProxyJump jump\nHost *\n ProxyJump other", &["cp1", "x"]),
    ("Host cp*\n ProxyJump none\nHost *\n ProxyJump other", &["cp1", "x"]),
    ("Host cp*\n ProxyCommand none\nHost *\n ProxyJump other", &["cp1", "x"]),
    ("ProxyJump a@one:2201,[fd00::1]:2202,three", &["x"]),
    ("ProxyJump ssh://a@one:2201", &["x"]),
    ("Host cp1\n HostKeyAlias alias\n UserKnownHostsFile /a /b\n GlobalKnownHostsFile /c\n ConnectTimeout 1m5s", &["cp1"]),
    ("Host cp1\n UserKnownHostsFile none\n ConnectTimeout 5", &["cp1"]),
    ("Match host 10.0.0.1\n User wrong\nHost cp1\n HostName 10.0.0.1\nMatch host 10.0.0.1\n Port 2022", &["cp1", "10.0.0.1"]),
    ("Host cp1\n HostName %h.example\nMatch host *.example,!x.example originalhost cp1\n User a", &["cp1", "x.example"]),
    ("Match originalhost cp1\n User a\nMatch user a\n Port 99\nMatch !user a\n Port 98", &["cp1", "x"]),
    ("Match all\n User a", &["x"]),
    ("Match !host cp1\n User a\nMatch host cp1 !user root\n Port 33", &["cp1", "x"]),
    ("Match final host 10.0.0.1\n User a\nHost cp1\n HostName 10.0.0.1", &["cp1", "x"]),
    ("Match final all\n Port 77\nHost 10.0.0.1\n User seen-last\nHost cp1\n HostName 10.0.0.1", &["cp1"]),
    ("Match canonical all\n Port 77", &["cp1"]),
    ("Include @/one\nUser last", &["cp1", "x"]),
    ("Host cp1\n Include @/one\n Port 5\nHost *\n User last", &["cp1", "x"]),
    ("Host cp1\nInclude @/two\nPort 5", &["cp1", "inner", "x"]),
    ("Include @/t* @/absent*\nUser last", &["cp1", "inner", "x"]),
    ("Host never\n Include @/nested\nHost *\n Port 6", &["cp1", "x", "never"]),
    ("Include @/nested\n", &["cp1", "x"]),
];

const INCLUDED: &[(&str, &str)] = &[
    ("one", "User from-one\nHost cp1\n Port 1001\n"),
    ("two", "Host inner\n User from-two\n"),
    ("two-more", "Port 1003\n"),
    ("nested", "Host cp1\n Include @/one\nHost *\n IdentityFile /from-nested\n"),
];

/// What OpenSSH's client decides; `None` where there is none.
fn asked(file: &Path, host: &str) -> Option<BTreeMap<String, Vec<String>>> {
    let output =
        Command::new("ssh").arg("-G").arg("-F").arg(file).arg(host).stdin(Stdio::null()).output().ok()?;
    assert!(output.status.success(), "{host}: {}", String::from_utf8_lossy(&output.stderr));
    let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        answers.entry(keyword.to_owned()).or_default().push(value.to_owned());
    }
    Some(answers)
}

#[test]
fn openssh_decides_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let local_user = rustix_user();
    for (name, text) in INCLUDED {
        std::fs::write(folder.path().join(name), at(text, folder.path())).unwrap();
    }
    let file = folder.path().join("config");
    for (text, hosts) in TABLE {
        let text = at(text, folder.path());
        std::fs::write(&file, &text).unwrap();
        let mut config = SshConfig::default();
        let mut include =
            |pattern: &str| super::super::config_files::matching(pattern, Path::new(HOME), Path::new("/"));
        config.add(&ConfigText { name: "config".to_owned(), text: text.clone() }, &mut include);
        assert_eq!(config.errors(), [], "{text}");
        for host in *hosts {
            let Some(theirs) = asked(&file, host) else { return };
            let query = Query { default_user: &local_user, local_user: &local_user, ..query(host) };
            let ours = config.resolve(query);
            assert_eq!((&ours.warnings[..], &ours.errors[..]), (&[][..], &[][..]), "{text}");
            let one = |keyword: &str| theirs.get(keyword).map(|values| values[0].as_str());
            let what = format!("host {host} with\n{text}");
            let host_name = ours.host_name.as_deref().unwrap_or(host);
            assert_eq!(Some(host_name.to_ascii_lowercase().as_str()), one("hostname"), "{what}");
            assert_eq!(Some(ours.user.as_deref().unwrap_or(&local_user)), one("user"), "{what}");
            assert_eq!(Some(ours.port.unwrap_or(22).to_string().as_str()), one("port"), "{what}");
            assert_eq!(ours.host_key_alias.as_deref(), one("hostkeyalias"), "{what}");
            assert_eq!(ours.identities_only.unwrap_or(false), one("identitiesonly") == Some("yes"), "{what}");
            match &ours.identity_files[..] {
                [] => assert!(one("identityfile").unwrap().contains("/.ssh/id_"), "{what}"),
                files => assert_eq!(files, theirs["identityfile"], "{what}"),
            }
            assert_eq!(
                Some(&ours.certificate_files),
                Some(theirs.get("certificatefile").unwrap_or(&Vec::new())),
                "{what}"
            );
            if let Some(files) = &ours.user_known_hosts {
                assert_eq!(Some(files.join(" ").as_str()), one("userknownhostsfile"), "{what}");
            }
            if let Some(files) = &ours.global_known_hosts {
                assert_eq!(Some(files.join(" ").as_str()), one("globalknownhostsfile"), "{what}");
            }
            if let Some(seconds) = ours.connect_timeout {
                assert_eq!(Some(seconds.to_string().as_str()), one("connecttimeout"), "{what}");
            }
            let explicit = |jumps: Vec<Jump>| -> Vec<Jump> {
                jumps.into_iter().map(|jump| Jump { port: jump.port.or(Some(22)), ..jump }).collect()
            };
            let theirs = one("proxyjump").map(|text| parse_jumps(text).unwrap()).unwrap_or_default();
            assert_eq!(explicit(ours.proxy_jump.unwrap_or_default()), explicit(theirs), "{what}");
        }
    }
}

fn at(text: &str, folder: &Path) -> String {
    text.replace("@/", &format!("{}/", folder.display()))
}

/// The login name as OpenSSH finds it: that of the process's user.
fn rustix_user() -> String {
    let uid = rustix::process::getuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    accounts.lines().map(fields).find(|fields| fields[2] == uid).map(|fields| fields[0].clone()).unwrap()
}

#[test]
fn what_cannot_be_decided_is_said_and_not_taken() {
    let config = config("Match exec \"true\"\n User a\nMatch host x tagged t\n User b\nHost *\n Port 5\n");
    let settings = config.resolve(query("cp1"));
    assert_eq!((settings.user, settings.port), (None, Some(5)));
    assert_eq!(
        settings.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["config:1: kubezt cannot decide `Match exec`, so this block is not used for cp1"]
    );
    assert_eq!(config.resolve(query("x")).warnings.len(), 2);
}

#[test]
fn what_would_change_the_way_is_said() {
    let config = config(
        "ForwardAgent yes\nIdentityAgent /run/agent\nFrobnicate yes\nHost cp1\n ProxyCommand nc %h %p\n RevokedHostKeys /r\n\
         Host cp2\n ProxyJump jump\n ProxyCommand nc %h %p\n RevokedHostKeys none\n",
    );
    let settings = config.resolve(query("cp1"));
    let lines = |problems: &[Problem]| problems.iter().map(|problem| problem.place.line).collect::<Vec<_>>();
    assert_eq!(lines(&settings.warnings), [2, 3]);
    assert_eq!(lines(&settings.errors), [6]);
    let command = settings.proxy_command.unwrap();
    assert!(
        command.to_string().starts_with("config:5: ") && command.why.contains("use ProxyJump"),
        "{command}"
    );
    let other = config.resolve(query("cp2"));
    assert_eq!((other.errors, other.proxy_command), (Vec::new(), None));
}

#[test]
fn what_openssh_refuses_is_an_error_with_its_line() {
    let text = "Port 0\nHost\nIdentitiesOnly maybe\nUser a b\nProxyJump a:b\nMatch host\nUser \"open\nConnectTimeout x\n\
                Include absent\nPort\n";
    let config = config(text);
    let mut lines: Vec<usize> = config.errors().iter().map(|problem| problem.place.line).collect();
    lines.sort_unstable();
    assert_eq!(lines, (1..=10).collect::<Vec<_>>(), "{:?}", config.errors());
}

#[test]
fn what_counts_more_than_the_files_is_matched_too() {
    let config = config("Match user root\n IdentityFile /%r/%p\n");
    let root = Query { user: Some("root"), port: Some(2222), ..query("cp1") };
    let settings = config.resolve(root);
    assert_eq!(settings.path(&settings.identity_files[0], root).unwrap(), PathBuf::from("/root/2222"));
    assert_eq!(config.resolve(query("cp1")).identity_files, Vec::<String>::new());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(Host|Match|User|Include|ProxyJump|\"|'|=|#|!|\\\\| |\n|\\PC){0,60}", host in "\\PC{0,10}") {
        let config = config(&text);
        let settings = config.resolve(query(&host));
        for file in &settings.identity_files {
            let _ = settings.path(file, query(&host));
        }
    }
}
