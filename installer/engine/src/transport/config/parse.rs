//! Lines of ssh_config(5): keyword, arguments, quoting, comments, and the files that `Include` brings in.

use std::sync::Arc;

use super::Problem;

/// Files within files: as many levels as OpenSSH allows.
const DEPTH_MAXIMUM: usize = 16;

/// A configuration file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigText {
    /// What messages call it.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Finds the files an `Include` names: the pattern as written goes in, the files in the order of their names come out.
pub type Include<'a> = &'a mut dyn FnMut(&str) -> Result<Vec<ConfigText>, String>;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// File.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
}

/// One line with something on it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub place: Place,
    /// In lower case.
    pub keyword: String,
    pub arguments: Vec<String>,
    /// The files of an `Include`, each a list of lines.
    pub included: Vec<Vec<Line>>,
}

/// Reads a file and what it includes; what cannot be read is a problem, and the other lines still count.
pub(super) fn read(config: &ConfigText, include: Include<'_>, problems: &mut Vec<Problem>) -> Vec<Line> {
    read_nested(config, include, problems, 0)
}

fn read_nested(
    config: &ConfigText,
    include: Include<'_>,
    problems: &mut Vec<Problem>,
    depth: usize,
) -> Vec<Line> {
    let file: Arc<str> = config.name.as_str().into();
    let mut lines = Vec::new();
    for (index, text) in config.text.lines().enumerate() {
        let place = Place { file: Arc::clone(&file), line: index + 1 };
        let (keyword, arguments) = match split(text) {
            Ok(Some(split)) => split,
            Ok(None) => continue,
            Err(why) => {
                problems.push(Problem { place, why: why.to_owned() });
                continue;
            }
        };
        let mut line = Line { place, keyword, arguments, included: Vec::new() };
        if line.keyword == "include" {
            if depth == DEPTH_MAXIMUM {
                let why = format!("more than {DEPTH_MAXIMUM} files within files");
                problems.push(Problem { place: line.place, why });
                continue;
            }
            for pattern in &line.arguments {
                match include(pattern) {
                    Ok(files) => line.included.extend(
                        files.iter().map(|file| read_nested(file, &mut *include, problems, depth + 1)),
                    ),
                    Err(why) => problems.push(Problem { place: line.place.clone(), why }),
                }
            }
        }
        lines.push(line);
    }
    lines
}

/// Keyword in lower case, and arguments; nothing for an empty line or a comment.
fn split(text: &str) -> Result<Option<(String, Vec<String>)>, &'static str> {
    let text = text.trim_matches([' ', '\t', '\r', '\u{c}']);
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let end = text.find([' ', '\t', '=']).unwrap_or(text.len());
    let (keyword, rest) = text.split_at(end);
    // One `=` with white space around it may stand between keyword and arguments.
    let rest = rest.trim_start_matches([' ', '\t']);
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    let keyword = keyword.trim_matches('"').to_ascii_lowercase();
    Ok(Some((keyword, arguments(rest)?)))
}

/// Splits arguments at white space; quotes of both kinds hold them together, and `#` begins a comment.
fn arguments(text: &str) -> Result<Vec<String>, &'static str> {
    let mut arguments = Vec::new();
    let mut characters = text.chars().peekable();
    loop {
        while characters.next_if(|character| matches!(character, ' ' | '\t')).is_some() {}
        match characters.peek() {
            None | Some('#') => return Ok(arguments),
            Some(_) => {}
        }
        let mut argument = String::new();
        let mut quote = None;
        while let Some(&character) = characters.peek() {
            match (character, quote) {
                (' ' | '\t', None) => break,
                ('\\', _) => {
                    characters.next();
                    match characters.peek() {
                        Some(&next)
                            if matches!(next, '"' | '\'' | '\\') || (next == ' ' && quote.is_none()) =>
                        {
                            argument.push(next);
                            characters.next();
                        }
                        _ => argument.push('\\'),
                    }
                    continue;
                }
                (mark @ ('"' | '\''), None) => quote = Some(mark),
                (mark, Some(open)) if mark == open => quote = None,
                (other, _) => argument.push(other),
            }
            characters.next();
        }
        if quote.is_some() {
            return Err("a quotation mark is not closed");
        }
        arguments.push(argument);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_openssh_splits_them() {
        let table: &[(&str, &str, &[&str])] = &[
            ("Host a b", "host", &["a", "b"]),
            ("\tPORT=22", "port", &["22"]),
            ("Port = 22 # comment", "port", &["22"]),
            ("IdentityFile \"a b\" ", "identityfile", &["a b"]),
            ("IdentityFile 'a \"b'", "identityfile", &["a \"b"]),
            (r"IdentityFile a\ b", "identityfile", &["a b"]),
            (r"IdentityFile a\b", "identityfile", &[r"a\b"]),
            ("Host", "host", &[]),
        ];
        for (text, keyword, expected) in table {
            let (got, arguments) = split(text).unwrap().unwrap();
            assert_eq!(
                (got.as_str(), arguments),
                (*keyword, expected.iter().map(ToString::to_string).collect())
            );
        }
        assert_eq!(split("  # nothing").unwrap(), None);
        assert!(split("Host \"a").is_err());
    }

    #[test]
    fn files_that_include_themselves_end() {
        let itself = ConfigText { name: "config".to_owned(), text: "Include config\n".to_owned() };
        let mut problems = Vec::new();
        read(&itself, &mut |_| Ok(vec![itself.clone()]), &mut problems);
        assert!(problems[0].to_string().starts_with("config:1: more than 16 files"), "{}", problems[0]);
    }
}
