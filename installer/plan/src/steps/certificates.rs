//! Authorities, certificates, keys and trust bundles.

use kubezt_model::desired::{CertificateKind, DesiredBundle, DesiredCertificate, DesiredKey};
use kubezt_model::names::{Mode, Owner};
use kubezt_model::node::{Read, Reading};
use kubezt_model::plan::{Change, Disruption, Operation, StepId};

use super::NodeContext;
use crate::order::Draft;

/// The intermediates of a control-plane node, and its keys without certificates.
pub(super) fn authorities(context: &NodeContext<'_>) -> Draft {
    let chosen =
        |certificate: &DesiredCertificate| matches!(certificate.kind, CertificateKind::Intermediate(_));
    let mut issue = Issue::of(context, chosen);
    for key in &context.desired.keys {
        if let Some((verb, why)) = key_due(context, key) {
            issue.change(verb, &key.key_path, &why);
            issue.keys.push(key.clone());
        }
    }
    issue.into_draft(context, "authorities", "Issue intermediate authorities", vec![context.id("host")])
}

/// Leaves, and trust bundles: they hold what every control-plane node has, so all of them come first.
pub(super) fn certificates(context: &NodeContext<'_>) -> Draft {
    let chosen = |certificate: &DesiredCertificate| matches!(certificate.kind, CertificateKind::Leaf(_));
    let mut issue = Issue::of(context, chosen);
    for bundle in &context.desired.bundles {
        if let Some(found) = context.assessment.bundle(context.name(), &bundle.path) {
            issue.change("change", &bundle.path, &found.why);
            issue.bundles.push(bundle.clone());
        }
    }
    // A member of etcd is trusted until it is none.
    let before = ["authorities", "etcd-removal"];
    let control_plane = context.control_plane.iter();
    let first = control_plane.flat_map(|node| before.map(|what| StepId::on(node, what)));
    let needs = first.chain([context.id("host")]).collect();
    issue.into_draft(context, "certificates", "Issue certificates", needs)
}

/// Making a key keeps one that is there, and closes it to others again.
fn key_due(context: &NodeContext<'_>, key: &DesiredKey) -> Option<(&'static str, String)> {
    let made =
        matches!(context.reading(&Read::PublicKey { path: key.key_path.clone() }), Reading::PublicKey(_));
    let (Some(file), true) = (context.facts.file(&key.key_path), made) else {
        return Some(("create", "missing".to_owned()));
    };
    let closed = file.mode == Mode::new(0o600) && file.owner == Owner::root();
    (!closed).then(|| ("change", format!("mode {} and owner {}", file.mode, file.owner)))
}

/// What is issued on a node in one step.
#[derive(Default)]
struct Issue {
    keys: Vec<DesiredKey>,
    certificates: Vec<DesiredCertificate>,
    bundles: Vec<DesiredBundle>,
    changes: Vec<Change>,
}

impl Issue {
    /// The certificates among these that are due.
    fn of(context: &NodeContext<'_>, chosen: impl Fn(&DesiredCertificate) -> bool) -> Self {
        let mut issue = Self::default();
        for certificate in context.desired.certificates.iter().filter(|certificate| chosen(certificate)) {
            if let Some(found) = context.assessment.certificate(context.name(), &certificate.certificate_path)
            {
                issue.change("issue", &certificate.certificate_path, &found.why);
                issue.certificates.push(certificate.clone());
            }
        }
        issue
    }

    fn change(&mut self, verb: &str, subject: &str, why: &str) {
        self.changes.push(Change {
            subject: subject.to_owned(),
            verb: verb.to_owned(),
            why: why.to_owned(),
            diff: String::new(),
        });
    }

    fn into_draft(self, context: &NodeContext<'_>, what: &str, title: &str, needs: Vec<StepId>) -> Draft {
        let Self { keys, certificates, bundles, changes } = self;
        let anything = !(keys.is_empty() && certificates.is_empty() && bundles.is_empty());
        Draft {
            id: context.id(what),
            title: title.to_owned(),
            node: Some(context.name().clone()),
            operation: anything.then_some(Operation::Certificates { keys, certificates, bundles }),
            needs,
            after: Vec::new(),
            interrupts: Disruption::None,
            changes,
        }
    }
}
