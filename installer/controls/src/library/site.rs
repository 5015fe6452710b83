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
        // The same file named twice, as a comparison may do it.
        if let Some(known) = self.of_site(&path) {
            return Ok(known.name.clone());
        }
        let mut errors = Vec::new();
        let chain = self.read_chain(path, place, &mut read, &mut errors);
        let Some(name) = chain.first().map(|profile| profile.name.clone()) else { return Err(errors) };
        let complete = errors.is_empty();
        let names: Vec<String> = chain.iter().map(|profile| profile.name.clone()).collect();
        for profile in chain.into_iter().rev() {
            if let Some(other) = self.profiles.get(&profile.name) {
                let place = profile.source().find("name", &profile.name);
                let by = if other.of_site { &other.place } else { "a profile that comes with kubezt" };
                let problem = format!("the name `{}` is taken by {by}", profile.name);
                errors.push(LoadError::invalid(&place, problem));
            } else {
                self.profiles.insert(profile.name.clone(), profile);
            }
        }
        for profile in names.iter().filter_map(|name| self.profiles.get(name)) {
            // Where a base could not be read, what the whole chain adds up to is not known.
            validate::profile(self, profile, complete, &mut errors);
        }
        if errors.is_empty() { Ok(name) } else { Err(errors) }
    }

    /// A file and the files it extends, each knowing its base by name. What cannot be read ends the chain.
    fn read_chain(
        &self,
        path: String,
        place: &str,
        read: &mut impl FnMut(&str) -> Result<String, String>,
        errors: &mut Vec<LoadError>,
    ) -> Vec<Profile> {
        let mut chain: Vec<Profile> = Vec::new();
        let (mut next, mut named_at) = (Some(path), place.to_owned());
        while let Some(path) = next.take() {
            if let Some(position) = chain.iter().position(|seen| seen.place == path) {
                let round: Vec<&str> = chain[position..].iter().map(|seen| seen.place.as_str()).collect();
                let problem = format!("profile `{path}` extends itself: {} → {path}", round.join(" → "));
                errors.push(LoadError::invalid(&named_at, problem));
                break;
            }
            // Another profile that was added before extends it as well.
            if let Some((known, extending)) = self.of_site(&path).zip(chain.last_mut()) {
                extending.extends = Some(known.name.clone());
                break;
            }
            match read_one(path, &named_at, read) {
                Ok(profile) => {
                    if let Some(base) = profile.extends.as_deref().filter(|base| is_file(base)) {
                        named_at = profile.source().find("extends", base);
                        next = Some(beside(&profile.place, base));
                    }
                    chain.push(profile);
                }
                Err(error) => errors.push(error),
            }
        }
        let bases: Vec<String> = chain.iter().skip(1).map(|profile| profile.name.clone()).collect();
        for (profile, base) in chain.iter_mut().zip(bases) {
            profile.extends = Some(base);
        }
        chain
    }

    fn of_site(&self, path: &str) -> Option<&Profile> {
        self.profiles.values().find(|known| known.of_site && known.place == path)
    }
}

fn read_one(
    path: String,
    named_at: &str,
    read: &mut impl FnMut(&str) -> Result<String, String>,
) -> Result<Profile, LoadError> {
    let text =
        read(&path).map_err(|problem| LoadError::Unreadable { place: named_at.to_owned(), problem })?;
    let mut profile: Profile = yaml::read(&path, &text).map_err(|source| LoadError::Yaml { source })?;
    profile.place = path;
    profile.text = text;
    profile.of_site = true;
    Ok(profile)
}
