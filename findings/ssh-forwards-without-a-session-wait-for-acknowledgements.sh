#!/usr/bin/env bash
# Debian 12: OpenSSH 9.2p1 (ssh and sshd), seen by strace 6.1. Needs root.
# Guess: a connection that only forwards (`ssh -N -L`) sends small packets at once, as one with a shell does, because both are for waiting people or programs.
# Seen: sshd switches Nagle's algorithm off (TCP_NODELAY) when a session begins and never without one, so an answer in two
# writes waits for an acknowledgement. Docker's API through `ssh -N -L` (and any database) pays for it at each request, and not with a command beside.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(cat "$dir"/*.pid) 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq openssh-server openssh-client strace libunwind8 libwtmpdb0 2>/dev/null || apt-get download -qq openssh-server openssh-client strace libunwind8 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu PATH=$dir/root/usr/bin:$PATH
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
root/usr/bin/ssh-keygen -q -t ed25519 -N '' -f key
root/usr/bin/ssh-keygen -q -t ed25519 -N '' -f host
mkdir -p /run/sshd
cat >sshd_config <<CONFIG
Port $port
ListenAddress 127.0.0.1
HostKey $dir/host
AuthorizedKeysFile $dir/key.pub
PidFile $dir/sshd.pid
StrictModes no
UsePAM no
CONFIG
python3 -m http.server --bind 127.0.0.1 --directory "$dir/root/usr/share/doc" 0 >web.log 2>&1 &
echo $! >web.pid
for _ in $(seq 100); do web=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' web.log) && [ -n "$web" ] && break; sleep 0.1; done
strace -f -qq -yy -e trace=setsockopt -o calls "$dir/root/usr/sbin/sshd" -D -e -f sshd_config 2>sshd.log &
for _ in $(seq 100); do [ ! -e sshd.pid ] || break; sleep 0.1; done
connect() {
  : >calls
  root/usr/bin/ssh -F none -i key -p "$port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
    -L "$dir/socket:127.0.0.1:$web" "$@" 127.0.0.1 ${command:-} >/dev/null &
  client=$!
  for _ in $(seq 100); do [ ! -S socket ] || break; sleep 0.1; done
  curl -s -o /dev/null -w 'answer %{http_code}, ' --unix-socket socket http://web/
  kill "$client"
  wait "$client" || true
  rm -f socket
  echo "TCP_NODELAY on the connection of ssh: $(grep -c "127.0.0.1:$port->.*TCP_NODELAY, \[1\]" calls || true)"
}
{
  root/usr/bin/ssh -V 2>&1 | cut -d' ' -f1
  echo "-N: $(connect -N)"
  command='sleep 100'
  echo "with a command: $(connect -T)"
} | tee seen
diff seen - <<'SEEN'
OpenSSH_9.2p1
-N: answer 200, TCP_NODELAY on the connection of ssh: 0
with a command: answer 200, TCP_NODELAY on the connection of ssh: 1
SEEN
