//! Writes the PEM files of a small public key infrastructure, for checking them with other programs:
//! `cargo run -p kubezt-pki --example chain -- DIRECTORY`.
//!
//! The keys are made for this and protect nothing.
#![allow(clippy::print_stdout, reason = "an example speaks on stdout")]

use std::time::Duration;

use kubezt_pki::{
    AuthorityKind, LeafSpec, Usage, generate, issue_intermediate, new_root, sign_leaf, spki_of,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::path::PathBuf::from(std::env::args().nth(1).ok_or("a directory is wanted")?);
    let now = jiff::Timestamp::now();
    let root = new_root("kubezt example", now, 10)?;
    let authority_key = generate()?;
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    let intermediate =
        issue_intermediate(&root, AuthorityKind::Kubernetes, &spki_of(&authority_key)?, now, days(365))?;
    let spec = LeafSpec {
        authority: AuthorityKind::Kubernetes,
        common_name: "kube-apiserver".to_owned(),
        organizations: vec!["kubezt:examples".to_owned()],
        dns_names: vec!["kubernetes".to_owned(), "localhost".to_owned()],
        ip_addresses: vec!["127.0.0.1".parse()?, "::1".parse()?],
        usage: Usage::ServerAndClient,
    };
    let key = generate()?;
    let leaf = sign_leaf(&intermediate, &authority_key, &spec, &spki_of(&key)?, now, days(30))?;
    for (name, text) in [
        ("root.crt", root.certificate().to_pem()),
        ("intermediate.crt", intermediate.to_pem()),
        ("leaf.crt", leaf.to_pem()),
        ("leaf.key", key.expose().to_owned()),
        ("leaf.pub", spki_of(&key)?.to_pem()),
    ] {
        std::fs::write(directory.join(name), text)?;
        println!("{}", directory.join(name).display());
    }
    Ok(())
}
