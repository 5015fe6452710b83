//! Comparisons between a wanted and a seen value.
//!
//! Seen values come as text from command lines and as typed values from files, so both sides are brought to one
//! type first: switches, numbers, durations, versions, then text.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::duration;

/// How a seen value is compared with the wanted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// The same value.
    Equals,
    /// Another value, or none.
    NotEquals,
    /// The same or more.
    AtLeast,
    /// The same or less.
    AtMost,
    /// More.
    Greater,
    /// One of a list.
    In,
    /// There is a value, and it is not empty.
    Set,
    /// There is no value.
    Unset,
    /// A list that holds every wanted item.
    Contains,
    /// A list that holds none of the items.
    NotContains,
    /// A list without items beyond the wanted ones, and not empty.
    Subset,
    /// Not between the two numbers of a list, both included; or no value.
    Outside,
}

impl Op {
    /// Whether it compares with something.
    pub const fn takes_value(self) -> bool {
        !matches!(self, Self::Set | Self::Unset)
    }

    /// Whether an absent value satisfies it.
    pub const fn holds_when_absent(self) -> bool {
        matches!(self, Self::Unset | Self::NotEquals | Self::NotContains | Self::Outside)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Equals => "",
            Self::NotEquals => "anything but ",
            Self::AtLeast => "at least ",
            Self::AtMost => "at most ",
            Self::Greater => "more than ",
            Self::In => "one of ",
            Self::Set => "some value",
            Self::Unset => "no value",
            Self::Contains => "a list with ",
            Self::NotContains => "a list without ",
            Self::Subset => "nothing beyond ",
            Self::Outside => "anything outside ",
        }
    }
}

/// An operator with what it compares to.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    op: Op,
    value: Value,
}

impl Expectation {
    /// Puts the two together.
    ///
    /// # Errors
    /// The operator needs a value and there is none, or it takes none and there is one.
    pub fn new(op: Op, value: Option<&Value>) -> Result<Self, String> {
        match (op.takes_value(), value) {
            (true, None | Some(Value::Null)) => Err(format!("`op: {op:?}` needs a `value`")),
            (false, Some(_)) => Err(format!("`op: {op:?}` takes no `value`")),
            (true, Some(value))
                if op == Op::Outside && value.as_array().is_none_or(|ends| ends.len() != 2) =>
            {
                Err("`op: outside` needs a `value` of two numbers".to_owned())
            }
            (_, value) => Ok(Self { op, value: value.cloned().unwrap_or(Value::Null) }),
        }
    }

    /// The operator.
    pub const fn op(&self) -> Op {
        self.op
    }

    /// Whether the wanted value is a switch, which command lines may write without a value.
    pub fn wants_switch(&self) -> bool {
        self.value.is_boolean()
    }

    /// Whether the seen value satisfies it; `None` is an absent value.
    ///
    /// # Errors
    /// The two cannot be compared.
    pub fn holds(&self, got: Option<&Value>) -> Result<bool, String> {
        let got = match got {
            None | Some(Value::Null) => return Ok(self.op.holds_when_absent()),
            Some(got) => got,
        };
        Ok(match self.op {
            Op::Set => *got != Value::String(String::new()) && *got != Value::Array(Vec::new()),
            Op::Unset => false,
            Op::Equals => equal(&self.value, got),
            Op::NotEquals => !equal(&self.value, got),
            Op::AtLeast => self.order(got)? != Ordering::Less,
            Op::AtMost => self.order(got)? != Ordering::Greater,
            Op::Greater => self.order(got)? == Ordering::Greater,
            Op::In => list(&self.value).iter().any(|wanted| equal(wanted, got)),
            Op::Contains => {
                let got = list(got);
                list(&self.value).iter().all(|wanted| got.iter().any(|item| equal(wanted, item)))
            }
            Op::NotContains => {
                let got = list(got);
                !list(&self.value).iter().any(|wanted| got.iter().any(|item| equal(wanted, item)))
            }
            Op::Subset => {
                let (wanted, got) = (list(&self.value), list(got));
                !got.is_empty() && got.iter().all(|item| wanted.iter().any(|wanted| equal(wanted, item)))
            }
            Op::Outside => {
                let ends = list(&self.value);
                ordered(got, &ends[0])? == Ordering::Less || ordered(got, &ends[1])? == Ordering::Greater
            }
        })
    }

    fn order(&self, got: &Value) -> Result<Ordering, String> {
        ordered(got, &self.value)
    }

