"""The appliance, its peers and a zone for tests and figures: started on free ports of loopback, stopped at the end."""
import atexit, json, os, random, shutil, signal, socket, subprocess, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SECRET = "c2lnbnBvc3Qtc2lnbnBvc3Qtc2lnbnBvc3Qta2V5IQ=="  # of this test alone
KEY = "hmac-sha256:upd:" + SECRET
ZONE_NAME = "example.test"
HOME = tempfile.mkdtemp(prefix="signpost-")
started = []


def stop_all():
    for process in started:
        if process.poll() is None:
            process.terminate()
    for process in started:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
    shutil.rmtree(HOME, ignore_errors=True)


atexit.register(stop_all)
signal.signal(signal.SIGTERM, lambda *_: exit(1))


def free_port():
    """A port that is free for UDP and TCP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
                return tcp.getsockname()[1]
            except OSError:
                pass


def run(words, given="", deadline=20):
    """Standard output and error of a program, cut off at its deadline."""
    try:
        done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=deadline)
        return done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        return "TIMEOUT " + str(error.stdout)


def wait_for(what, seconds=20):
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if what():
                return True
        except (OSError, ValueError, IndexError):
            pass
        time.sleep(0.05)
    return False


def start(words, log):
    process = subprocess.Popen(words, stdout=open(log, "w"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    started.append(process)
    return process


class Signpost:
    """Our appliance in a directory, with its control socket."""

    def __init__(self, binary, name="signpost", bind="127.0.0.1", settings=None):
        self.binary, self.dir, self.bind = binary, os.path.join(HOME, name), bind
        self.base = 0
        self.begin()
        if settings:
            self.ask("settings.set", settings)
            self.process.terminate()
            self.process.wait(20)
            self.begin()

    def begin(self):
        for _ in range(5):
            self.base = self.base or random.randrange(20000, 55000)
            self.process = start([self.binary, "--dir", self.dir, "--domain", "example.test", "--bind", self.bind,
                                  "--base-port", str(self.base)], self.dir + ".log")
            if wait_for(lambda: " ready " in open(self.dir + ".log").read() or self.process.poll() is not None, 60):
                if self.process.poll() is None:
                    break
            self.base = 0
        self.port, self.dot, self.web = self.base + 53, self.base + 853, self.base + 446

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ask(self, command, args=None, pieces=()):
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(120)
            line.connect(os.path.join(self.dir, "control"))
            stream = line.makefile("rw")
            stream.write(json.dumps({"command": command, "args": args or {}}) + "\n")
            for piece in pieces:
                stream.write(json.dumps({"input": piece}) + "\n")
            stream.write('{"end":true}\n')
            stream.flush()
            for answer in map(json.loads, stream):
                if "progress" not in answer:
                    if "error" in answer:
                        raise ValueError(answer["error"])
                    return answer["ok"]

    def load(self, zone, path):
        text = open(path).read()
        return self.ask("zone.import", {"name": zone}, [text[at:at + 30000] for at in range(0, len(text), 30000)])


def conf(name, text):
    path = os.path.join(HOME, name)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "conf"), "w") as file:
        file.write(text.replace("DIR", path))
    return path


def nsd(zone, path, threads=1, primary=None, name="nsd", authority=None):
    """With an authority's file the primary is spoken to over TLS (RFC 9103)."""
    port = free_port()
    bundle = f'  tls-cert-bundle: "{authority}"\n' if authority else ""
    known = "tls-auth:\n  name: ours\n  auth-domain-name: signpost.example.test\n" if authority else ""
    more = f"  request-xfr: AXFR 127.0.0.1@{primary} upd{' ours' if authority else ''}\n  allow-notify: 127.0.0.1 NOKEY\n" if primary else ""
    place = conf(name, f"""server:
  ip-address: 127.0.0.1@{port}
  server-count: {threads}
  username: ""
  zonesdir: "DIR"
  database: ""
  pidfile: "DIR/pid"
  xfrdfile: "DIR/xfrd"
  zonelistfile: "DIR/list"
  xfrdir: "DIR"
  minimal-responses: yes
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
  cookie-secret-file: ""
{bundle}remote-control:
  control-enable: no
key:
  name: upd
  algorithm: hmac-sha256
  secret: "{SECRET}"
{known}zone:
  name: {zone}
  zonefile: {path if not primary else "copy"}
{more}""")
    start(["nsd", "-d", "-c", place + "/conf"], place + "/log")
    return port


def knot(zone, path, threads=1, primary=None, name="knot", update=False, sign=False):
    port = free_port()
    remote = f"remote:\n  - id: primary\n    address: 127.0.0.1@{primary}\n    key: upd\n" if primary else ""
    of_zone = "    master: primary\n    acl: told\n" if primary else ""
    if sign:
        of_zone += "    dnssec-signing: on\n"
    if update:
        of_zone += "    acl: upd\n    zonefile-sync: -1\n    zonefile-load: difference-no-serial\n    journal-content: all\n"
    place = conf(name, f"""server:
  rundir: DIR
  listen: 127.0.0.1@{port}
  udp-workers: {threads}
  tcp-workers: {threads}
  background-workers: 1
database:
  storage: DIR
key:
  - id: upd
    algorithm: hmac-sha256
    secret: {SECRET}
acl:
  - id: upd
    key: upd
    action: [update, transfer]
  - id: told
    address: 127.0.0.1
    action: notify
{remote}zone:
  - domain: {zone}
    storage: DIR
    file: {path if not primary else "copy"}
{of_zone}""")
    start(["knotd", "-c", place + "/conf"], place + "/log")
    return port


