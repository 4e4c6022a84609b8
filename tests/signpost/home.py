"""Journeys of a household: devices and routers, views, pushes, the registrar, sleeping services, the pages in a browser."""
import base64, http.client, http.server, json, os, re, shutil, ssl, subprocess, sys, threading, time

import bench
from bench import SECRET, ZONE_NAME, run, wait_for

USER, PASSWORD = "anna", "secret secret"


def devices(g):
    """dyndns2 as routers and ddclient speak it: every word that it has, and the plain call."""
    made = g.ours.ask("names.add", {"name": "router", "host": "home.example.test", "expires_s": 3600})
    g.ours.ask("names.add", {"name": "nas", "host": "nas.example.test", "behind": "router", "interface": "::1:2:3:4"})
    g.ours.ask("names.add", {"name": "camera", "host": "camera.example.test", "behind": "router", "interface": "::5"})
    base = f"https://127.0.0.1:{g.ours.web}"
    curl = ["curl", "-sk", "-u", f"router:{made['password']}"]
    update = lambda query, *words: run([*curl, *words, f"{base}/nic/update?{query}"]).strip()
    g.check("dyndns2: good", update("hostname=home.example.test&myip=198.51.100.7") == "good 198.51.100.7")
    g.check("dyndns2: the new address is served", g.short("home.example.test") == "198.51.100.7")
    g.check("dyndns2: nochg", update("hostname=home.example.test&myip=198.51.100.7") == "nochg 198.51.100.7")
    g.check("dyndns2: nohost", update("hostname=mail.example.test&myip=198.51.100.7") == "nohost")
    g.check("dyndns2: notfqdn", update("hostname=home&myip=198.51.100.7") == "notfqdn" and update("myip=198.51.100.7") == "notfqdn")
    g.check("dyndns2: a line for each host", update("hostname=home.example.test,mail.example.test,x&myip=198.51.100.7").split("\n") == ["nochg 198.51.100.7", "nohost", "notfqdn"])
    g.check("dyndns2: numhost", update("hostname=" + ",".join(f"h{n}.example.test" for n in range(21))) == "numhost")
    g.check("dyndns2: badagent", update("hostname=home.example.test", "-X", "DELETE") == "badagent")
    g.check("dyndns2: badauth", run(["curl", "-sk", "-u", "router:wrong", f"{base}/nic/update?hostname=home.example.test"]).strip() == "badauth")
    # The URL that a FRITZ!Box is given, as it fills it in: both families and the prefix in one call.
    said = update("hostname=home.example.test&myip=198.51.100.8&myip6=&myipv6=2001:db8:77::1&prefix=2001:db8:77:1::/64", "-A", "Fritz!Box DDNS/1.0.1")
    g.check("a FRITZ!Box", said == "good 198.51.100.8,2001:db8:77::1" and g.short("home.example.test", "AAAA") == "2001:db8:77::1", said)
    g.check("one prefix moves all devices behind the router", g.short("nas.example.test", "AAAA") == "2001:db8:77:1:1:2:3:4" and g.short("camera.example.test", "AAAA") == "2001:db8:77:1::5", g.short("nas.example.test", "AAAA"))
    said = update("hostname=home.example.test&myip=198.51.100.9", "-A", "inadyn/2.12.0 https://github.com/troglobit/inadyn/issues")
    g.check("a UniFi gateway (inadyn)", said == "good 198.51.100.9", said)
    said = run(["curl", "-sk", "-A", "ddns-scripts", f"https://router:{made['password']}@127.0.0.1:{g.ours.web}/nic/update?hostname=home.example.test&myip=198.51.100.10"]).strip()
    g.check("OpenWrt, name and password in the URL", said == "good 198.51.100.10", said)
    plain = json.loads(run([*curl, f"{base}/update?ip=198.51.100.11"]))
    g.check("the plain call", plain["device"] == "router" and g.short("home.example.test") == "198.51.100.11", plain)
    plain = json.loads(run([*curl, f"{base}/update"]))
    g.check("the plain call without an address takes the caller's", g.short("home.example.test") == "127.0.0.1", plain)
    conf = os.path.join(bench.HOME, "ddclient.conf")
    with open(conf, "w") as file:
        file.write(f"daemon=0\nssl=yes\nuse=cmd, cmd='echo 198.51.100.12'\nprotocol=dyndns2\nserver=127.0.0.1:{g.ours.web}\n"
                   f"login=router\npassword='{made['password']}'\nhome.example.test\n")
    os.chmod(conf, 0o600)
    authority = os.path.join(bench.HOME, "authority.pem")
    with open(authority, "w") as file:
        file.write(run(["curl", "-sk", f"{base}/ca.pem"]))
    said = run(["ddclient", "-file", conf, "-cache", os.path.join(bench.HOME, "ddclient.cache"), "-ssl_ca_file", authority, "-verbose", "-foreground", "-force"], deadline=30)
    g.check("ddclient updates its name", wait_for(lambda: g.short("home.example.test") == "198.51.100.12", 5), said[-300:])
    conf = os.path.join(bench.HOME, "inadyn.conf")
    with open(conf, "w") as file:
        file.write(f'ca-trust-file = {authority}\ncustom signpost {{\n  username = router\n  password = "{made["password"]}"\n  ddns-server = "localhost:{g.ours.web}"\n'
                   f'  ddns-path = "/nic/update?hostname=%h&myip=%i"\n  hostname = home.example.test\n  checkip-command = "/bin/echo 198.51.100.13"\n}}\n')
    said = run(["inadyn", "--once", "--foreground", "--no-pidfile", "--config", conf, "--cache-dir", os.path.join(bench.HOME, "inadyn.cache"), "--loglevel", "debug"], deadline=30)
    g.check("inadyn itself does", wait_for(lambda: g.short("home.example.test") == "198.51.100.13", 5), said[-300:])
    brief = g.ours.ask("names.add", {"name": "brief", "host": "brief.example.test", "expires_s": 1})
    run(["curl", "-sk", "-u", f"brief:{brief['password']}", f"{base}/update?ip=198.51.100.13"])
    g.check("a device that falls silent", g.short("brief.example.test") == "198.51.100.13" and wait_for(lambda: g.short("brief.example.test") == "", 75))
    web, flood = http.client.HTTPSConnection("127.0.0.1", g.ours.web, context=ssl._create_unverified_context(), timeout=20), []
    login = base64.b64encode(f"router:{made['password']}".encode()).decode()
    for _ in range(125):
        web.request("GET", "/nic/update?hostname=home.example.test&myip=198.51.100.13", headers={"Authorization": "Basic " + login})
        flood.append(web.getresponse().read().decode().strip())
    g.check("dyndns2: abuse, when it asks too often", flood[-1] == "abuse" and flood[0].startswith("nochg"), flood[-1])
    g.ours.ask("names.revoke", {"name": "router"})
    g.check("a revoked device has no address and no word", g.short("home.example.test") == "" and update("hostname=home.example.test") == "badauth")


