//! Calendars without a server: time, zones, recurrence, filters, free and busy. Bytes in, answers out; what time it is now
//! is an argument.

pub mod civil;
pub mod data;
pub mod filter;
pub mod freebusy;
pub mod occurs;
pub mod repeat;
pub mod rule;
pub mod series;
pub mod times;
pub mod timezones;
pub mod value;
mod windows;
pub mod words;
pub mod zone;
