use std::path::PathBuf;

use kubezt_model::action::Condition;
use kubezt_model::desired::{AuthorityKind, LeafSpec, Sensitivity, Usage};
use kubezt_model::node::{Read, Reading};
use kubezt_model::{Lifetime, Mode, Owner, SecretText};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;
use crate::link::{BlobSource, Compression, LinkError, MissingBlob, NodeLink};
use crate::node::blobs::BLOB_FOLDER;

pub struct Fixture {
    folder: tempfile::TempDir,
    pub root: NodeRoot,
}

impl Fixture {
    pub fn new() -> Self {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let metadata = std::fs::metadata(folder.path()).unwrap();
        let root = NodeRoot::at(folder.path());
        for path in ["etc", "run"] {
            std::fs::create_dir(folder.path().join(path)).unwrap();
        }
        std::fs::write(folder.path().join("etc/passwd"), format!("root:x:{}:0::/:/x\n", metadata.uid()))
            .unwrap();
        std::fs::write(folder.path().join("etc/group"), format!("root:x:{}:\n", metadata.gid())).unwrap();
        Self { folder, root }
    }

    /// Starts a node side and answers with the operator's end of the stream.
    fn node(&self) -> DuplexStream {
        let (operator, node) = duplex(64 << 10);
        let (reader, writer) = tokio::io::split(node);
        tokio::spawn(serve_link(reader, writer, self.root.clone()));
        operator
    }

    pub async fn link(&self, operator: &str) -> NodeLink {
        NodeLink::connect("n1", self.node(), operator).await.unwrap()
    }

    /// A blob of this many bytes that compress a little.
    pub fn blob(&self, size: usize) -> BlobSource {
        let content: Vec<u8> = (0..size).map(|index| ((index * index) >> 7) as u8).collect();
        let path = self.folder.path().join("source");
        std::fs::write(&path, &content).unwrap();
        BlobSource { path, digest: Digest::of(&content), size: size as u64 }
    }

    pub fn store(&self) -> PathBuf {
        self.root.known(BLOB_FOLDER)
    }

