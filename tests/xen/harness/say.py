"""What the harness tells whoever watches: what it does while it works, and one line for each check."""

import sys
import time

_started = time.monotonic()
failures = []


def doing(text):
    """Says what happens now, with the seconds since the start."""
    print(f"   {time.monotonic() - _started:6.1f} s  {text}", file=sys.stderr, flush=True)


def check(name, good, detail=""):
    """One check: a line `ok …` or `FAIL …` with what was seen; returns whether it was good."""
    if good:
        print(f"ok   {name}", flush=True)
    else:
        failures.append(name)
        print(f"FAIL {name}", flush=True)
        for line in str(detail).splitlines()[-40:]:
            print(f"     | {line}", flush=True)
    return bool(good)
