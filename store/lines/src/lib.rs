//! Lossless content lines of iCalendar and vCard: bytes that nobody changed come out as they went in.
//!
//! A [`Document`] is the raw bytes, cut into logical lines; each [`Line`] keeps its physical bytes (folds, line ends,
//! octets that are no UTF-8) and knows where its group, name, parameters and value are. Components are a view over the
//! lines. An edit replaces, adds or removes lines; everything else is left alone.
//!
//! This is not a validator and not a typed reader: it never refuses a document for its content, it reports [`Fault`]s
//! beside it. It is bounded by [`Limits`], never recurses over input and never panics on it.
//!
//! [`merge`] holds the three-way merges of the two formats.

mod component;
mod document;
mod edit;
mod limits;
mod line;
pub mod merge;
mod property;
pub mod text;

pub use component::{Component, ComponentId, Fault};
pub use document::{Document, LineEnd};
pub use limits::{Limits, TooLarge};
pub use line::{Line, Parameter, ParameterValue};
pub use property::{Property, PropertyError};
