#!/usr/bin/env bash
# Debian 13: docker.io 26.1.5+dfsg1 (its BuildKit by docker-buildx 0.13.1, and its classic builder by docker-cli 26.1.5). Debian 12: buildah 1.28.2. Needs root.
# Guess: `*` and `!**/main.go` in .dockerignore ("everything but …", one of the uses that the documentation gives) keep each main.go, in all three.
# Seen: in BuildKit. The classic builder and buildah keep that of the top alone, and say nothing: they pass over an ignored folder unless an exception begins
# with its path as it stands, so that `!cmd/*/main.go` after `cmd` keeps nothing either. `!cmd` after `*` keeps all below cmd in each. A file that was
# written for the one builds an image without sources by the other.
set -euo pipefail
dir=$(mktemp -d)
finish() {
  if [ -n "${engine:-}" ]; then kill "$engine" && wait "$engine" || true; fi
  umount "$dir"/engine/*/netns/* 2>/dev/null || true
  rm -rf "$dir"
}
trap finish EXIT
cd "$dir"
mkdir -p trixie/lists/partial trixie/archives/partial root context/cmd/web
touch trixie/status
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Codename: bookworm' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive trixie main" >trixie/sources.list
trixie() {
  apt-get -qq -o Dir::Etc::SourceList="$dir/trixie/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$dir/trixie/lists" \
    -o Dir::State::status="$dir/trixie/status" -o Dir::Cache="$dir/trixie" -o APT::Sandbox::User=root "$@"
}
trixie update
trixie download docker.io=26.1.5* docker-cli=26.1.5* containerd 'docker-buildx=0.13.1*'
apt-get download -qq runc libseccomp2 buildah=1.28.2* libgpgme11 libsubid4 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export PATH=$dir/root/usr/sbin:$dir/root/usr/bin:$PATH LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu
# A network namespace of its own keeps this engine away from the bridge of another one on the machine.
unshare --net dockerd --host "unix://$dir/socket" --data-root "$dir/data" --exec-root "$dir/engine" --pidfile "$dir/pid" --storage-driver vfs \
  --bridge none --iptables=false --ip6tables=false >log 2>&1 &
engine=$!
engine_answers() { curl -sf --unix-socket socket "http://engine/v1.45/$1" "${@:2}"; }
for _ in $(seq 300); do ! engine_answers _ping >/dev/null || break; sleep 0.1; done
touch context/{main.go,cmd/main.go,cmd/web/main.go,cmd/web/main.o}
printf 'FROM scratch\nCOPY . /\n' >context/Dockerfile
# The names of an image's files, from the form that `docker save` writes.
cat >names.py <<'PY'
import json, sys, tarfile
with tarfile.open(sys.argv[1]) as image:
    layers = json.load(image.extractfile("manifest.json"))[0]["Layers"]
    files = {m.name for layer in layers for m in tarfile.open(fileobj=image.extractfile(layer)) if m.isfile()}
print(*sorted(files - {"Dockerfile", ".dockerignore"}))
PY
mkdir config
echo '{}' >config/config.json
export DOCKER_CONFIG=$dir/config DOCKER_HOST=unix://$dir/socket
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >policy.json
buildah() { "$dir/root/usr/bin/buildah" --root "$dir/storage" --runroot "$dir/run" --storage-driver vfs "$@"; }
for patterns in '*\n!**/main.go' 'cmd\n!cmd/*/main.go' '*\n!cmd'; do
  printf "$patterns\n" >context/.dockerignore
  echo "$patterns"
  root/usr/libexec/docker/cli-plugins/docker-buildx build --tag buildkit context >said 2>&1 || cat said
  engine_answers images/buildkit/get >buildkit.tar
  echo "  BuildKit: $(python3 names.py buildkit.tar)"
  DOCKER_BUILDKIT=0 docker build --tag classic context >said 2>&1 || cat said
  engine_answers images/classic/get >classic.tar
  echo "  classic:  $(python3 names.py classic.tar)"
  buildah build --isolation chroot --format docker --signature-policy policy.json --tag it context >said 2>&1 || cat said
  buildah push --signature-policy policy.json it docker-archive:buildah.tar >said 2>&1 || cat said
  echo "  buildah:  $(python3 names.py buildah.tar)"
  rm buildah.tar
done | tee seen
diff seen - <<'SEEN'
*\n!**/main.go
  BuildKit: cmd/main.go cmd/web/main.go main.go
  classic:  main.go
  buildah:  main.go
cmd\n!cmd/*/main.go
  BuildKit: cmd/web/main.go main.go
  classic:  main.go
  buildah:  main.go
*\n!cmd
  BuildKit: cmd/main.go cmd/web/main.go cmd/web/main.o
  classic:  cmd/main.go cmd/web/main.go cmd/web/main.o
  buildah:  cmd/main.go cmd/web/main.go cmd/web/main.o
SEEN
