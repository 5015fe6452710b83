//! What can be wrong with templates, or with what comes out of them.

use kubezt_model::yaml::YamlError;

/// Why something was not rendered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RenderError {
    /// A header that cannot be read; names template, line and what was expected.
    #[error("header of templates/{0}")]
    Header(#[source] YamlError),
    /// A header that is missing, open, or says something that fits nothing.
    #[error("templates/{template}:{line}: {problem}")]
    Malformed {
        /// Path in the template folder.
        template: String,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A file in the template folder that nothing reads.
    #[error("templates/{0} is read by nothing: see the table in the render crate for what goes where")]
    Unread(String),
    /// Two templates that write one file on one node.
    #[error("templates/{one} and templates/{other} both write {path}")]
    SamePath {
        /// Path on the node.
        path: String,
        /// One template.
        one: String,
        /// The other.
        other: String,
    },
    /// A template that is not valid, or that names something undefined; with line, column and snippet.
    #[error("templates/{template}: {message}")]
    Template {
        /// Path in the template folder.
        template: String,
        /// The template engine's own report.
        message: String,
    },
    /// A setting that a header names and that does not fit.
    #[error("templates/{template}: setting `{setting}` {problem}")]
    Setting {
        /// Path in the template folder.
        template: String,
        /// Dotted path of the setting.
        setting: String,
        /// What is wrong.
        problem: String,
    },
    /// A result that does not parse back. Of secret files only the line is told.
    #[error("templates/{template}: the result is not valid, line {line}: {problem}")]
    NotParsed {
        /// Path in the template folder.
        template: String,
        /// Line of the result, counted from 1; 0 where it is not known.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// An argument that would be on a command line twice, or that is no argument.
    #[error("templates/{template}: argument `{argument}` {problem}")]
    Argument {
        /// Path in the template folder.
        template: String,
        /// Name, without dashes.
        argument: String,
        /// What is wrong.
        problem: String,
    },
    /// Something the cluster names and the template folder lacks.
    #[error("`{wanted}` ({setting}) has no template in templates/{folder}; there are: {available}")]
    Missing {
        /// Where it was named.
        setting: String,
        /// The name.
        wanted: String,
        /// Folder it was looked for in.
        folder: String,
        /// What is there.
        available: String,
    },
    /// More than one of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<RenderError>),
}

impl RenderError {
    /// One error of many; `Ok` where there is none.
    pub(crate) fn all(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.pop() {
            None => Ok(()),
            Some(error) if errors.is_empty() => Err(error),
            Some(error) => {
                errors.push(error);
                Err(Self::Several(errors))
            }
        }
    }

    pub(crate) fn header(template: &str, mut error: YamlError) -> Self {
        error.source_name = match error.line {
            Some(line) => format!("{template}:{line}"),
            None => template.to_owned(),
        };
        Self::Header(error)
    }
}
