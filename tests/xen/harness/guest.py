"""One guest domain: its configuration, its console, its end."""

import itertools
import re
import time

from . import say
from .host import DEADLINE_S, Deadline

_numbers = itertools.count(21)


class Guest:
    """A PV domain named `name` on `host`. Keeps nothing on the host after `destroy`."""

    def __init__(self, host, name, image, memory_mb=32, extra="", disks=(), network=True, address=None, ramdisk=None,
                 on_crash="destroy", on_reboot="restart", config=""):
        self.host, self.name = host, name
        self.address = address or f"10.0.2.{next(_numbers)}"
        self.log = f"/var/log/xen/guest-{name}.log"
        lines = [f'name = "{name}"', f"memory = {memory_mb}", f"maxmem = {memory_mb}", f'kernel = "{image}"',
                 'type = "pv"', "vcpus = 1", 'cpus = "1"', f"extra = '{extra}'", 'on_poweroff = "destroy"',
                 f'on_reboot = "{on_reboot}"', f'on_crash = "{on_crash}"', config]
        if ramdisk:
            lines.append(f'ramdisk = "{ramdisk}"')
        if network:
            last = int(self.address.rsplit(".", 1)[1])
            lines.append(f"vif = [ 'bridge=br0,mac=02:00:00:00:00:{last:02x}' ]")
        if disks:
            lines.append(f"disk = {list(disks)!r}")
        self.config = "\n".join(lines) + "\n"

    def create(self, paused=False, deadline_s=DEADLINE_S):
        """`xl create`; the old console log of that name is dropped."""
        self.host.put(f"/guests/{self.name}.cfg", self.config)
        # The daemon keeps the log open, so it is truncated and not removed.
        self.host.sh(f"[ -e {self.log} ] && : >{self.log}; true")
        flag = "-p" if paused else ""
        self.host.sh(f"xl create {flag} /guests/{self.name}.cfg", deadline_s)
        return self

    def console(self):
        """What the guest wrote to its console so far."""
        try:
            return self.host.get(self.log).decode(errors="replace")
        except RuntimeError:
            return ""

    def wait_console(self, pattern, deadline_s=DEADLINE_S):
        """Waits until the console shows `pattern` (a regular expression); returns the match."""
        end = time.monotonic() + deadline_s
        while True:
            text = self.console()
            found = re.search(pattern, text)
            if found:
                return found
            if time.monotonic() > end:
                raise Deadline(f"{self.name}: no {pattern!r} on its console within {deadline_s} s:\n{text[-3000:]}")
            time.sleep(0.2)

    def state(self):
        """xl's letters for the domain (`r-----`, `-b----`, …), or None when it is gone."""
        status, output = self.host.sh_status(f"xl list {self.name}")
        return output.split()[-2] if status == 0 else None

    def wait_state(self, letter, deadline_s=DEADLINE_S):
        """Waits until xl shows `letter` among the domain's states (`c`: crashed)."""
        end = time.monotonic() + deadline_s
        while letter not in (self.state() or ""):
            if time.monotonic() > end:
                raise Deadline(f"{self.name} is {self.state()} after {deadline_s} s:\n{self.console()[-3000:]}")
            time.sleep(0.3)

    def wait_gone(self, deadline_s=DEADLINE_S):
        """Waits until the domain ended and was cleaned away."""
        end = time.monotonic() + deadline_s
        while self.state() is not None:
            if time.monotonic() > end:
                raise Deadline(f"{self.name} still runs after {deadline_s} s:\n{self.console()[-3000:]}")
            time.sleep(0.3)

    def id(self):
        """The domain's number."""
        return int(self.host.sh(f"xl domid {self.name}"))

    def cpu_ns(self):
        """CPU time the domain used so far."""
        return int(self.host.sh(f"domain cpu {self.id()}"))

    def destroy(self):
        """Ends it if it still runs."""
        self.host.sh_status(f"xl destroy {self.name}; true")
