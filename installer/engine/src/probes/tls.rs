//! Old protocols and weak suites must be refused where approved ones are taken; so must clients without a certificate.

use std::time::Duration;

use super::ProbeResult;
use super::hello::{Answer, Offer, offer};
use crate::api::Dialler;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes a weak offer, described by `name`, and one that must be taken.
///
/// # Errors
/// The port does not answer TLS at all, or refuses everything, so that a refusal means nothing.
pub async fn refuses(
    dial: &Dialler,
    name: &str,
    weak: &Offer,
    random: [u8; 32],
) -> Result<ProbeResult, String> {
    let approved = answer(dial, &Offer::approved(), random).await?;
    let Answer::Accepted { suite } = approved else {
        return Err(format!(
            "TLS 1.2 with the approved suites was refused as well ({approved:?}), so the refusal of {name} means nothing"
        ));
    };
    Ok(match answer(dial, weak, random).await? {
        Answer::Accepted { suite } => {
            ProbeResult::broken(format!("{name} refused"), format!("accepted with suite {suite:#06x}"))
        }
        Answer::Alert(code) => {
            ProbeResult::held(format!("{name}: alert {code}; TLS 1.2 with approved suites: {suite:#06x}"))
        }
        Answer::Closed => {
            ProbeResult::held(format!("{name}: closed; TLS 1.2 with approved suites: {suite:#06x}"))
        }
    })
}

async fn answer(dial: &Dialler, what: &Offer, random: [u8; 32]) -> Result<Answer, String> {
    let stream = dial().await.map_err(|error| error.to_string())?;
    match tokio::time::timeout(PATIENCE, offer(stream, what, random)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer to a ClientHello in {} s", PATIENCE.as_secs())),
    }
}

/// Handshakes without a client certificate and asks for something: an answer other than 401 means that the server takes
/// clients it does not know.
///
/// # Errors
/// The port does not answer TLS at all.
pub async fn wants_certificate(dial: &Dialler, random: [u8; 32]) -> Result<ProbeResult, String> {
    // A server that speaks to nobody proves nothing.
    let Answer::Accepted { .. } = answer(dial, &Offer::approved(), random).await? else {
        return Err("no handshake succeeds, so a refusal means nothing".to_owned());
    };
    let exchange = crate::api::request_without_certificate(dial, "/version");
    Ok(match tokio::time::timeout(PATIENCE, exchange).await {
        Err(_) => return Err(format!("no answer in {} s", PATIENCE.as_secs())),
        Ok(Err(error)) => ProbeResult::held(format!("a client without a certificate: {error}")),
        Ok(Ok(status)) if status.starts_with("HTTP/1.1 401") => {
            ProbeResult::held("a client without a certificate: 401")
        }
        Ok(Ok(status)) => ProbeResult::broken("a client without a certificate refused", status),
    })
}
