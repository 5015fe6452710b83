//! Asking a control-plane node for leaves, where this node has no authority's key.
//!
//! A request is left in the API and looked for again a minute later. Nothing of it is kept on the node: which of the requests there
//! is this leaf's tells a label, and whether its certificate is of use the certificate itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use jiff::Timestamp;
use kubezt_model::desired::DesiredCertificate;
use kubezt_pki::CertificateChain;
use kubezt_pki::request::{api_usages, request_leaf};
use serde_json::{Value, json};

use super::{Configuration, Due, NodeRoot, OURS, REQUESTS, Report, SIGNER, unfit};
use crate::api::{ApiClient, text};

/// Which leaf a request is for.
const LEAF: &str = "kubezt.dev/leaf";

/// How long, in seconds, a request may be without an answer until that is worth an alarm: control-plane nodes look every minute.
const PATIENCE: i64 = 3 * 60;

/// How long, in seconds, a request counts that nobody answered, or that was denied. Then the node asks anew.
const COUNTS: i64 = 10 * 60;

/// What is to be done about a leaf, from the requests there are for it.
#[derive(Debug, PartialEq)]
enum Step {
    /// Its certificate is there.
    Take(CertificateChain),
    /// Nobody answered yet; for how long, in seconds.
    Wait(i64),
    /// It was denied: why.
    Denied(String),
    /// There is none that counts.
    Ask,
}

/// Looks for answers, and asks for what was not asked for. Answers with what was issued.
pub(super) async fn all<'a>(
    root: &NodeRoot,
    configuration: &Configuration,
    due: &[Due<'a>],
    now: Timestamp,
    report: &mut Report,
) -> Vec<(&'a DesiredCertificate, CertificateChain)> {
    let listed = async {
        let client = configuration.client(root)?;
        let requests = client.list_selected(REQUESTS, OURS).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((client, requests))
    };
    let (client, requests) = match listed.await {
        Ok(listed) => listed,
        Err(why) => {
            due.iter().for_each(|one| report.take(one, Err(why.clone())));
            return Vec::new();
        }
    };
    let me = format!("system:node:{}", configuration.node);
    let mut issued = Vec::new();
    for one in due {
        let path = &one.certificate.certificate_path;
        let mine = requests.iter().filter(|request| {
            text(request, "/spec/username") == me && request["metadata"]["labels"][LEAF] == label(path)
        });
        let fits = |chain: &CertificateChain| matches!(unfit(root, configuration, one, chain, now), Ok(None));
        match step(mine, fits, now) {
            Step::Take(chain) => issued.push((one.certificate, chain)),
            Step::Wait(seconds) if seconds <= PATIENCE => {
                report.said.push(format!("{path} was asked for {seconds} s ago ({})", one.reason));
            }
            Step::Wait(seconds) => {
                let why = format!(
                    "no control-plane node answered within {seconds} s; its kubezt-renew.service says why"
                );
                report.take(one, Err(why));
            }
            Step::Denied(why) => report.take(one, Err(format!("the control plane denied it: {why}"))),
            Step::Ask => match ask(&client, one).await {
                Ok(()) => report.said.push(format!("{path} is asked for: {}", one.reason)),
                Err(why) => report.take(one, Err(why)),
            },
        }
    }
    issued
}

/// The newest request decides, except that a certificate that fits is taken from any.
fn step<'a>(
    requests: impl Iterator<Item = &'a Value>,
    fits: impl Fn(&CertificateChain) -> bool,
    now: Timestamp,
) -> Step {
    let mut newest: Option<(i64, &Value)> = None;
    for request in requests {
        if let Some(chain) = certificate(request).filter(&fits) {
            return Step::Take(chain);
        }
        let created: Option<Timestamp> = text(request, "/metadata/creationTimestamp").parse().ok();
        // The API server's clock is another one.
        let age = created.map_or(COUNTS, |created| now.duration_since(created).as_secs().max(0));
        // One with a certificate that does not fit was of use to an earlier renewal.
        if certificate(request).is_none() && newest.is_none_or(|(other, _)| age < other) {
            newest = Some((age, request));
        }
    }
    match newest {
        Some((age, request)) if age < COUNTS => match denial(request) {
            Some(why) => Step::Denied(why.to_owned()),
            None => Step::Wait(age),
        },
        _ => Step::Ask,
    }
}

fn certificate(request: &Value) -> Option<CertificateChain> {
    let pem = STANDARD.decode(text(request, "/status/certificate")).ok().filter(|pem| !pem.is_empty())?;
    CertificateChain::parse(std::str::from_utf8(&pem).ok()?).ok()
}

fn denial(request: &Value) -> Option<&str> {
    let conditions = request.pointer("/status/conditions")?.as_array()?;
    let denied = conditions.iter().find(|one| ["Denied", "Failed"].contains(&text(one, "/type")))?;
    Some(text(denied, "/message"))
}

async fn ask(client: &ApiClient, due: &Due<'_>) -> Result<(), String> {
    let request = request_leaf(&due.key, due.leaf).map_err(|error| error.to_string())?;
    let object = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {
            "generateName": "kubezt-",
            "labels": {LEAF: label(&due.certificate.certificate_path)},
        },
        "spec": {
            "request": STANDARD.encode(request),
            "signerName": SIGNER,
            "usages": api_usages(due.leaf.usage),
        },
    });
    let body = serde_json::to_vec(&object).map_err(|error| error.to_string())?;
    let created = client.call(Method::POST, REQUESTS, "application/json", body).await;
    created.map(drop).map_err(|error| error.to_string())
}

/// What the certificate's file is called, without its ending.
fn label(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".crt").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        let start: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        start + jiff::SignedDuration::from_mins(minutes)
    }

    fn request(minutes: i64, status: Value) -> Value {
        json!({"metadata": {"creationTimestamp": at(minutes).to_string()}, "status": status})
    }

    fn chain() -> CertificateChain {
        kubezt_pki::new_root("r", at(0), 1).unwrap().certificate().clone()
    }

    fn issued(minutes: i64, chain: &CertificateChain) -> Value {
        request(minutes, json!({"certificate": STANDARD.encode(chain.to_pem())}))
    }

    #[test]
    fn the_newest_request_decides_what_a_node_does_next() {
        let (fitting, other) = (chain(), chain());
        let fits = |chain: &CertificateChain| chain.first().fingerprint == fitting.first().fingerprint;
        let denied = json!({"conditions": [{"type": "Denied", "message": "not yours"}]});
        let approved = json!({"conditions": [{"type": "Approved", "message": "yours"}]});
        for (requests, now, wanted) in [
            (vec![], 0, Step::Ask),
            (vec![request(0, json!({}))], 2, Step::Wait(120)),
            (vec![request(0, approved)], 4, Step::Wait(240)),
            // A request from the future of a server's clock is a new one.
            (vec![request(1, json!({}))], 0, Step::Wait(0)),
            (vec![request(0, json!({}))], 10, Step::Ask),
            (vec![request(0, denied.clone())], 9, Step::Denied("not yours".to_owned())),
            (vec![request(0, denied.clone())], 10, Step::Ask),
            (vec![request(0, denied.clone()), request(5, json!({}))], 6, Step::Wait(60)),
            (vec![issued(0, &fitting)], 30, Step::Take(fitting.clone())),
            (vec![issued(0, &fitting), request(5, denied)], 6, Step::Take(fitting.clone())),
            // What the last renewal got is no answer to this one.
            (vec![issued(0, &other)], 1, Step::Ask),
        ] {
            assert_eq!(step(requests.iter(), fits, at(now)), wanted, "{requests:?}");
        }
    }
}
