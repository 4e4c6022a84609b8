//! The `nymote` command: up, build, deploy, host, look inside.

fn main() {}
