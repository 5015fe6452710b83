//! Paths with `*` (within one name) and `**` (any depth).

/// The directory above the first pattern; `None` where the path has no pattern.
pub fn base(pattern: &str) -> Option<String> {
    let mut kept = Vec::new();
    for part in pattern.split('/') {
        if part.contains('*') {
            let base = kept.join("/");
            return Some(if base.is_empty() { "/".to_owned() } else { base });
        }
        kept.push(part);
    }
    None
}

/// Whether a path is one the pattern means. `dir/**` means the directory itself and all below.
pub fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    parts(&pattern, &path)
}

fn parts(pattern: &[&str], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((&"**", rest)) => (0..=path.len()).any(|skip| parts(rest, &path[skip..])),
        Some((first, rest)) => {
            path.split_first().is_some_and(|(name, tail)| part(first, name) && parts(rest, tail))
        }
    }
}

fn part(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| part(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_within_names_and_double_stars_do_not() {
        assert!(matches("/a/*.yaml", "/a/b.yaml"));
        assert!(!matches("/a/*.yaml", "/a/b/c.yaml"));
        assert!(matches("/a/**/*.key", "/a/x.key"));
        assert!(matches("/a/**/*.key", "/a/b/c/x.key"));
        assert!(matches("/a/**", "/a"));
        assert!(matches("/a/**", "/a/b/c"));
        assert!(!matches("/a/**", "/ab"));
        assert_eq!(base("/a/**/*.key").as_deref(), Some("/a"));
        assert_eq!(base("/a/b"), None);
    }
}
