#!/usr/bin/env bash
# Debian 12: skopeo 1.9.3 with docker-registry 2.8.2.
# Guess: `skopeo delete docker://HOST/NAME:TAG` removes that tag, and an image that has another tag stays reachable by it.
# Seen: it deletes the manifest that the tag names, so every other tag of the same image is gone, too, and it ends with 0 and without a word.
# A build that changed nothing has the same digest, so to remove the tag of an old branch can remove the release.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill "$registry" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq skopeo docker-registry libgpgme11 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >registry.yml <<YML
version: 0.1
storage: {filesystem: {rootdirectory: $dir/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$port"}
YML
root/usr/bin/docker-registry serve registry.yml >log 2>&1 &
registry=$!
for _ in $(seq 100); do ! curl -sf "127.0.0.1:$port/v2/" >/dev/null || break; sleep 0.1; done
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >policy.json
skopeo() { root/usr/bin/skopeo --policy policy.json "$@"; }
# An image of one empty layer, in the form that `docker save` writes.
mkdir image
tar -cf image/layer.tar -T /dev/null
diff_id=$(sha256sum image/layer.tar | cut -d' ' -f1)
echo "{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$diff_id\"]}}" >image/config.json
echo '[{"Config":"config.json","RepoTags":["it:1"],"Layers":["layer.tar"]}]' >image/manifest.json
tar -C image -cf image.tar .
for tag in release branch; do
  skopeo copy --quiet --dest-tls-verify=false docker-archive:image.tar "docker://127.0.0.1:$port/it:$tag"
done
tags() { curl -s "127.0.0.1:$port/v2/it/tags/list"; }
{
  skopeo --version
  tags
  skopeo delete --tls-verify=false "docker://127.0.0.1:$port/it:branch"
  echo "delete ended with $?"
  tags
  curl -s -o /dev/null -w '%{http_code}\n' "127.0.0.1:$port/v2/it/manifests/release"
} | tee seen
diff seen - <<'SEEN'
skopeo version 1.9.3
{"name":"it","tags":["release","branch"]}
delete ended with 0
{"name":"it","tags":null}
404
SEEN
