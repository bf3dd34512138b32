#!/usr/bin/env bash
# npm: docker-parse-image 3.0.1 (splits an image's name into registry, namespace, repository and tag).
# Guess: the first part of a name is a registry if it has a dot or a port or is "localhost", as Docker has it; a path may be of any length; a
# digest is a digest; `library/` is put before names of Docker Hub alone.
# Seen: three parts make the first a registry, whatever it is; `localhost` is none; four parts are no name at all (null); a digest
# comes back as the tag, joined by a colon; and `fullname` of a private registry's image gets a `library/` that the registry does not have.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund docker-parse-image@3.0.1 >/dev/null
cat >try.js <<'JS'
const parse = require("docker-parse-image");
const names = ["team/group/app:1", "localhost/app:1", "quay.io/team/group/app:1", "app@sha256:0123", "registry.example:5000/app:1"];
for (const name of names) {
  const image = parse(name);
  console.log(name, image && `registry=${image.registry} namespace=${image.namespace} tag=${image.tag} fullname=${image.fullname}`);
}
JS
node try.js | tee seen
diff seen - <<'SEEN'
team/group/app:1 registry=team namespace=group tag=1 fullname=team/group/app:1
localhost/app:1 registry=null namespace=localhost tag=1 fullname=localhost/app:1
quay.io/team/group/app:1 null
app@sha256:0123 registry=null namespace=null tag=sha256:0123 fullname=library/app:sha256:0123
registry.example:5000/app:1 registry=registry.example:5000 namespace=null tag=1 fullname=registry.example:5000/library/app:1
SEEN
