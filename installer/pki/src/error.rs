//! Why something could not be issued or read.

use jiff::Timestamp;
use thiserror::Error;

/// Why something could not be issued or read. The caller knows the node and the path and adds them.
#[derive(Debug, Error)]
pub enum PkiError {
    /// The system's generator failed.
    #[error("the random number generator of the crypto library failed, so nothing was made")]
    Randomness,
    /// The text is not PEM (RFC 7468).
    #[error("not valid PEM: {0}")]
    Pem(&'static str),
    /// A private key cannot be used.
    #[error(
        "the private key cannot be used: {0}; an unencrypted PKCS#8 ECDSA key on P-256 or P-384 is wanted"
    )]
    PrivateKey(&'static str),
    /// A public key cannot be used.
    #[error(
        "the public key cannot be used: {0}; a SubjectPublicKeyInfo with an ECDSA key on P-256 or P-384 is wanted"
    )]
    PublicKey(&'static str),
    /// A certificate cannot be read.
    #[error("the certificate cannot be read: {why}")]
    Certificate {
        /// What is wrong with it.
        why: String,
    },
    /// A request for a certificate cannot be read.
    #[error("the request for a certificate cannot be read: {0}")]
    Request(&'static str),
    /// Key and certificate do not belong together.
    #[error(
        "the private key does not belong to the certificate `{certificate}`; put back the pair that was made together"
    )]
    KeyMismatch {
        /// Common name of the certificate.
        certificate: String,
    },
    /// The issuer must not issue.
    #[error("`{issuer}` cannot sign this: {why}")]
    NotAnIssuer {
        /// Common name of the issuer.
        issuer: String,
        /// What it lacks.
        why: &'static str,
    },
    /// The issuer has expired.
    #[error("`{issuer}` expired at {at} and can sign nothing any more; renew it first")]
    IssuerExpired {
        /// Common name of the issuer.
        issuer: String,
        /// End of its validity.
        at: Timestamp,
    },
    /// The issuer's validity has not begun: one of two clocks is wrong.
    #[error(
        "`{issuer}` is valid from {from} only; compare the clock of this machine with the one that made it"
    )]
    IssuerNotYetValid {
        /// Common name of the issuer.
        issuer: String,
        /// Start of its validity.
        from: Timestamp,
    },
    /// The lifetime is zero or past the end of the calendar.
    #[error("a lifetime of {0} cannot be used: give at least a second (a root: 1 to 50 years)")]
    Lifetime(String),
    /// The leaf asks for something a certificate must not say.
    #[error("the certificate for `{common_name}` cannot be issued: {why}")]
    Leaf {
        /// Common name that was asked for.
        common_name: String,
        /// What is wrong with the request.
        why: String,
    },
    /// Encoding or signing failed.
    #[error("the certificate `{subject}` could not be signed")]
    Signing {
        /// Common name of the certificate.
        subject: String,
        /// What the certificate library says.
        #[source]
        source: rcgen::Error,
    },
    /// What was just signed does not verify: the signer is broken or was tampered with.
    #[error("the certificate `{subject}` was signed but does not verify, and was thrown away")]
    SelfCheck {
        /// Common name of the certificate.
        subject: String,
        /// What does not hold.
        #[source]
        source: crate::ChainFault,
    },
}
