//! Names that were parsed: a value of these types is known to be well formed.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a text is not a valid name, mode or owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not an RFC 1123 host name.
    #[error(
        "`{0}` is not a node name: use lower-case letters, digits, `-` and `.`, at most 253 characters (RFC 1123)"
    )]
    NodeName(String),
    /// Not an octal file mode.
    #[error("`{0}` is not a file mode: write four octal digits, for example \"0600\"")]
    Mode(String),
    /// Not `user:group`.
    #[error("`{0}` is not an owner: write `user:group`, for example `root:root`")]
    Owner(String),
}

/// What [`NodeName`] reads, for those who have only its schema.
const NODE_NAME: &str = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$";

/// Name of a node: its Kubernetes name and its host name, which STIG V-242404 wants to be equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("format" = "hostname", "maxLength" = 253, "pattern" = NODE_NAME))]
pub struct NodeName(String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= 253 && text.split('.').all(label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::NodeName(text.to_owned()))
        }
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

/// Permission bits of a file or directory, written as four octal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[0-7]{3,4}$"))]
pub struct Mode(u32);

impl Mode {
    /// A mode from its bits; bits beyond `0o7777` are dropped.
    pub const fn new(bits: u32) -> Self {
        Self(bits & 0o7777)
    }

    /// The permission bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether every bit set here is also allowed by `limit`: "0600 or tighter".
    pub const fn within(self, limit: Self) -> bool {
        self.0 & !limit.0 == 0
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Mode({self})")
    }
}

impl FromStr for Mode {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(text, 8) {
            Ok(bits) if octal => Ok(Self(bits)),
            _ => Err(NameError::Mode(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Mode {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        mode.to_string()
    }
}

/// Owning user and group of a file, by name, as `user:group`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner {
    /// User name.
    pub user: String,
    /// Group name.
    pub group: String,
}

impl Owner {
    /// `root:root`.
    pub fn root() -> Self {
        Self { user: "root".to_owned(), group: "root".to_owned() }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.user, self.group)
    }
}

impl FromStr for Owner {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once(':') {
            Some((user, group)) if !user.is_empty() && !group.is_empty() && !group.contains(':') => {
                Ok(Self { user: user.to_owned(), group: group.to_owned() })
            }
            _ => Err(NameError::Owner(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Owner {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_follow_rfc_1123() {
        for good in ["cp1", "worker-2.example.org"] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
        for bad in ["", "CP1", "a_b", "-a", "a-", "a..b", &"a".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_octal_and_compare_by_bits() {
        let mode: Mode = "0600".parse().unwrap();
        assert!(mode.within(Mode::new(0o644)));
        assert!(!Mode::new(0o604).within(Mode::new(0o600)));
        assert_eq!(mode.to_string(), "0600");
        for bad in ["9", "0800", "rw", "+600", "00600"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn owners_have_two_parts() {
        assert_eq!("etcd:etcd".parse::<Owner>().unwrap().to_string(), "etcd:etcd");
        for bad in ["root", ":root", "root:", "a:b:c"] {
            assert!(bad.parse::<Owner>().is_err(), "{bad}");
        }
    }
}
