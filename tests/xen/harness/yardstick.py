"""The yardstick: a Linux PV guest (Debian's kernel and a small memory file system) with NSD on the same emulated host."""

import shutil
import tempfile
from pathlib import Path

from . import pieces

FOLDER = pieces.HERE / "yardstick"
NSD = Path("/usr/sbin/nsd")


def stream_program():
    """The `stream` program as a static Linux program: the same source that becomes a guest of ours."""
    source = pieces.HERE / "stream" / "src" / "main.rs"
    return pieces.rust_program("stream", source, ["--check-cfg", 'cfg(feature,values("hosted","xen"))'], "2024")


def memory_file_system():
    """The guest's initial memory file system."""
    files = [FOLDER / name for name in ("init", "nsd.conf", "example.test.zone")]
    stream = stream_program()

    def make(path):
        with tempfile.TemporaryDirectory() as scratch:
            tree = Path(scratch)
            pieces.busybox_into(tree)
            pieces.copy_into(tree, NSD, "bin/nsd")
            pieces.copy_into(tree, stream, "bin/stream")
            for library in pieces.libraries([NSD]):
                pieces.copy_into(tree, library)
            for file in files:
                shutil.copy(file, tree / file.name)
            pieces.modules_into(tree, ["xen-netfront"])
            for folder in ("proc", "sys", "dev", "tmp", "etc"):
                (tree / folder).mkdir(exist_ok=True)
            pieces.pack(tree, path)

    return pieces.made_once("yardstick.cpio.gz", [*files, NSD, stream, pieces.kernel().name, Path(__file__)], make)
