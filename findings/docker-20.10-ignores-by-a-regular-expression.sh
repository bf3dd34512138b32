#!/usr/bin/env bash
# Debian 12: docker.io 20.10.24. npm: @balena/dockerignore 1.0.2 (in testcontainers and AWS's CDK, which pack contexts by it), a port of it. Beside them
# Debian 13's docker-cli 26.1.5. Each `docker` sends its context to a server that only lists it.
# Guess: a character of .dockerignore that has no meaning in Go's filepath.Match, by which the documentation says that lines are matched, stands for itself.
# Seen: 20.10 puts `+`, `(`, `)` and `|` into a regular expression as they are. `routes/+page.js` (SvelteKit's names) leaves out routes/page.js and no
# other; `app/(admin)` (Next.js' groups) leaves out app/admin and keeps app/(admin), an exception for it brings back the wrong one, and `**/+page.js` is
# a "syntax error in pattern". The port does the same and answers the last with "Nothing to repeat", without file and line. 26.1 reads them as they stand.
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${server:-}" ] || kill "$server"; rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund @balena/dockerignore@1.0.2 >/dev/null
apt-get download -qq docker.io=20.10.24* 2>/dev/null
dpkg -x docker.io_*.deb 20.10
mkdir -p trixie/lists/partial trixie/archives/partial
touch trixie/status
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Codename: bookworm' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive trixie main" >trixie/sources.list
trixie() {
  apt-get -qq -o Dir::Etc::SourceList="$dir/trixie/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$dir/trixie/lists" \
    -o Dir::State::status="$dir/trixie/status" -o Dir::Cache="$dir/trixie" -o APT::Sandbox::User=root "$@"
}
trixie update
trixie download docker-cli=26.1.5*
dpkg -x docker-cli_*.deb 26.1
mkdir -p context/app/{admin,'(admin)'} context/routes
touch context/{app/admin/page,'app/(admin)/page',routes/+page.js}
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
cat >list.js <<'JS'
const { readFileSync } = require("fs");
const ignore = require("@balena/dockerignore");
try {
  const matcher = ignore({ ignorecase: false }).add(readFileSync("context/.dockerignore", "utf8"));
  console.log(matcher.filter(readFileSync("files", "utf8").trim().split("\n")).join("\n"));
} catch (error) {
  console.log(error.message);
}
JS
names() { { grep -v -e '^Dockerfile$' -e '^\.dockerignore$' || true; } | LC_ALL=C sort | paste -sd' '; }
echo 'FROM scratch' >context/Dockerfile
(cd context && find . -type f -printf '%P\n') >files
for patterns in 'routes/+page.js' 'app/(admin)' '*\n!app/(admin)' '**/+page.js'; do
  printf "$patterns\n" >context/.dockerignore
  echo "$patterns"
  for version in 20.10 26.1; do
    code=0
    DOCKER_BUILDKIT=0 "$version/usr/bin/docker" --host "tcp://127.0.0.1:$(cat port)" build context >/dev/null 2>said || code=$?
    if [ "$code" = 0 ]; then echo "  $version  $(names <sent)"; else echo "  $version  $(tail -n 1 said)"; fi
  done
  echo "  balena $(node list.js | names)"
done | tee seen
diff seen - <<'SEEN'
routes/+page.js
  20.10  app/(admin)/page app/admin/page routes/+page.js
  26.1  app/(admin)/page app/admin/page
  balena app/(admin)/page app/admin/page routes/+page.js
app/(admin)
  20.10  app/(admin)/page routes/+page.js
  26.1  app/admin/page routes/+page.js
  balena app/(admin)/page routes/+page.js
*\n!app/(admin)
  20.10  app/admin/page
  26.1  app/(admin)/page
  balena app/admin/page
**/+page.js
  20.10  error checking context: syntax error in pattern
  26.1  app/(admin)/page app/admin/page
  balena Invalid regular expression: /^(.*/)?+page\.js$/: Nothing to repeat
SEEN
