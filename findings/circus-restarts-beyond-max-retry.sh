#!/usr/bin/env bash
# PyPI: circus 0.19.0 (with pyzmq 27.3.0, tornado 6.6.1, psutil 7.2.2).
# Guess: `max_retry = 2` gives a watcher up after its program has ended twice, so that `circusd` as a container's first process ends a crash loop.
# Seen: it counts only programs that cannot be started at all (a missing file). One that starts and ends at once, with 3, is
# started again each `check_delay` for ever, and `circusd` goes on. The watcher's line in the log is "started", once, at the beginning.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet circus==0.19.0 pyzmq==27.3.0 tornado==6.6.1 psutil==7.2.2
cat >circus.ini <<INI
[circus]
check_delay = 0.1
endpoint = ipc://$dir/endpoint
pubsub_endpoint = ipc://$dir/pubsub

[watcher:ends]
cmd = sh -c 'echo started >>$dir/starts; exit 3'
max_retry = 2

[watcher:missing]
cmd = /no/such/program
max_retry = 2
INI
venv/bin/circusd circus.ini >log 2>&1 &
circusd=$!
for _ in $(seq 300); do [ "$(cat starts 2>/dev/null | wc -l)" -lt 10 ] || break; sleep 0.1; done
{
  venv/bin/pip freeze | grep circus
  [ "$(wc -l <starts)" -lt 10 ] || echo "ends: started ten times and more"
  kill -0 "$circusd" && echo "circusd goes on"
  echo "ends: $(grep -c 'ends started' log) line says that it started"
  echo "missing: $(grep -c "error in 'missing'" log) tries, $(grep -c 'missing stopped' log) time stopped"
} | tee seen
# A SIGTERM can be lost while circusd starts its watchers (circus-loses-a-term-while-it-starts-watchers.sh).
kill -9 "$circusd"
wait "$circusd" || true
diff seen - <<'SEEN'
circus==0.19.0
ends: started ten times and more
circusd goes on
ends: 1 line says that it started
missing: 2 tries, 1 time stopped
SEEN
