#!/usr/bin/env bash
# Debian 12: docker-registry 2.8.2+ds1-1 (distribution 2.8.2), with deletion switched on.
# Guess: `DELETE /v2/NAME/manifests/TAG` is refused as unsupported (405); after the last manifest was deleted by its digest the list of
# tags is an empty array, or the repository unknown (404), and the catalog lists it no longer.
# Seen: by tag the answer is 400 DIGEST_INVALID "provided digest did not match uploaded content", though nothing was uploaded. After the
# deletion `tags` is null with status 200, and the catalog goes on to list the repository. A retention script that walks over `tags`
# ends with an error at the first repository that it has emptied.
set -euo pipefail
dir=$(mktemp -d)
cd "$dir"
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
pid=0
apt-get download -qq docker-registry=2.8.2+ds1-1* 2>/dev/null
dpkg -x docker-registry_*.deb root
port=$(shuf -i 20000-30000 -n 1)
cat >config.yml <<CONFIG
version: 0.1
storage: {filesystem: {rootdirectory: $dir/data}, delete: {enabled: true}}
http: {addr: 127.0.0.1:$port}
CONFIG
root/usr/bin/docker-registry serve config.yml >log 2>&1 &
pid=$!
registry=http://127.0.0.1:$port/v2
timeout 20 sh -c "until curl -fs $registry/ >/dev/null; do sleep 0.1; done"
config=sha256:$(printf '{}' | sha256sum | cut -d' ' -f1)
place=$(curl -fsi -X POST "$registry/acme/hello/blobs/uploads/" | tr -d '\r' | sed -n 's/^Location: //p')
curl -fs -X PUT -H 'Content-Type: application/octet-stream' -d '{}' "$place&digest=$config"
kind=application/vnd.docker.distribution.manifest.v2+json
printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","size":2,"digest":"%s"},"layers":[]}' \
  "$kind" application/vnd.docker.container.image.v1+json "$config" >manifest
curl -fs -X PUT -H "Content-Type: $kind" --data-binary @manifest "$registry/acme/hello/manifests/v1"
{
  curl -s -o refused -w '%{http_code} ' -X DELETE "$registry/acme/hello/manifests/v1"
  python3 -c 'import json; print(*json.load(open("refused"))["errors"][0].values())'
  curl -s -w '%{http_code}\n' -X DELETE "$registry/acme/hello/manifests/sha256:$(sha256sum <manifest | cut -d' ' -f1)"
  curl -s -w '%{http_code}\n' "$registry/acme/hello/tags/list"
  curl -s "$registry/_catalog"
} | tee seen
diff seen - <<'SEEN'
400 DIGEST_INVALID provided digest did not match uploaded content
202
{"name":"acme/hello","tags":null}
200
{"repositories":["acme/hello"]}
SEEN
