//! `kubezt images`

use kubezt_artifacts::Extent;
use kubezt_model::cluster::ArtifactSource;

use crate::args::{ImagesArgs, ImagesCommand, SourceArg};
use crate::assemble::components;
use crate::failure::Failure;
use crate::printer::Printer;

/// Obtains components ahead of an install.
pub async fn run(arguments: ImagesArgs, printer: Printer) -> Result<(), Failure> {
    let ImagesCommand::Build { source, components: wanted } = arguments.command;
    let source = match source {
        SourceArg::Release => ArtifactSource::Release,
        SourceArg::Source => ArtifactSource::Source,
    };
    let prepared = components(source, &wanted, Extent::Everything, printer).await?;
    for file in &prepared.node_files {
        printer.line(&format!("{}  {}", file.digest, file.path));
    }
    for image in &prepared.images {
        printer.line(&format!("{}  {}", image.digest, image.reference));
    }
    Ok(())
}
