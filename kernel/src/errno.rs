//! Error numbers, and the list of what answers which.

use core::ffi::c_int;

/// An error number as Linux on x86-64 numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub c_int);
