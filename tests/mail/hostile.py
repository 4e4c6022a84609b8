"""Bad input and bad times: smuggling in every variant, injection around STARTTLS, bombs, crowds, clients that stick, a
full disk. What is asked of the machine's memory is read from /proc.
"""

import base64
import os
import pathlib
import re
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from appliance import Appliance, Checks, tls, until  # noqa: E402
from clients import Sink, Wire, imap, messages, route, submission, with_subject  # noqa: E402
from nameserver import Nameserver  # noqa: E402

check = Checks()
EVIL = b"MAIL FROM:<evil@far.test>\r\nRCPT TO:<anna@home.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
ENDS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n", b"\r\r\n.\r\r\n", b"\n\n.\n\n", b"\r\n.\r\r\n", b"\r\n\x00.\r\n", b"\r\n.\x00\r\n",
        b"\r\n. \r\n", b"\r\n.\t\r\n", b"\r\n..\r\n", b"\x85.\x85", b"\xe2\x80\xa8.\xe2\x80\xa8", b"\r\n.\x0b\n", b"\x0b.\x0c"]


def quiet(w, seconds=0.3):
    """Whether nothing more is said."""
    w.s.settimeout(seconds)
    try:
        return w.hear() in ("none",)
    except TimeoutError:
        return True
    finally:
        w.s.settimeout(20)


def smuggling(box):
    address = box.address("smtp")

    def one(end, bdat):
        w = Wire(address)
        w.ask("EHLO c.test", "MAIL FROM:<x@far.test>", "RCPT TO:<anna@home.test>")
        text = b"Subject: outer\r\n\r\nx" + end + EVIL
        if bdat:
            first = w.say(b"BDAT %d LAST\r\n" % len(text) + text)
        else:
            w.ask("DATA")
            first = w.say(text)
        # A bare CR is refused; what has none is one message, dots and all, its lines ended by CRLF.
        bare = bool(re.search(rb"\r(?!\n)", end))
        return quiet(w) and first.startswith("550 5.6.11" if bare else "250")
    for bdat in (False, True):
        wrong = [end for end in ENDS if not one(end, bdat)]
        check(f"{len(ENDS)} ends of data that are none, by {'BDAT' if bdat else 'DATA'}: one answer each, a bare CR refused", lambda wrong=wrong: not wrong or (_ for _ in ()).throw(AssertionError(repr(wrong))))
    check("nothing smuggled is in the mailbox", lambda: not with_subject(box, "smuggled"))

    def split():
        w = Wire(address)
        w.ask("EHLO c.test", "MAIL FROM:<x@far.test>", "RCPT TO:<anna@home.test>", "DATA")
        for byte in b"Subject: bytes\r\n\r\n..\r\n.x\r\n.\r\n":
            w.s.sendall(bytes([byte]))
            time.sleep(0.002)
        return w.hear().startswith("250") and b"\r\n\r\n.\r\nx\r\n" in with_subject(box, "bytes")[0]
    check("a message byte by byte is the same message", split)
    lines = b"Subject: as it lies in a file\nFrom: x@far.test\n\nfirst\n.\n.dot\n\nlast\n"

    def as_bytes():
        with smtplib.SMTP(*address, timeout=20) as s:
            s.sendmail("x@far.test", ["anna@home.test"], lines)
        return with_subject(box, "as it lies in a file")[0].endswith(lines.replace(b"\n", b"\r\n") + b"\r\n")
    check("smtplib sends bytes whose lines end with LF: every line comes with CRLF", as_bytes)
    going_out(box)


