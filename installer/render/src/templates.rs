//! The template folder, loaded and checked.

use std::collections::BTreeMap;

use kubezt_model::desired::OnChange;
use kubezt_model::yaml;
use tera::{Context, ErrorKind, Tera};

use crate::RenderError;
use crate::filters;
use crate::header::{self, FileHeader, ObjectHeader};

/// Ending of everything that is rendered.
const ENDING: &str = ".tera";

/// Order of the manifest sets.
const SETS: &str = "manifests/sets.yaml";

/// Set that stands for the chosen network plug-in's own manifests.
pub const NETWORK_SET: &str = "network-policies";

/// Template of a component's arguments.
const ARGUMENTS: &str = "/arguments.yaml.tera";

/// All templates, parsed.
#[derive(Debug)]
pub struct Templates {
    tera: Tera,
    pub(crate) files: Vec<FileTemplate>,
    pub(crate) sets: Vec<String>,
    pub(crate) objects: Vec<ObjectTemplate>,
}

/// A template of a file on nodes.
#[derive(Debug)]
pub struct FileTemplate {
    /// Path in the template folder.
    pub name: String,
    /// Network plug-in that needs the file; `None` where every cluster does.
    pub network: Option<String>,
    /// Header.
    pub header: FileHeader,
}

/// A template of API objects.
#[derive(Debug)]
pub struct ObjectTemplate {
    /// Path in the template folder.
    pub name: String,
    /// Folder it lies in.
    pub folder: String,
    /// File name without endings.
    pub stem: String,
    /// Header.
    pub header: ObjectHeader,
}

/// What a path of the template folder is.
enum Place {
    File,
    Objects,
    Plain,
    Unread,
}

fn place(path: &str) -> Place {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["manifests", _, _] | ["cni", _, "manifests", _] => Place::Objects,
        ["cni", _, "values.yaml.tera"] => Place::Plain,
        ["cni", _, "host", _] => Place::File,
        ["manifests" | "cni", ..] => Place::Unread,
        [_, _] if path.ends_with(ARGUMENTS) => Place::Plain,
        [_, _] => Place::File,
        _ => Place::Unread,
    }
}

