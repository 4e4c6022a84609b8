"""SPF, DKIM, DMARC and ARC: our Authentication-Results on a table of cases, beside what the RFCs want and what pyspf, dkimpy
and authheaders find. All ask the same DNS server, the test's own. Where one of those differs from the RFC, DIFFERENCES says why.

`verdicts.py --table` prints the table; without it one line a kind, and whatever is wrong.
"""

import base64
import os
import pathlib
import re
import smtplib
import subprocess
import sys
import time

import authheaders
import authres
import dkim
import dns.resolver
import nacl.signing
import spf

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from appliance import Appliance, Checks, until  # noqa: E402
from clients import messages, submission  # noqa: E402
from nameserver import Nameserver, text  # noqa: E402

check = Checks()
IP = "127.0.0.2"


def rsa_key(bits):
    pem = subprocess.run(["openssl", "genrsa", "-traditional", str(bits)], capture_output=True, check=True).stdout
    public = subprocess.run(["openssl", "rsa", "-pubout", "-outform", "DER"], input=pem, capture_output=True, check=True).stdout
    return pem, base64.b64encode(public).decode()


RSA, RSA_PUBLIC = rsa_key(2048)
OTHER, OTHER_PUBLIC = rsa_key(2048)
SMALL, SMALL_PUBLIC = rsa_key(512)
_ed = nacl.signing.SigningKey.generate()
ED = base64.b64encode(_ed.encode())
ED_PUBLIC = base64.b64encode(_ed.verify_key.encode()).decode()


def spf_records():
    names = {f"deep{i}.org": {"TXT": [text(f"v=spf1 include:deep{i + 1}.org -all")]} for i in range(12)}
    return names | {
        "pass.org": {"TXT": [text("v=spf1 ip4:127.0.0.2 -all")], "A": ["192.0.2.7"]},
        "fail.org": {"TXT": [text("v=spf1 ip4:192.0.2.1 -all")]},
        "soft.org": {"TXT": [text("v=spf1 ~all")]},
        "neutral.org": {"TXT": [text("v=spf1 ?all")]},
        "nothing.org": {"TXT": [text("v=spf1 ip4:192.0.2.1")]},
        "none.org": {"TXT": [text("hello")]},
        "spf10.org": {"TXT": [text("v=spf10 +all")]},
        "syntax.org": {"TXT": [text("v=spf1 ip4:1.2.3 -all")]},
        "unknown.org": {"TXT": [text("v=spf1 foo:bar -all")]},
        "modifier.org": {"TXT": [text("v=spf1 foo=bar ip4:127.0.0.2 -all")]},
        "two.org": {"TXT": [text("v=spf1 -all"), text("v=spf1 +all")]},
        "case.org": {"TXT": [text("V=SPF1 IP4:127.0.0.0/8 -ALL")]},
        "split.org": {"TXT": ['"v=spf1 ip4:127." "0.0.2 -all"']},
        "broken.org": {"!": "servfail"},
        "inc.org": {"TXT": [text("v=spf1 include:pass.org -all")]},
        "incfail.org": {"TXT": [text("v=spf1 include:fail.org ~all")]},
        "incnone.org": {"TXT": [text("v=spf1 include:none.org -all")]},
        "incbroken.org": {"TXT": [text("v=spf1 include:broken.org -all")]},
        "loop.org": {"TXT": [text("v=spf1 include:loop.org -all")]},
        "loopa.org": {"TXT": [text("v=spf1 include:loopb.org -all")]},
        "loopb.org": {"TXT": [text("v=spf1 include:loopa.org -all")]},
        "redirloop.org": {"TXT": [text("v=spf1 redirect=redirloop.org")]},
        "redir.org": {"TXT": [text("v=spf1 redirect=pass.org")]},
        "redirnone.org": {"TXT": [text("v=spf1 redirect=none.org")]},
        "redirall.org": {"TXT": [text("v=spf1 ~all redirect=pass.org")]},
        "a.org": {"TXT": [text("v=spf1 a -all")], "A": ["192.0.2.1", "127.0.0.2"]},
        "acidr.org": {"TXT": [text("v=spf1 a/24 -all")], "A": ["127.0.0.99"]},
        "aother.org": {"TXT": [text("v=spf1 a:a.org -all")]},
        "mx.org": {"TXT": [text("v=spf1 mx -all")], "MX": ["10 mail.mx.org."]},
        "mail.mx.org": {"A": ["127.0.0.2"]},
        "mxmany.org": {"TXT": [text("v=spf1 mx -all")], "MX": [f"{i} m{i}.mxmany.org." for i in range(12)]},
        **{f"m{i}.mxmany.org": {"A": ["192.0.2.9"]} for i in range(12)},
        "exists.org": {"TXT": [text("v=spf1 exists:%{ir}.list.org -all")]},
        "2.0.0.127.list.org": {"A": ["127.0.0.1"]},
        "local.org": {"TXT": [text("v=spf1 exists:%{l}.who.org -all")]},
        "anna.who.org": {"A": ["127.0.0.1"]},
        "ptr.org": {"TXT": [text("v=spf1 ptr -all")]},
        "2.0.0.127.in-addr.arpa": {"PTR": ["host.ptr.org."]},
        "host.ptr.org": {"A": ["127.0.0.2"]},
        "void.org": {"TXT": [text("v=spf1 a:v1.org a:v2.org a:v3.org a:v4.org ip4:127.0.0.2 -all")]},
        "badmacro.org": {"TXT": [text("v=spf1 exists:%{z}.list.org -all")]},
        "abroken.org": {"TXT": [text("v=spf1 a:broken.org -all")]},
        "cname.org": {"CNAME": ["pass.org."]},
        "brokenmx.org": {"TXT": [text("v=spf1 mx:broken.org -all")]},
    }


