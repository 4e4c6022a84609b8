"""Two servers of one account, forwarding with rewritten senders and ARC, import from another IMAP server, a trace that
outlives a restart: `nymote mail` and what machines do among themselves.
"""

import email
import os
import pathlib
import random
import re
import smtplib
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from appliance import PASSWORD, Appliance, Checks, nymote, tls, until  # noqa: E402
from clients import imap, messages, submission, with_subject  # noqa: E402
from nameserver import Nameserver, text  # noqa: E402

check = Checks()


def seen(box, user="anna"):
    """Every mailbox with its messages: subject and flags."""
    m = imap(box, user)
    found = {}
    for line in m.list()[1]:
        name = re.search(rb'"/" "?([^"]+)"?$', line).group(1).decode()
        m.select(f'"{name}"', readonly=True)
        count = int(m.untagged_responses["EXISTS"][-1])
        rows = m.fetch("1:*", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1] if count else []
        subject = lambda x: re.search(rb"Subject: (\S+)", x[1]).group(1).decode()
        flags = lambda x: tuple(sorted(f for f in re.search(rb"FLAGS \(([^)]*)\)", x[0]).group(1).decode().split() if f != "\\Recent"))
        uid = lambda x: int(re.search(rb"UID (\d+)", x[0]).group(1))
        found[name] = {uid(x): (subject(x), flags(x)) for x in rows if isinstance(x, tuple)}
    m.logout()
    return found


def deliver(box, subject, to="anna"):
    with smtplib.SMTP(*box.address("smtp"), timeout=30) as s:
        s.sendmail("x@far.test", [f"{to}@home.test"], f"Subject: {subject}\r\n\r\nbody of {subject}\r\n".encode())


def twin(box, other, password):
    pem, port = authority(other), other.address("web")[1]
    return f'[twins.anna]\nurl = "https://localhost:{port}/mail.git"\nuser = "anna"\npassword = "{password}"\ntrust_pem = """{pem}"""\n'


def authority(box):
    host, port = box.address("web")
    with urllib.request.urlopen(f"https://{host}:{port}/ca.pem", context=tls(), timeout=20) as answer:
        return answer.read().decode()


def two_servers():
    dns = 'dns = ["127.0.0.1:9"]\n'
    a, b = Appliance(settings=dns), Appliance(settings=dns)
    try:
        for i in range(5):
            deliver(a, f"before{i}")
        password = b.ask("device.add", user="anna", label="the other server")["password"]
        a.ask("mail.settings", toml=dns + twin(a, b, password))
        agree = lambda: (lambda x, y: x == y and x)(seen(a), seen(b))
        check("a new server gets the account as it is, UIDs and all", lambda: len(until(agree, 30, "they agree")["INBOX"]) == 5)
        deliver(b, "at-b")
        deliver(a, "at-a")
        check("mail that comes to either is soon at both", lambda: until(lambda: (x := agree()) and {"at-a", "at-b"} <= {s for s, _ in x["INBOX"].values()}, 90, "they agree"))
        a.ask("mail.settings", toml=dns)
        time.sleep(1.5)
        known = (seen(a), seen(b))
        dice = random.Random(int(os.environ.get("SEED", "7")))
        removed = apart(a, dice, "A") | apart(b, dice, "B")
        everything = {s for box in (a, b) for rows in seen(box).values() for s, _ in rows.values()}
        a.ask("mail.settings", toml=dns + twin(a, b, password))
        together = until(agree, 60, "they agree again")
        there = [s for rows in together.values() for s, _ in rows.values()]
        check("after being apart both have the same mailboxes, messages and flags", lambda: together)
        check("nothing is lost", lambda: not (lost := everything - set(there) - removed) or (_ for _ in ()).throw(AssertionError(str(lost))))
        check("what one deleted is deleted", lambda: not removed & set(there))
        for name, before in (("one", known[0]), ("the other", known[1])):
            broken = [(box, uid) for box, rows in before.items() for uid, (subject, _) in rows.items() if uid in together.get(box, {}) and together[box][uid][0] != subject]
            check(f"no UID that clients of {name} knew means another message", lambda broken=broken: not broken)
        heads = lambda: (subprocess.run(["true"]), [x.ask("mail.accounts")[0]["twin"] for x in (a,)])[1]
        first = heads()[0]["agreed"]
        time.sleep(4)
        check("agreed, they make no more commits", lambda: first and heads()[0]["agreed"] == first)
        b.stop()
        deliver(a, "while-away")
        until(lambda: heads()[0]["problem"], 30, "a round fails")
        check("a server that is away is named as such", lambda: heads()[0]["problem"])
    finally:
        a.remove()
        b.remove()


