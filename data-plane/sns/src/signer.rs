//! The sender's part: what Amazon SNS would sign and post. For the simulator and for tests, never for trust.

mod ca;
mod draft;
mod key;

pub use ca::SimulatedCa;
pub use draft::{Corruption, Draft, SignedMessage};
pub use key::Signer;

/// Why a signer could not be made, or could not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The key is no RSA private key in PKCS#8, or none could be generated.
    #[error("no RSA private key in PKCS#8")]
    Key,
    /// The signature operation failed.
    #[error("signing failed")]
    Sign,
    /// The certificate could not be issued.
    #[error("certificate could not be issued")]
    Certificate,
}
