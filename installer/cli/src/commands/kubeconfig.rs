//! `kubezt kubeconfig`

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use kubezt_engine::certificates::Authorities;
use kubezt_engine::credential;
use kubezt_engine::link::NodeProgram;
use kubezt_model::desired::AuthorityKind;
use kubezt_pki::CertificateChain;

use crate::args::KubeconfigArgs;
use crate::assemble;
use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::printer::Printer;
use crate::reach::Reach;
use crate::session::connect;

/// Writes a kubeconfig with a short-lived credential.
pub async fn run(arguments: KubeconfigArgs, printer: Printer) -> Result<(), Failure> {
    if arguments.group == credential::MASTERS {
        return Err(Failure::usage(format!(
            "`{}` bypasses authorization and cannot be revoked; name a group that RBAC binds",
            credential::MASTERS
        )));
    }
    let context = Context::load(&arguments.cluster)?;
    // A credential that nobody can keep is not issued.
    files::is_writable(&arguments.output).map_err(Failure::usage)?;
    let desired = assemble::outline(&context)?;
    let program = Arc::new(NodeProgram::this().map_err(Failure::environment)?);
    let (nodes, failures) = connect(Reach::of(&context, printer)?, program).await;
    let now = jiff::Timestamp::now();
    let reads =
        desired.nodes.iter().map(|node| (node.node.name.clone(), kubezt_plan::facts::reads(node))).collect();
    let (facts, _) = nodes.gather(reads, now).await;
    let root =
        context.state.root_certificate().map_err(Failure::environment)?.ok_or_else(Failure::no_root)?;
    let why = || failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let authorities = Authorities::read(root, &desired, &facts).intermediates(AuthorityKind::Kubernetes);
    if authorities.is_empty() {
        return Err(Failure::environment(format!("the kubernetes authority was not found {}", why())));
    }
    let trust: String = authorities.iter().map(CertificateChain::to_pem).collect();
    let issued = credential::issue(&nodes, &desired, &arguments.user, &arguments.group, arguments.hours)
        .await
        .map_err(Failure::environment)?;
    let cluster = &context.cluster;
    let own =
        cluster.control_plane().next().map(|node| SocketAddr::new(node.address(), cluster.endpoint.port));
    let server = cluster.endpoint.external.first().copied().or(own);
    let server = server.ok_or_else(|| Failure::usage("the cluster has no control plane"))?;
    let expires = now + jiff::SignedDuration::from_hours(arguments.hours.into());
    let text = credential::kubeconfig(
        cluster.name.as_str(),
        &format!("https://{server}"),
        &cluster.endpoint.name,
        &trust,
        &arguments.user,
        &issued,
        expires,
    );
    let mut file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&arguments.output)
        .map_err(Failure::environment)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .map_err(Failure::environment)?;
    file.write_all(text.expose().as_bytes()).map_err(Failure::environment)?;
    printer.note(&format!("{} as {} until {expires}", arguments.output.display(), arguments.user));
    Ok(())
}
