#!/usr/bin/env bash
# Debian 12: buildah 1.28.2+ds1-3+deb12u1 (what `podman build` 4.3 of Debian 12 is, too). Needs root.
# Guess: names of stages have no case, as Docker reads them (BuildKit and the classic builder both make them lower case).
# Seen: they have. `FROM … AS Base` and `COPY --from=base` is "no stage or image found with that name", and `FROM Base` after `AS base` goes
# to look for an image and complains about its upper case. A Dockerfile that Docker has built for years is refused.
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
build() {
  local code=0
  printf "$1" >Dockerfile
  buildah bud --quiet --signature-policy policy.json -f Dockerfile context 2>said >/dev/null || code=$?
  cat said
  echo "exit code $code"
}
{
  buildah --version | cut -d' ' -f1-3
  build 'FROM scratch AS Base\nCOPY file /\nFROM scratch\nCOPY --from=Base /file /\n'
  build 'FROM scratch AS Base\nCOPY file /\nFROM scratch\nCOPY --from=base /file /\n'
  build 'FROM scratch AS base\nCOPY file /\nFROM Base\nLABEL a=b\n'
} | tee seen
diff seen - <<'SEEN'
buildah version 1.28.2
exit code 0
Error: COPY --from=base: no stage or image found with that name
exit code 125
Error: creating build container: repository name must be lowercase
exit code 125
SEEN
