use super::*;

/// A key of this algorithm whose content is one repeated byte.
fn key(algorithm: &str, seed: u8) -> HostKey {
    let mut blob = u32::try_from(algorithm.len()).unwrap().to_be_bytes().to_vec();
    blob.extend_from_slice(algorithm.as_bytes());
    blob.extend_from_slice(&32_u32.to_be_bytes());
    blob.extend_from_slice(&[seed; 32]);
    HostKey::from_blob(blob).unwrap()
}

fn line(hosts: &str, key: &HostKey) -> String {
    format!("{hosts} {} {}", key.algorithm(), STANDARD.encode(&key.blob))
}

fn hashed(host: &str) -> String {
    let salt = [7_u8; 20];
    let hash = Hmac::<sha1::Sha1>::new_from_slice(&salt)
        .unwrap()
        .chain_update(host.as_bytes())
        .finalize()
        .into_bytes();
    format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash))
}

fn known(text: &str) -> KnownHosts {
    let mut known = KnownHosts::default();
    known.add("known_hosts", text);
    known
}

#[test]
fn host_patterns_cover_what_openssh_says_they_cover() {
    let key = key("ssh-ed25519", 1);
    let hash = hashed("node.example");
    let hash_port = hashed("[node.example]:2222");
    #[rustfmt::skip]
    let table: &[(&str, &str, u16, bool)] = &[
        ("node.example", "node.example", 22, true),
        ("node.example", "NODE.Example", 22, true),
        ("Node.Example", "node.example", 22, true),
        ("node.example", "node.example", 2222, false),
        ("[node.example]:2222", "node.example", 2222, true),
        ("[node.example]:2222", "node.example", 22, false),
        ("[node.example]:*", "node.example", 2222, true),
        ("a,b,node.example", "node.example", 22, true),
        ("a,b,", "node.example", 22, false),
        ("*.example", "node.example", 22, true),
        ("*.example,!node.example", "node.example", 22, false),
        ("!node.example,*.example", "node.example", 22, false),
        ("!other.example,*.example", "node.example", 22, true),
        ("!other.example", "node.example", 22, false),
        ("node?example", "node.example", 22, true),
        ("node?example", "nodeexample", 22, false),
        ("10.0.0.*", "10.0.0.17", 22, true),
        ("10.0.0.?", "10.0.0.17", 22, false),
        ("*", "anything", 22, true),
        ("*", "anything", 99, true),
        ("n*e*e", "node.example", 22, true),
        ("n*x", "node.example", 22, false),
        ("fd00::1", "fd00::1", 22, true),
        ("[fd00::1]:2022", "fd00::1", 2022, true),
        (&hash, "node.example", 22, true),
        (&hash, "node.example", 2222, false),
        (&hash, "other.example", 22, false),
        (&hash_port, "node.example", 2222, true),
    ];
    for (hosts, host, port, covered) in table {
        let verdict = known(&line(hosts, &key)).judge(&HostName::new(host, *port), &key);
        let expected = if *covered { Verdict::Known } else { Verdict::Unknown { recorded: Vec::new() } };
        assert_eq!(verdict, expected, "{hosts} against {host}:{port}");
    }
}

