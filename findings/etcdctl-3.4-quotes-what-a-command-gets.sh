#!/usr/bin/env bash
# Debian 12: etcd-client and etcd-server 3.4.23-4.
# Guess: `etcdctl watch KEY -- COMMAND` runs the command at each change with the key and the value in its environment, as they are, as `lock` gives the
# lock's key; a command that fails does not end the watch; and `etcdctl lock NAME -- COMMAND` ends with the command's code, as flock(1) does.
# Seen: key and value are in quotes of Go, which are part of the text, so that "$ETCD_WATCH_VALUE" of 1 is three characters, and a line's end in it is a
# backslash and an n; no shell takes them away. After the first command that fails the watch is over, with 1: what changes later is not seen. `lock` ends
# with 1, whatever the command's code.
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${etcd:-}" ] || { kill "$etcd" && wait "$etcd" || true; } 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq etcd-client=3.4.23-4* etcd-server=3.4.23-4* 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
python3 -c 'import socket; s = [socket.create_server(("127.0.0.1", 0)) for _ in "ab"]; print(*(x.getsockname()[1] for x in s))' >ports
read -r port peers <ports
root/usr/bin/etcd --data-dir data --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
  --listen-peer-urls "http://127.0.0.1:$peers" --log-level error >log 2>&1 &
etcd=$!
for _ in $(seq 300); do ! curl -sf "http://127.0.0.1:$port/health" >/dev/null || break; sleep 0.1; done
etcdctl() { ETCDCTL_API=3 root/usr/bin/etcdctl --endpoints "127.0.0.1:$port" "$@"; }
cat >changed <<SH
#!/bin/sh
printf '  [%s] [%s]\n' "\$ETCD_WATCH_KEY" "\$ETCD_WATCH_VALUE" >>$dir/got
[ "\$ETCD_WATCH_VALUE" != '"bad"' ]
SH
chmod +x changed
touch got
{
  echo "watch"
  etcdctl watch app/tag -- "$dir/changed" >watched 2>&1 &
  watch=$!
  # Until the watch has begun, no change is seen.
  until [ -s got ]; do etcdctl put app/tag 1 >/dev/null; sleep 0.5; done
  sort -u got
  etcdctl put app/tag $'1\n2' >/dev/null
  timeout 20 sh -c 'until grep -q 2 got; do sleep 0.1; done'
  tail -n 1 got
  etcdctl put app/tag bad >/dev/null
  code=0
  wait "$watch" || code=$?
  etcdctl put app/tag 3 >/dev/null
  tail -n 1 got
  echo "  has ended with $code"
  echo "lock"
  code=0
  etcdctl lock deploy -- sh -c 'echo "  [${ETCD_LOCK_KEY%%/*}]"; exit 3' 2>/dev/null || code=$?
  echo "  has ended with $code"
} | tee seen
diff seen - <<'SEEN'
watch
  ["app/tag"] ["1"]
  ["app/tag"] ["1\n2"]
  ["app/tag"] ["bad"]
  has ended with 1
lock
  [deploy]
  has ended with 1
SEEN
