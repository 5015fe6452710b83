//! Finds the line of `cluster.yaml` or a profile a mistake is on, so that errors can point at it.

/// The file as it was written.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// File name as the user knows it.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

impl Source<'_> {
    /// `file:line` of the first line below `section:` that holds the word as a whole; the section's line, or the file
    /// alone, where it is not found (a flow mapping over several lines, an anchor).
    pub fn find(&self, section: &str, word: &str) -> String {
        let start = self
            .text
            .lines()
            .position(|line| line.trim_start().trim_start_matches("- ").starts_with(&format!("{section}:")));
        let found = start.and_then(|start| {
            let below = self.text.lines().skip(start).position(|line| holds(line, word));
            below.map(|offset| start + offset).or(Some(start))
        });
        match found {
            Some(index) => format!("{}:{}", self.name, index + 1),
            None => self.name.to_owned(),
        }
    }

    /// The place of a setting, by the most telling part of its path that is written out.
    pub fn setting(&self, path: &str) -> String {
        // The file's own section where there is one, rather than that of an entry in a list.
        let own = self.text.lines().position(|line| line.starts_with("settings:"));
        let any = || self.text.lines().position(|line| line.trim_start().starts_with("settings:"));
        self.below(own.or_else(any), path)
    }

    /// The place of a setting in the entries of a section.
    pub fn setting_in(&self, section: &str, path: &str) -> String {
        let start = self.text.lines().position(|line| line.trim_start().starts_with(&format!("{section}:")));
        self.below(start, path)
    }

    fn below(&self, start: Option<usize>, path: &str) -> String {
        let mut wanted = vec![path.to_owned()];
        wanted.extend(path.split('.').rev().map(str::to_owned));
        let below = self.text.lines().enumerate().skip(start.unwrap_or(0));
        let lines: Vec<(usize, &str)> = below.collect();
        let found = wanted.iter().find_map(|word| lines.iter().find(|(_, line)| holds(line, word)));
        match found {
            Some((index, _)) => format!("{}:{}", self.name, index + 1),
            None => self.name.to_owned(),
        }
    }
}

/// Whether a line holds a word that is not part of a longer one.
fn holds(line: &str, word: &str) -> bool {
    let part =
        |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !part(line[..at].chars().next_back()) && !part(line[at + word.len()..].chars().next()))
}
