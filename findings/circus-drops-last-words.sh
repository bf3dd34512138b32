#!/usr/bin/env bash
# PyPI: circus 0.19.0 (with pyzmq 27.3.0, tornado 6.6.1, psutil 7.2.2).
# Guess: what a program writes while it is being stopped, within `graceful_timeout`, is in the file of its `stdout_stream`, as the file has what it wrote
# before; a program that writes and then ends has given its words to the pipe, from which they can be read after its end.
# Seen: when circusd is stopped, some programs' last lines are missing, without a word. It closes the pipe as soon as the program has ended, whether or not
# it has read it. Of 20 programs that write 100 lines at once (1 KB) a few lose all of them, each time others, so that the log does not say how they ended.
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${circusd:-}" ] || kill -9 "$circusd" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet circus==0.19.0 pyzmq==27.3.0 tornado==6.6.1 psutil==7.2.2
cat >program.py <<'PY'
import os, signal, time
def stop(*_):
    os.write(1, b"".join(b"saved %d\n" % number for number in range(100)) + b"shut down\n")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
os.write(1, b"started\n")
while True:
    time.sleep(1)
PY
cat >circus.ini <<INI
[circus]
endpoint = ipc://$dir/endpoint
pubsub_endpoint = ipc://$dir/pubsub

[watcher:it]
cmd = $dir/venv/bin/python $dir/program.py
numprocesses = 20
graceful_timeout = 60
stdout_stream.class = FileStream
stdout_stream.filename = $dir/out
INI
count() { grep -c "$1" out 2>/dev/null || true; }
# The loss is a matter of chance; in ten rounds of twenty programs it has always been there.
stopped=20
for _ in $(seq 10); do
  rm -f out
  venv/bin/circusd circus.ini >log 2>&1 &
  circusd=$!
  for _ in $(seq 600); do [ "$(count started)" != 20 ] || break; sleep 0.1; done
  started=$(count started)
  kill "$circusd"
  wait "$circusd" || true
  circusd=
  stopped=$(count 'shut down')
  [ "$stopped" = 20 ] || break
done
{
  venv/bin/pip freeze 2>/dev/null | grep circus
  echo "$started have started"
  [ "$stopped" -lt "$started" ] && echo "fewer have shut down, by the file"
  grep -q 'it stopped' log && echo "circusd has stopped them"
} | tee seen
diff seen - <<'SEEN'
circus==0.19.0
20 have started
fewer have shut down, by the file
circusd has stopped them
SEEN
