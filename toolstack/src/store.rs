//! `nymote store …`: look into a store, change it, and talk to other Git repositories.

mod connection;
mod serve;
#[cfg(test)]
mod serve_tests;