impl Templates {
    /// Loads the template folder from `(path in the folder, text)` pairs. `*.md` files are for people and left out.
    ///
    /// # Errors
    /// All that is wrong, at once: headers, syntax, unknown filters, two templates of one path, files nothing reads.
    pub fn load(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<RenderError>> {
        let mut texts: BTreeMap<String, String> = files.into_iter().collect();
        texts.retain(|path, _| !path.ends_with(".md"));
        let mut errors = Vec::new();
        let mut loaded = Self { tera: engine(), files: Vec::new(), sets: Vec::new(), objects: Vec::new() };
        let mut bodies = Vec::new();
        match texts.remove(SETS).map(|text| yaml::read(SETS, &text)) {
            Some(Ok(sets)) => loaded.sets = sets,
            Some(Err(error)) => errors.push(RenderError::header(SETS, error)),
            None => errors.push(malformed(SETS, 1, "is missing: it orders the folders beside it")),
        }
        for (path, text) in &texts {
            match loaded.add(path, text) {
                Ok(body) => bodies.push((path.clone(), body)),
                Err(error) => errors.push(error),
            }
        }
        errors.extend(syntax_errors(&bodies));
        errors.extend(loaded.mistakes(&texts));
        if errors.is_empty()
            && let Err(error) = loaded.tera.add_raw_templates(bodies)
        {
            errors.push(RenderError::Template { template: String::new(), message: error.to_string() });
        }
        if errors.is_empty() { Ok(loaded) } else { Err(errors) }
    }

    /// Files one template under what it is; answers with the text for the engine.
    fn add(&mut self, path: &str, text: &str) -> Result<String, RenderError> {
        let Some(stem) = path.strip_suffix(ENDING) else { return Err(RenderError::Unread(path.to_owned())) };
        let parts = header::split(path, text)?;
        match place(path) {
            Place::Unread => return Err(RenderError::Unread(path.to_owned())),
            Place::Plain if parts.header.is_some() => {
                return Err(malformed(path, 1, "takes no header: it becomes no file of its own"));
            }
            Place::Plain => {}
            Place::File => {
                let Some(header) = parts.header else {
                    return Err(malformed(
                        path,
                        1,
                        "has no header: start with `---` and say path, mode and owner",
                    ));
                };
                let network = path.strip_prefix("cni/").and_then(|rest| rest.split('/').next());
                self.files.push(FileTemplate {
                    name: path.to_owned(),
                    network: network.map(str::to_owned),
                    header: header::read(path, header)?,
                });
            }
            Place::Objects => {
                let header = match parts.header.filter(|header| !header.trim().is_empty()) {
                    Some(header) => header::read(path, header)?,
                    None => ObjectHeader::default(),
                };
                let (folder, file) = stem.rsplit_once('/').unwrap_or(("", stem));
                self.objects.push(ObjectTemplate {
                    name: path.to_owned(),
                    folder: folder.to_owned(),
                    stem: file.split('.').next().unwrap_or(file).to_owned(),
                    header,
                });
            }
        }
        // A comment as long as the header keeps the line numbers of the engine's reports.
        let blank = "\n".repeat(parts.first_line - 1);
        Ok(if blank.is_empty() { parts.body.to_owned() } else { format!("{{#{blank}-#}}{}", parts.body) })
    }

    /// What no single template shows.
    fn mistakes(&self, texts: &BTreeMap<String, String>) -> Vec<RenderError> {
        let mut errors = Vec::new();
        for (position, file) in self.files.iter().enumerate() {
            let header = &file.header;
            if !header.path.starts_with('/') || header.path.split('/').any(|part| part == "..") {
                errors.push(malformed(&file.name, 1, "`path` must be absolute and without `..`"));
            }
            if let Some(source) = &header.arguments
                && !(texts.contains_key(&source.defaults) && source.defaults.ends_with(ARGUMENTS))
            {
                errors.push(malformed(&file.name, 1, &format!("there is no template `{}`", source.defaults)));
            }
            if let OnChange::ReadAtStart(pod) = &header.on_change
                && !self.files.iter().any(|other| other.header.on_change == OnChange::StaticPod(pod.clone()))
            {
                errors.push(malformed(
                    &file.name,
                    1,
                    &format!("`read-at-start` names `{pod}`, which is no static pod"),
                ));
            }
            let twin = self.files[..position].iter().find(|other| {
                let apart =
                    file.network.is_some() && other.network.is_some() && file.network != other.network;
                !apart
                    && other.header.path == header.path
                    && other.header.roles.iter().any(|role| header.roles.contains(role))
            });
            if let Some(other) = twin {
                errors.push(RenderError::SamePath {
                    path: header.path.clone(),
                    one: other.name.clone(),
                    other: file.name.clone(),
                });
            }
        }
        for object in &self.objects {
            if let Some(set) = object.folder.strip_prefix("manifests/")
                && !self.sets.iter().any(|listed| listed == set)
            {
                errors.push(malformed(SETS, 1, &format!("the folder `{set}` is missing in the list")));
            }
        }
        errors
    }

    /// Renders one template.
    pub(crate) fn render(&self, template: &str, context: &Context) -> Result<String, RenderError> {
        self.tera
            .render(template, context)
            .map_err(|error| RenderError::Template { template: template.to_owned(), message: report(&error) })
    }

    /// Whether there is a template of this path.
    pub(crate) fn has(&self, template: &str) -> bool {
        self.tera.contains_template(template)
    }
}

fn engine() -> Tera {
    let mut tera = Tera::new();
    // Configuration is no HTML; what needs quoting is quoted by the filters.
    tera.autoescape_on(Vec::<&str>::new());
    filters::register(&mut tera);
    tera
}

/// Syntax mistakes of every template, each on its own, so that all are shown at once.
fn syntax_errors(bodies: &[(String, String)]) -> Vec<RenderError> {
    bodies
        .iter()
        .filter_map(|(name, body)| {
            let error = engine().add_raw_template(name, body).err()?;
            Some(RenderError::Template { template: name.clone(), message: report(&error) })
        })
        .collect()
}

/// The engine's report, with the place in one piece in front of it.
fn report(error: &tera::Error) -> String {
    match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => {
            format!("line {}: {}\n{error}", report.span().start_line, report.message())
        }
        _ => error.to_string(),
    }
}

fn malformed(template: &str, line: usize, problem: &str) -> RenderError {
    RenderError::Malformed { template: template.to_owned(), line, problem: problem.to_owned() }
}
