"""Random histories as input of `git fast-import`: merges, renames, deletions, modes, links, odd names, large blobs, tags."""
import random

ODD_NAMES = [
    "plain.txt", "with space", "quote'and\"double", "back\\slash", "ünïcödé", "日本語", "emoji🎉", "-dash", "--option",
    "tab\tin", "line\nbreak", "a", "A", "aa", "a.b", "a0", "~tilde", "#hash", "$dollar", "%25", "*star", "?what", ":colon",
    "[x]", "{y}", "trailing ", " leading", ".hidden", "..a", "CON", "nul.txt", "very" + "long" * 40, "\x01control", "é", "é",
    "git~2", ".gitattributes", "x.lock",
]


def quote(path):
    out = '"'
    for byte in path.encode("utf-8"):
        out += chr(byte) if 32 <= byte < 127 and byte not in (34, 92) else f"\\{byte:03o}"
    return (out + '"').encode()


def history(seed, prefix, out):
    """Appends one history; all its refs begin with `prefix`. Times grow, most of the time."""
    chance = random.Random(seed)
    names = chance.sample(ODD_NAMES, 6) + [f"f{number}" for number in range(6)]
    folders = ["", "d/", "d/e/", "d.x/", chance.choice(ODD_NAMES) + "-dir/"]
    clock = 1_000_000_000 + seed * 1000
    heads, files = {}, {}
    mark = history.mark

    def blob():
        if chance.random() < 0.01:
            return chance.randbytes(chance.randrange(200_000, 2_500_000))
        if chance.random() < 0.1:
            return b""
        line = chance.choice([b"line %d\n", b"caf\xe9 %d\r\n", b"\x00bin%d\xff"])
        return b"".join(line % chance.randrange(50) for _ in range(chance.randrange(60)))

    for number in range(chance.randrange(1, 14)):
        clock += chance.randrange(-30, 300)
        branch = chance.choice(["main", "side", "topic/x"]) if heads else "main"
        mark += 1
        out.append(b"commit refs/heads/%s/%s\nmark :%d\n" % (prefix, branch.encode(), mark))
        zone = chance.choice(["+0000", "-0930", "+1245"])
        name = chance.choice(["Ada", "Žofie Ó", "x"])
        for role in ("author", "committer"):
            out.append(f"{role} {name} <a@x> {clock} {zone}\n".encode())
        message = chance.choice([b"", b"one line\n", b"no newline", b"caf\xc3\xa9\n\nbody\n", b"\n\nleading\n"])
        out.append(b"data %d\n%s\n" % (len(message), message))
        own = dict(files.get(branch, {}))
        if branch not in heads and heads:
            base = chance.choice(list(heads))
            if chance.random() < 0.85:
                out.append(b"from :%d\n" % heads[base])
                own = dict(files[base])
        elif branch in heads:
            out.append(b"from :%d\n" % heads[branch])
            others = [one for one in heads if one != branch]
            for other in chance.sample(others, chance.randrange(0, len(others) + 1)) if chance.random() < 0.3 else []:
                out.append(b"merge :%d\n" % heads[other])
        for _ in range(chance.randrange(0, 5)):
            path = chance.choice(folders) + chance.choice(names)
            deed = chance.random()
            if deed < 0.15 and own:
                gone = chance.choice(sorted(own))
                out.append(b"D %s\n" % quote(gone))
                own = {one: True for one in own if one != gone and not one.startswith(gone + "/")}
            elif deed < 0.3 and own:
                old = chance.choice(sorted(own))
                if clear(own, path, old):
                    out.append(b"R %s %s\n" % (quote(old), quote(path)))
                    own.pop(old)
                    own[path] = True
            elif clear(own, path):
                content = blob()
                mode = chance.choice([b"100644", b"100644", b"100755", b"120000"])
                if mode == b"120000":
                    content = b"target"
                out.append(b"M %s inline %s\ndata %d\n%s\n" % (mode, quote(path), len(content), content))
                own[path] = True
        out.append(b"\n")
        heads[branch], files[branch] = mark, own
        if chance.random() < 0.15:
            out.append(b"tag %s/v%d\nfrom :%d\ntagger T <t@x> %d +0000\ndata 4\ntag\n\n" % (prefix, number, mark, clock))
    history.mark = mark


history.mark = 0


def clear(own, path, ignoring=None):
    """Whether a file may stand there: no file is a folder of it, nor the other way round."""
    parts = path.split("/")
    above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
    others = [one for one in own if one != ignoring]
    return not any(one in above or one.startswith(path + "/") for one in others) and (path not in own or not ignoring)


def many(first, count):
    """`count` histories as one stream."""
    history.mark = 0
    out = []
    for seed in range(first, first + count):
        history(seed, b"h%d" % seed, out)
    out.append(b"done\n")
    return b"".join(out)
