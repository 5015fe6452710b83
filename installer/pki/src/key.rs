//! Private keys and their public halves.
//!
//! Keys are made where they are used and stay there; what travels is a [`PublicKey`].

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubezt_model::Digest;
use rcgen::{KeyPair, PublicKeyData, SubjectPublicKeyInfo};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::{KeyAlgorithm, NODE_KEY, digest};
use crate::{PkiError, pem};

const PRIVATE_LABEL: &str = "PRIVATE KEY";
const PUBLIC_LABEL: &str = "PUBLIC KEY";

/// A private key as PKCS#8 (RFC 5958) in PEM: known to be usable, wiped when dropped, never shown in `Debug` output.
#[derive(Clone)]
pub struct PrivateKeyPem(Zeroizing<String>);

impl PrivateKeyPem {
    /// Reads a private key: the first block must be an unencrypted PKCS#8 ECDSA key on P-256 or P-384.
    ///
    /// # Errors
    /// [`PkiError::Pem`] and [`PkiError::PrivateKey`]; neither carries any of the text.
    pub fn parse(text: &str) -> Result<Self, PkiError> {
        let blocks = pem::blocks(text)?;
        let [block] = blocks.as_slice() else {
            return Err(PkiError::PrivateKey("the text holds more than one PEM block"));
        };
        match block.label {
            PRIVATE_LABEL => {}
            "ENCRYPTED PRIVATE KEY" => return Err(PkiError::PrivateKey("it is encrypted")),
            "EC PRIVATE KEY" | "RSA PRIVATE KEY" => {
                return Err(PkiError::PrivateKey("it is not in PKCS#8 form"));
            }
            _ => return Err(PkiError::PrivateKey("the PEM block holds something else")),
        }
        let key = Self(pem::encode(PRIVATE_LABEL, &block.der));
        key.pair()?;
        Ok(key)
    }

    /// The PEM text; whoever calls this answers for where it goes (a file of mode 0600, or [`crate::seal`]).
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Algorithm of the key.
    ///
    /// # Errors
    /// [`PkiError::PrivateKey`].
    pub fn algorithm(&self) -> Result<KeyAlgorithm, PkiError> {
        Ok(spki_of(self)?.algorithm())
    }

    pub(crate) fn pair(&self) -> Result<Zeroizing<KeyPair>, PkiError> {
        let blocks = pem::blocks(&self.0)?;
        let der = blocks.first().map(|block| block.der.as_slice()).unwrap_or_default();
        let pair = Zeroizing::new(
            KeyPair::try_from(der)
                .map_err(|_| PkiError::PrivateKey("the content is damaged or of another kind"))?,
        );
        match KeyAlgorithm::of(pair.algorithm()) {
            Some(_) => Ok(pair),
            None => Err(PkiError::PrivateKey("its algorithm is another one")),
        }
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PrivateKeyPem(…)")
    }
}

/// A new private key for a node: an intermediate's, a leaf's, or the one that signs service-account tokens.
///
/// # Errors
/// [`PkiError::Randomness`].
pub fn generate() -> Result<PrivateKeyPem, PkiError> {
    generate_for(NODE_KEY)
}

/// A new private key of this algorithm.
///
/// # Errors
/// [`PkiError::Randomness`].
pub fn generate_for(algorithm: KeyAlgorithm) -> Result<PrivateKeyPem, PkiError> {
    let document = EcdsaKeyPair::generate_pkcs8(algorithm.signing(), &SystemRandom::new())
        .map_err(|_| PkiError::Randomness)?;
    Ok(PrivateKeyPem(pem::encode(PRIVATE_LABEL, document.as_ref())))
}

/// The public half of a private key.
///
/// # Errors
/// [`PkiError::PrivateKey`].
pub fn spki_of(key: &PrivateKeyPem) -> Result<PublicKey, PkiError> {
    PublicKey::from_der(&key.pair()?.subject_public_key_info())
}

/// The public half of a private key file's text.
///
/// # Errors
/// [`PkiError::Pem`] and [`PkiError::PrivateKey`].
pub fn parse_private_key_spki(text: &str) -> Result<PublicKey, PkiError> {
    spki_of(&PrivateKeyPem::parse(text)?)
}

/// A public key: the DER of its SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), with a point that lies on its curve.
///
/// Serialises as base64 of the DER, the form [`kubezt_model::action::Action::SignLeaf`] carries.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    der: Vec<u8>,
    algorithm: KeyAlgorithm,
}

