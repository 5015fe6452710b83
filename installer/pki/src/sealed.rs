//! A secret under a passphrase: how the operator's root key and other secrets rest on disk.
//!
//! The envelope is one line of JSON:
//!
//! ```json
//! {"format":"kubezt-sealed","version":1,"kdf":"pbkdf2-hmac-sha256","iterations":600000,"salt":"…",
//!  "cipher":"aes-256-gcm","nonce":"…","ciphertext":"…"}
//! ```
//!
//! - `salt` (16 octets), `nonce` (12) and `ciphertext` (the secret's octets and a tag of 16) are standard base64.
//! - The key is PBKDF2-HMAC-SHA256 (SP 800-132) of the passphrase over salt and iterations. 600 000 iterations are
//!   OWASP's figure for this function; 100 000 to 10 000 000 are accepted when opening, so that neither a weakened
//!   envelope nor one that would keep the machine busy for hours is followed.
//! - The cipher is AES-256-GCM (SP 800-38D) with a nonce that the provider draws. Since every envelope has a fresh salt,
//!   no key is used twice.
//! - All fields before the nonce are authenticated: their compact JSON, in the order above, is the additional data.
//!
//! PBKDF2 rather than a memory-hard function, because it is the one a FIPS 140-3 module offers; the passphrase has to
//! carry the weight.

use std::num::NonZeroU32;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::random::{Randomness, SystemRandomness, random_bytes_from};

/// Iterations of a new envelope.
pub const ITERATIONS: u32 = 600_000;
/// Iterations that are accepted when opening.
pub const ACCEPTED_ITERATIONS: std::ops::RangeInclusive<u32> = 100_000..=10_000_000;
/// Longest secret, and (with base64 and the header) about three quarters of the longest envelope: 1 MiB.
pub const LONGEST_SECRET: usize = 1 << 20;

const FORMAT: &str = "kubezt-sealed";
const VERSION: u32 = 1;
const KDF: &str = "pbkdf2-hmac-sha256";
const CIPHER: &str = "aes-256-gcm";
const SALT: usize = 16;
const LONGEST_ENVELOPE: usize = 2 * LONGEST_SECRET;

/// Why a secret could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// The passphrase is empty.
    #[error("the passphrase is empty; an empty passphrase protects nothing")]
    EmptyPassphrase,
    /// The secret is too long.
    #[error("the secret has {0} octets; at most 1 MiB can be sealed")]
    TooLong(usize),
    /// Authentication failed.
    #[error("the passphrase is wrong, or the file was changed; try again, or restore the file from a backup")]
    WrongPassphrase,
    /// Not an envelope.
    #[error("this is not a sealed file of kubezt: {0}; restore it from a backup")]
    Malformed(String),
    /// An envelope of another version.
    #[error("the sealed file has version {0} and this kubezt reads version 1; use the kubezt that wrote it")]
    UnsupportedVersion(u64),
    /// Randomness or the cipher failed.
    #[error("the crypto library failed, so nothing was sealed")]
    Provider,
}

/// The authenticated part; the order of the fields is part of the format.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Header {
    format: String,
    version: u32,
    kdf: String,
    iterations: u32,
    salt: String,
    cipher: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    format: String,
    version: u32,
    kdf: String,
    iterations: u32,
    salt: String,
    cipher: String,
    nonce: String,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Start {
    format: String,
    version: u64,
}

/// Seals a secret of at most [`LONGEST_SECRET`] octets. How good the passphrase is, is the caller's to judge; it must
/// not be empty.
///
/// # Errors
/// [`SealError::EmptyPassphrase`], [`SealError::TooLong`], [`SealError::Provider`].
pub fn seal(passphrase: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    seal_with(&SystemRandomness, ITERATIONS, passphrase, plaintext)
}

