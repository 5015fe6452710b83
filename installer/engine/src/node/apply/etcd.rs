//! Members of etcd: how one comes to its data, its vote, and its end.
//!
//! etcd founds or joins a cluster when it starts without data. kubelet starts it whenever it is down, so a member whose
//! disk was lost would found a second, empty cluster, or come back under its old name without what it has promised.
//! That is why its static pod can do neither (`initial-cluster-state` is `existing`, and no `initial-cluster` names others):
//! data is made here and only here, by the same container, in a folder beside the one kubelet's etcd looks into, and put
//! into its place once the member is one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kubezt_model::action::EtcdCluster;
use kubezt_model::node::EtcdMember;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{Applied, blocking};
use crate::node::container::{self, PodContainer};
use crate::node::etcdctl::Etcdctl;
use crate::node::{NodeError, NodeRoot, processes};

type Progress<'a> = &'a (dyn Fn(String) + Send + Sync);

/// Id of the container that forms a member.
const CONTAINER: &str = "kubezt-etcd";
/// Folder below the data directory that etcd keeps its data in.
const DATA: &str = "member";
/// Folder in there without which there is no data: an etcd that finds none leaves an empty database behind.
const LOG: &str = "wal";
/// Folder a member is formed in, below the data directory.
const FORMING: &str = "forming";
/// A snapshot after every entry, while a member is formed.
///
/// The first entries of a log may set the cluster version to 3.0, as long as not every founder is heard. An etcd 3.6 that reads
/// such an entry again when it starts takes it for a downgrade and takes a snapshot at once: with the members of today at
/// the log's place of long ago. Changes of members that come after that place are refused when they are read again, and a
/// member that lost its fellows waits for them for ever. Behind a snapshot nothing is read again.
const SNAPSHOTS: &str = "--snapshot-count=1";
/// Below this each founder of a cluster writes its name once it is a member for good.
const MARKS: &str = "kubezt/formed/";
/// How long these keys stay, in seconds.
const MARKED: u32 = 120;
/// How long a founder stays for the others: those that are not members for good yet need most of them for that.
const STAY: Duration = Duration::from_secs(20);
/// How long it stays on when it knows of all: only its leader's next heartbeats tell a member that the last mark is committed.
const LINGER: Duration = Duration::from_millis(500);
/// Where the manifest lets etcd tell its metrics, on loopback and without TLS.
const METRICS: &str = "127.0.0.1:2381";
/// Bytes of metrics that are looked at; there are some hundred thousand.
const METRICS_MAXIMUM: u64 = 8 << 20;
/// How long metrics may take.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two tries of what etcd refuses until its members have been well for a few seconds.
const RETRY: Duration = Duration::from_secs(1);

/// Makes the data of the member on this node.
///
/// # Errors
/// The manifest is not one of etcd, its container ends, or it is no member in time; with what it said at the end.
pub async fn form(
    root: &NodeRoot,
    manifest: &str,
    cluster: EtcdCluster,
    seconds: u32,
    progress: Progress<'_>,
) -> Result<Applied, NodeError> {
    let unsuitable = |why: String| NodeError::Configuration { path: PathBuf::from("manifest of etcd"), why };
    let pod = PodContainer::parse(manifest).map_err(unsuitable)?;
    let argument = |name: &str| pod.argument(name).ok_or_else(|| unsuitable(format!("it names no {name}")));
    let (name, peer_url) = (argument("--name")?, argument("--initial-advertise-peer-urls")?);
    let directory = argument("--data-dir")?;
    let data = root.path(directory)?;
    if data.join(DATA).join(LOG).exists() {
        return Ok(Applied::changed(false));
    }
    let deadline = Deadline::after(seconds);
    nothing_runs(root, &deadline).await?;
    let forming = data.join(FORMING);
    let founders = match &cluster {
        EtcdCluster::Founded { members } => members.len(),
        EtcdCluster::Joined { .. } => 0,
    };
    let mark = (founders > 1).then(|| format!("{MARKS}{name}"));
    let (state, members) = match cluster {
        EtcdCluster::Founded { members } => ("new", members),
        EtcdCluster::Joined { endpoints } => {
            let etcd = Etcdctl::of_member(root, &endpoints)?;
            ("existing", join(&etcd, name, peer_url, &forming, &deadline, progress).await?)
        }
    };
    let arguments = [
        format!("--data-dir={directory}/{FORMING}"),
        format!("--initial-cluster-state={state}"),
        format!("--initial-cluster={}", members.join(",")),
        SNAPSHOTS.to_owned(),
    ];
    let mut running = container::start(root, CONTAINER, &pod, &arguments).await?;
    let here = Etcdctl::here(root)?;
    loop {
        running.alive()?;
        match formed(&here, mark.as_deref()).await {
            Ok(()) => break,
            Err(last) if deadline.is_over() => {
                let said = running.said();
                running.stop().await?;
                return Err(deadline.missed("etcd to find its members", format!("{last}; it says: {said}")));
            }
            Err(last) => progress(last),
        }
        sleep(PAUSE).await;
    }
    if mark.is_some() {
        let left = Instant::now() + STAY;
        while Instant::now() < left && !here.known(MARKS).await.is_ok_and(|known| known >= founders) {
            running.alive()?;
            progress("not all founders are members for good".to_owned());
            sleep(PAUSE).await;
        }
        sleep(LINGER).await;
    }
    running.stop().await?;
    let place = data.join(DATA);
    blocking(root, move |_| put_into_place(&forming, &place)).await
}

