//! Private key files and certificates of keys, as OpenSSH writes them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, PrivateKey, PublicKey, decode_secret_key};
use zeroize::Zeroizing;

const RSA: &str = "RSA keys are not supported from files: load it into an agent with `ssh-add`, or use an Ed25519 or ECDSA key";

/// What a key file holds.
pub(super) enum KeyFile {
    /// A key.
    Plain(Arc<PrivateKey>),
    /// A key that wants a passphrase.
    Encrypted {
        /// Its public half, where it can be told without the passphrase.
        public: Option<PublicKey>,
        text: Zeroizing<String>,
    },
    /// A key that only an agent can use, and why.
    AgentOnly { public: PublicKey, why: &'static str },
}

/// Most bytes of a key file: RSA keys of 16384 bits have less than a quarter of that.
const LARGEST: u64 = 64 << 10;

/// Why a key file cannot be used, as far as that shows before a node asks for it; `None` where it can, or where only its public
/// half is here and an agent may hold the other one.
pub fn key_file_problem(path: &Path) -> Option<String> {
    let agent_may = !path.exists() && with_suffix(path, ".pub").exists();
    if agent_may { None } else { read(path).err() }
}

/// Reads a key file; the reason for a refusal says what to do and holds nothing of the content.
pub(super) fn read(path: &Path) -> Result<KeyFile, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    // A pipe would be waited for, and something large be read whole.
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err("is not a key file".to_owned());
    }
    let text =
        Zeroizing::new(std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?);
    if let Ok(public) = PublicKey::from_openssh(text.trim()) {
        return Ok(KeyFile::AgentOnly {
            public,
            why: "it is a public key, and no agent holds the private one",
        });
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("ignored: mode {mode:04o} lets others read it; `chmod 0600` it"));
    }
    if text.contains("BEGIN OPENSSH PRIVATE KEY") {
        let key =
            PrivateKey::from_openssh(text.as_bytes()).map_err(|error| format!("not a private key: {error}"));
        return match key {
            Ok(key) if key.algorithm().is_rsa() => {
                Ok(KeyFile::AgentOnly { public: key.public_key().clone(), why: RSA })
            }
            Ok(key) if key.is_encrypted() => {
                Ok(KeyFile::Encrypted { public: Some(key.public_key().clone()), text })
            }
            Ok(key) => Ok(KeyFile::Plain(Arc::new(key))),
            // The library cannot read such a key; its public half may lie beside it.
            Err(why) => rsa_beside(path).ok_or(why),
        };
    }
    if text.contains("BEGIN RSA PRIVATE KEY") {
        return rsa_beside(path).ok_or_else(|| RSA.to_owned());
    }
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return Ok(KeyFile::Encrypted { public: beside(path), text });
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        let why =
            "it is encrypted in an old form: convert it with `ssh-keygen -p -f`, or load it with `ssh-add`";
        return Err(why.to_owned());
    }
    match decode_secret_key(&text, None) {
        Ok(key) if key.algorithm().is_rsa() => Err(RSA.to_owned()),
        Ok(key) => Ok(KeyFile::Plain(Arc::new(key))),
        Err(_) => Err("not a private key in OpenSSH or PKCS#8 form".to_owned()),
    }
}

/// Opens an encrypted key; `None` where the passphrase is wrong.
pub(super) fn decrypt(text: &str, passphrase: &str) -> Result<Option<PrivateKey>, String> {
    if !text.contains("BEGIN OPENSSH PRIVATE KEY") {
        return Ok(decode_secret_key(text, Some(passphrase)).ok());
    }
    let key =
        PrivateKey::from_openssh(text.as_bytes()).map_err(|error| format!("not a private key: {error}"))?;
    Ok(key.decrypt(passphrase.as_bytes()).ok())
}

fn beside(path: &Path) -> Option<PublicKey> {
    let text = std::fs::read_to_string(with_suffix(path, ".pub")).ok()?;
    PublicKey::from_openssh(text.trim()).ok()
}

