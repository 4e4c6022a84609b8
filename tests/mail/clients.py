"""What the journeys share: IMAP by imaplib, a wire of lines, a sink that takes mail, a browser's least."""

import imaplib
import pathlib
import smtplib
import socket
import sys
import threading
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from appliance import PASSWORD, tls  # noqa: E402


def imap(box, user="anna"):
    host, port = box.address("imaps")
    m = imaplib.IMAP4_SSL(host, port, ssl_context=tls(), timeout=30)
    m.login(user, PASSWORD)
    return m


def messages(box, user="anna", mailbox="INBOX"):
    m = imap(box, user)
    try:
        if m.select(f'"{mailbox}"', readonly=True)[0] != "OK":
            return []
        found = m.search(None, "ALL")[1][0].split()
        return [m.fetch(n, "(BODY.PEEK[])")[1][0][1] for n in found]
    finally:
        m.logout()


def with_subject(box, subject, user="anna", mailbox="INBOX"):
    return [raw for raw in messages(box, user, mailbox) if f"Subject: {subject}\r\n".encode() in raw.split(b"\r\n\r\n")[0] + b"\r\n"]


class Wire:
    """A socket that says and hears lines."""

    def __init__(self, address, timeout=20):
        self.s = socket.create_connection(address, timeout=timeout)
        self.f = self.s.makefile("rb")
        self.heard = self.hear()

    def hear(self):
        lines = []
        while True:
            line = self.f.readline()
            if not line:
                return "".join(lines) or "closed"
            lines.append(line.decode(errors="replace"))
            if line[3:4] != b"-":
                return "".join(lines)

    def say(self, text):
        self.s.sendall(text if isinstance(text, bytes) else text.encode())
        return self.hear()

    def ask(self, *lines):
        return [self.say(line + "\r\n")[:3] for line in lines]


def submission(box):
    host, port = box.address("submission")
    s = smtplib.SMTP(host, port, timeout=30)
    s.starttls(context=tls())
    s.login("anna", PASSWORD)
    return s


class Sink:
    """A host that takes mail; `script` says what it answers to RCPT and to the text."""

    def __init__(self, rcpt=lambda to: "250 2.1.5 ok", text=lambda: "250 2.0.0 taken", features=()):
        self.rcpt, self.text, self.features, self.got = rcpt, text, features, []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        f = s.makefile("rb")
        say = lambda text: s.sendall(text.encode() + b"\r\n")
        sender, to = "", []
        try:
            say("220 sink")
            for line in f:
                word = line.strip().upper()
                if word.startswith(b"EHLO"):
                    say("\r\n".join(["250-sink"] + [f"250-{x}" for x in self.features] + ["250 HELP"]))
                elif word.startswith(b"MAIL"):
                    sender, to = line.strip().decode(), []
                    say("250 ok")
                elif word.startswith(b"RCPT"):
                    answer = self.rcpt(line.decode())
                    to += [line.strip().decode()] if answer.startswith("2") else []
                    say(answer)
                elif word == b"DATA":
                    say("354 go" if to else "554 nobody")
                    if to:
                        text = b""
                        for line in f:
                            if line == b".\r\n":
                                break
                            text += line[1:] if line.startswith(b".") else line
                        answer = self.text()
                        if answer.startswith("2"):
                            self.got.append((sender, to, text))
                        say(answer)
                elif word == b"QUIT":
                    say("221 bye")
                    return
                else:
                    say("250 ok")
        except OSError:
            pass
        finally:
            s.close()


def route(box, **more):
    lines = "\n".join(f'"{domain}" = "127.0.0.1:{port}"' for domain, port in more.pop("routes", {}).items())
    settings = "".join(f"{k} = {v}\n" for k, v in more.items())
    box.ask("mail.settings", toml=f'{settings}dns = ["127.0.0.1:9"]\n[aliases]\nfamily = ["anna", "ben"]\n[routes]\n{lines}\n')


class Browser:
    """Just enough of one: cookies, forms, links."""

    def __init__(self, box):
        import http.cookiejar
        host, port = box.address("web")
        self.root = f"https://127.0.0.1:{port}"
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar(policy=http.cookiejar.DefaultCookiePolicy(secure_protocols=("https",))))
        self.open = urllib.request.build_opener(jar, urllib.request.HTTPSHandler(context=tls())).open

    def get(self, path):
        request = urllib.request.Request(self.root + path, headers={"Accept": "text/html"})
        with self.open(request, timeout=30) as answer:
            return answer.read().decode(errors="replace")

    def post(self, path, **fields):
        data = urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(self.root + path, data, {"Accept": "text/html", "Origin": self.root})
        with self.open(request, timeout=30) as answer:
            return answer.read().decode(errors="replace")

    def field(self, page, name):
        return page.split(f'name="{name}" value="', 1)[1].split('"', 1)[0]
