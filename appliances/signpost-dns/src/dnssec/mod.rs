//! Signing (RFC 4033 to 4035, 5155, 6605, 8080): keys, signatures, and the chains that prove absence.

pub mod chain;
pub mod earlier;
pub mod key;
pub mod rollover;

pub use chain::Signer;
pub use key::{Algorithm, ZoneKey};