/// Whether the member is one for good; otherwise what is so instead. A founder writes its mark then.
async fn formed(here: &Etcdctl, mark: Option<&str>) -> Result<(), String> {
    current(here).await?;
    let Some(mark) = mark else { return Ok(()) };
    cluster_version().await?;
    // Entries after the one that set the version, so that a snapshot is taken behind it.
    here.put_for(MARKED, mark, "formed").await.map_err(|error| error.chain())
}

/// Whether the members have agreed on a cluster version, which only the metrics tell.
async fn cluster_version() -> Result<(), String> {
    const AGREED: &str = "etcd_cluster_version{cluster_version=";
    let ask = async {
        let mut stream = TcpStream::connect(METRICS).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.take(METRICS_MAXIMUM).read_to_string(&mut answer).await.map(|_| answer)
    };
    match timeout(LOOK, ask).await {
        Ok(Ok(answer)) if answer.contains(AGREED) => Ok(()),
        Ok(Ok(_)) => Err("its members have not agreed on a version".to_owned()),
        Ok(Err(error)) => Err(format!("its metrics at {METRICS}: {error}")),
        Err(_) => Err(format!("its metrics at {METRICS}: no answer")),
    }
}

/// Until what kubelet started before has ended: the ports are the same.
async fn nothing_runs(root: &NodeRoot, deadline: &Deadline) -> Result<(), NodeError> {
    loop {
        let Some(process) = processes::named(root, "etcd")?.into_iter().next() else { return Ok(()) };
        // One that an earlier run of this program left behind is replaced when the container is started again.
        if process.arguments.iter().any(|word| word.starts_with("--data-dir=") && word.ends_with(FORMING)) {
            return Ok(());
        }
        if deadline.is_over() {
            let last = format!("process {} runs", process.pid);
            return Err(deadline.missed("the etcd on this node to end", last));
        }
        sleep(PAUSE).await;
    }
}

/// Makes room for the member in the cluster; answers with everybody in it, as `name=URL`.
async fn join(
    etcd: &Etcdctl,
    name: &str,
    peer_url: &str,
    forming: &Path,
    deadline: &Deadline,
    progress: Progress<'_>,
) -> Result<Vec<String>, NodeError> {
    loop {
        let refused = match room_for(etcd, name, peer_url, forming).await {
            Ok(members) => return Ok(initial_cluster(&members, name, peer_url)),
            Err(error) => error.chain(),
        };
        if deadline.is_over() {
            return Err(deadline.missed("etcd to let the member in", refused));
        }
        progress(refused);
        sleep(RETRY).await;
    }
}

/// One try: all members, among them this one, which has yet to start.
async fn room_for(
    etcd: &Etcdctl,
    name: &str,
    peer_url: &str,
    forming: &Path,
) -> Result<Vec<EtcdMember>, NodeError> {
    let begun = forming.join(DATA).join(LOG).exists();
    let members = etcd.members().await?;
    match members.iter().find(|member| is_at(member, peer_url)) {
        Some(member) if begun || member.client_urls.is_empty() => return Ok(members),
        // Its data is lost. It must not come back as who it was: others count on what it has agreed to.
        Some(member) => etcd.remove(member.id).await?,
        None => {}
    }
    if forming.exists() {
        // Of a member that was removed meanwhile.
        std::fs::remove_dir_all(forming).map_err(NodeError::file("remove", forming))?;
    }
    etcd.add_learner(name, peer_url).await
}

fn is_at(member: &EtcdMember, peer_url: &str) -> bool {
    member.peer_urls.iter().any(|url| url == peer_url)
}

/// Members that have not started have no name, and etcd wants one for each.
fn initial_cluster(members: &[EtcdMember], name: &str, peer_url: &str) -> Vec<String> {
    let named = |member: &EtcdMember| {
        if is_at(member, peer_url) {
            name.to_owned()
        } else if member.name.is_empty() {
            format!("member-{:x}", member.id)
        } else {
            member.name.clone()
        }
    };
    let all = members.iter().flat_map(|member| {
        let name = named(member);
        member.peer_urls.iter().map(move |url| format!("{name}={url}"))
    });
    all.collect()
}

fn put_into_place(forming: &Path, place: &Path) -> Result<Applied, NodeError> {
    let formed = forming.join(DATA);
    if place.exists() {
        std::fs::remove_dir_all(place).map_err(NodeError::file("remove", place))?;
    }
    std::fs::rename(&formed, place).map_err(NodeError::file("move", &formed))?;
    std::fs::remove_dir_all(forming).map_err(NodeError::file("remove", forming))?;
    // After a loss of power it is in its new place, or in its old one.
    let folder = place.parent().unwrap_or(place);
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(NodeError::file("write", folder))?;
    Ok(Applied::changed(true))
}

