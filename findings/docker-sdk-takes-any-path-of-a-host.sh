#!/usr/bin/env bash
# PyPI: docker 7.1.0 (Docker's SDK for Python), which reads ~/.docker/config.json for every pull, push and build.
# Guess: logins by path, as `podman login quay.io/org1` writes them, are for their path: for an image of quay.io/org2 the entry of org2 is used,
# or none; and an entry whose `auth` cannot be read is passed over.
# Seen: only hosts are compared, and the first entry of the host in the file's order is used for all of it: org1's login for org2's images,
# depending on who logged in first. One unreadable entry of another registry ends it with "Incorrect padding", which names neither file nor entry.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet docker==7.1.0
"$dir/venv/bin/python" - "$dir/config.json" <<'PY' | tee "$dir/seen"
import base64, json, sys
from docker import auth
def login(user):
    return {"auth": base64.b64encode(f"{user}:password".encode()).decode()}
def used(auths, image):
    json.dump({"auths": auths}, open(sys.argv[1], "w"))
    registry, _ = auth.resolve_repository_name(image)
    try:
        return auth.load_config(sys.argv[1]).resolve_authconfig(registry)["username"]
    except Exception as error:
        return f"{type(error).__name__}: {error}"
one, two = {"quay.io/org1": login("one")}, {"quay.io/org2": login("two")}
print("org1 first:", used(one | two, "quay.io/org2/web"))
print("org2 first:", used(two | one, "quay.io/org2/web"))
print("org1 alone:", used(one, "quay.io/org2/web"))
print("one broken:", used({"registry.example": {"auth": "broken"}} | two, "quay.io/org2/web"))
PY
diff "$dir/seen" - <<'SEEN'
org1 first: one
org2 first: two
org1 alone: one
one broken: Error: Incorrect padding
SEEN
