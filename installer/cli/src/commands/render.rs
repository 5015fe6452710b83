//! `kubezt render`

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fs_err as fs;
use kubezt_model::desired::{Desired, Sensitivity};
use kubezt_model::yaml;

use super::plan::{Purpose, at_hand, secrets};
use crate::args::RenderArgs;
use crate::assemble;
use crate::context::Context;
use crate::failure::Failure;
use crate::files;
use crate::printer::Printer;

/// Writes everything that would go onto the nodes and into the API; secret files as their digest.
pub async fn run(arguments: RenderArgs, printer: Printer) -> Result<(), Failure> {
    let context = Context::load(&arguments.cluster)?;
    files::is_folder(&arguments.output).map_err(Failure::usage)?;
    let passphrase = at_hand(&context, &arguments.passphrase, Purpose::Show, printer)?;
    let (secrets, manifests) = tokio::try_join!(
        secrets(&context, passphrase, Purpose::Show),
        assemble::manifests(&context, printer)
    )?;
    let mut desired = assemble::rendered(&context, &secrets.encryption_key)?;
    desired.manifests = manifests;
    let count = write(&desired, &arguments.output).map_err(Failure::environment)?;
    printer.note(&format!("{count} files in {}", arguments.output.display()));
    Ok(())
}

fn write(desired: &Desired, folder: &Path) -> std::io::Result<usize> {
    let mut count = 0;
    for node in &desired.nodes {
        for file in &node.files {
            let path = folder.join(node.node.name.as_str()).join(file.path.trim_start_matches('/'));
            let text = match file.sensitivity {
                Sensitivity::Public => file.body.expose().to_owned(),
                Sensitivity::Secret => format!("(secret; sha256 {})\n", file.digest()),
            };
            put(&path, &text, file.mode.bits())?;
            count += 1;
        }
    }
    for (position, set) in desired.manifests.iter().enumerate() {
        let mut text = String::new();
        for object in &set.objects {
            text.push_str("---\n");
            text.push_str(&yaml::write(object).map_err(std::io::Error::other)?);
        }
        put(&folder.join("cluster").join(format!("{position:02}-{}.yaml", set.name)), &text, 0o644)?;
        count += 1;
    }
    Ok(count)
}

fn put(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text)?;
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
