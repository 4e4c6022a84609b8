//! Key-value files.

use std::collections::BTreeMap;

use super::{Context, Merge, Outcome};

/// A file is lines of `key<separator>value`, each key once. Keys are merged one by one; a key that both sides changed
/// to different values conflicts. The result is sorted by key. What is not such a file conflicts as a whole.
#[derive(Debug, Clone, Copy)]
pub struct KeyValue {
    separator: u8,
}

impl KeyValue {
    /// Values stand behind this byte: `=` or `:`.
    pub fn separated_by(separator: u8) -> KeyValue {
        KeyValue { separator }
    }

    fn parse<'a>(&self, bytes: &'a [u8]) -> Option<BTreeMap<&'a [u8], &'a [u8]>> {
        let mut found = BTreeMap::new();
        for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let at = line.iter().position(|&byte| byte == self.separator)?;
            if found.insert(&line[..at], &line[at..]).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

impl Merge for KeyValue {
    fn merge(&self, base: Option<&[u8]>, ours: &[u8], theirs: &[u8], _: &Context<'_>) -> Outcome {
        let parsed = self.parse(base.unwrap_or_default()).zip(self.parse(ours)).zip(self.parse(theirs));
        let Some(((base, ours_by_key), theirs_by_key)) = parsed else {
            return Outcome::Conflict {
                kept: ours.to_vec(),
                why: "not lines of keys and values, each key once".into(),
            };
        };
        let mut out = Vec::new();
        let mut contradicting = Vec::new();
        let mut keys: Vec<_> = ours_by_key.keys().chain(theirs_by_key.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let (before, ours, theirs) = (base.get(key), ours_by_key.get(key), theirs_by_key.get(key));
            let value = if ours == theirs || before == theirs {
                ours
            } else if before == ours {
                theirs
            } else {
                contradicting.push(String::from_utf8_lossy(key).into_owned());
                ours
            };
            if let Some(value) = value {
                out.extend_from_slice(key);
                out.extend_from_slice(value);
                out.push(b'\n');
            }
        }
        if contradicting.is_empty() {
            return Outcome::Merged(out);
        }
        Outcome::Conflict { kept: out, why: format!("both sides changed {}", contradicting.join(", ")) }
    }

    fn name(&self) -> &str {
        "key and value"
    }
}
