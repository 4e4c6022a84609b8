"""The pieces of the emulated host that do not change: hypervisor, first domain's kernel and memory file system.

Everything comes from Debian's packages and this folder. Each piece is made once into `build/xen-host/`, in a folder
named by a hash of what it is made of, so a changed input makes a new piece and an old one is never used by mistake.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import say

HERE = Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent.parent
CACHE = REPOSITORY / "build" / "xen-host"
XEN = Path("/boot/xen-4.17-amd64.gz")
XEN_BIN = Path("/usr/lib/xen-4.17/bin")
# What the first domain loads at start, in this order (dependencies are found in the modules themselves). The Linux
# guests of the yardstick take their drivers from the same list of files.
DOM0_MODULES = """virtio_pci virtio_net virtio_blk loop bridge xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs
xen-netback xen-blkback dm-mod tun""".split()
DOM0_PROGRAMS = [XEN_BIN / name for name in ("xl", "xenconsoled", "xen-init-dom0", "libxl-save-helper", "xenstored")]
DOM0_PROGRAMS += [Path("/usr/bin") / f"xenstore-{word}" for word in "ls read write rm list exists watch chmod".split()]
DOM0_PROGRAMS += [Path("/usr/bin/dnsperf")]


def run(*command, **options):
    """Runs a program of this machine and raises with its output when it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


def made_once(name, inputs, make):
    """The path of piece `name`; `make(path)` makes it unless one of the same `inputs` (bytes or files) is there."""
    digest = hashlib.sha256()
    for one in inputs:
        digest.update(one.read_bytes() if isinstance(one, Path) else one if isinstance(one, bytes) else str(one).encode())
    where = CACHE / f"{name}-{digest.hexdigest()[:16]}"
    if not where.exists():
        say.doing(f"making {name} (once)")
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}-being-made-") as scratch:
            half = Path(scratch) / "piece"
            make(half)
            half.rename(where)
    return where


def hypervisor():
    """Debian's Xen as the plain ELF file that QEMU's multiboot loader wants."""
    return made_once("xen.elf", [XEN], lambda path: path.write_bytes(gzip.decompress(XEN.read_bytes())))


def kernel_package():
    """The name of the package with today's generic kernel: what linux-image-amd64 depends on (the cloud kernel lacks
    the back ends)."""
    answer = run("apt-cache", "depends", "linux-image-amd64").decode()
    found = re.search(r"Depends: (linux-image-\S+)", answer)
    if not found:
        raise RuntimeError("apt-cache knows no linux-image-amd64: run `apt-get update`")
    return found[1]


def kernel():
    """A folder with the unpacked kernel package (`vmlinuz`, `modules/`)."""
    kept = sorted(CACHE.glob("linux-*"))
    # The newest kernel is wanted when the cache is empty; afterwards the kept one does.
    if kept:
        return kept[-1]
    package = kernel_package()

    def make(path):
        with tempfile.TemporaryDirectory() as scratch:
            run("apt-get", "download", package, cwd=scratch)
            run("dpkg", "-x", next(Path(scratch).glob("*.deb")), f"{scratch}/x")
            path.mkdir()
            shutil.copy(next(Path(scratch).glob("x/boot/vmlinuz-*")), path / "vmlinuz")
            for module in Path(scratch).glob("x/lib/modules/**/*.ko"):
                shutil.copy(module, path / module.name.replace("_", "-"))

    return made_once("linux", [package], make)


def modules_in_order(names):
    """The files of modules `names` with what they depend on, each before those that need it."""
    folder = kernel()
    order = []

    def visit(name):
        path = folder / (name.replace("_", "-") + ".ko")
        if not path.exists() or path in order:
            return  # Built into the kernel, or seen already.
        needs = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for need in needs[1].decode().split(",") if needs and needs[1] else []:
            visit(need)
        order.append(path)

    for name in names:
        visit(name)
    return order


def libraries(programs):
    """The shared libraries that `programs` name, as ldd resolves them, and the loader."""
    found = set()
    for program in programs:
        done = subprocess.run(["ldd", str(program)], capture_output=True, text=True)
        found.update(Path(path) for path in re.findall(r"(/\S+) \(0x", done.stdout))
    return sorted(found)


