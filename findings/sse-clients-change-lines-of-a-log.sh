#!/usr/bin/env bash
# PyPI: sseclient 0.0.27, requests-sse 0.5.3. npm: fetch-event-stream 0.1.6, parse-sse 0.1.0 (Node 20).
# Guess: a client of server-sent events hands on the data of each event as it was sent, but for the one space after the colon.
# Seen: requests-sse takes away all leading spaces, fetch-event-stream tabs too; sseclient ends a line at a form feed (which GNU sources hold, so that
# compilers quote it) and loses its rest; parse-sse drops each event of an empty line. A log that is served one line an event loses these.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"; [ -z "${server:-}" ] || kill "$server"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q sseclient==0.0.27 requests-sse==0.5.3 requests==2.32.5 aiohttp==3.13.2
npm install --silent --no-fund fetch-event-stream@0.1.6 parse-sse@0.1.0 >/dev/null
printf 'data: %s\n\n' all: $'\tcc main.c' '' 'int f()' '  a'$'\f''b' >body
printf 'event: end\ndata: end\n\n' >>body
cat >serve.py <<'PY'
import http.server
class Events(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = open("body", "rb").read()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Events)
open("port.new", "w").write(str(server.server_port))
__import__("os").rename("port.new", "port")
server.serve_forever()
PY
python3 serve.py &
server=$!
for _ in $(seq 100); do [ -e port ] || sleep 0.1; done
url=http://127.0.0.1:$(cat port)/
cat >old.py <<'PY'
import json, sys
from sseclient import SSEClient
lines = []
for event in SSEClient(sys.argv[1]):
    if event.event == "end":
        break
    lines.append(event.data)
print("sseclient", json.dumps(lines))
PY
cat >new.py <<'PY'
import json, sys
from requests_sse import EventSource
lines = []
with EventSource(sys.argv[1]) as events:
    for event in events:
        if event.type == "end":
            break
        lines.append(event.data)
print("requests-sse", json.dumps(lines))
PY
cat >fetch.mjs <<'JS'
import { events } from "fetch-event-stream";
import { parseServerSentEvents } from "parse-sse";
const url = process.argv[2];
const show = async (name, stream) => {
  const lines = [];
  for await (const event of stream) if (event.data !== "end") lines.push(event.data);
  console.log(name, JSON.stringify(lines));
};
await show("fetch-event-stream", events(await fetch(url)));
await show("parse-sse", parseServerSentEvents(await fetch(url)));
JS
{
  echo "sent: $(python3 -c 'print(open("body").read().count("data: ") - 1)') lines"
  venv/bin/python old.py "$url"
  venv/bin/python new.py "$url"
  node fetch.mjs "$url"
} | tee seen
diff seen - <<'SEEN'
sent: 5 lines
sseclient ["all:", "\tcc main.c", "", "int f()", "  a"]
requests-sse ["all:", "\tcc main.c", "", "int f()", "a\fb"]
fetch-event-stream ["all:","cc main.c","","int f()","a\fb"]
parse-sse ["all:","\tcc main.c","int f()","  a\fb"]
SEEN
