"""The outside's part: an echo for the examination, and a client of what it serves."""
import socket
import socketserver
import ssl
import threading


class _Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
            self.request.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class _Udp(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(data, self.client_address)


def _server(kind, handler, address):
    class Server(socketserver.ThreadingMixIn, kind):
        address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        allow_reuse_address = True
        daemon_threads = True
        request_queue_size = 128

    server = Server(address, handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


class Echo:
    """Echoes TCP and UDP on both addresses of the outside; `peers` is what the examination wants to be told."""

    def __init__(self, addresses):
        self.servers, peers = [], []
        for address in addresses:
            tcp = _server(socketserver.TCPServer, _Tcp, (address, 0))
            port = tcp.server_address[1]
            self.servers += [tcp, _server(socketserver.UDPServer, _Udp, (address, port))]
            peers.append(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
        self.peers = ",".join(peers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.shutdown()
            server.server_close()


def _ask(address, port, command, body=b"", timeout=60):
    with socket.create_connection((address, port), timeout) as sock:
        sending = threading.Thread(target=lambda: (sock.sendall(command + b"\n" + body), sock.shutdown(socket.SHUT_WR)))
        sending.start()
        heard = bytearray()
        while part := sock.recv(65536):
            heard += part
        sending.join()
        return bytes(heard)


def drive(addresses, port):
    """Asks the examination's service for everything it has; gives a list of what was wrong."""
    wrong = []

    def check(name, right):
        if not right:
            wrong.append(name)

    pattern = bytes(range(256)) * 8192
    for address in addresses:
        check(f"echo {address}", _ask(address, port, b"echo", pattern) == pattern)
        check(f"sink {address}", _ask(address, port, b"sink", pattern) == b"%d\n" % len(pattern))
        check(f"source {address}", len(_ask(address, port, b"source 3000001")) == 3_000_001)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.minimum_version = context.maximum_version = version
            with socket.create_connection((address, port + 1), 30) as raw, context.wrap_socket(raw) as sock:
                sock.sendall(b"secret\n")
                check(f"{version.name} {address}", sock.recv(100) == b"secret\n")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.5)
            heard = 0
            for number in range(20):
                for _ in range(8):
                    sock.sendto(bytes([number]) * 500, (address, port))
                    try:
                        data = sock.recv(1000)
                    except TimeoutError:
                        continue
                    if data == bytes([number]) * 500:
                        heard += 1
                        break
            check(f"datagrams {address}: {heard} of 20", heard >= 19)
    crowd = [socket.create_connection((addresses[0], port), 30) for _ in range(200)]
    for sock in crowd:
        sock.sendall(b"echo\nhello")
        sock.shutdown(socket.SHUT_WR)
    answers = 0
    for sock in crowd:
        heard = b""
        while part := sock.recv(100):
            heard += part
        answers += heard == b"hello"
        sock.close()
    check(f"crowd: {answers} of 200", answers == 200)
    _ask(addresses[0], port, b"stop")
    return wrong
