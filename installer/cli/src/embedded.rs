//! What the binary carries: templates and profiles; the artifacts crate embeds its recipes. One file runs anywhere.

use include_dir::{Dir, include_dir};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../templates");
static PROFILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../profiles");

/// Templates, as path and text.
pub fn templates() -> Vec<(String, String)> {
    texts(&TEMPLATES)
}

/// Profiles, requirements and control catalogues, as path and text.
pub fn profiles() -> Vec<(String, String)> {
    texts(&PROFILES)
}

fn texts(folder: &Dir<'_>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        folders.extend(folder.dirs());
        for file in folder.files() {
            if let Some(text) = file.contents_utf8() {
                found.push((file.path().to_string_lossy().into_owned(), text.to_owned()));
            }
        }
    }
    found.sort();
    found
}
