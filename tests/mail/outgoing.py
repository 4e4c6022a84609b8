"""Mail on its way out: MX and its kin asked of a DNS server of the test's own, hosts that behave well and badly, notices
as a parser reads them, a smart host, kill -9 in the midst of it."""

import base64
import email
import email.policy
import pathlib
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from appliance import Appliance, Checks, until  # noqa: E402
from clients import messages, submission  # noqa: E402
from nameserver import Nameserver  # noqa: E402

check = Checks()


class Host:
    """A mail host on an address of its own. `script` maps a verb (greeting, EHLO, MAIL, RCPT, DATA, text) to what is
    answered: a string, a function of the line, or an exception to raise; `quit` is called at QUIT with the text that was taken in
    the session. `got` has what was taken."""

    def __init__(self, address, port, script=None, features=(), tls=None):
        self.script, self.features, self.tls, self.got, self.heard, self.sessions = script or {}, list(features), tls, [], [], 0
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.server = socket.socket(family, socket.SOCK_STREAM)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind((address, port))
        self.server.listen(50)
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.server.accept()
            except OSError:
                return
            self.sessions += 1
            threading.Thread(target=self.guard, args=(s,), daemon=True).start()

    def guard(self, s):
        try:
            self.serve(s)
        except (OSError, ConnectionError, ssl.SSLError):
            pass
        finally:
            # A reader of the socket may still be held by the exception: close() alone would not end the connection.
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def answer(self, verb, line, usual):
        found = self.script.get(verb, usual)
        found = found(line) if callable(found) else found
        if isinstance(found, BaseException):
            raise found
        return usual if found is None else found

    def serve(self, s):
        f = s.makefile("rb")
        say = lambda text: s.sendall(text.encode() + b"\r\n") if isinstance(text, str) else s.sendall(text)
        say(self.answer("greeting", "", "220 host ESMTP"))
        sender, to, encrypted, taken = "", [], False, None
        while True:
            line = f.readline()
            if not line:
                return
            line = line.decode(errors="replace").rstrip("\r\n")
            self.heard.append(line)
            verb = line.split(" ")[0].upper()
            if verb in ("EHLO", "HELO"):
                features = [x for x in self.features if not (encrypted and x == "STARTTLS")]
                usual = "\r\n".join(["250-host"] + [f"250-{x}" for x in features] + ["250 HELP"]) if verb == "EHLO" else "250 host"
                say(self.answer(verb, line, usual))
            elif verb == "STARTTLS":
                answer = self.answer(verb, line, "220 go")
                say(answer)
                if answer.startswith("220"):
                    s = self.tls.wrap_socket(s, server_side=True)
                    f, encrypted = s.makefile("rb"), True
            elif verb == "AUTH":
                good = line == "AUTH PLAIN " + base64.b64encode(b"\0anna\0secret").decode()
                say("235 ok" if good and encrypted else "535 no")
            elif verb == "MAIL":
                sender, to = line, []
                say(self.answer(verb, line, "250 2.1.0 ok"))
            elif verb == "RCPT":
                answer = self.answer(verb, line, "250 2.1.5 ok")
                to += [line] if answer.startswith("2") else []
                say(answer)
            elif verb == "DATA":
                answer = self.answer(verb, line, "354 go" if to else "554 nobody")
                say(answer)
                if answer.startswith("354"):
                    taken = self.text(f, say, sender, to, encrypted)
            elif verb == "QUIT":
                if taken is not None and "quit" in self.script:
                    self.script["quit"](taken)
                say("221 bye")
                return
            else:
                say("250 ok")

    def text(self, f, say, sender, to, encrypted):
        text = b""
        if "midst" in self.script:
            f.read(2000)
            answer = self.answer("midst", "", "")
            say(answer)
            return
        for line in f:
            if line == b".\r\n":
                break
            text += line[1:] if line.startswith(b".") else line
        else:
            raise ConnectionError("the text does not end")
        answer = self.answer("text", text, "250 2.0.0 taken")
        if answer.startswith("2"):
            self.got.append((sender, to, text, encrypted))
        say(answer)
        return text if answer.startswith("2") else None