def bind(zone, path, threads=1, primary=None, name="bind", update=False, sign=False, authority=None):
    """With an authority's file the primary is spoken to over TLS (RFC 9103)."""
    port = free_port()
    place = conf(name, "")
    if primary:
        over = " tls ours" if authority else ""
        of_zone = f'type secondary; file "{place}/copy"; primaries {{ 127.0.0.1 port {primary} key upd{over}; }}; masterfile-format text;'
    else:
        shutil.copy(path, place + "/zone")
        policy = " dnssec-policy default; inline-signing no;" if sign else ""
        rights = " allow-update { key upd; };" if update else ""
        of_zone = f'type primary; file "{place}/zone";{rights}{policy}'
    conf(name, f"""options {{ directory "DIR"; pid-file "DIR/pid"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
 recursion no; dnssec-validation no; session-keyfile "DIR/session"; managed-keys-directory "DIR"; key-directory "DIR"; minimal-responses yes; }};
controls {{}};
key "upd" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
{f'tls ours {{ ca-file "{authority}"; remote-hostname "signpost.example.test"; }};' if authority else ""}
zone "{zone}" {{ {of_zone} }};
""")
    start(["named", "-g", "-c", place + "/conf", "-n", str(threads)], place + "/log")
    return port


def bind_zones(zones, name="bind-zones"):
    """BIND with these zones, and nothing else."""
    port = free_port()
    place = conf(name, "")
    blocks = "".join(f'zone "{zone}" {{ type primary; file "{path}"; }};\n' for zone, path in zones.items())
    conf(name, f"""options {{ directory "DIR"; pid-file "DIR/pid"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
 recursion no; dnssec-validation no; session-keyfile "DIR/session"; managed-keys-directory "DIR"; }};
controls {{}};
{blocks}""")
    start(["named", "-g", "-c", place + "/conf", "-n", "1"], place + "/log")
    return port


def make_zone(path, hosts, seed=1, zone="example.test"):
    """A household's zone: every usual kind of record, wildcards, aliases, a delegation, empty names, and hosts."""
    lines = f"""$ORIGIN {zone}.
$TTL 300
@ SOA ns1 hostmaster 10 3600 900 1209600 300
@ NS ns1
@ NS ns2
ns1 A 127.0.0.1
ns2 A 127.0.0.1
@ A 192.0.2.1
@ AAAA 2001:db8::1
@ MX 10 mail
@ TXT "v=spf1 mx -all"
@ CAA 0 issue "letsencrypt.org"
mail A 192.0.2.25
mail AAAA 2001:db8::25
_dmarc TXT "v=DMARC1; p=reject"
_imaps._tcp SRV 0 1 993 mail
_25._tcp.mail TLSA 3 1 1 {'ab' * 32}
www CNAME @
autoconfig CNAME mail
web HTTPS 1 . alpn="h2,h3" ipv4hint=192.0.2.80
host SSHFP 4 2 {'cd' * 32}
odd TYPE65280 \\# 3 010203
*.wild A 192.0.2.77
*.alias CNAME mail
a.b.empty A 192.0.2.3
old DNAME new
x.new A 192.0.2.4
child NS ns.child
child NS ns1
ns.child A 192.0.2.53
safe NS ns.child
safe DS 12345 13 2 {'ef' * 32}
many A 192.0.2.5
many A 192.0.2.6
many A 192.0.2.7
loop1 CNAME loop2
loop2 CNAME loop1
gone CNAME nothing.here
out CNAME elsewhere.test.
""".splitlines()
    for host in range(hosts):
        lines.append(f"h{host} A 10.{host >> 16 & 255}.{host >> 8 & 255}.{host & 255}")
        if host % 2 == 0:
            lines.append(f"h{host} AAAA 2001:db8:1::{host >> 16:x}:{host & 65535:x}")
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def random_questions(count, hosts, seed, zone="example.test"):
    """Names and types: what is there, beside it, below it, and what is not."""
    dice = random.Random(seed)
    known = ["", "mail", "www", "autoconfig", "web", "host", "odd", "wild", "q.wild", "p.q.wild", "z.alias", "empty", "b.empty",
             "a.b.empty", "c.b.empty", "old", "x.old", "y.x.old", "new", "child", "w.child", "ns.child", "safe", "w.safe", "many",
             "gone", "out", "_tcp", "_imaps._tcp", "_dmarc", "*.wild", "ns1", "x.ns1"]
    types = ["A", "AAAA", "MX", "TXT", "NS", "SOA", "CNAME", "SRV", "HTTPS", "TYPE65280", "TLSA", "CAA", "DS", "DNAME", "PTR", "SSHFP"]
    for _ in range(count):
        pick = dice.random()
        if pick < 0.55:
            name = dice.choice(known)
        elif pick < 0.8:
            name = f"h{dice.randrange(hosts)}"
        else:
            name = ".".join("".join(dice.choice("abxyz019-") for _ in range(dice.randrange(1, 8))) for _ in range(dice.randrange(1, 4)))
        if dice.random() < 0.3:
            name = "".join(dice.choice((letter.upper(), letter)) for letter in name)
        yield (name + "." if name else "") + zone + ".", dice.choice(types), dice.random() < 0.5
