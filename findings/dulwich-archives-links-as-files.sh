#!/usr/bin/env bash
# PyPI: dulwich 1.2.21. Debian 12: git 2.39.5.
# Guess: dulwich's `porcelain.archive` writes the tree that `git archive` writes of the same commit: a link is a link, a file has its mode, and
# `export-ignore` leaves out.
# Seen: a link is a regular file of mode 0000 that holds its target, so that who unpacks it (or sends it to an engine as a build's context) has a file
# without rights in its place. There are no folders, and .gitattributes is not looked at, though dulwich's own clone does so for `eol`.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q dulwich==1.2.21
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com GIT_CONFIG_GLOBAL=/dev/null
git init -q repository
mkdir repository/bin
echo main >repository/bin/main
chmod +x repository/bin/main
ln -s bin/main repository/link
echo notes >repository/notes
printf 'a\nb\n' >repository/lines
printf 'notes export-ignore\nlines eol=crlf\n' >repository/.gitattributes
git -C repository add . 2>/dev/null
git -C repository commit -qm first
git -C repository archive -o "$dir/git.tar" HEAD
cat >archive.py <<'PY'
from dulwich import porcelain
with open("dulwich.tar", "wb") as tar:
    porcelain.archive("repository", "HEAD", outstream=tar)
porcelain.clone("repository", "clone", errstream=open("/dev/null", "wb"))
PY
venv/bin/python archive.py
cat >show.py <<'PY'
import sys, tarfile
with tarfile.open(sys.argv[1]) as tar:
    for member in tar:
        kind = "folder" if member.isdir() else f"link to {member.linkname}" if member.issym() else f"file of {tar.extractfile(member).read()}"
        if member.name != ".gitattributes" and not member.name.startswith("pax_"):
            rights = "executable" if member.mode & 0o100 else f"mode {member.mode:o}" if member.mode < 0o400 else "plain"
            print(f"  {member.name}: {kind}" + ("" if member.issym() or member.isdir() else f", {rights}"))
PY
{
  echo "git archive"
  python3 show.py git.tar
  echo "dulwich"
  python3 show.py dulwich.tar
  echo "dulwich's clone has lines of $(wc -c <clone/lines) bytes"
} | tee seen
diff seen - <<'SEEN'
git archive
  bin: folder
  bin/main: file of b'main\n', executable
  lines: file of b'a\r\nb\r\n', plain
  link: link to bin/main
dulwich
  bin/main: file of b'main\n', executable
  lines: file of b'a\nb\n', plain
  link: file of b'bin/main', mode 0
  notes: file of b'notes\n', plain
dulwich's clone has lines of 6 bytes
SEEN
