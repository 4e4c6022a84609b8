"""Journeys against the hostile and the unlucky: floods, slow clients, amplification, all addresses, starts and cuts."""
import http.client, os, socket, ssl, struct, time

import bench
from bench import KEY, SECRET, ZONE_NAME, run, wait_for

import dns.edns, dns.message, dns.query, dns.tsigkeyring, dns.update


def ask(port, name="www.example.test", rtype="A", where="127.0.0.1", **how):
    return dns.query.udp(dns.message.make_query(name, rtype, **how), where, port=port, timeout=2)


def everywhere(binary, g):
    """Bound to all addresses, a reply comes from the address that was asked."""
    ours = bench.Signpost(binary, "everywhere", bind="0.0.0.0")
    ours.load(ZONE_NAME, g.zone)
    for where in ("127.0.0.1", "127.0.0.2", "127.9.8.7"):
        try:
            good = len(ask(ours.port, where=where).answer) > 0  # dnspython refuses a reply from another address
        except Exception as error:
            good = repr(error)
        g.check(f"bound to all addresses, {where} answers from itself", good is True, good)
    ours.ask("key.add", {"name": "upd", "secret": SECRET})
    said = run(["nsupdate", "-y", KEY], f"server 127.9.8.7 {ours.port}\nzone {ZONE_NAME}\nupdate add e.example.test 60 A 192.0.2.1\nsend\n", 10).strip()
    g.check("so does the reply to an update", said == "", said)
    ours.kill()


def floods(binary, g):
    """Rate limits on loopback too: a flood in somebody's name brings little, who is real gets an answer by TCP or a cookie."""
    ours = bench.Signpost(binary, "limited", settings={"answers_a_second": 200, "limit_loopback": True})
    ours.load(ZONE_NAME, g.zone)
    question = dns.message.make_query("www.example.test", "A", use_edns=0, want_dnssec=True).to_wire()
    with socket.socket(type=socket.SOCK_DGRAM) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        line.bind(("127.0.7.1", 0))
        line.connect(("127.0.0.1", ours.port))
        line.setblocking(False)
        whole = cut = came = sent = 0
        for second in range(3):
            end = time.monotonic() + 1
            for _ in range(2000):
                line.send(question)
                sent += len(question)
            while time.monotonic() < end:
                try:
                    reply = line.recv(4096)
                    came += len(reply)
                    whole, cut = whole + (not reply[2] & 2), cut + bool(reply[2] & 2)
                except BlockingIOError:
                    time.sleep(0.01)
        g.check("2,000 spoofed questions a second get 200 answers at most, then hardly any", whole <= 600 and cut > 0, (whole, cut))
        g.check("what goes out is less than what came in", came < sent, (came, sent))
    g.check("another network is served meanwhile", len(ask(ours.port).answer) > 0)
    with socket.socket(type=socket.SOCK_DGRAM) as line:
        line.bind(("127.0.7.2", 0))
        line.settimeout(2)
        first = dns.message.make_query("www.example.test", "A", use_edns=0, options=[dns.edns.GenericOption(10, b"12345678")])
        for _ in range(50):
            line.sendto(first.to_wire(), ("127.0.0.1", ours.port))
            try:
                cookie = next(one for one in dns.message.from_wire(line.recv(4096)).options if one.otype == 10)
                break
            except (TimeoutError, StopIteration):
                continue
        cookie = getattr(cookie, "data", None) or cookie.to_wire()
        known = dns.message.make_query("www.example.test", "A", use_edns=0, options=[dns.edns.GenericOption(10, cookie)]).to_wire()
        for _ in range(50):
            line.sendto(known, ("127.0.0.1", ours.port))
        answered = 0
        try:
            for _ in range(50):
                answered += not line.recv(4096)[2] & 2
        except TimeoutError:
            pass
        g.check("who shows a cookie of ours is not limited in the flooded network", answered == 50, answered)
    said = run(["dig", "+tcp", "-b", "127.0.7.3", "@127.0.0.1", "-p", str(ours.port), "www.example.test", "+short"])
    g.check("nor who comes by TCP", said.strip() != "", said)
    web, codes = http.client.HTTPSConnection("127.0.0.1", ours.web, context=ssl._create_unverified_context(), timeout=20), []
    for _ in range(1200):
        web.request("GET", "/dns-query?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlBHRlc3QAAAEAAQ")
        reply = web.getresponse()
        reply.read()
        codes.append(reply.status)
        if 429 in codes:
            break
    g.check("DNS over HTTPS is limited too", 200 in codes and 429 in codes, len(codes))
    ours.ask("settings.set", {"answers_a_second": 0})
    with socket.socket(type=socket.SOCK_DGRAM) as line:
        line.bind(("127.0.7.1", 0))
        line.settimeout(2)
        line.connect(("127.0.0.1", ours.port))
        answered = 0
        for _ in range(600):
            line.send(question)
            answered += not line.recv(4096)[2] & 2
    g.check("another limit counts at once", answered == 600, answered)
    ours.kill()