    /// What is wanted, in words.
    pub fn words(&self) -> String {
        if self.op.takes_value() {
            format!("{}{}", self.op.words(), show(&self.value))
        } else {
            self.op.words().to_owned()
        }
    }
}

/// A value as people write it.
pub fn show(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// A list, whether it is one, or text with commas.
fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => text.split(',').map(|item| Value::String(item.trim().to_owned())).collect(),
        other => vec![other.clone()],
    }
}

fn equal(wanted: &Value, got: &Value) -> bool {
    match wanted {
        Value::Bool(wanted) => switch(got) == Some(*wanted),
        Value::Number(_) => match got {
            // A number never equals text that only looks like another unit, such as `5m`.
            Value::Number(_) | Value::String(_) => number(wanted).is_some() && number(wanted) == number(got),
            _ => false,
        },
        Value::Array(items) => {
            let got = list(got);
            items.len() == got.len() && items.iter().zip(&got).all(|(wanted, got)| equal(wanted, got))
        }
        Value::String(text) => match got {
            Value::String(seen) if seen == text => true,
            Value::String(seen) => match (duration::nanoseconds(text), duration::nanoseconds(seen)) {
                (Some(wanted), Some(seen)) => wanted == seen,
                _ => false,
            },
            Value::Number(_) | Value::Bool(_) => show(got) == *text,
            _ => false,
        },
        Value::Null | Value::Object(_) => wanted == got,
    }
}

/// The spellings Go's flag packages accept for a switch.
fn switch(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

fn ordered(got: &Value, wanted: &Value) -> Result<Ordering, String> {
    compare(got, wanted).ok_or_else(|| format!("{} cannot be compared with {}", show(got), show(wanted)))
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (number(left), number(right)) {
        return left.partial_cmp(&right);
    }
    let (Value::String(left), Value::String(right)) = (left, right) else { return None };
    if let (Some(left), Some(right)) = (duration::nanoseconds(left), duration::nanoseconds(right)) {
        return Some(left.cmp(&right));
    }
    let version = |text: &str| semver::Version::parse(text.trim_start_matches('v')).ok();
    Some(version(left)?.cmp_precedence(&version(right)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(op: Op, wanted: Value, got: Value) -> bool {
        let wanted = if op.takes_value() { Some(wanted) } else { None };
        Expectation::new(op, wanted.as_ref()).unwrap().holds(Some(&got)).unwrap()
    }

    #[test]
    fn values_compare_by_meaning() {
        assert!(holds(Op::Equals, json!(false), json!("false")));
        assert!(holds(Op::Equals, json!(false), json!("F")));
        assert!(!holds(Op::Equals, json!(false), json!("no")));
        assert!(holds(Op::Equals, json!(0), json!("0")));
        assert!(!holds(Op::Equals, json!(0), json!("0s")));
        assert!(holds(Op::Equals, json!("5m"), json!("300s")));
        assert!(holds(Op::AtLeast, json!("5m"), json!("5m0s")));
        assert!(!holds(Op::AtLeast, json!("5m"), json!("0s")));
        assert!(holds(Op::Greater, json!("0s"), json!("1m")));
        assert!(holds(Op::AtLeast, json!(100), json!("100")));
        assert!(holds(Op::AtLeast, json!("1.12.9"), json!("v1.36.3")));
        assert!(holds(Op::Equals, json!(["Node", "RBAC"]), json!("Node,RBAC")));
        assert!(!holds(Op::Equals, json!(["Node", "RBAC"]), json!("RBAC,Node")));
    }

    #[test]
    fn lists_compare_by_item_not_by_substring() {
        assert!(holds(Op::Contains, json!(["RBAC"]), json!("Node,RBAC")));
        assert!(!holds(Op::Contains, json!(["RBAC"]), json!("NoRBAC")));
        assert!(!holds(Op::NotContains, json!(["AlwaysAllow"]), json!("Node,AlwaysAllow")));
        assert!(holds(Op::Subset, json!(["a", "b"]), json!("a")));
        assert!(!holds(Op::Subset, json!(["a", "b"]), json!("a,c")));
        assert!(!holds(Op::Subset, json!(["a"]), json!("")));
        assert!(!holds(Op::Set, json!(null), json!("")));
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let at_least = Expectation::new(Op::AtLeast, Some(&json!("5m"))).unwrap();
        assert!(at_least.holds(Some(&json!("soon"))).is_err());
        assert!(Expectation::new(Op::Equals, None).is_err());
        assert!(Expectation::new(Op::Set, Some(&json!(1))).is_err());
    }
}
