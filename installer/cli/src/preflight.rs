//! Preflight findings as people read them, and those that somebody answers for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kubezt_controls::nearest::nearest;
use kubezt_model::event::Event;
use kubezt_plan::preflight::{CHECKS, Finding, Severity};
use serde_json::{Value, json};

use crate::args::Output;
use crate::failure::Failure;
use crate::printer::Printer;

/// What it touches.
const HELP: &str = "\
Nothing is changed. One thing is written, on control-plane nodes: a temporary file without a name, under /var/lib/etcd or where \
that will be, of less than 1 MiB and for less than half a second, to see how fast the disk is. On ports that the cluster will use \
and nobody holds, nodes listen for some seconds at most, so that the others can try to reach them. `install` does the same on \
nodes that are not members of the cluster yet, before it changes anything.

Exit codes: 0 no errors, 3 errors, which would end an install";

/// What stands below the options: what is touched, and every check.
pub fn help() -> String {
    let mut text = format!("{HELP}\n\nChecks:\n");
    for check in &CHECKS {
        let _ = writeln!(text, "  {:<18} {}", check.id, check.title);
    }
    text
}

/// Checks whose findings stop nothing, with the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignored(BTreeMap<String, String>);

impl Ignored {
    /// Reads `ID=REASON` arguments; all mistakes at once.
    pub fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut ignored = BTreeMap::new();
        let mut errors = Vec::new();
        for argument in arguments {
            let (id, reason) = argument.split_once('=').unwrap_or((argument, ""));
            if !CHECKS.iter().any(|check| check.id == id) {
                let likely = nearest(id, CHECKS.iter().map(|check| check.id));
                let likely = likely.map(|likely| format!("; did you mean `{likely}`?")).unwrap_or_default();
                errors.push(format!("`--ignore {argument}`: there is no check `{id}`{likely}"));
            } else if reason.trim().is_empty() {
                errors.push(format!("`--ignore {argument}` gives no reason"));
            } else {
                ignored.insert(id.to_owned(), reason.trim().to_owned());
            }
        }
        match errors.is_empty() {
            true => Ok(Self(ignored)),
            false => {
                let ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
                Err(Failure::usage(errors.join("\nerror: "))
                    .hint(format!("write --ignore ID='why this is fine here'; checks: {}", ids.join(", "))))
            }
        }
    }
}

/// Findings, and what somebody answers for.
#[derive(Debug)]
pub struct Answered {
    findings: Vec<Finding>,
    ignored: Ignored,
}

impl Answered {
    /// What was found, with what is ignored.
    pub fn new(findings: Vec<Finding>, ignored: Ignored) -> Self {
        Self { findings, ignored }
    }

    fn reason(&self, finding: &Finding) -> Option<&str> {
        self.ignored.0.get(finding.id).map(String::as_str)
    }

    fn count(&self, severity: Severity) -> usize {
        let counts = |finding: &&Finding| finding.severity == severity && self.reason(finding).is_none();
        self.findings.iter().filter(counts).count()
    }

    /// Errors that nobody answers for.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// Writes all of it: paragraphs, or one line of JSON, as events are.
    pub fn show(&self, cluster: &str, output: Output, printer: Printer) {
        match output {
            Output::Text => printer.text(&self.text()),
            Output::Json => printer.line(&self.json(cluster).to_string()),
        }
    }

    /// One paragraph a finding: how bad, which check, where, what, and what to do. Nodes of which the same is true share one.
    fn text(&self) -> String {
        let mut groups: Vec<(&Finding, Vec<String>)> = Vec::new();
        for finding in &self.findings {
            let same = |(other, _): &&mut (&Finding, Vec<String>)| {
                (other.id, other.severity, &other.what) == (finding.id, finding.severity, &finding.what)
            };
            let nodes = finding.nodes.iter().map(ToString::to_string);
            match groups.iter_mut().find(same) {
                Some((_, all)) => all.extend(nodes),
                None => groups.push((finding, nodes.collect())),
            }
        }
        let mut text = String::new();
        for (finding, nodes) in groups {
            let place = if nodes.is_empty() { "cluster".to_owned() } else { nodes.join(", ") };
            let word = match self.reason(finding) {
                Some(_) => "ignored".to_owned(),
                None => finding.severity.to_string(),
            };
            let _ = writeln!(text, "{word:<8} {:<16} {place}: {}", finding.id, finding.what);
            if let Some(reason) = self.reason(finding) {
                let _ = writeln!(text, "{:25} because {reason}", "");
            } else if !finding.remedy.is_empty() {
                let _ = writeln!(text, "{:25} {}", "", finding.remedy);
            }
        }
        let ignored = self.findings.iter().filter(|finding| self.reason(finding).is_some()).count();
        let (errors, warnings) = (self.errors(), self.count(Severity::Warning));
        let _ = writeln!(text, "{errors} errors, {warnings} warnings, {ignored} ignored");
        text
    }

