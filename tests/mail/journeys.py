"""Mail in, mail out, bad input, kill -9: the SMTP side of the appliance, driven by swaks, smtp-source, smtplib and curl."""

import base64
import email
import hashlib
import hmac
import os
import pathlib
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from appliance import PASSWORD, Appliance, Checks, tls, until  # noqa: E402
from clients import Browser, Sink, Wire, imap, messages, route, submission, with_subject  # noqa: E402

check = Checks()


def mail_in(box):
    host, port = box.address("smtp")
    swaks = ["swaks", "--server", f"{host}:{port}", "--from", "x@far.test", "--to", "anna@home.test", "--timeout", "20"]
    run = lambda *more: subprocess.run([*swaks, *more], capture_output=True, text=True, timeout=60)
    check("swaks delivers in the clear", lambda: run("--header", "Subject: swaks1").returncode == 0)
    check("swaks delivers with STARTTLS", lambda: run("-tls", "--header", "Subject: swaks2").returncode == 0)
    check("both are in INBOX as they came", lambda: all(len(with_subject(box, s)) == 1 for s in ("swaks1", "swaks2")))
    source = ["smtp-source", "-s", "5", "-m", "100", "-l", "10240", "-f", "x@far.test", "-t", "ben@home.test", f"inet:{host}:{port}"]
    check("smtp-source sends 100 over 5 sessions", lambda: subprocess.run(source, timeout=60).returncode == 0)
    check("all 100 are there", lambda: len(messages(box, "ben")) == 100)
    url = f"smtp://{host}:{port}"
    letter = box.dir / "letter"
    letter.write_bytes(b"Subject: curl1\r\n\r\nhello\r\n")
    curl = ["curl", "-sS", url, "--mail-from", "x@far.test", "--mail-rcpt", "family@home.test", "-T", str(letter)]
    check("curl writes to an alias", lambda: subprocess.run(curl, timeout=30).returncode == 0)
    check("and both get it", lambda: len(with_subject(box, "curl1")) == 1 and len(with_subject(box, "curl1", "ben")) == 1)
    m = imap(box)
    m.create("shop")
    m.logout()
    s = smtplib.SMTP(host, port, timeout=20)
    s.sendmail("x@far.test", ["anna+shop@home.test"], b"Subject: plus\r\n\r\nx\r\n")
    check("a plus-address finds the folder of that name", lambda: len(with_subject(box, "plus", mailbox="shop")) == 1)
    s.sendmail("x@far.test", ["anna@home.test", "ANNA@home.test", "anna+a@home.test", "anna+shop@home.test", "family@home.test"], b"Subject: many ways\r\n\r\nx\r\n")
    check("however many addresses lead to a mailbox, it gets one", lambda: [len(with_subject(box, "many ways", *where)) for where in (("anna",), ("anna", "shop"), ("ben",))] == [1, 1, 1])
    for text in (b"no header at all\nsecond line\r\n", b"Subject: bare\nDear Anna,\nno blank line\r\n"):
        s.sendmail("x@far.test", ["anna+shop@home.test"], text)
    bodies = lambda: [raw.split(b"\r\n\r\n", 1)[1] for raw in messages(box, "anna", "shop")[-2:]]
    check("text without a blank line before it is the body", lambda: bodies() == [b"no header at all\r\nsecond line\r\n", b"Dear Anna,\r\nno blank line\r\n"])
    w = Wire((host, port))
    check("nobody, relaying, and bad addresses are refused", lambda: w.ask(
        "EHLO c.test", "MAIL FROM:<x@far.test>", "RCPT TO:<nobody@home.test>", "RCPT TO:<a@else.test>", "RCPT TO:<>", "RCPT TO:<postmaster>")
        == ["250", "250", "550", "550", "501", "250"])