# Name, sender (empty for <>), name in EHLO, what RFC 7208 wants of MAIL FROM.
SPF = [
    ("pass", "pass.org", "pass"), ("fail", "fail.org", "fail"), ("softfail", "soft.org", "softfail"), ("neutral", "neutral.org", "neutral"),
    ("no mechanism matches", "nothing.org", "neutral"), ("no record", "none.org", "none"), ("no domain", "nosuch.org", "none"),
    ("v=spf10", "spf10.org", "none"), ("bad address", "syntax.org", "permerror"), ("unknown mechanism", "unknown.org", "permerror"),
    ("unknown modifier", "modifier.org", "pass"), ("two records", "two.org", "permerror"), ("any case", "case.org", "pass"),
    ("strings of one record", "split.org", "pass"), ("SERVFAIL", "broken.org", "temperror"), ("include", "inc.org", "pass"),
    ("include fails", "incfail.org", "softfail"), ("include of none", "incnone.org", "permerror"), ("include of SERVFAIL", "incbroken.org", "temperror"),
    ("include of itself", "loop.org", "permerror"), ("include in a circle", "loopa.org", "permerror"), ("redirect to itself", "redirloop.org", "permerror"),
    ("redirect", "redir.org", "pass"), ("redirect to none", "redirnone.org", "permerror"), ("all before redirect", "redirall.org", "softfail"),
    ("more than ten lookups", "deep0.org", "permerror"), ("a", "a.org", "pass"), ("a with prefix", "acidr.org", "pass"), ("a of another", "aother.org", "pass"),
    ("mx", "mx.org", "pass"), ("mx of more than ten", "mxmany.org", "permerror"), ("exists, reversed address", "exists.org", "pass"),
    ("exists, local part", "local.org", "pass"), ("ptr", "ptr.org", "pass"), ("void lookups", "void.org", "permerror"),
    ("unknown macro", "badmacro.org", "permerror"), ("a of SERVFAIL", "abroken.org", "temperror"), ("through a CNAME", "cname.org", "pass"),
    ("mx of SERVFAIL", "brokenmx.org", "temperror"), ("<> is postmaster of EHLO", "", "pass"),
]


LETTER = b"From: Anna <anna@pass.org>\r\nTo: ben@home.test\r\nSubject: =?utf-8?q?a_letter?=\r\nDate: Sun, 29 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@pass.org>\r\n\r\nHello  Ben,\r\n\r\nhow are you? \r\n\r\n\r\n"


