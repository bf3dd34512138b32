#!/usr/bin/env bash
# Debian 12: docker-registry 2.8.2+ds1-1 (distribution 2.8.2).
# Guess: `Accept: */*`, which curl sends by itself, takes a manifest of any type (RFC 9110, 12.5.1); and a manifest that is asked for by its
# digest is there if it is stored, as there is only one of that digest.
# Seen: an OCI manifest is 404 MANIFEST_UNKNOWN for */*, for application/* and for Docker's type with */* behind it, by tag and by digest, for GET
# and for HEAD, which has no body to say why. A manifest of Docker's type is there for */*. So a script that asks by curl whether an image
# has been pushed is told "no" as soon as that image is one of buildah's, or of BuildKit's with an attestation.
set -euo pipefail
dir=$(mktemp -d)
cd "$dir"
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$dir"' EXIT
pid=0
apt-get download -qq docker-registry=2.8.2+ds1-1* 2>/dev/null
dpkg -x docker-registry_*.deb root
port=$(shuf -i 20000-30000 -n 1)
printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: 127.0.0.1:%s}\n' "$dir" "$port" >config.yml
root/usr/bin/docker-registry serve config.yml >log 2>&1 &
pid=$!
registry=http://127.0.0.1:$port/v2
timeout 20 sh -c "until curl -fs $registry/ >/dev/null; do sleep 0.1; done"
config=sha256:$(printf '{}' | sha256sum | cut -d' ' -f1)
place=$(curl -fsi -X POST "$registry/acme/hello/blobs/uploads/" | tr -d '\r' | sed -n 's/^Location: //p')
curl -fs -X PUT -H 'Content-Type: application/octet-stream' -d '{}' "$place&digest=$config"
docker=application/vnd.docker.distribution.manifest.v2+json
oci=application/vnd.oci.image.manifest.v1+json
put() {
  printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","size":2,"digest":"%s"},"layers":[]}' "$2" "$3" "$config" >"$1"
  echo "$1 is stored: $(curl -s -o /dev/null -w '%{http_code}' -X PUT -H "Content-Type: $2" --data-binary "@$1" "$registry/acme/hello/manifests/$1")"
}
ask() {
  local name=$1 accept=$2 digest
  digest=sha256:$(sha256sum <"$name" | cut -d' ' -f1)
  get() { curl -s -H "Accept: $accept" "$@"; }
  echo "$name for ${accept//$docker/DOCKER}: by digest HEAD $(get -I -o /dev/null -w '%{http_code}' "$registry/acme/hello/manifests/$digest")," \
    "GET $(get -o body -w '%{http_code}' "$registry/acme/hello/manifests/$digest")" \
    "$(sed -nE 's/.*"code":"([A-Z_]*)","message":"([^"]*)".*/\1 \2/p' body)"
}
{
  put oci-image "$oci" application/vnd.oci.image.config.v1+json
  put docker-image "$docker" application/vnd.docker.container.image.v1+json
  for accept in '*/*' 'application/*' "$docker, */*"; do ask oci-image "$accept"; done
  ask docker-image '*/*'
  echo "oci-image by its tag, as curl asks: $(curl -s -o /dev/null -w '%{http_code}' "$registry/acme/hello/manifests/oci-image")"
  echo "oci-image for its own type: $(curl -s -o /dev/null -w '%{http_code}' -H "Accept: $oci" "$registry/acme/hello/manifests/oci-image")"
} | sed 's/ *$//' | tee seen
diff seen - <<'SEEN'
oci-image is stored: 201
docker-image is stored: 201
oci-image for */*: by digest HEAD 404, GET 404 MANIFEST_UNKNOWN OCI manifest found, but accept header does not support OCI manifests
oci-image for application/*: by digest HEAD 404, GET 404 MANIFEST_UNKNOWN OCI manifest found, but accept header does not support OCI manifests
oci-image for DOCKER, */*: by digest HEAD 404, GET 404 MANIFEST_UNKNOWN OCI manifest found, but accept header does not support OCI manifests
docker-image for */*: by digest HEAD 200, GET 200
oci-image by its tag, as curl asks: 404
oci-image for its own type: 200
SEEN