impl PublicKey {
    /// Reads the DER of a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`PkiError::PublicKey`] for anything but an uncompressed ECDSA point on P-256 or P-384 in canonical form.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let key = SubjectPublicKeyInfo::from_der(der)
            .map_err(|_| PkiError::PublicKey("the content is damaged or of another kind"))?;
        let algorithm =
            KeyAlgorithm::of(key.algorithm()).ok_or(PkiError::PublicKey("its algorithm is another one"))?;
        // One key has one encoding, so that comparing and digesting the bytes compares the keys.
        if key.subject_public_key_info() != der {
            return Err(PkiError::PublicKey("the encoding is not canonical"));
        }
        let point = key.der_bytes();
        if point.len() != algorithm.point_length()
            || ParsedPublicKey::new(algorithm.verification(), point).is_err()
        {
            return Err(PkiError::PublicKey("the point does not lie on the curve"));
        }
        Ok(Self { der: der.to_vec(), algorithm })
    }

    /// Reads base64 of the DER.
    ///
    /// # Errors
    /// [`PkiError::PublicKey`].
    pub fn from_base64(text: &str) -> Result<Self, PkiError> {
        Self::from_der(&STANDARD.decode(text).map_err(|_| PkiError::PublicKey("it is not base64"))?)
    }

    /// Reads a `PUBLIC KEY` block.
    ///
    /// # Errors
    /// [`PkiError::Pem`] and [`PkiError::PublicKey`].
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        match pem::blocks(text)?.as_slice() {
            [block] if block.label == PUBLIC_LABEL => Self::from_der(&block.der),
            _ => Err(PkiError::PublicKey("the text is not one PUBLIC KEY block")),
        }
    }

    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Base64 of the DER, on one line.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.der)
    }

    /// A `PUBLIC KEY` block, as `sa.pub` holds it.
    pub fn to_pem(&self) -> String {
        pem::encode(PUBLIC_LABEL, &self.der).to_string()
    }

    /// SHA-256 of the DER.
    pub fn digest(&self) -> Digest {
        digest(&self.der)
    }

    /// Algorithm of the key.
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    pub(crate) fn for_signing(&self) -> Result<SubjectPublicKeyInfo, PkiError> {
        SubjectPublicKeyInfo::from_der(&self.der).map_err(|_| PkiError::PublicKey("the content is damaged"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({:?} {})", self.algorithm, self.digest().short())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = PkiError;

    fn try_from(text: String) -> Result<Self, PkiError> {
        Self::from_base64(&text)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_base64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_and_shows_nothing() {
        for algorithm in KeyAlgorithm::ALL {
            let key = generate_for(algorithm).unwrap();
            assert!(key.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"));
            let read = PrivateKeyPem::parse(key.expose()).unwrap();
            assert_eq!(read.expose(), key.expose());
            assert_eq!(spki_of(&read).unwrap(), spki_of(&key).unwrap());
            assert_eq!(key.algorithm().unwrap(), algorithm);
            assert_eq!(format!("{key:?}"), "PrivateKeyPem(…)");
        }
    }

    #[test]
    fn two_keys_are_two() {
        assert_ne!(spki_of(&generate().unwrap()).unwrap(), spki_of(&generate().unwrap()).unwrap());
    }

    #[test]
    fn a_public_key_survives_all_its_forms() {
        let key = spki_of(&generate().unwrap()).unwrap();
        assert_eq!(PublicKey::from_pem(&key.to_pem()).unwrap(), key);
        assert_eq!(PublicKey::from_base64(&key.to_base64()).unwrap(), key);
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, format!("\"{}\"", key.to_base64()));
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
    }

    #[test]
    fn a_damaged_public_key_is_refused() {
        let der = spki_of(&generate().unwrap()).unwrap().der().to_vec();
        // A bit of the second coordinate leaves the curve; the others break the structure or name another algorithm.
        for index in 0..der.len() {
            let mut damaged = der.clone();
            damaged[index] ^= 1;
            assert!(PublicKey::from_der(&damaged).is_err(), "octet {index}");
        }
        let mut longer = der;
        longer.push(0);
        assert!(PublicKey::from_der(&longer).is_err());
    }

    #[test]
    fn other_keys_are_refused_with_words() {
        let key = generate().unwrap();
        let swap = |label: &str| key.expose().replace(PRIVATE_LABEL, label);
        for (text, words) in [
            (swap("ENCRYPTED PRIVATE KEY"), "encrypted"),
            (swap("EC PRIVATE KEY"), "PKCS#8 form"),
            (swap("CERTIFICATE"), "something else"),
            (format!("{0}{0}", key.expose()), "more than one"),
            (pem::encode(PRIVATE_LABEL, b"nonsense").to_string(), "damaged"),
        ] {
            let error = PrivateKeyPem::parse(&text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
