//! Address books without a server: filters, parts of cards, conversion between vCard versions, and what a card says.

pub mod convert;
pub mod data;
pub mod filter;
pub mod person;
