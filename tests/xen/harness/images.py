"""Guest images from this repository's programs: linked against the kernel for Xen, stripped, gzipped as Xen takes them."""

import gzip
import os
import subprocess
from pathlib import Path

from . import pieces, say

TARGET = "x86_64-unknown-linux-gnu"


def build(package, profile="image"):
    """Builds `package` with its feature `xen`; returns (ELF file, gzipped image)."""
    say.doing(f"building {package} for Xen")
    environment = dict(os.environ)
    environment[f"CARGO_TARGET_{TARGET.upper().replace('-', '_')}_RUSTFLAGS"] = " ".join(link_flags())
    folder = pieces.REPOSITORY / "target" / "xen"
    command = ["cargo", "build", "--quiet", "--locked", "--package", package, "--bin", package, "--no-default-features", "--features",
               "xen", "--profile", profile, "--target", TARGET, "--target-dir", str(folder)]
    done = subprocess.run(command, cwd=pieces.REPOSITORY, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-4000:])
    elf = folder / TARGET / {"dev": "debug"}.get(profile, profile) / package
    packed = elf.with_suffix(".gz")
    packed.write_bytes(gzip.compress(elf.read_bytes(), 9, mtime=0))
    return elf, packed


def link_flags():
    """What makes a static program without a C library, laid out by the kernel's linker script."""
    empty = empty_libraries()
    arguments = ["-nostartfiles", "-nostdlib", "-static", "-no-pie", f"-L{empty}", "-l:libgcc_eh.a", "-Wl,--build-id=none",
                 f"-Wl,-T{pieces.REPOSITORY}/kernel/link/xen.ld", "-Wl,--no-dynamic-linker", "-Wl,-z,norelro"]
    return ["-Crelocation-model=static", "-Ctarget-feature=+crt-static", "-Cstrip=symbols",
            *(f"-Clink-arg={word}" for word in arguments)]


def empty_libraries():
    """rustc asks for C's libraries by name although the kernel has what is in them: empty archives answer."""

    def make(path):
        path.mkdir()
        for name in ("c", "m", "pthread", "rt", "dl", "util", "gcc_s"):
            (path / f"lib{name}.a").write_bytes(b"!<arch>\n")

    return pieces.made_once("empty-libraries", [Path(__file__)], make)