def bad_input(box):
    address = box.address("smtp")
    def injection():
        s = socket.create_connection(address, timeout=20)
        s.recv(1000)
        s.sendall(b"EHLO c\r\n")
        s.recv(4000)
        s.sendall(b"STARTTLS\r\nEHLO injected\r\nMAIL FROM:<inj@far.test>\r\n")
        s.recv(1000)
        t = tls().wrap_socket(s)
        t.sendall(b"NOOP\r\nMAIL FROM:<x@far.test>\r\n")
        time.sleep(0.3)
        return t.recv(1000).startswith(b"250 2.0.0 ok\r\n503")
    check("what was sent before TLS is not read after it", injection)
    w = Wire(address)
    check("a line of 1,000 octets is answered 500", lambda: w.say("NOOP " + "x" * 993 + "\r\n")[:3] == "500")
    check("UTF-8 in an address needs SMTPUTF8", lambda: w.ask("EHLO c.test", "MAIL FROM:<grün@far.test>", "MAIL FROM:<grün@far.test> SMTPUTF8") == ["250", "553", "250"])
    w = Wire(box.address("submission"))
    check("AUTH before TLS is refused", lambda: w.ask("EHLO c.test", "AUTH PLAIN AGFubmEAeA==") == ["250", "538"])

    def bomb():
        text = b"Subject: bomb\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(200_000)) + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 600_000
        s = smtplib.SMTP(*address, timeout=60)
        started = time.time()
        s.sendmail("x@far.test", ["anna@home.test"], text[:10_000_000])
        return time.time() - started < 30
    check("10 MB of header fields and parts are delivered", bomb)


def submitted(box):
    s = submission(box)
    check("somebody else's address is refused", lambda: refused(s, "ben@home.test", 553))
    text = b"From: Anna <anna@home.test>\r\nTo: ben@home.test\r\nBcc: hidden@home.test\r\nSubject: signed\r\n\r\nhello\r\n.dot\r\n"
    check("anna writes to ben", lambda: s.sendmail("anna@home.test", ["ben@home.test"], text) == {})
    raw = until(lambda: with_subject(box, "signed", "ben"), 10, "the message")[0]
    check("Date and Message-ID are added, Bcc is gone", lambda: b"\r\nDate: " in raw and b"\r\nMessage-ID: " in raw and b"hidden" not in raw)
    check("a copy is in Sent, seen", lambda: len(with_subject(box, "signed", mailbox="Sent")) == 1)

    def judged():
        import dkim
        records = {r["name"] + ".": r["data"].replace('" "', "").strip('"').encode() for r in box.ask("mail.dns") if "_domainkey" in r["name"]}
        message = raw[raw.index(b"DKIM-Signature"):]
        count = message.count(b"DKIM-Signature:")
        judge = dkim.DKIM(message)
        return count == 2 and all(judge.verify(i, dnsfunc=lambda name, timeout=5: records.get(name.decode() if isinstance(name, bytes) else name)) for i in range(count))
    try:
        import dkim  # noqa: F401
        check("dkimpy verifies both signatures, RSA and Ed25519", judged)
    except ImportError:
        print("skip dkimpy is not installed (./test installs it)")
    check("SCRAM-SHA-256 lets anna in", lambda: scram(box))
    host, port = box.address("submissions")
    t = smtplib.SMTP_SSL(host, port, context=tls(), timeout=20)
    check("port 465, AUTH LOGIN", lambda: t.login("anna@home.test", PASSWORD)[0] == 235)
    check("a wrong password is refused", lambda: wrong_password(box))


def refused(s, sender, code):
    try:
        s.sendmail(sender, ["ben@home.test"], b"Subject: x\r\n\r\n")
        return False
    except smtplib.SMTPSenderRefused as error:
        return error.smtp_code == code


def wrong_password(box):
    s = smtplib.SMTP(*box.address("submission"), timeout=30)
    s.starttls(context=tls())
    try:
        s.login("anna", "wrong password")
        return False
    except smtplib.SMTPAuthenticationError:
        return True


def scram(box):
    s = smtplib.SMTP(*box.address("submission"), timeout=30)
    s.starttls(context=tls())
    s.ehlo()
    nonce = base64.b64encode(os.urandom(12)).decode()
    first = f"n=anna,r={nonce}"
    code, challenge = s.docmd("AUTH", "SCRAM-SHA-256 " + base64.b64encode(b"n,," + first.encode()).decode())
    server = base64.b64decode(challenge).decode()
    parts = dict(p.split("=", 1) for p in server.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
    client = hmac.digest(salted, b"Client Key", "sha256")
    last = f"c=biws,r={parts['r']}"
    proof = hmac.digest(hashlib.sha256(client).digest(), f"{first},{server},{last}".encode(), "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client, proof))).decode()
    code, answer = s.docmd(base64.b64encode(f"{last},p={proof}".encode()).decode())
    wanted = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), f"{first},{server},{last}".encode(), "sha256")
    good = base64.b64decode(answer) == b"v=" + base64.b64encode(wanted)
    return good and s.docmd("")[0] == 235


