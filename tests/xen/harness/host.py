"""The emulated machine: starts QEMU with Xen and the first domain, runs commands there, forwards ports, and always ends it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import images, pieces, say

DOM0_ADDRESS = "10.0.2.9"
MEMORY_MB = 1536
# How long anything may take before it counts as never: a busy machine of two cores without virtualisation is some twenty
# times slower than an idle one, and a deadline costs nothing but in a failure.
DEADLINE_S = 240
BOOT_DEADLINE_S = 400
KEPT = pieces.CACHE / "kept"


class Deadline(Exception):
    """Something did not happen in its time; the text says what was waited for."""


def free_port(kind=socket.SOCK_STREAM):
    """A port of the loopback address that nobody holds at this moment."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Host:
    """One emulated Xen host. `Host.start()` boots one that ends with this program (use it in a `with`);
    `Host.start(keep=True)` leaves it running for the next program, which finds it by `Host.attach()`."""

    def __init__(self, folder, pid, agent_port):
        self.folder, self.pid, self.agent_port = Path(folder), pid, agent_port
        self.kept = False

    # Life

    @classmethod
    def start(cls, disks=(), keep=False, icount=False, cpus=2, without=()):
        """Boots a host with `disks` (QEMU -drive options without if=) as /dev/vda and on, and waits until it is ready.
        Its processors lack the features named in `without`."""
        folder = KEPT if keep else Path(tempfile.mkdtemp(prefix="xen-host-"))
        if keep:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        port = free_port()
        command = cls.command(folder, port, disks, icount, cpus, without)
        say.doing("starting the emulated Xen host")
        if not keep:
            # Ended from outside, this program still ends the machine on its way out.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        log = open(folder / "qemu.log", "wb")
        if not keep:
            # Whatever ends this program, the machine ends with it.
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        host = cls(folder, qemu.pid, port)
        host.kept, host.qemu = keep, qemu
        if keep:
            (folder / "state.json").write_text(json.dumps({"pid": qemu.pid, "port": port}))
        try:
            host.wait_ready()
        except BaseException:
            host.stop()
            raise
        return host

    @staticmethod
    def command(folder, port, disks, icount, cpus, without):
        """QEMU's command line. Without SMAP: its iret faults in a PV domain's first second otherwise."""
        accel = ["-accel", "tcg,thread=single" if icount else "tcg,thread=multi"]
        accel += ["-icount", "shift=0,sleep=on"] if icount else []
        command = ["qemu-system-x86_64", *accel, "-cpu", ",".join(["max", *(f"{name}=off" for name in ("smap", "pku", *without))]), "-smp", str(cpus), "-m", str(MEMORY_MB)]
        command += ["-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{folder}/serial.log"]
        command += ["-monitor", f"unix:{folder}/monitor,server=on,wait=off", "-kernel", str(pieces.hypervisor())]
        command += ["-append", "dom0_mem=512M,max:512M dom0_max_vcpus=1 dom0_vcpus_pin com1=115200,8n1 console=com1 "
                    "loglvl=info guest_loglvl=all sched=credit"]
        command += ["-initrd", f"{pieces.kernel() / 'vmlinuz'} console=hvc0 quiet panic=5,{pieces.dom0()}"]
        command += ["-netdev", f"user,id=n0,ipv4=on,ipv6=on,hostfwd=tcp:127.0.0.1:{port}-{DOM0_ADDRESS}:7000"]
        command += ["-device", "virtio-net-pci,netdev=n0,romfile="]
        for number, drive in enumerate(disks):
            command += ["-drive", f"if=none,id=d{number},{drive}", "-device", f"virtio-blk-pci,drive=d{number}"]
        return command

    @classmethod
    def attach(cls):
        """The host that an earlier program kept, or None."""
        try:
            state = json.loads((KEPT / "state.json").read_text())
            os.kill(state["pid"], 0)
            if b"qemu" not in Path(f"/proc/{state['pid']}/cmdline").read_bytes():
                return None
        except (OSError, ValueError):
            return None
        host = cls(KEPT, state["pid"], state["port"])
        host.kept = True
        return host

    def wait_ready(self):
        """Waits until the first domain's agent answers; says what the serial line shows meanwhile."""
        end, told = time.monotonic() + BOOT_DEADLINE_S, ""
        while True:
            lines = [line for line in self.serial().splitlines() if line.startswith("dom0: ")]
            if lines and lines[-1] != told:
                told = lines[-1]
                say.doing(told)
            if told == "dom0: ready":
                try:
                    self.sh("true", deadline_s=30)
                    return
                except (OSError, RuntimeError, Deadline):
                    pass
            if self.qemu.poll() is not None or time.monotonic() > end:
                raise Deadline("the emulated host did not boot\n" + self.serial()[-3000:]
                               + (self.folder / "qemu.log").read_text(errors="replace")[-1000:])
            time.sleep(0.3)

    def stop(self):
        """Ends the machine, whatever it is doing."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if hasattr(self, "qemu"):
            self.qemu.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.kept:
            self.stop()

    # Talking to it

    def serial(self):
        """What Xen and the first domain wrote to the serial line so far."""
        try:
            return (self.folder / "serial.log").read_text(errors="replace")
        except OSError:
            return ""

    def _ask(self, head, body=b"", deadline_s=DEADLINE_S):
        with socket.create_connection(("127.0.0.1", self.agent_port), timeout=deadline_s) as link:
            link.sendall(head.encode() + body)
            end = time.monotonic() + deadline_s
            parts = []
            while True:
                link.settimeout(max(0.05, end - time.monotonic()))
                try:
                    part = link.recv(1 << 16)
                except socket.timeout:
                    raise Deadline(f"no end after {deadline_s} s of: {head.strip()} {body[:200]!r}") from None
                if not part:
                    return b"".join(parts)
                parts.append(part)

    def sh_status(self, script, deadline_s=DEADLINE_S):
        """Runs a shell script in the first domain: (exit status, output)."""
        body = script.encode()
        answer = self._ask(f"run {len(body)}\n", body, deadline_s)
        output, _, status = answer.rpartition(b"\0rc=")
        if not status:
            raise RuntimeError(f"the agent broke off: {answer[-300:]!r}")
        return int(status), output.decode(errors="replace")

    def sh(self, script, deadline_s=DEADLINE_S):
        """Runs a script in the first domain and returns its output; raises when it fails."""
        status, output = self.sh_status(script, deadline_s)
        if status != 0:
            raise RuntimeError(f"{script[:300]}\nended with {status}:\n{output[-2000:]}")
        return output

    def put(self, path, content, mode=0o644):
        """Writes a file of the first domain."""
        body = content.encode() if isinstance(content, str) else content
        answer = self._ask(f"put {len(body)} {mode:o} {path}\n", body, DEADLINE_S)
        if answer != b"ok\n":
            raise RuntimeError(answer.decode(errors="replace"))

    def get(self, path):
        """Reads a file of the first domain."""
        answer = self._ask(f"get {path}\n", deadline_s=DEADLINE_S)
        length, _, content = answer.partition(b"\n")
        if not length.isdigit() or len(content) != int(length):
            raise RuntimeError(answer[:300].decode(errors="replace"))
        return content

    def image(self, package):
        """The path on this host of `package`'s image, built once and copied here once."""
        path = f"/guests/{package}.gz"
        if self.sh_status(f"[ -e {path} ]")[0] != 0:
            self.put(path, images.build(package)[1].read_bytes())
        return path

    def wait_file(self, path, words, deadline_s=DEADLINE_S):
        """Waits until a file of the first domain holds `words`."""
        end = time.monotonic() + deadline_s
        while words.encode() not in self.get(path):
            if time.monotonic() > end:
                raise Deadline(f"no {words!r} in {path} after {deadline_s} s: {self.get(path)[-500:]!r}")
            time.sleep(0.3)

    def monitor(self, command):
        """One command of QEMU's monitor, and its answer."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(DEADLINE_S)
            link.connect(str(self.folder / "monitor"))
            text = self._until_prompt(link)
            link.sendall(command.encode() + b"\n")
            text = self._until_prompt(link)
        return text

    @staticmethod
    def _until_prompt(link):
        text = b""
        while not text.endswith(b"(qemu) "):
            part = link.recv(4096)
            if not part:
                break
            text += part
        return text.decode(errors="replace")

    def forward(self, protocol, address, port):
        """Forwards a free port of this machine's loopback to `address`:`port` on the emulated network; returns it.

        QEMU finds the way back of a datagram by the guest's address and port alone, so there must be only one forward to
        each; a second question gets the first one's port."""
        known = rf"{protocol.upper()}\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+{re.escape(address)}\s+{port}\s"
        found = re.search(known, self.monitor("info usernet"))
        if found:
            return int(found[1])
        here = free_port(socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        answer = self.monitor(f"hostfwd_add {protocol}:127.0.0.1:{here}-{address}:{port}")
        if "could not" in answer.lower() or "invalid" in answer.lower():
            raise RuntimeError(answer)
        return here
