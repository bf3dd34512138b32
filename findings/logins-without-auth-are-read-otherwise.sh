#!/usr/bin/env bash
# PyPI: docker 7.1.0. Debian 12: skopeo 1.9.3+ds1-1.
# Guess: an entry of config.json that has `username` and `password` and no `auth` is a login, as it is for Kubernetes' image pull secrets.
# Seen: the SDK returns an entry without a name, which is an anonymous pull, and with an empty `auth` beside them it raises ValueError for the
# whole file, so that no registry has a login. skopeo says "not logged in", and sends an empty name with an empty password all the same.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq skopeo=1.9.3* libgpgme11 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu PATH=$dir/root/usr/bin:$PATH
python3 -m venv venv
venv/bin/pip install -q docker==7.1.0
cat >show.py <<'PY'
import base64, http.server, json, subprocess, threading
import docker.auth

logins = []
class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        login = self.headers.get("Authorization")
        if login:
            logins.append(base64.b64decode(login.removeprefix("Basic ")).decode())
        self.send_response(404 if login else 401)
        if not login:
            self.send_header("WWW-Authenticate", 'Basic realm="registry"')
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

registry = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
threading.Thread(target=registry.serve_forever, daemon=True).start()
host = f"127.0.0.1:{registry.server_port}"
plain = {"username": "ci", "password": "pw"}
for name, entry in {
    "auth": {"auth": base64.b64encode(b"ci:pw").decode()},
    "username, password": plain,
    "username, password, empty auth": {**plain, "auth": ""},
}.items():
    with open("config.json", "w") as file:
        json.dump({"auths": {host: entry}}, file)
    try:
        found = docker.auth.load_config("config.json").resolve_authconfig(host)
        sdk = found.get("username", "no name")
    except ValueError:
        sdk = "ValueError"
    login = subprocess.run(["skopeo", "login", "--authfile", "config.json", "--get-login", host], capture_output=True, text=True)
    said = login.stdout.strip() or "not logged in" * ("not logged in" in login.stderr)
    logins.clear()
    subprocess.run(["skopeo", "inspect", "--authfile", "config.json", "--tls-verify=false", f"docker://{host}/team/image:1"], capture_output=True)
    print(f"{name}: the SDK has {sdk}; skopeo says {said}, sends {sorted(set(logins))}")
PY
venv/bin/python show.py | tee seen
diff seen - <<'SEEN'
auth: the SDK has ci; skopeo says ci, sends ['ci:pw']
username, password: the SDK has no name; skopeo says not logged in, sends [':']
username, password, empty auth: the SDK has ValueError; skopeo says not logged in, sends [':']
SEEN
