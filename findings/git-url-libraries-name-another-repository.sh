#!/usr/bin/env bash
# PyPI: giturlparse 0.16.0. npm: git-url-parse 16.1.0. Beside them git 2.39.5, which is asked what it would connect to.
# Guess: a repository's address that is parsed and written again, as `normalized` or as toString("ssh"), leads Git to the same repository; a port
# is kept, or the form without one is refused, and `HOST:PATH` without a user is an address as it is for Git.
# Seen: giturlparse makes git@HOST:2222/acme/app.git of ssh://git@HOST:2222/…, which is the path 2222/acme/app.git on port 22 to Git;
# of https://HOST:8443/… it makes git@HOST::8443/…, and of http://HOST:3000/… git@HOST:3000:…. With :22 an address of GitHub is none at all.
# git-url-parse takes a port of https for one of ssh, and makes "git@:acme/app.git" of HOST:acme/app.git, without the host.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q giturlparse==0.16.0
npm install --silent --no-audit --no-fund git-url-parse@16.1.0 >/dev/null
cat >try.py <<'PY'
import sys
from giturlparse import parse
parsed = parse(sys.argv[1])
print(parsed.url2ssh if parsed.valid else "")
PY
cat >try.mjs <<'JS'
import parse from "git-url-parse";
console.log(parse(process.argv[2]).toString("ssh"));
JS
# Instead of ssh, a program that says what Git calls it with, and ends.
cat >ssh <<'SH'
#!/bin/sh
echo "$*" >>called
exit 1
SH
chmod +x ssh
meant() {
  : >called
  case $1 in "") echo nothing && return ;; http*) echo "(no ssh)" && return ;; esac
  GIT_SSH_VARIANT=ssh GIT_SSH=$dir/ssh git ls-remote "$1" >/dev/null 2>&1 || true
  sed -e 's/-o SendEnv=GIT_PROTOCOL //' -e 's/git-upload-pack //' called
}
try() {
  local python node
  python=$(venv/bin/python try.py "$1")
  node=$(node try.mjs "$1")
  printf '%s\n  git           %s\n  giturlparse   %s -> %s\n  git-url-parse %s -> %s\n' \
    "$1" "$(meant "$1")" "${python:-none}" "$(meant "$python")" "$node" "$(meant "$node")"
}
{
  try ssh://git@git.example:2222/acme/app.git
  try https://git.example:8443/acme/app.git
  try http://git.example:3000/acme/app.git
  try ssh://git@github.com:22/acme/app.git
  try git.example:acme/app.git
} | tee seen
diff seen - <<'SEEN'
ssh://git@git.example:2222/acme/app.git
  git           -p 2222 git@git.example '/acme/app.git'
  giturlparse   git@git.example:2222/acme/app.git -> git@git.example '2222/acme/app.git'
  git-url-parse ssh://git@git.example:2222/acme/app.git -> -p 2222 git@git.example '/acme/app.git'
https://git.example:8443/acme/app.git
  git           (no ssh)
  giturlparse   git@git.example::8443/acme/app.git -> git@git.example ':8443/acme/app.git'
  git-url-parse ssh://git@git.example:8443/acme/app.git -> -p 8443 git@git.example '/acme/app.git'
http://git.example:3000/acme/app.git
  git           (no ssh)
  giturlparse   git@git.example:3000:acme/app.git -> git@git.example '3000:acme/app.git'
  git-url-parse ssh://git@git.example:3000/acme/app.git -> -p 3000 git@git.example '/acme/app.git'
ssh://git@github.com:22/acme/app.git
  git           -p 22 git@github.com '/acme/app.git'
  giturlparse   none -> nothing
  git-url-parse ssh://git@github.com:22/acme/app.git -> -p 22 git@github.com '/acme/app.git'
git.example:acme/app.git
  git           git.example 'acme/app.git'
  giturlparse   none -> nothing
  git-url-parse git@:acme/app.git -> git@ 'acme/app.git'
SEEN
