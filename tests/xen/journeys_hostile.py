"""Journeys in which the host is the enemy: backends, xenstore and disks that lie, break or vanish."""

import re

from harness.guest import Guest
from harness.say import check

# What a hostile network backend does, and what the console then says of its card.
CARDS = {
    "count": "responses to",
    "id": "which is not out",
    "page": "leaves the page",
    "chain": "longer than any can be",
    "extra": "makes no sense",
    "transmit": "responses to",
}
DISKS = {
    "count": "responses to",
    "id": "which is not out",
    "operation": "which was not asked",
}
DISK_NUMBER = 51712  # xvda


def device(host, guest, kind, number, nodes, front=()):
    """Makes the nodes of a device by hand, with a backend that no driver of the first domain looks at."""
    home = f"/local/domain/{guest.id()}"
    back = f"/local/domain/0/backend/hostile/{guest.id()}/{number}"
    front = {"backend": back, "backend-id": "0", "state": "1", **dict(front)}
    words = [f'{home}/device/{kind}/{number}/{name} "{value}"' for name, value in front.items()]
    words += [f'{back}/{name} "{value}"' for name, value in {"state": "2", **nodes}.items()]
    host.sh(f"xenstore-write {' '.join(words)}; xenstore-chmod -r {home}/device/{kind} n{guest.id()} r0; "
            f"xenstore-chmod -r {back} n0 r{guest.id()}")


def waiting(host, name, memory_mb=32, extra="EXAM_WAIT=1"):
    """A paused guest without devices that waits for its shutdown."""
    guest = Guest(host, name, host.image("examination"), memory_mb, f"ip=off ip6=off {extra}", network=False)
    return guest.create(paused=True)


def lives_on(host, guest, what):
    """The program still runs, and ends in order when it is asked to. It must have come to where it hears that: cards that
    ask for an address in vain hold its start up for some seconds, and without a handler SIGTERM ends a program silently."""
    guest.wait_console("waiting")
    host.sh(f"xl shutdown {guest.name}")
    guest.wait_console("flushed")
    guest.wait_gone()
    check(f"{what}, and its program ends in order", "crashed" not in guest.console(), guest.console())


def hostile_cards(host):
    """Network backends that break the protocol: each card goes off with one line, the machine lives on."""
    guest = waiting(host, "hostile-net")
    frames = len(CARDS)
    for number, _ in enumerate([*CARDS, "frames"]):
        mac = ("mac", f"02:00:00:00:00:{0x5a + number - frames & 0xff:02x}")
        device(host, guest, "vif", number, {"feature-sg": "1", "feature-gso-tcpv4": "1"}, [mac])
    # Seven backends at once, in the background.
    for number, what in enumerate([*CARDS, "frames"]):
        host.sh(f"(hostile net {guest.id()} {number} {what} && echo done) >/tmp/hostile.{number} 2>&1 &")
    host.sh(f"xl unpause {guest.name}")
    for number, words in enumerate(CARDS.values()):
        try:
            guest.wait_console(f"eth{number}: its backend broke the protocol: .*{words}.*; the card is off")
        except Exception as error:
            check(f"a network backend that lies about its {list(CARDS)[number]} is named", False, error)
    found = [words for words in CARDS.values() if words in guest.console()]
    check(f"{len(CARDS)} ways of a network backend to lie are named, each with one line",
          len(found) == len(CARDS) and guest.console().count("broke the protocol") == len(CARDS), guest.console())
    host.wait_file(f"/tmp/hostile.{frames}", "done")
    check("two thousand bad frames switch nothing off", f"eth{frames}: its backend broke" not in guest.console(), guest.console())
    lives_on(host, guest, "the machine lives on after them")


def hostile_disks(host):
    """Disk backends that break the protocol: the program hears EIO, and nothing is acknowledged."""
    for what, words in DISKS.items():
        guest = waiting(host, f"hostile-{what}", extra="EXAM_DISK=/dev/xvda EXAM_ONLY=disk")
        geometry = {"sectors": "32768", "sector-size": "512", "info": "0", "feature-flush-cache": "1"}
        device(host, guest, "vbd", DISK_NUMBER, geometry)
        host.sh(f"hostile block {guest.id()} {DISK_NUMBER} {what} >/tmp/hostile.disk 2>&1 &")
        host.sh(f"xl unpause {guest.name}")
        guest.wait_gone()
        console = guest.console()
        named = "xvda: its backend broke the protocol" in console and words in console
        check(f"a disk backend that lies about its {what} is named", named, console)
        check("and the program hears of failed writes and goes on", "examination: 2 failed" in console, console)


