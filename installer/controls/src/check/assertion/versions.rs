//! Versions of server and nodes.

use std::collections::BTreeMap;

use super::super::api::{ApiRead, objects};
use super::super::version::version_in;
use super::super::{ClusterContext, Judged};

/// How many minor versions a kubelet may be older than the API server (Kubernetes version-skew policy).
const OLDEST: u64 = 3;

/// The server is a maintained release, and every kubelet is at most three minor versions older and never newer.
pub fn supported(
    context: &ClusterContext<'_>,
    maintained_until: &BTreeMap<String, jiff::civil::Date>,
) -> Result<Judged, String> {
    let text = context.evidence.server_version.as_deref().ok_or("the API server's version is not known")?;
    let server = version_in(text).ok_or_else(|| format!("`{text}` is not a version"))?;
    let minor = format!("{}.{}", server.major, server.minor);
    let mut judged = Vec::new();
    let until = maintained_until
        .get(&minor)
        .ok_or_else(|| format!("it is not known until when {minor} is maintained"))?;
    judged.push(Judged::of(
        context.evidence.today <= *until,
        "a maintained Kubernetes release",
        format!("server {server}, {minor} is maintained until {until}"),
    ));
    let reads = [ApiRead::all("v1", "Node", "nodes")];
    for (_, node) in objects(context, &reads)? {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let text = node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or_default();
        let kubelet = version_in(text).ok_or_else(|| format!("node {name} reports no kubelet version"))?;
        let newer = (kubelet.major, kubelet.minor) > (server.major, server.minor);
        let old = kubelet.major != server.major || server.minor.saturating_sub(kubelet.minor) > OLDEST;
        judged.push(Judged::of(
            !newer && !old,
            format!("kubelets at most {OLDEST} minor versions older than the server and not newer"),
            format!("node {name}: kubelet {kubelet}, server {server}"),
        ));
    }
    Ok(Judged::all(judged))
}
