"""Deploy and host with processes: a first deployment, an update, a broken image, reverts, an unsigned and a rewritten head."""
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
from http.client import HTTPSConnection

ONE_ACCOUNT = """domain = "example.org"

[[account]]
user = "anna"
admin = true

[network.home]
bridge = "none"
prefix = "127.0.0.0/8"
"""

MANIFEST = ONE_ACCOUNT + """
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
    def __init__(self, nymote, repository, signers, state, started, *words):
        self.log = open(state.parent / "host.log", "a+")
        self.process = subprocess.Popen([nymote, "host", "--repository", repository, "--signers", signers, "--state", state,
                                         "--interval", "1", *(words or ("--backend", "process", "--patience", "20"))],
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

    def deploy(message, *more, **other):
        paths = {**stripped, **other}
        words = [word for name, path in paths.items() for word in ("--image", f"{name}={path}")]
        done = subprocess.run([nymote, "deploy", file, "--repository", repository, "--key", key, "--json", "-m", message, *more, *words],
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
    time.sleep(3.5)
    check("it is not tried again until another is deployed", host.text()[mark:].count("rolled back") == 1, host.text()[mark:])
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

    people_change(check, deploy, host, file, at, ca, account)
    data_back(check, deploy, host, repository, key, at, ca, account, stripped, home)
    dying(check, deploy, host, at, ca, stripped, home)
    host = dying_at_boot(check, deploy, host, lambda: Host(nymote, repository, signers, state, started), at, ca, stripped, home)
    full_disk(check, nymote, home, repository, signers, started)

    host.process.terminate()
    check("SIGTERM ends the host and its processes", host.process.wait(timeout=30) == 0
          and wait(lambda: all(status(at[n], ca) == 0 for n in at)))
    hanging_xl(check, deploy, nymote, home, repository, signers, started, stripped, at, ca)


def people_change(check, deploy, host, file, at, ca, account):
    """An account that is new, gets another password, is gone: so on every machine, and what was not changed stays."""
    def carried_out(*words):
        mark = len(host.text())
        done = deploy(*words)
        runs = [f'"machine":"{name}","message":"runs as of {done.get("commit", "none")[:12]}' for name in at]
        return all([host.says(one, since=mark) for one in runs]), (done.get("accounts") or [{"user": "", "password": ""}])[0]

    enters = lambda one: [people(at[name], ca, one).ask("contacts", "GET", "/metrics")[0] for name in at]
    text = file.read_text()
    file.write_text(text.replace("[network.home]", '[[account]]\nuser = "ben"\nadmin = true\n\n[network.home]'))
    runs, ben = carried_out("ben too")
    check("an account that is deployed later enters every machine", runs and ben["user"] == "ben" and enters(ben) == [200, 200], host.text())
    runs, again = carried_out("another password for ben", "--new-password", "ben")
    check("a new password is good for every machine", runs and again["user"] == "ben" and enters(again) == [200, 200], host.text())
    check("and the old one for none", enters(ben) == [401, 401] and enters(account) == [200, 200])
    file.write_text(text)
    runs, _ = carried_out("without ben")
    check("an account that is no longer deployed enters no machine", runs and enters(again) == [401, 401] and enters(account) == [200, 200], host.text())


def people(at, ca, account):
    """The names of the cards in the first address book, by HTTP Basic."""
    import sys
    import pathlib
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    import journeys
    data = {"domain": "example.org", "address": "", "ca": ca, "endpoints": {"contacts": "https://%s:%d" % at}, **account}
    return journeys.Household(data)


def card(house, name):
    import journeys
    book = journeys.home(house, "contacts", "carddav", "urn:ietf:params:xml:ns:carddav")
    text = f"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{name}\r\nFN:{name}\r\nN:{name};;;;\r\nEND:VCARD\r\n"
    return book.rstrip("/") + f"/{name}.vcf", text


def data_back(check, deploy, host, repository, key, at, ca, account, stripped, home):
    """A release that spoiled data: revert takes image and data back, or the image alone."""
    house = people(at["contacts"], ca, account)
    path, text = card(house, "before")
    check("a contact is put before a release", house.ask("contacts", "PUT", path, text, Content_Type="text/vcard")[0] in (201, 204))
    newer = home / "newer"
    shutil.copy(stripped["contacts"], newer)
    with open(newer, "ab") as file:
        file.write(b"another release")
    mark = len(host.text())
    release = deploy("another release", contacts=newer).get("commit")
    check("the release runs", release and host.says('"machine":"contacts","message":"runs as of ' + release[:12], since=mark), host.text()[mark:])
    later, text = card(house, "after")
    check("a contact is put after it", house.ask("contacts", "PUT", later, text, Content_Type="text/vcard")[0] in (201, 204))
    there = lambda one: house.ask("contacts", "GET", one)[0] == 200
    git(repository, "revert", "--no-edit", "--no-commit", "HEAD")
    message = f"Revert the release\n\nThis reverts commit {release}.\nData: restore\n"
    mark = len(host.text())
    done = git(repository, "commit", "-q", "-m", message, key=key)
    check("a revert with `Data: restore` is followed", done.returncode == 0
          and host.says('"machine":"contacts","message":"data as it was before', since=mark)
          and host.says('"machine":"contacts","message":"runs as of ' + git(repository, "rev-parse", "HEAD").stdout[:12], since=mark), host.text()[mark:])
    answers = wait(lambda: status(at["contacts"], ca) == 200)
    check("the data is as it was before the release", answers and there(path) and not there(later),
          [answers, house.ask("contacts", "GET", path), house.ask("contacts", "GET", later), host.text()[mark:]])


def dying(check, deploy, host, at, ca, stripped, home):
    """A machine that answers and then dies, again and again: later each time, and the other one does not notice."""
    image = home / "dying"
    image.write_text(f'#!/bin/sh\n"{stripped["contacts"]}" "$@" &\nsleep 1.5\nkill -9 $!\nwait $!\necho it fell over >&2\n')
    image.chmod(0o755)
    mark = len(host.text())
    check("a machine that dies again and again is committed", deploy("dying", contacts=image).get("commit"))
    check("it is started again, later each time", host.says("started again in 500 ms", since=mark)
          and host.says("started again in 1000 ms", since=mark) and host.says("started again in 2000 ms", since=mark), host.text()[mark:])
    check("the other machine did not notice", status(at["calendar"], ca) == 200)
    check("the release after it is healthy", deploy("well again").get("commit")
          and wait(lambda: status(at["contacts"], ca) == 200 and "runs as of" in host.text()[mark:].split("2000 ms")[-1], 60), host.text()[mark:])


def dying_at_boot(check, deploy, host, another_host, at, ca, stripped, home):
    """A version that ran and dies at every boot from now on: later each time, across a new host too; well when its cause is gone."""
    image, poison = home / "moody", home / "poison"
    image.write_text(f'#!/bin/sh\n[ -e "{poison}" ] && {{ echo it cannot boot today >&2; exit 1; }}\nexec "{stripped["contacts"]}" "$@"\n')
    image.chmod(0o755)
    mark = len(host.text())
    commit = deploy("moody", contacts=image).get("commit") or "none"
    check("a moody version runs", host.says('"machine":"contacts","message":"runs as of ' + commit[:12], since=mark), host.text()[mark:])
    host.process.terminate()
    host.process.wait(timeout=30)
    poison.touch()
    mark = len(host.text())
    host = another_host()
    check("a machine that dies at boot is named with its last words, once a try", host.says("ended before it answered: it cannot boot today", since=mark)
          and host.says("started again in 500 ms", since=mark) and host.says("started again in 2000 ms", since=mark), host.text()[mark:])
    check("it was not tried more often than that", host.text()[mark:].count("it died") + host.text()[mark:].count("ended before") <= 4, host.text()[mark:])
    check("the other machine runs", wait(lambda: status(at["calendar"], ca) == 200))
    poison.unlink()
    check("when it can boot again it runs, by itself", wait(lambda: status(at["contacts"], ca) == 200, 60), host.text()[mark:])
    return host


def full_disk(check, nymote, home, repository, signers, started):
    """A host without room: a clear word, and the next look goes on where this one ended."""
    small = home / "small"
    small.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", small], capture_output=True).returncode != 0:
        print("skip a host without room: needs root and tmpfs", flush=True)
        return
    try:
        done = subprocess.run([nymote, "host", "--repository", repository, "--signers", signers, "--state", small, "--backend", "process", "--once"],
                              capture_output=True, text=True, timeout=120)
        text = done.stdout + done.stderr
        check("a host without room says so and ends with an error", done.returncode != 0 and ("No space" in text or "room" in text), text)
    finally:
        subprocess.run(["umount", "-l", small], check=False)


XL = """#!/usr/bin/env python3
# An xl that carries machines as processes: create, domid, shutdown, destroy. It hangs while HOME/hang is there.
import os, pathlib, signal, subprocess, sys, time
home = pathlib.Path(__file__).parent / "domains"
if (home / "hang").exists():
    time.sleep(600)
