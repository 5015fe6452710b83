use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;

use kubezt_model::{NodeName, SecretText};
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::distribution::{Carrier, Distribution, Source};
use crate::link::{BlobSource, Compression, NodeLink};
use crate::node::serve_link::tests::{Fixture, missing};

/// A node side, the operator's link to it, and where it hands blobs on.
struct Node {
    fixture: Fixture,
    link: NodeLink,
    listen: SocketAddr,
}

impl Node {
    async fn new() -> Self {
        let fixture = Fixture::new();
        let link = fixture.link("tester@host").await;
        // A port nobody has at the moment.
        let listen = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        Self { fixture, link, listen }
    }

    async fn relay(&self, blobs: &[Digest], credential: &RelayCredential) {
        let (blobs, credential) = (blobs.iter().copied().collect(), credential.clone());
        self.link.relay(|| RelayOffer { listen: self.listen, blobs, credential }).await.unwrap();
    }

    async fn put(&self, source: &BlobSource) {
        let blob = missing(&self.link, source.digest).await;
        self.link.put_blob(source, blob, Compression::None, |_| {}).await.unwrap();
    }

    /// Fetches from another node; answers with what was told of its progress.
    async fn fetch(
        &self,
        source: &BlobSource,
        from: SocketAddr,
        credential: &RelayCredential,
    ) -> Result<Vec<u64>, String> {
        let mut told = Vec::new();
        let blob = missing(&self.link, source.digest).await;
        let fetched = self.link.fetch_blob(source, blob, from, credential, |bytes| told.push(bytes)).await;
        fetched.map(|()| told).map_err(|error| error.to_string())
    }
}

fn credential() -> RelayCredential {
    let made = kubezt_pki::passing_credential(RELAY_NAME, jiff::Timestamp::now(), Duration::from_secs(600));
    let made = made.unwrap();
    RelayCredential {
        authority_pem: made.authority.to_pem(),
        leaf_pem: made.leaf.to_pem(),
        key_pem: SecretText::new(made.key.expose().to_owned()),
    }
}

/// Nodes that one operator brings one blob to.
struct Fleet {
    nodes: BTreeMap<NodeName, Node>,
    source: BlobSource,
    credential: RelayCredential,
    distribution: Distribution,
    /// Who got it from where, in the order it ended, and whether it came.
    transfers: Mutex<Vec<(NodeName, Source, bool)>>,
}

struct Delivery<'a> {
    fleet: &'a Fleet,
    node: &'a NodeName,
}

impl Fleet {
    async fn new(names: &[&str], bytes: usize) -> Self {
        let mut nodes = BTreeMap::new();
        for name in names {
            nodes.insert(name.parse().unwrap(), Node::new().await);
        }
        let source = nodes.values().next().unwrap().fixture.blob(bytes);
        let (credential, distribution) = (credential(), Distribution::new(8, 1));
        Self { nodes, source, credential, distribution, transfers: Mutex::default() }
    }

    async fn deliver(&self, node: &NodeName) -> Result<(), String> {
        let (sender, _arrived) = unbounded_channel();
        let delivery = Delivery { fleet: self, node };
        self.distribution.deliver(node, vec![self.source.digest], &delivery, sender).await
    }
}