def certificate(directory, name):
    key, cert = directory / "key.pem", directory / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert.read_text()


class World:
    """The appliance, its DNS, and mail hosts at 127.1.0.x, all on one port."""

    def __init__(self):
        self.dns = Nameserver()
        probe = socket.create_server(("127.0.0.1", 0))
        self.port = probe.getsockname()[1]
        probe.close()
        self.box = Appliance()
        self.settings()

    def settings(self, more=""):
        self.box.ask("mail.settings", toml=f'dns = ["{self.dns.address}"]\nmx_port = {self.port}\n{more}')

    def host(self, address, **more):
        return Host(address, self.port, **more)

    def send(self, *to, text=b"From: anna@home.test\r\nSubject: out\r\n\r\nhello\r\n", options=(), rcpt_options=()):
        with submission(self.box) as s:
            return s.sendmail("anna@home.test", list(to), text, options, rcpt_options)

    def row(self, to):
        found = [r for e in self.box.ask("queue.list") for r in e["recipients"] if r["to"] == to]
        return found[0] if found else None

    def waits(self, to):
        return until(lambda: (r := self.row(to)) and r["attempts"] > 0 and r, 20, f"{to} was tried")

    def forget(self):
        """Takes out of the queue what is left of other parts."""
        for entry in self.box.ask("queue.list"):
            try:
                self.box.ask("queue.remove", id=entry["id"])
            except RuntimeError:
                pass  # it was done meanwhile

    def empty(self):
        return until(lambda: not self.box.ask("queue.list"), 20, "the queue is empty") is not None

    def notice(self, address, subject="Your message could not be delivered"):
        """The status of a recipient in the newest notice that names it."""
        def find():
            for raw in reversed(messages(self.box)):
                m = email.message_from_bytes(raw, policy=email.policy.default)
                if m["Subject"] == subject and address.encode() in raw:
                    return m
        return until(find, 20, f"a notice for {address}")


def status_of(notice, address):
    report = [p for p in notice.walk() if p.get_content_type() == "message/delivery-status"][0]
    blocks = report.get_payload()
    return next(b for b in blocks if address in str(b.get("Final-Recipient", "")))


