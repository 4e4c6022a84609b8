//! How a program is linked for each target.
//!
//! A machine's program is a static, fixed-address ELF of the stock target `x86_64-unknown-linux-gnu`, with the kernel in
//! the C library's place: no start files, no libraries but GCC's unwinder. rustc still asks for `-lc` and its kin, so
//! empty archives of those names come first on the library path. The flags need an explicit `--target`, or build
//! scripts would be linked with them too; and a target directory of their own, or each build would throw the other's
//! work away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Part, Target, tool};
use crate::trouble::Trouble;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Libraries that rustc asks for and that the kernel stands in for.
const LIBRARIES: [&str; 7] = ["c", "m", "pthread", "rt", "dl", "util", "gcc_s"];
/// An archive without members.
const EMPTY_ARCHIVE: &[u8] = b"!<arch>\n";

/// Builds a crate's program; says where it is, with all its names still in it.
pub fn build(source: &Path, part: &Part<'_>, target: Target) -> Result<PathBuf, Trouble> {
    let shared = if target == Target::Unix { "unix" } else { "machine" };
    let directory = source.join("target/nymote").join(shared);
    let empty = directory.join("empty");
    fs::create_dir_all(&empty).map_err(|error| Trouble::io("make", &empty, error))?;
    for library in LIBRARIES {
        let archive = empty.join(format!("lib{library}.a"));
        fs::write(&archive, EMPTY_ARCHIVE).map_err(|error| Trouble::io("write", &archive, error))?;
    }
    let unwinder = if target == Target::Unix { PathBuf::new() } else { unwinder(&empty)? };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(source).args([
        "rustc",
        "--locked",
        "--profile",
        "image",
        "--target",
        TRIPLE,
        "--target-dir",
    ]);
    cargo.arg(&directory).args(["--package", part.package, "--bin", part.package]);
    if target != Target::Unix {
        // An appliance's default features are Linux's ways of doing things.
        let features = [target.name()].iter().chain(part.features).copied().collect::<Vec<_>>().join(",");
        cargo.args(["--no-default-features", "--features", &features]);
    }
    cargo.arg("--").args(link_arguments(source, &empty, &unwinder, target));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(source, target).join("\u{1f}"));
    cargo.env_remove("RUSTFLAGS").env("SOURCE_DATE_EPOCH", "0");
    cargo.env(
        "CFLAGS",
        remaps(source)
            .map(|(from, to)| format!("-ffile-prefix-map={from}={to}"))
            .collect::<Vec<_>>()
            .join(" "),
    );
    let status = cargo.status().map_err(|error| {
        Trouble::new(format!("cannot run cargo: {error}")).advise("install Rust: https://rustup.rs")
    })?;
    if !status.success() {
        return Err(Trouble::new(format!("{} for {} does not build", part.name, target.name()))
            .advise("the compiler's lines above say why"));
    }
    Ok(directory.join(TRIPLE).join("image").join(part.package))
}

/// What rustc is told about every crate.
fn flags(source: &Path, target: Target) -> Vec<String> {
    let mut flags: Vec<String> =
        remaps(source).map(|(from, to)| format!("--remap-path-prefix={from}={to}")).collect();
    if target != Target::Unix {
        let machine =
            ["-Ctarget-feature=+crt-static", "-Crelocation-model=static", "-Cforce-unwind-tables=yes"];
        flags.extend(machine.map(String::from));
    }
    flags
}

/// What rustc is told about the program alone.
fn link_arguments(source: &Path, empty: &Path, unwinder: &Path, target: Target) -> Vec<String> {
    // A build id would be a hash of paths that have been taken out elsewhere.
    let mut words = vec!["-Clink-arg=-Wl,--build-id=none".to_string()];
    if target == Target::Unix {
        return words;
    }
    words.extend(
        ["-nostartfiles", "-nostdlib", "-static", "-no-pie"].map(|word| format!("-Clink-arg={word}")),
    );
    words.extend([format!("-Lnative={}", empty.display()), format!("-Clink-arg=-L{}", empty.display())]);
    words.push(format!("-Clink-arg={}", unwinder.display()));
    if target == Target::Xen {
        words.push(format!("-Clink-arg=-Wl,-T,{}", source.join("kernel/link/xen.ld").display()));
    }
    words
}

/// GCC's unwinder, with its `_Unwind_Backtrace` under another name: the kernel's is in its place (docs/decisions/0104).
/// std asks for the library by name too, and finds this one first.
fn unwinder(directory: &Path) -> Result<PathBuf, Trouble> {
    let named = Command::new("gcc")
        .arg("-print-file-name=libgcc_eh.a")
        .output()
        .map_err(|error| Trouble::new(format!("cannot run gcc: {error}")).advise("apt install gcc"))?;
    let original = PathBuf::from(String::from_utf8_lossy(&named.stdout).trim());
    let renamed = directory.join("libgcc_eh.a");
    tool("objcopy", &["--redefine-sym", "_Unwind_Backtrace=gcc_unwind_backtrace"], &original, &renamed)?;
    Ok(renamed)
}

/// Directories of this machine, and what they are called in images.
fn remaps(source: &Path) -> impl Iterator<Item = (String, &'static str)> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let of_home = |name: &str, variable: &str| {
        std::env::var_os(variable).map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(name)))
    };
    let known = [
        (Some(source.to_path_buf()), "nymote"),
        (of_home(".cargo", "CARGO_HOME"), "cargo"),
        (of_home(".rustup", "RUSTUP_HOME"), "rustup"),
    ];
    known.into_iter().filter_map(|(from, to)| Some((from?.display().to_string(), to)))
}
