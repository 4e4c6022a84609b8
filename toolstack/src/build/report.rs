//! What takes the space in a program: its symbols by crate.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::trouble::Trouble;

/// How many crates are named.
const ROWS: usize = 12;

/// Prints the largest crates of a program that still has its names.
pub fn print(program: &Path) -> Result<(), Trouble> {
    let listed = Command::new("nm")
        .args(["--print-size", "--size-sort", "--demangle"])
        .arg(program)
        .output()
        .map_err(|error| Trouble::new(format!("cannot run nm: {error}")))?;
    let rows = by_crate(&String::from_utf8_lossy(&listed.stdout));
    let all: u64 = rows.iter().map(|(_, bytes)| bytes).sum();
    println!("  what takes the space, of {all} bytes with a name:");
    for (name, bytes) in rows.iter().take(ROWS) {
        println!("  {bytes:>9}  {name}");
    }
    Ok(())
}

/// Sums sizes by crate, largest first. A line is: address, size, kind, name.
fn by_crate(listing: &str) -> Vec<(String, u64)> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for line in listing.lines() {
        let mut words = line.splitn(4, ' ');
        let (Some(_), Some(size), Some(kind), Some(name)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        // What has no bytes in the file takes none of its space.
        if matches!(kind, "b" | "B") {
            continue;
        }
        if let Ok(size) = u64::from_str_radix(size, 16) {
            *sums.entry(crate_of(name)).or_default() += size;
        }
    }
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by_key(|(name, bytes)| (std::cmp::Reverse(*bytes), name.clone()));
    rows
}

/// The crate a demangled name belongs to: the first path segment, or `C` for names without a path.
pub(super) fn crate_of(name: &str) -> String {
    let Some((path, _)) = name.split_once("::") else { return "C and assembly".to_string() };
    let start = path.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    match &path[start..] {
        "" => "generics".to_string(),
        name => name.to_string(),
    }
}
