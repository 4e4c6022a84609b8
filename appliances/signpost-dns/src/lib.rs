//! Authoritative DNS whose zone is in the store: constant names for a household's devices.

pub mod guest;
