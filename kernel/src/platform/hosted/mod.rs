//! The carrier `hosted`: a static Linux process that makes raw system calls, with a TAP or veth device and disk files.
