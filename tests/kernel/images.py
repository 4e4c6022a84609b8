"""The programs under test: machines by `nymote build`, Linux's own by cargo alone."""
import glob
import json
import os
import re
import subprocess

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
CARGO = os.environ.get("CARGO", "cargo")


def path(service, target):
    """Where a built program is."""
    if target == "unix":
        return os.path.join(ROOT, "target", "debug", service)
    return os.path.join(ROOT, "target", "images", f"{service}-{target}")


def build(service, target):
    """Builds a program; gives the line that `nymote build --json` ends with. The plain Linux program is made by cargo
    with what the other tests compiled already: it is what the machines are compared with."""
    if target == "unix":
        subprocess.run([CARGO, "build", "--quiet", "--locked", "--package", service], cwd=ROOT, check=True)
        return {"service": service, "target": target, "elf": path(service, target)}
    words = [CARGO, "run", "--quiet", "--locked", "--package", "nymote", "--", "build", service, "--target", target, "--json"]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"nymote build {service} --target {target}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def build_all(wanted):
    """Builds (service, target) pairs and says so; False when one fails."""
    for service, target in wanted:
        print(f"     building {service} for {target}", flush=True)
        try:
            line = build(service, target)
        except (RuntimeError, subprocess.CalledProcessError, ValueError) as error:
            print(f"FAIL building {service} for {target}\n{error}")
            return False
        print(f"ok   {service} for {target} is built ({os.path.getsize(line['elf'])} bytes)", flush=True)
    return True


FAULTS = ["read-null", "write-null", "run-null", "write-code", "write-constant", "run-constant", "run-heap", "run-stack"]


def is_named_fault(console):
    """Whether the console of kernel/faults names the address that it touched last, and the program did not go on."""
    touched = re.search(r"^faults: \w+ing at (0x[0-9a-f]+)", console, re.M)
    return bool(touched) and f"page fault at address {touched[1]}, " in console and "it went on" not in console


def transcript():
    """What every examination must say, wherever it runs."""
    with open(os.path.join(ROOT, "tests", "examination", "transcript"), encoding="utf-8") as file:
        return file.read().splitlines()


def said(lines):
    """What the examination itself said: the kernel's remarks, panics and blank lines are not its own."""
    return [line for line in lines if ": " in line and not line.startswith(("kernel:", "thread ", "note:"))]


def without_std():
    """Names that std's libraries import strongly from C and the kernel does not have: none, or a program that asks for them does
    not link."""
    sysroot = subprocess.run(["rustc", "--print", "target-libdir"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    wanted, there = symbols(glob.glob(f"{sysroot}/lib*.rlib"), lambda library: "profiler" not in library)
    words = [CARGO, "build", "--quiet", "--locked", "--package", "kernel", "--features", "hosted", "--message-format", "json"]
    lines = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    made = [json.loads(line) for line in lines if '"compiler-artifact"' in line]
    kernel = [file for one in made if one["target"]["name"] == "kernel" for file in one["filenames"] if file.endswith(".rlib")]
    there |= symbols(kernel)[1]
    # The unwinder is the compiler's own library.
    return sorted(name for name in wanted - there if not name.startswith(("_Unwind_", "_R", "_ZN", "__tls_get_addr")))


def symbols(libraries, fits=lambda library: True):
    """What libraries want and have, by `readelf`: strong names that are undefined, and those that are defined."""
    wanted, there = set(), set()
    for library in filter(fits, libraries):
        table = subprocess.run(["readelf", "--symbols", "--wide", library], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for fields in (line.split() for line in table.stdout.splitlines()):
            if len(fields) == 8 and fields[4] in ("GLOBAL", "WEAK"):
                if fields[6] != "UND":
                    there.add(fields[7])
                elif fields[4] == "GLOBAL":
                    wanted.add(fields[7])
    return wanted, there
