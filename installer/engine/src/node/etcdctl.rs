//! etcd, asked and told by its own client program, `etcdctl`.

use std::path::PathBuf;
use std::time::Duration;

use kubezt_model::health::EtcdStatusReading;
use kubezt_model::node::EtcdMember;
use kubezt_model::ports;
use serde::Deserialize;

use super::command::run_path;
use super::{NodeError, NodeRoot, processes};

/// How long etcd may take to answer; more than an election.
const LIMIT: Duration = Duration::from_secs(10);

/// How etcd is reached, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etcdctl {
    program: PathBuf,
    endpoints: String,
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// How far a member is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Id of the leader it knows; 0 for none.
    #[serde(default)]
    pub leader: u64,
    /// Last entry of its log that is committed.
    #[serde(default)]
    pub raft_index: u64,
    /// Last entry it has applied.
    #[serde(default)]
    pub raft_applied_index: u64,
    /// What it complains of.
    #[serde(default)]
    pub errors: Vec<String>,
}

impl Etcdctl {
    /// With the credentials of the member on this node, which are good at every member.
    ///
    /// # Errors
    /// [`NodeError::NoProgram`].
    pub fn of_member(root: &NodeRoot, endpoints: &[String]) -> Result<Self, NodeError> {
        Ok(Self {
            program: root.program("etcdctl")?,
            endpoints: endpoints.join(","),
            authority: root.known("/etc/etcd/pki/ca.crt"),
            certificate: root.known("/etc/etcd/pki/server.crt"),
            key: root.known("/etc/etcd/pki/server.key"),
        })
    }

    /// The member on this node.
    ///
    /// # Errors
    /// As [`Etcdctl::of_member`].
    pub fn here(root: &NodeRoot) -> Result<Self, NodeError> {
        Self::of_member(root, &[format!("https://127.0.0.1:{}", ports::ETCD_CLIENTS)])
    }

    /// As the API server of this node reaches etcd: its command line says where, and with which files.
    ///
    /// # Errors
    /// No API server runs here, or it does not say.
    pub fn of_api_server(root: &NodeRoot) -> Result<Self, NodeError> {
        let processes = processes::named(root, "kube-apiserver")?;
        let arguments = processes.first().map(|process| process.arguments.as_slice()).unwrap_or_default();
        let argument = |name: &str| {
            let found = arguments.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.ok_or_else(|| NodeError::Unsuitable {
                path: root.known("/proc"),
                why: format!("no kube-apiserver with {name} runs on this node"),
            })
        };
        Ok(Self {
            program: root.program("etcdctl")?,
            endpoints: argument("--etcd-servers")?.to_owned(),
            authority: root.path(argument("--etcd-cafile")?)?,
            certificate: root.path(argument("--etcd-certfile")?)?,
            key: root.path(argument("--etcd-keyfile")?)?,
        })
    }

    /// Every member.
    ///
    /// # Errors
    /// etcd does not answer, or has no leader.
    pub async fn members(&self) -> Result<Vec<EtcdMember>, NodeError> {
        let answer: Members = self.ask(&["member", "list"]).await?;
        Ok(answer.members.into_iter().map(EtcdMember::from).collect())
    }

    /// Lets a member in that does not vote; answers with every member.
    ///
    /// # Errors
    /// etcd does not answer, or refuses: it does while a member is not well, or another one learns.
    pub async fn add_learner(&self, name: &str, peer_url: &str) -> Result<Vec<EtcdMember>, NodeError> {
        let url = format!("--peer-urls={peer_url}");
        let answer: Members = self.ask(&["member", "add", name, "--learner", &url]).await?;
        Ok(answer.members.into_iter().map(EtcdMember::from).collect())
    }

    /// Gives a learner a vote.
    ///
    /// # Errors
    /// etcd does not answer, or the learner has not caught up.
    pub async fn promote(&self, id: u64) -> Result<(), NodeError> {
        self.ask::<serde::de::IgnoredAny>(&["member", "promote", &format!("{id:x}")]).await.map(drop)
    }

    /// Removes a member.
    ///
    /// # Errors
    /// etcd does not answer, or refuses: too few members would be left that are well.
    pub async fn remove(&self, id: u64) -> Result<(), NodeError> {
        self.ask::<serde::de::IgnoredAny>(&["member", "remove", &format!("{id:x}")]).await.map(drop)
    }

