//! The header of a template: YAML between two `---` lines, saying where the result goes and what follows from a change.
//!
//! ```yaml
//! ---
//! path: /etc/kubernetes/manifests/etcd.yaml     # on the node
//! mode: files.manifestMode                      # a setting, or four octal digits in quotes
//! owner: root:root
//! roles: [control-plane]                        # every node where absent
//! sensitivity: public                           # or `secret`: never shown, and may use `secrets`
//! onChange: {static-pod: etcd}                  # nothing, load-sysctls, {restart: unit}, {noticed-by: unit}, {static-pod: name},
//!                                               # {read-at-start: name of the static pod that reads the file}
//! format: kubernetes                            # how the result is checked
//! when: host.auditd                             # a switch of the settings, a number that is not 0, a list that is not empty
//! arguments: {defaults: etcd/arguments.yaml.tera, settings: etcd.arguments}
//! overlay: [{settings: kubelet.configuration}]  # settings merged over the result
//! ---
//! ```
//!
//! Templates of API objects need no header; theirs knows `when` and `listedIn`, a list of the settings that must hold
//! the template's name.

use kubezt_model::cluster::Role;
use kubezt_model::desired::{OnChange, Sensitivity};
use kubezt_model::{Mode, Owner, yaml};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::RenderError;

/// Header of a file on nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileHeader {
    /// Absolute path on the node.
    pub path: String,
    /// Permission bits.
    pub mode: ModeSource,
    /// Owner.
    pub owner: Owner,
    /// Roles of the nodes that get it.
    #[serde(default = "every_role")]
    pub roles: Vec<Role>,
    /// Whether the content may be shown.
    #[serde(default = "public")]
    pub sensitivity: Sensitivity,
    /// What follows from a change.
    pub on_change: OnChange,
    /// How the result is checked.
    pub format: Format,
    /// Switch (or number, or list) of the settings without which there is no such file.
    #[serde(default)]
    pub when: Option<String>,
    /// What the template sees as `arguments`.
    #[serde(default)]
    pub arguments: Option<ArgumentSource>,
    /// Settings merged over the rendered document; `null` takes a field away.
    #[serde(default)]
    pub overlay: Vec<Overlay>,
}

fn every_role() -> Vec<Role> {
    vec![Role::ControlPlane, Role::Worker]
}

const fn public() -> Sensitivity {
    Sensitivity::Public
}

/// Where permission bits come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum ModeSource {
    /// Said in the header.
    Fixed(Mode),
    /// Said by a setting.
    Setting(String),
}

impl From<String> for ModeSource {
    fn from(text: String) -> Self {
        text.parse().map_or(Self::Setting(text), Self::Fixed)
    }
}

/// How a result is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// YAML documents with `apiVersion` and `kind`.
    Kubernetes,
    /// YAML documents.
    Yaml,
    /// One JSON document.
    Json,
    /// One TOML document.
    Toml,
    /// A systemd unit or drop-in.
    Unit,
    /// Text without a grammar of its own.
    Text,
}

/// Where the arguments of a component come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArgumentSource {
    /// Template of the arguments that follow from the cluster's shape.
    pub defaults: String,
    /// Setting that wins over them.
    pub settings: String,
}

/// Settings merged over a rendered document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Overlay {
    /// Dotted path of the setting.
    pub settings: String,
    /// Roles it applies to.
    #[serde(default = "every_role")]
    pub roles: Vec<Role>,
}

/// Header of API objects.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectHeader {
    /// Switch (or number, or list) of the settings without which there are no such objects.
    #[serde(default)]
    pub when: Option<String>,
    /// List of the settings that must hold the template's name, without endings.
    #[serde(default)]
    pub listed_in: Option<String>,
}

/// A template cut in two.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// Header text, `None` where there is none.
    pub header: Option<&'a str>,
    /// Template text; its first line has this number in the file.
    pub body: &'a str,
    /// Number of the body's first line, counted from 1.
    pub first_line: usize,
}

/// Cuts the header off.
pub(crate) fn split<'a>(template: &str, text: &'a str) -> Result<Parts<'a>, RenderError> {
    let Some(rest) = text.strip_prefix("---\n") else {
        return Ok(Parts { header: None, body: text, first_line: 1 });
    };
    let end =
        if rest.starts_with("---\n") { Some(0) } else { rest.find("\n---\n").map(|position| position + 1) };
    let Some(end) = end else {
        return Err(RenderError::Malformed {
            template: template.to_owned(),
            line: 1,
            problem: "the header is not closed: a second line `---` is missing".to_owned(),
        });
    };
    let header = &rest[..end];
    Ok(Parts { header: Some(header), body: &rest[end + 4..], first_line: header.lines().count() + 3 })
}

/// Reads a header.
pub(crate) fn read<T: DeserializeOwned>(template: &str, header: &str) -> Result<T, RenderError> {
    // The line of the opening `---` counts, so that an error names the line of the file.
    yaml::read(template, &format!("\n{header}")).map_err(|error| RenderError::header(template, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_cut_in_two() {
        let parts = split("a", "---\npath: x\n---\nbody\n").unwrap();
        assert_eq!(parts, Parts { header: Some("path: x\n"), body: "body\n", first_line: 4 });
        assert_eq!(split("a", "body\n").unwrap().header, None);
        assert_eq!(
            split("a", "---\n---\nbody\n").unwrap(),
            Parts { header: Some(""), body: "body\n", first_line: 3 }
        );
        assert!(split("a", "---\npath: x\n").is_err());
    }

    #[test]
    fn modes_are_bits_or_a_setting() {
        assert_eq!(ModeSource::from("0600".to_owned()), ModeSource::Fixed(Mode::new(0o600)));
        let setting = "files.manifestMode".to_owned();
        assert_eq!(ModeSource::from(setting.clone()), ModeSource::Setting(setting));
    }

    #[test]
    fn unknown_keys_name_file_and_line() {
        let text = "path: /a\nmode: \"0600\"\nowner: root:root\nonChange: nothing\nformat: text\nwhne: host.auditd\n";
        let error = read::<FileHeader>("host/a.tera", text).unwrap_err();
        let RenderError::Header(source) = &error else { panic!("{error:?}") };
        assert_eq!(source.source_name, "host/a.tera:7");
        assert!(source.message.contains("whne"), "{source}");
        assert!(error.to_string().contains("host/a.tera:7"), "{error}");
    }

    #[test]
    fn changes_have_consequences() {
        let text =
            "path: /a\nmode: a.b\nowner: root:root\nonChange: {static-pod: etcd}\nformat: kubernetes\n";
        let header: FileHeader = read("a", text).unwrap();
        assert_eq!(header.on_change, OnChange::StaticPod("etcd".to_owned()));
        assert_eq!(header.roles.len(), 2);
    }
}
