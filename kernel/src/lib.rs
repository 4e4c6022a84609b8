//! Boots an ordinary Rust program on Xen PV, drives its devices and is its C library.
