#!/usr/bin/env bash
# PyPI: circus 0.19.0 (with pyzmq 27.3.0, tornado 6.6.1, psutil 7.2.2), Python 3.11.
# Guess: `[env:NAME]` gives the program of that watcher the variables that the section lists, and no other.
# Seen: the program also gets a variable `__name__`, whose value is the section's heading; with `[env:*]` every program does.
# A watcher without such a section gets none. It goes along wherever an application passes its environment on.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet circus==0.19.0 pyzmq==27.3.0 tornado==6.6.1 psutil==7.2.2
cat >circus.ini <<INI
[circus]
endpoint = ipc://$dir/endpoint
pubsub_endpoint = ipc://$dir/pubsub

[watcher:app]
cmd = sh -c 'env | grep -v -e ^PWD= -e ^_= >$dir/environment.new; mv $dir/environment.new $dir/environment'
respawn = False
INI
run() {
  rm -f environment
  venv/bin/circusd circus.ini >log 2>&1 &
  local circusd=$!
  for _ in $(seq 300); do [ ! -f environment ] || break; sleep 0.1; done
  # A SIGTERM can be lost while circusd starts its watchers (circus-loses-a-term-while-it-starts-watchers.sh).
  kill -9 "$circusd"
  wait "$circusd" || true
  sort environment
}
{
  venv/bin/pip freeze | grep circus
  echo "none:"
  run
  printf '\n[env:app]\nOWN = 1\n' >>circus.ini
  echo "[env:app]:"
  run
  printf '\n[env:*]\nALL = 2\n' >>circus.ini
  echo "[env:app] and [env:*]:"
  run
} | tee seen
diff seen - <<'SEEN'
circus==0.19.0
none:
[env:app]:
OWN=1
__name__=env:app
[env:app] and [env:*]:
ALL=2
OWN=1
__name__=env:*
SEEN
