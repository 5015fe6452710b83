//! `kubezt certs`

use std::sync::Arc;

use kubezt_engine::failures;
use kubezt_engine::link::NodeProgram;
use kubezt_model::desired::CertificateKind;
use kubezt_pki::CertificateChain;
use kubezt_plan::{Assessment, Due, Selection};

use super::install::execute;
use super::plan::{Asked, Looked, Purpose, Ready, look};
use crate::args::{CertsArgs, CertsCommand, Output};
use crate::assemble;
use crate::context::Context;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::progress;
use crate::reach::Reach;
use crate::session::{Session, connect};

/// Lists certificates, or renews them.
pub async fn run(arguments: CertsArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    match arguments.command {
        None => list(&context, printer).await,
        Some(CertsCommand::Renew { passphrase }) => {
            if !context.state.has_secrets() {
                return Err(Failure::no_root());
            }
            let selection = Selection::default();
            let asked = Asked { purpose: Purpose::Change { take_over: false }, selection: &selection };
            let ready = Ready::check(&context, &passphrase, asked, printer)?;
            let _lock = context.state.lock("kubezt certs renew").map_err(Failure::environment)?;
            let Looked { mut session, .. } = look(&context, ready, asked, printer).await?;
            if !session.failures.is_empty() {
                return Err(Failure::environment(session.failure_text()));
            }
            session.assessment = renewal(&session);
            let plan = kubezt_plan::plan(&session.desired, &session.facts, &session.assessment);
            let plan = kubezt_model::plan::Plan {
                cluster: plan.cluster,
                steps: plan
                    .steps
                    .into_iter()
                    .filter(|step| {
                        matches!(step.operation, kubezt_model::plan::Operation::Certificates { .. })
                    })
                    .collect(),
            };
            let outcome =
                execute(&context, &plan, &session, &[], progress::sink(Output::Text, printer)).await?;
            if outcome.is_complete() {
                Ok(())
            } else {
                let blocks = failures::blocks(&outcome, &[]);
                Err(Failure::blocks(&blocks, failures::extent(&outcome, &[]), printer))
            }
        }
    }
}

/// Every leaf is due, because it was asked for; what else is due stays due.
fn renewal(session: &Session) -> Assessment {
    let mut assessment = session.assessment.clone();
    for node in &session.desired.nodes {
        let due = assessment.certificates.entry(node.node.name.clone()).or_default();
        for certificate in &node.certificates {
            let leaf = matches!(certificate.kind, CertificateKind::Leaf(_));
            if leaf && !due.iter().any(|found| found.subject == certificate.certificate_path) {
                due.push(Due {
                    subject: certificate.certificate_path.clone(),
                    why: "renewal was asked for".to_owned(),
                });
            }
        }
    }
    assessment
}

async fn list(context: &Context, printer: Printer) -> Result<(), Failure> {
    let program = Arc::new(NodeProgram::this().map_err(Failure::environment)?);
    let desired = assemble::outline(context)?;
    let (nodes, failures) = connect(Reach::of(context, printer)?, program).await;
    let session = Session::look(context, nodes, failures, desired).await?;
    printer
        .line(&format!("{:<16} {:<52} {:<28} {:<28} RENEWED", "NODE", "CERTIFICATE", "SUBJECT", "EXPIRES"));
    let now = jiff::Timestamp::now();
    let lifetime = session.desired.cluster.settings.pki.leaf_lifetime;
    if let Some(root) = context.state.root_certificate().map_err(Failure::environment)? {
        row(printer, "operator", "root.crt", &root, "", now);
    }
    for node in &session.desired.nodes {
        let Some(facts) = session.facts.get(&node.node.name) else { continue };
        for certificate in &node.certificates {
            let chain = facts
                .file(&certificate.certificate_path)
                .and_then(|file| file.text.as_ref())
                .and_then(|text| CertificateChain::parse(text.expose()).ok());
            match chain {
                Some(chain) => {
                    let first = chain.first();
                    let from = first.renewal().due().strftime("%Y-%m-%d %H:%M");
                    let renewed = match certificate.kind {
                        CertificateKind::Leaf(_)
                            if lifetime.is_exceeded(first.not_before, first.not_after) =>
                        {
                            format!("by `kubezt install`, now: it lives longer than {lifetime}")
                        }
                        CertificateKind::Leaf(_) => format!("by the node, from {from}"),
                        CertificateKind::Intermediate(_) => format!("by `kubezt install`, from {from}"),
                    };
                    row(
                        printer,
                        node.node.name.as_str(),
                        &certificate.certificate_path,
                        &chain,
                        &renewed,
                        now,
                    );
                }
                None => printer.line(&format!(
                    "{:<16} {:<52} {:<28} missing",
                    node.node.name.as_str(),
                    certificate.certificate_path,
                    ""
                )),
            }
        }
    }
    if session.failures.is_empty() { Ok(()) } else { Err(Failure::findings(session.failure_text())) }
}

fn row(
    printer: Printer,
    node: &str,
    path: &str,
    chain: &CertificateChain,
    renewed: &str,
    now: jiff::Timestamp,
) {
    let info = chain.first();
    let left = info.not_after.duration_since(now).as_mins();
    let left = match left {
        2880.. => format!("{} days", left / 1440),
        120.. => format!("{} hours", left / 60),
        _ => format!("{left} minutes"),
    };
    let expires = format!("{} ({left})", info.not_after.strftime("%Y-%m-%d %H:%M"));
    let line = format!("{node:<16} {path:<52} {:<28} {expires:<28} {renewed}", info.common_name);
    printer.line(line.trim_end());
}