    /// Names in the store, hidden ones included.
    pub fn stored(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.store()).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn put(path: &str, body: &str) -> Action {
    Action::PutFile {
        path: path.to_owned(),
        mode: Mode::new(0o600),
        owner: Owner::root(),
        body: SecretText::new(body.to_owned()),
        sensitivity: Sensitivity::Secret,
    }
}

pub async fn missing(link: &NodeLink, digest: Digest) -> MissingBlob {
    link.missing(vec![digest]).await.unwrap()[0]
}

#[tokio::test]
async fn blobs_go_over_facts_come_back_and_actions_are_applied() {
    let node = Fixture::new();
    let link = node.link("tester@host").await;
    for compression in [Compression::Deflate, Compression::None] {
        let source = node.blob(if compression == Compression::None { 20 << 20 } else { 3 << 20 });
        let mut told = Vec::new();
        let blob = missing(&link, source.digest).await;
        link.put_blob(&source, blob, compression, |done| told.push(done)).await.unwrap();
        assert_eq!((told.first(), told.last()), (Some(&0), Some(&source.size)));
        assert!(link.missing(vec![source.digest]).await.unwrap().is_empty());
        let install =
            Action::InstallBlob { digest: source.digest, path: "/opt/x".to_owned(), mode: Mode::new(0o755) };
        let mut events = Vec::new();
        let outcomes = link
            .apply(vec![install.clone(), put("/opt/y", "text"), put("/opt/y", "text")], |event| {
                events.push(event.clone())
            })
            .await
            .unwrap();
        assert!(matches!(outcomes[0], Outcome::Changed { .. }), "{outcomes:?}");
        assert_eq!(outcomes[2], Outcome::Unchanged { output: None });
        assert_eq!(events.first(), Some(&ApplyEvent::Started { index: 0 }));
        assert_eq!(events.last(), Some(&ApplyEvent::Done { index: 2, outcome: outcomes[2].clone() }));
        let read = Read::File { path: "/opt/x".to_owned(), text: false };
        let readings = link.gather(vec![read.clone(), Read::Blob { digest: source.digest }]).await.unwrap();
        let (asked, Reading::File(file)) = &readings[0] else { panic!("{readings:?}") };
        assert_eq!((asked, file.digest), (&read, Some(source.digest)));
        assert_eq!(readings[1].1, Reading::Present);
    }
    let statistics = link.statistics();
    assert!(statistics.bytes_sent > 20 << 20 && statistics.bytes_sent < 23 << 20, "{statistics:?}");
    assert_eq!(statistics.round_trips, 1 + 2 * 5);
    link.shutdown().await;
}

#[tokio::test]
async fn applying_stops_at_the_first_failure() {
    let node = Fixture::new();
    let link = node.link("tester@host").await;
    let outcomes = link.apply(vec![put("/a", "1"), put("bad", "2"), put("/c", "3")], |_| {}).await.unwrap();
    assert_eq!(outcomes.len(), 2);
    assert!(
        matches!(&outcomes[1], Outcome::Failed { error } if error.contains("`bad` is not an absolute path"))
    );
    assert!(!node.root.path("/c").unwrap().exists());
}

#[tokio::test]
async fn a_damaged_blob_is_refused_and_nothing_of_it_is_left() {
    let node = Fixture::new();
    let link = node.link("tester@host").await;
    let source = BlobSource { digest: Digest::of(b"something else"), ..node.blob(1 << 20) };
    let blob = missing(&link, source.digest).await;
    let error = link.put_blob(&source, blob, Compression::Deflate, |_| {}).await.unwrap_err();
    assert!(matches!(&error, LinkError::Refused { why, .. } if why.contains("is damaged")), "{error}");
    assert_eq!(node.stored(), Vec::<String>::new());
    let source = BlobSource { size: 2 << 20, ..node.blob(1 << 20) };
    let error = link.put_blob(&source, missing(&link, source.digest).await, Compression::None, |_| {}).await;
    assert!(matches!(error, Err(LinkError::Blob { .. })), "a file that is shorter than announced");
}

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_stopped() {
    let node = Fixture::new();
    let source = node.blob(16 << 20);
    let (operator, far) = duplex(64 << 10);
    let (reader, writer) = tokio::io::split(far);
    let serving = tokio::spawn(serve_link(reader, writer, node.root.clone()));
    // The stream breaks after 4 MiB: a pipe between the two ends that stops.
    let (near, middle) = duplex(64 << 10);
    let pipe = tokio::spawn(async move {
        let (mut from_operator, mut to_operator) = tokio::io::split(middle);
        let (mut from_node, mut to_node) = tokio::io::split(operator);
        let back = tokio::spawn(async move { tokio::io::copy(&mut from_node, &mut to_operator).await });
        let mut limited = (&mut from_operator).take(4 << 20);
        let _ = tokio::io::copy(&mut limited, &mut to_node).await;
        back.abort();
    });
    let link = NodeLink::connect("n1", near, "tester@host").await.unwrap();
    let blob = missing(&link, source.digest).await;
    let error = link.put_blob(&source, blob, Compression::None, |_| {}).await.unwrap_err();
    assert!(matches!(error, LinkError::Closed { .. }), "{error}");
    pipe.await.unwrap();
    let _ = serving.await.unwrap();

    let link = node.link("tester@host").await;
    let blob = missing(&link, source.digest).await;
    assert!(blob.present > 1 << 20 && blob.present < 4 << 20, "{blob:?}");
    assert!(!node.store().join(source.digest.to_string()).exists());
    let mut first = None;
    link.put_blob(&source, blob, Compression::None, |done| {
        first.get_or_insert(done);
    })
    .await
    .unwrap();
    assert_eq!(first, Some(blob.present));
    assert_eq!(node.stored(), [source.digest.to_string()]);
}

/// A connection that is lost may still take bytes to wait for room that never comes.
#[tokio::test]
async fn a_sender_notices_that_nobody_answers_any_more() {
    let node = Fixture::new();
    let source = node.blob(20 << 20);
    let (answers, to_operator) = duplex(64 << 10);
    let (to_node, requests) = duplex(64 << 10);
    let pipe = tokio::spawn(async move {
        let (mut requests, mut to_operator) = (requests, to_operator);
        let (mut from_node, mut to_node) = tokio::io::split(node.node());
        let forward = async {
            let _ = tokio::io::copy(&mut (&mut requests).take(4 << 20), &mut to_node).await;
        };
        tokio::select! { () = forward => {}, _ = tokio::io::copy(&mut from_node, &mut to_operator) => {} }
        drop(to_operator);
        // Nobody reads what is written to it, and nobody closes it.
        requests
    });
    let link = NodeLink::connect("n1", tokio::io::join(answers, to_node), "tester@host").await.unwrap();
    let blob = missing(&link, source.digest).await;
    let sending = link.put_blob(&source, blob, Compression::None, |_| {});
    let error = timeout(Duration::from_secs(20), sending).await.unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Closed { .. }), "{error}");
    drop(pipe.await.unwrap());
}

