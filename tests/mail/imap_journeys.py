"""IMAP with the clients that people use: mbsync both ways, neomutt, offlineimap, imaplib, curl; and with those that nobody wants."""

import imaplib
import os
import pathlib
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from appliance import PASSWORD, Appliance, Checks, nymote, tls, until  # noqa: E402
from wire import Wire  # noqa: E402

check = Checks()
LONG = os.environ.get("NYMOTE_LONG") == "1"


def want(condition, *seen):
    """A check that says what it saw when it fails."""
    if not condition:
        raise AssertionError(seen)


def message(n, size=200):
    return f"From: a{n % 9}@far.test\r\nTo: anna@home.test\r\nSubject: number {n}\r\nMessage-ID: <n{n}@far.test>\r\nDate: Mon, 5 Jan 2026 10:00:{n % 60:02} +0000\r\n\r\n{'text ' * (size // 5)}of {n}\r\n".encode()


def wire(box, user="anna"):
    return Wire(box.address("imap"), user, PASSWORD)


def login(box, user="anna"):
    m = imaplib.IMAP4_SSL(*box.address("imaps"), ssl_context=tls(), timeout=60)
    m.login(user, PASSWORD)
    return m


def fill(box, user, mailbox, numbers):
    w = wire(box, user)
    numbers = list(numbers)
    for at in range(0, len(numbers), 500):
        w.append_many(mailbox, [message(n) for n in numbers[at:at + 500]])
    w.close()


def on_server(box, user, mailbox="INBOX"):
    """Message-ID to flags."""
    m = login(box, user)
    m.select(mailbox, readonly=True)
    found, key = {}, None
    for part in m.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")[1] or []:
        if isinstance(part, tuple):
            flags = set(re.search(rb"FLAGS \(([^)]*)\)", part[0])[1].decode().split()) - {"\\Recent"}
            found[re.search(rb"<(.*)>", part[1])[1].decode()] = flags
    m.logout()
    return found


def in_maildir(path):
    found = {}
    for folder in ("cur", "new"):
        for file in (path / folder).iterdir():
            flags = file.name.split(":2,")[1] if ":2," in file.name else ""
            names = {"S": "\\Seen", "F": "\\Flagged", "R": "\\Answered", "T": "\\Deleted", "D": "\\Draft"}
            found[re.search(rb"Message-ID: <(.*)>", file.read_bytes())[1].decode()] = ({names[f] for f in flags if f in names}, file)
    return found


