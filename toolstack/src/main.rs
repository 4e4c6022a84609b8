//! The `nymote` command: up, build, deploy, host, look inside.

#[cfg(test)]
mod store;

fn main() {}