def signed(letter=LETTER, selector=b"rsa", domain=b"pass.org", key=None, algorithm=b"rsa-sha256", c=(b"relaxed", b"relaxed"), length=False,
           identity=None, headers=None, tags=()):
    """The letter with a signature of dkimpy before it; `tags` are put into the signature too."""
    signer = dkim.DKIM(letter, signature_algorithm=algorithm)
    below = signer.gen_header

    def with_tags(fields, *rest, **more):
        at = [i for i, (k, _) in enumerate(fields) if k == b"b"][0]
        fields[at:at] = list(tags)
        return below(dedupe(fields), *rest, **more)

    signer.gen_header = with_tags
    field = signer.sign(selector, domain, key or RSA, canonicalize=c, length=length, identity=identity, include_headers=headers)
    return field + letter


def dedupe(fields):
    """Of fields with one name the last, in place of the first."""
    last = dict(fields)
    return [(k, last[k]) for k in dict.fromkeys(k for k, _ in fields)]


def dkim_records():
    key = lambda public, more="": {"TXT": [text(f"v=DKIM1; k=rsa; {more}p={public}")]}
    return {
        "rsa._domainkey.pass.org": key(RSA_PUBLIC),
        "ed._domainkey.pass.org": {"TXT": [text(f"v=DKIM1; k=ed25519; p={ED_PUBLIC}")]},
        "wrong._domainkey.pass.org": key(OTHER_PUBLIC),
        "revoked._domainkey.pass.org": key(""),
        "broken._domainkey.pass.org": {"!": "servfail"},
        "nonsense._domainkey.pass.org": {"TXT": [text("v=DKIM1; k=rsa; p=!!!")]},
        "other._domainkey.pass.org": {"TXT": [text("something else")]},
        "strict._domainkey.pass.org": key(RSA_PUBLIC, "t=s; "),
        "sha1._domainkey.pass.org": key(RSA_PUBLIC, "h=sha1; "),
        "service._domainkey.pass.org": key(RSA_PUBLIC, "s=tlsrpt; "),
        "small._domainkey.pass.org": key(SMALL_PUBLIC),
        "v2._domainkey.pass.org": {"TXT": [text(f"v=DKIM2; k=rsa; p={RSA_PUBLIC}")]},
        "testing._domainkey.pass.org": key(RSA_PUBLIC, "t=y; "),
        "rsa._domainkey.other.org": key(RSA_PUBLIC),
        "rsa._domainkey.sub.pass.org": key(RSA_PUBLIC),
        "rsa._domainkey.org.org": key(RSA_PUBLIC),
        "rsa._domainkey.sub.org.org": key(RSA_PUBLIC),
    }


def changed(raw, old, new):
    assert old in raw
    return raw.replace(old, new, 1)