def going_out(box):
    """What our users send and what is forwarded reaches the next host as one message, whatever ends its lines."""
    sink = Sink(features=("PIPELINING", "8BITMIME"))
    route(box, routes={"sink.test": sink.port})
    bodies = [b"a" + end + EVIL.removesuffix(b".\r\n") + b"b" for end in ENDS]
    codes = []
    with submission(box) as s:
        for n, body in enumerate(bodies):
            s.docmd("MAIL FROM:<anna@home.test>")
            s.docmd("RCPT TO:<x@sink.test>")
            s.docmd("DATA")
            s.send(b"Subject: out %d\r\n\r\n" % n + body + b"\r\n.\r\n")
            codes.append(s.getreply()[0])
    taken = [n for n, end in enumerate(ENDS) if not re.search(rb"\r(?!\n)", end)]
    check("our users' bare CR is refused too", lambda: codes == [250 if n in taken else 550 for n in range(len(ENDS))])
    until(lambda: len(sink.got) >= len(taken), 30, "all of them leave")
    time.sleep(0.5)
    # In DATA a dot in front is stuffing, but in a line that LF makes a dot alone.
    unstuffed = lambda body: re.sub(rb"(?<=\n)\.(?!\n)", b"", re.sub(rb"\r?\n", b"\n", body)).replace(b"\n", b"\r\n")

    def came():
        got = {text.split(b"Subject: out ", 1)[1].split(b"\r\n", 1)[0]: text.split(b"\r\n\r\n", 1)[1] for _, _, text in sink.got}
        wanted = {b"%d" % n: unstuffed(bodies[n]) + b"\r\n" for n in taken}
        return (len(sink.got) == len(taken) and got == wanted) or (_ for _ in ()).throw(AssertionError(f"{len(sink.got)} came: {[(n, got.get(n), w) for n, w in wanted.items() if got.get(n) != w][:2]}"))
    check(f"{len(taken)} messages with other ends of data leave as one message each, dots stuffed", came)
    route(box)


