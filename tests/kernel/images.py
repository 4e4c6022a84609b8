"""The programs under test, built by `nymote build`."""
import json
import os
import subprocess

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
IMAGES = os.path.join(ROOT, "target", "images")
WANTED = [("examination", "unix"), ("examination", "hosted"), ("signpost-dns", "hosted")]


def path(service, target):
    return os.path.join(IMAGES, f"{service}-{target}")


def build():
    """Builds what is wanted; says what fails."""
    for service, target in WANTED:
        print(f"     building {service} for {target}", flush=True)
        words = ["cargo", "run", "--quiet", "--package", "nymote", "--", "build", service, "--target", target, "--json"]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            line = json.loads(done.stdout.strip().splitlines()[-1])
            print(f"ok   nymote build {service} --target {target}: {line['elf_bytes']} bytes")
        except (IndexError, ValueError):
            print(f"FAIL nymote build {service} --target {target}")
            return False
    return True
