// Keys for those who like them, and frames as high as what is in them. Every page works without this.
"use strict";
(() => {
  const typing = (e) => e.target.closest("input:not([type=checkbox]), textarea, select, dialog") || e.ctrlKey || e.metaKey || e.altKey;
  const rows = () => [...document.querySelectorAll(".threads a")];
  const step = (by) => {
    const all = rows(), at = all.indexOf(document.activeElement.closest?.(".threads li")?.querySelector("a"));
    (all[at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by] || all[at])?.focus();
  };
  const here = () => document.activeElement.closest?.(".threads li")?.querySelector("input[type=checkbox]");
  const press = (key) => {
    const found = [...document.querySelectorAll("[data-key]")].find((e) => e.dataset.key === key);
    if (!found) return false;
    if (found.matches("input")) { found.focus(); found.select(); return true; }
    // A key for a row means the row that has the focus when nothing is chosen.
    const form = found.closest("form.acts"), box = here();
    if (form && box && !form.querySelector(".threads :checked")) box.checked = true;
    found.click();
    return true;
  };
  const names = { j: "next", k: "previous", Enter: "open", x: "choose", e: "archive", "#": "delete", "!": "junk", u: "mark as unread", s: "star", z: "undo",
    r: "reply", a: "reply to all", f: "forward", c: "write", "/": "search", Escape: "back to the list" };
  const help = () => {
    const dialog = document.createElement("dialog"), list = document.createElement("dl"), close = document.createElement("button"), title = document.createElement("h2");
    dialog.className = "keys"; title.textContent = "Keys"; close.textContent = "Close";
    for (const [key, what] of Object.entries(names)) {
      const dt = document.createElement("dt"), kbd = document.createElement("kbd"), dd = document.createElement("dd");
      kbd.textContent = key; dt.append(kbd); dd.textContent = what; list.append(dt, dd);
    }
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    dialog.append(title, list, close); document.body.append(dialog); dialog.showModal();
  };
  document.addEventListener("keydown", (e) => {
    if ((e.ctrlKey || e.metaKey) && e.key === "Enter" && e.target.closest(".compose")) { e.preventDefault(); press("Send"); return; }
    if (typing(e)) return;
    const done = e.key === "j" ? (step(1), true) : e.key === "k" ? (step(-1), true) : e.key === "?" ? (help(), true)
      : e.key === "x" ? (here() && (here().checked = !here().checked), true) : e.key.length === 1 || e.key === "Escape" ? press(e.key) : false;
    if (done) e.preventDefault();
  });
  for (const frame of document.querySelectorAll("iframe.text")) {
    const fit = () => {
      const inside = frame.contentDocument?.documentElement;
      if (inside) frame.style.height = Math.min(Math.max(inside.scrollHeight + 2, 80), 20000) + "px";
    };
    frame.addEventListener("load", () => { fit(); new ResizeObserver(fit).observe(frame.contentDocument.documentElement); });
    if (frame.contentDocument?.readyState === "complete") fit();
  }
  // Back in the list, nothing is chosen any more.
  addEventListener("pageshow", () => document.querySelectorAll(".threads :checked").forEach((box) => { box.checked = false; }));
})();
