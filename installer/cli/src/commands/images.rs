//! `kubezt images`

use std::path::PathBuf;

use kubezt_artifacts::{Extent, Origin};

use crate::args::{ImagesArgs, ImagesCommand, SourceArgs};
use crate::assemble;
use crate::failure::Failure;
use crate::printer::Printer;

/// Obtains components ahead of an install.
pub async fn run(arguments: ImagesArgs, printer: Printer) -> Result<(), Failure> {
    match arguments.command {
        ImagesCommand::Build { source, components } => {
            let origin = origin(source)?;
            let prepared = assemble::components(&origin, &components, Extent::Everything, printer).await?;
            for file in &prepared.node_files {
                printer.line(&format!("{}  {}", file.digest, file.path));
            }
            for image in &prepared.images {
                printer.line(&format!("{}  {}", image.digest, image.reference));
            }
        }
        ImagesCommand::Export { folder, source, components } => {
            let exported = assemble::export(&origin(source)?, &components, &folder, printer).await?;
            for (path, digest) in &exported.0 {
                printer.line(&format!("{digest}  {path}"));
            }
            let count = exported.0.len();
            printer.note(&format!(
                "{count} files in {}; carry it over and set `artifacts: {{source: directory, directory: PATH}}`",
                folder.display()
            ));
        }
    }
    Ok(())
}

fn origin(source: SourceArgs) -> Result<Origin, Failure> {
    Origin::new(&source.into(), &|path| PathBuf::from(path)).map_err(Failure::usage)
}
