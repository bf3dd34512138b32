#!/usr/bin/env bash
# Debian 12: git 2.39.5.
# Guess: a fetch that cannot update the only ref that it was asked for ends with an error, as it does for one that is not there.
# Seen: from a repository that is shallow itself (a CI's clone that serves as a mirror) `git fetch` warns, updates nothing and ends with 0:
# the branch does not appear in a new repository, and in an old one stays at its old commit. `git clone` of the same is complete.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq git=1:2.39.5* 2>/dev/null
dpkg -x git_*.deb root
export GIT_EXEC_PATH=$dir/root/usr/lib/git-core GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
export PATH=$dir/root/usr/bin:$PATH
as() { git -C "$1" -c user.name=a -c user.email=a@example.org "${@:2}"; }
git init -q -b main origin
for message in one two three; do as origin commit -q --allow-empty -m $message; done
git clone -q --depth 1 "file://$dir/origin" shallow
git init -q --bare mirror
{
  git --version
  code=0
  git -C mirror fetch "file://$dir/shallow" '+refs/heads/*:refs/heads/*' 2>&1 || code=$?
  echo "exit code $code, refs: $(git -C mirror for-each-ref | wc -l)"
  git clone -q --bare "file://$dir/shallow" cloned
  echo "a clone has refs: $(git -C cloned for-each-ref | wc -l)"
} | tee seen
diff seen - <<'SEEN'
git version 2.39.5
warning: rejected refs/heads/main because shallow roots are not allowed to be updated
exit code 0, refs: 0
a clone has refs: 1
SEEN