#[test]
fn several_keys_of_a_host_are_all_known_and_another_is_a_mismatch() {
    let (first, second, other) = (key("ssh-ed25519", 1), key("ssh-ed25519", 2), key("ssh-ed25519", 3));
    let ecdsa = key("ecdsa-sha2-nistp256", 1);
    let known = known(&format!("# comment\n\n{}\n{} a comment\n", line("n", &first), line("n", &second)));
    let host = HostName::new("n", 22);
    assert_eq!(known.judge(&host, &first), Verdict::Known);
    assert_eq!(known.judge(&host, &second), Verdict::Known);
    let Verdict::Mismatch { expected } = known.judge(&host, &other) else { panic!("a mismatch is wanted") };
    assert_eq!(expected.iter().map(|entry| entry.line).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(expected[0].fingerprint, first.fingerprint());
    assert_eq!(known.judge(&host, &ecdsa), Verdict::Unknown { recorded: vec!["ssh-ed25519".to_owned()] });
    assert_eq!(known.algorithms(&host).into_iter().collect::<Vec<_>>(), ["ssh-ed25519"]);
}

#[test]
fn a_revoked_key_is_refused_wherever_else_it_is_recorded() {
    let key = key("ssh-ed25519", 1);
    let host = HostName::new("n", 22);
    for text in [
        format!("{}\n@revoked {}", line("n", &key), line("*", &key)),
        format!("@revoked\t{}\n{}", line("n", &key), line("n", &key)),
    ] {
        assert!(matches!(known(&text).judge(&host, &key), Verdict::Revoked { .. }), "{text}");
    }
    let mut two_files = known(&line("n", &key));
    two_files.add("/etc/ssh/revoked", &format!("@revoked {}", line("*", &key)));
    let Verdict::Revoked { by } = two_files.judge(&host, &key) else { panic!("revoked is wanted") };
    assert_eq!((by.file.as_str(), by.line), ("/etc/ssh/revoked", 1));
    let elsewhere = known(&format!("{}\n@revoked {}", line("n", &key), line("m", &key)));
    assert_eq!(elsewhere.judge(&host, &key), Verdict::Known);
}

#[test]
fn an_authority_is_not_a_host_key() {
    let key = key("ssh-ed25519", 1);
    let known = known(&format!("@cert-authority {}", line("*", &key)));
    assert_eq!(known.judge(&HostName::new("n", 22), &key), Verdict::Unknown { recorded: Vec::new() });
}

#[test]
fn the_first_file_that_knows_the_host_decides() {
    let (first, second) = (key("ssh-ed25519", 1), key("ssh-ed25519", 2));
    let mut known = known(&line("other", &first));
    known.add("second", &line("n", &first));
    known.add("third", &line("n", &second));
    let host = HostName::new("n", 22);
    assert_eq!(known.judge(&host, &first), Verdict::Known);
    let Verdict::Mismatch { expected } = known.judge(&host, &second) else { panic!("a mismatch is wanted") };
    assert_eq!(expected[0].file, "second");
}

#[test]
fn damaged_lines_are_set_aside_and_the_rest_still_counts() {
    let key = key("ssh-ed25519", 1);
    let good = line("n", &key);
    let text = format!(
        "n\nn ssh-ed25519\nn ssh-ed25519 %%%\nn ssh-rsa {blob}\n@strange {good}\n|1|short|hash ssh-ed25519 {blob}\n\
         |2|a|b ssh-ed25519 {blob}\nn ssh-ed25519 AAAA\n, ssh-ed25519 {blob}\n\t {good}\tcomment\n",
        blob = STANDARD.encode(&key.blob)
    );
    let known = known(&text);
    assert_eq!(
        known.skipped().iter().map(|skipped| skipped.line).collect::<Vec<_>>(),
        (1..=9).collect::<Vec<_>>()
    );
    assert_eq!(known.judge(&HostName::new("n", 22), &key), Verdict::Known);
    assert_eq!(known.skipped()[2].to_string(), "known_hosts:3: line ignored: the key is not base64");
}

#[test]
fn a_host_on_another_port_may_be_recorded_without_it() {
    let (first, second) = (key("ssh-ed25519", 1), key("ssh-ed25519", 2));
    let names = HostNames::new("Node.example", 2222, None);
    let bare = line("node.example", &first);
    assert_eq!(known(&bare).judge_names(&names, &first), Verdict::Known);
    let with_port = format!("{bare}\n{}", line("[node.example]:2222", &second));
    assert_eq!(known(&with_port).judge_names(&names, &second), Verdict::Known);
    assert!(matches!(known(&with_port).judge_names(&names, &first), Verdict::Mismatch { .. }));
    let alias = HostNames::new("10.0.0.1", 2222, Some("node.example"));
    assert_eq!(known(&bare).judge_names(&alias, &first), Verdict::Known);
    assert_eq!(alias.first(), HostName::new("node.example", 22));
    assert_eq!(known("").judge_names(&names, &first), Verdict::Unknown { recorded: Vec::new() });
}

#[test]
fn a_line_written_is_a_line_that_is_known() {
    let key = key("ssh-ed25519", 9);
    for host in [HostName::new("n", 22), HostName::new("fd00::1", 2222)] {
        assert_eq!(known(&key.known_hosts_line(&host)).judge(&host, &key), Verdict::Known);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,400}", host in "[a-z.*?]{0,12}", pattern in "[a-z.*?!,]{0,24}") {
        let key = key("ssh-ed25519", 1);
        let mut known = known(&text);
        known.add("pattern", &line(&pattern, &key));
        let _ = known.judge(&HostName::new(&host, 22), &key);
    }
}
