//! Percent tokens of ssh_config(5), and `~/`.

use std::path::PathBuf;

/// What tokens stand for.
pub(super) struct Values<'a> {
    pub host: &'a str,
    pub original_host: &'a str,
    pub alias: &'a str,
    pub port: u16,
    pub user: &'a str,
    pub local_user: &'a str,
    pub home: &'a str,
}

/// Expands `%h` and `%%` of `HostName`; `None` where there is another token.
pub(super) fn host_name(text: &str, host: &str) -> Option<String> {
    expand(text, |token| (token == 'h').then(|| host.to_owned())).ok()
}

/// Expands a path.
pub(super) fn path(text: &str, values: &Values<'_>) -> Result<PathBuf, String> {
    let value = |token| {
        Some(match token {
            'h' => values.host.to_owned(),
            'n' => values.original_host.to_owned(),
            'k' => values.alias.to_owned(),
            'p' => values.port.to_string(),
            'r' => values.user.to_owned(),
            'u' => values.local_user.to_owned(),
            'd' => values.home.to_owned(),
            _ => return None,
        })
    };
    if text.contains("${") {
        return Err(format!("`{text}`: variables of the environment are not expanded"));
    }
    let expanded =
        expand(text, value).map_err(|token| format!("`{text}`: the token %{token} is not supported"))?;
    match expanded.strip_prefix('~') {
        Some(rest) => match rest.strip_prefix('/') {
            Some(rest) => Ok(PathBuf::from(values.home).join(rest)),
            None => Err(format!("`{text}`: only `~/` is expanded")),
        },
        None => Ok(PathBuf::from(expanded)),
    }
}

/// Replaces tokens; the one that is not known is the error.
fn expand(text: &str, value: impl Fn(char) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            expanded.push(character);
            continue;
        }
        match characters.next() {
            Some('%') => expanded.push('%'),
            Some(token) => expanded.push_str(&value(token).ok_or_else(|| token.to_string())?),
            None => return Err(String::new()),
        }
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_for_what_ssh_config_says() {
        let values = Values {
            host: "10.0.0.1",
            original_host: "cp1",
            alias: "alias",
            port: 2222,
            user: "admin",
            local_user: "me",
            home: "/home/me",
        };
        let table = [
            ("~/.ssh/%r@%h:%p", "/home/me/.ssh/admin@10.0.0.1:2222"),
            ("%d/%n/%k/%u", "/home/me/cp1/alias/me"),
            ("/keys/100%%", "/keys/100%"),
        ];
        for (text, expected) in table {
            assert_eq!(path(text, &values).unwrap(), PathBuf::from(expected));
        }
        for text in ["/keys/%C", "~other/key", "${HOME}/key", "/keys/%"] {
            assert!(path(text, &values).is_err(), "{text}");
        }
        assert_eq!(host_name("%h.example", "cp1").as_deref(), Some("cp1.example"));
        assert_eq!(host_name("%p", "cp1"), None);
    }
}
