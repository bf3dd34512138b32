#!/usr/bin/env bash
# Debian 12: OpenSSH 9.2p1 (ssh and sshd), git 2.39.5. Needs root.
# Guess: git asks for protocol 2 by `ssh -o SendEnv=GIT_PROTOCOL`, and that works also over a shared connection (ControlMaster), as the variable goes with
# the session and not with the connection. If anything forbids it, it is the server's AcceptEnv.
# Seen: the master sends the variables that its own SendEnv names and passes over the client's. Over a master that was started without it git gets protocol 0,
# without a word and with 0: to fetch one branch the server lists all its refs each time, which a large repository pays for in megabytes.
# SendEnv=GIT_PROTOCOL for the master mends it, even if the variable is not set there.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(cat "$dir"/sshd.pid) 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq openssh-server openssh-client libwtmpdb0 2>/dev/null || apt-get download -qq openssh-server openssh-client 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export PATH=$dir/root/usr/bin:$PATH
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
ssh-keygen -q -t ed25519 -N '' -f key
ssh-keygen -q -t ed25519 -N '' -f host
mkdir -p /run/sshd
cat >sshd_config <<CONFIG
Port $port
ListenAddress 127.0.0.1
HostKey $dir/host
AuthorizedKeysFile $dir/key.pub
PidFile $dir/sshd.pid
StrictModes no
UsePAM no
AcceptEnv GIT_PROTOCOL
CONFIG
"$dir/root/usr/sbin/sshd" -E sshd.log -f sshd_config
for _ in $(seq 100); do [ ! -e sshd.pid ] || break; sleep 0.1; done
echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 host.pub)" >known_hosts
cat >config <<CONFIG
Host server
  HostName 127.0.0.1
  Port $port
  User root
  IdentityFile $dir/key
  UserKnownHostsFile $dir/known_hosts
  BatchMode yes
CONFIG
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
git init -q -b main repository
git -C repository commit -q --allow-empty -m first
for tag in $(seq 200); do echo "create refs/tags/$tag HEAD"; done | git -C repository update-ref --stdin
fetch() {
  local code=0 version=0
  rm -rf mirror
  git init -q --bare mirror
  GIT_TRACE_PACKET=1 GIT_SSH_COMMAND="ssh -F $dir/config $1" GIT_SSH_VARIANT=ssh git -C mirror fetch -q --no-tags "server:$dir/repository" main 2>trace || code=$?
  grep -q '< version 2' trace && version=2
  echo "protocol $version, $(grep -c '< [0-9a-f]* refs/' trace) refs are listed, fetch ends with $code"
}
master() { ssh -F config -M -S "$dir/$1" -fN "${@:2}" server; }
{
  echo "without a master: $(fetch '')"
  master plain
  echo "over a master: $(fetch "-S $dir/plain")"
  master sends -o SendEnv=GIT_PROTOCOL
  echo "over a master with SendEnv: $(fetch "-S $dir/sends")"
} | tee seen
for control in plain sends; do ssh -F config -S "$dir/$control" -O exit server 2>/dev/null; done
diff seen - <<'SEEN'
without a master: protocol 2, 1 refs are listed, fetch ends with 0
over a master: protocol 0, 201 refs are listed, fetch ends with 0
over a master with SendEnv: protocol 2, 1 refs are listed, fetch ends with 0
SEEN