def slow(g):
    """Clients that dawdle over TCP are cut off, and many of them keep nobody out."""
    lines = []
    for _ in range(200):
        line = socket.create_connection(("127.0.0.1", g.ours.port), timeout=20)
        line.sendall(b"\0")  # half of a length
        lines.append(line)
    said = run(["dig", "+tcp", "+time=3", "+tries=1", "@127.0.0.1", "-p", str(g.ours.port), "www.example.test", "+short"])
    g.check("200 slow clients keep nobody out", said.strip() != "", said)
    began = time.monotonic()
    lines[0].settimeout(15)
    try:
        ended = lines[0].recv(1) == b""
    except ConnectionResetError:
        ended = True
    except TimeoutError:
        ended = False
    g.check("a client that dawdles within a message is cut off", ended, time.monotonic() - began)
    for line in lines:
        line.close()


def amplification(g):
    """No question by UDP brings more than 1,232 octets, none without EDNS more than 512."""
    worst = {}
    for name in ("example.test", "many.example.test", "www.example.test", "nx.example.test", "x.old.example.test"):
        for rtype in ("ANY", "TXT", "DNSKEY", "NS", "MX", "RRSIG"):
            for how in ({}, {"use_edns": 0, "payload": 4096, "want_dnssec": True}):
                question = dns.message.make_query(name, rtype, **how).to_wire()
                with socket.socket(type=socket.SOCK_DGRAM) as line:
                    line.settimeout(2)
                    line.sendto(question, ("127.0.0.1", g.ours.port))
                    size = len(line.recv(65535))
                worst[bool(how)] = max(worst.get(bool(how), 0), size)
    g.check("no answer by UDP is larger than its bound", worst[False] <= 512 and worst[True] <= 1232, worst)


