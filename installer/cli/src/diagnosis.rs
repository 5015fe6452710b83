//! What the doctor found: as people read it, for programs, and bundled for support.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use kubezt_engine::doctor::{API_SECONDS, NODE_SECONDS};
use kubezt_model::{NodeName, redaction};
use kubezt_plan::doctor::{Evidence, Finding, RULES};
use kubezt_plan::preflight::Severity;
use serde_json::{Value, json};

use crate::args::Output;
use crate::failure::Failure;
use crate::printer::Printer;

/// Folder in a bundle.
const FOLDER: &str = "kubezt-doctor";

/// What stands below the options: what is touched, how long it takes, and every rule.
pub fn help() -> String {
    let mut text = format!(
        "Nothing is changed. Nodes are connected to as by every command; then each has {NODE_SECONDS} s to answer and the API \
         {API_SECONDS} s, all side by side. Nodes that do not answer, and an API that does not, are findings. What units and \
         containers said leaves a node in few lines and without what looks like a secret.\n\n\
         Exit codes: 0 nothing is wrong, 1 something is, 3 nobody was reached\n\nRules, causes first:\n"
    );
    for rule in RULES {
        let _ = writeln!(text, "  {:<16} {}", rule.id, rule.means);
    }
    text
}

/// Findings, with what they were found in.
pub struct Diagnosis<'a> {
    cluster: &'a NodeName,
    findings: Vec<Finding>,
    evidence: &'a Evidence,
}

impl<'a> Diagnosis<'a> {
    /// What was found of a cluster.
    pub fn new(cluster: &'a NodeName, findings: Vec<Finding>, evidence: &'a Evidence) -> Self {
        Self { cluster, findings, evidence }
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    fn nodes(&self) -> (usize, usize) {
        let answered = self.evidence.facts.len();
        (answered, answered + self.evidence.unreachable.len())
    }

    /// Writes all of it: paragraphs, or one document of JSON.
    pub fn show(&self, output: Output, printer: Printer) {
        match output {
            Output::Text => printer.text(&self.text()),
            Output::Json => printer.line(&self.json().to_string()),
        }
    }

    /// A paragraph a cause: how bad, which rule, where, what; what that means, what to do, what was said last. What follows from
    /// it stands below, a line each.
    fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let names: Vec<&str> = finding.nodes.iter().map(NodeName::as_str).collect();
            let place = if names.is_empty() { "cluster".to_owned() } else { names.join(", ") };
            let word = match finding.because {
                Some(_) => "follows".to_owned(),
                None => finding.severity.to_string(),
            };
            let _ = writeln!(text, "{word:<8} {:<16} {place}: {}", finding.id, finding.what);
            if finding.because.is_none() {
                for line in [finding.means, finding.remedy] {
                    let _ = writeln!(text, "{:25} {line}", "");
                }
                for line in &finding.said {
                    let _ = writeln!(text, "{:25} | {line}", "");
                }
            }
        }
        let (answered, all) = self.nodes();
        let _ = match self.findings.is_empty() {
            true => writeln!(text, "nothing is wrong; {answered} of {all} nodes answered"),
            false => {
                let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
                writeln!(text, "{errors} errors, {warnings} warnings; {answered} of {all} nodes answered")
            }
        };
        text
    }

    /// For programs.
    fn json(&self) -> Value {
        let mut value = json!({
            "cluster": self.cluster.as_str(),
            "at": self.evidence.at.to_string(),
            "answered": self.evidence.facts.keys().map(NodeName::as_str).collect::<Vec<_>>(),
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "findings": self.findings,
        });
        redaction::value(&mut value);
        value
    }

    /// The same for a file.
    pub fn pretty(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(&self.json()).map_err(Failure::environment)
    }

    /// Writes findings and evidence into a new file that nobody else may read.
    pub fn bundle(&self, path: &Path) -> Result<(), Failure> {
        let evidence = serde_json::to_string_pretty(&self.evidence.public()).map_err(Failure::environment)?;
        let files = [
            ("findings.txt", redaction::text(&self.text())),
            ("findings.json", self.pretty()?),
            ("evidence.json", evidence),
            ("version.txt", format!("kubezt {}\n", env!("CARGO_PKG_VERSION"))),
        ];
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(u64::try_from(self.evidence.at.as_second()).unwrap_or_default());
            archive
                .append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes())
                .map_err(Failure::environment)?;
        }
        let packed = archive.into_inner().and_then(GzEncoder::finish).map_err(Failure::environment)?;
        refuse_existing(path)?;
        let mut file = fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(Failure::environment)?;
        file.write_all(&packed).map_err(|error| {
            // Half of it is of no use, and in the way of the next one.
            let _ = fs_err::remove_file(path);
            Failure::environment(error)
        })
    }

    /// How the command ends.
    pub fn end(&self) -> Result<(), Failure> {
        let (answered, all) = self.nodes();
        if answered == 0 {
            return Err(Failure::environment(format!("none of {all} nodes was reached"))
                .hint("check the way to them with `ssh`; kubezt takes the same configuration"));
        }
        match (self.count(Severity::Error), self.count(Severity::Warning)) {
            (0, 0) => Ok(()),
            (errors, warnings) => Err(Failure::findings(format!("{errors} errors, {warnings} warnings"))
                .hint("begin with the first line: what follows from it goes with it")),
        }
    }
}

