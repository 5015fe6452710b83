//! Modes and owners of files and directories.

use kubezt_model::cluster::Role;
use kubezt_model::node::{FileKind, FileReading, Read, Reading};
use kubezt_model::{Mode, Owner};
use serde::{Deserialize, Serialize};

use super::{Judged, NodeContext, Terms, glob, unexpected};

/// What is wanted of one path, or of all a pattern means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileCheck {
    /// Absolute path; `*` and `**` are patterns, `${…}` refers to a setting.
    pub path: String,
    /// The most permission bits there may be.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Owner.
    #[serde(default)]
    pub owner: Option<Owner>,
    /// Look only at files or only at directories.
    #[serde(default)]
    pub only: Option<Only>,
    /// A path that is not there passes.
    #[serde(default)]
    pub if_exists: bool,
    /// Node roles; empty means all.
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// What a pattern looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// Everything that is not a directory.
    Files,
    /// Directories.
    Dirs,
}

/// How many paths a failure names before it only counts.
const NAMED: usize = 5;

impl FileCheck {
    /// Whether the parts fit.
    ///
    /// # Errors
    /// They do not.
    pub fn validate(&self) -> Result<(), String> {
        if !self.path.starts_with('/') && !self.path.starts_with("${") {
            return Err(format!("`path: {}` is not absolute", self.path));
        }
        Ok(())
    }

    /// The file, or the tree the pattern lies in. A path whose setting has no value is an error once it is judged.
    pub fn reads(&self, terms: &Terms) -> Vec<Read> {
        terms.text(&self.path).map(|path| vec![read(&path)]).unwrap_or_default()
    }

    /// Judges everything the path means.
    ///
    /// # Errors
    /// Something could not be read.
    pub fn judge(&self, context: &NodeContext<'_>) -> Result<Judged, String> {
        let path = context.terms.text(&self.path)?;
        let read = read(&path);
        let files: Vec<&FileReading> = match context.reading(&read)? {
            Reading::File(file) => vec![file],
            Reading::Tree(files) => files.iter().filter(|file| glob::matches(&path, &file.path)).collect(),
            Reading::Missing => Vec::new(),
            _ => return Err(unexpected(&read)),
        };
        let wanted: Vec<&FileReading> = files.into_iter().filter(|file| self.is_meant(file)).collect();
        if wanted.is_empty() {
            return Ok(if self.if_exists {
                Judged::not_applicable(format!("{path} does not exist"))
            } else {
                Judged::fail(self.words(&path), format!("{path} does not exist"))
            });
        }
        let mut broken = Vec::new();
        for file in &wanted {
            if file.kind == FileKind::Link && (self.mode.is_some() || self.owner.is_some()) {
                return Err(format!("{} is a symbolic link; what it points at was not read", file.path));
            }
            if !self.holds(file) {
                broken.push(format!("{} {} {}", file.path, file.mode, file.owner));
            }
        }
        Ok(if broken.is_empty() {
            let first = wanted[0];
            let count = match wanted.len() {
                1 => String::new(),
                more => format!(" and {} more", more - 1),
            };
            Judged::pass(format!("{} {} {}{count}", first.path, first.mode, first.owner))
        } else {
            let rest = broken.len().saturating_sub(NAMED);
            broken.truncate(NAMED);
            let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            Judged::fail(self.words(&path), broken.join(", ") + &more)
        })
    }

    fn is_meant(&self, file: &FileReading) -> bool {
        match self.only {
            None => true,
            Some(Only::Files) => file.kind != FileKind::Directory,
            Some(Only::Dirs) => file.kind == FileKind::Directory,
        }
    }

    fn holds(&self, file: &FileReading) -> bool {
        self.mode.is_none_or(|limit| file.mode.within(limit))
            && self.owner.as_ref().is_none_or(|owner| file.owner == *owner)
    }

    fn words(&self, path: &str) -> String {
        let mode = self.mode.map(|mode| format!("mode {mode} or tighter"));
        let owner = self.owner.as_ref().map(|owner| format!("owner {owner}"));
        let what: Vec<String> = [mode, owner].into_iter().flatten().collect();
        if what.is_empty() { format!("{path} to exist") } else { format!("{path} with {}", what.join(", ")) }
    }
}

fn read(path: &str) -> Read {
    match glob::base(path) {
        Some(base) => Read::Tree { path: base },
        None => Read::File { path: path.to_owned(), text: false },
    }
}