def mail_out(box):
    taken = Sink(rcpt=lambda to: "550 5.1.1 nobody" if "gone" in to else "250 ok", features=["PIPELINING", "SIZE 1000000"])
    slow = Sink(text=lambda: "451 4.3.0 later")
    route(box, routes={"far.test": taken.port, "slow.test": slow.port})
    s = submission(box)
    s.sendmail("anna@home.test", ["a@far.test", "gone@far.test", "b@slow.test"], b"From: anna@home.test\r\nSubject: out1\r\n\r\n.hello\r\n")
    until(lambda: taken.got, 15, "the sink gets it")
    sender, to, text = taken.got[0]
    check("one recipient gets it, dots and all", lambda: to == ["RCPT TO:<a@far.test>"] and b"\r\n\r\n.hello\r\n" in text)
    notice = until(lambda: with_subject(box, "Your message could not be delivered"), 15, "the notice")[0]
    report = email.message_from_bytes(notice)
    status = [p for p in report.walk() if p.get_content_type() == "message/delivery-status"]
    check("the other one's refusal comes back as RFC 3464 says", lambda: status and "gone@far.test" in str(status[0]) and "5.1.1" in str(status[0]))
    waiting = until(lambda: [r for e in box.ask("queue.list") for r in e["recipients"] if r["state"] == "waiting"], 15, "the queue")
    check("a transient refusal waits", lambda: [r["to"] for r in waiting] == ["b@slow.test"] and waiting[0]["attempts"] == 1)
    check("a second notice is not sent for the same failure", lambda: len(with_subject(box, "Your message could not be delivered")) == 1)
    box.kill()
    box.start()
    check("after kill -9 the queue is the same", lambda: [r["to"] for e in box.ask("queue.list") for r in e["recipients"] if r["state"] == "waiting"] == ["b@slow.test"])
    slow.text = lambda: "250 ok"
    box.ask("queue.flush")
    until(lambda: slow.got, 15, "the slow host takes it")
    until(lambda: not box.ask("queue.list"), 10, "the queue is empty")
    check("it is delivered once and leaves the queue", lambda: len(slow.got) == 1 and len(taken.got) == 1)


def killed(box):
    """kill -9 while mail comes in: everything that was answered 250 is there afterwards."""
    host, port = box.address("smtp")
    answered, stop = [], threading.Event()

    def send(n):
        try:
            s = smtplib.SMTP(host, port, timeout=10)
            i = 0
            while not stop.is_set():
                name = f"kill{n}.{i}"
                s.sendmail("x@far.test", ["ben@home.test"], f"Subject: {name}\r\n\r\n{'x' * 3000}\r\n".encode())
                answered.append(name)
                i += 1
        except (OSError, smtplib.SMTPException):
            pass

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    [t.start() for t in threads]
    time.sleep(1.5)
    box.kill()
    stop.set()
    [t.join() for t in threads]
    box.start()
    there = b"".join(messages(box, "ben"))
    missing = [name for name in answered if f"Subject: {name}\r\n".encode() not in there]
    check(f"kill -9 after {len(answered)} answers loses none", lambda: len(answered) > 0 and not missing)


