#!/usr/bin/env bash
# Debian 12: docker.io 20.10.24 (with containerd and runc). Needs root.
# Guess: `docker network inspect bridge` names the gateway of the bridge whenever the engine runs, as scripts take the host's address for containers from
# there, `{{(index .IPAM.Config 0).Gateway}}`.
# Seen: on a new machine it has a subnet and no Gateway, though the bridge has its address and containers use it. After the next start of dockerd, with the same
# settings, it is there. So what reads it fails on the machines that were just set up, a CI's above all, and works on each that was tried before.
set -euo pipefail
dir=$(mktemp -d)
trap 'umount "$dir"/engine/*/netns/* 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq docker.io=20.10.24* containerd runc libseccomp2 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export PATH=$dir/root/usr/sbin:$dir/root/usr/bin:$PATH LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu
cat >start.sh <<'SH'
dockerd --host "unix://$PWD/socket" --data-root "$PWD/data" --exec-root "$PWD/engine" --pidfile "$PWD/pid" --storage-driver vfs --iptables=false \
  --ip6tables=false >log 2>&1 &
engine=$!
for _ in $(seq 300); do ! curl -sf --unix-socket socket http://engine/_ping >/dev/null || break; sleep 0.1; done
curl -s --unix-socket socket http://engine/networks/bridge | python3 -c 'import json, sys; print("  described:", json.load(sys.stdin)["IPAM"]["Config"])'
echo "  the bridge has: $(ip -4 -o address show docker0 | awk '{print $4}')"
kill "$engine"
wait "$engine" || true
SH
# A network namespace of its own for each start, as for a machine that was started again, keeps the bridge away from another engine's.
for start in first second; do
  echo "the $start start"
  unshare --net bash start.sh
done | tee seen
diff seen - <<'SEEN'
the first start
  described: [{'Subnet': '172.17.0.0/16'}]
  the bridge has: 172.17.0.1/16
the second start
  described: [{'Subnet': '172.17.0.0/16', 'Gateway': '172.17.0.1'}]
  the bridge has: 172.17.0.1/16
SEEN
