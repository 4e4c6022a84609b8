"""Deploy and host with processes: a first deployment, an update, a broken image, reverts, an unsigned and a rewritten head."""
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
from http.client import HTTPSConnection

MANIFEST = """domain = "example.org"

[[account]]
user = "anna"
admin = true

[network.home]
bridge = "none"
prefix = "127.0.0.0/8"

[service.contacts]
disk = "64 MB"
network = "home"
address = "127.7.7.12"
ports = { web = %d }

[service.calendar]
disk = "64 MB"
network = "home"
address = "127.7.7.13"
ports = { web = %d }
"""


def free_port():
    import socket
    with socket.create_server(("127.7.7.12", 0)) as server:
        return server.getsockname()[1]


class Host:
    def __init__(self, nymote, repository, signers, state, started):
        self.log = open(state.parent / "host.log", "a+")
        self.process = subprocess.Popen([nymote, "host", "--repository", repository, "--signers", signers, "--state", state,
                                         "--backend", "process", "--interval", "1", "--patience", "20"],
                                        stdout=self.log, stderr=subprocess.STDOUT)
        started.append(self.process)

    def text(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def says(self, words, within=60, since=0):
        end = time.monotonic() + within
        while time.monotonic() < end:
            if words in self.text()[since:]:
                return True
            time.sleep(0.1)
        return False


def git(repository, *words, key=None):
    command = ["git", "-C", repository, "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "gpg.format=ssh"]
    if key:
        command += ["-c", f"user.signingkey={key}", "-c", "commit.gpgsign=true"]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=60)


def status(at, ca, path="/healthz", headers=None):
    try:
        connection = HTTPSConnection(*at, context=ssl.create_default_context(cafile=ca), timeout=10)
        connection.request("GET", path, headers=headers or {})
        return connection.getresponse().status
    except OSError:
        return 0


def journey(check, nymote, program, place, started):
    import base64
    home = place / "deploy"
    home.mkdir()
    images = {name: program(name, name) for name in ("contacts", "calendar")}
    web = {"contacts": free_port(), "calendar": free_port()}
    file, repository, key, signers, state = (home / n for n in ("nymote.toml", "deployment", "key", "signers", "state"))
    file.write_text(MANIFEST % (web["contacts"], web["calendar"]))
    at = {"contacts": ("127.7.7.12", web["contacts"]), "calendar": ("127.7.7.13", web["calendar"])}
    stripped = {}
    for name, path in images.items():
        stripped[name] = home / name
        subprocess.run(["strip", "-o", stripped[name], path], check=True, timeout=120)

    def deploy(message, **other):
        paths = {**stripped, **other}
        words = [word for name, path in paths.items() for word in ("--image", f"{name}={path}")]
        done = subprocess.run([nymote, "deploy", file, "--repository", repository, "--key", key, "--json", "-m", message, *words],
                              capture_output=True, text=True, timeout=120)
        return json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr}

    first = deploy("the first")
    if not check("deploy commits and shows the account's password once", first.get("commit") and first["accounts"], first):
        return
    signers.write_text(first["signer"] + "\n")
    check("deploying the same again changes nothing", deploy("again").get("commit") is None)
    host = Host(nymote, repository, signers, state, started)
    check("the host starts both machines", host.says('"machine":"contacts","message":"runs as of')
          and host.says('"machine":"calendar","message":"runs as of'), host.text())
    ca = state / "ca.pem"
    check("they answer, with a certificate of the host's authority", all(status(at[n], ca) == 200 for n in at))
    account = first["accounts"][0]
    login = {"Authorization": "Basic " + base64.b64encode(f"{account['user']}:{account['password']}".encode()).decode()}
    check("the account enters both", all(status(at[n], ca, "/metrics", login) == 200 for n in at))

    mark = len(host.text())
    broken = home / "broken"
    broken.write_text("#!/bin/sh\necho this image cannot run >&2\nexit 1\n")
    broken.chmod(0o755)
    check("an update with a broken image is committed", deploy("broken", contacts=broken).get("commit"))
    check("it rolls itself back", host.says("rolled back", since=mark), host.text()[mark:])
    check("and says why", "this image cannot run" in host.text()[mark:], host.text()[mark:])
    check("what ran runs", all(status(at[n], ca) == 200 for n in at))

    mark = len(host.text())
    reverted = git(repository, "revert", "--no-edit", "HEAD", key=key)
    check("git revert, signed, is followed", reverted.returncode == 0, reverted.stderr)
    time.sleep(2.5)
    check("and everything runs after it", all(status(at[n], ca) == 200 for n in at) and "error" not in host.text()[mark:], host.text()[mark:])

    mark = len(host.text())
    good = git(repository, "rev-parse", "HEAD").stdout.strip()
    git(repository, "commit", "--allow-empty", "-m", "unsigned", "--no-gpg-sign")
    check("an unsigned commit is refused", host.says("is not signed by an allowed key", since=mark), host.text()[mark:])
    check("what ran runs on", all(status(at[n], ca) == 200 for n in at))
    mark = len(host.text())
    git(repository, "reset", "-q", "--hard", first["commit"])
    git(repository, "commit", "--allow-empty", "-q", "-m", "another history", key=key)
    check("a rewritten history is refused", host.says("the history was rewritten", since=mark), host.text()[mark:])
    git(repository, "reset", "-q", "--hard", good)

    pids = subprocess.run(["pgrep", "-f", str(state / "machines" / "calendar")], capture_output=True, text=True).stdout.split()
    own = [pid for pid in pids if f"{state}/machines/calendar/disk" in open(f"/proc/{pid}/cmdline").read()]
    for pid in own:
        os.kill(int(pid), signal.SIGKILL)
    mark = len(host.text())
    check("a machine that dies is started again", bool(own) and host.says("started again", since=0)
          and wait(lambda: status(at["calendar"], ca) == 200), host.text()[mark:])

    mark = len(host.text())
    text = file.read_text()
    file.write_text(text[:text.index("[service.calendar]")])
    calendar = stripped.pop("calendar")
    deploy("without a calendar")
    check("a machine that is no longer deployed stops, its disk stays", host.says("no longer deployed", since=mark)
          and (state / "machines" / "calendar" / "disk").exists(), host.text()[mark:])
    stripped["calendar"] = calendar
    file.write_text(text)
    deploy("the calendar again")
    check("deployed again, it is back with its accounts", wait(lambda: status(at["calendar"], ca, "/metrics", login) == 200))

    host.process.terminate()
    check("SIGTERM ends the host and its processes", host.process.wait(timeout=30) == 0
          and wait(lambda: all(status(at[n], ca) == 0 for n in at)))
    hanging_xl(check, nymote, home, repository, signers, started)


def hanging_xl(check, nymote, home, repository, signers, started):
    """An xl that never answers must not hang the host: a deadline, a clear message."""
    xl = home / "xl"
    xl.write_text("#!/bin/sh\nexec sleep 600\n")
    xl.chmod(0o755)
    if os.environ.get("NYMOTE_LONG") != "1":
        print("skip an xl that hangs: 30 s a word, in the long form", flush=True)
        return
    begun = time.monotonic()
    done = subprocess.run([nymote, "host", "--repository", repository, "--signers", signers, "--state", home / "xen",
                           "--xl", xl, "--once", "--patience", "5"], capture_output=True, text=True, timeout=400)
    check("an xl that hangs is killed at its deadline", "did not answer within" in done.stdout + done.stderr
          and time.monotonic() - begun < 390, done.stdout + done.stderr)


def wait(condition, within=30):
    end = time.monotonic() + within
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False