#[tokio::test]
async fn an_exchange_that_waits_holds_up_nobody() {
    let node = Fixture::new();
    let link = node.link("tester@host").await;
    let socket = Condition::SocketOpen { path: "/never".to_owned() };
    let waiting = link.apply(vec![Action::Wait { condition: socket, timeout_seconds: 600 }], |_| {});
    tokio::pin!(waiting);
    assert!(timeout(Duration::from_millis(100), &mut waiting).await.is_err());
    let source = node.blob(12 << 20);
    let blob = missing(&link, source.digest).await;
    link.put_blob(&source, blob, Compression::None, |_| {}).await.unwrap();
    link.gather(vec![Read::Host]).await.unwrap();
    // A sender that is given up in the middle leaves the link usable as well.
    let source = node.blob(14 << 20);
    let blob = missing(&link, source.digest).await;
    let _ =
        timeout(Duration::from_millis(3), link.put_blob(&source, blob, Compression::Deflate, |_| {})).await;
    link.gather(vec![Read::Host]).await.unwrap();
}

#[tokio::test]
async fn long_lists_and_long_texts_come_through() {
    let node = Fixture::new();
    let link = node.link("tester@host").await;
    let text = "ä".repeat(500 << 10);
    let actions = (0..4).map(|index| put(&format!("/long{index}"), &text)).collect();
    link.apply(actions, |_| {}).await.unwrap();
    let reads = (0..4).map(|index| Read::File { path: format!("/long{index}"), text: true }).collect();
    for (_, reading) in link.gather(reads).await.unwrap() {
        let Reading::File(file) = reading else { panic!("{reading:?}") };
        assert_eq!(file.text.unwrap().expose(), text);
    }
}

#[tokio::test]
async fn the_second_operator_is_refused_until_the_first_has_gone() {
    let node = Fixture::new();
    let first = node.link("first@host").await;
    first.apply(vec![put("/a", "1")], |_| {}).await.unwrap();
    let second = node.link("second@host").await;
    let error = second.apply(vec![put("/a", "2")], |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("first@host, since "), "{error}");
    assert_eq!(std::fs::read_to_string(node.root.path("/a").unwrap()).unwrap(), "1");
    second.gather(vec![Read::Host]).await.unwrap();
    first.shutdown().await;
    second.apply(vec![put("/a", "2")], |_| {}).await.unwrap();
}

