//! Looking at things: a list of reads becomes a list of readings, in the order asked. Looking changes nothing, but
//! for the digests of programs that are remembered on `/run` ([`program`]).
//!
//! What is asked many times is looked up once: one pass over /proc, one `systemctl show`, one list of images.

pub mod audit;
pub mod claims;
pub mod containers;
pub mod file;
pub mod fsync;
pub mod host;
pub mod kernel;
pub mod log;
pub mod memory;
pub mod names;
pub mod network;
pub mod process;
pub mod program;
pub mod sockets;
pub mod survey;
pub mod unit;
pub mod version;

use std::collections::BTreeMap;

use futures::FutureExt as _;
use futures::future::join_all;
use kubezt_model::node::{Read, Reading};
use program::Programs;

use super::accounts::Accounts;
use super::apply::provisional;
use super::blobs::BlobStore;
use super::etcdctl::Etcdctl;
use super::{NodeError, NodeRoot, firewall, images, lock, processes, reach, serve};

/// Threads that read files side by side; most of the time goes into digests of large programs.
const FILE_THREADS: usize = 4;

/// Looks at everything in the list.
pub async fn gather(root: &NodeRoot, reads: Vec<Read>) -> Vec<(Read, Reading)> {
    let unit_names: Vec<String> = reads
        .iter()
        .filter_map(|read| match read {
            Read::Unit { name } => Some(name.clone()),
            _ => None,
        })
        .collect();
    let wants_images = reads.iter().any(|read| matches!(read, Read::Image { .. }));
    let versions = reads.iter().filter_map(|read| match read {
        Read::Version { program, arguments } => {
            Some(async move { (read.clone(), version::read(root, program, arguments).await) })
        }
        _ => None,
    });
    let values = reads.iter().filter_map(|read| match read {
        Read::EtcdValue { key } => Some(async move {
            let value = match Etcdctl::of_api_server(root) {
                Ok(etcd) => etcd.value(key).await,
                Err(error) => Err(error),
            };
            (read.clone(), reading(value.map(|value| value.map(Reading::EtcdValue))))
        }),
        _ => None,
    });
    // What waits for a resolver, a disk or another node.
    let tried = reads.iter().filter_map(|read| {
        let trying = match read {
            Read::Names { names } => names::read(names).boxed(),
            Read::Fsync { path } => fsync::read(root, path).boxed(),
            Read::EtcdMembers => members(root).boxed(),
            Read::Reach { targets } => reach::unreached(targets).map(Reading::Unreached).boxed(),
            Read::Firewall => firewall::listing(root)
                .map(|table| reading(table.map(|table| table.map(Reading::Text))))
                .boxed(),
            Read::EtcdStatus => etcd_status(root).boxed(),
            Read::ApiServers => api_servers(root).boxed(),
            Read::UnitLog { name } => log::unit(root, name)
                .map(|lines| reading(lines.map(|lines| Some(Reading::Lines(lines)))))
                .boxed(),
            _ => return None,
        };
        Some(trying.map(|found| (read.clone(), found)))
    });
    let (mut answers, units, images, versions, values, tried) = tokio::join!(
        files(root, reads.clone()),
        unit::read(root, &unit_names),
        async { if wants_images { Some(images::list(root).await) } else { None } },
        join_all(versions),
        join_all(values),
        join_all(tried),
    );
    answers.extend(versions);
    answers.extend(values);
    answers.extend(tried);
    reads
        .into_iter()
        .map(|read| {
            let reading = match &read {
                Read::Unit { name } => match &units {
                    Ok(units) => units.get(name).cloned().map_or(Reading::Missing, Reading::Unit),
                    Err(error) => Reading::Failed(error.chain()),
                },
                Read::Image { reference } => match &images {
                    Some(Ok(images)) => {
                        images.get(reference).cloned().map_or(Reading::Missing, Reading::Image)
                    }
                    Some(Err(error)) => Reading::Failed(error.chain()),
                    None => Reading::Missing,
                },
                _ => match answers.get(&read) {
                    Some(reading) => reading.clone(),
                    None => Reading::Failed("it was not read".to_owned()),
                },
            };
            (read, reading)
        })
        .collect()
}

/// Where there is none, no member of etcd was ever set up.
const ETCD_MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";

/// The members of etcd.
async fn members(root: &NodeRoot) -> Reading {
    if !root.known(ETCD_MANIFEST).exists() {
        return Reading::Missing;
    }
    let members = match Etcdctl::here(root) {
        Ok(etcd) => etcd.members().await,
        Err(error) => Err(error),
    };
    reading(members.map(|members| Some(Reading::EtcdMembers(members))))
}

/// The member of etcd on this node, as it sees itself.
async fn etcd_status(root: &NodeRoot) -> Reading {
    if !root.known(ETCD_MANIFEST).exists() {
        return Reading::Missing;
    }
    let status = match Etcdctl::here(root) {
        Ok(etcd) => etcd.status().await,
        Err(error) => Err(error),
    };
    reading(status.map(|status| Some(Reading::EtcdStatus(status.into()))))
}

/// API servers, asked with the balancer's pair.
async fn api_servers(root: &NodeRoot) -> Reading {
    reading(serve::ask_servers(root).await.map(|servers| servers.map(Reading::ApiServers)))
}