impl Carrier for Delivery<'_> {
    async fn carry(
        &self,
        blob: Digest,
        source: &Source,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), String> {
        let Fleet { nodes, source: content, credential, .. } = self.fleet;
        let node = &nodes[self.node];
        node.relay(&[blob], credential).await;
        let left = missing(&node.link, blob).await;
        let came = match source {
            Source::Operator => node.link.put_blob(content, left, Compression::None, progress).await,
            Source::Node(sender) => {
                let sender = &nodes[sender];
                sender.relay(&[blob], credential).await;
                node.link.fetch_blob(content, left, sender.listen, credential, progress).await
            }
        };
        self.fleet.transfers.lock().unwrap().push((self.node.clone(), source.clone(), came.is_ok()));
        came.map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn a_blob_goes_from_node_to_node_and_leaves_the_operator_once() {
    let fleet = Fleet::new(&["a", "b", "c"], 20 << 20).await;
    let delivered = futures::future::join_all(fleet.nodes.keys().map(|node| fleet.deliver(node))).await;
    assert_eq!(delivered, vec![Ok(()); 3]);
    let transfers = fleet.transfers.lock().unwrap().clone();
    let from_operator = transfers.iter().filter(|(_, source, _)| *source == Source::Operator).count();
    assert_eq!((transfers.len(), from_operator), (3, 1), "{transfers:?}");
    let sent: u64 = fleet.nodes.values().map(|node| node.link.statistics().bytes_sent).sum();
    assert!(sent < fleet.source.size * 11 / 10, "{sent} bytes left the operator");
    for node in fleet.nodes.values() {
        assert_eq!(node.fixture.stored(), [fleet.source.digest.to_string()]);
    }
}

#[tokio::test]
async fn a_damaged_blob_is_refused_and_comes_from_the_operator() {
    let fleet = Fleet::new(&["a", "b"], 3 << 20).await;
    let [a, b] = ["a", "b"].map(|name| name.parse::<NodeName>().unwrap());
    let (bad, good) = (&fleet.nodes[&a], &fleet.nodes[&b]);
    bad.put(&fleet.source).await;
    let path = bad.fixture.store().join(fleet.source.digest.to_string());
    File::options().write(true).open(path).unwrap().write_all_at(b"damage", 1 << 20).unwrap();
    fleet.distribution.has(&a, [fleet.source.digest]);
    fleet.deliver(&b).await.unwrap();
    let expected = [(b.clone(), Source::Node(a), false), (b, Source::Operator, true)];
    assert_eq!(*fleet.transfers.lock().unwrap(), expected);
    assert_eq!(good.fixture.stored(), [fleet.source.digest.to_string()]);
    assert!(missing_nothing(good, fleet.source.digest).await);
}

async fn missing_nothing(node: &Node, digest: Digest) -> bool {
    node.link.missing(vec![digest]).await.unwrap().is_empty()
}

#[tokio::test]
async fn whoever_is_not_of_the_run_gets_nothing() {
    let (sender, receiver) = (Node::new().await, Node::new().await);
    let source = sender.fixture.blob(1 << 20);
    let credential = credential();
    sender.relay(&[source.digest], &credential).await;
    sender.put(&source).await;
    let other = self::credential();
    receiver.fetch(&source, sender.listen, &other).await.unwrap_err();
    // It believes the sender, which does not believe it.
    let half = RelayCredential { authority_pem: credential.authority_pem.clone(), ..other };
    let error = receiver.fetch(&source, sender.listen, &half).await.unwrap_err();
    assert!(error.contains("alert"), "{error}");
    assert_eq!(missing(&receiver.link, source.digest).await.present, 0);

    // Nor does somebody who shows nothing.
    let config = crate::api::tls_config(&credential.authority_pem, None).unwrap();
    let stream = TcpStream::connect(sender.listen).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from(RELAY_NAME).unwrap(), stream).await.unwrap();
    let _ = stream.write_all(&[source.digest.as_bytes().as_slice(), &[0; 8]].concat()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{} bytes", answer.len());

    receiver.fetch(&source, sender.listen, &credential).await.unwrap();
}

#[tokio::test]
async fn what_is_not_in_the_list_is_not_handed_on() {
    let (sender, receiver) = (Node::new().await, Node::new().await);
    let (credential, secret) = (credential(), sender.fixture.blob(2 << 20));
    sender.put(&secret).await;
    let listed = sender.fixture.blob(1 << 20);
    sender.relay(&[listed.digest], &credential).await;
    let error = receiver.fetch(&secret, sender.listen, &credential).await.unwrap_err();
    assert!(error.contains("0 of 2097152 bytes came from"), "{error}");
    // Listed, and not there yet.
    receiver.fetch(&listed, sender.listen, &credential).await.unwrap_err();
    sender.put(&listed).await;
    receiver.fetch(&listed, sender.listen, &credential).await.unwrap();
    assert_eq!(missing(&receiver.link, secret.digest).await.present, 0);
}

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_stopped() {
    let (sender, receiver) = (Node::new().await, Node::new().await);
    let (credential, source) = (credential(), sender.fixture.blob(16 << 20));
    sender.relay(&[source.digest], &credential).await;
    sender.put(&source).await;
    // A way to the sender that ends after some megabytes.
    let way = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (through, listen) = (way.local_addr().unwrap(), sender.listen);
    let pipe = tokio::spawn(async move {
        let (mut near, _) = way.accept().await.unwrap();
        let mut far = TcpStream::connect(listen).await.unwrap();
        let (mut from_near, mut to_near) = near.split();
        let (from_far, mut to_far) = far.split();
        let mut limited = from_far.take(10 << 20);
        tokio::select! {
            _ = tokio::io::copy(&mut limited, &mut to_near) => {}
            _ = tokio::io::copy(&mut from_near, &mut to_far) => {}
        }
    });
    let error = receiver.fetch(&source, through, &credential).await.unwrap_err();
    assert!(error.contains("of 16777216 bytes came from"), "{error}");
    pipe.await.unwrap();
    let left = missing(&receiver.link, source.digest).await;
    assert!(left.present > 5 << 20 && left.present < 10 << 20, "{left:?}");
    let told = receiver.fetch(&source, sender.listen, &credential).await.unwrap();
    assert_eq!(told.first(), Some(&left.present), "{told:?}");
    assert_eq!(receiver.fixture.stored(), [source.digest.to_string()]);
}

/// Archives of images leave the store once they are imported.
#[tokio::test]
async fn what_leaves_the_store_is_handed_on_until_the_link_ends() {
    let (sender, receiver) = (Node::new().await, Node::new().await);
    let (credential, source) = (credential(), sender.fixture.blob(1 << 20));
    sender.put(&source).await;
    sender.relay(&[source.digest], &credential).await;
    BlobStore::of(&sender.fixture.root).remove(source.digest);
    assert_eq!(sender.fixture.stored(), Vec::<String>::new());
    receiver.fetch(&source, sender.listen, &credential).await.unwrap();

    let Node { link, listen, fixture: _fixture } = sender;
    link.shutdown().await;
    let bound = async {
        while TcpListener::bind(listen).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), bound).await.unwrap();
}

