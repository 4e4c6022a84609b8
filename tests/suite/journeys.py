"""The four journeys over one household: mail in and out, a contact, an event, a name. One transcript wherever it runs.

`run(household)` gives the lines of the transcript. A household is endpoints and secrets, nothing else, so that the same
code speaks to processes of one machine and to four machines on Xen:

    {"domain", "ca": PATH, "user", "address", "password", "sink": the port that `nymote mail` was told to send to,
     "endpoints": {"smtp": "IP:PORT", "submissions", "imaps", "contacts": "https://IP:PORT", "calendar", "signpost", "dns"},
     "names": the host name that certificates are checked against, by endpoint; the endpoint's address without one}

What differs from run to run (times, ids, ports) never enters a transcript; what is compared does, literally.
"""
import base64
import email
import email.policy
import imaplib
import re
import smtplib
import socket
import socketserver
import ssl
import struct
import threading
import time
import urllib.parse
from email.message import EmailMessage
from http.client import HTTPSConnection

ROUNDS = "nymote-journey"


class Sink(socketserver.ThreadingTCPServer):
    """A mail host of somebody else: takes what it is given and keeps it."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address="127.0.0.1"):
        self.messages = []
        super().__init__((address, 0), Session)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def wait(self, token, within=60):
        """The first message that holds the token: (sender, recipients, text)."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            for sender, recipients, text in list(self.messages):
                if token in text:
                    return sender, recipients, text
            time.sleep(0.1)
        return None


