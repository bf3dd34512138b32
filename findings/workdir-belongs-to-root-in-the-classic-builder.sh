#!/usr/bin/env bash
# Debian 13: docker.io 26.1.5+dfsg1 (its BuildKit by docker-buildx 0.13.1, and its classic builder by docker-cli 26.1.5). Debian 12: buildah 1.28.2. Needs root.
# Guess: a folder that WORKDIR makes belongs to the USER before it, as the instruction is for RUN, CMD and COPY of that user, or to root, as what COPY makes
# does (docs.docker.com/reference/dockerfile, WORKDIR, does not say); and to the same one in each builder.
# Seen: to the user in BuildKit and buildah, with all the folders above it that were missing, and to root in the classic builder. So an image whose program
# writes into its own folder works, and the same Dockerfile through docker-py, dockerode or an old client is "Permission denied" at the first start.
set -euo pipefail
dir=$(mktemp -d)
finish() {
  if [ -n "${engine:-}" ]; then kill "$engine" && wait "$engine" || true; fi
  umount "$dir"/engine/*/netns/* 2>/dev/null || true
  rm -rf "$dir"
}
trap finish EXIT
cd "$dir"
mkdir -p trixie/lists/partial trixie/archives/partial root context
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
printf 'FROM scratch\nUSER 1000:1000\nWORKDIR /srv/app\nCOPY file .\n' >context/Dockerfile
echo hello >context/file
# The owners in an image, from the form that `docker save` writes; a later layer counts.
cat >owners.py <<'PY'
import json, sys, tarfile
with tarfile.open(sys.argv[1]) as image:
    layers = json.load(image.extractfile("manifest.json"))[0]["Layers"]
    owners = {m.name: f"{m.uid}:{m.gid}" for layer in layers for m in tarfile.open(fileobj=image.extractfile(layer))}
print(*(f"{name} {owners[name]}" for name in sorted(owners)), sep=", ")
PY
mkdir config
echo '{}' >config/config.json
export DOCKER_CONFIG=$dir/config DOCKER_HOST=unix://$dir/socket
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >policy.json
buildah() { "$dir/root/usr/bin/buildah" --root "$dir/storage" --runroot "$dir/run" --storage-driver vfs "$@"; }
{
  root/usr/libexec/docker/cli-plugins/docker-buildx build --tag buildkit context >said 2>&1 || cat said
  engine_answers images/buildkit/get >buildkit.tar
  echo "BuildKit: $(python3 owners.py buildkit.tar)"
  DOCKER_BUILDKIT=0 docker build --tag classic context >said 2>&1 || cat said
  engine_answers images/classic/get >classic.tar
  echo "classic:  $(python3 owners.py classic.tar)"
  buildah build --isolation chroot --format docker --signature-policy policy.json --tag it context >said 2>&1 || cat said
  buildah push --signature-policy policy.json it docker-archive:buildah.tar >said 2>&1 || cat said
  echo "buildah:  $(python3 owners.py buildah.tar)"
} | tee seen
diff seen - <<'SEEN'
BuildKit: srv 1000:1000, srv/app 1000:1000, srv/app/file 0:0
classic:  srv 0:0, srv/app 0:0, srv/app/file 0:0
buildah:  srv 1000:1000, srv/app 1000:1000, srv/app/file 0:0
SEEN