def dkim_cases():
    now = int(time.time())
    s = signed
    both = s(s(), selector=b"ed", key=ED, algorithm=b"ed25519-sha256")
    simple = (b"simple", b"simple")
    return [
        ("no signature", LETTER, ["none"]),
        ("relaxed/relaxed", s(), ["pass"]), ("simple/simple", s(c=simple), ["pass"]),
        ("simple/relaxed", s(c=(b"simple", b"relaxed")), ["pass"]), ("relaxed/simple", s(c=(b"relaxed", b"simple")), ["pass"]),
        ("ed25519", s(selector=b"ed", key=ED, algorithm=b"ed25519-sha256"), ["pass"]), ("rsa and ed25519", both, ["pass", "pass"]),
        ("body changed", changed(s(), b"how are", b"who are"), ["fail"]), ("subject changed", changed(s(), b"a_letter", b"no_letter"), ["fail"]),
        ("space added, relaxed", changed(changed(s(), b"how are", b"how  are"), b"To: ben", b"To:   ben"), ["pass"]),
        ("space added, simple", changed(s(c=simple), b"how are", b"how  are"), ["fail"]),
        ("lines at the end, relaxed", s() + b"\r\n\r\n", ["pass"]), ("lines at the end, simple", s(c=simple) + b"\r\n\r\n", ["pass"]),
        ("second From added", b"From: evil@evil.org\r\n" + s(), ["fail"]),
        ("body length", s(length=True), ["pass"]), ("body length, text added", s(length=True) + b"more\r\n", ["fail"]),
        ("expired", s(tags=[(b"t", str(now - 900_000).encode()), (b"x", str(now - 300_000).encode())]), ["fail"]),
        ("expires later", s(tags=[(b"t", str(now - 900).encode()), (b"x", str(now + 86400).encode())]), ["pass"]),
        ("wrong key", s(selector=b"wrong"), ["fail"]), ("no key", s(selector=b"nosuch"), ["permerror"]), ("revoked key", s(selector=b"revoked"), ["permerror"]),
        ("SERVFAIL for the key", s(selector=b"broken"), ["temperror"]), ("key is no key", s(selector=b"nonsense"), ["permerror"]),
        ("record is no key", s(selector=b"other"), ["permerror"]), ("key of version 2", s(selector=b"v2"), ["permerror"]),
        ("key in testing", s(selector=b"testing"), ["pass"]), ("key for sha1 alone", s(selector=b"sha1"), ["permerror"]),
        ("key for another service", s(selector=b"service"), ["permerror"]), ("key of 512 bits", s(selector=b"small", key=SMALL), ["permerror"]),
        ("identity below the domain", s(identity=b"@sub.pass.org"), ["pass"]), ("the same, t=s", s(selector=b"strict", identity=b"@sub.pass.org"), ["fail"]),
        ("t=s, same domain", s(selector=b"strict", identity=b"a@pass.org"), ["pass"]),
        ("From not signed", re.sub(rb"h=from : to : from|h=from : to", b"h=to", s(headers=[b"from", b"to"]), count=1), ["permerror"]),
        ("rsa-sha1", s(algorithm=b"rsa-sha1"), ["permerror"]),
        ("signature is no base64", re.sub(rb";\s+b=[^;]*?\r\n(?=From)", b"; b=!!!!\r\n", s(), count=1), ["neutral"]),
        ("version 2", changed(s(), b"v=1", b"v=2"), ["neutral"]),
        ("good and bad", s(s(selector=b"wrong")), ["pass", "fail"]),
    ]


def dmarc_records():
    policy = lambda value: {"TXT": [text(f"v=DMARC1; {value}")]}
    return {
        "_dmarc.pass.org": policy("p=reject"), "_dmarc.org.org": policy("p=reject; sp=quarantine"), "_dmarc.own.org.org": policy("p=none"),
        "org.org": {"TXT": [text("v=spf1 ip4:127.0.0.2 -all")]}, "sub.org.org": {"TXT": [text("v=spf1 ip4:127.0.0.2 -all")], "A": ["192.0.2.1"]},
        "own.org.org": {"A": ["192.0.2.1"]},
        "_dmarc.strict.org": policy("p=reject; adkim=s; aspf=s"), "strict.org": {"A": ["192.0.2.1"]},
        "rsa._domainkey.strict.org": {"TXT": [text(f"v=DKIM1; p={RSA_PUBLIC}")]}, "rsa._domainkey.sub.strict.org": {"TXT": [text(f"v=DKIM1; p={RSA_PUBLIC}")]},
        "sub.strict.org": {"TXT": [text("v=spf1 ip4:127.0.0.2 -all")], "A": ["192.0.2.1"]},
        "_dmarc.q.org": policy("p=quarantine"), "_dmarc.n.org": policy("p=none"), "q.org": {"A": ["192.0.2.1"]}, "n.org": {"A": ["192.0.2.1"]},
        "_dmarc.twice.org": {"TXT": [text("v=DMARC1; p=reject"), text("v=DMARC1; p=none")]}, "twice.org": {"A": ["192.0.2.1"]},
        "_dmarc.down.org": {"!": "servfail"}, "down.org": {"A": ["192.0.2.1"]}, "_dmarc.junk.org": {"TXT": [text("v=DMARC1 p:reject")]}, "junk.org": {"A": ["192.0.2.1"]},
    }


