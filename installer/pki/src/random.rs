//! Random bytes.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::PkiError;

/// Where random bytes come from; a parameter so that tests can repeat themselves.
///
/// Key generation and signing always use the provider's own generator, which is the only one FIPS 140-3 allows there.
pub trait Randomness {
    /// Fills the whole buffer.
    ///
    /// # Errors
    /// [`PkiError::Randomness`] where the source has nothing to give.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), PkiError>;
}

/// The provider's generator, seeded by the kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), PkiError> {
        SystemRandom::new().fill(buffer).map_err(|_| PkiError::Randomness)
    }
}

/// `N` random bytes from the system, wiped when dropped; 32 make a key for encryption at rest.
///
/// # Errors
/// [`PkiError::Randomness`].
pub fn random_bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>, PkiError> {
    random_bytes_from(&SystemRandomness)
}

/// `N` random bytes from this source.
///
/// # Errors
/// [`PkiError::Randomness`].
pub fn random_bytes_from<const N: usize>(source: &dyn Randomness) -> Result<Zeroizing<[u8; N]>, PkiError> {
    let mut bytes = Zeroizing::new([0; N]);
    source.fill(bytes.as_mut())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_bytes_differ_and_are_filled() {
        let first = random_bytes::<32>().unwrap();
        let second = random_bytes::<32>().unwrap();
        assert_ne!(*first, *second);
        assert_ne!(*first, [0; 32]);
    }

    #[test]
    fn a_failing_source_is_an_error() {
        struct Empty;
        impl Randomness for Empty {
            fn fill(&self, _: &mut [u8]) -> Result<(), PkiError> {
                Err(PkiError::Randomness)
            }
        }
        assert!(matches!(random_bytes_from::<16>(&Empty), Err(PkiError::Randomness)));
    }
}
