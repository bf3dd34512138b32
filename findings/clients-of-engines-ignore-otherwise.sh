#!/usr/bin/env bash
# PyPI: podman 5.8.0 (Podman's own library for Python). Debian 12: ruby-docker-api 2.2.0-1. Beside them the command `docker` 20.10.24 of
# Debian 12, which sends its context to a server that only lists it.
# Guess: what `.dockerignore` names is left out of the context by all, as both libraries read the file: `node_modules/`, `/dist`, `**/.env` at any
# depth, and everything but an exception.
# Seen: `node_modules/` and `./dist`, which most people write, leave out nothing in either. In podman-py nor does `/dist`; `**/.env` keeps the one
# at the top; an exception brings nothing back, so that an image lacks its sources; and `*.log` also takes those in folders.
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${server:-}" ] || kill "$server"; rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q podman==5.8.0
apt-get download -qq docker.io ruby-docker-api=2.2.0-1 ruby-excon ruby-multi-json ruby3.1 libruby3.1 libyaml-0-2 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
mkdir -p context/{node_modules,dist,app}
touch context/{.env,a.log,node_modules/m,dist/d,app/.env,app/a.log,app/main}
cat >serve.py <<'PY'
import http.server, io, os, tarfile
class Engine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, body=b""):
        self.send_response(200)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_HEAD = lambda self: self.answer()
    def do_POST(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar, open("sent", "w") as sent:
            print(*(member.name for member in tar if member.isfile()), sep="\n", file=sent)
        self.answer(b"{}")
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Engine)
open("port.new", "w").write(str(server.server_port))
os.rename("port.new", "port")
server.serve_forever()
PY
python3 serve.py &
server=$!
timeout 20 sh -c 'until [ -e port ]; do sleep 0.1; done'
cat >podman-py.py <<'PY'
import tarfile
from podman.api import tar_utils
packed = tar_utils.create_tar("context", exclude=tar_utils.prepare_containerignore("context"))
print(*(member.name for member in tarfile.open(fileobj=packed) if member.isfile()), sep="\n")
PY
cat >docker-api.rb <<'RUBY'
require "rubygems/package"
require "docker"
Gem::Package::TarReader.new(Docker::Util.create_dir_tar("context")).each { |entry| puts entry.full_name.sub(%r{^\./}, "") if entry.file? }
RUBY
lib=root/usr/lib
ruby() { LD_LIBRARY_PATH=$lib/x86_64-linux-gnu root/usr/bin/ruby3.1 -W0 -I $lib/ruby/3.1.0 -I $lib/x86_64-linux-gnu/ruby/3.1.0 -I $lib/ruby/vendor_ruby \
  -I "$(echo root/usr/share/rubygems-integration/all/gems/excon-*/lib)" "$@"; }
names() { { grep -v -e '^Dockerfile$' -e '^\.dockerignore$' || true; } | LC_ALL=C sort | tr '\n' ' ' | sed -e 's/ $//' -e 's/^$/nothing/'; }
echo 'FROM scratch' >context/Dockerfile
for patterns in 'node_modules/' '/dist' './dist' '**/.env' '*.log' '*\n!app/main'; do
  printf "$patterns\n" >context/.dockerignore
  echo "$patterns"
  DOCKER_BUILDKIT=0 root/usr/bin/docker --host "tcp://127.0.0.1:$(cat port)" build context >/dev/null 2>said || cat said
  echo "  docker          $(names <sent)"
  echo "  podman-py       $(venv/bin/python podman-py.py | names)"
  echo "  ruby-docker-api $(ruby docker-api.rb | names)"
done | tee seen
diff seen - <<'SEEN'
node_modules/
  docker          .env a.log app/.env app/a.log app/main dist/d
  podman-py       .env a.log app/.env app/a.log app/main dist/d node_modules/m
  ruby-docker-api .env a.log app/.env app/a.log app/main dist/d node_modules/m
/dist
  docker          .env a.log app/.env app/a.log app/main node_modules/m
  podman-py       .env a.log app/.env app/a.log app/main dist/d node_modules/m
  ruby-docker-api .env a.log app/.env app/a.log app/main node_modules/m
./dist
  docker          .env a.log app/.env app/a.log app/main node_modules/m
  podman-py       .env a.log app/.env app/a.log app/main dist/d node_modules/m
  ruby-docker-api .env a.log app/.env app/a.log app/main dist/d node_modules/m
**/.env
  docker          a.log app/a.log app/main dist/d node_modules/m
  podman-py       .env a.log app/a.log app/main dist/d node_modules/m
  ruby-docker-api a.log app/a.log app/main dist/d node_modules/m
*.log
  docker          .env app/.env app/a.log app/main dist/d node_modules/m
  podman-py       .env app/.env app/main dist/d node_modules/m
  ruby-docker-api .env app/.env app/a.log app/main dist/d node_modules/m
*\n!app/main
  docker          app/main
  podman-py       nothing
  ruby-docker-api app/main
SEEN
