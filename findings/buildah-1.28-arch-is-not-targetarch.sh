#!/usr/bin/env bash
# Debian 12: buildah 1.28.2+ds1-3+deb12u1 (what `podman build` 4.3 of Debian 12 is, too). Needs root.
# Guess: `--arch arm64` sets TARGETARCH as `--platform linux/arm64` does, because both say what the image is built for.
# Seen: the image is for arm64 and TARGETARCH says amd64, so that a Dockerfile which downloads by $TARGETARCH puts the wrong program into it.
# Without any flag the value is there, and a warning says that the argument is missing and should be given.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq buildah=1.28.2* libgpgme11 libsubid4 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >policy.json
mkdir context
echo hello >context/file
buildah() { "$dir/root/usr/bin/buildah" --root "$dir/storage" --runroot "$dir/run" --storage-driver vfs "$@"; }
printf 'FROM scratch\nARG TARGETARCH\nCOPY file /\nLABEL target=$TARGETARCH\n' >Dockerfile
build() {
  local image
  image=$(buildah bud --quiet --signature-policy policy.json "$@" -f Dockerfile context 2>said)
  sed -nE 's/.*level=(.*)/\1/p' said
  echo "$* $(buildah inspect --type image --format '{{.OCIv1.Architecture}}, TARGETARCH={{.OCIv1.Config.Labels.target}}' "$image")"
}
{
  buildah --version | cut -d' ' -f1-3
  build --platform linux/arm64
  build --arch arm64
} | tee seen
diff seen - <<'SEEN'
buildah version 1.28.2
--platform linux/arm64 arm64, TARGETARCH=arm64
warning msg="missing \"TARGETARCH\" build argument. Try adding \"--build-arg TARGETARCH=<VALUE>\" to the command line"
--arch arm64 arm64, TARGETARCH=amd64
SEEN
