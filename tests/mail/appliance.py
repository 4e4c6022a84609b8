"""Starts the mail appliance in a throw-away directory, asks its control socket, and prints one line a check."""

import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"


class Appliance:
    def __init__(self, settings="", domain="home.test", directory=None):
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix="nymote-mail-"))
        self.domain, self.process, self.endpoints = domain, None, {}
        self.start()
        for user in ("anna", "ben"):
            if not any(a["user"] == user for a in self.ask("account.list")):
                self.ask("account.create", user=user, address=f"{user}@{domain}", name=user.title(), password=PASSWORD, admin=user == "anna")
        if settings:
            self.ask("mail.settings", toml=settings)

    def start(self):
        log = open(self.dir / "log", "ab")
        words = [binary(), "--dir", self.dir, "--domain", self.domain, "--base-port", "0", "--log-level", "debug"]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        # The pages come last: when they listen, everything does.
        until(lambda: "web" in self.ask("status")["endpoints"], 20, "the appliance answers")
        self.endpoints = self.ask("status")["endpoints"]

    def ask(self, command, **args):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            here = os.getcwd()
            os.chdir(self.dir)
            try:
                s.connect("control")
            finally:
                os.chdir(here)
            s.sendall(json.dumps({"command": command, "args": args}).encode() + b"\n")
            for line in s.makefile():
                answer = json.loads(line)
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                if "ok" in answer or "result" in answer:
                    return answer.get("ok", answer.get("result"))
        raise RuntimeError(f"no answer to {command}")

    def address(self, service):
        host, port = self.endpoints[service].rsplit(":", 1)
        return host, int(port)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def remove(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def end(self):
        """Removes it; with KEEP it stays, and its place is printed."""
        if os.environ.get("KEEP"):
            self.stop()
            print(self.dir)
        else:
            self.remove()


def binary():
    """The program: named by NYMOTE_MAIL, else built here."""
    if os.environ.get("NYMOTE_MAIL"):
        return os.environ["NYMOTE_MAIL"]
    subprocess.run(["cargo", "build", "--quiet", "-p", "mail"], cwd=ROOT, check=True)
    os.environ["NYMOTE_MAIL"] = str(ROOT / "target" / "debug" / "mail")
    return os.environ["NYMOTE_MAIL"]


def nymote():
    """The program `nymote`, when it is built: NYMOTE names it."""
    program = os.environ.get("NYMOTE") or str(ROOT / "target" / "debug" / "nymote")
    return program if pathlib.Path(program).exists() else None


def until(condition, seconds, what):
    """Waits until `condition` gives something true, for so long."""
    end, last = time.time() + seconds, None
    while time.time() < end:
        try:
            found = condition()
            if found:
                return found
        except Exception as error:  # noqa: BLE001 - whatever it is, it may pass
            last = error
        time.sleep(0.05)
    raise TimeoutError(f"{what}: not within {seconds} s ({last})")


def tls():
    """Any certificate: the local authority's is not what these journeys look at."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Checks:
    def __init__(self):
        self.bad = 0

    def __call__(self, name, check):
        try:
            found = check()
            good, why = (found is None or bool(found)), repr(found)
        except Exception as error:  # noqa: BLE001 - a check that breaks has failed
            good, why = False, f"{type(error).__name__}: {error}"
        print(f"ok   {name}" if good else f"FAIL {name}: {why}", flush=True)
        self.bad += not good

    def parts(self, parts, *given):
        """Runs parts one after another, or those that the command line names. One that breaks has failed; the others go on."""
        for part in parts:
            if sys.argv[1:] and part.__name__ not in sys.argv[1:]:
                continue
            try:
                part(*given)
            except Exception as error:  # noqa: BLE001 - the other parts go on
                self(f"{part.__name__} runs to its end", lambda error=error: (_ for _ in ()).throw(error))

    def end(self):
        sys.exit(1 if self.bad else 0)