def commands(box):
    address = box.address("smtp")

    def injected(extra):
        s = socket.create_connection(address, timeout=20)
        s.recv(1000)
        s.sendall(b"EHLO c\r\n")
        s.recv(4000)
        s.sendall(b"STARTTLS\r\n" + extra)
        s.recv(1000)
        t = tls().wrap_socket(s)
        t.sendall(b"NOOP\r\nMAIL FROM:<x@far.test>\r\n")
        time.sleep(0.3)
        return t.recv(2000).startswith(b"250 2.0.0 ok\r\n503")
    for extra in (b"EHLO injected\r\nMAIL FROM:<inj@far.test>\r\n", b"RSET\r\n" * 50, b"NOOP\r\n", b"A"):
        check(f"{extra[:14]!r} before the handshake is not read after it", lambda extra=extra: injected(extra))

    def answers(*lines):
        w = Wire(address)
        w.ask("EHLO c.test")
        return [w.say(line if isinstance(line, bytes) else line.encode() + b"\r\n")[:9].strip() for line in lines]
    long = "NOOP " + "x" * 991
    check("a line of 998 octets is read, 999 and 1,000 and 100,000 are answered 500 and forgotten", lambda:
          [a[:3] for a in answers(long, long + "x", long + "xx", "NOOP " + "x" * 100_000, "NOOP")] == ["250", "500", "500", "500", "250"])
    check("NUL and other controls in a command", lambda: [a[:3] for a in answers(b"NOOP \x00\r\n", b"MAIL FROM:<a\x07@b.test>\r\n", b"NO\x00OP\r\n", "NOOP")] == ["500", "500", "500", "250"])
    check("a command that ends with LF is one, a CR in its midst is an error", lambda: [a[:3] for a in answers(b"NOOP\n", b"NOOP\rNOOP\r\n", "NOOP")] == ["250", "500", "250"])
    paths = {
        "MAIL FROM:<x@far.test>": "250", "MAIL FROM: <x@far.test>": "250", "MAIL FROM:<>": "250", "MAIL FROM:<@a.test,@b.test:x@far.test>": "250", 'MAIL FROM:<"a b"@far.test>': "250",
        'MAIL FROM:<"a\\"b"@far.test>': "250", "MAIL FROM:<x@[192.0.2.1]>": "250", "MAIL FROM:<x@[IPv6:2001:db8::1]>": "250", "MAIL FROM:<x@far.test> SIZE=1000": "250", "MAIL FROM:<x@far.test> BODY=8BITMIME SMTPUTF8": "250",
        "MAIL FROM:<x@far.test> RET=HDRS ENVID=a+2Bb": "250", "MAIL FROM:<grün@far.test> SMTPUTF8": "250", "MAIL FROM:<grün@far.test>": "553", "MAIL FROM:x@far.test": "501", "MAIL FROM:<x@far.test": "501",
        "MAIL FROM:<x@>": "501", "MAIL FROM:<@far.test>": "501", "MAIL FROM:<x@far.test> SIZE=99999999999": "552", "MAIL FROM:<x@far.test> SIZE=x": "501", "MAIL FROM:<x@far.test> SIZE=1 SIZE=2": "501",
        "MAIL FROM:<x@far.test> FOO=bar": "555", "MAIL FROM:<x@far.test> BODY=BINARYMIME": "501", "MAIL FROM:<x@[300.1.1.1]>": "501", "MAIL FROM:<a..b@far.test>": "501", "MAIL FROM:<x@far..test>": "501",
        f"MAIL FROM:<{'a' * 65}@far.test>": "501", "MAIL <x@far.test>": "501", "MAIL": "501",
    }
    wrong = {p: got for p, wanted in paths.items() if (got := answers(p)[0][:3]) != wanted}
    check(f"{len(paths)} senders as RFC 5321 4.1.2 and its extensions have them", lambda: not wrong or (_ for _ in ()).throw(AssertionError(str(wrong))))
    to = {"RCPT TO:<postmaster>": "250", "RCPT TO:<PostMaster>": "250", "RCPT TO:<postmaster@home.test>": "250", "RCPT TO:<ANNA@Home.Test>": "250", 'RCPT TO:<"anna"@home.test>': "250",
          "RCPT TO:<@relay.test:anna@home.test>": "250", "RCPT TO:<anna@home.test> NOTIFY=NEVER ORCPT=rfc822;a@b": "250", "RCPT TO:<anna@home.test> NOTIFY=NEVER,DELAY": "501", "RCPT TO:<anna@home.test> NOTIFY=": "501",
          "RCPT TO:<anna@home.test> FOO": "555", "RCPT TO:<>": "501", "RCPT TO:<anna>": "501", "RCPT TO:<nobody@home.test>": "550", "RCPT TO:<a@else.test>": "550", "RCPT TO:<a%else.test@home.test>": "550",
          "RCPT TO:<@home.test:a@else.test>": "550", "RCPT TO:<grün@home.test>": "553", "RCPT TO:<anna@home.test>, <ben@home.test>": "501"}
    wrong_to = {p: got for p, wanted in to.items() if (got := answers("MAIL FROM:<x@far.test>", p)[1][:3]) != wanted}
    check(f"{len(to)} recipients likewise; nothing is relayed", lambda: not wrong_to or (_ for _ in ()).throw(AssertionError(str(wrong_to))))
    order = [(["MAIL FROM:<x@far.test>", "MAIL FROM:<x@far.test>"], "503"), (["RCPT TO:<anna@home.test>"], "503"), (["DATA"], "503"), (["MAIL FROM:<x@far.test>", "DATA"], "554"),
             (["MAIL FROM:<x@far.test>", "EHLO again", "RCPT TO:<anna@home.test>"], "503"), (["MAIL FROM:<x@far.test>", "RSET", "DATA"], "503"), (["BDAT 0 LAST"], "503"), ([b"BDAT 5\r\nhello", "NOOP"], "250"),
             (["BDAT x"], "501"), (["STARTTLS now"], "501"), (["AUTH PLAIN"], "502"), (["EXPN all"], "502"), (["VRFY anna"], "252"), (["HELP"], "214"), (["WHAT"], "500")]
    wrong_order = [(lines, got) for lines, wanted in order if (got := answers(*lines)[-1][:3]) != wanted]
    check(f"{len(order)} commands out of order", lambda: not wrong_order or (_ for _ in ()).throw(AssertionError(str(wrong_order))))

    def chunked():
        w = Wire(address)
        w.ask("EHLO c.test", "MAIL FROM:<x@far.test>", "RCPT TO:<anna@home.test>")
        text = b"Subject: chunks\r\n\r\n.dot\r\n.\r\nend\r\n"
        a, b = text[:20], text[20:]
        first = w.say(b"BDAT %d\r\n" % len(a) + a)
        last = w.say(b"BDAT %d LAST\r\n" % len(b) + b)
        return first.startswith("250") and last.startswith("250") and with_subject(box, "chunks")[0].endswith(b"\r\n\r\n.dot\r\n.\r\nend\r\n")
    check("CHUNKING: octets are octets, dots are dots", chunked)

    def pipelined():
        w = Wire(address)
        w.s.sendall(b"EHLO c.test\r\nMAIL FROM:<x@far.test>\r\nRCPT TO:<anna@home.test>\r\nRCPT TO:<nobody@home.test>\r\nDATA\r\nSubject: piped\r\n\r\nx\r\n.\r\nMAIL FROM:<x@far.test>\r\nRSET\r\nQUIT\r\n")
        return [w.hear()[:3] for _ in range(9)] == ["250", "250", "250", "550", "354", "250", "250", "250", "221"] and len(with_subject(box, "piped")) == 1
    check("PIPELINING: a whole session in one write", pipelined)
    loop = b"Received: from a by b; x\r\n" * 101 + b"Subject: loop\r\n\r\nx\r\n"
    check("101 Received fields are a loop", lambda: refused(address, loop, 554))
    w = Wire(box.address("submission"))
    check("AUTH before TLS is refused, and nothing is sent without it", lambda: w.ask("EHLO c.test", "AUTH PLAIN AGFubmEAeA==", "MAIL FROM:<anna@home.test>") == ["250", "538", "530"])
    check("a browser is told that this is no web server", lambda: answers(b"GET / HTTP/1.1\r\n")[0][:3] == "421")

    def errors():
        w = Wire(address)
        codes = w.ask(*["WHAT"] * 20)
        return codes[-1] in ("421", "500") and "closed" in (w.say("NOOP\r\n") if codes[-1] != "421" else "closed") or codes.count("500") >= 19
    check("twenty errors end the session", errors)


