//! The crypto provider and the algorithms, named in one place.
//!
//! Everything comes from aws-lc-rs, which has a FIPS 140-3 build with the same interface; a second provider in the
//! program would make a statement about either one worthless.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm,
};
use kubezt_model::Digest;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm};

/// Signature algorithms kubezt makes and accepts (NIST SP 800-186 curves, FIPS 186-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256: intermediates, leaves and service-account keys.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384: the root, which outlives the others.
    EcdsaP384,
}

impl KeyAlgorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::EcdsaP256, Self::EcdsaP384];

    pub(crate) fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::EcdsaP256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::EcdsaP384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        }
    }

    pub(crate) fn verification(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            Self::EcdsaP384 => &ECDSA_P384_SHA384_ASN1,
        }
    }

    /// Octets of an uncompressed point: 0x04 and two coordinates (SEC 1, 2.3.3).
    pub(crate) const fn point_length(self) -> usize {
        match self {
            Self::EcdsaP256 => 65,
            Self::EcdsaP384 => 97,
        }
    }

    pub(crate) fn of(algorithm: &SignatureAlgorithm) -> Option<Self> {
        if *algorithm == PKCS_ECDSA_P256_SHA256 {
            Some(Self::EcdsaP256)
        } else if *algorithm == PKCS_ECDSA_P384_SHA384 {
            Some(Self::EcdsaP384)
        } else {
            None
        }
    }
}

/// Algorithm of the root's key.
pub const ROOT_KEY: KeyAlgorithm = KeyAlgorithm::EcdsaP384;

/// Algorithm of every other key.
pub const NODE_KEY: KeyAlgorithm = KeyAlgorithm::EcdsaP256;

/// SHA-256 by the provider, for fingerprints that a FIPS statement has to cover.
pub fn digest(bytes: &[u8]) -> Digest {
    let mut octets = [0; 32];
    octets.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    Digest::from_bytes(octets)
}

/// The provider as reports name it: library, version of its C core, and whether it runs in FIPS mode.
pub fn provider_name_and_version() -> String {
    let mode = if fips_mode() { "FIPS mode" } else { "not in FIPS mode" };
    format!("aws-lc-rs on {} ({mode})", aws_lc_rs::awslc_version())
}

/// Whether the provider reports FIPS mode at run time.
pub fn fips_mode() -> bool {
    aws_lc_rs::try_fips_mode().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_digests_as_the_model_does() {
        assert_eq!(digest(b"abc"), Digest::of(b"abc"));
    }

    #[test]
    fn the_provider_says_what_it_is() {
        let name = provider_name_and_version();
        assert!(name.starts_with("aws-lc-rs on ") && name.contains("FIPS"), "{name}");
    }
}
