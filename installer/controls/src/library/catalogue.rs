//! A control catalogue: every rule of one framework. Which requirement satisfies a rule is said by the requirement.

use serde::{Deserialize, Serialize};

use super::requirement::Severity;

/// Every rule of one framework.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Catalogue {
    /// Short name, the key in a requirement's `controls`.
    pub framework: String,
    /// Full name.
    pub title: String,
    /// Version, such as `V2R6`.
    pub version: String,
    /// Day it was published.
    pub released: jiff::civil::Date,
    /// Its rules, in its own order.
    pub rules: Vec<Rule>,
}

impl Catalogue {
    /// The rule of this id.
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }
}

/// One rule of a framework.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// The framework's id, such as `V-242390` or `1.2.1`.
    pub id: String,
    /// What it asks for, in our words.
    pub title: String,
    /// Severity, where the framework has one.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Level, where the framework has levels.
    #[serde(default)]
    pub level: Option<u8>,
    /// Rule id with its revision (STIG), such as `SV-242390r1137640_rule`.
    #[serde(default)]
    pub rule_id: Option<String>,
    /// Whether that revision was seen in the benchmark; `false` where it was inferred from its neighbours.
    #[serde(default)]
    pub rule_id_confirmed: Option<bool>,
    /// Vendor id (STIG), such as `CNTR-K8-000360`.
    #[serde(default)]
    pub stig_id: Option<String>,
    /// Security requirements guide the rule belongs to (STIG).
    #[serde(default)]
    pub srg: Option<String>,
    /// Control correlation identifiers.
    #[serde(default)]
    pub cci: Vec<String>,
    /// NIST SP 800-53 revision 5 controls.
    #[serde(default)]
    pub nist: Vec<String>,
}
