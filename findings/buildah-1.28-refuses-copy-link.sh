#!/usr/bin/env bash
# Debian 12: buildah 1.28.2+ds1-3+deb12u1 (what `podman build` 4.3 of Debian 12 is, too). Needs root.
# Guess: `COPY --link`, which changes how a layer is made and not what is in it, is accepted and passed over, and a here-document is
# refused by name.
# Seen: both end the build with 125. `--link`, `--parents` and `--chmod=u+x` are refused, the last as "Error parsing chmod"; and of
# `COPY <<EOF /here` the engine says that it looked for a *file* called /<<EOF, so that its author searches his repository for it.
# A Dockerfile that builds on Docker since 23.0 is not portable to it, and an error's text does not say why.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq buildah libgpgme11 libsubid4 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >policy.json
mkdir context
echo hello >context/file
build() {
  local code=0
  printf 'FROM scratch\n%s\n' "$1" >Dockerfile
  "$dir/root/usr/bin/buildah" --root "$dir/storage" --runroot "$dir/run" --storage-driver vfs bud --quiet \
    --signature-policy policy.json -f Dockerfile context 2>said >/dev/null || code=$?
  sed "s,$dir,DIR," said
  echo "exit code $code"
}
{
  "$dir/root/usr/bin/buildah" --version | cut -d' ' -f1-3
  build 'COPY file /file'
  build 'COPY --link file /file'
  build 'COPY --chmod=u+x file /file'
  build $'COPY <<EOF /here\nhello\nEOF'
} | tee seen
diff seen - <<'SEEN'
buildah version 1.28.2
exit code 0
Error: building at STEP "COPY --link file /file": COPY only supports the --chmod=<permissions> --chown=<uid:gid> and the --from=<image|stage> flags
exit code 125
Error: building at STEP "COPY --chmod=u+x file /file": Error parsing chmod u+x
exit code 125
Error: building at STEP "COPY <<EOF /here": checking on sources under "DIR/context": copier: stat: "/<<EOF": no such file or directory
exit code 125
SEEN
