//! `nymote build`: an appliance as a Linux program, as a program on our kernel, or as a Xen machine.
//!
//! The same sources and the same stable toolchain make all three; what differs is a feature of the appliance's crate,
//! which names the kernel, and how the program is linked ([`link`]). Two builds of the same sources are the same bytes:
//! paths are taken out, nothing notes a time, and the compiler gets one order of work.

mod cfa;
mod elf;
mod layout;
mod link;
mod pack;
mod report;
mod segments;
mod streams;
pub mod symbolize;
mod tables;
mod unwind;
mod xz;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::trouble::Trouble;

/// What can be built by name: a program of a crate, with features of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part<'a> {
    /// What it is called here and what its files are called.
    name: &'a str,
    /// Its crate, which is also its program's name.
    package: &'a str,
    /// The crate's features that a machine has, besides what carries it.
    features: &'a [&'a str],
    /// Whether it is smaller when the whole program is inlined least (docs/decisions/0304 has the figures).
    inlines_least: bool,
    /// Whether its kernel is built for size, too: the smallest machine's is built for speed.
    small_kernel: bool,
}

/// The appliances as they are deployed.
const APPLIANCES: [Part<'static>; 4] = [
    Part { name: "mail", package: "mail", features: &[], inlines_least: false, small_kernel: true },
    Part { name: "contacts", package: "contacts", features: &[], inlines_least: false, small_kernel: true },
    Part { name: "calendar", package: "calendar", features: &[], inlines_least: false, small_kernel: true },
    // Without `suite` the same crate is the smallest machine, which serves one static zone from its command line:
    // `nymote build signpost-dns`.
    Part {
        name: "signpost",
        package: "signpost-dns",
        features: &["suite"],
        inlines_least: true,
        small_kernel: true,
    },
];

/// What carries an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A Linux process.
    Unix,
    /// Our kernel in a Linux process.
    Hosted,
    /// Our kernel in a Xen PV domain.
    Xen,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Target::Unix => "unix",
            Target::Hosted => "hosted",
            Target::Xen => "xen",
        }
    }
}

/// Makes images of the appliances, the same bytes from the same sources, with a report of what takes the space.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// mail, contacts, calendar or signpost; signpost-dns for the smallest machine, which serves one static zone and has no
    /// store; or another member of the workspace that has the features `hosted` and `xen`. All four appliances without it
    service: Option<String>,
    /// What is to carry it
    #[arg(long, value_enum, default_value = "xen")]
    target: Target,
    /// The sources; the workspace around the working directory without it
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Where images go; target/images in the sources without it
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// End with one line of JSON for each image
    #[arg(long)]
    json: bool,
}

