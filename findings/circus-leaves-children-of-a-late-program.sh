#!/usr/bin/env bash
# PyPI: circus 0.19.0 (with pyzmq 27.3.0, tornado 6.6.1, psutil 7.2.2).
# Guess: a program that has not ended after `graceful_timeout` is killed with its children, as `stop_children = True` is set, and as circus asks for by the
# word "recursive" when it sends SIGKILL.
# Seen: it kills the program first and then asks for each child among the children of a process that is no more, so that no child is killed. The log says
# "stopped". After a restart an old worker still has its port and its locks beside the new one.
set -euo pipefail
dir=$(mktemp -d)
finish() {
  [ -z "${circusd:-}" ] || kill -9 "$circusd" 2>/dev/null || true
  xargs -r kill -9 <"$dir/children" 2>/dev/null || true
  rm -rf "$dir"
}
trap finish EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet circus==0.19.0 pyzmq==27.3.0 tornado==6.6.1 psutil==7.2.2
cat >server.sh <<SH
#!/bin/bash
# A server that is busy when SIGTERM arrives, and its worker, which leaves it to the server to end.
trap '' TERM
sleep 600 &
echo \$! >>$dir/children
wait
SH
chmod +x server.sh
cat >circus.ini <<INI
[circus]
endpoint = ipc://$dir/endpoint
pubsub_endpoint = ipc://$dir/pubsub

[watcher:server]
cmd = $dir/server.sh
graceful_timeout = 1
stop_children = True
INI
touch children
wait_children() { for _ in $(seq 600); do [ "$(wc -l <children)" != "$1" ] || return 0; sleep 0.1; done; return 1; }
alive() { ps -o pid= -p "$(paste -sd, children)" | wc -l; }
venv/bin/circusd circus.ini >log 2>&1 &
circusd=$!
{
  venv/bin/pip freeze 2>/dev/null | grep circus
  wait_children 1
  echo "workers that run: $(alive)"
  venv/bin/circusctl --endpoint "ipc://$dir/endpoint" restart server --waiting >/dev/null
  wait_children 2
  echo "workers that run after a restart: $(alive)"
  kill "$circusd"
  while kill -0 "$circusd" 2>/dev/null; do sleep 0.1; done
  grep -o 'server stopped' log | tail -n 1
  echo "workers that run after circusd: $(alive)"
} | tee seen
circusd=
diff seen - <<'SEEN'
circus==0.19.0
workers that run: 1
workers that run after a restart: 2
server stopped
workers that run after circusd: 2
SEEN
