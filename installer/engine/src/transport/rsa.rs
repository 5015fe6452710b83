//! Signatures of RSA authorities on certificates, which the SSH library does not verify. SHA-1 and keys below 2048 bits do
//! not count.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents};
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg};

/// Whether the RSA key in a certificate signed it.
pub(super) fn signed(certificate: &Certificate) -> bool {
    verify(certificate).is_some()
}

fn verify(certificate: &Certificate) -> Option<()> {
    let KeyData::Rsa(key) = certificate.signature_key() else { return None };
    let signature = certificate.signature();
    let parameters = match signature.algorithm() {
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) } => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) } => &RSA_PKCS1_2048_8192_SHA512,
        _ => return None,
    };
    let bytes = certificate.to_bytes().ok()?;
    // What is signed is everything before the signature, which comes last with its length before it.
    let signed = bytes.get(..bytes.len().checked_sub(4 + signature.encoded_len().ok()?)?)?;
    let components =
        RsaPublicKeyComponents { n: key.n().as_positive_bytes()?, e: key.e().as_positive_bytes()? };
    components.verify(parameters, signed, signature.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_certificate_counts_only_under_the_signature_of_its_authority() {
        let folder = tempfile::tempdir().unwrap();
        let keygen = |arguments: &[&str]| {
            let mut command = Command::new("ssh-keygen");
            command.arg("-q").args(arguments).current_dir(folder.path()).stdin(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        if !keygen(&["-t", "rsa", "-b", "2048", "-N", "", "-f", "authority"]) {
            return;
        }
        assert!(keygen(&["-t", "ed25519", "-N", "", "-f", "host"]));
        for (algorithm, good) in [("rsa-sha2-256", true), ("rsa-sha2-512", true), ("ssh-rsa", false)] {
            assert!(keygen(&["-s", "authority", "-t", algorithm, "-h", "-I", "id", "-n", "cp1", "host.pub"]));
            let text = std::fs::read_to_string(folder.path().join("host-cert.pub")).unwrap();
            let certificate = Certificate::from_openssh(text.trim()).unwrap();
            assert_eq!(signed(&certificate), good, "{algorithm}");
            let mut bytes = certificate.to_bytes().unwrap();
            let position = bytes.windows(3).position(|window| window == b"cp1").unwrap();
            bytes[position + 2] = b'2';
            assert!(!signed(&Certificate::from_bytes(&bytes).unwrap()), "{algorithm}, for another host");
        }
    }
}
