#!/usr/bin/env bash
# Debian 12: git 2.39.5.
# Guess: `git cat-file --batch --filters` (since 2.11) is `--batch` with the contents of a checkout: `OID blob SIZE`, then SIZE bytes; and
# `cat-file --filters`, `git archive` and a checkout write the same for `eol=crlf` and `ident`, in files of any size.
# Seen: SIZE is the stored blob's (8), and 10 bytes follow, so that whoever reads by it is out of step from the first converted file on.
# `$$Id$` stays as it is in a checkout and is expanded by the two others. Beyond core.bigFileThreshold `git archive` converts nothing.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq git=1:2.39.5* 2>/dev/null
dpkg -x git_*.deb root
export GIT_EXEC_PATH=$dir/root/usr/lib/git-core GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
git() { "$dir/root/usr/bin/git" -c user.name=a -c user.email=a@example.org "$@"; }
mkdir repository && cd repository
git init -q
printf '*.id ident\n*.crlf text eol=crlf\n' >.gitattributes
printf '$$Id$\n' >a.id
printf 'one\ntwo\n' >b.crlf
git add . 2>/dev/null
git commit -qm x
rm a.id b.crlf
git checkout -q -- .
{
  git --version
  printf '%s b.crlf\n' "$(git rev-parse HEAD:b.crlf)" | git cat-file --batch --filters >answer
  echo "told: $(head -1 answer | cut -d' ' -f3), written: $(tail -n +2 answer | head -c -1 | wc -c), checkout: $(wc -c <b.crlf)"
  for way in 'cat a.id' 'git cat-file --filters HEAD:a.id' 'git archive HEAD a.id'; do
    { case $way in *archive*) $way | tar -xO ;; *) $way ;; esac; } | sed "s/[0-9a-f]\{40\}/OID/; s/^/${way%% HEAD*}: /"
  done
  for limit in 1m 4; do
    echo "archive, core.bigFileThreshold=$limit: $(git -c core.bigFileThreshold=$limit archive HEAD b.crlf | tar -xO | wc -c) bytes"
  done
} | tee ../seen
diff ../seen - <<'SEEN'
git version 2.39.5
told: 8, written: 10, checkout: 10
cat a.id: $$Id$
git cat-file --filters: $$Id: OID $
git archive: $$Id: OID $
archive, core.bigFileThreshold=1m: 10 bytes
archive, core.bigFileThreshold=4: 8 bytes
SEEN
