#!/usr/bin/env bash
# PyPI: circus 0.19.0 (with pyzmq 27.3.0, tornado 6.6.1, psutil 7.2.2).
# Guess: SIGTERM to `circusd` while it starts its watchers (with `warmup_delay`, as long as that is, for each) stops what runs and ends it, as
# SIGTERM afterwards does; or at least it ends when all have started.
# Seen: the log says "Got signal SIG_TERM", the second watcher is started 8 s later all the same, and circusd goes on: the stop was refused
# as a ConflictError inside. So `docker stop` of a container that is just starting lasts until the kill, and nothing is stopped in order.
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${circusd:-}" ] || kill -9 "$circusd" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet circus==0.19.0 pyzmq==27.3.0 tornado==6.6.1 psutil==7.2.2
cat >circus.ini <<INI
[circus]
endpoint = ipc://$dir/endpoint
pubsub_endpoint = ipc://$dir/pubsub
warmup_delay = 8

[watcher:first]
cmd = sleep 600

[watcher:second]
cmd = sleep 600
INI
wait_log() { for _ in $(seq 600); do ! grep -q "$1" log || return 0; sleep 0.1; done; return 1; }
wait_end() { for _ in $(seq "$1"); do kill -0 "$circusd" 2>/dev/null || return 0; sleep 0.1; done; return 1; }
venv/bin/circusd circus.ini >log 2>&1 &
circusd=$!
{
  venv/bin/pip freeze | grep circus
  wait_log 'first started'
  kill "$circusd"
  wait_log 'Got signal SIG_TERM' && echo "while it starts: SIGTERM has arrived"
  wait_log 'second started' && echo "the second watcher is started"
  wait_end 200 || echo "circusd goes on"
  kill "$circusd"
  wait_end 300 && echo "after the start: SIGTERM ends it"
} 2>/dev/null | tee seen
diff seen - <<'SEEN'
circus==0.19.0
while it starts: SIGTERM has arrived
the second watcher is started
circusd goes on
after the start: SIGTERM ends it
SEEN
