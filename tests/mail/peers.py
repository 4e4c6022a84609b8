"""Postfix delivering to Dovecot by LMTP, in a throw-away directory, on free ports: what the figures are held against.

Both flush before they answer, as they come: Postfix its queue file, Dovecot (`mail_fsync = optimized`) the message and
its index. Needs root, because both change their user. Users are whatever is asked for, their password is `secret`."""

import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PASSWORD = "secret"
DOMAIN = "peer.test"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def missing():
    """What keeps the peers from being started, in words; nothing when they can be."""
    if os.geteuid() != 0:
        return "Postfix and Dovecot change their user and so need root"
    gone = [name for name in ("postfix", "dovecot", "smtp-source", "openssl") if not shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")]
    return f"{', '.join(gone)} not installed (Debian: postfix dovecot-imapd dovecot-lmtpd openssl)" if gone else None


class Peers:
    def __init__(self, mail_format="maildir:%h/Maildir", directory=None):
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix="nymote-peers-"))
        self.dir.mkdir(exist_ok=True)
        self.dir.chmod(0o755)
        self.format, self.ports = mail_format, {name: free_port() for name in ("smtp", "imap", "imaps", "lmtp")}
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", f"/CN={DOMAIN}",
                        "-keyout", self.dir / "key.pem", "-out", self.dir / "cert.pem"], check=True, capture_output=True)
        self.start_dovecot()
        self.start_postfix()

    def address(self, service):
        return "127.0.0.1", self.ports[service]

    def start_dovecot(self, fsync="optimized"):
        home = self.dir / "dovecot"
        (home / "run").mkdir(parents=True, exist_ok=True)
        (home / "home").mkdir(exist_ok=True)
        user = pwd.getpwnam("mail")
        os.chown(home / "home", user.pw_uid, user.pw_gid)
        p = self.ports
        (home / "dovecot.conf").write_text(f"""
base_dir = {home}/run
state_dir = {home}/run
log_path = {home}/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <{self.dir}/cert.pem
ssl_key = <{self.dir}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = {self.format}
mail_uid = {user.pw_uid}
mail_gid = {user.pw_gid}
first_valid_uid = 1
first_valid_gid = 1
mail_fsync = {fsync}
mail_max_userip_connections = 1000
default_client_limit = 4000
default_process_limit = 2000
default_vsz_limit = 0
auth_cache_size = 10M
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid={user.pw_uid} gid={user.pw_gid} home={home}/home/%n
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Drafts {{
    auto = create
  }}
  mailbox Sent {{
    auto = create
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {p["imap"]}
  }}
  inet_listener imaps {{
    port = {p["imaps"]}
    ssl = yes
  }}
  service_count = 0
  process_min_avail = 1
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {p["lmtp"]}
  }}
}}
""")
        subprocess.run(["dovecot", "-c", home / "dovecot.conf"], check=True, stderr=subprocess.DEVNULL)
        wait_for(("127.0.0.1", p["imap"]))

    def stop_dovecot(self):
        subprocess.run(["doveadm", "-c", self.dir / "dovecot" / "dovecot.conf", "stop"], capture_output=True)
        wait_gone(self.dir / "dovecot" / "run" / "master.pid")

    def restart_dovecot(self, fsync="optimized"):
        self.stop_dovecot()
        self.start_dovecot(fsync)

    def start_postfix(self):
        home = self.dir / "postfix"
        for name in ("etc", "queue", "data"):
            (home / name).mkdir(parents=True, exist_ok=True)
        os.chown(home / "data", pwd.getpwnam("postfix").pw_uid, -1)
        for name in ("postfix-files", "dynamicmaps.cf"):
            if os.path.exists(f"/etc/postfix/{name}"):
                shutil.copy(f"/etc/postfix/{name}", home / "etc")
        (home / "etc" / "main.cf").write_text(f"""
compatibility_level = 3.6
config_directory = {home}/etc
queue_directory = {home}/queue
data_directory = {home}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.{DOMAIN}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
mydestination =
virtual_mailbox_domains = {DOMAIN}
virtual_transport = lmtp:inet:127.0.0.1:{self.ports["lmtp"]}
smtpd_relay_restrictions = reject_unauth_destination
smtpd_client_connection_count_limit = 0
maillog_file = {home}/maillog
maillog_file_prefixes = {home}
lmtp_destination_concurrency_limit = 20
""")
        services = "\n".join(f"{name} unix {rest}" for name, rest in [
            ("cleanup", "n - n - 0 cleanup"), ("qmgr", "n - n 300 1 qmgr"), ("tlsmgr", "- - n 1000? 1 tlsmgr"), ("rewrite", "- - n - - trivial-rewrite"),
            ("bounce", "- - n - 0 bounce"), ("defer", "- - n - 0 bounce"), ("trace", "- - n - 0 bounce"), ("flush", "n - n 1000? 0 flush"),
            ("proxymap", "- - n - - proxymap"), ("showq", "n - n - - showq"), ("error", "- - n - - error"), ("retry", "- - n - - error"),
            ("lmtp", "- - n - - lmtp"), ("anvil", "- - n - 1 anvil"), ("scache", "- - n - 1 scache"), ("smtp", "- - n - - smtp")])
        (home / "etc" / "master.cf").write_text(f"127.0.0.1:{self.ports['smtp']} inet n - n - - smtpd\npostlog unix-dgram n - n - 1 postlogd\n{services}\n")
        subprocess.run(["postfix", "-c", home / "etc", "start"], check=True, capture_output=True)
        wait_for(("127.0.0.1", self.ports["smtp"]))

    def queue_is_empty(self):
        queue = self.dir / "postfix" / "queue"
        return not any(file for name in ("maildrop", "incoming", "active", "deferred") for file in (queue / name).rglob("*") if file.is_file())

    def processes(self):
        """The masters and everything below them."""
        masters = [self.dir / "dovecot" / "run" / "master.pid", self.dir / "postfix" / "queue" / "pid" / "master.pid"]
        return descendants([int(path.read_text()) for path in masters if path.exists()])

    def stop(self):
        subprocess.run(["postfix", "-c", self.dir / "postfix" / "etc", "stop"], capture_output=True)
        self.stop_dovecot()

    def remove(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def descendants(roots):
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found, ahead = [], list(roots)
    while ahead:
        found.append(ahead.pop())
        ahead.extend(children.get(found[-1], []))
    return found


def memory_mb(pids):
    """What these processes hold, each page shared out among those who map it (PSS)."""
    total = 0
    for pid in pids:
        try:
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total / 1024


def wait_for(address, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        try:
            socket.create_connection(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nobody listens on {address}")


def wait_gone(pid_file, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        if not pid_file.exists():
            return
        time.sleep(0.05)
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