word, name = sys.argv[1], sys.argv[-1]
if word == "create":
    config = {}
    exec(open(name).read(), config)
    disk = config["disk"][0].split(",")[0].removeprefix("phy:")
    words = [word.replace("/dev/xvda", disk) for word in config["extra"].split() if word.startswith("--")]
    console = open(home / (config["name"] + ".log"), "ab")
    child = subprocess.Popen([config["kernel"], *words], stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True)
    (home / config["name"]).write_text(str(child.pid))
    sys.exit(0)
try:
    pid = int((home / name).read_text())
    if pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
        raise OSError
except (OSError, ValueError):
    sys.exit(f"Can't get domid of domain name '{name}', maybe this domain does not exist.")
if word in ("shutdown", "destroy"):
    os.kill(pid, signal.SIGTERM if word == "shutdown" else signal.SIGKILL)
print(pid)
"""


def hanging_xl(check, deploy, nymote, home, repository, signers, started, stripped, at, ca):
    """An xl that never answers: a deadline, a clear message, what ran keeps running; when it answers again the update goes on."""
    if subprocess.run(["losetup", "-f"], capture_output=True).returncode != 0:
        print("skip an xl that hangs: no loop devices here", flush=True)
        return
    xl, domains, state = home / "xl", home / "domains", home / "xen"
    domains.mkdir()
    xl.write_text(XL)
    xl.chmod(0o755)
    mark = len((home / "host.log").read_text())
    host = Host(nymote, repository, signers, state, started, "--backend", "xl", "--xl", xl, "--xl-deadline", "2", "--patience", "30")
    try:
        check("machines run by an xl", host.says('"machine":"contacts","message":"runs as of', since=mark)
              and host.says('"machine":"calendar","message":"runs as of', since=mark), host.text()[mark:])
        ca = state / "ca.pem"
        mark, before = len(host.text()), (domains / "nymote-contacts").read_text()
        (domains / "hang").touch()
        newer = home / "newer-by-xl"
        shutil.copy(stripped["contacts"], newer)
        with open(newer, "ab") as file:
            file.write(b"a release while xl hangs")
        release = deploy("while xl hangs", contacts=newer).get("commit") or "none"
        check("an xl that hangs is killed at its deadline", host.says("xl did not answer within 2 s and was killed", since=mark)
              and host.says("the version before it runs on", since=mark), host.text()[mark:])
        check("what ran keeps running", all(status(at[n], ca) == 200 for n in at))
        (domains / "hang").unlink()
        check("when xl answers again the update is carried out", host.says('"machine":"contacts","message":"runs as of ' + release[:12], since=mark)
              and (domains / "nymote-contacts").read_text() != before and status(at["contacts"], ca) == 200, host.text()[mark:])
        host.process.terminate()
        check("SIGTERM ends the host, its domains run on", host.process.wait(timeout=30) == 0 and all(status(at[n], ca) == 200 for n in at))
    finally:
        (domains / "hang").unlink(missing_ok=True)
        for name in at:
            subprocess.run([xl, "destroy", f"nymote-{name}"], capture_output=True, timeout=60)
            for device in subprocess.run(["losetup", "-n", "-O", "NAME", "-j", state / "machines" / name / "disk"], capture_output=True, text=True).stdout.split():
                wait(lambda: subprocess.run(["losetup", "-d", device], capture_output=True).returncode == 0, 10)


def wait(condition, within=30):
    end = time.monotonic() + within
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


HOUSEHOLD = ONE_ACCOUNT + """
[service.mail]
disk = "64 MB"
network = "home"
address = "127.7.7.14"
ports = { web = %(web)d, smtp = %(smtp)d, submission = %(submission)d, submissions = %(submissions)d, imap = %(imap)d, imaps = %(imaps)d }

