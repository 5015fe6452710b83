//! Which clusters files name: kubeconfigs and certificates. Keys and tokens that stand beside the names stay here.

use kubezt_model::survey::{KubeconfigReading, SubjectReading};
use kubezt_model::yaml;
use kubezt_pki::CertificateChain;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::node::{NodeError, NodeRoot, files};

/// The fields of a kubeconfig that are no secret.
#[derive(Deserialize)]
struct Kubeconfig {
    #[serde(default)]
    clusters: Vec<NamedCluster>,
}

#[derive(Deserialize)]
struct NamedCluster {
    #[serde(default)]
    name: String,
    #[serde(default)]
    cluster: Cluster,
}

#[derive(Default, Deserialize)]
struct Cluster {
    #[serde(default)]
    server: String,
}

/// The clusters a kubeconfig names; `None` where it is not there.
///
/// # Errors
/// [`NodeError::Unsuitable`] where it is no kubeconfig; never with what it holds.
pub fn kubeconfig(root: &NodeRoot, name: &str) -> Result<Option<Vec<KubeconfigReading>>, NodeError> {
    let path = root.path(name)?;
    let Some(text) = files::text(&path)?.map(Zeroizing::new) else { return Ok(None) };
    // What the parser says shows the line it stumbled over.
    let file: Kubeconfig = yaml::read(name, &text)
        .map_err(|_| NodeError::Unsuitable { path, why: "it is not a kubeconfig".to_owned() })?;
    let clusters = file.clusters.into_iter();
    Ok(Some(
        clusters.map(|named| KubeconfigReading { name: named.name, server: named.cluster.server }).collect(),
    ))
}

/// Whom the certificates of a file are for, and how long they live; `None` where it is not there.
///
/// # Errors
/// [`NodeError::Pki`].
pub fn subjects(root: &NodeRoot, name: &str) -> Result<Option<Vec<SubjectReading>>, NodeError> {
    let path = root.path(name)?;
    let Some(text) = files::text(&path)? else { return Ok(None) };
    let chain =
        CertificateChain::parse(&text).map_err(|source| NodeError::Pki { path, source: Box::new(source) })?;
    Ok(Some(
        chain
            .iter()
            .map(|certificate| SubjectReading {
                common_name: certificate.common_name.clone(),
                organizations: certificate.organizations.clone(),
                fingerprint: certificate.fingerprint,
                not_before: certificate.not_before,
                not_after: certificate.not_after,
            })
            .collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_and_secrets_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        let write = |text: &str| std::fs::write(root.path("/admin.conf").unwrap(), text).unwrap();
        assert_eq!(kubeconfig(&root, "/admin.conf").unwrap(), None);
        write(
            "apiVersion: v1\nclusters:\n- cluster: {server: 'https://10.0.0.9:6443', certificate-authority-data: x}\n  \
             name: kubernetes\nusers: [{name: admin, user: {token: secret}}]\n",
        );
        let seen = kubeconfig(&root, "/admin.conf").unwrap().unwrap();
        let expected =
            KubeconfigReading { name: "kubernetes".to_owned(), server: "https://10.0.0.9:6443".to_owned() };
        assert_eq!(seen, [expected]);
        write("token: secret\ntoken: secret\n");
        let error = kubeconfig(&root, "/admin.conf").unwrap_err().chain();
        assert!(error.contains("/admin.conf") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn certificates_tell_whom_they_are_for_and_how_long_they_live() {
        let folder = tempfile::tempdir().unwrap();
        let root = NodeRoot::at(folder.path());
        assert_eq!(subjects(&root, "/root.crt").unwrap(), None);
        let authority = kubezt_pki::new_root("demo", jiff::Timestamp::UNIX_EPOCH, 10).unwrap();
        let path = root.path("/root.crt").unwrap();
        std::fs::write(&path, authority.certificate().to_pem()).unwrap();
        let seen = subjects(&root, "/root.crt").unwrap().unwrap();
        assert_eq!((seen.len(), seen[0].common_name.as_str()), (1, "demo"));
        let info = authority.info();
        assert_eq!(seen[0].fingerprint, info.fingerprint);
        assert_eq!((seen[0].not_before, seen[0].not_after), (info.not_before, info.not_after));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(subjects(&root, "/root.crt").is_err());
    }
}
