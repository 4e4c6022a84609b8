"""Wires, and programs at their ends."""
import os
import signal
import subprocess
import threading
import time

import images

OUTSIDE, INSIDE = "10.9.0.1", "10.9.0.2"
OUTSIDE6, INSIDE6 = "fd09::1", "fd09::2"
STATIC = [f"ip={INSIDE}/24", f"ip6={INSIDE6}/64"]


def sh(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Wire:
    """One link between the outside (this namespace) and a machine."""

    def __init__(self, kind, addressed=True):
        self.kind, self.holder, self.far = kind, None, []
        if kind == "tap":
            sh("ip", "tuntap", "add", "dev", "wire0", "mode", "tap", "vnet_hdr")
        else:
            sh("ip", "link", "add", "wire0", "type", "veth", "peer", "name", "wire1")
            self.holder = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
            self.far = ["nsenter", "-t", str(self.holder.pid), "--net"]
            for _ in range(100):
                here = os.readlink("/proc/self/ns/net")
                if os.readlink(f"/proc/{self.holder.pid}/ns/net") != here:
                    break
                time.sleep(0.02)
            sh("ip", "link", "set", "wire1", "netns", str(self.holder.pid))
            sh(*self.far, "ip", "link", "set", "lo", "up")
            if kind == "veth":
                sh(*self.far, "ip", "address", "add", f"{INSIDE}/24", "dev", "wire1")
                sh(*self.far, "ip", "address", "add", f"{INSIDE6}/64", "dev", "wire1", "nodad")
            else:
                # The hosted machine answers for itself: Linux keeps silent behind its packet socket.
                sh(*self.far, "sysctl", "-q", "-w", "net.ipv6.conf.wire1.disable_ipv6=1")
            sh(*self.far, "ip", "link", "set", "wire1", "up")
        if addressed:
            sh("ip", "address", "add", f"{OUTSIDE}/24", "dev", "wire0")
            sh("ip", "address", "add", f"{OUTSIDE6}/64", "dev", "wire0", "nodad")
        sh("ip", "link", "set", "wire0", "up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.holder:
            self.holder.kill()
            self.holder.wait()
        subprocess.run(["ip", "link", "delete", "wire0"], stderr=subprocess.DEVNULL)


class Program:
    """A program at the far end of a wire, with its console as lines."""

    def __init__(self, service, target, wire=None, arguments=(), environment=None, memory=64, disk=None, offload=True, loss=0):
        environment = dict(environment or {})
        process = {"PATH": os.environ["PATH"]}
        if target == "unix":
            words = [images.path(service, target), *arguments]
            words = [*(wire.far if wire else []), *words]
            process.update(environment)
            if disk:
                process["EXAM_DISK"] = disk
        else:
            if disk:
                environment["EXAM_DISK"] = "/dev/xvda"
                process["NYMOTE_DISKS"] = disk
            settings = [word for word in arguments if word.startswith("ip")]
            others = [word for word in arguments if not word.startswith("ip")]
            words = [images.path(service, target), *settings, *(f"{k}={v}" for k, v in environment.items()), "--", *others]
            if wire:
                device = "tap:wire0" if wire.kind == "tap" else "packet:wire1"
                process["NYMOTE_CARDS"] = device
                words = [*wire.far, *words]
            process["NYMOTE_MEMORY"] = str(memory)
            process["NYMOTE_LOSS"] = str(loss)
            process["NYMOTE_OFFLOAD"] = "on" if offload else "off"
        self.lines, self.changed = [], threading.Condition()
        self.process = subprocess.Popen(
            words, env=process, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def wait_line(self, part, seconds=30):
        """The first line that holds `part`, or None at the deadline or the program's end."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                for line in self.lines:
                    if part in line:
                        return line
                left = deadline - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self.reader.is_alive()):
                    return None
                self.changed.wait(min(left, 0.2))

    def end(self, seconds=60):
        """Waits for the program's end; its exit code, None when it had to be killed."""
        try:
            code = self.process.wait(seconds)
            self.reader.join(5)
            return code
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def transcript(self):
        """What the program itself said."""
        return images.said(self.lines)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
