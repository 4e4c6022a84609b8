"""Every page of the webmail in a headless Chromium: light and dark, narrow and wide, with JavaScript and without, by keys
alone; and what must not happen there. `pages.py --pictures DIR` leaves a picture of each page in DIR.
"""

import email
import email.policy
import json
import os
import pathlib
import smtplib
import sys
import tempfile
import time
from email.message import EmailMessage

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "suite"))
from appliance import PASSWORD, Appliance, Checks, until  # noqa: E402
from chromium import Chromium  # noqa: E402
from clients import messages, submission, with_subject  # noqa: E402

check = Checks()
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000100000001008020000009091683600000019494441547cda63fccfc0f09f81060c86faffff3f0303a600c83cf50000")
EVIL = """<html><head><title>x</title><style>body{color:#333} .cta{background:#1f5f5b;color:#fff}</style></head><body>
<h1>Spring sale</h1><p>Everything must go, <b>today only</b>.</p>
<script>parent.evil=1;window.evil=1</script><img src="https://track.test/open.gif" onerror="parent.evil=2"><img src=x onerror="parent.evil=3">
<svg onload="parent.evil=4"></svg><iframe src="javascript:parent.evil=5"></iframe><form action="https://evil.test"><input name=p><button>Log in</button></form>
<a href="javascript:parent.evil=6" id=j>click</a> <a href="https://shop.test/">shop</a><div style="position:fixed;inset:0;background:url(https://track.test/b.png)">over</div>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=parent.evil=7&gt;"></table></math>
<table background="https://track.test/t.png"><tr><td style="background-image:url('https://track.test/c.png')">cell</td></tr></table>
<meta http-equiv="refresh" content="0;url=https://evil.test/"><base href="https://evil.test/"><link rel=stylesheet href="https://evil.test/x.css">
<p>Some more text to make this letter as long as such letters are.</p></body></html>"""


def letter(subject, sender="Clara Moreau <clara@far.test>", text="", html=None, files=(), **fields):
    m = EmailMessage(policy=email.policy.SMTP)
    m["From"], m["To"], m["Subject"] = sender, fields.pop("To", "Anna <anna@home.test>"), subject
    m["Date"] = fields.pop("Date", "Sun, 29 Nov 2026 12:00:00 +0000")
    for name, value in fields.items():
        m[name.replace("_", "-")] = value
    m.set_content(text or "Hello Anna,\n\nthis is a short letter.\n")
    if html:
        m.add_alternative(html, subtype="html")
    for name, kind, data in files:
        maintype, subtype = kind.split("/")
        m.add_attachment(data, maintype=maintype, subtype=subtype, filename=name)
    return m.as_bytes()


def fill(box):
    host, port = box.address("smtp")
    with smtplib.SMTP(host, port, timeout=30) as s:
        put = lambda raw, sender="clara@far.test": s.sendmail(sender, ["anna@home.test"], raw)
        put(letter("Dinner on Friday?", Message_ID="<d1@far.test>", text="Dear Anna,\n\nshall we have dinner on Friday? Ben says the new place by the harbour is good:\nhttps://harbour.test/menu?table=4&day=fri\n\nClara\n"))
        put(letter("Re: Dinner on Friday?", sender="Ben <ben@home.test>", Message_ID="<d2@far.test>", In_Reply_To="<d1@far.test>", References="<d1@far.test>", text="I can come at eight.\n\nOn Sunday Clara wrote:\n> shall we have dinner on Friday?\n"))
        put(letter("Re: Dinner on Friday?", Message_ID="<d3@far.test>", In_Reply_To="<d2@far.test>", References="<d1@far.test> <d2@far.test>", text="Eight it is. I have a table for four.\n"))
        put(letter("Your invoice 2026-1129", sender="Energie AG <rechnung@energie.test>", text="Please find your invoice attached.\n", files=[("Rechnung Nr. 1129.pdf", "application/pdf", b"%PDF-1.4 x" * 2000), ("meter.png", "image/png", PNG)]))
        put(letter("Spring sale, everything must go", sender="Shop <news@shop.test>", html=EVIL))
        put(letter("A subject that is so long that it will not fit on any line of any list on any screen that anybody has, and goes on all the same until it ends", text="x\n"))
        put(letter("=?utf-8?b?UGhvdG9zIGZyb20gTGlzYm9uIPCfk7c=?=", sender="=?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <juergen@far.test>", text="Seven of them, more to come.\n"))
        for i in range(12):
            put(letter(f"Minutes of meeting {i + 1}", sender="Committee <board@club.test>", text=f"Those present: everybody.\n\n1. Point {i}\n"))
    with submission(box) as s:
        s.sendmail("anna@home.test", ["clara@far.test"], letter("Thank you", sender="Anna <anna@home.test>", To="Clara <clara@far.test>"))


