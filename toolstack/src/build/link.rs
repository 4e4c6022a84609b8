//! How a program is linked for each target.
//!
//! A machine's program is a static, fixed-address ELF of the stock target `x86_64-unknown-linux-gnu`, with the kernel in
//! the C library's place: no start files, no libraries but GCC's unwinder. rustc still asks for `-lc` and its kin, so
//! empty archives of those names come first on the library path. The flags need an explicit `--target`, or build
//! scripts would be linked with them too; and a target directory of their own, or each build would throw the other's
//! work away.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Part, Target, layout, tool};
use crate::trouble::Trouble;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Libraries that rustc asks for and that the kernel stands in for.
const LIBRARIES: [&str; 7] = ["c", "m", "pthread", "rt", "dl", "util", "gcc_s"];
/// When all crates have become one program, only those calls still give way to what they call for which that is hardly longer
/// than the call: each crate has been through the same with its own limits.
const INLINE_LEAST: &str = "-Cllvm-args=-inline-threshold=0 -inlinehint-threshold=10 -inlinecold-threshold=0";
/// What comes in the place of the profile's settings for speed.
const SMALL_KERNEL: [&str; 2] =
    ["profile.image.package.kernel.opt-level=\"z\"", "profile.image.package.smoltcp.opt-level=\"z\""];
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
    if target != Target::Unix {
        small_ring(source, &empty)?;
    }
    if target == Target::Xen {
        layout::write(source, &empty)?;
    }
    let mut cargo = Command::new(cargo());
    cargo.current_dir(source).args([
        "rustc",
        "--locked",
        "--profile",
        "image",
        "--target",
        TRIPLE,
        "--target-dir",
    ]);
    cargo.arg(&directory);
    if target != Target::Unix && part.small_kernel {
        cargo.args(SMALL_KERNEL.iter().flat_map(|setting| ["--config", *setting]));
    }
    cargo.args(["--package", part.package, "--bin", part.package]);
    if target != Target::Unix {
        // An appliance's default features are Linux's ways of doing things.
        let features = [target.name()].iter().chain(part.features).copied().collect::<Vec<_>>().join(",");
        cargo.args(["--no-default-features", "--features", &features]);
    }
    cargo.arg("--").args(link_arguments(source, &empty, &unwinder, target));
    if target != Target::Unix && part.inlines_least {
        cargo.arg(INLINE_LEAST);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(source, target).join("\u{1f}"));
    cargo.env_remove("RUSTFLAGS").env("SOURCE_DATE_EPOCH", "0");
    cargo.env("CFLAGS", c_flags(source, target).join(" "));
    let status = cargo.status().map_err(no_cargo)?;
    if !status.success() {
        return Err(Trouble::new(format!("{} for {} does not build", part.name, target.name()))
            .advise("the compiler's lines above say why"));
    }
    Ok(directory.join(TRIPLE).join("image").join(part.package))
}

/// The program that builds: the one that runs us, if one does.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// What is said when it cannot be run.
pub fn no_cargo(error: std::io::Error) -> Trouble {
    Trouble::new(format!("cannot run cargo: {error}")).advise("install Rust: https://rustup.rs")
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

/// What the C compiler is told about ring. OPENSSL_SMALL takes formally verified C with tables of 5 kB in the place of assembly
/// with tables of 176 kB, which nothing compresses; a signature by P-256 costs a tenth of a millisecond more
/// (docs/decisions/0304).
fn c_flags(source: &Path, target: Target) -> Vec<String> {
    let mut flags: Vec<String> =
        remaps(source).map(|(from, to)| format!("-ffile-prefix-map={from}={to}")).collect();
    if target != Target::Unix {
        flags.push("-DOPENSSL_SMALL".to_string());
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
    words.push(format!("-Clink-arg={}", empty.join(SMALL_RING).display()));
    // Functions of the same code become one. The linker leaves alone those with clean-ups of their own for a panic.
    words.push("-Clink-arg=-Wl,--icf=all".to_string());
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

/// ring's Rust half calls functions on x86-64 that its small C half does not have; others of the same arguments and results
/// stand in for them: constant time where any would do, and one that asks nothing of the processor. A program without ring
/// leaves them out.
fn small_ring(source: &Path, directory: &Path) -> Result<(), Trouble> {
    let lock = source.join("Cargo.lock");
    let text = fs::read_to_string(&lock).map_err(|error| Trouble::io("read", &lock, error))?;
    let archive = directory.join(SMALL_RING);
    let Some((_, rest)) = text.split_once("name = \"ring\"\nversion = \"") else {
        return fs::write(&archive, EMPTY_ARCHIVE).map_err(|error| Trouble::io("write", &archive, error));
    };
    let version = rest.split('"').next().unwrap_or_default().replace('.', "_");
    let (code, object) = (directory.join("ring.s"), directory.join("ring.o"));
    let mut text = ".section .note.GNU-stack,\"\",@progbits\n.text\n".to_string();
    for (asked, there) in RING_STAND_INS {
        let [asked, there] = [asked, there].map(|name| format!("ring_core_{version}__{name}"));
        let _ = writeln!(text, ".globl {asked}\n{asked}:\n    jmp {there}");
    }
    fs::write(&code, text).map_err(|error| Trouble::io("write", &code, error))?;
    tool("gcc", &["-c", "-o"], &object, &code)?;
    let _ = fs::remove_file(&archive);
    tool("ar", &["rcsD"], &archive, &object)
}

/// What is called, and what stands in for it.
const RING_STAND_INS: [(&str, &str); 2] = [
    ("p256_point_mul_base_vartime", "p256_point_mul_base"),
    ("x25519_scalar_mult_adx", "x25519_scalar_mult_generic_masked"),
];
/// The archive with what ring's small half lacks.
const SMALL_RING: &str = "libring_small.a";

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
