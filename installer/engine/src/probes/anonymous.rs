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
