//! Whether there is memory for what can be done with less, or left out. A Linux process is always told yes; a machine of our own has
//! what it has, and ends when an allocation that must succeed does not.

/// Whether so many bytes in one piece could be had now.
pub(crate) fn has(bytes: usize) -> bool {
    Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
}