class Web(Chromium):
    def start(self, box):
        host, port = box.address("web")
        self.root = f"https://{host}:{port}"
        self.log_in(self.root, "anna", PASSWORD)

    def at(self, path):
        self.go(self.root + path)

    def text(self):
        return self.run("document.body.innerText")

    def follow(self, words):
        """Clicks the link or button with these words and waits for the page."""
        found = self.run("(() => { const e = [...document.querySelectorAll('main button, main summary'), ...document.querySelectorAll('main a, nav a')].find(e => e.innerText.trim().replace(/\\s+/g, ' ').startsWith(%s)); if (!e) return false; e.click(); return true })()" % json.dumps(words))
        if not found:
            raise RuntimeError(f"nothing says {words!r} at {self.run('location.href')}")
        self.settle()

    def settle(self):
        time.sleep(0.35)
        self.loaded()

    def set(self, name, value):
        self.run(f"document.querySelector('main [name={name}]').value = {json.dumps(value)}")

    def press(self, key):
        code = {"Enter": ("\r", 13), "Escape": ("", 27)}.get(key, (key, ord(key[0].upper())))
        more = {"text": code[0]} if code[0] else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code[1], **more)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code[1])
        self.settle()

    def asked(self):
        """The addresses that were asked for since the last page."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def message(self, subject):
        self.at("/")
        return self.run("[...document.querySelectorAll('.threads a')].find(a => a.innerText.includes(%s))?.getAttribute('href')" % json.dumps(subject))


def pictures(web, box, directory):
    pages = {"inbox": "/", "message": web.message("Dinner on Friday"), "html": web.message("Spring sale"), "files": web.message("Your invoice"), "write": "/compose",
             "reply": web.message("Dinner on Friday").replace("/message?", "/compose?as=all&"), "forward": web.message("Your invoice").replace("/message?", "/compose?as=forward&"),
             "search": "/folder?name=INBOX&q=harbour", "nothing": "/folder?name=INBOX&q=nosuchword", "empty": "/folder?name=Archive", "sent": "/folder?name=Sent", "folders": "/folders",
             "history": "/history", "setup": "/setup", "dns": "/dns?check=1", "devices": "/devices", "gone": "/message?folder=INBOX&uid=4999"}
    wide = []
    for width, height in ((1280, 860), (390, 844)):
        for dark in (False, True):
            web.size(width, height, dark)
            for name, path in pages.items():
                web.at(path)
                if web.overflow() > 0:
                    wide.append(f"{name} at {width}: {web.overflow()} px")
                if directory:
                    web.picture(pathlib.Path(directory) / f"{name}-{width}-{'dark' if dark else 'light'}.png")
    check(f"{len(pages)} pages at two widths, light and dark: none is wider than its window", lambda: wide and (_ for _ in ()).throw(AssertionError("; ".join(wide))) or True)
    web.size(1280, 860)


def reading(web, box):
    web.at("/")
    check("the list shows conversations, one line each", lambda: web.run("document.querySelectorAll('.threads li').length") == 17 and "3" in web.run("[...document.querySelectorAll('.threads li')].find(e => e.innerText.includes('Dinner')).querySelector('.who i').innerText"))
    check("unread ones stand out", lambda: web.run("document.querySelectorAll('.threads .unread').length") >= 15)
    link = web.message("Dinner on Friday")
    web.at(link)
    check("a message with its conversation", lambda: "Eight it is" in web.text() and web.run("document.querySelectorAll('.others a').length") == 2)
    web.run("document.querySelector('.others a').click()")
    web.settle()
    check("links in plain text are links", lambda: web.run("document.querySelector('div.text a').href") == "https://harbour.test/menu?table=4&day=fri")
    web.at("/folder?name=INBOX&q=harbour")
    check("search finds a word of the text", lambda: web.run("document.querySelectorAll('.threads li').length") == 1 and "Dinner" in web.text())
    link = web.message("Spring sale")
    web.at(link)
    time.sleep(0.3)
    asked = web.asked()
    check("HTML: nothing is asked of anybody else", lambda: all(u.startswith((web.root, "data:", "blob:")) for u in asked) or (_ for _ in ()).throw(AssertionError(str(asked))))
    inside = "document.querySelector('iframe.text').contentDocument"
    check("HTML: nothing ran, neither here nor in the frame", lambda: web.run("window.evil === undefined") and web.run(f"{inside}.defaultView.evil === undefined"))
    check("HTML: no form, no script, no frame, nothing over the page", lambda: web.run(f"{inside}.querySelectorAll('form,script,iframe,svg,base,link,meta[http-equiv=refresh],[onerror],[onload],a[href^=javascript]').length") == 0 and "today only" in web.run(f"{inside}.body.innerText"))
    check("HTML: the frame is as high as the letter", lambda: web.run("document.querySelector('iframe.text').offsetHeight") > 150)
    check("HTML: it cannot run scripts even if one got through", lambda: "allow-scripts" not in web.run("document.querySelector('iframe.text').getAttribute('sandbox')"))
    web.follow("Show them")
    check("pictures are fetched when asked for", lambda: any("track.test/open.gif" in u for u in web.asked()))
    web.at(web.message("Your invoice"))
    files = web.run("[...document.querySelectorAll('.files a')].map(a => a.innerText + ' ' + a.href)")
    check("attachments with name and size", lambda: len(files) == 2 and "Rechnung Nr. 1129.pdf" in files[0] and "20 kB" in files[0])
    kinds = [web.run(f"fetch({json.dumps(f.split()[-1])}).then(r => [r.headers.get('content-type'), r.headers.get('content-disposition') || '', r.headers.get('content-security-policy')].join('|'))") for f in files]
    check("a PDF is saved, a picture is shown, neither may run", lambda: kinds[0].startswith("application/octet-stream|attachment; filename*=UTF-8''Rechnung%20Nr") and kinds[1].startswith("image/png||") and all("sandbox" in k for k in kinds))


def writing(web, box):
    web.at("/compose")
    web.set("to", "Ben <ben@home.test>")
    web.set("subject", "Grüße aus dem Browser")
    web.set("text", "Hallo Ben,\n\nüber Umlaute.\n")
    web.follow("Send")
    check("a message is sent and the list says so", lambda: "on its way" in web.text() and with_subject_decoded(box, "Grüße aus dem Browser", "ben"))
    web.at("/compose")
    web.set("to", "nobody@home.test")
    web.set("subject", "kept")
    web.run("(() => { const t = new DataTransfer(); t.items.add(new File(['attached text'], 'nötes.txt', {type: 'text/plain'})); document.querySelector('[type=file]').files = t.files })()")
    web.follow("Send")
    check("a wrong recipient is told; what was written is kept, file and all", lambda: "nobody of that name" in web.text() and "nötes.txt" in web.text())
    web.set("to", "ben@home.test")
    web.follow("Send")
    check("and goes when it is mended", lambda: any(p.get_filename() == "nötes.txt" and p.get_payload(decode=True) == b"attached text" for p in with_subject_decoded(box, "kept", "ben")[0].walk()))
    check("the draft is gone then", lambda: not messages(box, mailbox="Drafts"))
    web.at("/compose")
    web.set("subject", "later")
    web.set("text", "half a thought")
    web.follow("Keep as a draft")
    check("a draft is kept", lambda: "draft is kept" in web.text() and len(messages(box, mailbox="Drafts")) == 1)
    web.run("document.querySelector('.threads a').click()")
    web.settle()
    check("and is opened to be written on", lambda: web.run("document.querySelector('[name=text]').value") == "half a thought")
    web.set("text", "a whole thought")
    web.follow("Keep as a draft")
    check("kept again it is still one", lambda: len(messages(box, mailbox="Drafts")) == 1)
    web.run("document.querySelector('.threads a').click()")
    web.settle()
    web.follow("Throw away")
    check("and can be thrown away", lambda: not messages(box, mailbox="Drafts"))
    web.at(web.message("Dinner on Friday"))
    web.follow("Reply to all")
    form = {n: web.run(f"document.querySelector('[name={n}]').value") for n in ("to", "subject", "text", "in_reply_to")}
    check("reply quotes and names whom it answers", lambda: "clara@far.test" in form["to"] and form["subject"] == "Re: Dinner on Friday?" and "> Eight it is" in form["text"] and form["in_reply_to"] == "<d3@far.test>")
    web.set("to", "ben@home.test")
    web.follow("Send")
    sent = lambda: [m for m in with_subject_decoded(box, "Re: Dinner on Friday?", "ben")]
    check("its thread is kept, and the answered one is marked", lambda: sent()[0]["In-Reply-To"] == "<d3@far.test>" and "<d1@far.test>" in sent()[0]["References"] and flags(box, "<d3@far.test>").count("Answered") == 1)
    web.at(web.message("Your invoice"))
    web.follow("Forward")
    check("a forward takes the files along", lambda: web.run("document.querySelectorAll('[name=keep]:checked').length") == 2)
    web.run("document.querySelectorAll('[name=keep]')[1].checked = false")
    web.set("to", "ben@home.test")
    web.follow("Send")
    check("those that stay ticked", lambda: [p.get_filename() for p in with_subject_decoded(box, "Fwd: Your invoice 2026-1129", "ben")[0].iter_attachments()] == ["Rechnung Nr. 1129.pdf"])


def with_subject_decoded(box, subject, user):
    all_ = [email.message_from_bytes(raw, policy=email.policy.default) for raw in messages(box, user)]
    return [m for m in all_ if m["Subject"] == subject]


def flags(box, message_id):
    from clients import imap
    m = imap(box)
    m.select("INBOX", readonly=True)
    found = m.search(None, "HEADER", "Message-ID", message_id)[1][0].split()
    text = m.fetch(found[0], "(FLAGS)")[1][0].decode()
    m.logout()
    return text


def acting(web, box):
    choose = lambda words: web.run("(() => { const r = [...document.querySelectorAll('.threads li')].find(e => e.innerText.includes(%s)); r.querySelector('input').checked = true })()" % json.dumps(words))
    count = lambda mailbox: len(messages(box, mailbox=mailbox))
    web.at("/")
    before = count("INBOX")
    choose("Minutes of meeting 1")
    choose("Dinner on Friday")
    web.follow("Archive")
    check("two conversations are archived at once", lambda: count("INBOX") == before - 4 and count("Archive") == 4 and "4 messages were archived" in web.text())
    web.follow("Undo")
    check("and come back by Undo", lambda: count("INBOX") == before and count("Archive") == 0 and "Undone" in web.text())
    web.follow("Delete")
    check("a button without a choice says so", lambda: "Nothing was chosen" in web.text() and count("INBOX") == before)
    web.at("/folders")
    web.set("name", "Travel/Lisbon")
    web.follow("Make it")
    check("a folder is made", lambda: "Travel/Lisbon" in web.text())
    web.at("/")
    choose("Photos from Lisbon")
    web.run("document.querySelector('.more').open = true; document.querySelector('[name=to]').value = 'Travel/Lisbon'")
    web.follow("Move")
    check("and something moved there", lambda: count("Travel/Lisbon") == 1)
    web.at("/folders")
    web.run("[...document.querySelectorAll('.rows li')].find(e => e.innerText.startsWith('Travel/Lisbon')).querySelector('details').open = true")
    web.run("(() => { const f = [...document.querySelectorAll('.rows li')].find(e => e.innerText.startsWith('Travel/Lisbon')).querySelector('form'); f.querySelector('[name=name]').value = 'Journeys'; f.querySelector('[value=rename]').click() })()")
    web.settle()
    check("a folder is renamed with what is in it", lambda: count("Journeys") == 1)
    web.at("/folder?name=Journeys")
    choose("Photos from Lisbon")
    web.follow("Delete")
    web.at("/folder?name=Trash")
    choose("Photos from Lisbon")
    web.follow("Delete")
    check("what is deleted in Trash is gone", lambda: count("Trash") == 0)
    web.at("/history")
    web.run("document.querySelector('.activity button').click()")
    web.settle()
    check("and comes back from the history", lambda: count("Trash") == 1)
    web.at(web.message("Your invoice"))
    web.run("document.querySelector('.people details').open = true")
    web.follow("History of this message")
    check("one message has a history of its own", lambda: web.run("document.querySelectorAll('.activity li').length") >= 2 and "flags" in web.text() and "came" in web.text())


def keys(web, box):
    web.at("/")
    web.press("j")
    web.press("j")
    first = web.run("document.activeElement.innerText")
    check("j goes down the list", lambda: first == web.run("document.querySelectorAll('.threads a')[1].innerText"))
    before = len(messages(box))
    web.press("e")
    check("e archives the one that has the focus", lambda: "archived" in web.text() and len(messages(box)) < before)
    web.press("z")
    check("z undoes it", lambda: len(messages(box)) == before)
    web.press("j")
    web.press("Enter")
    check("Enter opens", lambda: web.run("location.pathname") == "/message")
    web.press("Escape")
    check("Escape goes back to the list", lambda: web.run("location.pathname") == "/folder")
    web.press("?")
    check("? tells the keys", lambda: web.run("document.querySelector('dialog.keys').open"))
    web.press("Escape")
    web.press("c")
    check("c writes", lambda: web.run("location.pathname") == "/compose")
    web.at("/")
    web.press("/")
    check("/ searches", lambda: web.run("document.activeElement.id") == "q")
    tabs = web.run("[...document.querySelectorAll('a, button, input, select, textarea, summary')].filter(e => e.tabIndex < 0 && e.type !== 'hidden').length")
    names = web.run("[...document.querySelectorAll('input:not([type=hidden]), select, textarea')].filter(e => !e.labels?.length && !e.getAttribute('aria-label')).map(e => e.name)")
    check("everything can be reached by Tab and has a name", lambda: tabs == 0 and names == [])


def without_scripts(web, box):
    web.ask("Emulation.setScriptExecutionDisabled", value=True)
    web.at("/")
    web.follow("Write")
    web.set("to", "ben@home.test")
    web.set("subject", "without scripts")
    web.set("text", "x")
    web.follow("Send")
    check("without JavaScript a message is written and sent", lambda: with_subject(box, "without scripts", "ben"))
    web.at(web.message("Spring sale"))
    check("HTML is read", lambda: web.run("document.querySelector('iframe.text').offsetHeight") > 200)
    before = len(messages(box))
    web.follow("Archive")
    archived = len(messages(box))
    web.follow("Undo")
    check("archived, and brought back", lambda: archived == before - 1 and len(messages(box)) == before)
    web.ask("Emulation.setScriptExecutionDisabled", value=False)


def safe(web, box):
    web.at("/")
    get = lambda path, **more: web.run(f"fetch({json.dumps(path)}, {json.dumps(more)}).then(r => r.status)")
    csrf = web.run("document.querySelector('[name=csrf]').value")
    form = {"method": "POST", "headers": {"content-type": "application/x-www-form-urlencoded"}}
    check("a form without its token is refused", lambda: get("/act", **form, body="folder=INBOX&uid=1&do=delete") == 403 and get("/compose", **form, body="to=ben@home.test&do=send") == 403)
    check("and with another's", lambda: get("/act", **form, body=f"csrf={csrf[::-1]}&folder=INBOX&uid=1&do=delete") == 403)
    cookies = web.ask("Network.getCookies")["cookies"]
    check("the cookie is for us alone: Secure, HttpOnly, SameSite, __Host-", lambda: cookies and all(c["secure"] and c["httpOnly"] and c.get("sameSite") in ("Lax", "Strict") and c["name"].startswith("__Host-") for c in cookies))
    policy = web.run("fetch('/').then(r => r.headers.get('content-security-policy'))")
    check("the policy lets nothing run but ours", lambda: "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy)
    check("another's undo, folders and messages are not there", lambda: get("/message?folder=../ben/INBOX&uid=1") == 404 and get("/history/" + "a" * 40 + "/undo", **form, body=f"csrf={csrf}") == 404)
    text = web.run("fetch('/message/text?' + %s).then(r => r.headers.get('content-security-policy'))" % json.dumps(web.message("Spring sale").split("?")[1]))
    check("a letter's HTML is sandboxed wherever it is opened", lambda: "default-src 'none'" in text and "sandbox" in text and "allow-scripts" not in text)
    web.at("/setup")
    check("set-up shows a code to photograph", lambda: web.run("document.querySelectorAll('svg, figure img, .qr').length") >= 1)


def main():
    directory = sys.argv[sys.argv.index("--pictures") + 1] if "--pictures" in sys.argv else None
    if directory:
        pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
    box = Appliance(settings='dns = ["127.0.0.1:9"]\n')
    try:
        fill(box)
        with Web() as web:
            web.size(1280, 860)
            web.start(box)
            for part in (lambda w, b: pictures(w, b, directory), reading, writing, acting, keys, without_scripts, safe):
                try:
                    part(web, box)
                except Exception as error:  # noqa: BLE001 - the other parts go on
                    name = getattr(part, "__name__", "?")
                    check(f"{name} runs to its end", lambda error=error: (_ for _ in ()).throw(error))
    finally:
        box.stop() if os.environ.get("KEEP") else box.remove()
        if os.environ.get("KEEP"):
            print(box.dir)
    check.end()


if __name__ == "__main__":
    main()
