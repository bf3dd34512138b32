#!/usr/bin/env bash
# PyPI: docker 7.1.0 (Docker's SDK for Python), docker.utils.build.exclude_paths, which packs every context of images.build().
# Guess: a class in .dockerignore means what it means to `docker build`: Go's filepath.Match, where `[^a]` is "not a" and
# `[!a]` is "! or a" (https://pkg.go.dev/path/filepath#Match).
# Seen: it is the other way round. `[^a]b` leaves out ab and ^b and keeps bb; `[!a]b` leaves out bb and keeps ab. And a pattern
# that is malformed to Go (`[a-`), for which `docker build` ends with "syntax error in pattern", is silently no pattern at all.
# So a file that one client leaves out of the image the other puts in.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet docker==7.1.0
mkdir "$dir/context"
touch "$dir"/context/{ab,bb,^b,!b}
"$dir/venv/bin/python" - "$dir/context" <<'PY' | tee "$dir/seen"
import sys
from docker.utils.build import exclude_paths
for pattern in ["[^a]b", "[!a]b", "[a-"]:
    print(pattern, "keeps", *sorted(exclude_paths(sys.argv[1], [pattern])))
PY
diff "$dir/seen" - <<'SEEN'
[^a]b keeps !b bb
[!a]b keeps ab
[a- keeps !b ^b ab bb
SEEN
