"""Starts an appliance for a test, talks to its control socket and to its HTTPS, and ends it. Standard library only."""
import base64, http.client, json, os, re, shutil, signal, socket, ssl, subprocess, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build(release=False):
    """Builds both appliances; gives the folder of the programs."""
    words = ["cargo", "build", "--quiet", "-p", "calendar", "-p", "contacts"] + (["--release"] if release else [])
    subprocess.run(words, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / ("release" if release else "debug")


class Appliance:
    """A running appliance with a data directory of its own; accounts anna and bob with the password `secret secret`."""

    PASSWORD = "secret secret"

    def __init__(self, program, dir=None):
        self.dir = Path(dir or tempfile.mkdtemp(prefix="nymote-dav-"))
        self.program = program
        self.process = None
        self.start()
        for user in ("anna", "bob"):
            self.control("account.create", user=user, address=f"{user}@example.org", password=self.PASSWORD)

    def start(self):
        self.log = open(self.dir / "log", "ab")
        command = [self.program, "--dir", str(self.dir / "data"), "--bind", "127.0.0.1", "--base-port", "0"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        deadline = time.time() + 20
        while True:
            try:
                self.port = int(self.control("status")["endpoints"]["web"].rsplit(":", 1)[1])
                return
            except (OSError, KeyError, ValueError):
                if time.time() > deadline or self.process.poll() is not None:
                    raise SystemExit("the appliance does not start:\n" + (self.dir / "log").read_text())
                time.sleep(0.05)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def control(self, command, input=None, progress=None, **args):
        """Carries out a command: `input` goes in, what it tells on the way is put into `progress`."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(str(self.dir / "data" / "control"))
            lines = [{"command": command, "args": args}, *({"input": piece} for piece in input or []), {"end": True}]
            s.sendall("".join(json.dumps(line) + "\n" for line in lines).encode())
            for line in s.makefile():
                answer = json.loads(line)
                if "progress" in answer and progress is not None:
                    progress.append(answer["progress"])
                if "ok" in answer:
                    return answer["ok"]
                if "error" in answer:
                    raise ValueError(answer["error"])
        raise OSError("no answer")

    def memory_kb(self):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def end(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Client:
    """A kept connection of one user."""

    def __init__(self, url, user="anna", password=Appliance.PASSWORD):
        self.host, self.port = re.match(r"https?://([^:/]+):(\d+)", url).groups()
        self.tls = url.startswith("https")
        self.auth = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else None
        self.connection = None

    def ask(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        if self.auth:
            headers.setdefault("Authorization", self.auth)
        if isinstance(body, str):
            body = body.encode()
        for attempt in (0, 1):
            try:
                if self.connection is None:
                    if self.tls:
                        context = ssl._create_unverified_context()
                        self.connection = http.client.HTTPSConnection(self.host, int(self.port), timeout=60, context=context)
                    else:
                        self.connection = http.client.HTTPConnection(self.host, int(self.port), timeout=60)
                    self.connection.connect()
                    self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connection.request(method, path, body, headers)
                response = self.connection.getresponse()
                content = response.read()
                if response.will_close:
                    self.connection.close()
                    self.connection = None
                return response.status, content, response.headers
            except (http.client.HTTPException, OSError):
                self.connection = None
                if attempt:
                    raise


X = {"Content-Type": "application/xml; charset=utf-8"}


def propfind(client, path, depth, props, namespaces=""):
    body = f'<propfind xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:R="urn:ietf:params:xml:ns:carddav" {namespaces}><prop>{props}</prop></propfind>'
    return client.ask("PROPFIND", path, body, {**X, "Depth": str(depth)})