def mbsync(box):
    """Half of the messages here, half there; then flags and deletions on both sides."""
    count = 10_000 if LONG else 600
    home = pathlib.Path(tempfile.mkdtemp(prefix="nymote-mbsync-"))
    maildir = home / "mail" / "INBOX"
    for folder in ("cur", "new", "tmp"):
        (maildir / folder).mkdir(parents=True)
    for n in range(count // 2):
        (maildir / "cur" / f"{n}.x.local:2,{'S' if n % 2 else ''}").write_bytes(message(n).replace(b"\r\n", b"\n"))
    fill(box, "ben", "INBOX", range(count // 2, count))
    host, port = box.address("imap")
    (home / "rc").write_text(f"IMAPAccount b\nHost {host}\nPort {port}\nUser ben\nPass \"{PASSWORD}\"\nSSLType None\nAuthMechs LOGIN\n\nIMAPStore r\nAccount b\n\n"
                             f"MaildirStore l\nPath {home}/mail/\nInbox {maildir}\nSubFolders Verbatim\n\nChannel c\nFar :r:\nNear :l:\nPatterns INBOX\nSync All\nCreate Both\nExpunge Both\nSyncState *\n")
    def run():
        done = subprocess.run(["mbsync", "-c", home / "rc", "-a"], capture_output=True, text=True, timeout=500)
        want(done.returncode == 0, done.stderr[-300:])
        return on_server(box, "ben"), in_maildir(maildir)

    def agree(wanted):
        server, local = run()
        want(len(server) == wanted and server.keys() == local.keys(), len(server), len(local), sorted(server.keys() ^ local.keys())[:5])
        differing = {key: (server[key], flags) for key, (flags, _) in local.items() if server[key] != flags}
        want(not differing, len(differing), list(differing.items())[:3])

    def change():
        """Flags and deletions, here and there."""
        local = [file for _, (_, file) in sorted(in_maildir(maildir).items())]
        for file in local[:50]:
            file.rename(maildir / "cur" / f"{file.name.split(':2,')[0]}:2,FS")
        for file in local[50:60]:
            file.unlink()
        m = login(box, "ben")
        m.select("INBOX")
        m.uid("STORE", "1:40", "+FLAGS", "(\\Answered)")
        taken = set(on_server(box, "ben"))
        m.uid("STORE", f"{count - 20}:{count}", "+FLAGS", "(\\Deleted)")
        m.expunge()
        m.logout()
        gone = taken - set(on_server(box, "ben"))
        want(len(gone) == 21, len(gone))

    try:
        check(f"mbsync brings {count} messages together, with their flags", lambda: agree(count))
        before = {key for key in in_maildir(maildir)}
        change()
        left = before & set(in_maildir(maildir)) & set(on_server(box, "ben"))
        check("changes of both sides reach the other", lambda: agree(len(left)))
        check("and there is nothing left to do", lambda: agree(len(left)))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def offlineimap(box):
    if not shutil.which("offlineimap"):
        print("skip offlineimap is not installed")
        return
    home = pathlib.Path(tempfile.mkdtemp(prefix="nymote-offlineimap-"))
    host, port = box.address("imap")
    (home / "rc").write_text(f"[general]\naccounts = a\nmetadata = {home}/meta\nui = quiet\n[Account a]\nlocalrepository = l\nremoterepository = r\n[Repository l]\ntype = Maildir\nlocalfolders = {home}/mail\n"
                             f"[Repository r]\ntype = IMAP\nremotehost = {host}\nremoteport = {port}\nssl = no\nstarttls = no\nremoteuser = anna\nremotepass = {PASSWORD}\nfolderfilter = lambda f: f == 'Off'\n")
    try:
        w = wire(box)
        w.say("CREATE Off")
        w.append_many("Off", [message(n) for n in range(50)])
        done = subprocess.run(["offlineimap", "-c", home / "rc", "-o"], capture_output=True, text=True, timeout=200, env={**os.environ, "HOME": str(home)})
        local = in_maildir(home / "mail" / "Off")
        check("offlineimap fetches a mailbox", lambda: want(done.returncode == 0 and len(local) == 50, done.stderr[-300:]))
        next(iter(local.values()))[1].unlink()
        done = subprocess.run(["offlineimap", "-c", home / "rc", "-o"], capture_output=True, text=True, timeout=200, env={**os.environ, "HOME": str(home)})
        check("and takes a deletion back", lambda: want(done.returncode == 0 and len(on_server(box, "anna", "Off")) == 49, done.stderr[-300:]))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def neomutt(box):
    """A terminal, in which the third message is flagged and one is saved to Archive."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="nymote-mutt-"))
    host, port = box.address("imap")
    w = wire(box)
    w.say("CREATE Mutt")
    w.append_many("Mutt", [message(n) for n in range(5)])
    (home / "rc").write_text(f"set imap_user=anna imap_pass=\"{PASSWORD}\" ssl_starttls=no ssl_force_tls=no folder=imap://{host}:{port} spoolfile=imap://{host}:{port}/Mutt\n"
                             "set imap_authenticators=login header_cache='' confirmappend=no delete=yes move=no mark_old=no wait_key=no sort=mailbox-order imap_condstore=yes imap_qresync=yes timeout=1\n"
                             "push \"3<enter><flag-message>1<enter><save-message>=Archive<enter><sync-mailbox><quit>\"\n")
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe("neomutt", ["neomutt", "-n", "-F", str(home / "rc")], {**os.environ, "TERM": "xterm", "HOME": str(home)})
    screen, end = b"", time.time() + 40
    try:
        while time.time() < end:
            if select.select([terminal], [], [], 0.5)[0]:
                try:
                    more = os.read(terminal, 65536)
                except OSError:
                    break
                if not more:
                    break
                screen += more
        flags = on_server(box, "anna", "Mutt")
        check("neomutt flags a message", lambda: want("\\Flagged" in flags.get("n2@far.test", set()), flags, screen[-400:]))
        check("neomutt saves one to another mailbox", lambda: want("n0@far.test" not in flags and "n0@far.test" in on_server(box, "anna", "Archive"), flags, screen[-400:]))
    finally:
        try:
            os.kill(child, 9)
        except ProcessLookupError:
            pass
        os.waitpid(child, 0)
        os.close(terminal)
        shutil.rmtree(home, ignore_errors=True)


def python_and_curl(box):
    m = login(box)
    m.create("Py")
    check("imaplib appends", lambda: b"APPENDUID" in m.append("Py", "(\\Flagged)", imaplib.Time2Internaldate(1_700_000_000), message(1))[1][0])
    m.select("Py")
    check("and reads the same bytes", lambda: m.fetch("1", "(RFC822)")[1][0][1] == message(1))
    check("and the date", lambda: b"14-Nov-2023 22:13:20 +0000" in m.fetch("1", "(INTERNALDATE)")[1][0])
    check("and finds it", lambda: m.uid("SEARCH", "CHARSET", "UTF-8", "BODY", '"of 1"')[1] == [b"1"])
    check("copies, deletes and expunges", lambda: m.copy("1", "Archive")[0] == "OK" and m.store("1", "+FLAGS", "\\Deleted")[0] == "OK" and m.expunge()[1] == [b"1"])
    m.logout()
    host, port = box.address("imaps")
    curl = lambda path, *more: subprocess.run(["curl", "-sS", "-k", "-u", f"anna:{PASSWORD}", f"imaps://{host}:{port}/{path}", *more], capture_output=True, timeout=60)
    with tempfile.NamedTemporaryFile() as file:
        file.write(message(77))
        file.flush()
        check("curl appends", lambda: curl("Py", "-T", file.name).returncode == 0)
    check("curl searches", lambda: b"* SEARCH 1" in curl("Py", "-X", "SEARCH SUBJECT 77").stdout)
    check("curl fetches", lambda: curl("Py;UID=2").stdout == message(77))
    check("curl reads a section", lambda: b"Subject: number 77" in curl("Py;UID=2;SECTION=HEADER.FIELDS%20(SUBJECT)").stdout)


def sessions_together(box):
    one, two = wire(box), wire(box)
    one.say("CREATE Shared")
    one.say("SELECT Shared")
    two.say("SELECT Shared")
    one.idle()
    two.append("Shared", message(1), True)
    check("an idling session hears of a message", lambda: b"* 1 EXISTS" in one.until(b"* 1 EXISTS"))
    two.say("STORE 1 +FLAGS (\\Flagged)")
    check("and of a flag", lambda: one.until(b"* 1 FETCH"))
    two.say("RENAME Shared Renamed")
    two.append("Renamed", message(2), True)
    check("and stays through a rename", lambda: one.until(b"* 2 EXISTS"))
    one.socket.sendall(b"DONE\r\n")
    one.until(b"zq")


def hostile(box):
    address = box.address("imap")

    def injection():
        s = socket.create_connection(address, timeout=20)
        s.recv(4000)
        s.sendall(b"a STARTTLS\r\nb CREATE injected\r\nc LOGIN anna wrong\r\n")
        s.recv(1000)
        t = tls().wrap_socket(s)
        t.sendall(b"d NOOP\r\n")
        answer = t.recv(1000)
        return answer.startswith(b"d OK") and b"b " not in answer
    check("what was sent before TLS is not read after it", injection)

    def crowd():
        w = wire(box)
        many = [socket.create_connection(address, timeout=30) for _ in range(1000)]
        good = b"OK" in w.say("NOOP")[-1] and b"OK" in wire(box).say("SELECT INBOX")[-1]
        for s in many:
            s.close()
        return good and b"OK" in wire(box).say("NOOP")[-1]
    check("a thousand connections of this machine that say nothing keep nobody out", crowd)

    def stranger():
        own = next((a for a in subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split() if "." in a), None)
        if own is None:
            return print("skip this machine has no address but loopback")
        many, greeted = [], 0
        for _ in range(1000):
            s = socket.create_connection((own, address[1]), timeout=30)
            many.append(s)
        for s in many:
            try:
                greeted += s.recv(100).startswith(b"* OK")
            except OSError:
                pass
        good = b"OK" in wire(box).say("SELECT INBOX")[-1]
        for s in many:
            s.close()
        want(greeted == 100 and good, greeted, good)
    check("of a thousand from another address a hundred are let in, and others are served meanwhile", stranger)

    def stuck():
        w = wire(box)
        w.say("CREATE Stuck")
        w.append_many("Stuck", [message(n, 20_000) for n in range(200)])
        w.say("SELECT Stuck")
        w.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(20):
            w.send("FETCH 1:* BODY.PEEK[]")
        time.sleep(1)
        began = time.time()
        other = wire(box)
        good = b"OK" in other.say("SELECT Stuck")[-1]
        w.close()
        return good and time.time() - began < 20
    check("a client that does not read keeps nobody waiting", stuck)

    def bomb():
        text = b"Subject: bomb\r\nFrom: " + b"a " * 1_000_000 + b"\r\nContent-Type: multipart/mixed; boundary=b" + b"; x=y" * 300_000 + b"\r\n\r\n"
        text += b"".join(b"--b\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % n for n in range(1000))
        text += b"--b\r\n\r\nx\r\n" * ((10_000_000 - len(text)) // 10)
        w = wire(box)
        w.say("CREATE Bomb")
        w.append("Bomb", text, True)
        w.say("SELECT Bomb")
        w.drain("FETCH 1 (ENVELOPE BODYSTRUCTURE)")
        w.drain("SEARCH TEXT bombastic")
        return w.drain("FETCH 1 BODY.PEEK[]") > len(text)
    check("10 MB of words, parameters and parts are taken, shown and given back", bomb)


def killed(box):
    """kill -9 in the middle of APPENDs: every one that was answered OK is there."""
    answered, stop = [], threading.Event()

    def send(n):
        try:
            w, i = wire(box, "ben"), 0
            while not stop.is_set():
                w.append("Archive", message(1_000_000 + n * 100_000 + i), True)
                answered.append(f"n{1_000_000 + n * 100_000 + i}@far.test")
                i += 1
        except (OSError, EOFError, RuntimeError):
            pass

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    [t.start() for t in threads]
    time.sleep(1.5)
    box.kill()
    stop.set()
    [t.join() for t in threads]
    box.start()
    there = on_server(box, "ben", "Archive")
    check(f"kill -9 after {len(answered)} APPENDs loses none", lambda: len(answered) > 0 and not [key for key in answered if key not in there])


def restored(box):
    """The data goes back to an earlier state: clients that have seen more must start anew."""
    if not nymote():
        print("skip restored: the program nymote is not built (cargo build -p nymote, or NYMOTE)")
        return
    w = wire(box, "ben")
    w.say("CREATE Old")
    w.append("Old", message(1), True)
    w.close()
    box.stop()
    shutil.copy(box.dir / "store", box.dir / "store.older")
    box.start()
    w = wire(box, "ben")
    w.append("Old", message(2), True)
    seen = int(re.search(rb"UIDVALIDITY (\d+)", b" ".join(w.say("STATUS Old (UIDVALIDITY)")))[1])
    w.close()
    box.stop()
    os.replace(box.dir / "store.older", box.dir / "store")
    put = subprocess.run([nymote(), "store", "put", box.dir / "store", "older", "-", "--branch", "config"], input=b"restored\n", capture_output=True)
    box.start()
    w = wire(box, "ben")
    w.append("Old", message(3), True)
    now = int(re.search(rb"UIDVALIDITY (\d+)", b" ".join(w.say("STATUS Old (UIDVALIDITY)")))[1])
    check("after an older copy was restored UID 2 is not what it was: UIDVALIDITY is above", lambda: want(put.returncode == 0 and now > seen, now, seen, put.stderr))
    check("and its messages are there", lambda: want(set(on_server(box, "ben", "Old")) == {"n1@far.test", "n3@far.test"}))


def main():
    box = Appliance(settings="plaintext_login = true\n")
    try:
        check.parts((python_and_curl, sessions_together, mbsync, offlineimap, neomutt, hostile, killed, restored), box)
    finally:
        box.end()
    check.end()


main()
