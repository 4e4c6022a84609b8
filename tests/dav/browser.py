"""A headless Chromium, driven over its DevTools protocol: enough for journeys and pictures. Needs chromium and aiohttp."""
import asyncio, base64, json, shutil, subprocess, tempfile, time
from pathlib import Path

import aiohttp


class Browser:
    """One page in a browser of its own, with a fresh profile."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="nymote-chromium-")
        words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--ignore-certificate-errors", "--hide-scrollbars",
                 "--disable-dev-shm-usage", "--remote-debugging-port=0", f"--user-data-dir={self.profile}", "about:blank"]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.loop = asyncio.new_event_loop()
        self.number, self.errors = 0, []
        self.loop.run_until_complete(self._connect())

    async def _connect(self):
        port, deadline = Path(self.profile) / "DevToolsActivePort", time.time() + 60
        while not port.exists() or not port.read_text().strip():
            if time.time() > deadline or self.process.poll() is not None:
                raise OSError("Chromium does not start")
            await asyncio.sleep(0.1)
        number = port.read_text().split()[0]
        self.session = aiohttp.ClientSession()
        while True:
            async with self.session.get(f"http://127.0.0.1:{number}/json/list") as answer:
                pages = [p for p in await answer.json() if p["type"] == "page"]
            if pages:
                break
            await asyncio.sleep(0.1)
        self.socket = await self.session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
        for domain in ("Page", "Runtime", "Log"):
            await self._send(f"{domain}.enable")

    async def _send(self, method, **params):
        self.number += 1
        number = self.number
        await self.socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = json.loads((await asyncio.wait_for(self.socket.receive(), 60)).data)
            if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.errors.append(message["params"]["entry"]["text"] + " " + message["params"]["entry"].get("url", ""))
            if message.get("id") == number:
                if "error" in message:
                    raise OSError(f"{method}: {message['error']['message']}")
                return message["result"]

    def send(self, method, **params):
        return self.loop.run_until_complete(self._send(method, **params))

    def eval(self, script):
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise ValueError(f"{script}: {result['exceptionDetails']['exception'].get('description', '')}")
        return result["result"].get("value")

    def settle(self, before=None):
        """Waits until a new document (another than `before`) is complete."""
        deadline = time.time() + 30
        while time.time() < deadline:
            try:
                state, mark = self.eval("[document.readyState, performance.timeOrigin]")
                if state == "complete" and mark != before:
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.05)
        raise TimeoutError(f"the page does not come: {self.eval('location.href')}")

    def go(self, url):
        self.send("Page.navigate", url=url)
        self.settle(None)
        time.sleep(0.05)
        self.settle(None)

    def fill(self, selector, value):
        if not self.eval(f"(e => {{ if (!e) return false; e.value = {json.dumps(value)}; return true }})(document.querySelector({json.dumps(selector)}))"):
            raise ValueError(f"there is no {selector} at {self.eval('location.href')}")

    def click(self, selector):
        """Clicks what leads to another page, and waits for that."""
        before = self.eval("performance.timeOrigin")
        if not self.eval(f"(e => {{ if (!e) return false; e.click(); return true }})(document.querySelector({json.dumps(selector)}))"):
            raise ValueError(f"there is no {selector} at {self.eval('location.href')}")
        self.settle(before)

    def text(self):
        return self.eval("document.querySelector('main').innerText")

    def key(self, key, code=None, number=0):
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=code or key, windowsVirtualKeyCode=number, text="\r" if key == "Enter" and kind == "keyDown" else "")

    def look(self, width, height, dark=False):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def picture(self, path):
        Path(path).write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def without_scripts(self):
        self.send("Emulation.setScriptExecutionDisabled", value=True)

    def login(self, url, user, password):
        self.go(url)
        self.fill("input[name=user]", user)
        self.fill("input[name=password]", password)
        self.click("main form button")

    def end(self):
        self.loop.run_until_complete(self.session.close())
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)
