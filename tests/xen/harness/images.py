"""Guest images, built by `nymote build` for Xen as tests/kernel builds them for hosted."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "kernel"))
import images as programs  # noqa: E402  (tests/kernel/images.py)

from . import say  # noqa: E402

_built = {}


def build(package):
    """Builds `package` for Xen; returns (ELF file, image as booted)."""
    if package not in _built:
        say.doing(f"building {package} for Xen")
        line = programs.build(package, "xen")
        _built[package] = (Path(line["elf"]), Path(line["image"]))
    return _built[package]