/// Opens an envelope.
///
/// # Errors
/// [`SealError::WrongPassphrase`] where it does not authenticate, [`SealError::UnsupportedVersion`],
/// [`SealError::Malformed`] for everything else.
pub fn open(passphrase: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let malformed = |why: &str| SealError::Malformed(why.to_owned());
    if passphrase.is_empty() {
        return Err(SealError::EmptyPassphrase);
    }
    if sealed.len() > LONGEST_ENVELOPE {
        return Err(malformed("it is too long"));
    }
    // The message of the parser could quote the content; its position is enough.
    let place = |error: serde_json::Error| {
        SealError::Malformed(format!(
            "not the expected JSON at line {} column {}",
            error.line(),
            error.column()
        ))
    };
    let start: Start = serde_json::from_slice(sealed).map_err(place)?;
    if start.format != FORMAT {
        return Err(malformed("its format is another one"));
    }
    if start.version != u64::from(VERSION) {
        return Err(SealError::UnsupportedVersion(start.version));
    }
    let envelope: Envelope = serde_json::from_slice(sealed).map_err(place)?;
    if envelope.kdf != KDF || envelope.cipher != CIPHER {
        return Err(malformed("it names algorithms that version 1 does not have"));
    }
    if !ACCEPTED_ITERATIONS.contains(&envelope.iterations) {
        return Err(malformed("its iterations are outside 100000 to 10000000"));
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| malformed("a field is not base64"));
    let salt: [u8; SALT] =
        decode(&envelope.salt)?.try_into().map_err(|_| malformed("the salt does not have 16 octets"))?;
    let nonce: [u8; NONCE_LEN] =
        decode(&envelope.nonce)?.try_into().map_err(|_| malformed("the nonce does not have 12 octets"))?;
    let mut content = Zeroizing::new(decode(&envelope.ciphertext)?);
    let header = Header {
        format: envelope.format,
        version: envelope.version,
        kdf: envelope.kdf,
        iterations: envelope.iterations,
        salt: envelope.salt,
        cipher: envelope.cipher,
    };
    let length = key(passphrase, &salt, header.iterations)?
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(additional(&header)?), &mut content)
        .map_err(|_| SealError::WrongPassphrase)?
        .len();
    content.truncate(length);
    Ok(content)
}

fn seal_with(
    randomness: &dyn Randomness,
    iterations: u32,
    passphrase: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    if passphrase.is_empty() {
        return Err(SealError::EmptyPassphrase);
    }
    if plaintext.len() > LONGEST_SECRET {
        return Err(SealError::TooLong(plaintext.len()));
    }
    let salt = random_bytes_from::<SALT>(randomness).map_err(|_| SealError::Provider)?;
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        kdf: KDF.to_owned(),
        iterations,
        salt: STANDARD.encode(*salt),
        cipher: CIPHER.to_owned(),
    };
    // Reserved with room for the tag, so that appending it leaves no copy of the secret behind.
    let mut content = Zeroizing::new(Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len()));
    content.extend_from_slice(plaintext);
    let nonce = key(passphrase, &salt, iterations)?
        .seal_in_place_append_tag(Aad::from(additional(&header)?), &mut *content)
        .map_err(|_| SealError::Provider)?;
    let Header { format, version, kdf, iterations, salt, cipher } = header;
    let envelope = Envelope {
        format,
        version,
        kdf,
        iterations,
        salt,
        cipher,
        nonce: STANDARD.encode(nonce.as_ref()),
        ciphertext: STANDARD.encode(&*content),
    };
    serde_json::to_vec(&envelope).map_err(|_| SealError::Provider)
}

fn additional(header: &Header) -> Result<Vec<u8>, SealError> {
    serde_json::to_vec(header).map_err(|_| SealError::Provider)
}