def views(g):
    """Who asks from 127.0.0.2 is at home; 127.0.0.1 is the world."""
    at_home = lambda *words: run(["dig", "+time=2", "+tries=1", "-b", "127.0.0.2", "@127.0.0.1", "-p", str(g.ours.port), "+short", *words]).strip()
    words = [g.nymote, "signpost", "--dir", bench.HOME]
    g.nsupdate("update add nas.example.test 60 A 203.0.113.5")
    run([*words, "view", "set", "home", "127.0.0.2/32"])
    run([*words, "zone", "record", "nas.example.test", "A", "192.168.178.5", "--view", "home"])
    g.check("a view by command", at_home("nas.example.test") == "192.168.178.5" and g.short("nas.example.test") == "203.0.113.5", at_home("nas.example.test"))
    run([*words, "key", "add", "inside", "--secret", SECRET, "--view", "home"])
    inside = "hmac-sha256:inside:" + SECRET
    said = g.nsupdate("update delete nas.example.test A\nupdate add nas.example.test 60 A 192.168.178.6\nupdate add only.example.test 60 A 192.168.178.7", key=inside)
    g.check("a view by update, with a key of the view", said == "" and at_home("nas.example.test") == "192.168.178.6" and g.short("nas.example.test") == "203.0.113.5"
            and at_home("only.example.test") == "192.168.178.7" and g.short("only.example.test") == "", said)
    g.nsupdate("update delete nas.example.test A\nupdate add nas.example.test 60 A 203.0.113.6")
    g.check("the public address moves, the one at home stays", at_home("nas.example.test") == "192.168.178.6" and g.short("nas.example.test") == "203.0.113.6")
    made = g.ours.ask("names.add", {"name": "box", "host": "box.example.test"})
    tell = ["curl", "-sk", "-u", f"box:{made['password']}"]
    run([*tell, f"https://127.0.0.1:{g.ours.web}/update?ip=203.0.113.9"])
    said = run([*tell, f"https://127.0.0.1:{g.ours.web}/nic/update?hostname=box.example.test&myip=192.168.178.9&view=home"])
    g.check("a device tells its address at home", said.startswith("good") and at_home("box.example.test") == "192.168.178.9" and g.short("box.example.test") == "203.0.113.9", said)
    g.nsupdate("update delete nas.example.test A", key=inside)
    g.check("what goes from a view lets the public record show", at_home("nas.example.test") == "203.0.113.6", at_home("nas.example.test"))


