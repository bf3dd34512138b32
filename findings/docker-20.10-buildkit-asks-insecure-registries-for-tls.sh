#!/usr/bin/env bash
# Debian 12: docker.io 20.10.24 (dockerd with its BuildKit, and the command), docker-registry 2.8.2. Needs root.
# Guess: a registry that daemon.json names in `insecure-registries`, as documented by host and port, is asked by plain HTTP for everything: push, pull and base
# images of both builders.
# Seen: BuildKit asks it by TLS, and a build that has a base image there fails with "server gave HTTP response to HTTPS client", where push and the classic
# builder work. It does so for a name, an address and a network. Only with `http://` before the name BuildKit takes it, and then dockerd warns that
# it should not be there "and has been removed", which is true of the other uses.
set -euo pipefail
dir=$(mktemp -d)
trap 'umount "$dir"/engine/*/netns/* 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq docker.io=20.10.24* containerd runc libseccomp2 docker-registry=2.8.2* 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
mkdir context
echo hello >context/file
printf 'FROM scratch\nCOPY file /\n' >context/Dockerfile
cat >config.yml <<YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $dir/registry}}
http: {addr: "192.0.2.10:5000"}
YAML
cat >try.sh <<'SH'
set -euo pipefail
dir=$PWD
ip link set lo up
ip address add 192.0.2.10/32 dev lo
{ cat /etc/hosts; echo 192.0.2.10 registry.test; } >hosts
mount --bind hosts /etc/hosts
export PATH=$dir/root/usr/sbin:$dir/root/usr/bin:$PATH LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu
export DOCKER_CONFIG=$dir DOCKER_HOST=unix://$dir/socket
docker-registry serve config.yml >registry.log 2>&1 &
registry=$!
trap 'for process in $registry ${engine:-}; do kill $process && wait $process || true; done' EXIT
base() {
  printf "FROM $image\nCOPY file /again\n" >context/again
  docker image rm --force "$image" >/dev/null
  if DOCKER_BUILDKIT=$1 docker build --pull --file context/again context >said 2>&1; then echo done; else grep -m 1 -o 'server gave.*' said; fi
}
for entry in registry.test:5000 192.0.2.10:5000 192.0.2.0/24 http://registry.test:5000; do
  echo "{\"insecure-registries\": [\"$entry\"]}" >daemon.json
  dockerd --config-file daemon.json --host "unix://$dir/socket" --data-root "$dir/data" --exec-root "$dir/engine" --pidfile "$dir/pid" \
    --storage-driver vfs --bridge none --iptables=false --ip6tables=false >engine.log 2>&1 &
  engine=$!
  for _ in $(seq 300); do ! docker version >/dev/null 2>&1 || break; sleep 0.1; done
  case $entry in *registry.test*) image=registry.test:5000/base ;; *) image=192.0.2.10:5000/base ;; esac
  echo "$entry"
  DOCKER_BUILDKIT=0 docker build --tag "$image" context >/dev/null 2>said
  if docker push "$image" >said 2>&1; then echo "  push: done"; else tail -n 1 said; fi
  echo "  classic builder: $(base 0)"
  echo "  BuildKit: $(base 1)"
  grep -o 'has been removed from the insecure registry config' engine.log | sed 's/^/  warning: /' || true
  kill "$engine"
  wait "$engine" || true
  engine=
done
SH
unshare --net --mount bash try.sh | tee seen
diff seen - <<'SEEN'
registry.test:5000
  push: done
  classic builder: done
  BuildKit: server gave HTTP response to HTTPS client
192.0.2.10:5000
  push: done
  classic builder: done
  BuildKit: server gave HTTP response to HTTPS client
192.0.2.0/24
  push: done
  classic builder: done
  BuildKit: server gave HTTP response to HTTPS client
http://registry.test:5000
  push: done
  classic builder: done
  BuildKit: done
  warning: has been removed from the insecure registry config
SEEN
