"""A DNS server of the test's own: answers from a table, fails where it is told to. UDP and TCP on one free port."""

import socket
import struct
import threading

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset


class Nameserver:
    """`records` maps a name to {type: [data, …]}; a type of "!" makes the name fail: SERVFAIL, or "silent"."""

    def __init__(self, records=None, host="127.0.0.1"):
        self.records, self.asked = {}, []
        self.add(records or {})
        for _ in range(50):
            self.tcp = socket.create_server((host, 0))
            self.port = self.tcp.getsockname()[1]
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self.udp.bind((host, self.port))
                break
            except OSError:
                self.tcp.close()
        self.address = f"{host}:{self.port}"
        threading.Thread(target=self.serve_udp, daemon=True).start()
        threading.Thread(target=self.serve_tcp, daemon=True).start()

    def add(self, records):
        for name, types in records.items():
            self.records.setdefault(dns.name.from_text(name).to_text().lower(), {}).update(types)

    def serve_udp(self):
        while True:
            wire, peer = self.udp.recvfrom(4096)
            answer = self.answer(wire, 1232)
            if answer:
                self.udp.sendto(answer, peer)

    def serve_tcp(self):
        while True:
            s, _ = self.tcp.accept()
            threading.Thread(target=self.talk, args=(s,), daemon=True).start()

    def talk(self, s):
        with s:
            while True:
                head = s.recv(2, socket.MSG_WAITALL)
                if len(head) < 2:
                    return
                answer = self.answer(s.recv(struct.unpack("!H", head)[0], socket.MSG_WAITALL), 65535)
                if answer:
                    s.sendall(struct.pack("!H", len(answer)) + answer)

    def answer(self, wire, size):
        try:
            asked = dns.message.from_wire(wire)
            question = asked.question[0]
        except Exception:  # noqa: BLE001 - nonsense is not answered
            return None
        reply = dns.message.make_response(asked, recursion_available=True)
        name, kind = question.name, dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name.to_text().lower(), kind))
        for _ in range(9):
            found = self.records.get(name.to_text().lower())
            if found is None:
                below = "." + name.to_text().lower()
                if not reply.answer and not any(n.endswith(below) for n in self.records):
                    reply.set_rcode(dns.rcode.NXDOMAIN)
                break
            if "!" in found:
                if found["!"] == "silent":
                    return None
                reply.set_rcode(dns.rcode.SERVFAIL)
                break
            if kind in found:
                reply.answer.append(dns.rrset.from_text_list(name, 60, "IN", kind, found[kind]))
                break
            if "CNAME" not in found:
                break
            reply.answer.append(dns.rrset.from_text_list(name, 60, "IN", "CNAME", found["CNAME"]))
            name = dns.name.from_text(found["CNAME"][0])
        out = reply.to_wire(max_size=65535)
        if len(out) > size:
            short = dns.message.make_response(asked, recursion_available=True)
            short.flags |= dns.flags.TC
            return short.to_wire()
        return out


def text(value):
    """A TXT value as master files have it, in strings of 255 at most."""
    pieces = [value[i : i + 255] for i in range(0, len(value), 255)] or [""]
    return " ".join('"' + p.replace("\\", "\\\\").replace('"', '\\"') + '"' for p in pieces)
