//! Why a cluster could not be resolved.

use super::merge::SettingProblem;

/// One mistake in what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The profile does not exist.
    #[error("{place}: there is no profile `{name}`; there are {known}{}", hint(.nearest.as_deref()))]
    UnknownProfile {
        /// File and line.
        place: String,
        /// As written.
        name: String,
        /// All names.
        known: String,
        /// The nearest one.
        nearest: Option<String>,
    },
    /// A setting is unknown or has the wrong type.
    #[error("{place}: {problem}")]
    Setting {
        /// File and line, or profile.
        place: String,
        /// What is wrong, as text of [`SettingProblem`].
        problem: SettingProblem,
    },
    /// Two requirements cannot both have their way.
    #[error(
        "setting `{path}`: requirement `{first}` ({first_place}) wants {first_value}, `{second}` ({second_place}) wants {second_value}; exclude one of them in the profile"
    )]
    Conflict {
        /// The setting.
        path: String,
        /// One requirement.
        first: String,
        /// Where it is.
        first_place: String,
        /// What it wants.
        first_value: String,
        /// The other.
        second: String,
        /// Where it is.
        second_place: String,
        /// What it wants.
        second_value: String,
    },
    /// Something in `cluster.yaml` cannot work.
    #[error("{place}: {problem}")]
    Invalid {
        /// File and line.
        place: String,
        /// What, and what to write instead.
        problem: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
