//! Sizes as people write them: `32 MB`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};

/// A number of bytes. `kB`, `MB`, `GB`, `TB` are powers of 1024, as xl and disk tools count memory and disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// That many megabytes.
    pub const fn mb(count: u64) -> Bytes {
        Bytes(count << 20)
    }

    /// Reads `512 MB`, `4GB`, `65536`.
    pub fn parse(text: &str) -> Result<Bytes, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        if digits == 0 || text[digits..].starts_with(['.', ',']) {
            return Err(format!("{text:?} is no size: write a whole number and its unit, as \"32 MB\""));
        }
        let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "kb" | "kib" | "k" => 10,
            "mb" | "mib" | "m" => 20,
            "gb" | "gib" | "g" => 30,
            "tb" | "tib" | "t" => 40,
            unit => return Err(format!("{unit:?} is no unit of size: write kB, MB, GB or TB")),
        };
        let count = text[..digits].parse::<u64>().ok();
        let bytes = count.and_then(|count| count.checked_mul(1 << shift));
        bytes.map(Bytes).ok_or_else(|| format!("{text:?} is larger than any disk"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = [("TB", 40), ("GB", 30), ("MB", 20), ("kB", 10)];
        match exact.iter().find(|(_, shift)| self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift)) {
            Some((unit, shift)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        Bytes::parse(&text).map_err(D::Error::custom)
    }
}
