//! `kubezt schema`

use crate::failure::Failure;
use crate::printer::Printer;

/// Prints the JSON Schema of the cluster file.
pub fn run(printer: Printer) -> Result<(), Failure> {
    let schema = kubezt_model::schema::cluster_file();
    printer.line(&serde_json::to_string_pretty(&schema).map_err(Failure::environment)?);
    Ok(())
}
