"""A store served to git, and git run away from the user's configuration."""
import os, re, resource, signal, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "NO_COLOR": "1",
    "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.org",
}


def nymote():
    """The program: as NYMOTE says, else built here (debug)."""
    given = os.environ.get("NYMOTE")
    if given:
        return given
    subprocess.run(["cargo", "build", "--quiet", "-p", "nymote"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return str(Path(target) / "debug" / "nymote")


def run(*words, folder=None, feed=None, check=True, seconds=120, **more):
    """Runs a program; returns what it printed, or raises with it."""
    done = subprocess.run([str(word) for word in words], cwd=folder, input=feed, env={**ENVIRONMENT, **more},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds)
    done.text = (done.stdout + done.stderr).decode("utf-8", "replace")
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))[:300]}: {done.text[-1500:]}")
    return done


def git(*words, **more):
    return run("git", "-c", "gc.auto=0", *words, **more).stdout.decode("utf-8", "replace")


class Server:
    """`nymote store serve` on a free port."""

    def __init__(self, program, store, push=True, make=True):
        if make:
            run(program, "store", "init", store)
        words = [program, "store", "serve", str(store), "--listen", "127.0.0.1:0"] + (["--allow-push"] if push else [])
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
        line = self.process.stdout.readline().decode()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\S+", line)
        if not found:
            raise AssertionError(f"the server does not say where it is: {line!r}")
        self.url, self.port = found.group(0), int(found.group(1))
        self.at_start_kb = self.peak_kb()

    def peak_kb(self):
        """The most memory that it held at any time."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", text).group(1))

    def grown_kb(self):
        """The most memory that it held beyond what it began with, which is mostly the program itself."""
        return self.peak_kb() - self.at_start_kb

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Checks:
    """One line a check; the exit code at the end."""

    def __init__(self):
        self.failed = 0

    def check(self, name, test):
        begun = time.monotonic()
        try:
            remark = test()
            print(f"ok   {name}{': ' + remark if remark else ''} ({time.monotonic() - begun:.1f} s)", flush=True)
        except Exception as error:  # every failure is one line, whatever it is
            self.failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {str(error)[:1500]}", flush=True)

    def exit(self):
        sys.exit(1 if self.failed else 0)
