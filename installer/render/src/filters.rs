//! Quoting, so that no value can break out of its place, and a little of what the format files need.
//!
//! | filter | gives |
//! |---|---|
//! | `yaml`, `json` | any value on one line, maps sorted by key; both languages read it |
//! | `toml` | a string, number, switch, or list of them |
//! | `systemd` | one word of a command line in a unit |
//! | `line` | text as it is, refused where it would end the line |
//! | `with_port(port=…)` | `address:port`, with brackets around IPv6 |
//! | `single_address` | the network that holds just this address |

use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::Value as Json;
use tera::{Error, Kwargs, State, Tera, TeraResult, Value};

/// Makes the filters known.
pub fn register(tera: &mut Tera) {
    tera.register_filter("yaml", |value: &Value, _: Kwargs, _: &State<'_>| flow(value));
    tera.register_filter("json", |value: &Value, _: Kwargs, _: &State<'_>| flow(value));
    tera.register_filter("toml", |value: &Value, _: Kwargs, _: &State<'_>| toml(value));
    tera.register_filter("systemd", |value: &str, _: Kwargs, _: &State<'_>| systemd(value));
    tera.register_filter("line", |value: &Value, _: Kwargs, _: &State<'_>| line(value));
    tera.register_filter("with_port", |value: &str, arguments: Kwargs, _: &State<'_>| {
        with_port(value, arguments.must_get("port")?)
    });
    tera.register_filter("single_address", |value: &str, _: Kwargs, _: &State<'_>| single_address(value));
}

fn flow(value: &Value) -> TeraResult<String> {
    let json = defined(value)?;
    let mut text = String::new();
    write_flow(&json, &mut text);
    Ok(text)
}

/// An undefined value would become `null` in silence.
fn defined(value: &Value) -> TeraResult<Json> {
    if value.is_undefined() {
        return Err(Error::message("the value is undefined"));
    }
    serde_json::to_value(value).map_err(Error::message)
}

/// JSON on one line with sorted keys, and with everything escaped that YAML or TOML would not take raw.
fn write_flow(value: &Json, text: &mut String) {
    match value {
        Json::String(string) => write_string(string, text),
        Json::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                text.push_str(if position == 0 { "" } else { ", " });
                write_flow(item, text);
            }
            text.push(']');
        }
        Json::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (position, (key, item)) in fields.into_iter().enumerate() {
                text.push_str(if position == 0 { "" } else { ", " });
                write_string(key, text);
                text.push_str(": ");
                write_flow(item, text);
            }
            text.push('}');
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => text.push_str(&value.to_string()),
    }
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            // Not printable in YAML, line ends of YAML 1.1, or the byte order mark.
            '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                // Writing into a string does not fail.
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            _ => text.push(character),
        }
    }
    text.push('"');
}

fn toml(value: &Value) -> TeraResult<String> {
    let json = defined(value)?;
    let plain = |value: &Json| matches!(value, Json::String(_) | Json::Bool(_) | Json::Number(_));
    let fits = match &json {
        Json::Array(items) => items.iter().all(plain),
        other => plain(other),
    };
    if !fits {
        return Err(Error::message("the `toml` filter takes a string, number, switch, or list of them"));
    }
    let mut text = String::new();
    write_flow(&json, &mut text);
    Ok(text)
}

/// systemd takes `%` and `$` for variables, and C escapes inside double quotes (systemd.service(5), systemd.syntax(7)).
fn systemd(word: &str) -> TeraResult<String> {
    if word.chars().any(char::is_control) {
        return Err(Error::message(format!("{word:?} holds a control character, which no unit can hold")));
    }
    let escaped = word.replace('%', "%%").replace('$', "$$");
    let bare = |character: char| character.is_alphanumeric() || "-_=./:,%$@+".contains(character);
    if !word.is_empty() && escaped.chars().all(bare) {
        return Ok(escaped);
    }
    Ok(format!("\"{}\"", escaped.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn line(value: &Value) -> TeraResult<String> {
    defined(value)?;
    let text = value.to_string();
    if text.chars().any(|character| character.is_control() || "\u{2028}\u{2029}".contains(character)) {
        return Err(Error::message(format!("{text:?} must be one line without control characters")));
    }
    Ok(text)
}

fn with_port(address: &str, port: u16) -> TeraResult<String> {
    let address: IpAddr =
        address.parse().map_err(|_| Error::message(format!("`{address}` is not an address")))?;
    Ok(std::net::SocketAddr::new(address, port).to_string())
}

fn single_address(address: &str) -> TeraResult<String> {
    match address.parse() {
        Ok(IpAddr::V4(address)) => Ok(format!("{address}/32")),
        Ok(IpAddr::V6(address)) => Ok(format!("{address}/128")),
        Err(_) => Err(Error::message(format!("`{address}` is not an address"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: [&str; 9] = [
        "a: \"b\" # c",
        "- x",
        "yes",
        "{{ x }}",
        "line\nbreak\r\n",
        "tab\tback\\slash",
        "\u{0}\u{7f}\u{85}\u{2028}\u{feff}",
        "snow ☃ 😀",
        "",
    ];

    #[test]
    fn no_string_breaks_out_of_its_quotes() {
        for text in NASTY {
            let quoted = flow(&Value::from(text)).unwrap();
            assert_eq!(quoted.lines().count(), 1, "{quoted}");
            let yaml: String = kubezt_model::yaml::read("test", &quoted).unwrap();
            assert_eq!(yaml, text, "YAML {quoted}");
            assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text, "JSON {quoted}");
            let document: toml::Table = format!("a = {}", toml(&Value::from(text)).unwrap()).parse().unwrap();
            assert_eq!(document["a"].as_str().unwrap(), text, "TOML {quoted}");
        }
    }

    #[test]
    fn maps_are_sorted() {
        let map = serde_json::json!({"b": [1, true, null], "a: x": {}});
        assert_eq!(flow(&Value::from_serializable(&map)).unwrap(), r#"{"a: x": {}, "b": [1, true, null]}"#);
        assert!(toml(&Value::from_serializable(&map)).is_err());
    }

    #[test]
    fn units_get_one_word() {
        assert_eq!(systemd("--a=b/c").unwrap(), "--a=b/c");
        assert_eq!(systemd("--a=x y\"%\\$").unwrap(), "\"--a=x y\\\"%%\\\\$$\"");
        assert_eq!(systemd("").unwrap(), "\"\"");
        assert!(systemd("a\nb").is_err());
    }

    #[test]
    fn addresses_are_written_for_their_family() {
        assert_eq!(with_port("10.0.0.1", 1).unwrap(), "10.0.0.1:1");
        assert_eq!(with_port("fd00::1", 1).unwrap(), "[fd00::1]:1");
        assert_eq!(single_address("fd00::1").unwrap(), "fd00::1/128");
        assert!(with_port("host", 1).is_err());
    }

    #[test]
    fn nothing_undefined_passes() {
        for filter in [flow, toml, line] {
            assert!(filter(&Value::undefined()).is_err());
        }
    }

    #[test]
    fn a_line_stays_one() {
        assert_eq!(line(&Value::from("a b")).unwrap(), "a b");
        assert!(line(&Value::from("a\nExecStart=/bin/sh")).is_err());
    }
}