/// Everything that is answered by the file system, on a few threads.
async fn files(root: &NodeRoot, reads: Vec<Read>) -> BTreeMap<Read, Reading> {
    let accounts = match Accounts::load(root) {
        Ok(accounts) => accounts,
        Err(error) => {
            let why = Reading::Failed(error.chain());
            return reads.into_iter().map(|read| (read, why.clone())).collect();
        }
    };
    // One pass over /proc serves every question about processes.
    let running = reads
        .iter()
        .any(|read| matches!(read, Read::Process { .. }))
        .then(|| processes::all(root).map_err(|error| error.chain()));
    let (programs, store) = (Programs::load(root, jiff::Timestamp::now()), BlobStore::of(root));
    let context = std::sync::Arc::new(Context { root: root.clone(), accounts, running, programs, store });
    let mut shares: Vec<Vec<Read>> = vec![Vec::new(); FILE_THREADS];
    for (index, read) in reads.into_iter().enumerate() {
        shares[index % FILE_THREADS].push(read);
    }
    let threads = shares.into_iter().filter(|share| !share.is_empty()).map(|share| {
        let context = std::sync::Arc::clone(&context);
        tokio::task::spawn_blocking(move || {
            share
                .into_iter()
                .filter_map(|read| {
                    let reading = context.read(&read)?;
                    Some((read, reading))
                })
                .collect::<Vec<_>>()
        })
    });
    let answers = join_all(threads).await.into_iter().flatten().flatten().collect();
    context.programs.save(root);
    answers
}

struct Context {
    root: NodeRoot,
    accounts: Accounts,
    running: Option<Result<Vec<processes::Process>, String>>,
    programs: Programs,
    store: BlobStore,
}

impl Context {
    /// `None` where the file system does not tell.
    fn read(&self, read: &Read) -> Option<Reading> {
        let answer = match read {
            Read::Host => Ok(Some(Reading::Host(Box::new(host::read(&self.root))))),
            Read::File { path, text } => {
                file::read(&self.root, &self.accounts, path, *text).map(|file| file.map(Reading::File))
            }
            Read::Program { path } => {
                let found = self.programs.read(&self.root, &self.accounts, path);
                found.map(|file| file.map(Reading::File))
            }
            Read::Tree { path } => {
                file::tree(&self.root, &self.accounts, path).map(|tree| tree.map(Reading::Tree))
            }
            Read::Process { name } => return Some(process::select(self.running.as_ref(), name)),
            Read::Sysctl { key } => kernel::sysctl(&self.root, key).map(|value| value.map(Reading::Text)),
            Read::Module { name } => Ok(kernel::is_active(&self.root, name).then_some(Reading::Present)),
            Read::PublicKey { path } => {
                file::public_key(&self.root, path).map(|key| key.map(Reading::PublicKey))
            }
            Read::User { name } => Ok(self.accounts.user(name).map(Reading::User)),
            Read::Blob { digest } => Ok(self.store.has(*digest).then_some(Reading::Present)),
            Read::AuditRecord { path, audit_id } => {
                audit::record(&self.root, path, audit_id).map(|record| record.map(Reading::AuditRecord))
            }
            Read::Unit { .. }
            | Read::Image { .. }
            | Read::Version { .. }
            | Read::EtcdValue { .. }
            | Read::EtcdMembers
            | Read::Names { .. }
            | Read::Fsync { .. }
            | Read::Reach { .. }
            | Read::UnitLog { .. }
            | Read::Firewall
            | Read::EtcdStatus
            | Read::ApiServers => return None,
            Read::Containers => containers::read(&self.root).map(|found| found.map(Reading::Containers)),
            Read::Memory => memory::read(&self.root).map(|memory| Some(Reading::Memory(memory))),
            Read::Provisional => provisional::waiting(&self.root).map(|waiting| waiting.map(Reading::Text)),
            Read::Lock => lock::holder(&self.root).map(|holder| holder.map(Reading::Text)),
            Read::Clock => Ok(Some(Reading::Clock(jiff::Timestamp::now().as_millisecond()))),
            Read::Kernel { modules, options } => {
                Ok(Some(Reading::Kernel(survey::kernel(&self.root, modules, options))))
            }
            Read::Network => network::read(&self.root).map(|network| Some(Reading::Network(network))),
            Read::Sockets => sockets::read(&self.root).map(|sockets| Some(Reading::Sockets(sockets))),
            Read::FileSystem { path } => {
                survey::file_system(&self.root, path).map(|found| Some(Reading::FileSystem(found)))
            }
            Read::Kubeconfig { path } => {
                claims::kubeconfig(&self.root, path).map(|found| found.map(Reading::Kubeconfig))
            }
            Read::Subjects { path } => {
                claims::subjects(&self.root, path).map(|found| found.map(Reading::Subjects))
            }
        };
        Some(reading(answer))
    }
}

/// What is not there is missing, what cannot be read failed.
fn reading(answer: Result<Option<Reading>, NodeError>) -> Reading {
    match answer {
        Ok(Some(reading)) => reading,
        Ok(None) => Reading::Missing,
        Err(error) => Reading::Failed(error.chain()),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