def exchanges(w):
    one, two, three = w.host("127.1.0.1"), w.host("127.1.0.2"), w.host("127.1.0.3", script={"greeting": "421 4.3.2 busy"})
    w.dns.add({
        "pref.test": {"MX": ["20 two.mx.test.", "10 one.mx.test."]}, "one.mx.test": {"A": ["127.1.0.1"]}, "two.mx.test": {"A": ["127.1.0.2"]},
        "down.test": {"MX": ["10 dead.mx.test.", "15 busy.mx.test.", "20 two.mx.test."]}, "dead.mx.test": {"A": ["127.1.0.99"]}, "busy.mx.test": {"A": ["127.1.0.3"]},
        "equal.test": {"MX": ["10 one.mx.test.", "10 two.mx.test."]}, "implicit.test": {"A": ["127.1.0.1"]}, "null.test": {"MX": ["0 ."]},
        "alias.test": {"CNAME": ["pref.test."]}, "aliasmx.test": {"MX": ["10 cname.mx.test."]}, "cname.mx.test": {"CNAME": ["one.mx.test."]},
        "many.test": {"MX": ["10 many.mx.test."]}, "many.mx.test": {"A": ["127.1.0.97", "127.1.0.98", "127.1.0.1"]},
        "nohost.test": {"MX": ["10 nowhere.mx.test."]}, "self.test": {"MX": ["10 mail.home.test."]}, "backup.test": {"MX": ["5 one.mx.test.", "10 mail.home.test.", "20 two.mx.test."]},
        "servfail.test": {"!": "servfail"}, "six.test": {"MX": ["10 six.mx.test."]}, "six.mx.test": {"AAAA": ["::1"], "A": ["127.1.0.99"]},
        "text.test": {"TXT": ['"x"']},
    })
    last = lambda host: host.got[-1][1] if host.got else []
    w.send("a@pref.test")
    check("MX: the lower preference is taken", lambda: until(lambda: last(one) == ["RCPT TO:<a@pref.test>"], 10, "one"))
    w.send("b@down.test")
    check("MX: a dead host and a busy one are passed over", lambda: until(lambda: last(two) == ["RCPT TO:<b@down.test>"] and three.sessions > 0, 10, "two"))
    for i in range(24):
        w.send(f"c{i}@equal.test")
    w.empty()
    share = sum(g[1][0].endswith("@equal.test>") for g in one.got)
    check(f"MX: equal ones share ({share} and {24 - share})", lambda: 1 <= share <= 23 and sum(g[1][0].endswith("@equal.test>") for g in two.got) == 24 - share)
    w.send("d@implicit.test")
    check("without MX the domain itself is the host", lambda: until(lambda: last(one) == ["RCPT TO:<d@implicit.test>"], 10, "one"))
    w.send("e@alias.test", "f@aliasmx.test")
    check("a CNAME is followed, for the domain and for the host", lambda: until(lambda: {"RCPT TO:<e@alias.test>", "RCPT TO:<f@aliasmx.test>"} <= {g[1][0] for g in one.got}, 10, "both"))
    w.send("g@many.test")
    check("the third of three addresses answers", lambda: until(lambda: last(one) == ["RCPT TO:<g@many.test>"], 10, "one"))
    w.send("h@null.test", "i@nosuch.test", "j@nohost.test", "k@self.test", "l@text.test")
    for to, code in (("h@null.test", "5.1.10"), ("i@nosuch.test", "5.1.2"), ("j@nohost.test", "5.4.4"), ("k@self.test", "5.4.6"), ("l@text.test", "5.4.4")):
        check(f"{to} comes back with {code}", lambda to=to, code=code: status_of(w.notice(to), to)["Status"] == code)
    w.send("m@backup.test")
    check("of the hosts before us in the MX list one gets it, none behind", lambda: until(lambda: last(one) == ["RCPT TO:<m@backup.test>"], 10, "one"))
    w.send("n@servfail.test")
    check("a DNS that fails means later", lambda: w.waits("n@servfail.test")["state"] == "waiting")
    try:
        six = Host("::1", w.port)
        w.send("o@six.test")
        check("IPv6 is tried after IPv4", lambda: until(lambda: last(six) == ["RCPT TO:<o@six.test>"], 20, "six"))
    except OSError as error:
        print(f"skip IPv6: {error}")
    w.box.ask("queue.remove", id=next(e["id"] for e in w.box.ask("queue.list")))


