#!/usr/bin/env bash
# Debian 12: docker-registry 2.8.2+ds1-1 (distribution 2.8.2).
# Guess: `GET /v2/NAME/tags/list?n=1` answers one tag and a `Link` to the next page, `last=` goes on behind a tag, and tags are in
# lexical order (https://distribution.github.io/distribution/spec/api/#listing-image-tags); the catalog's n=0 asks for all.
# Seen: n and last are passed over, there is no Link, and the order is no order of names. `GET /v2/_catalog?n=0` answers an empty list.
# So a client that takes page by page with `last=` from the tag that it saw last never ends, and one that takes the last tag for the newest errs.
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
timeout 20 sh -c "until curl -fs http://127.0.0.1:$port/v2/ >/dev/null; do sleep 0.1; done"
python3 - "http://127.0.0.1:$port/v2/" <<'PY' | tee seen
import hashlib, json, sys, urllib.request
base = sys.argv[1]
def call(method, url, data=None, **headers):
    request = urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.headers, answer.read()
digest = "sha256:" + hashlib.sha256(b"{}").hexdigest()
place = call("POST", base + "acme/hello/blobs/uploads/")[0]["Location"]
call("PUT", place + "&digest=" + digest, b"{}", content_type="application/octet-stream")
kind = "application/vnd.docker.distribution.manifest.v2+json"
manifest = {"schemaVersion": 2, "mediaType": kind, "layers": [],
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 2, "digest": digest}}
names = ["v%d" % n for n in range(1, 10)]
for tag in names:
    call("PUT", base + "acme/hello/manifests/" + tag, json.dumps(manifest).encode(), content_type=kind)
headers, body = call("GET", base + "acme/hello/tags/list?n=1")
tags = json.loads(body)["tags"]
print(len(tags), "tags for n=1, Link:", headers["Link"])
print("sorted:", tags == sorted(tags), "- all there:", sorted(tags) == names)
print(len(json.loads(call("GET", base + "acme/hello/tags/list?n=1&last=v9")[1])["tags"]), "tags behind the last one")
print(call("GET", base + "_catalog?n=0")[1].decode().strip())
PY
diff seen - <<'SEEN'
9 tags for n=1, Link: None
sorted: False - all there: True
9 tags behind the last one
{"repositories":[]}
SEEN
