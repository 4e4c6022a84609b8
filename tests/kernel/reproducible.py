"""The long form: an image built twice, from two directories, is the same bytes, for each target."""
import os
import subprocess
import tempfile

import images

SERVICE = "signpost-dns"
TARGETS = ("xen", "hosted", "unix")


def build(directory):
    """Copies the sources there and builds them there; gives the bytes of what was made, by name."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=images.ROOT, stdout=subprocess.PIPE, check=True).stdout
    archive = subprocess.Popen(["tar", "--null", "--files-from=-", "-c"], cwd=images.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    unpack = subprocess.Popen(["tar", "-x", "-C", directory], stdin=archive.stdout)
    archive.stdin.write(files)
    archive.stdin.close()
    if archive.wait() or unpack.wait():
        raise RuntimeError("the sources were not copied")
    nymote = os.path.join(images.ROOT, "target", "debug", "nymote")
    parts = {}
    for target in TARGETS:
        subprocess.run([nymote, "build", SERVICE, "--target", target, "--source", directory], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        made = os.path.join(directory, "target", "images", f"{SERVICE}-{target}")
        for name, path in ((f"program for {target}", made), (f"image for {target}", made + ".gz")):
            if os.path.exists(path):
                with open(path, "rb") as file:
                    parts[name] = file.read()
    return parts


def main():
    """Prints one line a check; says whether all were good."""
    # One path is longer than the other: lengths must not shine through either.
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory(prefix="a-longer-name-for-a-directory-") as other:
        first, second = build(one), build(other)
    good = first.keys() == second.keys()
    for name, a in first.items():
        b = second.get(name, b"")
        same = a == b
        good &= same
        print(f"{'ok  ' if same else 'FAIL'} the {name} of {SERVICE} is the same from two directories ({len(a)} and {len(b)} bytes)", flush=True)
    return good
