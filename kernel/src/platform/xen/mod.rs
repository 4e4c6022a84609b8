//! The carrier `xen`: a Xen PV domain.
