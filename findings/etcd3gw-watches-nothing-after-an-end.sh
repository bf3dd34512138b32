#!/usr/bin/env bash
# PyPI: etcd3gw 2.7.0 (OpenStack's client of etcd). Debian 12: etcd-server 3.4.23-4.
# Guess: a watch whose server ends raises, or goes on when the server is back; and one from a revision that has been compacted raises, as `get` does of it.
# Seen: neither. The iterator waits for ever, also when the server is back and has new values of that key, and nothing says so. From a compacted revision
# it begins, waits, and passes over each later change, too: etcd's answer, "canceled", is dropped. So a daemon that follows its settings or jobs
# by it is deaf after the first restart of etcd, and looks healthy.
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${etcd:-}" ] || { kill -9 "$etcd" && wait "$etcd" || true; } 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q etcd3gw==2.7.0
apt-get download -qq etcd-server=3.4.23-4* 2>/dev/null
dpkg -x etcd-server_*.deb root
python3 -c 'import socket; s = [socket.create_server(("127.0.0.1", 0)) for _ in "ab"]; print(*(x.getsockname()[1] for x in s))' >ports
read -r port peers <ports
start() {
  root/usr/bin/etcd --data-dir data --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
    --listen-peer-urls "http://127.0.0.1:$peers" --log-level error >>log 2>&1 &
  etcd=$!
  for _ in $(seq 300); do ! curl -sf "http://127.0.0.1:$port/health" >/dev/null || return 0; sleep 0.1; done
}
wait_for() { for _ in $(seq 300); do ! grep -qx "$1" said || return 0; sleep 0.1; done; return 1; }
cat >watch.py <<'PY'
import os, sys, threading, etcd3gw
client = etcd3gw.client(host="127.0.0.1", port=int(sys.argv[1]), api_path="/v3/")
def say(*words):
    print(*words, flush=True)
def watch(name, key, started, **options):
    try:
        events, _ = client.watch(key, **options)
        started.set()
        for event in events:
            say(name, "saw", event["kv"]["value"].decode())
        say(name, "has ended")
    except Exception as error:
        say(name, "raised", type(error).__name__)
def start(*args, **options):
    started = threading.Event()
    threading.Thread(target=watch, args=(*args, started), kwargs=options, daemon=True).start()
    started.wait(10)
for value in "123":
    client.put("old", value)
revision = int(client.status()["header"]["revision"])
client.session.post(client.get_url("/kv/compaction"), json={"revision": revision})
try:
    client.get("old", revision=2)
except etcd3gw.exceptions.Etcd3Exception as error:
    say("get of a compacted revision:", error.detail_text.partition('"error":"')[2].partition('"')[0])
start("the watch from a compacted revision", "old", start_revision=2)
start("the watch", "key")
client.put("old", "4")
client.put("key", "1")
sys.stdin.readline()
client.put("old", "5")
client.put("key", "2")
start("a new watch", "other")
client.put("other", "3")
sys.stdin.readline()
os._exit(0)
PY
mkfifo next
start
venv/bin/python watch.py "$port" <next >said 2>&1 &
client=$!
exec 3>next
wait_for 'the watch saw 1'
kill -9 "$etcd"
wait "$etcd" 2>/dev/null || true
start
echo >&3
wait_for 'a new watch saw 3'
sleep 3
echo >&3
wait "$client"
cat said
diff said - <<'SEEN'
get of a compacted revision: etcdserver: mvcc: required revision has been compacted
the watch saw 1
a new watch saw 3
SEEN
