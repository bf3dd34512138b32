#!/usr/bin/env bash
# PyPI: packageurl-python 0.17.6. npm: packageurl-js 2.0.1 (both from github.com/package-url).
# Guess: the package URL of an image has one canonical form, which both write, so that texts can be compared: an SBOM of one tool with the report of another.
# Seen: for an image of any registry it has two: `repository_url=ghcr.io/acme/app` in Python, and `ghcr.io%2Facme%2Fapp` in Node, as is the colon
# of a port. Both leave a digest's colon as it is. Names of Docker Hub, without the qualifier, are the same.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q packageurl-python==0.17.6
npm install --silent --no-audit --no-fund packageurl-js@2.0.1 >/dev/null
cat >write.py <<'PY'
import sys
from packageurl import PackageURL
print(PackageURL.from_string(sys.argv[1]).to_string())
PY
cat >write.cjs <<'JS'
const { PackageURL } = require("packageurl-js");
console.log(PackageURL.fromString(process.argv[2]).toString());
JS
for url in 'pkg:oci/app@sha256:244fd47e?repository_url=ghcr.io/acme/app&tag=1.0' 'pkg:docker/app@1.0?repository_url=registry.example.com%3A5000' \
  pkg:docker/acme/app@1.0; do
  echo "$url"
  echo "  Python $(venv/bin/python write.py "$url")"
  echo "  Node   $(node write.cjs "$url")"
done | tee seen
diff seen - <<'SEEN'
pkg:oci/app@sha256:244fd47e?repository_url=ghcr.io/acme/app&tag=1.0
  Python pkg:oci/app@sha256:244fd47e?repository_url=ghcr.io/acme/app&tag=1.0
  Node   pkg:oci/app@sha256:244fd47e?repository_url=ghcr.io%2Facme%2Fapp&tag=1.0
pkg:docker/app@1.0?repository_url=registry.example.com%3A5000
  Python pkg:docker/app@1.0?repository_url=registry.example.com:5000
  Node   pkg:docker/app@1.0?repository_url=registry.example.com%3A5000
pkg:docker/acme/app@1.0
  Python pkg:docker/acme/app@1.0
  Node   pkg:docker/acme/app@1.0
SEEN
