"""The peer: git http-backend behind lighttpd."""
import socket, subprocess, time


class Backend:
    """git http-backend behind lighttpd."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        core = subprocess.run(["git", "--exec-path"], capture_output=True, text=True).stdout.strip()
        config = folder / "lighttpd.conf"
        config.write_text(f'''
server.modules = ("mod_alias", "mod_cgi", "mod_setenv")
server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = {port}
server.upload-dirs = ("{folder}")
server.stream-response-body = 2
alias.url = ("/git" => "{core}/git-http-backend")
cgi.assign = ("" => "")
setenv.set-environment = ("GIT_PROJECT_ROOT" => "{folder}", "GIT_HTTP_EXPORT_ALL" => "1", "REMOTE_USER" => "tester",
    "GIT_CONFIG_COUNT" => "1", "GIT_CONFIG_KEY_0" => "safe.directory", "GIT_CONFIG_VALUE_0" => "*")
''')
        self.url = f"http://127.0.0.1:{port}/git"
        self.process = subprocess.Popen(["/usr/sbin/lighttpd", "-D", "-f", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("lighttpd does not listen")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