def dmarc_cases():
    """Name, message, envelope's domain, result, policy."""
    at = lambda domain, more=b"": LETTER.replace(b"anna@pass.org", b"anna@" + domain, 1)
    sign = lambda domain, by: signed(at(domain), domain=by)
    return [
        ("SPF in alignment", at(b"pass.org"), "pass.org", "pass", "reject"), ("DKIM in alignment", sign(b"pass.org", b"pass.org"), "fail.org", "pass", "reject"),
        ("neither, p=reject", at(b"pass.org"), "fail.org", "fail", "reject"), ("neither, p=quarantine", at(b"q.org"), "fail.org", "fail", "quarantine"),
        ("neither, p=none", at(b"n.org"), "fail.org", "fail", "none"), ("SPF passes for another", at(b"q.org"), "pass.org", "fail", "quarantine"),
        ("DKIM passes for another", sign(b"q.org", b"other.org"), "fail.org", "fail", "quarantine"), ("no policy", at(b"other.org"), "fail.org", "none", None),
        ("relaxed, SPF of a subdomain", at(b"org.org"), "sub.org.org", "pass", "reject"), ("relaxed, DKIM of a subdomain", sign(b"org.org", b"sub.org.org"), "fail.org", "pass", "reject"),
        ("relaxed, From below", sign(b"sub.org.org", b"org.org"), "fail.org", "pass", "quarantine"), ("sp for a subdomain", at(b"sub.org.org"), "fail.org", "fail", "quarantine"),
        ("a subdomain's own policy", at(b"own.org.org"), "fail.org", "fail", "none"), ("strict, same domain", sign(b"strict.org", b"strict.org"), "fail.org", "pass", "reject"),
        ("strict, DKIM of a subdomain", sign(b"strict.org", b"sub.strict.org"), "fail.org", "fail", "reject"), ("strict, SPF of a subdomain", at(b"strict.org"), "sub.strict.org", "fail", "reject"),
        ("two policies", at(b"twice.org"), "fail.org", "none", None), ("SERVFAIL for the policy", at(b"down.org"), "fail.org", "temperror", None),
        ("policy is nonsense", at(b"junk.org"), "fail.org", "none", None),
    ]


def sealed(letter, domain=b"pass.org", selector=b"rsa", key=None, cv=b"none", ar=b"dkim=pass"):
    """The letter with one more ARC set, as the host mx.`domain` makes it."""
    srv = b"mx." + domain
    letter = b"Authentication-Results: " + srv + b"; " + ar + b"; arc=" + cv + b"\r\n" + letter
    fields = dkim.arc_sign(letter, selector, domain, key or RSA, srv, include_headers=[b"from", b"to", b"subject", b"date", b"message-id"])
    return b"".join(fields) + letter


def arc_cases():
    one = sealed(LETTER)
    two = sealed(one, domain=b"other.org", cv=b"pass")
    three = sealed(two, domain=b"org.org", cv=b"pass")
    field = lambda raw, name, i: re.search(rb"(?m)^ARC-" + name + rb": i=" + str(i).encode() + rb".*?\r\n(?=\S)", raw, re.S).group(0)
    return [
        ("no chain", LETTER, "none"), ("one set", one, "pass"), ("two sets", two, "pass"), ("three sets", three, "pass"),
        ("body changed", changed(two, b"how are", b"who are"), "fail"), ("subject changed", changed(one, b"a_letter", b"no_letter"), "fail"),
        ("a seal is missing", changed(two, field(two, b"Seal", 1), b""), "fail"), ("the first set is missing", changed(changed(changed(two, field(two, b"Seal", 1), b""), field(two, b"Message-Signature", 1), b""), field(two, b"Authentication-Results", 1), b""), "fail"),
        ("results changed", changed(one, b"dkim=pass", b"dkim=fail"), "fail"), ("wrong key", sealed(LETTER, selector=b"wrong"), "fail"),
        ("no key", sealed(LETTER, selector=b"nosuch"), "fail"), ("cv=fail", changed(two, b"cv=pass", b"cv=fail"), "fail"),
        ("a set twice", changed(one, b"ARC-Seal: i=1", field(one, b"Seal", 1) + b"ARC-Seal: i=1"), "fail"),
    ]


