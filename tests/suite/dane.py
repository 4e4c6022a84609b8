"""The key of mail's certificate in the household's own zone: OpenSSL checks it as a sending host does (RFC 7672), at each
step of a change of certificate."""
import json
import subprocess


def records(data):
    host, port = data["endpoints"]["dns"].rsplit(":", 1)
    said = subprocess.run(["dig", f"@{host}", "-p", port, "+short", "+tries=1", "+time=5", "_25._tcp.mail.example.org", "TLSA"],
                          capture_output=True, text=True)
    return sorted( said.stdout.strip().splitlines())


def trusts(data, known):
    """Whether a host that knows these records gives its mail to whom it finds on port 25."""
    words = ["openssl", "s_client", "-starttls", "smtp", "-connect", data["endpoints"]["smtp"], "-dane_tlsa_domain", "mail.example.org"]
    for record in known:
        usage, selector, matching, *digest = record.split()
        words += ["-dane_tlsa_rrdata", f"{usage} {selector} {matching} {''.join(digest)}"]
    said = subprocess.run(words, input="QUIT\n", capture_output=True, text=True, timeout=120)
    return bool(known) and "Verification: OK" in said.stdout and "matched" in said.stdout.replace("\n", " ")


def make(place, name, key=None):
    """A certificate of somebody else's for the mail host; with a key, one more of that key."""
    pem, secret = place / f"{name}.pem", key or place / f"{name}.key"
    words = ["openssl", "req", "-x509", "-subj", "/CN=mail.example.org", "-addext", "subjectAltName=DNS:mail.example.org", "-days", "30", "-out", pem]
    if not key:
        words += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", secret]
    else:
        words += ["-key", secret]
    subprocess.run(words, capture_output=True, check=True, timeout=30)
    return pem, secret


def journey(check, nymote, says, Up, wait_until, place):
    directory = place / "dane"
    dir_words = ("--dir", directory)
    up = Up(nymote, directory, "--domain", "example.org", "--user", "anna")
    data = up.data
    check("the zone has the key of mail's certificate", wait_until(lambda: len(records(data)) == 1), records(data))
    first = records(data)
    check("by which OpenSSL trusts the mail host, and by no other", trusts(data, first) and not trusts(data, ["3 1 1 " + "ab" * 32]), first)
    up.stop()
    up = Up(nymote, directory)
    data = up.data
    check("the key is the same after another start", trusts(data, first) and records(data) == first, records(data))
    signed = says(nymote, "signpost", *dir_words, "zone", "sign", "example.org")
    check("the zone is signed", signed[0] == 0, signed[2])
    certificate, key = make(place, "first")
    said = says(nymote, "certificate", certificate, key, *dir_words)
    both = records(data)
    check("another certificate waits until the zone has known its key for a while", said[0] == 0 and "10 minutes" in said[1] and len(both) == 2 and set(first) < set(both), (said, both))
    check("meanwhile who knows the old record, or both, trusts what is shown", trusts(data, first) and trusts(data, both))
    new = sorted(set(both) - set(first))
    waiting = directory / "coming.json"
    known = json.loads(waiting.read_text())
    check("since when it is known is kept", isinstance(known["known_since_s"], int), {**known, "key": ""})
    up.stop()
    known["known_since_s"] -= 600  # ten minutes later
    waiting.write_text(json.dumps(known))
    up = Up(nymote, directory)
    data = up.data
    check("ten minutes later it is shown, after a start too", wait_until(lambda: trusts(data, new), 60) and not waiting.exists())
    check("to who remembers both records as well", trusts(data, both))
    check("and the old key leaves the zone", wait_until(lambda: records(data) == new, 60), records(data))
    certificate, _ = make(place, "renewed", key)
    said = says(nymote, "certificate", certificate, key, *dir_words)
    check("a renewal with the same key does not wait", "all four" in said[1] and records(data) == new and trusts(data, new), said)
    certificate, key = make(place, "second")
    said = says(nymote, "certificate", certificate, key, "--now", *dir_words)
    check("nor does one that is to be served now", "all four" in said[1] and len(records(data)) == 1 and trusts(data, records(data)), said)
    up.stop()
