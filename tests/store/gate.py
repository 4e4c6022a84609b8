"""A gate before another server: it asks for a name and a password, redirects, and breaks off, as hosts and networks do."""
import base64, http.client, socketserver, threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit


class Gate:
    """`breaks` answers end after so many bytes; then the gate is honest."""

    def __init__(self, target, user=None, password=None, breaks=0, after=20_000):
        self.target, self.breaks, self.after, self.seen = urlsplit(target), breaks, after, []
        self.wanted = user and "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, headers, body):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def body(self):
                if self.headers.get("Transfer-Encoding") == "chunked":
                    out = b""
                    while True:
                        size = int(self.rfile.readline().split(b";")[0], 16)
                        out += self.rfile.read(size)
                        self.rfile.readline()
                        if size == 0:
                            return out
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def handle_all(self):
                sent = self.body()
                gate.seen.append((self.command, self.path, self.headers.get("Authorization")))
                if self.path.startswith("/old/"):
                    return self.answer(301, [("Location", self.path[4:])], b"")
                if gate.wanted and self.headers.get("Authorization") != gate.wanted:
                    return self.answer(401, [("WWW-Authenticate", 'Basic realm="x"')], b"who are you?\n")
                talk = http.client.HTTPConnection(gate.target.hostname, gate.target.port, timeout=60)
                keep = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "git-protocol", "accept")}
                talk.request(self.command, gate.target.path + self.path, sent, keep)
                reply = talk.getresponse()
                content = reply.read()
                if self.command == "POST" and gate.breaks and len(content) > gate.after:
                    gate.breaks -= 1
                    self.send_response(reply.status)
                    self.send_header("Content-Type", reply.getheader("Content-Type"))
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content[: gate.after])
                    self.close_connection = True
                    return
                self.answer(reply.status, [("Content-Type", reply.getheader("Content-Type") or "text/plain")], content)

            do_GET = do_POST = handle_all

        class Threads(socketserver.ThreadingTCPServer):
            daemon_threads, allow_reuse_address = True, True

        self.server = Threads(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