def git(place, *words):
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "Anna", "GIT_AUTHOR_EMAIL": "anna@example.org",
           "GIT_COMMITTER_NAME": "Anna", "GIT_COMMITTER_EMAIL": "anna@example.org"}
    done = subprocess.run(["git", "-C", place, "-c", "http.sslVerify=false", *words], capture_output=True, text=True, timeout=60, env=env)
    return done.returncode, done.stdout + done.stderr


def account(g):
    try:
        g.ours.ask("account.create", {"user": USER, "address": f"{USER}@example.org", "password": PASSWORD})
    except ValueError:
        pass  # it is there from an earlier journey
    return f"https://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{g.ours.web}/zones.git"


def pushes(g):
    """A clone is edited and pushed: what is good is served when the push returns, what is not is refused with its line."""
    place = os.path.join(bench.HOME, "clone")
    code, said = git(bench.HOME, "clone", "-q", account(g), place)
    g.check("git clone of the zones", code == 0 and os.path.exists(f"{place}/zones/example.test/SOA"), said)

    def edit(path, text):
        os.makedirs(os.path.dirname(f"{place}/{path}"), exist_ok=True)
        with open(f"{place}/{path}", "w") as file:
            file.write(text)
        git(place, "add", "-A")
        git(place, "commit", "-q", "-m", "by hand")
        return git(place, "push", "-q", "origin", "HEAD:main")

    before = g.serial()
    code, said = edit("zones/example.test/byhand", "byhand 60 A 192.0.2.88\n")
    g.check("a push is served when it returns", code == 0 and g.short("byhand.example.test") == "192.0.2.88" and g.serial() > before, said)
    git(place, "pull", "-q", "--rebase", "origin", "main")
    code, said = edit("zones/example.test/byhand", "byhand 60 A 192.0.2.89\n\nbad 60 A 300.1.1.1\n")
    g.check("a push of what is no record is refused with its line", code != 0 and "zones/example.test/byhand, line 3" in said and g.short("byhand.example.test") == "192.0.2.88", said)
    git(place, "reset", "-q", "--hard", "HEAD~1")
    code, said = edit("zones/example.test/@", "@ 60 A 192.0.2.1\n")
    g.check("a push of a zone without name servers is refused", code != 0 and "NS" in said, said)
    git(place, "reset", "-q", "--hard", "HEAD~1")
    code, said = edit("zones/new.test/@", "@ 60 SOA ns1 h 1 2 3 4 60\n@ 60 NS ns1\nns1 60 A 192.0.2.1\n")
    g.check("a push makes a zone", code == 0 and g.short("ns1.new.test") == "192.0.2.1", said)


