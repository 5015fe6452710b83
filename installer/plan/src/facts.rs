//! What must be read from a node to plan it.

use kubezt_model::desired::{DesiredNode, Sensitivity};
use kubezt_model::node::Read;

/// Everything planning looks at on this node, asked in one message.
pub fn reads(desired: &DesiredNode) -> Vec<Read> {
    let mut reads = vec![Read::Host, Read::Firewall, Read::Provisional];
    let file = |path: &str, text: bool| Read::File { path: path.to_owned(), text };
    reads.extend(desired.users.iter().map(|user| Read::User { name: user.name.clone() }));
    reads.extend(desired.directories.iter().map(|directory| file(&directory.path, false)));
    reads.extend(desired.components.iter().map(|component| Read::Program { path: component.path.clone() }));
    reads.extend(
        desired
            .files
            .iter()
            .map(|rendered| file(&rendered.path, rendered.sensitivity == Sensitivity::Public)),
    );
    reads.extend(desired.sysctls.keys().map(|key| Read::Sysctl { key: key.clone() }));
    reads.extend(desired.modules.iter().map(|name| Read::Module { name: name.clone() }));
    reads.extend(desired.units.iter().map(|name| Read::Unit { name: name.clone() }));
    reads.extend(desired.timed_units().map(|name| Read::Unit { name }));
    reads.extend(desired.static_pods().map(|(_, pod)| Read::Process { name: pod.to_owned() }));
    reads.extend(desired.images.iter().map(|image| Read::Image { reference: image.reference.clone() }));
    for key in &desired.keys {
        reads.push(Read::PublicKey { path: key.key_path.clone() });
        reads.push(file(&key.key_path, false));
    }
    for certificate in &desired.certificates {
        reads.push(file(&certificate.certificate_path, true));
        reads.push(file(&certificate.key_path, false));
        reads.push(Read::PublicKey { path: certificate.key_path.clone() });
    }
    reads.extend(desired.bundles.iter().map(|bundle| file(&bundle.path, true)));
    reads.extend(crate::members::reads(desired));
    reads.extend(desired.absent.iter().map(|path| file(path, false)));
    reads.sort();
    reads.dedup();
    reads
}