/// Whether the one member that is asked knows a leader and has applied what is committed; otherwise what is so instead.
pub(super) async fn current(etcd: &Etcdctl) -> Result<(), String> {
    let status = etcd.status().await.map_err(|error| error.chain())?;
    match status {
        status if status.leader == 0 => Err("it knows no leader".to_owned()),
        status if status.raft_applied_index == 0 || status.raft_applied_index < status.raft_index => {
            Err(format!("it has applied {} of {} entries", status.raft_applied_index, status.raft_index))
        }
        _ => Ok(()),
    }
}

/// What can be asked of etcd about one of its members.
#[derive(Clone, Copy)]
enum Change {
    Promote,
    Remove,
}

/// Gives the member at this URL a vote.
///
/// # Errors
/// It is no member, or has not caught up in time.
pub async fn promote(
    root: &NodeRoot,
    peer_url: &str,
    endpoints: &[String],
    seconds: u32,
    progress: Progress<'_>,
) -> Result<Applied, NodeError> {
    let etcd = Etcdctl::of_member(root, endpoints)?;
    until_agreed(&etcd, peer_url, Change::Promote, &Deadline::after(seconds), progress).await
}

/// Removes the member at this URL.
///
/// # Errors
/// The others do not agree in time.
pub async fn remove(
    root: &NodeRoot,
    peer_url: &str,
    seconds: u32,
    progress: Progress<'_>,
) -> Result<Applied, NodeError> {
    let etcd = Etcdctl::here(root)?;
    until_agreed(&etcd, peer_url, Change::Remove, &Deadline::after(seconds), progress).await
}

/// etcd refuses changes while its members have not been well for a few seconds, and a learner its vote until it has caught
/// up.
async fn until_agreed(
    etcd: &Etcdctl,
    peer_url: &str,
    change: Change,
    deadline: &Deadline,
    progress: Progress<'_>,
) -> Result<Applied, NodeError> {
    loop {
        match ask(etcd, peer_url, change).await {
            Ok(applied) => return Ok(applied),
            Err(error) if deadline.is_over() => {
                let what = match change {
                    Change::Promote => format!("{peer_url} to catch up with etcd"),
                    Change::Remove => format!("etcd to let {peer_url} go"),
                };
                return Err(deadline.missed(&what, error.chain()));
            }
            Err(error) => progress(error.chain()),
        }
        sleep(RETRY).await;
    }
}

async fn ask(etcd: &Etcdctl, peer_url: &str, change: Change) -> Result<Applied, NodeError> {
    let members = etcd.members().await?;
    match (members.iter().find(|member| is_at(member, peer_url)), change) {
        (Some(member), Change::Remove) => etcd.remove(member.id).await?,
        (Some(member), Change::Promote) if member.learner => etcd.promote(member.id).await?,
        (None, Change::Promote) => return Err(NodeError::NoMember(peer_url.to_owned())),
        (Some(_), Change::Promote) | (None, Change::Remove) => return Ok(Applied::changed(false)),
    }
    Ok(Applied::changed(true))
}

/// One look for [`kubezt_model::action::Condition::EtcdCurrent`].
pub(super) async fn look(root: &NodeRoot) -> Result<Result<(), String>, NodeError> {
    Ok(current(&Etcdctl::here(root)?).await)
}

struct Deadline {
    end: Instant,
    seconds: u32,
}

impl Deadline {
    fn after(seconds: u32) -> Self {
        Self { end: Instant::now() + Duration::from_secs(seconds.into()), seconds }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    fn missed(&self, what: &str, last: String) -> NodeError {
        NodeError::Waited { what: what.to_owned(), seconds: self.seconds, last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str, last: u8) -> EtcdMember {
        EtcdMember {
            id,
            name: name.to_owned(),
            peer_urls: vec![format!("https://192.0.2.{last}:2380")],
            client_urls: Vec::new(),
            learner: false,
        }
    }

    #[test]
    fn every_member_of_the_cluster_has_a_name() {
        let members = [member(1, "a", 1), member(0x2f, "", 2), member(3, "", 3)];
        assert_eq!(
            initial_cluster(&members, "c", "https://192.0.2.3:2380"),
            ["a=https://192.0.2.1:2380", "member-2f=https://192.0.2.2:2380", "c=https://192.0.2.3:2380"]
        );
    }

    #[test]
    fn data_is_put_into_place_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (forming, place) = (folder.path().join(FORMING), folder.path().join(DATA));
        std::fs::create_dir_all(forming.join(DATA).join("wal")).unwrap();
        assert!(put_into_place(&forming, &place).unwrap().changed);
        assert!(place.join(LOG).is_dir() && !forming.exists());
        // What a start without data left behind gives way.
        std::fs::remove_dir(place.join(LOG)).unwrap();
        std::fs::create_dir_all(forming.join(DATA).join(LOG)).unwrap();
        assert!(put_into_place(&forming, &place).unwrap().changed && place.join(LOG).is_dir());
    }
}