#[tokio::test]
async fn who_does_not_answer_costs_seconds() {
    let receiver = Node::new().await;
    let (credential, source) = (credential(), receiver.fixture.blob(1 << 20));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fetched = receiver.fetch(&source, silent.local_addr().unwrap(), &credential);
    let error = timeout(PATIENCE + CONNECT, fetched).await.unwrap().unwrap_err();
    assert!(error.contains("no answer within 10 s"), "{error}");
    let refused = receiver.listen;
    let error = receiver.fetch(&source, refused, &credential).await.unwrap_err();
    assert!(error.contains("cannot fetch a blob from 127.0.0.1:"), "{error}");
}

#[test]
fn keys_are_not_shown() {
    let credential = credential();
    let (listen, blobs) = (([127, 0, 0, 1], 1).into(), BTreeSet::new());
    let offer = RelayOffer { listen, blobs, credential: credential.clone() };
    let shown = format!("{offer:?} {:?}", crate::link::message::Request::Relay(offer.clone()));
    let secret = credential.key_pem.expose().lines().nth(1).unwrap();
    assert!(!shown.contains(secret) && shown.contains("SecretText(…)"), "{shown}");
    // What cannot be read is not told either.
    let broken = SecretText::new(credential.key_pem.expose().replace("-----END", secret));
    let error = server(&RelayCredential { key_pem: broken, ..credential }).unwrap_err();
    assert!(!format!("{error:?}").contains(secret), "{error:?}");
}