[service.signpost]
disk = "64 MB"
network = "home"
address = "127.7.7.15"
ports = { web = %(names)d, dns = %(dns)d, dot = %(dot)d }
"""


def published(check, nymote, program, place, started):
    """The household's records in its zone, kept there by the host of machines."""
    import dane
    home = place / "published"
    home.mkdir()
    images = {name: program(package, package) for name, package in (("mail", "mail"), ("signpost", "signpost-dns"))}
    port = {name: free_port() for name in ("web", "smtp", "submission", "submissions", "imap", "imaps", "names", "dns", "dot")}
    file, repository, key, signers, state = (home / n for n in ("nymote.toml", "deployment", "key", "signers", "state"))
    stripped = {}
    for name, path in images.items():
        stripped[name] = home / name
        subprocess.run(["strip", "-o", stripped[name], path], check=True, timeout=120)

    def deploy(text, message):
        file.write_text(text)
        words = [word for name, path in stripped.items() for word in ("--image", f"{name}={path}")]
        done = subprocess.run([nymote, "deploy", file, "--repository", repository, "--key", key, "--json", "-m", message, *words],
                              capture_output=True, text=True, timeout=120)
        return json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr}

    def dig(name, rtype):
        said = subprocess.run(["dig", "@127.7.7.15", "-p", str(port["dns"]), "+short", "+tries=1", "+time=2", name, rtype],
                              capture_output=True, text=True, timeout=20)
        return said.stdout.strip()

    def comes(name, rtype, words, within=90):
        end = time.monotonic() + within
        while time.monotonic() < end and words not in dig(name, rtype):
            time.sleep(0.2)
        return words in dig(name, rtype)

    first = deploy(HOUSEHOLD % port, "the first")
    if not check("mail and signpost are deployed", first.get("commit"), first):
        return
    signers.write_text(first["signer"] + "\n")
    host = Host(nymote, repository, signers, state, started, "--backend", "process", "--patience", "20", "--publish")
    data = {"endpoints": {"dns": f"127.7.7.15:{port['dns']}", "smtp": f"127.7.7.14:{port['smtp']}"}}
    check("the host publishes who takes the household's mail", comes("example.org", "MX", "10 mail.example.org.") and dig("mail.example.org", "A") == "127.7.7.14", host.text()[-600:])
    check("a key of DKIM", comes("ed25519._domainkey.example.org", "TXT", "v=DKIM1"), host.text()[-600:])
    check("SPF, DMARC and where programs find it", "v=spf1" in dig("example.org", "TXT") and "v=DMARC1" in dig("_dmarc.example.org", "TXT") and dig("_imaps._tcp.example.org", "SRV") == f"0 1 {port['imaps']} mail.example.org.")
    comes("_25._tcp.mail.example.org", "TLSA", "3 1 1")
    known = dane.records(data)
    check("and the key of mail's certificate, which OpenSSL finds there", dane.trusts(data, known), known)
    mark = len(host.text())
    check("mail is deployed anew", deploy(HOUSEHOLD % port + "\n[service.mail.settings]\nmessage_bytes_max = 12345678\n", "settings").get("commit"))
    check("and runs", host.says('"machine":"mail","message":"runs as of', since=mark), host.text()[mark:])
    check("with the same key", dane.trusts(data, known) and dane.records(data) == known, dane.records(data))
    host.process.terminate()
    host.process.wait(20)