def starts(binary, g):
    """A start serves the very zone that was served: serial, signatures, differences; a replayed update does nothing."""
    ours = bench.Signpost(binary, "starts")
    ours.load(ZONE_NAME, g.zone)
    ours.ask("key.add", {"name": "upd", "secret": SECRET})
    ours.ask("zone.sign", {"zone": ZONE_NAME})
    serial = lambda: int(run(["dig", "+short", "@127.0.0.1", "-p", str(ours.port), "soa", ZONE_NAME]).split()[2])
    update = lambda lines: run(["nsupdate", "-y", KEY], f"server 127.0.0.1 {ours.port}\nzone {ZONE_NAME}\n{lines}\nsend\n", 10).strip()
    first = serial()
    for n in range(5):
        update(f"update add s{n}.example.test 60 A 192.0.2.{n}")
    ring = dns.tsigkeyring.from_text({"upd": SECRET})
    recorded = dns.update.Update(ZONE_NAME, keyring=ring, keyalgorithm="hmac-sha256")
    recorded.replace("replayed", 60, "A", "192.0.2.1")
    wire = recorded.to_wire()

    def send(octets):
        with socket.socket(type=socket.SOCK_DGRAM) as line:
            line.settimeout(5)
            line.sendto(octets, ("127.0.0.1", ours.port))
            return line.recv(4096)

    send(wire)
    update("update delete replayed.example.test A\nupdate add replayed.example.test 60 A 192.0.2.2")
    idle = dns.update.Update(ZONE_NAME, keyring=ring, keyalgorithm="hmac-sha256")
    idle.replace("idle", 60, "A", "192.0.2.1")
    wire_of_idle = idle.to_wire()
    update("update add idle.example.test 60 A 192.0.2.1")
    changed_nothing = serial()
    send(wire_of_idle)
    g.check("an update may change nothing", serial() == changed_nothing)
    ours.process.kill()
    ours.process.wait(20)
    ours.begin()
    update("update delete idle.example.test A\nupdate add idle.example.test 60 A 192.0.2.2")
    reply = send(wire_of_idle)
    held = run(["dig", "+short", "@127.0.0.1", "-p", str(ours.port), "idle.example.test"]).strip()
    g.check("recorded, it does nothing after a kill either", held == "192.0.2.2" and reply[3] & 15 == 0, (held, reply[3] & 15))
    axfr = lambda: sorted(line for line in run(["dig", "+tcp", "+noall", "+answer", "+onesoa", "@127.0.0.1", "-p", str(ours.port), "-y", KEY, ZONE_NAME, "axfr"]).splitlines() if "TSIG" not in line and not line.startswith(";"))
    before, at = axfr(), serial()
    for how in ("is stopped", "is killed"):
        (ours.process.kill if how == "is killed" else ours.process.terminate)()
        ours.process.wait(20)
        ours.begin()
        after = axfr()
        g.check(f"a server that {how} comes back with the same serial and signatures", serial() == at and after == before, (at, serial(), len(set(after) ^ set(before))))
        steps = run(["dig", "+tcp", "+noall", "+answer", "@127.0.0.1", "-p", str(ours.port), "-y", KEY, f"ixfr={first}", ZONE_NAME])
        g.check(f"IXFR goes on after it {how}", steps.count("SOA") >= 10, steps.count("SOA"))
        reply = send(wire)
        held = run(["dig", "+short", "@127.0.0.1", "-p", str(ours.port), "replayed.example.test"]).strip()
        g.check(f"an update recorded before it {how} does nothing", held == "192.0.2.2" and reply[3] & 15 == 0, (held, reply[3] & 15))
    ours.kill()


def cut_transfer(binary, g):
    """The power goes in the middle of a transfer: the secondary keeps what it had, and has the whole zone afterwards."""
    large = os.path.join(bench.HOME, "large-zone")
    bench.make_zone(large, 5_000)
    ours = bench.Signpost(binary, "cut")
    ours.load(ZONE_NAME, large)
    ours.ask("key.add", {"name": "upd", "secret": SECRET})
    ours.ask("zone.set", {"zone": ZONE_NAME, "transfer_to": ["127.0.0.1"]})
    port = bench.knot(ZONE_NAME, "", primary=ours.port, name="knot-cut")
    serial = lambda port: int(run(["dig", "+short", "+time=1", "+tries=1", "@127.0.0.1", "-p", str(port), "soa", ZONE_NAME]).split()[2])
    with socket.create_connection(("127.0.0.1", ours.port)) as line:
        question = dns.message.make_query(ZONE_NAME, "AXFR").to_wire()
        line.sendall(struct.pack("!H", len(question)) + question)
        line.recv(100)
        ours.kill()
    ours.begin()
    ours.ask("zone.set", {"zone": ZONE_NAME, "notify": [f"127.0.0.1:{port}"]})  # Knot's own next try may be minutes away
    g.check("killed within a transfer, the secondary gets the whole zone afterwards", wait_for(lambda: serial(port) == serial(ours.port), 60))
    g.check("and the last host is there", wait_for(lambda: run(["dig", "+short", "@127.0.0.1", "-p", str(port), "h4999.example.test"]).strip() != "", 10))
    ours.kill()
