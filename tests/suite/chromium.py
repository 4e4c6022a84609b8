"""Chromium without a head, driven over its DevTools protocol: enough to log in, look, and take pictures."""
import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path


class Chromium:
    """A browser in a directory of its own; use it in a `with`."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="nymote-chromium-")
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--ignore-certificate-errors",
                   "--remote-debugging-port=0", f"--user-data-dir={self.home}", "--disable-extensions", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        port = Path(self.home) / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not (port.exists() and port.read_text().count("\n")):
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError("chromium did not start")
            time.sleep(0.1)
        self.port = int(port.read_text().split()[0])
        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/json", timeout=20))
        page = next(one for one in pages if one["type"] == "page")
        self.socket = WebSocket(self.port, page["webSocketDebuggerUrl"].split(str(self.port), 1)[1])
        self.number, self.events = 0, []
        for domain in ("Page", "Network", "Runtime"):
            self.ask(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, 9)
        self.process.wait(timeout=20)
        shutil.rmtree(self.home, ignore_errors=True)

    def ask(self, method, **params):
        """One command; events that come meanwhile are kept."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.receive())
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def size(self, width, height, dark=False):
        """A window of this size, by day or by night."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def go(self, url):
        """Opens a page and waits until it is loaded."""
        self.events.clear()
        answer = self.ask("Page.navigate", url=url)
        if answer.get("errorText"):
            raise RuntimeError(f"{url}: {answer['errorText']}")
        self.loaded()

    def loaded(self, within=30):
        end = time.monotonic() + within
        while self.run("document.readyState") != "complete":
            if time.monotonic() > end:
                raise RuntimeError("the page does not load")
            time.sleep(0.05)
        time.sleep(0.15)

    def run(self, script):
        """The value of a JavaScript expression."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["text"])
        return result["result"].get("value")

    def log_in(self, url, user, password):
        """Types name and password into the login page of `url` and sends it."""
        self.go(f"{url}/login")
        self.run(f"document.querySelector('[name=user]').value={json.dumps(user)};"
                 f"document.querySelector('[name=password]').value={json.dumps(password)};"
                 "document.querySelector('main form').submit()")
        time.sleep(0.5)
        self.loaded()

    def overflow(self):
        """By how many pixels the page is wider than its window."""
        return self.run("document.documentElement.scrollWidth - window.innerWidth")

    def complaints(self):
        """What the console says against the page: errors, and what its policy forbade."""
        levels = [event["params"] for event in self.events if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]
        return [json.dumps(one)[:300] for one in levels]

    def picture(self, path, quality=70, whole=False):
        """Writes what is seen, as WebP or PNG by the name's end."""
        how = {"format": "png"} if str(path).endswith(".png") else {"format": "webp", "quality": quality}
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole, **how)["data"]
        Path(path).write_bytes(base64.b64decode(data))


class WebSocket:
    """RFC 6455 on the client's side, text alone."""

    def __init__(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.reader = self.socket.makefile("rb")
        while self.reader.readline() not in (b"\r\n", b""):
            pass

    def send(self, text):
        data, mask = text.encode(), os.urandom(4)
        length = len(data)
        head = struct.pack("!BB", 0x81, 0x80 | (length if length < 126 else 126 if length < 65536 else 127))
        head += struct.pack("!H", length) if 126 <= length < 65536 else struct.pack("!Q", length) if length >= 65536 else b""
        pad = (mask * (length // 4 + 1))[:length]
        masked = (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(length, "big")
        self.socket.sendall(head + mask + masked)

    def receive(self):
        parts = []
        while True:
            first, second = self.reader.read(2)
            length = second & 127
            if length == 126:
                length = struct.unpack("!H", self.reader.read(2))[0]
            elif length == 127:
                length = struct.unpack("!Q", self.reader.read(8))[0]
            parts.append(self.reader.read(length))
            if first & 0x80 and first & 15 in (0, 1):
                return b"".join(parts).decode()
            if first & 15 not in (0, 1):
                parts.pop()