class Called(http.server.BaseHTTPRequestHandler):
    names, delay_s = [], 0.0

    def do_POST(self):
        Called.names.append(self.path)
        time.sleep(Called.delay_s)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def sleepers(g):
    """A question for a sleeping service calls who can wake it, once, and the answer comes within the deadline."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Called)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    g.nsupdate("update add asleep.example.test 60 A 192.0.2.61")
    g.ours.ask("settings.set", {"wake_url": f"http://127.0.0.1:{server.server_port}/wake"})
    g.ours.ask("zone.set", {"zone": ZONE_NAME, "sleepers": ["asleep.example.test."]})
    g.check("a question for a sleeping service is answered", g.short("asleep.example.test") == "192.0.2.61")
    g.check("and calls who can wake it", Called.names == ["/wake?name=asleep.example.test"], Called.names)
    for _ in range(5):
        g.short("asleep.example.test")
    g.check("once, however often it is asked", len(Called.names) == 1, Called.names)
    g.check("others are answered without a call", g.short("mail.example.test") != "" and len(Called.names) == 1)
    g.ours.ask("zone.set", {"zone": ZONE_NAME, "sleepers": []})
    server.shutdown()


def registrar(g):
    """What the parent says, asked of a resolver (BIND plays the parent): told to the owner, and followed by the keys."""
    g.nsupdate("update add example.test 300 NS ns1.example.test\nupdate add example.test 300 NS ns2.example.test")
    told = g.ours.ask("zone.sign", {"zone": ZONE_NAME, "nsec3": False})
    ds = told["registrar"][0].split(" DS ")[1]
    place = os.path.join(bench.HOME, "parent-zone")
    with open(place, "w") as file:
        file.write(f"$TTL 60\n@ SOA ns h 1 60 60 600 60\n@ NS ns\nns A 127.0.0.1\nexample NS ns1.example\nexample NS ns2.example\n"
                   f"ns1.example A 127.0.0.1\nns2.example A 127.0.0.1\nexample DS {ds}\n")
    # The child's NS are asked of the parent's server too: BIND answers with its own zone of that name.
    child = os.path.join(bench.HOME, "child-zone")
    with open(child, "w") as file:
        file.write("$TTL 60\n@ SOA ns1 h 1 60 60 600 60\n@ NS ns1\n@ NS ns2\nns1 A 127.0.0.1\nns2 A 127.0.0.1\n")
    port = bench.bind_zones({"test": place, ZONE_NAME: child})
    wait_for(lambda: "SOA" in run(["dig", "+time=1", "+tries=1", "@127.0.0.1", "-p", str(port), "soa", "test", "+noall", "+answer"]))
    g.ours.ask("settings.set", {"resolver": f"127.0.0.1:{port}"})
    keys = g.ours.ask("keys", {"zone": ZONE_NAME})
    g.check("the registrar did what it must", keys["checked"] == [], keys["checked"])
    text = open(place).read()
    bad = re.sub(r"DS (\d+) ", lambda match: f"DS {(int(match[1]) + 1) % 65536} ", text)
    open(place, "w").write(bad.replace("h 1 ", "h 2 "))
    run(["kill", "-HUP", str(bench.started[-1].pid)])
    wrong = lambda: g.ours.ask("keys", {"zone": ZONE_NAME})["checked"]
    g.check("another DS at the parent is told", wait_for(lambda: any("names none of the keys" in line for line in wrong()), 10), wrong())
    open(place, "w").write("\n".join(line for line in text.split("\n") if " DS " not in line).replace("h 1 ", "h 3 "))
    run(["kill", "-HUP", str(bench.started[-1].pid)])
    g.check("no DS at the parent is told", wait_for(lambda: any("has no DS" in line for line in wrong()), 10), wrong())
    g.ours.ask("zone.sign", {"zone": ZONE_NAME, "off": True})
    g.check("RFC 8078 section 4: the parent is asked to forget", g.short("cds", ZONE_NAME) == "0 0 0 00" and g.short("cdnskey", ZONE_NAME) == "0 3 0 AA==" and g.short("dnskey", ZONE_NAME) != "", g.short("cds", ZONE_NAME))
    g.ours.ask("zone.sign", {"zone": ZONE_NAME, "off": True, "now": True})
    g.check("signing ends", g.short("dnskey", ZONE_NAME) == "" and g.short("cds", ZONE_NAME) == "")


def sig0(g):
    """A device signs with a key of its own (SIG(0)) and changes what is at its own name."""
    for algorithm in ("ECDSAP256SHA256", "ED25519"):
        host = f"{algorithm.lower()}.example.test"
        made = run(["dnssec-keygen", "-q", "-K", bench.HOME, "-T", "KEY", "-n", "HOST", "-a", algorithm, host]).strip().split("\n")[-1]
        public = open(os.path.join(bench.HOME, made + ".key")).read().strip().split("\n")[-1].split(" KEY ")[1]
        g.nsupdate(f"update add {host} 60 KEY {public}")
        own = lambda lines: run(["nsupdate", "-k", os.path.join(bench.HOME, made + ".private")], f"server 127.0.0.1 {g.ours.port}\nzone {ZONE_NAME}\n{lines}\nsend\n", 10).strip()
        said = own(f"update add {host} 60 A 192.0.2.71")
        g.check(f"SIG(0) {algorithm}: its own name", said == "" and g.short(host) == "192.0.2.71", said)
        said = own("update add other.example.test 60 A 192.0.2.72")
        g.check(f"SIG(0) {algorithm}: another name is REFUSED", "REFUSED" in said and g.short("other.example.test") == "", said)


def pages(g):
    """The pages in Chromium, as their reader uses them: a device is added, told of, revoked; a change is undone."""
    if not shutil.which("chromium"):
        return print("skip the pages in a browser: no chromium", flush=True)
    sys.path.insert(0, os.path.join(bench.ROOT, "tests/suite"))
    from chromium import Chromium
    account(g)
    base = f"https://127.0.0.1:{g.ours.web}"
    keep = os.environ.get("PICTURES")
    with Chromium() as browser:
        def look(path, title):
            for width, height, dark in ((1100, 800, False), (390, 800, True)):
                browser.size(width, height, dark)
                browser.go(base + path)
                g.check(f"{title} fits {width} pixels", browser.overflow() <= 0, browser.overflow())
                if keep:
                    browser.picture(os.path.join(keep, f"{title.replace(' ', '-')}-{width}.png"), whole=True)

        def fill(action, **fields):
            form = f"[...document.querySelectorAll('form[action=\"{action}\"]')].at(-1)"
            for name, value in fields.items():
                browser.run(f"{form}.elements['{name}'].value = {json.dumps(value)}")
            browser.run(f"{form}.requestSubmit ? {form}.requestSubmit() : {form}.submit()")
            time.sleep(0.5)
            browser.loaded()
            return browser.run("document.body.innerText")

        browser.size(1100, 800)
        browser.log_in(base, USER, PASSWORD)
        browser.go(base + "/views")
        text = fill("/views", view="home", networks="127.0.0.2/32, 192.168.178.0/24")
        g.check("a view is made on its page", "192.168.178.0/24" in text, text)
        browser.go(base + "/names")
        text = fill("/names", name="laptop", host="laptop.example.test", expires_days="30")
        found = re.search(r"password='([^']+)'", text)
        g.check("a device is added, with what to paste into the router", found and "/nic/update?hostname=<domain>" in text and "FRITZ!Box" in text and "OpenWrt" in text and "UniFi" in text, text[:300])
        if keep:
            browser.size(1100, 800)
            browser.picture(os.path.join(keep, "added.png"), whole=True)
        run(["curl", "-sk", "-u", f"laptop:{found[1]}", f"{base}/nic/update?hostname=laptop.example.test&myip=203.0.113.44"])
        browser.go(base + "/names/device?name=laptop")
        text = fill("/names/home", view="home", addresses="192.168.178.44")
        at_home = run(["dig", "+time=2", "+tries=1", "-b", "127.0.0.2", "@127.0.0.1", "-p", str(g.ours.port), "+short", "laptop.example.test"]).strip()
        g.check("its address at home is set on its page", at_home == "192.168.178.44" and "203.0.113.44" in text and "dyndns2" in text, (at_home, text[:300]))
        g.nsupdate("update delete mail.example.test A\nupdate add mail.example.test 60 A 192.0.2.201")
        browser.go(base + "/zones")
        browser.run("[...document.querySelectorAll('form')].find(one => one.action.includes('/zones/undo')).submit()")
        time.sleep(0.5)
        browser.loaded()
        g.check("a change is undone on the zones' page", wait_for(lambda: g.short("mail.example.test") == "192.0.2.25", 5), g.short("mail.example.test"))
        for path, title in (("/names", "names"), ("/names/device?name=laptop", "a device"), ("/zones", "zones"), ("/views", "views")):
            look(path, title)
        browser.go(base + "/names/device?name=laptop")
        fill("/names/revoke")
        g.check("a device is revoked on its page", g.short("laptop.example.test") == "")
