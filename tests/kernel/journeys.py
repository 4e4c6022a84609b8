"""What the hosted machine is put through."""
import difflib
import os
import subprocess
import tempfile

import images
import peer
from machine import INSIDE, INSIDE6, OUTSIDE, OUTSIDE6, STATIC, Program, Wire, sh

failed = 0


def check(name, right, more=""):
    global failed
    print(f"ok   {name}" if right else f"FAIL {name} {more}", flush=True)
    failed += not right


def disk(directory, name):
    path = os.path.join(directory, name)
    with open(path, "wb") as file:
        file.truncate(16 << 20)
    return path


def examine(target, kind, directory, loss=0, offload=True):
    """One examination over a wire; gives its transcript."""
    name = f"examination {target} over {kind}" + (f", {loss} % of frames lost" if loss else "") + ("" if offload else ", no offload")
    with Wire(kind) as wire, peer.Echo([OUTSIDE, OUTSIDE6]) as echo:
        environment = {"EXAM_PEER": echo.peers, "EXAM_PORT": "7000"}
        image = disk(directory, "exam.img")
        arguments = [] if target == "unix" else STATIC
        with Program("examination", target, wire, arguments, environment, disk=image, offload=offload, loss=loss) as program:
            if not program.wait_line("serving", 120):
                check(name, False, "it does not come to serving:\n" + "\n".join(program.lines[-12:]))
                return program.transcript()
            try:
                wrong = peer.drive([INSIDE, INSIDE6], 7000)
            except OSError as error:
                wrong = [str(error)]
            code = program.end(30)
            check(name, code == 0 and not wrong, f"exit {code}, wrong: {wrong}\n" + "\n".join(program.lines[-6:]))
            return program.transcript()


def same(name, one, other):
    lines = list(difflib.unified_diff(one, other, lineterm="", n=0))
    check(name, not lines, "\n".join(lines))


def examinations(directory):
    """The transcript is the same everywhere; on Xen tests/xen/run compares it."""
    wanted = images.transcript()
    same("the examination says on Linux what it should", wanted, examine("unix", "veth", directory))
    same("hosted (TAP) says what Linux says", wanted, examine("hosted", "tap", directory))
    same("hosted (packet socket) says what Linux says", wanted, examine("hosted", "packet", directory))
    same("and without offloads", wanted, examine("hosted", "tap", directory, offload=False))
    same("and with one frame in a hundred lost", wanted, examine("hosted", "tap", directory, loss=1))


def dig(*words):
    done = subprocess.run(["dig", "+tries=3", "+time=2", "+short", *words], capture_output=True, text=True, timeout=30)
    return done.stdout.strip()


def names():
    with Wire("tap") as wire, Program("signpost-dns", "hosted", wire, STATIC, memory=32) as program:
        if not program.wait_line("ready"):
            check("signpost-dns hosted is ready", False, "\n".join(program.lines[-8:]))
            return
        check("dig is answered over UDP", "ns1.example.test." in dig(f"@{INSIDE}", "example.test", "SOA"))
        check("dig is answered over TCP", "ns1.example.test." in dig(f"@{INSIDE}", "+tcp", "example.test", "NS"))
        check("and its port without a listener refuses", subprocess.run(
            ["curl", "-s", "--max-time", "5", f"http://{INSIDE}:81/"]).returncode == 7)


def crashes():
    wanted = {
        "stack": "stack overflow",
        "heap": "the heap is exhausted",
        "abort": "the program aborted",
    }
    for kind, words in wanted.items():
        with Program("examination", "hosted", environment={"EXAM_CRASH": kind}, memory=16) as program:
            code = program.end(20)
            said = any(words in line for line in program.lines)
            check(f"a crash by {kind} is named and ends the machine", said and code == -6, f"exit {code}: {program.lines[-4:]}")


def faults():
    for kind in images.FAULTS:
        with Program("faults", "hosted", arguments=[kind], memory=16) as program:
            code = program.end(20)
            named = images.is_named_fault("\n".join(program.lines))
            check(f"the fault {kind} is named and ends the machine", named and code == -6, f"exit {code}: {program.lines[-6:]}")


def environment():
    """A program may change its environment."""
    with Program("faults", "hosted", arguments=["set-variable"], environment={"GIVEN": "1"}, memory=16) as program:
        code = program.end(20)
        said = any('MADE is Some("two"), GIVEN is None, 1 of them' in line for line in program.lines)
        check("variables are set, replaced and removed", said and code == 0, f"exit {code}: {program.lines[-4:]}")


def backtrace():
    """A panic's callers are addresses, which `nymote symbolize` names."""
    wanted = {"RUST_BACKTRACE": "1", "EXAM_DISK": "/nowhere", "EXAM_ONLY": "end"}
    with Program("examination", "hosted", environment=wanted, memory=16) as program:
        program.end(20)
        console = "\n".join(program.lines)
    nymote = os.path.join(images.ROOT, "target", "debug", "nymote")
    debug = images.path("examination", "hosted") + ".debug"
    named = subprocess.run([nymote, "symbolize", debug], input=console, capture_output=True, text=True, timeout=60).stdout
    check("a panic's callers are named by nymote symbolize", "examination::disk::end" in named, console + named)


def stop():
    with Program("examination", "hosted", environment={"EXAM_WAIT": "1"}) as program:
        ready = program.wait_line("waiting")
        program.terminate()
        code = program.end(10)
        check("SIGTERM lets the program finish first", ready and "flushed" in program.lines and code == 0,
              f"exit {code}: {program.lines[-4:]}")


def configuration(directory):
    """Addresses by DHCP and router advertisements, names by the server that DHCP names."""
    with Wire("tap") as wire:
        words = [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--interface=wire0", "--bind-interfaces",
            "--except-interface=lo", "--no-hosts", "--no-resolv", "--leasefile-ro", f"--pid-file={directory}/dnsmasq.pid",
            "--dhcp-range=10.9.0.50,10.9.0.60,255.255.255.0,1h", "--enable-ra",
            "--dhcp-range=fd09::,ra-only,64,1h", "--address=/name.example/192.0.2.77", "--user=root",
        ]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
            try:
                environment = {"EXAM_LOOKUP": "name.example"}
                with Program("examination", "hosted", wire, [], environment) as program:
                    program.wait_line("lookup", 30)
                    program.end(15)
                    text = "\n".join(program.lines)
                    check("DHCP gives an address", "10.9.0.5" in text or "10.9.0.60" in text, text)
                    check("the name server from DHCP is asked", "192.0.2.77" in text, text)
                with Program("examination", "hosted", wire, [], {"EXAM_WAIT": "1"}) as program:
                    given = program.wait_line("fd09::", 60)
                    check("a router advertisement gives an address", given, "\n".join(program.lines))
            finally:
                server.kill()
        with Program("examination", "hosted", wire, ["ip=off", f"ip6={OUTSIDE6}/64"], {"EXAM_WAIT": "1"}) as program:
            named = program.wait_line(f"{OUTSIDE6} is in use by", 60)
            check("an IPv6 address that a neighbour has is named", named, "\n".join(program.lines))
            waiting = program.wait_line("waiting", 60)
            taken = [line for line in program.lines if line.startswith("kernel: eth0: ") and line.endswith(f"{OUTSIDE6}/64")]
            check("and is not taken", waiting and not taken, "\n".join(program.lines))


def main():
    sh("ip", "link", "set", "lo", "up")
    with tempfile.TemporaryDirectory() as directory:
        crashes()
        faults()
        environment()
        backtrace()
        stop()
        names()
        configuration(directory)
        examinations(directory)
    print(f"{failed} failed")
    return 1 if failed else 0
