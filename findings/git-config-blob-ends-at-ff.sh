#!/usr/bin/env bash
# Debian 12: git 2.39.5.
# Guess: `git config --blob OID` reads a file of a commit, such as `.gitmodules`, as `git config -f` reads the same file in a work tree.
# Seen: the byte 0xFF, in a comment here, is the end of the file to it: what follows is not there, with exit code 0. And a byte order
# mark, which -f passes over, is "bad config line 1". So a bare repository has other submodules than its checkout.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq git=1:2.39.5* 2>/dev/null
dpkg -x git_*.deb root
export GIT_EXEC_PATH=$dir/root/usr/lib/git-core GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
git() { "$dir/root/usr/bin/git" "$@"; }
git init -q --bare repository.git
printf '[submodule "a"]\n\tpath = a\n# na\377ve\n[submodule "b"]\n\tpath = b\n' >ff
printf '\357\273\277[submodule "a"]\n\tpath = a\n' >mark
{
  git --version
  for file in ff mark; do
    oid=$(git -C repository.git hash-object -w "$dir/$file")
    for way in "-f $dir/$file" "--blob $oid"; do
      code=0
      read=$(git -C repository.git config $way --list 2>said) || code=$?
      echo "$file ${way%% *}:" $read "$(head -1 said | sed "s/$oid/OID/")" "exit code $code"
    done
  done
} | tee seen
diff seen - <<'SEEN'
git version 2.39.5
ff -f: submodule.a.path=a submodule.b.path=b  exit code 0
ff --blob: submodule.a.path=a  exit code 0
mark -f: submodule.a.path=a  exit code 0
mark --blob: error: bad config line 1 in blob OID exit code 128
SEEN