def hosts(w):
    """What one host says at each stage, and what becomes of the mail."""
    context, _ = certificate(w.box.dir, "tls.mx.test")
    broken = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # no certificate: every handshake fails
    number = iter(range(10, 250))

    def host(name, **more):
        address = f"127.1.0.{next(number)}"
        w.dns.add({name: {"MX": [f"10 mx.{name}."]}, f"mx.{name}": {"A": [address]}})
        return w.host(address, **more)

    good = host("tls.test", features=["STARTTLS", "PIPELINING"], tls=context)
    w.send("a@tls.test")
    check("STARTTLS is used where offered", lambda: until(lambda: good.got and good.got[0][3], 10, "TLS"))
    bad = host("badtls.test", features=["STARTTLS"], tls=broken)
    w.send("a@badtls.test")
    check("where TLS is offered and broken it goes in the clear", lambda: until(lambda: bad.got and not bad.got[0][3], 10, "in the clear"))
    no = host("notls.test", features=["STARTTLS"], script={"STARTTLS": "454 4.7.0 not now"})
    w.send("a@notls.test")
    check("STARTTLS refused: in the clear", lambda: until(lambda: no.got, 10, "in the clear"))
    each = host("each.test", features=["PIPELINING", "SIZE 1000000"], script={"RCPT": lambda line: "550 5.1.1 who" if "gone" in line else "451 4.2.1 later" if "later" in line else None})
    w.send("ok@each.test", "gone@each.test", "later@each.test")
    check("each recipient has a result of its own", lambda: status_of(w.notice("gone@each.test"), "gone@each.test")["Status"] == "5.1.1"
          and each.got[0][1] == ["RCPT TO:<ok@each.test>"] and w.waits("later@each.test")["status"] == "4.2.1")
    check("SIZE is said where offered", lambda: any(" SIZE=" in line for line in each.heard))
    small = host("small.test", features=["SIZE 100"])
    w.send("a@small.test")
    check("a message above the host's SIZE is not sent", lambda: status_of(w.notice("a@small.test"), "a@small.test")["Status"] == "5.3.4" and not any(h.startswith("MAIL") for h in small.heard))
    for stage, answers in {"greeting": ("421 4.0.0 x", "554 5.7.1 x"), "EHLO": ("421 4.0.0 x",), "MAIL": ("451 4.0.0 x", "550 5.7.1 x"), "RCPT": ("450 4.0.0 x", "550 5.7.1 x"),
                           "DATA": ("451 4.0.0 x", "554 5.7.1 x"), "text": ("452 4.0.0 x", "554 5.7.1 x")}.items():
        for answer in answers:
            name = f"{stage.lower()}{answer[:3]}.test"
            host(name, script={stage: answer})
            w.send(f"a@{name}")
            temporary = answer[0] == "4" or stage == "greeting"
            if temporary:
                check(f"{answer[:3]} at {stage}: tried again later", lambda name=name: w.waits(f"a@{name}")["state"] == "waiting")
            else:
                check(f"{answer[:3]} at {stage}: comes back", lambda name=name: status_of(w.notice(f"a@{name}"), f"a@{name}")["Status"] == "5.7.1")
    for what, script in {"garbage": {"greeting": "what is this"}, "silence at the end": {"text": ConnectionError()}, "a line that never ends": {"greeting": "220 " + "x" * 100_000},
                         "closing after EHLO": {"EHLO": ConnectionError()}, "closing in the text": {"midst": ConnectionError()}, "354 for 250": {"RCPT": "354 go"}}.items():
        name = what.replace(" ", "-").lower() + ".test"
        host(name, script=script)
        w.send(f"a@{name}", text=b"From: anna@home.test\r\n\r\n" + b"x" * 70 + b"\r\n" * 1 + b"y\r\n" * 100_000)
        check(f"{what}: tried again later", lambda name=name: w.waits(f"a@{name}")["state"] == "waiting")
    early = host("early.test", script={"midst": "552 5.3.4 too much"})
    w.send("a@early.test", text=b"From: anna@home.test\r\n\r\n" + b"y" * 70 + b"\r\n" + b"z\r\n" * 500_000)
    check("a refusal in the midst of the text is heard", lambda: status_of(w.notice("a@early.test"), "a@early.test")["Status"] == "5.3.4")
    stuck = host("stuck.test", script={"greeting": lambda line: time.sleep(60) or "220 at last"})
    for _ in range(12):
        w.send("a@stuck.test")
    w.send("b@tls.test")
    check("a host that sleeps keeps no other waiting", lambda: until(lambda: any(g[1] == ["RCPT TO:<b@tls.test>"] for g in good.got), 10, "the other") and stuck.sessions <= 4)
    eight = "From: anna@home.test\r\nSubject: eight\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße, größer\r\n".encode()
    seven, has8 = host("seven.test"), host("eight.test", features=["8BITMIME"])
    w.send("a@seven.test", "a@eight.test", text=eight, options=["BODY=8BITMIME"])
    until(lambda: seven.got and has8.got, 10, "both")
    body = lambda host: email.message_from_bytes(host.got[0][2]).get_payload(decode=True).decode()
    check("without 8BITMIME the text goes in 7 bits and reads the same", lambda: seven.got[0][2].isascii() and body(seven) == "Grüße, größer\r\n" and "BODY=" not in seven.got[0][0])
    check("with 8BITMIME it goes as it is", lambda: "Grüße".encode() in has8.got[0][2] and "BODY=8BITMIME" in has8.got[0][0])
    check("and both signatures hold, before and after", lambda: signed(w, has8.got[0][2]) and signed(w, seven.got[0][2]))
    inter, plain = host("inter.test", features=["SMTPUTF8", "8BITMIME"]), host("plain.test", features=["8BITMIME"])
    raw = "From: anna@home.test\r\nTo: grün@inter.test\r\nSubject: Grüße\r\n\r\nx\r\n".encode()
    with submission(w.box) as s:
        s.ehlo()
        s.docmd("MAIL FROM:<anna@home.test> SMTPUTF8 BODY=8BITMIME")
        for to in ("grün@inter.test", "grün@plain.test"):
            s.send(f"RCPT TO:<{to}>\r\n".encode())
            s.getreply()
        s.docmd("DATA")
        s.send(raw + b".\r\n")
        s.getreply()
    check("SMTPUTF8 goes where it is offered", lambda: until(lambda: inter.got, 10, "inter") and "SMTPUTF8" in inter.got[0][0] and inter.got[0][1] == ["RCPT TO:<grün@inter.test>"])
    check("and comes back where it is not", lambda: until(lambda: any(b"5.6.7" in m and b"utf-8; gr\\x{FC}n@plain.test" in m for m in messages(w.box)), 20, "notice") and not plain.got)
    dsn, nodsn = host("dsn.test", features=["DSN"]), host("nodsn.test")
    w.send("a@dsn.test", "b@nodsn.test", options=["RET=HDRS", "ENVID=abc+2B1"], rcpt_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;x@y.test"])
    check("a host with DSN gets NOTIFY, RET, ENVID, ORCPT", lambda: until(lambda: dsn.got, 10, "dsn") and "RET=HDRS ENVID=abc+2B1" in dsn.got[0][0]
          and "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@y.test" in dsn.got[0][1][0])
    relayed = w.notice("b@nodsn.test", "Your message was delivered")
    check("for a host without DSN we tell of success", lambda: status_of(relayed, "b@nodsn.test")["Action"] == "relayed" and "x@y.test" in status_of(relayed, "b@nodsn.test")["Original-Recipient"] and nodsn.got)
    check("and not for the one that does itself", lambda: not any(b"was delivered" in m and b"a@dsn.test" in m for m in messages(w.box)))
    report = w.notice("gone@each.test")
    check("a notice is multipart/report as RFC 3464 has it", lambda: report.get_content_type() == "multipart/report" and report.get_param("report-type") == "delivery-status"
          and report["Auto-Submitted"] == "auto-replied" and [p.get_content_type() for p in report.iter_parts()] == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
          and "Return-Path: <>" in str(report) or report["Return-Path"] == "<>")
    w.settings("queue_days = 0\n")
    host("giveup.test", script={"RCPT": "450 4.2.0 later"})
    w.send("a@giveup.test")
    given = w.notice("a@giveup.test")
    check("what was tried long enough is given up with 5.4.7 and the last answer", lambda: status_of(given, "a@giveup.test")["Status"] == "5.4.7" and "450 4.2.0 later" in status_of(given, "a@giveup.test")["Diagnostic-Code"])
    w.settings()


def signed(w, raw):
    import dkim
    records = {r["name"] + ".": r["data"].replace('" "', "").strip('"').encode() for r in w.box.ask("mail.dns") if "_domainkey" in r["name"]}
    judge = dkim.DKIM(raw)
    count = raw.count(b"DKIM-Signature:")
    return count == 2 and all(judge.verify(i, dnsfunc=lambda name, timeout=5: records.get(name.decode() if isinstance(name, bytes) else name)) for i in range(count))


def smart_host(w):
    context, pem = certificate(w.box.dir, "smart.test")
    w.dns.add({"smart.test": {"A": ["127.1.0.3"]}})
    host = Host("127.1.0.3", 0, features=["STARTTLS", "AUTH PLAIN LOGIN"], tls=context)
    smart = lambda password, trust: f'[smart_host]\nhost = "smart.test:{host.port}"\nuser = "anna"\npassword = "{password}"\ntrust_pem = """{trust}"""\n'
    w.settings(smart("secret", pem))
    w.send("x@anywhere.test", "y@elsewhere.test")
    check("a smart host gets everything, over TLS, after a login", lambda: until(lambda: sum(len(g[1]) for g in host.got) == 2, 15, "both") and all(g[3] for g in host.got))
    before = len(host.got)
    w.settings(smart("wrong", pem))
    w.send("z@anywhere.test")
    check("a wrong password: the mail waits", lambda: w.waits("z@anywhere.test")["status"].startswith("4.7") and len(host.got) == before)
    w.settings(smart("secret", ""))
    heard = len(host.heard)
    w.box.ask("queue.flush")
    until(lambda: (w.row("z@anywhere.test") or {}).get("attempts", 9) > 1, 15, "a second attempt")
    check("a certificate that nobody vouches for gets no password", lambda: not any(h.startswith("AUTH") for h in host.heard[heard:]) and w.row("z@anywhere.test")["state"] == "waiting")
    w.settings(smart("secret", pem))
    w.box.ask("queue.flush")
    check("and goes when it is set right", lambda: until(lambda: len(host.got) > before, 15, "it"))
    w.settings()


def killed(w):
    """kill -9 again and again while mail goes out: all of it arrives, and twice only what the host never heard the end of. QUIT
    goes out when the answer is on our disk: a host that heard it is never sent the message again."""
    asked, answered, heard, again = {}, {}, set(), []
    lock = threading.Lock()

    def taken(text):
        name = email.message_from_bytes(text)["Subject"]
        with lock:
            asked[name] = asked.get(name, 0) + 1
            again.extend([name] * (name in heard))
        return "250 2.0.0 taken"

    def quit_after(text):
        with lock:
            heard.add(email.message_from_bytes(text)["Subject"])
    w.settings()
    w.forget()
    w.host("127.1.0.4", script={"text": taken, "quit": quit_after}, features=["PIPELINING"])
    w.dns.add({"kill.test": {"MX": ["10 mx.kill.test."]}, "mx.kill.test": {"A": ["127.1.0.4"]}})
    sent, kills = 0, 0
    while kills < 6:
        accepted = []
        try:
            with submission(w.box) as s:
                for _ in range(25):
                    name = f"out{sent}"
                    sent += 1
                    s.sendmail("anna@home.test", ["a@kill.test"], f"From: anna@home.test\r\nSubject: {name}\r\n\r\n{'x' * 2000}\r\n".encode())
                    answered[name] = True
                    accepted.append(name)
                    if len(accepted) == 5 + 3 * kills:
                        threading.Timer(0.02 * kills, w.box.kill).start()
        except (OSError, smtplib.SMTPException):
            pass
        until(lambda: w.box.process.poll() is not None, 10, "it is dead") if kills or len(accepted) >= 5 else w.box.kill()
        kills += 1
        w.box.start()
    w.settings()
    w.box.ask("queue.flush")
    w.empty()
    lost = [name for name in answered if name not in asked]
    twice = [name for name, times in asked.items() if times > 1]
    check(f"kill -9, {kills} times: of {len(answered)} answered none is lost", lambda: not lost)
    check(f"and {len(twice)} came twice, each under way when it was killed", lambda: len(twice) <= 4 * kills)
    check(f"none of the {len(heard)} whose answer the host knew to be heard came again", lambda: len(heard) >= len(answered) - 4 * kills and not again)


def main():
    w = World()
    try:
        check.parts((exchanges, hosts, smart_host, killed), w)
    finally:
        w.box.end()
    check.end()


if __name__ == "__main__":
    main()