def pack(tree, path):
    """Packs folder `tree` as a gzipped cpio archive, the form of an initial memory file system."""
    names = subprocess.run(["find", ".", "-print0"], cwd=tree, capture_output=True, check=True).stdout
    archive = run("busybox", "sh", "-c", "tr '\\0' '\\n' | busybox cpio -o -H newc", cwd=tree, input=names)
    path.write_bytes(gzip.compress(archive, 1, mtime=0))


def copy_into(tree, source, target=None):
    """Copies file `source` to the same place below `tree` (or to `target`)."""
    place = tree / str(target or source).lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, place)


def busybox_into(tree):
    """busybox and a link for each of its programs."""
    copy_into(tree, "/usr/bin/busybox" if Path("/usr/bin/busybox").exists() else "/bin/busybox", "bin/busybox")
    for applet in run("busybox", "--list").decode().split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")


def modules_into(tree, names):
    """Modules and `modules.list`, in the order in which init loads them."""
    order = modules_in_order(names)
    for module in order:
        copy_into(tree, module, f"modules/{module.name}")
    (tree / "modules.list").write_text("".join(f"/modules/{module.name}\n" for module in order))


def rust_program(name, source, options=(), edition="2024"):
    """A static program of one source file for the first domain or a Linux guest."""

    def make(path):
        run("rustc", "--edition", edition, "-O", "--target", "x86_64-unknown-linux-gnu", "-C", "target-feature=+crt-static",
            "-C", "strip=symbols", "--crate-name", name, *options, "-o", path, source, cwd=REPOSITORY)

    return made_once(name, [source, " ".join(options)], make)


def agent():
    """The control port of the first domain."""
    return rust_program("agent", HERE / "dom0" / "agent.rs")


def domain():
    """Single hypercalls about a domain, for figures."""
    source = HERE / "dom0" / "domain.c"
    library = "/usr/lib/x86_64-linux-gnu/libxenctrl.so.4.17"
    return made_once("domain", [source], lambda path: run("cc", "-O1", "-o", path, source, library))


def hostile():
    """A backend that breaks the protocol."""
    source = HERE / "dom0" / "hostile.c"
    libraries = [f"/usr/lib/x86_64-linux-gnu/{name}" for name in ("libxenstore.so.4", "libxengnttab.so.1", "libxenevtchn.so.1")]
    return made_once("hostile", [source], lambda path: run("cc", "-O1", "-Wall", "-o", path, source, *libraries))


def questions():
    """A client that asks more DNS questions a second than a guest can answer."""
    source = HERE / "dom0" / "questions.c"
    return made_once("questions", [source], lambda path: run("cc", "-O2", "-Wall", "-o", path, source))


def dom0():
    """The first domain's memory file system."""
    files = [HERE / "dom0" / name for name in ("init", "vif", "block")]
    tools = {"agent": agent(), "load": rust_program("load", HERE / "dom0" / "load.rs"), "domain": domain(), "hostile": hostile(),
             "questions": questions()}
    gcc = Path("/lib/x86_64-linux-gnu/libgcc_s.so.1")  # xl aborts without it; ldd does not name it.

    def make(path):
        with tempfile.TemporaryDirectory() as scratch:
            tree = Path(scratch)
            busybox_into(tree)
            for program in DOM0_PROGRAMS:
                copy_into(tree, program, f"bin/{program.name}")
            copy_into(tree, XEN_BIN / "libxl-save-helper")
            for library in [*libraries([*DOM0_PROGRAMS, *tools.values()]), gcc]:
                copy_into(tree, library)
            for name, program in tools.items():
                copy_into(tree, program, f"bin/{name}")
            copy_into(tree, files[0], "init")
            copy_into(tree, files[1], "etc/xen/scripts/vif-bridge")
            copy_into(tree, files[2], "etc/xen/scripts/block")
            # All memory is given out by hand: xl must not take the first domain's.
            (tree / "etc/xen/xl.conf").write_text('autoballoon="off"\nclaim_mode=0\n')
            modules_into(tree, DOM0_MODULES)
            for folder in ("proc", "sys", "dev", "run", "tmp", "guests", "usr/sbin", "var/log/xen"):
                (tree / folder).mkdir(parents=True, exist_ok=True)
            (tree / "var/run").symlink_to("/run")
            pack(tree, path)

    inputs = [*files, *DOM0_PROGRAMS, *tools.values(), " ".join(DOM0_MODULES), kernel().name, Path(__file__)]
    return made_once("dom0.cpio.gz", inputs, make)
