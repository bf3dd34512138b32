#!/usr/bin/env bash
# Debian 13: docker.io 26.1.5+dfsg1 (its BuildKit by docker-buildx 0.13.1, and its classic builder). Debian 12: buildah 1.28.2. Needs root.
# Guess: COPY keeps a file's mode, which is all that is said of it besides its owner (docs.docker.com/reference/dockerfile, COPY), in each builder; if the
# setuid bit is taken away, for safety, then in all of them.
# Seen: BuildKit keeps setuid and setgid; the classic builder and buildah make 4755 and 2755 plain 755, though ADD of a tar, in each of them, keeps it.
# A helper that has to be setuid works or fails by the builder, and a rebuild elsewhere makes another layer of the same files.
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
trixie download docker.io=26.1.5* containerd 'docker-buildx=0.13.1*'
apt-get download -qq runc libseccomp2 buildah=1.28.2* libgpgme11 libsubid4 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export PATH=$dir/root/usr/sbin:$dir/root/usr/bin:$PATH LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu
# A network namespace of its own keeps this engine away from the bridge of another one on the machine.
unshare --net dockerd --host "unix://$dir/socket" --data-root "$dir/data" --exec-root "$dir/engine" --pidfile "$dir/pid" --storage-driver vfs \
  --bridge none --iptables=false --ip6tables=false >log 2>&1 &
engine=$!
engine_answers() { curl -sf --unix-socket socket "http://engine/v1.45/$1" "${@:2}"; }
for _ in $(seq 300); do ! engine_answers _ping >/dev/null || break; sleep 0.1; done
echo helper | tee context/setuid context/setgid >context/plain
chmod 4755 context/setuid
chmod 2755 context/setgid
chmod 755 context/plain
mkdir packed
cp --preserve=mode context/setuid packed/setuid-of-a-tar
tar -C packed -cf context/packed.tar setuid-of-a-tar
printf 'FROM scratch\nCOPY setuid setgid plain /\nADD packed.tar /\n' >context/Dockerfile
# The modes of an image's files, from the form that `docker save` writes.
cat >modes.py <<'PY'
import json, sys, tarfile
with tarfile.open(sys.argv[1]) as image:
    layers = json.load(image.extractfile("manifest.json"))[0]["Layers"]
    files = {m.name: oct(m.mode & 0o7777)[2:] for layer in layers for m in tarfile.open(fileobj=image.extractfile(layer)) if m.isfile()}
print(*(f"{name} {files[name]}" for name in sorted(files)), sep=", ")
PY
mkdir config
echo '{}' >config/config.json
export DOCKER_CONFIG=$dir/config DOCKER_HOST=unix://$dir/socket
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >policy.json
buildah() { "$dir/root/usr/bin/buildah" --root "$dir/storage" --runroot "$dir/run" --storage-driver vfs "$@"; }
{
  root/usr/libexec/docker/cli-plugins/docker-buildx build --tag buildkit context >said 2>&1 || cat said
  engine_answers images/buildkit/get >buildkit.tar
  echo "BuildKit: $(python3 modes.py buildkit.tar)"
  tar -C context -c . | engine_answers 'build?t=classic' -X POST -H 'Content-Type: application/x-tar' --data-binary @- >said
  engine_answers images/classic/get >classic.tar
  echo "classic:  $(python3 modes.py classic.tar)"
  image=$(buildah bud --quiet --signature-policy policy.json -f context/Dockerfile context)
  buildah push -q --signature-policy policy.json "$image" docker-archive:buildah.tar
  echo "buildah:  $(python3 modes.py buildah.tar)"
} | tee seen
diff seen - <<'SEEN'
BuildKit: plain 755, setgid 2755, setuid 4755, setuid-of-a-tar 4755
classic:  plain 755, setgid 755, setuid 755, setuid-of-a-tar 4755
buildah:  plain 755, setgid 755, setuid 755, setuid-of-a-tar 4755
SEEN
