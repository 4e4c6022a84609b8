"""An IMAP client that costs little, so that the server is what is measured: raw sockets, answers counted, not parsed."""

import socket
import ssl


class Wire:
    def __init__(self, address, user, password, secure=False):
        self.socket = socket.create_connection(address, timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.got, self.tag = b"", 0
        self.until(b"* OK")
        self.say(f'LOGIN "{user}" "{password}"')

    def fill(self):
        more = self.socket.recv(1 << 18)
        if not more:
            raise EOFError("the server closed the connection")
        self.got += more

    def until(self, begin):
        """Reads lines (no literals among them) up to the one that begins so; gives them all."""
        lines = []
        while True:
            while b"\n" not in self.got:
                self.fill()
            line, self.got = self.got.split(b"\n", 1)
            lines.append(line.rstrip(b"\r"))
            if line.startswith(begin):
                return lines

    def send(self, command):
        self.tag += 1
        tag = b"zq%dx" % self.tag
        self.socket.sendall(tag + b" " + (command if isinstance(command, bytes) else command.encode()) + b"\r\n")
        return tag

    def say(self, command):
        """A command whose answer is kept: its lines, literals as they come."""
        tag = self.send(command)
        lines = self.until(tag + b" ")
        if not lines[-1].startswith(tag + b" OK"):
            raise RuntimeError(f"{command[:60]}: {lines[-1].decode(errors='replace')}")
        return lines

    def drain(self, command):
        """A command whose answer is only counted; gives its bytes. Tags are such that no message ends a piece like one."""
        tag = self.send(command)
        mark, total, tail = b"\r\n" + tag + b" ", len(self.got), b"\r\n" + self.got
        self.got = b""
        piece = bytearray(1 << 20)
        while not (tail.endswith(b"\r\n") and mark in tail):
            count = self.socket.recv_into(piece)
            if not count:
                raise EOFError("the server closed the connection")
            total += count
            tail = (tail + piece[max(0, count - 512):count])[-512:]
        last = tail[tail.rindex(mark) + 2:]
        if not last.startswith(tag + b" OK"):
            raise RuntimeError(f"{command[:60]}: {last.decode(errors='replace')}")
        return total

    def append(self, mailbox, message, plus):
        """One message, by a synchronising literal or by LITERAL+."""
        if plus:
            return self.say(b"APPEND %s {%d+}\r\n%s" % (mailbox.encode(), len(message), message))
        tag = self.send(b"APPEND %s {%d}" % (mailbox.encode(), len(message)))
        self.until(b"+")
        self.socket.sendall(message + b"\r\n")
        lines = self.until(tag + b" ")
        if not lines[-1].startswith(tag + b" OK"):
            raise RuntimeError(lines[-1].decode(errors="replace"))
        return lines

    def append_many(self, mailbox, messages):
        """MULTIAPPEND: one command, one flush for both servers."""
        parts = [b" {%d+}\r\n%s" % (len(message), message) for message in messages]
        return self.say(b"APPEND " + mailbox.encode() + b"".join(parts))

    def idle(self):
        self.send("IDLE")
        self.until(b"+")

    def close(self):
        self.socket.close()
