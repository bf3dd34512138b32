#!/usr/bin/env bash
# PyPI: circus 0.19.0 (with pyzmq 27.3.0, tornado 6.6.1, psutil 7.2.2).
# Guess: `executable = PATH` runs that program, and the first word of `cmd` is the name that it shows in `ps`, as circus itself
# documents it (get_arbiter, Process).
# Seen: the option is read, checked and forgotten: circus looks for a program of the name in `cmd`. Most often that is "No such file or directory", five
# times, and the watcher is stopped; where there is a program of that name, that one runs instead, and the log says "started".
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${circusd:-}" ] || kill -9 "$circusd" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet circus==0.19.0 pyzmq==27.3.0 tornado==6.6.1 psutil==7.2.2
printf '#!/bin/sh\necho "the program of executable" >>%s\n' "$dir/ran" >wanted
chmod +x wanted
cat >circus.ini <<INI
[circus]
endpoint = ipc://$dir/endpoint
pubsub_endpoint = ipc://$dir/pubsub

[watcher:name-of-none]
executable = $dir/wanted
cmd = name-of-none
respawn = False

[watcher:name-of-a-shell]
executable = $dir/wanted
cmd = sh -c 'echo "the program of cmd" >>$dir/ran'
respawn = False
INI
venv/bin/circusd circus.ini >log 2>&1 &
circusd=$!
wait_for() { for _ in $(seq 300); do ! "$@" >/dev/null 2>&1 || return 0; sleep 0.1; done; return 1; }
{
  venv/bin/pip freeze | grep circus
  wait_for grep 'name-of-none stopped' log
  echo "name-of-none: $(grep -c "No such file or directory: 'name-of-none'" log) times no such file, then stopped"
  wait_for grep 'name-of-a-shell started' log && wait_for test -s ran
  echo "name-of-a-shell: $(cat ran)"
} | tee seen
diff seen - <<'SEEN'
circus==0.19.0
name-of-none: 5 times no such file, then stopped
name-of-a-shell: the program of cmd
SEEN