/// A bundle replaces nothing.
pub fn refuse_existing(path: &Path) -> Result<(), Failure> {
    match path.exists() {
        true => Err(Failure::usage(format!("{} is there already", path.display()))
            .hint("name another file with --bundle, or remove that one")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    use flate2::read::GzDecoder;
    use kubezt_model::node::{Facts, Read, Reading};
    use kubezt_plan::preflight::Unreachable;

    use super::*;

    const SECRETS: &str = "passphrase: planted phrase\n-----BEGIN PRIVATE KEY-----\nMIGHplanted\n-----END PRIVATE KEY-----\n\
                           token=planted QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=";

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn evidence() -> Evidence {
        let read = Read::UnitLog { name: "kubelet.service".to_owned() };
        let readings = [(read, Reading::Lines(vec![SECRETS.to_owned()]))].into();
        let unreachable = Unreachable { node: node("w2"), why: "silence".to_owned(), privilege: false };
        Evidence {
            at: "2026-06-01T00:00:00Z".parse().unwrap(),
            facts: [(node("w1"), Facts { node: node("w1"), at: 0, readings })].into(),
            unreachable: vec![unreachable],
            clocks: BTreeMap::new(),
            certificates: BTreeMap::new(),
            api: None,
            no_api: String::new(),
        }
    }

    fn finding(severity: Severity, nodes: &[&str], because: Option<usize>) -> Finding {
        Finding {
            id: "kubelet",
            severity,
            nodes: nodes.iter().map(|name| node(name)).collect(),
            what: "kubelet.service is failed".to_owned(),
            means: "nobody starts pods",
            remedy: "start it",
            said: vec![SECRETS.to_owned(), "no such flag".to_owned()],
            everywhere: false,
            because,
        }
    }

    #[test]
    fn a_cause_is_a_paragraph_and_what_follows_is_a_line() {
        let (evidence, cluster) = (evidence(), node("demo"));
        let mut cause = finding(Severity::Error, &["w1"], None);
        cause.said.remove(0);
        let findings = vec![cause, finding(Severity::Warning, &[], Some(0))];
        let diagnosis = Diagnosis::new(&cluster, findings, &evidence);
        assert_eq!(
            diagnosis.text(),
            "error    kubelet          w1: kubelet.service is failed\n\
             \x20                         nobody starts pods\n\
             \x20                         start it\n\
             \x20                         | no such flag\n\
             follows  kubelet          cluster: kubelet.service is failed\n\
             1 errors, 1 warnings; 1 of 2 nodes answered\n"
        );
        let json = diagnosis.json();
        assert_eq!((&json["findings"][1]["because"], &json["answered"]), (&json!(0), &json!(["w1"])));
        assert!(!json.to_string().contains("planted"), "{json}");
    }

    #[test]
    fn the_exit_code_tells_nothing_wrong_something_wrong_and_nobody_there() {
        let cluster = node("demo");
        let mut evidence = evidence();
        let code = |findings: Vec<Finding>, evidence: &Evidence| {
            Diagnosis::new(&cluster, findings, evidence).end().map_or_else(|failure| failure.code(), |()| 0)
        };
        assert_eq!(code(Vec::new(), &evidence), 0);
        assert_eq!(code(vec![finding(Severity::Note, &[], None)], &evidence), 0);
        assert_eq!(code(vec![finding(Severity::Warning, &[], None)], &evidence), 1);
        evidence.facts.clear();
        assert_eq!(code(vec![finding(Severity::Error, &[], None)], &evidence), 3);
    }

    #[test]
    fn a_bundle_is_new_closed_and_holds_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.tar.gz");
        let (evidence, cluster) = (evidence(), node("demo"));
        let diagnosis = Diagnosis::new(&cluster, vec![finding(Severity::Error, &["w1"], None)], &evidence);
        diagnosis.bundle(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(diagnosis.bundle(&path).unwrap_err().code(), 2);
        let mut names = Vec::new();
        let mut archive = tar::Archive::new(GzDecoder::new(fs_err::File::open(&path).unwrap()));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            names.push(entry.path().unwrap().display().to_string());
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert!(!text.contains("planted") && !text.contains("QUJDREVG"), "{text}");
            assert!(!text.is_empty());
        }
        let wanted = ["findings.txt", "findings.json", "evidence.json", "version.txt"];
        assert_eq!(names, wanted.map(|name| format!("{FOLDER}/{name}")));
    }
}
