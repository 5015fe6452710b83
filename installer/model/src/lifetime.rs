//! How long a leaf certificate lives.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is no lifetime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write hours, minutes or seconds, for example 24h, 20m or 1h30m")]
pub struct LifetimeError(String);

/// How long a leaf certificate lives, in whole seconds and at least one. Written with `h`, `m` and `s`, largest first, which
/// Go's components read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
pub struct Lifetime(u64);

impl Lifetime {
    /// The shortest setting that is accepted, in seconds. A certificate is renewed when a third of its life is left, and clients
    /// read theirs again every five minutes (client-go, `transport/cert_rotation.go`), so a third must not be less than that.
    pub const SHORTEST: u64 = 15 * 60;

    /// How far the begin of a fresh certificate lies in the past, so that nodes whose clocks lag a little accept it. A leaf is valid for
    /// that much longer than its lifetime.
    pub const BACKDATE: Duration = Duration::from_secs(5 * 60);

    /// A lifetime of this many seconds.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// It in seconds.
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// It as what clocks are compared with.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// Whether a leaf that is valid from one moment to another lives longer than one that is issued now for this lifetime. One that
    /// lives shorter is good: it was issued under another setting, or its issuer ends with it, and it is renewed in its own time.
    ///
    /// Plans, nodes and verification all ask this, so that what one of them finds wrong is what the others mend.
    pub fn is_exceeded(self, not_before: Timestamp, not_after: Timestamp) -> bool {
        let lives = not_after.duration_since(not_before);
        u64::try_from(lives.as_secs())
            .is_ok_and(|lives| lives > self.0.saturating_add(Self::BACKDATE.as_secs()))
    }
}

impl FromStr for Lifetime {
    type Err = LifetimeError;

    fn from_str(text: &str) -> Result<Self, LifetimeError> {
        let refuse = || LifetimeError(text.to_owned());
        // Other ways of writing it would not be understood by everybody who reads what is written back.
        if !text.bytes().all(|byte| byte.is_ascii_digit() || b"hms".contains(&byte)) {
            return Err(refuse());
        }
        let duration: SignedDuration = text.parse().map_err(|_| refuse())?;
        u64::try_from(duration.as_secs()).ok().filter(|seconds| *seconds > 0).map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.0 / 3600, 'h'), (self.0 / 60 % 60, 'm'), (self.0 % 60, 's')];
        parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, unit)| write!(formatter, "{count}{unit}"))
    }
}

impl TryFrom<String> for Lifetime {
    type Error = LifetimeError;

    fn try_from(text: String) -> Result<Self, LifetimeError> {
        text.parse()
    }
}

impl From<Lifetime> for String {
    fn from(lifetime: Lifetime) -> Self {
        lifetime.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_writes_them() {
        for (text, seconds, written) in [
            ("720h", 2_592_000, "720h"),
            ("24h0m0s", 86_400, "24h"),
            ("20m", 1200, "20m"),
            ("90m", 5400, "1h30m"),
            ("61s", 61, "1m1s"),
        ] {
            let lifetime: Lifetime = text.parse().unwrap();
            assert_eq!(lifetime.seconds(), seconds, "{text}");
            assert_eq!(lifetime.to_string(), written);
        }
    }

    #[test]
    fn what_lives_longer_than_it_and_what_was_backdated_exceeds_it() {
        let day = Lifetime::from_seconds(86_400);
        let until = |seconds| {
            day.is_exceeded(Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds))
        };
        assert!(!until(-1) && !until(3600) && !until(86_400) && !until(86_700));
        assert!(until(86_701) && until(30 * 86_400));
        assert!(day.is_exceeded(Timestamp::MIN, Timestamp::MAX));
        assert!(!Lifetime::from_seconds(u64::MAX).is_exceeded(Timestamp::MIN, Timestamp::MAX));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "24", "1d", "-1h", "0h", "PT1H", "1 hour", "h", "99999999999999999999h", "1.5h"] {
            let error = text.parse::<Lifetime>().unwrap_err().to_string();
            assert!(error.contains("20m"), "{text}: {error}");
        }
    }
}