def web(box):
    browser = Browser(box)
    open_page = browser.get("/login")
    names = {"user": "anna", "password": PASSWORD}
    if 'name="csrf"' in open_page:
        names["csrf"] = browser.field(open_page, "csrf")
    check("anna logs in", lambda: "INBOX" in browser.post("/login", **names) + browser.get("/"))
    page = browser.get("/compose")
    token = browser.field(page, "csrf")
    check("a message is written", lambda: browser.post("/compose", csrf=token, to="ben@home.test", cc="", bcc="", subject="webmail ü", text="hi", draft="", in_reply_to="", references="", do="send"))
    check("and comes", lambda: any(b"=?utf-8?B?" in m and b"Subject:" in m for m in messages(box, "ben")[-1:]))
    s = smtplib.SMTP(*box.address("smtp"), timeout=20)
    html = b"Subject: evil html\r\nContent-Type: text/html\r\n\r\n<b>bold</b><script>alert(1)</script><img src=https://track.test/x.gif>\r\n"
    s.sendmail("x@far.test", ["anna@home.test"], html)
    inbox = browser.get("/folder?name=INBOX")
    check("the list shows it", lambda: "evil html" in inbox)
    link = inbox.split("<b>evil html")[0].rsplit('href="', 1)[1].split('"')[0].replace("&#38;", "&").replace("&amp;", "&")
    shown = browser.get(link)
    frame = browser.get("/message/text?" + link.split("?", 1)[1])
    check("its text is shown without script and remote picture", lambda: "<b>bold</b>" in frame and "script" not in frame and "track.test" not in frame)
    check("pictures come when asked for", lambda: "pictures=1" in shown and "track.test" in browser.get("/message/text?pictures=1&" + link.split("?", 1)[1]))
    uid = link.split("uid=")[1].split("&")[0]
    browser.post("/act", csrf=token, folder="INBOX", uid=uid, do="archive")
    check("archive moves it", lambda: len(with_subject(box, "evil html", mailbox="Archive")) == 1)
    history = browser.get("/history")
    undo = next((part.split('"')[0] for part in history.split('action="')[1:] if "/undo" in part.split('"')[0]), "")
    browser.post(undo, csrf=browser.field(history, "csrf"))
    check("undo brings it back", lambda: len(with_subject(box, "evil html")) == 1)
    check("search finds it", lambda: "evil html" in browser.get("/folder?name=INBOX&q=bold"))
    check("a form without token is refused", lambda: forbidden(browser))
    for path, text in (("/setup", "993"), ("/dns", "v=DKIM1"), ("/.well-known/autoconfig/mail/config-v1.1.xml", "<clientConfig"),
                       ("/setup/mail.mobileconfig", "com.apple.mail.managed"), ("/autodiscover/autodiscover.xml", "<Autodiscover")):
        check(f"{path} is there", lambda path=path, text=text: text in browser.get(path) or path == "/setup" and "IMAP" in browser.get(path))


def git(box):
    host, port = box.address("web")
    home = pathlib.Path(tempfile.mkdtemp(prefix="nymote-git-"))
    run = lambda *words, at=home: subprocess.run(
        ["git", "-c", "http.sslVerify=false", "-c", "user.name=x", "-c", "user.email=x@x", *words], cwd=at, capture_output=True, text=True, timeout=60,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"})
    secret = box.ask("device.add", user="anna", label="git")["password"]
    url = lambda password: f"https://anna:{urllib.parse.quote(password)}@127.0.0.1:{port}/mail.git"
    try:
        check("git without the password gets nothing", lambda: run("clone", "-q", url("wrong wrong"), "no").returncode != 0)
        check("git clones with a device's password", lambda: run("clone", "-q", url(secret), "mail").returncode == 0)
        tree = home / "mail"
        files = sorted(tree.glob("folders/INBOX/@/*/*/*.eml"))
        check("messages are files as they came", lambda: any(b"Subject: curl1" in f.read_bytes() for f in files))
        check("it is one account's mail", lambda: "ben" not in run("branch", "-r", at=tree).stdout and run("fsck", "--strict", at=tree).returncode == 0)
        first = next(f for f in files if b"Subject: curl1" in f.read_bytes())
        first.unlink()
        commit = lambda *more: run("commit", "-qam", "by hand", at=tree).returncode == 0 and run("push", "-q", *more, at=tree)
        pushed = commit()
        check("a push that deletes a message is merged", lambda: pushed.returncode == 0 and not with_subject(box, "curl1"))
        run("pull", "-q", "--rebase", at=tree)
        (tree / "evil").write_text("x")
        run("add", "evil", at=tree)
        check("a push of something else is refused", lambda: commit().returncode != 0)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def forbidden(browser):
    try:
        browser.post("/act", folder="INBOX", uid="1", do="delete")
        return False
    except urllib.error.HTTPError as error:
        return error.code in (400, 403)


def main():
    box = Appliance()
    try:
        route(box)
        check.parts((mail_in, bad_input, submitted, mail_out, web, git, killed), box)
    finally:
        box.end()
    check.end()


main()