def apart(box, dice, mark):
    """Random changes by IMAP and deliveries; gives the subjects that were removed for good."""
    removed = set()
    for i in range(6):
        deliver(box, f"{mark}{i}")
    m = imap(box)
    for _ in range(12):
        m.select("INBOX")
        uids = m.uid("SEARCH", None, "ALL")[1][0].split()
        uid = dice.choice(uids)
        subject = re.search(rb"Subject: (\S+)", m.uid("FETCH", uid, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1][0][1]).group(1).decode()
        what = dice.choice(["seen", "flag", "keyword", "move", "delete"])
        if what == "delete" and len(removed) < 2:
            m.uid("STORE", uid, "+FLAGS", "(\\Deleted)")
            m.uid("EXPUNGE", uid)
            removed.add(subject)
        elif what == "move":
            m.uid("MOVE", uid, dice.choice(["Archive", "Junk"]))
        else:
            m.uid("STORE", uid, "+FLAGS", {"seen": "(\\Seen)", "flag": "(\\Flagged)"}.get(what, "($Work)"))
    m.create(f"Box{mark}")
    m.logout()
    return removed


def forwarded():
    """An alias to another host: the sender is rewritten, ARC is sealed; dkimpy and pyspf judge what arrives there."""
    import dkim
    import dns.resolver
    from outgoing import Host
    nameserver = Nameserver({"far.test": {"TXT": [text("v=spf1 ip4:127.0.0.2 -all")]}, "away.test": {"MX": ["10 mx.away.test."]}, "mx.away.test": {"A": ["127.1.0.7"]}, "back.far.test": {"A": ["127.1.0.7"]}})
    host = Host("127.1.0.7", 0)
    nameserver.add({"far.test": {"MX": ["10 mx.away.test."]}})
    settings = f'dns = ["{nameserver.address}"]\nmx_port = {host.port}\nlimit_loopback = true\n[aliases]\naunt = ["aunt@away.test"]\nboth = ["anna", "aunt@away.test"]\n'
    box = Appliance(settings=settings)
    try:
        until(lambda: len([r for r in box.ask("mail.dns") if "_domainkey" in r["name"]]) == 2, 60, "the RSA key is made")
        records = {r["name"]: {"TXT": [r["data"]]} for r in box.ask("mail.dns") if r["kind"] == "TXT"}
        nameserver.add(records)
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], nameserver.port
        dns.resolver.default_resolver = resolver
        send = lambda to, sender="clara@far.test": smtplib.SMTP(*box.address("smtp"), source_address=("127.0.0.2", 0), local_hostname="mx.far.test", timeout=30).sendmail(
            sender, [to], b"From: clara@far.test\r\nTo: aunt@home.test\r\nSubject: forwarded\r\nDate: Sun, 29 Nov 2026 12:00:00 +0000\r\nMessage-ID: <f1@far.test>\r\n\r\nhello\r\n")
        send("aunt@home.test")
        until(lambda: host.got, 20, "it is forwarded")
        sender, _, raw, _ = host.got[0]
        address = re.search(r"<(.*)>", sender).group(1)
        check(f"forwarded mail has a sender of ours: {address}", lambda: re.fullmatch(r"SRS0=\w{6}=\w\w=far\.test=clara@home\.test", address))
        cv, results, reason = dkim.arc_verify(raw)
        check("and an ARC seal that dkimpy finds good", lambda: cv == b"pass" or (_ for _ in ()).throw(AssertionError(f"{cv} {reason}")))
        check("which says what we found: spf=pass", lambda: re.search(rb"ARC-Authentication-Results: i=1; mail\.home\.test;.*?spf=pass", raw, re.S))
        smtplib.SMTP(*box.address("smtp"), source_address=("127.0.0.2", 0), local_hostname="mx.away.test", timeout=30).sendmail("", [address], b"From: <>\r\nSubject: failure\r\n\r\nx\r\n")
        check("a notice to that sender goes back to whom it stands for", lambda: until(lambda: [g for g in host.got if g[1] == ["RCPT TO:<clara@far.test>"]], 20, "the notice"))

        def forged():
            try:
                smtplib.SMTP(*box.address("smtp"), source_address=("127.0.0.2", 0), timeout=30).sendmail("", [address.replace("clara", "mallory")], b"x: y\r\n\r\n")
            except smtplib.SMTPRecipientsRefused as error:
                return next(iter(error.recipients.values()))[0] == 550
        check("one that nobody of us made is nobody", forged)
        send("both@home.test")
        check("an alias may lead here and there", lambda: until(lambda: len(with_subject(box, "forwarded")) == 1 and len(host.got) >= 3, 20, "both"))
    finally:
        box.remove()