    /// How far the one member is that is asked.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self) -> Result<Status, NodeError> {
        let mut answers: Vec<Answer> = self.ask(&["endpoint", "status"]).await?;
        answers.pop().map(|answer| answer.status).ok_or_else(|| self.damaged("no status"))
    }

    /// The value under a key, in base64; `None` where etcd holds none.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn value(&self, key: &str) -> Result<Option<String>, NodeError> {
        let answer: Range = self.ask(&["get", key]).await?;
        Ok(answer.kvs.into_iter().next().map(|pair| pair.value))
    }

    /// Writes a value, which shows in the process list, and which etcd removes again after so many seconds.
    ///
    /// # Errors
    /// etcd does not answer, or has no leader.
    pub async fn put_for(&self, seconds: u32, key: &str, value: &str) -> Result<(), NodeError> {
        let Lease { id } = self.ask(&["lease", "grant", &seconds.to_string()]).await?;
        let lease = format!("--lease={id:x}");
        self.ask::<serde::de::IgnoredAny>(&["put", &lease, key, value]).await.map(drop)
    }

    /// How many keys begin like this, as far as the one member knows that is asked; it needs no leader for that.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn known(&self, prefix: &str) -> Result<usize, NodeError> {
        let answer: Range = self.ask(&["get", "--prefix", "--keys-only", "--consistency=s", prefix]).await?;
        Ok(answer.kvs.len())
    }

    async fn ask<T: for<'a> Deserialize<'a>>(&self, command: &[&str]) -> Result<T, NodeError> {
        let path = |name: &str, path: &PathBuf| format!("--{name}={}", path.display());
        let options = [
            "--write-out=json".to_owned(),
            "--dial-timeout=2s".to_owned(),
            format!("--command-timeout={}s", LIMIT.as_secs() - 2),
            format!("--endpoints={}", self.endpoints),
            path("cacert", &self.authority),
            path("cert", &self.certificate),
            path("key", &self.key),
        ];
        let arguments: Vec<&str> =
            command.iter().copied().chain(options.iter().map(String::as_str)).collect();
        let output = run_path(&self.program, &arguments, LIMIT).await?;
        serde_json::from_str(&output.stdout).map_err(|error| self.damaged(&error.to_string()))
    }

    fn damaged(&self, why: &str) -> NodeError {
        NodeError::Unsuitable {
            path: self.program.clone(),
            why: format!("it printed what is no answer: {why}"),
        }
    }
}

#[derive(Deserialize)]
struct Lease {
    #[serde(rename = "ID")]
    id: i64,
}

#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    members: Vec<Member>,
}

/// As etcdctl prints it; what is empty is left out.
#[derive(Deserialize)]
struct Member {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(default, rename = "isLearner")]
    learner: bool,
}

impl From<Member> for EtcdMember {
    fn from(member: Member) -> Self {
        let Member { id, name, peer_urls, client_urls, learner } = member;
        Self { id, name, peer_urls, client_urls, learner }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Status")]
    status: Status,
}

impl From<Status> for EtcdStatusReading {
    fn from(status: Status) -> Self {
        let Status { leader, raft_index, raft_applied_index, errors } = status;
        Self { leader, committed: raft_index, applied: raft_applied_index, errors }
    }
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    #[serde(default)]
    value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcdctl_prints_is_understood() {
        let list = r#"{"header":{"cluster_id":17237436991929493444,"raft_term":2},"members":[
            {"ID":9372538179322589801,"name":"a","peerURLs":["https://192.0.2.1:2380"],
             "clientURLs":["https://192.0.2.1:2379"]},
            {"ID":16,"peerURLs":["https://192.0.2.2:2380"],"isLearner":true}]}"#;
        let answer: Members = serde_json::from_str(list).unwrap();
        let members: Vec<EtcdMember> = answer.members.into_iter().map(EtcdMember::from).collect();
        assert_eq!((members[0].id, members[0].name.as_str()), (9_372_538_179_322_589_801, "a"));
        assert!(members[1].learner && members[1].client_urls.is_empty() && members[1].name.is_empty());

        let status = r#"[{"Endpoint":"https://127.0.0.1:2379","Status":{"header":{"member_id":1},
            "version":"3.6.14","dbSize":20480,"leader":1,"raftIndex":9,"raftTerm":2,"raftAppliedIndex":9}}]"#;
        let answers: Vec<Answer> = serde_json::from_str(status).unwrap();
        let Status { leader, raft_index, raft_applied_index, errors } = answers[0].status.clone();
        assert_eq!((leader, raft_index, raft_applied_index, errors), (1, 9, 9, Vec::new()));

        let value = r#"{"header":{},"kvs":[{"key":"L2E=","create_revision":2,"value":"dg=="}],"count":1}"#;
        assert_eq!(serde_json::from_str::<Range>(value).unwrap().kvs[0].value, "dg==");
        assert!(serde_json::from_str::<Range>(r#"{"header":{}}"#).unwrap().kvs.is_empty());
    }
}
