//! Git's formats and smart HTTP protocol, as server and client, without I/O of their own.