# (kind, case): who differs from the RFC, how, and why.
DIFFERENCES = {
    ("SPF", "ptr"): {"ours": "fail", "why": "hickory answers for the reverse names of 127/8 itself (RFC 6761); of another address the record would be found"},
    ("SPF", "void lookups"): {"ours": "pass", "why": "a SHOULD (4.6.4); mail-auth bounds look-ups at ten, void or not"},
    ("DKIM", "body length"): {"ours": ["neutral"], "why": "l= lets anybody append text (8.2): a signature with it counts for nothing here"},
    ("DKIM", "body length, text added"): {"ours": ["neutral"], "theirs": ["pass"], "why": "the same; dkimpy takes the text that was added"},
    ("DKIM", "SERVFAIL for the key"): {"theirs": ["fail"], "why": "dkimpy takes a failing DNS for a missing key"},
    ("DKIM", "key for sha1 alone"): {"theirs": ["pass"], "why": "dkimpy does not read h="},
    ("DKIM", "the same, t=s"): {"theirs": ["pass"], "why": "dkimpy does not read t=s"},
    ("DKIM", "rsa-sha1"): {"theirs": ["pass"], "why": "dkimpy still takes it (RFC 8301 3.1: MUST NOT)"},
    ("DKIM", "signature is no base64"): {"ours": ["none"], "why": "mail-auth passes over what it cannot read (6.1: MAY)"},
    ("DMARC", "relaxed, SPF of a subdomain"): {"theirs": ("pass", "quarantine"), "why": "authheaders shows sp= for the domain itself"},
    ("DMARC", "relaxed, DKIM of a subdomain"): {"theirs": ("pass", "quarantine"), "why": "the same"},
    ("DMARC", "SERVFAIL for the policy"): {"theirs": ("none", None), "why": "authheaders takes a failing DNS for no policy"},
    ("ARC", "cv=fail"): {"theirs": "none", "why": "dkimpy gives no verdict for a chain that failed before"},
}


def their_spf(sender, helo):
    spf.MAX_VOID_LOOKUPS = 2
    return spf.check2(IP, sender, helo)[0]


def their_dkim(raw):
    out = []
    for i in range(raw.count(b"\r\nDKIM-Signature:") + raw.startswith(b"DKIM-Signature:")):
        try:
            out.append("pass" if dkim.DKIM(raw).verify(i) else "fail")
        except dns.exception.DNSException:
            out.append("temperror")
        except Exception:  # noqa: BLE001 - whatever it does not like
            out.append("fail")
    return out or ["none"]


def their_arc(raw):
    cv = dkim.arc_verify(raw)[0]
    return cv.decode() if cv else "none"


def their_dmarc(raw, sender):
    of_spf = authheaders.check_spf(IP, sender, "mx.far.org")
    of_dkim = authheaders.check_dkim(raw) if b"DKIM-Signature:" in raw else None
    try:
        found = authheaders.check_dmarc(raw, of_spf, of_dkim, dmarcbis=False)
    except dns.exception.DNSException:
        return "temperror", None
    return found.result, getattr(found, "policy", None)


class Table:
    """All cases through the appliance, in one go."""

    def __init__(self, box):
        self.box, self.sent = box, {}

    def send(self, raw, sender, helo="mx.far.org"):
        case = len(self.sent)
        host, port = self.box.address("smtp")
        with smtplib.SMTP(host, port, local_hostname=helo, source_address=(IP, 0), timeout=60) as s:
            s.sendmail(sender, ["anna@home.test"], b"X-Case: %d\r\n" % case + raw)
        self.sent[case] = None
        return case

    def read(self):
        for mailbox in ("INBOX", "Junk"):
            for raw in messages(self.box, mailbox=mailbox):
                head = raw.split(b"\r\n\r\n")[0] + b"\r\n"
                case = int(re.search(rb"(?m)^X-Case: (\d+)", head).group(1))
                field = re.search(rb"(?ms)^Authentication-Results: (mail\.home\.test.*?)\r\n(?=\S)", head + b"X").group(1).decode()
                self.sent[case] = (mailbox, authres.AuthenticationResultsHeader.parse_value(re.sub(r"\r\n\s+", " ", field)).results)

    def results(self, case, method):
        return [r for r in self.sent[case][1] if r.method == method]


