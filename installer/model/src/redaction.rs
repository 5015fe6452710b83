//! Text that others may see: journals, logs of containers, and what goes to support.
//!
//! Whoever collects something collects no secrets; this is for text that others wrote, which may hold any. It takes out what
//! looks like a secret, and rather too much than too little.

use serde_json::Value;

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Names before `=` or `:` whose value goes up to the end of the line, or of the quotation: it may have blanks in it.
const PHRASES: [&str; 5] = ["password", "passwd", "passphrase", "authorization", "cookie"];
/// Names before `=` or `:` whose value is one word.
const WORDS: [&str; 5] = ["token", "secretkey", "secret-key", "client-key-data", "private-key"];
/// Length from which on letters of both cases and digits in a row are taken for a key in base64: one of 24 bytes.
const KEY_LENGTH: usize = 32;

/// The text without private keys, tokens, passwords, passphrases, and keys in base64.
pub fn text(text: &str) -> String {
    let text = without_private_keys(text);
    text.split_inclusive('\n').map(line).collect()
}

/// Every text in a value, and what Secrets hold.
pub fn value(value: &mut Value) {
    object(value);
    match value {
        Value::String(found) => *found = text(found),
        Value::Array(values) => values.iter_mut().for_each(self::value),
        Value::Object(fields) => fields.values_mut().for_each(self::value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What a Secret holds; other objects stay as they are.
pub fn object(object: &mut Value) {
    if object.get("kind").and_then(Value::as_str) != Some("Secret") {
        return;
    }
    for field in ["data", "stringData"] {
        if let Some(map) = object.get_mut(field).and_then(Value::as_object_mut) {
            map.values_mut().for_each(|value| *value = Value::from("redacted"));
        }
    }
}

/// From the first line of a key to its last one, or to the end where the text is cut.
fn without_private_keys(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "PRIVATE KEY-----";
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(BEGIN) {
        let (before, block) = rest.split_at(begin);
        let title = block.lines().next().unwrap_or_default();
        kept.push_str(before);
        // JSON and logs of programs write line ends as `\n`, so that the whole block is one line.
        let Some(titled) = block.find(END).filter(|end| *end < title.len() && *end < 60) else {
            kept.push_str(BEGIN);
            rest = &block[BEGIN.len()..];
            continue;
        };
        kept.push_str(REDACTED);
        let inside = &block[titled + END.len()..];
        rest = inside.find(END).map_or("", |end| &inside[end + END.len()..]);
    }
    kept + rest
}

fn line(line: &str) -> String {
    keys(&tokens(&named(line)))
}

/// Takes out the values of names that say what they are.
fn named(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut kept = String::with_capacity(line.len());
    let mut from = 0;
    while let Some((at, end)) = next_value(&lower, from) {
        kept.push_str(&line[from..at]);
        kept.push_str(REDACTED);
        from = end;
    }
    kept + &line[from..]
}

/// Where the next such value begins and ends.
fn next_value(lower: &str, from: usize) -> Option<(usize, usize)> {
    let phrases = PHRASES.iter().map(|name| (*name, true));
    let names = phrases.chain(WORDS.iter().map(|name| (*name, false)));
    let values = names.flat_map(|(name, phrase)| {
        let found = lower[from..].match_indices(name);
        found.filter_map(move |(at, _)| value_after(lower, from + at + name.len(), phrase))
    });
    values.min()
}

/// The value that follows a name that ends here; `None` where none does.
fn value_after(lower: &str, end: usize, phrase: bool) -> Option<(usize, usize)> {
    let quotes = ['"', '\'', '\\'];
    let rest = lower[end..].trim_start_matches(quotes).trim_start_matches(' ');
    let rest = rest.strip_prefix([':', '='])?.trim_start_matches(' ');
    let value = rest.trim_start_matches(quotes);
    let quoted = value.len() < rest.len();
    let length = match (quoted, phrase) {
        (true, _) => value.find(quotes),
        (false, true) => value.find('\n'),
        (false, false) => value.find([' ', '\t', '\n', ',', ';', '"', '\'', '&', ')', '}', ']']),
    };
    let length = length.unwrap_or(value.len());
    let at = lower.len() - value.len();
    (length > 0).then_some((at, at + length))
}

/// Takes out bearer tokens, JSON web tokens (RFC 7519) and tokens of bootstrapping nodes.
fn tokens(line: &str) -> String {
    let is_part = |character: char| character.is_ascii_alphanumeric() || "._-~+/=".contains(character);
    let mut bearer = false;
    replaced(line, is_part, |word| {
        let follows = bearer && (word.len() >= 20 || word.bytes().any(|byte| byte.is_ascii_digit()));
        let secret = follows
            || (word.starts_with("eyJ") && word.len() > 20)
            || word.split_once('.').is_some_and(|(id, secret)| is_code(id, 6) && is_code(secret, 16));
        bearer = word.eq_ignore_ascii_case("bearer");
        secret
    })
}

fn is_code(word: &str, length: usize) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    word.len() == length && word.bytes().all(fits) && word.bytes().any(|byte| byte.is_ascii_digit())
}

/// Takes out keys in base64, of either alphabet. Digests and ids are in hexadecimal digits, which have one case.
fn keys(line: &str) -> String {
    let is_part = |character: char| character.is_ascii_alphanumeric() || "+/=_-".contains(character);
    replaced(line, is_part, |word| {
        let has = |kind: fn(&u8) -> bool| word.as_bytes().iter().any(kind);
        word.len() >= KEY_LENGTH
            && has(u8::is_ascii_lowercase)
            && has(u8::is_ascii_uppercase)
            && has(u8::is_ascii_digit)
    })
}

/// The line with every word that is a secret replaced; a word is as many characters in a row as belong to one.
fn replaced(line: &str, is_part: impl Fn(char) -> bool, mut is_secret: impl FnMut(&str) -> bool) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let inside = is_part(first);
        let length = rest.find(|character| is_part(character) != inside).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        kept.push_str(if inside && is_secret(word) { REDACTED } else { word });
        rest = after;
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\nx3Q==\n-----END PRIVATE KEY-----";

    #[test]
    fn what_is_secret_does_not_show() {
        let secrets = [
            ("jwt", "got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl from a client", "eyJ"),
            ("bearer", "Bearer s3cr3t-of-somebody", "s3cr3t"),
            ("header", "Authorization: Basic c2VjcmV0 more", "c2VjcmV0"),
            ("bootstrap", "joined with abc123.0123456789abcdef", "0123456789abcdef"),
            ("passphrase", "passphrase: correct horse battery", "horse"),
            ("quoted", r#"{"password":"hunter 2","user":"bob"}"#, "hunter"),
            ("escaped", r#"msg="{\"token\":\"hunter2\"}" ok"#, "hunter2"),
            ("argument", "etcd --token=hunter2 --name=a", "hunter2"),
            ("key", "key QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY= ends", "QUJDREVG"),
            ("kubeconfig", "client-key-data: LS0tLS1CRUdJTg==", "LS0tLS1"),
        ];
        for (what, said, secret) in secrets {
            let shown = text(said);
            assert!(!shown.contains(secret) && shown.contains(REDACTED), "{what}: {shown}");
        }
        assert!(text(r#"{"password":"hunter 2","user":"bob"}"#).ends_with(r#","user":"bob"}"#));
        assert!(text("etcd --token=hunter2 --name=a").ends_with(" --name=a"));
    }

    #[test]
    fn a_private_key_does_not_show_whole_cut_or_escaped() {
        let escaped = KEY.replace('\n', "\\n");
        for said in [KEY, &KEY[..60], &escaped] {
            let shown = text(&format!("before {said}"));
            assert!(shown.starts_with("before [redacted]"), "{shown}");
            assert!(!shown.contains("MIGH") && !shown.contains("x3Q"), "{shown}");
        }
        assert!(text(&format!("{KEY} after")).ends_with("[redacted] after"));
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
        assert_eq!(text(certificate), certificate);
    }

    #[test]
    fn what_helps_stays_readable() {
        for plain in [
            "open /var/lib/kubelet/pki/kubelet-client.crt: no such file or directory",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "pod \"etcd-cp1\" in \"kube-system\" failed: secret \"tls\" not found",
            "Nov 27 03:05:18 cp1 kubelet[812]: E1127 03:05:18.123456 dial tcp 10.0.0.11:6443: connect: connection refused",
            "2026-11-27T03:05:18.123456789Z starting",
            "invalid bearer tokens are counted",
        ] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn a_value_is_redacted_wherever_its_text_is() {
        let mut found = json!([
            {"kind": "Secret", "metadata": {"name": "tls"}, "data": {"a": "aGk="}, "stringData": {"b": "short"}},
            {"kind": "Pod", "log": ["token=hunter2"]},
        ]);
        value(&mut found);
        let shown = found.to_string();
        assert!(!["aGk=", "short", "hunter2"].iter().any(|secret| shown.contains(secret)), "{shown}");
        assert!(shown.contains("tls"));
    }
}