    /// For programs.
    fn json(&self, cluster: &str) -> Value {
        let findings = self.findings.iter().map(|finding| {
            let mut value = json!(finding);
            value["ignored"] = json!(self.reason(finding));
            value
        });
        json!({
            "cluster": cluster,
            "errors": self.errors(),
            "warnings": self.count(Severity::Warning),
            "findings": findings.collect::<Vec<_>>(),
        })
    }

    /// What a run begins with: warnings, and what is ignored with the reason.
    pub fn warnings(&self) -> Vec<Event> {
        let told = self.findings.iter().filter(|finding| finding.severity != Severity::Note);
        told.map(|finding| {
            let advice = match self.reason(finding) {
                Some(reason) => format!("ignored because {reason}"),
                None => finding.remedy.clone(),
            };
            // What concerns several nodes names them itself.
            let node = if finding.nodes.len() == 1 { finding.nodes.first().cloned() } else { None };
            Event::Warning { node, message: format!("{}: {}; {advice}", finding.id, finding.what) }
        })
        .collect()
    }

    /// The error of a run that ends because of errors.
    pub fn failure(&self, what_follows: &str) -> Failure {
        let count = match self.errors() {
            1 => "1 preflight error".to_owned(),
            count => format!("{count} preflight errors"),
        };
        Failure::environment(format!("{count}: {what_follows}"))
            .hint("mend what they say, or go on in spite of one with --ignore ID=REASON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &'static str, severity: Severity, nodes: &[&str], what: &str) -> Finding {
        let nodes = nodes.iter().map(|node| node.parse().unwrap()).collect();
        Finding { id, title: "", severity, nodes, what: what.to_owned(), remedy: "mend it".to_owned() }
    }

    fn some() -> Vec<Finding> {
        vec![
            finding("ports", Severity::Error, &["w1"], "a port is held"),
            finding("swap", Severity::Error, &["w1"], "swap is on"),
            finding("swap", Severity::Error, &["w2"], "swap is on"),
            finding("mtu", Severity::Warning, &["w1", "w2"], "w1 and w2 differ"),
            finding("security-modules", Severity::Note, &["w1"], "SELinux is off"),
        ]
    }

    fn ignoring(arguments: &[&str]) -> Result<Ignored, Failure> {
        Ignored::parse(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn all_mistakes_of_what_is_ignored_are_said_at_once() {
        let error = ignoring(&["swop=x", "swap", "ports= ", "mtu=known"]).unwrap_err();
        assert_eq!(error.code(), 2);
        let text = error.to_string();
        for said in
            ["did you mean `swap`?", "`--ignore swap` gives no reason", "`--ignore ports= ` gives no reason"]
        {
            assert!(text.contains(said), "{text}");
        }
        assert!(!text.contains("mtu=known"), "{text}");
    }

    #[test]
    fn nodes_of_which_the_same_is_true_share_a_paragraph() {
        let answered = Answered::new(some(), ignoring(&["ports=it is moved tomorrow"]).unwrap());
        assert_eq!(
            answered.text(),
            "ignored  ports            w1: a port is held\n\
             \x20                         because it is moved tomorrow\n\
             error    swap             w1, w2: swap is on\n\
             \x20                         mend it\n\
             warning  mtu              w1, w2: w1 and w2 differ\n\
             \x20                         mend it\n\
             note     security-modules w1: SELinux is off\n\
             \x20                         mend it\n\
             2 errors, 1 warnings, 1 ignored\n"
        );
        assert_eq!(answered.failure("nothing was changed").code(), 3);
    }

    #[test]
    fn what_is_ignored_stops_nothing_and_is_kept_with_its_reason() {
        let answered = Answered::new(some(), ignoring(&["ports=a=b", "swap=lab"]).unwrap());
        assert_eq!(answered.errors(), 0);
        let json = answered.json("demo");
        assert_eq!((&json["errors"], &json["warnings"]), (&json!(0), &json!(1)));
        assert_eq!(
            (&json["findings"][0]["ignored"], &json["findings"][3]["ignored"]),
            (&json!("a=b"), &json!(null))
        );
        assert_eq!(json["findings"][0]["severity"], "error");
        let told: Vec<String> = answered.warnings().iter().map(|event| format!("{event:?}")).collect();
        assert_eq!(told.len(), 4);
        assert!(told[0].contains("ports: a port is held; ignored because a=b"), "{told:?}");
        assert!(told[3].contains("node: None") && told[3].contains("mend it"), "{told:?}");
    }
}