class Session(socketserver.StreamRequestHandler):
    """One connection to the sink (RFC 5321, as little as a sender needs)."""

    timeout = 60

    def handle(self):
        sender, recipients = "", []
        self.say("220 sink.example ESMTP")
        for line in self.rfile:
            verb = line.decode("utf-8", "replace").strip()
            upper = verb.upper()
            if upper.startswith("EHLO"):
                self.wfile.write(b"250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
            elif upper.startswith("MAIL FROM:"):
                sender, recipients = verb[10:].split(" ")[0].strip("<>"), []
                self.say("250 ok")
            elif upper.startswith("RCPT TO:"):
                recipients.append(verb[8:].split(" ")[0].strip("<>"))
                self.say("250 ok")
            elif upper == "DATA":
                self.say("354 go on")
                lines = []
                for text in self.rfile:
                    if text == b".\r\n":
                        break
                    lines.append(text.removeprefix(b"."))
                self.server.messages.append((sender, recipients, b"".join(lines).decode("utf-8", "replace")))
                self.say("250 taken")
            elif upper == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")


def split(endpoint):
    host, port = endpoint.removeprefix("https://").rstrip("/").rsplit(":", 1)
    return host.strip("[]"), int(port)


class Household:
    """Endpoints, secrets and the trust in the household's authority."""

    def __init__(self, data):
        self.data = data
        self.domain, self.user, self.address, self.password = (data[k] for k in ("domain", "user", "address", "password"))
        self.endpoints = data["endpoints"]
        self.trust = ssl.create_default_context(cafile=data["ca"])

    def name(self, endpoint):
        """The name that this endpoint's certificate is checked against."""
        return self.data.get("names", {}).get(endpoint) or split(self.endpoints[endpoint])[0]

    def tls(self, endpoint):
        """A TLS connection, its certificate checked by the household's authority."""
        plain = socket.create_connection(split(self.endpoints[endpoint]), timeout=60)
        return self.trust.wrap_socket(plain, server_hostname=self.name(endpoint))

    def ask(self, endpoint, method, path, body=None, login=None, **fields):
        """A request with HTTP Basic; gives status, header fields, text."""
        user, password = login or (self.user, self.password)
        connection = HTTPSConnection(*split(self.endpoints[endpoint]), timeout=60)
        connection.sock = self.tls(endpoint)
        secret = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {secret}"} | {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, body.encode() if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        connection.close()
        return response.status, response.headers, text

    def imap(self):
        """A session, logged in."""
        session = Imap(self)
        session.login(self.user, self.password)
        return session


class Imap(imaplib.IMAP4):
    """imaplib over a connection that the household makes."""

    def __init__(self, household):
        self.household = household
        super().__init__(*split(household.endpoints["imaps"]), timeout=60)

    def _create_socket(self, timeout):
        return self.household.tls("imaps")


def letter(sender, recipient, subject, text):
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = sender, recipient, subject
    message["Date"], message["Message-ID"] = "Sat, 21 Nov 2026 10:00:00 +0000", f"<{ROUNDS}.{len(subject)}@elsewhere.example>"
    message.set_content(text)
    return message


def until(look, within=60):
    """Waits for something that is not empty."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    return None


def mail_in(house, say):
    """A stranger's host delivers by SMTP; the owner reads by IMAP, answers the flags, files it away."""
    subject = "Grüße vom Bahnhof"
    body = "The train leaves at ten.\r\n.a line with a dot\r\n"
    with smtplib.SMTP(*split(house.endpoints["smtp"]), timeout=60) as smtp:
        smtp.ehlo("elsewhere.example")
        offered = {name for name in ("pipelining", "size", "8bitmime", "smtputf8", "chunking", "starttls", "enhancedstatuscodes")
                   if smtp.has_extn(name)}
        say(f"smtp offers {' '.join(sorted(offered))}")
        smtp.mail("friend@elsewhere.example")
        say(f"smtp: a recipient of another domain is {'refused' if smtp.rcpt('someone@other.example')[0] >= 500 else 'taken'}")
        say(f"smtp: a recipient that is not there is {'refused' if smtp.rcpt('nobody-here@' + house.domain)[0] >= 500 else 'taken'}")
        say(f"smtp: the owner is {smtp.rcpt(house.address)[0]}")
        say(f"smtp: the letter is {smtp.data(bytes(letter('friend@elsewhere.example', house.address, subject, body)))[0]}")
    session = house.imap()
    session.enable("UTF8=ACCEPT") if "ENABLE" in session.capabilities else None
    look = lambda: session.select("INBOX")[0] == "OK" and session.uid("SEARCH", None, "FROM", "elsewhere.example")[1][0].split()
    found = until(look) or []
    say(f"imap: {len(found)} letter from there")
    if found:
        kind, parts = session.uid("FETCH", found[-1], "(FLAGS BODY.PEEK[])")
        read = email.message_from_bytes(parts[0][1], policy=email.policy.default)
        say(f"imap: subject {read['subject']!r}, from {read['from']!r}")
        say(f"imap: text {read.get_content()!r}")
        say(f"imap: it says who checked it: {'Authentication-Results' in read} {read['Return-Path']!s}")
        session.uid("STORE", found[-1], "+FLAGS", r"(\Seen \Flagged)")
        flags = re.search(rb"FLAGS \(([^)]*)\)", session.uid("FETCH", found[-1], "(FLAGS)")[1][0]).group(1)
        say(f"imap: flags {' '.join(sorted(set(flags.decode().split()) - {chr(92) + 'Recent'}))}")
        say(f"imap: moved to Archive: {session.uid('MOVE', found[-1], 'Archive')[0]}, "
            f"{len(session.uid('SEARCH', None, 'FROM', 'elsewhere.example')[1][0].split())} left")
        session.select("Archive", readonly=True)
        say(f"imap: in Archive {len(session.uid('SEARCH', None, 'FLAGGED')[1][0].split())} with its flag")
    session.logout()


def mail_out(house, sink, say):
    """The owner submits a letter for somebody elsewhere; it arrives signed, without Bcc, with a copy in Sent."""
    message = letter(house.address, "friend@elsewhere.example", f"{ROUNDS} out", "See you at the station.\r\n")
    message["Bcc"] = "secret@elsewhere.example"
    host, port = split(house.endpoints["submissions"])
    smtp = smtplib.SMTP(timeout=60)
    smtp.sock = house.tls("submissions")
    smtp.file = None
    smtp._host = host
    say(f"submissions: greeted by {smtp.getreply()[0]}")
    smtp.ehlo("laptop.example")
    try:
        smtp.mail("anybody@elsewhere.example")
        say(f"submissions: without a password {smtp.rcpt('friend@elsewhere.example')[0]}")
        smtp.rset()
    except smtplib.SMTPException as error:
        say(f"submissions: without a password {type(error).__name__}")
    say(f"submissions: the password is {smtp.login(house.user, house.password)[0]}")
    smtp.mail("somebody.else@" + house.domain)
    say(f"submissions: another's sender is {'refused' if smtp.rcpt('friend@elsewhere.example')[0] >= 500 else 'taken'}")
    smtp.rset()
    refused = smtp.sendmail(house.address, ["friend@elsewhere.example", "secret@elsewhere.example"], bytes(message))
    say(f"submissions: refused {refused}")
    smtp.quit()
    arrived = sink.wait(f"{ROUNDS} out")
    say(f"sink: it arrived: {arrived is not None}")
    if arrived:
        sender, recipients, text = arrived
        head = email.message_from_string(text, policy=email.policy.default)
        say(f"sink: from {sender.split('@')[-1] == house.domain}, Bcc {'Bcc' in head}, signed {'DKIM-Signature' in head}")
        say(f"sink: text {head.get_content()!r}")
    session = house.imap()

    def sent():
        session.select("Sent", readonly=True)
        return session.uid("SEARCH", None, "SUBJECT", f'"{ROUNDS} out"')[1][0].split()

    say(f"imap: {len(until(sent) or [])} copy in Sent")
    session.logout()


def href(text, kind):
    """The address in a property of a multi-status answer."""
    found = re.search(rf"<(?:\w+:)?{kind}\b[^>]*>\s*<(?:\w+:)?href[^>]*>([^<]+)<", text)
    return urllib.parse.urlsplit(found.group(1)).path if found else None


def home(house, endpoint, kind, namespace):
    """RFC 6764: from the well-known address to the principal to the home of collections."""
    status, headers, _ = house.ask(endpoint, "PROPFIND", f"/.well-known/{kind}", "", Depth="0")
    path = urllib.parse.urlsplit(headers.get("Location", "/")).path if status in (301, 302, 307, 308) else f"/.well-known/{kind}"
    ask = '<propfind xmlns="DAV:"><prop>{}</prop></propfind>'
    principal = href(house.ask(endpoint, "PROPFIND", path, ask.format("<current-user-principal/>"), Depth="0")[2], "current-user-principal")
    wanted = "addressbook-home-set" if kind == "carddav" else "calendar-home-set"
    prop = f'<c:{wanted} xmlns:c="{namespace}"/>'
    place = href(house.ask(endpoint, "PROPFIND", principal or "/", ask.format(prop), Depth="0")[2], wanted)
    listing = house.ask(endpoint, "PROPFIND", place or "/", ask.format("<resourcetype/>"), Depth="1")[2]
    mark = "addressbook" if kind == "carddav" else "calendar"
    for response in re.findall(r"<(?:\w+:)?response\b.*?</(?:\w+:)?response>", listing, re.S):
        if re.search(rf"<(?:\w+:)?{mark}\s*/?>", response):
            return urllib.parse.urlsplit(re.search(r"<(?:\w+:)?href[^>]*>([^<]+)<", response).group(1)).path
    return None


CARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:journey-1\r\nFN:Zoë Müller\r\nN:Müller;Zoë;;;\r\nEMAIL;TYPE=home:zoe@elsewhere.example\r\nX-KEPT;A=1:as it was\r\nEND:VCARD\r\n"
EVENT = ("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//journey//EN\r\nBEGIN:VEVENT\r\nUID:journey-2\r\nDTSTAMP:20261121T100000Z\r\n"
         "DTSTART:20261201T090000Z\r\nDTEND:20261201T093000Z\r\nRRULE:FREQ=WEEKLY;COUNT=4\r\nSUMMARY:Swimming\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")


def dav(house, say, endpoint, kind, namespace, name, text, media, report, change):
    """A client finds its collection, puts an object, another one changes it, both know; a stale write does not win."""
    place = home(house, endpoint, kind, namespace)
    say(f"{kind}: found by the well-known address: {place is not None}")
    if place is None:
        return
    path = place.rstrip("/") + "/" + name
    status, headers, _ = house.ask(endpoint, "PUT", path, text, Content_Type=media, If_None_Match="*")
    say(f"{kind}: put {status}")
    status, headers, got = house.ask(endpoint, "GET", path)
    tag = headers.get("ETag")
    say(f"{kind}: got {status}, {headers.get_content_type()}, as it was put: {got == text}, tagged {bool(tag)}")
    say(f"{kind}: twice is {house.ask(endpoint, 'PUT', path, text, Content_Type=media, If_None_Match='*')[0]}")
    say(f"{kind}: with a fragment {fragment(house, endpoint, place)}")
    status, _, found = house.ask(endpoint, "REPORT", place, report, Depth="1", Content_Type="application/xml")
    say(f"{kind}: query {status}, {len(re.findall(r'journey-', found))} found")
    say(f"{kind}: changed {house.ask(endpoint, 'PUT', path, text.replace(*change), Content_Type=media, If_Match=tag)[0]}")
    say(f"{kind}: reads {change[1] in house.ask(endpoint, 'GET', path)[2]}")
    say(f"{kind}: deleted {house.ask(endpoint, 'DELETE', path)[0]}, then {house.ask(endpoint, 'GET', path)[0]}")
    say(f"{kind}: put again {house.ask(endpoint, 'PUT', path, text, Content_Type=media)[0]}")


def fragment(house, endpoint, place):
    """http.client refuses a strange target itself, so the request goes by hand."""
    with house.tls(endpoint) as stream:
        secret = base64.b64encode(f"{house.user}:{house.password}".encode()).decode()
        stream.sendall(f"DELETE {place}#x HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {secret}\r\n\r\n".encode())
        return stream.recv(100).split(b" ")[1].decode()


def contact(house, say):
    report = ('<c:addressbook-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"><d:prop><c:address-data/></d:prop>'
              '<c:filter><c:prop-filter name="FN"><c:text-match match-type="contains">Zoë</c:text-match></c:prop-filter></c:filter>'
              '</c:addressbook-query>')
    dav(house, say, "contacts", "carddav", "urn:ietf:params:xml:ns:carddav", "journey-1.vcf", CARD, "text/vcard", report,
        ("zoe@elsewhere", "zoe.m@elsewhere"))


def event(house, say):
    report = ('<c:calendar-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:prop><c:calendar-data/></d:prop><c:filter>'
              '<c:comp-filter name="VCALENDAR"><c:comp-filter name="VEVENT"><c:time-range start="20261215T000000Z" end="20261216T000000Z"/>'
              '</c:comp-filter></c:comp-filter></c:filter></c:calendar-query>')
    dav(house, say, "calendar", "caldav", "urn:ietf:params:xml:ns:caldav", "journey-2.ics", EVENT, "text/calendar", report,
        ("Swimming", "Swimming with Zoë"))


def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


def resolve(house, name, kind=1, tcp=False):
    """One question (RFC 1035); gives rcode, the AA bit and the answers' data as hex."""
    query = struct.pack(">6H", 4711, 0x0100, 1, 0, 0, 0) + encoded(name) + struct.pack(">2H", kind, 1)
    at = split(house.endpoints["dns"])
    for _ in range(10):
        try:
            answer = over_tcp(at, query) if tcp else over_udp(at, query)
            break
        except OSError:
            continue
    else:
        return "silence", False, []
    flags, questions, answers = struct.unpack(">3H", answer[2:8])
    place = 12 + len(query) - 12
    found = []
    for _ in range(answers):
        while answer[place] and answer[place] < 0xC0:
            place += answer[place] + 1
        place += 2 if answer[place] >= 0xC0 else 1
        length = struct.unpack(">H", answer[place + 8:place + 10])[0]
        found.append(answer[place + 10:place + 10 + length].hex())
        place += 10 + length
    return flags & 15, bool(flags & 0x0400), found


def over_udp(at, query):
    with socket.socket(socket.AF_INET6 if ":" in at[0] else socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(3)
        udp.connect(at)
        udp.send(query)
        return udp.recv(4096)


def over_tcp(at, query):
    with socket.create_connection(at, timeout=10) as tcp:
        tcp.sendall(struct.pack(">H", len(query)) + query)
        reader = tcp.makefile("rb")
        return reader.read(struct.unpack(">H", reader.read(2))[0])


def device(house, host):
    """Logs in on the pages as a browser does, makes a device for a name; gives its password."""
    def form(path, cookie, **fields):
        headers = {"Cookie": cookie, "Origin": "https://" + origin, "Host": origin,
                   "Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        connection = HTTPSConnection(*split(house.endpoints["signpost"]), timeout=60)
        connection.sock = house.tls("signpost")
        connection.request("POST" if fields else "GET", path, urllib.parse.urlencode(fields) if fields else None, headers)
        response = connection.getresponse()
        return response.headers, response.read().decode()

    origin = ":".join(map(str, split(house.endpoints["signpost"])))
    cookie = form("/login", "", user=house.user, password=house.password, next="/names")[0]["Set-Cookie"].split(";")[0]
    csrf = re.search(r'name="csrf" value="([^"]+)"', form("/names", cookie)[1]).group(1)
    made = form("/names", cookie, csrf=csrf, name="journey", host=host)[1]
    return re.search(r"<code[^>]*>([a-z0-9-]{20,})</code>", made).group(1)


def name(house, say):
    """The household's zone answers with authority; a device reports its new address (dyndns2), and the world knows."""
    host = f"journey.{house.domain}"
    rcode, authority, found = resolve(house, house.domain, 6)
    say(f"dns: the zone has an SOA: {rcode} {authority} {len(found)}")
    say(f"dns: before: {resolve(house, host)[0]}")
    password = device(house, host)
    say(f"dns: a stranger's update {house.ask('signpost', 'GET', f'/nic/update?hostname={host}&myip=192.0.2.66')[0]}")
    for address in ("192.0.2.33", "192.0.2.34"):
        status, _, text = house.ask("signpost", "GET", f"/nic/update?hostname={host}&myip={address}", login=("journey", password))
        say(f"dns: update {status} {text.split()[0] if text.split() else ''}")
        wanted = socket.inet_aton(address).hex()
        seen = until(lambda: resolve(house, host)[2] == [wanted], within=10)
        say(f"dns: answers {address}: {bool(seen)} by UDP, {resolve(house, host, tcp=True)[2] == [wanted]} by TCP")
    say(f"dns: an IPv6 address: {resolve(house, host, 28)[::2]}")
    say(f"dns: another's name: {resolve(house, 'www.other.example')[0]}")


def run(data, sink):
    """All four; gives the transcript."""
    house, lines = Household(data), []
    for journey in (lambda: mail_in(house, lines.append), lambda: mail_out(house, sink, lines.append),
                    lambda: contact(house, lines.append), lambda: event(house, lines.append), lambda: name(house, lines.append)):
        try:
            journey()
        except Exception as error:  # what goes wrong is a line of the transcript, and the other journeys go on
            lines.append(f"broke off: {type(error).__name__}: {error}")
    return lines