def lies(host):
    """A xenstore full of nonsense: each lie is named or ignored, the machine starts."""
    guest = waiting(host, "lies")
    device(host, guest, "vif", 0, {}, [("mac", "nonsense")])
    device(host, guest, "vif", 1, {"feature-sg": "often"}, [("mac", "02:00:00:00:00:77"), ("backend-id", "minus one")])
    device(host, guest, "vif", 2, {"state": "99"}, [("mac", "02:00:00:00:00:78"), ("mtu", "70000")])
    device(host, guest, "vbd", DISK_NUMBER, {"state": "4", "sectors": "many"})
    device(host, guest, "vbd", DISK_NUMBER + 16, {"state": "2", "sectors": "8", "sector-size": "3"})
    home = f"/local/domain/{guest.id()}"
    host.sh(f'xenstore-write {home}/control/shutdown "dance"')
    host.sh(f"xl unpause {guest.name}")
    guest.wait_console("waiting")
    console = guest.console()
    check("a card without an address is named", "eth0: it has no Ethernet address" in console, console)
    check("a card without a backend's number is named", "eth1: xenstore names no backend" in console, console)
    check("a request that nobody knows is named", 'asks for "dance"' in console, console)
    lives_on(host, guest, "the machine starts on a xenstore full of nonsense")


def vanished(host):
    """xenstore stops answering: running guests go on, a new one starts without devices."""
    address = "10.0.2.33"
    runs = Guest(host, "runs", host.image("signpost-dns"), 16, f"ip={address}/24 ip6=off", address=address).create()
    host.sh(f"load answer {address} 53 120", 150)
    late = waiting(host, "late")
    number = late.id()
    host.sh("kill -STOP $(cat /run/xenstored.pid)")
    try:
        status, output = host.sh_status(f"load answer {address} 53 60", 90)
        check("a guest answers while xenstore is silent", status == 0, output)
        host.sh(f"domain unpause {number}")
        late.wait_console("waiting")
        check("a guest that starts meanwhile says so and runs", "xenstore: it does not answer" in late.console(), late.console())
    finally:
        host.sh("kill -CONT $(cat /run/xenstored.pid)")
    late.destroy()
    runs.destroy()


def full_disk(host):
    """A disk whose storage is full: the write fails with an error, the machine goes on."""
    host.sh("mkdir -p /full; mount -t tmpfs -o size=512k none /full; truncate -s 16M /full/disk; losetup /dev/loop3 /full/disk")
    guest = Guest(host, "full-disk", host.image("examination"), 32, "ip=off ip6=off EXAM_DISK=/dev/xvda EXAM_ONLY=disk",
                  ["phy:/dev/loop3,xvda,w"], network=False)
    guest.create()
    guest.wait_gone()
    console = guest.console()
    check("a write that finds no room is an error, not silence", "code: 5," in console or "code: 28" in console, console)
    check("and the machine goes on after it", "examination: " in console and "crashed" not in console, console)


def granted(host):
    """What a backend may reach holds nothing of the program's, and a word that it does hold is found there."""
    host.sh("truncate -s 16M /tmp/granted.img; losetup /dev/loop2 /tmp/granted.img")
    kept = "kept-to-itself-4711"
    guest = Guest(host, "granted", host.image("examination"), 32, f"ip=10.0.2.34/24 ip6=off EXAM_WAIT=1 KEPT={kept}",
                  ["phy:/dev/loop2,xvda,w"], address="10.0.2.34")
    guest.create()
    guest.wait_console("waiting")

    def holding(word):
        return tuple(map(int, re.search(r"(\d+) pages, (\d+) hold it", host.sh(f"hostile grants {guest.id()} 0 {word}")).groups()))

    pages, told = holding("waiting")
    check("the page of the console, which is granted, holds what was written to it", pages > 64 and told == 1, (pages, told))
    pages, found = holding(kept)
    check(f"none of {pages} granted pages holds a word of the program's memory", pages > 64 and found == 0, (pages, found))
    lives_on(host, guest, "the machine lives on after that")


JOURNEYS = [hostile_cards, hostile_disks, lies, vanished, full_disk, granted]