fn key(passphrase: &[u8], salt: &[u8; SALT], iterations: u32) -> Result<RandomizedNonceKey, SealError> {
    let iterations = NonZeroU32::new(iterations).ok_or(SealError::Provider)?;
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(PBKDF2_HMAC_SHA256, iterations, salt, passphrase, key.as_mut());
    RandomizedNonceKey::new(&AES_256_GCM, &*key).map_err(|_| SealError::Provider)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The fewest iterations that are accepted: the tests open many envelopes.
    const QUICK: u32 = *ACCEPTED_ITERATIONS.start();

    fn quick(passphrase: &[u8], plaintext: &[u8]) -> Vec<u8> {
        seal_with(&SystemRandomness, QUICK, passphrase, plaintext).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_was_sealed_opens(passphrase in prop::collection::vec(any::<u8>(), 1..40), secret in prop::collection::vec(any::<u8>(), 0..2000)) {
            let sealed = quick(&passphrase, &secret);
            prop_assert_eq!(&*open(&passphrase, &sealed).unwrap(), &secret);
            let mut other = passphrase;
            other[0] ^= 1;
            prop_assert_eq!(open(&other, &sealed).unwrap_err(), SealError::WrongPassphrase);
        }

        #[test]
        fn any_changed_octet_is_noticed(position: prop::sample::Index, value: u8) {
            let sealed = quick(b"passphrase", b"the secret");
            let mut changed = sealed.clone();
            let position = position.index(sealed.len());
            changed[position] = value;
            prop_assume!(changed != sealed);
            prop_assert!(open(b"passphrase", &changed).is_err());
        }

        #[test]
        fn nothing_read_is_taken_for_granted(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(b"passphrase", &bytes).is_err());
        }
    }

    #[test]
    fn the_default_is_the_documented_one() {
        let sealed = seal(b"passphrase", b"the secret").unwrap();
        let text = String::from_utf8(sealed.clone()).unwrap();
        assert!(text.starts_with(
            r#"{"format":"kubezt-sealed","version":1,"kdf":"pbkdf2-hmac-sha256","iterations":600000,"salt":""#
        ));
        assert!(!text.contains("the secret") && !text.contains("passphrase"));
        assert_eq!(&**open(b"passphrase", &sealed).unwrap(), b"the secret");
        assert_ne!(seal(b"passphrase", b"the secret").unwrap(), sealed);
    }

    #[test]
    fn every_field_is_protected() {
        let sealed = quick(b"passphrase", b"the secret");
        let mut value: serde_json::Value = serde_json::from_slice(&sealed).unwrap();
        for field in ["salt", "nonce", "ciphertext"] {
            let octets = STANDARD.decode(value[field].as_str().unwrap()).unwrap();
            for index in [0, octets.len() / 2, octets.len() - 1] {
                let mut changed = octets.clone();
                changed[index] ^= 0x80;
                let original = std::mem::replace(&mut value[field], STANDARD.encode(changed).into());
                let bytes = serde_json::to_vec(&value).unwrap();
                assert_eq!(
                    open(b"passphrase", &bytes).unwrap_err(),
                    SealError::WrongPassphrase,
                    "{field} {index}"
                );
                value[field] = original;
            }
        }
        // Sorted keys and spaces are another text for the same envelope.
        assert!(open(b"passphrase", &serde_json::to_vec_pretty(&value).unwrap()).is_ok());
        value["iterations"] = (QUICK + 1).into();
        let bytes = serde_json::to_vec(&value).unwrap();
        assert_eq!(open(b"passphrase", &bytes).unwrap_err(), SealError::WrongPassphrase);
    }

    #[test]
    fn each_fault_has_its_error() {
        let sealed = quick(b"passphrase", b"the secret");
        let with = |field: &str, value: serde_json::Value| {
            let mut envelope: serde_json::Value = serde_json::from_slice(&sealed).unwrap();
            envelope[field] = value;
            open(b"passphrase", &serde_json::to_vec(&envelope).unwrap()).unwrap_err()
        };
        assert_eq!(with("version", 2.into()), SealError::UnsupportedVersion(2));
        for (field, value) in [
            ("format", "other".into()),
            ("kdf", "none".into()),
            ("cipher", "none".into()),
            ("iterations", 99_999.into()),
            ("iterations", 10_000_001.into()),
            ("iterations", (-1).into()),
            ("salt", "AAAA".into()),
            ("nonce", "AAAA".into()),
            ("ciphertext", "!".into()),
            ("more", true.into()),
        ] {
            assert!(matches!(with(field, value), SealError::Malformed(_)), "{field}");
        }
        assert_eq!(with("ciphertext", "AAAA".into()), SealError::WrongPassphrase);
        assert!(matches!(open(b"passphrase", b""), Err(SealError::Malformed(_))));
        assert_eq!(open(b"", &sealed).unwrap_err(), SealError::EmptyPassphrase);
        assert_eq!(seal(b"", b"x").unwrap_err(), SealError::EmptyPassphrase);
        let long = vec![0; LONGEST_SECRET + 1];
        assert_eq!(seal(b"p", &long).unwrap_err(), SealError::TooLong(long.len()));
    }
}