def compare(kind, rows, shown):
    """`rows`: case, wanted, ours, theirs. The RFC is right; who differs is named in DIFFERENCES. dkimpy knows pass and fail alone."""
    coarse = lambda results: ["fail" if r in ("permerror", "neutral") else r for r in results] if isinstance(results, list) else results
    wrong, differing = [], 0
    for name, wanted, ours, theirs in rows:
        known = DIFFERENCES.get((kind, name), {})
        if shown:
            print(f"     {kind:5} {name:28} RFC {wanted!s:20} ours {ours!s:20} theirs {theirs!s:20} {known.get('why', '')}")
        if ours != known.get("ours", wanted):
            wrong.append(f"{name}: ours is {ours}, not {known.get('ours', wanted)}")
        if theirs != known.get("theirs", coarse(wanted)):
            wrong.append(f"{name}: theirs is {theirs}, not {known.get('theirs', wanted)}")
        differing += bool(known)
    check(f"{kind}: {len(rows)} cases are as the RFC wants them, {differing} differences are explained", lambda: wrong and (_ for _ in ()).throw(AssertionError("; ".join(wrong))) or True)


def main():
    nameserver = Nameserver(spf_records() | {})
    nameserver.add(dkim_records())
    nameserver.add(dmarc_records())
    nameserver.add({"mx.far.org": {"A": ["192.0.2.1"]}})
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = ["127.0.0.1"], nameserver.port, 10
    dns.resolver.default_resolver = resolver
    shown = "--table" in sys.argv
    settings = f'dns = ["{nameserver.address}"]\nlimit_loopback = true\nmessages_per_hour = 100000\n'
    box = Appliance(settings + "obey_dmarc_reject = false\n")
    try:
        table = Table(box)
        plain = b"From: x@none.org\r\nSubject: x\r\n\r\nx\r\n"
        of_spf = [(name, wanted, f"anna@{domain}" if domain else "", "mx.far.org" if domain else "pass.org") for name, domain, wanted in SPF]
        spf_sent = [table.send(plain, sender, helo) for _, _, sender, helo in of_spf]
        of_dkim = dkim_cases()
        dkim_sent = [table.send(raw, "x@none.org") for _, raw, _ in of_dkim]
        of_dmarc = dmarc_cases()
        dmarc_sent = [table.send(raw, f"anna@{domain}") for _, raw, domain, _, _ in of_dmarc]
        of_arc = arc_cases()
        arc_sent = [table.send(raw, "x@none.org") for _, raw, _ in of_arc]
        table.read()

        def our_spf(case, sender):
            found = {r.properties[0].name: r.result for r in table.results(case, "spf")}
            return found["mailfrom" if sender else "helo"]
        compare("SPF", [(name, wanted, our_spf(case, sender), their_spf(sender, helo)) for (name, wanted, sender, helo), case in zip(of_spf, spf_sent)], shown)
        compare("DKIM", [(name, wanted, [r.result for r in table.results(case, "dkim")], their_dkim(raw)) for (name, raw, wanted), case in zip(of_dkim, dkim_sent)], shown)
        policy = lambda r: next((p.value for p in r.properties if p.name == "dmarc"), None)
        compare("DMARC", [(name, (wanted, p), next((r.result, policy(r)) for r in table.results(case, "dmarc")), their_dmarc(raw, f"anna@{domain}"))
                          for (name, raw, domain, wanted, p), case in zip(of_dmarc, dmarc_sent)], shown)
        compare("ARC", [(name, wanted, table.results(case, "arc")[0].result, their_arc(raw)) for (name, raw, wanted), case in zip(of_arc, arc_sent)], shown)
        junk = lambda name: next(table.sent[case][0] for (n, *_), case in zip(of_dmarc, dmarc_sent) if n == name)
        check("p=quarantine goes to Junk, p=none to INBOX", lambda: junk("neither, p=quarantine") == "Junk" and junk("neither, p=none") == "INBOX")
        check("a reject that is not obeyed goes to Junk", lambda: junk("neither, p=reject") == "Junk")
        box.ask("mail.settings", toml=settings)
        check("p=reject is refused with 550 5.7.1", lambda: refused(table, of_dmarc[2][1]))
        check("the same message, signed, is taken", lambda: table.send(of_dmarc[1][1], "anna@fail.org") is not None)
    finally:
        box.stop() if os.environ.get("KEEP") else box.remove()
        if os.environ.get("KEEP"):
            print(box.dir)
    check.end()


def refused(table, raw):
    try:
        table.send(raw, "anna@fail.org")
    except smtplib.SMTPDataError as error:
        return error.smtp_code == 550 and error.smtp_error.startswith(b"5.7.1")
    return False


if __name__ == "__main__":
    main()
