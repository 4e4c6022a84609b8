//! A mail server for a household, over the store.

pub mod imap;
pub mod limits;
pub mod message;
pub mod smtp;
