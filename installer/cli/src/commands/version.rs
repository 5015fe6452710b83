//! `kubezt version`

use crate::failure::Failure;
use crate::printer::Printer;

/// Prints version, cryptographic module and SSH algorithms.
pub fn run(printer: Printer) -> Result<(), Failure> {
    printer.line(&format!("kubezt {}", env!("CARGO_PKG_VERSION")));
    printer.line(&format!(
        "cryptography {} (FIPS mode {})",
        kubezt_pki::crypto::provider_name_and_version(),
        if kubezt_pki::crypto::fips_mode() { "on" } else { "off" }
    ));
    for line in kubezt_engine::transport::algorithms::describe() {
        printer.line(&line);
    }
    Ok(())
}
