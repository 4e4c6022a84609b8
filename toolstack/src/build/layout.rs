//! Where a machine's code lies: each crate of ours in a stretch of its own that ends at a page, so that a changed line moves
//! what follows it in its own crate and nothing else. Calls and tables hold distances: without this, one line more moves a
//! fifth of a program's bytes, and a deployment repository keeps them all (docs/decisions/0304).
//!
//! `kernel/link/xen.ld` includes what is written here; constants, whose names tell no crate, are laid out there.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::trouble::Trouble;

/// The stretches of code, and of the tables of a panic's clean-ups: the file, what the sections' names begin with, and the
/// bytes at a multiple of which a stretch ends.
const FILES: [(&str, &str, u32); 2] =
    [("own-code.ld", ".text", 4096), ("own-tables.ld", ".gcc_except_table", 256)];

/// Writes the parts of the linker's script into a directory of its library path.
pub fn write(source: &Path, directory: &Path) -> Result<(), Trouble> {
    let crates = crates(source)?;
    for (name, section, multiple) in FILES {
        let path = directory.join(name);
        fs::write(&path, stretches(&crates, section, multiple))
            .map_err(|error| Trouble::io("write", &path, error))?;
    }
    Ok(())
}

/// One line a crate, for functions of its modules (`_ZN3dav…`) and of implementations for its types (`_ZN4_$LT$dav..…`):
/// rustc's legacy mangling, the stable one.
fn stretches(crates: &[String], section: &str, multiple: u32) -> String {
    let mut text = String::new();
    for name in crates {
        let length = name.len();
        let _ = writeln!(
            text,
            "*({section}._ZN{length}{name}* {section}._ZN*$LT${name}..*) . = ALIGN({multiple});"
        );
    }
    text
}

/// The workspace's crates as symbols name them, sorted.
fn crates(source: &Path) -> Result<Vec<String>, Trouble> {
    let output = Command::new(super::link::cargo())
        .current_dir(source)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(super::link::no_cargo)?;
    let listed: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
        Trouble::new(format!("cargo does not list the crates of {}", source.display()))
            .advise(String::from_utf8_lossy(&output.stderr).trim())
    })?;
    let packages = listed["packages"].as_array().into_iter().flatten();
    let mut names: Vec<String> =
        packages.filter_map(|package| Some(package["name"].as_str()?.replace('-', "_"))).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_s_functions_are_a_stretch_of_their_own() {
        let text = stretches(&["dav".to_string(), "git_wire".to_string()], ".text", 4096);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "*(.text._ZN3dav* .text._ZN*$LT$dav..*) . = ALIGN(4096);");
        assert_eq!(lines[1], "*(.text._ZN8git_wire* .text._ZN*$LT$git_wire..*) . = ALIGN(4096);");
    }
}