/// One image, built.
struct Image {
    elf: PathBuf,
    image: PathBuf,
    debug: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Trouble> {
    let source = match &args.source {
        Some(directory) => sources(directory)?,
        None => workspace_around()?,
    };
    let output = args.output.clone().unwrap_or_else(|| source.join("target/images"));
    fs::create_dir_all(&output).map_err(|error| Trouble::io("make", &output, error))?;
    let output = output.canonicalize().map_err(|error| Trouble::io("find", &output, error))?;
    let mut lines = Vec::new();
    for part in parts(args.service.as_deref()) {
        let service = part.name;
        let built = link::build(&source, &part, args.target)?;
        let image = finish(&built, service, args.target, &output)?;
        let (elf_bytes, image_bytes) = (length(&image.elf)?, length(&image.image)?);
        if args.json {
            lines.push(serde_json::json!({
                "service": service,
                "target": args.target.name(),
                "elf": image.elf,
                "image": image.image,
                "elf_bytes": elf_bytes,
                "image_bytes": image_bytes,
            }));
        } else {
            println!("{service} for {}: {}", args.target.name(), image.image.display());
            println!("  program {elf_bytes} bytes, image as booted {image_bytes} bytes");
            println!("  names of addresses: nymote symbolize {}", image.debug.display());
            report::print(&built)?;
        }
    }
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// What the command line names.
fn parts(service: Option<&str>) -> Vec<Part<'_>> {
    match service {
        None => APPLIANCES.to_vec(),
        Some(name) => match APPLIANCES.iter().find(|part| part.name == name) {
            Some(part) => vec![*part],
            None => {
                vec![Part { name, package: name, features: &[], inlines_least: false, small_kernel: false }]
            }
        },
    }
}

/// Strips the program, keeps its names in a file beside it, compresses what Xen boots.
fn finish(built: &Path, service: &str, target: Target, output: &Path) -> Result<Image, Trouble> {
    let base = format!("{service}-{}", target.name());
    let (elf, debug) = (output.join(&base), output.join(format!("{base}.debug")));
    tool("objcopy", &["--only-keep-debug"], built, &debug)?;
    tool("objcopy", &["--strip-all", "--remove-section=.comment"], built, &elf)?;
    if target == Target::Unix {
        return Ok(Image { image: elf.clone(), elf, debug });
    }
    let mut program = fs::read(&elf).map_err(|error| Trouble::io("read", &elf, error))?;
    if !unwind::cut(&mut program) {
        eprintln!(
            "{base}: its unwind tables are of a kind that stays as the linker wrote it, and makes a larger image"
        );
    }
    fs::write(&elf, &program).map_err(|error| Trouble::io("write", &elf, error))?;
    if target == Target::Hosted {
        return Ok(Image { image: elf.clone(), elf, debug });
    }
    let packed = pack::pack(&program).map_err(|error| Trouble::io("pack", &elf, error))?;
    if packed.is_whole {
        eprintln!(
            "{base}: its code calls, or is, something that the kernel cannot put together at boot, and makes a larger image"
        );
    }
    let image = output.join(format!("{base}.{}", packed.extension));
    fs::write(&image, packed.bytes).map_err(|error| Trouble::io("write", &image, error))?;
    // One that an earlier build packed the other way would be taken for this one.
    for other in pack::EXTENSIONS.iter().filter(|other| **other != packed.extension) {
        let _ = fs::remove_file(output.join(format!("{base}.{other}")));
    }
    Ok(Image { elf, image, debug })
}

fn tool(name: &str, words: &[&str], from: &Path, to: &Path) -> Result<(), Trouble> {
    let done = Command::new(name).args(words).arg(from).arg(to).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Trouble::new(format!("{name} on {} ended with {status}", from.display()))),
        Err(error) => Err(Trouble::new(format!("cannot run {name}: {error}"))
            .advise("install the compiler's tools: apt install gcc binutils")),
    }
}

fn length(path: &Path) -> Result<u64, Trouble> {
    fs::metadata(path).map(|metadata| metadata.len()).map_err(|error| Trouble::io("look at", path, error))
}

/// The sources that the command line names.
fn sources(directory: &Path) -> Result<PathBuf, Trouble> {
    let source = directory.canonicalize().map_err(|error| Trouble::io("find", directory, error))?;
    if is_workspace(&source) {
        return Ok(source);
    }
    Err(Trouble::new(format!("{} is not nymote's sources: no kernel/Cargo.toml is there", source.display())))
}

fn is_workspace(directory: &Path) -> bool {
    directory.join("kernel/Cargo.toml").exists() && directory.join("Cargo.toml").exists()
}

/// The nearest directory upwards whose Cargo.toml is a workspace that holds the kernel.
fn workspace_around() -> Result<PathBuf, Trouble> {
    let here =
        std::env::current_dir().map_err(|error| Trouble::new(format!("no working directory: {error}")))?;
    here.ancestors().find(|directory| is_workspace(directory)).map(Path::to_path_buf).ok_or_else(|| {
        Trouble::new(format!("{} is not inside nymote's sources", here.display()))
            .advise("go there, or name them with --source DIR")
    })
}

#[cfg(test)]
mod tests;