/// `doctor` and `status` have a certificate signed while an install runs, or hangs.
#[tokio::test]
async fn whoever_only_looks_is_not_kept_out_by_whoever_works() {
    let node = Fixture::new();
    let first = node.link("first@host").await;
    first.apply(vec![put("/a", "1")], |_| {}).await.unwrap();
    let sign = Action::SignLeaf {
        authority_certificate: "/none.crt".to_owned(),
        authority_key: "/none.key".to_owned(),
        leaf: LeafSpec {
            authority: AuthorityKind::Kubernetes,
            common_name: "somebody".to_owned(),
            organizations: Vec::new(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usage: Usage::Client,
        },
        public_key: String::new(),
        lifetime: Lifetime::from_seconds(3600),
    };
    let second = node.link("second@host").await;
    let mut outcomes = Vec::new();
    let signed = second.apply(vec![sign], |event| {
        if let ApplyEvent::Done { outcome, .. } = event {
            outcomes.push(outcome.clone());
        }
    });
    signed.await.unwrap();
    // It got as far as signing, for which there is no key.
    assert!(
        matches!(&outcomes[..], [Outcome::Failed { error }] if error.contains("cannot sign")),
        "{outcomes:?}"
    );
    let held = second.gather(vec![Read::Lock]).await.unwrap();
    assert!(
        matches!(&held[0].1, Reading::Text(holder) if holder.starts_with("first@host, since ")),
        "{held:?}"
    );
}

#[tokio::test]
async fn a_node_is_taken_over_and_the_first_operator_learns_by_whom() {
    let node = Fixture::new();
    let first = node.link("first@host").await;
    first.claim(false).await.unwrap();
    let second = node.link("second@host").await;
    let refused = second.claim(false).await.unwrap_err();
    assert!(refused.is_locked() && refused.to_string().contains("first@host, since "), "{refused}");

    let socket = Condition::SocketOpen { path: "/never".to_owned() };
    let wait = first.apply(vec![Action::Wait { condition: socket, timeout_seconds: 600 }], |_| {});
    let (waited, taken) = tokio::join!(wait, second.claim(true));
    taken.unwrap();
    let error = waited.unwrap_err();
    assert!(!error.is_loss() && error.to_string().contains("second@host took this node over"), "{error}");
    second.apply(vec![put("/a", "2")], |_| {}).await.unwrap();
}

#[tokio::test]
async fn lines_of_a_journal_are_kept() {
    let node = Fixture::new();
    let link = node.link("tester@host").await;
    for lines in ["one\n", "two\nthree\n"] {
        link.record("20260101T000000000Z.jsonl", lines.to_owned()).await.unwrap();
    }
    let path = node.root.path("/var/lib/kubezt/journal/20260101T000000000Z.jsonl").unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\nthree\n");
    let error = link.record("../passwd", "x".to_owned()).await.unwrap_err();
    assert!(matches!(error, LinkError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn the_lock_ends_with_the_link_also_in_the_middle_of_an_action() {
    let node = Fixture::new();
    let first = node.link("first@host").await;
    let socket = Condition::SocketOpen { path: "/never".to_owned() };
    let wait = first.apply(vec![Action::Wait { condition: socket, timeout_seconds: 600 }], |_| {});
    assert!(timeout(Duration::from_millis(100), wait).await.is_err());
    drop(first);
    node.link("second@host").await.apply(vec![put("/a", "2")], |_| {}).await.unwrap();
}

#[tokio::test]
async fn a_login_shell_that_talks_is_skipped_and_one_that_only_talks_is_reported() {
    let (mut near, far) = duplex(1024);
    near.write_all(b"Welcome!\nYou have mail.\n").await.unwrap();
    drop(near);
    let error = NodeLink::connect("n1", far, "tester@host").await.unwrap_err().to_string();
    assert!(error.contains("You have mail"), "{error}");

    let node = Fixture::new();
    let (operator, mut noisy) = duplex(64 << 10);
    let mut served = node.node();
    tokio::spawn(async move {
        noisy.write_all(b"Welcome!\n").await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut noisy, &mut served).await;
    });
    let link = NodeLink::connect("n1", operator, "tester@host").await.unwrap();
    assert_eq!(link.hello().protocol, PROTOCOL);
}

#[tokio::test]
async fn nonsense_ends_the_link_with_a_reason() {
    let node = Fixture::new();
    let mut stream = node.node();
    stream.write_all(&[0xff; 64]).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("a frame of 4294967295 bytes was announced"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn random_frames_make_no_panic(frames in proptest::collection::vec((1..=3_u8, 0..3_u32, ".{0,40}"), 0..8)) {
        let node = Fixture::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (operator, far) = duplex(1 << 20);
            let (reader, writer) = tokio::io::split(far);
            let serving = tokio::spawn(serve_link(reader, writer, node.root.clone()));
            let (mut back, mut forth) = tokio::io::split(operator);
            for (kind, exchange, payload) in frames {
                let length = u32::try_from(payload.len() + 5).unwrap().to_be_bytes();
                let bytes = [&length[..], &[kind], &exchange.to_be_bytes(), payload.as_bytes()].concat();
                let _ = forth.write_all(&bytes).await;
            }
            let _ = forth.shutdown().await;
            let _ = back.read_to_end(&mut Vec::new()).await;
            let _ = serving.await.expect("no panic");
        });
    }
}

#[tokio::test]
async fn listeners_end_with_the_next_request_and_with_the_link() {
    use kubezt_model::survey::{Endpoint, Protocol, Target};
    let node = Fixture::new();
    let link = node.link("test@operator").await;
    let free = || tokio::net::TcpListener::bind("127.0.0.1:0");
    let (one, other) = (free().await.unwrap(), free().await.unwrap());
    let endpoint = |listener: &tokio::net::TcpListener| Endpoint {
        protocol: Protocol::Tcp,
        address: listener.local_addr().unwrap(),
    };
    let (taken, endpoint) = (endpoint(&one), endpoint(&other));
    drop(other);
    let name = || "n1".parse().unwrap();
    let refused = link.listen(vec![taken.clone(), endpoint.clone()], name()).await.unwrap();
    assert_eq!(refused.iter().map(|(endpoint, _)| endpoint).collect::<Vec<_>>(), [&taken]);

    let target = Target { endpoint: endpoint.clone(), node: Some(name()), bytes: 3000 };
    let reach = || vec![Read::Reach { targets: vec![target.clone()] }];
    let unreached = |readings: Vec<(Read, Reading)>| match readings.into_iter().next() {
        Some((_, Reading::Unreached(found))) => found.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(unreached(link.gather(reach()).await.unwrap()), 0);
    assert_eq!(link.listen(Vec::new(), name()).await.unwrap(), []);
    assert_eq!(unreached(link.gather(reach()).await.unwrap()), 1);

    assert_eq!(link.listen(vec![endpoint.clone()], name()).await.unwrap(), []);
    link.shutdown().await;
    let bound = async {
        while tokio::net::TcpListener::bind(endpoint.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), bound).await.unwrap();
}
