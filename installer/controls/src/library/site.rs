//! Profiles that are files of the site: read through whoever calls, checked against the library.

use kubezt_model::yaml;

use super::profile::{Profile, beside, is_file};
use super::{Library, LoadError, validate};

impl Library {
    /// Adds the profile of a file, and the files it extends, and answers with the profile's name. `place` is
    /// what names the file, for errors: `cluster.yaml:6`, `--profile`. `read` gives the text of a file, or
    /// says why it cannot.
    ///
    /// # Errors
    /// Every mistake in all of these files at once, with file and line: files that cannot be read, syntax,
    /// unknown keys, names of requirements, frameworks, settings and profiles that do not exist, a chain that
    /// comes back to itself, a name that is taken, settings that are weaker than a requirement wants without
    /// saying why.
    pub fn add_site_profile(
        &mut self,
        path: &str,
        place: &str,
        mut read: impl FnMut(&str) -> Result<String, String>,
    ) -> Result<String, Vec<LoadError>> {
        let path = beside("", path);
        // The same file named twice, as `diff` may do it.
        if let Some(known) = self.of_site(&path) {
            return Ok(known.name.clone());
        }
        let mut errors = Vec::new();
        let mut chain: Vec<(String, Profile)> = Vec::new();
        let (mut next, mut named_at) = (Some(path), place.to_owned());
        while let Some(path) = next.take() {
            if let Some(position) = chain.iter().position(|(seen, _)| *seen == path) {
                let round: Vec<&str> = chain[position..].iter().map(|(seen, _)| seen.as_str()).collect();
                errors.push(LoadError::invalid(
                    &named_at,
                    format!("profile `{path}` extends itself: {} → {path}", round.join(" → ")),
                ));
                break;
            }
            if let Some(known) = self.of_site(&path) {
                // Somebody else extends it as well.
                if let Some((_, extending)) = chain.last_mut() {
                    extending.extends = Some(known.name.clone());
                }
                break;
            }
            let text = match read(&path) {
                Ok(text) => text,
                Err(problem) => {
                    errors.push(LoadError::Unreadable { place: named_at, problem });
                    break;
                }
            };
            let mut profile: Profile = match yaml::read(&path, &text) {
                Ok(profile) => profile,
                Err(source) => {
                    errors.push(LoadError::Yaml { source });
                    break;
                }
            };
            profile.place.clone_from(&path);
            profile.text = text;
            profile.of_site = true;
            if let Some(base) = profile.extends.as_deref().filter(|base| is_file(base)) {
                named_at = profile.source().find("extends", base);
                next = Some(beside(&path, base));
            }
            chain.push((path, profile));
        }
        // A base is known to who extends it by its name from here on.
        for index in 0..chain.len().saturating_sub(1) {
            let base = chain[index + 1].1.name.clone();
            chain[index].1.extends = Some(base);
        }
        let Some(name) = chain.first().map(|(_, profile)| profile.name.clone()) else { return Err(errors) };
        let complete = errors.is_empty();
        let names: Vec<String> = chain.iter().map(|(_, profile)| profile.name.clone()).collect();
        for (_, profile) in chain.into_iter().rev() {
            if let Some(other) = self.profiles.get(&profile.name) {
                let place = profile.source().find("name", &profile.name);
                let by = if other.of_site { &other.place } else { "a profile that comes with kubezt" };
                let problem = format!("the name `{}` is taken by {by}", profile.name);
                errors.push(LoadError::invalid(&place, problem));
                continue;
            }
            self.profiles.insert(profile.name.clone(), profile);
        }
        for profile in names.iter().filter_map(|name| self.profiles.get(name)) {
            // Where a base could not be read, what the whole chain adds up to is not known.
            validate::profile(self, profile, complete, &mut errors);
        }
        if errors.is_empty() { Ok(name) } else { Err(errors) }
    }

    fn of_site(&self, path: &str) -> Option<&Profile> {
        self.profiles.values().find(|known| known.of_site && known.place == path)
    }
}