def refused(address, raw, code):
    with smtplib.SMTP(*address, timeout=60) as s:
        try:
            s.sendmail("x@far.test", ["anna@home.test"], raw)
        except smtplib.SMTPDataError as error:
            return error.smtp_code == code
    return False


def memory(box, what="VmRSS"):
    return int(re.search(rf"{what}:\s+(\d+) kB", pathlib.Path(f"/proc/{box.process.pid}/status").read_text()).group(1)) * 1024


def bombs(box):
    """10 MB each: delivered, within three times their size in memory; how long each took is printed, not judged."""
    address = box.address("smtp")
    size = 10_000_000
    SLACK = 2_000_000  # what any message takes: buffers, a commit
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (i, i) for i in range(size // 60))
    texts = {
        "header fields": b"".join(b"X-%d: y\r\n" % i for i in range(size // 12)) + b"\r\nx\r\n",
        "one header field": b"X: " + b"y" * 900 + b"\r\n" + (b" " + b"z" * 900 + b"\r\n") * (size // 903) + b"\r\nx\r\n",
        "parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * (size // 11),
        "depth": nested,
        "parameters": b"Content-Type: text/plain" + b"".join(b";\r\n p%d=v" % i for i in range(size // 14)) + b"\r\n\r\nx\r\n",
        "parameter pieces (RFC 2231)": b"Content-Type: text/plain" + b"".join(b";\r\n n*%d=v" % i for i in range(size // 15)) + b"\r\n\r\nx\r\n",
        "embedded messages": b"Content-Type: message/rfc822\r\n\r\n" * (size // 32),
        "addresses": b"To: " + b"a@b.test,\r\n " * (size // 12) + b"c@d.test\r\n\r\nx\r\n",
        "encoded words": b"Subject: " + b"=?utf-8?q?x?=\r\n " * (size // 17) + b"x\r\n\r\nx\r\n",
        "references": b"References: " + b"<a@b>\r\n " * (size // 8) + b"\r\n\r\nx\r\n",
        "text": b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * (size // 72),
        "signatures": b"".join(b"DKIM-Signature: v=1; a=rsa-sha256; d=x%d.test; s=s; h=from; bh=AAAA; b=AAAA\r\n" % i for i in range(size // 90)) + b"\r\nx\r\n",
    }
    for name, text in texts.items():
        def bomb(text=b"X-Bomb: 1\r\n" + text):
            pathlib.Path(f"/proc/{box.process.pid}/clear_refs").write_text("5")
            before = memory(box)
            with smtplib.SMTP(*address, timeout=120) as s:
                s.ehlo("c.test")
                s.docmd("MAIL FROM:<x@far.test>")
                s.docmd("RCPT TO:<anna@home.test>")
                s.docmd("DATA")
                started = time.time()
                s.send(text + b".\r\n")
                code, words = s.getreply()
            seconds, more = time.time() - started, memory(box, "VmHWM") - before
            print(f"     {name}: {seconds:.2f} s, {more / len(text):.1f} times its size")
            return code == 250 and more <= 3 * len(text) + SLACK or (_ for _ in ()).throw(AssertionError(f"{code} {words!r}, {more / len(text):.1f} times its size"))
        check(f"a bomb of {name} is delivered within three times its size", bomb)
    m = imap(box)
    m.select("INBOX", readonly=True)
    found = m.search(None, "HEADER", "X-Bomb", "1")[1][0].split()
    check("all of them are in the mailbox and can be looked at", lambda: len(found) == len(texts) and all(m.fetch(n, "(ENVELOPE BODYSTRUCTURE)")[0] == "OK" for n in found))
    m.logout()


def stuck(box):
    address = box.address("smtp")
    before = memory(box)
    sockets = []
    for _ in range(40):
        w = Wire(address)
        w.ask("EHLO c.test", "MAIL FROM:<x@far.test>", "RCPT TO:<anna@home.test>", "DATA")
        w.s.sendall(b"Subject: never\r\n\r\n" + (b"y" * 70 + b"\r\n") * 70_000)
        sockets.append(w)
    time.sleep(1)
    more = memory(box) - before
    check(f"40 clients that stop after 5 MB of a message cost {more // 1_000_000} MB of memory, not 200", lambda: more < 40_000_000)
    check("and keep nobody else waiting", lambda: with_smtp(box, "not stuck"))
    for w in sockets:
        w.s.close()
    until(lambda: not list(box.dir.glob("spool.*")), 10, "no spool file stays")
    check("they leave nothing behind", lambda: not list(box.dir.glob("spool.*")))


def with_smtp(box, subject):
    with smtplib.SMTP(*box.address("smtp"), timeout=30) as s:
        s.sendmail("x@far.test", ["anna@home.test"], f"Subject: {subject}\r\n\r\nx\r\n".encode())
    return len(with_subject(box, subject)) == 1


def crowd(box):
    host, port = box.address("smtp")
    nameserver = Nameserver()  # one that answers: a dead one makes each message wait for all the time that checks have
    box.ask("mail.settings", toml=f'dns = ["{nameserver.address}"]\nlimit_loopback = true\nmessages_per_hour = 20\n')
    sockets, greeted, sent_away = [], 0, 0
    for _ in range(1000):
        s = socket.socket()
        s.settimeout(10)
        s.bind(("127.0.0.9", 0))
        try:
            s.connect((host, port))
            sockets.append(s)
        except OSError:
            s.close()
    for s in sockets:
        try:
            said = s.recv(100)
            greeted += said.startswith(b"220")
            sent_away += said.startswith(b"421")
        except OSError:
            pass
    check(f"of 1,000 connections from one address {greeted} are let in, {sent_away} sent away with 421", lambda: greeted == 50 and sent_away == 950)

    def another():
        with smtplib.SMTP(host, port, source_address=("127.0.0.10", 0), timeout=20) as s:
            return s.sendmail("x@far.test", ["anna@home.test"], b"From: x@far.test\r\nSubject: another address\r\n\r\nx\r\n") == {}
    check("another address is served meanwhile", another)
    for s in sockets:
        s.close()

    def limited():
        with smtplib.SMTP(host, port, source_address=("127.0.0.11", 0), timeout=20) as s:
            s.ehlo("c.test")
            codes = []
            for _ in range(22):
                codes.append(s.docmd("MAIL FROM:<x@far.test>")[0])
                s.docmd("RSET")
            return codes == [250] * 20 + [450] * 2
    check("twenty messages an hour from one address, then 450", limited)

    def network():
        codes = []
        for last in range(20, 26):
            with smtplib.SMTP(host, port, source_address=(f"127.0.0.{last}", 0), timeout=20) as s:
                s.ehlo("c.test")
                for _ in range(15):
                    codes.append(s.docmd("MAIL FROM:<x@far.test>")[0])
                    s.docmd("RSET")
        return 450 in codes and codes.count(250) <= 80
    check("and four times that from the network around it", network)
    box.ask("mail.settings", toml='dns = ["127.0.0.1:9"]\n')


def full_disk():
    """A disk of 64 MB: filled it answers 452 and NO, loses nothing, and goes on when there is room again."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="nymote-full-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode:
        place.rmdir()
        return print(f"skip a full disk: no right to mount ({mounted.stderr.strip()})")
    box = None
    try:
        box = Appliance(settings='dns = ["127.0.0.1:9"]\n', directory=place / "mail" if (place / "mail").mkdir() is None else place)
        answered, code, words = [], 250, b""
        for i in range(400):
            try:
                with smtplib.SMTP(*box.address("smtp"), timeout=60) as s:
                    s.sendmail("x@far.test", ["anna@home.test"], f"Subject: fill{i}\r\n\r\n".encode() + base64.encodebytes(os.urandom(500_000)).replace(b"\n", b"\r\n"))
                answered.append(i)
            except smtplib.SMTPDataError as error:
                code, words = error.smtp_code, error.smtp_error
                break
        check(f"after {len(answered)} messages of 700 kB the answer is {code} {words.decode()}", lambda: code == 452 and len(answered) > 20)
        m = imap(box)
        appended = m.append("INBOX", None, None, b"Subject: x\r\n\r\n" + os.urandom(400_000).hex().encode() + b"\r\n")
        check(f"APPEND answers {appended[0]}", lambda: appended[0] == "NO")
        m.select("INBOX", readonly=True)
        found = lambda: sorted(int(re.search(rb"fill(\d+)", x[1]).group(1)) for x in m.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1] if isinstance(x, tuple))
        check("everything that was answered is there and can be read", lambda: found() == answered)
        m.logout()
        with smtplib.SMTP(*box.address("smtp"), timeout=60) as s:
            check("a command is answered all the same", lambda: s.noop()[0] == 250)
        subprocess.run(["mount", "-o", "remount,size=160m", place], check=True)
        check("with room again mail is taken, without a restart", lambda: until(lambda: with_smtp(box, "room"), 30, "it is taken"))
        box.kill()
        box.start()
        check("and all of it is there after kill -9", lambda: len(messages(box)) == len(answered) + 1)
    finally:
        if box:
            box.stop()
            shutil.copy(box.dir / "log", "/tmp/nymote-full.log") if os.environ.get("KEEP") else None
        time.sleep(0.5)
        subprocess.run(["umount", "-l", place], check=False)
        shutil.rmtree(place, ignore_errors=True)


def main():
    box = Appliance(settings='dns = ["127.0.0.1:9"]\n')
    try:
        check.parts((smuggling, commands, bombs, stuck, crowd), box)
    finally:
        box.end()
    check.parts((full_disk,))
    check.end()


if __name__ == "__main__":
    main()
