//! What can be wrong in `profiles/`.

use kubezt_model::yaml::YamlError;

/// One mistake in the library.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// A file is not the YAML it should be.
    #[error("{source}")]
    Yaml {
        /// Where and what.
        source: YamlError,
    },
    /// A file that must be there is not.
    #[error("{path}: the file is missing; it holds the settings every profile starts from")]
    Missing {
        /// Which.
        path: String,
    },
    /// A file lies where nothing is read from.
    #[error(
        "{path}: nothing is read from here; put requirements in `requirements/`, catalogues in `controls/`, profiles at the top"
    )]
    Misplaced {
        /// Which.
        path: String,
    },
    /// A file of the site cannot be read.
    #[error("{place}: the profile cannot be read: {problem}")]
    Unreadable {
        /// File and line that names it, or the option.
        place: String,
        /// Which file, and why.
        problem: String,
    },
    /// An entry does not add up.
    #[error("{place}: {problem}")]
    Invalid {
        /// File and line.
        place: String,
        /// What, and what would be right.
        problem: String,
    },
}

impl LoadError {
    pub(crate) fn invalid(place: &str, problem: String) -> Self {
        Self::Invalid { place: place.to_owned(), problem }
    }
}