fn rsa_beside(path: &Path) -> Option<KeyFile> {
    let public = beside(path).filter(|public| public.algorithm().is_rsa())?;
    Some(KeyFile::AgentOnly { public, why: RSA })
}

/// Where the certificate of a key file lies if nothing else is said.
pub(super) fn certificate_beside(path: &Path) -> PathBuf {
    with_suffix(path, "-cert.pub")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Reads a user certificate that is good at a time, in seconds since 1970.
pub(super) fn read_certificate(path: &Path, now: u64) -> Result<Certificate, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let certificate =
        Certificate::from_openssh(text.trim()).map_err(|error| format!("not a certificate: {error}"))?;
    if certificate.cert_type() != CertType::User {
        return Err("it is a host's certificate and not a user's".to_owned());
    }
    if now < certificate.valid_after() {
        return Err("it is not good yet".to_owned());
    }
    if now >= certificate.valid_before() {
        return Err("it has expired: have it signed again".to_owned());
    }
    Ok(certificate)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn keys_that_cannot_be_used_say_why_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for (text, mode, expected) in [
            ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", 0o600, "ssh-add"),
            ("Proc-Type: 4,ENCRYPTED\n", 0o600, "ssh-keygen -p"),
            ("not a key", 0o600, "not a private key"),
            ("not a key", 0o644, "chmod 0600"),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
                0o600,
                "not a private key",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let Err(why) = read(&path) else { panic!("{text} is taken") };
            assert!(why.contains(expected), "{why}");
        }
        let Err(why) = read(&folder.path().join("absent")) else { panic!("an absent file is taken") };
        assert!(why.contains("cannot be read"), "{why}");
    }

    /// Runs ssh-keygen in a folder; `false` where there is none.
    fn ssh_keygen(folder: &Path, arguments: &[&str]) -> bool {
        match Command::new("ssh-keygen")
            .arg("-q")
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .status()
        {
            Ok(status) => {
                assert!(status.success(), "{arguments:?}");
                true
            }
            Err(_) => false,
        }
    }

    #[test]
    fn what_ssh_keygen_writes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        if !ssh_keygen(folder.path(), &["-t", "ed25519", "-N", "open sesame", "-f", "locked"]) {
            return;
        }
        for form in ["ed25519", "ecdsa"] {
            assert!(ssh_keygen(folder.path(), &["-t", form, "-N", "open sesame", "-f", form]));
            let KeyFile::Encrypted { public: Some(public), text } = read(&folder.path().join(form)).unwrap()
            else {
                panic!("{form} is encrypted")
            };
            assert!(decrypt(&text, "wrong").unwrap().is_none());
            assert_eq!(
                decrypt(&text, "open sesame").unwrap().unwrap().public_key().key_data(),
                public.key_data()
            );
        }
        assert!(ssh_keygen(folder.path(), &["-t", "rsa", "-b", "2048", "-N", "", "-f", "rsa"]));
        assert!(matches!(read(&folder.path().join("rsa")).unwrap(), KeyFile::AgentOnly { .. }));
        assert!(matches!(read(&folder.path().join("ed25519.pub")).unwrap(), KeyFile::AgentOnly { .. }));

        assert!(ssh_keygen(folder.path(), &["-t", "ed25519", "-N", "", "-f", "authority"]));
        let sign = [
            "-s",
            "authority",
            "-I",
            "me",
            "-n",
            "root",
            "-V",
            "19700101000100Z:19700101000200Z",
            "ed25519.pub",
        ];
        assert!(ssh_keygen(folder.path(), &sign));
        let path = certificate_beside(&folder.path().join("ed25519"));
        assert_eq!(read_certificate(&path, 60).unwrap().valid_principals(), ["root"]);
        assert!(read_certificate(&path, 59).unwrap_err().contains("not good yet"));
        assert!(read_certificate(&path, 120).unwrap_err().contains("expired"));
        let sign = ["-s", "authority", "-h", "-I", "host", "-n", "cp1", "ed25519.pub"];
        assert!(ssh_keygen(folder.path(), &sign));
        assert!(read_certificate(&path, 60).unwrap_err().contains("host's"));
    }
}
