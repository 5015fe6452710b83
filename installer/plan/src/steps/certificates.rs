//! Authorities, certificates, keys and trust bundles.

use kubezt_model::action::Action;
use kubezt_model::desired::{CertificateKind, DesiredCertificate, DesiredKey};
use kubezt_model::names::{Mode, Owner};
use kubezt_model::node::{Read, Reading};
use kubezt_model::plan::{Change, Disruption, Operation};

use super::NodeContext;
use super::draft::Actions;
use crate::order::Draft;

/// The intermediates, on the node whose keys sign.
pub(super) fn authorities(context: &NodeContext<'_>) -> Draft {
    issue(
        context,
        "authorities",
        "Issue intermediate authorities",
        |certificate| matches!(certificate.kind, CertificateKind::Intermediate(_)),
        false,
        vec![context.id("host")],
    )
}

/// Leaves, keys without certificates, and trust bundles.
pub(super) fn certificates(context: &NodeContext<'_>) -> Draft {
    let needs = vec![context.id("host"), kubezt_model::plan::StepId::on(context.authority, "authorities")];
    issue(
        context,
        "certificates",
        "Issue certificates",
        |certificate| matches!(certificate.kind, CertificateKind::Leaf(_)),
        true,
        needs,
    )
}

/// Keys without certificates (service-account tokens), as actions of their own.
pub(super) fn keys(context: &NodeContext<'_>, actions: &mut Actions) {
    for key in &context.desired.keys {
        let Some((verb, why)) = key_due(context, key) else { continue };
        let action = Action::MakeKey {
            path: key.key_path.clone(),
            owner: Owner::root(),
            public_path: Some(key.public_path.clone()),
        };
        actions.add(action, verb, &key.key_path, why);
    }
}

/// Making a key keeps one that is there, and closes it to others again.
fn key_due(context: &NodeContext<'_>, key: &DesiredKey) -> Option<(&'static str, String)> {
    let made =
        matches!(context.reading(&Read::PublicKey { path: key.key_path.clone() }), Reading::PublicKey(_));
    let (Some(private), Some(public), true) =
        (context.facts.file(&key.key_path), context.facts.file(&key.public_path), made)
    else {
        return Some(("create", "missing".to_owned()));
    };
    [(private, Mode::new(0o600)), (public, Mode::new(0o644))].into_iter().find_map(|(file, mode)| {
        let closed = file.mode == mode && file.owner == Owner::root();
        (!closed)
            .then(|| ("change", format!("{} has mode {} and owner {}", file.path, file.mode, file.owner)))
    })
}

fn issue(
    context: &NodeContext<'_>,
    what: &str,
    title: &str,
    chosen: impl Fn(&DesiredCertificate) -> bool,
    bundles: bool,
    needs: Vec<kubezt_model::plan::StepId>,
) -> Draft {
    let mut changes = Vec::new();
    let mut change = |verb: &str, subject: &str, why: &str| {
        changes.push(Change {
            subject: subject.to_owned(),
            verb: verb.to_owned(),
            why: why.to_owned(),
            diff: String::new(),
        });
    };
    let mut due = Vec::new();
    for certificate in context.desired.certificates.iter().filter(|certificate| chosen(certificate)) {
        if let Some(found) = context.assessment.certificate(context.name(), &certificate.certificate_path) {
            change("issue", &certificate.certificate_path, &found.why);
            due.push(certificate.clone());
        }
    }
    let mut due_bundles = Vec::new();
    if bundles {
        for bundle in &context.desired.bundles {
            if let Some(found) = context.assessment.bundle(context.name(), &bundle.path) {
                change("change", &bundle.path, &found.why);
                due_bundles.push(bundle.clone());
            }
        }
    }
    let operation = (!due.is_empty() || !due_bundles.is_empty())
        .then_some(Operation::Certificates { certificates: due, bundles: due_bundles });
    Draft {
        id: context.id(what),
        title: title.to_owned(),
        node: Some(context.name().clone()),
        operation,
        needs,
        interrupts: Disruption::None,
        changes,
    }
}
