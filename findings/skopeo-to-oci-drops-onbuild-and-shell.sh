#!/usr/bin/env bash
# Debian 12: skopeo 1.9.3.
# Guess: `skopeo copy` to an OCI layout changes the envelope of an image and not what it does, or it says what the other format has no word for, as
# buildah does of HEALTHCHECK.
# Seen: Healthcheck, OnBuild, Shell and DockerVersion of the configuration are gone without a word and with 0, and with them the image's id.
# To copy it back into Docker's format does not bring them back. So an image that went through a layout (a cache of a CI, an air gap) is
# never unhealthy, and as a base it no longer copies its child's sources.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq skopeo libgpgme11 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >policy.json
skopeo() { root/usr/bin/skopeo --policy policy.json "$@"; }
# An image of one empty layer, in the form that `docker save` writes.
mkdir image
tar -cf image/layer.tar -T /dev/null
diff_id=$(sha256sum image/layer.tar | cut -d' ' -f1)
cat >image/config.json <<JSON
{"architecture":"amd64","os":"linux","docker_version":"20.10.24","rootfs":{"type":"layers","diff_ids":["sha256:$diff_id"]},
 "config":{"Env":["A=1"],"Cmd":["serve"],"StopSignal":"SIGINT","Healthcheck":{"Test":["CMD","check"]},"OnBuild":["COPY . /app"],"Shell":["/bin/bash","-c"]}}
JSON
echo '[{"Config":"config.json","RepoTags":["it:1"],"Layers":["layer.tar"]}]' >image/manifest.json
tar -C image -cf image.tar .
show() {
  skopeo inspect --config --raw "$1" | python3 -c '
import json, sys
image = json.load(sys.stdin)
print(*sorted(image["config"]), *(name for name in ["docker_version"] if name in image))'
}
{
  root/usr/bin/skopeo --version | cut -d' ' -f1-3
  echo "docker save:    $(show docker-archive:image.tar)"
  skopeo copy docker-archive:image.tar oci:layout:1 >said 2>&1
  echo "copy to oci:    exit code $?, $(grep -ciE 'warn|health|onbuild|shell' said || true) lines about it"
  echo "oci:            $(show oci:layout:1)"
  skopeo copy -q oci:layout:1 docker-archive:back.tar
  echo "docker again:   $(show docker-archive:back.tar)"
} | tee seen
diff seen - <<'SEEN'
skopeo version 1.9.3
docker save:    Cmd Env Healthcheck OnBuild Shell StopSignal docker_version
copy to oci:    exit code 0, 0 lines about it
oci:            Cmd Env StopSignal
docker again:   Cmd Env StopSignal
SEEN
