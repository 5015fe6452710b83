//! A request without credentials must be refused as unauthenticated.

use super::ProbeResult;
use crate::api::{ApiClient, ApiError};

/// Asks `path` without credentials; only 401 counts as a refusal, because 403 would mean that the request was
/// taken as the anonymous user's.
///
/// # Errors
/// The server does not answer.
pub async fn request(client: &ApiClient, path: &str) -> Result<ProbeResult, String> {
    let wanted = "401 Unauthorized";
    match client.call(http::Method::GET, path, "application/json", Vec::new()).await {
        Ok(_) => Ok(ProbeResult::broken(wanted, "the request was answered")),
        Err(ApiError::Refused { code: 401, .. }) => {
            Ok(ProbeResult::held(format!("GET {path} without credentials: 401")))
        }
        Err(ApiError::Refused { code, message, .. }) => {
            Ok(ProbeResult::broken(wanted, format!("{code} {message}")))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// What may be asked without credentials where health may be.
const HEALTH: [&str; 3] = ["/livez", "/readyz", "/healthz"];

/// What may not, although the server's own roles allow it to anonymous users (`/version`), or it lies right
/// beside.
const BESIDE: [&str; 3] = ["/version", "/livez/ping", "/metrics"];

/// Asks for health without credentials, which must be answered, and for what lies beside, which must be
/// refused with 401.
///
/// # Errors
/// The server does not answer.
pub async fn health_only(client: &ApiClient) -> Result<ProbeResult, String> {
    for path in HEALTH {
        match client.call(http::Method::GET, path, "application/json", Vec::new()).await {
            // A server that is not well says so with 500, and that is an answer.
            Ok(_) | Err(ApiError::Refused { code: 500.., .. }) => {}
            Err(ApiError::Refused { code, message, .. }) => {
                return Ok(ProbeResult::broken(format!("{path} answered"), format!("{code} {message}")));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    for path in BESIDE {
        let refused = request(client, path).await?;
        if matches!(refused, ProbeResult::Broken { .. }) {
            return Ok(refused);
        }
    }
    Ok(ProbeResult::held(format!("without credentials: {} answered, everything else 401", HEALTH.join(", "))))
}