def commands():
    box, other = Appliance(settings='dns = ["127.0.0.1:9"]\n'), Appliance(settings='dns = ["127.0.0.1:9"]\n', domain="old.test")
    try:
        deliver(box, "traced")
        events = box.ask("mail.trace", id=re.search(rb"id (\S+)", messages(box)[0]).group(1).decode())
        time.sleep(2.6)
        box.kill()
        box.start()
        again = box.ask("mail.trace", id=re.search(rb"id (\S+)", messages(box)[0]).group(1).decode())
        check("a trace outlives kill -9", lambda: events and again == events)
        program = nymote()
        if not program:
            return print("skip nymote mail: the program is not built here (cargo build -p nymote)")
        m = imap(other)
        for name in ("INBOX", "Sent", "Work/2025", "Entw&APw-rfe"):
            m.create(f'"{name}"')
            for i in range(60 if name == "INBOX" else 3):
                m.append(f'"{name}"', "(\\Seen)" if i % 2 else "(\\Flagged $Old)", '"17-Jul-2019 02:44:25 -0700"', f"Subject: {name.replace('/', '')[:6]}{i}\r\n\r\n{'x' * 500}\r\n".encode())
        m.logout()
        files = pathlib.Path(tempfile.mkdtemp(prefix="nymote-import-"))
        (files / "password").write_text(PASSWORD + "\n")
        (files / "ca.pem").write_text(authority(other))
        port = other.address("imaps")[1]
        household = files / "household"
        household.mkdir()
        (household / "mail").symlink_to(box.dir)
        bring = lambda: subprocess.run([program, "mail", "--dir", household, "import-imap", "anna", f"localhost:{port}", "--user", "anna", "--password-file", files / "password", "--trust", files / "ca.pem"],
                                       capture_output=True, text=True, timeout=120)
        run = bring()
        there, here = seen(other), seen(box)
        rows = lambda boxes, name: sorted(boxes.get(name, {}).values())
        check("another IMAP server's mailboxes come, with flags", lambda: run.returncode == 0 and all(rows(there, n) == [r for r in rows(here, n) if r[0] != "traced"] for n in there) or (_ for _ in ()).throw(AssertionError(run.stderr[-500:] + str(run.stdout))))
        check("a bar shows how far it is", lambda: "of 69" in run.stderr and "#" in run.stderr)
        again = bring()
        check("called again it brings nothing twice", lambda: again.returncode == 0 and seen(box) == here or (_ for _ in ()).throw(AssertionError(again.stderr[-300:] + again.stdout)))
    finally:
        box.remove()
        other.remove()


def main():
    check.parts((two_servers, forwarded, commands))
    check.end()


if __name__ == "__main__":
    main()
